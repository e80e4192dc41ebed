"""Hydrogen bonds that a model names as if they were covalent bonds."""

from __future__ import annotations

import math

import gemmi

from arrayrefine.topology.link_lengths import typical_length
from arrayrefine.wording import are, counted, listed

FAR = 5.0
"""Å; a named link longer than this is left out as a mistake."""
_BEYOND = 0.9
"""Å more than a bond; three times what two atoms that are 0.2 Å off along each axis change it by. N and O come to
2.3 Å with it, and no hydrogen bond between them is that short (Jeffrey (1997) An Introduction to Hydrogen Bonding)."""
_STRONG = frozenset({"N", "O"})
_WEAK = frozenset({"F", "S", "Cl", "Br", "I"})


def mark_hydrogen_bonds(structure: gemmi.Structure, monlib: gemmi.MonLib) -> list[str]:
    """Take links for hydrogen bonds that no library describes, far too long and between atoms such as these have.

    Restraints on hydrogen bonds, of secondary structure and base pairs, come out of PHENIX as rows of `_struct_conn`
    of type covale.

    Parameters
    ----------
    structure : gemmi.Structure
        With cell and images. The type of such connections is changed in place.
    monlib : gemmi.MonLib

    Returns
    -------
    list of str
        Which links were taken for hydrogen bonds.
    """
    taken: list[str] = []
    for connection in structure.connections:
        if connection.type in (gemmi.ConnectionType.Hydrog, gemmi.ConnectionType.MetalC):
            continue
        ends = connection.partner1, connection.partner2
        one, two = (structure[0].find_cra(end, ignore_segment=True).atom for end in ends)
        if one is None or two is None or not _may_bond(one, two):
            continue
        longest = typical_length(one.element, two.element) + _BEYOND
        length = min(lengths(structure, one, two, own_mate=str(ends[0]) == str(ends[1])))
        if longest < length < FAR and not is_described(structure, connection, monlib):
            connection.type = gemmi.ConnectionType.Hydrog
            taken.append(f"{ends[0]} - {ends[1]}")
    if not taken:
        return []
    n = len(taken)
    what = "a hydrogen bond" if n == 1 else "hydrogen bonds"
    return [
        f"{counted(n, 'link')} of the model {are(n)} too long for a covalent bond, taken for {what} and not restrained "
        f"as a link: {listed(taken, '; ')}"
    ]


def lengths(
    structure: gemmi.Structure, one: gemmi.Atom, two: gemmi.Atom, own_mate: bool = False
) -> tuple[float, float]:
    """How far two atoms are apart as they stand, and at their nearest images, Å; infinite where there are none.

    An atom is no neighbour of its own but of its mates: `own_mate`.
    """
    where = gemmi.Asu.Different if own_mate else gemmi.Asu.Any
    direct = math.inf if own_mate else one.pos.dist(two.pos)
    return direct, structure.cell.find_nearest_image(one.pos, two.pos, where).dist()


def is_described(structure: gemmi.Structure, connection: gemmi.Connection, monlib: gemmi.MonLib) -> bool:
    """Whether the library has a link for a connection: the one that it names, or one between these atoms."""
    if connection.link_id in monlib.links:
        return True
    one, two = (
        structure[0].find_cra(end, ignore_segment=True) for end in (connection.partner1, connection.partner2)
    )
    link, *_ = monlib.match_link(
        one.residue, one.atom.name, one.atom.altloc, two.residue, two.atom.name, two.atom.altloc
    )
    return link is not None


def _may_bond(one: gemmi.Atom, two: gemmi.Atom) -> bool:
    """Whether two heavy atoms can be donor and acceptor, by their elements."""
    pair = {one.element.name, two.element.name}
    return bool(pair & _STRONG) and pair <= _STRONG | _WEAK
