"""Distances and angles at metals that the dictionary says nothing about: coordination found from distances."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import NamedTuple

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import SAME_PLACE, Crystal
from arrayrefine.further_restraints.neighbour_distances import lengths
from arrayrefine.kernels.contacts import neighbour_pairs
from arrayrefine.kernels.distances import close_pairs
from arrayrefine.kernels.mates import placed
from arrayrefine.restraints import Across, Distances, Mates, Restraints
from arrayrefine.topology.metal_rings import Bound, turned_rings
from arrayrefine.topology.nonbonded import COORDINATION
from arrayrefine.wording import counted, listed

Float = NDArray[np.float64]
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
_ELEMENTS = ("N", "O", "S", "Se", "F", "Cl", "Br", "I")
"""Of donors."""
_ESTIMATED = 2.0
"""Times the standard uncertainty of a distance that is the sum of two covalent radii, of a carboxylate's with both
oxygens, to another atom than those above, or of a metal that is a part of a component."""
_POLAR = {
    **dict.fromkeys(["Li", "Rb", "Sr", "Ba", "Ru", "Rh", "Pd", "Os", "Ir", "Pt", "Au"], 0.0),
    **dict.fromkeys(["Sc", "Ti", "V", "Cr", "Ni", "Ag", "Cd", "Hg"], 0.12),
    **dict.fromkeys(["La", "Ce", "Pr", "Nd", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu"], -0.2),
}
"""Å to be added to sums of covalent radii for O and N as donors, by metals that are not above. So corrected the sums
are within 0.1 Å of 22 of the 25 distances above for Mn to Zn; other metals have no sums that would be as good."""
_BIDENTATE = 0.15
"""Å; by how much further away the oxygens of a carboxylate are that both bind."""
_LOSS = 1.0
"""Shape of the robust loss: beyond a few sigmas a constant pull, for what nothing held so far may be far off."""
_DONOR = 0.2
"""Å; atoms that are no further than this beyond their ideal distance are donors for sure. The loss is quadratic for
them: where data are few, density of a heavy metal pulls its donors in, against what contacts are left out for."""
_COLLAPSED = 0.7
"""Å; atoms nearer than the ideal by more are hardly what they are called: a water in the place of an ion, say."""
_INSTEAD = 1.5
"""Å; atoms nearer than this whose occupancies sum to no more than 1 are there instead of each other."""
_REACH, _OTHER_REACH = 0.8, 0.3
"""Å; a donor further than this beyond its ideal distance is not coordinated; nor, beyond the second, are atoms of which
only the element says that they may be donors: of ligands, phosphates, hydroxyls or bases, and halides."""
_ONE_SIDED = 0.4
"""Å; a carboxylate binds with one oxygen where the other is further away by more."""
_TETRAHEDRAL = 109.5
_ANGLE_SIGMA = 5.0
"""Degrees; of donor-metal-donor angles of tetrahedral zinc, turned into a sigma of the donors' distance."""


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
    metals = np.isin(atoms.element, [*_IDEAL, *_POLAR]) & (atoms.occupancy > 0.0)
    lone = _alone(atoms)
    ions = np.flatnonzero(metals & lone)
    mates, names = Mates(np.zeros(0, dtype=np.int64), np.zeros((0, 3, 3)), np.zeros((0, 3))), list[str]()
    if crystal is not None and len(ions):
        mates, names = _donor_mates(atoms, ions, crystal, restraints.across)
        atoms = _with_mates(atoms, mates)
        conformer, peptide = (np.concatenate([of, of[mates.source]]) for of in (conformer, peptide))
    found: list[tuple[int, int, float, float]] = []
    angles: list[tuple[int, int, float, float]] = []
    labels: Counter[str] = Counter()
    sources: set[str] = set()
    for ion, donors in _donors(atoms, restraints, np.flatnonzero(metals), conformer).items():
        metal, alone = str(atoms.element[ion]), bool(lone[ion])
        if not alone:
            donors = [d for d in donors if d < n and atoms.identity.residue[d] != atoms.identity.residue[ion]]
        expected = {d: ideal for d in donors if not peptide[d] and (ideal := _ideal(atoms, ion, d, alone)) is not None}
        distances, both = _of_groups(atoms, ion, {d: ideal.length for d, ideal in expected.items()})
        found += [(ion, d, ideal, expected[d].looseness * sigma) for d, ideal in distances.items()]
        found += [(ion, d, ideal, _ESTIMATED * sigma) for d, ideal in both.items()]
        for d in (*distances, *both):
            labels[f"{metal}-{atoms.element[d]}"] += 1
            known = "mean values of the literature" if expected[d].measured else "sums of covalent radii"
            sources.add(f"{known} ({metal})")
        angles += _tetrahedron(atoms, ion, distances)
    rows = found + angles
    index = np.array([(a, b) for a, b, *_ in rows], dtype=np.int64).reshape(-1, 2)
    ideals, sigmas = np.array([x for _, _, x, _ in rows]), np.array([s for *_, s in rows])
    apart = lengths(atoms.xyz, index) - ideals
    sure = (apart < _DONOR) & (apart > -_COLLAPSED)
    beyond = np.any(index >= n, axis=1)
    others = np.where(index >= n, index + len(restraints.across), index)

    def pair(kind: str, rows: NDArray[np.int64], chosen: NDArray[np.bool_]) -> tuple[Distances, Distances]:
        near, far = np.flatnonzero(chosen & sure), np.flatnonzero(chosen & ~sure)
        return (
            Distances(kind, rows[near], ideals[near], sigmas[near], 2.0, weight),
            Distances(f"{kind}, robust", rows[far], ideals[far], sigmas[far], _LOSS, weight),
        )

    made = pair("metal", index, ~beyond), mates, pair("metal to mate", others, beyond)
    if not found:
        return Coordination(*made, [])
    kinds = ", ".join(f"{n} x {label}" for label, n in sorted(labels.items()))
    more = f", and {counted(len(angles), 'angle')} of tetrahedral zinc" if angles else ""
    beyond_labels = [f"{atoms.identity.label(d)} ({names[d - n]})" for _, d, *_ in found if d >= n]
    mated = f"; {len(beyond_labels)} of them to symmetry mates: {listed(beyond_labels)}" if beyond_labels else ""
    return Coordination(*made, [
        f"{counted(len(found), 'metal-ligand distance')} without a dictionary length found: {kinds}{more}; restrained "
        f"to {', '.join(sorted(sources))}{mated} (--external.metals)",
        *turned_rings(atoms, restraints.bonds, [_bound(atoms, ion, d, mates, names) for ion, d, *_ in found]),
    ])  # fmt: skip


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
        if any(still) or (one, two, *_name(rotation, shift)) in bonded:
            continue
        alike = one, two, round(float(np.linalg.norm(place - atoms.xyz[one])) / SAME_PLACE)
        if alike not in seen:
            seen.add(alike)
            chosen[(two, *_name(rotation, shift))] = (
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
            found.add((atom, int(source), *_name(rotation, shift)))
            found.add((int(source), atom, *_name(rotation.T, -rotation.T @ shift)))
    return found


def _name(rotation: Float, shift: Float) -> tuple[bytes, bytes]:
    """An operator as something to compare; adding zero makes -0 and 0 one."""
    return (rotation.round(6) + 0.0).tobytes(), (shift.round(3) + 0.0).tobytes()


def _with_mates(atoms: Atoms, mates: Mates) -> Atoms:
    """The atoms and, behind them, mates, which belong to residues of their own."""
    n, count = len(atoms), len(mates.source)
    both = atoms.taken(np.concatenate([np.arange(n), mates.source]))
    operator = [_name(*how) for how in zip(mates.rotation, mates.shift)]
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


class _Expected(NamedTuple):
    """Distance of a donor, Å, whether it was measured for the metal, and by how much its sigma is larger."""

    length: float
    measured: bool
    looseness: float


def _ideal(atoms: Atoms, ion: int, donor: int, alone: bool = True) -> _Expected | None:
    """Distance to be expected; None where the atom is too far to be a donor.

    Metals that are not `alone` have donors in their component, and bind others only where these are near.
    """
    who, metal = atoms.identity, str(atoms.element[ion])
    residue, name, element = str(who.residue_name[donor]), str(who.atom_name[donor]), str(atoms.element[donor])
    kind, typical = _kind(residue, name, element, metal)
    known = _IDEAL[metal][kind] if metal in _IDEAL and kind is not None else None
    length = _sum_of_radii(metal, element) if known is None else known
    loose = known is None or not typical or not alone
    found = float(np.linalg.norm(atoms.xyz[ion] - atoms.xyz[donor]))
    if found > length + (_REACH if typical and alone else _OTHER_REACH):
        return None
    return _Expected(length, known is not None, _ESTIMATED if loose else 1.0)


def _kind(residue: str, name: str, element: str, metal: str) -> tuple[int | None, bool]:
    """Which of the distances that are known is a donor's, if any, and whether its like were measured."""
    tabulated = gemmi.find_tabulated_residue(residue)
    if element == "N":
        return _NITROGEN, residue == "HIS" and name in ("ND1", "NE2")
    if element == "S":
        return _SULFUR, residue == "CYS" or (residue == "MET" and metal not in _IDEAL)
    if element != "O":
        return None, False
    if tabulated.is_water():
        return _WATER, True
    if (residue, name[:2]) in (("ASP", "OD"), ("GLU", "OE")):
        return _CARBOXYLATE, True
    main_chain = name == "O" and tabulated.is_amino_acid()
    return (_CARBONYL, True) if main_chain else (_WATER, False)


def _sum_of_radii(metal: str, donor: str) -> float:
    """Sum of covalent radii, Å, shorter or longer as oxygen and nitrogen are bound."""
    polar = _POLAR.get(metal, 0.0) if donor in ("N", "O") else 0.0
    return gemmi.Element(metal).covalent_r + gemmi.Element(donor).covalent_r + polar


def _of_groups(atoms: Atoms, ion: int, ideals: dict[int, float]) -> tuple[dict[int, float], dict[int, float]]:
    """Distances to be expected without those of atoms whose group binds with another, and of groups that bind with two.

    A histidine binds with the nearer nitrogen. A carboxylate with one oxygen clearly nearer binds with it, and the
    other may be near without being a donor; where both bind, they are further away, and their distances range widely
    (Harding, 2006).
    """
    who = atoms.identity
    kinds = {("ASP", "OD"), ("GLU", "OE"), ("HIS", "ND"), ("HIS", "NE")}
    groups: dict[tuple[int, str], list[int]] = {}
    for d in ideals:
        if (who.residue_name[d], who.atom_name[d][:2]) in kinds:
            groups.setdefault((int(who.residue[d]), str(who.altloc[d])), []).append(d)
    single, both = dict(ideals), dict[int, float]()
    for pair in (pair for pair in groups.values() if len(pair) == 2):
        distance = {d: float(np.linalg.norm(atoms.xyz[d] - atoms.xyz[ion])) for d in pair}
        near, far = sorted(pair, key=distance.__getitem__)
        if atoms.element[near] == "N" or distance[far] - distance[near] > _ONE_SIDED:
            del single[far]
        else:
            both |= {d: single.pop(d) + _BIDENTATE for d in pair}
    return single, both


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
