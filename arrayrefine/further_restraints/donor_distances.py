"""Distances at metals that the dictionary says nothing about: what is to be expected of each donor."""

from __future__ import annotations

from typing import NamedTuple

import gemmi
import numpy as np

from arrayrefine.atoms import Atoms

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
_REACH, _OTHER_REACH = 0.8, 0.3
"""Å; a donor further than this beyond its ideal distance is not coordinated; nor, beyond the second, are atoms of which
only the element says that they may be donors: of ligands, phosphates, hydroxyls or bases, and halides."""
_ONE_SIDED = 0.4
"""Å; a carboxylate binds with one oxygen where the other is further away by more."""
_TETRAHEDRAL = 109.5
_ANGLE_SIGMA = 5.0
"""Degrees; of donor-metal-donor angles of tetrahedral zinc, turned into a sigma of the donors' distance."""
METALS = (*_IDEAL, *_POLAR)
"""Of which distances can be told."""


class Row(NamedTuple):
    """A distance between two atoms that is restrained, and its sigma, Å."""

    one: int
    two: int
    ideal: float
    sigma: float


class Bond(NamedTuple):
    """The distance of a metal and a donor, and where its ideal comes from."""

    row: Row
    source: str


def shell(
    atoms: Atoms, ion: int, donors: list[int], alone: bool, sigma: float
) -> tuple[list[Bond], list[Row]]:
    """Distances from a metal to its donors, and those that hold a tetrahedron of these.

    Parameters
    ----------
    atoms : Atoms
    ion : int
        The metal.
    donors : list of int
        Atoms near it that may be donors; those that are too far are left out.
    alone : bool
        Whether the metal is its residue, and not a part of a component.
    sigma : float, Å
        Of a distance that was measured for the metal.
    """
    expected = {d: ideal for d in donors if (ideal := _ideal(atoms, ion, d, alone)) is not None}
    distances, both = _of_groups(atoms, ion, {d: ideal.length for d, ideal in expected.items()})
    rows = [Row(ion, d, ideal, expected[d].looseness * sigma) for d, ideal in distances.items()]
    rows += [Row(ion, d, ideal, _ESTIMATED * sigma) for d, ideal in both.items()]
    known = {True: "mean values of the literature", False: "sums of covalent radii"}
    bonds = [Bond(row, f"{known[expected[row.two].measured]} ({atoms.element[ion]})") for row in rows]
    return bonds, _tetrahedron(atoms, ion, distances)


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


def _tetrahedron(atoms: Atoms, ion: int, ideals: dict[int, float]) -> list[Row]:
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
            rows.append(Row(one, two, distance, float(a * b * sine / distance * np.radians(_ANGLE_SIGMA))))
    return rows
