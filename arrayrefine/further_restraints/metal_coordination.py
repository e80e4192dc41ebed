"""Distances and angles at metals that the dictionary says nothing about: coordination found from distances."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import SAME_PLACE, Crystal
from arrayrefine.further_restraints.donor_distances import METALS, Bond, Row, shell
from arrayrefine.further_restraints.neighbour_distances import lengths
from arrayrefine.kernels.contacts import neighbour_pairs
from arrayrefine.kernels.distances import close_pairs
from arrayrefine.kernels.mates import operator_key, placed
from arrayrefine.restraints import Across, Distances, Mates, Restraints
from arrayrefine.topology.metal_rings import Bound, turned_rings
from arrayrefine.topology.nonbonded import COORDINATION
from arrayrefine.wording import counted, listed

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_ELEMENTS = ("N", "O", "S", "Se", "F", "Cl", "Br", "I")
"""Of donors."""
_LOSS = 1.0
"""Shape of the robust loss: beyond a few sigmas a constant pull, for what nothing held so far may be far off."""
_DONOR = 0.2
"""Å; atoms that are no further than this beyond their ideal distance are donors for sure. The loss is quadratic for
them: where data are few, density of a heavy metal pulls its donors in, against what contacts are left out for."""
_COLLAPSED = 0.7
"""Å; atoms nearer than the ideal by more are hardly what they are called: a water in the place of an ion, say."""
_INSTEAD = 1.5
"""Å; atoms nearer than this whose occupancies sum to no more than 1 are there instead of each other."""


class Coordination(NamedTuple):
    """What was found at metals.

    Attributes
    ----------
    classes : pair of Distances
        Of atoms that are donors for sure, and robust ones of those that may be.
    mates : Mates
        Donors that are symmetry mates, numbered behind the atoms and the mates that other restraints name.
    to_mates : pair of Distances
        As `classes`, with at least one such donor.
    notes : list of str
    """

    classes: tuple[Distances, Distances]
    mates: Mates
    to_mates: tuple[Distances, Distances]
    notes: list[str]


def metal_coordination(
    atoms: Atoms, restraints: Restraints, sigma: float, weight: float, crystal: Crystal | None = None
) -> Coordination:
    """Restraints on metal-donor distances, and on donor-donor distances of zinc with four N or S donors.

    What the dictionary restrains already is left to it. A metal that is a part of a component, as in heme, is held to
    donors of other residues that bind for sure, and with twice the sigma: others pull at it too.

    Parameters
    ----------
    atoms : Atoms
    restraints : Restraints
    sigma : float, Å
    weight : float
        See `Distances`.
    crystal : Crystal, optional
        Whose symmetry mates may be donors too.
    """
    n = len(atoms)
    conformer, peptide = restraints.non_bonded.conformer, _peptide_nitrogens(atoms, restraints)
    metals = np.isin(atoms.element, METALS) & (atoms.occupancy > 0.0)
    lone = _alone(atoms)
    ions = np.flatnonzero(metals & lone)
    mates, names = Mates(np.zeros(0, dtype=np.int64), np.zeros((0, 3, 3)), np.zeros((0, 3))), list[str]()
    if crystal is not None and len(ions):
        mates, names = _donor_mates(atoms, ions, crystal, restraints.across)
        atoms = _with_mates(atoms, mates)
        conformer, peptide = (np.concatenate([of, of[mates.source]]) for of in (conformer, peptide))
    bonds, angles = list[Bond](), list[Row]()
    for ion, donors in _donors(atoms, restraints, np.flatnonzero(metals), conformer).items():
        donors = [d for d in donors if not peptide[d]]
        if not lone[ion]:
            donors = [d for d in donors if d < n and atoms.identity.residue[d] != atoms.identity.residue[ion]]
        found, between = shell(atoms, ion, donors, bool(lone[ion]), sigma)
        bonds += found
        angles += between
    rows = [*(bond.row for bond in bonds), *angles]
    made, to_mates = _classes(rows, atoms, n, len(restraints.across), weight)
    if not bonds:
        return Coordination(made, mates, to_mates, [])
    bound = [_bound(atoms, bond.row.one, bond.row.two, mates, names) for bond in bonds]
    rings = turned_rings(atoms, restraints.bonds, bound)
    return Coordination(made, mates, to_mates, [_sentence(atoms, bonds, len(angles), names), *rings])


def _classes(
    rows: Sequence[Row], atoms: Atoms, n: int, n_across: int, weight: float
) -> tuple[tuple[Distances, Distances], tuple[Distances, Distances]]:
    """Restraints within the model of `n` atoms, and on donors that are mates, numbered behind `n_across` other mates.

    Each is a pair: of atoms that are donors for sure, and of those that may be.
    """
    index = np.array([row[:2] for row in rows], dtype=np.int64).reshape(-1, 2)
    ideals, sigmas = np.array([row.ideal for row in rows]), np.array([row.sigma for row in rows])
    apart = lengths(atoms.xyz, index) - ideals
    sure = (apart < _DONOR) & (apart > -_COLLAPSED)
    beyond = np.any(index >= n, axis=1)

    def pair(kind: str, rows: Int, chosen: NDArray[np.bool_]) -> tuple[Distances, Distances]:
        near, far = np.flatnonzero(chosen & sure), np.flatnonzero(chosen & ~sure)
        return (
            Distances(kind, rows[near], ideals[near], sigmas[near], 2.0, weight),
            Distances(f"{kind}, robust", rows[far], ideals[far], sigmas[far], _LOSS, weight),
        )

    return pair("metal", index, ~beyond), pair("metal to mate", np.where(index >= n, index + n_across, index), beyond)


def _sentence(atoms: Atoms, bonds: Sequence[Bond], n_angles: int, names: Sequence[str]) -> str:
    """What was found at metals; `names` are the operators of the mates at the end of the atoms."""
    n = len(atoms) - len(names)
    labels = Counter(f"{atoms.element[bond.row.one]}-{atoms.element[bond.row.two]}" for bond in bonds)
    kinds = ", ".join(f"{count} x {label}" for label, count in sorted(labels.items()))
    more = f", and {counted(n_angles, 'angle')} of tetrahedral zinc" if n_angles else ""
    mates = [bond.row.two for bond in bonds if bond.row.two >= n]
    called = listed([f"{atoms.identity.label(d)} ({names[d - n]})" for d in mates])
    mated = f"; {len(mates)} of them to symmetry mates: {called}" if mates else ""
    sources = ", ".join(sorted({bond.source for bond in bonds}))
    return (
        f"{counted(len(bonds), 'metal-ligand distance')} without a dictionary length found: {kinds}{more}; restrained "
        f"to {sources}{mated} (--external.metals)"
    )


def _bound(atoms: Atoms, ion: int, donor: int, mates: Mates, names: list[str]) -> Bound:
    """A metal as the source of its donor has it, where this is a mate, numbered behind the atoms of the model."""
    mate = donor - (len(atoms) - len(mates.source))
    if mate < 0:
        return Bound(ion, donor, atoms.xyz[ion])
    place = mates.rotation[mate].T @ (atoms.xyz[ion] - mates.shift[mate])
    return Bound(ion, int(mates.source[mate]), place, names[mate])


def _donor_mates(atoms: Atoms, ions: Int, crystal: Crystal, across: Across) -> tuple[Mates, list[str]]:
    """Symmetry mates of donors near ions, each image once, without those that links of the dictionary join; and the
    names of the operators.

    Where an operator leaves the ion in its place, the donor in the model stands for its images under it; where it
    leaves the donor, the image is the donor.
    """
    bonded = _bonded_across(len(atoms), across)
    candidates = np.flatnonzero(np.isin(atoms.element, _ELEMENTS))
    subset = np.concatenate([ions, candidates])
    pairs = neighbour_pairs(
        atoms.xyz[subset], crystal.rotations, crystal.translations, crystal.orth, crystal.frac, COORDINATION
    )
    chosen: dict[tuple[int, bytes, bytes], tuple[int, Float, Float, str]] = {}
    seen: set[tuple[int, int, int]] = set()
    for k in np.flatnonzero(pairs.image & (pairs.i < len(ions)) & (pairs.j >= len(ions))).tolist():
        rotation, shift = crystal.cartesian_operator(int(pairs.op[k]), pairs.shift[k])
        one, two = int(subset[pairs.i[k]]), int(subset[pairs.j[k]])
        place = rotation @ atoms.xyz[two] + shift
        still = [np.linalg.norm(rotation @ x + shift - x) < SAME_PLACE for x in (atoms.xyz[one], atoms.xyz[two])]
        if any(still) or (one, two, *operator_key(rotation, shift)) in bonded:
            continue
        alike = one, two, round(float(np.linalg.norm(place - atoms.xyz[one])) / SAME_PLACE)
        if alike not in seen:
            seen.add(alike)
            chosen[(two, *operator_key(rotation, shift))] = (
                two, rotation, shift, crystal.operator_name(int(pairs.op[k]), pairs.shift[k])
            )  # fmt: skip
    rows = list(chosen.values())
    mates = Mates(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows]).reshape(-1, 3, 3),
        np.array([row[2] for row in rows]).reshape(-1, 3),
    )
    return mates, [row[3] for row in rows]


def _bonded_across(n_atoms: int, across: Across) -> set[tuple[int, int, bytes, bytes]]:
    """Bonds to mates, seen from both sides: an atom, the source of a mate, and the operator."""
    found = set()
    for i, j in across.bonds.index.tolist():
        atom, mate = min(i, j), max(i, j) - n_atoms
        if mate >= 0:
            source, rotation, shift = (a[mate] for a in vars(across.mates).values())
            found.add((atom, int(source), *operator_key(rotation, shift)))
            found.add((int(source), atom, *operator_key(rotation.T, -rotation.T @ shift)))
    return found


def _with_mates(atoms: Atoms, mates: Mates) -> Atoms:
    """The atoms and, behind them, mates, which belong to residues of their own."""
    n, count = len(atoms), len(mates.source)
    both = atoms.taken(np.concatenate([np.arange(n), mates.source]))
    operator = [operator_key(*how) for how in zip(mates.rotation, mates.shift)]
    residue, kinds = both.identity.residue.copy(), {name: k for k, name in enumerate(dict.fromkeys(operator))}
    if count:
        offset = int(residue.max()) + 1
        residue[n:] += offset * (1 + np.array([kinds[name] for name in operator]))
    identity = dataclasses.replace(both.identity, residue=residue)
    return dataclasses.replace(both, identity=identity).replace(xyz=placed(atoms.xyz, mates))


def _alone(atoms: Atoms) -> NDArray[np.bool_]:
    """(N,) True for atoms that are their residue, alternates aside."""
    who = atoms.identity
    _, row = np.unique(who.residue, return_inverse=True)
    named = np.unique(np.column_stack([row, np.unique(who.atom_name, return_inverse=True)[1]]), axis=0)[:, 0]
    return np.asarray(np.bincount(named)[row] == 1)


def _peptide_nitrogens(atoms: Atoms, restraints: Restraints) -> NDArray[np.bool_]:
    """(N,) True for N of main chains that bind no metal: all but the amines that chains begin with."""
    who, index = atoms.identity, restraints.bonds.index
    amino = [k for k in np.unique(who.residue_name) if gemmi.find_tabulated_residue(str(k)).is_amino_acid()]
    nitrogen = (who.atom_name == "N") & (atoms.element == "N") & np.isin(who.residue_name, amino)
    carbon = index[(atoms.element[index] == "C").any(axis=1)]
    inside = who.residue[carbon[:, 0]] == who.residue[carbon[:, 1]]
    amine = np.zeros(len(atoms), dtype=bool)
    amine[carbon[inside].ravel()] = True
    amine[carbon[~inside].ravel()] = False
    return np.asarray(nitrogen & ~amine)


def _donors(atoms: Atoms, restraints: Restraints, ions: Int, conformer: Int) -> dict[int, list[int]]:
    """Donors near each ion, in conformers that can be there together, without those bonded by the dictionary."""
    if not len(ions):
        return {}
    candidates = np.flatnonzero(np.isin(atoms.element, _ELEMENTS))
    subset = np.concatenate([ions, candidates])
    pairs = subset[close_pairs(atoms.xyz[subset], COORDINATION)]
    is_ion = np.zeros(len(atoms), dtype=bool)
    is_ion[ions] = True
    index = restraints.bonds.index
    bonded = {frozenset(pair) for pair in index[is_ion[index].any(axis=1)].tolist()}
    near: dict[int, list[int]] = {}
    for a, b in pairs[is_ion[pairs].sum(axis=1) == 1].tolist():
        ion, donor = (a, b) if is_ion[a] else (b, a)
        together = 0 in (conformer[ion], conformer[donor]) or conformer[ion] == conformer[donor]
        near_by = float(np.linalg.norm(atoms.xyz[ion] - atoms.xyz[donor])) < _INSTEAD
        instead = near_by and atoms.occupancy[ion] + atoms.occupancy[donor] <= 1.0
        if together and not instead and frozenset((ion, donor)) not in bonded:
            near.setdefault(ion, []).append(donor)
    return near
