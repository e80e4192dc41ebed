"""Atoms to grid, and the adjoint: grid to per-atom moments.

Each atom is one isotropic Gaussian, amplitude · exp(−exponent · r²), which goes with its channel factors onto K grids.
The grid is cut into bricks. Where an axis is at right angles to the other two, the Gaussian is a product of a function
in their plane and one along that axis, so a brick's density is a matrix product over the atoms that reach it,
ρ[xy, kz] = Σ_a E_a[xy] · (A_a c_ak e_a[z]), and the adjoint needs two such products. In other cells the "plane" is the
whole brick, a smaller one, and the axis has one point. Bricks are independent: nothing is scattered, and threads share
them.

An exponent over several points is a matrix product too: −k|c − d|² = [1, c, |c|²] · [−k|d|²; 2k d; −k], with d the atom
and c the points, both from the centre of the brick. It is formed for each factor of the Gaussian: for each axis where
all three are at right angles, for the plane and the axis, or for the whole brick.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrayrefine.kernels.bricks import Block, Bricks, assign
from arrayrefine.kernels.exponentials import Exponentials, exponentials
from arrayrefine.kernels.processes import shared
from arrayrefine.kernels.threads import each, scratch

Array = NDArray[Any]


class _Placed(NamedTuple):
    """Atoms of a block: offset (3, S) in Å from their bricks, for each factor of the Gaussian the rows −k|d|², 2k d and
    −k, and channel factors (K, S)."""

    offset: Array
    left: tuple[Array, ...]
    channel: Array


def _table(bricks: Bricks, fractional: Array, exponent: Array, channel: Array) -> Array:
    """What blocks look up for N atoms and one without density: (N + 1, 4 + K).

    How far the atom has moved since the bricks were assigned, its exponent, and its channel factors: a row for each
    atom, which is the order that is fast to look up.
    """
    table = np.zeros((len(fractional) + 1, 4 + channel.shape[1]), bricks.dtype)
    table[:-1, :3] = bricks.moved(fractional)
    table[:-1, 3] = exponent
    table[:-1, 4:] = channel
    return table


def look_up(bricks: Bricks, table: Array, here: slice) -> Array:
    """Rows of a table (N + 1, R) for some places, as (R, S), the first three of them taken on to the offset from the
    brick, Å."""
    atom = bricks.atom[here]
    rows = scratch("rows", bricks.dtype, len(atom), table.shape[1])
    np.take(table, atom, axis=0, mode="clip", out=rows)
    placed = scratch("placed", bricks.dtype, table.shape[1], len(atom))
    placed[:] = rows.T
    placed[:3] += bricks.start[:, here]
    return placed


def _place(bricks: Bricks, table: Array, here: slice) -> _Placed:
    """Put the atoms of some places where they are now."""
    found = look_up(bricks, table, here)
    offset, k = found[:3], found[3]
    return _Placed(offset, tuple(_exponent_rows(offset[list(axes)], k) for axes in bricks.factors), found[4:])


def _exponent_rows(d: Array, k: Array) -> Array:
    """−k|d|², 2k d and −k for vectors (axes, P)."""
    rows = np.empty((len(d) + 2, d.shape[1]), d.dtype)
    np.multiply(d, k, out=rows[1:-1])
    np.negative(np.einsum("ij,ij->j", rows[1:-1], d), out=rows[0])
    rows[1:-1] *= 2.0
    np.negative(k, out=rows[-1])
    return rows


def by_brick(grids: Array, bricks: Bricks) -> Array:
    """View of grids (M, K, ...) by model, brick along the axes of `bricks`; then points, K before the last if split."""
    models, channels, *n = grids.shape
    width = dict(zip(bricks.axes, bricks.width))
    cut = [part for axis, length in enumerate(n) for part in (length // width[axis], width[axis])]
    outer = [2 + 2 * axis for axis in bricks.axes]
    x, y, z = (3 + 2 * axis for axis in bricks.axes)
    inner = (x, y, 1, z) if bricks.split else (1, x, y, z)
    return grids.reshape(models, channels, *cut).transpose(0, *outer, *inner)


def _exponentials(bricks: Bricks, placed: _Placed, out: Array | None) -> tuple[Array, Array]:
    """Of a block of S places: E (J, S) over the plane, and e (Z, S) along the last axis.

    Where the plane is the whole brick, E goes to `out` if that is given.
    """
    count = placed.offset.shape[1]
    found = []
    for number, (left, points) in enumerate(zip(placed.left, bricks.points)):
        e = scratch(f"factor {number}", bricks.dtype, points.shape[1], count) if out is None else out
        found.append(exponentials(points, left, e))
    if not bricks.split:
        return found[0], np.ones((1, count), bricks.dtype)
    if len(found) == 2:
        return found[0], found[1]
    x, y, z = found
    plane = scratch("plane", bricks.dtype, len(x), len(y), count)
    np.multiply(x[:, None], y, out=plane)
    return plane.reshape(-1, count), z


def put(ordered: Array, bricks: Bricks, number: int, density: Array) -> None:
    """Put what a block gives into its bricks, or add it where others have been before."""
    block = bricks.blocks[number]
    if number < bricks.early:
        ordered[block.number] = density
    else:
        ordered[block.number] += density


def each_block(bricks: Bricks, work: Callable[[int], None], threads: int) -> None:
    """Run `work` for every block, those that add to others after these."""
    each(work, bricks.early, threads)
    each(lambda number: work(bricks.early + number), len(bricks.blocks) - bricks.early, threads)


def per_brick(table: Array, block: Block) -> Array:
    """View of (rows, S) as (bricks, rows, places per brick)."""
    return table.reshape(-1, len(block.number), block.slots).transpose(1, 0, 2)


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
    keep: Exponentials | None = None,
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
        Where the result goes, made by `shared`.
    keep : Exponentials, optional
        Takes the Gaussians, for a `gather` at the same atoms, where no axis is at right angles to the other two; else
        they are made anew as fast as they are read.

    Returns
    -------
    (n_models, K, *shape) array of `dtype`
    """
    grids = shared("splat", dtype, n_models, channel.shape[1], *shape) if out is None else out
    if len(fractional) == 0:
        grids.fill(0.0)
        return grids.copy() if out is None else grids
    if bricks is None:
        bricks = assign(fractional, radius, shape, orth, dtype, model, n_models)
    table, atoms = bricks, _table(bricks, fractional, exponent, channel * amplitude[:, None])
    view = by_brick(grids, table)
    ordered = shared("ordered", table.dtype, math.prod(view.shape[:4]), *view.shape[4:])
    empty = np.ones(len(ordered), dtype=bool)
    for block in table.blocks[: table.early]:
        empty[block.number] = False
    ordered[empty] = 0.0
    points = math.prod(table.width)
    kept = None
    if keep is not None and not table.split and keep.make_room(table, fractional, exponent):
        kept = keep

    def work(number: int) -> None:
        block = table.blocks[number]
        here = table.places(block)
        placed = _place(table, atoms, here)
        plane, line = _exponentials(table, placed, None if kept is None else kept.of(points, here))
        mixed = _mix(table, line, placed.channel)
        rows = mixed.reshape(-1, mixed.shape[2])
        density = scratch("density", table.dtype, len(block.number), len(plane), len(rows))
        with np.errstate(invalid="ignore"):
            np.matmul(per_brick(plane, block), per_brick(rows, block).transpose(0, 2, 1), out=density)
        if not table.split:
            density = density.transpose(0, 2, 1)
        put(ordered, table, number, density.reshape(-1, *view.shape[4:]))

    each_block(table, work, threads)
    _copy(ordered.reshape(view.shape), view, threads)
    return grids.copy() if out is None else grids


