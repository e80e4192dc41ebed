"""Streams, events, and graphs: what is recorded while a stream is captured runs when the graph is launched."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any


class Graph:
    """Calls in the order of their capture."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Callable[[], Any]]] = []

    def launch(self, stream: Any = None) -> None:
        forbid_synchronisation("launch of another graph")
        for _, function in self.calls:
            function()

    def upload(self, stream: Any = None) -> None:
        pass


_capturing: Stream | None = None
_joined: list[Stream] = []
"""Streams that wait for what is captured, whose work is captured too."""


class _Streams(threading.local):
    """Streams entered by a thread."""

    def __init__(self) -> None:
        self.entered: list[Any] = []


_current = _Streams()


class Stream:
    """Order of execution on the device; everything is done at once here."""

    null: Stream

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False) -> None:
        self.ptr = 0 if null else id(self)
        self.graph: Graph | None = None
        self.calls = self.waited_for = 0  # captured in this stream, and those that the others wait for

    def __enter__(self) -> Stream:
        _current.entered.append(self)
        return self

    def __exit__(self, *exception: object) -> None:
        _current.entered.pop()

    def use(self) -> Stream:
        _current.entered[:] = [self]
        return self

    def begin_capture(self, mode: Any = None) -> None:
        global _capturing
        if self.ptr == 0:
            raise RuntimeError("cudaErrorStreamCaptureUnsupported: the null stream cannot be captured")
        if _capturing is not None:
            raise RuntimeError("another stream is being captured")
        self.graph = Graph()
        _capturing = self
        _joined[:] = [self]

    def end_capture(self) -> Graph:
        if self.graph is None:
            raise RuntimeError("cudaErrorIllegalState: this stream is not being captured")
        unjoined = any(s.calls > s.waited_for for s in _joined if s is not self)
        abandon_capture()
        if unjoined:
            self.graph = None
            raise RuntimeError("cudaErrorStreamCaptureUnjoined: a stream that joined the capture has not come back")
        graph, self.graph = self.graph, None
        return graph

    def is_capturing(self) -> bool:
        return self.graph is not None

    def synchronize(self) -> None:
        forbid_synchronisation("Stream.synchronize")

    def wait_event(self, event: Any) -> None:
        if event.stream not in _joined:
            return
        if self not in _joined:
            self.calls = self.waited_for = 0
            _joined.append(self)
        event.stream.waited_for = max(event.stream.waited_for, event.calls)

    def record(self, event: Any = None) -> Any:
        event = event or Event()
        event.record(self)
        return event

    @property
    def done(self) -> bool:
        return True


Stream.null = Stream(null=True)


class Event:
    """A moment in a stream."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self.time = 0.0
        self.stream: Stream | None = None
        self.calls = 0

    def record(self, stream: Any = None) -> None:
        self.time = time.perf_counter()
        self.stream = stream or current_stream()
        self.calls = self.stream.calls

    def synchronize(self) -> None:
        forbid_synchronisation("Event.synchronize")

    @property
    def done(self) -> bool:
        return True


def current_stream(device_id: int | None = None) -> Stream:
    return _current.entered[-1] if _current.entered else Stream.null


def recording() -> bool:
    """Whether a stream is being captured; work on any other stream is then an error."""
    if _capturing is None:
        return False
    if current_stream() not in _joined:
        raise RuntimeError("work was given to another stream while one is being captured")
    return True


def record(name: str, function: Callable[[], Any]) -> None:
    assert _capturing is not None
    assert _capturing.graph is not None
    current_stream().calls += 1
    _capturing.graph.calls.append((name, function))


def forbid_synchronisation(what: str) -> None:
    """CUDA refuses, while a stream is captured, whatever must wait for the device."""
    if _capturing is not None:
        raise RuntimeError(f"cudaErrorStreamCaptureUnsupported: {what} waits for the device during a capture")


def abandon_capture() -> None:
    global _capturing
    _capturing = None
    _joined.clear()


def abandon() -> None:
    """Forget the state that a failed test left."""
    abandon_capture()
    _current.entered.clear()
