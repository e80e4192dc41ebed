"""CUDA side of `summation`: the same functions on device arrays, in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from arrayrefine.kernels.backend import blocks_for, launch, to_device

Array: TypeAlias = Any

_BLOCK = 128
_MOST_OPERATORS = 384
_ENOUGH_BLOCKS = 1024
"""Blocks that keep any device busy; the work is cut into parts until there are as many."""
_LEAST_ATOMS = 8
"""A part with fewer atoms is not worth its sum."""


@dataclass(frozen=True)
class SummationBuffers:
    """Memory of the summation of R reflections over N atoms, for calls without allocation.

    Attributes
    ----------
    f : (R,) complex128
    gradient : (5 N,) or, with anisotropic U, (11 N,) float64
        By fractional coordinates (N, 3), B (N,), occupancy (N,), and U (N, 6).
    partial_f : (parts, R) complex128
        Sums over parts of the atoms.
    partial_gradient : (parts, 5 N or 11 N) float64
        Sums over parts of the reflections.
    """

    f: Array
    gradient: Array
    partial_f: Array
    partial_gradient: Array


def buffers(n_reflections: int, n_atoms: int, anisotropic: bool = False) -> SummationBuffers:
    """Allocate the memory of the summation."""
    import cupy

    width = 11 if anisotropic else 5
    of_atoms = _parts(n_atoms, n_reflections, _LEAST_ATOMS)
    of_reflections = _parts(n_reflections, n_atoms, _BLOCK)
    return SummationBuffers(
        cupy.zeros(n_reflections, np.complex128),
        cupy.zeros(width * n_atoms),
        cupy.zeros((of_atoms, n_reflections), np.complex128),
        cupy.zeros((of_reflections, width * n_atoms)),
    )


def _parts(n: int, owners: int, least: int) -> int:
    """Number of parts of n terms where each of `owners` threads has a sum; depends on the two sizes only."""
    return max(1, min(-(-n // least), _ENOUGH_BLOCKS // max(1, blocks_for(owners, _BLOCK))))


def _problem(
    hkl: Array, s_squared: Array, fractional: Array, b_iso: Array, occupancy: Array, form_factor: Array, element: Array,
    rotations: Array, translations: Array,
) -> tuple[tuple[Array, ...], tuple[int, int, int]]:  # fmt: skip
    """Arrays with the types of the kernels, no copies where they have them, and the numbers R, N, G."""
    double = [to_device(a, np.float64) for a in (s_squared, fractional, b_iso, occupancy, form_factor, translations)]
    whole = [to_device(a, np.int32) for a in (hkl, element, rotations)]
    s_squared, fractional, b_iso, occupancy, form_factor, translations = double
    hkl, element, rotations = whole
    n, atoms, operators = len(hkl), len(fractional), len(rotations)
    if operators > _MOST_OPERATORS:
        raise ValueError(f"{operators} operators were given; the CUDA kernels take up to {_MOST_OPERATORS}")
    if form_factor.ndim != 2 or form_factor.shape[1] != n or not len(b_iso) == len(occupancy) == len(element) == atoms:
        raise ValueError(
            f"form factors {form_factor.shape} for {n} reflections; {atoms} positions with {len(b_iso)} B, "
            f"{len(occupancy)} occupancies and {len(element)} elements"
        )
    arrays = (hkl, s_squared, fractional, b_iso, occupancy, form_factor, element, rotations, translations)
    return arrays, (n, atoms, operators)


def _spread(u_aniso: Array | None, frac: Array | None, atoms: int) -> tuple[str, tuple[Array, ...]]:
    """Suffix of the kernels, and their arguments for U."""
    if u_aniso is None:
        return "", ()
    if frac is None:
        raise ValueError("u_aniso was given without frac, the matrix from Cartesian to fractional coordinates")
    if u_aniso.shape != (atoms, 6):
        raise ValueError(f"{atoms} atoms have U {u_aniso.shape}; six values each are needed")
    return "_aniso", (to_device(u_aniso, np.float64), to_device(frac, np.float64))


def _memory(out: SummationBuffers | None, n: int, atoms: int, anisotropic: bool) -> SummationBuffers:
    held = buffers(n, atoms, anisotropic) if out is None else out
    width = 11 if anisotropic else 5
    if len(held.f) != n or len(held.gradient) != width * atoms:
        raise ValueError(
            f"buffers for {len(held.f)} reflections and {len(held.gradient) // width} atoms; given were {n} and {atoms}"
        )
    return held


def _sum_parts(partial: Array, out: Array) -> Array:
    """Add the parts (parts, n); `out` has n values of the same type."""
    n = partial[0].nbytes // 8
    sizes = np.int64(n), np.int32(len(partial))
    launch("summation", "sum_parts", (blocks_for(n, _BLOCK),), (_BLOCK,), (*sizes, partial, out))
    return out


def structure_factors(
    hkl: Array, s_squared: Array, fractional: Array, b_iso: Array, occupancy: Array, form_factor: Array, element: Array,
    rotations: Array, translations: Array, u_aniso: Array | None = None, frac: Array | None = None,
    out: SummationBuffers | None = None,
) -> Array:  # fmt: skip
    """See `summation.structure_factors`: two launches, no host synchronisation.

    Parameters
    ----------
    hkl, element, rotations : int32, others are converted at each call
    s_squared, fractional, b_iso, occupancy, form_factor, translations, u_aniso, frac : float64
    out : SummationBuffers, optional

    Returns
    -------
    (R,) complex128
        Memory of `out`.
    """
    arrays, (n, atoms, operators) = _problem(
        hkl, s_squared, fractional, b_iso, occupancy, form_factor, element, rotations, translations
    )
    suffix, spread = _spread(u_aniso, frac, atoms)
    held = _memory(out, n, atoms, bool(spread))
    parts = len(held.partial_f)
    if operators == 0:
        held.f.fill(0.0)
        return held.f
    launch(
        "summation", f"structure_factors{suffix}", (blocks_for(n, _BLOCK), parts), (_BLOCK,),
        (np.int32(n), np.int32(atoms), np.int32(operators), np.int32(-(-atoms // parts)), *arrays, *spread,
         held.partial_f),
    )  # fmt: skip
    return _sum_parts(held.partial_f, held.f)


def gradient(
    d_f: Array, hkl: Array, s_squared: Array, fractional: Array, b_iso: Array, occupancy: Array, form_factor: Array,
    element: Array, rotations: Array, translations: Array, u_aniso: Array | None = None, frac: Array | None = None,
    out: SummationBuffers | None = None,
) -> tuple[Array, ...]:  # fmt: skip
    """See `summation.gradient`: two launches, no host synchronisation.

    Parameters
    ----------
    d_f : (R,) complex128
    hkl, element, rotations : int32, others are converted at each call
    s_squared, fractional, b_iso, occupancy, form_factor, translations, u_aniso, frac : float64
    out : SummationBuffers, optional

    Returns
    -------
    d_fractional : (N, 3) float64
    d_b, d_occupancy : (N,) float64
    d_u : (N, 6) float64, only where `u_aniso` is given
        Memory of `out`.
    """
    arrays, (n, atoms, operators) = _problem(
        hkl, s_squared, fractional, b_iso, occupancy, form_factor, element, rotations, translations
    )
    suffix, spread = _spread(u_aniso, frac, atoms)
    held = _memory(out, n, atoms, bool(spread))
    parts = len(held.partial_gradient)
    launch(
        "summation", f"gradient{suffix}", (blocks_for(atoms, _BLOCK), parts), (_BLOCK,),
        (np.int32(n), np.int32(atoms), np.int32(operators), np.int32(-(-n // parts)), to_device(d_f, np.complex128),
         *arrays, *spread, held.partial_gradient),
    )  # fmt: skip
    values = _sum_parts(held.partial_gradient, held.gradient)
    found = values[: 3 * atoms].reshape(atoms, 3), values[3 * atoms : 4 * atoms], values[4 * atoms : 5 * atoms]
    return (*found, values[5 * atoms :].reshape(atoms, 6)) if spread else found
