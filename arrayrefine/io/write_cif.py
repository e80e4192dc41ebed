"""The refined model as mmCIF: the categories of the input, those that refinement changed written anew."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gemmi
from gemmi import cif

from arrayrefine.io.files import IN_MEMORY

METHOD = "X-RAY DIFFRACTION"

# What an earlier refinement said about its own model. The items stay, their values would be false now.
STALE_CATEGORIES = ("_refine_analyze.", "_refine_hist.")
# Items of those, and of _refine, that identify a row or tell how the structure was solved.
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

Row = dict[str, str | None]


def cif_text(
    document: cif.Document | None, structure: gemmi.Structure, content: Mapping[str, Any], version: str
) -> str:
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
    """
    if document is None:
        complete = structure.clone()
        complete.setup_entities()
        complete.assign_label_seq_id()
        complete.name = _entry_name(structure, content)
        new = complete.make_mmcif_document()
        block = new.sole_block()
    else:
        new = cif.Document()
        for old in document:
            new.add_copied_block(old)
        block = next((b for b in new if b.find_values("_atom_site.id")), new[0])
        groups = gemmi.MmcifOutputGroups(False)
        groups.atoms = groups.auth_all = groups.group_pdb = True
        _write_cell(block, structure)
        block.find_mmcif_category("_atom_site_anisotrop.").erase()
        # Links that were found are added; else those of the document stay as they are, with all their items.
        groups.conn = len(structure.connections) > len(block.find_values("_struct_conn.id"))
        structure.update_mmcif_block(block, groups)
    _write_refinement(block, content)
    _write_software(block, version)
    options = cif.WriteOptions(cif.Style.Pdbx)
    options.align_pairs = 33
    options.align_loops = 30
    return str(new.as_string(options))


def _entry_name(structure: gemmi.Structure, content: Mapping[str, Any]) -> str:
    """Name of a block for a model that was no mmCIF: its entry, else the stem of its file."""
    file = Path(str(content["inputs"].get("model", {}).get("path", ""))).name
    file = structure.name if file.startswith(IN_MEMORY) else file
    entry = dict(structure.info.items()).get("_entry.id", "")
    return re.sub(r"\s", "_", entry.strip() or file.split(".")[0] or "refined")


def _write_cell(block: cif.Block, structure: gemmi.Structure) -> None:
    """Where the cell is not that of the document, write it and what follows from it."""
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
    for category in STALE_CATEGORIES:
        _blank(block, category)
    hist = block.get_mmcif_category("_refine_hist.")
    if hist:
        data = content["data"]
        hist["number_atoms_total"] = [_text(data.get("n_atoms"))] * len(next(iter(hist.values())))
        block.set_mmcif_category("_refine_hist.", hist)

    refine = {name: values[:1] or [None] for name, values in block.get_mmcif_category("_refine.").items()}
    for name in refine:
        if name not in LASTING_ITEMS:
            refine[name] = [None]
    refine.update({name: [value] for name, value in _refine_row(entry, content).items()})
    block.set_mmcif_category("_refine.", refine)
    _write_loop(block, "_refine_ls_restr.", [_restraint_row(r) for r in content["restraints"]])
    _write_loop(block, "_refine_ls_shell.", [_shell_row(s) for s in content["shells"]])
    groups = list(enumerate(content.get("tls", ()), 1))
    if groups:
        _write_loop(block, "_pdbx_refine_tls.", [_tls_row(number, group) for number, group in groups])
        _write_loop(block, "_pdbx_refine_tls_group.", _member_rows(groups))
    else:  # readers take blanked rows for groups
        block.find_mmcif_category("_pdbx_refine_tls.").erase()
        block.find_mmcif_category("_pdbx_refine_tls_group.").erase()


