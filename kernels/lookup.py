"""Symmetry in reciprocal space: F(h) = Σ_g e^{2πi h·t_g} P(h R_g), and its adjoint.

P is held as the half-complex output of a real FFT with the sign e^{−2πi k·x}, so P(h') = S(−h') where −h' is stored and
conj S(h') otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class LookUp:
    """Where each reflection and operator finds its value.

    Attributes
    ----------
    index : (G·R,) intp
        Position in one flattened half-complex grid.
    sign : (G, R) float32
        −1 where the stored value is to be conjugated.
    phase : (G, R) complex64 or complex128
        e^{2πi h·t_g}, times the number of centring translations.
    target, member : (U,), (G·R,) intp
        The distinct positions, and which of them each look-up uses; for the scatter.
    half : (U,) float
        1 on the l = 0 layer, ½ elsewhere: the real inverse FFT counts those twice.
    """

    index: Array
    sign: Array
    phase: Array
    target: Array
    member: Array
    half: Array


def plan(
    hkl: Array, rotations: Array, translations: Array, n_centring: int, shape: tuple[int, int, int], dtype: Any
) -> LookUp:
    """Prepare the look-up of reflections (R, 3) under G operators on a grid of `shape` points."""
    h = np.asarray(hkl, dtype=np.int64)
    rotated = np.einsum("ri,gij->grj", h, np.asarray(rotations, dtype=np.int64))
    phase = n_centring * np.exp(2j * np.pi * np.einsum("ri,gi->gr", h, translations))
    conjugate = rotated[..., 2] > 0
    stored = np.where(conjugate[..., None], rotated, -rotated)
    nx, ny, nz = shape
    flat = ((stored[..., 0] % nx) * ny + stored[..., 1] % ny) * (nz // 2 + 1) + stored[..., 2]
    index = flat.reshape(-1).astype(np.intp)
    target, member = np.unique(index, return_inverse=True)
    half = np.where(target % (nz // 2 + 1) == 0, 1.0, 0.5)
    real = np.float32 if dtype == np.complex64 else np.float64
    return LookUp(
        index,
        np.where(conjugate, -1.0, 1.0).astype(real),
        phase.astype(dtype),
        target.astype(np.intp),
        member.reshape(-1).astype(np.intp),
        half.astype(real),
    )


def look_up(transforms: Array, factor: Array, table: LookUp) -> Array:
    """Structure factors (R,) complex128 from K transforms.

    Parameters
    ----------
    transforms : (K, nx, ny, nz//2+1) complex
        Real FFTs of the grids.
    factor : (K, R) float
        Factor of each grid at each reflection (form factor, blur correction, volume element).
    table : LookUp
    """
    flat = transforms.reshape(len(transforms), -1)
    shape = table.phase.shape
    total = np.zeros(shape, dtype=table.phase.dtype)
    for grid, f in zip(flat, factor):
        total += grid.take(table.index).reshape(shape) * f.astype(table.sign.dtype)
    total.imag *= table.sign
    total *= table.phase
    return np.asarray(total.sum(axis=0, dtype=np.complex128))


def scatter(gradient: Array, factor: Array, table: LookUp, shape: tuple[int, int, int]) -> Array:
    """Adjoint of `look_up`, ready for an unscaled real inverse FFT.

    Parameters
    ----------
    gradient : (R,) complex
        ∂T/∂Re F + i ∂T/∂Im F.
    factor : (K, R) float
    table : LookUp
    shape : tuple of 3 ints
        Of the real grid.

    Returns
    -------
    (K, nx, ny, nz//2+1) complex
    """
    nx, ny, nz = shape
    terms = gradient.astype(table.phase.dtype) * table.phase.conj()
    terms.imag *= table.sign
    count = len(table.target)
    summed = np.empty(count, dtype=np.complex128)
    flat = terms.reshape(-1)
    summed.real = np.bincount(table.member, flat.real, count)
    summed.imag = np.bincount(table.member, flat.imag, count)
    # The factor depends on |h| only, so any reflection that uses a position gives its value there.
    owner = np.empty(count, dtype=np.intp)
    owner[table.member] = np.tile(np.arange(table.phase.shape[1]), table.phase.shape[0])
    out = np.zeros((len(factor), nx * ny * (nz // 2 + 1)), dtype=table.phase.dtype)
    for grid, f in zip(out, factor):
        grid[table.target] = summed * (f[owner] * table.half)
    return out.reshape(len(factor), nx, ny, nz // 2 + 1)
