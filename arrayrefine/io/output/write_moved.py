"""A model that was moved without data: what its files say of an earlier refinement would be false now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gemmi

from arrayrefine.atoms import Atoms
from arrayrefine.io.models.reading import Model, with_atoms
from arrayrefine.io.output.absent import drop_from_structure
from arrayrefine.io.output.cis_peptides import list_cis_peptides
from arrayrefine.io.output.json_text import json_text
from arrayrefine.io.output.write import check_folder, check_inputs, replace_files, set_aside
from arrayrefine.io.output.write_cif import STALE_CATEGORIES, old_verdicts, pdbx_text, with_moved_atoms, write_software
from arrayrefine.io.output.write_pdb import pdb_obstacle, with_remark_3
from arrayrefine.version import version

_OF_REFINEMENT = ("_refine.", "_refine_hist.", "_refine_analyze.", "_refine_ls_restr.", "_refine_ls_shell.")
"""Categories on how an earlier model fitted its data."""


def moved_files(stem: str) -> tuple[str, ...]:
    """Names of the files that `write_moved` writes, or makes of those of an older run."""
    return f"{stem}.cif", f"{stem}.pdb", f"{stem}.json", f"{stem}.pdb.old"


def write_moved(
    folder: Path, model: Model, atoms: Atoms, stem: str, content: Mapping[str, Any], in_box: bool = False
) -> tuple[Path, ...]:
    """Write the model as mmCIF, as PDB where it fits that format, and a JSON file; returns their paths.

    Parameters
    ----------
    folder : Path
        Made where it does not exist. Files of these names are replaced once all new ones are complete; a PDB file of
        another run that this one does not replace is renamed, as by `write_outputs`.
    model : Model
        As read.
    atoms : Atoms
        Where they are now.
    stem : str
        What the files are called.
    content : mapping
        Of the JSON file.
    in_box : bool
        Whether the crystal of the model was made up, and is no one's.

    Raises
    ------
    InputError, ArrayRefineError
        The folder cannot be made or written to, or the model would be replaced.
    """
    cif, pdb, account, _ = moved_files(stem)
    check_inputs(folder, [model.path], moved_files(stem))
    check_folder(folder)
    structure = with_atoms(model, atoms)
    drop_from_structure(structure)
    list_cis_peptides(structure)
    if in_box:
        structure.cell, structure.spacegroup_hm = gemmi.UnitCell(), ""
    new, block = with_moved_atoms(model.document, structure, str(model.path))
    for category in (*old_verdicts(block), *STALE_CATEGORIES, *_OF_REFINEMENT):
        block.find_mmcif_category(category).erase()
    write_software(block, version(), "model building")
    files = {cif: pdbx_text(new).encode()}
    if pdb_obstacle(atoms) is None:
        lines = [f"REMARK   3 {text}" for text in ("", f"MOVED WITHOUT DATA BY ARRAYREFINE {version()}".upper())]
        files[pdb] = with_remark_3(structure, lines, model.header).encode()
    files[account] = json_text(content).encode()
    written = replace_files(folder, files)
    if pdb not in files:
        set_aside(folder, [pdb])
    return written
