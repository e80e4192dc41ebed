"""Real FFTs of stacked grids on the device, by cuFFT, with plans that are made once.

A plan holds work memory on the device. It stays alive as long as someone holds it, so whoever captures transforms in a
graph keeps the `Plan`; without one, the last few are kept here.
"""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from arrayrefine.kernels.backend import array_module

Array: TypeAlias = Any

_KEPT = 2
_COMPLEX = {np.dtype(np.float32): np.dtype(np.complex64), np.dtype(np.float64): np.dtype(np.complex128)}


@dataclass(frozen=True)
class Plan:
    """Transforms of `batch` grids of one shape, there and back; see `plan`.

    Attributes
    ----------
    shape : tuple of 3 ints
        Of one real grid.
    batch : int
        Number of grids, over all channels and models.
    dtype : float32 or float64
    forward, backward : cupy.cuda.cufft.PlanNd
    """

    shape: tuple[int, int, int]
    batch: int
    dtype: np.dtype[Any]
    forward: Any
    backward: Any

    @property
    def half(self) -> tuple[int, int, int]:
        """Shape of one transform: the layers l >= 0."""
        return self.shape[0], self.shape[1], self.shape[2] // 2 + 1


def plan(shape: tuple[int, int, int], batch: int, dtype: Any = np.float32) -> Plan:
    """Plan of the transforms of `batch` grids, made at the first call; this may wait for the device.

    Parameters
    ----------
    shape : tuple of 3 ints
    batch : int
        Channels times models.
    dtype : float32 or float64

    Raises
    ------
    ValueError
        Where the stack is empty.
    TypeError
        For any other type.
    """
    import cupy

    kind = np.dtype(dtype)
    if kind not in _COMPLEX:
        raise TypeError(f"grids are float32 or float64, not {kind}")
    nx, ny, nz = (int(n) for n in shape)
    if batch < 1 or min(nx, ny, nz) < 1:
        raise ValueError(f"{batch} grids of {(nx, ny, nz)} leave nothing to transform")
    return _make(cupy, int(cupy.cuda.runtime.getDevice()), (nx, ny, nz), int(batch), kind)


@functools.lru_cache(maxsize=_KEPT)
def _make(cupy: Any, device: int, shape: tuple[int, int, int], batch: int, kind: np.dtype[Any]) -> Plan:
    get_fft_plan = importlib.import_module("cupyx.scipy.fft").get_fft_plan
    # Plans want arrays, of which they read the shape and the type only; these go back to the pool.
    half = shape[0], shape[1], shape[2] // 2 + 1
    forward = get_fft_plan(cupy.empty((batch, *shape), kind), axes=(1, 2, 3), value_type="R2C")
    backward = get_fft_plan(cupy.empty((batch, *half), _COMPLEX[kind]), shape=shape, axes=(1, 2, 3), value_type="C2R")
    cupy.get_default_memory_pool().free_all_blocks()  # or small arrays would split their memory, and keep it
    return Plan(shape, batch, kind, forward, backward)


def forget() -> None:
    """Let go of the plans kept here, and of their work memory unless others hold them."""
    _make.cache_clear()


def _prepared(given: Array, shape: tuple[int, int, int], dtype: Any, held: Plan | None) -> Plan:
    """The plan for a stack (..., nx, ny, nz) of grids of `shape` or of their transforms."""
    batch = int(np.prod(given.shape[:-3], dtype=np.int64))
    held = plan(shape, batch, dtype) if held is None else held
    if (held.shape, held.batch, held.dtype) != (shape, batch, np.dtype(dtype)):
        raise ValueError(
            f"the plan is for {held.batch} grids of {held.shape} {held.dtype}; given were {batch} of {shape} "
            f"{np.dtype(dtype)}"
        )
    return held


def _run(made: Any, given: Array, result: Array, shape: tuple[int, ...], dtype: Any, direction: int) -> Array:
    if result.shape != shape or result.dtype != dtype:
        raise ValueError(f"the result is {dtype} {shape}, the array for it {result.dtype} {result.shape}")
    if not (given.flags.c_contiguous and result.flags.c_contiguous):
        raise ValueError("grids and transforms must be C-contiguous")
    made.fft(given.reshape(-1, *given.shape[-3:]), result.reshape(-1, *result.shape[-3:]), direction)
    return result


def rfftn(grids: Array, out: Array | None = None, plan: Plan | None = None) -> Array:
    """Transforms of stacked grids, Σ ρ e^{−2πi k·x}, as `scipy.fft.rfftn` over the last three axes.

    Parameters
    ----------
    grids : (..., nx, ny, nz) float32 or float64
        C-contiguous; kept.
    out : (..., nx, ny, nz // 2 + 1) complex, optional
    plan : Plan, optional
        Without one, that of the last call for the same stack is used, or made.

    Returns
    -------
    (..., nx, ny, nz // 2 + 1) complex64 or complex128
    """
    nx, ny, nz = (int(n) for n in grids.shape[-3:])
    held = _prepared(grids, (nx, ny, nz), grids.dtype, plan)
    shape, kind = (*grids.shape[:-3], *held.half), _COMPLEX[held.dtype]
    if out is None:
        out = array_module(grids).empty(shape, kind)
    return _run(held.forward, grids, out, shape, kind, -1)


def irfftn(transforms: Array, shape: tuple[int, int, int], out: Array | None = None, plan: Plan | None = None) -> Array:
    """Grids from stacked transforms without 1/N, as `scipy.fft.irfftn(..., norm="forward")`.

    Parameters
    ----------
    transforms : (..., nx, ny, nz // 2 + 1) complex64 or complex128
        C-contiguous, Hermitian on the layer l = 0. What it holds afterwards is undefined.
    shape : tuple of 3 ints
        Of one real grid.
    out : (..., nx, ny, nz) float, optional
    plan : Plan, optional
        Without one, that of the last call for the same stack is used, or made.

    Returns
    -------
    (..., nx, ny, nz) float32 or float64
    """
    real = {c: r for r, c in _COMPLEX.items()}.get(transforms.dtype)
    if real is None:
        raise TypeError(f"transforms are complex64 or complex128, not {transforms.dtype}")
    nx, ny, nz = (int(n) for n in shape)
    held = _prepared(transforms, (nx, ny, nz), real, plan)
    if transforms.shape[-3:] != held.half:
        raise ValueError(f"transforms of grids of {held.shape} are {held.half}, not {transforms.shape[-3:]}")
    grids = (*transforms.shape[:-3], *held.shape)
    if out is None:
        out = array_module(transforms).empty(grids, real)
    return _run(held.backward, transforms, out, grids, real, 1)
