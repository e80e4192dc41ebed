"""The refined model as mmCIF: the categories of the input, those that refinement changed written anew."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
from gemmi import cif
from numpy.typing import NDArray

from arrayrefine.io.documents import copied, lacks_entities
from arrayrefine.io.files import IN_MEMORY
from arrayrefine.io.models.entities import name_for_nameless
from arrayrefine.io.models.padded_names import strip_rows_of_links
from arrayrefine.io.models.sequence_numbers import number_by_sequence
from arrayrefine.io.output import refinement_items as items
from arrayrefine.io.output.absent import absent_links, drop_from_block
from arrayrefine.io.output.cis_peptides import write_angles
from arrayrefine.scattering.form_factors import METHODS, Radiation, named_radiations

Float = NDArray[np.float64]

# What an earlier refinement said about its own model. The items stay, their values would be false now.
STALE_CATEGORIES = (
    "_pdbx_refine.",
    "_refine_B_iso.",
    "_refine_funct_minimized.",
    "_refine_ls_class.",
    "_refine_ls_restr_ncs.",
    "_refine_ls_restr_type.",
    "_refine_occupancy.",
)
# Items that identify a row or tell how the structure was solved.
LASTING_ITEMS = {
    "entry_id",
    "pdbx_refine_id",
    "pdbx_diffrn_id",
    "cycle_id",
    "id",
    "refine_tls_id",
    "pdbx_method_to_determine_struct",
    "pdbx_starting_model",
}

CELL_ITEMS = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
CELL_PRECISION = 6e-4
"""Å and degrees; files give three decimals."""


def cif_text(
    document: cif.Document | None, structure: gemmi.Structure, content: Mapping[str, Any], version: str,
    uncertainty: Float | None = None,
) -> str:  # fmt: skip
    """Return the content of `refined.cif`.

    Parameters
    ----------
    document : gemmi.cif.Document or None
        The input where it was mmCIF, not changed: all its categories are kept. None: everything that gemmi
        knows of the structure is written.
    structure : gemmi.Structure
        Refined model.
    content : mapping
        `Report.as_dict`, with the counts of reflections in `content["data"]`.
    version : str
        Version of arrayrefine.
    uncertainty : (N, 3) float64, optional
        Standard uncertainties of the coordinates, Å, nan where there is none.
    """
    if document is None:
        name = name_for_nameless(structure)
        content = content if name is None else _with_chain_named(content, name)
    new, block = with_moved_atoms(document, structure, str(content["inputs"].get("model", {}).get("path", "")))
    if uncertainty is not None:
        _write_uncertainty(block, uncertainty)
    _write_refinement(block, content)
    write_software(block, version)
    return pdbx_text(new)


def with_moved_atoms(
    document: cif.Document | None, structure: gemmi.Structure, file: str
) -> tuple[cif.Document, cif.Block]:
    """A document with the atoms of a structure, its links and its crystal; what it says of refinement is as it was.

    Parameters
    ----------
    document : gemmi.cif.Document or None
        The input where it was mmCIF, not changed.
    structure : gemmi.Structure
    file : str
        Of the model, after which its block is named where it was no mmCIF.
    """
    if document is None:
        complete = structure.clone()
        name = name_for_nameless(complete)
        if name is not None:
            complete.rename_chain("", name)
        number_by_sequence(complete)
        for k in absent_links(complete)[::-1]:
            complete.connections.pop(k)
        complete.name = _entry_name(structure, file)
        new = complete.make_mmcif_document()
        block = new.sole_block()
    else:
        new, block = copied(document)
        groups = gemmi.MmcifOutputGroups(False)
        groups.atoms = groups.auth_all = groups.group_pdb = True
        bare = lacks_entities(document)
        if bare:
            structure = structure.clone()
            number_by_sequence(structure)
            groups.entry = groups.entity = groups.entity_poly = groups.entity_poly_seq = groups.struct_asym = True
            groups.chem_comp = groups.cis = groups.struct_conf = groups.struct_sheet = True
        _write_symmetry(block, structure)
        _write_cell(block, structure)
        block.find_mmcif_category("_atom_site_anisotrop.").erase()
        drop_from_block(block, structure)
        # Links that were found are added; else those of the document stay as they are, with all their items.
        links = len(structure.connections) - len(absent_links(structure))
        groups.conn = bare or links > len(block.find_values("_struct_conn.id"))
        groups.cis |= write_angles(block, structure)
        structure.update_mmcif_block(block, groups)
        _add_atom_types(block)
        strip_rows_of_links(block)
        _write_distances(block, structure)
    return new, block


def pdbx_text(document: cif.Document) -> str:
    """A document as the PDB writes it."""
    options = cif.WriteOptions(cif.Style.Pdbx)
    options.align_pairs = 33
    options.align_loops = 30
    return str(document.as_string(options))


def _write_uncertainty(block: cif.Block, uncertainty: Float) -> None:
    """Add the standard uncertainties (N, 3) of the coordinates, Å, to the atoms, which are in the same order."""
    names = [f"_atom_site.Cartn_{axis}_esd" for axis in "xyz"]
    table = block.find("_atom_site.", ["id"])
    assert len(table) == len(uncertainty)
    table.loop.add_columns([name for name in names if name not in table.loop.tags], "?")
    for name, column in zip(names, uncertainty.T):
        cells = block.find_values(name)
        for k, value in enumerate(column.tolist()):
            cells[k] = "?" if np.isnan(value) else f"{value:.4f}"


def _entry_name(structure: gemmi.Structure, file: str) -> str:
    """Name of a block for a model that was no mmCIF: its entry, else the stem of its file."""
    file = Path(file).name
    file = structure.name if file.startswith(IN_MEMORY) else file
    entry = dict(structure.info.items()).get("_entry.id", "")
    return re.sub(r"\s", "_", entry.strip() or file.split(".")[0] or "refined")


def _with_chain_named(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The report with a name for the chain that has none in the members of TLS groups and pairs of copies."""
    groups = [
        {**group, "ranges": [(chain or name, *ends) for chain, *ends in group["ranges"]]}
        for group in content.get("tls", ())
    ]
    pairs = [{**pair, "chains": [chain or name for chain in pair["chains"]]} for pair in content.get("ncs", ())]
    return {**content, "tls": groups, "ncs": pairs}


