"""Processes that each do work of their own, and ask the one that forked them for what is the caller's.

The members of a team (`processes.py`) go through one task in step. Those of a crew have tasks that need nothing of each
other, such as refinements from other starts. They are forked, so that all that a task needs is there; what a task calls
of the caller's is a message, answered in the caller's process, and so is what a task has found.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import threading
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from arrayrefine.kernels.channels import LostError, Other, close, forked, received, send
from arrayrefine.kernels.processes import at_most

Ask: TypeAlias = Callable[[Any], Any]
"""Sends a message to the caller's process, and returns its answer."""

_ASKED, _ENDED, _FAILED = "asked", "ended", "failed"
_ANSWERED, _RAISED = "answered", "raised"


class RefusedError(Exception):
    """The caller's process raised an error where it was asked; it has that error itself."""


def crew(
    works: Sequence[Callable[[Ask], None]], answer: Callable[[Any], Any], passed_on: tuple[type[Exception], ...] = (),
    meanwhile: Callable[[], None] = lambda: None,
) -> list[str]:  # fmt: skip
    """Have each of `works` done by a process of its own; each computes with one thread.

    Parameters
    ----------
    works : sequence of callable
        What to do; may use several threads, which ask one at a time.
    answer : callable
        Gives this process's answer to a message, in a thread of this process for each of the others. Where it raises
        an error, whoever has asked gets a `RefusedError`.
    passed_on : tuple of Exception types
        Errors that whoever has asked gets as they are.
    meanwhile : callable, optional
        What this process does once the others have begun.

    Returns
    -------
    list of str
        For each of `works` why its process was lost, or nothing.
    """
    others: list[Other] = []
    reasons = ["" for _ in works]

    def serve(number: int, other: Other) -> None:
        try:
            reasons[number] = _served(other, answer, passed_on)
        except LostError as error:
            reasons[number] = str(error)

    serving: list[threading.Thread] = []
    try:
        for number, work in enumerate(works):
            # Signals are for this process, from the moment that another is there.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:
                others.append(forked(partial(_work, work)))
            except LostError as error:
                reasons[number:] = [str(error)] * (len(works) - number)
                break
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, other in enumerate(others):
            serving.append(threading.Thread(target=serve, args=(number, other), name=f"process {other.pid}"))
            serving[-1].start()
        meanwhile()
        for thread in serving:
            thread.join()
    finally:
        for other in others:
            close(other)
    return reasons


def _served(other: Other, answer: Callable[[Any], Any], passed_on: tuple[type[Exception], ...]) -> str:
    """Answer a process until it ends; why it failed, if it did."""
    while True:
        word, message = received(other)
        if word != _ASKED:
            return str(message)
        try:
            reply = _ANSWERED, answer(message)
        except passed_on as error:
            reply = _RAISED, error
        except BaseException:
            reply = _RAISED, None
        send(other.channel, reply)


def _work(work: Callable[[Ask], None], channel: socket.socket) -> None:
    """The part of another process."""
    gc.freeze()  # what it was forked with is the caller's to clean up, and looking through it would copy it
    gc.enable()  # it lives as long as a refinement
    at_most(1)
    first, turn = Other(os.getppid(), channel), threading.Lock()

    def ask(message: Any) -> Any:
        with turn:
            send(channel, (_ASKED, message))
            word, reply = received(first)
        if word == _RAISED:
            raise RefusedError("the process that this one works for raised an error") if reply is None else reply
        return reply

    try:
        work(ask)
    except BaseException:
        send(channel, (_FAILED, traceback.format_exc()))
    else:
        send(channel, (_ENDED, ""))
