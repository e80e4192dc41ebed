"""Flat bulk-solvent mask: what is left of the cell when the spheres of all atoms are taken out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.kernels import processes
from arrayrefine.kernels.backend import array_module
from arrayrefine.kernels.threads import each, pieces

Array = NDArray[Any]

_BLOCK = 1 << 15
"""Grid columns handled at a time; keeps the work arrays of a block in the cache."""

_SLABS = 32
"""Parts of the grid, about so many along its first axis, that are worked on one by one."""


def all_mates(fractional: Array, rotations: Array, translations: Array) -> Array:
    """Positions (G·N, 3) of N atoms under G operators, operator by operator, moved into the cell 0 <= x <
    1.
    """
    mates = np.einsum("gij,nj->gni", np.asarray(rotations, dtype=float), fractional)
    mates += np.asarray(translations, dtype=float)[:, None, :]
    mates -= np.floor(mates)
    return np.asarray(mates.reshape(-1, 3))


def solvent_mask(
    fractional: Array,
    radius: Array,
    rotations: Array,
    translations: Array,
    orth: Array,
    shape: tuple[int, int, int],
    shrink: float,
) -> NDArray[np.bool_]:
    """Mask of the bulk solvent in the unit cell (Jiang & Brünger (1994) J. Mol. Biol. 243, 100-115).

    A grid point belongs to the solvent when it lies outside the spheres of all atoms, or within `shrink` of
    such a point: the second step hands back the part of the spheres that no probe-sized ball inside would
    reach.

    Parameters
    ----------
    fractional : (N, 3) float
        Fractional coordinates of the atoms of the asymmetric unit; need not lie inside the cell.
    radius : (N,) float
        Radius of each atom, the probe's included, Å.
    rotations, translations : (G, 3, 3), (G, 3)
        All operators of the group, centring included.
    orth : (3, 3) float
        Fractional to Cartesian, Å.
    shape : tuple of 3 ints
        Grid points along a, b, c.
    shrink : float
        Å.

    Returns
    -------
    (nu, nv, nw) bool
        True in the solvent.
    """
    if array_module(fractional) is not np:
        from arrayrefine.kernels import mask_cuda

        on_device: NDArray[np.bool_] = mask_cuda.solvent_mask(
            fractional, radius, rotations, translations, orth, shape, shrink
        )
        return on_device
    step = np.asarray(orth, dtype=float) / np.asarray(shape)
    mates = all_mates(fractional, rotations, translations) * np.asarray(shape)
    outside = ~_spheres(mates, np.tile(radius, len(rotations)), step, shape)
    # Larger than all that the density needs, and idle for a whole step.
    processes.release(["ends", "inside"])
    found = dilate(outside, step, shrink)
    processes.release(["dilated"])
    return found


def _spheres(position: Array, radius: Array, step: Array, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Points inside any sphere; `position` (M, 3) in grid units, within the cell.

    A sphere cuts each grid column along c in one run, so only the two ends of the run are written, +1 and
    -1, and a cumulative sum fills it: an order of magnitude fewer writes than points.
    """
    if len(position) == 0:
        return np.zeros(shape, dtype=np.bool_)
    reach = float(radius.max()) * np.linalg.norm(np.linalg.inv(step), axis=1)
    pad = np.ceil(reach).astype(int) + 2
    padded = np.asarray(shape) + 2 * pad
    parts = processes.size()  # who marks at the same time does so on a grid of his own
    ends = processes.shared("ends", np.int16, parts, *padded)
    inside: Array = processes.shared("inside", np.bool_, *padded)
    slabs = pieces(int(padded[0]), int(padded[0]) // _SLABS)

    def mark(part: int) -> None:
        ends[part] = 0
        for r in np.unique(radius):
            _mark_runs(ends[part].reshape(-1), position[radius == r][part::parts] + pad, float(r), step, padded)

    def fill(number: int) -> None:
        here = slabs[number]
        whole = ends[0, here] if parts == 1 else ends[:, here].sum(axis=0, dtype=np.int16)
        inside[here] = np.cumsum(whole, axis=2, dtype=np.int16) != 0

    each(mark, parts, 1)
    each(fill, len(slabs), 1)
    for axis in range(3):
        inside = _wrap(inside, axis, shape[axis], int(pad[axis]))
    return np.asarray(inside)


def shadow(step: Array) -> tuple[float, Array, Array]:
    """How a sphere of radius r around the origin is cut by the columns (a, b, ·) of a grid with vectors `step` (3, 3).

    Returns
    -------
    third : float
        Squared length of the grid vector along c.
    along : (2,)
        The middle of a column's run lies at −along · (a, b).
    q : (2, 2)
        Half of a run is the root of r²/third − (a, b) q (a, b), all in grid units.
    """
    third = step[:, 2] @ step[:, 2]
    along = step[:, 2] @ step[:, :2] / third
    flat = step[:, :2] - np.outer(step[:, 2], along)
    return float(third), along, flat.T @ flat / third


def _mark_runs(ends: Array, position: Array, radius: float, step: Array, padded: Array) -> None:
    """Add +1 where a run of one of the spheres of `radius` begins and -1 after its end."""
    third, along, q = shadow(step)
    level = radius * radius / third
    inverse = np.linalg.inv(q)
    half = np.floor(np.sqrt(level * np.diag(inverse)) + 0.5).astype(int)
    du, dv = (g.ravel() for g in np.meshgrid(*(np.arange(-n, n + 1) for n in half), indexing="ij"))
    margin = 0.5 * np.sqrt(q[0, 0] + q[1, 1] + 2.0 * abs(q[0, 1]))
    near = np.sqrt(q[0, 0] * du**2 + 2 * q[0, 1] * du * dv + q[1, 1] * dv**2) <= np.sqrt(level) + margin
    du, dv = du[near], dv[near]
    column = (du * padded[1] + dv) * padded[2]
    centre = np.rint(position).astype(np.int64)
    base = (centre[:, 0] * padded[1] + centre[:, 1]) * padded[2] + centre[:, 2]
    offset = position - centre
    block = max(1, _BLOCK // len(du))
    for i in range(0, len(position), block):
        d = offset[i : i + block]
        a = du - d[:, :1]
        b = dv - d[:, 1:2]
        disc = (level - (q[0, 0] * a + 2.0 * q[0, 1] * b) * a - q[1, 1] * (b * b)).reshape(-1)
        cut = np.flatnonzero(disc >= 0.0)
        root = np.sqrt(disc.take(cut))
        middle = (d[:, 2:] - along[0] * a - along[1] * b).reshape(-1).take(cut)
        first = np.ceil(middle - root)
        last = np.floor(middle + root)
        start = (base[i : i + block, None] + column).reshape(-1).take(cut)
        real = last >= first
        start, first, last = start[real], first[real], last[real]
        np.add.at(ends, start + first.astype(np.int64), np.int16(1))
        np.add.at(ends, start + last.astype(np.int64) + 1, np.int16(-1))


def _wrap(inside: NDArray[np.bool_], axis: int, n: int, pad: int) -> NDArray[np.bool_]:
    """Fold the margins of `axis`, `pad` points before the cell and what is behind it, into the period of `n` points."""

    def along(first: int, last: int) -> tuple[slice, ...]:
        return (*(slice(None),) * axis, slice(first, last))

    length = inside.shape[axis]
    folded = np.zeros((*inside.shape[:axis], n, *inside.shape[axis + 1 :]), dtype=np.bool_)
    k, place = 0, -pad % n
    while k < length:
        m = min(length - k, n - place)
        folded[along(place, place + m)] |= inside[along(k, k + m)]
        k, place = k + m, 0
    return folded


def ball(step: Array, distance: float) -> Array:
    """Grid points (P, 3) int within `distance` (Å) of the origin; `step` (3, 3) holds the grid vectors, Å."""
    reach = np.floor(distance * np.linalg.norm(np.linalg.inv(step), axis=1)).astype(int)
    axes = (np.arange(-n, n + 1) for n in reach)
    offsets = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.asarray(offsets[((offsets @ step.T) ** 2).sum(axis=1) <= distance * distance])


def dilate(mask: NDArray[np.bool_], step: Array, distance: float) -> NDArray[np.bool_]:
    """Points of a periodic grid within `distance` (Å) of a True point; `step` (3, 3) holds the grid vectors,
    Å.
    """
    offsets = ball(step, distance)
    reach = offsets.max(axis=0)
    padded = np.pad(mask, [(int(n), int(n)) for n in reach], mode="wrap")
    nu, nv, nw = mask.shape
    out = processes.shared("dilated", np.bool_, nu, nv, nw)
    slabs = pieces(nu, nu // _SLABS)

    def widen(number: int) -> None:
        here = slabs[number]
        part = mask[here].copy()
        for u, v, w in offsets + reach:
            part |= padded[u + here.start : u + here.stop, v : v + nv, w : w + nw]
        out[here] = part

    each(widen, len(slabs), 1)
    return out.copy()
