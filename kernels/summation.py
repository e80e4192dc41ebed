"""Direct summation of structure factors, exact, with its gradient: the reference for everything else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.kernels import symmetric
from arrayrefine.kernels.backend import array_module

Array = NDArray[Any]

_CHUNK = 4_000_000
"""Elements of the (operators · reflections × atoms) block held at once."""


def _chunks(
    hkl: Array, s_squared: Array, fractional: Array, b_iso: Array, form_factor: Array, element: Array,
    rotations: Array, translations: Array, u_star: Array | None,
) -> Iterator[tuple[slice, Array, Array, Array]]:  # fmt: skip
    """Yield (reflections, h R_g (G, r, 3), e^{2πi h(Rx + t)} (G, r, N), f e^{−B s²/4} (r, N)) per chunk.

    The third has the factor e^{−2π² hR U* (hR)ᵀ} where U* (N, 6) is given.
    """
    size = max(1, _CHUNK // max(1, len(fractional) * len(rotations)))
    for start in range(0, len(hkl), size):
        part = slice(start, start + size)
        h = hkl[part].astype(float)
        rotated = np.einsum("ri,gij->grj", h, rotations.astype(float))
        angle = rotated @ fractional.T + np.einsum("ri,gi->gr", h, translations)[..., None]
        wave = np.exp(2j * np.pi * angle)
        if u_star is not None:
            wave *= np.exp(-2.0 * np.pi**2 * (_products(rotated) @ u_star.T))
        weight = form_factor[:, part].T[:, element] * np.exp(-0.25 * s_squared[part, None] * b_iso)
        yield part, rotated, wave, weight


def _products(h: Array) -> Array:
    """Six products (..., 6) of indices (..., 3), so that h U hᵀ = products · U."""
    return symmetric.COUNTS * h[..., [0, 1, 2, 0, 0, 1]] * h[..., [0, 1, 2, 1, 2, 2]]


def _star(u_aniso: Array | None, frac: Array | None) -> Array | None:
    """U* = A U Aᵀ for the indices of reflections, from Cartesian U and A from Cartesian to fractional."""
    if u_aniso is None:
        return None
    if frac is None:
        raise ValueError("u_aniso was given without frac, the matrix from Cartesian to fractional coordinates")
    return symmetric.six(frac @ symmetric.matrices(u_aniso) @ frac.T)


def structure_factors(
    hkl: Array, s_squared: Array, fractional: Array, b_iso: Array, occupancy: Array, form_factor: Array, element: Array,
    rotations: Array, translations: Array, u_aniso: Array | None = None, frac: Array | None = None,
) -> Array:  # fmt: skip
    """F(h) = Σ_g Σ_atoms q f(s) e^{−B s²/4} e^{−2π² s·U s} e^{2πi h·(R_g x + t_g)}, with s = hR_g in Cartesian axes.

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
    u_aniso : (N, 6) float, Å², optional
        Cartesian U as 11, 22, 33, 12, 13, 23, on top of B: atoms have one of the two, or both. Zero where there is
        none.
    frac : (3, 3) float, Å⁻¹
        Cartesian to fractional coordinates; needed with `u_aniso`.

    Returns
    -------
    (R,) complex128
    """
    if array_module(fractional) is not np:
        from arrayrefine.kernels import summation_cuda

        on_device: Array = summation_cuda.structure_factors(
            hkl, s_squared, fractional, b_iso, occupancy, form_factor, element, rotations, translations,
            u_aniso, frac,
        )  # fmt: skip
        return on_device
    f = np.zeros(len(hkl), dtype=complex)
    args = (hkl, s_squared, fractional, b_iso, form_factor, element, rotations, translations, _star(u_aniso, frac))
    for part, _, wave, weight in _chunks(*args):
        f[part] = np.einsum("rn,rn->r", wave.sum(axis=0), weight * occupancy)
    return f


def gradient(
    d_f: Array, hkl: Array, s_squared: Array, fractional: Array, b_iso: Array, occupancy: Array, form_factor: Array,
    element: Array, rotations: Array, translations: Array, u_aniso: Array | None = None, frac: Array | None = None,
) -> tuple[Array, ...]:  # fmt: skip
    """Adjoint of `structure_factors`.

    Parameters
    ----------
    d_f : (R,) complex
        ∂T/∂Re F + i ∂T/∂Im F; the rest as in `structure_factors`.

    Returns
    -------
    d_fractional : (N, 3); d_b : (N,); d_occupancy : (N,)
    d_u : (N, 6), only where `u_aniso` is given
        By the six independent entries of the Cartesian U.
    """
    if array_module(fractional) is not np:
        from arrayrefine.kernels import summation_cuda

        return summation_cuda.gradient(
            d_f, hkl, s_squared, fractional, b_iso, occupancy, form_factor, element, rotations, translations,
            u_aniso, frac,
        )  # fmt: skip
    d_fractional, d_b, d_occupancy = np.zeros_like(fractional), np.zeros(len(b_iso)), np.zeros(len(b_iso))
    d_star = np.zeros((len(b_iso), 6))
    args = (hkl, s_squared, fractional, b_iso, form_factor, element, rotations, translations, _star(u_aniso, frac))
    for part, rotated, wave, weight in _chunks(*args):
        term = wave * np.conj(d_f[part])[:, None] * weight
        along = term.real.sum(axis=0)
        d_occupancy += along.sum(axis=0)
        d_b -= 0.25 * occupancy * (s_squared[part] @ along)
        d_fractional -= 2.0 * np.pi * occupancy[:, None] * np.einsum("grn,grj->nj", term.imag, rotated)
        if u_aniso is not None:
            d_star -= 2.0 * np.pi**2 * occupancy[:, None] * np.einsum("grn,grj->nj", term.real, _products(rotated))
    if u_aniso is None or frac is None:
        return d_fractional, d_b, d_occupancy
    return d_fractional, d_b, d_occupancy, symmetric.by_entry(frac.T @ symmetric.by_matrix(d_star) @ frac)
