"""When a step is refused, and which weight is changed for another try at it."""

from __future__ import annotations

import dataclasses
import types
from typing import Any

import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine import refinement_step
from arrayrefine.example import DATA, MODEL
from arrayrefine.options import Weighting
from arrayrefine.problem import Problem
from arrayrefine.refinement_step import Path, run_step
from arrayrefine.state import State
from arrayrefine.steering import guard
from arrayrefine.steering.guard import objection
from arrayrefine.steering.remedy import remedy
from arrayrefine.weighting.schemes import stale_weights
from arrayrefine.weights import Steering, Weights

LOOSE, FIRM = 0.0133, 0.04
D_MIN = 4.0
"""Å; a reflection for each atom."""


def made(d_min: float, **options: Any) -> tuple[Problem, State]:
    _, problem, atoms, _ = ar.prepare(MODEL, DATA, ar.Options(d_min=d_min, tls=("none",), hydrogens="strip", **options))
    return problem, ar.evaluate(problem, atoms)


def by_evidence(problem: Problem, state: State, adp: float) -> Weights:
    """Weights as displacements ask for them, but with a number of the test's own."""
    detail = {"evidence": adp, "determined": 0.5, "steering": 1.0}
    return Weights(None, adp, problem.parameters(state.atoms, "b").fingerprint, {"adp_detail": detail})


def refined(problem: Problem, state: State, adp: float) -> State:
    """With B refined."""
    weights = by_evidence(problem, state, adp)
    for _ in range(2):
        solution = ar.minimise_step(problem, state, problem.parameters(state.atoms, "b"), weights)
        state = ar.evaluate(problem, solution.atoms, before=state)
    return state


def alike(problem: Problem, state: State, share: float = 1.0) -> State:
    """With B moved to their mean, by a share of the way."""
    b_iso = state.atoms.b_iso
    return ar.evaluate(problem, state.atoms.replace(b_iso=b_iso + share * (b_iso.mean() - b_iso)), before=state)


def asked(problem: Problem, before: State, after: State, found: Weights, adp: float | None) -> str:
    return objection(problem, before, after, found, problem.parameters(before.atoms, "b"), adp)


@pytest.fixture(scope="module")
def noisy() -> tuple[Problem, State, State]:
    """Data of a model with equal B, and noise; B refined with loose restraints, and from there with firm ones."""
    problem, state = made(D_MIN)
    state = alike(problem, state)
    amplitude = np.abs(state.f_model)
    noise = 0.4 * amplitude.mean() * np.random.default_rng(0).normal(size=len(amplitude))
    sigma = np.full(len(amplitude), 0.05 * amplitude.mean())
    data = dataclasses.replace(problem.reflections, f_obs=np.abs(amplitude + noise), sigma=sigma)
    problem = dataclasses.replace(problem, reflections=data, _plans={})
    loose = refined(problem, ar.evaluate(problem, state.atoms), LOOSE)
    return problem, loose, refined(problem, loose, FIRM)


@pytest.fixture(scope="module")
def real() -> tuple[Problem, State]:
    """The data as they were measured, to the same resolution; B refined with loose restraints."""
    problem, state = made(D_MIN)
    return problem, refined(problem, state, LOOSE)


def test_firmer_restraints_may_take_fitted_noise_out(noisy: tuple[Problem, State, State]) -> None:
    problem, loose, firm = noisy
    found = by_evidence(problem, loose, FIRM)
    assert firm.statistics.r_work > loose.statistics.r_work + 0.005
    assert firm.nll_work > loose.nll_work + 0.015
    assert asked(problem, loose, firm, found, LOOSE) == ""


