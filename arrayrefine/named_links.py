"""Links that the model names, checked: what cannot be one is left out."""

from __future__ import annotations

import math

import gemmi

from arrayrefine.hydrogen_bonds import FAR, is_described, lengths, mark_hydrogen_bonds
from arrayrefine.link_conformers import conformers
from arrayrefine.wording import Caution, counted, listed

STRETCHED = 3.5
"""Å; atoms that lie further apart are not bonded, unless a link of the library is named: contacts push them no further
than that."""


def pair_key(one: gemmi.AtomAddress, two: gemmi.AtomAddress) -> frozenset[str]:
    """The two ends of a link, in whichever order."""
    return frozenset((str(one), str(two)))


def _atom(structure: gemmi.Structure, address: gemmi.AtomAddress) -> gemmi.Atom | None:
    return structure[0].find_cra(address, ignore_segment=True).atom


def check_named(structure: gemmi.Structure, monlib: gemmi.MonLib) -> list[str]:
    """Drop unusable connections, in place, and say on which side of the symmetry the others are.

    Parameters
    ----------
    structure : gemmi.Structure
        With cell and images.
    monlib : gemmi.MonLib

    Returns
    -------
    list of str
        What was left out, and what was taken otherwise than it was named.
    """
    notes = mark_hydrogen_bonds(structure, monlib)
    seen: set[frozenset[str]] = set()
    drop: list[int] = []
    absent: list[str] = []
    long: list[str] = []
    apart: list[str] = []
    twice: list[str] = []
    for k, connection in enumerate(structure.connections):
        if connection.type == gemmi.ConnectionType.Hydrog or connection.link_id == "gap":
            continue
        name = f"{connection.partner1} - {connection.partner2}"
        one, two = _atom(structure, connection.partner1), _atom(structure, connection.partner2)
        key = pair_key(connection.partner1, connection.partner2)
        if one is None or two is None:
            ends = connection.partner1, connection.partner2
            (apart if all(conformers(structure, end) for end in ends) else absent).append(name)
            drop.append(k)
            continue
        if key in seen:
            twice.append(name)
            drop.append(k)
            continue
        # serial numbers may be the same throughout a structure made in memory
        direct, nearest = lengths(structure, one, two, own_mate=len(key) == 1)
        length, metal = min(direct, nearest), one.element.is_metal or two.element.is_metal
        if length > FAR or (length > STRETCHED and not metal and not is_described(structure, connection, monlib)):
            said = f"{length:.1f} Å" if math.isfinite(length) else "no symmetry mate to lead to"
            long.append(f"{name} ({said})")
            drop.append(k)
            continue
        connection.asu = gemmi.Asu.Same if direct < nearest + 0.1 else gemmi.Asu.Different
        if metal:
            connection.type = gemmi.ConnectionType.MetalC
        if connection.link_id and connection.link_id not in monlib.links:
            notes.append(f"link {name} has the type {connection.link_id}, unknown to the library: matched by its atoms")
            connection.link_id = ""
        seen.add(key)
    if long:
        what = counted(len(long), "link")
        notes.append(Caution(f"{what} left out, too long for a bond: {listed(long, '; ')}"))
    if absent:
        what = counted(len(absent), "link")
        notes.append(Caution(f"{what} left out, of atoms that the model does not have: {listed(absent, '; ')}"))
    if apart:
        what = counted(len(apart), "link")
        notes.append(Caution(f"{what} left out, of atoms that have no conformer in common: {listed(apart, '; ')}"))
    if twice:
        notes.append(f"{counted(len(twice), 'link')} given more than once, taken once: {listed(twice, '; ')}")
    for k in reversed(drop):
        structure.connections.pop(k)
    return notes
