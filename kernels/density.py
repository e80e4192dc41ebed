"""Atoms to grid, and the adjoint: grid to per-atom moments.

Each atom is one isotropic Gaussian, amplitude · exp(−exponent · r²), which goes with its channel factors onto K grids.
The grid is cut into bricks. Where the last axis is at right angles to the other two, the Gaussian is a product of a
function in their plane and one along that axis, so a brick's density is a matrix product over the atoms that reach it,
ρ[xy, kz] = Σ_a E_a[xy] · (A_a c_ak e_a[z]), and the adjoint needs two such products. In other cells the "plane" is the
whole brick and the axis has one point. Bricks are independent: nothing is scattered, and threads share them.

An exponent over several points is a matrix product too: −k|c − d|² = [1, c, |c|²] · [−k|d|²; 2k d; −k], with d the atom
and c the points, both from the centre of the brick. It is formed for each factor of the Gaussian: for each axis where
all three are at right angles, for the plane and the axis, or for the whole brick.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_SPLIT, _JOINT = (8, 8, 16), (8, 8, 8)
"""Points along a brick that are aimed at, with and without an axis at right angles to the others."""
_CACHE = 1 << 20
"""Bytes of tables that one block of bricks may fill: they stay in the second-level cache."""
_FLOOR = {np.dtype(np.float32): -30.0, np.dtype(np.float64): -300.0}
"""Exponents end here: products of what lies below would be denormal numbers, which are slow and worth nothing."""
_RIGHT_ANGLE = 1e-6
"""Cosine below which two axes are at right angles."""


class _Block(NamedTuple):
    """Bricks that are worked on together: their numbers, and `slots` places for atoms each, from place `first` on."""

    first: int
    slots: int
    number: Array


@dataclass(frozen=True)
class Bricks:
    """Which atoms reach which bricks of the grid; made by `assign`, and good until an atom moves by `slack`.

    Attributes
    ----------
    shape, width : tuple of 3 ints
        Points of the grid and of a brick along each axis.
    n_models : int
    dtype : float32 or float64
    factors : tuple of tuples of ints
        The axes that each factor of the Gaussian covers; the last factor is that of the matrix product's other side.
    frame, step : (3, 3) float64
        Cartesian axes of the crystal from those used here, in which the first axis is along x and the last along z;
        and the steps of the grid in the latter, Å.
    fractional : (N, 3) float64
    radius : (N,) float64
    slack : float
        Å by which the spheres were taken too large.
    atom : (S,) int
        Atom in each place; N where the place is empty.
    origin : (3, S) float64
        Centre of the brick, with the lattice translation of the atom's image taken off, in grid steps.
    points : tuple of (d + 2, n)
        For each factor over d axes: 1, coordinates and squared distance of its points from the centre of the brick.
    blocks : tuple
    """

    shape: tuple[int, int, int]
    width: tuple[int, int, int]
    n_models: int
    dtype: Any
    factors: tuple[tuple[int, ...], ...]
    frame: Array
    step: Array
    fractional: Array
    radius: Array
    slack: float
    atom: Array
    origin: Array
    points: tuple[Array, ...]
    blocks: tuple[_Block, ...]

    @property
    def split(self) -> bool:
        """Whether the last axis is a factor of its own."""
        return len(self.factors) > 1

    def places(self, block: _Block) -> slice:
        """Places of a block."""
        return slice(block.first, block.first + len(block.number) * block.slots)

    def hold(self, fractional: Array, radius: Array) -> bool:
        """Whether every brick that these spheres reach is listed."""
        moved = ((fractional - self.fractional) * self.shape) @ self.step.T
        far = np.sqrt(np.einsum("ij,ij->i", moved, moved)) + radius - self.radius
        return bool(far.max(initial=0.0) <= self.slack)


class _Placed(NamedTuple):
    """Atoms relative to their bricks: offset (3, S) in Å, and for each factor the rows −k|d|², 2k d, −k."""

    offset: Array
    left: tuple[Array, ...]


@lru_cache(maxsize=64)
def _width(n: int, aim: int) -> int:
    """Divisor of n nearest to `aim`, in ratio."""
    return min((k for k in range(1, n + 1) if n % k == 0), key=lambda k: (abs(math.log(k / aim)), k))


def _ramp(count: Array) -> Array:
    """0 … count₀ − 1, 0 … count₁ − 1, and so on."""
    ramp: Array = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    return ramp


def _images(position: Array, reach: Array, shape: tuple[int, int, int]) -> tuple[Array, Array]:
    """Atoms and positions (grid units) of all lattice images whose spheres touch the cell 0 … n."""
    atom = np.arange(len(position))
    for axis, n in enumerate(shape):
        low = np.floor((position[:, axis] - reach[atom, axis]) / n).astype(np.intp)
        high = np.floor((position[:, axis] + reach[atom, axis]) / n).astype(np.intp)
        if not (low.any() or high.any()):
            continue
        count = high - low + 1
        source = np.repeat(np.arange(len(position)), count)
        atom, position = atom[source], position[source]
        position[:, axis] -= (low[source] + _ramp(count)) * n
    return atom, position


def _reached(
    position: Array, radius: Array, reach: Array, size: Array, bricks: Array, right: Array
) -> tuple[Array, Array]:
    """Every pair of an image and a brick that its sphere touches: image (P,), and the brick's indices (3, P).

    Perpendicular distances from a brick add up squared along axes at right angles; of others the larger counts.
    """
    low = np.maximum(np.ceil(position - reach), 0.0)
    high = np.minimum(np.floor(position + reach), size * bricks - 1.0)
    first = (low / size).astype(np.int32)
    count = (high / size).astype(np.int32) - first + 1
    count[(low > high).any(axis=1)] = 0
    total = count[:, 0] * count[:, 1] * count[:, 2]
    image = np.repeat(np.arange(len(position)), total)
    number = _ramp(total).astype(np.int32)
    brick = np.empty((3, len(image)), dtype=np.int32)
    for axis in (2, 1):
        along = count[:, axis][image]
        rest = number // along
        brick[axis] = number - rest * along
        number = rest
    brick[0] = number
    apart = []
    for axis in range(3):
        brick[axis] += first[:, axis][image]
        below = brick[axis] * size[axis] - position[:, axis][image]
        gap = np.maximum(np.maximum(below, 1.0 - size[axis] - below), 0.0)
        gap *= (radius / np.maximum(reach[:, axis], 1e-12))[image]
        apart.append(gap * gap)
    squared = apart[0] + apart[1] if right[0, 1] else np.maximum(apart[0], apart[1])
    squared = squared + apart[2] if right[2, 0] and right[2, 1] else np.maximum(squared, apart[2])
    near = np.flatnonzero(squared <= (radius**2)[image])
    return image[near], brick[:, near]


def _places(brick: Array, per_block: int) -> tuple[Array, tuple[_Block, ...]]:
    """Sort pairs by brick and bricks by their number of pairs, so that a block of bricks needs little padding.

    Returns the pair in each place (or the number of pairs, for an empty place), and the blocks.
    """
    order = np.argsort(brick, kind="stable")
    number, start, count = np.unique(brick[order], return_index=True, return_counts=True)
    by_count = np.argsort(-count, kind="stable")
    number, start, count = number[by_count].astype(np.intp), start[by_count], count[by_count]
    blocks: list[_Block] = []
    first = np.empty(len(number), dtype=np.intp)
    i = place = 0
    while i < len(number):
        slots = int(count[i])
        j = min(len(number), i + max(1, per_block // slots))
        first[i:j] = place + slots * np.arange(j - i)
        blocks.append(_Block(place, slots, number[i:j]))
        place += slots * (j - i)
        i = j
    pair = np.full(place, len(brick), dtype=np.intp)
    ramp = _ramp(count)
    pair[np.repeat(first, count) + ramp] = order[np.repeat(start, count) + ramp]
    return pair, tuple(blocks)


def assign(
    fractional: Array,
    radius: Array,
    shape: tuple[int, int, int],
    orth: Array,
    dtype: Any = np.float32,
    model: Array | None = None,
    n_models: int = 1,
    *,
    slack: float = 0.0,
) -> Bricks:
    """Find the bricks that each atom reaches.

    Parameters
    ----------
    fractional, radius, shape, orth, dtype, model, n_models
        See `splat`.
    slack : float
        Å by which spheres are taken larger, so that the result holds for a while as atoms move.
    """
    frame, step = np.linalg.qr(orth / np.asarray(shape))
    length = np.linalg.norm(step, axis=0)
    right = np.abs(step.T @ step) / np.outer(length, length) < _RIGHT_ANGLE
    factors = _factors(right)
    width = tuple(_width(n, aim) for n, aim in zip(shape, _SPLIT if len(factors) > 1 else _JOINT))
    size = np.asarray(width)
    bricks = np.asarray(shape) // size
    cell = np.floor(fractional)
    position = (fractional - cell) * shape
    larger = radius + slack
    reach = larger[:, None] * np.linalg.norm(np.linalg.inv(step), axis=1)
    source, position = _images(position, reach, shape)
    image, brick = _reached(position, larger[source], reach[source], size, bricks, right)
    atom = source[image]
    number = (brick[0] * np.int64(bricks[1]) + brick[1]) * np.int64(bricks[2]) + brick[2]
    if model is not None:
        number += np.asarray(model, dtype=np.int64)[atom] * np.int64(bricks.prod())
    if n_models * bricks.prod() < 1 << 16:
        number = number.astype(np.uint16)  # sorted by radix, much faster

    centre = 0.5 * (size - 1.0)
    points = [_points(step, width, centre, axes).astype(dtype) for axes in factors]
    rows = width[0] * width[1] + 3 * width[2] if len(factors) > 1 else math.prod(width)
    pair, blocks = _places(number, _CACHE // (np.dtype(dtype).itemsize * rows))
    origin = np.zeros((3, len(atom) + 1))
    translation = np.rint(position - fractional[source] * shape)  # a whole number of cells
    origin[:, :-1] = brick * size[:, None] + centre[:, None] - translation.T[:, image]
    return Bricks(
        shape, (width[0], width[1], width[2]), n_models, np.dtype(dtype), factors, frame, step, fractional, radius,
        slack, np.append(atom, len(fractional))[pair], origin[:, pair], tuple(points), blocks,
    )  # fmt: skip


def _place(bricks: Bricks, fractional: Array, exponent: Array) -> _Placed:
    """Put atoms where they are now; an empty place has exponent zero."""
    position = np.zeros((3, len(fractional) + 1))
    np.multiply(fractional.T, np.asarray(bricks.shape)[:, None], out=position[:, :-1])
    offset = bricks.step @ (position[:, bricks.atom] - bricks.origin)
    k = np.append(exponent, 0.0).astype(bricks.dtype)[bricks.atom]
    near = offset.astype(bricks.dtype)
    return _Placed(offset, tuple(_exponent_rows(near[list(axes)], k) for axes in bricks.factors))


def _factors(right: Array) -> tuple[tuple[int, ...], ...]:
    """Axes of each factor of a Gaussian, from which axes are at right angles."""
    if not (right[2, 0] and right[2, 1]):
        return ((0, 1, 2),)
    return ((0,), (1,), (2,)) if right[0, 1] else ((0, 1), (2,))


def _points(step: Array, width: tuple[int, ...], centre: Array, axes: tuple[int, ...]) -> Array:
    """1, coordinates and squared distance from the centre of a brick's points along some axes: (d + 2, n)."""
    grid = np.meshgrid(*(np.arange(width[axis]) - centre[axis] for axis in axes), indexing="ij")
    c = step[np.ix_(axes, axes)] @ np.stack([along.reshape(-1) for along in grid])
    return np.concatenate([np.ones((1, c.shape[1])), c, np.einsum("ij,ij->j", c, c)[None]])