def test_that_is_no_excuse_where_restraints_did_not_become_firmer(noisy: tuple[Problem, State, State]) -> None:
    problem, loose, firm = noisy
    found = by_evidence(problem, loose, FIRM)
    for adp in (None, FIRM, 2.0 * FIRM):
        assert asked(problem, loose, firm, found, adp).startswith("R-work rose")
    # Nor where the weight is not what the displacements asked for,
    assert asked(problem, loose, firm, dataclasses.replace(found, explanation={}), LOOSE).startswith("R-work rose")
    # and restraints that gained nothing were paid nothing.
    wild = np.exp(np.random.default_rng(1).normal(0.0, 0.4, len(firm.atoms)))
    worse = ar.evaluate(problem, loose.atoms.replace(b_iso=loose.atoms.b_iso * wild), before=loose)
    assert problem.adp(worse.atoms)[0] > problem.adp(loose.atoms)[0]
    assert "-log p per work reflection rose" in asked(problem, loose, worse, found, LOOSE)


def test_firmer_restraints_may_not_take_out_what_the_data_show(real: tuple[Problem, State]) -> None:
    """The objective falls with each of these, as the restraints gain; but the data lose more than noise explains."""
    problem, loose = real
    for weight in (FIRM, 1.0, 30.0):
        firm, found = refined(problem, loose, weight), by_evidence(problem, loose, weight)
        gained = weight * (problem.adp(loose.atoms)[0] - problem.adp(firm.atoms)[0])
        assert gained > loose.xray(firm.atoms)[0] - loose.xray(loose.atoms)[0] > 0.0
        assert asked(problem, loose, firm, found, LOOSE).startswith("R-work rose")
    assert asked(problem, loose, alike(problem, loose), by_evidence(problem, loose, 30.0), LOOSE)


def test_stale_weights_that_drive_b_to_their_mean_are_refused() -> None:
    """At 1.8 Å, with all there is to excuse it: weights made for coordinates and B, and a step of B alone."""
    problem, state = made(1.8, weights="robust", adp="variance")
    parameters = problem.parameters(state.atoms, "b")
    stale = stale_weights(problem, state).rebound(parameters)
    solution = ar.minimise_step(problem, state, parameters, stale)
    after = ar.evaluate(problem, solution.atoms, before=state)
    assert solution.value < solution.start_value
    assert after.atoms.b_iso.std() < 0.5 * state.atoms.b_iso.std()
    refused = objection(problem, state, after, stale, parameters, 0.0)
    assert refused.startswith("R-work rose")
    similar, _ = made(1.8)
    found = by_evidence(similar, state, 1e6)
    assert asked(similar, state, after, found, 1e-6).startswith("R-work rose")


def test_mending_a_little_may_cost_a_little(real: tuple[Problem, State]) -> None:
    """Geometry a hair outside its band is no licence to lose the data; a wreck that is mended may."""
    problem, loose = real
    after = alike(problem, loose, 0.4)
    rise = after.statistics.r_work - loose.statistics.r_work
    assert 0.005 < rise < 0.05
    edge = problem.options.weighting.rmsz_high
    after = dataclasses.replace(after, core_rmsz=(0.8 * edge, None))
    found = Weights(0.1, None, "")

    def said(bond: float) -> str:
        return asked(problem, dataclasses.replace(loose, core_rmsz=(bond, None)), after, found, None)

    assert said(0.99 * edge).startswith("R-work rose")
    assert said(1.02 * edge).startswith("R-work rose")
    assert said(2.0 * edge) == ""


def test_anisotropic_atoms_must_fit_better(real: tuple[Problem, State]) -> None:
    """A little worse may be noise where atoms are as they were; with six times the freedom it is too tight a weight."""
    problem, state = real
    atoms = state.atoms
    rng = np.random.default_rng(0)
    b_iso = atoms.b_iso * np.exp(0.01 * rng.normal(size=len(atoms)))
    worse = ar.evaluate(problem, atoms.replace(b_iso=b_iso), absorb_b=False, before=state)
    assert state.statistics.r_work <= worse.statistics.r_work < state.statistics.r_work + 0.002
    parameters = problem.parameters(atoms, "b")
    found = by_evidence(problem, state, FIRM)
    assert objection(problem, state, worse, found, parameters, None) == ""
    assert "anisotropic atoms fit no better" in objection(problem, state, worse, found, parameters, None, freed=True)
    assert objection(problem, worse, state, found, parameters, None, freed=True) == ""
    held = problem.parameters(atoms, "xyz")  # a step that leaves the tensors as they are says nothing of them
    assert objection(problem, state, worse, found, held, None, freed=True) == ""


