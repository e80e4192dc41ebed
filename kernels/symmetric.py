"""Algebra of symmetric 3×3 matrices kept as six values, in the order 11, 22, 33, 12, 13, 23.

A gradient by six values is that by the independent entry, so that dT = Σ gradient · d(six): off the diagonal it counts
both places of the matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

_INDEX = np.array([[0, 3, 4], [3, 1, 5], [4, 5, 2]])
PLACES = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""Where each of the six values lies in the matrix."""
ROW, COLUMN = np.array(PLACES).T
_HALVES = 0.5 * (np.eye(9)[:, 3 * ROW + COLUMN] + np.eye(9)[:, 3 * COLUMN + ROW])
"""Matrix (9, 6) by which the nine entries become the six of the symmetric part."""
COUNTS = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
"""Places of the matrix that each of the six values fills."""
_ROOT_2, _ROOT_6 = np.sqrt(2.0), np.sqrt(6.0)
STRAINS = np.array(
    [
        [1.0, 1.0, 1.0, 0.0, 0.0, 0.0],
        [1.0 / _ROOT_2, -1.0 / _ROOT_2, 0.0, 0.0, 0.0, 0.0],
        [1.0 / _ROOT_6, 1.0 / _ROOT_6, -2.0 / _ROOT_6, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 1.0 / _ROOT_2, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 1.0 / _ROOT_2, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 1.0 / _ROOT_2],
    ]
)
"""A basis of them: the identity, and five traceless matrices of norm one."""


def matrices(six: NDArray[Any]) -> NDArray[Any]:
    """(..., 6) values to (..., 3, 3) matrices."""
    found: NDArray[Any] = six[..., _INDEX]
    return found


def six(matrix: NDArray[Any]) -> NDArray[Any]:
    """(..., 3, 3) symmetric matrices to (..., 6) values; of others the symmetric part."""
    values: NDArray[Any] = matrix.reshape(*matrix.shape[:-2], 9) @ _HALVES
    return values


def by_entry(matrix: NDArray[Any]) -> NDArray[Any]:
    """Derivatives by the nine entries (..., 3, 3) to those by the six independent ones (..., 6)."""
    gradient: NDArray[Any] = six(matrix) * COUNTS
    return gradient


def by_matrix(gradient: NDArray[Any]) -> NDArray[Any]:
    """Derivatives by the six independent entries (..., 6) to those by the nine (..., 3, 3), symmetric."""
    return matrices(gradient / COUNTS)


def isotropic(value: Float) -> Float:
    """Multiples (...) of the identity as (..., 6)."""
    return np.asarray(np.multiply.outer(value, np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])))


def trace(a: Float) -> Float:
    """(..., 6) to (...)."""
    return a[..., 0] + a[..., 1] + a[..., 2]


def inner(a: Float, b: Float) -> Float:
    """tr(A B) of two symmetric matrices, (..., 6) to (...)."""
    return np.asarray((a * b) @ COUNTS)


def _cofactors(a: Float) -> Float:
    xx, yy, zz, xy, xz, yz = np.moveaxis(a, -1, 0)
    return np.stack(
        [
            yy * zz - yz * yz, xx * zz - xz * xz, xx * yy - xy * xy,
            xz * yz - xy * zz, xy * yz - xz * yy, xy * xz - xx * yz,
        ],
        axis=-1,
    )  # fmt: skip


def determinant(a: Float) -> Float:
    """(..., 6) to (...)."""
    c = _cofactors(a)
    return np.asarray(a[..., 0] * c[..., 0] + a[..., 3] * c[..., 3] + a[..., 4] * c[..., 4])


def inverse(a: Float) -> Float:
    """(..., 6) to (..., 6), by cofactors; infinite or NaN where the determinant is zero."""
    c = _cofactors(a)
    return np.asarray(c / (a[..., 0] * c[..., 0] + a[..., 3] * c[..., 3] + a[..., 4] * c[..., 4])[..., None])


def eigenvalues(a: Float) -> Float:
    """Eigenvalues (..., 3) of (..., 6), ascending; good to 1e-8 of the largest where two are close, else better.

    The trigonometric solution of the characteristic equation (Smith, Comm. ACM 4, 168, 1961).
    """
    mean = trace(a) / 3.0
    shifted = a - isotropic(mean)
    p = np.sqrt(np.maximum(inner(shifted, shifted) / 6.0, 0.0))
    safe = np.where(p > 0.0, p, 1.0)
    half = np.clip(0.5 * determinant(shifted / safe[..., None]), -1.0, 1.0)
    angle = np.arccos(half) / 3.0
    high, low = mean + 2.0 * p * np.cos(angle), mean + 2.0 * p * np.cos(angle + 2.0 * np.pi / 3.0)
    return np.stack([low, 3.0 * mean - low - high, high], axis=-1)


def product(r: Float, a: Float) -> Float:
    """R A R (..., 6) of symmetric matrices; as a function of A its own adjoint for derivatives by matrices."""
    left = matrices(r)
    return six(left @ matrices(a) @ left)


def product_adjoint(r: Float, gradient: Float) -> Float:
    """Derivative by A from that by R A R, both by independent entries (..., 6)."""
    left = matrices(r)
    return by_entry(left @ by_matrix(gradient) @ left)


def _of_eigenvalues(a: Float, function: Callable[[Float], Float]) -> Float:
    value, vector = np.linalg.eigh(matrices(a))
    return six((vector * function(value)[..., None, :]) @ np.swapaxes(vector, -1, -2))


def root(a: Float) -> Float:
    """Symmetric square root (..., 6) of positive semi-definite (..., 6)."""
    return _of_eigenvalues(a, lambda value: np.sqrt(np.maximum(value, 0.0)))


def logarithm(a: Float) -> Float:
    """Symmetric logarithm (..., 6) of positive definite (..., 6)."""
    return _of_eigenvalues(a, np.log)


def within(a: Float, least: float, most: float = np.inf) -> Float:
    """(..., 6) with eigenvalues that lie below `least` or above `most` set to it."""
    return _of_eigenvalues(a, lambda value: np.clip(value, least, most))


class Exponential(NamedTuple):
    """exp(A) of (n, 6), by the eigenvalues (n, 3) and axes (n, 3, 3) of A.

    Daleckii and Krein: in the axes of A the derivative of exp is entry by entry a divided difference,
    (e^λ − e^μ)/(λ − μ) = e^{(λ+μ)/2} sinh(δ)/δ with δ = (λ − μ)/2, which is e^λ where the two are equal.
    """

    eigenvalues: Float
    axes: Float

    @classmethod
    def of(cls, a: Float) -> Exponential:
        return cls(*np.linalg.eigh(matrices(a)))

    def value(self) -> Float:
        """exp(A), (n, 6); positive definite whatever A is."""
        return six((self.axes * np.exp(self.eigenvalues)[..., None, :]) @ np.swapaxes(self.axes, -1, -2))

    def adjoint(self, gradient: Float) -> Float:
        """Derivative by A from that by exp(A), both by independent entries (n, 6)."""
        back = np.swapaxes(self.axes, -1, -2)
        one, two = self.eigenvalues[..., :, None], self.eigenvalues[..., None, :]
        half = 0.5 * (one - two)
        near = np.abs(half) < 1e-4
        quotient = np.where(near, 1.0 + half * half / 6.0, np.sinh(half) / np.where(near, 1.0, half))
        divided = np.exp(0.5 * (one + two)) * quotient
        return by_entry(self.axes @ (divided * (back @ by_matrix(gradient) @ self.axes)) @ back)
