"""What mmCIF says of a refinement: rows of `_refine` and its relatives, from the report.

Names, units and allowed values are those of the PDBx/mmCIF dictionary. A value of None is written as '?'.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from arrayrefine.scattering.form_factors import METHODS

METHOD = METHODS["xray"]

Row = dict[str, str | None]


def refine_row(entry: str, content: Mapping[str, Any]) -> Row:
    """Return the items of `_refine`.

    Parameters
    ----------
    entry : str
        Name of the entry.
    content : mapping
        `Report.as_dict`, with the counts of the output files in `content["data"]`.
    """
    final, data, scaling = content["final"], content["data"], content["scaling"]
    scale = scaling.get("scale", {})
    tensor = scale.get("b_aniso", {})
    # with bins, k_sol and b_sol are where their fit started, not what scales the solvent
    parametric = scale.get("form") != "binned"
    chosen = str(content["inputs"].get("data", {}).get("free_convention", ""))
    n_work, n_free = data.get("n_work"), data.get("n_free")
    n_obs = None if n_work is None or n_free is None else n_work + n_free
    options = content["options"]
    ml = options.get("xray", {}).get("target", "ml") == "ml"
    return {
        "entry_id": entry,
        "pdbx_refine_id": METHOD,
        "details": details(content),
        "ls_d_res_high": text(data.get("d_min"), 3),
        "ls_d_res_low": text(data.get("d_max"), 3),
        "pdbx_ls_sigma_F": "0.0",  # nothing is cut by its sigma
        "ls_number_reflns_obs": text(n_obs),
        "ls_number_reflns_R_work": text(n_work),
        "ls_number_reflns_R_free": text(n_free),
        "ls_percent_reflns_obs": percent(data.get("completeness")),
        "ls_percent_reflns_R_free": percent(n_free / n_obs if n_obs and n_free is not None else None),
        "ls_R_factor_obs": text(data.get("r_all"), 5),
        "ls_R_factor_R_work": text(final["r_work"], 5),
        "ls_R_factor_R_free": text(final["r_free"], 5),
        "correlation_coeff_Fo_to_Fc": text(data.get("cc_work"), 4),
        "correlation_coeff_Fo_to_Fc_free": text(data.get("cc_free"), 4),
        "pdbx_overall_ESU_R": text(data.get("esu_r"), 4),
        "pdbx_overall_ESU_R_Free": text(data.get("esu_r_free"), 4),
        "overall_FOM_work_R_set": text(data.get("fom_work"), 4),
        "overall_FOM_free_R_set": text(data.get("fom_free"), 4),
        "ls_number_restraints": text(sum(r.get("count") or 0 for r in content["restraints"])),
        "ls_structure_factor_coef": "F",
        "ls_hydrogen_treatment": "constr" if data.get("n_riding") else None,
        "ls_weighting_details": _weighting(content),
        "B_iso_mean": text(final["b_mean"], 3),
        "B_iso_min": text(data.get("b_min"), 3),
        "B_iso_max": text(data.get("b_max"), 3),
        "occupancy_min": text(data.get("occupancy_min"), 2),
        "occupancy_max": text(data.get("occupancy_max"), 2),
        **{f"aniso_B[{i}][{j}]": text(tensor.get(f"{i}{j}"), 4) for i in (1, 2, 3) for j in (1, 2, 3) if i <= j},
        "pdbx_ls_cross_valid_method": "THROUGHOUT" if n_free else "NONE",
        "pdbx_R_Free_selection_details": "RANDOM" if chosen.startswith("random") else None,
        "pdbx_stereochemistry_target_values": "MAXIMUM LIKELIHOOD" if ml else "LEAST SQUARES",
        "pdbx_isotropic_thermal_model": str(data.get("displacements", "isotropic")).upper(),
        "solvent_model_details": "MASK" if scale.get("k_sol") is not None else None,
        "solvent_model_param_ksol": text(scale.get("k_sol"), 4) if parametric else None,
        "solvent_model_param_bsol": text(scale.get("b_sol"), 3) if parametric else None,
        "pdbx_solvent_vdw_probe_radii": text(scaling.get("solvent_probe"), 2),
        "pdbx_solvent_shrinkage_radii": text(scaling.get("solvent_shrink"), 2),
    }


def details(content: Mapping[str, Any]) -> str | None:
    """What the numbers do not say: how hydrogens were treated, what B and U hold, and what else took part."""
    data, sentences = content["data"], []
    if data.get("n_riding"):
        sentences.append("HYDROGENS RIDE ON THEIR PARENT ATOMS")
    if content.get("tls"):
        sentences.append("B AND U OF ATOMS INCLUDE THE PART OF THEIR TLS GROUP")
    elif data.get("displacements", "isotropic") != "isotropic" and _last(content)["adp"] is not None:
        sentences.append("ANISOTROPIC U ARE RESTRAINED TO BE LIKE THOSE OF NEIGHBOURS")
    if (data.get("phases") or {}).get("scale"):
        sentences.append("EXPERIMENTAL PHASES ARE PART OF THE LIKELIHOOD")
    return "; ".join(sentences) or None


def twin_rows(content: Mapping[str, Any]) -> list[Row]:
    """Rows of `_pdbx_reflns_twin`, one for each domain."""
    return [
        {
            "diffrn_id": "1", "crystal_id": "1", "domain_id": str(number), "operator": domain["operator"],
            "fraction": text(domain["fraction"], 3),
        }
        for number, domain in enumerate(content["data"].get("twin", ()), 1)
    ]  # fmt: skip


def last_weights(steps: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """Weights of the geometry and of the restraints on B in the last steps that used them, of the weights of each."""
    found: dict[str, float | None] = {"geometry": None, "adp": None}
    for weights in steps:
        for name in found:
            value = weights.get(name)
            if isinstance(value, (int, float)):
                found[name] = float(value)
    return found


def _last(content: Mapping[str, Any]) -> dict[str, float | None]:
    return last_weights(step["weights"] for step in content["steps"])


def _weighting(content: Mapping[str, Any]) -> str | None:
    found = _last(content)
    said = [f"{name.upper()} {value:.4g}" for name, value in found.items() if value is not None]
    scheme = str(content["options"].get("weights", "")).upper()
    return f"WEIGHTS OF THE RESTRAINTS ({scheme}): {', '.join(said)}" if said else None


def hist_row(content: Mapping[str, Any]) -> Row:
    """Items of `_refine_hist` for the last cycle; atoms are those that were written, hydrogens too."""
    data = content["data"]
    atoms, mean_b = data.get("atoms_by_kind", {}), data.get("b_mean_by_kind", {})
    return {
        "pdbx_refine_id": METHOD,
        "cycle_id": "LAST",
        "d_res_high": text(data.get("d_min"), 3),
        "d_res_low": text(data.get("d_max"), 3),
        "number_atoms_total": text(data.get("n_atoms")),
        "number_atoms_solvent": text(atoms.get("water")),
        "pdbx_number_residues_total": text(data.get("n_residues")),
        "pdbx_number_atoms_protein": text(atoms.get("protein")),
        "pdbx_number_atoms_nucleic_acid": text(atoms.get("nucleic acid")),
        "pdbx_number_atoms_carb": text(atoms.get("sugar")),
        "pdbx_number_atoms_ligand": text(atoms.get("ligand")),
        "pdbx_B_iso_mean_ligand": text(mean_b.get("ligand"), 3),
        "pdbx_B_iso_mean_solvent": text(mean_b.get("water"), 3),
        "number_reflns_R_work": text(data.get("n_work")),
        "number_reflns_R_free": text(data.get("n_free")),
        "R_factor_R_work": text(content["final"]["r_work"], 5),
        "R_factor_R_free": text(content["final"]["r_free"], 5),
    }


def analyze_row(entry: str, content: Mapping[str, Any]) -> Row:
    """Items of `_refine_analyze`."""
    data = content["data"]
    return {
        "entry_id": entry,
        "pdbx_refine_id": METHOD,
        "number_disordered_residues": text(data.get("n_disordered_residues")),
        "occupancy_sum_hydrogen": text(data.get("occupancy_sum_hydrogen"), 2),
        "occupancy_sum_non_hydrogen": text(data.get("occupancy_sum_non_hydrogen"), 2),
    }


def reflns_row(entry: str, content: Mapping[str, Any]) -> Row:
    """Items of `_reflns` that the refinement knows of: for models that come without any."""
    data = content["data"]
    n_work, n_free = data.get("n_work"), data.get("n_free")
    return {
        "entry_id": entry,
        "pdbx_ordinal": "1",
        "pdbx_diffrn_id": "1",
        "d_resolution_high": text(data.get("d_min"), 3),
        "d_resolution_low": text(data.get("d_max"), 3),
        "number_obs": text(None if n_work is None or n_free is None else n_work + n_free),
        "percent_possible_obs": percent(data.get("completeness")),
        "B_iso_Wilson_estimate": text(data.get("wilson_b"), 2),
    }


def restraint_rows(content: Mapping[str, Any]) -> list[Row]:
    """Rows of `_refine_ls_restr`: the weight is that of the last step, times that of the class within the geometry."""
    rows = []
    for restraint in content["restraints"]:
        weight = _within(content, restraint.get("weight"))
        rows.append(
            {
                "pdbx_refine_id": METHOD,
                "type": str(restraint["type"]),
                "number": text(restraint.get("count")),
                "dev_ideal": text(restraint.get("rmsd"), 4),
                "dev_ideal_target": text(restraint.get("target"), 4),
                "weight": text(weight, 5),
                "pdbx_restraint_function": text(restraint.get("function")),
            }
        )
    return rows


def _within(content: Mapping[str, Any], weight: float | None) -> float | None:
    """Weight of a class within the geometry times that of the geometry in the last step."""
    geometry = _last(content)["geometry"]
    return None if geometry is None else geometry * float(weight or 1.0)


def shell_rows(content: Mapping[str, Any]) -> list[Row]:
    """Rows of `_refine_ls_shell`, lowest resolution first."""
    shells = content["shells"]
    return [_shell_row(shell, len(shells)) for shell in shells]


def _shell_row(shell: Mapping[str, Any], bins: int) -> Row:
    n_work, n_free = shell.get("n_work"), shell.get("n_free")
    n_obs = None if n_work is None or n_free is None else n_work + n_free
    return {
        "pdbx_refine_id": METHOD,
        "d_res_high": text(shell["d_high"], 3),
        "d_res_low": text(shell["d_low"], 3),
        "pdbx_total_number_of_bins_used": str(bins),
        "number_reflns_obs": text(n_obs),
        "number_reflns_R_work": text(n_work),
        "number_reflns_R_free": text(n_free),
        "percent_reflns_obs": percent(shell.get("completeness")),
        "percent_reflns_R_free": percent(n_free / n_obs if n_obs and n_free is not None else None),
        "R_factor_R_work": text(shell.get("r_work"), 4),
        "R_factor_R_free": text(shell.get("r_free"), 4),
        "correlation_coeff_Fo_to_Fc": text(shell.get("cc_work"), 4),
        "correlation_coeff_Fo_to_Fc_free": text(shell.get("cc_free"), 4),
    }


def tls_row(number: int, group: Mapping[str, Any]) -> Row:
    """Items of `_pdbx_refine_tls`: T in Å², L in degree², S in Å degree."""
    row: Row = {"pdbx_refine_id": METHOD, "id": str(number), "details": str(group["name"]), "method": "refined"}
    row.update({f"origin_{axis}": text(value, 4) for axis, value in zip("xyz", group["origin"])})
    for name in ("T", "L", "S"):
        row.update(
            {
                f"{name}[{i}][{j}]": text(group[name][i - 1][j - 1], 4)
                for i in (1, 2, 3)
                for j in (1, 2, 3)
                if name == "S" or i <= j
            }
        )
    return row


def member_rows(groups: Sequence[tuple[int, Mapping[str, Any]]]) -> list[Row]:
    """Rows of `_pdbx_refine_tls_group`: one for each run of residues of each group."""
    runs = [(number, group, run) for number, group in groups for run in group["ranges"]]
    rows: list[Row] = []
    for k, (number, group, (chain, *ends)) in enumerate(runs, 1):
        row: Row = {"pdbx_refine_id": METHOD, "id": str(k), "refine_tls_id": str(number)}
        for name, end in zip(("beg", "end"), ends):
            residue, insertion = (end, None) if end[-1].isdigit() else (end[:-1], end[-1])
            row[f"{name}_auth_asym_id"] = chain
            row[f"{name}_auth_seq_id"] = residue
            row[f"{name}_PDB_ins_code"] = insertion
        row["selection_details"] = str(group["name"])
        rows.append(row)
    return rows


def ncs_rows(content: Mapping[str, Any]) -> dict[str, list[Row]]:
    """Rows of the categories that say which chains were held alike: an ensemble of two domains for each pair.

    That is how the entries refined with local NCS of other programs have it.
    """
    found: dict[str, list[Row]] = {}
    ordinal = 0
    for number, pair in enumerate(content.get("ncs", ()), 1):
        said = f"LOCAL NCS OF CHAINS {' and '.join(pair['chains'])}"
        add: dict[str, list[Row]] = {"_struct_ncs_ens.": [{"id": str(number), "details": said}]}
        for domain, (chain, runs) in enumerate(zip(pair["chains"], pair["ranges"]), 1):
            ordinal += 1
            who: Row = {"pdbx_ens_id": str(number), "dom_id": str(domain)}
            add.setdefault("_struct_ncs_dom.", []).append(
                {"id": str(domain), "pdbx_ens_id": str(number), "details": f"CHAIN {chain}"}
            )
            add.setdefault("_struct_ncs_dom_lim.", []).extend(
                who | {"pdbx_component_id": str(part), "beg_auth_asym_id": chain, "beg_auth_seq_id": _number(begin),
                       "end_auth_asym_id": chain, "end_auth_seq_id": _number(end)}
                for part, (_, begin, end) in enumerate(runs, 1)
            )  # fmt: skip
            add.setdefault("_refine_ls_restr_ncs.", []).append(
                {
                    "pdbx_ordinal": str(ordinal), "pdbx_refine_id": METHOD, **who, "pdbx_auth_asym_id": chain,
                    "pdbx_type": "interatomic distance", "pdbx_number": text(pair["count"]),
                    "rms_dev_position": text(pair["rmsd"], 4),
                    "weight_position": text(_within(content, pair["weight"]), 5),
                }
            )  # fmt: skip
        for category, rows in add.items():
            found.setdefault(category, []).extend(rows)
    return found


def _number(end: str) -> str:
    """Of a residue, for items beside which the dictionary has none for an insertion code."""
    return end if end[-1].isdigit() else end[:-1]


def text(value: object, digits: int | None = None) -> str | None:
    """A number as the file shows it; None stays None."""
    if value is None:
        return None
    return str(value) if digits is None else f"{round(float(str(value)), digits) + 0.0:.{digits}f}"  # + 0.0: no -0.0


def percent(fraction: float | None) -> str | None:
    """A fraction as percent with two decimals."""
    return None if fraction is None else f"{100.0 * fraction:.2f}"
