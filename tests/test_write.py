"""Output files: content, and what becomes of older files when writing fails."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.errors import ArrayRefineError, InputError
from arrayrefine.io.models.reading import Model, in_crystal, read_model
from arrayrefine.io.output import write, write_pdb
from arrayrefine.io.output.absent import lost_ends
from arrayrefine.io.output.other_data import of_other_data
from arrayrefine.io.output.write import check_folder, left_out, replace_files, write_outputs
from arrayrefine.io.output.write_pdb import pdb_obstacle, pdb_text
from arrayrefine.io.reflections.reading import read_reflections
from arrayrefine.maps import MapCoefficients, map_coefficients
from arrayrefine.options import Options
from arrayrefine.reflections import Reflections
from arrayrefine.report import Report, Statistics, Step, json_ready

FILES = {"refined.cif", "refined.pdb", "refined.mtz", "report.json"}
FINAL = Statistics(0.1723, 0.2115, 0.0121, 0.71, 1.234, 0.81, 21.5)


def make_report() -> Report:
    step = Step(1, "xyz", 30, {"geometry": 0.1, "adp": None}, 0.18, 0.21, 0.7, 0.8, 12, 0.5, "converged")
    return Report(
        inputs={"model": {"path": "m.pdb", "sha256": "00"}, "data": {"free_convention": "random, seed 0"}},
        options=json_ready(Options()),
        start=dataclasses.replace(FINAL, r_work=0.26),
        final=FINAL,
        steps=(step,),
        warnings=("a warning",),
        seconds=1.0,
        scaling={"scale": {"k_sol": 0.35, "b_sol": 46.0}, "solvent_probe": 1.1, "solvent_shrink": 0.9},
        shells=({"d_high": 2.0, "d_low": 20.0, "n_work": 90, "n_free": 10, "r_work": 0.17, "r_free": None},),
        restraints=(
            {"type": "bond", "count": 1000, "rmsd": 0.0121, "rmsz": 0.71, "target": 0.018},
            {"type": "angle", "count": 1400, "rmsd": 1.234, "rmsz": 0.81, "target": None},
        ),
    )


def make_data(crystal: Crystal, d_min: float = 4.0, intensities: bool = False) -> tuple[Reflections, MapCoefficients]:
    """Random amplitudes for every reflection to d_min, of which a tenth is not measured."""
    rng = np.random.default_rng(3)
    hkl = np.asarray(gemmi.make_miller_array(crystal.gemmi_cell, crystal.gemmi_space_group, d_min), dtype=np.int32)
    n = len(hkl)
    f_model = rng.normal(size=n) * 30 + 30j * rng.normal(size=n)
    measured = rng.random(n) > 0.1
    f_obs = np.where(measured, np.abs(f_model) + rng.random(n), np.nan)
    sigma = np.where(measured, 1.0 + rng.random(n), np.nan)
    free = rng.random(n) < 0.08
    maps = map_coefficients(hkl, f_obs, sigma, free, f_model, np.full(n, 0.8), np.full(n, 0.9), crystal.centric(hkl))
    kept = {"i_obs": f_obs[measured] ** 2, "sigma_i": sigma[measured] * 2} if intensities else {}
    reflections = Reflections(
        crystal, hkl[measured], f_obs[measured], sigma[measured], (free & measured)[measured], **kept
    )
    return reflections, maps


def moved(model: Model) -> Atoms:
    rng = np.random.default_rng(5)
    n = len(model.atoms)
    return model.atoms.replace(
        xyz=model.atoms.xyz + rng.normal(scale=0.1, size=(n, 3)),
        b_iso=model.atoms.b_iso * 1.1 + 1.0,
        occupancy=np.clip(model.atoms.occupancy, 0.2, 0.9),
    )


def small_pdb(folder: Path, chain: str = "A", residue: str = "ALA") -> Path:
    path = folder / "small.pdb"
    lines = [
        "HEADER    TEST                                    01-JAN-01   1TST              ",
        "TITLE     A PEPTIDE",
        "EXPDTA    X-RAY DIFFRACTION",
        "REMARK   2 RESOLUTION.    1.50 ANGSTROMS.",
        "REMARK   3   PROGRAM     : OLD",
        "REMARK   3   R VALUE            (WORKING SET) : 0.999",
        "REMARK 280 CRYSTALLIZATION CONDITIONS: WATER",
        "CRYST1   20.000   25.000   30.000  90.00  90.00  90.00 P 21 21 21    4",
    ]
    for i, (name, element) in enumerate((("N", "N"), ("CA", "C"), ("C", "C"), ("O", "O"), ("CB", "C"))):
        lines.append(
            f"ATOM  {i + 1:5d}  {name:<3s} {residue:>3s}{chain:>2s}{1:4d}    "
            f"{1.5 * i + 1:8.3f}{2.0:8.3f}{3.0 + i:8.3f}  1.00 20.00          {element:>2s}"
        )
    path.write_text("\n".join([*lines, "END", ""]))
    return path


@pytest.fixture
def small(tmp_path: Path) -> tuple[Model, Reflections, MapCoefficients]:
    model = read_model(small_pdb(tmp_path))
    return model, *make_data(model.crystal)


def categories(path: Path) -> set[str]:
    return set(gemmi.cif.read(str(path)).sole_block().get_mmcif_category_names())


def test_what_the_model_has_no_atoms_for_is_no_row(tmp_path: Path) -> None:
    """A helix that ends in a residue, and a link to an atom, that are not there."""
    source = small_pdb(tmp_path)
    helix = "HELIX    1   1 ALA A    1  ALA A    {0}  1                                   5\n"
    link = "LINK         CB  ALA A   1                 SG  CYS A   9     1555   1555  1.80  \n"
    text = source.read_text()
    source.write_text(text.replace("CRYST1", helix.format(1) + helix.format(5) + link + "CRYST1"))
    model = read_model(source)
    assert len(model.structure.connections) == 1
    assert len(model.structure.helices) == 2
    write_outputs(tmp_path / "out", model, model.atoms, *make_data(model.crystal), make_report())
    block = gemmi.cif.read(str(tmp_path / "out" / "refined.cif")).sole_block()
    assert not block.find_values("_struct_conn.id")
    assert len(block.find_values("_struct_conf.id")) == 1
    warnings = json.loads((tmp_path / "out" / "report.json").read_text())["warnings"]
    assert [w for w in warnings if "helices" in w] == [
        "1 record of helices, strands and cis peptides left out of the output, as the model lacks the first or last "
        "residue: A/1(ALA) - A/5(ALA)"
    ]
    assert len(gemmi.read_structure(str(tmp_path / "out" / "refined.pdb")).helices) == 1


def test_where_atoms_have_no_names_of_the_author_no_helix_is_said_to_be_lost() -> None:
    block, structure = gemmi.cif.Block("x"), gemmi.Structure()
    structure.add_model(gemmi.Model(1))
    ends = ["beg_auth_asym_id", "beg_auth_seq_id", "end_auth_asym_id", "end_auth_seq_id"]
    block.init_loop("_struct_conf.", ["id", *ends]).add_row(["H1", "A", "1", "A", "5"])
    assert lost_ends(block, structure) == []
    block.init_loop("_atom_site.", ["auth_asym_id", "auth_seq_id"]).add_row(["A", "1"])
    assert lost_ends(block, structure) == ["A/1 - A/5"]


def test_helices_name_what_a_mutation_made_of_their_ends(tmp_path: Path) -> None:
    """PDB and mmCIF: the record stays, with the new name, unless it is a water that has the number now."""
    source = small_pdb(tmp_path)
    helix = "HELIX    1   1 LYS A    1  LYS A    {}  1                                   1\n"
    water = "HETATM   50  O   HOH A   2       9.000   9.000   9.000  1.00 20.00           O  \nEND"
    text = source.read_text().replace("CRYST1", helix.format(1) + helix.format(2) + "CRYST1")
    source.write_text(text.replace("END", water))
    out, names = tmp_path / "out", [f"_struct_conf.{end}_label_comp_id" for end in ("beg", "end")]
    for _ in range(2):
        model = read_model(source)
        write_outputs(out, model, model.atoms, *make_data(model.crystal), make_report())
        helices = gemmi.read_structure(str(out / "refined.pdb")).helices
        assert [(h.start.res_id.name, h.end.res_id.name) for h in helices] == [("ALA", "ALA")]
        document = gemmi.cif.read(str(out / "refined.cif"))
        block = document.sole_block()
        assert [list(block.find_values(name)) for name in names] == [["ALA"], ["ALA"]]
        source = tmp_path / "edited.cif"
        for name in names:
            block.find_values(name)[0] = "LYS"
        document.write_file(str(source))


def test_mmcif_without_entities_gets_them(tmp_path: Path) -> None:
    """As Coot writes it: atoms alone, with one name for a chain and its waters."""
    source = small_pdb(tmp_path)
    water = "HETATM   50  O   HOH A   9       9.000   9.000   9.000  1.00 20.00           O  \nEND"
    source.write_text(source.read_text().replace("END", water))
    structure = gemmi.read_structure(str(source))
    for number in (2, 3):
        copy = structure[0]["A"][0].clone()
        copy.seqid = gemmi.SeqId(number, " ")
        for atom in copy:
            atom.pos += gemmi.Position(0.0, 0.0, 4.0 * number)
        structure[0]["A"].add_residue(copy, number - 1)
    groups = gemmi.MmcifOutputGroups(False, atoms=True, cell=True, symmetry=True, auth_all=True)
    document = structure.make_mmcif_document(groups)
    for row in document.sole_block().find("_atom_site.", ["label_asym_id", "label_entity_id"]):
        row[0], row[1] = "A", "1"
    document.write_file(str(tmp_path / "bare.cif"))
    out = tmp_path / "out"
    for path, said in ((tmp_path / "bare.cif", True), (out / "refined.cif", False)):
        model = read_model(path)
        write_outputs(out, model, model.atoms, *make_data(model.crystal), make_report())
        warnings = json.loads((out / "report.json").read_text())["warnings"]
        assert any("has no entities (_entity)" in note for note in warnings) == said
        block = gemmi.cif.read(str(out / "refined.cif")).sole_block()
        assert sorted(block.find_values("_entity.type")) == ["polymer", "water"]
        sequence = block.find_values("_entity_poly_seq.mon_id")
        labels = block.find_values("_atom_site.label_asym_id")
        assert (list(sequence), len(set(labels))) == (["ALA"] * 3, 2)


def test_rows_of_residues_that_an_edit_took_are_left_out_of_mmcif(tmp_path: Path) -> None:
    """A helix, a cis peptide and a link, with one end in a residue that is gone, beside others that stay."""
    small = read_model(small_pdb(tmp_path))
    out = tmp_path / "out"
    write_outputs(out, small, small.atoms, *make_data(small.crystal), make_report())
    document = gemmi.cif.read(str(out / "refined.cif"))
    block = document.sole_block()
    chain, number, code = "auth_asym_id", "auth_seq_id", "PDB_ins_code"
    helix = {"id": ["H1", "H2"], "conf_type_id": ["HELX_P"] * 2}
    for end, numbers in (("beg", ["1", "1"]), ("end", ["1", "5"])):
        helix |= {f"{end}_{chain}": ["A"] * 2, f"{end}_{number}": numbers, f"pdbx_{end}_{code}": [False] * 2}
    cis = {"pdbx_id": ["1"], chain: ["A"], number: ["5"], f"pdbx_{chain}_2": ["A"], f"pdbx_{number}_2": ["6"]}
    link = {"id": ["covale1"], "conn_type_id": ["covale"]}
    for n, name, place in ((1, "CB", "1"), (2, "SG", "9")):
        link |= {f"ptnr{n}_{chain}": ["A"], f"ptnr{n}_{number}": [place], f"ptnr{n}_label_atom_id": [name]}
    for category, table in (("_struct_conf.", helix), ("_struct_mon_prot_cis.", cis), ("_struct_conn.", link)):
        block.set_mmcif_category(category, table)
    source = tmp_path / "edited.cif"
    document.write_file(str(source))
    model = read_model(source)
    write_outputs(out, model, model.atoms, *make_data(model.crystal), make_report())
    block = gemmi.cif.read(str(out / "refined.cif")).sole_block()
    assert list(block.find_values("_struct_conf.id")) == ["H1"]
    assert not block.find_values("_struct_mon_prot_cis.pdbx_id")
    assert not block.find_values("_struct_conn.id")
    assert "CISPEP" not in (out / "refined.pdb").read_text()
    warnings = json.loads((out / "report.json").read_text())["warnings"]
    assert [w for w in warnings if "helices" in w] == [
        "2 records of helices, strands and cis peptides left out of the output, as the model lacks the first or last "
        "residue: A/1 - A/5, A/5 - A/6"
    ]


@pytest.mark.parametrize(("name", "file"), [("1cbs", "model.cif"), ("1l2h", "model.cif"), ("1v9g", "model.cif")])
def test_mmcif_keeps_categories_and_holds_the_atoms(
    case: Callable[[str], Path], tmp_path: Path, name: str, file: str
) -> None:
    source = case(name) / file
    model = read_model(source)
    atoms = moved(model)
    write_outputs(tmp_path, model, atoms, *make_data(model.crystal, 6.0), make_report())
    out = tmp_path / "refined.cif"
    missing = categories(source) - categories(out) - {"_atom_site_anisotrop."}
    verdicts = {category for category in categories(source) if category.startswith("_pdbx_validate_")}
    assert missing == verdicts
    warnings = json.loads((tmp_path / "report.json").read_text())["warnings"]
    assert any("judges the model as it was" in w for w in warnings) == bool(verdicts)

    again = read_model(out)
    np.testing.assert_allclose(again.atoms.xyz, atoms.xyz, atol=1e-5)
    np.testing.assert_allclose(again.atoms.b_iso, atoms.b_iso, atol=1e-3)
    np.testing.assert_allclose(again.atoms.occupancy, atoms.occupancy, atol=1e-5)
    for field in dataclasses.fields(model.atoms.identity):
        np.testing.assert_array_equal(
            getattr(again.atoms.identity, field.name), getattr(model.atoms.identity, field.name)
        )
    assert again.crystal == model.crystal
    assert len(again.structure.connections) == len(model.structure.connections)


def test_mmcif_statistics(case: Callable[[str], Path], tmp_path: Path) -> None:
    model = read_model(case("1cbs") / "model.cif")
    reflections, maps = make_data(model.crystal, 6.0)
    write_outputs(tmp_path, model, model.atoms, reflections, maps, make_report())
    block = gemmi.cif.read(str(tmp_path / "refined.cif")).sole_block()
    refine = {k: v[0] for k, v in block.get_mmcif_category("_refine.").items()}
    assert refine["entry_id"] == "1CBS"
    assert float(refine["ls_R_factor_R_work"]) == pytest.approx(FINAL.r_work)
    assert float(refine["ls_R_factor_R_free"]) == pytest.approx(FINAL.r_free)
    assert int(refine["ls_number_reflns_R_free"]) == reflections.free.sum()
    assert int(refine["ls_number_reflns_obs"]) == len(reflections)
    assert float(refine["ls_d_res_high"]) == pytest.approx(reflections.d_min, abs=1e-3)
    assert float(refine["B_iso_mean"]) == FINAL.b_mean
    assert refine["pdbx_R_Free_selection_details"] == "RANDOM"
    assert float(refine["solvent_model_param_ksol"]) == 0.35
    assert float(refine["pdbx_solvent_vdw_probe_radii"]) == 1.1
    # values of the earlier refinement do not pass for ours
    assert refine["pdbx_overall_phase_error"] is None
    assert block.get_mmcif_category("_refine_analyze.")["Luzzati_coordinate_error_obs"] == [None]
    hist = block.get_mmcif_category("_refine_hist.")
    assert float(hist["d_res_high"][0]) == pytest.approx(reflections.d_min, abs=1e-3)
    kinds = ("pdbx_number_atoms_protein", "pdbx_number_atoms_ligand", "number_atoms_solvent", "number_atoms_total")
    assert [hist[name] for name in kinds] == [["1091"], ["22"], ["100"], ["1213"]]

    restraints = block.get_mmcif_category("_refine_ls_restr.")
    assert restraints["type"] == ["bond", "angle"]
    assert restraints["number"] == ["1000", "1400"]
    assert restraints["dev_ideal"] == ["0.0121", "1.2340"]
    assert restraints["dev_ideal_target"] == ["0.0180", None]
    shells = block.get_mmcif_category("_refine_ls_shell.")
    assert shells["R_factor_R_work"] == ["0.1700"]
    assert shells["R_factor_R_free"] == [None]
    assert shells["number_reflns_obs"] == ["100"]
    software = block.get_mmcif_category("_software.")
    assert software["name"] == ["X-PLOR"] * 3 + ["arrayrefine"]
    assert software["pdbx_ordinal"] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("form", ["binned", "parametric"])
def test_k_sol_only_where_it_scaled_the_solvent(
    small: tuple[Model, Reflections, MapCoefficients], tmp_path: Path, form: str
) -> None:
    """With bins the fitted k_sol and B_sol are only where these started."""
    model, *data = small
    scaling = {"scale": {"form": form, "k_sol": 0.35, "b_sol": 46.0}}
    write_outputs(tmp_path, model, model.atoms, *data, dataclasses.replace(make_report(), scaling=scaling))
    refined = gemmi.cif.read(str(tmp_path / "refined.cif")).sole_block().get_mmcif_category("_refine.")
    assert refined["solvent_model_details"] == ["MASK"]
    assert refined["solvent_model_param_ksol"] == ([None] if form == "binned" else ["0.3500"])
    assert refined["solvent_model_param_bsol"] == ([None] if form == "binned" else ["46.000"])


def test_software_row_is_not_repeated(case: Callable[[str], Path], tmp_path: Path) -> None:
    model = read_model(case("1cbs") / "model.cif")
    data = make_data(model.crystal, 8.0)
    write_outputs(tmp_path, model, model.atoms, *data, make_report())
    again = read_model(tmp_path / "refined.cif")
    write_outputs(tmp_path, again, again.atoms, *data, make_report())
    block = gemmi.cif.read(str(tmp_path / "refined.cif")).sole_block()
    assert block.get_mmcif_category("_software.")["name"].count("arrayrefine") == 1


def test_document_of_the_model_is_not_changed(case: Callable[[str], Path], tmp_path: Path) -> None:
    model = read_model(case("1cbs") / "model.cif")
    assert model.document is not None
    before = model.document.as_string()
    write_outputs(tmp_path, model, moved(model), *make_data(model.crystal, 8.0), make_report())
    assert model.document.as_string() == before


def test_outputs_from_pdb(small: tuple[Model, Reflections, MapCoefficients], tmp_path: Path) -> None:
    model, reflections, maps = small
    atoms = moved(model)
    out = tmp_path / "new" / "folder"
    paths = write_outputs(out, model, atoms, reflections, maps, make_report())
    assert {p.name for p in paths} == FILES == {p.name for p in out.iterdir()}
    for name, tolerance in (("refined.pdb", 6e-4), ("refined.cif", 1e-5)):
        again = read_model(out / name)
        np.testing.assert_allclose(again.atoms.xyz, atoms.xyz, atol=tolerance)
        np.testing.assert_allclose(again.atoms.b_iso, atoms.b_iso, atol=6e-3)
        assert again.crystal == model.crystal
    content = json.loads((out / "report.json").read_text())
    assert content["final"]["r_free"] == FINAL.r_free
    assert content["data"]["n_free"] == reflections.free.sum()
    block = gemmi.cif.read(str(out / "refined.cif")).sole_block()
    assert block.get_mmcif_category("_refine.")["ls_R_factor_R_work"] == ["0.17230"]
    assert (block.name, block.find_value("_entry.id")) == ("1TST", "1TST")


def test_conformers_of_small_letters_keep_them(tmp_path: Path) -> None:
    """A and a are two conformers, and one as gemmi writes them to PDB; zinc, which a record links, is in both."""
    structure = gemmi.read_structure(str(small_pdb(tmp_path)))
    chain = structure[0]["A"]
    for altloc in "Aab":
        atom = chain[0]["CB"][0].clone()
        atom.altloc, atom.occ = altloc, 0.3
        atom.pos += gemmi.Position(0.0, 0.0, 0.4 * "Aab".index(altloc))
        atom.aniso = gemmi.SMat33f(0.2, 0.2, 0.2, 0.01, 0.0, 0.0)
        chain[0].add_atom(atom)
    del chain[0][next(k for k, atom in enumerate(chain[0]) if atom.name == "CB" and atom.altloc == "\0")]
    zinc, site = gemmi.Residue(), gemmi.Atom()
    zinc.name, zinc.seqid, zinc.het_flag = "ZN", gemmi.SeqId("201"), "H"
    site.name, site.element, site.pos = "ZN", gemmi.Element("Zn"), gemmi.Position(9.0, 5.0, 8.0)
    for site.altloc in "Ab":
        zinc.add_atom(site.clone())
        site.pos += gemmi.Position(0.0, 1.0, 0.0)
    chain.add_residue(zinc)
    for altloc in "Ab":
        link = gemmi.Connection()
        link.name, link.type, link.asu = f"metal{altloc}", gemmi.ConnectionType.MetalC, gemmi.Asu.Same
        link.partner1 = gemmi.AtomAddress("A", gemmi.SeqId("1"), "ALA", "O", "\0")
        link.partner2 = gemmi.AtomAddress("A", gemmi.SeqId("201"), "ZN", "ZN", altloc)
        structure.connections.append(link)
    model = read_model(structure)
    write_outputs(tmp_path / "out", model, model.atoms, *make_data(model.crystal), make_report())
    again = read_model(tmp_path / "out" / "refined.pdb")  # which refuses an atom that is given twice
    assert again.atoms.identity.altloc.tolist() == model.atoms.identity.altloc.tolist()
    text = (tmp_path / "out" / "refined.pdb").read_text()
    for record in ("ATOM  ", "ANISOU"):
        assert [line[16] for line in text.splitlines() if line[:6] == record and "CB" in line[12:16]] == ["A", "a", "b"]
    assert [line[46] for line in text.splitlines() if line.startswith("LINK  ")] == ["A", "b"]


def test_rounded_occupancies_of_conformers_add_up(tmp_path: Path) -> None:
    structure = gemmi.read_structure(str(small_pdb(tmp_path)))
    residue = structure[0][0][0]
    for letter, occupancy in zip("BC", (0.335, 0.33)):
        atom = residue[0].clone()
        atom.altloc, atom.occ = letter, occupancy
        residue.add_atom(atom)
    for atom, occupancy in zip(residue, (0.335, 0.346)):
        atom.altloc, atom.occ = "A", occupancy
    again = gemmi.read_pdb_string(pdb_text(structure, make_report().as_dict() | {"data": {}}, "arrayrefine"))[0][0][0]
    assert [atom.occ for atom in again if atom.name == "N"] == pytest.approx([0.34, 0.33, 0.33])
    assert next(atom.occ for atom in again if atom.name == "CA") == pytest.approx(0.35)
    assert residue[0].occ == pytest.approx(0.335)  # the model itself keeps its digits


def test_mmcif_of_a_model_without_entry_is_named_after_its_file(tmp_path: Path) -> None:
    source = small_pdb(tmp_path)
    source.write_text(source.read_text().split("\n", 1)[1])  # without HEADER
    model = read_model(source)
    report = dataclasses.replace(make_report(), inputs={"model": {"path": "my models/first try.2.pdb.gz"}})
    write_outputs(tmp_path / "out", model, model.atoms, *make_data(model.crystal), report)
    block = gemmi.cif.read(str(tmp_path / "out" / "refined.cif")).sole_block()
    assert block.name == "first_try"
    assert block.get_mmcif_category("_refine.")["entry_id"] == ["first_try"]


def test_mmcif_from_pdb_has_what_deposition_needs(case: Callable[[str], Path], tmp_path: Path) -> None:
    model = read_model(case("1rx2") / "model.pdb")
    atoms = moved(model)
    write_outputs(tmp_path, model, atoms, *make_data(model.crystal, 8.0), make_report())
    block = gemmi.cif.read(str(tmp_path / "refined.cif")).sole_block()
    assert len(block.get_mmcif_category("_entity_poly_seq.")["mon_id"]) == 159
    assert {"_cell.", "_symmetry.", "_entity.", "_struct_asym.", "_struct_conn."} <= categories(
        tmp_path / "refined.cif"
    )
    assert block.get_mmcif_category("_refine.")["pdbx_method_to_determine_struct"] == ["DIFFERENCE FOURIER"]
    assert block.get_mmcif_category("_software.")["name"][-1] == "arrayrefine"
    again = read_model(tmp_path / "refined.cif")
    np.testing.assert_array_equal(again.atoms.identity.atom_name, model.atoms.identity.atom_name)
    np.testing.assert_allclose(again.atoms.xyz, atoms.xyz, atol=1e-5)
    assert len(again.structure.connections) == len(model.structure.connections)


def test_pdb_header(small: tuple[Model, Reflections, MapCoefficients], tmp_path: Path) -> None:
    model, reflections, maps = small
    write_outputs(tmp_path / "out", model, model.atoms, reflections, maps, make_report())
    text = (tmp_path / "out" / "refined.pdb").read_text()
    assert text.startswith("HEADER    TEST")
    assert "A PEPTIDE" in text
    assert "REMARK 280 CRYSTALLIZATION" in text
    assert "0.999" not in text
    assert "1.50 ANGSTROMS" not in text
    assert f"REMARK   2 RESOLUTION. {reflections.d_min:7.2f} ANGSTROMS." in text
    assert all(len(line) <= 80 for line in text.splitlines())
    numbers = [int(line[7:10]) for line in text.splitlines() if line.startswith("REMARK")]
    assert numbers == sorted(numbers)
    found = gemmi.read_pdb_string(text).meta.refinement[0]
    assert found.r_work == pytest.approx(FINAL.r_work)
    assert found.r_free == pytest.approx(FINAL.r_free)
    assert found.resolution_high == pytest.approx(reflections.d_min, abs=0.01)
    assert found.mean_b == pytest.approx(FINAL.b_mean)


def test_pdb_from_mmcif_has_one_set_of_remarks(case: Callable[[str], Path], tmp_path: Path) -> None:
    model = read_model(case("1cbs") / "model.cif")
    reflections, maps = make_data(model.crystal, 8.0)
    write_outputs(tmp_path, model, model.atoms, reflections, maps, make_report())
    text = (tmp_path / "refined.pdb").read_text()
    assert text.count("REMARK   2 RESOLUTION.") == 1
    assert f"REMARK   2 RESOLUTION. {reflections.d_min:7.2f} ANGSTROMS." in text
    assert text.count("R VALUE            (WORKING SET)") == 1
    assert len(read_model(tmp_path / "refined.pdb").atoms) == len(model.atoms)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("chain", "AAA", "chain name 'AAA'"),
        ("residue_name", "A1BC2", "residue name 'A1BC2'"),
        ("atom_name", "C12AB", "atom name 'C12AB'"),
        ("sequence_number", -1000, "residue number -1000"),
    ],
)
def test_what_does_not_fit_pdb(
    small: tuple[Model, Reflections, MapCoefficients], tmp_path: Path, field: str, value: object, words: str
) -> None:
    atoms = small[0].atoms
    assert pdb_obstacle(atoms) is None
    identity = dataclasses.replace(atoms.identity, **{field: np.array([value] * len(atoms))})  # type: ignore[arg-type]
    assert words in str(pdb_obstacle(dataclasses.replace(atoms, identity=identity)))


def test_more_atoms_than_serial_numbers_do_not_fit_pdb(
    small: tuple[Model, Reflections, MapCoefficients], monkeypatch: pytest.MonkeyPatch
) -> None:
    atoms = small[0].atoms
    monkeypatch.setattr(write_pdb, "HYBRID_36_SERIALS", len(atoms))
    assert pdb_obstacle(atoms) is None
    monkeypatch.setattr(write_pdb, "HYBRID_36_SERIALS", len(atoms) - 1)
    assert pdb_obstacle(atoms) == f"{len(atoms)} atoms are more than serial numbers can count"


def test_far_away_atom_does_not_fit_pdb(small: tuple[Model, Reflections, MapCoefficients]) -> None:
    atoms = small[0].atoms
    assert "coordinates of A/ALA 1/N" in str(pdb_obstacle(atoms.replace(xyz=atoms.xyz + 10_000.0)))


def test_long_chain_names_give_no_pdb_and_a_note(case: Callable[[str], Path], tmp_path: Path) -> None:
    document = gemmi.cif.read(str(case("1cbs") / "model.cif"))
    for row in document.sole_block().find("_atom_site.", ["auth_asym_id"]):
        row[0] = "AAA"
    document.write_file(str(tmp_path / "long.cif"))
    model = read_model(tmp_path / "long.cif")
    out = tmp_path / "out"
    out.mkdir()
    (out / "refined.pdb").write_text("of an earlier run")
    paths = write_outputs(out, model, model.atoms, *make_data(model.crystal, 8.0), make_report())
    assert {p.name for p in paths} == FILES - {"refined.pdb"}
    assert not (out / "refined.pdb").exists()
    assert (out / "refined.pdb.old").read_text() == "of an earlier run"
    assert any("chain name 'AAA'" in w for w in json.loads((out / "report.json").read_text())["warnings"])
    assert set(read_model(out / "refined.cif").atoms.identity.chain) == {"AAA"}


@pytest.mark.parametrize("intensities", [False, True])
def test_mtz(small: tuple[Model, Reflections, MapCoefficients], tmp_path: Path, intensities: bool) -> None:
    model = small[0]
    reflections, maps = make_data(model.crystal, intensities=intensities)
    write_outputs(tmp_path, model, model.atoms, reflections, maps, make_report())
    mtz = gemmi.read_mtz_file(str(tmp_path / "refined.mtz"))
    types = {c.label: c.type for c in mtz.columns}
    expected = {"H": "H", "K": "H", "L": "H", "FP": "F", "SIGFP": "Q", "FREE": "I", "FC": "F", "PHIC": "P"}
    expected |= {
        "FWT": "F",
        "PHWT": "P",
        "FWT_nofill": "F",
        "PHWT_nofill": "P",
        "DELFWT": "F",
        "PHDELWT": "P",
    }
    expected |= {"FOM": "W"}
    if intensities:
        expected |= {"I": "J", "SIGI": "Q"}
    assert types == expected
    assert mtz.spacegroup.xhm() == model.crystal.space_group
    np.testing.assert_allclose(mtz.cell.parameters, model.crystal.cell)
    assert mtz.history
    assert mtz.nreflections == len(maps)

    order = {tuple(h): i for i, h in enumerate(maps.hkl.tolist())}
    row = np.array([order[tuple(h)] for h in mtz.make_miller_array().tolist()])
    column = {label: np.asarray(mtz.column_with_label(label).array) for label in types}
    measured = np.isfinite(maps.f_obs)[row]
    np.testing.assert_allclose(column["FP"], maps.f_obs[row], rtol=1e-6)
    np.testing.assert_allclose(column["SIGFP"], maps.sigma[row], rtol=1e-6)
    np.testing.assert_array_equal(column["FREE"][measured], np.where(maps.free[row][measured], 0, 1))
    assert np.isnan(column["FREE"][~measured]).all()
    for name, phase, value in (
        ("FC", "PHIC", maps.fc),
        ("FWT", "PHWT", maps.fwt),
        ("FWT_nofill", "PHWT_nofill", maps.fwt_nofill),
        ("DELFWT", "PHDELWT", maps.delfwt),
    ):
        np.testing.assert_allclose(
            column[name] * np.exp(1j * np.radians(column[phase])), value[row], rtol=1e-4, atol=1e-4
        )
    assert np.isfinite(column["FWT"]).all()
    assert np.isnan(column["DELFWT"][~measured]).all()
    if intensities:
        np.testing.assert_allclose(column["I"], maps.f_obs[row] ** 2, rtol=1e-5)
        np.testing.assert_allclose(column["SIGI"], 2 * maps.sigma[row], rtol=1e-5)


def old_files(folder: Path) -> None:
    for name in FILES:
        (folder / name).write_text(f"old {name}")


def assert_old_files(folder: Path) -> None:
    assert {p.name: p.read_text() for p in folder.iterdir()} == {name: f"old {name}" for name in FILES}


def test_full_disk_leaves_old_files(
    small: tuple[Model, Reflections, MapCoefficients], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    old_files(out)

    def fill(path: Path, data: bytes) -> None:
        path.write_bytes(data[:100])
        if "mtz" in path.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(write, "_write", fill)
    model, reflections, maps = small
    with pytest.raises(ArrayRefineError, match=r"refined\.mtz.*No space left.*make room"):
        write_outputs(out, model, model.atoms, reflections, maps, make_report())
    assert_old_files(out)


def test_what_a_full_disk_does_not_take_is_in_a_temporary_folder(
    small: tuple[Model, Reflections, MapCoefficients], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours of refinement are not lost; and where that folder has no room either, nothing is left there."""
    out, elsewhere, full = tmp_path / "out", tmp_path / "elsewhere", [tmp_path / "out"]
    elsewhere.mkdir()
    real = write._write

    def fill(path: Path, data: bytes) -> None:
        if any(folder in path.parents for folder in full):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, data)

    monkeypatch.setattr(write, "_write", fill)
    monkeypatch.setattr(write.tempfile, "tempdir", str(elsewhere))
    model, reflections, maps = small
    with pytest.raises(ArrayRefineError, match=r"No space left.*What was to be written \(refined\.cif, .*elsewhere"):
        write_outputs(out, model, model.atoms, reflections, maps, make_report())
    (place,) = elsewhere.iterdir()
    assert {path.name for path in place.iterdir()} == FILES
    assert len(gemmi.read_structure(str(place / "refined.cif"))[0]) == len(model.structure[0])
    full.append(elsewhere)
    with pytest.raises(ArrayRefineError, match=r"run again$"):
        write_outputs(out, model, model.atoms, reflections, maps, make_report())
    assert [*elsewhere.iterdir()] == [place]
    monkeypatch.setattr(write.tempfile, "tempdir", str(tmp_path / "no such folder"))
    with pytest.raises(ArrayRefineError, match=r"run again$"):
        write_outputs(out, model, model.atoms, reflections, maps, make_report())


