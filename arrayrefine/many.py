"""Several refinements of one crystal at once: other starts, weights or data, by several processes or together."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from arrayrefine.device.batch import together
from arrayrefine.errors import ArrayRefineError, InputError, StopRefinement
from arrayrefine.further_restraints.tables import TableSource
from arrayrefine.io.in_memory import DataSource, ModelSource
from arrayrefine.kernels.backend import can_fork, share_device
from arrayrefine.kernels.blas import one_blas_thread_throughout
from arrayrefine.kernels.crew import Ask, RefusedError, crew
from arrayrefine.kernels.processes import possible
from arrayrefine.options import Options
from arrayrefine.refine import run
from arrayrefine.rendezvous import Rendezvous
from arrayrefine.report import Step
from arrayrefine.result import Result
from arrayrefine.state import State
from arrayrefine.steering.callbacks import check_callbacks
from arrayrefine.targets.extra import ExtraTarget


@dataclass(frozen=True)
class Job:
    """One refinement of several.

    Attributes
    ----------
    model, data : path or object in memory
        As for `refine`.
    options : Options
    extra : ExtraTarget or sequence of them
        As for `refine`; called from the job's thread, in the caller's process.
    restraint_tables : sequence
        As for `refine`.
    """

    model: ModelSource
    data: DataSource
    options: Options = field(default_factory=Options)
    extra: ExtraTarget | Sequence[ExtraTarget] = ()
    restraint_tables: Sequence[TableSource] = ()


@dataclass(frozen=True)
class _Caller:
    """What the caller of `refine_many` is asked; None where there is nothing to ask."""

    on_step: Callable[[int, Step], object] | None
    on_state: Callable[[int, Step, State], object] | None
    on_message: Callable[[int, str], object] | None
    stop: Callable[[], int | None] | None

    def through(self, ask: Ask) -> _Caller:
        """The same, for a process that has to ask the caller's."""

        def of(name: str) -> Any:
            return None if getattr(self, name) is None else lambda *given: ask((name, given))

        return _Caller(of("on_step"), of("on_state"), of("on_message"), of("stop"))


class _OfCallerError(Exception):
    """A callback has raised an error of arrayrefine, which is not that of the job: its cause."""


def _apart(callback: Callable[..., Any]) -> Callable[..., Any]:
    """The callback, whose errors are not taken for those of the job that has called it."""

    def call(*given: object) -> Any:
        try:
            return callback(*given)
        except ArrayRefineError as error:
            raise _OfCallerError from error

    return call


class _Ended:
    """What came of the jobs, by their number, and errors that are nobody's fault but the program's or the caller's."""

    def __init__(self) -> None:
        self.results: dict[int, Result | ArrayRefineError] = {}
        self.failures: list[BaseException] = []

    def add(self, number: int, result: Result | ArrayRefineError) -> None:
        """A job has ended."""
        self.results[number] = result


class _EndedElsewhere(_Ended):
    """The same in a process that works for another, which gets each result as it comes."""

    def __init__(self, ask: Ask) -> None:
        super().__init__()
        self._ask = ask

    def add(self, number: int, result: Result | ArrayRefineError) -> None:
        """A job has ended."""
        self._ask(("result", (number, result)))


def refine_many(
    jobs: Iterable[Job],
    *,
    on_step: Callable[[int, Step], object] | None = None,
    on_state: Callable[[int, Step, State], object] | None = None,
    on_message: Callable[[int, str], object] | None = None,
    stop: Callable[[], int | None] | None = None,
) -> tuple[Result | ArrayRefineError, ...]:
    """Run several refinements side by side, each as `refine` would.

    As many processes share them as the largest `Options.threads` among them says, on Linux: most of the work is the
    host's, even where a device evaluates. Jobs with targets of the user stay in this process, and all do where a CUDA
    device may be used that this process has used already, which no process that is forked could then use.

    Within a process every refinement has a thread and a minimiser of its own. Those that minimise the same freeze state
    wait for each other at every evaluation. On a CUDA device it is then one set of launches for all models that share
    crystal, reflections and topology, as many as the memory holds; with NumPy they are evaluated in turn. Results are
    those of one by one: with NumPy to the last bit, on a device within the accuracy of F, as models share a grid there.

    Parameters
    ----------
    jobs : iterable of Job
    on_step, on_state, on_message : callable, optional
        As for `refine`, with the number of the job before all else; called in this process, from the job's thread or
        one that stands for it. What ends a run ends that job alone.
    stop : callable, optional
        As for `refine`; ends every job with its best model so far.

    Returns
    -------
    tuple
        For each job its `Result`, or the error because of which there is none: a job with bad input does not take the
        others with it.

    Raises
    ------
    InputError
        There is no job, or something else is among them, or a callback cannot be called. What a callback raises itself
        comes out, too.
    """
    check_callbacks(on_step=on_step, on_state=on_state, on_message=on_message, stop=stop)
    jobs = _checked(jobs)
    caller, ended = _Caller(on_step, on_state, on_message, stop), _Ended()
    numbered = dict(enumerate(jobs))
    apart = {number: job for number, job in numbered.items() if not job.extra}
    count = _processes(jobs, apart, on_message)
    if count > 1:
        rest = {number: job for number, job in numbered.items() if job.extra}
        rest |= _by_processes(apart, count, caller, ended, meanwhile=partial(_side_by_side, rest, caller, ended))
        numbered = {number: job for number, job in rest.items() if number not in ended.results}
    if numbered and not ended.failures:
        _side_by_side(numbered, caller, ended)
    if ended.failures:
        raise ended.failures[0]
    return tuple(ended.results[number] for number in range(len(jobs)))