def _write_symmetry(block: cif.Block, structure: gemmi.Structure) -> None:
    """Where the space group is not that of the document, write it, and forget the number of molecules."""
    group = structure.find_spacegroup()
    tag = "_symmetry.space_group_name_H-M"
    said = gemmi.find_spacegroup_by_name(cif.as_string(block.find_value(tag) or ""))
    if group is None or (said is not None and said.xhm() == group.xhm()):
        return
    block.set_pair(tag, cif.quote(structure.spacegroup_hm))
    block.set_pair("_symmetry.Int_Tables_number", str(group.number))
    for other in ("_space_group.name_H-M_alt", "_space_group.IT_number", "_cell.Z_PDB"):
        if block.find_value(other):
            block.set_pair(other, "?")


def _add_atom_types(block: cif.Block) -> None:
    """Name elements that the atoms have and `_atom_type` has not, as hydrogens that were added."""
    known = block.find_values("_atom_type.symbol")
    new = dict.fromkeys(block.find_values("_atom_site.type_symbol"))
    lacking = [symbol for symbol in new if symbol not in set(known)] if known else []
    if lacking:
        table = block.get_mmcif_category("_atom_type.")
        for name, values in table.items():
            values += lacking if name == "symbol" else [None] * len(lacking)
        block.set_mmcif_category("_atom_type.", table)


