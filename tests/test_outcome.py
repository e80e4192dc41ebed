"""Sentences about how a refinement ended: a model that is not where the crystal has it."""

from __future__ import annotations

import types
from typing import Any

import gemmi
import pytest

import arrayrefine as ar
from arrayrefine import outcome
from arrayrefine.example import DATA, MODEL
from arrayrefine.report import Statistics


def said(start: tuple[float, float | None], end: tuple[float, float | None], steps: Any = (None,)) -> list[str]:
    """What is said of R-work and R-free at start and end."""
    first, last = (types.SimpleNamespace(statistics=Statistics(*r, 0.01, 0.6, 1.5, 0.9, 20.0)) for r in (start, end))
    return outcome.not_placed(first, last, steps)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ((0.57, 0.59), (0.425, 0.588)),
        ((0.46, 0.49), (0.38, 0.49)),
        ((0.59, None), (0.51, None)),
    ],
)
def test_a_model_that_is_not_placed_is_said(start: tuple[float, float | None], end: tuple[float, float | None]) -> None:
    (sentence,) = said(start, end)
    name, values = ("R-free", (start[1], end[1])) if end[1] is not None else ("R-work", (start[0], end[0]))
    assert sentence.startswith(f"{name} {values[0]:.4f} -> {values[1]:.4f}")
    assert "probably is not where the crystal has it" in sentence
    assert "enantiomorph" in sentence


@pytest.mark.parametrize(("start", "end"), [((0.45, 0.48), (0.38, 0.47)), ((0.43, 0.45), (0.36, 0.48))])
def test_a_model_that_lacks_a_large_part_is_said(start: tuple[float, float], end: tuple[float, float]) -> None:
    (sentence,) = said(start, end)
    assert sentence.startswith(f"R-free {start[1]:.4f} -> {end[1]:.4f}")
    assert "a large part of the crystal probably is missing" in sentence
    assert "build that" in sentence
    assert "If nothing is: check that the data are of this crystal" in sentence
    assert "enantiomorph" in sentence


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ((0.50, 0.52), (0.40, 0.47)),
        ((0.38, 0.44), (0.35, 0.44)),
        ((0.20, 0.24), (0.16, 0.20)),
        ((0.46, None), (0.46, None)),
    ],
)
def test_others_are_not(start: tuple[float, float | None], end: tuple[float, float | None]) -> None:
    assert said(start, end) == []


def test_nothing_refined_is_not_stuck() -> None:
    assert said((0.45, 0.47), (0.45, 0.47), ()) == []
    assert said((0.55, 0.56), (0.55, 0.56), ())


@pytest.mark.parametrize("shift", [0.0, 6.0])
def test_a_model_in_a_wrong_place(shift: float) -> None:
    """Six Å off along an axis no origin of P 21 21 21 is left, and only chance agreement."""
    structure = gemmi.read_structure(str(MODEL))
    structure[0].transform_pos_and_adp(gemmi.Transform(gemmi.Mat33(), gemmi.Vec3(shift, shift / 2, 0.0)))
    result = ar.refine(structure, DATA, ar.Options(cycles=1, d_min=3.5, tls=("none",), rigid_body="no"))
    found = [warning for warning in result.report.warnings if "probably is not where" in warning]
    assert len(found) == (shift > 0.0)
