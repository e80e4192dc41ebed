"""Occupancies that atoms share, of one or several models on a CUDA device, refined in memory that is allocated once."""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayrefine.kernels import shares_cuda
from arrayrefine.kernels.vector_cuda import Layout
from arrayrefine.occupancies.groups import LEAST
from arrayrefine.parameters import Parameters

OnDevice = Any
"""An array on the device."""


class SharedOccupancies:
    """Refined occupancies of groups of atoms, of which one or another is there; launches are on the current stream.

    Parameters
    ----------
    parameters : Parameters
        What all models have in common.
    table : Layout
        Of their vector.
    """

    def __init__(self, parameters: Parameters, table: Layout) -> None:
        groups, free = parameters.groups, parameters.free_groups
        place = np.full(len(groups) + 1, -1)
        place[free] = np.arange(len(free))
        row, _ = groups.rows(free)
        self._table = table
        self._plan = shares_cuda.plan(
            table, parameters.slices["occupancy"].start, place[groups.group], row, groups.independent(free),
            parameters.reference.multiplicity, LEAST,
        )  # fmt: skip

    def unpack(self, x: OnDevice, occupancy: OnDevice) -> None:
        """Put what the vectors (M, n) say into occupancies (M, N)."""
        shares_cuda.unpack(self._plan, self._table, x, occupancy)

    def pullback(self, d_occupancy: OnDevice, gradient: OnDevice) -> None:
        """Write the shared occupancies' part of the gradient (M, n)."""
        shares_cuda.pullback(self._plan, self._table, d_occupancy, gradient)
