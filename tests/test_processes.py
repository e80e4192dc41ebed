"""Processes that run one function in step and share its loops."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import re
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine.kernels import backend, channels, processes, threads
from arrayrefine.kernels.processes import gathered, kept, shared, together, told
from arrayrefine.options import Geometry, Minimiser, Options, Solvent, Xray
from arrayrefine.weighting import search

Case = Callable[[str], Path]

pytestmark = pytest.mark.skipif(not processes.possible(), reason="processes are forked on Linux only")


BRIEF = Options(cycles=2, report=False, device="cpu", minimiser=Minimiser(early_stop=False))


@pytest.fixture(scope="module")
def alone(case: Case) -> ar.Result:
    """1aba refined by one process that nobody listens to."""
    return ar.refine(case("1aba") / "shaken.pdb", case("1aba") / "norm.mtz", dataclasses.replace(BRIEF, threads=1))


@pytest.fixture
def few_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the weights that a search tries, the first four: as given, with less and more of one, with less of the other.
    Trials follow one another; the rest would be more of the same."""
    monkeypatch.setattr(search, "FACTORS", search.FACTORS[:4])


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    """Every test ends without children and without a team, as if there had been none; signals reach it as before."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, set())
    yield
    assert processes.size() == 1
    assert signal.pthread_sigmask(signal.SIG_BLOCK, set()) == mask
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("length", [0, 1, 2, 100, 9001])
def test_every_number_of_a_loop_is_done_once(count: int, length: int) -> None:
    """Also of loops that are longer than what is handed out one by one, and of one after the other."""

    def work() -> tuple[np.ndarray, np.ndarray]:
        done, who = shared("done", np.int64, length + 1), shared("who", np.int64, length + 1)
        if processes.size() == 1 or told(os.getpid) == os.getpid():
            done[:] = 0

        def one(number: int) -> None:
            done[number] += number + 1
            who[number] = os.getpid()
            if length == 100:
                time.sleep(0.001)

        threads.each(one, length, 1)
        threads.each(one, length, 1)
        return done[:length].copy(), who[:length].copy()

    done, who = together(work, count)
    assert (done == 2 * (np.arange(length) + 1)).all()
    assert length != 100 or len(set(who.tolist())) == count


def test_what_one_process_gives_all_of_them_have() -> None:
    """Tasks, answers from outside and memory that grows under way are the same everywhere."""

    def work() -> tuple[list[int], int, list[float]]:
        owners = gathered([os.getpid] * 4)
        asked = told(os.getpid)
        sums = shared("sums", np.float64, 3)
        for size in (10, 100_000, 200_000):  # each larger than what there was
            fill(shared("room", np.float64, size), sums)
        return owners, asked, sums.tolist()

    def fill(room: np.ndarray, sums: np.ndarray) -> None:
        parts = np.array_split(room, 10)
        threads.each(lambda k: parts[k].fill(k), 10, 1)
        threads.each(lambda k: sums.__setitem__(k, room.sum()), 3, 1)

    owners, asked, sums = together(work, 3)
    assert asked == owners[0] == os.getpid()
    assert len(set(owners)) == 3
    assert owners[0] == owners[1]
    assert sums == [45 * 20_000.0] * 3
    assert len(shared("room", np.float64, 200_000)) == 200_000  # still there, and no longer anybody else's


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("size", [3, 1000, 40_000])
def test_arrays_of_any_size_arrive_whole(size: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ones go with the message, larger ones through shared memory, and what has no room there as before; what
    has arrived stays as it is, and belongs to who has it."""
    monkeypatch.setattr(channels, "_ROOM", 1 << 17)

    def made(seed: int) -> dict[str, np.ndarray]:
        a = np.random.default_rng(seed).normal(size=(size, 2))
        return {"rows": a, "columns": np.asfortranarray(a), "every second": a[::2], "flags": a[:, 0] > 0.0}

    def same(found: dict[str, np.ndarray], seed: int) -> bool:
        return all(np.array_equal(found[name], values) for name, values in made(seed).items())

    def work() -> list[bool]:
        first = gathered([partial(made, seed) for seed in range(4)])
        asked = told(lambda: made(7))
        again = gathered([partial(made, seed) for seed in range(4, 8)])
        asked["rows"] += 0.0
        well = all(same(found, seed) for seed, found in enumerate((*first, *again))) and same(asked, 7)
        return gathered([lambda: well] * count)  # one answer of each member

    assert together(work, count) == [True] * count


