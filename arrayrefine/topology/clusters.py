"""Iron-sulphur clusters whose dictionary draws them with right angles, as the CCP4 monomer library does.

A cube with Fe-S of 2.135 Å and hydrogens on its sulphides contradicts the angles of its own links to cysteine, and no
cluster looks like that. In Fe4S4 the irons are a tetrahedron inside that of the sulphides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

import gemmi


class _Shape(NamedTuple):
    """Ideals of a cluster: lengths in Å, angles in degrees."""

    name: str
    length: float
    length_sigma: float
    at_iron: float
    at_sulphide: float
    thiolate: tuple[float, float, float, float] | None
    """Fe-SG with its sigma and S-Fe-SG with its sigma; None to leave the library's."""


_SHAPES = {
    # Fe4S4: the means of the dictionary of Phenix (geostd, 2.275, 104.4, 73.4), as a figure with the symmetry of a
    # tetrahedron, which has S-Fe-SG at 114.3; sigma of lengths covers the usual compression along one axis. Its
    # cysteines: Moriarty & Adams, Acta Cryst. D75, 16-20 (2019).
    3: _Shape("cubane", 2.28, 0.03, 104.3, 73.5, (2.268, 0.034, 114.2, 6.0)),
    # Fe2S2: Mayerle et al., J. Am. Chem. Soc. 97, 1032-1045 (1975).
    2: _Shape("rhombus", 2.21, 0.02, 104.7, 75.3, None),
}
"""By the number of irons that each sulphide bridges."""
_SQUARE = 2.0
"""Degrees; S-Fe-S this near to 90 is a drawing, and not a measured value."""


def mend_clusters(monlib: gemmi.MonLib, components: Iterable[str], own_links: Collection[str] = ()) -> list[str]:
    """Give Fe2S2 and Fe4S4 that a library draws with right angles the shape that they have, in place.

    Hydrogens of their sulphides are removed. Clusters are told by their bonds, not by their name.

    Parameters
    ----------
    monlib : gemmi.MonLib
    components : iterable of str
        Components that may be changed: those of a library, not the user's own.
    own_links : collection of str
        Links that shall stay as they are.

    Returns
    -------
    list of str
        What was changed.
    """
    notes = []
    for name in components:
        component = monlib.monomers[name]
        shape = _shape(component)
        if shape is None:
            continue
        component.remove_hydrogens()
        element = {atom.id: atom.el.name for atom in component.atoms}
        for bond in component.rt.bonds:
            bond.value, bond.esd = shape.length, shape.length_sigma
        for angle in component.rt.angles:
            angle.value = shape.at_iron if element[angle.id2.atom] == "Fe" else shape.at_sulphide
        for key in monlib.links:
            if key not in own_links and shape.thiolate is not None:
                _mend_link(monlib.links[key], name, element, shape.thiolate)
        notes.append(
            f"{name}, which its dictionary draws with right angles, is restrained as the {shape.name} that it is: "
            f"Fe-S {shape.length:g} Å, S-Fe-S {shape.at_iron:g}°, Fe-S-Fe {shape.at_sulphide:g}°"
        )
    return notes


def _shape(component: gemmi.ChemComp) -> _Shape | None:
    """The shape of a cluster that is drawn with right angles; None for all else."""
    element = {atom.id: atom.el.name for atom in component.atoms if not atom.is_hydrogen()}
    if set(element.values()) != {"Fe", "S"}:
        return None
    bridges = dict.fromkeys((atom for atom, kind in element.items() if kind == "S"), 0)
    for bond in component.rt.bonds:
        ends = (bond.id1.atom, bond.id2.atom)
        if {element.get(end) for end in ends} == {"Fe", "S"}:
            bridges[ends[0] if ends[0] in bridges else ends[1]] += 1
    count = set(bridges.values())
    irons = len(element) - len(bridges)
    if len(count) != 1 or irons != len(bridges):
        return None
    angles = [
        angle.value
        for angle in component.rt.angles
        if element.get(angle.id2.atom) == "Fe" and {angle.id1.atom, angle.id3.atom} <= bridges.keys()
    ]
    drawn = bool(angles) and all(abs(value - 90.0) < _SQUARE for value in angles)
    return _SHAPES.get(count.pop()) if drawn else None


def _mend_link(
    link: gemmi.ChemLink, name: str, element: dict[str, str], thiolate: tuple[float, float, float, float]
) -> None:
    """Restraints of a link between an iron of the cluster and a cysteine."""
    sides = (link.side1.comp, link.side2.comp)
    if set(sides) != {name, "CYS"}:
        return
    side = 1 + sides.index(name)

    def kind(end: gemmi.Restraints.AtomId) -> str | None:
        return element.get(end.atom) if end.comp == side else end.atom

    length, length_sigma, angle_value, angle_sigma = thiolate
    for bond in link.rt.bonds:
        if {kind(bond.id1), kind(bond.id2)} == {"Fe", "SG"}:
            bond.value, bond.esd = length, length_sigma
    for angle in link.rt.angles:
        if kind(angle.id2) == "Fe" and {kind(angle.id1), kind(angle.id3)} == {"S", "SG"}:
            angle.value, angle.esd = angle_value, angle_sigma
