"""Processes that have been forked, and what is sent between them."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import pickle
import signal
import socket
import struct
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

_SMALL, _ROOM = 1 << 12, 1 << 25
"""Bytes of an array below which it is sent as it is, and most that those of one member take in shared memory."""
_PR_SET_PDEATHSIG = 1


class LostError(Exception):
    """A member has ended, or does something else than the first."""


class Other(NamedTuple):
    """Another process, and the channel to it."""

    pid: int
    channel: socket.socket


class Packed(NamedTuple):
    """An object as bytes, without its larger arrays: those go through memory that all members see."""

    body: bytes
    sizes: tuple[int, ...]
    buffers: tuple[pickle.PickleBuffer, ...] = ()

    @classmethod
    def of(cls, something: object) -> Packed:
        buffers: list[pickle.PickleBuffer] = []
        room = _ROOM

        def stays(buffer: pickle.PickleBuffer) -> bool:
            nonlocal room
            size = buffer.raw().nbytes
            if size < _SMALL or size > room:
                return True
            room -= size
            buffers.append(buffer)
            return False

        body = pickle.dumps(something, protocol=pickle.HIGHEST_PROTOCOL, buffer_callback=stays)
        return cls(body, tuple(buffer.raw().nbytes for buffer in buffers), tuple(buffers))

    @property
    def head(self) -> Packed:
        """Without the arrays."""
        return self._replace(buffers=())


@contextlib.contextmanager
def lost() -> Iterator[None]:
    """What the system refuses to a team is its loss, not an error of the work."""
    try:
        yield
    except OSError as error:
        raise LostError(str(error)) from error


def forked(work: Callable[[socket.socket], None]) -> Other:
    """A process that does `work` with its end of a channel, and ends."""
    with lost():
        ours, theirs = socket.socketpair()
        for channel in (ours, theirs):
            channel.settimeout(None)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that there are other threads: they hold nothing that is used here
                pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
    if pid == 0:
        try:
            _be_quiet()
            ours.close()
            work(theirs)
        finally:
            os._exit(0)
    theirs.close()
    return Other(pid, ours)


def _be_quiet() -> None:
    """Make of this process one that works for another: it says nothing, and ends with the thread that forked it."""
    gc.disable()
    warnings.simplefilter("ignore")
    with contextlib.suppress(OSError, AttributeError):  # then it ends when it finds its channel closed
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def close(other: Other) -> None:
    """End a process that `forked` has made."""
    other.channel.close()
    with contextlib.suppress(ProcessLookupError, ChildProcessError):  # somebody else may wait for all children
        os.kill(other.pid, signal.SIGKILL)
        os.waitpid(other.pid, 0)


def _read(other: Other, size: int) -> bytearray:
    """As many bytes of another process, fewer where it has ended; whatever signals come meanwhile."""
    found = bytearray(size)
    view = memoryview(found)
    while view and (count := other.channel.recv_into(view)):
        view = view[count:]
    return found[: size - len(view)]


def wait(other: Other, word: bytes) -> None:
    """Wait for a word of another process."""
    found = _read(other, len(word))
    if found != word:
        raise LostError(f"process {other.pid} {'does something else' if len(found) == len(word) else 'has ended'}")


def send(channel: socket.socket, answer: object) -> None:
    """Send an object after its length."""
    body = pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL)
    with lost():
        channel.sendall(struct.pack("q", len(body)) + body)


def received(other: Other) -> Any:
    """The object that another process sends."""
    with lost():
        head = _read(other, 8)
        size = struct.unpack("q", head)[0] if len(head) == 8 else 0
        body = _read(other, size)
    if len(head) < 8 or len(body) < size:
        raise LostError(f"process {other.pid} has ended")
    return pickle.loads(body)
