"""Likelihood kernels: derivatives, normalisation and extreme arguments."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.polynomial.legendre import leggauss

from arrayrefine.kernels.likelihood import deviation, gaussian, rice_ml, rice_ml_by_variance


def cases(rng: np.random.Generator, n: int = 400) -> tuple[np.ndarray, ...]:
    f_obs = rng.uniform(0.05, 30.0, n)
    x = rng.uniform(0.05, 30.0, n)
    variance = 10.0 ** rng.uniform(-0.5, 2.5, n)
    return f_obs, x, variance, rng.random(n) < 0.5


def log_i0(argument: float) -> float:
    """ln I0 by Gauss-Legendre quadrature of its integral representation, exponent taken out."""
    node, weight = leggauss(400)
    # The integrand is concentrated within a few 1/sqrt(X) of zero.
    top = min(np.pi, 12.0 / np.sqrt(max(argument, 1e-300)))
    theta = 0.5 * top * (node + 1.0)
    integrand = np.exp(-2.0 * argument * np.sin(0.5 * theta) ** 2)
    return float(argument + np.log(0.5 * top * weight @ integrand / np.pi))


def test_derivative_by_x_matches_finite_differences():
    f_obs, x, variance, centric = cases(np.random.default_rng(1))
    h = 1e-5 * np.sqrt(variance)
    up, down = rice_ml(f_obs, x + h, variance, centric), rice_ml(f_obs, x - h, variance, centric)
    _, derivative, curvature, _ = rice_ml(f_obs, x, variance, centric)
    scale = 1.0 / np.sqrt(variance)
    np.testing.assert_allclose((up[0] - down[0]) / (2 * h) / scale, derivative / scale, rtol=1e-6, atol=2e-6)
    numeric = (up[1] - down[1]) / (2 * h)
    np.testing.assert_allclose(numeric * variance, curvature * variance, rtol=1e-6, atol=1e-6)


def test_derivative_by_variance_matches_finite_differences():
    f_obs, x, variance, centric = cases(np.random.default_rng(2))
    h = 1e-5 * variance
    numeric = (rice_ml(f_obs, x, variance + h, centric)[0] - rice_ml(f_obs, x, variance - h, centric)[0]) / (2 * h)
    fom = rice_ml(f_obs, x, variance, centric)[3]
    analytic = rice_ml_by_variance(f_obs, x, variance, centric, fom)
    np.testing.assert_allclose(numeric * variance, analytic * variance, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("centric", [False, True])
@pytest.mark.parametrize(("x", "variance"), [(0.0, 1.0), (0.3, 2.0), (5.0, 1.0), (100.0, 4.0), (7.0, 900.0)])
def test_density_integrates_to_one(x: float, variance: float, centric: bool):
    width = np.sqrt(variance)
    low, high = max(0.0, x - 12 * width), x + 12 * width
    node, weight = leggauss(400)
    f_obs = low + 0.5 * (high - low) * (node + 1.0)
    full = np.full_like(f_obs, 1.0)
    nll = rice_ml(f_obs, x * full, variance * full, np.full(f_obs.shape, centric))[0]
    assert 0.5 * (high - low) * weight @ np.exp(-nll) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("argument", [0.0, 1e-8, 1e-3, 0.7, 20.0, 700.0, 5e3, 1e6, 1e8])
def test_acentric_value_agrees_with_quadrature(argument: float):
    f_obs, x, variance = 1.0, 1.0, 2.0
    if argument > 0:
        variance = 2.0 / argument
    else:
        x = 0.0
    nll = rice_ml(*(np.array([v]) for v in (f_obs, x, variance)), np.array([False]))[0][0]
    expected = -np.log(2 * f_obs / variance) + (f_obs**2 + x**2) / variance - log_i0(argument)
    assert nll == pytest.approx(expected, rel=1e-9, abs=1e-15 * argument + 1e-12)


@pytest.mark.parametrize("argument", [0.0, 1e-8, 0.7, 20.0, 1e3])
def test_centric_value_agrees_with_the_formula(argument: float):
    f_obs, x, variance = 1.0, 1.0, 1.0 / max(argument, 1e-300) if argument else 2.0
    x = 1.0 if argument else 0.0
    nll = rice_ml(*(np.array([v]) for v in (f_obs, x, variance)), np.array([True]))[0][0]
    log_cosh = float(np.logaddexp(argument, -argument) - np.log(2.0))
    expected = 0.5 * np.log(np.pi * variance / 2) + (f_obs**2 + x**2) / (2 * variance) - log_cosh
    assert nll == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_extreme_arguments_stay_finite_and_consistent():
    grid = product((0.0, 1e-12, 1.0, 1e8), (0.0, 1e-12, 1.0, 1e8), (1e-12, 1.0, 1e16), (False, True))
    f_obs, x, variance, centric = (np.array(v) for v in zip(*grid))
    nll, derivative, curvature, fom = rice_ml(f_obs, x, variance, centric)
    for values in (nll, derivative, curvature, fom):
        assert np.isfinite(values).all()
    assert ((fom >= 0) & (fom <= 1)).all()
    by_variance = rice_ml_by_variance(f_obs, x, variance, centric, fom)
    assert np.isfinite(by_variance).all()
    # Without a measured amplitude or without a model, nothing is known of the phase.
    assert (fom[(f_obs == 0) | (x == 0)] == 0).all()


def test_large_arguments_reach_the_gaussian_limit():
    f_obs, x, variance = np.array([1.0e4]), np.array([1.0003e4]), np.array([2.0])
    for centric, factor in ((False, 2.0), (True, 1.0)):
        _, derivative, curvature, fom = rice_ml(f_obs, x, variance, np.array([centric]))
        assert derivative[0] == pytest.approx(factor * 3.0 / 2.0, rel=1e-3)
        assert curvature[0] == pytest.approx(factor / 2.0, rel=1e-6)
        assert fom[0] == pytest.approx(1.0, abs=1e-7)


def test_curvature_is_continuous_where_the_series_takes_over():
    x = np.array([300.0 * (1 - 1e-9), 300.0 * (1 + 1e-9), 1e-4 * (1 - 1e-9), 1e-4 * (1 + 1e-9)])
    one, two = np.ones(4), np.full(4, 2.0)
    curvature = rice_ml(one, x, two, np.zeros(4, dtype=bool))[2]
    slope = 1.0 - curvature  # 2/Σ = 1 and (2F/Σ)² = 1
    assert slope[0] == pytest.approx(slope[1], rel=1e-7)
    assert slope[0] == pytest.approx(0.5 / 300**2 + 0.25 / 300**3, rel=1e-4)
    assert slope[2] == pytest.approx(slope[3], rel=1e-7)


def test_zero_amplitude_depends_on_the_parameters_as_its_neighbours_do():
    x, variance = np.array([2.0]), np.array([3.0])
    acentric = np.array([False])
    at_zero = rice_ml(np.array([0.0]), x, variance, acentric)
    near = rice_ml(np.array([1e-9]), x, variance, acentric)
    assert at_zero[0][0] == pytest.approx(near[0][0] + np.log(1e-9), rel=1e-9)
    assert at_zero[1][0] == pytest.approx(near[1][0])


def test_gaussian_value_and_derivatives():
    f_obs, f_model, sigma = np.array([3.0, 5.0]), np.array([4.0, 1.0]), np.array([0.5, 2.0])
    value, derivative, curvature = gaussian(f_obs, f_model, sigma)
    np.testing.assert_allclose(value, [2.0 + np.log(0.5), 2.0 + np.log(2.0)])
    h = 1e-6
    up, down = gaussian(f_obs, f_model + h, sigma), gaussian(f_obs, f_model - h, sigma)
    np.testing.assert_allclose((up[0] - down[0]) / (2 * h), derivative, rtol=1e-8)
    np.testing.assert_allclose((up[1] - down[1]) / (2 * h), curvature, rtol=1e-8)


@pytest.mark.parametrize("centric", [False, True])
def test_a_deviation_is_as_improbable_as_it_is_rare(centric: bool):
    rng = np.random.default_rng(4)
    n, variance = 300_000, 2.0
    x = rng.choice([0.0, 1.0, 5.0, 60.0], n)
    error = rng.normal(size=n) + (0.0 if centric else 1j * rng.normal(size=n))
    f_obs = np.abs(x + error * np.sqrt(variance if centric else 0.5 * variance))
    z, probability = deviation(f_obs, x, np.full(n, variance), np.full(n, centric))
    for x_one, least in ((0.0, 0.0), (1.0, 0.0), (5.0, 6e-4), (60.0, 7e-4)):
        rare = (probability[x == x_one] < 1e-3).mean()
        assert least < rare < 1.25e-3
    assert np.abs(z[probability < 1.0]).min() > 3.0


def test_the_tail_is_that_of_the_distribution():
    """The chance of an amplitude beyond F is the integral of the density of `rice_ml`."""
    node, weight = leggauss(600)
    for x, f_obs, variance, centric in product((0.0, 2.0, 40.0), (8.0, 20.0, 46.0), (1.0, 3.0), (False, True)):
        z, probability = deviation(*(np.array([v]) for v in (f_obs, x, variance, centric)))
        if not 3.0 < z[0] < 7.0:
            continue
        f = f_obs + 6.0 * np.sqrt(variance) * (node + 1.0)
        same = (np.full(600, v) for v in (x, variance, centric))
        tail = 6.0 * np.sqrt(variance) * float(weight @ np.exp(-rice_ml(f, *same)[0]))
        assert probability[0] == pytest.approx(2.0 * tail, rel=0.03)
    far = deviation(np.array([1e7, 0.0]), np.array([1.0, 1e7]), np.ones(2), np.zeros(2, dtype=bool))
    assert (far[1] < 1e-12).all()
