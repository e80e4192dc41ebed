"""Names of components and atoms that a file pads with blanks, as PHENIX writes nucleotides in mmCIF."""

from __future__ import annotations

import itertools

import gemmi


def without_padding(structure: gemmi.Structure) -> None:
    """Strip the names of residues and atoms of a structure in place, and in the links that name them.

    Parameters
    ----------
    structure : gemmi.Structure
    """
    for model in structure:
        for chain in model:
            for residue in chain:
                residue.name = residue.name.strip()
                for atom in residue:
                    atom.name = atom.name.strip()
    for connection in structure.connections:
        for end in (connection.partner1, connection.partner2):
            end.res_id.name, end.atom_name = end.res_id.name.strip(), end.atom_name.strip()


def strip_rows_of_links(block: gemmi.cif.Block) -> None:
    """Strip the same names in `_struct_conn` of a block, in place: atoms are written without padding.

    Parameters
    ----------
    block : gemmi.cif.Block
    """
    for end, by, what in itertools.product(("ptnr1", "ptnr2"), ("auth", "label"), ("comp", "atom")):
        column = block.find_values(f"_struct_conn.{end}_{by}_{what}_id")
        for k, value in enumerate(column):
            name = gemmi.cif.as_string(value)
            if name != name.strip():
                column[k] = gemmi.cif.quote(name.strip())
