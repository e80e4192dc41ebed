"""The change of variable that makes the objective round: p = D^{1/2} Lᵀ P y, with P A Pᵀ = L D Lᵀ.

Coordinates: y = x − x₀ and A = w JᵀJ + diag(h), J the Jacobian of the restraints and h the X-ray curvature per atom;
restraints are stiff and sparse, the X-ray curvature nearly diagonal. B factors: y = ln(B/B₀), in which the
Kullback-Leibler restraint is a nearly quadratic form of differences, and A its matrix plus the X-ray curvature; a
logarithm has no lower bound to run into, so B may be mapped like coordinates (clipped where it leaves its range).
Occupancies keep their bounds and are scaled by the diagonal only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import splu

from arrayrefine.atoms import Gradient
from arrayrefine.parameters import B_BOUNDS, Parameters
from arrayrefine.riding import fold_columns

Float = NDArray[np.float64]

_DAMPING = 0.02
"""Fraction of the mean curvature added to every diagonal entry: keeps atoms that nothing sees from running away."""
_LARGEST_SHIFT = 2.0
"""Å; no coordinate goes further in one step: a line search that does has lost its way."""
_STIFFNESS = 1e-3
"""Least X-ray curvature of a coordinate, as a fraction of the mean curvature of the weighted restraints."""
_CLEARANCE = 1.5
"""Where a B starts within this factor of its bounds, real bounds are needed, and B is scaled by the diagonal."""
_LARGEST_LOG = 7.0
"""Beyond the logarithm of the whole range of B; only keeps the exponential from overflowing."""


class _Cholesky:
    """Factor of a sparse symmetric positive definite matrix, applied from either side."""

    def __init__(self, matrix: Any) -> None:
        factor = splu(
            sparse.csc_matrix(matrix),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        if not np.array_equal(factor.perm_r, factor.perm_c):
            raise ArithmeticError("the factorisation pivoted")
        self._order = factor.perm_c
        self._root = np.sqrt(factor.U.diagonal())
        # A triangular matrix is its own factor: SuperLU then only serves the two solves.
        self._lower = splu(
            factor.L.tocsc(), permc_spec="NATURAL", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
        )

    def forward(self, p: Float) -> Float:
        """Pᵀ L^{-T} D^{-1/2} p."""
        solved: Float = self._lower.solve(p / self._root, trans="T")
        return np.asarray(solved[self._order])

    def adjoint(self, g: Float) -> Float:
        """D^{-1/2} L^{-1} P g."""
        permuted = np.empty_like(g)
        permuted[self._order] = g
        solved: Float = self._lower.solve(permuted)
        return np.asarray(solved / self._root)


@dataclass(frozen=True)
class ChangeOfVariable:
    """Map between the round variable p and the vector x of the parameters.

    Attributes
    ----------
    x0 : (n,) float64
        Where p = 0 lies.
    lower, upper : (n,) float64
        Bounds on x.
    n_xyz, n_b : int
        Leading entries that are coordinates, and those after them that are B.
    xyz, b : _Cholesky, or (n_xyz,) / (n_b,) float64
        Factor of A, or the length of one unit of p along each entry.
    occupancy : (n − n_xyz − n_b,) float64
        Length of one unit of p along each occupancy.
    """

    x0: Float
    lower: Float
    upper: Float
    n_xyz: int
    n_b: int
    xyz: _Cholesky | Float
    b: _Cholesky | Float
    occupancy: Float

    def _slices(self) -> tuple[slice, slice, slice]:
        end = self.n_xyz + self.n_b
        return slice(0, self.n_xyz), slice(self.n_xyz, end), slice(end, len(self.x0))

    def to_x(self, p: Float) -> Float:
        """Vector of the parameters (n,), B and occupancy within bounds."""
        xyz, b, q = self._slices()
        x = self.x0.copy()
        x[xyz] += np.clip(_forward(self.xyz, p[xyz]), -_LARGEST_SHIFT, _LARGEST_SHIFT)
        x[b] *= np.exp(np.clip(_forward(self.b, p[b]), -_LARGEST_LOG, _LARGEST_LOG))
        x[q] += self.occupancy * p[q]
        return np.clip(x, self.lower, self.upper)

    def pullback(self, x: Float, gradient: Float) -> Float:
        """Gradient by p (n,) at `x` = to_x(p), from the gradient by x."""
        xyz, b, q = self._slices()
        # Behind a clip nothing changes; where real bounds act, the minimiser wants the slope at the bound.
        inside = (x[b] > self.lower[b]) & (x[b] < self.upper[b]) | (not isinstance(self.b, _Cholesky))
        near = np.abs(x[xyz] - self.x0[xyz]) < _LARGEST_SHIFT
        return np.concatenate(
            [
                _adjoint(self.xyz, np.where(near, gradient[xyz], 0.0)),
                _adjoint(self.b, np.where(inside, gradient[b] * x[b], 0.0)),
                self.occupancy * gradient[q],
            ]
        )

    def bounds(self) -> tuple[Float, Float]:
        """Bounds on p: of occupancies, and of B where it is scaled by a diagonal; a factored B is clipped instead."""
        _, b, q = self._slices()
        infinite = np.full(self.n_b, np.inf)
        low_b, high_b = -infinite, infinite
        if not isinstance(self.b, _Cholesky):
            low_b, high_b = np.log(self.lower[b] / self.x0[b]) / self.b, np.log(self.upper[b] / self.x0[b]) / self.b
        low_q, high_q = ((limit[q] - self.x0[q]) / self.occupancy for limit in (self.lower, self.upper))
        free = np.full(self.n_xyz, np.inf)
        return np.concatenate([-free, low_b, low_q]), np.concatenate([free, high_b, high_q])


def _forward(factor: _Cholesky | Float, p: Float) -> Float:
    return factor.forward(p) if isinstance(factor, _Cholesky) else factor * p


def _adjoint(factor: _Cholesky | Float, g: Float) -> Float:
    return factor.adjoint(g) if isinstance(factor, _Cholesky) else factor * g


def build(
    parameters: Parameters, xray: Gradient, *, jacobian: Any | None = None, geometry: float = 0.0,
    adp_matrix: Any | None = None, adp: float = 0.0,
) -> ChangeOfVariable:  # fmt: skip
    """Make the change of variable for one step.

    Parameters
    ----------
    parameters : Parameters
    xray : Gradient
        Positive X-ray curvature per value: by xyz, B and occupancy.
    jacobian : (m, 3N) sparse matrix or None
        Derivatives of the normalised geometry deviations by all coordinates; None for a diagonal map.
    geometry : float
        Weight of the geometry term.
    adp_matrix : (N, N) sparse matrix or None
        Second derivative of the ADP term by ln B; None for a diagonal map.
    adp : float
        Weight of the ADP term.
    """
    n_xyz, n_b, _ = parameters.sizes
    lower, upper = parameters.bounds()
    x0 = parameters.pack(parameters.reference)
    h_xyz = _floored(xray.xyz[parameters.xyz].reshape(-1))
    h_b = _floored(xray.b_iso[parameters.b] * parameters.reference.b_iso[parameters.b] ** 2)
    h_q = _floored(xray.occupancy[parameters.occupancy])
    xyz: _Cholesky | Float = 1.0 / np.sqrt(h_xyz)
    if n_xyz and jacobian is not None:
        folded = fold_columns(parameters.reference.riding, jacobian, len(parameters.xyz))
        free = folded[:, np.repeat(parameters.xyz, 3)]
        normal = geometry * (free.T @ free)
        least = _STIFFNESS * float(normal.diagonal().mean())
        xyz = _Cholesky(normal + sparse.diags_array(np.maximum(h_xyz, least)))
    b: _Cholesky | Float = 1.0 / np.sqrt(h_b)
    start = parameters.reference.b_iso[parameters.b]
    clear = (start > _CLEARANCE * B_BOUNDS[0]) & (start < B_BOUNDS[1] / _CLEARANCE)
    if n_b and adp_matrix is not None and clear.all():
        b = _Cholesky(adp * adp_matrix[parameters.b][:, parameters.b] + sparse.diags_array(h_b))
    return ChangeOfVariable(x0, lower, upper, n_xyz, n_b, xyz, b, 1.0 / np.sqrt(h_q))


def _floored(h: Float) -> Float:
    if len(h) == 0:
        return h
    mean = float(h.mean())
    return h + _DAMPING * (mean if mean > 0 else 1.0)
