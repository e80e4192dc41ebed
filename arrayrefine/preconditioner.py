"""The change of variable that makes the objective round: p = D^{1/2} Lᵀ P (x − x₀), with P A Pᵀ = L D Lᵀ.

For coordinates A = w JᵀJ + diag(h), J the Jacobian of the restraints and h the X-ray curvature per atom; restraints are
stiff and sparse, the X-ray curvature nearly diagonal. B and occupancy have bounds, which only a diagonal map keeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import splu

from arrayrefine.atoms import Gradient
from arrayrefine.parameters import Parameters

Float = NDArray[np.float64]

_DAMPING = 0.02
"""Fraction of the mean curvature added to every diagonal entry: keeps atoms that nothing sees from running away."""


class _Cholesky:
    """Factor of a sparse symmetric positive definite matrix, applied from either side."""

    def __init__(self, matrix: Any) -> None:
        factor = splu(
            sparse.csc_matrix(matrix), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
        )
        if not np.array_equal(factor.perm_r, factor.perm_c):
            raise ArithmeticError("the factorisation pivoted")
        self._order = factor.perm_c
        self._root = np.sqrt(factor.U.diagonal())
        # A triangular matrix is its own factor: SuperLU then only serves the two solves.
        self._lower = splu(factor.L.tocsc(), permc_spec="NATURAL", diag_pivot_thresh=0.0, options={"SymmetricMode": True})

    def forward(self, p: Float) -> Float:
        """Pᵀ L^{-T} D^{-1/2} p."""
        return np.asarray(self._lower.solve(p / self._root, trans="T"))[self._order]

    def adjoint(self, g: Float) -> Float:
        """D^{-1/2} L^{-1} P g."""
        permuted = np.empty_like(g)
        permuted[self._order] = g
        return np.asarray(self._lower.solve(permuted)) / self._root


@dataclass(frozen=True)
class ChangeOfVariable:
    """x = x₀ + scale · M p, with M block-diagonal: a sparse factor for coordinates, a diagonal for the rest.

    Attributes
    ----------
    x0 : (n,) float64
    diagonal : (n,) float64
        Length of one unit of p along each entry of x (ignored for the first `factored` entries).
    factored : int
        Number of leading entries that `factor` maps.
    """

    x0: Float
    diagonal: Float
    factored: int = 0
    factor: _Cholesky | None = None

    def to_x(self, p: Float) -> Float:
        """Vector of the parameters (n,)."""
        step = self.diagonal * p
        if self.factor is not None:
            step[: self.factored] = self.factor.forward(p[: self.factored])
        return self.x0 + step

    def pullback(self, gradient: Float) -> Float:
        """Gradient by p (n,) from the gradient by x: the adjoint of the linear part of `to_x`."""
        out = self.diagonal * gradient
        if self.factor is not None:
            out[: self.factored] = self.factor.adjoint(gradient[: self.factored])
        return out

    def bounds(self, lower: Float, upper: Float) -> tuple[Float, Float]:
        """Bounds on p; coordinates have none."""
        return (lower - self.x0) / self.diagonal, (upper - self.x0) / self.diagonal


def build(parameters: Parameters, curvature: Gradient, jacobian: Any | None, weight: float) -> ChangeOfVariable:
    """Make the change of variable for one step.

    Parameters
    ----------
    parameters : Parameters
    curvature : Gradient
        Positive curvature per value, X-ray term and (for B) restraints together.
    jacobian : (m, 3N) sparse matrix or None
        Derivatives of the normalised restraint deviations by all coordinates.
    weight : float
        Weight of the geometry term.
    """
    n_xyz, n_b, _ = parameters.sizes
    h = np.concatenate(
        [
            _floored(curvature.xyz[parameters.xyz].reshape(-1)),
            _floored(curvature.b_iso[parameters.b]),
            _floored(curvature.occupancy[parameters.occupancy]),
        ]
    )
    diagonal = 1.0 / np.sqrt(h)
    x0 = parameters.pack(parameters.reference)
    if n_xyz == 0 or jacobian is None:
        return ChangeOfVariable(x0, diagonal)
    free = jacobian[:, np.repeat(parameters.xyz, 3)]
    matrix = weight * (free.T @ free) + sparse.diags(h[:n_xyz])
    return ChangeOfVariable(x0, diagonal, n_xyz, _Cholesky(matrix))


def _floored(h: Float) -> Float:
    if len(h) == 0:
        return h
    mean = float(h.mean())
    return h + _DAMPING * (mean if mean > 0 else 1.0)
