"""Atoms to grid, and the adjoint: grid to per-atom moments.

Each atom is one isotropic Gaussian, amplitude · exp(−exponent · r²), put on the grid of its `grid_id`. The exponent of
an (atoms × points) block is a matrix product, because k|c − d|² = −[k d, k|d|², k] · [2c; −1; −|c|²] with d the offset
of the atom from its nearest grid point and c the offsets of the surrounding points, the same list for all atoms of a
radius class. The adjoint needs only the moments Σ M e [1, c, |c|²] over the same points.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_BLOCK = 64
"""Atoms per block: the block's exponentials stay in the second-level cache."""
_RADIUS_STEPS = 0.5
"""Width of a radius class in units of the shortest grid step."""


@lru_cache(maxsize=256)
def _offsets(orth: bytes, shape: tuple[int, int, int], radius: float) -> tuple[Array, Array]:
    """Grid offsets (P, 3) within `radius` (Å) of a grid point, and their Cartesian vectors (P, 3)."""
    step = np.frombuffer(orth).reshape(3, 3) / np.asarray(shape)
    reach = np.floor(radius * np.linalg.norm(np.linalg.inv(step), axis=1)).astype(int)
    axes = [np.arange(-n, n + 1) for n in reach]
    offset = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    cartesian = offset @ step.T
    inside = np.einsum("ij,ij->i", cartesian, cartesian) <= radius * radius
    return offset[inside], cartesian[inside]


def _classes(radius: Array, orth: Array, shape: tuple[int, int, int]) -> tuple[Array, Array]:
    """Radius of every class, and the class of every atom."""
    width = _RADIUS_STEPS * float(np.min(np.linalg.norm(orth / np.asarray(shape), axis=0)))
    number, member = np.unique(np.ceil(radius / width).astype(int), return_inverse=True)
    return number * width, member.reshape(-1)