@pytest.mark.parametrize("count", [1, 2, 3])
def test_what_cannot_be_sent_stays_with_one_member(count: int) -> None:
    """It is there in the tasks of the same number, and nowhere else."""

    def work() -> tuple[list[float], int]:
        functions = kept([lambda: np.sin, lambda: lambda x: x + processes.size()])
        there = gathered([lambda: float(functions[0](0.5)), lambda: float(functions[1](2.0))])
        return there, sum(one is not None for one in functions)

    assert together(lambda: gathered([]), count) == []
    there, here = together(work, count)
    assert there == [float(np.sin(0.5)), 3.0]
    assert here == (2 if count == 1 else 1)


def test_inside_a_team_there_is_no_other() -> None:
    """What is asked to be done together inside is done by the team that is there, and tasks have their loops alone."""

    def task() -> int:
        room = np.zeros(5)
        threads.each(lambda k: room.__setitem__(k, 1.0), 5, 1)
        return int(room.sum()) * processes.size()

    assert together(lambda: (together(processes.size, 7), gathered([task, task])), 2) == (2, [5, 5])


@pytest.mark.parametrize("how", ["killed", "raises", "does something else", "ends early"])
def test_a_lost_member_costs_time_only(how: str) -> None:
    """The first one does the work alone, or what is to be done instead, and hears why."""
    here, told_of = os.getpid(), []

    def work() -> float:
        room = shared("lost", np.float64, 8)
        if os.getpid() != here:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "raises":
                raise ValueError("only here")
            if how == "ends early":
                return 0.0
        else:
            told_of.append(processes.size())
        count = 4 if os.getpid() != here and how == "does something else" else 8
        threads.each(lambda k: room.__setitem__(k, float(k)), count, 1)
        return float(room.sum())

    assert together(work, 2) == 28.0
    assert told_of == [2, 1]
    why = "does something else" if how == "does something else" else "has ended|Broken pipe|reset"
    reasons: list[str] = []
    assert together(work, 2, lambda reason: reasons.append(reason) or -1.0) == -1.0
    assert re.search(why, reasons[0])


@pytest.mark.parametrize("first", ["loop", "told", "gathered", "memory", "longer loop"])
@pytest.mark.parametrize("other", ["loop", "told", "gathered", "memory", "nothing"])
@pytest.mark.parametrize("later", [1, 2])
def test_members_out_of_step_do_not_wait_for_one_another(first: str, other: str, later: int) -> None:
    """Whatever the first does while another does something else, once or before both do the same again."""
    here = os.getpid()
    room = np.zeros(30)
    acts: dict[str, Callable[[], object]] = {
        "loop": lambda: threads.each(lambda k: room.__setitem__(k, 1.0), 4, 1),
        "longer loop": lambda: threads.each(lambda k: room.__setitem__(k, 1.0), 30, 1),
        "told": lambda: told(lambda: np.ones(5000)),
        "gathered": lambda: gathered([lambda: np.ones(5000)] * 2),
        "memory": lambda: shared("new", np.float64, 1000),
        "nothing": lambda: None,
    }

    def work() -> str:
        acts[first if os.getpid() == here else other]()
        for _ in range(later):
            acts["told"]()
        acts["loop"]()
        return "in step"

    ended: list[str] = []
    with _within(20.0):
        ended.append(together(work, 2, lambda reason: "out of step"))
    assert ended == ["in step" if first == other else "out of step"]


