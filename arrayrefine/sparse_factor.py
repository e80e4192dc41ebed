"""Factors of sparse symmetric positive definite matrices; most of the memory of a large model while they are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import SuperLU, splu

Float = NDArray[np.float64]

Matrix: TypeAlias = "Any | Callable[[], Any]"
"""A sparse matrix; or what makes it, where another process of a team would make it in vain, or where it is to last no
longer than its factor needs it."""


def made(matrix: Matrix) -> Any:
    """The matrix itself."""
    return matrix() if callable(matrix) else matrix


def _columns(matrix: Matrix) -> Any:
    """By columns, as SuperLU wants it; in a function of its own, that what it is made of is gone with it."""
    return sparse.csc_matrix(made(matrix))


def symmetric_factor(matrix: Matrix) -> SuperLU:
    """Factor of a sparse symmetric positive definite matrix, ordered for little fill and without pivoting."""
    return splu(
        _columns(matrix), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )


class Cholesky:
    """Factor of a sparse symmetric positive definite matrix, applied from either side.

    Parameters
    ----------
    matrix : (n, n) sparse matrix, or what makes it
        One that is made is gone again before the second of its factors is.
    """

    def __init__(self, matrix: Matrix) -> None:
        factor = symmetric_factor(matrix)
        if not np.array_equal(factor.perm_r, factor.perm_c):
            raise ArithmeticError("the factorisation pivoted")
        self._order = factor.perm_c.copy()  # itself a view, which keeps the whole factor
        self._root = np.sqrt(factor.U.diagonal())
        lower = factor.L.tocsc()
        del factor  # L, U and SuperLU's own of both: most of the memory of a large model
        # A triangular matrix is its own factor: SuperLU then only serves the two solves.
        self._lower = splu(lower, permc_spec="NATURAL", diag_pivot_thresh=0.0, options={"SymmetricMode": True})

    def forward(self, p: Float) -> Float:
        """Pᵀ L^{-T} D^{-1/2} P p."""
        return np.asarray(self._lower.solve(self._permuted(p) / self._root, trans="T")[self._order])

    def adjoint(self, g: Float) -> Float:
        """Pᵀ D^{-1/2} L^{-1} P g."""
        return np.asarray((self._lower.solve(self._permuted(g)) / self._root)[self._order])

    def _permuted(self, a: Float) -> Float:
        permuted = np.empty_like(a)
        permuted[self._order] = a
        return permuted

    @property
    def unit(self) -> Float:
        """Length of one unit of p along each entry that nothing is coupled to."""
        return np.asarray(1.0 / self._root[self._order])
