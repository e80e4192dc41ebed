"""From files to files in Python: real crystals, the embedded example, and models that are odd or broken."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import gemmi
import numpy as np
import pytest

from arrayrefine import InputError, MonomerError, Options, refine, state
from arrayrefine.example import DATA, MODEL
from arrayrefine.options import Minimiser, Weighting, Xray
from arrayrefine.report import Step
from arrayrefine.result import Result
from arrayrefine.state import State

Case = Callable[[str], Path]

FILES = {"refined.cif", "refined.pdb", "refined.mtz", "report.json"}
REPORT_KEYS = {"schema", "inputs", "options", "start", "final", "steps", "warnings", "seconds"}
STATISTICS_KEYS = {"r_work", "r_free", "bond_rmsd", "bond_rmsz", "angle_rmsd", "angle_rmsz", "b_mean"}
STEP_KEYS = {
    "cycle", "target", "free_parameters", "weights", "r_work", "r_free", "bond_rmsz", "angle_rmsz", "evaluations",
    "seconds", "note",
}  # fmt: skip
COLUMNS = [
    "H", "K", "L", "FP", "SIGFP", "FREE", "FC", "PHIC", "FWT", "PHWT", "FWT_nofill", "PHWT_nofill", "DELFWT",
    "PHDELWT", "FOM",
]  # fmt: skip


def run(case: Path, start: str = "shaken.pdb", data: str = "norm.mtz", **options: object) -> Result:
    """A refinement of one of the real crystals, with the restraints that come with it."""
    ligands = tuple(sorted(case.glob("*_restraints.cif")))
    return refine(case / start, case / data, Options(restraints=ligands, **options))  # type: ignore[arg-type]


def r_factors(path: Path) -> tuple[float, float]:
    """R-work and R-free of FP against FC in an MTZ file."""
    mtz = gemmi.read_mtz_file(str(path))
    f_obs, f_calc, free = (np.array(mtz.column_with_label(name)) for name in ("FP", "FC", "FREE"))
    out = []
    measured = np.isfinite(f_obs)
    for chosen in (measured & (free == 1), measured & (free == 0)):
        out.append(float(np.abs(f_obs - f_calc)[chosen].sum() / f_obs[chosen].sum()))
    return out[0], out[1]


@pytest.fixture(scope="module")
def glutaredoxin(case: Case, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """Two cycles of 1aba from its shaken start, and the folder they were written to."""
    result = run(case("1aba"), cycles=2, minimiser=Minimiser(early_stop=False))
    folder = tmp_path_factory.mktemp("1aba") / "new" / "refined"
    result.write(folder)
    return result, folder


def test_shaken_start_is_mended(glutaredoxin: tuple[Result, Path]) -> None:
    result, _ = glutaredoxin
    start, final = result.report.start, result.report.final
    assert start.r_free is not None
    assert start.r_free > 0.23
    assert start.bond_rmsz is not None
    assert start.bond_rmsz > 5
    assert result.r_work < 0.14
    assert result.r_free is not None
    assert result.r_free < 0.187  # Servalcat on the same start 0.1673, TorchRef 0.1749
    assert final.bond_rmsz is not None
    assert 0.4 < final.bond_rmsz < 1.2
    assert final.angle_rmsz is not None
    assert final.angle_rmsz < 1.4


def test_history_has_a_record_per_step(glutaredoxin: tuple[Result, Path]) -> None:
    result, _ = glutaredoxin
    assert [(s.cycle, s.target) for s in result.history] == [(1, "xyz+b"), (2, "xyz+b")]
    for step in result.history:
        assert step.free_parameters == 4 * len(result.atoms) + 5 * int(result.atoms.anisotropic.sum())
        assert step.evaluations > 2
        geometry, adp = (step.weights[f"{term}_detail"] for term in ("geometry", "adp"))
        assert step.weights["geometry"] > 0
        assert geometry["norm_xray"] > 0
        assert geometry["norm_term"] > 0
        assert step.weights["adp"] == adp["evidence"] * adp["steering"]  # in the last minimisation of each step
        values = step.free_parameters / len(result.atoms) - 3.0  # displacements for each atom: some have six
        assert 0.3 < adp["determined"] * values < values
        assert step.note
    assert result.history[-1].r_work == pytest.approx(result.r_work, abs=1e-3)  # its mask and scale are made anew


def test_scale_and_mask_of_the_end_are_those_of_the_model_alone(
    glutaredoxin: tuple[Result, Path], case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was kept on the way; and the step `scale` makes them anew too."""
    monkeypatch.setattr(state, "_MASK_HOLDS", 100.0)
    _, folder = glutaredoxin
    seen: list[State] = []
    # A common shift of B, out of the scale, would be another model.
    options = Options(
        cycles=1, targets=("xyz", "scale"), tls=("none",), anisotropic="keep", freeze=("b: all",)
    )
    result = refine(
        folder / "refined.cif", case("1aba") / "norm.mtz", options, on_state=lambda _, at: seen.append(at)
    )
    assert [at.masked is at.atoms for at in seen] == [False, True]
    options = dataclasses.replace(options, targets=("xyz",))
    short = refine(folder / "refined.cif", case("1aba") / "norm.mtz", options)
    assert short.r_work == result.r_work != short.history[0].r_work


