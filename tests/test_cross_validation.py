"""Cross-validation: folds, R-complete, and the command."""

from __future__ import annotations

import dataclasses
import json
import signal
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gemmi
import numpy as np
import pytest
from synthetic import crystal

from arrayrefine import __main__ as cli
from arrayrefine.commands import crossvalidate
from arrayrefine.cross_validation import CrossValidation, cross_validate
from arrayrefine.crystal import Crystal
from arrayrefine.errors import InputError
from arrayrefine.example import DATA, MODEL
from arrayrefine.io.reflections.free_flags import choose_random
from arrayrefine.lattice_symmetry import families, mates
from arrayrefine.measurements.folds import cut
from arrayrefine.options import Options
from arrayrefine.refine import refine
from arrayrefine.reflections import Reflections
from arrayrefine.scaling import r_factor

ENDED: Any = SimpleNamespace(report=SimpleNamespace(stopped="converged"))
QUICK = Options(d_min=4.0, cycles=1, targets=("b",), perturb=0.1, hydrogens="strip", threads=2)


def made(cell: tuple[float, ...], group: str, d_min: float = 2.0) -> Reflections:
    hkl = gemmi.make_miller_array(gemmi.UnitCell(*cell), gemmi.SpaceGroup(group), d_min)
    n = len(hkl)
    return Reflections(Crystal(cell, group), hkl, np.ones(n), np.ones(n), np.zeros(n, bool))


@pytest.fixture(scope="module")
def found() -> CrossValidation:
    return cross_validate(MODEL, DATA, QUICK, folds=2)


@pytest.mark.parametrize("count", [2, 7, 20])
def test_every_fold_has_its_share_of_every_resolution(count: int) -> None:
    data = made((30.0, 41.0, 52.0, 90.0, 97.0, 90.0), "P 1 21 1")
    fold = cut(data, count, 0)
    assert sorted(set(fold.tolist())) == list(range(count))
    by_resolution = fold[data.by_resolution]
    whole = len(fold) // count * count
    assert (np.sort(by_resolution[:whole].reshape(-1, count), axis=1) == np.arange(count)).all()
    np.testing.assert_array_equal(fold, cut(data, count, 0))
    assert (fold != cut(data, count, 1)).any()


def test_no_fold_has_one_of_two_reflections_that_the_lattice_relates() -> None:
    data = made((60.0, 60.0, 90.0, 90.0, 90.0, 120.0), "P 3", 3.0)
    fold, family = cut(data, 5, 0), families(data.crystal, data.hkl)
    laws = data.crystal.twin_laws
    assert len(laws) == 3
    for law in laws.values():
        mate = mates(data.crystal, data.hkl, law)
        there = mate >= 0
        assert there.sum() > 0.9 * len(data)
        np.testing.assert_array_equal(family[there], family[mate[there]])
        np.testing.assert_array_equal(fold[there], fold[mate[there]])
    assert np.bincount(family).max() == 4
    counts = np.bincount(fold)
    assert counts.min() > 0.9 * counts.max()


def test_reflections_of_a_lattice_without_more_symmetry_are_families_of_one() -> None:
    data = made((30.0, 41.0, 52.0, 80.0, 97.0, 101.0), "P 1", 3.0)
    assert len(set(families(data.crystal, data.hkl).tolist())) == len(data)


def test_families_are_orbits_of_the_lattice_also_where_its_axes_are_not_the_crystal_s() -> None:
    """P1 in a cubic cell: every permutation of the indices and of their signs. P 2 along one of six axes: the same."""
    for space_group in ("P 1", "P 1 2 1", "P 2 2 2"):
        data = made((40.0, 40.0, 40.0, 90.0, 90.0, 90.0), space_group, 6.0)
        cubic = np.unique(np.sort(np.abs(data.hkl), axis=1), axis=0, return_inverse=True)[1].reshape(-1)
        family = families(data.crystal, data.hkl)
        assert len(set(zip(family.tolist(), cubic.tolist()))) == len(set(family.tolist())) == len(set(cubic.tolist()))
        first = np.unique(family, return_index=True)[1]
        assert (np.diff(first) > 0).all()


