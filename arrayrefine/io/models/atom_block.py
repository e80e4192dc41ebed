"""The block of a CIF document that holds a model, and the structure that gemmi makes of it."""

from __future__ import annotations

import gemmi

from arrayrefine.errors import InputError
from arrayrefine.io.documents import lacks_entities
from arrayrefine.io.files import InputFile
from arrayrefine.io.models.component_names import drawn_components, rename_components
from arrayrefine.io.models.mended_cif import mend
from arrayrefine.io.models.states_of_charge import amino_acids_of_other_programs

EXPECTED_MODEL = "a model as PDB or mmCIF (.gz too)"


def structure_of(source: InputFile, document: gemmi.cif.Document, notes: list[str]) -> gemmi.Structure:
    """The structure of a document, of a file or in memory, whose block is mended in place first.

    Parameters
    ----------
    source : InputFile
        For messages.
    document : gemmi.cif.Document
    notes : list of str
        What was mended is added.

    Raises
    ------
    InputError
        No block has atoms.
    """
    block = _atom_block(source, document)
    mend(block, notes)
    structure = gemmi.make_structure_from_block(block)
    if not lacks_entities(document):  # others are renamed without their document, which has no more of them
        names, said = amino_acids_of_other_programs(structure, drawn_components(block))
        if names:
            rename_components(block, names)
            structure = gemmi.make_structure_from_block(block)
            notes += said
    structure.input_format = gemmi.CoorFormat.Mmcif
    return structure


def _atom_block(source: InputFile, document: gemmi.cif.Document) -> gemmi.cif.Block:
    for block in document:
        if block.find_mmcif_category("_atom_site."):
            return block
    tags = {
        "_refln.": "reflections (give it as the data)",
        "_chem_comp_atom.": "restraints (give it with --restraints)",
    }
    held = [what for tag, what in tags.items() if any(block.find_mmcif_category(tag) for block in document)]
    if any(block.find_loop("_atom_site_label") for block in document):
        held.append("a small-molecule structure, which is not supported")
    raise InputError(
        f"model '{source.path}' is a CIF file without an _atom_site category"
        f"{'; it holds ' + ' and '.join(held) if held else ''}; expected {EXPECTED_MODEL}"
    )
