"""Where minimisations that run in threads of their own meet, to have their objectives evaluated in one call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms

Float: TypeAlias = NDArray[np.float64]


class FreeValues(Protocol):
    """What a minimisation needs to know of the values it changes."""

    @property
    def size(self) -> int:
        """Length of the vector."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal for what is free in the same way."""
        ...

    def unpack(self, x: Float) -> Atoms:
        """Atoms at the vector `x`."""
        ...


class Evaluated(Protocol):
    """An objective as a minimisation sees it."""

    @property
    def parameters(self) -> FreeValues:
        """What is free."""
        ...

    def at(self, x: Float) -> tuple[float, Float]:
        """Value, and gradient by the free parameters, at the vector `x`."""
        ...


Batch: TypeAlias = Callable[[Sequence[int], Sequence[Float]], list[tuple[float, Float]]]
"""Evaluates members of a group, given by their numbers, at their vectors."""


def one_by_one(objectives: Sequence[Evaluated]) -> Batch:
    """Evaluate each objective in its turn."""
    return lambda members, vectors: [objectives[k].at(x) for k, x in zip(members, vectors)]


class _Group:
    """Minimisations that go on in step: all that have not ended wait for each other at every evaluation."""

    def __init__(self, objectives: Sequence[Evaluated], batch: Callable[[Sequence[Evaluated]], Batch]) -> None:
        self._met = threading.Condition()
        self._objectives, self._batch = objectives, batch
        self._evaluate: Batch | None = None
        self._running = set(range(len(objectives)))
        self._asked: dict[int, Float] = {}
        self._answers: dict[int, tuple[float, Float] | BaseException] = {}

    def at(self, member: int, x: Float) -> tuple[float, Float]:
        with self._met:
            self._asked[member] = x
            self._answer()
            self._met.wait_for(lambda: member in self._answers)
            answer = self._answers.pop(member)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def leave(self, member: int) -> None:
        with self._met:
            self._running.discard(member)
            self._answer()

    def _answer(self) -> None:
        """Evaluate, once the last of those that run has asked."""
        if not self._asked or set(self._asked) != self._running:
            return
        members = sorted(self._asked)
        try:
            if self._evaluate is None:
                self._evaluate = self._batch(self._objectives)
            found: list[tuple[float, Float] | BaseException] = list(
                self._evaluate(members, [self._asked[k] for k in members])
            )
        except BaseException as error:
            found = [error] * len(members)
        self._answers.update(zip(members, found))
        self._asked.clear()
        self._met.notify_all()


class Place:
    """One minimisation's place in a group; takes the part of its objective, and is left by `with`."""

    def __init__(self, group: _Group, member: int, objective: Evaluated) -> None:
        self._group, self._member = group, member
        self.parameters = objective.parameters

    def at(self, x: Float) -> tuple[float, Float]:
        """Value, and gradient by the free parameters, at the vector `x`; waits for the others."""
        return self._group.at(self._member, x)

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self._group.leave(self._member)


class Rendezvous:
    """Groups the minimisations of K runs: when all that are not over have one to do, those of one freeze state join.

    Parameters
    ----------
    runs : int
    batch : callable, optional
        Makes the evaluation of a group from its objectives; `one_by_one` by default.
    """

    def __init__(self, runs: int, batch: Callable[[Sequence[Evaluated]], Batch] = one_by_one) -> None:
        self._met = threading.Condition()
        self._runs, self._batch = runs, batch
        self._entering: dict[int, Evaluated] = {}
        self._places: dict[int, Place] = {}

    def join(self, run: int, objective: Evaluated) -> Place:
        """Wait until every other run has a minimisation to do or is over; returns the place in the group."""
        with self._met:
            self._entering[run] = objective
            self._form()
            self._met.wait_for(lambda: run in self._places)
            return self._places.pop(run)

    def over(self) -> None:
        """A run has ended, for whatever reason."""
        with self._met:
            self._runs -= 1
            self._form()

    def _form(self) -> None:
        if not self._entering or len(self._entering) < self._runs:
            return
        kinds: dict[str, list[int]] = {}
        for run in sorted(self._entering):
            kinds.setdefault(self._entering[run].parameters.fingerprint, []).append(run)
        for members in kinds.values():
            objectives = [self._entering[run] for run in members]
            group = _Group(objectives, self._batch)
            for number, run in enumerate(members):
                self._places[run] = Place(group, number, objectives[number])
        self._entering.clear()
        self._met.notify_all()
