"""Several refinements at once on the emulated device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import gemmi
import numpy as np
import pytest
from batches import sizes_of_batches

import arrayrefine as ar
from arrayrefine.device import batch as device_batch
from arrayrefine.device import choice as device

BRIEF = ar.Options(cycles=1, perturb=0.1, hydrogens="strip", tls=("none",), device="cuda")


@pytest.fixture
def sizes(emulated_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many models each set of launches was made for."""
    return sizes_of_batches(monkeypatch)


def _job(folder: Path, **changes: object) -> ar.Job:
    return ar.Job(next(folder.glob("shaken.*")), folder / "norm.mtz", dataclasses.replace(BRIEF, **changes))


@pytest.fixture(scope="module")
def alone() -> Callable[[ar.Job], ar.Result]:
    """A refinement by itself; those of one job are done once."""
    done: dict[str, ar.Result] = {}

    def refined(job: ar.Job) -> ar.Result:
        if (key := repr(job)) not in done:
            done[key] = ar.refine(job.model, job.data, job.options)
        return done[key]

    return refined


def test_starts_of_one_crystal_share_their_launches(
    case: Callable[[str], Path], sizes: list[int], alone: Callable[[ar.Job], ar.Result]
) -> None:
    jobs = [_job(case("5e5z"), seed=seed) for seed in (0, 1, 2)]
    together = ar.refine_many(jobs)
    assert sizes
    assert max(sizes) == 3
    for job, result in zip(jobs, together):
        assert isinstance(result, ar.Result)
        assert np.abs(result.atoms.xyz - alone(job).atoms.xyz).max() < 0.02
        assert result.r_work == pytest.approx(alone(job).r_work, abs=2e-3)
        assert all(step.launches for step in result.history)


def test_groups_take_turns_where_the_memory_is_short(
    case: Callable[[str], Path], sizes: list[int], alone: Callable[[ar.Job], ar.Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """They share one set of grids, and the last group, which is smaller, is filled up."""
    jobs = [_job(case("5e5z"), seed=seed) for seed in range(5)]
    plenty = ar.refine_many(jobs)
    assert max(sizes) == 5
    needed = alone(jobs[0]).report.as_dict()["mode"]["memory"]["needed"]
    monkeypatch.setattr(device, "usable", lambda free: int(3.4 * needed))
    made: list[int] = []
    make = device_batch.made
    monkeypatch.setattr(device_batch, "made", lambda how, count, *rest: made.append(count) or make(how, count, *rest))
    sizes.clear()
    few = ar.refine_many(jobs)
    assert max(sizes) < 5
    assert len(made) < len(sizes)  # groups that share
    assert min(sizes) < min(made)  # and one that is filled up
    for one, two in zip(plenty, few):
        assert isinstance(one, ar.Result)
        assert isinstance(two, ar.Result)
        assert np.abs(one.atoms.xyz - two.atoms.xyz).max() < 0.02


def test_models_that_are_not_alike_are_evaluated_for_themselves(
    case: Callable[[str], Path], sizes: list[int], alone: Callable[[ar.Job], ar.Result]
) -> None:
    folder = case("5e5z")
    jobs = [_job(folder), _job(folder, d_min=2.2)]
    for job, result in zip(jobs, ar.refine_many(jobs)):
        assert isinstance(result, ar.Result)
        assert np.array_equal(result.atoms.xyz, alone(job).atoms.xyz)
    assert not sizes


def test_phases_of_one_are_not_lost_beside_one_without(
    case: Callable[[str], Path], sizes: list[int], alone: Callable[[ar.Job], ar.Result], tmp_path: Path
) -> None:
    folder = case("5e5z")
    model = ar.refine(folder / "model.pdb", folder / "norm.mtz", ar.Options(cycles=0, hydrogens="strip"))
    table = gemmi.read_mtz_file(str(model.write(tmp_path)[2]))
    table.add_column("SURE", "W").array[:] = 0.9
    table.write_to_file(phases := str(tmp_path / "phases.mtz"))
    jobs = [_job(folder), _job(folder, phases=f"{phases}:PHIC,SURE")]
    for job, result in zip(jobs, ar.refine_many(jobs)):
        assert isinstance(result, ar.Result)
        assert np.array_equal(result.atoms.xyz, alone(job).atoms.xyz)
    assert not sizes