def test_the_first_step_with_tensors_is_asked_whether_it_fits_better(
    real: tuple[Problem, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, state = real
    asked: list[bool] = []
    monkeypatch.setattr(refinement_step, "objection", lambda *given: asked.append(given[-1]) or "")
    monkeypatch.setattr(refinement_step, "_SLIGHT", -1.0)  # once is enough
    path = Path(state, Steering(), freed=True)
    for target in ("xyz", "b", "b"):
        path, _ = run_step(problem, path, 2, target, lambda: False)
    assert asked == [True, True, False]


@pytest.mark.parametrize("better", [True, False])
def test_a_first_step_with_tensors_that_gains_little_is_tried_with_looser_restraints(
    real: tuple[Problem, State], monkeypatch: pytest.MonkeyPatch, better: bool
) -> None:
    """The model that fits better is kept; a step that gains enough is not tried again."""
    problem, state = real
    monkeypatch.setattr(refinement_step, "objection", lambda *_: "")
    ends, told = {}, {}
    for slight in (-1.0, 1.0):
        monkeypatch.setattr(refinement_step, "_SLIGHT", slight)
        monkeypatch.setattr(refinement_step, "_fits_better", lambda *_: better)
        path, step = run_step(problem, Path(state, Steering(), freed=True), 2, "b", lambda: False)
        ends[slight], told[slight] = path.state.atoms.b_iso, step.note
    assert "fit hardly better" not in told[-1.0]
    assert "anisotropic atoms fit hardly better: tried again with ADP weight x 0.33" in told[1.0]
    assert ("fits no better: the one before is kept" in told[1.0]) == (not better)
    assert np.array_equal(ends[-1.0], ends[1.0]) == (not better)
    if better:
        assert np.std(np.log(ends[1.0])) > np.std(np.log(ends[-1.0]))


def test_what_fits_better(real: tuple[Problem, State]) -> None:
    problem, state = real
    rng = np.random.default_rng(0)
    b_iso = state.atoms.b_iso * np.exp(0.2 * rng.normal(size=len(state.atoms)))
    worse = ar.evaluate(problem, state.atoms.replace(b_iso=b_iso), absorb_b=False, before=state)
    assert refinement_step._fits_better(worse, state)
    assert not refinement_step._fits_better(state, worse)
    assert not refinement_step._fits_better(state, state)


def test_the_restraints_that_were_paid_are_loosened_and_no_others(real: tuple[Problem, State]) -> None:
    problem, loose = real
    both = Weights(0.1, 1.0, "")
    stiff = refined(problem, loose, 1.0)
    assert remedy(problem, loose, stiff, stiff.atoms, both) == Steering(adp=1.0 / 3.0)
    xyz = problem.parameters(loose.atoms, "xyz")
    ideal = ar.minimise_step(problem, loose, xyz, Weights(100.0, None, xyz.fingerprint)).atoms
    after = ar.evaluate(problem, ideal, before=loose)
    assert remedy(problem, loose, after, ideal, Weights(100.0, 1.0, "")) == Steering(geometry=1.0 / 3.0)


def test_geometry_out_of_its_band_is_tightened(real: tuple[Problem, State]) -> None:
    problem, loose = real
    noise = np.random.default_rng(0).normal(0.0, 0.1, loose.atoms.xyz.shape)
    after = ar.evaluate(problem, loose.atoms.replace(xyz=loose.atoms.xyz + noise), before=loose)
    assert remedy(problem, loose, after, after.atoms, Weights(0.1, 1.0, "")) == Steering(geometry=3.0)


def test_no_weight_is_to_blame_where_the_data_gained(noisy: tuple[Problem, State, State]) -> None:
    problem, loose, firm = noisy
    assert loose.xray(firm.atoms)[0] > loose.xray(loose.atoms)[0]
    assert firm.xray(loose.atoms)[0] < firm.xray(firm.atoms)[0]
    assert remedy(problem, firm, loose, loose.atoms, Weights(0.1, 1.0, "")) is None


def test_no_weight_is_to_blame_where_all_targets_rose(noisy: tuple[Problem, State, State]) -> None:
    problem, _, firm = noisy
    atoms, rng = firm.atoms, np.random.default_rng(0)
    spread = np.exp(rng.normal(0.0, 0.5, len(atoms)))
    shaken = atoms.replace(xyz=atoms.xyz + rng.normal(0.0, 0.2, atoms.xyz.shape), b_iso=atoms.b_iso * spread)
    assert all(target(shaken)[0] > target(atoms)[0] for target in (firm.xray, problem.geometry, problem.adp))
    assert remedy(problem, firm, firm, shaken, Weights(0.1, 1.0, "")) is None


def test_another_try_goes_by_the_weight_that_was_refused(
    real: tuple[Problem, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third of what the displacements asked for in that step, and the geometry's weight as it was."""
    problem, loose = real
    weighting = Weighting(adp_prior=0.3)  # so that they ask for firmer restraints
    problem = dataclasses.replace(problem, options=dataclasses.replace(problem.options, weighting=weighting))
    refused: list[Weights] = []

    def once(_: Problem, before: State, after: State, found: Weights, *rest: object) -> str:
        refused.append(found)
        return "R-work rose" if len(refused) == 1 else ""

    monkeypatch.setattr(refinement_step, "objection", once)
    old = by_evidence(problem, loose, LOOSE)
    start = Path(loose, Steering(geometry=1.5), last=old, refined=True, adp=LOOSE)
    path, step = run_step(problem, start, 2, "b", lambda: False)
    first, second = refused
    assert first.adp is not None
    assert first.adp > 5.0 * LOOSE
    assert second.adp == pytest.approx(first.adp / 3.0)
    assert path.adp == second.adp
    assert path.steering == Steering(geometry=1.5, adp=1.0 / 3.0)
    assert "R-work rose: rolled back, tried again with ADP weight x 0.33" in step.note


@pytest.mark.parametrize(
    ("terms", "gained"),
    [
        ([(2.0, 5.0, 3.0), (3.0, 2.0, 1.0)], 7.0),
        ([(0.5, 5.0, 6.0), (3.0, 2.0, 1.0)], 2.5),
        ([(0.5, 5.0, 6.0)], 0.0),
        ([(None, 5.0, 3.0)], 0.0),
    ],
)
def test_extra_targets_pay_with_what_they_gained_together_and_never_less_than_nothing(
    terms: list[tuple[float | None, float, float]], gained: float
) -> None:
    """Of each term its weight, None where it acts on nothing, and its value before and after a step."""
    before, after = (types.SimpleNamespace(atoms=place) for place in (0, 1))
    targets = [lambda place, values=values: (values[place], None) for _, *values in terms]
    found = types.SimpleNamespace(of=lambda target: terms[targets.index(target)][0])
    problem = types.SimpleNamespace(extra=targets)
    assert guard._gained(problem, before, after, found) == pytest.approx(gained)  # type: ignore[arg-type]


@pytest.mark.parametrize(("r_work", "nll"), [(float("nan"), 3.0), (0.2, float("inf"))])
def test_what_is_not_a_number_is_refused(r_work: float, nll: float) -> None:
    state: Any = types.SimpleNamespace(statistics=types.SimpleNamespace(r_work=r_work), nll_work=nll)
    nothing: Any = None
    assert objection(nothing, state, state, nothing, nothing) == "R-work or the likelihood is not a number"
