"""Models that a device evaluates together: as each alone, and how many there are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from arrayrefine.device import batch
from arrayrefine.device.objective import DeviceObjective


def check_as_alone(together: DeviceObjective, alone: Sequence[DeviceObjective], x: np.ndarray) -> np.ndarray:
    """Compare values and gradients at `x` (m, n), bit by bit, with those of each model; returns the values (m,)."""
    value, gradient = together.at_all(x)
    for k, one in enumerate(alone):
        found, slope = one.at(x[k])
        assert found == value[k]
        assert np.array_equal(slope, gradient[k])
    return value


def sizes_of_batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that gets the number of models of every batch that is made from now on."""
    sizes: list[int] = []
    initialise = batch._Together.__init__

    def counted(self: object, shares: list[object], *rest: object) -> None:
        sizes.append(len(shares))
        initialise(self, shares, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(batch._Together, "__init__", counted)
    return sizes
