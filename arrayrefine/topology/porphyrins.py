"""Irons of porphyrins, which the CCP4 monomer library draws off the centre or too far from its nitrogens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations

import gemmi

from arrayrefine.topology.atom_names import bonded_atoms

# Mean and spread over spin states, 1.99 (low spin) to 2.085 Å (high spin, ferrous); an iron with one axial ligand lies
# up to 0.4 Å out of the plane of the nitrogens: Scheidt & Reed, Chem. Rev. 81, 543-555 (1981).
_LENGTH, _LENGTH_SIGMA = 2.04, 0.04
_CIS, _CIS_SIGMA, _TRANS, _TRANS_SIGMA = 90.0, 3.0, 180.0, 10.0
"""Degrees, N-Fe-N."""
_SOUND = 0.045
"""Å; a dictionary whose four Fe-N are all this near to the mean has been measured, and is left as it is."""
_AROUND = 4
"""Bonds between the nitrogens of neighbouring pyrroles, along the bridge of one atom."""


def mend_porphyrins(monlib: gemmi.MonLib, components: Iterable[str]) -> list[str]:
    """Put irons at the centres of their porphyrins, in place.

    Fe-N have one ideal, angles at the iron are 90° and 180°, those at each nitrogen are equal, and the iron belongs to
    no plane of a pyrrole. Porphyrins are told by their bonds, not by their name.

    Parameters
    ----------
    monlib : gemmi.MonLib
    components : iterable of str
        Components that may be changed: those of a library, not the user's own.

    Returns
    -------
    list of str
        What was changed.
    """
    notes = []
    for name in components:
        component = monlib.monomers[name]
        for iron, near in _irons(component):
            bonds = [bond for bond in component.rt.bonds if iron in (bond.id1.atom, bond.id2.atom)]
            bonds = [bond for bond in bonds if near.keys() & {bond.id1.atom, bond.id2.atom}]
            lengths = [bond.value for bond in bonds]
            if all(abs(length - _LENGTH) < _SOUND for length in lengths):
                continue
            for bond in bonds:
                bond.value, bond.esd = _LENGTH, _LENGTH_SIGMA
            _mend_angles(component, iron, near)
            for plane in component.rt.planes:
                plane.ids = [atom for atom in plane.ids if atom.atom != iron]
            low, high = f"{min(lengths):.2f}", f"{max(lengths):.2f}"
            found = low if low == high else f"{low} to {high}"
            notes.append(
                f"{name}, whose dictionary has Fe-N of {found} Å, is restrained as iron porphyrins are: four Fe-N of "
                f"{_LENGTH:g} Å within {_LENGTH_SIGMA:g} Å, N-Fe-N {_CIS:g}° and {_TRANS:g}°"
            )
    return notes


def _irons(component: gemmi.ChemComp) -> list[tuple[str, dict[str, set[str]]]]:
    """Irons of porphyrins, each with its four nitrogens and the two of them that are beside each."""
    element = {atom.id: atom.el.name for atom in component.atoms if not atom.is_hydrogen()}
    bonded = bonded_atoms(component)
    near = {name: bonded.get(name, set()) & element.keys() for name in element}
    found = []
    for iron in (name for name, kind in element.items() if kind == "Fe"):
        nitrogens = [name for name in sorted(near[iron]) if element[name] == "N"]
        beside: dict[str, set[str]] = {name: set() for name in nitrogens}
        for one, two in combinations(nitrogens, 2):
            if _bonds_between(one, two, near, iron) == _AROUND:
                beside[one].add(two)
                beside[two].add(one)
        if len(nitrogens) == 4 and all(len(two) == 2 for two in beside.values()):
            found.append((iron, beside))
    return found


def _bonds_between(one: str, two: str, near: Mapping[str, set[str]], without: str) -> int | None:
    """Bonds of the shortest way from atom to atom, not by way of another; None where there is none."""
    seen, front, length = {one, without}, {one}, 0
    while front:
        if two in front:
            return length
        front = {name for atom in front for name in near[atom]} - seen
        seen |= front
        length += 1
    return None


def _mend_angles(component: gemmi.ChemComp, iron: str, near: Mapping[str, set[str]]) -> None:
    """Angles at the iron and, between it and the pyrrole, at its nitrogens."""
    inside = {
        angle.id2.atom: angle.value
        for angle in component.rt.angles
        if angle.id2.atom in near and iron not in (angle.id1.atom, angle.id3.atom)
    }
    for angle in component.rt.angles:
        ends = {angle.id1.atom, angle.id3.atom}
        if angle.id2.atom == iron and ends <= near.keys():
            cis = angle.id3.atom in near[angle.id1.atom]
            angle.value, angle.esd = (_CIS, _CIS_SIGMA) if cis else (_TRANS, _TRANS_SIGMA)
        elif angle.id2.atom in inside and iron in ends:
            angle.value = (360.0 - inside[angle.id2.atom]) / 2.0