def _pad(radius: float, orth: Array, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Points that a sphere of `radius` reaches beyond its centre along each axis."""
    reach = np.floor(radius * np.linalg.norm(np.linalg.inv(orth / np.asarray(shape)), axis=1)).astype(int)
    return int(reach[0]), int(reach[1]), int(reach[2])


def _blocks(
    fractional: Array,
    exponent: Array,
    radius: Array,
    grid_id: Array,
    orth: Array,
    shape: tuple[int, int, int],
    dtype: Any,
) -> Iterator[tuple[Array, Array, Array, Array, Array]]:
    """Yield (atoms, flat indices, exponentials, d, c) per block of atoms of one radius class.

    Flat indices point into grids padded by `_pad` of the largest class on every side.
    """
    n = np.asarray(shape)
    class_radius, member = _classes(radius, orth, shape)
    pad = np.asarray(_pad(float(class_radius[-1]), orth, shape))
    padded = n + 2 * pad
    stride = np.array([padded[1] * padded[2], padded[2], 1], dtype=np.intp)
    u = (fractional - np.floor(fractional)) * n
    nearest = np.rint(u).astype(np.intp)
    d = ((u - nearest) / n) @ orth.T
    base = (nearest % n + pad) @ stride + grid_id.astype(np.intp) * np.intp(padded.prod())
    k = exponent[:, None]
    left = np.concatenate([k * d, k * np.einsum("ij,ij->i", d, d)[:, None], k], axis=1).astype(dtype)
    for number, r in enumerate(class_radius):
        offset, c = _offsets(orth.tobytes(), shape, float(r))
        flat = offset.astype(np.intp) @ stride
        square = np.einsum("ij,ij->i", c, c)
        right = np.concatenate([2.0 * c.T, -np.ones((1, len(c))), -square[None]]).astype(dtype)
        chosen = np.flatnonzero(member == number)
        chosen = chosen[np.argsort(base[chosen], kind="stable")]
        for start in range(0, len(chosen), _BLOCK):
            atoms = chosen[start : start + _BLOCK]
            # Some BLAS builds raise the invalid flag on finite input, from lanes that they do not use.
            with np.errstate(invalid="ignore"):
                e = left[atoms] @ right
            np.exp(e, out=e)
            yield atoms, base[atoms, None] + flat, e, d[atoms], c


def splat(
    fractional: Array,
    amplitude: Array,
    exponent: Array,
    radius: Array,
    grid_id: Array,
    n_grids: int,
    shape: tuple[int, int, int],
    orth: Array,
    dtype: Any = np.float32,
) -> Array:
    """Sum Gaussians on periodic grids.

    Parameters
    ----------
    fractional : (N, 3) float64
        Fractional coordinates.
    amplitude : (N,) float64
        Value at the centre.
    exponent : (N,) float64
        k of exp(−k r²), Å⁻².
    radius : (N,) float64
        Cut-off radius, Å; rounded up to its radius class.
    grid_id : (N,) int
        Grid of each atom, 0 … n_grids − 1.
    n_grids : int
    shape : tuple of 3 ints
    orth : (3, 3) float64
        Fractional to Cartesian, Å.
    dtype : float32 or float64
        Type of the grids and of the arithmetic on them.

    Returns
    -------
    (n_grids, *shape) array of `dtype`
    """
    if len(fractional) == 0:
        return np.zeros((n_grids, *shape), dtype)
    pad = _pad(float(_classes(radius, orth, shape)[0][-1]), orth, shape)
    padded = tuple(n + 2 * p for n, p in zip(shape, pad))
    grids = np.zeros((n_grids, *padded), dtype)
    flat = grids.reshape(-1)
    scale = amplitude.astype(dtype)
    for atoms, index, e, _, _ in _blocks(fractional, exponent, radius, grid_id, orth, shape, dtype):
        e *= scale[atoms, None]
        np.add.at(flat, index.reshape(-1), e.reshape(-1))
    return _fold(grids, shape, pad)


def _margins(n: int, pad: int) -> Iterator[tuple[slice, slice]]:
    """Pieces of the margins of a padded axis, each with the part of the central period that it repeats."""
    for begin, end in ((0, pad), (pad + n, n + 2 * pad)):
        i = begin
        while i < end:  # more than once where the sphere is wider than the cell
            j = (i - pad) % n
            run = min(end - i, n - j)
            yield slice(i, i + run), slice(pad + j, pad + j + run)
            i += run


def _fold(grids: Array, shape: tuple[int, int, int], pad: tuple[int, int, int]) -> Array:
    """Add the margins into the central period, in place; returns a view of that period."""
    for axis in range(3):
        view = np.moveaxis(grids, axis + 1, 0)
        for margin, centre in _margins(shape[axis], pad[axis]):
            view[centre] += view[margin]
        grids = np.moveaxis(view[pad[axis] : pad[axis] + shape[axis]], 0, axis + 1)
    return grids


def _wrap(maps: Array, pad: tuple[int, int, int]) -> Array:
    """Repeat periodic maps into margins on every side: the adjoint of `_fold`."""
    n = maps.shape[1:]
    padded = np.empty((len(maps), *(m + 2 * p for m, p in zip(n, pad))), maps.dtype)
    inner = [slice(p, p + m) for m, p in zip(n, pad)]
    padded[(slice(None), *inner)] = maps
    for axis in (2, 1, 0):
        done = tuple(inner[:axis]) + (slice(None),) * (3 - axis)
        view = np.moveaxis(padded[(slice(None), *done)], axis + 1, 0)
        for margin, centre in _margins(n[axis], pad[axis]):
            view[margin] = view[centre]
    return padded


def gather(
    maps: Array,
    fractional: Array,
    amplitude: Array,
    exponent: Array,
    radius: Array,
    grid_id: Array,
    orth: Array,
) -> tuple[Array, Array, Array]:
    """Adjoint of `splat`: the derivative of Σ maps · splat(…) by the atoms.

    Parameters
    ----------
    maps : (n_grids, nx, ny, nz) float32 or float64
        Derivative of a scalar by the grid values.
    fractional, amplitude, exponent, radius, grid_id, orth
        As given to `splat`.

    Returns
    -------
    d_amplitude : (N,) float64
    d_xyz : (N, 3) float64
        By Cartesian coordinates, per Å.
    d_exponent : (N,) float64
    """
    n = len(fractional)
    d_amplitude, d_xyz, d_exponent = np.zeros(n), np.zeros((n, 3)), np.zeros(n)
    if n == 0:
        return d_amplitude, d_xyz, d_exponent
    shape = (int(maps.shape[1]), int(maps.shape[2]), int(maps.shape[3]))
    pad = _pad(float(_classes(radius, orth, shape)[0][-1]), orth, shape)
    flat = _wrap(maps, pad).reshape(-1)
    moments = np.empty((n, 5))
    offset = np.empty((n, 3))
    for atoms, index, e, d, c in _blocks(fractional, exponent, radius, grid_id, orth, shape, maps.dtype):
        e *= flat.take(index)
        basis = np.concatenate([np.ones((len(c), 1)), c, np.einsum("ij,ij->i", c, c)[:, None]], axis=1)
        moments[atoms] = e @ basis.astype(maps.dtype)
        offset[atoms] = d
    zeroth, first, second = moments[:, 0], moments[:, 1:4], moments[:, 4]
    d_amplitude = zeroth
    d_xyz = (2.0 * amplitude * exponent)[:, None] * (first - offset * zeroth[:, None])
    square = np.einsum("ij,ij->i", offset, offset)
    d_exponent = -amplitude * (second - 2.0 * np.einsum("ij,ij->i", offset, first) + square * zeroth)
    return d_amplitude, d_xyz, d_exponent
