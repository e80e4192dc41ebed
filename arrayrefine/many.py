"""Several refinements of one crystal at once: other starts, weights or data, evaluated together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from threadpoolctl import threadpool_limits

from arrayrefine.device_batch import together
from arrayrefine.errors import ArrayRefineError, InputError
from arrayrefine.options import Options
from arrayrefine.refine import Result, run
from arrayrefine.rendezvous import Rendezvous
from arrayrefine.report import Step


@dataclass(frozen=True)
class Job:
    """One refinement of several.

    Attributes
    ----------
    model, data : path
        As for `refine`.
    options : Options
    """

    model: str | Path
    data: str | Path
    options: Options = field(default_factory=Options)


def refine_many(
    jobs: Sequence[Job],
    *,
    on_step: Callable[[int, Step], None] | None = None,
    on_message: Callable[[int, str], None] | None = None,
    stop: Callable[[], int | None] | None = None,
) -> tuple[Result | ArrayRefineError, ...]:
    """Run several refinements side by side, each as `refine` would.

    Every refinement has a thread and a minimiser of its own. Those that minimise the same freeze state wait for each
    other at every evaluation, which is then one call for all of them. On a CUDA device that is one set of launches for
    those whose models are alike; the others, and all with NumPy, are evaluated in turn. Results are those of one by
    one.

    Parameters
    ----------
    jobs : sequence of Job
    on_step, on_message : callable, optional
        As for `refine`, with the number of the job before the record or the note; called from the job's thread.
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
        There is no job.
    """
    if not jobs:
        raise InputError("refine_many: the list of jobs is empty; give at least one Job(model, data, options)")
    rendezvous = Rendezvous(len(jobs), together)
    results: dict[int, Result | ArrayRefineError] = {}
    failures: list[BaseException] = []

    def work(number: int, job: Job) -> None:
        try:
            results[number] = run(
                job.model, job.data, job.options,
                partial(on_step, number) if on_step else None, partial(on_message, number) if on_message else None,
                stop, partial(rendezvous.join, number),
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
