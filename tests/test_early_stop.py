"""When a refinement is over."""

from __future__ import annotations

import dataclasses
import itertools
import math
import types
from typing import Any

import numpy as np
import pytest

from arrayrefine import macrocycle
from arrayrefine.macrocycle import run_cycles
from arrayrefine.options import External, Minimiser, Options, Weighting
from arrayrefine.refinement_step import Path
from arrayrefine.report import Statistics, Step
from arrayrefine.steering import convergence
from arrayrefine.strict_ncs.copies import Copies
from arrayrefine.weights import Steering


def run(
    gains: list[float], monkeypatch: pytest.MonkeyPatch, bond: float = 0.6, r_step: float = -0.001,
    unexplained: float = 0.1, left: float = math.inf, news: str = "", targets: tuple[str, ...] = ("xyz",),
    reflections: int = 5000, excess: float = 0.0, ends: Any = lambda _, state, stay: (state, ()), **options: Any,
) -> tuple[int, str, float]:  # fmt: skip
    """Cycles taken, why they ended, and R-work of what is kept; cycle k gains so much per parameter, moves R-work by
    r_step, and leaves so much to gain. Outliers cost so much in excess, of weight 2, that the first cycle mends.
    """
    r_work = itertools.count(start=0.3, step=r_step)
    sigma_a = types.SimpleNamespace(unexplained=lambda _: unexplained)
    work = np.ones(reflections, dtype=bool)
    xray = types.SimpleNamespace(kind="ml", reflections=types.SimpleNamespace(s_squared=None), work=work)

    def state() -> Any:
        statistics = Statistics(next(r_work), 0.3, 0.01, bond, 1.5, 0.9, 20.0)
        atoms = types.SimpleNamespace(tls=())
        return types.SimpleNamespace(
            statistics=statistics, nll_work=3.0, core_rmsz=(bond, 0.9), atoms=atoms, sigma_a=sigma_a, xray=xray
        )

    def step(problem: Any, path: Path, cycle: int, target: str, stop: Any) -> tuple[Path, Step]:
        assert path.left == math.inf  # what an earlier step foresaw is not for the step after it
        after = dataclasses.replace(path, state=state(), left=1000 * left, news=news)
        gain, weights = 1000 * gains[cycle - 1], {"geometry": 2.0}
        return after, Step(cycle, target, 1000, weights, 0.2, 0.3, bond, 0.9, 1, 0.0, "", gain=gain)

    monkeypatch.setattr(macrocycle, "run_step", step)
    monkeypatch.setattr(convergence, "work_nll", lambda one, two: (one.nll_work, two.nll_work + 0.01 * (r_step > 0.0)))
    monkeypatch.setattr(macrocycle, "_turned", lambda _, path: path)
    monkeypatch.setattr(macrocycle, "with_better_ligands", lambda _, state, far: (state, ()))
    monkeypatch.setattr(macrocycle, "with_better_rotamers", lambda _, state, stay: (state, ()))
    monkeypatch.setattr(macrocycle, "with_flipped_peptides", lambda _, state: (state, ()))
    monkeypatch.setattr(macrocycle, "with_flipped_ends", ends)
    problem: Any = types.SimpleNamespace(
        options=Options(cycles=len(gains), targets=targets, external=External(jelly_body="off"), **options),
        occupancy=None, undecided=None, geometry=types.SimpleNamespace(), copies=Copies.none(),
        parameters=lambda atoms, target: types.SimpleNamespace(size=1000),
    )
    start = state()
    costs = types.SimpleNamespace(excess=lambda atoms: excess if atoms is start.atoms else 0.0)
    problem.geometry.firmed = lambda atoms: costs
    _, path, steps, reason, _ = run_cycles(problem, Path(start, Steering()), lambda: False, lambda step, state: None)
    return len(steps), reason, path.state.statistics.r_work


def test_a_cycle_that_gains_next_to_nothing_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    cycles, reason, r_work = run([2.0, 0.1, 0.001, 0.1], monkeypatch)
    assert cycles == 3
    assert r_work == pytest.approx(0.297)
    assert reason == "converged: cycle 3 gained less than 0.015 per free parameter"


def test_cycles_that_gain_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run([2.0, 0.1, 0.05], monkeypatch)[:2] == (3, "all 3 cycles done")


def test_a_cycle_that_is_foreseen_to_gain_next_to_nothing_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    cycles, reason, r_work = run([2.0, 0.1], monkeypatch, left=0.007)
    assert (cycles, r_work) == (1, pytest.approx(0.299))
    assert reason == "converged: another cycle was foreseen to gain 0.007 per free parameter, less than 0.0075"
    assert run([2.0, 0.1], monkeypatch, left=0.008)[0] == 2


