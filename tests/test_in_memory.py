"""Models and data as objects of gemmi, pandas and reciprocalspaceship; results as such; tables for notebooks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine.example import DATA, MODEL
from arrayrefine.io.in_memory import frame_parts
from arrayrefine.io.output.exports import atoms_frame
from arrayrefine.report import Report
from arrayrefine.reporting import notebook

SCORE = ar.Options(cycles=0, d_min=3.0, tls=("none",), hydrogens="strip")


@pytest.fixture(scope="module")
def structure() -> gemmi.Structure:
    return gemmi.read_structure(str(MODEL))


@pytest.fixture(scope="module")
def mtz() -> gemmi.Mtz:
    return gemmi.read_mtz_file(str(DATA))


@pytest.fixture(scope="module")
def of_files() -> ar.Result:
    return ar.refine(MODEL, DATA, SCORE)


def same(one: ar.Result, two: ar.Result) -> bool:
    return one.r_work == two.r_work and one.r_free == two.r_free and np.array_equal(one.atoms.xyz, two.atoms.xyz)


def test_gemmi_in(structure: gemmi.Structure, mtz: gemmi.Mtz, of_files: ar.Result, tmp_path: Path) -> None:
    before = structure.make_pdb_string()
    result = ar.refine(structure, mtz, SCORE)
    assert same(result, of_files)
    assert structure.make_pdb_string() == before
    assert result.report.inputs["model"] == {"path": "in memory (gemmi.Structure)", "sha256": "in memory"}
    assert result.report.inputs["data"]["file"] == "in memory (gemmi.Mtz)"
    assert result.report.inputs["data"]["path"] == "in memory (gemmi.Mtz)"
    result.write(tmp_path)
    assert gemmi.cif.read(str(tmp_path / "refined.cif")).sole_block().name == "1RX2"
    assert json.loads((tmp_path / "report.json").read_text())["inputs"]["model"]["sha256"] == "in memory"


def test_a_nameless_structure_can_be_written(structure: gemmi.Structure, mtz: gemmi.Mtz, tmp_path: Path) -> None:
    nameless = structure.clone()
    nameless.name = ""
    nameless.info = gemmi.InfoMap()
    ar.refine(nameless, mtz, SCORE).write(tmp_path)
    assert gemmi.cif.read(str(tmp_path / "refined.cif")).sole_block().name == "refined"


def test_documents_in(structure: gemmi.Structure, of_files: ar.Result, tmp_path: Path) -> None:
    complete = structure.clone()
    complete.setup_entities()
    document = complete.make_mmcif_document()
    document.sole_block().set_pair("_exptl.details", "kept")
    reflections = gemmi.cif.read_string(gemmi.MtzToCif().write_cif_to_string(gemmi.read_mtz_file(str(DATA))))
    result = ar.refine(document, reflections, SCORE)
    assert result.r_work == pytest.approx(of_files.r_work, abs=2e-4)  # digits of the text
    assert result.model.document is document
    assert result.report.inputs["model"]["path"] == "in memory (gemmi.Document)"
    result.write(tmp_path)
    assert gemmi.cif.read(str(tmp_path / "refined.cif")).sole_block().find_value("_exptl.details") == "kept"


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        ("free", lambda array: array.astype(int), r"free of Reflections is int64 \(\d+,\); expected bool"),
        ("f_obs", list, r"f_obs of Reflections is a list; expected an array, float \(\d+,\)"),
        ("free", lambda array: array[1:], r"free of Reflections is bool .*; expected bool \(\d+,\)"),
        ("sigma", lambda array: 0.0 * array, "amplitudes of Reflections are no numbers, or their sigma is not above 0"),
    ],
)
def test_arrays_that_were_put_in_are_checked(of_files: ar.Result, part: str, change: Any, words: str) -> None:
    changed = dataclasses.replace(of_files.reflections, **{part: change(getattr(of_files.reflections, part))})
    with pytest.raises(ar.InputError, match=words):
        ar.read_reflections(changed, changed.crystal)


def test_a_test_set_is_not_chosen_among_reflections_that_were_read(of_files: ar.Result) -> None:
    found, notes = ar.read_reflections(of_files.reflections, of_files.reflections.crystal, free="random", seed=3)
    assert np.array_equal(found.free, of_files.reflections.free)
    assert any(note.startswith("--free random: without effect") for note in notes)


def test_a_test_set_that_was_put_in_is_not_said_to_be_that_of_the_file() -> None:
    crystal = ar.read_model(MODEL).crystal
    data, _ = ar.read_reflections(DATA, crystal)
    again, notes = ar.read_reflections(data, crystal)
    assert (again.flags, notes) == (data.flags, ())
    own = data.free.copy()
    own[:30] = ~own[:30]
    given, (note,) = ar.read_reflections(dataclasses.replace(data, free=own), crystal)
    assert note.startswith("30 reflections are free as given and not by FREE, or the other way round")
    assert np.array_equal(given.free, own)
    assert given.flags is None
    assert given.source["free_convention"] == "as given"
    assert given.source["file"] == data.source["file"]


def test_what_was_read_before(of_files: ar.Result) -> None:
    model = ar.read_model(MODEL)
    assert ar.read_model(model) is model
    reflections, _ = ar.read_reflections(DATA, model.crystal)
    result = ar.refine(model, reflections, SCORE)
    assert same(result, of_files)
    assert result.report.inputs["data"]["file"] == str(DATA)  # where they came from
    other = dataclasses.replace(model.crystal, cell=(60.0, 60.0, 60.0, 90.0, 90.0, 90.0))
    with pytest.raises(ar.InputError, match="cells of model and data differ"):
        ar.read_reflections(reflections, other)
    with pytest.raises(ar.InputError, match="leaves no reflection"):
        ar.read_reflections(reflections, model.crystal, d_min=100.0)


@pytest.mark.parametrize("wrong", [3, None, object()])
def test_what_is_neither(wrong: Any, structure: gemmi.Structure, mtz: gemmi.Mtz) -> None:
    with pytest.raises(ar.InputError, match=r"the model is in memory .*; expected a path, a gemmi.Structure"):
        ar.read_model(wrong)
    with pytest.raises(ar.InputError, match=r"data are in memory .*; expected a path, a gemmi.Mtz"):
        ar.refine(structure, wrong, SCORE)
    with pytest.raises(ar.InputError, match="has no atoms"):
        ar.read_model(gemmi.Structure())


def test_gemmi_out(of_files: ar.Result, mtz: gemmi.Mtz) -> None:
    refined = of_files.to_gemmi()
    assert refined.cell.a == of_files.reflections.crystal.cell[0]
    again = ar.refine(refined, of_files.to_mtz(), SCORE)
    assert again.r_work == pytest.approx(of_files.r_work, abs=1e-5)
    assert {"FP", "FWT", "PHDELWT"} < set(of_files.to_mtz().column_labels())


@pytest.fixture(scope="module")
def frame(mtz: gemmi.Mtz) -> Any:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    return pandas.DataFrame(np.array(mtz), columns=mtz.column_labels())


def test_data_frames_in(structure: gemmi.Structure, frame: Any, of_files: ar.Result) -> None:
    hkl = {name: np.int32 for name in "HKL"}  # noqa: C420
    assert same(ar.refine(structure, frame, SCORE), of_files)
    indexed = frame.astype(hkl).set_index(["H", "K", "L"])
    indexed.attrs.update(cell=(34.4, 45.5, 98.9, 90, 90, 90), space_group="P 21 21 21")
    result = ar.refine(structure, indexed, SCORE)
    assert result.reflections.crystal.cell[0] == 34.4
    lower = frame.rename(columns={"H": "h", "K": "k", "L": "l", "FREE": "test"}).convert_dtypes()
    lower["test"] = lower["test"] == 0
    lower.loc[5, "FP"] = None
    result = ar.refine(structure, lower, SCORE)
    assert result.report.inputs["data"]["free_column"] == "test"
    assert np.array_equal(result.reflections.free[50:], of_files.reflections.free[51:])
    named = frame.rename(columns={"FP": "amplitude", "SIGFP": "error"})
    with pytest.raises(ar.InputError, match="no column of measured amplitudes"):
        ar.refine(structure, named, SCORE)


def test_unmerged_tables_are_refused(frame: Any) -> None:
    """As reciprocalspaceship says of its own."""
    frame = frame.copy()
    object.__setattr__(frame, "merged", False)
    with pytest.raises(ar.InputError, match="hold unmerged observations; expected merged data: merge them first"):
        ar.read_reflections(frame, ar.Crystal((30.0, 30.0, 30.0, 90.0, 90.0, 90.0), "P 1"))


def test_data_frames_that_cannot_be_used(frame: Any) -> None:
    crystal = ar.read_model(MODEL).crystal
    for wrong, words in (
        (frame.drop(columns="K"), "no Miller indices among H, L, FP"),
        (frame.assign(H=frame["H"] + 0.5), "Miller indices are missing or no whole numbers"),
        (frame.iloc[:0], "holds no reflections"),
    ):
        with pytest.raises(ar.InputError, match=words):
            ar.read_reflections(wrong, crystal)
    for key, value, words in (("cell", (1, 2), "attrs..cell.. is"), ("space_group", "P 99", "attrs..space_group.. is")):
        bad = frame.copy()
        bad.attrs[key] = value
        with pytest.raises(ar.InputError, match=words):
            ar.read_reflections(bad, crystal)


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("FP", "F"), ("F-obs", "F"), ("F(+)", "G"), ("SIGF(+)", "L"), ("SIGFP", "Q"), ("I", "J"), ("IMEAN", "J"),
        ("I(-)", "K"), ("SIGI(-)", "M"), ("intensity_meas", "J"), ("FreeR_flag", "I"), ("R-free-flags", "I"),
        ("PHIC", "P"), ("FOM", "W"), ("index", "R"), ("resolution", "R"),
    ],
)  # fmt: skip
def test_types_of_columns_by_their_names(label: str, kind: str) -> None:
    from arrayrefine.io.in_memory import _type_by_name

    assert _type_by_name(label) == kind


def test_data_sets_in_and_out(structure: gemmi.Structure, mtz: gemmi.Mtz, of_files: ar.Result) -> None:
    rs = pytest.importorskip("reciprocalspaceship", reason="reciprocalspaceship is not installed")
    result = ar.refine(structure, rs.DataSet.from_gemmi(mtz), SCORE)
    assert same(result, of_files)
    assert result.report.inputs["data"]["file"] == "in memory (reciprocalspaceship.DataSet)"
    assert result.report.inputs["data"]["cell"] == "data"
    out = of_files.to_dataset()
    assert isinstance(out, rs.DataSet)
    assert out.dtypes["FWT"] == "SFAmplitude"
    unmerged = rs.DataSet.from_gemmi(mtz)
    unmerged.merged = False
    with pytest.raises(ar.InputError, match="unmerged"):
        ar.refine(structure, unmerged, SCORE)


def test_pandas_out(structure: gemmi.Structure, of_files: ar.Result) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    atoms = of_files.to_pandas("atoms")
    assert len(atoms) == len(of_files.atoms)
    assert np.array_equal(atoms[["x", "y", "z"]], of_files.atoms.xyz)
    assert atoms.loc[0, ["chain", "residue_name", "atom_name"]].tolist() == ["A", "MET", "N"]
    reflections = of_files.to_pandas("reflections")
    assert reflections.index.names == ["H", "K", "L"]
    assert ar.refine(structure, reflections, SCORE).r_work == pytest.approx(of_files.r_work, abs=1e-5)
    assert of_files.to_pandas("shells")["n_work"].sum() == of_files.reflections.work.sum()
    assert "a_bond_d" in of_files.to_pandas("restraints")["type"].tolist()
    stepped = ar.refine(structure, DATA, dataclasses.replace(SCORE, cycles=1, targets=("scale",)))
    history = stepped.to_pandas()
    assert history.loc[0, "target"] == "scale"
    assert history["r_work"].tolist() == [stepped.r_work]
    with pytest.raises(ar.InputError, match=r"to_pandas\('atom'\): expected one of history, atoms"):
        of_files.to_pandas("atom")  # type: ignore[arg-type]


def test_libraries_that_are_missing_are_named(of_files: ar.Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    monkeypatch.setitem(__import__("sys").modules, "reciprocalspaceship", None)
    with pytest.raises(ar.InputError, match=r"to_pandas needs pandas, .* pip install pandas"):
        of_files.to_pandas("atoms")
    with pytest.raises(ar.InputError, match="to_dataset needs reciprocalspaceship"):
        of_files.to_dataset()


def test_tables_for_notebooks(of_files: ar.Result) -> None:
    shown = of_files._repr_html_()
    assert shown == of_files.report._repr_html_()
    assert f"<td>{of_files.r_work:.4f}</td>" in shown
    assert len(shown) < 10_000
    assert repr(of_files).startswith("Result(1503 atoms, r_work=0.")
    report: Report = dataclasses.replace(
        of_files.report, inputs={"model": {"path": "<script>"}}, warnings=("a < b & c",), stopped="x > y"
    )
    escaped = report._repr_html_()
    assert "<script>" not in escaped
    assert "a &lt; b &amp; c" in escaped
    assert notebook.table("", ("", ""), [("a", None)]) == (
        '<table><tbody><tr><th scope="row">a</th><td>—</td></tr></tbody></table>'
    )


def test_columns_of_text_are_left_aside(frame: Any) -> None:
    _, types, values, *_ = frame_parts(frame.assign(NOTE="weak"))
    assert "FP" in types
    assert "NOTE" not in types.keys() | values.keys()


def test_atoms_with_tensors_have_columns_for_them() -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    atoms = ar.read_model(MODEL).atoms
    assert "u11" not in atoms_frame(atoms).columns
    some = np.zeros((len(atoms), 6))
    some[0] = [0.02, -0.01, -0.01, 0.0, 0.0, 0.003]
    table = atoms_frame(dataclasses.replace(atoms, u_aniso=some, anisotropic=some.any(axis=1)))
    u_iso = atoms.b_iso[0] / (8.0 * np.pi**2)
    assert table.loc[0, ["u11", "u22", "u33"]].tolist() == pytest.approx([u_iso + 0.02, u_iso - 0.01, u_iso - 0.01])
    assert table.loc[0, "u23"] == pytest.approx(0.003)
