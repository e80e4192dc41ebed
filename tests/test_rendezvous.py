"""Minimisations in threads of their own, evaluated together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from synthetic import crystal, random_atoms

from arrayrefine.parameters import Parameters
from arrayrefine.rendezvous import Batch, Evaluated, Rendezvous, one_by_one

ATOMS = random_atoms(crystal("P 1"), n=8)


class Bowl:
    """(k/2) |x|²."""

    def __init__(self, stiffness: float, target: str = "xyz") -> None:
        self.stiffness, self.parameters = stiffness, Parameters.of(ATOMS, target)

    def at(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        return 0.5 * self.stiffness * float(x @ x), self.stiffness * x


def _run(rendezvous: Rendezvous, tasks: Sequence[Callable[[int], None]]) -> list[BaseException | None]:
    """Each task in its own thread; what each raised."""
    raised: list[BaseException | None] = [None] * len(tasks)

    def work(k: int) -> None:
        try:
            tasks[k](k)
        except BaseException as error:
            raised[k] = error
        finally:
            rendezvous.over()

    threads = [threading.Thread(target=work, args=(k,), daemon=True) for k in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
        assert not thread.is_alive(), "a run waits for ever"
    return raised


def _recorded(calls: list[list[int]]) -> Callable[[Sequence[Evaluated]], Batch]:
    def batch(objectives: Sequence[Evaluated]) -> Batch:
        evaluate = one_by_one(objectives)

        def recorded(members: Sequence[int], vectors: Sequence[np.ndarray]) -> list[tuple[float, np.ndarray]]:
            calls.append(list(members))
            return evaluate(members, vectors)

        return recorded

    return batch


def _minimisation(rendezvous: Rendezvous, bowl: Bowl, steps: int, found: dict[int, list[float]], k: int) -> None:
    with rendezvous.join(k, bowl) as place:
        assert place.parameters is bowl.parameters
        for step in range(steps):
            value, gradient = place.at(np.full(3, step + 1.0))
            assert np.array_equal(gradient, bowl.at(np.full(3, step + 1.0))[1])
            found.setdefault(k, []).append(value)


def test_all_that_run_are_evaluated_in_one_call() -> None:
    calls: list[list[int]] = []
    rendezvous, found = Rendezvous(3, _recorded(calls)), {}
    lengths = (2, 4, 1)

    def task(k: int) -> None:
        for _ in range(2):
            _minimisation(rendezvous, Bowl(k + 1.0), lengths[k], found, k)

    assert _run(rendezvous, [task] * 3) == [None] * 3
    assert calls == 2 * [[0, 1, 2], [0, 1], [1], [1]]
    for k, n in enumerate(lengths):
        assert found[k] == 2 * [Bowl(k + 1.0).at(np.full(3, i + 1.0))[0] for i in range(n)]


def test_each_freeze_state_is_a_group_of_its_own() -> None:
    calls: list[list[int]] = []
    rendezvous, found = Rendezvous(3, _recorded(calls)), {}
    tasks = [
        lambda k, target=target: _minimisation(rendezvous, Bowl(1.0, target), 2, found, k)
        for target in ("xyz", "b", "xyz")
    ]
    assert _run(rendezvous, tasks) == [None] * 3
    assert sorted(map(tuple, calls)) == [(0,), (0,), (0, 1), (0, 1)]


def test_a_run_that_is_over_is_not_waited_for() -> None:
    rendezvous, found = Rendezvous(2), {}

    def fails(_: int) -> None:
        raise ValueError("bad input")

    raised = _run(rendezvous, [fails, lambda k: _minimisation(rendezvous, Bowl(1.0), 3, found, k)])
    assert isinstance(raised[0], ValueError)
    assert raised[1] is None
    assert len(found[1]) == 3


def test_a_failed_evaluation_reaches_every_run_of_its_group() -> None:
    class Broken(Bowl):
        def at(self, x: np.ndarray) -> tuple[float, np.ndarray]:
            raise ArithmeticError("no value")

    rendezvous = Rendezvous(2)
    tasks = [lambda k: _minimisation(rendezvous, Broken(1.0), 1, {}, k)] * 2
    for error in _run(rendezvous, tasks):
        with pytest.raises(ArithmeticError, match="no value"):
            raise error or AssertionError