def test_all_four_files_can_be_read_elsewhere(glutaredoxin: tuple[Result, Path]) -> None:
    result, folder = glutaredoxin
    assert {p.name for p in folder.iterdir()} == FILES
    for name, digits in (("refined.pdb", 3), ("refined.cif", 3)):
        structure = gemmi.read_structure(str(folder / name))
        atoms = [a.atom for a in structure[0].all()]
        assert len(atoms) == len(result.atoms)
        xyz = np.array([a.pos.tolist() for a in atoms])
        assert np.abs(xyz - result.atoms.xyz).max() < 10.0**-digits
        assert np.abs(np.array([a.b_iso for a in atoms]) - result.atoms.b_iso).max() < 0.006
        assert structure.spacegroup_hm == "P 21 21 21"
    block = gemmi.cif.read(str(folder / "refined.cif"))[0]
    assert float(block.find_value("_refine.ls_R_factor_R_free")) == pytest.approx(result.r_free, abs=1e-4)
    assert len(block.find("_refine_ls_restr.", ["type", "number"])) >= 5
    assert len(block.find("_refine_ls_shell.", ["d_res_high", "R_factor_R_work"])) >= 5
    assert "arrayrefine" in list(block.find_loop("_software.name"))


def test_report_has_the_fixed_names(glutaredoxin: tuple[Result, Path]) -> None:
    result, folder = glutaredoxin
    report = json.loads((folder / "report.json").read_text())
    assert report.keys() >= REPORT_KEYS
    assert report["schema"].startswith("arrayrefine.report/")
    for name in ("start", "final"):
        assert report[name].keys() >= STATISTICS_KEYS
    assert len(report["steps"]) == 2
    for step in report["steps"]:
        assert step.keys() >= STEP_KEYS
    assert report["final"]["r_free"] == result.r_free
    assert report["options"]["cycles"] == 2
    for name in ("model", "data"):
        assert len(report["inputs"][name]["sha256"]) == 64


def test_mtz_has_the_columns_and_the_r_factors_of_the_report(glutaredoxin: tuple[Result, Path]) -> None:
    result, folder = glutaredoxin
    mtz = gemmi.read_mtz_file(str(folder / "refined.mtz"))
    assert [c.label for c in mtz.columns] == COLUMNS
    r_work, r_free = r_factors(folder / "refined.mtz")
    assert r_work == pytest.approx(result.r_work, abs=2e-5)
    assert r_free == pytest.approx(result.r_free, abs=2e-5)
    f_obs, fill = np.array(mtz.column_with_label("FP")), np.array(mtz.column_with_label("FWT"))
    assert np.isfinite(fill).all()
    assert np.isnan(f_obs).any()  # reflections that were not measured, filled with DFc