def _write_distances(block: cif.Block, structure: gemmi.Structure) -> None:
    """Lengths of the links as the atoms are now."""
    here = structure.clone()
    here.setup_cell_images()
    known = {connection.name: connection for connection in here.connections}
    for row in block.find("_struct_conn.", ["id", "pdbx_dist_value"]):
        connection = known.get(cif.as_string(row[0]))
        if connection is None:
            continue
        partners = connection.partner1, connection.partner2
        one, two = (here[0].find_cra(partner, ignore_segment=True).atom for partner in partners)
        if one is not None and two is not None:
            length = here.cell.find_nearest_image(one.pos, two.pos, connection.asu).dist()
            row[1] = f"{length:.3f}" if math.isfinite(length) else "?"


def _write_cell(block: cif.Block, structure: gemmi.Structure) -> None:
    """Where the cell is a crystal's and not that of the document, write it and what follows from it."""
    if not structure.cell.is_crystal():
        return
    table = block.get_mmcif_category("_cell.")
    new = structure.cell.parameters
    old = [cif.as_number(str(table.get(name, ["?"])[0])) for name in CELL_ITEMS]
    if all(abs(a - b) < CELL_PRECISION for a, b in zip(old, new)):
        return
    table.update({name: [f"{value:.3f}"] for name, value in zip(CELL_ITEMS, new)})
    for name in table:
        if name.endswith("_esd") or name.startswith("reciprocal_"):
            table[name] = [None]
    if "volume" in table:
        table["volume"] = [f"{structure.cell.volume:.3f}"]
    block.set_mmcif_category("_cell.", table)
    sites = block.get_mmcif_category("_atom_sites.")
    frac = structure.cell.frac
    for i, (row, shift) in enumerate(zip(frac.mat.tolist(), frac.vec.tolist()), 1):
        sites.update({f"fract_transf_matrix[{i}][{j}]": [f"{value:.9f}"] for j, value in enumerate(row, 1)})
        sites[f"fract_transf_vector[{i}]"] = [f"{shift:.5f}"]
    block.set_mmcif_category("_atom_sites.", sites)


def _write_refinement(block: cif.Block, content: Mapping[str, Any]) -> None:
    entry = cif.as_string(block.find_value("_entry.id") or block.name or "refined")
    for category in old_verdicts(block):
        block.find_mmcif_category(category).erase()
    for category in STALE_CATEGORIES:
        _blank(block, category)
    _write_row(block, "_refine.", items.refine_row(entry, content))
    _write_row(block, "_refine_hist.", items.hist_row(content))
    _write_row(block, "_refine_analyze.", items.analyze_row(entry, content))
    _write_loop(block, "_refine_ls_restr.", items.restraint_rows(content))
    _write_loop(block, "_refine_ls_shell.", items.shell_rows(content))
    block.find_mmcif_category("_pdbx_reflns_twin.").erase()
    if domains := items.twin_rows(content):
        _write_loop(block, "_pdbx_reflns_twin.", domains)
    copies = items.ncs_rows(content)
    for category, rows in copies.items():
        _write_loop(block, category, rows)
    if copies:
        block.find_mmcif_category("_struct_ncs_ens_gen.").erase()  # of the domains of an earlier refinement
    groups = list(enumerate(content.get("tls", ()), 1))
    if groups:
        _write_loop(block, "_pdbx_refine_tls.", [items.tls_row(number, group) for number, group in groups])
        _write_loop(block, "_pdbx_refine_tls_group.", items.member_rows(groups))
    else:  # readers take blanked rows for groups
        block.find_mmcif_category("_pdbx_refine_tls.").erase()
        block.find_mmcif_category("_pdbx_refine_tls_group.").erase()
    _write_experiment(block, entry, content)
    _name_method(block, content["data"].get("radiation", "xray"))


def old_verdicts(block: cif.Block) -> list[str]:
    """Categories of a block that judge the model as it was: contacts, bonds, torsions that validation complained of,
    and angles at metals.
    """
    old = ("_pdbx_validate_", "_pdbx_struct_conn_angle.")
    return [name for name in block.get_mmcif_category_names() if name.startswith(old)]