@pytest.mark.parametrize("count", [-1, 0, 1, 60, 2.0, 2.5, "3", True])
def test_folds_that_cannot_be_made_are_refused(count: Any) -> None:
    data = made((10.0, 11.0, 12.0, 90.0, 97.0, 90.0), "P 1 21 1", 2.5)
    with pytest.raises(InputError, match=f"--folds {count!r}: expected 2 to "):
        cut(data, count, 0)


def test_too_few_reflections_for_any_folds_are_refused() -> None:
    data = made((10.0, 11.0, 12.0, 90.0, 97.0, 90.0), "P 1 21 1", 2.5).select(np.arange(3))
    with pytest.raises(InputError, match="are too few for cross-validation; expected 4 or more"):
        cut(data, 2, 0)


@pytest.mark.parametrize("count", [2, 10, 100])
def test_the_standard_error_is_how_r_scatters(count: int) -> None:
    """Of reflections made anew, with errors of their own and, in half of the cases, others that a fold shares."""
    data = made((30.0, 41.0, 52.0, 90.0, 97.0, 90.0), "P 1 21 1", 3.0)
    rng = np.random.default_rng(count)
    for shared in (0.0, 0.3):
        told, r = [], []
        for seed in range(200 if count > 2 else 600):
            fold = cut(data, count, seed)
            f = rng.rayleigh(100.0, len(data))
            error = rng.normal(0.0, 0.2, len(data)) * np.abs(1.0 + shared * rng.normal(size=count)[fold])
            measured = dataclasses.replace(data, f_obs=f)
            one = CrossValidation(measured, fold, f * (1.0 + error), (ENDED,) * count, (), Options())
            told.append(one.standard_error)
            r.append(one.r_complete)
        assert 0.8 < np.sqrt(np.mean(np.square(told))) / np.std(r) < 1.5


def test_each_reflection_is_judged_by_the_refinement_that_left_it_out(found: CrossValidation) -> None:
    data = found.reflections
    assert found.ended == (0, 1)
    assert found.known.mean() > 0.99
    free_sum = 0.0
    for k, result in enumerate(found.results):
        own = result.reflections
        assert own.has_new_test_set  # no word on flags that the model was refined with
        assert own.free.sum() == (found.known & (found.fold == k)).sum()
        assert found.r_free[k] == pytest.approx(result.r_free, abs=1e-12)
        free_sum += found.r_free[k] * own.f_obs[own.free].sum()
    assert found.r_complete == pytest.approx(free_sum / data.f_obs[found.known].sum(), rel=1e-9)
    assert found.r_complete > found.r_work == pytest.approx(np.mean([r.r_work for r in found.results]))
    beyond = np.abs(data.f_obs - found.f_model)[found.known] - found.r_complete * data.f_obs[found.known]
    alone = np.sqrt(np.mean(beyond**2) * found.known.sum()) / data.f_obs[found.known].sum()
    between = abs(beyond[found.fold[found.known] == 0].sum()) * 2.0 / data.f_obs[found.known].sum()
    assert found.standard_error == pytest.approx(max(alone, between))
    assert data.free.sum() > 20  # the test set of the file
    assert found.r_own == r_factor(data.f_obs[data.free & found.known], found.f_model[data.free & found.known])


def test_shells_have_all_reflections_between_them(found: CrossValidation) -> None:
    shells = found.shells()
    assert sum(shell["n"] for shell in shells) == found.known.sum()
    total = 0.0
    volume = found.reflections.s_squared**1.5
    for shell in shells:
        low = 0.0 if shell["d_low"] is None else shell["d_low"] ** -3
        inside = found.known & (volume >= low * (1 - 1e-9)) & (volume < shell["d_high"] ** -3 * (1 + 1e-9))
        total += shell["r_complete"] * found.reflections.f_obs[inside].sum()
        assert 0.5 < shell["cc_complete"] < 1.0
    assert total / found.reflections.f_obs[found.known].sum() == pytest.approx(found.r_complete, rel=0.01)


