"""Twinned crystals refined as twins: models, maps, files and what is said of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest

from arrayrefine import Options, evaluate, prepare, read_model, read_reflections, refine, target
from arrayrefine.__main__ import main
from arrayrefine.crystal import Crystal
from arrayrefine.errors import InputError
from arrayrefine.evaluation import evaluate_files, omit_files
from arrayrefine.io.models.twin_header import header_laws
from arrayrefine.mask_search import search_mask
from arrayrefine.options import Minimiser
from arrayrefine.real_space.model_maps import maps_of
from arrayrefine.result import Result
from arrayrefine.twins import choice as twin_choice
from arrayrefine.twins.choice import at_end, chosen_laws, of_test_set
from arrayrefine.twins.signs import Suspicion, TwinLaw

LAW = "-h,k,-l"


@pytest.fixture(scope="module")
def refined(case: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    folder = case("1l2h")
    result = refine(folder / "shaken.cif", folder / "norm.mtz", Options(cycles=1, d_min=2.0, report=False))
    out = tmp_path_factory.mktemp("twin")
    result.write(out)
    return result, out


def test_r_factors_of_a_twin_and_not_of_a_single_crystal(
    refined: tuple[Result, Path], case: Callable[[str], Path]
) -> None:
    """The deposited model of 1l2h has R-free 0.18 as a twin, with all data."""
    report = refined[0].report
    assert report.start.r_free == pytest.approx(0.2252, abs=0.005)
    assert report.final.r_work < 0.12
    assert report.final.r_free < 0.15
    assert report.final.bond_rmsz < 0.8
    first, second = report.data["twin"]
    assert (first["operator"], second["operator"]) == ("h,k,l", LAW)
    assert first["fraction"] + second["fraction"] == pytest.approx(1.0)
    assert second["fraction"] == pytest.approx(0.35, abs=0.02)
    folder = case("1l2h")
    single = evaluate_files(folder / "shaken.cif", folder / "norm.mtz", Options(d_min=2.0, twin=("none",))).state
    assert single.twin is None
    assert single.statistics.r_free > 0.29


def test_what_is_said(refined: tuple[Result, Path]) -> None:
    notes = refined[0].report.warnings
    (start,) = (note for note in notes if note.startswith("the data look twinned"))
    assert start.endswith("refined as a twin by -h,k,-l (--twin none refines it as a single crystal)")
    (mates,) = (note for note in notes if note.startswith("mates by the twin law"))
    assert mates.startswith("mates by the twin law -h,k,-l correlate by 0.8")
    assert "in the data and by 0.0" in mates
    assert mates.endswith("in the model, which points to twinning of a fraction near 0.34")
    (end,) = (note for note in notes if note.startswith("refined as a twin: fraction of the domain by -h,k,-l 0.3"))
    assert end.endswith("which are lower than those of single crystals as good")


def test_files_name_the_domains(refined: tuple[Result, Path]) -> None:
    result, out = refined
    fraction = result.report.data["twin"][1]["fraction"]
    lines = [line[13:].strip() for line in (out / "refined.pdb").read_text().splitlines() if "TWIN" in line[:80]]
    assert lines[-3:] == ["TWIN DOMAIN   : 2", "TWIN OPERATOR : -H, K, -L", f"TWIN FRACTION : {fraction:.3f}"]
    block = gemmi.cif.read(str(out / "refined.cif")).sole_block()
    rows = [list(row) for row in block.find("_pdbx_reflns_twin.", ["domain_id", "operator", "fraction"])]
    assert rows == [["1", "h,k,l", f"{1 - fraction:.3f}"], ["2", LAW, f"{fraction:.3f}"]]
    assert json.loads((out / "report.json").read_text())["data"]["twin"][1]["operator"] == LAW


def test_amplitudes_are_written_as_measured_and_maps_are_of_one_domain(
    refined: tuple[Result, Path], case: Callable[[str], Path]
) -> None:
    """The map of the first domain shows the model better than that of amplitudes which hold both."""
    mtz = gemmi.read_mtz_file(str(refined[1] / "refined.mtz"))
    folder = case("1l2h")
    found = evaluate_files(refined[1] / "refined.cif", folder / "norm.mtz", Options(d_min=2.0))
    data, state = found.problem.reflections, found.state
    assert state.twin is not None
    rows = {tuple(h): i for i, h in enumerate(mtz.make_miller_array().tolist())}
    at = [rows[tuple(h)] for h in data.hkl.tolist()]
    label = next(name for name in ("FP", "F") if name in mtz.column_labels())
    np.testing.assert_allclose(mtz.column_with_label(label).array[at], data.f_obs, rtol=1e-4)
    maps = maps_of(found.problem, state, filled=False)
    np.testing.assert_array_equal(maps.f_obs, data.f_obs)
    work = data.work & ~data.centric
    detwinned = state.twin.detwinned
    expected = detwinned.fom * detwinned.amplitude - state.sigma_a.d(data.s_squared) * np.abs(state.f_model)
    np.testing.assert_allclose(
        np.real(maps.delfwt * np.exp(-1j * np.angle(state.f_model)))[work], expected[work], rtol=1e-6, atol=1e-6
    )
    without = maps_of(found.problem, dataclasses.replace(state, twin=None), filled=False)
    assert np.nanstd(np.abs(maps.delfwt)) < 0.75 * np.nanstd(np.abs(without.delfwt))


def test_processes_give_the_same(case: Callable[[str], Path]) -> None:
    folder = case("1l2h")
    options = Options(
        cycles=1, anisotropic="none", tls=("none",), report=False, d_min=2.8, hydrogens="strip",
        minimiser=Minimiser(max_iterations=4),
    )  # fmt: skip
    one, two = (
        refine(folder / "shaken.cif", folder / "norm.mtz", dataclasses.replace(options, threads=n)) for n in (1, 2)
    )
    np.testing.assert_array_equal(one.atoms.xyz, two.atoms.xyz)
    assert one.report.data["twin"] == two.report.data["twin"]


def test_a_search_of_the_mask_knows_of_the_twin(
    case: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arrayrefine.mask_search._STEPS", (0.0, 0.2))
    folder = case("1l2h")
    _, problem, atoms, _ = prepare(folder / "model.cif", folder / "norm.mtz", Options(d_min=2.5))
    state = evaluate(problem, atoms, absorb_b=False)
    searched, note = search_mask(problem, state)
    assert searched.twin is problem.twin
    assert float(note.partition("lowest R-work, ")[2][:6]) <= state.scale.r_work < 0.2


def test_the_gradient_is_that_of_the_target(case: Callable[[str], Path]) -> None:
    """By finite differences, of the likelihood with one domain's share of the data."""
    folder = case("1l2h")
    options = Options()
    options = dataclasses.replace(options, xray=dataclasses.replace(options.xray, precision="double", accuracy=1e-5))
    function = target(folder / "shaken.cif", folder / "norm.mtz", options, hydrogens="strip")
    assert any(note.startswith("the data look twinned") for note in function.notes)
    assert function.state.twin is not None
    xyz = function.atoms.xyz
    direction = np.random.default_rng(0).normal(size=xyz.shape)
    _, gradient = function(xyz)
    step = 1e-4
    slope = (function(xyz + step * direction)[0] - function(xyz - step * direction)[0]) / (2 * step)
    assert float((gradient.xyz * direction).sum()) == pytest.approx(slope, rel=2e-3)


