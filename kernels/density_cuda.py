"""Atoms to grid and back on a CUDA device: the host side of `density.cu`.

A block of threads owns a brick of the grid and sums the atoms that `bricks_cuda` lists for it, in that order. In the
adjoint a warp owns an atom and sums over the points of its sphere. Nothing here waits for the device once a plan is
given.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.kernels import bricks_cuda
from arrayrefine.kernels.backend import blocks_for, launch, to_device
from arrayrefine.kernels.bricks_cuda import (
    THREADS,
    WARPS,
    DensityPlan,
    cell_and_frame,
    kernel_channels,
    letter_of,
    on_device,
    points_of,
    require_planned,
    shape_of,
    widest,
)

Array = NDArray[Any]


def splat(
    fractional: Any,
    amplitude: Any,
    exponent: Any,
    radius: Any,
    channel: Any,
    shape: tuple[int, int, int],
    orth: Array,
    dtype: Any = np.float32,
    model: Any = None,
    n_models: int = 1,
    *,
    plan: DensityPlan | None = None,
    out: Any = None,
) -> Any:
    """Sum Gaussians on periodic grids: `density.splat` for device arrays.

    Points within `radius` are included and no others; exp(−k r²) below 2⁻¹⁰⁰ counts as zero.

    Parameters
    ----------
    fractional, amplitude, exponent, radius, channel, shape, orth, dtype, model, n_models
        See `density.splat`; `orth` is on the host.
    plan : DensityPlan, optional
        Without one it is made here, which waits for the device, and its status is checked.
    out : (n_models, K, *shape) device array of `dtype`, optional

    Returns
    -------
    (n_models, K, *shape) device array of `dtype`
    """
    import cupy

    given = plan
    if plan is None:
        plan = bricks_cuda.plan(shape, orth, len(fractional), channel.shape[1], widest(radius), dtype, n_models)
    require_planned(plan, channel, shape)
    if out is None:
        out = cupy.empty((plan.n_models, plan.n_channels, *shape), plan.dtype)
    bricks_cuda.list_atoms(plan, *on_device(fractional, amplitude, exponent, radius, channel, model, plan.dtype))
    launch(
        "density", f"splat_{letter_of(plan.dtype)}{plan.weight.shape[1]}", (len(plan.begin),), (THREADS,),
        (plan.keys, plan.begin, plan.end, plan.position, plan.form, plan.weight, plan.cell, *points_of(shape),
         np.int32(plan.n_channels), out),
    )  # fmt: skip
    if given is None:
        bricks_cuda.check(plan)
    return out


def gather(
    maps: Any,
    fractional: Any,
    amplitude: Any,
    exponent: Any,
    radius: Any,
    channel: Any,
    orth: Array,
    model: Any = None,
    *,
    plan: DensityPlan | None = None,
    out: tuple[Any, Any, Any] | None = None,
) -> tuple[Any, Any, Any]:
    """Adjoint of `splat`: `density.gather` for device arrays.

    Parameters
    ----------
    maps, fractional, amplitude, exponent, radius, channel, orth, model
        See `density.gather`; `orth` is on the host.
    plan : DensityPlan, optional
        Saves the copy of the cell to the device.
    out : (N,), (N, 3) and (N,) float64 device arrays, optional

    Returns
    -------
    d_amplitude : (N,) float64
    d_xyz : (N, 3) float64
        By Cartesian coordinates, per Å.
    d_exponent : (N,) float64
        Not a number for atoms whose coordinates or radii are not finite, as the others then are.
    """
    import cupy

    letter = letter_of(maps.dtype)
    n, channels = channel.shape
    shape = shape_of(maps, channels)
    cell, frame = cell_and_frame(shape, channels, orth, plan)
    if out is None:
        out = cupy.empty(n, np.float64), cupy.empty((n, 3), np.float64), cupy.empty(n, np.float64)
    atoms = on_device(fractional, amplitude, exponent, radius, channel, model, maps.dtype)
    launch(
        "density", f"gather_{letter}{kernel_channels(channels)}", (blocks_for(n, WARPS),), (THREADS,),
        (to_device(maps), *atoms, np.int32(n), np.int32(channels), np.int32(maps.shape[0]), cell, frame,
         *points_of(shape), *out),
    )  # fmt: skip
    return out
