"""How far the R-free of a small test set can be trusted."""

from __future__ import annotations

import math

from arrayrefine.reflections import Reflections
from arrayrefine.report import Statistics
from arrayrefine.wording import Caution, counted

FEW = 200
"""Test reflections with which R-free is good to 5 % of itself; the uncertainty of fewer is said."""


def uncertainty(r_free: float, count: int) -> float:
    """Standard uncertainty of R-free, R-free/√(2N): Tickle, Laskowski & Moss (2000) Acta Cryst. D56, 442-450."""
    return r_free / math.sqrt(2.0 * count)


def doubt(reflections: Reflections, r_free: float) -> float:
    """Standard uncertainty of the R-free of a small test set, else 0."""
    count = int(reflections.free.sum())
    return uncertainty(r_free, count) if 0 < count < FEW else 0.0


def sentences(reflections: Reflections, end: Statistics) -> list[str]:
    """Say how uncertain R-free is where the test set is small."""
    count = int(reflections.free.sum())
    if end.r_free is None or count >= FEW:
        return []
    off = uncertainty(end.r_free, count)
    return [Caution(
        f"R-free is of {counted(count, 'reflection')} and uncertain by {off:.2g} (R-free/√(2N)): a difference of less "
        f"than {2.0 * off:.2g} means nothing. A test set of {FEW} or more would tell better, and so does R of all "
        "reflections, each left out of one refinement (arrayrefine crossvalidate)"
    )]