def test_map_shows_the_atoms(glutaredoxin: tuple[Result, Path]) -> None:
    result, folder = glutaredoxin
    mtz = gemmi.read_mtz_file(str(folder / "refined.mtz"))
    density = mtz.transform_f_phi_to_map("FWT", "PHWT", sample_rate=3)
    values = [density.interpolate_value(gemmi.Position(*x)) for x in result.atoms.xyz]
    assert np.median(values) > 2.0 * np.std(density.array)


def test_example_improves_from_the_perturbed_start() -> None:
    messages: list[str] = []
    steps: list[Step] = []
    options = Options(perturb=0.2, cycles=1, targets=("xyz",))
    result = refine(MODEL, DATA, options, on_step=steps.append, on_message=messages.append)
    start, final = result.report.start, result.report.final
    assert start.r_free is not None
    assert result.r_free is not None
    assert result.r_work < start.r_work - 0.05
    assert result.r_free < start.r_free
    assert final.bond_rmsz is not None
    assert final.bond_rmsz < 1.2
    assert tuple(steps) == result.history
    assert any("0.2 Å" in m for m in messages)
    assert set(messages) == set(result.report.warnings)


def test_no_cycles_only_scores() -> None:
    result = refine(MODEL, DATA, Options(cycles=0))
    assert result.history == ()
    assert result.report.start == result.report.final
    assert result.r_free is not None
    assert result.r_work < 0.17  # deposited: 0.147 with its own scale
    assert 0.15 < result.r_free < 0.24


def test_stop_at_once_returns_the_start() -> None:
    result = refine(MODEL, DATA, Options(d_min=3.0, perturb=0.2), stop=lambda: 15)
    assert result.report.final.r_work == pytest.approx(result.report.start.r_work, abs=1e-4)
    start = refine(MODEL, DATA, Options(d_min=3.0, perturb=0.2, cycles=0))
    assert np.array_equal(result.atoms.xyz, start.atoms.xyz)
    assert "interrupted" in result.report.stopped


@pytest.mark.parametrize(("hydrogens", "rides"), [("add", True), ("keep", False)])
def test_the_report_counts_the_hydrogens_that_ride(case: Case, hydrogens: str, rides: bool) -> None:
    """The model has none to keep."""
    assert (run(case("5e5z"), cycles=0, hydrogens=hydrogens).report.data["n_riding"] > 0) == rides


def test_same_input_same_output(case: Case) -> None:
    one, two = (run(case("5e5z"), cycles=2, perturb=0.1, seed=3) for _ in range(2))
    other = run(case("5e5z"), cycles=2, perturb=0.1, seed=4)
    assert np.array_equal(one.atoms.xyz, two.atoms.xyz)
    assert np.array_equal(one.atoms.b_iso, two.atoms.b_iso)
    assert without_seconds(one) == without_seconds(two)
    assert not np.array_equal(one.atoms.xyz, other.atoms.xyz)


def without_seconds(result: Result) -> dict[str, object]:
    steps = tuple(dataclasses.replace(step, seconds=0.0, timings={}) for step in result.history)
    found = dataclasses.replace(result.report, seconds=0.0, steps=steps).as_dict()
    found["mode"].get("memory", {}).pop("limit", None)  # what was free on a device at the moment
    return found


