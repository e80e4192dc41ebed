"""How a command is stopped: by a signal, gently at first where there is something to write."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any


@contextlib.contextmanager
def cleaned_up() -> Iterator[None]:
    """Let SIGTERM end what is inside by SystemExit, as Ctrl-C does: new folders and temporary files go with it."""
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


_CAUGHT = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGXCPU") if hasattr(signal, name)
)
"""Of a user, of a system that shuts down, and of batch systems when the time that a job has is nearly over."""


class StopRequest:
    """Catches signals within a `with` block: the first asks for a stop, the second exits at once.

    Those are SIGINT, SIGTERM, SIGUSR1 and SIGXCPU.

    Called, it returns the number of the signal that asked for a stop, or None.

    Parameters
    ----------
    left : str
        What there is in the end, for the message.
    """

    def __init__(self, left: str = "the best model so far is written") -> None:
        self.signal: int | None = None
        self._left = left
        self._previous: dict[int, Any] = {}

    def __call__(self) -> int | None:
        return self.signal

    def __enter__(self) -> StopRequest:
        for number in _CAUGHT:
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise SystemExit(128 + number)
        self.signal = number
        # os.write and not print: the signal may have come in the middle of one
        os.write(2, f"\narrayrefine: stopping; {self._left} (again: exit at once)\n".encode())