def _write_experiment(block: cif.Block, entry: str, content: Mapping[str, Any]) -> None:
    """What deposition asks for besides, where the model came without: the method, and what is known of the data."""
    for category, row in (
        ("_exptl.", {"entry_id": entry, "method": items.METHOD, "crystals_number": "1"}),
        ("_exptl_crystal.", {"id": "1"}),
        ("_diffrn.", {"id": "1", "crystal_id": "1"}),
        ("_reflns.", items.reflns_row(entry, content)),
    ):
        if not block.get_mmcif_category(category):
            block.set_mmcif_category(category, {name: [value] for name, value in row.items()})
    wilson = "B_iso_Wilson_estimate"
    if len(block.find_mmcif_category("_reflns.")) == 1 and cif.is_null(block.find_value(f"_reflns.{wilson}") or "?"):
        table = block.get_mmcif_category("_reflns.")
        block.set_mmcif_category("_reflns.", table | {wilson: [items.reflns_row(entry, content)[wilson]]})


def _name_method(block: cif.Block, radiation: Radiation) -> None:
    """Say what the data were measured with: in the rows of this refinement, and where the model says it otherwise."""
    for name in block.get_mmcif_category_names():
        for row in block.find(name, ["pdbx_refine_id"]):
            row[0] = cif.quote(METHODS[radiation])
    named = named_radiations("; ".join(cif.as_string(row[0]) for row in block.find("_exptl.", ["method"])))
    if named != (radiation,) and (named or radiation != "xray"):
        block.find_mmcif_category("_exptl.").erase()
        entry = cif.as_string(block.find_value("_entry.id") or block.name or "refined")
        items_of = {"entry_id": [entry], "method": [METHODS[radiation]], "crystals_number": ["1"]}
        block.set_mmcif_category("_exptl.", items_of)
        for row in block.find("_diffrn_radiation.", ["pdbx_scattering_type"]):
            row[0] = "x-ray" if radiation == "xray" else radiation


def _write_row(block: cif.Block, category: str, row: items.Row) -> None:
    """Write a category of one row; items that an earlier refinement had besides stay, as '?' where they are not its."""
    table = block.get_mmcif_category(category)
    kept = {name: values[:1] if name in LASTING_ITEMS else [None] for name, values in table.items()}
    block.set_mmcif_category(category, kept | {name: [value] for name, value in row.items()})


def write_software(block: cif.Block, version: str, what: str = "refinement") -> None:
    """Add the row of arrayrefine, which did this; of an earlier run with it only the version changes."""
    table = block.get_mmcif_category("_software.")
    names = table.get("name", [])
    mine = [i for i, name in enumerate(names) if name == "arrayrefine"]
    if mine and "version" in table:
        table["version"][mine[0]] = version
    else:
        rows = len(next(iter(table.values()), []))
        row = {
            "name": "arrayrefine",
            "classification": what,
            "version": version,
            "pdbx_ordinal": str(_next_ordinal(table.get("pdbx_ordinal", []), rows)),
        }
        for name in row:
            table.setdefault(name, [None] * rows)
        for name, values in table.items():
            values.append(row.get(name))
    block.set_mmcif_category("_software.", table)


def _next_ordinal(ordinals: Sequence[object], rows: int) -> int:
    return max([rows, *(int(o) for o in ordinals if isinstance(o, str) and o.isdigit())]) + 1


def _write_loop(block: cif.Block, category: str, rows: Sequence[items.Row]) -> None:
    """Replace a category by these rows; without rows the values of the earlier refinement are blanked."""
    if rows:
        block.set_mmcif_category(category, {name: [row[name] for row in rows] for name in rows[0]})
    else:
        _blank(block, category)


def _blank(block: cif.Block, category: str) -> None:
    table = block.get_mmcif_category(category)
    if table:
        blanked = {name: values if name in LASTING_ITEMS else [None] * len(values) for name, values in table.items()}
        block.set_mmcif_category(category, blanked)

