"""Disulfides whose sulfurs lie nearer to each other than any bond: told from clashes by where the rest of them is."""

from __future__ import annotations

import math

import gemmi

_NEAREST = 1.0
"""Å; half the length of the bond. What is nearer is one atom given twice, or one there instead of the other."""
_ANOTHER = 2.6
"""Å; a sulfur with a third one so near, or with an atom that a link joins to it, has no place for sure."""
_CB_APART = 3.0, 4.7
"""Å; from CB to CB' of disulfides, whatever their torsion, with some room (3.4 to 4.5, Hazes & Dijkstra (1988) Protein
Eng. 2, 119-125): it stays so where the sulfurs are out of place."""
_LEAST_ANGLE = 75.0
"""Degrees at SG; those that are less have passed each other."""


def is_near_disulfide(
    contact: gemmi.ContactSearch.Result, search: gemmi.NeighborSearch, structure: gemmi.Structure
) -> bool:
    """Whether two sulfurs of cysteines that lie too near each other make a disulfide, for all that can be seen.

    They do where CB-SG-SG'-CB' has the shape of one, neither has another partner, and they can be there together.

    Parameters
    ----------
    contact : gemmi.ContactSearch.Result
        Of the asymmetric unit; those with symmetry mates are none.
    search : gemmi.NeighborSearch
        Of all heavy atoms.
    structure : gemmi.Structure
        With the links that it names.
    """
    ends = contact.partner1, contact.partner2
    if any((cra.residue.name, cra.atom.name) != ("CYS", "SG") for cra in ends) or contact.dist < _NEAREST:
        return False
    one, two = (cra.atom for cra in ends)
    if contact.image_idx != 0 or one.pos.dist(two.pos) > contact.dist + 0.01:
        return False
    if one.altloc == two.altloc == "\0" and one.occ + two.occ <= 1.0:
        return False
    homes = [_home(cra) for cra in ends]
    if any(_is_taken(cra, homes, search, structure) for cra in ends):
        return False
    carbons = [_carbon(cra.residue, cra.atom.altloc) for cra in ends]
    if carbons[0] is None or carbons[1] is None:
        return False
    first, second = carbons[0].pos, carbons[1].pos
    angles = gemmi.calculate_angle(first, one.pos, two.pos), gemmi.calculate_angle(second, two.pos, one.pos)
    low, high = _CB_APART
    return low < first.dist(second) < high and min(angles) > math.radians(_LEAST_ANGLE)


def _carbon(residue: gemmi.Residue, altloc: str) -> gemmi.Atom | None:
    """CB of a conformer."""
    found = [atom for atom in residue if atom.name == "CB"]
    return next((atom for atom in found if "\0" in (altloc, atom.altloc) or atom.altloc == altloc), None)


def _home(cra: gemmi.CRA) -> tuple[str, str]:
    return cra.chain.name, str(cra.residue.seqid)


def _is_taken(
    cra: gemmi.CRA, homes: list[tuple[str, str]], search: gemmi.NeighborSearch, structure: gemmi.Structure
) -> bool:
    """Whether a sulfur has a partner beside those at home here: by a link, or a third sulfur, or metal, nearby."""
    for connection in structure.connections:
        for end in (connection.partner1, connection.partner2):
            if (end.chain_name, str(end.res_id.seqid), end.atom_name) == (*_home(cra), cra.atom.name):
                return True
    for mark in search.find_atoms(cra.atom.pos, cra.atom.altloc, radius=_ANOTHER):
        third = mark.to_cra(structure[0])
        near = third.atom.name == "SG" or third.atom.element.is_metal
        if near and (mark.image_idx != 0 or _home(third) not in homes):
            return True
    return False
