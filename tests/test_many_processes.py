"""Several refinements that several processes share: the same results, and the caller's functions in the caller's."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import gemmi
import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine import many
from arrayrefine.kernels import backend, channels, crew, processes, threads
from arrayrefine.report import Step
from arrayrefine.state import State

Case = Callable[[str], Path]

pytestmark = pytest.mark.skipif(not processes.possible(), reason="processes are forked on Linux only")

BRIEF = ar.Options(cycles=1, targets=("xyz", "b"), perturb=0.1, hydrogens="strip", device="cpu")
Heard = tuple[tuple[object, ...], list[tuple[object, ...]]]
"""Results of several jobs, and what was heard of them."""


@pytest.fixture(autouse=True)
def children(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Process numbers of a test's processes; none may be left when it ends."""
    pids: list[int] = []
    fork = channels.forked

    def noted(work: Any) -> channels.Other:
        other = fork(work)
        pids.append(other.pid)
        return other

    monkeypatch.setattr(crew, "forked", noted)
    yield pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def jobs_of(folder: Path, count: int, processes: int, **changes: Any) -> list[ar.Job]:
    options = dataclasses.replace(BRIEF, threads=processes, **changes)
    model, data = next(folder.glob("shaken.*")), folder / "norm.mtz"
    return [ar.Job(model, data, dataclasses.replace(options, seed=seed)) for seed in range(count)]


def same(one: object, two: object) -> bool:
    assert isinstance(one, ar.Result)
    assert isinstance(two, ar.Result)
    arrays = all(np.array_equal(getattr(one.atoms, k), getattr(two.atoms, k)) for k in ("xyz", "b_iso", "u_aniso"))
    return arrays and one.report.final == two.report.final


def arrays_of(record: Any, path: str = "") -> list[tuple[str, Any, tuple[int, ...], bool]]:
    """Every array of nested dataclasses: where it is, type, shape, and whether it can be written to."""
    if isinstance(record, np.ndarray):
        return [(path, record.dtype, record.shape, record.flags.writeable)]
    if not dataclasses.is_dataclass(record):
        return []
    names = [field.name for field in dataclasses.fields(record)]
    return [row for name in names for row in arrays_of(getattr(record, name), f"{path}.{name}")]


def five(folder: Path, count: int) -> Heard:
    heard: list[tuple[object, ...]] = []

    def on_step(number: int, step: Step) -> None:
        heard.append((number, os.getpid(), "step", step.target, step.r_work))

    def on_state(number: int, step: Step, state: State) -> None:
        heard.append((number, os.getpid(), "state", float(state.atoms.xyz.sum())))

    found = ar.refine_many(
        jobs_of(folder, 5, count), on_step=on_step, on_state=on_state,
        on_message=lambda number, text: heard.append((number, os.getpid(), text)),
    )  # fmt: skip
    return found, heard


@pytest.fixture(scope="module")
def by_one(case: Case) -> Heard:
    """Five jobs by one process: none is forked."""

    def forked(_: Any) -> channels.Other:
        raise AssertionError("one process was asked for")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crew, "forked", forked)
        return five(case("5e5z"), 1)


def test_results_and_what_is_heard_are_those_of_one_process(
    case: Case, children: list[int], by_one: Heard, tmp_path: Path
) -> None:
    one, heard = by_one
    three, heard_of_three = five(case("5e5z"), 3)
    assert len(set(children)) == 3
    for k in range(5):
        assert same(one[k], three[k])
        assert [line for line in heard if line[0] == k] == [line for line in heard_of_three if line[0] == k]
    assert len({result.r_free for result in three if isinstance(result, ar.Result)}) == 5
    result = three[4]
    assert isinstance(result, ar.Result)
    result.write(tmp_path)
    assert (tmp_path / "refined.mtz").exists()
    result.atoms.xyz[0] += 1.0  # it is the caller's, as one that was made here


