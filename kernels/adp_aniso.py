"""Restraints on anisotropic displacement parameters: neighbours' U alike, in size and in shape, and along the line
between them, and atoms not too flat.

U (N, 6) is Cartesian, Å², as 11, 22, 33, 12, 13, 23, and gradients are by the independent entry: off the diagonal both
places of the matrix count. Isotropic atoms take part as multiples of the identity; their derivative by u is then the
sum of the first three.

Second derivatives are given for the symmetric S of U = R exp(S) R, R = U₀^{1/2}, at S = 0, where `kl` and `sphericity`
have them in closed form, positive semi-definite whatever U₀ is, and `rigid_bond` without the term that can be negative.
S is counted in the components of `symmetric.STRAINS`.

- `kl`: ½ (w/6) (‖S₁M − MS₂‖² + ‖S₁M⁻ᵀ − M⁻ᵀS₂‖²) with M = R₁R₂⁻¹; (w/6) ‖S₁ − S₂‖² where the two are alike. Where
  they are not, it is stiffer by as much as one is longer than the other in any direction; `kl_curvature`.
- `shape`: that of `kl` for U divided by its size, without the component that is the size; `shape_curvature`.
- `rigid_bond`: ½ w (a₁ᵀS₁a₁/a₁² − a₂ᵀS₂a₂/a₂²)² with aₖ = Rₖ e, e along the line, which is exact where both ends move
  alike along it; `rigid_bond_curvature`.
- `sphericity`: ½ (w/6) (ū tr(S²V) + tr V tr(S²U)/3 − ⅔ tr(SU) tr(SV)) with V = U⁻¹, ū = tr U/3;
  `sphericity_curvature`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrayrefine.kernels import symmetric
from arrayrefine.kernels.adp import B_FLOOR
from arrayrefine.kernels.backend import array_module
from arrayrefine.kernels.neighbours import Neighbours

Float = NDArray[np.float64]
Int = NDArray[np.int64]

U_FLOOR = B_FLOOR / (8.0 * np.pi**2)
"""Å²; a U whose smallest eigenvalue lies below this is made rounder by as much in `kl` and `sphericity`, which have a
pole where an eigenvalue is zero."""


def _safe(u: Float) -> Float:
    # Where U is positive definite, λ₁ = det U / λ₂λ₃ is at least det U / (tr U / 2)²: most need no eigenvalues.
    minor = u[..., 0] * u[..., 1] - u[..., 3] * u[..., 3]
    least = 4.0 * symmetric.determinant(u) - U_FLOOR * symmetric.trace(u) ** 2
    flat = ~((u[..., 0] > 0.0) & (minor > 0.0) & (least > 0.0))
    if not flat.any():
        return u
    safe = u.copy()
    short = U_FLOOR - symmetric.eigenvalues(u[flat])[..., 0]
    safe[flat] += symmetric.isotropic(np.maximum(short, 0.0))
    return safe


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
    return kl_among(u, Neighbours(i, j, weight, len(u)))


def kl_among(u: Float, pairs: Neighbours) -> tuple[float, Float]:
    """`kl` between neighbours."""
    safe = _safe(u)
    inverse = symmetric.inverse(safe)
    # With V = U⁻¹ a pair is tr((U₁ − U₂)(V₂ − V₁)), and by U₁ it is (V₂ − V₁) + V₁(U₁ − U₂)V₁: the sums over partners
    # come first.
    by_u, by_inverse = np.split(pairs.differences(np.concatenate([safe, inverse], axis=1)), 2, axis=1)
    value = max(-float(symmetric.inner(safe, by_inverse).sum()) / 6.0, 0.0)
    gradient = (symmetric.product(inverse, by_u) - by_inverse) * (symmetric.COUNTS / 6.0)
    return value, gradient


def _of_one_side() -> Float:
    """Matrix (6, 36) by which the six entries of A become tr(Sₖ Sₗ A)."""
    basis, unit = symmetric.matrices(symmetric.STRAINS), symmetric.matrices(np.eye(6))
    found = np.einsum("kab,lbc,eca->ekl", basis, basis, unit)
    return np.asarray(0.5 * (found + found.transpose(0, 2, 1))).reshape(6, 36)


_ONE_SIDE = _of_one_side()
_BOTH_SIDES = 0.5 * (np.kron(symmetric.STRAINS, symmetric.STRAINS) * np.kron(symmetric.COUNTS, symmetric.COUNTS)).T
"""Matrix (36, 36) by which M_ai M_bj + M_aj M_bi, of the six ab and the six ij, become tr(Mᵀ Sₖ M Sₗ)."""


def kl_curvature(u: Float, i: Int, j: Int, weight: Float) -> tuple[Float, Float, Float]:
    """Second derivative of each pair of `kl` by the components of S₁ twice, of both, and of S₂ twice.

    Returns
    -------
    (p, 6, 6) float64 each
    """
    root = symmetric.matrices(symmetric.root(_safe(u)))
    inverse = np.linalg.inv(root)
    factor = np.sqrt(weight / 6.0)[:, None, None]
    first, second, both = np.zeros((len(i), 6)), np.zeros((len(i), 6)), np.zeros((len(i), 6, 6))
    for left, right in ((root[i], inverse[j]), (inverse[i], root[j])):  # M, and M⁻ᵀ
        m = factor * (left @ right)
        first += symmetric.six(m @ m.transpose(0, 2, 1))
        second += symmetric.six(m.transpose(0, 2, 1) @ m)
        one, two = m[:, symmetric.ROW], m[:, symmetric.COLUMN]
        both += one[:, :, symmetric.ROW] * two[:, :, symmetric.COLUMN]
        both += one[:, :, symmetric.COLUMN] * two[:, :, symmetric.ROW]
    found = first @ _ONE_SIDE, -(both.reshape(-1, 36) @ _BOTH_SIDES), second @ _ONE_SIDE
    one, cross, two = (part.reshape(-1, 6, 6) for part in found)
    return one, cross, two


def directions(xyz: Float, i: Int, j: Int) -> Float:
    """Unit vectors (p, 3) along bonds, from (N, 3) Å; zero where two atoms coincide."""
    along = xyz[i] - xyz[j]
    length = np.sqrt(np.einsum("ij,ij->i", along, along))
    return np.asarray(along / np.where(length > 0.0, length, 1.0)[:, None])


def _dyad(a: Float) -> Float:
    """a aᵀ as a row (p, 6) for which row · U = aᵀUa, the entries off the diagonal doubled."""
    return np.asarray(symmetric.COUNTS * a[:, symmetric.ROW] * a[:, symmetric.COLUMN])


def shape(u: Float, i: Int, j: Int, weight: Float) -> tuple[float, Float]:
    """Restraint on shapes: those of neighbours are similar, whatever their sizes.

    `kl` between U₁/s₁ and U₂/s₂, where the size s = (det U)^{1/3}; zero where both are isotropic. With weight w it is
    (w/6) ‖S₁ − S₂‖² for small differences of the traceless parts of ln U. What it takes and returns is as for `kl`.
    """
    if array_module(u) is not np:
        from arrayrefine.kernels import adp_aniso_cuda

        return adp_aniso_cuda.shape(u, i, j, weight)
    return shape_among(u, Neighbours(i, j, weight, len(u)))


def shape_among(u: Float, pairs: Neighbours) -> tuple[float, Float]:
    """`shape` between neighbours."""
    shaped, size = _shape(u)
    value, by_shape = kl_among(shaped, pairs)
    # d(U/s) = (dU − U tr(U⁻¹ dU) / 3) / s
    lost = (by_shape * shaped).sum(axis=1)[:, None] / 3.0 * symmetric.COUNTS * symmetric.inverse(shaped)
    return value, (by_shape - lost) / size[:, None]


def _shape(u: Float) -> tuple[Float, Float]:
    """U divided by its size (N, 6), and the size (N,), Å²."""
    safe = _safe(u)
    size = np.cbrt(symmetric.determinant(safe))
    return safe / size[:, None], size


def shape_curvature(u: Float, i: Int, j: Int, weight: Float) -> tuple[Float, Float, Float]:
    """Second derivative of each pair of `shape` by the components of S₁ twice, of both, and of S₂ twice.

    Returns
    -------
    (p, 6, 6) float64 each
        Rows and columns of the first component, the size, are zero.
    """
    blocks = kl_curvature(_shape(u)[0], i, j, weight)
    for block in blocks:
        block[:, 0, :], block[:, :, 0] = 0.0, 0.0
    return blocks


def rigid_bond(u: Float, i: Int, j: Int, direction: Float, weight: Float) -> tuple[float, Float]:
    """Rigid-bond restraint: two atoms move alike along the line between them.

    ½ Σ w (ln eᵀU₁e − ln eᵀU₂e)². Hirshfeld, Acta Cryst. A32, 239 (1976) compares eᵀU₁e and eᵀU₂e of bonded atoms; where
    they are the same for all pairs of a molecule it moves as a rigid body (Rosenfield, Trueblood & Dunitz, Acta Cryst.
    A34, 828, 1978), so that between near neighbours of any kind this is what TLS groups say, but softly and without
    any limits of groups. Here they are compared in proportion, w = 1/σ² with σ relative, as `kl` does. Directions are
    held, so there is no derivative by positions; see `rigid_among`.

    Parameters
    ----------
    u : (N, 6) float64, Å²
    i, j : (p,) int
    direction : (p, 3) float64
        Unit vectors, see `directions`; nothing is compared where it is zero.
    weight : (p,) float64

    Returns
    -------
    value : float
    gradient : (N, 6) float64, Å⁻²
    """
    if array_module(u) is not np:
        from arrayrefine.kernels import adp_aniso_cuda

        return adp_aniso_cuda.rigid_bond(u, i, j, direction, weight)
    return _Lines.of(u, Neighbours(i, j, weight, len(u)), np.ascontiguousarray(direction.T)).restrained()


def rigid_among(u: Float, xyz: Float, pairs: Neighbours, least: float) -> tuple[float, Float, Float]:
    """`rigid_bond` between neighbours, with the derivative by positions, along which the lines turn.

    Parameters
    ----------
    u : (N, 6) float64, Å²
    xyz : (N, 3) float64, Å
    pairs : Neighbours
    least : float
        Atoms nearer to each other count as this far apart, Å.

    Returns
    -------
    value : float
    by_u : (N, 6) float64, Å⁻²
    by_xyz : (N, 3) float64, Å⁻¹
    """
    one, two = pairs.ends(np.ascontiguousarray(xyz.T))
    line = one - two
    length = np.sqrt((line * line).sum(axis=0))
    lines = _Lines.of(u, pairs, line / np.where(length > 0.0, length, 1.0))
    return *lines.restrained(), lines.turned(np.maximum(length, least))


class _Lines(NamedTuple):
    """How the two ends of each pair move along the line e between them.

    Attributes
    ----------
    pairs : Neighbours
    e : (3, p) float64
    moves : two of (3, p) float64
        U e at either end, Å².
    along : two of (p,) float64
        eᵀUe, of at least `U_FLOOR`.
    pull : (p,) float64
        w (ln eᵀU₁e − ln eᵀU₂e).
    apart : (p,) float64
        The difference without its weight.
    """

    pairs: Neighbours
    e: Float
    moves: tuple[Float, Float]
    along: tuple[Float, Float]
    pull: Float
    apart: Float

    @classmethod
    def of(cls, u: Float, pairs: Neighbours, e: Float) -> _Lines:
        first, second = pairs.ends(np.ascontiguousarray(u.T))
        moves = _times(first, e), _times(second, e)
        one, two = (np.maximum(np.einsum("ip,ip->p", move, e), U_FLOOR) for move in moves)
        apart = np.log(one / two)
        return cls(pairs, e, moves, (one, two), pairs.weight * apart, apart)

    def restrained(self) -> tuple[float, Float]:
        """Value, and gradient by U (N, 6)."""
        e = self.e
        first, second = (self.pull / along for along in self.along)
        places = zip(symmetric.ROW, symmetric.COLUMN, symmetric.COUNTS)
        dyad = (count * e[row] * e[column] for row, column, count in places)
        slopes = ((entry * first, entry * second) for entry in dyad)
        return 0.5 * float(self.pull @ self.apart), self.pairs.gathered(slopes)

    def turned(self, length: Float) -> Float:
        """Gradient by positions (N, 3), from the lengths of the lines (p,)."""
        turn = (2.0 * self.pull / length) * (self.moves[0] / self.along[0] - self.moves[1] / self.along[1])
        turn -= np.einsum("ip,ip->p", turn, self.e) * self.e
        return self.pairs.gathered(zip(turn, turn))


def _times(u: Float, e: Float) -> Float:
    """U e (3, p) of (6, p) and (3, p)."""
    found = np.empty_like(e)
    for row, (a, b, c) in zip(found, ((0, 3, 4), (3, 1, 5), (4, 5, 2))):
        row[:] = u[a] * e[0] + u[b] * e[1] + u[c] * e[2]
    return found


def rigid_bond_curvature(
    u: Float, i: Int, j: Int, direction: Float, weight: Float
) -> tuple[Float, Float, Float]:
    """Second derivative of each pair of `rigid_bond` by the components of S₁ twice, of both, and of S₂ twice.

    Returns
    -------
    (p, 6, 6) float64 each
    """
    root = symmetric.matrices(symmetric.root(u))
    along = []
    for end in (i, j):
        a = _dyad(np.einsum("pij,pj->pi", root[end], direction))
        along.append(a @ symmetric.STRAINS.T / np.maximum(symmetric.trace(a), U_FLOOR)[:, None])
    one, two = along
    factor = weight[:, None, None]
    first, both, second = (x[:, :, None] * y[:, None, :] for x, y in ((one, one), (one, two), (two, two)))
    return factor * first, -factor * both, factor * second


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


def sphericity_curvature(u: Float, weight: Float) -> Float:
    """Second derivative of `sphericity` by the components of S (N, 6, 6)."""
    safe = _safe(u)
    inverse, mean = symmetric.inverse(safe), symmetric.trace(safe) / 3.0
    sides = [(a @ _ONE_SIDE).reshape(-1, 6, 6) for a in (inverse, safe)]
    along, across = ((a * symmetric.COUNTS) @ symmetric.STRAINS.T for a in (safe, inverse))
    both = along[:, :, None] * across[:, None, :]
    factor = (weight / 6.0)[:, None, None]
    return np.asarray(factor * (
        mean[:, None, None] * sides[0] + (symmetric.trace(inverse) / 3.0)[:, None, None] * sides[1]
        - (both + both.transpose(0, 2, 1)) / 3.0
    ))  # fmt: skip