@pytest.mark.parametrize(
    ("name", "start", "options", "highest"),
    [
        pytest.param("5e5z", "shaken.pdb", {"cycles": 2}, 0.24, id="47 atoms, P 21"),
        pytest.param("6mw0", "shaken.cif", {"cycles": 1, "d_min": 1.0}, 0.24, id="91 atoms, 1 Å"),
        pytest.param("1dur", "shaken.pdb", {"cycles": 2}, 0.25, id="two Fe4S4 clusters"),
        pytest.param("5uui", "shaken.cif", {"cycles": 1, "d_min": 2.8}, 0.34, id="R 3, user's restraints"),
        pytest.param("1v9g", "shaken.cif", {"cycles": 1, "d_min": 2.0}, 0.55, id="neutron data, deuterium"),
        pytest.param("hewl_ssad", "shaken.cif", {"cycles": 1, "d_min": 3.5}, 0.26, id="intensities, hydrogens"),
    ],
)
def test_kinds_of_crystals(case: Case, name: str, start: str, options: dict[str, object], highest: float) -> None:
    result = run(case(name), start, **options)
    final = result.report.final
    assert result.r_work < result.report.start.r_work - 0.01
    assert result.r_free is not None
    assert result.r_free < highest
    assert final.bond_rmsz is not None
    assert 0.3 < final.bond_rmsz < 1.3
    assert final.angle_rmsz is not None
    # The dictionary's angles in a cubane are 3 sigma from those of any real one; the weights are steered without them.
    assert result.report.scaling["steered_by"]["angle_rmsz"] < 1.5
    assert final.angle_rmsz < (1.8 if name == "1dur" else 1.5)


def test_intensities_are_written_beside_the_amplitudes_made_of_them(case: Case, tmp_path: Path) -> None:
    result = run(case("hewl_ssad"), "shaken.cif", cycles=0, d_min=4.0)
    result.write(tmp_path)
    labels = [c.label for c in gemmi.read_mtz_file(str(tmp_path / "refined.mtz")).columns]
    assert {"I", "SIGI", "FP", "SIGFP"} <= set(labels)
    assert any("French" in w for w in result.report.warnings)
    assert r_factors(tmp_path / "refined.mtz")[1] == pytest.approx(result.r_free, abs=2e-5)


def test_without_free_flags_a_test_set_is_chosen_said_and_written(case: Case, tmp_path: Path) -> None:
    folder = case("1dur")
    result = run(folder, data="data-sf.cif", cycles=0)
    result.write(tmp_path)
    assert any("free" in w and "5" in w for w in result.report.warnings)
    assert 0.03 < result.reflections.free.mean() < 0.07
    again = refine(folder / "shaken.pdb", tmp_path / "refined.mtz", Options(cycles=0, columns="FP,SIGFP"))
    assert len(again.reflections) == len(result.reflections)
    assert int(again.reflections.free.sum()) == int(result.reflections.free.sum())
    assert again.r_free == pytest.approx(result.r_free, abs=2e-3)


def test_component_without_restraints_is_an_error_with_remedies(case: Case) -> None:
    with pytest.raises(MonomerError, match=r"A4W.*A 407") as error:
        run(case("5orl"))
    assert all(remedy in str(error.value) for remedy in ("--restraints", "--monomers", "--unknown hold"))


def test_unknown_component_can_be_held(case: Case) -> None:
    result = run(
        case("5orl"), unknown="hold", cycles=1, d_min=4.5, targets=("xyz+b",), tls=("none",),
        minimiser=Minimiser(max_iterations=6),
    )  # fmt: skip
    before = result.model.atoms
    held = before.identity.residue_name == "A4W"
    assert held.sum() > 5
    assert np.array_equal(result.atoms.xyz[held], before.xyz[held])
    moved = np.linalg.norm(result.atoms.xyz - before.xyz, axis=1)
    assert np.median(moved[~held]) > 0.01
    assert result.history[0].free_parameters == 4 * int((~held).sum())
    assert any("A4W" in w and "held" in w for w in result.report.warnings)


def test_direct_summation_agrees_with_the_fft(case: Case) -> None:
    by_fft, directly = (
        run(case("5e5z"), cycles=1, xray=Xray(method=method))  # type: ignore[arg-type]
        for method in ("fft", "direct")
    )
    assert directly.r_work == pytest.approx(by_fft.r_work, abs=2e-3)
    assert np.abs(directly.atoms.xyz - by_fft.atoms.xyz).max() < 0.1


def test_gaussian_target_refines(case: Case) -> None:
    result = run(case("5e5z"), cycles=1, xray=Xray(target="gaussian"))
    assert result.r_work < result.report.start.r_work - 0.05
    assert result.report.final.bond_rmsz is not None
    assert result.report.final.bond_rmsz < 1.3


