"""Real FFTs of stacked grids of which only the low frequencies are wanted, and back.

A grid is sampled finer than its highest frequency asks for, so a third and more of every axis of the transform is of
no use. Transforming axis by axis, and leaving out what nobody looks up before the next axis, saves as much.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Array = NDArray[Any]


def kept(shape: tuple[int, int, int], reach: tuple[int, int, int]) -> tuple[int, int, int]:
    """Shape of a transform with the frequencies up to ±`reach` of a real grid of `shape`."""
    nx, ny, nz = shape
    return min(nx, 2 * reach[0] + 1), min(ny, 2 * reach[1] + 1), min(nz // 2 + 1, reach[2] + 1)


def _halves(n: int, m: int) -> tuple[slice, slice, slice, slice]:
    """Of m kept frequencies out of n: the non-negative and the negative, where they are kept and where they belong."""
    low = m - m // 2
    return slice(0, low), slice(low, m), slice(0, low), slice(n - m // 2, n)


def _blocks(whole: Array, part: Array) -> list[tuple[Array, Array]]:
    """Pairs of views with the same frequencies: in a transform whose x and y are whole, and in one of those kept."""
    pairs = []
    by_x, by_y = (_halves(whole.shape[axis], part.shape[axis]) for axis in (1, 2))
    for i in (0, 1):
        for j in (0, 1):
            here = whole[:, by_x[2 + i], by_y[2 + j], : part.shape[3]]
            pairs.append((here, part[:, by_x[i], by_y[j]]))
    return pairs


def _columns(whole: Array, stored: tuple[int, int, int]) -> tuple[Array, Array]:
    """Views of the kept frequencies along y and z, all along x."""
    _, _, low, high = _halves(whole.shape[2], stored[1])
    return whole[:, :, low, : stored[2]], whole[:, :, high, : stored[2]]


def rfftn(grids: Array, stored: tuple[int, int, int], threads: int = 1) -> Array:
    """Transforms Σ ρ e^{−2πi k·x} at low frequencies.

    Parameters
    ----------
    grids : (K, nx, ny, nz) float32 or float64
    stored : tuple of 3 ints
        As `kept` gives it.
    threads : int

    Returns
    -------
    (K, *stored) complex64 or complex128
        Along x and y frequencies 0, 1, … and then the negative ones; l >= 0 along z.
    """
    half = scipy.fft.rfft(grids, axis=3, workers=threads)
    _in_place(scipy.fft.fft, half[..., : stored[2]], 2, threads)
    for columns in _columns(half, stored):
        _in_place(scipy.fft.fft, columns, 1, threads)
    out = np.empty((len(grids), *stored), half.dtype)
    for whole, part in _blocks(half, out):
        part[...] = whole
    return out


def irfftn(transforms: Array, shape: tuple[int, int, int], threads: int = 1) -> Array:
    """Grids from transforms at low frequencies, all others being zero; without 1/N.

    Parameters
    ----------
    transforms : (K, *stored) complex64 or complex128
        As `rfftn` returns them; Hermitian on the layer l = 0.
    shape : tuple of 3 ints
        nx, ny, nz of a grid.
    threads : int

    Returns
    -------
    (K, *shape) float32 or float64
    """
    half = np.zeros((len(transforms), shape[0], shape[1], shape[2] // 2 + 1), transforms.dtype)
    for whole, part in _blocks(half, transforms):
        whole[...] = part
    stored = (transforms.shape[1], transforms.shape[2], transforms.shape[3])
    for columns in _columns(half, stored):
        _in_place(scipy.fft.ifft, columns, 1, threads)
    _in_place(scipy.fft.ifft, half[..., : stored[2]], 2, threads)
    return np.asarray(scipy.fft.irfft(half, n=shape[2], axis=3, norm="forward", overwrite_x=True, workers=threads))


def _in_place(transform: Any, view: Array, axis: int, threads: int) -> None:
    """Transform a view of complex numbers along one axis, without a factor."""
    if view.size:
        norm = "forward" if transform is scipy.fft.ifft else "backward"
        result = transform(view, axis=axis, norm=norm, overwrite_x=True, workers=threads)
        if not np.may_share_memory(result, view):
            view[...] = result
