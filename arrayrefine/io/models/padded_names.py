"""Names of components, atoms and conformers that a file pads with blanks, as PHENIX writes nucleotides in mmCIF."""

from __future__ import annotations

import itertools

import gemmi

_OF_ATOMS = {
    "atom": ("",), "plane_atom": ("",), "tree": ("",), "bond": ("_1", "_2"), "angle": ("_1", "_2", "_3"),
    "tor": ("_1", "_2", "_3", "_4"), "chir": ("_centre", "_1", "_2", "_3"),
}  # fmt: skip
"""What follows `atom_id` in the columns of names, by category of a component's restraints."""


def without_padding(structure: gemmi.Structure) -> None:
    """Strip the names of residues, atoms and conformers of a structure in place, and in the links that name them.

    A blank for no conformer, which some programs quote in mmCIF, is none: written back it would be no value at all.

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
                    atom.altloc = atom.altloc.strip() or "\0"
    for connection in structure.connections:
        for end in (connection.partner1, connection.partner2):
            end.res_id.name, end.atom_name = end.res_id.name.strip(), end.atom_name.strip()
            end.altloc = end.altloc.strip() or "\0"


def strip_rows_of_links(block: gemmi.cif.Block) -> None:
    """Strip the same names in `_struct_conn` of a block, in place: atoms are written without padding.

    Parameters
    ----------
    block : gemmi.cif.Block
    """
    for end, by, what in itertools.product(("ptnr1", "ptnr2"), ("auth", "label"), ("comp", "atom")):
        _strip(block.find_values(f"_struct_conn.{end}_{by}_{what}_id"))


def strip_names_of_component(block: gemmi.cif.Block) -> None:
    """Strip the names of atoms in a component's restraints, in place: T and DU of the CCP4 library have "H5' ".

    Parameters
    ----------
    block : gemmi.cif.Block
    """
    for category, ends in _OF_ATOMS.items():
        for end in ends:
            _strip(block.find_values(f"_chem_comp_{category}.atom_id{end}"))


def _strip(column: gemmi.cif.Column) -> None:
    for k, value in enumerate(column):
        name = gemmi.cif.as_string(value)
        if name != name.strip():
            column[k] = gemmi.cif.quote(name.strip())
