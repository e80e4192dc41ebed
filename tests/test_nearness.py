"""Models far from their data: freer, pursued for longer, and mended instead of lost."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine import refinement_step
from arrayrefine.example import DATA, MODEL
from arrayrefine.options import External, Minimiser, Weighting
from arrayrefine.problem import Problem
from arrayrefine.refinement_step import Path, run_step
from arrayrefine.state import State
from arrayrefine.steering.guard import RMSZ_SLACK, strain
from arrayrefine.steering.nearness import nearness
from arrayrefine.targets.geometry import GeometryTarget
from arrayrefine.weights import Steering


@pytest.fixture(scope="module")
def start() -> tuple[Problem, State]:
    """The example, coarsely, with a jelly body."""
    options = ar.Options(d_min=3.0, tls=("none",), minimiser=Minimiser(max_iterations=2))
    _, problem, atoms, _ = ar.prepare(MODEL, DATA, options)
    return problem, ar.evaluate(problem, atoms)


def with_unexplained(state: State, share: float) -> State:
    sigma_a = dataclasses.replace(state.sigma_a, log_ratio=np.full_like(state.sigma_a.log_ratio, np.log(share)))
    return dataclasses.replace(state, sigma_a=sigma_a)


def test_what_is_unexplained_is_the_mean_over_reflections(start: tuple[Problem, State]) -> None:
    problem, state = start
    s_squared = problem.reflections.s_squared
    log_mean = np.interp(s_squared, state.sigma_a.shells, state.sigma_a.log_mean_intensity)
    expected = np.mean(state.sigma_a.s(s_squared) / np.exp(log_mean))
    assert state.sigma_a.unexplained(s_squared) == pytest.approx(expected)


def test_a_model_that_is_moved_away_is_far(start: tuple[Problem, State]) -> None:
    problem, state = start
    near = ar.evaluate(problem, state.atoms)
    noise = np.random.default_rng(0).normal(0.0, 0.5, state.atoms.xyz.shape)
    far = ar.evaluate(problem, state.atoms.replace(xyz=state.atoms.xyz + noise))
    assert nearness(far) < 0.2 < nearness(near) <= 1.0


def test_near_models_are_treated_alike_and_far_ones_have_an_end(start: tuple[Problem, State]) -> None:
    found = [nearness(with_unexplained(start[1], share)) for share in (0.01, 0.2, 0.4, 0.6, 1.2)]
    assert found == pytest.approx([1.0, 1.0, 1 / 8, 1 / 27, 1 / 27])


def test_both_reach_the_minimisation(start: tuple[Problem, State], monkeypatch: pytest.MonkeyPatch) -> None:
    problem, state = start
    shares: list[float] = []
    worths: list[float] = []
    anchored, minimise = GeometryTarget.anchored, refinement_step.minimise

    def spied_anchored(self: GeometryTarget, atoms: ar.Atoms, share: float = 1.0) -> GeometryTarget:
        shares.append(share)
        return anchored(self, atoms, share)

    def spied_minimise(*args: object) -> object:
        worths.append(args[-1])  # type: ignore[arg-type]
        return minimise(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(GeometryTarget, "anchored", spied_anchored)
    monkeypatch.setattr(refinement_step, "minimise", spied_minimise)
    parameters = problem.parameters(state.atoms, "xyz")
    found = ar.Weights(0.1, None, parameters.fingerprint)
    for share in (0.1, 0.4):
        ar.minimise_step(problem, with_unexplained(state, share), parameters, found)
    assert worths == pytest.approx([1.0, 0.125])
    assert shares[1] == pytest.approx(0.125 * shares[0])

    asked_for = dataclasses.replace(problem.options, external=External(jelly_body="on"))
    ar.minimise_step(dataclasses.replace(problem, options=asked_for), with_unexplained(state, 0.4), parameters, found)
    assert shares[2] == pytest.approx(shares[0])  # as the user wants it


def test_a_step_says_how_firm_its_jelly_body_was(start: tuple[Problem, State]) -> None:
    problem, state = start
    path = Path(with_unexplained(state, 0.4), Steering())
    said = "jelly body x 0.12, as the model is far from its data"
    assert said in run_step(problem, path, 1, "xyz", lambda: False)[1].note
    assert "jelly body" not in run_step(problem, path, 1, "b", lambda: False)[1].note
    near = dataclasses.replace(path, state=with_unexplained(state, 0.2))
    assert "jelly body" not in run_step(problem, near, 1, "xyz", lambda: False)[1].note


def test_least_squares_know_no_sigma_a(start: tuple[Problem, State]) -> None:
    _, state = start
    far = with_unexplained(state, 0.6)
    assert nearness(dataclasses.replace(far, xray=dataclasses.replace(far.xray, kind="gaussian"))) == 1.0


def test_a_strained_model_that_fits_better_is_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A band so narrow that the weight has to turn more than twice; the step was lost with that."""
    weighting = Weighting(rmsz_low=0.1, rmsz_high=0.2)
    loose = External(jelly_body="off")
    options = ar.Options(d_min=2.5, tls=("none",), hydrogens="strip", weighting=weighting, external=loose)
    _, problem, atoms, _ = ar.prepare(MODEL, DATA, options)
    state, xyz = ar.evaluate(problem, atoms), problem.parameters(atoms, "xyz")
    state = ar.evaluate(problem, ar.minimise_step(problem, state, xyz, ar.Weights(1e4, None, xyz.fingerprint)).atoms)
    assert strain(problem, state) < 1.0
    minimised, known = refinement_step._minimised, {}

    def once(problem: Problem, at: State, parameters: ar.Parameters, found: ar.Weights, *rest: Any) -> Any:
        """The three steps begin alike: what has been minimised from here with these weights is not again."""
        key = at.atoms.xyz.tobytes(), at.atoms.b_iso.tobytes(), found.geometry, found.adp, parameters.fingerprint
        if key not in known:
            known[key] = minimised(problem, at, parameters, found, *rest)
        return known[key]

    monkeypatch.setattr(refinement_step, "_minimised", once)
    path, step = run_step(problem, Path(state, Steering()), 1, "xyz+b", lambda: False)
    assert step.note.count("gone on") > 2
    assert "rolled back" not in step.note
    assert strain(problem, path.state) <= RMSZ_SLACK
    assert path.state.statistics.r_work < state.statistics.r_work - 0.02

    monkeypatch.setattr(refinement_step, "_MENDINGS", refinement_step._STEERINGS)
    _, refused = run_step(problem, Path(state, Steering()), 1, "xyz+b", lambda: False)
    assert "rolled back" in refused.note
    assert refused.note.count("gone on") >= 2  # what was tried is said

    monkeypatch.setattr(refinement_step, "_MENDINGS", 5)
    monkeypatch.setattr(refinement_step, "strains", lambda *_: False)
    _, mild = run_step(problem, Path(state, Steering()), 1, "xyz+b", lambda: False)
    assert mild.note.split("rolled back")[0].count("gone on") == 2
