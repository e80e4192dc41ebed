"""Links whose record names no conformer, of atoms that have several: one for each pair that is there together."""

from __future__ import annotations

import itertools
import math

import gemmi

from arrayrefine.wording import are, counted, listed

_SHORTEST = 0.5
"""Of the largest distance: conformers as near as this are in each other's place, and not joined."""
_SPREAD = 1.0
"""Å; a link that could name conformers, and does not, joins those no further apart by this than the nearest."""
_NEAR = 1.2
"""Times the covalent radii of both atoms; conformers that an SSBOND record does not name are bonded up to here."""


def link_conformers(structure: gemmi.Structure) -> list[str]:
    """Take links that name no conformer for one of each pair of conformers that can be there together, in place.

    LINK records without conformers mean all that the atoms have, as far as they are near enough. SSBOND records of PDB
    files cannot name them, and gemmi takes the first of each atom; the others may be reduced, and are joined where they
    are near enough for a bond.

    Parameters
    ----------
    structure : gemmi.Structure
        With cell and images.

    Returns
    -------
    list of str
        Which links were taken for others.
    """
    known = {_key(link) for link in structure.connections}
    seen: set[frozenset[str]] = set()
    more: list[gemmi.Connection] = []
    again: list[int] = []
    taken: list[str] = []
    far: list[str] = []
    for k, link in enumerate(structure.connections):
        wanted, further = _wanted(structure, link)
        far += further
        if len(wanted) > 1 and _silent(structure, link) and _key(link) in seen:
            again.append(k)  # gemmi reads the same conformers from the record of each conformer
            continue
        if wanted and _altlocs(link) not in wanted:
            link.partner1.altloc, link.partner2.altloc = wanted[0]
            taken.append(_label(link))
        seen.add(_key(link))
        for pair in wanted:
            other = _between(link, pair, len(more) + 1)
            if _key(other) not in known | seen:
                taken += [_label(link), _label(other)]
                more.append(other)
                seen.add(_key(other))
    for k in reversed(again):
        structure.connections.pop(k)
    for link in more:
        structure.connections.append(link)
    taken, far = list(dict.fromkeys(taken)), list(dict.fromkeys(far))
    notes = []
    if taken:
        notes.append(
            f"{counted(len(taken), 'link')} of atoms with conformers {are(len(taken))} taken from records that do not "
            f"name them: {listed(taken, '; ')}"
        )
    if far:
        notes.append(
            f"{counted(len(far), 'pair')} of conformers {are(len(far))} not joined by a link that names none, as "
            f"others are nearer by more than {_SPREAD:.0f} Å: {listed(far, '; ')}"
        )
    return notes


def conformers(structure: gemmi.Structure, end: gemmi.AtomAddress, every: bool = False) -> list[gemmi.Atom]:
    """The atoms of an address: of the conformer that it names, or of all."""
    residue = structure[0].find_cra(end, ignore_segment=True).residue or gemmi.Residue()
    every = every or end.altloc == "\0"
    return [atom for atom in residue if atom.name == end.atom_name and (every or atom.altloc == end.altloc)]


def _key(link: gemmi.Connection) -> frozenset[str]:
    return frozenset((str(link.partner1), str(link.partner2)))


def _label(link: gemmi.Connection) -> str:
    return f"{link.partner1} - {link.partner2}"


def _altlocs(link: gemmi.Connection) -> tuple[str, str]:
    return link.partner1.altloc, link.partner2.altloc


def _silent(structure: gemmi.Structure, link: gemmi.Connection) -> bool:
    """Whether the record of a link has no place for conformers."""
    return bool(link.type == gemmi.ConnectionType.Disulf) and bool(structure.input_format == gemmi.CoorFormat.Pdb)


def _wanted(structure: gemmi.Structure, link: gemmi.Connection) -> tuple[list[tuple[str, str]], list[str]]:
    """Pairs of conformers that a link joins, and names of those that are too far apart for it."""
    silent = _silent(structure, link)
    ends = [conformers(structure, end, every=silent) for end in (link.partner1, link.partner2)]
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for one, two in itertools.product(*ends):
        pair = one.altloc, two.altloc
        if one.altloc == two.altloc or "\0" in pair:
            reach = _NEAR * (one.element.covalent_r + two.element.covalent_r)
            found[pair] = structure.cell.find_nearest_image(one.pos, two.pos, link.asu).dist(), reach
    apart = {pair for pair, (distance, reach) in found.items() if distance > _SHORTEST * reach}
    if silent:
        near = {pair for pair in apart if found[pair][0] < found[pair][1]}
        return [pair for pair in found if pair in near or pair == _altlocs(link)], []
    longest = min((found[pair][0] for pair in apart), default=math.inf) + _SPREAD
    wanted = [pair for pair, (distance, _) in found.items() if distance < longest]
    further = [pair for pair in found if pair not in wanted]
    return wanted, [f"{_label(_between(link, pair, 0))} ({found[pair][0]:.1f} Å)" for pair in further]


def _between(link: gemmi.Connection, pair: tuple[str, str], number: int) -> gemmi.Connection:
    """The same link between two other conformers."""
    other = gemmi.Connection()
    other.name = f"conformer{number}"
    other.type, other.asu, other.link_id = link.type, link.asu, link.link_id
    other.partner1, other.partner2 = (_at(end, altloc) for end, altloc in zip((link.partner1, link.partner2), pair))
    return other


def _at(end: gemmi.AtomAddress, altloc: str) -> gemmi.AtomAddress:
    return gemmi.AtomAddress(end.chain_name, end.res_id.seqid, end.res_id.name, end.atom_name, altloc)
