"""Distributions of backbone and side-chain torsions in the Top8000 data set of the Richardson laboratory (CC BY 4.0).

See data/validation/NOTICE.txt for where they come from and what was changed. A percentile p of a point says that the
fraction p of the residues of the data set lies where residues are rarer than there.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

Float = NDArray[np.float64]

FILE = Path(__file__).resolve().parent.parent / "data" / "validation" / "top8000.npz"
_DECADES, _STEPS = 6.0, 254
"""Percentiles from 1e-6 to 1 are stored in as many steps of their logarithm, 0 as 0."""


def encoded(percentile: Float) -> NDArray[np.uint8]:
    """Percentiles 0..1 as bytes; the error is 3 % of the value at most."""
    logarithm = np.log10(np.maximum(percentile, 1e-300))
    step = np.rint((logarithm + _DECADES) / _DECADES * _STEPS) + 1.0
    return np.where(percentile > 0.0, np.clip(step, 1, _STEPS + 1), 0).astype(np.uint8)


def decoded(code: NDArray[np.uint8]) -> Float:
    """Percentiles 0..1 from bytes."""
    value = 10.0 ** ((code.astype(float) - 1.0) / _STEPS * _DECADES - _DECADES)
    return np.where(code > 0, value, 0.0)


@cache
def tables() -> dict[str, NDArray[Any]]:
    """All arrays of the file by name: "ramachandran/general", "rotamer/LEU", "mean/LEU" and so on."""
    with np.load(FILE) as archive:
        return {name: archive[name] for name in archive.files}


@cache
def percentiles(name: str) -> Float:
    """One grid of percentiles, read-only."""
    grid = decoded(tables()[name])
    grid.setflags(write=False)
    return grid


def interpolated(grid: Float, angles: Float, start: float, periods: Float) -> Float:
    """Percentiles (n,) at some torsions, linear between the centres of the cells of a periodic grid.

    Parameters
    ----------
    grid : (n1, ..., nk) float64
    angles : (n, k) float64, degrees
    start : float
        Lower end of every axis, degrees.
    periods : (k,) float64
        Lengths of the axes, degrees.
    """
    place = (angles - start) / periods * np.array(grid.shape) - 0.5
    found: Float = scipy.ndimage.map_coordinates(grid, place.T, order=1, mode="grid-wrap")
    return found
