"""Negative log-likelihood of measured amplitudes where something is known of their phases beside the model.

What is known is a distribution of the phase, exp(A cos φ + B sin φ + C cos 2φ + D sin 2φ) but for its norm
(Hendrickson & Lattman (1970) Acta Cryst. B26, 136-143). The likelihood of an amplitude is that of amplitude and phase
together, with this as the prior of the phase, integrated over it (Pannu, Murshudov, Dodson & Read (1998) Acta Cryst.
D54, 1285-1294).
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import i0e, i1e

Float: TypeAlias = NDArray[np.float64]
Complex: TypeAlias = NDArray[np.complex128]
Int: TypeAlias = NDArray[np.intp]

_LOG_2PI, _LOG_2 = math.log(2.0 * math.pi), math.log(2.0)
_FEWEST, _PER_ROOT = 8.0, 8.0
"""Phases of a sum in place of an integral: so many, and so many more for each √K, K the concentration of the exponent.
What the sum of n misses falls off as I_n(K), for large K as exp(−n²/2K): less than 1e-10 here."""
_LEVELS = 4
"""Numbers of phases that are told apart, for each doubling."""
_BLOCK = 1 << 17
"""Exponents that are worked on at a time."""


def _concentration(coefficients: Float) -> Float:
    """The most that the second derivative of the exponents of A, B, C, D (R, 4) can be."""
    a, b, c, d = coefficients.T
    return np.asarray(np.hypot(a, b) + 4.0 * np.hypot(c, d))


def _blocks(coefficients: Float, rows: Int) -> list[tuple[int, Int]]:
    """Numbers of phases, and those rows of the distributions (R, 4) for which so many are enough, a block at a time."""
    needed = _FEWEST + _PER_ROOT * np.sqrt(_concentration(coefficients[rows]))
    level = np.ceil(_LEVELS * np.log2(needed)).astype(np.intp)
    found = []
    for one in np.unique(level).tolist():
        own, count = rows[level == one], math.ceil(2.0 ** (one / _LEVELS))
        size = max(1, _BLOCK // count)
        found += [(count, own[k : k + size]) for k in range(0, len(own), size)]
    return found


def phase_moments(coefficients: Float) -> tuple[Float, Complex, Complex]:
    """Of distributions of phases, any.

    Those without C and D have one peak, and their integrals are Bessel functions; others are summed.

    Parameters
    ----------
    coefficients : (R, 4) float64
        A, B, C, D.

    Returns
    -------
    log_norm : (R,) float64
        ln ∫ exp(A cos φ + B sin φ + C cos 2φ + D sin 2φ) dφ / 2π.
    first, second : (R,) complex128
        Means of exp(iφ) and exp(2iφ).
    """
    twofold = coefficients[:, 2:].any(axis=1)
    a, b = coefficients[:, 0], coefficients[:, 1]
    size = np.hypot(a, b)
    divisor = np.where(size > 0.0, size, 1.0)
    unit, scaled = (a + 1j * b) / divisor, i0e(size)
    ratio = i1e(size) / scaled
    log_norm, first, second = size + np.log(scaled), ratio * unit, (1.0 - 2.0 * ratio / divisor) * unit**2
    for count, rows in _blocks(coefficients, np.flatnonzero(twofold)):
        angle = 2.0 * np.pi * np.arange(count) / count
        waves = np.stack([np.cos(angle), np.sin(angle), np.cos(2.0 * angle), np.sin(2.0 * angle)])
        exponent = coefficients[rows] @ waves
        largest = exponent.max(axis=1)
        exponent -= largest[:, None]
        weight = np.exp(exponent, out=exponent)
        total = weight.sum(axis=1)
        log_norm[rows] = largest + np.log(total / count)
        c1, s1, c2, s2 = (weight @ waves.T).T / total
        first[rows], second[rows] = c1 + 1j * s1, c2 + 1j * s2
    return log_norm, first, second


def _log_cosh(argument: Float) -> Float:
    size = np.abs(argument)
    return np.asarray(size + np.log1p(np.exp(-2.0 * size)) - _LOG_2)


def phased_ml(
    f_obs: Float, expected: Complex, sigma_total: Float, centric: NDArray[np.bool_], coefficients: Float,
    log_norm: Float,
) -> tuple[Float, Complex, Float, Complex]:  # fmt: skip
    """Negative log of the probability of an amplitude, given the model and a distribution of the phase.

    Acentric, with E = 2Fz/Σ + A + iB: -ln(2F/Σ) + (F² + |z|²)/Σ - ln ∫ exp(Re(E* exp(iφ)) + C cos 2φ + D sin 2φ) dφ/2π
    and the norm of the distribution. Centric, with Y = F|z|/Σ and H = A cos φ + B sin φ at the model's phase:
    ½ ln(πΣ/2) + (F² + |z|²)/2Σ - ln cosh(Y + H) + ln cosh H. Without knowledge, both are `likelihood.rice_ml`.

    Parameters
    ----------
    f_obs : (R,) float64
        Measured amplitude F >= 0.
    expected : (R,) complex128
        Expected structure factor z = D F_c, on the scale of `f_obs`.
    sigma_total : (R,) float64
        Variance Σ > 0, as for `rice_ml`.
    centric : (R,) bool
    coefficients : (R, 4) float64
        A, B, C, D; 0 where nothing is known.
    log_norm : (R,) float64
        Of the distributions, as `phase_moments` returns it; of centric reflections it is not used.

    Returns
    -------
    nll : (R,) float64
        The constant -ln F of an acentric F = 0 is left out, as in `rice_ml`.
    derivative : (R,) complex128
        By the real part of z, and i times that by the imaginary one: 2 (z - F M)/Σ, half of it for centric reflections.
    curvature : (R,) float64
        Second derivative along z.
    merit : (R,) complex128
        M, the expectation of exp(iφ): figure of merit and best phase, from model and distribution together.
    """
    x = np.abs(expected)
    unit = np.where(x > 0.0, expected, 1.0) / np.where(x > 0.0, x, 1.0)
    misfit = (f_obs - x) ** 2 / sigma_total
    nll, curvature, merit = np.empty(len(x)), np.empty(len(x)), np.empty(len(x), dtype=np.complex128)

    rows = np.flatnonzero(~centric)
    f, variance, along = f_obs[rows], sigma_total[rows], unit[rows]
    argument = 2.0 * f * x[rows] / variance
    joint = coefficients[rows].copy()
    joint[:, 0] += argument * along.real
    joint[:, 1] += argument * along.imag
    log_integral, first, second = phase_moments(joint)
    log_f = np.log(np.where(f > 0.0, f, 1.0))
    nll[rows] = np.log(0.5 * variance) - log_f + misfit[rows] + argument - log_integral + log_norm[rows]
    spread = 0.5 + 0.5 * (second * along.conj() ** 2).real - (first * along.conj()).real ** 2
    curvature[rows] = 2.0 / variance - spread * (2.0 * f / variance) ** 2
    merit[rows] = first

    rows = np.flatnonzero(centric)
    f, variance, along = f_obs[rows], sigma_total[rows], unit[rows]
    product = f * x[rows] / variance
    known = coefficients[rows, 0] * along.real + coefficients[rows, 1] * along.imag
    both = product + known
    nll[rows] = 0.5 * (_LOG_2PI + np.log(variance) + misfit[rows]) - _LOG_2 + product
    nll[rows] += _log_cosh(known) - _log_cosh(both)
    curvature[rows] = 1.0 / variance - (f / variance / np.cosh(np.minimum(np.abs(both), 300.0))) ** 2
    merit[rows] = np.tanh(both) * along

    derivative = np.where(centric, 1.0, 2.0) * (expected - f_obs * merit) / sigma_total
    return nll, derivative, curvature, merit