def test_a_state_that_is_not_fitted_anew_keeps_the_share_of_the_data(case: Callable[[str], Path]) -> None:
    folder = case("1l2h")
    _, problem, atoms, _ = prepare(folder / "model.cif", folder / "norm.mtz", Options(d_min=2.5))
    before = evaluate(problem, atoms)
    moved = before.atoms.replace(xyz=before.atoms.xyz + np.where(np.arange(len(atoms)) < 3, 0.05, 0.0)[:, None])
    after = evaluate(problem, moved, before=before, refit=False)
    assert before.twin is not None
    assert after.twin is not None
    assert after.twin.detwinned is before.twin.detwinned
    assert np.abs(after.amplitude - before.amplitude).max() > 0.0
    assert np.abs(after.values - before.values).max() > 0.0


def test_omit_maps_of_a_twin(case: Callable[[str], Path]) -> None:
    """The density of a residue that is left out is there, as in the data."""
    folder = case("1l2h")
    found, _ = omit_files(folder / "model.cif", folder / "norm.mtz", "chain A and 100", Options(d_min=2.0))
    assert found.levels.mean() > 3.0
    assert found.cc_present_data is not None
    assert found.cc_absent_data is not None
    assert found.cc_present_data > max(0.7, found.cc_absent_data)


def test_laws_are_chosen_by_the_data_or_by_name(case: Callable[[str], Path]) -> None:
    folder = case("1l2h")
    crystal = read_model(folder / "model.cif").crystal
    data = read_reflections(folder / "norm.mtz", crystal)[0]
    for option in ("auto", LAW, "k,h,-l", "-h,k,-l;h,-k,-l"):
        assert chosen_laws(data, (option,)) == ((LAW,), [])
    assert chosen_laws(data, ("none",)) == ((), [])
    with pytest.raises(InputError, match="--twin: twin law '-h,-k,l' is a symmetry of P 43; allowed are: -h,k,-l"):
        chosen_laws(data, ("-h,-k,l",))
    with pytest.raises(InputError, match="--twin: found 0 laws, expected 1 to 5, auto or none"):
        chosen_laws(data, (";",))
    for untwinned in ("1rx2", "3g70"):
        other = case(untwinned)
        model = read_model(next(other.glob("model.*")))
        assert chosen_laws(read_reflections(other / "norm.mtz", model.crystal)[0], ("auto",)) == ((), [])


