"""Several refinements of one crystal at once: other starts, weights or data, evaluated together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from threadpoolctl import threadpool_limits

from arrayrefine.device_batch import together
from arrayrefine.errors import ArrayRefineError, InputError
from arrayrefine.io.in_memory import DataSource, ModelSource
from arrayrefine.options import Options
from arrayrefine.refine import run
from arrayrefine.rendezvous import Rendezvous
from arrayrefine.report import Step
from arrayrefine.restraint_tables import TableSource
from arrayrefine.result import Result
from arrayrefine.state import State
from arrayrefine.targets.extra import ExtraTarget


@dataclass(frozen=True)
class Job:
    """One refinement of several.

    Attributes
    ----------
    model, data : path or object in memory
        As for `refine`.
    options : Options
    extra : sequence of ExtraTarget
        As for `refine`; called from the job's thread.
    restraint_tables : sequence
        As for `refine`.
    """

    model: ModelSource
    data: DataSource
    options: Options = field(default_factory=Options)
    extra: Sequence[ExtraTarget] = ()
    restraint_tables: Sequence[TableSource] = ()


def refine_many(
    jobs: Sequence[Job],
    *,
    on_step: Callable[[int, Step], object] | None = None,
    on_state: Callable[[int, Step, State], object] | None = None,
    on_message: Callable[[int, str], object] | None = None,
    stop: Callable[[], int | None] | None = None,
) -> tuple[Result | ArrayRefineError, ...]:
    """Run several refinements side by side, each as `refine` would.

    Every refinement has a thread and a minimiser of its own. Those that minimise the same freeze state wait for each
    other at every evaluation. On a CUDA device it is then one set of launches for all models that share crystal,
    reflections and topology, as many as the memory holds; with NumPy they are evaluated in turn. Results are those of
    one by one: with NumPy to the last bit, on a device within the accuracy of F, as models share a grid there.

    Parameters
    ----------
    jobs : sequence of Job
    on_step, on_state, on_message : callable, optional
        As for `refine`, with the number of the job before all else; called from the job's thread. What ends a run ends
        that job alone.
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
        There is no job, or something else is among them.
    """
    if not jobs:
        raise InputError("refine_many: the list of jobs is empty; give at least one Job(model, data, options)")
    other = next((job for job in jobs if not isinstance(job, Job)), None)
    if other is not None:
        raise InputError(f"refine_many: found a {type(other).__name__}; expected Job(model, data, options)")
    rendezvous = Rendezvous(len(jobs), together)
    results: dict[int, Result | ArrayRefineError] = {}
    failures: list[BaseException] = []

    def work(number: int, job: Job) -> None:
        try:
            results[number] = run(
                job.model, job.data, job.options,
                partial(on_step, number) if on_step else None, partial(on_message, number) if on_message else None,
                stop, partial(rendezvous.join, number), partial(on_state, number) if on_state else None,
                job.extra, job.restraint_tables,
            )  # fmt: skip
        except ArrayRefineError as error:
            results[number] = error
        except BaseException as error:
            failures.append(error)
        finally:
            rendezvous.over()

    threads = [threading.Thread(target=work, args=pair, name=f"job {pair[0]}") for pair in enumerate(jobs)]
    with threadpool_limits(limits=1, user_api="blas"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    return tuple(results[number] for number in range(len(jobs)))
