"""Weights chosen between trials, and results that are worse than their input."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine.report import Statistics
from arrayrefine.reporting import verdicts
from arrayrefine.weighting import search
from arrayrefine.weights import Steering


def state(nll: float, r_free: float, r_work: float = 0.18, bond: float = 0.6, seed: int = 0) -> Any:
    """An end of a trial, with -log p per test reflection scattered by 0.1 around `nll`."""
    values = nll + np.random.default_rng(seed).normal(0.0, 0.1, 500)
    statistics = Statistics(r_work, r_free, 0.01, bond, 1.5, 0.9, 20.0)
    return types.SimpleNamespace(statistics=statistics, free_values=values, core_rmsz=(bond, 0.9))


def problem(new_flags: bool = False) -> Any:
    free = np.ones(500, dtype=bool)
    return types.SimpleNamespace(
        reflections=types.SimpleNamespace(free=free, work=~free, d_min=2.0, has_new_test_set=new_flags),
        options=ar.Options(),
    )


def taken(*states: Any) -> int:
    return search.choose(problem(), states).taken


def test_the_likelier_trial_is_taken_where_it_is_likelier_beyond_doubt() -> None:
    assert taken(state(3.0, 0.22), state(2.9, 0.23, 0.10, seed=1), state(3.1, 0.20, seed=2)) == 1


def test_among_equals_the_smallest_gap_is_taken() -> None:
    assert taken(state(3.0, 0.22), state(3.0, 0.23, 0.22), state(3.0, 0.22, 0.17)) == 1


def test_a_trial_with_bad_geometry_is_not_taken() -> None:
    assert taken(state(3.0, 0.22), state(2.5, 0.20, bond=1.4, seed=1)) == 0


def test_the_choice_is_said_with_its_numbers() -> None:
    choice = search.choose(problem(), [state(3.0, 0.22), state(2.5, 0.21, seed=1)])
    assert "0.2200" in choice.sentence()
    assert choice.sentence().endswith("taken: 1/0.5")
    assert [row["r_free"] for row in choice.rows] == [0.22, 0.21]
    assert search.scaled(Steering(2.0, 3.0), 0.5, 2.0) == Steering(1.0, 6.0)


def test_a_refinement_searches_once_and_says_so(case: Callable[[str], Path]) -> None:
    folder = case("5e5z")
    options = ar.Options(cycles=2, weights="search", hydrogens="strip")
    result = ar.refine(folder / "shaken.pdb", folder / "norm.mtz", options)
    searched = [step for step in result.history if "search" in step.weights]
    assert [step.cycle for step in searched] == [2]
    assert len(searched[0].weights["search"]) == len(search.FACTORS)
    assert "taken: " in searched[0].note
    assert any("the test set chose the weights" in warning for warning in result.report.warnings)
    best = min(searched[0].weights["search"], key=lambda row: row["nll_free"])
    assert searched[0].r_free is not None
    assert searched[0].r_free < best["r_free"] + 0.02


def test_trials_on_a_device_share_their_launches(
    case: Callable[[str], Path], emulated_cuda: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    batch = search.together
    monkeypatch.setattr(search, "together", lambda objectives: (made.append(len(objectives)), batch(objectives))[1])
    monkeypatch.setattr(search, "FACTORS", ((1.0, 1.0), (1.0, 2.0)))
    folder = case("5e5z")
    options = ar.Options(cycles=2, weights="search", hydrogens="strip", device="cuda", d_min=2.2)
    on_device = ar.refine(folder / "shaken.pdb", folder / "norm.mtz", options)
    assert made
    assert max(made) == 2
    plain = ar.refine(folder / "shaken.pdb", folder / "norm.mtz", dataclasses.replace(options, device="cpu"))
    assert on_device.r_work == pytest.approx(plain.r_work, abs=3e-3)


def test_a_trial_that_was_cut_short_is_not_taken(case: Callable[[str], Path]) -> None:
    folder = case("5e5z")
    polls = 0

    def stop() -> int | None:
        nonlocal polls
        polls += 1
        return 2 if polls > 150 else None

    options = ar.Options(weights="search", cycles=2, targets=("xyz", "b"), device="cpu")
    result = ar.refine(folder / "shaken.pdb", folder / "norm.mtz", options, stop=stop)
    assert result.report.stopped.startswith("interrupted")
    rows = result.history[-1].weights["search"]
    assert 1 <= len(rows) < len(search.FACTORS)
    assert [step.target for step in result.history] == ["xyz", "b"] * 2


def test_a_worse_model_is_said_with_both_sets_of_numbers() -> None:
    def ends(r_free: float | None, bond: float, new_flags: bool = False) -> list[str]:
        first, last = state(3.0, 0.2, bond=0.8), state(3.0, 0.2, bond=bond)
        last.statistics = dataclasses.replace(last.statistics, r_free=r_free)
        return verdicts.worse_than_start(problem(new_flags), first, last)

    assert ends(0.202, 0.8) == []
    assert ends(None, 0.8) == []
    (sentence,) = ends(0.21, 0.8)
    assert "R-free 0.2000 -> 0.2100" in sentence
    (sentence,) = ends(0.19, 1.2)
    assert "bond RMSZ 0.80 -> 1.20" in sentence
    assert "R-free" not in sentence
    (sentence,) = ends(0.21, 0.8, new_flags=True)
    assert sentence.startswith("R-free 0.2000 -> 0.2100")
    assert "the test set was chosen in this run" in sentence
    assert "worse than the one given" not in sentence
    assert len(ends(0.21, 1.2, new_flags=True)) == 2