def test_answers_are_heeded_and_end_one_job_alone(case: Case) -> None:
    def on_step(number: int, step: Step) -> object:
        if number == 1:
            raise ar.StopRefinement
        return np.bool_(number == 0) if number != 2 else threading.Lock()  # nothing that can be sent

    found = ar.refine_many(jobs_of(case("5e5z"), 4, 2), on_step=on_step)
    stopped = [result.report.stopped for result in found if isinstance(result, ar.Result)]
    assert ["stopped by on_step" in text for text in stopped] == [True, True, False, False]


def test_stopping_ends_every_job_with_its_model(case: Case) -> None:
    polled: list[int] = []

    def stop() -> int | None:
        polled.append(os.getpid())
        return 2 if len(polled) > 20 else None

    for result in ar.refine_many(jobs_of(case("5e5z"), 3, 3), stop=stop):
        assert isinstance(result, ar.Result)
        assert "interrupted" in result.report.stopped
    assert set(polled) == {os.getpid()}


@pytest.mark.parametrize("answer", [np.int64(0), "time is up", threading.Lock()])
def test_whatever_stop_returns_but_none_ends_every_job(case: Case, answer: Any) -> None:
    results = ar.refine_many(jobs_of(case("5e5z"), 2, 2), stop=lambda: answer)
    assert len(results) == 2
    for result in results:
        assert isinstance(result, ar.Result)
        assert "interrupted" in result.report.stopped


def test_models_in_memory_come_back_as_those_of_one_process(case: Case, tmp_path: Path) -> None:
    """Files, arrays that can be written to, validation: also of an mmCIF document, whose categories are kept."""
    folder = case("5e5z")
    structure, data = gemmi.read_structure(str(folder / "shaken.pdb")), gemmi.read_mtz_file(str(folder / "norm.mtz"))
    document = structure.make_mmcif_document()
    document[0].set_pair("_struct.title", "'a title of its own'")
    one, two = (
        ar.refine_many([
            ar.Job(model, data, dataclasses.replace(BRIEF, threads=count, maps="model"))
            for model in (structure, document)
        ])
        for count in (1, 2)
    )  # fmt: skip
    for k, (here, there) in enumerate(zip(one, two)):
        assert same(here, there)
        assert isinstance(here, ar.Result)
        assert isinstance(there, ar.Result)
        assert here.validate().as_dict() == there.validate().as_dict()
        assert arrays_of(here) == arrays_of(there)
        for path, other in zip(here.write(tmp_path / f"here {k}"), there.write(tmp_path / f"there {k}"), strict=True):
            assert path.name == other.name
            assert path.suffix == ".json" or path.read_bytes() == other.read_bytes()  # the report has times
    assert "a title of its own" in (tmp_path / "there 1" / "refined.cif").read_text()


def test_jobs_with_own_targets_and_jobs_that_cannot_run(case: Case, children: list[int], tmp_path: Path) -> None:
    called: list[int] = []

    def flat(atoms: ar.Atoms) -> tuple[float, ar.Gradient]:
        called.append(os.getpid())
        return 0.0, ar.Gradient.zeros(len(atoms))

    one, two, three = jobs_of(case("5e5z"), 3, 3)
    jobs = [
        dataclasses.replace(one, extra=[ar.ExtraTarget("flat", flat, 1.0)]), two,
        dataclasses.replace(three, model=tmp_path / "absent.pdb"),
    ]  # fmt: skip
    own, fine, missing = ar.refine_many(jobs)
    assert len(children) == 2
    assert isinstance(own, ar.Result)
    assert set(called) == {os.getpid()}
    assert same(fine, ar.refine(two.model, two.data, dataclasses.replace(two.options, threads=1)))
    assert isinstance(missing, ar.InputError)
    assert "absent.pdb" in str(missing)


