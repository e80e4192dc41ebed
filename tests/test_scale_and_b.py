"""Scale and B are two names for one thing: which B take over the isotropic part of the scale, and steps of scale."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine import Options
from arrayrefine.refinement_step import Path as Course
from arrayrefine.refinement_step import run_step
from arrayrefine.result import Result
from arrayrefine.state import State
from arrayrefine.targets.xray import XrayTarget
from arrayrefine.weights import Steering

Case = Callable[[str], Path]

PLAIN = Options(cycles=1, tls=("none",), anisotropic="none", hydrogens="strip", report=False)


@pytest.fixture
def shifted(case: Case) -> gemmi.Structure:
    """A peptide of which every B is 5 Å² too high for the data."""
    structure = gemmi.read_structure(str(case("5e5z") / "shaken.pdb"))
    structure.remove_hydrogens()
    for found in structure[0].all():
        found.atom.b_iso += 5.0
    return structure


def b_of(structure: gemmi.Structure) -> np.ndarray:
    return np.array([found.atom.b_iso for found in structure[0].all()])


def refined(case: Case, model: gemmi.Structure, **changes: Any) -> Result:
    return ar.refine(model, case("5e5z") / "norm.mtz", dataclasses.replace(PLAIN, **changes))


def after_a_step_of_scale(case: Case, model: gemmi.Structure, **changes: Any) -> tuple[State, str]:
    """The state, and the note of the step."""
    options = dataclasses.replace(PLAIN, **changes)
    _, problem, atoms, _ = ar.prepare(model, case("5e5z") / "norm.mtz", options)
    start = Course(ar.evaluate(problem, atoms, absorb_b=False), Steering())
    path, step = run_step(problem, start, 1, "scale", lambda: False)
    return path.state, step.note


@pytest.mark.parametrize("targets", [("scale",), ("xyz",), ("occupancy",), ("xyz", "scale")])
def test_b_that_no_step_refines_stays(case: Case, shifted: gemmi.Structure, targets: tuple[str, ...]) -> None:
    result = refined(case, shifted, targets=targets)
    np.testing.assert_allclose(result.atoms.b_iso, b_of(shifted), atol=1e-4)
    assert not [step for step in result.history if "out of the scale" in step.note]


def test_b_that_is_refined_takes_its_part_of_the_scale(case: Case, shifted: gemmi.Structure) -> None:
    state, note = after_a_step_of_scale(case, shifted, targets=("scale", "b"))
    assert state.b_shift < -2.0
    assert f"all B moved by {state.b_shift:+.2f} Å², out of the scale" in note
    np.testing.assert_allclose(state.atoms.b_iso, np.maximum(b_of(shifted) + state.b_shift, 0.5), atol=1e-4)


@pytest.mark.parametrize("name", ["1dur", "5kzb"])
def test_the_data_do_not_ask_for_other_b_than_the_scale_does(case: Case, name: str) -> None:
    """Newton's step of all B together, at the start of a minimisation, with the target's own scale and without."""
    _, problem, atoms, _ = ar.prepare(case(name) / "shaken.pdb", case(name) / "norm.mtz", PLAIN)
    state = ar.evaluate(problem, atoms)
    by_sigma_a = dataclasses.replace(state.xray, d=state.sigma_a.d(problem.reflections.s_squared))

    def wanted(xray: XrayTarget) -> float:
        low, here, high = (xray(state.atoms.replace(b_iso=state.atoms.b_iso + b))[0] for b in (-1.0, 0.0, 1.0))
        return -0.5 * (high - low) / (high - 2.0 * here + low)

    assert abs(wanted(state.xray)) < 0.25
    assert abs(wanted(by_sigma_a)) > 1.0


def test_where_only_groups_are_refined_b_outside_of_them_stays(case: Case, shifted: gemmi.Structure) -> None:
    state, note = after_a_step_of_scale(case, shifted, targets=("scale", "tls"), tls=("1-5",))
    inside = state.atoms.tls.group >= 0
    assert 20 <= inside.sum() < len(inside)
    assert state.b_shift < -2.0
    assert f"B in TLS groups moved by {state.b_shift:+.2f} Å², out of the scale" in note
    moved = state.atoms.b_iso - b_of(shifted)
    assert moved[inside].mean() < -2.0
    np.testing.assert_allclose(moved[~inside], 0.0, atol=1e-4)


@pytest.mark.parametrize("targets", [("scale",), ("scale", "occupancy")])
def test_a_scale_that_is_all_there_is_to_fit_is_fitted_once(
    case: Case, shifted: gemmi.Structure, targets: tuple[str, ...]
) -> None:
    result = refined(case, shifted, targets=targets, cycles=10)
    assert [step.target for step in result.history] == ["scale"]
    assert "another cycle would be the same" in result.report.stopped


def test_the_scale_of_the_target_is_that_of_the_atoms_it_was_made_for(case: Case) -> None:
    """And the likelihood of the test set is by sigma_A alone."""
    _, problem, atoms, _ = ar.prepare(case("5e5z") / "shaken.pdb", case("5e5z") / "norm.mtz", PLAIN)
    state, data = ar.evaluate(problem, atoms), problem.reflections
    moved = state.atoms.replace(xyz=state.atoms.xyz + 0.01)
    kept = ar.evaluate(problem, moved, before=state, refit=False)
    assert np.array_equal(kept.xray.d, state.xray.d)
    anew = ar.evaluate(problem, moved, before=state)
    assert not np.array_equal(anew.xray.d, state.xray.d)
    by_sigma_a = dataclasses.replace(anew.xray, d=anew.sigma_a.d(data.s_squared))
    np.testing.assert_allclose(anew.xray.d, by_sigma_a.at_own_scale(anew.f_calc).d)
    assert anew.nll_free == pytest.approx(by_sigma_a.values(anew.f_calc)[data.free].mean())
    assert anew.nll_work < by_sigma_a.values(anew.f_calc)[anew.xray.work].mean()
    nothing = dataclasses.replace(data, free=np.zeros(len(data), dtype=bool))
    assert np.isnan(ar.evaluate(dataclasses.replace(problem, reflections=nothing), moved).nll_free)