def _copy(source: Array, target: Array, threads: int) -> None:
    """Copy arrays (model, brick along x, …), a slab of bricks at a time."""

    def work(i: int) -> None:
        target[:, i] = source[:, i]

    each(work, target.shape[1], threads)


def _mix(bricks: Bricks, line: Array, factor: Array) -> Array:
    """Exponentials along the last axis times the channel factors: (K, Z, S)."""
    mixed = scratch("mixed", bricks.dtype, len(factor), *line.shape)
    for k, row in enumerate(factor):
        np.multiply(line, row, out=mixed[k])
    return mixed


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
    kept: Exponentials | None = None,
) -> tuple[Array, Array, Array]:
    """Adjoint of `splat`: the derivative of Σ maps · splat(…) by the atoms.

    Parameters
    ----------
    maps : (n_models, K, nx, ny, nz) float32 or float64
        Derivative of a scalar by the grid values.
    fractional, amplitude, exponent, radius, channel, orth, model, bricks, threads
        As given to `splat`.
    kept : Exponentials, optional
        What `splat` has kept; used where it is for these atoms.

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
    table, atoms = bricks, _table(bricks, fractional, exponent, channel)
    view = by_brick(maps, table)
    ordered = shared("ordered", table.dtype, math.prod(view.shape[:4]), math.prod(view.shape[4:]))
    _copy(view, ordered.reshape(view.shape), threads)
    split = table.split
    basis = _plane_basis(table)
    moments = shared("moments", np.float64, 5, len(table.atom))
    points = math.prod(table.width)
    known = kept if kept is not None and kept.hold(table, fractional, exponent) else None

    def work(number: int) -> None:
        block = table.blocks[number]
        here = table.places(block)
        placed = _place(table, atoms, here)
        if known is None:
            plane, line = _exponentials(table, placed, None)
        else:
            plane, line = known.of(points, here), np.ones((1, block.slots * len(block.number)), table.dtype)
        mixed = _mix(table, line, placed.channel)
        rows = mixed.reshape(-1, mixed.shape[2])
        slab = np.take(
            ordered, block.number, axis=0, mode="clip",
            out=scratch("density", table.dtype, len(block.number), ordered.shape[1]),
        )  # fmt: skip
        if split:
            slab = slab.reshape(-1, len(plane), len(rows))
        else:
            slab = slab.reshape(-1, len(rows), len(plane)).transpose(0, 2, 1)
        with np.errstate(invalid="ignore"):
            in_plane = scratch("in plane", table.dtype, *plane.shape)
            np.matmul(slab, per_brick(rows, block), out=per_brick(in_plane, block))
            if split:
                on_line = scratch("on line", table.dtype, *rows.shape)
                np.matmul(slab.transpose(0, 2, 1), per_brick(plane, block), out=per_brick(on_line, block))
                on_line *= rows
                on_line.reshape(mixed.shape).sum(axis=0, out=line)
            in_plane *= plane
            along = table.points[-1] @ line if split else None
            _about_atoms(placed.offset, basis @ in_plane, along, moments[:, here])

    each(work, len(table.blocks), threads)
    return _derivatives(table, moments, amplitude, exponent)


def _plane_basis(bricks: Bricks) -> Array:
    """1, coordinates and squared distance of the points of the plane (or of the brick) from its centre."""
    if len(bricks.factors) < 3:
        return bricks.points[0]
    (one, x, x2), (_, y, y2), _ = bricks.points
    ones = np.ones_like(y)
    return np.stack([np.outer(row, column).reshape(-1) for row, column in ((one, ones), (x, ones), (one, y))] +
                    [np.add.outer(x2, y2).reshape(-1)])  # fmt: skip


def _about_atoms(d: Array, plane: Array, line: Array | None, out: Array) -> None:
    """From moments about the centres of bricks to those about atoms at d (3, S): zeroth, first (3), second (5, S)."""
    axes = len(plane) - 2
    out[0] = plane[0]
    np.multiply(d[:axes], out[0], out=out[1 : 1 + axes])
    np.subtract(plane[1:-1], out[1 : 1 + axes], out=out[1 : 1 + axes])
    out[4] = plane[-1] - np.einsum("ij,ij->j", d[:axes], plane[1:-1] + out[1 : 1 + axes])
    if line is not None:
        out[3] = line[1] - d[2] * line[0]
        out[4] += line[2] - d[2] * (line[1] + out[3])


def by_atom(bricks: Bricks, moments: Array, n: int) -> Array:
    """Sums over the places of each atom (M, n), of rows (M, S)."""
    sums = shared("sums", np.float64, len(moments), n)

    def add(number: int) -> None:
        sums[number] = np.bincount(bricks.atom, moments[number], n + 1)[:n]

    each(add, len(moments), 1)
    return sums.copy()


def _derivatives(bricks: Bricks, moments: Array, amplitude: Array, exponent: Array) -> tuple[Array, Array, Array]:
    """From moments of places to derivatives by the atoms."""
    whole, x, y, z, second = by_atom(bricks, moments, len(amplitude))
    toward = bricks.frame @ np.stack([x, y, z])
    return whole, (2.0 * amplitude * exponent)[:, None] * toward.T, -amplitude * second