def _refine_row(entry: str, content: Mapping[str, Any]) -> Row:
    """Items of _refine; None is written as '?'."""
    final, data, scaling = content["final"], content["data"], content["scaling"]
    scale = scaling.get("scale", {})
    # with bins, k_sol and b_sol are where their fit started, not what scales the solvent
    parametric = scale.get("form") != "binned"
    chosen = str(content["inputs"].get("data", {}).get("free_convention", ""))
    n_work, n_free = data.get("n_work"), data.get("n_free")
    n_obs = None if n_work is None or n_free is None else n_work + n_free
    ml = content["options"].get("xray", {}).get("target", "ml") == "ml"
    has_test_set = bool(n_free)
    return {
        "entry_id": entry,
        "pdbx_refine_id": METHOD,
        "ls_d_res_high": _text(data.get("d_min"), 3),
        "ls_d_res_low": _text(data.get("d_max"), 3),
        "ls_number_reflns_obs": _text(n_obs),
        "ls_number_reflns_R_work": _text(n_work),
        "ls_number_reflns_R_free": _text(n_free),
        "ls_percent_reflns_obs": _percent(data.get("completeness")),
        "ls_percent_reflns_R_free": _percent(n_free / n_obs if n_obs and n_free is not None else None),
        "ls_R_factor_R_work": _text(final["r_work"], 5),
        "ls_R_factor_R_free": _text(final["r_free"], 5),
        "B_iso_mean": _text(final["b_mean"], 3),
        "pdbx_ls_cross_valid_method": "THROUGHOUT" if has_test_set else "NONE",
        "pdbx_R_Free_selection_details": "RANDOM" if chosen.startswith("random") else None,
        "pdbx_stereochemistry_target_values": "MAXIMUM LIKELIHOOD" if ml else "LEAST SQUARES",
        "pdbx_isotropic_thermal_model": str(data.get("displacements", "isotropic")).upper(),
        "solvent_model_details": "MASK" if scale.get("k_sol") is not None else None,
        "solvent_model_param_ksol": _text(scale.get("k_sol"), 4) if parametric else None,
        "solvent_model_param_bsol": _text(scale.get("b_sol"), 3) if parametric else None,
        "pdbx_solvent_vdw_probe_radii": _text(scaling.get("solvent_probe"), 2),
        "pdbx_solvent_shrinkage_radii": _text(scaling.get("solvent_shrink"), 2),
    }


def _restraint_row(restraint: Mapping[str, Any]) -> Row:
    return {
        "pdbx_refine_id": METHOD,
        "type": str(restraint["type"]),
        "number": _text(restraint.get("count")),
        "dev_ideal": _text(restraint.get("rmsd"), 4),
        "dev_ideal_target": _text(restraint.get("target"), 4),
        "weight": _text(restraint.get("weight"), 5),
        "pdbx_restraint_function": _text(restraint.get("function")),
    }


def _shell_row(shell: Mapping[str, Any]) -> Row:
    n_work, n_free = shell.get("n_work"), shell.get("n_free")
    return {
        "pdbx_refine_id": METHOD,
        "d_res_high": _text(shell["d_high"], 3),
        "d_res_low": _text(shell["d_low"], 3),
        "number_reflns_obs": _text(None if n_work is None or n_free is None else n_work + n_free),
        "number_reflns_R_work": _text(n_work),
        "number_reflns_R_free": _text(n_free),
        "percent_reflns_obs": _percent(shell.get("completeness")),
        "R_factor_R_work": _text(shell.get("r_work"), 4),
        "R_factor_R_free": _text(shell.get("r_free"), 4),
        "correlation_coeff_Fo_to_Fc": _text(shell.get("cc_work"), 4),
        "correlation_coeff_Fo_to_Fc_free": _text(shell.get("cc_free"), 4),
    }


def _tls_row(number: int, group: Mapping[str, Any]) -> Row:
    """T in Å², L in degree², S in Å degree."""
    row: Row = {"pdbx_refine_id": METHOD, "id": str(number), "details": str(group["name"]), "method": "refined"}
    row.update({f"origin_{axis}": _text(value, 4) for axis, value in zip("xyz", group["origin"])})
    for name in ("T", "L", "S"):
        row.update(
            {
                f"{name}[{i}][{j}]": _text(group[name][i - 1][j - 1], 4)
                for i in (1, 2, 3)
                for j in (1, 2, 3)
                if name == "S" or i <= j
            }
        )
    return row


def _member_rows(groups: Sequence[tuple[int, Mapping[str, Any]]]) -> list[Row]:
    """One row for each run of residues of each group."""
    runs = [(number, group, run) for number, group in groups for run in group["ranges"]]
    return [
        {
            "pdbx_refine_id": METHOD, "id": str(k), "refine_tls_id": str(number),
            "beg_auth_asym_id": chain, "beg_auth_seq_id": first, "end_auth_asym_id": chain, "end_auth_seq_id": last,
            "selection_details": str(group["name"]),
        }
        for k, (number, group, (chain, first, last)) in enumerate(runs, 1)
    ]  # fmt: skip


def _write_software(block: cif.Block, version: str) -> None:
    """Add the row of arrayrefine; of an earlier run with it only the version changes."""
    table = block.get_mmcif_category("_software.")
    names = table.get("name", [])
    mine = [i for i, name in enumerate(names) if name == "arrayrefine"]
    if mine and "version" in table:
        table["version"][mine[0]] = version
    else:
        rows = len(next(iter(table.values()), []))
        row = {
            "name": "arrayrefine",
            "classification": "refinement",
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


def _write_loop(block: cif.Block, category: str, rows: Sequence[Row]) -> None:
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


def _text(value: object, digits: int | None = None) -> str | None:
    if value is None:
        return None
    return str(value) if digits is None else f"{float(str(value)):.{digits}f}"


def _percent(fraction: float | None) -> str | None:
    return None if fraction is None else f"{100.0 * fraction:.2f}"