def _checked(jobs: Iterable[Job]) -> tuple[Job, ...]:
    """The jobs, of which there is one at least."""
    if isinstance(jobs, Job):
        raise InputError("refine_many: found one Job; expected a list of them, or arrayrefine.refine for one")
    try:
        jobs = tuple(jobs)  # it is gone through more than once, and may be a generator
    except TypeError:
        raise InputError(f"refine_many: found a {type(jobs).__name__}; expected a list of Job(model, data)") from None
    if not jobs:
        raise InputError("refine_many: the list of jobs is empty; give at least one Job(model, data, options)")
    other = next((job for job in jobs if not isinstance(job, Job)), None)
    if other is not None:
        raise InputError(f"refine_many: found a {type(other).__name__}; expected Job(model, data, options)")
    return jobs


def _processes(
    jobs: Sequence[Job], apart: Mapping[int, Job], on_message: Callable[[int, str], object] | None
) -> int:
    """How many processes share the jobs that need not stay in this one, `apart`; a remark where CUDA is why it is one.
    """
    counts = [job.options.threads for job in jobs if isinstance(job.options, Options)]  # each run checks its own
    most = max((count for count in counts if isinstance(count, int)), default=1)
    count = min(len(apart), most)
    if count <= 1 or not possible():
        return 1
    if not can_fork() and any(getattr(job.options, "device", "cpu") != "cpu" for job in apart.values()):
        if on_message:
            on_message(
                min(apart),
                "one process does all refinements: it has used CUDA before, which no other one could use then; start "
                "them in a process of their own, or with the device 'cpu'",
            )
        return 1
    return count


def _side_by_side(jobs: Mapping[int, Job], caller: _Caller, ended: _Ended) -> None:
    """Run jobs in threads of this process."""
    rendezvous = Rendezvous(len(jobs), together)
    interrupted, over = threading.Event(), [threading.Event() for _ in jobs]

    def stop() -> int | None:
        if interrupted.is_set():
            return signal.SIGINT
        return None if caller.stop is None else _apart(caller.stop)()

    def work(place: int, number: int, job: Job) -> None:
        try:
            try:
                result: Result | ArrayRefineError = run(
                    job.model, job.data, job.options,
                    partial(_apart(caller.on_step), number) if caller.on_step else None,
                    partial(_apart(caller.on_message), number) if caller.on_message else None,
                    stop, partial(rendezvous.join, place),
                    partial(_apart(caller.on_state), number) if caller.on_state else None,
                    job.extra, job.restraint_tables,
                )  # fmt: skip
            except ArrayRefineError as error:
                result = error
            ended.add(number, result)
        except BaseException as error:
            ended.failures.append(error.__cause__ or error if isinstance(error, _OfCallerError) else error)
        finally:
            rendezvous.over()
            over[place].set()

    threads = [
        threading.Thread(target=work, args=(place, number, job), name=f"job {number}")
        for place, (number, job) in enumerate(jobs.items())
    ]
    with one_blas_thread_throughout():
        try:
            for thread in threads:
                thread.start()
            for one in over:  # Ctrl-C in the middle of a join would make Python take the thread for ended
                one.wait()
        except BaseException:  # it comes to this thread alone; the others would go on for nobody
            interrupted.set()
            for thread, one in zip(threads, over):
                if thread.ident is not None:
                    one.wait()
            raise
        for thread in threads:
            thread.join()


def _by_processes(
    jobs: Mapping[int, Job], count: int, caller: _Caller, ended: _Ended, meanwhile: Callable[[], None]
) -> dict[int, Job]:
    """Run jobs in processes of their own; those of processes that were lost are left over."""
    numbers = list(jobs)
    shares = [{number: jobs[number] for number in numbers[first::count]} for first in range(count)]

    def work(share: Mapping[int, Job], ask: Ask) -> None:
        share_device(len(shares))
        own = _EndedElsewhere(ask)
        _side_by_side(share, caller.through(ask), own)
        for failure in own.failures:
            if not isinstance(failure, RefusedError):
                raise failure

    def answer(message: tuple[str, tuple[Any, ...]]) -> object:
        name, given = message
        if name == "result":
            ended.add(*given)
            return None
        try:
            found = getattr(caller, name)(*given)
        except StopRefinement:
            raise
        except BaseException as error:
            ended.failures.append(error)
            raise
        if name == "stop":
            return None if found is None else True  # whatever else it is says the same, and need not be sent
        # Only a true True, as in `Listeners`; what else a callback happens to return may be nothing that can be sent.
        return bool(found) if isinstance(found, (bool, np.bool_)) else None

    reasons = crew([partial(work, share) for share in shares], answer, (StopRefinement,), meanwhile)
    left: dict[int, Job] = {}
    for share, reason in zip(shares, reasons):
        lost = {number: job for number, job in share.items() if number not in ended.results}
        if lost and caller.on_message and not ended.failures:
            why = reason.strip().splitlines()[-1] if reason else "it says nothing"
            caller.on_message(
                min(lost), f"a process could not be had, or has ended ({why}): what it was to refine begins again in "
                "this one. Where memory is short, use fewer (--threads)",
            )  # fmt: skip
        left |= lost
    return left