@contextlib.contextmanager
def _within(seconds: float) -> Iterator[None]:
    """An error instead of waiting for ever."""

    def late(*_: object) -> None:
        raise AssertionError(f"nothing has happened for {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def test_what_the_first_does_alone_leaves_memory_as_it_is() -> None:
    """Memory of the same name, asked for by what is told or by a task, is another one; so is that of a forked child."""

    def work() -> tuple[float, float]:
        room = shared("room", np.float64, 4)
        threads.each(lambda k: room.__setitem__(k, 1.0), 4, 1)
        told(lambda: shared("room", np.float64, 400).fill(7.0))
        gathered([lambda: shared("room", np.float64, 4).fill(8.0)] * 2)
        return float(room.sum()), float(shared("room", np.float64, 4).sum())

    assert together(work, 2) == (4.0, 4.0)
    mine = shared("room", np.float64, 4)
    mine[:] = 3.0
    child = multiprocessing.get_context("fork").Process(target=_spoil)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of JAX, where other tests have loaded it
        child.start()
    child.join()
    assert child.exitcode == 0
    child.close()
    assert (mine == 3.0).all()
    processes.release()
    assert not np.shares_memory(mine, shared("room", np.float64, 4))


def _spoil() -> None:
    shared("room", np.float64, 4).fill(9.0)


def test_an_error_of_the_work_is_the_callers() -> None:
    """Whether all have it, or the first alone: the members are gone, and the next team works. Not even an error of the
    system is taken for a loss."""
    here = os.getpid()

    def fails(everywhere: bool) -> None:
        threads.each(lambda k: None, 3, 1)
        if everywhere or os.getpid() == here:
            raise KeyboardInterrupt
        threads.each(lambda k: time.sleep(0.01), 3, 1)

    for everywhere in (True, False):
        with pytest.raises(KeyboardInterrupt):
            together(partial(fails, everywhere), 2)

    def full() -> None:
        raise OSError(28, "no space left on device")

    with pytest.raises(OSError, match="no space"):
        together(lambda: told(full), 2, lambda reason: None)
    assert together(processes.size, 2) == 2


def test_signals_are_the_first_ones_alone() -> None:
    """A member that is asked to end, as by a terminal or a queue, goes on."""
    here = os.getpid()

    def work() -> float:
        room = shared("signals", np.float64, 6)
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGUSR1)
        threads.each(lambda k: room.__setitem__(k, 1.0), 6, 1)
        return float(room.sum())

    assert together(work, 2, lambda reason: -1.0) == 6.0


