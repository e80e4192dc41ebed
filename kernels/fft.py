"""Real FFTs of stacked grids of which only the low frequencies are wanted, and back.

A grid is sampled finer than its highest frequency asks for, so a third and more of every axis of the transform is of
no use. Transforming axis by axis, and leaving out what nobody looks up before the next axis, saves as much. Along z and
y a few layers of the grid are worked on at a time, along x a few columns, so that they stay in the cache; workers share
them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from arrayrefine.kernels.processes import shared
from arrayrefine.kernels.threads import each, pieces, scratch

Array = NDArray[Any]

_CACHE = 1 << 21
"""Bytes of numbers that are transformed at a time."""


def kept(shape: tuple[int, int, int], reach: tuple[int, int, int]) -> tuple[int, int, int]:
    """Shape of a transform with the frequencies up to ±`reach` of a real grid of `shape`."""
    nx, ny, nz = shape
    return min(nx, 2 * reach[0] + 1), min(ny, 2 * reach[1] + 1), min(nz // 2 + 1, reach[2] + 1)


def _halves(n: int, m: int) -> tuple[slice, slice, slice, slice]:
    """Of m kept frequencies out of n: the non-negative and the negative, where they are kept and where they belong."""
    low = m - m // 2
    return slice(0, low), slice(low, m), slice(0, low), slice(n - m // 2, n)


def rfftn(grids: Array, stored: tuple[int, int, int], threads: int = 1, out: Array | None = None) -> Array:
    """Transforms Σ ρ e^{−2πi k·x} at low frequencies.

    Parameters
    ----------
    grids : (K, nx, ny, nz) float32 or float64, or bool, which is taken for float32
    stored : tuple of 3 ints
        As `kept` gives it.
    threads : int
    out : (K, *stored) array, optional
        Where the result goes, made by `shared`.

    Returns
    -------
    (K, *stored) complex64 or complex128
        Along x and y frequencies 0, 1, … and then the negative ones; l >= 0 along z.
    """
    count, nx, ny, _ = grids.shape
    kind = np.result_type(grids.dtype, np.complex64)
    real = np.result_type(grids.dtype, np.float32)
    half = shared("half", kind, count, nx, stored[1], stored[2])
    found = shared("transforms", kind, count, *stored) if out is None else out
    low, high, from_low, from_high = _halves(ny, stored[1])
    first, last, from_first, from_last = _halves(nx, stored[0])
    layers = pieces(nx, _CACHE // max(grids[:, 0].size * real.itemsize, 1))
    columns = pieces(stored[1], _CACHE // max(half[:, :, 0].nbytes, 1))

    def along_z_and_y(number: int) -> None:
        here = layers[number]
        line = scipy.fft.rfft(grids[:, here].astype(real, copy=False), axis=3)[..., : stored[2]]
        line = scipy.fft.fft(line, axis=2, overwrite_x=True)
        half[:, here, low], half[:, here, high] = line[:, :, from_low], line[:, :, from_high]

    def along_x(number: int) -> None:
        here = columns[number]
        line = scipy.fft.fft(half[:, :, here], axis=1)
        found[:, first, here], found[:, last, here] = line[:, from_first], line[:, from_last]

    each(along_z_and_y, len(layers), threads)
    each(along_x, len(columns), threads)
    return found.copy() if out is None else found


def irfftn(transforms: Array, shape: tuple[int, int, int], threads: int = 1, out: Array | None = None) -> Array:
    """Grids from transforms at low frequencies, all others being zero; without 1/N.

    Parameters
    ----------
    transforms : (K, *stored) complex64 or complex128
        As `rfftn` returns them; Hermitian on the layer l = 0.
    shape : tuple of 3 ints
        nx, ny, nz of a grid.
    threads : int
    out : (K, *shape) array, optional
        Where the result goes, made by `shared`.

    Returns
    -------
    (K, *shape) float32 or float64
    """
    count, *stored = transforms.shape
    nx, ny, nz = shape
    half = shared("half", transforms.dtype, count, nx, *stored[1:])
    found = shared("maps", transforms.real.dtype, count, *shape) if out is None else out
    low, high, to_low, to_high = _halves(ny, stored[1])
    first, last, to_first, to_last = _halves(nx, stored[0])
    layers = pieces(nx, _CACHE // max(found[:, 0].nbytes, 1))
    columns = pieces(stored[1], _CACHE // max(half[:, :, 0].nbytes, 1))

    def along_x(number: int) -> None:
        here = columns[number]
        line = scratch("columns", transforms.dtype, count, nx, here.stop - here.start, stored[2])
        line[:, to_first.stop : to_last.start] = 0.0
        line[:, to_first], line[:, to_last] = transforms[:, first, here], transforms[:, last, here]
        half[:, :, here] = scipy.fft.ifft(line, axis=1, norm="forward", overwrite_x=True)

    def along_y_and_z(number: int) -> None:
        here = layers[number]
        line = scratch("layers", transforms.dtype, count, here.stop - here.start, ny, nz // 2 + 1)
        part = line[..., : stored[2]]
        line[..., stored[2] :] = 0.0
        part[:, :, to_low.stop : to_high.start] = 0.0
        part[:, :, to_low], part[:, :, to_high] = half[:, here, low], half[:, here, high]
        result = scipy.fft.ifft(part, axis=2, norm="forward", overwrite_x=True)
        if not np.may_share_memory(result, part):
            part[...] = result
        found[:, here] = scipy.fft.irfft(line, n=nz, axis=3, norm="forward", overwrite_x=True)

    each(along_x, len(columns), threads)
    each(along_y_and_z, len(layers), threads)
    return found.copy() if out is None else found
