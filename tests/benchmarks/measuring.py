"""The least CPU and wall time of a call: for this repository's Python and for those of the peers alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

AT_MOST = 15.0
"""Wall seconds after which no further call is timed."""


class Seconds(NamedTuple):
    """CPU seconds of all threads of the process, and wall seconds."""

    cpu: float
    wall: float


def nothing() -> None:
    """Do nothing: where there is no device to wait for, and nothing to prepare."""


def timed(call: Callable[[], Any], synchronise: Callable[[], Any] = nothing) -> Seconds:
    """Times of one call, until the device has done its part."""
    synchronise()
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    synchronise()
    return Seconds(time.process_time() - cpu, time.perf_counter() - wall)


def least(
    call: Callable[[], Any],
    repeats: int = 5,
    at_least: float = 0.5,
    synchronise: Callable[[], Any] = nothing,
    before: Callable[[], Any] = nothing,
) -> Seconds:
    """Least times of a call, after one that is not counted.

    Parameters
    ----------
    call : callable
    repeats : int
        Calls that are timed at least.
    at_least : float
        Wall seconds for which it goes on, up to twenty times as many calls; after `AT_MOST` it ends anyhow.
    synchronise : callable
        Waits for the device; called within the time of every call.
    before : callable
        Called before every call, outside its time.
    """
    before()
    call()
    found: list[Seconds] = []
    began = time.perf_counter()
    spent = 0.0
    while not found or (spent < AT_MOST and len(found) < (20 * repeats if spent < at_least else repeats)):
        before()
        found.append(timed(call, synchronise))
        spent = time.perf_counter() - began
    return Seconds(min(f.cpu for f in found), min(f.wall for f in found))
