"""The density of the amplitude of a sum of intensities: limits, derivatives and moments."""

from __future__ import annotations

import numpy as np
import pytest

from arrayrefine.kernels.likelihood import rice_ml, rice_ml_by_variance
from arrayrefine.kernels.noncentral import chi_ml


def arguments(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Amplitudes, expectations (some of them tiny), variances and orders."""
    rng = np.random.default_rng(seed)
    tiny = np.where(rng.random(n) < 0.2, 1e-5, 1.0)
    return rng.uniform(0.0, 5.0, n), rng.uniform(0.0, 5.0, n) * tiny, rng.uniform(0.5, 3.0, n), rng.uniform(0.5, 4.0, n)


def test_one_crystal_has_the_distributions_of_rice_and_woolfson() -> None:
    f, x, variance, order = arguments()
    centric = order > 2.0
    single = np.where(centric, 0.5, 1.0)
    nll, by_x, curvature, fom = rice_ml(f, x, variance, centric)
    found = chi_ml(f, x, variance / single, single)
    np.testing.assert_allclose(found[0], nll, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found[1], by_x, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found[2], curvature, rtol=0, atol=1e-8)
    expected = rice_ml_by_variance(f, x, variance, centric, fom)
    np.testing.assert_allclose(found[3] / single, expected, rtol=0, atol=1e-9)


def test_derivatives() -> None:
    f, x, sigma, order = arguments()
    step = 1e-6
    x = np.maximum(x, 2.0 * step)
    _, by_x, by_x_x, by_sigma = chi_ml(f, x, sigma, order)
    up, down = chi_ml(f, x + step, sigma, order), chi_ml(f, x - step, sigma, order)
    np.testing.assert_allclose((up[0] - down[0]) / (2 * step), by_x, rtol=0, atol=1e-7)
    np.testing.assert_allclose((up[1] - down[1]) / (2 * step), by_x_x, rtol=0, atol=1e-5)
    up, down = chi_ml(f, x, sigma + step, order), chi_ml(f, x, sigma - step, order)
    np.testing.assert_allclose((up[0] - down[0]) / (2 * step), by_sigma, rtol=0, atol=1e-7)


@pytest.mark.parametrize("order", [0.5, 0.8, 1.0, 1.7, 4.0])
@pytest.mark.parametrize("x", [0.0, 0.3, 2.0, 40.0])
def test_density_and_moments(order: float, x: float) -> None:
    """⟨F²⟩ = x² + hΣ and var F² = 2x²Σ + hΣ²."""
    sigma = 1.5
    f = np.linspace(1e-9, x + 14.0, 400_001)
    p = np.exp(-chi_ml(f, np.full_like(f, x), np.full_like(f, sigma), np.full_like(f, order))[0])
    assert np.trapezoid(p, f) == pytest.approx(1.0, abs=1e-4)
    mean = np.trapezoid(p * f**2, f)
    assert mean == pytest.approx(x**2 + order * sigma, rel=1e-4)
    assert np.trapezoid(p * (f**2 - mean) ** 2, f) == pytest.approx(2.0 * x**2 * sigma + order * sigma**2, rel=1e-3)


def test_nothing_overflows_and_zero_is_finite() -> None:
    f, x = np.array([0.0, 3000.0, 1e5, 0.0]), np.array([2.0, 2990.0, 1e5, 0.0])
    for values in chi_ml(f, x, np.ones(4), np.full(4, 1.5)):
        assert np.isfinite(values).all()


@pytest.mark.parametrize("edge", [1e-3, 1e5])
def test_series_join_on_to_what_is_between(edge: float) -> None:
    order = np.linspace(0.5, 4.0, 50)
    x = np.full(50, np.sqrt(0.5 * edge))
    below, above = (chi_ml(x, factor * x, np.ones(50), order) for factor in (1.0 - 1e-9, 1.0 + 1e-9))
    for one, two in zip(below, above):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-6)
