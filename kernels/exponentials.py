"""Gaussians at the points of bricks, and those of the last splat kept for the gather that follows."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.kernels.bricks import Bricks
from arrayrefine.kernels.processes import shared

Array = NDArray[Any]

_FLOOR = {np.dtype(np.float32): -30.0, np.dtype(np.float64): -300.0}
"""Exponents end here. What lies below is worth nothing; it, or products of it, would be denormal numbers: where 2 to
4 % are such, exponentials take 5 to 7 times as long, and the matrix product of a gather 12 to 20 times."""
_LARGEST = 1 << 29
"""Bytes of Gaussians that are kept at most."""


def exponentials(points: Array, left: Array, out: Array) -> Array:
    """exp(pointsᵀ · left), (P, S), of rows that depend on the points (R, P) and on the atoms (R, S)."""
    # Some BLAS builds raise the invalid flag on finite input, from lanes that they do not use.
    with np.errstate(invalid="ignore"):
        np.matmul(points.T, left, out=out)
    np.maximum(out, _FLOOR[out.dtype], out=out)
    return np.exp(out, out=out)


class _Owners(threading.local):
    """Whose Gaussians are in the memory of each name that all `Exponentials` of a thread use."""

    def __init__(self) -> None:
        self.last: dict[str, weakref.ref[Exponentials]] = {}


_owners = _Owners()


def kept_names() -> set[str]:
    """Names of the memory in which somebody has Gaussians in this thread."""
    return {name for name, owner in _owners.last.items() if owner() is not None}


def _nowhere() -> Array | None:
    """Memory of nobody."""
    return None


class Exponentials:
    """The Gaussians of the last splat, for the gather that follows at the same atoms.

    Parameters
    ----------
    name : str
        Of the memory, which those of the same name share.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._made_for: tuple[Bricks, Array, Array] | None = None
        self._memory: Callable[[], Array | None] = _nowhere

    def __getstate__(self) -> dict[str, Any]:
        """They are not worth copying."""
        return {"_name": self._name, "_made_for": None, "_memory": _nowhere}

    def make_room(self, bricks: Bricks, fractional: Array, precision: Array) -> bool:
        """Get ready to keep; False where it would take too much memory."""
        self._made_for = None
        size = math.prod(bricks.width) * len(bricks.atom)
        if size * bricks.dtype.itemsize > _LARGEST:
            return False
        # Weakly, so that one whose memory became too small for another does not keep it.
        self._memory = weakref.ref(shared(self._name, bricks.dtype, size).base)
        self._made_for = bricks, fractional, precision
        _owners.last[self._name] = weakref.ref(self)
        return True

    def hold(self, bricks: Bricks, fractional: Array, precision: Array) -> bool:
        """Whether they are those of these atoms."""
        owner = _owners.last.get(self._name)
        if owner is None or owner() is not self:
            return False
        if self._made_for is None or self._made_for[0] is not bricks:
            return False
        return np.array_equal(self._made_for[1], fractional) and np.array_equal(self._made_for[2], precision)

    def of(self, points: int, here: slice) -> Array:
        """Array (points, S) of some places."""
        memory = self._memory()
        assert memory is not None, "nothing is held"
        return memory[points * here.start : points * here.stop].reshape(points, -1)