def test_a_refinement_by_itself_with_the_same_test_set_ends_alike(found: CrossValidation) -> None:
    data = dataclasses.replace(found.reflections, free=found.fold == 1, flags=None)
    alone = refine(MODEL, data, dataclasses.replace(QUICK, d_min=None))
    assert alone.r_free == found.r_free[1]
    np.testing.assert_array_equal(alone.atoms.b_iso, found.results[1].atoms.b_iso)


def test_what_is_interrupted_has_no_part(found: CrossValidation) -> None:
    cut_short = dataclasses.replace(found.results[0].report, stopped="interrupted: the best model so far was kept")
    results = (dataclasses.replace(found.results[0], report=cut_short), found.results[1])
    left = dataclasses.replace(found, results=results)
    assert left.ended == (1,)
    assert left.r_free == found.r_free[1:]
    assert [row["fold"] for row in left.as_dict()["by_fold"]] == [2]
    nothing = cross_validate(MODEL, DATA, dataclasses.replace(QUICK, threads=1), folds=2, stop=lambda: signal.SIGINT)
    assert nothing.ended == ()
    assert not nothing.known.any()
    assert np.isnan([nothing.r_complete, nothing.r_work, nothing.standard_error]).all()
    assert nothing.r_own is None


def test_one_after_another_those_that_have_ended_count(found: CrossValidation) -> None:
    steps: list[int] = []
    before_last = cross_validate(
        MODEL, DATA, dataclasses.replace(QUICK, threads=1, device="cpu"), folds=2,
        on_step=lambda number, step: steps.append(number), stop=lambda: signal.SIGINT if 1 in steps else None,
    )  # fmt: skip
    assert steps == sorted(steps)  # the second begins when the first has ended
    assert before_last.ended == (0,)
    assert before_last.r_free == found.r_free[:1]
    assert before_last.as_dict()["folds"] == 2


def test_the_command_prints_and_writes_what_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--d-min", "4", "--cycles", "0", "--perturb", "0.1", "--hydrogens", "strip", "--folds", "2"]
    flags += ["--maps", "model"]
    out = tmp_path / "out"
    assert cli.main(["crossvalidate", "--out", str(out), *flags, "--targets", "b", str(MODEL), str(DATA)]) == 0
    printed = capsys.readouterr().out
    content = json.loads((out / "crossvalidation.json").read_text())
    assert "warning: --maps has no effect: the refinements of a cross-validation write no models" in printed
    assert content["schema"] == "arrayrefine.crossvalidation/1"
    error, own = content["standard_error"], content["own_test_set"]
    assert content["options"]["d_min"] == 4.0
    assert content["inputs"]["data"]["free_column"] == "FREE"
    assert content["inputs"]["model"]["path"] == str(MODEL)
    assert f"R-complete {content['r_complete']:.4f} +- {error:.4f} of {content['n']} reflections" in printed
    assert f"the {own['n']} of the file's test set: {own['r_complete']:.4f}" in printed
    assert "note: the start was displaced by 0.1 Å rms" in printed  # all of them said it
    mtz = gemmi.read_mtz_file(str(out / "crossvalidation.mtz"))
    columns = {column.label: np.array(column) for column in mtz.columns}
    assert list(columns) == ["H", "K", "L", "FP", "SIGFP", "FC", "FOLD"]
    assert set(columns["FOLD"].tolist()) == {1.0, 2.0}
    known = np.isfinite(columns["FC"])
    assert known.sum() == content["n"]
    assert r_factor(columns["FP"][known], columns["FC"][known]) == pytest.approx(content["r_complete"], rel=1e-5)
    for row in content["by_fold"]:
        assert any(note.startswith("the start was displaced by 0.1 Å rms") for note in row["warnings"])
        inside = known & (columns["FOLD"] == row["fold"])
        assert inside.sum() == row["n"]
        assert r_factor(columns["FP"][inside], columns["FC"][inside]) == pytest.approx(row["r_free"], rel=1e-5)


