"""One thread for BLAS while this package computes: its products are small, and its own loops share the cores."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ContextDecorator, contextmanager

from threadpoolctl import threadpool_limits


class _OneThread(ContextDecorator):
    """For the main thread of a process. Others find and leave it as it is: OpenBLAS does not take more from them again,
    and one that left first would change it for the rest."""

    def __init__(self) -> None:
        self._depth = 0
        self._limits: threadpool_limits | None = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            if not self._depth:
                self._limits = threadpool_limits(limits=1, user_api="blas")
            self._depth += 1

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            self._depth -= 1
            if not self._depth and self._limits is not None:
                self._limits.restore_original_limits()


one_blas_thread = _OneThread()


@contextmanager
def one_blas_thread_throughout() -> Iterator[None]:
    """The same for a whole refinement, which other threads of a user's have with one, too."""
    if threading.current_thread() is threading.main_thread():
        with one_blas_thread:
            yield
    else:
        with threadpool_limits(limits=1, user_api="blas"):
            yield
