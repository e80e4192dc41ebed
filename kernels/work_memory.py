"""Work arrays that kernels keep from one call to the next, given back where other things need the memory."""

from __future__ import annotations

import ctypes

from arrayrefine.kernels import exponentials, processes

_WORTH = 1 << 26
"""Bytes of work arrays from which they are given back: those of a small model are few, and are soon wanted again."""
_trim = getattr(ctypes.pythonapi, "malloc_trim", None)
"""Of the GNU C library: gives the system what is free in the heap, up to half of it where many arrays come and go."""


def give_back() -> None:
    """Let go of the work arrays of this thread, and of what is free in the heap, before much else is made.

    Gaussians that are kept stay, as the next evaluation wants as many, and the arrays of a team, see
    `processes.release`.
    """
    idle = processes.idle()
    if sum(idle.values()) < _WORTH:
        return
    processes.release(idle.keys() - exponentials.kept_names())
    if _trim is not None:
        _trim(0)
