"""Reflections far too strong for their resolution: left out where the model does not explain them, and only there."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from synthetic import wilson

from arrayrefine import Options, evaluate, prepare
from arrayrefine import target as likelihood
from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.io.models.reading import read_model
from arrayrefine.io.output.write_mtz import mtz_of
from arrayrefine.io.reflections.reading import read_reflections
from arrayrefine.measurements.intensity_statistics import normalised_intensities
from arrayrefine.measurements.wilson_outliers import without_outliers
from arrayrefine.options import Xray
from arrayrefine.problem import Problem
from arrayrefine.real_space.model_maps import maps_of
from arrayrefine.reflections import positions


@pytest.fixture(scope="module")
def small(case) -> tuple[Problem, Atoms]:
    folder = case("5e5z")
    _, problem, atoms, _ = prepare(folder / "model.pdb", folder / "norm.mtz", Options())
    return problem, atoms


ORTHORHOMBIC = Crystal((40.0, 61.0, 83.0, 90.0, 90.0, 90.0), "P 21 21 21")


def with_f_obs(problem: Problem, f_obs: np.ndarray) -> Problem:
    return dataclasses.replace(problem, reflections=dataclasses.replace(problem.reflections, f_obs=f_obs), _plans={})


def strongest_work(problem: Problem) -> int:
    data = problem.reflections
    return int(np.argmax(np.where(data.work & ~data.centric, normalised_intensities(data), 0.0)))


@pytest.mark.parametrize("factor", [30.0, 1e4])
def test_what_the_model_does_not_explain_is_set_aside_and_named(small, factor: float) -> None:
    problem, atoms = small
    data, row = problem.reflections, strongest_work(problem)
    f_obs = data.f_obs.copy()
    f_obs[row] *= factor
    cleaned, notes = without_outliers(with_f_obs(problem, f_obs), atoms)
    left, hkl = cleaned.reflections, data.hkl[row].tolist()
    assert len(left) == len(data) - 1
    assert left.set_aside.hkl.tolist() == [hkl]
    assert left.set_aside.f_obs[0] == f_obs[row]
    assert notes[0].startswith("1 reflection is far too strong for Wilson statistics and for the model, and left out: ")
    assert f"{tuple(hkl)} at " in notes[0]
    (said,) = left.source["outliers"]["worst"]
    assert said["f_obs"] == f_obs[row]
    assert 0.3 < said["f_model"] / data.f_obs[row] < 2.0


def test_what_the_model_explains_stays(small) -> None:
    """An amplitude that no chance makes so strong, of which the model has a third."""
    problem, atoms = small
    row = strongest_work(problem)
    f_model = np.abs(evaluate(problem, atoms, absorb_b=False).f_model)
    for factor, stays in ((3.0, True), (6.0, False)):
        f_obs = f_model.copy()
        f_obs[row] *= factor
        spoilt = with_f_obs(problem, f_obs)
        assert normalised_intensities(spoilt.reflections)[row] > 40.0
        kept, notes = without_outliers(spoilt, atoms)
        assert (len(kept.reflections) == len(f_obs)) == stays
        assert (notes == ()) == stays


def test_files_keep_what_was_set_aside(small) -> None:
    problem, atoms = small
    data, row = problem.reflections, strongest_work(problem)
    f_obs = data.f_obs.copy()
    f_obs[row] *= 50.0
    intensities = dataclasses.replace(data, f_obs=f_obs, i_obs=f_obs**2, sigma_i=2.0 * f_obs * data.sigma)
    problem = dataclasses.replace(problem, reflections=intensities, _plans={})
    cleaned, _ = without_outliers(problem, atoms)
    state = evaluate(cleaned, atoms, absorb_b=False)
    maps = maps_of(cleaned, state)
    mtz = mtz_of(cleaned.reflections, maps, "")
    at = int(positions(data.hkl[row : row + 1], mtz.make_miller_array())[0])
    value = {column.label: float(column.array[at]) for column in mtz.columns}
    assert value["FP"] == pytest.approx(f_obs[row], rel=1e-6)
    assert value["SIGFP"] == pytest.approx(data.sigma[row], rel=1e-6)
    assert value["I"] == pytest.approx(f_obs[row] ** 2, rel=1e-6)
    assert value["FREE"] == 1.0
    assert value["DELFWT"] == 0.0
    assert value["FWT"] < value["FC"]
    assert np.isnan(value["FWT_nofill"])
    assert len(maps) == len(np.unique(maps.hkl, axis=0))
    assert len(maps_of(cleaned, state, filled=False)) == len(data) - 1


def test_what_was_set_aside_before_stays_aside(small) -> None:
    """Data that have been through this once, and were spoilt anew."""
    problem, atoms = small
    f_obs = problem.reflections.f_obs.copy()
    f_obs[strongest_work(problem)] *= 50.0
    once, _ = without_outliers(with_f_obs(problem, f_obs), atoms)
    f_obs = once.reflections.f_obs.copy()
    f_obs[strongest_work(once)] *= 50.0
    twice, _ = without_outliers(with_f_obs(once, f_obs), atoms)
    assert len(twice.reflections) == len(problem.reflections) - 2
    assert len(twice.reflections.set_aside) == 2
    assert len(twice.reflections.measured) == len(problem.reflections)


def test_those_of_the_test_set_stay_in_r_free(small) -> None:
    problem, atoms = small
    data = problem.reflections
    spoilt = [int(np.flatnonzero(data.free)[0]), int(np.flatnonzero(data.work)[0])]
    f_obs = data.f_obs.copy()
    f_obs[spoilt] = 50.0 * f_obs.max()
    cleaned, notes = without_outliers(with_f_obs(problem, f_obs), atoms)
    assert cleaned.reflections.free.sum() == data.free.sum()
    assert len(cleaned.reflections) == len(data) - 1
    assert notes[0].startswith("2 reflections are far too strong")
    assert notes[0].endswith("; the one of the test set stays in R-free, but has no part in sigma_A")
    assert [cleaned.reflections.source["outliers"][k] for k in ("work", "free")] == [1, 1]
    keep = dataclasses.replace(problem.options, xray=Xray(outliers="keep"))
    kept, notes = without_outliers(dataclasses.replace(with_f_obs(problem, f_obs), options=keep), atoms)
    assert len(kept.reflections) == len(data)
    assert kept.reflections.set_aside is None
    assert "for the model, and kept: " in notes[0]


def test_more_than_a_few_are_no_outliers(small) -> None:
    problem, atoms = small
    f_obs = problem.reflections.f_obs.copy()
    f_obs[np.flatnonzero(problem.reflections.work)[::40]] *= 100.0
    spoilt = with_f_obs(problem, f_obs)
    assert without_outliers(spoilt, atoms) == (spoilt, ())


def test_the_likelihood_layer_leaves_them_out_too(case) -> None:
    folder = case("5e5z")
    _, problem, _, _ = prepare(folder / "model.pdb", folder / "norm.mtz", Options())
    row = strongest_work(problem)
    f_obs = problem.reflections.f_obs.copy()
    f_obs[row] *= 50.0
    spoilt = dataclasses.replace(problem.reflections, f_obs=f_obs)
    layer = likelihood(folder / "model.pdb", spoilt)
    assert len(layer.problem.reflections) == len(f_obs) - 1
    assert any("far too strong" in note for note in layer.notes)


def test_means_follow_resolution_and_direction() -> None:
    """Intensities as Wilson has them reach 10 to 15 times their mean, however steeply and unevenly that falls off."""
    data = wilson(ORTHORHOMBIC, tensor=np.diag([40.0, -70.0, 30.0]), amplitudes=True)
    assert 5.0 < normalised_intensities(data)[~data.centric].max() < 20.0
    shells = [data.f_obs[rows] ** 2 for rows in np.array_split(data.by_resolution, 20)]
    assert max(float(np.max(i) / np.mean(i)) for i in shells) > 25.0


@pytest.mark.parametrize("name", ["1aba", "1cbs", "1rx2", "3sb3", "5kzb", "2r4r", "1ehz", "5e5z", "6mw0", "4xof"])
def test_ordinary_data_have_none(case, name: str) -> None:
    folder = case(name)
    model = read_model(next(p for p in (folder / "model.pdb", folder / "model.cif") if p.exists()))
    data, _ = read_reflections(folder / "norm.mtz", model.crystal)
    assert normalised_intensities(data)[~data.centric].max() < 30.0
    assert normalised_intensities(data).max() < 50.0
