"""Amplitudes from intensities by French & Wilson's posterior means.

French, S. & Wilson, K. (1978). Acta Cryst. A34, 517-525. A measured intensity I with Gaussian error σ and
Wilson's prior of mean Σ gives, with z = J/σ and h = (I − σ²/Σ)/σ (acentric) or (I − σ²/2Σ)/σ (centric),

    p(z) ∝ z^(ν−1) exp(−(z − h)²/2), z ≥ 0, with ν = 1 (acentric) or ν = 1/2 (centric).

The moments are taken by Gauss-Legendre quadrature in t = √z, where the integrand is smooth down to zero
and the same rule serves strongly negative and strongly positive h; the tables of the original stop at |h|
= 4. The mean depends on direction as the anisotropy of the data has it: with one mean for a whole shell,
noise in a weak direction would be taken for signal.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

REJECT_BELOW = -3.7
"""I/σ below which French & Wilson take a measurement to be wrong (1 in 10⁴ if errors are Gaussian)."""

_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(64)
_SPAN = 80.0  # the posterior is cut where it has fallen by exp(-_SPAN / 2)
_LARGE = 1e6  # above this h the Gaussian limit is exact to float64


def french_wilson(
    i_obs: Float,
    sigma_i: Float,
    s_squared: Float,
    epsilon: Float,
    centric: Bool,
    anisotropy: Float | None = None,
) -> tuple[Float, Float, Bool]:
    """Convert intensities to amplitudes.

    Parameters
    ----------
    i_obs, sigma_i : (R,) float64
        Intensity and its standard uncertainty (> 0).
    s_squared : (R,) float64
        1/d², Å⁻².
    epsilon : (R,) float64
        Epsilon factors.
    centric : (R,) bool
    anisotropy : (R,) float64, optional
        Mean intensity in the direction of each reflection over that of its shell.

    Returns
    -------
    f, sigma_f : (R,) float64
        Posterior mean and standard deviation of the amplitude.
    keep : (R,) bool
        False for strong negatives (I/σ < -3.7); these take no part in the Wilson mean either.
    """
    i_obs, sigma_i, epsilon = (np.asarray(v, dtype=float) for v in (i_obs, sigma_i, epsilon))
    keep = i_obs / sigma_i >= REJECT_BELOW
    if not keep.any():
        return np.zeros_like(i_obs), np.zeros_like(i_obs), keep
    factor = epsilon if anisotropy is None else epsilon * anisotropy
    mean = factor * wilson_mean(i_obs, sigma_i, np.asarray(s_squared, dtype=float), keep, factor)
    prior = np.where(centric, 2.0, 1.0) * mean
    h = i_obs / sigma_i - sigma_i / prior
    f, sigma_f = posterior(h, np.asarray(centric, dtype=bool))
    scale = np.sqrt(sigma_i)
    return f * scale, sigma_f * scale, keep


def posterior(h: Float, centric: Bool) -> tuple[Float, Float]:
    """Mean and standard deviation of √z under z^(ν−1) exp(−(z − h)²/2), z ≥ 0.

    Parameters
    ----------
    h : (R,) float64
        Centre of the Gaussian, in units of σ.
    centric : (R,) bool
        ν = 1/2 where True, 1 where False.

    Returns
    -------
    mean, deviation : (R,) float64
        In units of √σ.
    """
    mean, deviation = np.empty_like(h), np.empty_like(h)
    block = 2048  # keeps the (reflections x nodes) arrays in cache
    for start in range(0, len(h), block):
        part = slice(start, start + block)
        mean[part], deviation[part] = _quadrature(h[part], centric[part])
    return mean, deviation


def _quadrature(h: Float, centric: Bool) -> tuple[Float, Float]:
    peak = np.clip(h, 0.0, _LARGE)
    bounded = np.minimum(h, _LARGE)
    # z where the exponent has dropped by _SPAN/2 from its value at the peak; the first form avoids
    # cancellation
    reach = np.sqrt(bounded * bounded + _SPAN)
    upper = np.where(bounded < 0.0, _SPAN / (reach - np.minimum(bounded, 0.0)), bounded + np.sqrt(_SPAN))
    lower = np.maximum(peak - np.sqrt(_SPAN), 0.0)
    low, high = np.sqrt(lower), np.sqrt(upper)
    half = (0.5 * (high - low))[:, None]
    t = 0.5 * (high + low)[:, None] + half * _NODES
    z = t * t
    exponent = -0.5 * (z - peak[:, None]) * (z + peak[:, None] - 2.0 * bounded[:, None])
    # dz = 2 t dt turns z^(ν−1) into t^(2ν−1): t for acentric, 1 for centric
    weight = np.exp(exponent) * _NODE_WEIGHTS * np.where(centric[:, None], 1.0, t)
    norm = weight.sum(axis=1)
    mean = (weight * t).sum(axis=1) / norm
    deviation = np.sqrt((weight * (t - mean[:, None]) ** 2).sum(axis=1) / norm)
    beyond = h > _LARGE
    root = np.sqrt(np.where(beyond, h, 1.0))
    return np.where(beyond, root, mean), np.where(beyond, 0.5 / root, deviation)


def wilson_mean(intensity: Float, sigma: Float, s_squared: Float, use: Bool, factor: Float) -> Float:
    """Mean intensity, apart from a known factor, as a smooth positive function of resolution.

    Bins of equal numbers of reflections (about 100, at most 60 bins); in each, intensities above ten
    times the mean (probability e⁻¹⁰ for an acentric reflection) plus five sigma are left out; log Σ is
    interpolated linearly in s².

    Parameters
    ----------
    intensity, sigma : (R,) float64
        Intensity and its standard uncertainty.
    s_squared : (R,) float64
        1/d², Å⁻².
    use : (R,) bool
        Reflections that count.
    factor : (R,) float64
        What is known of the mean of each: epsilon, and the anisotropy.

    Returns
    -------
    (R,) float64
        Σ, > 0, for every reflection, whose mean is Σ times its factor.
    """
    order = np.flatnonzero(use)[np.argsort(s_squared[use], kind="stable")]
    bins = np.array_split(order, int(np.clip(len(order) // 100, 1, 60)))
    centres, means = [], []
    for members in bins:
        values = intensity[members]
        share = factor[members]
        level = max(float(values.sum() / share.sum()), 0.0)
        kept = values <= 10.0 * level * share + 5.0 * sigma[members]
        mean = float(values[kept].sum() / share[kept].sum()) if kept.any() else 0.0
        # where noise buries the signal the mean may be negative: no less than its own standard error
        error = float(np.sqrt(np.sum(sigma[members] ** 2)) / share.sum())
        means.append(max(mean, error))
        centres.append(float(s_squared[members].mean()))
    return np.exp(np.interp(s_squared, centres, np.log(means)))
