"""Kernels of the B restraints."""

from __future__ import annotations

import numpy as np
import pytest

from arrayrefine.kernels import adp

RNG = np.random.default_rng(3)
B = RNG.uniform(3.0, 80.0, 25)
ONE, TWO = np.triu_indices(25, 1)
W = RNG.uniform(1.0, 100.0, len(ONE))


@pytest.mark.parametrize("function", [lambda b: adp.kl(b, ONE, TWO, W), adp.variance])
def test_gradient_is_the_derivative_of_the_value(function) -> None:
    _, gradient = function(B)
    for direction in RNG.normal(size=(4, 25)):
        h = 1e-5
        numeric = (function(B + h * direction)[0] - function(B - h * direction)[0]) / (2 * h)
        assert numeric == pytest.approx(float(gradient @ direction), rel=1e-6)


def test_kl_of_two_atoms_by_hand() -> None:
    value, gradient = adp.kl(np.array([10.0, 20.0]), np.array([0]), np.array([1]), np.array([4.0]))
    assert value == pytest.approx(0.5 * 4.0 * 100.0 / 200.0)
    assert gradient[0] < 0 < gradient[1]


def test_kl_depends_on_ratios_only() -> None:
    assert adp.kl(3.7 * B, ONE, TWO, W)[0] == pytest.approx(adp.kl(B, ONE, TWO, W)[0])


def test_equal_b_cost_nothing() -> None:
    flat = np.full(25, 17.0)
    for value, gradient in (adp.kl(flat, ONE, TWO, W), adp.variance(flat)):
        assert value == pytest.approx(0.0, abs=1e-9)
        np.testing.assert_allclose(gradient, 0.0, atol=1e-9)


def test_kl_is_finite_at_absurd_b() -> None:
    value, gradient = adp.kl(np.array([-5.0, 0.0, 999.0]), np.array([0, 1]), np.array([1, 2]), np.ones(2))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_variance_of_nothing() -> None:
    assert adp.variance(np.zeros(0))[0] == 0.0
