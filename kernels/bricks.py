"""The bricks of a grid, and which atoms reach which of them.

A brick is worked on as a whole, and several of them, with the places of their atoms side by side, as a block.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_SPLIT, _WHOLE = (8, 8, 16), (4, 4, 8)
"""Points along a brick that are aimed at: for Gaussians that are products, as an axis is at right angles to the others,
and for those that are not, whose exponentials cost more than the places of smaller bricks."""
_CACHE, _CACHE_WHOLE, _FEWEST = 1 << 22, 1 << 20, 8
"""Bytes of tables that one block of bricks may fill, so that they stay in the cache (less where they are read more
often); but blocks are made smaller where there would be fewer than so many for threads to share."""
_FEW = 0.05
"""Fraction of the atoms that are assigned anew on their own."""
_RIGHT_ANGLE = 1e-6
"""Cosine below which two axes are at right angles."""


class Block(NamedTuple):
    """Bricks that are worked on together: their numbers, and `slots` places for atoms each, from place `first` on."""

    first: int
    slots: int
    number: Array


@dataclass(frozen=True)
class Bricks:
    """Which atoms reach which bricks of the grid; made by `assign`, and good until an atom moves by `slack`.

    Attributes
    ----------
    axes : tuple of 3 ints
        Axes of the crystal in the order used here: if one is at right angles to the two others, it is the last.
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
    start : (3, S) array of `dtype`
        From the centre of the brick to the image of the atom when the bricks were assigned, Å, in the frame.
    points : tuple of (d + 2, n)
        For each factor over d axes: 1, coordinates and squared distance of its points from the centre of the brick.
    blocks : tuple
        Of the first `early`, each brick is in one; to what these put there, the others add, and of them too each brick
        is in one.
    early : int
    base : Bricks or None
        Before some atoms were assigned anew.
    """

    axes: tuple[int, int, int]
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
    start: Array
    points: tuple[Array, ...]
    blocks: tuple[Block, ...]
    early: int
    base: Bricks | None = None

    @property
    def split(self) -> bool:
        """Whether the last axis is a factor of its own."""
        return len(self.factors) > 1

    def places(self, block: Block) -> slice:
        """Places of a block."""
        return slice(block.first, block.first + len(block.number) * block.slots)

    def moved(self, fractional: Array) -> Array:
        """How far atoms (N, 3) are from where they were when the bricks were assigned, Å, in the frame."""
        moved: Array = ((fractional[:, self.axes] - self.fractional) * self.shape) @ self.step.T
        return moved

    def beyond(self, fractional: Array, radius: Array) -> Array:
        """Atoms (n,) whose spheres may reach bricks that are not listed."""
        moved = self.moved(fractional)
        far = np.sqrt(np.einsum("ij,ij->i", moved, moved)) + radius - self.radius
        return np.flatnonzero(far > self.slack)


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


def _places(brick: Array, per_block: int) -> tuple[Array, tuple[Block, ...]]:
    """Sort pairs by brick and bricks by their number of pairs, so that a block of bricks needs little padding.

    Returns the pair in each place (or the number of pairs, for an empty place), and the blocks.
    """
    order = np.argsort(brick, kind="stable")
    number, start, count = np.unique(brick[order], return_index=True, return_counts=True)
    by_count = np.argsort(-count, kind="stable")
    number, start, count = number[by_count].astype(np.intp), start[by_count], count[by_count]
    blocks: list[Block] = []
    first = np.empty(len(number), dtype=np.intp)
    i = place = 0
    while i < len(number):
        slots = int(count[i])
        j = min(len(number), i + max(1, per_block // slots))
        first[i:j] = place + slots * np.arange(j - i)
        blocks.append(Block(place, slots, number[i:j]))
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
    joint: bool = False,
) -> Bricks:
    """Find the bricks that each atom reaches.

    Parameters
    ----------
    fractional, radius, shape, orth, dtype, model, n_models
        See `density.splat`.
    slack : float
        Å by which spheres are taken larger, so that the result holds for a while as atoms move.
    joint : bool
        Take the whole brick as one factor also where axes are at right angles: `density_aniso` needs it.
    """
    axes = _order(_right_angles(orth))
    shape = (shape[axes[0]], shape[axes[1]], shape[axes[2]])
    fractional, orth = fractional[:, axes], orth[:, axes]
    frame, step = np.linalg.qr(orth / np.asarray(shape))
    right = _right_angles(orth)
    factors = ((0, 1, 2),) if joint else _factors(right)
    aims = _SPLIT if len(factors) > 1 else _WHOLE
    width = tuple(_width(n, aim) for n, aim in zip(shape, aims))
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
    points = [_points(step, width, centre, factor).astype(dtype) for factor in factors]
    rows = width[0] * width[1] + 3 * width[2] if len(factors) > 1 else math.prod(width)
    table = np.dtype(dtype).itemsize * rows
    cache = _CACHE if len(factors) > 1 else _CACHE_WHOLE
    pair, blocks = _places(number, min(cache // table, len(number) // _FEWEST + 1))
    start = np.zeros((3, len(atom) + 1), dtype)
    start[:, :-1] = step @ (position.T[:, image] - brick * size[:, None] - centre[:, None])
    return Bricks(
        axes, shape, (width[0], width[1], width[2]), n_models, np.dtype(dtype), factors, frame, step, fractional,
        radius, slack, np.append(atom, len(fractional))[pair], start[:, pair], tuple(points), blocks, len(blocks),
    )  # fmt: skip


def renew(
    known: Bricks, fractional: Array, radius: Array, shape: tuple[int, int, int], orth: Array, *, slack: float,
    joint: bool = False,
) -> Bricks:  # fmt: skip
    """Bricks for atoms that have moved: those known, where they hold, or with the few atoms anew that went too far.

    Parameters
    ----------
    known : Bricks
        What `assign` or `renew` gave for these atoms, in one model.
    fractional, radius, shape, orth, slack, joint
        See `assign`.
    """
    if not len(known.beyond(fractional, radius)):
        return known
    base = known.base or known
    far = base.beyond(fractional, radius)
    if not base.slack or len(far) > _FEW * len(fractional):
        return assign(fractional, radius, shape, orth, known.dtype, slack=slack, joint=joint)
    late = assign(fractional[far], radius[far], shape, orth, known.dtype, slack=base.slack, joint=joint)
    nobody = len(fractional)
    names = np.arange(nobody + 1)
    names[far] = nobody
    where, reach = base.fractional.copy(), base.radius.copy()
    where[far], reach[far] = late.fractional, late.radius
    offset = len(base.atom)
    return dataclasses.replace(
        base, fractional=where, radius=reach, atom=np.append(names[base.atom], np.append(far, nobody)[late.atom]),
        start=np.append(base.start, late.start, axis=1), base=base,
        blocks=(*base.blocks, *(block._replace(first=block.first + offset) for block in late.blocks)),
    )  # fmt: skip


def _right_angles(orth: Array) -> Array:
    """Which axes are at right angles (3, 3)."""
    length = np.linalg.norm(orth, axis=0)
    right: Array = np.abs(orth.T @ orth) / np.outer(length, length) < _RIGHT_ANGLE
    return right


def _order(right: Array) -> tuple[int, int, int]:
    """The axes in cyclic order, so that the last is at right angles to the two others if any is."""
    for last in (2, 1, 0):
        first, second = (last + 1) % 3, (last + 2) % 3
        if right[last, first] and right[last, second]:
            return first, second, last
    return 0, 1, 2


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