def test_no_more_laws_than_may_be_named(case: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A lattice of high symmetry has up to 23 laws; time and memory grow with their fourth power."""
    folder = case("1l2h")
    data = read_reflections(folder / "norm.mtz", read_model(folder / "model.cif").crystal)[0]
    laws = tuple(TwinLaw(f"{n}", 0.9 - 0.01 * n, 0.3) for n in range(23))
    monkeypatch.setattr(twin_choice, "suspicion", lambda _: Suspicion(True, 0.4, laws))
    monkeypatch.setattr(Crystal, "keeps_point_group", lambda self, law: law != "1")
    assert chosen_laws(data, ("auto",)) == (("0", "2", "3", "4", "5"), [])


def test_laws_of_the_header(refined: tuple[Result, Path], case: Callable[[str], Path]) -> None:
    """Where the data do not show them, they are those by which the model was refined."""
    for name in ("refined.pdb", "refined.cif"):
        model = read_model(refined[1] / name)
        assert [law.lower().replace(" ", "") for law in header_laws(model.structure, model.document)] == ["h,k,l", LAW]
    phenix = ["FRACTION: 0.349", "OPERATOR: -H,K,-L", "FRACTION: 0.010", "OPERATOR: K,H,-L"]
    structure = gemmi.Structure()
    structure.raw_remarks = ["REMARK   3  TWINNING INFORMATION.", *(f"REMARK   3   {line}" for line in phenix)]
    assert header_laws(structure, None) == ("-H,K,-L",)
    folder = case("br_lcls")
    model = read_model(next(folder.glob("model.*")))
    assert header_laws(model.structure, model.document) == ()
    data = read_reflections(folder / "norm.mtz", model.crystal)[0]
    laws, (note,) = chosen_laws(data, ("auto",), ("H, K, L", "-H-K, K, -L", "K, L, H"))
    assert laws == ("-h-k,k,-l",)
    assert note == "refined as a twin by -h-k,k,-l, as the header of the model says it was"
    assert chosen_laws(data, ("none",), laws) == ((), [])


def test_test_sets_and_mates(case: Callable[[str], Path]) -> None:
    """One chosen at random has all mates; one of the file stays, and what it lacks is said."""
    folder = case("1l2h")
    crystal = read_model(folder / "model.cif").crystal
    data = read_reflections(folder / "norm.mtz", crystal)[0]
    assert of_test_set(data, (LAW,)) == []
    chosen = read_reflections(folder / "norm.mtz", crystal, free="random")[0]
    assert chosen.free.mean() == pytest.approx(0.05, rel=0.1)
    assert of_test_set(chosen, (LAW,)) == []
    split = dataclasses.replace(chosen, free=np.random.default_rng(0).random(len(chosen)) < 0.05)
    (warning,) = of_test_set(split, (LAW,))
    assert f" test reflections of {int(split.free.sum())} are measured together with a twin mate" in warning
    assert "R-free is too low" in warning
    assert of_test_set(split, ()) == []


def test_a_crystal_that_is_no_twin_is_found_out(case: Callable[[str], Path]) -> None:
    """1cbs has a and b that are nearly equal; as a twin it has a fraction of next to nothing, and R as before.

    2r4r has mates of slightly higher resolution than any reflection, and a fraction as small as single crystals have.
    """
    fractions = []
    for name, law, change in (("1cbs", "-k,-h,-l", 0.001), ("2r4r", "h+2*l,-k,-l", 0.01)):
        model, data = next(case(name).glob("model.*")), case(name) / "norm.mtz"
        as_twin = evaluate_files(model, data, Options(twin=(law,))).state
        single = evaluate_files(model, data, Options(twin=("none",))).state
        assert as_twin.twin is not None
        assert as_twin.statistics.r_work == pytest.approx(single.statistics.r_work, abs=change)
        (warning,) = at_end(as_twin.twin.twin)[1:]
        assert warning.startswith(f"the crystal is hardly a twin by {law} (fraction 0.0")
        fractions.append(as_twin.twin.twin.fractions[1])
    assert fractions[0] < 0.005
    assert fractions[1] < 0.05


def test_from_the_command_line(
    case: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = case("1l2h")
    files = [str(folder / "model.cif"), str(folder / "norm.mtz"), "--d-min", "2.5"]
    free = {}
    for name, more in (("twin", [f"--twin={LAW}"]), ("single", ["--twin", "none"])):
        assert main(["validate", *files, "-o", str(tmp_path / f"{name}.json"), *more]) == 0
        free[name] = capsys.readouterr().out
    assert free["twin"] != free["single"]
    assert "twinning is not modelled" in free["single"]
    assert main(["refine", *files, "-o", str(tmp_path / "bad"), "--twin", "auto", "none"]) == 2
    assert "--twin: found 'auto' 'none', expected auto, none, or operators" in capsys.readouterr().err
