"""How well groups of atoms fit the map: real-space correlation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrayrefine.kernels.mask import ball
from arrayrefine.real_space.map_grids import MapGrid

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_BLOCK = 1 << 17
"""Pairs of an atom and a grid point that are looked at together."""
_LEAST = 8
"""Grid points below which there is no correlation to speak of."""


def mask_radius(d_min: float) -> float:
    """Å around an atom that count as its density: 0.75 d_min, but 1.2 to 2.5 Å."""
    return float(np.clip(0.75 * d_min, 1.2, 2.5))


def correlations(one: MapGrid, two: MapGrid, xyz: Float, group: Int, n: int, radius: float) -> Float:
    """Correlation coefficient of two maps over the grid points near the atoms of each group.

    Parameters
    ----------
    one, two : MapGrid
        On the same grid.
    xyz : (N, 3) float64, Å
    group : (N,) int
        0..n-1, or -1 for atoms that do not count.
    n : int
    radius : float
        Å; points this close to an atom of a group belong to it, each once.

    Returns
    -------
    (n,) float64
        nan for groups without atoms, and where a map is flat.
    """
    shape = np.array(one.values.shape)
    step = one.step
    offsets = ball(step, radius + 0.5 * float(np.linalg.norm(step, axis=0).sum()))
    rows = np.flatnonzero(group >= 0)
    rows = rows[np.argsort(group[rows], kind="stable")]
    place = one.crystal.fractional(xyz[rows]) * shape
    sums = np.zeros((6, n))
    edges = np.flatnonzero(np.diff(group[rows], prepend=-1, append=n + 1))
    atoms = max(1, _BLOCK // max(len(offsets), 1))
    start = 0
    while start < len(rows):
        fits = edges[(edges > start) & (edges <= start + atoms)]
        end = int(fits.max()) if len(fits) else int(edges[edges > start].min())
        _add(sums, one, two, place[start:end], group[rows[start:end]], offsets, radius)
        start = end
    count, a, b, aa, bb, ab = sums
    with np.errstate(invalid="ignore", divide="ignore"):
        varied = (count * aa - a * a) * (count * bb - b * b)
        value = (count * ab - a * b) / np.sqrt(varied)
    return np.where((count >= _LEAST) & (varied > 0.0), value, np.nan)


def _add(sums: Float, one: MapGrid, two: MapGrid, place: Float, group: Int, offsets: Int, radius: float) -> None:
    """Add the moments of the points near some atoms (m, 3), in grid units, that are all the atoms of their groups."""
    shape = one.values.shape
    nearest = np.rint(place).astype(np.int64)
    squared = np.zeros((len(place), len(offsets)))
    for there, here in zip((offsets @ one.step.T).T, ((place - nearest) @ one.step.T).T):
        squared += np.square(there - here[:, None])
    atom, which = np.divmod(np.flatnonzero(squared <= radius * radius), len(offsets))
    key = group[atom]
    for axis, length in enumerate(shape):
        key = key * length + (nearest[:, axis].take(atom) + offsets[:, axis].take(which)) % length
    key.sort()  # much faster than np.unique on so many
    member, flat = np.divmod(key[np.diff(key, prepend=-1) > 0], one.values.size)
    a, b = (grid.values.reshape(-1)[flat].astype(float) for grid in (one, two))
    for row, values in enumerate((np.ones(len(a)), a, b, a * a, b * b, a * b)):
        sums[row] += np.bincount(member, values, minlength=sums.shape[1])


def map_levels(grid: MapGrid, xyz: Float, group: Int, n: int) -> Float:
    """Mean value of a map at the atoms of each group (n,), in sigma; nan for groups without atoms."""
    rows = group >= 0
    total = np.bincount(group[rows], grid.at(xyz[rows]), minlength=n)
    count = np.bincount(group[rows], minlength=n)
    level: Float = np.divide(total, count, out=np.full(n, np.nan), where=count > 0)
    return level
