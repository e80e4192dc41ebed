"""Hydrogens that a modification takes off under other names than the component has, as with old dictionaries."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import gemmi

from arrayrefine.topology.atom_names import bonded_to, hydrogens_of

_DELETED = ord("d")
"""What a modification does to an atom or a bond, as gemmi keeps it."""


def mend_modification_names(monlib: gemmi.MonLib, components: Iterable[str], own_links: Collection[str] = ()) -> None:
    """Let modifications of links take off the hydrogens that the component has, in place.

    A peptide's amide, NH2, has HN, HN1 and HN2 in older libraries, whose modification takes off H: all three stayed
    beside the bond to the peptide, and none had a place. Of an atom that has as many hydrogens that link and
    modification do not name as the modification takes off in vain, these are meant.

    Parameters
    ----------
    monlib : gemmi.MonLib
    components : iterable of str
        Components of a library, not the user's own.
    own_links : collection of str
        Links that shall stay as they are.
    """
    names = set(components)
    for key in monlib.links:
        link = monlib.links[key]
        for number, side in ((1, link.side1), (2, link.side2)):
            if key not in own_links and side.comp in names and side.mod in monlib.modifications:
                modification = monlib.modifications[side.mod]
                meant = _meant(monlib.monomers[side.comp], modification, _named_by(link, number))
                if meant:
                    _rename(modification, meant)


def _meant(component: gemmi.ChemComp, modification: gemmi.ChemMod, named: set[str]) -> dict[str, str]:
    """Names of the component's hydrogens by those that the modification takes off and the component lacks."""
    atoms, hydrogens = {atom.id for atom in component.atoms}, hydrogens_of(component)
    gone = {atom.old_id for atom in modification.atom_mods if atom.func == _DELETED}
    parents: dict[str, list[str]] = {}
    for bond in modification.rt.bonds:
        for child, parent in ((bond.id1.atom, bond.id2.atom), (bond.id2.atom, bond.id1.atom)):
            if bond.id1.comp == _DELETED and child in gone - atoms and parent in atoms - hydrogens:
                parents.setdefault(parent, []).append(child)
    named = named | gone | {end.atom for angle in modification.rt.angles for end in (angle.id1, angle.id3)}
    meant: dict[str, str] = {}
    for parent, lost in parents.items():
        free = [name for name in bonded_to(parent, component) if name in hydrogens - named]
        if len(free) == len(lost):
            meant |= zip(lost, free, strict=True)
    return meant


def _named_by(link: gemmi.ChemLink, side: int) -> set[str]:
    """Atoms of one side that a link restrains."""
    own = link.rt
    ends = [end for bond in own.bonds for end in (bond.id1, bond.id2)]
    ends += [end for angle in own.angles for end in (angle.id1, angle.id2, angle.id3)]
    ends += [end for plane in own.planes for end in plane.ids]
    return {end.atom for end in ends if end.comp == side}


def _rename(modification: gemmi.ChemMod, meant: dict[str, str]) -> None:
    """Name atoms otherwise in whatever a modification does."""
    for atom in modification.atom_mods:
        atom.old_id = meant.get(atom.old_id, atom.old_id)
    own = modification.rt
    for rows, items in (
        (own.bonds, ("id1", "id2")), (own.angles, ("id1", "id2", "id3")), (own.torsions, ("id1", "id2", "id3", "id4")),
        (own.chirs, ("id_ctr", "id1", "id2", "id3")),
    ):  # fmt: skip
        for row in rows:
            for item in items:
                end = getattr(row, item)
                if end.atom in meant:
                    setattr(row, item, gemmi.Restraints.AtomId(end.comp, meant[end.atom]))
    for plane in own.planes:
        plane.ids = [gemmi.Restraints.AtomId(end.comp, meant.get(end.atom, end.atom)) for end in plane.ids]