def test_steps_together_apart_and_of_scale(case: Case, tmp_path: Path) -> None:
    structure = gemmi.read_structure(str(case("5e5z") / "shaken.pdb"))
    for found in list(structure[0].all())[5:9]:
        found.atom.occ = 0.5
    structure.write_pdb(str(tmp_path / "half.pdb"))
    options = Options(cycles=1, targets=("scale", "xyz+b", "occupancy"), tls=("none",))
    result = refine(tmp_path / "half.pdb", case("5e5z") / "norm.mtz", options)
    assert [s.target for s in result.history] == ["scale", "xyz+b", "occupancy"]
    halved = result.model.atoms.identity.residue[5:9]
    assert [s.free_parameters for s in result.history] == [0, 4 * 47 + 5 * 46, len(np.unique(halved))]
    joint = result.history[1].weights
    assert joint["geometry"] > 0
    assert joint["adp"] > 0
    # All of these atoms are there, and the data say so while nothing else (such as a B that has settled around the
    # halves) can answer for them.
    alone = refine(tmp_path / "half.pdb", case("5e5z") / "norm.mtz", Options(cycles=1, targets=("occupancy",)))
    assert (alone.atoms.occupancy[5:9] > 0.85).all()
    assert np.array_equal(result.atoms.occupancy[9:], result.model.atoms.occupancy[9:])


def test_given_weights_are_used(case: Case) -> None:
    given = Weighting(geometry=0.3, adp=0.05)
    result = run(case("5e5z"), cycles=1, weights="fixed", weighting=given)
    assert result.history[0].weights["geometry"] == 0.3
    assert result.history[0].weights["adp"] == 0.05
    in_turn = run(case("5e5z"), cycles=1, weights="fixed", weighting=given, targets=("xyz", "b")).history
    assert [step.weights["geometry"] for step in in_turn] == [0.3, None]
    assert [step.weights["adp"] for step in in_turn] == [None, 0.05]


def test_given_weights_that_loosen_or_tighten_the_geometry_beyond_its_band_are_used(case: Case) -> None:
    rmsz = []
    for geometry in (3.0, 0.01):
        given = Weighting(geometry=geometry, adp=0.05)
        result = run(case("5e5z"), cycles=1, weights="fixed", weighting=given, targets=("xyz",), tls=("none",))
        assert not [step.note for step in result.history if "rolled back" in step.note]
        rmsz.append(result.report.final.bond_rmsz or 0.0)
    assert rmsz[0] < 0.5
    assert rmsz[1] > 1.0


def test_step_that_is_no_step_is_an_error(case: Case) -> None:
    with pytest.raises(InputError, match="xyz, b, occupancy"):
        run(case("5e5z"), targets=("u",))


@pytest.mark.parametrize("anisotropic", ["auto", "none"])
def test_a_first_step_cut_short_before_anything_was_gained_leaves_the_model_as_it_was(
    case: Case, anisotropic: str
) -> None:
    """However early that is: nothing is claimed of what was not tried, and B stay as well."""
    start = run(case("5e5z"), cycles=0, anisotropic="none")
    cut = []
    for after in (2, 4, 6, 8, 10, 12):
        polls = iter(range(10_000))
        stop = partial(lambda count, most: 2 if next(count) >= most else None, polls, after)
        options = Options(anisotropic=anisotropic)
        result = refine(case("5e5z") / "shaken.pdb", case("5e5z") / "norm.mtz", options, stop=stop)
        assert result.report.stopped.startswith("interrupted")
        notes = " / ".join(step.note for step in result.history)
        assert "fit no better" not in notes
        if "not better yet" in notes or not result.history:
            np.testing.assert_array_equal(result.atoms.b_iso, start.atoms.b_iso)
            np.testing.assert_array_equal(result.atoms.xyz, start.atoms.xyz)
            assert not result.atoms.anisotropic.any()
            assert result.report.final == result.report.start
        else:
            assert result.report.final.r_work < result.report.start.r_work
        cut.append("not better yet" in notes)
    assert any(cut)
    assert not cut[-1]
