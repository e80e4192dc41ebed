"""Anisotropic atoms to grid and back on a CUDA device: the host side of `density_aniso.cu`.

The lists of atoms by brick are those of `density_cuda`, made by its kernels for spheres around the atoms; a block then
owns a brick and adds its atoms to the grid in one order, and in the adjoint a warp owns an atom. A Gaussian ends where
it falls below its value at the radius along its longest axis. Nothing here waits for the device once a plan is given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import density_cuda
from .backend import launch, to_device

Array = NDArray[Any]

_FORM = 12
_THREADS, _WARPS = 128, 4


@dataclass(frozen=True)
class AnisoPlan:
    """Buffers for anisotropic atoms of one number on grids of one shape; made by `plan`.

    Attributes
    ----------
    lists : DensityPlan
        Shape, numbers, and the lists of atoms by brick; `density_cuda.check` and `density_cuda.needed` take it.
    exponent : device array, (N,) float64
        Smallest eigenvalue of every K.
    form : device array, (N, 12) of the grids' type
        What the splat wants of every atom.
    """

    lists: density_cuda.DensityPlan
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
    """Allocate what evaluations of `splat_aniso` and `gather_aniso` need; for the arguments see `density_cuda.plan`."""
    import cupy

    lists = density_cuda.plan(shape, orth, n_atoms, n_channels, largest_radius, dtype, n_models, capacity)
    return AnisoPlan(lists, cupy.empty(n_atoms, np.float64), cupy.empty((n_atoms, _FORM), dtype))


def bytes_needed(
    shape: tuple[int, int, int], n_atoms: int, n_channels: int, n_models: int, capacity: int, itemsize: int = 4
) -> int:
    """Memory on the device that a `plan` takes, bytes; `n_atoms` are those of all models."""
    lists = density_cuda.bytes_needed(shape, n_atoms, n_channels, n_models, capacity, itemsize)
    return lists + n_atoms * (8 + itemsize * _FORM)


def _points(shape: tuple[int, int, int]) -> tuple[Any, Any, Any]:
    return np.int32(shape[0]), np.int32(shape[1]), np.int32(shape[2])


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
        largest = float(radius.max()) if len(fractional) else 0.0
        largest = largest if math.isfinite(largest) else 0.0
        plan = _new_plan(shape, orth, len(fractional), channel.shape[1], largest, dtype, n_models)
    lists, letter = plan.lists, density_cuda.letter_of(plan.lists.dtype)
    if (lists.n_atoms, lists.n_channels, lists.shape) != (*channel.shape, shape):
        raise ValueError(
            f"the plan is for {lists.n_atoms} atoms, {lists.n_channels} channels and a grid of {lists.shape}; given "
            f"were {channel.shape[0]} atoms, {channel.shape[1]} channels and {shape}"
        )
    if out.shape != (lists.n_models, lists.n_channels, *shape) or out.dtype != lists.dtype:
        raise ValueError(
            f"grids {out.shape} of {out.dtype} for a plan of {lists.n_models} models, {lists.n_channels} channels, "
            f"{shape} points and {lists.dtype}"
        )
    if lists.n_atoms == 0:
        return out
    x, q, k, r, c, number = _atoms(fractional, amplitude, precision, radius, channel, model, lists.dtype)
    launch(
        "density_aniso", f"shapes_{letter}", (-(-lists.n_atoms // _THREADS),), (_THREADS,),
        (k, r, np.int32(lists.n_atoms), lists.cell, lists.frame, plan.exponent, plan.form),
    )  # fmt: skip
    density_cuda.list_atoms(lists, x, q, plan.exponent, r, c, number)
    launch(
        "density_aniso", f"splat_{letter}{lists.weight.shape[1]}", (len(lists.begin),), (_THREADS,),
        (lists.keys, lists.begin, lists.end, lists.position, plan.form, lists.weight, lists.cell, *_points(shape),
         np.int32(lists.n_channels), out),
    )  # fmt: skip
    if given is None:
        density_cuda.check(lists)
    return out


_new_plan = plan


def _atoms(
    fractional: Any, amplitude: Any, precision: Any, radius: Any, channel: Any, model: Any, dtype: Any
) -> tuple[Any, Any, Any, Any, Any, Any]:
    """The same arrays with the types that the kernels take; no copies where they have them."""
    if precision.shape != (len(fractional), 6):
        raise ValueError(f"{len(fractional)} atoms have precisions {precision.shape}; six values each are needed")
    values = [to_device(a, np.float64) for a in (fractional, amplitude, precision, radius)]
    number = None if model is None else to_device(model, np.int32)
    return values[0], values[1], values[2], values[3], to_device(channel, dtype), number


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
    if maps.ndim != 5 or maps.shape[1] != channels:
        raise ValueError(f"maps are (models, {channels} channels, nx, ny, nz), not {maps.shape}")
    shape = (int(maps.shape[2]), int(maps.shape[3]), int(maps.shape[4]))
    cell, frame = density_cuda.cell_and_frame(shape, channels, orth, None if plan is None else plan.lists)
    if out is None:
        out = cupy.empty(n, np.float64), cupy.empty((n, 3), np.float64), cupy.empty((n, 6), np.float64)
    x, q, k, r, c, number = _atoms(fractional, amplitude, precision, radius, channel, model, maps.dtype)
    kernel = f"gather_{density_cuda.letter_of(maps.dtype)}{density_cuda.kernel_channels(channels)}"
    launch(
        "density_aniso", kernel, (-(-n // _WARPS),), (_THREADS,),
        (to_device(maps), x, q, k, r, c, number, np.int32(n), np.int32(channels), np.int32(maps.shape[0]), cell, frame,
         *_points(shape), *out),
    )  # fmt: skip
    return out
