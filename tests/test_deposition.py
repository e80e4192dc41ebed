"""`refined.cif` against the types of the PDBx/mmCIF dictionary, and what deposition asks for.

`pdbx/items.json` holds what the dictionary says of the categories that a refinement writes, see `pdbx/extract.py`. The
whole dictionary is used besides where `ARRAYREFINE_PDBX_DICTIONARY` or Debian's libcifpp-data provides it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest
from gemmi import cif
from test_write import FINAL, make_data, make_report, small_pdb

from arrayrefine import Options, example, refine
from arrayrefine.io.models.reading import read_model
from arrayrefine.io.output import refinement_items, remark_3, write_cif
from arrayrefine.io.output.write import write_outputs
from arrayrefine.report import Report

DICTIONARY = json.loads((Path(__file__).parent / "pdbx" / "items.json").read_text())
FULL = Path(os.environ.get("ARRAYREFINE_PDBX_DICTIONARY", "/usr/share/libcifpp/mmcif_pdbx.dic"))
CATEGORIES = sorted({name.split(".")[0] + "." for name in DICTIONARY["items"]})
# What the deposition system wants to see of a refinement.
ASKED_FOR = {
    "_refine.": (
        "ls_d_res_high", "ls_d_res_low", "ls_number_reflns_obs", "ls_number_reflns_R_free", "ls_percent_reflns_obs",
        "ls_percent_reflns_R_free", "ls_R_factor_obs", "ls_R_factor_R_work", "ls_R_factor_R_free", "pdbx_ls_sigma_F",
        "pdbx_ls_cross_valid_method", "pdbx_R_Free_selection_details", "pdbx_stereochemistry_target_values",
        "B_iso_mean", "solvent_model_details", "aniso_B[1][1]", "details", "ls_weighting_details",
    ),
    "_refine_ls_shell.": (
        "d_res_high", "d_res_low", "number_reflns_R_work", "number_reflns_R_free", "percent_reflns_obs",
        "percent_reflns_R_free", "R_factor_R_work",
    ),
    "_refine_ls_restr.": ("type", "number", "dev_ideal", "dev_ideal_target", "weight"),
    "_refine_hist.": ("cycle_id", "d_res_high", "d_res_low", "number_atoms_total", "pdbx_number_atoms_protein"),
    "_refine_analyze.": ("number_disordered_residues", "occupancy_sum_non_hydrogen"),
    "_software.": ("name", "classification", "version"),
    "_exptl.": ("method",),
    "_reflns.": ("number_obs", "d_resolution_high", "B_iso_Wilson_estimate"),
    "_refine_ls_restr_ncs.": ("pdbx_ens_id", "dom_id", "pdbx_type", "pdbx_number", "rms_dev_position"),
    "_struct_ncs_ens.": ("id",),
    "_struct_ncs_dom.": ("id", "pdbx_ens_id"),
    "_struct_ncs_dom_lim.": ("dom_id", "beg_auth_asym_id", "beg_auth_seq_id", "end_auth_seq_id"),
    "_pdbx_refine_tls.": ("T[1][1]", "L[1][2]", "S[3][1]", "origin_x"),
    "_pdbx_refine_tls_group.": ("refine_tls_id", "beg_auth_asym_id", "beg_auth_seq_id", "end_auth_seq_id"),
}  # fmt: skip


def full_report(copy: str = "B") -> Report:
    """A report in which every table has something to say; chain `copy` was held alike to A."""
    tensor = [[0.02, -0.001, 0.0], [-0.001, 0.03, 0.0], [0.0, 0.0, 0.025]]
    ranges = (("A", "1", "52A"), ("A", "60", "60"))
    tls = ({"name": "chain A", "origin": [1.0, 2.0, 3.0], "T": tensor, "L": tensor, "S": tensor, "ranges": ranges},)
    scale = {"k_sol": 0.35, "b_sol": 46.0, "b_aniso": {"11": 0.2, "22": -0.2, "33": -1e-9, "12": 0, "13": 0, "23": 0}}
    report = make_report()
    restraints = tuple(r | {"target": 0.02, "function": "harmonic"} for r in report.restraints)
    shells = tuple(s | {"completeness": 0.98, "cc_work": 0.9, "cc_free": 0.9} for s in report.shells)
    data = {"r_all": 0.174, "cc_work": 0.96, "cc_free": 0.94, "fom_work": 0.9, "fom_free": 0.88, "n_riding": 7}
    data["wilson_b"] = 21.34
    whole, part = [["A", "1", "52A"]], [[copy, "1", "40"], [copy, "43", "52"]]
    ncs = ({"chains": ["A", copy], "ranges": [whole, part], "count": 9517, "rmsd": 0.2412, "weight": 1.0},)
    return dataclasses.replace(
        report, ncs=ncs, tls=tls, scaling=report.scaling | {"scale": scale}, restraints=restraints, data=data,
        shells=shells,
    )


def complaints(block: cif.Block) -> list[str]:
    """Values of the categories of `items.json` that the dictionary does not allow, and what is missing."""
    found = []
    for category in CATEGORIES:
        table: dict[str, list[Any]] = block.get_mmcif_category(category)
        known = {n for n, item in DICTIONARY["items"].items() if n.startswith(category)}
        needed = {n for n in known if DICTIONARY["items"][n].get("mandatory")} if table else set()
        found += [f"{name} is missing" for name in needed - {category + name for name in table}]
        for name in table:
            if category + name not in known:
                found.append(f"{category}{name} is in no dictionary")
                continue
            item = DICTIONARY["items"][category + name]
            values = [v for v in table[name] if v not in (None, False)]
            if item.get("mandatory") and len(values) < len(table[name]):
                found.append(f"{category}{name} has no value")
            found += [f"{category}{name}: {v!r}" for v in values if not allowed(str(v), item)]
    return found


def allowed(value: str, item: dict[str, Any]) -> bool:
    kind = item["type"]
    if kind is not None and not re.fullmatch(DICTIONARY["types"][kind], value):
        return False
    if "values" in item:
        fold = str.lower if kind in ("ucode", "uline") else str
        return fold(value) in map(fold, item["values"])
    if "range" in item:  # bounds are exclusive, but where both are the same
        x = float(value)
        return any(x == float(a) == float(b) or float(a) < x < float(b) for a, b in item["range"])
    return True


@pytest.fixture
def from_pdb(tmp_path: Path) -> Path:
    model = read_model(small_pdb(tmp_path))
    write_outputs(tmp_path / "out", model, model.atoms, *make_data(model.crystal), full_report())
    return tmp_path / "out"


def test_every_value_is_one_that_the_dictionary_allows(from_pdb: Path) -> None:
    block = cif.read(str(from_pdb / "refined.cif")).sole_block()
    assert complaints(block) == []
    for category, names in ASKED_FOR.items():
        table = block.get_mmcif_category(category)
        assert not [name for name in names if name not in table or None in table[name]], category
    groups = block.get_mmcif_category("_pdbx_refine_tls_group.")
    assert groups["end_auth_seq_id"] == ["52", "60"]
    assert groups["end_PDB_ins_code"] == ["A", None]
    assert block.get_mmcif_category("_refine.")["aniso_B[3][3]"] == ["0.0000"]


def test_the_check_can_fail() -> None:
    block = cif.Block("X")
    row = {"entry_id": "X", "pdbx_refine_id": "X", "ls_d_res_high": "1.8", "ls_R_factor_obs": "1.2", "B_iso_mean": "-"}
    block.set_mmcif_category("_refine.", {name: [value] for name, value in row.items()} | {"ls_matrix_type": ["none"]})
    block.set_mmcif_category("_refine_hist.", {"cycle_id": [None], "no_item": ["1"]})
    assert {c.split(":")[0].split(" ")[0] for c in complaints(block)} == {
        "_refine.ls_R_factor_obs", "_refine.B_iso_mean", "_refine.ls_matrix_type", "_refine_hist.cycle_id",
        "_refine_hist.no_item", "_refine_hist.d_res_high", "_refine_hist.d_res_low", "_refine_hist.pdbx_refine_id",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["1cbs", "1v9g", "5uui"])
def test_real_models_keep_to_the_dictionary(case: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    """Also where the model came with the tables of an earlier refinement, which had other items."""
    source = case(name) / "model.cif"
    model = read_model(source)
    only = "A"
    write_outputs(tmp_path, model, model.atoms, *make_data(model.crystal, 8.0), full_report(only))
    block = cif.read(str(tmp_path / "refined.cif")).sole_block()
    before = set(complaints(cif.read(str(source)).sole_block()))
    assert set(complaints(block)) <= before
    if FULL.is_file():
        told = [set(verdicts(path)) for path in (source, tmp_path / "refined.cif")]
        new = {line for line in told[1] - told[0] if "refine" in line or "tls" in line or "software" in line}
        # items of the dictionary of today, see `pdbx/extract.py`
        assert {line for line in new if "correlation_coeff_Fo_to_Fc" not in line} == set()


def test_elements_that_came_with_the_refinement_are_named(tmp_path: Path) -> None:
    structure = gemmi.read_structure(str(small_pdb(tmp_path)))
    structure.setup_entities()
    structure.make_mmcif_document().write_file(str(tmp_path / "model.cif"))
    model = read_model(tmp_path / "model.cif")
    model.structure[0][0][0][0].element = gemmi.Element("H")
    write_outputs(tmp_path / "out", model, model.atoms, *make_data(model.crystal), full_report())
    block = cif.read(str(tmp_path / "out" / "refined.cif")).sole_block()
    symbols = list(block.find_values("_atom_type.symbol"))
    assert "H" in symbols
    assert set(symbols) >= set(block.find_values("_atom_site.type_symbol"))
    assert len(symbols) == len(set(symbols))


def test_the_radiation_of_the_experiment_follows_the_method() -> None:
    block = cif.Block("X")
    block.set_pair("_exptl.method", "'X-RAY DIFFRACTION'")
    block.set_pair("_diffrn_radiation.pdbx_scattering_type", "x-ray")
    write_cif._name_method(block, "xray")
    assert block.find_value("_diffrn_radiation.pdbx_scattering_type") == "x-ray"
    write_cif._name_method(block, "neutron")
    assert block.find_value("_exptl.method") == "'NEUTRON DIFFRACTION'"
    assert block.find_value("_diffrn_radiation.pdbx_scattering_type") == "neutron"


def verdicts(path: Path) -> list[str]:
    """What gemmi says of a file with the whole dictionary."""
    lines: list[str] = []
    ddl = cif.Ddl(logger=lines.append, print_unknown_tags=True)
    ddl.read_ddl(cif.read(str(FULL)))
    ddl.validate_cif(cif.read(str(path)))
    return [line.split("] ", 1)[-1] for line in lines]


def test_remark_3_reads_back(from_pdb: Path) -> None:
    text = (from_pdb / "refined.pdb").read_text()
    found = gemmi.read_pdb_string(text).meta.refinement[0]
    assert found.r_all == pytest.approx(0.174)
    assert found.r_free == pytest.approx(FINAL.r_free)
    assert found.cc_fo_fc_free == pytest.approx(0.94)
    assert found.cross_validation_method == "THROUGHOUT"
    assert found.rfree_selection_method == "RANDOM"
    np.testing.assert_allclose(found.aniso_b.elements_pdb(), [0.2, -0.2, 0, 0, 0, 0])
    assert len(found.tls_groups) == 1
    assert found.tls_groups[0].selections[0].res_end.icode.upper() == "A"


def test_remark_500_is_left_out_and_said(tmp_path: Path) -> None:
    source = small_pdb(tmp_path)
    source.write_text(source.read_text().replace("REMARK 280", "REMARK 500 CLOSE CONTACTS: NONE\nREMARK 280"))
    model = read_model(source)
    write_outputs(tmp_path / "out", model, model.atoms, *make_data(model.crystal), make_report())
    assert "REMARK 500" not in (tmp_path / "out" / "refined.pdb").read_text()
    warnings = json.loads((tmp_path / "out" / "report.json").read_text())["warnings"]
    assert "left out of the output, as it judges the model as it was: REMARK 500" in warnings


@pytest.mark.parametrize("n_riding", [0, 7])
def test_hydrogens_are_said_to_ride_where_there_are_some(tmp_path: Path, n_riding: int) -> None:
    """The option is not enough: `--hydrogens keep` of a model without any has none."""
    model = read_model(small_pdb(tmp_path))
    report = dataclasses.replace(make_report(), data={"n_riding": n_riding})
    write_outputs(tmp_path / "out", model, model.atoms, *make_data(model.crystal), report)
    row = cif.read(str(tmp_path / "out" / "refined.cif")).sole_block().get_mmcif_category("_refine.")
    said = "HYDROGENS RIDE ON THEIR PARENT ATOMS"
    assert row["details"] == [said if n_riding else None]
    assert row["ls_hydrogen_treatment"] == ["constr" if n_riding else None]
    assert (said in (tmp_path / "out" / "refined.pdb").read_text()) == bool(n_riding)


def test_restrained_tensors_and_known_phases_are_said(tmp_path: Path) -> None:
    """Nothing else tells a reader of ANISOU at 3 Å why there may be some."""
    result = refine(example.MODEL, example.DATA, Options(cycles=1, targets=("b",), report=False))
    result.write(tmp_path)
    said = "ANISOTROPIC U ARE RESTRAINED TO BE LIKE THOSE OF NEIGHBOURS"
    assert f"REMARK   3   {said}" in (tmp_path / "refined.pdb").read_text().splitlines()
    block = cif.read(str(tmp_path / "refined.cif")).sole_block()
    assert said in cif.as_string(block.find_value("_refine.details"))
    content = result.report.as_dict()
    told = refinement_items.details(content | {"data": content["data"] | {"phases": {"scale": 0.8}}})
    assert told == "HYDROGENS RIDE ON THEIR PARENT ATOMS; EXPERIMENTAL PHASES ARE PART OF THE LIKELIHOOD"


def test_mtz_opens_in_coot_by_itself(from_pdb: Path) -> None:
    """Coot opens the pairs FWT, PHWT and DELFWT, PHDELWT of types F and P by their names."""
    mtz = gemmi.read_mtz_file(str(from_pdb / "refined.mtz"))
    model = gemmi.read_structure(str(from_pdb / "refined.pdb"))
    kinds = {column.label: column.type for column in mtz.columns}
    pairs = [("FWT", "PHWT"), ("DELFWT", "PHDELWT"), ("FWT_nofill", "PHWT_nofill"), ("FC", "PHIC")]
    assert [(kinds[a], kinds[b]) for a, b in pairs] == [("F", "P")] * 4
    assert (kinds["FP"], kinds["SIGFP"], kinds["FREE"], kinds["FOM"]) == ("F", "Q", "I", "W")
    labels = list(kinds)
    assert labels.index("PHWT") == labels.index("FWT") + 1
    assert mtz.spacegroup.hm == model.spacegroup_hm == "P 21 21 21"
    np.testing.assert_allclose(mtz.cell.parameters, model.cell.parameters, atol=1e-3)
    for dataset in mtz.datasets:
        np.testing.assert_allclose(dataset.cell.parameters, mtz.cell.parameters)
    assert mtz.history
    assert all(0 < len(line) <= 80 for line in mtz.history)
    assert mtz.history[0].startswith("arrayrefine ")
    grid = mtz.transform_f_phi_to_map("FWT", "PHWT", sample_rate=3)
    assert np.isfinite(np.array(grid)).all()


def test_remark_3_has_the_domains_of_a_twin() -> None:
    assert remark_3._twin([]) == []
    domains = [{"operator": "h,k,l", "fraction": 0.7}, {"operator": "-h,-k,l", "fraction": 0.3}]
    assert remark_3._twin(domains) == [
        "  TWIN DETAILS", "   NUMBER OF TWIN DOMAINS  : 2",
        "      TWIN DOMAIN   : 1", "      TWIN OPERATOR : H, K, L", "      TWIN FRACTION : 0.700",
        "      TWIN DOMAIN   : 2", "      TWIN OPERATOR : -H, -K, L", "      TWIN FRACTION : 0.300", "",
    ]  # fmt: skip


def test_copies_that_were_held_alike_are_an_ensemble_each(from_pdb: Path) -> None:
    block = cif.read(str(from_pdb / "refined.cif")).sole_block()
    limits = block.find("_struct_ncs_dom_lim.", ["dom_id", "pdbx_component_id", "beg_auth_seq_id", "end_auth_seq_id"])
    assert [list(row) for row in limits] == [["1", "1", "1", "52"], ["2", "1", "1", "40"], ["2", "2", "43", "52"]]
    assert list(block.find_values("_refine_ls_restr_ncs.rms_dev_position")) == ["0.2412", "0.2412"]
    lines = (from_pdb / "refined.pdb").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if "NCS RESTRAINTS STATISTICS" in line)
    assert lines[start + 4].split()[2:] == ["1", "A", "1", "52A", "B", "1", "52", "9517", "0.241"]


def test_remark_3_leaves_out_shells_and_a_solvent_that_were_not_there() -> None:
    assert remark_3._last_shell({"shells": []}) == []
    assert remark_3._solvent({"scaling": {"scale": {"k_sol": None}}}) == []
    assert remark_3._solvent({"scaling": {}}) == []


def test_distances_of_links_that_the_model_lacks_stay_as_they_were() -> None:
    structure, chain = gemmi.Structure(), gemmi.Chain("A")
    for number in (1, 2):
        residue, atom = gemmi.Residue(), gemmi.Atom()
        residue.name, residue.seqid = "CYS", gemmi.SeqId(number, " ")
        atom.name, atom.element, atom.pos = "SG", gemmi.Element("S"), gemmi.Position(2.05 * number, 0.0, 0.0)
        residue.add_atom(atom)
        chain.add_residue(residue)
    structure.add_model(gemmi.Model(1))
    structure[0].add_chain(chain)
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(40.0, 40.0, 40.0, 90.0, 90.0, 90.0), "P 1"
    for name, other in (("a", "SG"), ("b", "CB")):
        link = gemmi.Connection()
        link.name, link.type = name, gemmi.ConnectionType.Disulf
        link.partner1 = gemmi.make_address(chain, chain[0], chain[0][0])
        link.partner2 = gemmi.make_address(chain, chain[1], chain[1][0])
        link.partner2.atom_name = other
        structure.connections.append(link)
    block = gemmi.cif.Block("x")
    loop = block.init_loop("_struct_conn.", ["id", "pdbx_dist_value"])
    for name in "abc":
        loop.add_row([name, "9.000"])
    write_cif._write_distances(block, structure)
    assert list(block.find_values("_struct_conn.pdbx_dist_value")) == ["2.050", "9.000", "9.000"]


def test_what_follows_from_another_cell_is_written_or_taken_out() -> None:
    structure, block = gemmi.Structure(), gemmi.cif.Block("x")
    structure.cell = gemmi.UnitCell(40.0, 50.0, 60.0, 90.0, 90.0, 90.0)
    items = {"length_a": "41.0", "length_a_esd": "0.1", "length_b": "50.0", "length_c": "60.0", "volume": "1.0"}
    items |= dict.fromkeys(("angle_alpha", "angle_beta", "angle_gamma"), "90.0")
    block.set_mmcif_category("_cell.", {name: [value] for name, value in items.items()})
    write_cif._write_cell(block, structure)
    assert block.find_value("_cell.length_a") == "40.000"
    assert block.find_value("_cell.volume") == "120000.000"
    assert block.find_value("_cell.length_a_esd") == "?"
