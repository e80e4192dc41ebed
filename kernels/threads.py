"""Threads that share the parts of a task, and the work arrays that each of them keeps."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.kernels import processes

Array = NDArray[Any]


class _Scratch(threading.local):
    """Work arrays of a thread, used again and again: memory that is touched for the first time is slow."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, Any], Array] = {}

    def __call__(self, name: str, dtype: Any, *shape: int) -> Array:
        """Uninitialised array; the one of the same name that was given before is gone."""
        size = math.prod(shape)
        held = self._held.get((name, dtype))
        if held is None or held.size < size:
            held = self._held[name, dtype] = np.empty(size, dtype)
        return held[:size].reshape(shape)


scratch = _Scratch()


def each(work: Callable[[int], None], count: int, threads: int) -> None:
    """Run `work` for 0 … count − 1, by the members of a team of processes where there is one, or else on several
    threads where that is asked for; the calling thread is one of them."""
    if processes.each(work, count):
        return
    threads = processes.allowed(threads)
    if threads <= 1:
        for number in range(count):
            work(number)
        return
    numbers = iter(range(count))
    turn = threading.Lock()

    def share() -> None:
        while True:
            with turn:
                number = next(numbers, None)
            if number is None:
                return
            work(number)

    others = [_pool(threads).submit(share) for _ in range(min(threads, count) - 1)]
    share()
    for other in others:
        if not other.cancel():  # one that has not begun finds nothing left to do
            other.result()


def pieces(length: int, step: int) -> list[slice]:
    """Parts of an axis, of `step` places each but for the last, for `each` to work on."""
    step = max(step, 1)
    return [slice(first, min(first + step, length)) for first in range(0, length, step)]


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that stay, and keep their work arrays; a forked process has none of them."""
    return ThreadPoolExecutor(threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
