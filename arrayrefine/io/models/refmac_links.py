"""LINKR records, by which REFMAC names links of its library: disulfides among them, and gaps, which are no links."""

from __future__ import annotations

import gemmi

_DISULFIDES = ("SS", "disulf")


def name_disulfides(structure: gemmi.Structure) -> None:
    """Make disulfides, in place, of the links that a PDB file calls one, so that they are written as such.

    Parameters
    ----------
    structure : gemmi.Structure
        One that was mmCIF stays as it is, as do its rows of links.
    """
    if structure.input_format != gemmi.CoorFormat.Pdb:
        return
    for connection in structure.connections:
        ends = connection.partner1, connection.partner2
        atoms = [structure[0].find_cra(end, ignore_segment=True).atom for end in ends]
        if connection.link_id in _DISULFIDES and all(atom is not None and atom.element.name == "S" for atom in atoms):
            connection.type = gemmi.ConnectionType.Disulf


def is_nameless(connection: gemmi.Connection) -> bool:
    """Whether a connection names residues but not their atoms, as gaps do."""
    return not (connection.partner1.atom_name and connection.partner2.atom_name)


def without_nameless(structure: gemmi.Structure) -> int:
    """Remove the connections that name no atoms, in place: a record of a link needs them; returns how many."""
    nameless = [k for k, connection in enumerate(structure.connections) if is_nameless(connection)]
    for k in reversed(nameless):
        structure.connections.pop(k)
    return len(nameless)