def test_the_command_leaves_nothing_where_it_cannot_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert cli.main(["crossvalidate", str(MODEL), str(DATA), "--out", str(out), "--folds", "1"]) == 2
    assert "--folds 1: expected 2 to " in capsys.readouterr().err
    assert not out.exists()


def test_a_stop_before_the_first_end_promises_no_model(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> types.SimpleNamespace:
        signal.raise_signal(signal.SIGTERM)
        return types.SimpleNamespace(ended=())

    monkeypatch.setattr("arrayrefine.cross_validation.cross_validate", stopped)
    assert cli.main(["crossvalidate", str(MODEL), str(DATA), "--out", str(tmp_path / "out")]) == 143
    said = capfd.readouterr().err
    assert "stopping; what the refinements that have ended tell is written (again: exit at once)" in said
    assert "nothing is written" in said
    assert "best model" not in said
    assert not (tmp_path / "out").exists()


def test_options_are_checked_first() -> None:
    with pytest.raises(InputError, match="--threads: found 0, expected"):
        cross_validate(MODEL, DATA, Options(threads=0))


def test_data_without_flags_need_none() -> None:
    mtz = gemmi.read_mtz_file(str(DATA))
    mtz.remove_column([column.label for column in mtz.columns].index("FREE"))
    bare = cross_validate(MODEL, mtz, dataclasses.replace(QUICK, cycles=0, d_min=4.0), folds=2)
    assert bare.r_own is None
    assert not any("flags" in note for note in bare.notes)
    assert 0.0 < bare.r_complete < 1.0


def test_a_refinement_that_cannot_start_ends_the_whole() -> None:
    options = dataclasses.replace(QUICK, targets=("occupancy",), occupancy_groups=("chain Z",))
    with pytest.raises(InputError, match=r"--occupancy-groups 'chain Z'.* names no atom"):
        cross_validate(MODEL, DATA, options, folds=2)


def test_what_an_interrupted_run_has_found_is_said_to_be_part() -> None:
    row = {"fold": 1, "n": 9, "r_work": 0.2, "r_free": None, "bond_rmsz": 0.7, "angle_rmsz": 0.8, "stopped": "done: 1"}
    content: dict[str, Any] = {
        "by_fold": [row], "standard_error": None, "r_complete": 0.25, "n": 9, "r_work": 0.2, "folds": 5,
        "own_test_set": {"r_complete": None, "n": 0},
    }  # fmt: skip
    lines = crossvalidate._lines(content)
    assert lines[-1] == "interrupted: 1 of 5 refinements had ended"
    assert "R-complete 0.2500 of 9 reflections" in lines[-2]
    own = {"own_test_set": {"r_complete": 0.3, "n": 4}, "folds": 1, "standard_error": 0.01}
    *_, total, last = crossvalidate._lines(content | own)
    assert "R-complete 0.2500 +- 0.0100 of 9" in total
    assert last == "of these, the 4 of the file's test set: 0.3000"


def test_every_family_may_be_drawn_and_every_run_gives_one() -> None:
    box = crystal("P 21 21 21")
    hkl = box.unique_reflections(3.5, 1e3)[:60]
    drawn = np.array([choose_random(box, hkl, 0.25, seed) for seed in range(60)])
    assert drawn.any(axis=0).all()
    runs = drawn[:, np.argsort(box.inverse_d_squared(hkl), kind="stable")].reshape(60, 15, 4)
    assert (runs.sum(axis=2) == 1).all()
