"""Short distances within a model as restraints: alike copies (local NCS), a reference model, and the present model."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.errors import InputError
from arrayrefine.io.models.model_crystal import box
from arrayrefine.io.models.reading import read_model
from arrayrefine.kernels.contacts import in_table
from arrayrefine.kernels.distances import close_pairs
from arrayrefine.restraints import Distances, JellyBody, Restraints
from arrayrefine.topology.polymers import LEAST, Residue, aligned, by_chain, corresponding, residues_of
from arrayrefine.wording import counted, listed

Float = NDArray[np.float64]
Int = NDArray[np.int64]


def lengths(xyz: Float, pairs: Int) -> Float:
    """Distances (p,) of pairs of points, Å."""
    found: Float = np.linalg.norm(xyz[pairs[:, 0]] - xyz[pairs[:, 1]], axis=1)
    return found


def not_rigid(pairs: Int, restraints: Restraints, n: int) -> NDArray[np.bool_]:
    """(p,) True for pairs that bonds, angles and planes of the dictionary do not hold already."""
    return ~in_table(pairs.min(axis=1), pairs.max(axis=1), restraints.non_bonded.excluded, n)


def local_ncs(
    atoms: Atoms, restraints: Restraints, residues: list[Residue], reach: float, sigma: float, alpha: float,
    weight: float,
) -> tuple[Distances, list[str]]:  # fmt: skip
    """Alike chains have alike distances of up to `reach` Å; each chain is compared with the next ones of its kind.

    Returns
    -------
    Distances
        Differences (n, 4) of corresponding distances, ideally zero.
    list of str
        Which chains were found to be alike.
    """
    tables: list[Int] = [np.zeros((0, 4), dtype=np.int64)]
    notes = []
    for group in alike_chains(by_chain(residues)):
        names = [chain[0].chain for chain in group]
        count, differences = 0, []
        for one, two in itertools.combinations(group, 2) if len(group) <= 3 else _ring(group):
            a, b = corresponding(aligned(one, two))
            pairs = close_pairs(atoms.xyz[a], reach)
            first, second = a[pairs], b[pairs]
            near = lengths(atoms.xyz, second) < reach + 1.0
            free = not_rigid(first, restraints, len(atoms)) & near
            tables.append(np.hstack([first[free], second[free]]))
            count += int(free.sum())
            differences.append(lengths(atoms.xyz, first[free]) - lengths(atoms.xyz, second[free]))
        spread = float(np.sqrt(np.mean(np.concatenate(differences) ** 2))) if count else 0.0
        notes.append(
            f"local NCS: chains {', '.join(names)} are alike; {count} pairs of corresponding distances up to {reach:g} "
            f"Å (they differ by {spread:.2f} Å rms at the start)"
        )
    index = np.concatenate(tables)
    zero = np.zeros(len(index))
    return Distances("local NCS", index, zero, zero + sigma, alpha, weight), notes


def _ring(group: Sequence[list[Residue]]) -> list[tuple[list[Residue], list[Residue]]]:
    """Each copy with the next: as many pairs as copies, where all pairs would be too many."""
    return [(group[k], group[(k + 1) % len(group)]) for k in range(len(group))]


def alike_chains(chains: dict[str, list[Residue]]) -> list[list[list[Residue]]]:
    """Groups of two or more chains that align with the first of their group."""
    groups: list[list[list[Residue]]] = []
    for chain in chains.values():
        home = next((group for group in groups if aligned(group[0], chain)), None)
        if home is None:
            groups.append([chain])
        else:
            home.append(chain)
    return [group for group in groups if len(group) > 1]


def reference_distances(
    atoms: Atoms, restraints: Restraints, residues: list[Residue], path: Path, reach: float, sigma: float,
    alpha: float, weight: float,
) -> tuple[Distances, list[str]]:  # fmt: skip
    """Distances of up to `reach` Å in a reference model, for the residues that match.

    A chain is matched with that of its name, or else with the one it aligns with best.

    Raises
    ------
    InputError
        The reference cannot be read, or none of its chains is like one of the model.
    """
    try:
        model = read_model(path, box)  # only distances within it count
    except InputError as error:
        raise InputError(f"--reference: {error}") from error
    references = by_chain(residues_of(model.atoms))
    tables, ideals, matched = [np.zeros((0, 2), dtype=np.int64)], [np.zeros(0)], []
    own = by_chain(residues)
    for name, chain in own.items():
        order = sorted(references, key=lambda other: other != name)
        candidates = {other: aligned(chain, references[other]) for other in order}
        best = name if candidates.get(name) else max(order, key=lambda other: len(candidates[other]), default="")
        if not best or not candidates[best]:
            continue
        a, b = corresponding(candidates[best])
        pairs = close_pairs(model.atoms.xyz[b], reach)
        tables.append(a[pairs])
        ideals.append(lengths(model.atoms.xyz[b], pairs))
        matched.append(f"{name} like {best} ({counted(len(candidates[best]), 'residue')})")
    if not matched:
        raise InputError(
            f"--reference {path}: no chain of it ({listed(list(references)) or 'no polymer'}) is like one of the model "
            f"({listed(list(own)) or 'no polymer'}); expected chains with the same residues, at least "
            f"{LEAST} of them, numbered alike or not"
        )
    index, ideal = np.concatenate(tables), np.concatenate(ideals)
    free = not_rigid(index, restraints, len(atoms))
    index, ideal = index[free], ideal[free]
    note = f"reference model {path.name}: {len(index)} distances up to {reach:g} Å; chains {listed(matched, '; ')}"
    return Distances("reference", index, ideal, np.full(len(index), sigma), alpha, weight), [note]


def jelly_body(atoms: Atoms, restraints: Restraints, how: JellyBody, clashing: Int | None = None) -> Distances:
    """Short distances between the atoms as they are; different conformers and riding atoms are left out.

    So are all distances within or between residues of which atoms clash, pairs (c, 2), hydrogens among them: these have
    to move. In a shaken model that is half of all, in a refined one a quarter. With residues that are
    not neighbours alone more clashes stay, at no lower R-free.

    Waters are held as all else is: nothing but contacts would keep them from settling in noise, where data are few. In
    ten crystals cut to 2.9 to 3.5 Å they end at 0.32 Å rms instead of 0.63 from where all data have them, and R-free
    falls by 0.009.
    """
    chosen = np.flatnonzero(~atoms.riding.mask(len(atoms)) & ~atoms.is_hydrogen)
    pairs = chosen[close_pairs(atoms.xyz[chosen], how.reach)]
    conformer = restraints.non_bonded.conformer[pairs]
    together = (conformer == 0).any(axis=1) | (conformer[:, 0] == conformer[:, 1])
    pairs = pairs[together & not_rigid(pairs, restraints, len(atoms))]
    if clashing is not None and len(clashing):
        residue = atoms.identity.residue
        n = int(residue.max()) + 1
        keys = [residue[index].min(axis=1) * n + residue[index].max(axis=1) for index in (clashing, pairs)]
        pairs = pairs[~np.isin(keys[1], keys[0])]
    return Distances("jelly body", pairs, lengths(atoms.xyz, pairs), np.full(len(pairs), how.sigma), 2.0, how.weight)