def test_what_a_lost_process_had_to_do_is_done_here(case: Case, children: list[int], by_one: Heard) -> None:
    said: list[str] = []
    killed: list[int] = []

    def on_step(number: int, step: Step) -> None:
        if number == 1 and not killed:
            killed.append(children[1])
            os.kill(children[1], signal.SIGKILL)

    found = ar.refine_many(jobs_of(case("5e5z"), 4, 2), on_step=on_step, on_message=lambda _, text: said.append(text))
    assert killed
    assert any("has ended" in text and "begins again" in text for text in said)
    assert len(found) == 4
    assert all(same(*pair) for pair in zip(found, by_one[0]))


def test_an_error_of_a_callback_comes_out(case: Case) -> None:
    def on_step(number: int, step: Step) -> None:
        raise KeyError(f"of job {number}")

    with pytest.raises(KeyError, match="of job"):
        ar.refine_many(jobs_of(case("5e5z"), 3, 2), on_step=on_step)


def test_an_error_of_the_program_comes_out_as_it_is(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(many, "run", broken)
    with pytest.raises(ZeroDivisionError, match="a mistake"):
        ar.refine_many(jobs_of(case("5e5z"), 2, 2))


def test_where_cuda_was_used_before_one_process_does_all(
    case: Case, children: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "can_fork", lambda: False)
    said: list[str] = []
    found = ar.refine_many(
        jobs_of(case("5e5z"), 2, 2, device="auto"), on_message=lambda _, text: said.append(text)
    )
    assert all(isinstance(result, ar.Result) for result in found)
    assert not children
    assert sum("has used CUDA before" in text for text in said) == 1
    ar.refine_many(jobs_of(case("5e5z"), 2, 2))  # by NumPy alone
    assert len(children) == 2


@pytest.mark.emulator
def test_states_of_a_device_are_heard_without_using_it_here(
    case: Case, emulated_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "_device", {"used": False, "lost": False})
    heard: list[tuple[int, float, float]] = []
    found = ar.refine_many(
        jobs_of(case("5e5z"), 2, 2, device="cuda", tls=("none",)),
        on_state=lambda number, step, state: heard.append((number, step.r_work, state.statistics.r_work)),
    )
    assert sorted(number for number, *_ in heard) == [0, 0, 1, 1]
    assert all(of_step == of_state for _, of_step, of_state in heard)
    assert all(isinstance(result, ar.Result) for result in found)
    assert backend.can_fork()


@pytest.mark.emulator  # a device that this process has used is no other's
def test_each_process_has_the_device_for_itself(
    case: Case, children: list[int], emulated_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "_device", {"used": False, "lost": False})
    jobs = jobs_of(case("5e5z"), 3, 2, device="cuda", tls=("none",))
    found = ar.refine_many(jobs)
    assert len(children) == 2
    for job, result in zip(jobs, found):
        assert isinstance(result, ar.Result)
        alone = ar.refine(job.model, job.data, dataclasses.replace(job.options, threads=1))
        assert np.abs(result.atoms.xyz - alone.atoms.xyz).max() < 0.02
        assert any("computes on cuda" in text for text in result.report.warnings)
        limits = [r.report.as_dict()["mode"]["memory"]["limit"] for r in (result, alone)]
        assert limits[0] == pytest.approx(limits[1] / 2, rel=1e-6)  # a part of the memory for each
    assert not backend.can_fork()  # now it has been used here too


def test_starts_on_the_command_line(case: Case, tmp_path: Path, children: list[int]) -> None:
    from arrayrefine.__main__ import main

    folder, out = case("5e5z"), tmp_path / "starts"
    command = ["refine", next(folder.glob("shaken.*")), folder / "norm.mtz", "--out", out, "--starts", 3]
    command += ["--threads", 2, "--perturb", 0.1, "--cycles", 1, "--device", "cpu"]
    assert main([str(word) for word in command]) == 0
    assert len(children) == 4  # two that refine, and two that write pages
    assert all((out / str(k) / "report.html").exists() for k in range(3))


@pytest.mark.parametrize(("number", "count"), [(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGINT, 2)])
def test_a_signal_ends_starts_on_the_command_line(case: Case, tmp_path: Path, number: int, count: int) -> None:
    """The first lets every start end with its best model so far, the second ends all at once; Ctrl-C reaches the whole
    group of processes."""
    with _starts(case("1dur"), tmp_path) as (process, others):
        os.killpg(process.pid, number)
        assert process.stderr is not None
        said = process.stderr.readline() + process.stderr.readline()
        if count > 1:
            os.killpg(process.pid, number)
        assert process.wait(60) == 128 + number
        said += process.stderr.read()
        _gone(others)
    assert said.count("stopping") == 1
    written = [(tmp_path / str(k) / "refined.cif").exists() for k in range(4)]
    assert written == [count == 1] * 4


def test_processes_end_with_the_one_that_they_work_for(case: Case, tmp_path: Path) -> None:
    with _starts(case("1dur"), tmp_path) as (process, others):
        process.kill()
        process.wait(60)
        _gone(others)


@contextlib.contextmanager
def _starts(folder: Path, out: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A command that refines four starts by two processes, once both are there, and these."""
    command = [sys.executable, "-m", "arrayrefine", "refine", folder / "shaken.pdb", folder / "norm.mtz", "--out", out]
    command += ["--starts", 4, "--threads", 2, "--perturb", 0.2, "--device", "cpu", "--no-report"]
    command += ["--cycles", 200, "--minimiser.no-early-stop"]  # it does not end by itself
    with subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            until = time.monotonic() + 60.0
            while len(others := _children(process.pid)) < 2:
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.01)
            yield process, others
        finally:
            process.kill()


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _gone(pids: list[int]) -> None:
    """Wait until processes have ended; whoever adopts them may not have buried them yet."""
    until = time.monotonic() + 30.0
    for pid in pids:
        while (status := Path(f"/proc/{pid}/status")).exists() and "State:\tZ" not in status.read_text():
            assert time.monotonic() < until
            time.sleep(0.01)


def test_a_crew_computes_with_one_thread_each_and_is_answered() -> None:
    def work(number: int, ask: crew.Ask) -> None:
        seen: set[int] = set()
        threads.each(lambda _: seen.add(threading.get_ident()), 50, 8)
        with pytest.raises(crew.RefusedError):
            ask("refuse")
        with pytest.raises(LookupError, match="passed on"):
            ask("pass on")
        ask((number, len(seen), os.getpid()))

    heard: list[Any] = []

    def answer(message: Any) -> None:
        if message == "refuse":
            raise ValueError
        if message == "pass on":
            raise LookupError("passed on")
        heard.append(message)

    done: list[int] = []
    works = [lambda ask, k=k: work(k, ask) for k in range(3)]
    assert crew.crew(works, answer, (LookupError,), lambda: done.append(os.getpid())) == ["", "", ""]
    assert sorted(number for number, *_ in heard) == [0, 1, 2]
    assert {count for _, count, _ in heard} == {1}
    assert os.getpid() not in {pid for *_, pid in heard}
    assert done == [os.getpid()]


def test_why_a_member_of_a_crew_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(ask: crew.Ask) -> None:
        raise OSError("disk")

    def ends(ask: crew.Ask) -> None:
        os._exit(1)

    broken, gone, fine = crew.crew([fails, ends, lambda ask: None], lambda message: None)
    assert broken.splitlines()[-1] == "OSError: disk"
    assert "has ended" in gone
    assert not fine
    begun = time.monotonic()

    def none_left(work: object) -> channels.Other:
        raise channels.LostError("no process can be had")

    monkeypatch.setattr(crew, "forked", none_left)
    assert crew.crew([fails, fails], lambda message: None) == ["no process can be had"] * 2
    assert time.monotonic() - begun < 5.0


def test_an_error_meanwhile_leaves_no_process() -> None:
    def wrong() -> None:
        raise RuntimeError("meanwhile")

    with pytest.raises(RuntimeError, match="meanwhile"):
        crew.crew([lambda ask: time.sleep(60)], lambda message: None, (), wrong)