def test_signals_do_not_cut_off_what_is_said() -> None:
    """The first waits for several words and for a long answer while one signal after the other comes in."""
    here, handled = os.getpid(), []

    def work() -> float:
        room = shared("words", np.float64, 6)
        answers = 0.0
        for _ in range(20):
            told(lambda: 1)
            if os.getpid() != here:
                time.sleep(0.005)
            told(lambda: 2)
            answers += float(gathered([lambda: np.ones(3), lambda: [1.0] * 100_000])[0].sum())
            threads.each(lambda k: room.__setitem__(k, 1.0), 6, 1)
        return answers + float(room.sum())

    before = signal.signal(signal.SIGALRM, lambda *_: handled.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        assert together(work, 2, lambda reason: -1.0) == 66.0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert len(handled) > 20


def test_where_nothing_can_be_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process does the work, without members, on other systems and where there is no room for them."""
    monkeypatch.setattr(processes.sys, "platform", "darwin")
    assert together(processes.size, 2) == 1
    monkeypatch.setattr(processes.sys, "platform", "linux")

    def refused() -> int:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(processes.os, "fork", refused)
    assert together(processes.size, 2) == 1
    assert "no more processes" in together(lambda: "", 2, lambda reason: reason)


def test_a_refinement_by_several_processes_is_the_same(case: Case) -> None:
    """To the last bit, on a real crystal with TLS, hydrogens that turn, and a target of the user's own; what the user
    brings is called in his own process, once."""
    folder = case("1aba")
    called: list[int] = []

    def near_start(atoms: ar.Atoms) -> tuple[float, ar.Gradient]:
        called.append(os.getpid())
        return float((atoms.b_iso - 20.0) @ (atoms.b_iso - 20.0)), dataclasses.replace(
            ar.Gradient.zeros(len(atoms)), b_iso=2.0 * (atoms.b_iso - 20.0)
        )

    def run(count: int, stop_after: int | None = None) -> tuple[ar.Result, list[str]]:
        heard: list[str] = []
        called.clear()

        def on_step(step: ar.Step) -> bool:
            heard.append(f"{os.getpid()} {step.cycle} {step.r_work!r}")
            return len(heard) == stop_after

        options = ar.Options(threads=count, cycles=2)
        extra = [ar.ExtraTarget("near start", near_start, 1e-4)]
        result = ar.refine(folder / "shaken.pdb", folder / "norm.mtz", options, extra=extra, on_step=on_step)
        assert set(called) == {os.getpid()}
        return result, heard

    alone, heard = run(1)
    calls = len(called)
    both, heard_of_both = run(2)
    assert heard == heard_of_both
    assert len(called) == calls
    assert not any("began again" in sentence for sentence in both.report.warnings)
    assert both.report.final == alone.report.final
    for name in ("xyz", "b_iso", "occupancy", "u_aniso"):
        assert np.array_equal(getattr(both.atoms, name), getattr(alone.atoms, name))
    stopped, heard = run(2, stop_after=1)
    assert len(heard) == 1
    assert "stopped by on_step" in stopped.report.stopped


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": "search"},
        {"geometry": Geometry(adp_distance=0.5), "anisotropic": "none"},  # nothing to measure displacements by
    ],
)  # fmt: skip
def test_processes_stay_in_step_whatever_is_refined(case: Case, few_trials: None, changes: dict[str, object]) -> None:
    """And measure the same: every number on the way is that of one process."""
    folder = case("1aba")

    def run(count: int) -> ar.Report:
        options = ar.Options(threads=count, cycles=2, report=False, **changes)  # type: ignore[arg-type]
        return ar.refine(folder / "shaken.pdb", folder / "norm.mtz", options).report

    one, three = run(1), run(3)
    assert not any("began again" in sentence for sentence in three.warnings)
    assert [step.weights for step in three.steps] == [step.weights for step in one.steps]
    assert three.final == one.final


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"weights": "search"},
        {"targets": ("xyz", "b"), "solvent": Solvent(search=True), "anisotropic": "none"},
        {"xray": Xray(method="direct"), "cycles": 1},
    ],
)  # fmt: skip
def test_processes_share_what_a_device_does_not_do(
    case: Case, emulated_cuda: ModuleType, few_trials: None, changes: dict[str, object]
) -> None:
    """Only the first uses the device: another one would be refused it."""
    folder = case("5e5z")

    def run(count: int) -> ar.Result:
        given: dict[str, Any] = {"cycles": 2, **changes}
        options = ar.Options(device="cuda", threads=count, report=False, **given)
        return ar.refine(folder / "shaken.pdb", folder / "norm.mtz", options)

    one, three = run(1), run(3)
    assert not any("began again" in sentence for sentence in three.report.warnings)
    assert [step.weights for step in three.report.steps] == [step.weights for step in one.report.steps]
    assert three.report.final == one.report.final
    for name in ("xyz", "b_iso", "u_aniso"):
        assert np.array_equal(getattr(three.atoms, name), getattr(one.atoms, name))


def test_a_device_is_of_one_process(emulated_cuda: ModuleType) -> None:
    backend.to_device(np.zeros(3))

    def work() -> list[str]:
        def ask() -> str:
            try:
                backend.to_device(np.zeros(3))
            except RuntimeError as error:
                return str(error)
            return "used"

        return processes.gathered([ask, ask])

    first, other = processes.together(work, 2)
    assert first == "used"
    assert "forked from has used a CUDA device" in other


def test_listeners_may_evaluate_what_they_hear_of(case: Case, alone: ar.Result) -> None:
    """The refinement goes on as if they had not."""
    folder = case("1aba")
    heard: list[int] = []

    def on_state(step: ar.Step, state: ar.State) -> None:
        heard.append(step.cycle)
        moved = state.atoms.replace(xyz=state.atoms.xyz + 0.4, b_iso=state.atoms.b_iso + 5.0)
        state.xray(moved)
        assert state.xray(state.atoms)[0] == pytest.approx(state.nll_work * state.xray.work.sum(), rel=1e-4)

    for count in (1, 2):
        options = dataclasses.replace(BRIEF, threads=count)
        curious = ar.refine(folder / "shaken.pdb", folder / "norm.mtz", options, on_state=on_state)
        assert np.array_equal(curious.atoms.xyz, alone.atoms.xyz)
    assert heard == [1, 2, 1, 2]


def test_a_refinement_that_lost_a_process_is_the_same(
    case: Case, alone: ar.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins again alone, and says so; after a request to end it keeps the end of the last step."""
    folder = case("1aba")
    options = dataclasses.replace(BRIEF, threads=2)
    teams: list[processes._Team] = []
    made = processes._Team.__init__
    monkeypatch.setattr(processes._Team, "__init__", lambda team, *given: (made(team, *given), teams.append(team))[0])

    def run(stops: bool) -> tuple[ar.Result, list[float]]:
        heard: list[float] = []

        def on_step(step: ar.Step) -> bool:
            heard.append(step.r_work)
            if len(heard) == 1:
                os.kill(teams[-1]._others[0].pid, signal.SIGKILL)
            return stops

        return ar.refine(folder / "shaken.pdb", folder / "norm.mtz", options, on_step=on_step), heard

    again, heard = run(False)
    assert heard[0] == pytest.approx(heard[1], abs=1e-5)
    assert len(heard) == 3
    assert again.report.final.r_work == pytest.approx(alone.report.final.r_work, abs=2e-4)
    assert any("began again with one" in sentence for sentence in again.report.warnings)
    ended, heard = run(True)
    assert len(heard) == 1
    assert ended.report.final.r_work == pytest.approx(heard[0], abs=0.002)
    assert "stopped by on_step" in ended.report.stopped
    assert any("the end of the last step" in sentence for sentence in ended.report.warnings)
    assert len(ended.report.steps) == 1


def test_without_contacts_two_processes_and_one_that_is_lost_are_the_same(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contacts, whose pairs members of a team tell each other, may be off."""
    folder = case("1aba")
    off = Geometry(contacts=False)
    options = dataclasses.replace(BRIEF, cycles=1, d_min=4.5, geometry=off, targets=("xyz",), tls=("none",))
    one = ar.refine(folder / "shaken.pdb", folder / "norm.mtz", options)
    two = ar.refine(folder / "shaken.pdb", folder / "norm.mtz", dataclasses.replace(options, threads=2))
    assert np.array_equal(one.atoms.xyz, two.atoms.xyz)
    teams: list[processes._Team] = []
    made = processes._Team.__init__
    monkeypatch.setattr(processes._Team, "__init__", lambda team, *given: (made(team, *given), teams.append(team))[0])

    def on_step(step: ar.Step) -> None:
        if step.target == "xyz" and not killed:
            killed.append(teams[-1]._others[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    killed: list[int] = []
    options = dataclasses.replace(options, threads=2)
    lost = ar.refine(folder / "shaken.pdb", folder / "norm.mtz", options, on_step=on_step)
    assert any("began again with one" in sentence for sentence in lost.report.warnings)
    assert lost.atoms.xyz == pytest.approx(one.atoms.xyz, abs=1e-3)
