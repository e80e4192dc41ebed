"""Between B and U: an atom's displacement tensor as its equivalent B and what is anisotropic about it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.kernels import symmetric

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

EIGHT_PI_SQUARED = 8.0 * np.pi**2
"""B/U."""
B_BOUNDS = (0.5, 999.0)
"""Å²; no more than a PDB file has room for."""
U_LIMITS = (B_BOUNDS[0] / EIGHT_PI_SQUARED, B_BOUNDS[1] / EIGHT_PI_SQUARED)
"""Å²; mean square displacements along any direction stay between these."""
LARGE_B, MUCH_B = 300.0, 3.0
"""Å²: of atoms of which little is seen, but where a model has so many times its median B."""
NOT_ROUND = float(np.finfo(float).tiny)
"""Å²; nothing, but not zero: an entry of a tensor that is one, though round."""
_PRODUCTS = np.diag([3.0, 3.0, 3.0, 4.0, 4.0, 4.0])
_PRODUCTS[:3, :3] += 1.0 - np.eye(3)
CURVATURE_BY_U = EIGHT_PI_SQUARED**2 / 15.0 * _PRODUCTS
"""Curvature (6, 6) of the X-ray target by U over that by B: (8π²)² times the mean of s_i s_j s_k s_l over directions,
each off-diagonal of U counted twice."""


def large_b(b_iso: Float) -> float:
    """B (Å²) above which atoms of a model with these B (N,) are hardly seen, or wrong."""
    positive = b_iso[np.isfinite(b_iso) & (b_iso >= B_BOUNDS[0])]
    return LARGE_B if not len(positive) else float(np.clip(MUCH_B * np.median(positive), LARGE_B, B_BOUNDS[1]))


def has_u(atoms: Atoms) -> NDArray[np.int64]:
    """Numbers of the atoms that are not isotropic."""
    return np.flatnonzero(atoms.u_aniso.any(axis=1))


def total_u(atoms: Atoms, chosen: Mask | NDArray[np.int64] | slice = slice(None)) -> Float:
    """U (n, 6) of some atoms, isotropic part included, Å²."""
    u: Float = atoms.u_aniso[chosen] + symmetric.isotropic(atoms.b_iso[chosen] / EIGHT_PI_SQUARED)
    return u


def on_sites(atoms: Atoms, u: Float, chosen: Mask | NDArray[np.int64] | slice = slice(None)) -> Float:
    """Tensors (n, 6) of atoms (n,), or anything that they are made from (n, 6, k), as their site symmetry allows."""
    projection = atoms.u_projection
    return u if projection is None else np.einsum("nij,nj...->ni...", projection[chosen], u)


def parted(u: Float) -> tuple[Float, Float]:
    """Equivalent B (n,), Å², and traceless part (n, 6) of U (n, 6)."""
    mean = symmetric.trace(u) / 3.0
    return EIGHT_PI_SQUARED * mean, u - symmetric.isotropic(mean)


def joined(by_b: Float, by_u_aniso: Float | None) -> Float:
    """Gradient by U (n, 6) from those by the two parts of it: the adjoint of `parted`."""
    by_trace = EIGHT_PI_SQUARED / 3.0 * by_b
    if by_u_aniso is None:
        return symmetric.isotropic(by_trace)
    return by_u_aniso + symmetric.isotropic(by_trace - symmetric.trace(by_u_aniso) / 3.0)


def sharpest(atoms: Atoms) -> Float:
    """B (N,) along the direction in which each atom moves least, Å²: what its density must be sampled for."""
    some = has_u(atoms)
    if not len(some):
        return atoms.b_iso
    b = atoms.b_iso.copy()
    b[some] += EIGHT_PI_SQUARED * symmetric.eigenvalues(atoms.u_aniso[some])[:, 0]
    return b


def widest(atoms: Atoms) -> Float:
    """B (N,) along the direction in which each atom moves most, Å²: how far its density reaches."""
    some = has_u(atoms)
    if not len(some):
        return atoms.b_iso
    b = atoms.b_iso.copy()
    b[some] += EIGHT_PI_SQUARED * symmetric.eigenvalues(atoms.u_aniso[some])[:, 2]
    return b


def possible(u: Float) -> Float:
    """U (n, 6) with all eigenvalues within `U_LIMITS`; those that have them already stay as they are."""
    value = symmetric.eigenvalues(u)
    bad = np.flatnonzero((value[:, 0] < U_LIMITS[0]) | (value[:, 2] > U_LIMITS[1]))
    if not len(bad):
        return u
    out = u.copy()
    out[bad] = symmetric.within(u[bad], *U_LIMITS)
    return out


def least_b(atoms: Atoms) -> Float:
    """The smallest equivalent B (N,) with which each atom's U, anisotropic as it is, stays within `U_LIMITS`, Å²."""
    out = np.full(len(atoms), EIGHT_PI_SQUARED * U_LIMITS[0])
    some = has_u(atoms)
    out[some] -= EIGHT_PI_SQUARED * symmetric.eigenvalues(atoms.u_aniso[some])[:, 0]
    return out
