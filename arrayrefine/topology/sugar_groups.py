"""Sugars that no dictionary calls so, told by their bonds, for the links that a library has for sugars."""

from __future__ import annotations

from collections.abc import Iterable

import gemmi

from arrayrefine.topology.atom_names import bonded_atoms
from arrayrefine.topology.dictionary_contents import set_groups_by_bonds

_RINGS = {
    "pyranose": ("O5", "C1", "C2", "C3", "C4", "C5"),
    "ketopyranose": ("O6", "C2", "C3", "C4", "C5", "C6"),
}  # fmt: skip
"""Names of the atoms of rings in turn, oxygen and the anomeric carbon first: links of a library go by them."""
_HETERO = ("O", "N", "S", "F")
_FEWEST = 2
"""Carbons of the ring beside its oxygen's that carry one of these; tetrahydropyrans that are no sugars have fewer."""


def sugar_group(component: gemmi.ChemComp) -> str:
    """The group of a component by its bonds.

    A sugar has a saturated ring of an oxygen and five carbons. Its anomeric carbon has no other oxygen than that of the
    ring and one that a link may replace, and in a ketose one more carbon.

    Parameters
    ----------
    component : gemmi.ChemComp

    Returns
    -------
    {"pyranose", "ketopyranose", ""}
        "" also where the names of the atoms are not those that links of sugars have.
    """
    element = {atom.id: atom.el.name for atom in component.atoms if not atom.is_hydrogen()}
    bonded = bonded_atoms(component)
    near = {name: bonded.get(name, set()) & element.keys() for name in element}
    unsaturated = {
        end.atom for bond in component.rt.bonds for end in (bond.id1, bond.id2)
        if bond.type not in (gemmi.BondType.Single, gemmi.BondType.Unspec)
    }  # fmt: skip
    for group, ring in _RINGS.items():
        if not element.keys() >= set(ring) or unsaturated & set(ring):
            continue
        if any(b not in near[a] for a, b in zip(ring, (*ring[1:], ring[0]))):
            continue
        carries = [sorted(element[other] for other in near[atom] - set(ring)) for atom in ring]
        anomeric = carries[1]
        carbons = anomeric.count("C")
        if carbons != (group == "ketopyranose") or len(anomeric) - carbons > 1:
            continue
        if sum(any(one in _HETERO for one in others) for others in carries[2:5]) >= _FEWEST:
            return group
    return ""


def set_sugar_groups(monlib: gemmi.MonLib, components: Iterable[str]) -> list[str]:
    """Give components without a group, or called no polymer, the group of the sugars that they are, in place.

    Parameters
    ----------
    monlib : gemmi.MonLib
    components : iterable of str

    Returns
    -------
    list of str
        What was found.
    """
    sentence = "component {name} is a {group} by its bonds: the links that the library has for these apply"
    return set_groups_by_bonds(monlib, components, sugar_group, sentence)
