"""Symmetry in reciprocal space: F(h) = Σ_g e^{2πi h·t_g} P(h R_g), and its adjoint.

P is held as the half-complex output of a real FFT with the sign e^{−2πi k·x}, so P(h') = S(−h') where −h' is stored and
conj S(h') otherwise. Of the stored layers l' >= 0, any along x and y may have been left out (a pruned transform):
h' is found at ((h' mod mx) my + (k' mod my)) mz + l'.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.kernels import processes
from arrayrefine.kernels.backend import array_module
from arrayrefine.kernels.threads import each, pieces

Array = NDArray[Any]

_PIECE = 1 << 13
"""Reflections that are looked up at a time, so that they stay in the cache."""


@dataclass(frozen=True)
class Round:
    """Terms of the scatter that fall on different positions.

    Attributes
    ----------
    member : (S,) intp
        Row of `LookUp.target`.
    source : (S,) intp
        Reflection r for its gradient, r + R for its conjugate.
    weight : (S,) complex
    """

    member: Array
    source: Array
    weight: Array


@dataclass(frozen=True)
class LookUp:
    """Where each reflection and operator finds its value, and what falls on each position in the adjoint.

    Attributes
    ----------
    stored : tuple of 3 ints
    index : (G, R) intp
        Position in one flattened transform.
    sign : (G, R) float32 or float64
        −1 where the stored value is to be conjugated.
    phase : (G, R) complex64 or complex128
        e^{2πi h·t_g}, times the number of centring translations.
    target : (U,) intp
        The distinct positions, in their order.
    owner : (U,) intp
        One of the reflections that use each position; they all have the same |h|.
    rounds : tuple of Round
        The first has one term for every position.
    """

    stored: tuple[int, int, int]
    index: Array
    sign: Array
    phase: Array
    target: Array
    owner: Array
    rounds: tuple[Round, ...]


def plan(
    hkl: Array, rotations: Array, translations: Array, n_centring: int, stored: tuple[int, int, int], dtype: Any
) -> LookUp:
    """Prepare the look-up of reflections (R, 3) under G operators.

    Parameters
    ----------
    hkl : (R, 3) int
    rotations, translations : (G, 3, 3) int and (G, 3) float
        The operators without centring.
    n_centring : int
        Number of centring translations, the zero included.
    stored : tuple of 3 ints
        Shape of a transform: (nx, ny, nz//2 + 1) for all of it, less for a pruned one.
    dtype : complex64 or complex128

    Raises
    ------
    ValueError
        Where a reflection or one of its equivalents is not in `stored`.
    """
    h = np.asarray(hkl, dtype=np.int64)
    rotated = np.einsum("ri,gij->grj", h, np.asarray(rotations, dtype=np.int64))
    _check(rotated, stored)
    phase = n_centring * np.exp(2j * np.pi * (np.einsum("ri,gi->gr", h, translations) % 1.0))
    conjugate = rotated[..., 2] > 0
    index = _position(np.where(conjugate[..., None], rotated, -rotated), stored)
    number = np.broadcast_to(np.arange(len(h)), index.shape)
    # The real inverse FFT counts all layers but l = 0 twice: hence ½. There, the conjugate goes to −h instead: real
    # inverse FFTs of some libraries want the layer to be Hermitian.
    weight = 0.5 * np.where(conjugate, phase, phase.conj())
    flat = rotated[..., 2] == 0
    target, rounds = _rounds(
        np.concatenate([index.reshape(-1), _position(rotated[flat], stored)]),
        np.concatenate([(number + len(h) * conjugate).reshape(-1), number[flat] + len(h)]),
        np.concatenate([weight.reshape(-1), weight[flat].conj()]).astype(dtype),
    )
    real = np.float32 if dtype == np.complex64 else np.float64
    sign = np.where(conjugate, -1.0, 1.0).astype(real)
    owner = rounds[0].source % max(1, len(h))
    return LookUp(stored, index, sign, phase.astype(dtype), target, owner, rounds)


def _check(rotated: Array, stored: tuple[int, int, int]) -> None:
    reach = np.abs(rotated).reshape(-1, 3).max(axis=0, initial=0)
    if 2 * reach[0] > stored[0] or 2 * reach[1] > stored[1] or reach[2] >= stored[2]:
        raise ValueError(f"reflections reach ±{tuple(reach.tolist())}; a transform of {stored} does not hold them")


def _position(h: Array, stored: tuple[int, int, int]) -> Array:
    mx, my, mz = stored
    return np.asarray(((h[..., 0] % mx) * my + h[..., 1] % my) * mz + h[..., 2], dtype=np.intp)


def _rounds(position: Array, source: Array, weight: Array) -> tuple[Array, tuple[Round, ...]]:
    """Distinct positions, and the first, second, … term of each."""
    order = np.argsort(position, kind="stable")
    target, begin, count = np.unique(position[order], return_index=True, return_counts=True)
    rounds = []
    for j in range(int(count.max(initial=1))):
        member = np.nonzero(count > j)[0]
        term = order[begin[member] + j]
        rounds.append(Round(member, source[term].astype(np.intp), weight[term]))
    return target, tuple(rounds)


def look_up(transforms: Array, factor: Array, table: Any) -> Array:
    """Structure factors from K transforms.

    Parameters
    ----------
    transforms : (..., K, mx, my, mz) complex
        Real FFTs of the grids; leading axes are a batch of models.
    factor : (K, R) float
        Factor of each grid at each reflection (form factor, blur correction, volume element); a function of |h|.
    table : LookUp
        Or a `lookup_cuda.DeviceLookUp` for device arrays.

    Returns
    -------
    (..., R) complex128
    """
    if array_module(transforms) is not np:
        from arrayrefine.kernels import lookup_cuda

        on_device: Array = lookup_cuda.look_up(transforms, factor, table)
        return on_device
    batch = transforms.shape[:-4]
    kind, count = table.phase.dtype, len(factor)
    factors = np.asarray(factor, dtype=kind)
    models = transforms.reshape(math.prod(batch), count, math.prod(table.stored))
    n = table.index.shape[1]
    found = processes.shared("looked up", np.complex128, len(models), n)
    parts = pieces(n, _PIECE)

    def one(number: int) -> None:
        here = parts[number]
        found[:, here] = 0.0
        value, total = np.empty((2, here.stop - here.start), dtype=kind)
        for f, grids in zip(found, models):
            for index, sign, phase in zip(table.index, table.sign, table.phase):
                total.fill(0.0)
                for grid, by in zip(grids, factors):
                    np.take(grid, index[here], out=value, mode="clip")
                    value *= by[here]
                    total += value
                total.imag *= sign[here]
                total *= phase[here]
                f[here] += total

    each(one, len(parts), 1)
    return found.copy().reshape(*batch, n)


def scatter(
    gradient: Array, factor: Array, table: Any, stored: tuple[int, int, int], out: Array | None = None
) -> Array:
    """Adjoint of `look_up`, ready for an unscaled real inverse FFT.

    Parameters
    ----------
    gradient : (..., R) complex
        ∂T/∂Re F + i ∂T/∂Im F; leading axes are a batch of models.
    factor : (K, R) float
    table : LookUp
        Or a `lookup_cuda.DeviceLookUp` for device arrays.
    stored : tuple of 3 ints
        As given to `plan`.
    out : (..., K, mx, my, mz) complex, optional
        Contiguous array for the result.

    Returns
    -------
    (..., K, mx, my, mz) complex
        Zero where no reflection falls; Hermitian on the layer l = 0.
    """
    if array_module(gradient) is not np:
        from arrayrefine.kernels import lookup_cuda

        on_device: Array = lookup_cuda.scatter(gradient, factor, table, stored, out)
        return on_device
    batch = gradient.shape[:-1]
    kind, n = table.phase.dtype, gradient.shape[-1]
    shape = (*batch, len(factor), *stored)
    if out is None:
        out = np.zeros(shape, dtype=kind)
    else:
        out.fill(0.0)
    models = out.reshape(math.prod(batch), len(factor), math.prod(stored))
    factors = np.asarray(factor, dtype=kind)
    both, value = np.empty(2 * n, dtype=kind), np.empty(len(table.target), dtype=kind)
    for grids, row in zip(models, gradient.reshape(math.prod(batch), n)):
        both[:n] = row
        np.conjugate(both[:n], out=both[n:])
        summed = both.take(table.rounds[0].source)
        summed *= table.rounds[0].weight
        for again in table.rounds[1:]:
            summed[again.member] += both[again.source] * again.weight
        for grid, by in zip(grids, factors):
            np.take(by, table.owner, out=value, mode="clip")
            value *= summed
            grid[table.target] = value
    return out