def test_nothing_is_foreseen_where_something_happened_since(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run([2.0, 0.1], monkeypatch, left=0.001, news="a side chain turned")[0] == 2
    monkeypatch.setattr(macrocycle, "_foreseen", lambda problem, path: "never asked")
    assert run([2.0], monkeypatch)[1] == "the one cycle done"


def test_a_step_does_not_foresee_a_cycle_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run([2.0, 0.1], monkeypatch, left=0.001, targets=("xyz", "b"))[0] == 4


def test_a_model_far_from_its_data_goes_on_for_a_smaller_gain_foreseen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run([2.0, 0.1], monkeypatch, left=0.005, unexplained=0.4)[0] == 2
    assert run([2.0, 0.1], monkeypatch, left=0.0009, unexplained=0.4)[0] == 1


def test_a_cycle_that_moves_r_goes_on_whatever_it_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run([2.0, 0.001, 0.001], monkeypatch, r_step=-0.002)[0] == 3


def test_a_cycle_that_moves_neither_r_nor_likelihood_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "converged: cycle 1 moved R-work by less than 0.0005"
    assert run([2.0, 2.0], monkeypatch, r_step=-0.0004)[:2] == (1, words)
    assert run([2.0, 2.0], monkeypatch, r_step=-0.0006)[:2] == (2, "all 2 cycles done")


def test_a_model_far_from_its_data_goes_on_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run([2.0, 0.005, 0.005], monkeypatch)[0] == 2
    assert run([2.0, 0.005, 0.005], monkeypatch, unexplained=0.4)[0] == 3
    cycles, reason, _ = run([2.0, 0.0015, 0.005], monkeypatch, unexplained=0.4)
    assert (cycles, reason) == (2, "converged: cycle 2 gained less than 0.0019 per free parameter")


def test_where_reflections_are_fewer_than_parameters_they_are_what_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    cycles, reason, _ = run([2.0, 0.007, 0.007], monkeypatch, reflections=500)
    assert (cycles, reason) == (2, "converged: cycle 2 gained less than 0.015 per reflection")
    assert run([2.0, 0.008, 0.008], monkeypatch, reflections=500)[0] == 3
    cycles, reason, _ = run([2.0, 0.1], monkeypatch, left=0.003, reflections=500)
    assert reason == "converged: another cycle was foreseen to gain 0.006 per reflection, less than 0.0075"
    assert run([2.0, 0.1], monkeypatch, left=0.004, reflections=500)[0] == 2


def test_one_cycle_or_none_is_not_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run([2.0], monkeypatch)[:2] == (1, "the one cycle done")
    assert run([], monkeypatch)[:2] == (0, "no cycle was asked for")


def test_a_cycle_that_makes_the_data_less_likely_is_undone_and_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    cycles, reason, r_work = run([2.0, 0.1, 0.1], monkeypatch, r_step=0.001)
    assert cycles == 1
    assert reason == "converged: cycle 1 made neither R-work nor the likelihood better: the model before it is kept"
    assert r_work == pytest.approx(0.3)


def test_a_cycle_that_mends_the_geometry_is_not_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    strain = iter([0.8, 1.1, 0.8])  # after the cycle, before it, after it
    monkeypatch.setattr(convergence, "strain", lambda problem, state: next(strain))
    cycles, reason, r_work = run([2.0, 0.1], monkeypatch, r_step=0.001)
    assert (cycles, reason) == (1, "converged: cycle 1 made neither R-work nor the likelihood better")
    assert r_work == pytest.approx(0.301)


def test_a_cycle_that_mends_outliers_is_not_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """If they gain more than -log p of the reflections has lost, which is 0.01 for each."""
    reason = "converged: cycle 1 made neither R-work nor the likelihood better"
    cycles = [2.0, 0.1]
    for excess, kept in ((24.0, False), (26.0, True)):
        _, said, r_work = run(cycles, monkeypatch, r_step=0.001, excess=excess, reflections=5000)
        assert said == reason if kept else said.startswith(f"{reason}: the model before it is kept")
        assert r_work == pytest.approx(0.301 if kept else 0.3)


def test_strained_geometry_is_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    edge = Weighting().rmsz_high
    assert run([2.0, 0.001, 0.001], monkeypatch, bond=1.2 * edge)[0] == 3
    assert run([2.0, 0.001, 0.001], monkeypatch, bond=1.03 * edge)[0] == 3
    assert run([2.0, 0.001, 0.001], monkeypatch, bond=edge)[0] == 2


def test_every_cycle_runs_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run([2.0, 0.001, 0.001], monkeypatch, minimiser=Minimiser(early_stop=False))[0] == 3
    assert run([2.0, 0.1, 0.1], monkeypatch, left=0.001, minimiser=Minimiser(early_stop=False))[0] == 3


def test_what_turned_there_and_back_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two Asn of 1IA1 turned before each of ten cycles, to the hydrogen bonds and back to the data."""
    asked: list[list[str]] = []

    def turned(_: Any, state: Any, stay: Any) -> Any:
        asked.append(sorted(stay))
        return state, tuple((residue, 16.0) for residue in ("A/ASN 185", "B/ASN 185") if residue not in stay)

    cycles, *_ = run([2.0] * 7, monkeypatch, ends=turned)
    assert cycles == 7
    assert asked == [[], [], ["A/ASN 185", "B/ASN 185"]]  # which turn nothing, so that it is asked no more


def test_two_ends_of_one_ligand_that_turn_at_once_may_turn_back() -> None:
    """They bear one name; each has turned once."""
    steps: list[Any] = [types.SimpleNamespace(nqh_flips=(("A/XXX 1", 9.0), ("A/XXX 1", 12.0), ("A/ASN 2", 9.0)))]
    assert not macrocycle._to_and_fro(steps, "nqh_flips")
    steps.append(types.SimpleNamespace(nqh_flips=(("A/XXX 1", 9.0),)))
    assert macrocycle._to_and_fro(steps, "nqh_flips") == {"A/XXX 1"}
