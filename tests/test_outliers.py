"""Reflections that the model does not allow: found, named, and treated as the options say."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from arrayrefine import Options, evaluate, prepare
from arrayrefine.io.reflections.reading import read_reflections
from arrayrefine.measurements.outliers import Outliers, find_outliers
from arrayrefine.options import Xray
from arrayrefine.problem import Problem
from arrayrefine.refine import refine
from arrayrefine.reflections import Reflections
from arrayrefine.state import State, work_nll
from arrayrefine.steering.rigid_body import _zone


@pytest.fixture(scope="module")
def spoilt(case: Callable[[str], Path]) -> tuple[Problem, State, list[int]]:
    """1aba with two work reflections and one of the test set that are possible, but not with this model."""
    folder = case("1aba")
    _, problem, atoms, _ = prepare(folder / "model.pdb", folder / "norm.mtz", Options())
    data = problem.reflections
    state = evaluate(problem, atoms, absorb_b=False)
    expected = np.abs(state.f_model) / np.sqrt(data.epsilon)
    middle = data.by_resolution[len(data) // 3 : len(data) // 2]
    by_size = middle[np.argsort(expected[middle])]
    work, free = by_size[data.work[by_size]], by_size[data.free[by_size]]
    rows = [int(work[0]), int(work[-1]), int(free[0])]
    f_obs = data.f_obs.copy()
    f_obs[rows] = 2.5 * np.sqrt(np.mean(f_obs[middle] ** 2)), 0.0, 2.5 * np.sqrt(np.mean(f_obs[middle] ** 2))
    problem = dataclasses.replace(problem, reflections=dataclasses.replace(data, f_obs=f_obs))
    return problem, state, rows


def found(spoilt: tuple[Problem, State, list[int]], **options: object) -> Outliers:
    problem, state, _ = spoilt
    return find_outliers(problem.reflections, state.f_model, state.sigma_a, Xray(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("action", ["reject", "downweight", "keep"])
def test_they_are_found_and_only_work_reflections_are_touched(spoilt, action: str) -> None:
    problem, _, rows = spoilt
    data, out = problem.reflections, found(spoilt, outliers=action)
    assert set(rows) <= set(out.rows.tolist())
    assert len(out.rows) < 10
    assert (np.diff(np.abs(out.z)) <= 0).all()
    assert not out.left_out[data.free].any()
    assert (out.variance_factor[data.free] == 1.0).all()
    assert out.left_out[rows[:2]].all() == (action == "reject")
    assert (out.variance_factor[rows[:2]] > 1.0).all() == (action == "downweight")
    (sentence,) = out.sentence(data)
    assert "the one of the test set stays in R-free" in sentence
    assert str(tuple(int(i) for i in data.hkl[out.rows[0]])) in sentence
    listed = out.describe(data, np.ones(len(data)))
    assert listed["free"] >= 1
    assert sorted(r["free"] for r in listed["worst"] if r["hkl"] in data.hkl[rows].tolist()) == [False, False, True]


def test_least_squares_leaves_out_what_it_cannot_down_weight(spoilt) -> None:
    assert found(spoilt, outliers="downweight", target="gaussian").left_out.sum() >= 2


def test_a_poor_model_has_no_outliers(spoilt) -> None:
    problem, state, _ = spoilt
    wrong = state.f_model[::-1]
    out = find_outliers(problem.reflections, wrong, state.sigma_a, Xray())
    assert len(out.rows) > 0.01 * len(problem.reflections)
    assert not out.left_out.any()
    assert "speak against the model" in out.action


def test_what_the_model_has_too_is_no_outlier_however_narrow_its_distribution(spoilt) -> None:
    problem, state, _ = spoilt
    data = problem.reflections
    known = state.sigma_a
    narrow = dataclasses.replace(known, log_ratio=known.log_ratio - 10.0, d_knots=np.ones_like(known.d_knots))
    row = int(np.argmax(np.where(data.work, np.abs(state.f_model), 0.0)))
    for factor, is_found in ((1.1, False), (1.3, True)):
        size = np.abs(state.f_model)
        f_obs = np.where(np.arange(len(size)) == row, factor * size, size)
        exact = dataclasses.replace(data, f_obs=f_obs, sigma=np.full(len(size), 1e-3 * size.mean()))
        out = find_outliers(exact, state.f_model, narrow, Xray())
        assert (row in out.rows) == is_found


@pytest.mark.parametrize("action", ["reject", "downweight"])
def test_the_target_follows(spoilt, action: str) -> None:
    """Rejected reflections have no part in value and gradient; down-weighted ones pull less."""
    problem, state, rows = spoilt
    xray = dataclasses.replace(problem.options.xray, outliers=action)
    problem = dataclasses.replace(problem, options=dataclasses.replace(problem.options, xray=xray), _plans={})
    target = evaluate(problem, state.atoms, absorb_b=False).xray
    data: Reflections = problem.reflections
    amplitude = target.factor * np.abs(state.f_calc + target.solvent)
    first = np.arange(len(data)) == rows[0]
    harder = dataclasses.replace(data, f_obs=np.where(first, 3 * data.f_obs, data.f_obs))
    if action == "reject":
        assert not target.work[rows[:2]].any()
        other, same = (dataclasses.replace(target, reflections=d, known=None) for d in (harder, data))
        assert other(state.atoms)[0] == pytest.approx(same(state.atoms)[0], rel=1e-9)
    else:
        pull = np.abs(amplitude - data.f_obs)[rows[0]] / target.variance[rows[0]]
        plain = np.abs(amplitude - data.f_obs)[rows[0]] / state.sigma_a.sigma_total(data)[rows[0]]
        assert pull < 0.8 * plain


def test_outliers_that_come_and_go_do_not_count_as_a_better_or_worse_fit(spoilt) -> None:
    """A state with rejected reflections and the same one with all of them kept fit equally well."""
    problem, state, _ = spoilt
    one = evaluate(dataclasses.replace(problem, _plans={}), state.atoms, absorb_b=False)
    two = dataclasses.replace(one, xray=dataclasses.replace(one.xray, left_out=None))
    assert two.xray.values(two.f_calc)[two.xray.work].mean() > one.nll_work + 0.005
    before, after = work_nll(one, two)
    assert before == after == pytest.approx(one.nll_work)


def test_maps_trust_a_doubtful_measurement_less(spoilt) -> None:
    problem, state, rows = spoilt
    factor = found(spoilt, outliers="downweight").variance_factor
    plain = state.sigma_a.fom(problem.reflections, state.f_model)
    less = state.sigma_a.fom(problem.reflections, state.f_model, factor)
    assert less[rows[0]] < plain[rows[0]]
    np.testing.assert_array_equal(less[factor == 1.0], plain[factor == 1.0])


def test_rigid_bodies_do_not_see_rejected_reflections(spoilt) -> None:
    problem, state, rows = spoilt
    problem = dataclasses.replace(problem, _plans={})
    now = evaluate(problem, state.atoms, absorb_b=False)
    zone = _zone(problem, now, 1.0, 1)
    assert len(zone.reflections) == len(problem.reflections)
    np.testing.assert_array_equal(zone.work, now.xray.work)
    assert not zone.work[rows[:2]].any()


def test_log_and_report_name_them(case, tmp_path: Path) -> None:
    import gemmi

    folder = case("5e5z")
    mtz = gemmi.read_mtz_file(str(folder / "norm.mtz"))
    rows = np.array(mtz.array)
    data, _ = read_reflections(folder / "norm.mtz", gemmi_crystal(folder))
    column = [c.label for c in mtz.columns].index("F")
    work = data.hkl[data.work][np.argsort(data.f_obs[data.work])[2]]
    row = int(np.flatnonzero((rows[:, :3] == work).all(axis=1))[0])
    rows[row, column] = 0.9 * np.nanmax(rows[:, column])
    mtz.set_data(np.ascontiguousarray(rows))
    mtz.write_to_file(str(tmp_path / "spoilt.mtz"))
    said: list[str] = []
    out = refine(folder / "model.pdb", tmp_path / "spoilt.mtz", Options(cycles=0), on_message=said.append)
    about = [text for text in said if "too far from the model for chance" in text]
    assert str(tuple(int(i) for i in work)) in about[0]
    assert out.report.as_dict()["data"]["outliers"]["worst"][0]["hkl"] == work.tolist()


def gemmi_crystal(folder: Path):
    from arrayrefine.io import read_model

    return read_model(folder / "model.pdb").crystal
