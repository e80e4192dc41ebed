"""BLAS has one thread while pieces compute, and then as many as before."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import arrayrefine as ar
from arrayrefine.example import DATA, MODEL
from arrayrefine.kernels.blas import one_blas_thread, one_blas_thread_throughout


def most() -> int:
    return max(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")


def test_it_is_left_as_it_was() -> None:
    elsewhere: list[int] = []

    def work() -> None:
        with one_blas_thread:
            elsewhere.append(most())

    with threadpool_limits(limits=3, user_api="blas"):
        before = most()
        with one_blas_thread:
            assert most() == 1
            with one_blas_thread:
                pass
            other = threading.Thread(target=work)
            other.start()
            other.join()
            assert most() == 1
        assert most() == before
        with pytest.raises(KeyError), one_blas_thread:
            raise KeyError
        assert most() == before
    assert elsewhere == [1]


def test_throughout_is_for_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    @contextmanager
    def spy(limits: int, user_api: str) -> Iterator[None]:
        asked.append(f"{limits} {user_api}")
        yield

    def work() -> None:
        with one_blas_thread_throughout():
            asked.append(threading.current_thread().name)

    with threadpool_limits(limits=3, user_api="blas"):
        before = most()
        with one_blas_thread_throughout():
            assert most() == 1
        assert most() == before
    monkeypatch.setattr("arrayrefine.kernels.blas.threadpool_limits", spy)
    other = threading.Thread(target=work, name="other")
    other.start()
    other.join()
    assert asked == ["1 blas", "other"]


def test_targets_are_called_with_one_thread() -> None:
    seen: list[int] = []

    def spy(atoms: ar.Atoms) -> tuple[float, ar.Gradient]:
        seen.append(most())
        return 0.0, ar.Gradient.zeros(len(atoms))

    with threadpool_limits(limits=3, user_api="blas"):
        _, problem, atoms, _ = ar.prepare(
            MODEL, DATA, ar.Options(d_min=6.0, hydrogens="strip"), extra=[ar.ExtraTarget("spy", spy)]
        )
        state = ar.evaluate(problem, atoms)
        free = ar.Parameters.frozen(state.atoms).unfreeze("xyz", "1-5")
        ar.minimise_step(problem, state, free, ar.find_weights(problem, state, free))
    assert set(seen) == {1}
