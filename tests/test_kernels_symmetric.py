"""Symmetric 3×3 matrices as six values."""

from __future__ import annotations

import numpy as np
import pytest
from checks import check_direction

from arrayrefine.kernels import symmetric

RNG = np.random.default_rng(8)
AXES = np.linalg.qr(RNG.normal(size=(12, 3, 3)))[0]
VALUES = RNG.uniform(-1.5, 1.5, (12, 3))
VALUES[0] = 0.3
VALUES[1] = 0.0
VALUES[2, 1] = VALUES[2, 0]
VALUES[3, 1] = VALUES[3, 0] + 1e-9
VALUES[4, 1] = VALUES[4, 0] + 3e-4
A = symmetric.six((AXES * VALUES[:, None, :]) @ AXES.transpose(0, 2, 1))
POSITIVE = symmetric.six((AXES * np.exp(VALUES)[:, None, :]) @ AXES.transpose(0, 2, 1))
WEIGHT = RNG.normal(size=(12, 6))


def exponential(a: np.ndarray) -> np.ndarray:
    return symmetric.Exponential.of(a).value()


def test_six_values_and_the_matrix() -> None:
    matrix = symmetric.matrices(np.arange(1.0, 7.0))
    assert matrix.tolist() == [[1, 4, 5], [4, 2, 6], [5, 6, 3]]
    np.testing.assert_array_equal(symmetric.six(symmetric.matrices(A)), A)
    np.testing.assert_allclose(symmetric.by_matrix(symmetric.by_entry(symmetric.matrices(A))), symmetric.matrices(A))
    np.testing.assert_allclose(symmetric.trace(A), np.trace(symmetric.matrices(A), axis1=1, axis2=2))
    product = symmetric.matrices(A) @ symmetric.matrices(WEIGHT)
    np.testing.assert_allclose(symmetric.inner(A, WEIGHT), np.trace(product, axis1=1, axis2=2), atol=1e-12)
    assert symmetric.isotropic(np.array([2.0])).tolist() == [[2, 2, 2, 0, 0, 0]]


def test_strains_are_the_identity_and_a_basis_of_what_has_no_trace() -> None:
    assert symmetric.STRAINS[0].tolist() == symmetric.isotropic(np.ones(())).tolist()
    shapes = symmetric.STRAINS[1:]
    np.testing.assert_allclose(symmetric.trace(shapes), 0.0, atol=1e-15)
    np.testing.assert_allclose(symmetric.inner(shapes[:, None], shapes), np.eye(5), atol=1e-15)


def test_inverse_determinant_and_eigenvalues() -> None:
    matrix = symmetric.matrices(POSITIVE)
    np.testing.assert_allclose(symmetric.determinant(POSITIVE), np.linalg.det(matrix), rtol=1e-12)
    np.testing.assert_allclose(symmetric.matrices(symmetric.inverse(POSITIVE)), np.linalg.inv(matrix), atol=1e-12)
    np.testing.assert_allclose(symmetric.eigenvalues(A), np.linalg.eigvalsh(symmetric.matrices(A)), atol=3e-8)
    assert symmetric.eigenvalues(np.zeros((2, 6))).tolist() == [[0, 0, 0]] * 2


def test_root_exponential_and_logarithm() -> None:
    root = symmetric.matrices(symmetric.root(POSITIVE))
    np.testing.assert_allclose(root @ root, symmetric.matrices(POSITIVE), atol=1e-13)
    np.testing.assert_allclose(exponential(A), POSITIVE, atol=1e-13)
    np.testing.assert_allclose(symmetric.logarithm(POSITIVE), A, atol=1e-13)
    np.testing.assert_allclose(exponential(np.zeros((1, 6))), [[1, 1, 1, 0, 0, 0]])
    lifted = np.linalg.eigvalsh(symmetric.matrices(symmetric.within(A, 0.2)))
    np.testing.assert_allclose(lifted, np.maximum(np.linalg.eigvalsh(symmetric.matrices(A)), 0.2), atol=1e-14)


@pytest.mark.parametrize("atom", range(12))
def test_derivative_of_the_exponential(atom: int) -> None:
    """Also where two or three eigenvalues are equal, or nearly so."""
    a, weight = A[atom : atom + 1], WEIGHT[atom : atom + 1]
    gradient = symmetric.Exponential.of(a).adjoint(weight)
    for direction in RNG.normal(size=(3, 1, 6)):
        check_direction(
            lambda t, d=direction: float((weight * exponential(a + t * d)).sum()),
            float((gradient * direction).sum()), 1e-3, 1e-9,
        )  # fmt: skip


def test_derivative_of_the_product() -> None:
    gradient = symmetric.product_adjoint(POSITIVE, WEIGHT)
    direction = RNG.normal(size=A.shape)
    assert (WEIGHT * symmetric.product(POSITIVE, direction)).sum() == pytest.approx((gradient * direction).sum())


def test_of_nothing() -> None:
    for function in (exponential, symmetric.root, symmetric.inverse, symmetric.eigenvalues):
        assert function(np.zeros((0, 6))).shape[0] == 0
    assert symmetric.Exponential.of(np.zeros((0, 6))).adjoint(np.zeros((0, 6))).shape == (0, 6)
