"""Models that lack a part of the crystal."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gemmi
import pytest
from benchmarks.cut import cut

from arrayrefine.options import External, Options
from arrayrefine.refine import refine
from arrayrefine.result import Result
from arrayrefine.steering import incomplete
from arrayrefine.weighting import search

Case = Callable[[str], Path]


def state(unexplained: float, r_work: float, kind: str = "ml") -> Any:
    sigma_a = types.SimpleNamespace(unexplained=lambda _: unexplained)
    xray = types.SimpleNamespace(kind=kind, reflections=types.SimpleNamespace(s_squared=None))
    return types.SimpleNamespace(
        sigma_a=sigma_a, xray=xray, statistics=types.SimpleNamespace(r_work=r_work)
    )


def told(before: Any, after: Any, **options: Any) -> bool:
    problem: Any = types.SimpleNamespace(options=Options(**options))
    return incomplete.is_incomplete(problem, before, after)


HALF = state(0.6, 0.46), state(0.57, 0.41)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (*HALF, True),
        (state(0.36, 0.39), state(0.34, 0.30), True),
        (state(0.540, 0.417), state(0.365, 0.318), True),  # 1CBS displaced by 0.35 Å, without loops and water
        (state(0.663, 0.457), state(0.415, 0.363), True),  # 3DCY, likewise without its first 70 residues
        (state(0.6, 0.43), state(0.12, 0.18), False),
        (state(0.89, 0.52), state(0.48, 0.40), False),  # bent, and not half mended yet
        (state(0.52, 0.32), state(0.39, 0.24), False),  # poor data of a whole model
        (state(0.2, 0.35), state(0.2, 0.33), False),
        (state(0.6, 0.46, "gaussian"), state(0.57, 0.41, "gaussian"), False),
        (HALF[0], HALF[0], False),  # a cycle that was refused says nothing
    ],
)
def test_what_a_cycle_tells(before: Any, after: Any, expected: bool) -> None:
    assert told(before, after) is expected


def test_what_options_say_of_the_jelly_body_holds() -> None:
    for how in (External(jelly_body="off"), External(jelly_body="on"), External(jelly_body_weight=0.0)):
        assert not told(*HALF, external=how)
    assert not told(*HALF, targets=("b",))
    assert told(*HALF, targets=("b", "xyz+occupancy"))


def refined(case: Case, share: float, **options: Any) -> Result:
    folder = case("1aba")
    start = cut(gemmi.read_structure(str(folder / "shaken.pdb")), share)
    return refine(start, folder / "norm.mtz", Options(report=False, **options))


def is_held(result: Result) -> bool:
    return any("a part of the crystal probably is missing" in note for note in result.report.warnings)


def test_half_a_model_is_begun_anew_and_held(case: Case) -> None:
    """R-free ends lower, and the model nearer to where it was."""
    held = refined(case, 0.55, d_min=2.4)
    free = refined(case, 0.55, d_min=2.4, external=External(jelly_body="off"))
    assert is_held(held)
    assert not is_held(free)
    first, second, *_ = held.history
    assert incomplete.NEWS in second.note
    assert incomplete.NEWS not in first.note
    assert first.r_work == free.history[0].r_work
    assert held.r_free is not None
    assert free.r_free is not None
    assert held.r_free < free.r_free - 0.005
    assert held.r_free - held.r_work < free.r_free - free.r_work - 0.01
    assert held.report.start == free.report.start


def test_a_whole_model_is_not_and_neither_is_one_cycle(case: Case) -> None:
    assert not is_held(refined(case, 1.0, cycles=2))
    assert not is_held(refined(case, 0.55, cycles=1))


def test_other_weights_and_groups_are_tried_one_cycle_later(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the cycle that was given up the course is that of any other refinement."""
    monkeypatch.setattr(search, "FACTORS", search.FACTORS[:2])
    result = refined(case, 0.55, cycles=3, weights="search", tls=("segments",), d_min=3.0)
    assert is_held(result)
    assert ["search" in step.weights for step in result.history] == [False, False, True]
    assert "segment" not in result.history[1].note
