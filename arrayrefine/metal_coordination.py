"""Distances and angles at metals that the dictionary says nothing about: coordination found from distances."""

from __future__ import annotations

from collections import Counter

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.kernels.distances import close_pairs
from arrayrefine.nonbonded import COORDINATION
from arrayrefine.restraints import Distances, Restraints
from arrayrefine.wording import counted

Int = NDArray[np.int64]

# Å; mean distances by metal and donor: O of water, O of carboxylates, O of the main chain, N of histidine, S of
# cysteine (Harding, Acta Cryst. D57, 401, 2001, and D62, 678, 2006). None where too few were known.
_WATER, _CARBOXYLATE, _CARBONYL, _NITROGEN, _SULFUR = range(5)
_IDEAL: dict[str, tuple[float | None, ...]] = {
    "Na": (2.41, 2.41, 2.38, None, None),
    "Mg": (2.07, 2.07, 2.26, None, None),
    "K": (2.81, 2.82, 2.74, None, None),
    "Ca": (2.39, 2.36, 2.36, None, None),
    "Mn": (2.19, 2.15, 2.19, 2.21, 2.35),
    "Fe": (2.09, 2.04, 2.04, 2.16, 2.30),
    "Co": (2.09, 2.05, 2.08, 2.14, 2.25),
    "Cu": (2.13, 1.99, 2.04, 2.02, 2.15),
    "Zn": (2.09, 1.99, 2.07, 2.03, 2.31),
}
_LOSS = 1.0
"""Shape of the robust loss: beyond a few sigmas a constant pull, for what nothing held so far may be far off."""
_REACH = 0.8
"""Å; a donor further than this beyond its ideal distance is not coordinated."""
_ONE_SIDED = 0.4
"""Å; a carboxylate binds with one oxygen where the other is further away by more."""
_TETRAHEDRAL = 109.5
_ANGLE_SIGMA = 5.0
"""Degrees; of donor-metal-donor angles of tetrahedral zinc, turned into a sigma of the donors' distance."""


def metal_coordination(
    atoms: Atoms, restraints: Restraints, sigma: float, weight: float
) -> tuple[Distances, list[str]]:
    """Robust restraints on metal-donor distances, and on donor-donor distances of zinc with four N or S donors.

    Only single metals (ions) within the model as given; what the dictionary restrains already is left to it.

    Parameters
    ----------
    atoms : Atoms
    restraints : Restraints
    sigma : float, Å
    weight : float
        See `Distances`.

    Returns
    -------
    Distances
    list of str
        What was found.
    """
    ions = np.flatnonzero(np.isin(atoms.element, list(_IDEAL)) & _alone(atoms))
    found: list[tuple[int, int, float]] = []
    angles: list[tuple[int, int, float, float]] = []
    labels: Counter[str] = Counter()
    for ion, donors in _donors(atoms, restraints, ions).items():
        distances = {d: ideal for d in donors if (ideal := _ideal(atoms, ion, d)) is not None}
        distances = _without_bidentate(atoms, ion, distances)
        found += [(ion, d, ideal) for d, ideal in distances.items()]
        labels.update(f"{atoms.element[ion]}-{atoms.element[d]}" for d in distances)
        angles += _tetrahedron(atoms, ion, distances)
    index = np.array([(a, b) for a, b, _ in found] + [(a, b) for a, b, *_ in angles], dtype=np.int64).reshape(-1, 2)
    ideals = np.array([x for *_, x in found] + [x for _, _, x, _ in angles])
    sigmas = np.array([sigma] * len(found) + [s for *_, s in angles])
    made = Distances("metal", index, ideals, sigmas, _LOSS, weight)
    if not found:
        return made, []
    kinds = ", ".join(f"{n} x {label}" for label, n in sorted(labels.items()))
    more = f", and {counted(len(angles), 'angle')} of tetrahedral zinc" if angles else ""
    return made, [
        f"{counted(len(found), 'metal-ligand distance')} without a dictionary length found: {kinds}{more}; restrained "
        "to mean values of the literature (--external.metals)"
    ]


def _alone(atoms: Atoms) -> NDArray[np.bool_]:
    """(N,) True for atoms that are their residue, alternates aside."""
    who = atoms.identity
    _, row = np.unique(who.residue, return_inverse=True)
    named = np.unique(np.column_stack([row, np.unique(who.atom_name, return_inverse=True)[1]]), axis=0)[:, 0]
    return np.asarray(np.bincount(named)[row] == 1)


