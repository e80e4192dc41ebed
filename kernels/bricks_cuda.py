"""Which atoms reach which brick of the grid, on a CUDA device: the host side of `bricks.cu`.

The grid is cut into bricks of 8 × 8 × 16 points. Each evaluation lists the atoms that reach every brick and sorts the
lists; a block of threads then owns a brick and sums its atoms in that order, so the same input gives the same bits.
The arguments that `density_cuda` and `density_aniso_cuda` have in common are checked and converted here, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.kernels.backend import blocks_for, launch, to_device

Array = NDArray[Any]

BRICK = (8, 8, 16)
"""Points of a brick along each axis, as in the source of the kernels."""
_CHANNELS = (1, 2, 4, 6, 8)
"""Numbers of channels that kernels are compiled for."""
THREADS, WARPS = 128, 4
"""Threads of a block, and warps of those."""
_STATUS = {
    1: "more atoms reach the bricks than the plan has room for: make it with the largest radius that occurs",
    2: "coordinates, exponents or radii are not finite, or a sphere is wider than 1000 cells",
    4: "an atom belongs to a model that the plan does not have",
}


@dataclass(frozen=True)
class DensityPlan:
    """Buffers for atoms of one number on grids of one shape; made by `plan`, good for any number of evaluations.

    Two evaluations that run at the same time need a plan each.

    Attributes
    ----------
    shape : tuple of 3 ints
    n_atoms, n_channels, n_models : int
    dtype : float32 or float64
        Type of the grids.
    capacity : int
        Pairs of an atom and a brick that the lists have room for.
    cell, frame : device arrays, (9,) and (9,) float64
        Steps between grid points in the frame of the kernels with the steps per Å across the faces, and that frame.
    count : device array, (1 + bricks,) int32
        Atoms listed altogether, then atoms that reach each brick.
    begin, end : device arrays, (bricks,) int32
        Stretch of the list that belongs to each brick.
    keys : device array, (capacity,) uint64
        Atom and lattice image of every pair.
    position, form, weight : device arrays, (N, 3) float64, (N, 4) and (N, K padded) of `dtype`
        What the splat wants of every atom.
    status : device array, (1,) int32
        0, or what went wrong in any evaluation so far; see `check`.
    """

    shape: tuple[int, int, int]
    n_atoms: int
    n_channels: int
    n_models: int
    dtype: Any
    capacity: int
    cell: Any
    frame: Any
    count: Any
    begin: Any
    end: Any
    keys: Any
    position: Any
    form: Any
    weight: Any
    status: Any


def _geometry(shape: tuple[int, int, int], orth: Array) -> tuple[Array, Array]:
    """The arrays `cell` and `frame` of the kernels, on the host."""
    frame, step = np.linalg.qr(np.asarray(orth, dtype=np.float64) / np.asarray(shape))
    sign = np.where(np.diag(step) < 0.0, -1.0, 1.0)
    frame, step = frame * sign, step * sign[:, None]
    across = np.linalg.norm(np.linalg.inv(step), axis=1)
    return np.concatenate([step[np.triu_indices(3)], across]), np.ascontiguousarray(frame).reshape(-1)


def _most_bricks(across: Array, shape: tuple[int, int, int], radius: float) -> int:
    """Most bricks that the box around a sphere can meet; every lattice image counts."""
    most = 1
    for steps, n, width in zip(across, shape, BRICK):
        points = math.floor(2.0 * radius * float(steps)) + 1
        borders = (points + n - 2) // n if n % width else 0
        most *= (points + width - 2) // width + 1 + borders
    return most


def kernel_channels(channels: int) -> int:
    """Number of channels of the kernel that takes this many."""
    for number in _CHANNELS:
        if channels <= number:
            return number
    raise ValueError(f"{channels} channels were given; the CUDA kernels take up to {_CHANNELS[-1]}: split them")


def letter_of(dtype: Any) -> str:
    """Suffix of the kernels for grids of this type."""
    letters = {np.dtype(np.float32): "f", np.dtype(np.float64): "d"}
    if np.dtype(dtype) not in letters:
        raise TypeError(f"grids are float32 or float64, not {np.dtype(dtype)}")
    return letters[np.dtype(dtype)]


def _check_size(shape: tuple[int, int, int], n_channels: int) -> None:
    """The kernels index the points of one model by 32 bits."""
    if n_channels * math.prod(shape) >= 2**31:
        raise ValueError(f"a grid of {shape} with {n_channels} channels has more than 2³¹ points; use a coarser one")


def plan(
    shape: tuple[int, int, int],
    orth: Array,
    n_atoms: int,
    n_channels: int,
    largest_radius: float,
    dtype: Any = np.float32,
    n_models: int = 1,
    capacity: int | None = None,
) -> DensityPlan:
    """Allocate what evaluations of `density_cuda.splat` and `density_cuda.gather` need.

    Parameters
    ----------
    shape : tuple of 3 ints
    orth : (3, 3) float64, on the host
        Fractional to Cartesian, Å.
    n_atoms, n_channels : int
    largest_radius : float
        Å; no atom may have a larger one in any evaluation.
    dtype : float32 or float64
    n_models : int
    capacity : int, optional
        Pairs of an atom and a brick to make room for, instead of as many as atoms of the largest radius can have:
        `needed` counts them, and an evaluation that finds no room says so, see `check`.
    """
    import cupy

    letter_of(dtype)
    _check_size(shape, n_channels)
    padded = kernel_channels(n_channels)
    cell, frame = _geometry(shape, orth)
    bricks = n_models * math.prod(-(-n // width) for n, width in zip(shape, BRICK))
    if capacity is None:
        capacity = max(1, n_atoms * _most_bricks(cell[6:], shape, largest_radius))
    if max(capacity, bricks) >= 2**31:
        raise ValueError(
            f"{n_atoms} atoms of radius {largest_radius:.1f} Å in {n_models} models meet too many bricks of the grid; "
            "give fewer models at a time"
        )
    return DensityPlan(
        shape, n_atoms, n_channels, n_models, np.dtype(dtype), capacity, to_device(cell), to_device(frame),
        count=cupy.zeros(1 + bricks, np.int32), begin=cupy.empty(bricks, np.int32), end=cupy.empty(bricks, np.int32),
        keys=cupy.empty(capacity, np.uint64), position=cupy.empty((n_atoms, 3), np.float64),
        form=cupy.empty((n_atoms, 4), dtype), weight=cupy.empty((n_atoms, padded), dtype),
        status=cupy.zeros(1, np.int32),
    )  # fmt: skip


def padded_channels(channels: int) -> int:
    """Number of channels of the kernel that takes this many, or more of them in passes."""
    return kernel_channels(min(channels, _CHANNELS[-1]))


def expected_pairs(shape: tuple[int, int, int], orth: Array, radius: Array) -> int:
    """Pairs of an atom and a brick for atoms at random places; `radius` (N,) is on the host, Å.

    A sphere meets the bricks whose centres lie in the brick grown by its radius (Steiner's formula).
    """
    step = np.asarray(orth, dtype=np.float64) / np.asarray(shape)
    a, b, c = (step * np.asarray(BRICK)).T
    faces = sum(float(np.linalg.norm(np.cross(*pair))) for pair in ((a, b), (b, c), (c, a)))
    edges = sum(float(np.linalg.norm(v)) for v in (a, b, c))
    volume = abs(float(np.linalg.det(np.stack([a, b, c]))))
    r = np.asarray(radius, dtype=np.float64)
    grown = volume + 2.0 * r * faces + np.pi * r**2 * edges + 4.0 / 3.0 * np.pi * r**3
    return math.ceil(float(grown.sum()) / volume)


def needed(plan: DensityPlan) -> int:
    """Pairs of an atom and a brick in the last evaluation, those without room counted too. Waits for the device."""
    return int(plan.count[0])


def bytes_needed(
    shape: tuple[int, int, int], n_atoms: int, n_channels: int, n_models: int, capacity: int, itemsize: int = 4
) -> int:
    """Memory on the device that a `plan` takes, bytes; `n_atoms` are those of all models."""
    bricks = n_models * math.prod(-(-n // width) for n, width in zip(shape, BRICK))
    of_atoms = 24 + itemsize * (4 + kernel_channels(n_channels))
    return 4 * (1 + 3 * bricks) + 8 * capacity + n_atoms * of_atoms + 4 + 2 * 72


def full(status: int) -> bool:
    """Whether the status of a plan says that its lists have no room for all pairs."""
    return bool(status & 1)


def explain(status: int) -> str:
    """What the status of a plan says, in words; empty if nothing went wrong."""
    return "; ".join(text for bit, text in _STATUS.items() if status & bit)


def check(plan: DensityPlan) -> None:
    """Raise RuntimeError if an evaluation with this plan went wrong. This waits for the device."""
    status = int(plan.status[0])
    if status:
        raise RuntimeError(f"density on the CUDA device: {explain(status)}")


def cell_and_frame(
    shape: tuple[int, int, int], channels: int, orth: Array, plan: DensityPlan | None
) -> tuple[Any, Any]:
    """Device arrays `cell` and `frame` for maps of this shape, those of a plan where there is one."""
    _check_size(shape, channels)
    if plan is None:
        cell, frame = _geometry(shape, orth)
        return to_device(cell), to_device(frame)
    if plan.shape != shape:
        raise ValueError(f"the plan is for a grid of {plan.shape}, the maps have {shape}")
    return plan.cell, plan.frame


def on_device(
    fractional: Any, amplitude: Any, spread: Any, radius: Any, channel: Any, model: Any, dtype: Any
) -> tuple[Any, Any, Any, Any, Any, Any]:
    """Atoms as `splat` takes them, with the types of the kernels; no copies where they have them.

    `spread` is what a Gaussian falls off by: exponents (N,) or precisions (N, 6), Å⁻².
    """
    values = [to_device(a, np.float64) for a in (fractional, amplitude, spread, radius)]
    number = None if model is None else to_device(model, np.int32)
    return values[0], values[1], values[2], values[3], to_device(channel, dtype), number


def points_of(shape: tuple[int, int, int]) -> tuple[Any, Any, Any]:
    """Points of the grid along each axis, with the type of the kernels."""
    return np.int32(shape[0]), np.int32(shape[1]), np.int32(shape[2])


def widest(radius: Any) -> float:
    """The largest radius to plan for, Å; this waits for the device. One that is not finite is left to the kernels."""
    largest = float(radius.max()) if len(radius) else 0.0
    return largest if math.isfinite(largest) else 0.0


def require_planned(plan: DensityPlan, channel: Any, shape: tuple[int, int, int]) -> None:
    """Refuse atoms and grids that a plan was not made for; `channel` is (N, K)."""
    if (plan.n_atoms, plan.n_channels, plan.shape) != (*channel.shape, shape):
        raise ValueError(
            f"the plan is for {plan.n_atoms} atoms, {plan.n_channels} channels and a grid of {plan.shape}; given were "
            f"{channel.shape[0]} atoms, {channel.shape[1]} channels and {shape}"
        )


def shape_of(maps: Any, channels: int) -> tuple[int, int, int]:
    """Shape of the grid of maps (n_models, K, nx, ny, nz)."""
    if maps.ndim != 5 or maps.shape[1] != channels:
        raise ValueError(f"maps are (models, {channels} channels, nx, ny, nz), not {maps.shape}")
    return int(maps.shape[2]), int(maps.shape[3]), int(maps.shape[4])


def list_atoms(plan: DensityPlan, x: Any, q: Any, k: Any, r: Any, c: Any, number: Any) -> None:
    """List the atoms that reach each brick in the plan, sorted; arrays as `on_device` gives them."""
    letter = letter_of(plan.dtype)
    n, padded, bricks = plan.n_atoms, plan.weight.shape[1], len(plan.begin)
    n_atoms, models, capacity = np.int32(n), np.int32(plan.n_models), np.int32(plan.capacity)
    points = points_of(plan.shape)
    per_warp, per_brick = (blocks_for(n, WARPS),), (blocks_for(bricks, THREADS),)
    channels, total, reached = np.int32(plan.n_channels), plan.count[:1], plan.count[1:]
    plan.count.fill(0)
    launch(
        "bricks", f"count_{letter}", per_warp, (THREADS,),
        (x, q, k, r, c, number, n_atoms, channels, np.int32(padded), models, plan.cell, *points,
         plan.position, plan.form, plan.weight, reached, plan.status),
    )  # fmt: skip
    launch(
        "bricks", "allocate", per_brick, (THREADS,),
        (reached, np.int32(bricks), capacity, total, plan.begin, plan.end, plan.status),
    )  # fmt: skip
    launch(
        "bricks", "fill", per_warp, (THREADS,),
        (x, k, r, number, n_atoms, models, plan.cell, *points, reached, plan.begin, capacity, plan.keys, plan.status),
    )  # fmt: skip
    launch("bricks", "order", (bricks,), (THREADS,), (plan.begin, plan.end, plan.keys))