def _exponent_rows(d: Array, k: Array) -> Array:
    """−k|d|², 2k d and −k for vectors (axes, P)."""
    rows = np.empty((len(d) + 2, d.shape[1]), d.dtype)
    np.multiply(d, k, out=rows[1:-1])
    np.negative(np.einsum("ij,ij->j", rows[1:-1], d), out=rows[0])
    rows[1:-1] *= 2.0
    np.negative(k, out=rows[-1])
    return rows


def _by_brick(grids: Array, bricks: Bricks) -> Array:
    """View of grids (M, K, nx, ny, nz): model, brick along x, y, z; then bx, by, K, bz (K first if not split)."""
    models, channels, *n = grids.shape
    cut = [part for length, w in zip(n, bricks.width) for part in (length // w, w)]
    inner = (3, 5, 1, 7) if bricks.split else (1, 3, 5, 7)
    return grids.reshape(models, channels, *cut).transpose(0, 2, 4, 6, *inner)


class _Scratch(threading.local):
    """Work arrays of a thread, used again and again: memory that is touched for the first time is slow."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, Any], Array] = {}

    def __call__(self, name: str, dtype: Any, *shape: int) -> Array:
        """Uninitialised array; the one of the same name that was given before is gone."""
        size = math.prod(shape)
        held = self._held.get((name, dtype))
        if held is None or held.size < size:
            held = self._held[name, dtype] = np.empty(size, dtype)
        return held[:size].reshape(shape)


_scratch = _Scratch()


def _exponentials(bricks: Bricks, placed: _Placed, block: _Block) -> tuple[Array, Array]:
    """Of a block of S places: E (J, S) over the plane, and e (Z, S) along the last axis."""
    here = bricks.places(block)
    count = here.stop - here.start
    found = []
    for number, (left, points) in enumerate(zip(placed.left, bricks.points)):
        e = _scratch(f"factor {number}", bricks.dtype, points.shape[1], count)
        # Some BLAS builds raise the invalid flag on finite input, from lanes that they do not use.
        with np.errstate(invalid="ignore"):
            np.matmul(points.T, left[:, here], out=e)
        np.maximum(e, _FLOOR[bricks.dtype], out=e)
        found.append(np.exp(e, out=e))
    if not bricks.split:
        return found[0], np.ones((1, count), bricks.dtype)
    if len(found) == 2:
        return found[0], found[1]
    x, y, z = found
    plane = _scratch("plane", bricks.dtype, len(x), len(y), count)
    np.multiply(x[:, None], y, out=plane)
    return plane.reshape(-1, count), z


def _per_brick(table: Array, block: _Block) -> Array:
    """View of (rows, S) as (bricks, rows, places per brick)."""
    return table.reshape(-1, len(block.number), block.slots).transpose(1, 0, 2)


def _each(work: Callable[[int], None], count: int, threads: int) -> None:
    """Run `work` for 0 … count − 1, on several threads where that is asked for."""
    if threads <= 1 or count < 2:
        for i in range(count):
            work(i)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, range(count)):
            pass


def splat(
    fractional: Array,
    amplitude: Array,
    exponent: Array,
    radius: Array,
    channel: Array,
    shape: tuple[int, int, int],
    orth: Array,
    dtype: Any = np.float32,
    model: Array | None = None,
    n_models: int = 1,
    *,
    bricks: Bricks | None = None,
    threads: int = 1,
    out: Array | None = None,
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
        Every point within this distance (Å) is reached, and others that share a brick with it.
    channel : (N, K) float
        Factor with which the atom enters each of the K grids.
    shape : tuple of 3 ints
    orth : (3, 3) float64
        Fractional to Cartesian, Å.
    dtype : float32 or float64
        Type of the grids and of the arithmetic on them.
    model : (N,) int, optional
        Model of each atom, 0 … n_models − 1.
    n_models : int
    bricks : Bricks, optional
        What `assign` gave for these atoms, or for atoms from which they have not moved further than its slack.
    threads : int
    out : (n_models, K, *shape) array of `dtype`, optional
        Where the result goes.

    Returns
    -------
    (n_models, K, *shape) array of `dtype`
    """
    grids = np.empty((n_models, channel.shape[1], *shape), dtype) if out is None else out
    if len(fractional) == 0:
        grids.fill(0.0)
        return grids
    if bricks is None:
        bricks = assign(fractional, radius, shape, orth, dtype, model, n_models)
    table, placed = bricks, _place(bricks, fractional, exponent)
    factor = _channel_rows(table, channel * amplitude[:, None])
    view = _by_brick(grids, table)
    ordered = _scratch("ordered", table.dtype, math.prod(view.shape[:4]), *view.shape[4:])
    empty = np.ones(len(ordered), dtype=bool)
    for block in table.blocks:
        empty[block.number] = False
    ordered[empty] = 0.0

    def work(number: int) -> None:
        block = table.blocks[number]
        here = table.places(block)
        plane, line = _exponentials(table, placed, block)
        mixed = _mix(table, line, factor[:, here])
        rows = mixed.reshape(-1, mixed.shape[2])
        density = _scratch("density", table.dtype, len(block.number), len(plane), len(rows))
        with np.errstate(invalid="ignore"):
            np.matmul(_per_brick(plane, block), _per_brick(rows, block).transpose(0, 2, 1), out=density)
        if not table.split:
            density = density.transpose(0, 2, 1)
        ordered[block.number] = density.reshape(-1, *view.shape[4:])

    _each(work, len(table.blocks), threads)
    view[...] = ordered.reshape(view.shape)
    return grids


def _mix(bricks: Bricks, line: Array, factor: Array) -> Array:
    """Exponentials along the last axis times the channel factors: (K, Z, S)."""
    mixed = _scratch("mixed", bricks.dtype, len(factor), *line.shape)
    for k, row in enumerate(factor):
        np.multiply(line, row, out=mixed[k])
    return mixed


def _channel_rows(bricks: Bricks, channel: Array) -> Array:
    """Channel factors (K, S) of the atom in each place."""
    padded = np.zeros((channel.shape[1], len(channel) + 1), bricks.dtype)
    padded[:, :-1] = channel.T
    return padded[:, bricks.atom]


def gather(
    maps: Array,
    fractional: Array,
    amplitude: Array,
    exponent: Array,
    radius: Array,
    channel: Array,
    orth: Array,
    model: Array | None = None,
    *,
    bricks: Bricks | None = None,
    threads: int = 1,
) -> tuple[Array, Array, Array]:
    """Adjoint of `splat`: the derivative of Σ maps · splat(…) by the atoms.

    Parameters
    ----------
    maps : (n_models, K, nx, ny, nz) float32 or float64
        Derivative of a scalar by the grid values.
    fractional, amplitude, exponent, radius, channel, orth, model, bricks, threads
        As given to `splat`.

    Returns
    -------
    d_amplitude : (N,) float64
    d_xyz : (N, 3) float64
        By Cartesian coordinates, per Å.
    d_exponent : (N,) float64
    """
    n = len(fractional)
    if n == 0:
        return np.zeros(0), np.zeros((0, 3)), np.zeros(0)
    if bricks is None:
        shape = (int(maps.shape[2]), int(maps.shape[3]), int(maps.shape[4]))
        bricks = assign(fractional, radius, shape, orth, maps.dtype, model, len(maps))
    table, placed = bricks, _place(bricks, fractional, exponent)
    factor = _channel_rows(table, channel)
    view = _by_brick(maps, table)
    ordered = _scratch("ordered", table.dtype, math.prod(view.shape[:4]), math.prod(view.shape[4:]))
    ordered.reshape(view.shape)[...] = view
    split = table.split
    basis = _plane_basis(table)
    plane_moments = np.empty((len(basis), len(table.atom)), table.dtype)
    line_moments = np.empty((3, len(table.atom) if split else 0), table.dtype)

    def work(number: int) -> None:
        block = table.blocks[number]
        here = table.places(block)
        plane, line = _exponentials(table, placed, block)
        mixed = _mix(table, line, factor[:, here])
        rows = mixed.reshape(-1, mixed.shape[2])
        slab = np.take(
            ordered, block.number, axis=0, mode="clip",
            out=_scratch("density", table.dtype, len(block.number), ordered.shape[1]),
        )  # fmt: skip
        if split:
            slab = slab.reshape(-1, len(plane), len(rows))
        else:
            slab = slab.reshape(-1, len(rows), len(plane)).transpose(0, 2, 1)
        with np.errstate(invalid="ignore"):
            in_plane = _scratch("in plane", table.dtype, *plane.shape)
            np.matmul(slab, _per_brick(rows, block), out=_per_brick(in_plane, block))
            if split:
                on_line = _scratch("on line", table.dtype, *rows.shape)
                np.matmul(slab.transpose(0, 2, 1), _per_brick(plane, block), out=_per_brick(on_line, block))
                on_line *= rows
                on_line.reshape(mixed.shape).sum(axis=0, out=line)
                line_moments[:, here] = table.points[-1] @ line
            in_plane *= plane
            plane_moments[:, here] = basis @ in_plane

    _each(work, len(table.blocks), threads)
    return _derivatives(table, placed.offset, plane_moments, line_moments, amplitude, exponent)


def _plane_basis(bricks: Bricks) -> Array:
    """1, coordinates and squared distance of the points of the plane (or of the brick) from its centre."""
    if len(bricks.factors) < 3:
        return bricks.points[0]
    (one, x, x2), (_, y, y2), _ = bricks.points
    ones = np.ones_like(y)
    return np.stack([np.outer(row, column).reshape(-1) for row, column in ((one, ones), (x, ones), (one, y))] +
                    [np.add.outer(x2, y2).reshape(-1)])  # fmt: skip


def _derivatives(
    bricks: Bricks, d: Array, plane: Array, line: Array, amplitude: Array, exponent: Array
) -> tuple[Array, Array, Array]:
    """From moments about the centres of bricks to derivatives by the atoms."""
    axes = len(plane) - 2
    whole = plane[0].astype(np.float64)
    first = np.empty((3, len(whole)))
    first[:axes] = plane[1:-1] - d[:axes] * whole
    second = plane[-1] - np.einsum("ij,ij->j", d[:axes], plane[1:-1] + first[:axes])
    if bricks.split:
        first[2] = line[1] - d[2] * line[0]
        second += line[2] - d[2] * (line[1] + first[2])
    n = len(amplitude)

    def per_atom(values: Array) -> Array:
        return np.bincount(bricks.atom, values, n + 1)[:n]

    toward = bricks.frame @ np.stack([per_atom(row) for row in first])
    return per_atom(whole), (2.0 * amplitude * exponent)[:, None] * toward.T, -amplitude * per_atom(second)
