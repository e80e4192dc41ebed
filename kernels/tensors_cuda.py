"""Atoms of which some have a displacement tensor, on the device: the host side of `tensors.cu`.

U of an atom is b_iso/8π² and what `u_aniso` adds to it. A batch has a leading axis of M; `u_aniso` may be shared by
all models, (N, 6), or have values for each, (M, N, 6). `index` (n,) int32 names some atoms, the same in all models.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from arrayrefine.kernels.backend import blocks_for, checked, launch

Array: TypeAlias = Any

_BLOCK = 128


def _spread(u_aniso: Array, models: int, n: int) -> Any:
    """Whether every model has a U of its own, as the kernels take it."""
    if u_aniso.shape not in ((n, 6), (models, n, 6)) or u_aniso.dtype != np.float64:
        raise ValueError(f"U {u_aniso.shape} for {models} models of {n} atoms; six values each are needed")
    return np.int32(u_aniso.ndim == 3)


def _numbers(index: Array, n: int) -> tuple[Any, Any]:
    if index.dtype != np.int32 or index.ndim != 1:
        raise ValueError(f"numbers of atoms are (n,) int32, found {index.dtype} {index.shape}")
    return np.int32(len(index)), np.int32(n)


def take(index: Array, atoms: tuple[Array, Array, Array], out: tuple[Array, Array, Array]) -> None:
    """Copy some atoms: one launch.

    Parameters
    ----------
    index : (n,) int32
    atoms : (M, N, 3), (M, N), (M, N) float64
        Coordinates, B and occupancies.
    out : (M, n, 3), (M, n), (M, n) float64
    """
    models, n = atoms[1].shape
    some = len(index)
    checked(atoms, (models, n, 3), (models, n), (models, n))
    checked(out, (models, some, 3), (models, some), (models, some))
    launch("tensors", "take", (blocks_for(some, _BLOCK), models), (_BLOCK,), (*_numbers(index, n), index, *atoms, *out))


def put(index: Array, some: tuple[Array, Array, Array], out: tuple[Array, Array, Array]) -> None:
    """Write values of some atoms, arrays as in `take`, among those of all; others keep theirs. One launch."""
    models, n = out[1].shape
    count = len(index)
    checked(some, (models, count, 3), (models, count), (models, count))
    checked(out, (models, n, 3), (models, n), (models, n))
    launch("tensors", "put", (blocks_for(count, _BLOCK), models), (_BLOCK,), (*_numbers(index, n), index, *some, *out))


def ellipsoids(
    index: Array,
    atoms: tuple[Array, Array, Array, Array],
    frac: Array,
    shift: Array,
    blur: float,
    cutoff: float,
    out: tuple[Array, Array, Array, Array],
) -> None:
    """What the density wants of anisotropic atoms with B + `blur` + `shift`: one launch.

    Parameters
    ----------
    index : (n,) int32
    atoms : (M, N, 3), (M, N), (M, N), (N, 6) or (M, N, 6) float64
        Coordinates (Å), B (Å²), occupancies, u_aniso (Å²) of all atoms.
    frac : (3, 3) float64
        Cartesian to fractional.
    shift : (N,) float64, Å²
    blur : float, Å²
    cutoff : float
        Fraction of its centre at which a Gaussian is cut off along its longest axis.
    out : (M, n, 3), (M, n), (M, n, 6), (M, n) float64
        Fractional coordinates, amplitude (Å⁻³), K (Å⁻²) and radius (Å); see `gaussians.Anisotropic`.
    """
    *values, u_aniso = atoms
    models, n = values[1].shape
    some = len(index)
    checked((*values, frac, shift), (models, n, 3), (models, n), (models, n), (3, 3), (n,))
    checked(out, (models, some, 3), (models, some), (models, some, 6), (models, some))
    launch(
        "tensors", "ellipsoids", (blocks_for(some, _BLOCK), models), (_BLOCK,),
        (*_numbers(index, n), _spread(u_aniso, models, n), np.float64(blur), np.float64(-math.log(cutoff)), index,
         frac, shift, *values, u_aniso, *out),
    )  # fmt: skip


def ellipsoids_pullback(
    index: Array,
    occupancy: Array,
    precision: Array,
    by_gaussian: tuple[Array, Array, Array],
    out: tuple[Array, Array, Array, Array],
) -> None:
    """Derivatives by anisotropic atoms from those by their Gaussians: one launch.

    Parameters
    ----------
    index : (n,) int32
    occupancy : (M, N) float64
        Of all atoms, as given to `ellipsoids`.
    precision : (M, n, 6) float64
        As made by `ellipsoids`.
    by_gaussian : (M, n), (M, n, 3), (M, n, 6) float64
        Derivatives by amplitude, Cartesian coordinates and K.
    out : (M, N, 3), (M, N), (M, N), (M, N, 6) float64
        By coordinates, B, occupancy and u_aniso of all atoms; those that `index` does not name keep theirs.
    """
    models, n = occupancy.shape
    some = len(index)
    checked((occupancy, precision), (models, n), (models, some, 6))
    checked(by_gaussian, (models, some), (models, some, 3), (models, some, 6))
    checked(out, (models, n, 3), (models, n), (models, n), (models, n, 6))
    launch(
        "tensors", "ellipsoids_pullback", (blocks_for(some, _BLOCK), models), (_BLOCK,),
        (*_numbers(index, n), index, occupancy, precision, *by_gaussian, *out),
    )  # fmt: skip


def total_u(b_iso: Array, u_aniso: Array, out: Array) -> Array:
    """U (M, N, 6) of all atoms, isotropic part included, Å²: one launch."""
    models, n = b_iso.shape
    checked((b_iso, out), (models, n), (models, n, 6))
    launch(
        "tensors", "total_u", (blocks_for(n, _BLOCK), models), (_BLOCK,),
        (np.int32(n), _spread(u_aniso, models, n), b_iso, u_aniso, out),
    )  # fmt: skip
    return out


def sum_by_b(
    terms: list[tuple[Array, Array]], out: tuple[Array, Array], by_u: Array | None = None
) -> tuple[Array, Array]:
    """Sum of one to four terms, and its derivative by B, and by U if it is wanted: one launch.

    Parameters
    ----------
    terms : list of (M,), (M, N, 6) float64
        Value, and derivative by U.
    out : (M,), (M, N) float64
    by_u : (M, N, 6) float64, optional
        For the derivative by U.
    """
    models, n = out[1].shape
    if not 1 <= len(terms) <= 4:
        raise ValueError(f"{len(terms)} terms were given; one to four can be added")
    for term in terms:
        checked(term, (models,), (models, n, 6))
    checked(out, (models,), (models, n))
    if by_u is not None:
        checked((by_u,), (models, n, 6))
    padded = [*terms, *[(None, None)] * (4 - len(terms))]
    launch(
        "tensors", "sum_by_b", (max(1, blocks_for(n, _BLOCK)), models), (_BLOCK,),
        (np.int32(n), *(value for value, _ in padded), *(slope for _, slope in padded), *out, by_u),
    )  # fmt: skip
    return out
