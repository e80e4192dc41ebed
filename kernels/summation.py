"""Direct summation of structure factors, exact, with its gradient: the reference for everything else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.kernels.backend import array_module

Array = NDArray[Any]

_CHUNK = 4_000_000
"""Elements of the (operators · reflections × atoms) block held at once."""


def _chunks(
    hkl: Array, s_squared: Array, fractional: Array, b_iso: Array, form_factor: Array, element: Array,
    rotations: Array, translations: Array,
) -> Iterator[tuple[slice, Array, Array, Array]]:  # fmt: skip
    """Yield (reflections, h R_g (G, r, 3), e^{2πi h(Rx + t)} (G, r, N), f e^{−B s²/4} (r, N)) per chunk."""
    size = max(1, _CHUNK // max(1, len(fractional) * len(rotations)))
    for start in range(0, len(hkl), size):
        part = slice(start, start + size)
        h = hkl[part].astype(float)
        rotated = np.einsum("ri,gij->grj", h, rotations.astype(float))
        angle = rotated @ fractional.T + np.einsum("ri,gi->gr", h, translations)[..., None]
        wave = np.exp(2j * np.pi * angle)
        weight = form_factor[:, part].T[:, element] * np.exp(-0.25 * s_squared[part, None] * b_iso)
        yield part, rotated, wave, weight


def structure_factors(
    hkl: Array, s_squared: Array, fractional: Array, b_iso: Array, occupancy: Array, form_factor: Array, element: Array,
    rotations: Array, translations: Array,
) -> Array:  # fmt: skip
    """F(h) = Σ_g Σ_atoms q f(s) e^{−B s²/4} e^{2πi h·(R_g x + t_g)}.

    Parameters
    ----------
    hkl : (R, 3) int
    s_squared : (R,) float, 1/d² in Å⁻²
    fractional : (N, 3) float
    b_iso, occupancy : (N,) float
    form_factor : (E, R) float
    element : (N,) int, row of `form_factor`
    rotations : (G, 3, 3) int; translations : (G, 3) float
        All operators of the group, centring included.

    Returns
    -------
    (R,) complex128
    """
    if array_module(fractional) is not np:
        from arrayrefine.kernels import summation_cuda

        on_device: Array = summation_cuda.structure_factors(
            hkl, s_squared, fractional, b_iso, occupancy, form_factor, element, rotations, translations
        )
        return on_device
    f = np.zeros(len(hkl), dtype=complex)
    args = (hkl, s_squared, fractional, b_iso, form_factor, element, rotations, translations)
    for part, _, wave, weight in _chunks(*args):
        f[part] = np.einsum("rn,rn->r", wave.sum(axis=0), weight * occupancy)
    return f


def gradient(
    d_f: Array, hkl: Array, s_squared: Array, fractional: Array, b_iso: Array, occupancy: Array, form_factor: Array,
    element: Array, rotations: Array, translations: Array,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Adjoint of `structure_factors`.

    Parameters
    ----------
    d_f : (R,) complex
        ∂T/∂Re F + i ∂T/∂Im F; the rest as in `structure_factors`.

    Returns
    -------
    d_fractional : (N, 3); d_b : (N,); d_occupancy : (N,)
    """
    if array_module(fractional) is not np:
        from arrayrefine.kernels import summation_cuda

        return summation_cuda.gradient(
            d_f, hkl, s_squared, fractional, b_iso, occupancy, form_factor, element, rotations, translations
        )
    d_fractional, d_b, d_occupancy = np.zeros_like(fractional), np.zeros(len(b_iso)), np.zeros(len(b_iso))
    args = (hkl, s_squared, fractional, b_iso, form_factor, element, rotations, translations)
    for part, rotated, wave, weight in _chunks(*args):
        term = wave * np.conj(d_f[part])[:, None] * weight
        along = term.real.sum(axis=0)
        d_occupancy += along.sum(axis=0)
        d_b -= 0.25 * occupancy * (s_squared[part] @ along)
        d_fractional -= 2.0 * np.pi * occupancy[:, None] * np.einsum("grn,grj->nj", term.imag, rotated)
    return d_fractional, d_b, d_occupancy
