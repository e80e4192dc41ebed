"""Per-reflection negative log-likelihood of a measured amplitude, with derivatives by the model's amplitude.

With X the argument of the Bessel function, every exponential is taken out of `I0`, `I1` and `cosh`, so that
only (F - x)² and slowly varying terms remain: nothing overflows and no digits cancel at any argument.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import chndtr, i0e, i1e, ndtr

from arrayrefine.kernels import processes
from arrayrefine.kernels.backend import array_module
from arrayrefine.kernels.threads import each, pieces

Float: TypeAlias = NDArray[np.float64]

LARGE_ARGUMENT = 300.0
"""Beyond this X, 1 - m/X - m² is taken from its series in 1/X: the differences lose X² in precision."""

_SMALL_ARGUMENT = 1e-4
"""Below this X, the slope of m is taken from its series."""

_LOG_2PI = math.log(2.0 * math.pi)

CLEAR_DEVIATION = 3.0
"""Standard deviations below which a deviation is never improbable, see `deviation`."""
_GAUSSIAN_BEYOND = 1e3
"""x²/Σ beyond which the distribution of an amplitude is Gaussian for every purpose."""


def _bessel_ratio_slope(argument: Float, ratio: Float) -> Float:
    """Derivative of m(X) = I1/I0, which is 1 - m/X - m², for X >= 0."""
    slope = 1.0 - ratio / np.maximum(argument, _SMALL_ARGUMENT) - ratio * ratio
    small = np.flatnonzero(argument < _SMALL_ARGUMENT)
    slope[small] = 0.5 - 0.1875 * argument[small] ** 2
    large = np.flatnonzero(argument > LARGE_ARGUMENT)
    t = 1.0 / argument[large]
    # From m = 1 - t/2 - t²/8 - t³/8 - 25t⁴/128 - 13t⁵/32 (Abramowitz & Stegun 9.7.1).
    slope[large] = t * t * (0.5 + t * (0.25 + t * (0.375 + t * (0.78125 + t * 2.03125))))
    return slope


def rice_ml(
    f_obs: Float, x: Float, sigma_total: Float, centric: NDArray[np.bool_]
) -> tuple[Float, Float, Float, Float]:
    """Negative log of the Rice (acentric) or Woolfson (centric) distribution of an amplitude.

    Acentric, X = 2Fx/Σ: -ln(2F/Σ) + (F² + x²)/Σ - ln I0(X).
    Centric, Y = Fx/Σ: ½ ln(πΣ/2) + (F² + x²)/2Σ - ln cosh(Y).
    (Murshudov, Vagin & Dodson (1997) Acta Cryst. D53, 240-255; Pannu & Read (1996) Acta Cryst. A52, 659-668.)

    Parameters
    ----------
    f_obs : (R,) float64
        Measured amplitude F >= 0.
    x : (R,) float64
        Expected amplitude |D F_c| >= 0, on the scale of `f_obs`.
    sigma_total : (R,) float64
        Variance Σ > 0: that of the model, and 2 σ² for acentric, σ² for centric reflections.
    centric : (R,) bool

    Returns
    -------
    nll : (R,) float64
        -ln p(F). The density of an acentric F = 0 vanishes; there the constant -ln F, which no parameter can
        change, is left out so that the value stays finite.
    derivative, curvature : (R,) float64
        First and second derivative by `x`. The curvature is exact, and negative for a strong reflection whose
        `x` is small.
    fom : (R,) float64
        Expected cosine of the phase error m: I1(X)/I0(X), or tanh(Y).
    """
    if array_module(f_obs) is not np:
        from arrayrefine.kernels import likelihood_cuda

        return likelihood_cuda.rice_ml(f_obs, x, sigma_total, centric)
    if processes.size() == 1:
        return _rice_ml(f_obs, x, sigma_total, centric)
    found = processes.shared("rice_ml", np.float64, 4, len(f_obs))
    parts = pieces(len(f_obs), -(-len(f_obs) // processes.size()))

    def one(number: int) -> None:
        here = parts[number]
        found[:, here] = _rice_ml(f_obs[here], x[here], sigma_total[here], centric[here])

    each(one, len(parts), 1)
    nll, derivative, curvature, fom = found.copy()
    return nll, derivative, curvature, fom


def _rice_ml(
    f_obs: Float, x: Float, sigma_total: Float, centric: NDArray[np.bool_]
) -> tuple[Float, Float, Float, Float]:
    """See `rice_ml`."""
    found = np.empty((4, len(f_obs)))
    few = np.flatnonzero(centric)
    if len(few) < len(f_obs):
        _acentric(f_obs, x, sigma_total, found)
    if len(few):
        of_centric = np.empty((4, len(few)))
        _centric(f_obs[few], x[few], sigma_total[few], of_centric)
        found[:, few] = of_centric
    nll, derivative, curvature, fom = found
    return nll, derivative, curvature, fom


def _acentric(f_obs: Float, x: Float, sigma_total: Float, out: Float) -> None:
    """Write the four rows of `rice_ml` to `out` (4, R), by the Rice distribution."""
    argument = 2.0 * (f_obs * x / sigma_total)
    scaled_i0 = i0e(argument)
    fom = np.divide(i1e(argument), scaled_i0, out=out[3])
    log_f = np.log(np.where(f_obs > 0.0, f_obs, 1.0))
    out[0] = np.log(0.5 * sigma_total) - log_f + (f_obs - x) ** 2 / sigma_total - np.log(scaled_i0)
    out[1] = 2.0 * (x - fom * f_obs) / sigma_total
    out[2] = 2.0 / sigma_total - _bessel_ratio_slope(argument, fom) * (2.0 * f_obs / sigma_total) ** 2


def _centric(f_obs: Float, x: Float, sigma_total: Float, out: Float) -> None:
    """Write the four rows of `rice_ml` to `out` (4, R), by the Woolfson distribution."""
    product = f_obs * x / sigma_total
    decay = np.exp(-2.0 * product)
    fom = np.divide(-np.expm1(-2.0 * product), 1.0 + decay, out=out[3])
    out[0] = 0.5 * (_LOG_2PI + np.log(sigma_total) + (f_obs - x) ** 2 / sigma_total) - np.log1p(decay)
    out[1] = 1.0 * (x - fom * f_obs) / sigma_total
    out[2] = 1.0 / sigma_total - 4.0 * decay / (1.0 + decay) ** 2 * (f_obs / sigma_total) ** 2


def rice_ml_by_variance(f_obs: Float, x: Float, sigma_total: Float, centric: NDArray[np.bool_], fom: Float) -> Float:
    """Derivative of the value of `rice_ml` by Σ.

    Parameters
    ----------
    f_obs, x, sigma_total, centric
        As given to `rice_ml`.
    fom : (R,) float64
        As returned by `rice_ml` for the same arguments.

    Returns
    -------
    (R,) float64
        (1/Σ - ((F - x)² + 2 F x (1 - m))/Σ²), halved for centric reflections.
    """
    if array_module(f_obs) is not np:
        from arrayrefine.kernels import likelihood_cuda

        by_variance: Float = likelihood_cuda.rice_ml_by_variance(f_obs, x, sigma_total, centric, fom)
        return by_variance
    spread = (f_obs - x) ** 2 + 2.0 * f_obs * x * (1.0 - fom)
    return np.where(centric, 0.5, 1.0) * (1.0 - spread / sigma_total) / sigma_total


def gaussian(f_obs: Float, f_model: Float, sigma: Float) -> tuple[Float, Float, Float]:
    """Negative log of a Gaussian distribution of the measured amplitude, without its constant ½ ln 2π.

    Parameters
    ----------
    f_obs, f_model : (R,) float64
        Measured and modelled amplitude on one scale.
    sigma : (R,) float64
        Standard uncertainty of `f_obs`, > 0.

    Returns
    -------
    value, derivative, curvature : (R,) float64
        ½ ((F_o - F)/σ)² + ln σ, and its first and second derivative by `f_model`.
    """
    if array_module(f_obs) is not np:
        from arrayrefine.kernels import likelihood_cuda

        return likelihood_cuda.gaussian(f_obs, f_model, sigma)
    z = (f_model - f_obs) / sigma
    return 0.5 * z * z + np.log(sigma), z / sigma, 1.0 / (sigma * sigma)


def deviation(f_obs: Float, x: Float, sigma_total: Float, centric: NDArray[np.bool_]) -> tuple[Float, Float]:
    """How far, and how improbably far, measured amplitudes are from a model (Read (1999) Acta Cryst. D55, 1759-1764).

    2F²/Σ (acentric; F²/Σ centric) follows the non-central χ² distribution with two degrees of freedom (one) and
    non-centrality 2x²/Σ (x²/Σ).

    Parameters
    ----------
    f_obs, x, sigma_total, centric
        As given to `rice_ml`; host arrays.

    Returns
    -------
    z : (R,) float64
        (F - x) over the standard deviation √(Σ/2) of one component (√Σ centric).
    probability : (R,) float64
        Twice the chance of an amplitude at least as far out on the same side, at most 1; exactly 1 where |z| is below
        `CLEAR_DEVIATION`, so that a weak reflection is not held improbable for being nearly zero.
    """
    spread = np.where(centric, 1.0, 0.5) * sigma_total
    z = (f_obs - x) / np.sqrt(spread)
    probability = np.ones(len(z))
    far = np.flatnonzero(np.abs(z) > CLEAR_DEVIATION)
    centrality = x[far] ** 2 / spread[far]
    # The mean of a Gaussian amplitude is a little above x: the component across adds to it.
    mean = np.sqrt(x[far] ** 2 + np.where(centric[far], 0.0, spread[far]))
    below = ndtr((f_obs[far] - mean) / np.sqrt(spread[far]))
    exact = centrality < _GAUSSIAN_BEYOND
    one = far[exact]
    # Squares beyond the limit are certain to the last digit, and the series of the function does not end there.
    square = np.minimum(f_obs[one] ** 2 / spread[one], 2.0 * _GAUSSIAN_BEYOND + centrality[exact])
    below[exact] = chndtr(square, np.where(centric[one], 1.0, 2.0), centrality[exact])
    tail = np.where(z[far] > 0.0, 1.0 - below, below)
    probability[far] = np.clip(2.0 * tail, 0.0, 1.0)
    return z, probability
