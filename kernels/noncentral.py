"""Negative log-likelihood of the amplitude of a sum of intensities, as twins scatter, with its derivatives.

With F = √(Σ_k α_k |F_k|²) and each F_k Gaussian about its expectation, 2F²/Σ follows nearly a non-central χ²
distribution. Half its degrees of freedom, the order h, is 1 for an acentric reflection of one crystal and ½ for a
centric one, which are the distributions of Rice and Woolfson (see `kernels.likelihood.rice_ml`), and larger for a twin.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, ive

Float: TypeAlias = NDArray[np.float64]

_SMALL = 1e-3
"""Arguments of the Bessel functions below which their series is used,"""
_LARGE = 1e5
"""and above which that in 1/z is, as differences lose z² in precision (Abramowitz & Stegun 9.7.1)."""


def chi_ml(f_obs: Float, x: Float, sigma: Float, order: Float) -> tuple[Float, Float, Float, Float]:
    """Negative log of the density of F, and its derivatives.

    p(F) = (2F/Σ) (F/x)^(h-1) exp(-(F² + x²)/Σ) I_(h-1)(2Fx/Σ), with ⟨F²⟩ = x² + hΣ and var F² = 2x²Σ + hΣ².

    Parameters
    ----------
    f_obs : (R,) float64
        F >= 0.
    x : (R,) float64
        √(Σ_k α_k ⟨F_k⟩²) >= 0, on the scale of `f_obs`.
    sigma : (R,) float64
        Σ > 0.
    order : (R,) float64
        h > 0.

    Returns
    -------
    nll : (R,) float64
        -ln p(F); where F is 0 without the term in ln F, which no parameter can change.
    by_x, by_x_x : (R,) float64
        First and second derivative by `x`.
    by_sigma : (R,) float64
        Derivative by `sigma`.
    """
    argument = 2.0 * f_obs * x / sigma
    log_bessel, ratio, slope = _bessel(argument, order)
    log_f = np.log(np.where(f_obs > 0.0, f_obs, 1.0))
    squares = (f_obs**2 + x**2) / sigma
    nll = order * np.log(sigma) - np.log(2.0) - (2.0 * order - 1.0) * log_f + squares - log_bessel
    by_x = 2.0 * (x - ratio * f_obs) / sigma
    by_x_x = 2.0 / sigma - slope * (2.0 * f_obs / sigma) ** 2
    by_sigma = (order - squares + ratio * argument) / sigma
    return nll, by_x, by_x_x, by_sigma


def _bessel(argument: Float, order: Float) -> tuple[Float, Float, Float]:
    """ln(I_(h-1)(z)/(z/2)^(h-1)), which is finite at 0, its derivative I_h/I_(h-1), and the derivative of that (R,)."""
    small, large = argument < _SMALL, argument > _LARGE
    z = np.where(small | large, 1.0, argument)
    scaled = ive(order - 1.0, z)
    log_bessel = np.log(scaled) + z - (order - 1.0) * np.log(0.5 * z)
    ratio = ive(order, z) / scaled
    odd = 2.0 * order - 1.0
    slope = 1.0 - ratio**2 - odd * ratio / z
    quarter = np.where(small, 0.25 * argument**2, 0.0)
    near = quarter / (order * (order + 1.0))
    log_bessel = np.where(small, quarter / order - gammaln(order), log_bessel)
    ratio = np.where(small, 0.5 * argument / order * (1.0 - near), ratio)
    slope = np.where(small, 0.5 / order * (1.0 - 3.0 * near), slope)
    t = 1.0 / np.where(large, argument, _LARGE)
    far = -0.5 * np.log(2.0 * np.pi / t) + np.log1p(-0.125 * odd * (odd - 2.0) * t)
    log_bessel = np.where(large, far + 1.0 / t - (order - 1.0) * np.log(0.5 / t), log_bessel)
    ratio = np.where(large, 1.0 - 0.5 * odd * t + 0.125 * odd * (odd - 2.0) * t**2, ratio)
    slope = np.where(large, 0.5 * odd * t**2 * (1.0 - 0.5 * (odd - 2.0) * t), slope)
    return log_bessel, ratio, slope
