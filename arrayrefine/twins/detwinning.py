"""What a twin's intensities say of one domain, given the model of the others.

A measured intensity is I_j = Σ_k α_k J_k + noise over the intensities J of its mates. Given a model, J_k has the mean
D²|F_model|² + εS and the variance of that distribution. With the mates taken as Gaussian, all measured intensities that
hold one J tell it by generalised least squares, Ĵ ± τ, without a look at its own model. Combined with the distribution
that its own model gives to its amplitude this is its posterior, by quadrature. From it follow the expected amplitude,
for maps, and an observation F̃ ± σ̃ of one domain of which the likelihood of a single crystal has the same derivative by
the model as that of all the twin's intensities (Fisher's identity: the derivative of a marginal likelihood is the
posterior mean of that of the complete one). So a target, its curvature and its kernels need not know of twins. Without
a second domain F̃ and σ̃ are what was measured.

A test reflection takes what the test set says, one of the work set what the work set says.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, i0e, i1e

from arrayrefine.reflections import Reflections
from arrayrefine.sigma_a import SigmaA
from arrayrefine.twins.twin import Twin

Float: TypeAlias = NDArray[np.float64]
Bool: TypeAlias = NDArray[np.bool_]
Rows: TypeAlias = NDArray[np.int64]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(40)
_REACH = 6.0
"""Standard deviations of the posterior, about, on either side of its middle that the quadrature takes in."""
_LEAST_TOLD = 0.01
"""Share by which measurements narrow the distribution of an amplitude, at least: what tells less counts as little."""
_SHARPEST = 1e-4
"""Uncertainty of an intensity, at least, as a share of what the model leaves open of its domains: sums of two that are
known without error, as some files say, would otherwise say nothing of their parts."""
_NEWTON_STEPS = 12
_TINY = 1e-6


@dataclass(frozen=True)
class Detwinned:
    """One domain's share in the measured reflections (R,).

    Attributes
    ----------
    reflections : Reflections
        With F̃ and σ̃ in place of amplitudes and their uncertainties, and without intensities.
    amplitude, fom : (R,) float64
        ⟨F⟩ of the posterior, and ⟨F cos Δφ⟩/⟨F⟩, Δφ the error of the model's phase.
    """

    reflections: Reflections
    amplitude: Float
    fom: Float


def detwinned(reflections: Reflections, twin: Twin, f_model: NDArray[np.complexfloating], sigma_a: SigmaA) -> Detwinned:
    """What the twin's intensities say of the first domain.

    Parameters
    ----------
    reflections : Reflections
        As measured.
    twin : Twin
        Of these reflections.
    f_model : (R + E,) complex128
        Scaled model of the measured reflections, followed by the unmeasured mates.
    sigma_a : SigmaA
        Of a single domain.
    """
    every = _concatenated(reflections, twin.unmeasured)
    variance = sigma_a.model_variance(every)
    x = sigma_a.d(every.s_squared) * np.abs(f_model)
    mean = x**2 + variance
    spread = np.where(every.centric, 2.0, 1.0) * variance * (variance + 2.0 * x**2)
    intensity, uncertainty = measured_intensities(reflections)
    told, doubt = _told(twin, reflections.free, intensity, uncertainty, mean, spread)
    n, centric = len(reflections), reflections.centric
    x, variance = np.maximum(x[:n], _TINY * np.sqrt(variance[:n])), variance[:n]
    amplitude, along, width = _posterior(told, doubt, x, variance, centric)
    prior = _prior_width(x, variance, centric)
    left = np.minimum(width / prior, 1.0 - _LEAST_TOLD)
    noise = prior * left / (1.0 - left)
    total = variance + np.where(centric, 1.0, 2.0) * noise
    f_obs = _solved(x - (total / variance) * (x - along), x, total, centric)
    alone = twin.shares[0] == 1.0
    f_obs, sigma = np.where(alone, reflections.f_obs, f_obs), np.where(alone, reflections.sigma, np.sqrt(noise))
    single = dataclasses.replace(reflections, f_obs=f_obs, sigma=sigma, i_obs=None, sigma_i=None, set_aside=None)
    return Detwinned(single, amplitude, np.clip(along / np.maximum(amplitude, _TINY * np.sqrt(variance)), 0.0, 1.0))


def measured_intensities(reflections: Reflections) -> tuple[Float, Float]:
    """Intensities (R,) and their uncertainties: those of the file, or F² with √(4F²σ² + 2σ⁴)."""
    if reflections.i_obs is not None and reflections.sigma_i is not None:
        return reflections.i_obs, reflections.sigma_i
    f_obs, sigma = reflections.f_obs, reflections.sigma
    return f_obs**2, sigma * np.sqrt(4.0 * f_obs**2 + 2.0 * sigma**2)


def _concatenated(reflections: Reflections, more: Reflections) -> Reflections:
    hkl, f_obs, sigma, free = (
        np.concatenate([getattr(reflections, name), getattr(more, name)]) for name in ("hkl", "f_obs", "sigma", "free")
    )
    return Reflections(reflections.crystal, hkl, f_obs, sigma, free)


def _told(
    twin: Twin, free: Bool, intensity: Float, uncertainty: Float, mean: Float, spread: Float
) -> tuple[Float, Float]:
    """Ĵ and τ (R,) of every reflection, by all intensities of its own set that hold it."""
    holders = _holders(twin, free)
    domains, n = twin.mates.shape
    own = np.arange(n)
    least = _SHARPEST * np.sqrt((twin.shares**2 * spread[twin.mates]).sum(axis=0))
    uncertainty = np.maximum(uncertainty, least)
    there = holders >= 0
    held = np.where(there, holders, 0)
    parts = twin.mates[:, held]  # (K of the sum, K holders, R)
    share = np.where(there, twin.shares[:, held], 0.0)
    is_own = parts == own
    coefficient = np.where(is_own, share, 0.0).sum(axis=0)  # (K holders, R)
    others = np.where(is_own, 0.0, share)
    residual = intensity[held] - (others * mean[parts]).sum(axis=0)
    covariance = np.zeros((n, domains, domains))
    for i in range(domains):
        for j in range(domains):
            same = parts[:, None, i] == parts[None, :, j]
            common = np.where(same, others[:, None, i] * others[None, :, j], 0.0) * spread[parts[:, None, i]]
            covariance[:, i, j] = common.sum(axis=(0, 1))
    diagonal = np.einsum("rii->ri", covariance)
    diagonal += np.where(there, uncertainty[held] ** 2, 1.0).T
    coefficient, residual = np.where(there, coefficient, 0.0), np.where(there, residual, 0.0)
    weight = np.linalg.solve(covariance, coefficient.T[:, :, None])[:, :, 0]
    precision = np.einsum("ra,ar->r", weight, coefficient)
    return np.einsum("ra,ar->r", weight, residual) / precision, 1.0 / np.sqrt(precision)


def _holders(twin: Twin, free: Bool) -> Rows:
    """Measured reflections (K, R) whose intensities hold that of each reflection; -1 for none, and for repeats."""
    domains, n = twin.mates.shape
    holders = np.full((domains, n), -1, dtype=np.int64)
    holders[0] = np.arange(n)
    for k in range(1, domains):
        row = np.flatnonzero(twin.mates[k] < n)
        holders[k, twin.mates[k, row]] = row
        other_set = free[holders[k]] != free
        again = (holders[:k] == holders[k]).any(axis=0)
        holders[k, other_set | again] = -1
    return holders


def _posterior(told: Float, doubt: Float, x: Float, variance: Float, centric: Bool) -> tuple[Float, Float, Float]:
    """⟨F⟩, ⟨F cos Δφ⟩ and the variance of F (R,) given J = F² is `told` ± `doubt`, and the model."""
    prior_width = np.sqrt(np.where(centric, 1.0, 0.5) * variance)
    root = np.sqrt(np.maximum(told, 0.0))
    width = doubt / (root + np.sqrt(told.clip(0.0) + doubt))
    precision = prior_width**-2 + width**-2
    middle = (x / prior_width**2 + root / width**2) / precision
    reach = _REACH / np.sqrt(precision)
    low, high = np.maximum(middle - reach, 0.0), middle + reach
    f = low + 0.5 * (high - low) * (1.0 + _NODES[:, None])
    product = f * x / variance
    decay = np.exp(-2.0 * product)
    half = 2.0 * product
    scaled = i0e(half)
    log_prior = np.where(
        centric, -0.5 * (f - x) ** 2 / variance + np.log1p(decay), np.log(f) - (f - x) ** 2 / variance + np.log(scaled)
    )
    log_p = log_prior - 0.5 * ((f**2 - told) / doubt) ** 2
    p = _WEIGHTS[:, None] * np.exp(log_p - log_p.max(axis=0))
    p /= p.sum(axis=0)
    mean = (p * f).sum(axis=0)
    cosine = np.where(centric, -np.expm1(-2.0 * product) / (1.0 + decay), i1e(half) / scaled)
    return mean, (p * cosine * f).sum(axis=0), (p * (f - mean) ** 2).sum(axis=0)


def _prior_width(x: Float, variance: Float, centric: Bool) -> Float:
    """Variance (R,) of F given the model alone: of the distribution of Rice, or of a folded Gaussian."""
    u = 0.5 * x**2 / variance
    rice = 0.5 * np.sqrt(np.pi * variance) * ((1.0 + 2.0 * u) * i0e(u) + 2.0 * u * i1e(u))
    deviation = np.sqrt(variance)
    folded = deviation * np.sqrt(2.0 / np.pi) * np.exp(-u) + x * erf(x / (np.sqrt(2.0) * deviation))
    return np.asarray(x**2 + variance - np.where(centric, folded, rice) ** 2)


def _solved(wanted: Float, x: Float, total: Float, centric: Bool) -> Float:
    """F (R,) for which F m(F) is what is wanted, m the figure of merit of F given x and the variance `total`."""
    argument = np.where(centric, 1.0, 2.0) * x / total
    some = np.maximum(wanted, 0.0)
    # F m is at most F, and at most the first term of its series
    f = np.maximum(some, np.sqrt(some * np.where(centric, 1.0, 2.0) / argument))
    for _ in range(_NEWTON_STEPS):
        z = argument * f
        merit = np.where(centric, np.tanh(z), i1e(z) / i0e(z))
        safe = np.maximum(z, _TINY)
        slope = np.where(centric, 1.0 - merit**2, 1.0 - merit**2 - np.where(z > _TINY, merit, 0.5 * safe) / safe)
        f = np.maximum(f - (f * merit - some) / np.maximum(merit + z * slope, _TINY), some)
    return np.where(some > 0.0, f, 0.0)
