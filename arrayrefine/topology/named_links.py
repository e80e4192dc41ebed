"""Links that the model names, checked: what cannot be one is left out."""

from __future__ import annotations

import math

import gemmi

from arrayrefine.io.models.refmac_links import is_nameless
from arrayrefine.topology.hydrogen_bonds import FAR, is_described, lengths, mark_hydrogen_bonds
from arrayrefine.topology.link_conformers import conformers
from arrayrefine.wording import Caution, counted, listed

STRETCHED = 3.5
"""Å; atoms that lie further apart are not bonded, unless a link of the library is named: contacts push them no further
than that."""

_TWICE = "given more than once, taken once"
_NO_NAMES = "left out, whose record names residues and no atoms"
_LONG = "left out, too long for a bond"
_ABSENT = "left out, of atoms that the model does not have"
_APART = "left out, of atoms that have no conformer in common"


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
    left: dict[str, list[str]] = {_TWICE: [], _NO_NAMES: [], _LONG: [], _ABSENT: [], _APART: []}
    for k, connection in enumerate(structure.connections):
        if connection.type == gemmi.ConnectionType.Hydrog or connection.link_id == "gap":
            continue
        name = f"{connection.partner1} - {connection.partner2}"
        one, two = _atom(structure, connection.partner1), _atom(structure, connection.partner2)
        key = pair_key(connection.partner1, connection.partner2)
        if one is None or two is None or key in seen:
            left[_TWICE if key in seen else _missing(structure, connection)].append(name)
            drop.append(k)
            continue
        # serial numbers may be the same throughout a structure made in memory
        direct, nearest = lengths(structure, one, two, own_mate=len(key) == 1)
        length, metal = min(direct, nearest), one.element.is_metal or two.element.is_metal
        if length > FAR or (length > STRETCHED and not metal and not is_described(structure, connection, monlib)):
            said = f"{length:.1f} Å" if math.isfinite(length) else "no symmetry mate to lead to"
            left[_LONG].append(f"{name} ({said})")
            drop.append(k)
            continue
        connection.asu = gemmi.Asu.Same if direct < nearest + 0.1 else gemmi.Asu.Different
        if metal:
            connection.type = gemmi.ConnectionType.MetalC
        if connection.link_id and connection.link_id not in monlib.links:
            notes.append(f"link {name} has the type {connection.link_id}, unknown to the library: matched by its atoms")
            connection.link_id = ""
        seen.add(key)
    for why, names in left.items():
        if names:
            said = f"{counted(len(names), 'link')} {why}: {listed(names, '; ')}"
            notes.append(said if why in (_TWICE, _NO_NAMES) else Caution(said))
    for k in reversed(drop):
        structure.connections.pop(k)
    return notes


def _missing(structure: gemmi.Structure, connection: gemmi.Connection) -> str:
    """Why the atoms of a connection are not found."""
    if is_nameless(connection):
        return _NO_NAMES
    return _APART if all(conformers(structure, end) for end in (connection.partner1, connection.partner2)) else _ABSENT
