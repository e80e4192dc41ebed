"""Anisotropic atoms to grid and back on a CUDA device: the host side of `density_aniso.cu`.

The lists of atoms by brick are those of `bricks_cuda`, made by its kernels for spheres around the atoms; a block then
owns a brick and adds its atoms to the grid in one order, and in the adjoint a warp owns an atom. A Gaussian ends where
it falls below its value at the radius along its longest axis. Nothing here waits for the device once a plan is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.kernels import bricks_cuda
from arrayrefine.kernels.backend import blocks_for, launch, to_device
from arrayrefine.kernels.bricks_cuda import (
    THREADS,
    WARPS,
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

_FORM = 12


@dataclass(frozen=True)
class AnisoPlan:
    """Buffers for anisotropic atoms of one number on grids of one shape; made by `plan`.

    Attributes
    ----------
    lists : DensityPlan
        Shape, numbers, and the lists of atoms by brick; `bricks_cuda.check` and `bricks_cuda.needed` take it.
    exponent : device array, (N,) float64
        Smallest eigenvalue of every K.
    form : device array, (N, 12) of the grids' type
        What the splat wants of every atom.
    """

    lists: bricks_cuda.DensityPlan
    exponent: Any
    form: Any


def plan(
    shape: tuple[int, int, int],
    orth: Array,
    n_atoms: int,
    n_channels: int,
    largest_radius: float,
    dtype: Any = np.float32,
    n_models: int = 1,
    capacity: int | None = None,
) -> AnisoPlan:
    """Allocate what evaluations of `splat_aniso` and `gather_aniso` need; for the arguments see `bricks_cuda.plan`."""
    import cupy

    lists = bricks_cuda.plan(shape, orth, n_atoms, n_channels, largest_radius, dtype, n_models, capacity)
    return AnisoPlan(lists, cupy.empty(n_atoms, np.float64), cupy.empty((n_atoms, _FORM), dtype))


def bytes_needed(
    shape: tuple[int, int, int], n_atoms: int, n_channels: int, n_models: int, capacity: int, itemsize: int = 4
) -> int:
    """Memory on the device that a `plan` takes, bytes; `n_atoms` are those of all models."""
    lists = bricks_cuda.bytes_needed(shape, n_atoms, n_channels, n_models, capacity, itemsize)
    return lists + n_atoms * (8 + itemsize * _FORM)


def splat_aniso(
    fractional: Any,
    amplitude: Any,
    precision: Any,
    radius: Any,
    channel: Any,
    shape: tuple[int, int, int],
    orth: Array,
    dtype: Any = np.float32,
    model: Any = None,
    n_models: int = 1,
    *,
    plan: AnisoPlan | None = None,
    out: Any,
) -> Any:
    """Add anisotropic Gaussians to periodic grids: `density_aniso.splat_aniso` for device arrays.

    Parameters
    ----------
    fractional, amplitude, precision, radius, channel, shape, orth, dtype, model, n_models
        See `density_aniso.splat_aniso`; `orth` is on the host. K that is not positive definite is reported as not
        finite by the status of the plan.
    plan : AnisoPlan, optional
        Without one it is made here, which waits for the device, and its status is checked.
    out : (n_models, K, *shape) device array of `dtype`
        Where the density is added.

    Returns
    -------
    (n_models, K, *shape) device array of `dtype`
        `out`.
    """
    given = plan
    if plan is None:
        plan = _new_plan(shape, orth, len(fractional), channel.shape[1], widest(radius), dtype, n_models)
    lists, letter = plan.lists, letter_of(plan.lists.dtype)
    require_planned(lists, channel, shape)
    if out.shape != (lists.n_models, lists.n_channels, *shape) or out.dtype != lists.dtype:
        raise ValueError(
            f"grids {out.shape} of {out.dtype} for a plan of {lists.n_models} models, {lists.n_channels} channels, "
            f"{shape} points and {lists.dtype}"
        )
    if lists.n_atoms == 0:
        return out
    _require_precisions(precision, len(fractional))
    x, q, k, r, c, number = on_device(fractional, amplitude, precision, radius, channel, model, lists.dtype)
    launch(
        "density_aniso", f"shapes_{letter}", (blocks_for(lists.n_atoms, THREADS),), (THREADS,),
        (k, r, np.int32(lists.n_atoms), lists.cell, lists.frame, plan.exponent, plan.form),
    )  # fmt: skip
    bricks_cuda.list_atoms(lists, x, q, plan.exponent, r, c, number)
    launch(
        "density_aniso", f"splat_{letter}{lists.weight.shape[1]}", (len(lists.begin),), (THREADS,),
        (lists.keys, lists.begin, lists.end, lists.position, plan.form, lists.weight, lists.cell, *points_of(shape),
         np.int32(lists.n_channels), out),
    )  # fmt: skip
    if given is None:
        bricks_cuda.check(lists)
    return out


_new_plan = plan


def _require_precisions(precision: Any, n: int) -> None:
    """Refuse K that are not (N, 6)."""
    if precision.shape != (n, 6):
        raise ValueError(f"{n} atoms have precisions {precision.shape}; six values each are needed")


def gather_aniso(
    maps: Any,
    fractional: Any,
    amplitude: Any,
    precision: Any,
    radius: Any,
    channel: Any,
    orth: Array,
    model: Any = None,
    *,
    plan: AnisoPlan | None = None,
    out: tuple[Any, Any, Any] | None = None,
) -> tuple[Any, Any, Any]:
    """Adjoint of `splat_aniso`: `density_aniso.gather_aniso` for device arrays.

    Parameters
    ----------
    maps, fractional, amplitude, precision, radius, channel, orth, model
        See `density_aniso.gather_aniso`; `orth` is on the host.
    plan : AnisoPlan, optional
        Saves the copy of the cell to the device.
    out : (N,), (N, 3) and (N, 6) float64 device arrays, optional

    Returns
    -------
    d_amplitude : (N,) float64
    d_xyz : (N, 3) float64
        By Cartesian coordinates, per Å.
    d_precision : (N, 6) float64
        Not a number for atoms whose coordinates, K or radii make no sense, as the others then are.
    """
    import cupy

    n, channels = channel.shape
    shape = shape_of(maps, channels)
    cell, frame = cell_and_frame(shape, channels, orth, None if plan is None else plan.lists)
    if out is None:
        out = cupy.empty(n, np.float64), cupy.empty((n, 3), np.float64), cupy.empty((n, 6), np.float64)
    _require_precisions(precision, len(fractional))
    atoms = on_device(fractional, amplitude, precision, radius, channel, model, maps.dtype)
    kernel = f"gather_{letter_of(maps.dtype)}{kernel_channels(channels)}"
    launch(
        "density_aniso", kernel, (blocks_for(n, WARPS),), (THREADS,),
        (to_device(maps), *atoms, np.int32(n), np.int32(channels), np.int32(maps.shape[0]), cell, frame,
         *points_of(shape), *out),
    )  # fmt: skip
    return out
