"""Anisotropic atoms to grid, and the adjoint: grid to per-atom moments.

Each atom is amplitude · exp(−rᵀ K r), K symmetric and positive definite. Such a Gaussian is no product of functions
along the axes, so a brick is worked on as a whole, for all cells: with the atom at d and the points at c, both from the
centre of the brick, the exponents are one matrix product,
−(c − d)ᵀK(c − d) = [1, c₁, c₂, c₃, c₁², c₂², c₃², c₁c₂, c₁c₃, c₂c₃] · [−dᵀKd; 2Kd; −K₁₁ −K₂₂ −K₃₃; −2K₁₂ −2K₁₃ −2K₂₃],
and the adjoint needs the ten moments of map times Gaussian over the same rows. Six values of a symmetric matrix are in
the order 11, 22, 33, 12, 13, 23, and a derivative by them is that by the independent entry: off the diagonal it counts
both places of the matrix.

Per atom and point of its bricks this takes 10 + K multiplications and an exponential to splat and 20 + K to gather, for
K channels, where an isotropic Gaussian in a cell with right angles takes K and 2K and almost no exponential. That is
the floor; bricks are smaller for it (some 1600 points reached instead of 3000 at a radius of four steps). Exponentials
are kept from splat to gather. A row of a brick could be made by recurrence instead, but they are less than a third of
the time.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrayrefine.kernels import symmetric
from arrayrefine.kernels.bricks import Bricks, assign
from arrayrefine.kernels.density import by_atom, by_brick, each_block, look_up, per_brick, put
from arrayrefine.kernels.exponentials import Exponentials, exponentials
from arrayrefine.kernels.processes import shared
from arrayrefine.kernels.threads import each, scratch

Array = NDArray[Any]

_ROW, _COLUMN = np.array([0, 0, 1]), np.array([1, 2, 2])
"""Places off the diagonal, in the order of the six values."""


def _table(bricks: Bricks, fractional: Array, precision: Array, channel: Array) -> Array:
    """What blocks look up for N atoms and one without density: (N + 1, 9 + K).

    How far the atom has moved since the bricks were assigned, the six last rows of the exponent's factor, and the
    channel factors, a row for each atom, which is the order that is fast to look up.
    """
    table = np.zeros((len(fractional) + 1, 9 + channel.shape[1]), bricks.dtype)
    table[:-1, :3] = bricks.moved(fractional)
    local = bricks.frame.T @ symmetric.matrices(precision) @ bricks.frame
    np.negative(symmetric.by_entry(local), out=table[:-1, 3:9], casting="same_kind")
    table[:-1, 9:] = channel
    return table


class _Placed(NamedTuple):
    """Atoms of a block: vectors d (3, S) in Å from their bricks, the six last rows of the exponent's factor (6, S), and
    channel factors (K, S)."""

    offset: Array
    quadratic: Array
    channel: Array


def _place(bricks: Bricks, table: Array, here: slice) -> _Placed:
    """Put the atoms of some places where they are now."""
    found = look_up(bricks, table, here)
    return _Placed(found[:3], found[3:9], found[9:])


def _basis(bricks: Bricks) -> Array:
    """1, coordinates and their six products, of the points of a brick from its centre: (10, P)."""
    first = bricks.points[0][:4]
    c = first[1:]
    return np.concatenate([first, c * c, c[_ROW] * c[_COLUMN]])


def _exponentials(bricks: Bricks, placed: _Placed, basis: Array, out: Array | None) -> Array:
    """Gaussians (P, S) of the atoms of some places."""
    d, q = placed.offset, placed.quadratic
    left = scratch("left", bricks.dtype, 10, d.shape[1])
    left[4:] = q
    for i, (a, b, c) in enumerate(((0, 3, 4), (3, 1, 5), (4, 5, 2))):  # −2Kd; q has K₁₁ once and K₁₂ twice
        row = np.multiply(q[a], 2.0 * d[0] if a < 3 else d[0], out=left[1 + i])
        row += q[b] * (2.0 * d[1] if b < 3 else d[1])
        row += q[c] * (2.0 * d[2] if c < 3 else d[2])
    np.einsum("ij,ij->j", left[1:4], d, out=left[0])
    left[0] *= 0.5
    np.negative(left[1:4], out=left[1:4])
    return exponentials(basis, left, scratch("whole", bricks.dtype, basis.shape[1], d.shape[1]) if out is None else out)


class _Ordered(NamedTuple):
    """The grids with one brick after the other.

    Attributes
    ----------
    flat : (M · bricks, K, …)
        Work array; what it holds for bricks without atoms is not defined.
    view : (M, bricks along x, along y, along z, K, …)
        The same.
    slabs : list of (int, slice, array)
        Slabs along x in which a brick has atoms, whole or row by row, and which of their bricks are empty.
    """

    flat: Array
    view: Array
    slabs: list[tuple[int, slice, Array]]


def _ordered(bricks: Bricks, grids: Array) -> _Ordered:
    """Work array for grids (M, bricks along x, …)."""
    flat = shared("ordered", bricks.dtype, math.prod(grids.shape[:4]), *grids.shape[4:])
    filled = np.zeros(grids.shape[:4], dtype=bool)
    for block in bricks.blocks[: bricks.early]:
        filled.reshape(-1)[block.number] = True
    for block in bricks.blocks[bricks.early :]:
        flat[block.number[~filled.reshape(-1)[block.number]]] = 0.0
        filled.reshape(-1)[block.number] = True
    slabs: list[tuple[int, slice, Array]] = []
    for i in np.flatnonzero(filled.any(axis=(0, 2, 3))):
        rows = np.flatnonzero(filled[:, i].any(axis=(0, 2)))
        if 2 * len(rows) > grids.shape[2]:
            slabs.append((int(i), slice(None), ~filled[:, i]))
        else:  # few atoms: not worth a whole slab
            slabs += [(int(i), slice(int(j), int(j) + 1), ~filled[:, i, j : j + 1]) for j in rows]
    return _Ordered(flat, flat.reshape(grids.shape), slabs)


def splat_aniso(
    fractional: Array,
    amplitude: Array,
    precision: Array,
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
    out: Array,
    keep: Exponentials | None = None,
) -> Array:
    """Add anisotropic Gaussians to periodic grids.

    Parameters
    ----------
    fractional : (N, 3) float64
    amplitude : (N,) float64
        Value at the centre.
    precision : (N, 6) float64
        K of exp(−rᵀ K r), Cartesian, Å⁻².
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
        What `assign` gave with `joint=True` for these atoms, or for atoms from which they have not moved further than
        its slack.
    threads : int
    out : (n_models, K, *shape) array of `dtype`
        Where the density is added, made by `shared`.
    keep : Exponentials, optional
        Takes the Gaussians, for a `gather_aniso` at the same atoms.

    Returns
    -------
    (n_models, K, *shape) array of `dtype`
        `out`.
    """
    if len(fractional) == 0:
        return out
    table = assign(fractional, radius, shape, orth, dtype, model, n_models, joint=True) if bricks is None else bricks
    _check(table, out)
    atoms = _table(table, fractional, precision, channel * amplitude[:, None])
    basis, view = _basis(table), by_brick(out, table)
    ordered = _ordered(table, view)
    kept = keep if keep is not None and keep.make_room(table, fractional, precision) else None

    def work(number: int) -> None:
        block = table.blocks[number]
        here = table.places(block)
        room = None if kept is None else kept.of(basis.shape[1], here)
        placed = _place(table, atoms, here)
        e = _exponentials(table, placed, basis, room)
        factor = per_brick(placed.channel, block)
        density = scratch("density", table.dtype, len(block.number), factor.shape[1], len(e))
        with np.errstate(invalid="ignore"):
            np.matmul(factor, per_brick(e, block).transpose(0, 2, 1), out=density)
        put(ordered.flat, table, number, density.reshape(-1, *view.shape[4:]))

    def add(number: int) -> None:
        i, rows, empty = ordered.slabs[number]
        part = ordered.view[:, i, rows]
        part[empty] = 0.0
        view[:, i, rows] += part

    each_block(table, work, threads)
    each(add, len(ordered.slabs), threads)
    return out


def _check(bricks: Bricks, grids: Array) -> None:
    """What would go wrong in silence is an error."""
    if bricks.split:
        raise ValueError("these bricks are for isotropic Gaussians; anisotropic ones need those of assign(joint=True)")
    if grids.dtype != bricks.dtype:
        raise ValueError(f"grids of {grids.dtype} with bricks of {bricks.dtype}: both must be of one type")
    if not grids.flags.c_contiguous:
        raise ValueError("the grids must lie in memory one after the other, in C order")


def gather_aniso(
    maps: Array,
    fractional: Array,
    amplitude: Array,
    precision: Array,
    radius: Array,
    channel: Array,
    orth: Array,
    model: Array | None = None,
    *,
    bricks: Bricks | None = None,
    threads: int = 1,
    kept: Exponentials | None = None,
) -> tuple[Array, Array, Array]:
    """Adjoint of `splat_aniso`: the derivative of Σ maps · splat_aniso(…) by the atoms.

    Parameters
    ----------
    maps : (n_models, K, nx, ny, nz) float32 or float64
        Derivative of a scalar by the grid values.
    fractional, amplitude, precision, radius, channel, orth, model, bricks, threads
        As given to `splat_aniso`.
    kept : Exponentials, optional
        What `splat_aniso` has kept; used where it is for these atoms.

    Returns
    -------
    d_amplitude : (N,) float64
    d_xyz : (N, 3) float64
        By Cartesian coordinates, per Å.
    d_precision : (N, 6) float64
        By the independent entries of K, Å².
    """
    n = len(fractional)
    if n == 0:
        return np.zeros(0), np.zeros((0, 3)), np.zeros((0, 6))
    shape = (int(maps.shape[2]), int(maps.shape[3]), int(maps.shape[4]))
    if bricks is None:
        bricks = assign(fractional, radius, shape, orth, maps.dtype, model, len(maps), joint=True)
    _check(bricks, maps)
    table, atoms = bricks, _table(bricks, fractional, precision, channel)
    basis, view = _basis(table), by_brick(maps, table)
    ordered = _ordered(table, view)
    moments = shared("moments", np.float64, 10, len(table.atom))
    known = kept if kept is not None and kept.hold(table, fractional, precision) else None

    def copy(number: int) -> None:
        i, rows, _ = ordered.slabs[number]
        ordered.view[:, i, rows] = view[:, i, rows]

    def work(number: int) -> None:
        block = table.blocks[number]
        here = table.places(block)
        placed = _place(table, atoms, here)
        e = _exponentials(table, placed, basis, None) if known is None else known.of(basis.shape[1], here)
        slab = ordered.flat[block.number].reshape(len(block.number), -1, len(e))
        pulled = scratch("pulled", table.dtype, *e.shape)
        with np.errstate(invalid="ignore"):
            np.matmul(
                slab.transpose(0, 2, 1), per_brick(placed.channel, block), out=per_brick(pulled, block)
            )  # fmt: skip
            pulled *= e
            moments[:, here] = _about_atoms(placed.offset, basis @ pulled)

    each(copy, len(ordered.slabs), threads)
    each(work, len(table.blocks), threads)
    return _derivatives(table, moments, amplitude, precision)


def _about_atoms(d: Array, moments: Array) -> Array:
    """From the ten moments (10, S) about the centres of bricks, overwritten here, to those about atoms at d (3, S)."""
    whole, first, square, product = moments[0], moments[1:4], moments[4:7], moments[7:]
    about = first - d * whole
    square -= d * (first + about)
    product -= d[_ROW] * first[_COLUMN] + d[_COLUMN] * about[_ROW]
    first[:] = about
    return moments


def _derivatives(bricks: Bricks, moments: Array, amplitude: Array, precision: Array) -> tuple[Array, Array, Array]:
    """From moments of places to derivatives by the atoms."""
    whole = by_atom(bricks, moments, len(amplitude)).T
    first = whole[:, 1:4] @ bricks.frame.T
    second = bricks.frame @ symmetric.matrices(whole[:, 4:]) @ bricks.frame.T
    by_xyz = (2.0 * amplitude)[:, None] * np.einsum("nij,nj->ni", symmetric.matrices(precision), first)
    return whole[:, 0].copy(), by_xyz, -amplitude[:, None] * symmetric.by_entry(second)