def test_file_size_limit_leaves_old_files(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    old_files(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(ArrayRefineError, match=r"refined\.mtz.*allow larger files \(ulimit -f"):
            replace_files(tmp_path, {"refined.cif": b"x" * 1000, "refined.mtz": b"x" * 400_000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_old_files(tmp_path)


def test_refused_rename_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_files(tmp_path)
    real = os.replace

    def refuse(source: Path, target: Path) -> None:
        if target.name == "refined.mtz" and source.suffix == ".part":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        real(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(ArrayRefineError, match="Permission denied"):
        replace_files(tmp_path, {"refined.cif": b"new", "new.txt": b"new", "refined.mtz": b"new"})
    assert_old_files(tmp_path)


def test_where_no_hard_link_can_be_made_old_files_are_kept_by_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links")

    (tmp_path / "a.txt").write_text("old")
    monkeypatch.setattr(os, "link", refuse)
    kept: list[str] = []
    replace = os.replace

    def watched(part: Path, target: Path) -> None:
        kept.extend(p.read_text() for p in tmp_path.glob("*.old"))
        replace(part, target)

    monkeypatch.setattr(os, "replace", watched)
    replace_files(tmp_path, {"a.txt": b"new"})
    assert (tmp_path / "a.txt").read_text() == "new"
    assert kept == ["old"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_interrupt_between_renames_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_files(tmp_path)
    real = os.replace

    def interrupt(source: Path, target: Path) -> None:
        real(source, target)
        if target.name == "new.txt" and source.suffix == ".part":
            raise SystemExit(143)

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(SystemExit):
        replace_files(tmp_path, {"refined.cif": b"new", "new.txt": b"new", "refined.mtz": b"new"})
    assert_old_files(tmp_path)


def test_interrupt_while_writing_removes_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_files(tmp_path)

    def interrupt(path: Path, data: bytes) -> None:
        path.write_bytes(data)
        raise KeyboardInterrupt

    monkeypatch.setattr(write, "_write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        replace_files(tmp_path, {"refined.cif": b"new"})
    assert_old_files(tmp_path)


def test_folder_that_is_a_file(small: tuple[Model, Reflections, MapCoefficients], tmp_path: Path) -> None:
    model, reflections, maps = small
    (tmp_path / "out").write_text("a file")
    for folder in (tmp_path / "out", tmp_path / "out" / "deeper"):
        with pytest.raises(InputError, match=r"out' is a file.*--out"):
            write_outputs(folder, model, model.atoms, reflections, maps, make_report())


@pytest.mark.parametrize("kind", ["model", "data", "restraints"])
def test_input_is_not_replaced(
    small: tuple[Model, Reflections, MapCoefficients], tmp_path: Path, kind: str
) -> None:
    model, reflections, maps = small
    source = {"path": str(tmp_path / "other" / ".." / "refined.mtz")}
    report = dataclasses.replace(make_report(), inputs={kind: [source] if kind == "restraints" else source})
    with pytest.raises(InputError, match=r"input '.*' would be replaced by the output '.*refined\.mtz'.*--out"):
        write_outputs(tmp_path, model, model.atoms, reflections, maps, report)
    assert not (tmp_path / "refined.cif").exists()


def test_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", deny)
    with pytest.raises(InputError, match=r"cannot be written to: Permission denied.*--out"):
        check_folder(tmp_path / "out")
    with pytest.raises(InputError, match=r"make room, or give another file$"):
        check_folder(tmp_path / "out", "give another file")


@pytest.mark.parametrize("name", ["refined.pdb", "model.CIF", "maps.mtz"])
def test_a_folder_named_like_a_file_is_not_made(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"has the name of a file; expected that of a folder, .*such as '.*/[a-z]+'"):
        check_folder(tmp_path / name)
    assert not (tmp_path / name).exists()
    (tmp_path / name).mkdir()
    check_folder(tmp_path / name)  # it is there, and so was meant


@pytest.mark.parametrize("file", ["model.cif", "model.pdb"])
def test_the_cell_of_the_data_is_written(case: Callable[[str], Path], tmp_path: Path, file: str) -> None:
    """The cell of the model and that of the data may differ a little; every file carries that of the data."""
    source = read_model(case("1cbs" if file == "model.cif" else "3sb3") / file)
    cell = tuple(f * v for f, v in zip((1.008, 1.008, 1.008, 1, 1, 1), source.crystal.cell))
    crystal = Crystal(cell, source.crystal.space_group)  # type: ignore[arg-type]
    model = in_crystal(source, crystal)
    write_outputs(tmp_path, model, model.atoms, *make_data(crystal, 8.0), make_report())
    for name in ("refined.cif", "refined.pdb"):
        written = gemmi.read_structure(str(tmp_path / name))
        np.testing.assert_allclose(written.cell.parameters, cell, atol=1e-3)
        np.testing.assert_allclose(written.cell.frac.mat.tolist(), crystal.frac, atol=1e-6)
        positions = np.array([a.pos.tolist() for c in written[0] for r in c for a in r])
        np.testing.assert_allclose(positions, model.atoms.xyz, atol=2e-3)
    block = gemmi.cif.read(str(tmp_path / "refined.cif")).sole_block()
    assert block.find_value("_symmetry.space_group_name_H-M") is not None
    if file == "model.cif":
        assert float(block.find_value("_atom_sites.fract_transf_matrix[1][1]")) == pytest.approx(1 / cell[0], rel=1e-5)


def test_a_header_of_other_data_is_named(case: Callable[[str], Path]) -> None:
    """1DUR says 3220 reflections to 2.0 Å; its data reach 1.87 Å. Those of 3SB3 are what its header says."""
    said = {}
    for name, data in (("1dur", "data-sf.cif"), ("3sb3", "data.mtz")):
        model = read_model(case(name) / "model.pdb")
        reflections = read_reflections(case(name) / data, model.crystal)[0]
        said[name] = [s for s in left_out(model, model.atoms, reflections) if "REMARK 200" in s]
        inner = reflections.select(reflections.s_squared < 0.1)
        assert not [s for s in left_out(model, model.atoms, inner) if "REMARK 200" in s]
    assert not said["3sb3"]
    assert "is of data to 2.00 Å, those given reach 1.87 Å: it is in the output" in said["1dur"][0]


def test_a_header_of_fewer_reflections_is_named(small: tuple[Model, Reflections, MapCoefficients]) -> None:
    model, reflections, _ = small
    assert of_other_data(model.structure, reflections) == []
    structure, experiment = model.structure.clone(), gemmi.ExperimentInfo()
    for count, end in ((len(reflections), ""), (len(reflections) // 2, f"is of {len(reflections) // 2} unique ref")):
        experiment.unique_reflections = count
        structure.meta.experiments = [experiment]
        assert end in "".join(of_other_data(structure, reflections))
        assert bool(end) == bool(of_other_data(structure, reflections))
