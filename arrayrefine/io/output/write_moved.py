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
from arrayrefine.io.output.write import check_folder, check_inputs, left_out, replace_files, set_aside
from arrayrefine.io.output.write_cif import STALE_CATEGORIES, old_verdicts, pdbx_text, with_moved_atoms, write_software
from arrayrefine.io.output.write_pdb import pdb_obstacle, with_remark_3
from arrayrefine.version import version

_OF_REFINEMENT = ("_refine.", "_refine_hist.", "_refine_analyze.", "_refine_ls_restr.", "_refine_ls_shell.")
"""Categories on how an earlier model fitted its data."""


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
        Of the JSON file; what the other files leave out is added to its "warnings".
    in_box : bool
        Whether the crystal of the model was made up, and is no one's.

    Raises
    ------
    InputError, ArrayRefineError
        The folder cannot be made or written to, or the model would be replaced.
    """
    pdb = f"{stem}.pdb"
    check_inputs(folder, [model.path], (f"{stem}.cif", f"{stem}.json", pdb, f"{pdb}.old"))
    check_folder(folder)
    late = [sentence for sentence in left_out(model, atoms, stem) if sentence not in content["warnings"]]
    structure = with_atoms(model, atoms)
    drop_from_structure(structure)
    list_cis_peptides(structure)
    if in_box:
        structure.cell, structure.spacegroup_hm = gemmi.UnitCell(), ""
    new, block = with_moved_atoms(model.document, structure, str(model.path))
    for category in (*old_verdicts(block), *STALE_CATEGORIES, *_OF_REFINEMENT):
        block.find_mmcif_category(category).erase()
    write_software(block, version(), "model building")
    files = {f"{stem}.cif": pdbx_text(new).encode()}
    if pdb_obstacle(atoms) is None:
        lines = [f"REMARK   3 {text}" for text in ("", f"MOVED WITHOUT DATA BY ARRAYREFINE {version()}".upper())]
        files[pdb] = with_remark_3(structure, lines, model.header).encode()
    files[f"{stem}.json"] = json_text({**content, "warnings": [*content["warnings"], *late]}).encode()
    written = replace_files(folder, files)
    if pdb not in files:
        set_aside(folder, [pdb])
    return written
