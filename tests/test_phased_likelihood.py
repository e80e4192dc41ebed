"""The likelihood of amplitudes whose phases are known in part: integrals, limits, derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import i0e, i1e

from arrayrefine.kernels.likelihood import rice_ml
from arrayrefine.kernels.phased_likelihood import phase_moments, phased_ml

RNG = np.random.default_rng(7)
N = 60
F_OBS, VARIANCE = RNG.gamma(2.0, 40.0, N), RNG.gamma(3.0, 200.0, N)
EXPECTED = F_OBS * RNG.normal(1.0, 0.4, N).clip(0.01) * np.exp(2j * np.pi * RNG.random(N))
CENTRIC = np.arange(N) % 4 == 0
KNOWN = RNG.normal(0.0, 2.0, (N, 4)) * np.where(CENTRIC[:, None], [1.0, 1.0, 0.0, 0.0], 1.0)


def _terms(expected: np.ndarray, known: np.ndarray = KNOWN) -> tuple[np.ndarray, ...]:
    return phased_ml(F_OBS, expected, VARIANCE, CENTRIC, known, phase_moments(known)[0])


def test_without_knowledge_it_is_the_likelihood_of_amplitudes() -> None:
    value, derivative, curvature, merit = _terms(EXPECTED, np.zeros((N, 4)))
    nll, slope, bend, fom = rice_ml(F_OBS, np.abs(EXPECTED), VARIANCE, CENTRIC)
    unit = EXPECTED / np.abs(EXPECTED)
    np.testing.assert_allclose(value, nll, rtol=1e-10)
    np.testing.assert_allclose(derivative, slope * unit, atol=1e-10)
    np.testing.assert_allclose(curvature, bend, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(merit, fom * unit, atol=1e-10)


@pytest.mark.parametrize("row", [1, 2, 3, 5, 6, 7])
def test_moments_are_integrals(row: int) -> None:
    a, b, c, d = KNOWN[row]

    def weight(phi: float, n: int = 0) -> complex:
        exponent = a * np.cos(phi) + b * np.sin(phi) + c * np.cos(2 * phi) + d * np.sin(2 * phi)
        return complex(np.exp(exponent + 1j * n * phi) / (2.0 * np.pi))

    total, first, second = (quad(weight, 0.0, 2.0 * np.pi, (n,), complex_func=True, limit=200)[0] for n in (0, 1, 2))
    found = phase_moments(KNOWN[[row]])
    assert found[0][0] == pytest.approx(np.log(total.real), abs=1e-9)
    assert found[1][0] == pytest.approx(first / total, abs=1e-9)
    assert found[2][0] == pytest.approx(second / total, abs=1e-9)


@pytest.mark.parametrize("size", [1e-3, 3.0, 40.0, 700.0, 2e4, 1e6])
def test_moments_of_one_peak_are_bessel_functions(size: float) -> None:
    angle = np.array([0.3, 2.0, -1.1])
    log_norm, first, _ = phase_moments(size * np.stack([np.cos(angle), np.sin(angle), 0 * angle, 0 * angle], axis=1))
    np.testing.assert_allclose(log_norm, np.log(i0e(size)) + size, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(first, i1e(size) / i0e(size) * np.exp(1j * angle), rtol=1e-8)


@pytest.mark.parametrize("size", [0.0, 1e-9, 0.3, 25.0, 4e3])
def test_integrals_in_closed_form_are_those_that_are_summed(size: float) -> None:
    """Without C and D there is a formula; with the least of them there is none."""
    angle = np.array([0.3, 2.0, -1.1])
    one, all_but = (
        np.stack([size * np.cos(angle), size * np.sin(angle), c + 0 * angle, 0 * angle], axis=1) for c in (0.0, 1e-14)
    )
    for formula, summed in zip(phase_moments(one), phase_moments(all_but)):
        np.testing.assert_allclose(formula, summed, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("direction", [1.0, 1j])
def test_derivative_is_that_of_the_value(direction: complex) -> None:
    """Along the model's own line for centric reflections, whose phase is restricted to it."""
    unit = np.where(CENTRIC, EXPECTED / np.abs(EXPECTED), direction)
    step = 1e-4
    up, down = (_terms(EXPECTED + sign * step * unit)[0] for sign in (1.0, -1.0))
    expected = (_terms(EXPECTED)[1] * unit.conj()).real
    np.testing.assert_allclose((up - down) / (2.0 * step), expected, atol=2e-7)


def test_curvature_is_that_along_the_model() -> None:
    unit, step = EXPECTED / np.abs(EXPECTED), 1e-3
    up, down = ((_terms(EXPECTED + sign * step * unit)[1] * unit.conj()).real for sign in (1.0, -1.0))
    np.testing.assert_allclose((up - down) / (2.0 * step), _terms(EXPECTED)[2], rtol=1e-5, atol=1e-8)


def test_probabilities_of_a_centric_amplitude_add_up_to_one() -> None:
    """Over all F, whatever is known of the sign: then the value is a likelihood, its norm included."""
    f = np.linspace(0.0, 400.0, 40001)
    known = np.tile([1.3, -0.4, 0.0, 0.0], (len(f), 1))
    ones = np.ones(len(f))
    nll = phased_ml(f, 50.0 * ones + 0j, 900.0 * ones, ones > 0.0, known, 0.0 * ones)[0]
    weight = np.exp(-nll)  # p(F, known) / p(known): with the sign averaged over what is known, F alone
    both = 0.5 * (1.0 + np.tanh(1.3)) * np.exp(-((f - 50.0) ** 2) / 1800.0)
    both += 0.5 * (1.0 - np.tanh(1.3)) * np.exp(-((f + 50.0) ** 2) / 1800.0)
    np.testing.assert_allclose(weight, 2.0 * both / np.sqrt(2.0 * np.pi * 900.0), rtol=1e-9)
