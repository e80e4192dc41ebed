"""Base pairs and stacks of nucleic acids, found in the model itself, as restraints."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.further_restraints.surroundings import Surroundings, surroundings
from arrayrefine.kernels.distances import close_pairs
from arrayrefine.restraints import Distances
from arrayrefine.topology.polymers import Residue
from arrayrefine.wording import counted

Float = NDArray[np.float64]
Int = NDArray[np.int64]

# Å; Watson-Crick hydrogen bonds (purine atom, pyrimidine atom, length) of Saenger, Principles of Nucleic Acid Structure
# (1984), as restraint programs use them. Those of the wobble pair are what bases of the standard frame (Olson et al.
# (2001) J. Mol. Biol. 313, 229-237) have at the mean shear and stretch of G-U in RNA, -2.11 and -0.52 Å (Olson et al.
# (2009) Methods 47, 177-186).
_PAIRS: dict[frozenset[str], tuple[tuple[str, str, float], ...]] = {
    frozenset("GC"): (("O6", "N4", 2.91), ("N1", "N3", 2.95), ("N2", "O2", 2.86)),
    frozenset("AU"): (("N6", "O4", 2.95), ("N1", "N3", 2.82)),
    frozenset("GU"): (("O6", "N3", 2.84), ("N1", "O2", 2.74)),
}
_LETTERS = {"A": "A", "DA": "A", "G": "G", "DG": "G", "C": "C", "DC": "C", "U": "U", "DU": "U", "DT": "U", "T": "U"}
_RING = ("N1", "C2", "N3", "C4", "C5", "C6")
_REACH = 8.0
"""Å between the middles of two bases that are paired or stacked, at most."""
_LONGEST = 3.6
"""Å; all hydrogen bonds of a pair are shorter in the model."""
_STEEPEST = 40.0
"""Degrees between the planes of two paired or stacked bases, at most."""
_STACKED = 3.4
"""Å between stacked bases."""
_HIGHEST = 0.9
"""Å by which two bases may miss that distance, to be called stacked."""
_STACK_SIGMA = 3.0
"""Sigma of distances between stacked or paired rings, in units of that of the hydrogen bonds."""


def base_pairs(
    atoms: Atoms, residues: list[Residue], sigma: float, alpha: float, weight: float, crystal: Crystal | None = None
) -> tuple[Distances, Surroundings, list[str]]:
    """Restraints on hydrogen bonds of Watson-Crick and wobble pairs, on their flatness, and on stacked neighbours.

    A flat pair is held flat, and a stack at its height, by distances between the ring atoms of the two bases: those of
    the nearest flat arrangement for pairs, and heights of 3.4 Å for stacks, with wider sigmas.

    Parameters
    ----------
    atoms : Atoms
    residues : list of Residue
    sigma : float, Å
    alpha, weight : float
        See `Distances`.
    crystal : Crystal, optional
        Whose symmetry mates may be the other base, as in a duplex on a twofold axis; none are looked for without it.

    Returns
    -------
    Distances
        Between rows of the second.
    Surroundings
    list of str
        What was found.
    """
    whole = [r for r in residues if r.name in _LETTERS and all(name in r.atoms for name in _RING)]
    around = surroundings(atoms, whole, np.zeros((0, 2), dtype=np.int64), _RING, _REACH, crystal)
    bases, xyz, n = around.residues, around.xyz, len(atoms)
    rings = np.array([[r.atoms[name] for name in _RING] for r in bases], dtype=np.int64).reshape(-1, 6)
    centre = xyz[rings].mean(axis=1) if len(rings) else np.zeros((0, 3))
    normal = _normals(xyz[rings], centre)
    rows: list[tuple[int, int, float, float]] = []
    counts = {"pair": [0, 0], "stack": [0, 0]}
    wobbling = 0
    known = set()
    for i, j in close_pairs(centre, _REACH).tolist():
        tilt = float(np.degrees(np.arccos(min(1.0, abs(float(normal[i] @ normal[j]))))))
        first, last = int(rings[i, 0]), int(rings[j, 0])
        if tilt > _STEEPEST or min(first, last) >= n:
            continue
        bonds = _hydrogen_bonds(xyz, bases[i], bases[j])
        if not (bonds or _on_top(centre[j] - centre[i], normal[i], normal[j])):
            continue
        seen, turned = around.seen(first, last)
        if seen in known:
            continue
        known.add(seen)
        # Where a twofold axis maps two bases onto each other, each distance is there twice.
        share = np.sqrt(2.0) if turned else 1.0
        counts["pair" if bonds else "stack"][max(first, last) >= n] += 1
        wobbling += bool(bonds) and {_LETTERS[base.name] for base in (bases[i], bases[j])} == set("GU")
        rows += [(a, b, ideal, share * sigma) for a, b, ideal in bonds]
        height = 0.0 if bonds else _STACKED
        rows += _arranged(xyz, rings[[i, j]], normal[[i, j]], height, share * _STACK_SIGMA * sigma)
    index = np.array([row[:2] for row in rows], dtype=np.int64).reshape(-1, 2)
    ideals, sigmas = (np.array([row[k] for row in rows]) for k in (2, 3))
    found = Distances("base pairs", index, ideals, sigmas, alpha, weight)
    return found, around, [_sentence(wobbling, *counts["pair"], *counts["stack"])] if rows else []


def _sentence(wobbling: int, paired: int, paired_across: int, stacked: int, stacked_across: int) -> str:
    beyond = paired_across + stacked_across
    across = f" {paired_across} and {stacked_across} of them with symmetry mates," if beyond else ""
    wobble = f", {counted(wobbling, 'wobble pair')}" if wobbling else ""
    return (
        f"{counted(paired + paired_across - wobbling, 'Watson-Crick base pair')}{wobble} and "
        f"{counted(stacked + stacked_across, 'stack')} of bases, found in the model,{across} are restrained"
    )


def _normals(ring: Float, centre: Float) -> Float:
    """Unit normals (n, 3) of rings (n, 6, 3)."""
    if not len(ring):
        return np.zeros((0, 3))
    return np.asarray(np.linalg.svd(ring - centre[:, None])[2][:, 2])


def _hydrogen_bonds(xyz: Float, one: Residue, two: Residue) -> list[tuple[int, int, float]]:
    """Hydrogen bonds of two bases, empty unless all are there and short enough."""
    letters = _LETTERS[one.name], _LETTERS[two.name]
    bonds = _PAIRS.get(frozenset(letters), ())
    purine, pyrimidine = (one, two) if letters[0] in "AG" else (two, one)
    found = []
    for name, other, ideal in bonds:
        a, b = purine.atoms.get(name), pyrimidine.atoms.get(other)
        if a is None or b is None or np.linalg.norm(xyz[a] - xyz[b]) > _LONGEST:
            return []
        found.append((a, b, ideal))
    return found


def _on_top(between: Float, one: Float, two: Float) -> bool:
    """Whether two bases lie upon each other: their distance along the normals, and sideways."""
    mean = one + np.copysign(1.0, one @ two) * two
    mean /= np.linalg.norm(mean)
    height = abs(float(between @ mean))
    sideways = float(np.linalg.norm(between - (between @ mean) * mean))
    return abs(height - _STACKED) < _HIGHEST and sideways < 3.0


def _arranged(
    xyz: Float, rings: Int, normals: Float, height: float, sigma: float
) -> list[tuple[int, int, float, float]]:
    """Distances between the ring atoms of two bases, were both parallel and at this height, sideways as they are."""
    mean = normals[0] + np.copysign(1.0, normals[0] @ normals[1]) * normals[1]
    mean /= np.linalg.norm(mean)
    flat = []
    for ring in rings:
        points = xyz[ring]
        flat.append(points - points.mean(axis=0) - ((points - points.mean(axis=0)) @ mean)[:, None] * mean)
    between = xyz[rings[1]].mean(axis=0) - xyz[rings[0]].mean(axis=0)
    along = float(between @ mean)
    shift = between + (np.copysign(height, along) - along) * mean
    delta = flat[1][None] + shift - flat[0][:, None]
    ideal = np.linalg.norm(delta, axis=2)
    return [(int(rings[0][a]), int(rings[1][b]), float(ideal[a, b]), sigma) for a in range(6) for b in range(6)]
