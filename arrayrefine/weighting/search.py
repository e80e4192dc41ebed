"""Weights chosen between trials: `--weights search`.

A few factors on the weights of the restraints are tried for one cycle each, from the same model. The choice looks at
the test set: of the trials whose -log p of the test set is the lowest, or not distinguishably higher, the one with the
smallest gap between R-free and R-work wins. Its model and its factors are kept.
"""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from arrayrefine.device.batch import together
from arrayrefine.options import Options
from arrayrefine.problem import Problem
from arrayrefine.rendezvous import Rendezvous
from arrayrefine.state import State
from arrayrefine.weights import Steering

FACTORS = tuple((geometry, adp) for geometry in (1.0, 0.5, 2.0) for adp in (1.0, 0.5, 2.0))
"""On the weights of geometry and ADP."""
BAND = (0.3, 1.0)
"""Bond RMSZ that trials, and everything after them, may have: the choice is not to be steered away."""

Trial = TypeVar("Trial")


def loosened(problem: Problem) -> Problem:
    """The same problem with the band of the bond RMSZ widened to what a choice may come to."""
    weighting = problem.options.weighting
    band = dataclasses.replace(
        weighting, rmsz_low=min(BAND[0], weighting.rmsz_low), rmsz_high=max(BAND[1], weighting.rmsz_high)
    )
    options: Options = dataclasses.replace(problem.options, weighting=band)
    return dataclasses.replace(problem, options=options)


def scaled(steering: Steering, geometry: float, adp: float) -> Steering:
    """Steering with further factors."""
    return Steering(steering.geometry * geometry, steering.adp * adp)


def side_by_side(problem: Problem, works: Sequence[Callable[[Problem], Trial]]) -> list[Trial]:
    """Do trials that start from one model: on a device evaluated together, with NumPy one after another.

    On a device every trial has a thread, and its own copy of what remembers where atoms were.
    """
    if problem.device.kind == "cpu" or problem.meet is not None:
        return [work(problem) for work in works]
    rendezvous = Rendezvous(len(works), together)
    results: dict[int, Trial] = {}
    failures: list[BaseException] = []

    def run(number: int, work: Callable[[Problem], Trial], own: Problem) -> None:
        try:
            results[number] = work(own)
        except BaseException as error:
            failures.append(error)
        finally:
            rendezvous.over()

    threads = [
        threading.Thread(target=run, args=(k, work, _copy(problem, rendezvous, k)), name=f"trial {k}")
        for k, work in enumerate(works)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [results[k] for k in range(len(works))]


def _copy(problem: Problem, rendezvous: Rendezvous, number: int) -> Problem:
    """A problem that shares nothing that changes."""
    contacts = problem.geometry.contacts
    if contacts is not None:
        contacts = dataclasses.replace(contacts, _list=[], _occupancy=[], _candidates=[])
    timer: dict[str, float] = {}
    return dataclasses.replace(
        problem, geometry=dataclasses.replace(problem.geometry, contacts=contacts, timer=timer),
        adp=dataclasses.replace(problem.adp, timer=timer, curvatures=[]), timer=timer, counts={},
        meet=partial(rendezvous.join, number), _on_device=[], _plans={},
    )  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """Which trial was taken, and the numbers of all of them.

    Attributes
    ----------
    taken : int
    rows : tuple of dict
        Of each trial: factors, -log p per test reflection, R-free, gap, RMSZ; JSON-ready.
    """

    taken: int
    rows: tuple[dict[str, Any], ...]

    def sentence(self) -> str:
        """The numbers, for the log."""
        parts = [
            f"{row['geometry']:g}/{row['adp']:g}: {row['nll_free']:.4f}, {row['r_free']:.4f}, {row['gap']:.4f}, "
            f"{row['bond_rmsz'] or 0.0:.2f}"
            for row in self.rows
        ]
        best = self.rows[self.taken]
        return (
            "weights chosen by the test set, factors of geometry/ADP: -log p per test reflection, R-free, R-free − "
            f"R-work, bond RMSZ: {'; '.join(parts)}; taken: {best['geometry']:g}/{best['adp']:g}"
        )


def choose(problem: Problem, states: Sequence[State]) -> Choice:
    """Choose between the ends of trials of `FACTORS`, in their order.

    A trial whose geometry is out of `BAND`, or further out than that of the first, is not taken.
    """
    rows: list[dict[str, Any]] = []
    values = []
    for (geometry, adp), state in zip(FACTORS, states):
        now = state.statistics
        values.append(state.free_values)
        rows.append(
            {
                "geometry": geometry, "adp": adp, "nll_free": float(values[-1].mean()), "r_work": now.r_work,
                "r_free": now.r_free, "gap": (now.r_free or 0.0) - now.r_work, "bond_rmsz": now.bond_rmsz,
                "angle_rmsz": now.angle_rmsz,
            }
        )  # fmt: skip
    limits = _limits(problem, states[0])
    fit = [k for k, state in enumerate(states) if k == 0 or _within(state, limits)]
    best = min(fit, key=lambda k: rows[k]["nll_free"])
    alike = [k for k in fit if _no_worse(values[k] - values[best])]
    return Choice(min(alike, key=lambda k: rows[k]["gap"]), tuple(rows))


def _limits(problem: Problem, first: State) -> tuple[float, float]:
    bond, angle = first.core_rmsz
    return max(BAND[1], bond or 0.0), max(problem.options.weighting.angle_rmsz_high, angle or 0.0)


def _within(state: State, limits: tuple[float, float]) -> bool:
    bond, angle = state.core_rmsz
    return (bond or 0.0) <= limits[0] and (angle or 0.0) <= limits[1]


def _no_worse(difference: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    """Whether a mean difference is within its standard error."""
    n = len(difference)
    return bool(difference.mean() <= difference.std() / math.sqrt(n)) if n else True
