"""Processes that run one function together and share its loops.

Threads share the work of NumPy badly: between operations of a tenth of a millisecond they wait for the interpreter's
lock. Here the members of a team are forked, with all that the function needs, and every member runs the whole function
in step with the others. What is computed outside loops all of them compute; each number of a loop is one member's, and
what it gives goes into memory that they share. Only the first, the process that has forked the others, returns a
result.

So the function must do the same in all of them: what comes from outside (a signal, a user's function) is asked by the
first and `told` to the others, what a loop writes must be made by `shared`, and what changes in a member ends with it.
Results are those of one process to the last bit. Where a member is lost, the first one begins again alone.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import mmap
import os
import pickle
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from arrayrefine.kernels.channels import LostError, Other, Packed, close, forked, lost, received, send, wait

Array = NDArray[Any]
Result = TypeVar("Result")

_MARGIN = 1.25
"""Shared memory is made larger by this factor than was asked for: what is asked for changes as atoms move."""
_TOKENS = 1 << 10
"""Numbers of a loop that are handed out one by one; of a longer loop some at a time. They fit into a pipe of a page."""
_END = 0xFFFF
_TOLD, _GATHERED, _MEMORY = -1, -2, -3
"""What members do together, where a loop says how many numbers it has."""


class _Here(threading.local):
    """The team that runs in this thread, and arrays for when there is none, by name and type."""

    def __init__(self) -> None:
        self.team: _Team | None = None
        self.own: dict[tuple[str, Any], Array] = {}


_here = _Here()
_most = [math.inf]


def at_most(count: int) -> None:
    """Let no task of this process be shared by more processes or threads from now on, whatever is asked for."""
    _most[0] = count


def allowed(count: int) -> int:
    """As many processes or threads as were asked for, or as there may be."""
    return int(min(count, _most[0]))


def possible() -> bool:
    """Whether this system can fork a process that goes on with NumPy: others than Linux have libraries that cannot."""
    return sys.platform == "linux" and hasattr(os, "fork")


def shared(name: str, dtype: Any, *shape: int) -> Array:
    """Uninitialised array, in a team one that all members see; what had the same name before is gone."""
    team, size, key = _here.team, math.prod(shape), (name, np.dtype(dtype))
    known = _here.own if team is None else team.held
    held = known.get(key)
    if held is None or held.size < size:
        length = int(_MARGIN * size) + 1
        held = known[key] = np.empty(length, dtype) if team is None else team.memory(length, key[1])
    return held[:size].reshape(shape)


def idle() -> dict[str, int]:
    """Names and bytes of the arrays that `shared` keeps for this thread, or for its team."""
    found: dict[str, int] = {}
    for (name, _), held in (_here.own if _here.team is None else _here.team.held).items():
        found[name] = found.get(name, 0) + held.nbytes
    return found


def release(names: Collection[str] | None = None) -> None:
    """Let go of the arrays that `shared` keeps for this thread, of these names or all; those of a team stay, as memory
    that all members see is slow to have."""
    for key in [key for key in _here.own if names is None or key[0] in names]:
        del _here.own[key]


def together(work: Callable[[], Result], count: int, again: Callable[[str], Result] | None = None) -> Result:
    """What `work` returns, run by `count` processes, this one included; inside a team, by that.

    Parameters
    ----------
    work : callable
    count : int
    again : callable, optional
        Called with a sentence, instead of `work` once more, where processes could not be had or were lost.
    """
    count = allowed(count)
    if count <= 1 or _here.team is not None or not possible():
        return work()
    try:
        with _Team(work, count) as team:
            result: Result = team.run()
            return result
    except LostError as error:
        reason = f"the processes that shared the work could not be had, or have ended ({error})"
    return work() if again is None else again(reason)


def each(work: Callable[[int], None], count: int) -> bool:
    """Run `work` for 0 … count − 1 by the members of the team, each number by the first that is free; False if there
    is no team."""
    if _here.team is None:
        return False
    _here.team.each(work, count)
    return True


def gathered(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """Results of independent tasks; in a team each is done by one member, the last tasks by a member each."""
    return [task() for task in tasks] if _here.team is None else _here.team.gathered(tasks)


def kept(tasks: Sequence[Callable[[], Result]]) -> list[Result | None]:
    """Results of independent tasks where they were made; in a team that is one member for each, and None in the others.

    For what cannot be sent: it is to be used in as many tasks that are `gathered`, which have the same members.
    """
    return [task() for task in tasks] if _here.team is None else _here.team.kept(tasks)


def told(ask: Callable[[], Result]) -> Result:
    """What `ask` returns; in a team, in the first member."""
    return ask() if _here.team is None else _here.team.told(ask)


def size() -> int:
    """Members of the team that runs in this thread; 1 without a team."""
    return 1 if _here.team is None else _here.team.count


class _Team:
    """Processes that run a function in step; a context, at the end of which all but the first are gone."""

    def __init__(self, work: Callable[[], Any], count: int) -> None:
        self._work, self.count = work, count
        self._number, self._calls = 0, 0
        self._others: list[Other] = []
        self._due = b""
        self._turns: tuple[int, ...] = ()
        self.held: dict[tuple[str, Any], Array] = {}

    def __enter__(self) -> _Team:
        return self

    def __exit__(self, *_: object) -> None:
        for other in self._others:
            close(other)
        for end in self._turns:
            os.close(end)

    def run(self) -> Any:
        """Fork the others, and do the first one's part."""
        with lost():
            self._turns = os.pipe()
        for number in range(1, self.count):
            # Signals are for the first one, from the moment that another is there.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:
                self._others.append(forked(partial(self._serve, number)))
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _here.team = self
        try:
            return self._work()
        finally:
            _here.team = None

    def _serve(self, number: int, channel: socket.socket) -> None:
        """Do the part of another member."""
        for other in self._others:
            other.channel.close()
        self._others = [Other(os.getppid(), channel)]
        self._number = number
        _here.team = self
        self._work()

    @property
    def _first(self) -> Other:
        return self._others[0]

    def _arrive(self, what: int) -> bytes:
        """Say that this member has come to what all do together, and return the word for it, which the others say too.

        Nobody waits before it has said what for, and the first hears all that was said before it waits: members out of
        step are found out, and never wait for one another.
        """
        self._calls += 1
        word = struct.pack("qq", self._calls, what)
        if self._number:
            with lost():
                self._first.channel.sendall(word)
        else:
            self._due += word
        return word

    def _hear(self) -> None:
        """Wait, as the first, until all others have come to where it is."""
        with lost():
            for other in self._others:
                wait(other, self._due)
        self._due = b""

    def _meet(self, count: int = 0) -> None:
        """Wait until all members are here; `count` numbers are then there to be taken."""
        word = self._arrive(count)
        with lost():
            if self._number:
                wait(self._first, word)
                return
            self._hear()
            if count:
                numbers = np.append(np.arange(min(count, _TOKENS)), np.full(self.count, _END)).astype(np.uint16)
                os.write(self._turns[1], numbers.tobytes())
            for other in self._others:
                other.channel.sendall(word)

    def each(self, work: Callable[[int], None], count: int) -> None:
        """See `each`."""
        if count == 0:
            return
        self._meet(count)
        at_once = -(-count // min(count, _TOKENS))
        while (token := struct.unpack("H", os.read(self._turns[0], 2))[0]) != _END:
            for number in range(token * at_once, min(count, (token + 1) * at_once)):
                work(number)
        self._meet()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Do something in which the others take no part, loops and memory included; none of that memory is kept."""
        _here.team = None
        try:
            yield
        finally:
            _here.team = self
            _here.own.clear()

    def told(self, ask: Callable[[], Result]) -> Result:
        """See `told`."""
        word = self._arrive(_TOLD)
        if self._number:
            result: Result = self._passed([self._heard(word)], 0)[0]
            return result
        with self._alone():
            result = ask()
        packed = Packed.of(result)
        self._tell(word, packed.head)
        self._passed([packed], 1)
        return result

    def gathered(self, tasks: Sequence[Callable[[], Result]]) -> list[Result]:
        """See `gathered`."""
        own = self.kept(tasks)
        found: dict[int, Any] = {k: one for k, one in enumerate(own) if self._owner(k, tasks) == self._number}
        packed = Packed.of(found)
        word = self._arrive(_GATHERED)
        if self._number:
            if found:
                send(self._first.channel, packed.head)
            every: list[Packed] = self._heard(word)
        else:
            self._hear()
            every = [packed.head, *(received(other) for other in self._others[: max(len(tasks) - 1, 0)])]
            self._tell(word, every)
        if self._number < len(every):
            every[self._number] = packed
        for others in self._passed(every, self._number + 1 if self._number < len(every) else 0):
            found |= others
        return [found[k] for k in range(len(tasks))]

    def _tell(self, word: bytes, message: object) -> None:
        """Send the others a message, after the word for what it belongs to."""
        for other in self._others:
            with lost():
                other.channel.sendall(word)
            send(other.channel, message)

    def _heard(self, word: bytes) -> Any:
        """What the first sends after this word."""
        with lost():
            wait(self._first, word)
        return received(self._first)

    def _passed(self, every: list[Packed], own: int) -> list[Any]:
        """What was packed, but for the one, counted from 1, that is this member's own; it alone has its buffers yet."""
        sizes = [sum(packed.sizes) for packed in every]
        total = sum(sizes)
        room = shared("passed", np.uint8, total) if total else np.zeros(0, np.uint8)
        start = 0
        if total and own:
            start = sum(sizes[: own - 1])
            for buffer in every[own - 1].buffers:
                view = buffer.raw()
                room[start : start + view.nbytes] = np.frombuffer(view, np.uint8)
                start += view.nbytes
        if total:
            self._meet()
        found, start = [], 0
        for number, packed in enumerate(every, 1):
            if number != own:
                ends = itertools.accumulate(packed.sizes, initial=start)
                pieces = [bytearray(room[one:two]) for one, two in itertools.pairwise(ends)]
                found.append(pickle.loads(packed.body, buffers=pieces))
            start += sizes[number - 1]
        if total:
            self._meet()  # then the memory can be used again
        return found

    def kept(self, tasks: Sequence[Callable[[], Result]]) -> list[Result | None]:
        """See `kept`."""
        with self._alone():
            return [task() if self._owner(k, tasks) == self._number else None for k, task in enumerate(tasks)]

    def _owner(self, number: int, tasks: Sequence[object]) -> int:
        """The member that does a task."""
        return max(number - max(len(tasks) - self.count, 0), 0)

    def memory(self, size: int, dtype: np.dtype[Any]) -> Array:
        """New memory, the same in all members."""
        word = self._arrive(_MEMORY)
        with lost():
            if self._number:
                found, files, _, _ = socket.recv_fds(self._first.channel, len(word), 1, socket.MSG_WAITALL)
                if found != word or not files:
                    raise LostError("the first does something else, or has ended")
                file = files[0]
            else:
                file = os.memfd_create("arrayrefine")
                os.ftruncate(file, size * dtype.itemsize)
                for other in self._others:
                    socket.send_fds(other.channel, [word], [file])
            try:
                return np.frombuffer(mmap.mmap(file, size * dtype.itemsize), dtype)
            finally:
                os.close(file)
