"""Restraints on anisotropic displacement parameters: neighbours' U alike, bonds rigid, atoms not too flat.

U (N, 6) is Cartesian, Å², as 11, 22, 33, 12, 13, 23, and gradients are by the independent entry: off the diagonal both
places of the matrix count. Isotropic atoms take part as multiples of the identity; their derivative by u is then the
sum of the first three.

Second derivatives are given for the symmetric S of U = R exp(S) R, R = U₀^{1/2}, at S = 0, without the terms that can
be negative. There all three restraints are quadratic forms with simple factors, whatever U₀ is:

- `kl`: (w/6) ‖S₁ − S₂‖² of neighbours that are alike (‖·‖² sums over nine entries, so the six are counted 1, 1, 1, 2,
  2, 2). Per pair this is a scalar h = w/3, as in the Laplacian of the pairs: +h (times that count) on each end, −h
  between them; `kl_curvature`.
- `rigid_bond`: ½ w (a₁ᵀS₁a₁ − a₂ᵀS₂a₂)² with aₖ = Rₖ e, e along the bond; `rigid_bond_curvature` gives the two rows.
- `sphericity`: (w/6) ‖S − tr(S)/3 · 1‖² of atoms that are nearly round, so h = w/3 again, on the five shapes only;
  `sphericity_curvature`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrayrefine.kernels import symmetric
from arrayrefine.kernels.adp import B_FLOOR
from arrayrefine.kernels.backend import array_module

Float = NDArray[np.float64]
Int = NDArray[np.int64]

U_FLOOR = B_FLOOR / (8.0 * np.pi**2)
"""Å²; a U whose smallest eigenvalue lies below this is made rounder by as much in `kl` and `sphericity`, which have a
pole where an eigenvalue is zero."""


def _safe(u: Float) -> Float:
    short = U_FLOOR - symmetric.eigenvalues(u)[..., 0]
    return u + symmetric.isotropic(np.maximum(short, 0.0))


def kl(u: Float, i: Int, j: Int, weight: Float) -> tuple[float, Float]:
    """Kullback-Leibler restraint: neighbours have similar U.

    Σ (w/6) [tr(U₁U₂⁻¹) + tr(U₂U₁⁻¹) − 6], the symmetrised divergence of two Gaussians (Murshudov et al., Acta Cryst.
    D67, 355, 2011) with the factor for which it is ½ Σ w (B₁ − B₂)²/(B₁B₂), `adp.kl`, where both are isotropic: then
    each trace is three times a ratio of B.

    Parameters
    ----------
    u : (N, 6) float64, Å²
    i, j : (p,) int
    weight : (p,) float64

    Returns
    -------
    value : float
    gradient : (N, 6) float64, Å⁻²
    """
    if array_module(u) is not np:
        from arrayrefine.kernels import adp_aniso_cuda

        return adp_aniso_cuda.kl(u, i, j, weight)
    safe = _safe(u)
    inverse = symmetric.inverse(safe)
    # With V = U⁻¹ a pair is tr((U₁ − U₂)(V₂ − V₁)), and by U₁ it is (V₂ − V₁) + V₁(U₁ − U₂)V₁: the sums over partners
    # come first, and nothing is lost where the two are alike.
    by_u, by_inverse = _apart(safe, i, j, weight), _apart(inverse, i, j, weight)
    value = -float(symmetric.inner(safe, by_inverse).sum()) / 6.0
    gradient = (symmetric.product(inverse, by_u) - by_inverse) * (symmetric.COUNTS / 6.0)
    return value, gradient


def _apart(a: Float, i: Int, j: Int, weight: Float) -> Float:
    """Σ w (A₁ − A₂) over the pairs of each atom, with the sign of its end: (N, 6)."""
    total = np.empty((6, len(a)))
    for row, column in zip(total, np.ascontiguousarray(a.T)):
        flow = weight * (column[i] - column[j])
        np.subtract(np.bincount(i, flow, len(a)), np.bincount(j, flow, len(a)), out=row)
    return total.T


def kl_curvature(weight: Float) -> Float:
    """Factor h (p,) of each pair in the second derivative of `kl` by S; see the head of the file."""
    return weight / 3.0


def directions(xyz: Float, i: Int, j: Int) -> Float:
    """Unit vectors (p, 3) along bonds, from (N, 3) Å; zero where two atoms coincide."""
    along = xyz[i] - xyz[j]
    length = np.sqrt(np.einsum("ij,ij->i", along, along))
    return np.asarray(along / np.where(length > 0.0, length, 1.0)[:, None])


def _dyad(a: Float) -> Float:
    """a aᵀ as a row (p, 6) for which row · U = aᵀUa, the entries off the diagonal doubled."""
    return np.asarray(symmetric.COUNTS * a[:, [0, 1, 2, 0, 0, 1]] * a[:, [0, 1, 2, 1, 2, 2]])


def rigid_bond(u: Float, i: Int, j: Int, direction: Float, weight: Float) -> tuple[float, Float]:
    """Rigid-bond restraint: two atoms move alike along the line between them.

    ½ Σ w (eᵀ(U₁ − U₂)e)² (Hirshfeld, Acta Cryst. A32, 239, 1976), as DELU in SHELXL with its σ of 0.01 Å²; RIGU
    there has 0.004 Å²; w = 1/σ². Directions are held, so there is no derivative by positions.

    Parameters
    ----------
    u : (N, 6) float64, Å²
    i, j : (p,) int
    direction : (p, 3) float64
        Unit vectors, see `directions`.
    weight : (p,) float64, Å⁻⁴

    Returns
    -------
    value : float
    gradient : (N, 6) float64, Å⁻²
    """
    if array_module(u) is not np:
        from arrayrefine.kernels import adp_aniso_cuda

        return adp_aniso_cuda.rigid_bond(u, i, j, direction, weight)
    row = _dyad(direction)
    apart = np.einsum("ij,ij->i", row, u[i] - u[j])
    pull = weight * apart
    gradient = np.empty((6, len(u)))
    for column, along in zip(gradient, (pull[:, None] * row).T.copy()):
        np.subtract(np.bincount(i, along, len(u)), np.bincount(j, along, len(u)), out=column)
    return 0.5 * float(pull @ apart), np.ascontiguousarray(gradient.T)


def rigid_bond_curvature(u: Float, i: Int, j: Int, direction: Float, weight: Float) -> tuple[Float, Float]:
    """Rows (p, 6) for the first and second atom by S, with √w: their products are the Gauss–Newton second derivative.

    Row · S = √w aᵀSa with a = R e; the row of the second atom has the minus sign of the difference. A scalar bound for
    a diagonal is w |a|⁴ = w (eᵀUe)².
    """
    root = symmetric.matrices(symmetric.root(u))
    factor = np.sqrt(weight)[:, None]
    one, two = (np.einsum("pij,pj->pi", root[end], direction) for end in (i, j))
    return factor * _dyad(one), -factor * _dyad(two)


def sphericity(u: Float, weight: Float) -> tuple[float, Float]:
    """Sphericity restraint: U stays near its own isotropic part.

    The divergence of `kl` between U and ū·1, ū = tr U/3: Σ (w/6) (ū tr U⁻¹ − 3), which for small deviations is
    ½ Σ w/3 ‖U/ū − 1‖². With w = 1/σ², σ is relative to ū.

    Parameters
    ----------
    u : (N, 6) float64, Å²
    weight : (N,) float64
        Zero for atoms that are left alone.

    Returns
    -------
    value : float
    gradient : (N, 6) float64, Å⁻²
    """
    if array_module(u) is not np:
        from arrayrefine.kernels import adp_aniso_cuda

        return adp_aniso_cuda.sphericity(u, weight)
    safe = _safe(u)
    inverse, mean = symmetric.inverse(safe), symmetric.trace(safe) / 3.0
    # ū tr V − 3 = −tr((U − ū)(V − 1/ū)): keeps its digits for round atoms.
    odd, odd_inverse = safe - symmetric.isotropic(mean), inverse - symmetric.isotropic(1.0 / mean)
    value = -float(weight @ symmetric.inner(odd, odd_inverse)) / 6.0
    square = symmetric.product(inverse, symmetric.isotropic(mean))
    by_mean = symmetric.isotropic(symmetric.trace(inverse) / 3.0)
    return value, (weight / 6.0)[:, None] * symmetric.COUNTS * (by_mean - square)


def sphericity_curvature(weight: Float) -> Float:
    """Factor h (N,) of each atom in the second derivative of `sphericity` by S; see the head of the file."""
    return weight / 3.0
