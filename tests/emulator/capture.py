"""Streams, events, and graphs: what is recorded while a stream is captured runs when the graph is launched."""

from __future__ import annotations

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
_current: list[Any] = []


class Stream:
    """Order of execution on the device; everything is done at once here."""

    null: Stream

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False) -> None:
        self.ptr = 0 if null else id(self)
        self.graph: Graph | None = None

    def __enter__(self) -> Stream:
        _current.append(self)
        return self

    def __exit__(self, *exception: object) -> None:
        _current.pop()

    def use(self) -> Stream:
        _current[:] = [self]
        return self

    def begin_capture(self, mode: Any = None) -> None:
        global _capturing
        if self.ptr == 0:
            raise RuntimeError("cudaErrorStreamCaptureUnsupported: the null stream cannot be captured")
        if _capturing is not None:
            raise RuntimeError("another stream is being captured")
        self.graph = Graph()
        _capturing = self

    def end_capture(self) -> Graph:
        global _capturing
        if self.graph is None:
            raise RuntimeError("cudaErrorIllegalState: this stream is not being captured")
        _capturing = None
        graph, self.graph = self.graph, None
        return graph

    def is_capturing(self) -> bool:
        return self.graph is not None

    def synchronize(self) -> None:
        forbid_synchronisation("Stream.synchronize")

    def wait_event(self, event: Any) -> None:
        pass

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

    def record(self, stream: Any = None) -> None:
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        forbid_synchronisation("Event.synchronize")

    @property
    def done(self) -> bool:
        return True


def current_stream(device_id: int | None = None) -> Stream:
    return _current[-1] if _current else Stream.null


def recording() -> bool:
    """Whether a stream is being captured; work on any other stream is then an error."""
    if _capturing is None:
        return False
    if current_stream() is not _capturing:
        raise RuntimeError("work was given to another stream while one is being captured")
    return True


def record(name: str, function: Callable[[], Any]) -> None:
    assert _capturing is not None
    assert _capturing.graph is not None
    _capturing.graph.calls.append((name, function))


def forbid_synchronisation(what: str) -> None:
    """CUDA refuses, while a stream is captured, whatever must wait for the device."""
    if _capturing is not None:
        raise RuntimeError(f"cudaErrorStreamCaptureUnsupported: {what} waits for the device during a capture")


def abandon() -> None:
    """Forget the state that a failed test left."""
    global _capturing
    _capturing = None
    _current.clear()
