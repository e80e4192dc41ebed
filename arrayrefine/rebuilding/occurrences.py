"""Where values stand in an array, sorted once for many to be looked up."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]


class Occurrences(NamedTuple):
    """Positions of an array in the order of its `values`, which are sorted."""

    position: Int
    values: Int

    @classmethod
    def of(cls, values: Int) -> Occurrences:
        """Those of an array, flattened."""
        flat = np.ravel(values)
        order = np.argsort(flat, kind="stable")
        return cls(order, flat[order])

    def at(self, wanted: Int) -> Int:
        """Positions (m,), ascending, at which one of the `wanted` values (n,) stands."""
        wanted = np.unique(wanted)
        first, last = (np.searchsorted(self.values, wanted, side=side) for side in ("left", "right"))
        ranges = [self.position[one:two] for one, two in zip(first.tolist(), last.tolist())]
        return np.sort(np.concatenate(ranges)) if ranges else self.position[:0]