def _donors(atoms: Atoms, restraints: Restraints, ions: Int) -> dict[int, list[int]]:
    """O, N and S near each ion, in conformers that can be there together, without those bonded by the dictionary."""
    if not len(ions):
        return {}
    candidates = np.flatnonzero(np.isin(atoms.element, ("N", "O", "S")))
    subset = np.concatenate([ions, candidates])
    pairs = subset[close_pairs(atoms.xyz[subset], COORDINATION)]
    is_ion = np.zeros(len(atoms), dtype=bool)
    is_ion[ions] = True
    bonded = {frozenset(pair) for pair in restraints.bonds.index[is_ion[restraints.bonds.index].any(axis=1)].tolist()}
    conformer = restraints.non_bonded.conformer
    near: dict[int, list[int]] = {}
    for a, b in pairs[is_ion[pairs].sum(axis=1) == 1].tolist():
        ion, donor = (a, b) if is_ion[a] else (b, a)
        together = 0 in (conformer[ion], conformer[donor]) or conformer[ion] == conformer[donor]
        if together and frozenset((ion, donor)) not in bonded:
            near.setdefault(ion, []).append(donor)
    return near


def _ideal(atoms: Atoms, ion: int, donor: int) -> float | None:
    """Distance to be expected, Å; None where none is known, or the atom is too far to be a donor."""
    who = atoms.identity
    residue, name, element = str(who.residue_name[donor]), str(who.atom_name[donor]), str(atoms.element[donor])
    if element == "N":
        kind = _NITROGEN if residue == "HIS" and name in ("ND1", "NE2") else None
    elif element == "S":
        kind = _SULFUR if residue == "CYS" else None
    elif gemmi.find_tabulated_residue(residue).is_water():
        kind = _WATER
    elif (residue, name[:2]) in (("ASP", "OD"), ("GLU", "OE")):
        kind = _CARBOXYLATE
    else:
        kind = _CARBONYL if name == "O" and gemmi.find_tabulated_residue(residue).is_amino_acid() else None
    ideal = None if kind is None else _IDEAL[str(atoms.element[ion])][kind]
    found = float(np.linalg.norm(atoms.xyz[ion] - atoms.xyz[donor]))
    return ideal if ideal is not None and found < ideal + _REACH else None


def _without_bidentate(atoms: Atoms, ion: int, ideals: dict[int, float]) -> dict[int, float]:
    """Distances to be expected, of a carboxylate with both oxygens near only that of one clearly nearer.

    The means are those of carboxylates that bind with one oxygen. Where both do, their distances range widely (Harding,
    2006), and where one does, the other may be near without being a donor.
    """
    who = atoms.identity
    pairs: dict[tuple[int, str], list[int]] = {}
    for d in ideals:
        if (who.residue_name[d], who.atom_name[d][:2]) in (("ASP", "OD"), ("GLU", "OE")):
            pairs.setdefault((int(who.residue[d]), str(who.altloc[d])), []).append(d)
    dropped: set[int] = set()
    for both in (oxygens for oxygens in pairs.values() if len(oxygens) == 2):
        near, far = sorted(both, key=lambda d: float(np.linalg.norm(atoms.xyz[d] - atoms.xyz[ion])))
        apart = np.linalg.norm(atoms.xyz[far] - atoms.xyz[ion]) - np.linalg.norm(atoms.xyz[near] - atoms.xyz[ion])
        dropped |= {far} if apart > _ONE_SIDED else {near, far}
    return {d: ideal for d, ideal in ideals.items() if d not in dropped}


def _tetrahedron(atoms: Atoms, ion: int, ideals: dict[int, float]) -> list[tuple[int, int, float, float]]:
    """Donor-donor distances and their sigma of a zinc with four donors N or S, each once and without alternates."""
    donors = list(ideals)
    simple = all(atoms.identity.altloc[d] == "" and atoms.element[d] in ("N", "S") for d in donors)
    if atoms.element[ion] != "Zn" or len(donors) != 4 or not simple:
        return []
    cosine, sine = np.cos(np.radians(_TETRAHEDRAL)), np.sin(np.radians(_TETRAHEDRAL))
    rows = []
    for k, one in enumerate(donors):
        for two in donors[k + 1 :]:
            a, b = ideals[one], ideals[two]
            distance = float(np.sqrt(a * a + b * b - 2.0 * a * b * cosine))
            rows.append((one, two, distance, float(a * b * sine / distance * np.radians(_ANGLE_SIGMA))))
    return rows
