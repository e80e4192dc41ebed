"""Several refinements at once give what each gives alone."""

from __future__ import annotations

import dataclasses
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine.report import Step

BRIEF = ar.Options(cycles=1, targets=("xyz", "b"), perturb=0.1, hydrogens="strip", device="cpu")
"""By NumPy to the last bit; what a device sums of several models at once is in test_device_many.py."""


def test_several_starts_end_as_each_does_alone(case: Callable[[str], Path]) -> None:
    folder = case("1dur")
    model, data = next(folder.glob("shaken.*")), folder / "norm.mtz"
    every = [dataclasses.replace(BRIEF, seed=seed) for seed in (0, 1, 2)]
    steps: list[tuple[int, str]] = []

    def on_step(number: int, step: Step) -> None:
        steps.append((number, step.target))

    together = ar.refine_many([ar.Job(model, data, options) for options in every], on_step=on_step)
    assert sorted(steps) == [(k, target) for k in range(3) for target in ("b", "xyz")]
    for options, result in zip(every, together):
        assert isinstance(result, ar.Result)
        alone = ar.refine(model, data, options)
        for name in ("xyz", "b_iso", "occupancy"):
            assert np.array_equal(getattr(result.atoms, name), getattr(alone.atoms, name))
        assert result.r_free == alone.r_free
    assert len({result.r_free for result in together if isinstance(result, ar.Result)}) == 3


def test_a_job_that_cannot_run_leaves_the_others_alone(case: Callable[[str], Path], tmp_path: Path) -> None:
    folder = case("1dur")
    model, data = next(folder.glob("shaken.*")), folder / "norm.mtz"
    notes: list[int] = []
    missing, fine = ar.refine_many(
        [ar.Job(tmp_path / "absent.pdb", data, BRIEF), ar.Job(model, data, BRIEF)],
        on_message=lambda number, _: notes.append(number),
    )
    assert isinstance(missing, ar.InputError)
    assert "absent.pdb" in str(missing)
    assert isinstance(fine, ar.Result)
    assert set(notes) == {1}


def test_stopping_ends_every_job_with_its_model(case: Callable[[str], Path]) -> None:
    folder = case("1dur")
    job = ar.Job(next(folder.glob("shaken.*")), folder / "norm.mtz", BRIEF)
    results = ar.refine_many([job, job], stop=lambda: 2)
    assert len(results) == 2
    for result in results:
        assert isinstance(result, ar.Result)
        assert "interrupted" in result.report.stopped


def test_ctrl_c_leaves_no_job_behind(case: Callable[[str], Path]) -> None:
    folder = case("1dur")
    job = ar.Job(next(folder.glob("shaken.*")), folder / "norm.mtz", ar.Options(cycles=9, targets=("xyz", "b")))
    before, steps = threading.active_count(), []

    def press(number: int, step: object) -> None:
        steps.append(step)
        if len(steps) == 1:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    # a shell without job control has what it starts in the background ignore SIGINT
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            ar.refine_many([job, job], on_step=press)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert threading.active_count() == before
    assert len(steps) < 8


def test_no_jobs_are_refused() -> None:
    with pytest.raises(ar.InputError, match="list of jobs is empty"):
        ar.refine_many([])
    with pytest.raises(ar.InputError, match="found one Job; expected a list"):
        ar.refine_many(ar.Job("model.pdb", "data.mtz"))  # type: ignore[arg-type]
    with pytest.raises(ar.InputError, match="found a str; expected Job"):
        ar.refine_many(["model.pdb"])  # type: ignore[list-item]
    with pytest.raises(ar.InputError, match="found a int; expected a list"):
        ar.refine_many(3)  # type: ignore[arg-type]


def test_jobs_may_come_one_by_one_and_bad_options_are_their_own() -> None:
    jobs = (ar.Job("absent.pdb", "data.mtz", options) for options in (BRIEF, {"threads": 2}))  # type: ignore[arg-type]
    first, second = ar.refine_many(jobs)
    assert "absent.pdb" in str(first)
    assert "options: found a dict" in str(second)


@pytest.mark.parametrize("name", ["on_step", "on_state", "on_message", "stop"])
def test_an_error_of_a_callback_is_not_that_of_its_job(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """An `InputError`, too, which a job may have itself."""

    def run(model: object, data: object, options: object, on_step: Any, on_message: Any, stop: Any, together: object,
            on_state: Any, *_: object) -> None:  # fmt: skip
        called = {"on_step": on_step, "on_state": on_state, "on_message": on_message, "stop": stop}[name]
        called(*(() if name == "stop" else ("something",)))

    def refuse(*given: object) -> None:
        raise ar.InputError(f"not what was asked: {given}")

    monkeypatch.setattr("arrayrefine.many.run", run)
    with pytest.raises(ar.InputError, match="not what was asked"):
        ar.refine_many([ar.Job("model.pdb", "data.mtz", BRIEF)] * 2, **{name: refuse})
