"""Intensities in shells of resolution, and how they depend on direction: what needs no model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrayrefine.reflections import Reflections

Float = NDArray[np.float64]

LEAST_IN_SHELL = 50
OUTLIER = 30.0
"""An intensity above this multiple of its shell's mean (chance e⁻³⁰) does not take part in means."""
_SHELLS = 20
_SIGNAL = 3.0  # mean I/sigma of a shell that counts as strong
_BOUND, _BOUND_NOISE = 12.0, 5.0  # intensity over its mean, chance e⁻¹², and sigmas of its noise
_ITERATIONS = 100
_FEWEST = 500  # reflections of strong shells that a direction can be told from


def anisotropy(reflections: Reflections) -> Float:
    """Anisotropic part of the B of the data.

    The mean exp(-½ sᵀ B s) times a function of resolution is fitted to the intensities by maximum quasi-likelihood: an
    intensity scatters about its mean by as much again, as Wilson's distribution has it, and by its uncertainty. Without
    the latter noise in weak directions would pass for signal and make B smaller. What is further from its mean than
    chance allows counts as if it were as far as chance allows.

    Returns
    -------
    (3, 3) float64
        Traceless symmetric Cartesian tensor, Å².
    """
    basis = reflections.crystal.anisotropy_basis
    used = strong(reflections)
    if not len(basis) or used.sum() < _FEWEST:
        return np.zeros((3, 3))
    intensity, ratio = intensities(reflections)
    scale = np.empty(len(reflections))
    for shell in shells(reflections):
        scale[shell] = reflections.epsilon[shell] * max(float(np.median(intensity[shell])), 1e-30)
    y = (intensity / scale)[used]
    noise = np.abs(y / np.where(ratio == 0.0, 1.0, ratio)[used])
    s = reflections.hkl[used].astype(float) @ reflections.crystal.frac
    columns = [np.ones(len(s)), reflections.s_squared[used], *(-0.5 * np.einsum("ri,nij,rj->nr", s, basis, s))]
    design = np.stack(columns, axis=1)
    p = np.zeros(design.shape[1])
    for _ in range(_ITERATIONS):
        mean = np.exp(design @ p)
        # in units of the mean: what is missing to it, and the variance of that
        error = noise / mean
        limit = _BOUND + _BOUND_NOISE * error
        missing, weight = np.clip(y / mean - 1.0, -limit, limit), 1.0 / (1.0 + error**2)
        step = np.linalg.lstsq(design.T @ (design * weight[:, None]), design.T @ (weight * missing), rcond=None)[0]
        largest = float(np.abs(design @ step).max())
        p += step / max(1.0, largest)
        if largest < 1e-3:
            break
    return np.asarray(np.einsum("n,nij->ij", p[2:], basis))


def intensities(reflections: Reflections) -> tuple[Float, Float]:
    """Intensities and I/sigma (R,)."""
    if reflections.i_obs is not None and reflections.sigma_i is not None:
        return reflections.i_obs, reflections.i_obs / reflections.sigma_i
    return reflections.f_obs**2, 0.5 * reflections.f_obs / reflections.sigma


def shells(reflections: Reflections) -> list[NDArray[np.int64]]:
    """Reflections in up to twenty shells of equal count, lowest resolution first."""
    number = int(np.clip(len(reflections) // LEAST_IN_SHELL, 1, _SHELLS))
    return np.array_split(reflections.by_resolution, number)


def over_shell_means(reflections: Reflections, values: Float) -> Float:
    """Values (R,) over their mean in each of the `shells`, so that they do not correlate by resolution alone."""
    out = np.array(values, dtype=np.float64)
    for shell in shells(reflections):
        out[shell] /= max(float(out[shell].mean()), 1e-30)
    return out


def mean_intensity(reflections: Reflections, f_obs: Float, weight: Float) -> tuple[Float, Float]:
    """1/d² (W,) and ln of the mean of F_o²/ε there, weighted (R,), from all reflections but the absurdly strong."""
    order = np.argsort(reflections.s_squared, kind="stable")
    intensity, weight = (f_obs**2 / reflections.epsilon)[order], weight[order]
    x = reflections.s_squared[order]
    # A floor keeps the logarithm of an empty shell finite.
    floor = max(1e-6 * float(intensity.mean()), np.finfo(float).tiny)
    centres, means = [], []
    for part in np.array_split(np.arange(len(x)), int(np.clip(len(x) // 100, 1, 50))):
        usual = part[intensity[part] <= OUTLIER / np.log(2.0) * np.median(intensity[part]) + floor]
        centres.append(float(x[part].mean()))
        means.append(float(np.log(max(float(np.average(intensity[usual], weights=weight[usual])), floor))))
    return np.array(centres), np.array(means)


def normalised_intensities(reflections: Reflections) -> Float:
    """E² = F²/(ε k² Σ_N) (R,): over the mean at their resolution, interpolated, and in their direction (k²)."""
    strength = reflections.crystal.anisotropic_factor(reflections.hkl, anisotropy(reflections))
    f_obs = reflections.f_obs / strength
    shells, log_mean = mean_intensity(reflections, f_obs, strength**2)
    mean = np.exp(np.interp(reflections.s_squared, shells, log_mean))
    return np.asarray(f_obs**2 / (reflections.epsilon * mean))


def strong(reflections: Reflections) -> NDArray[np.bool_]:
    """(R,) True for all reflections of the shells with enough signal: single ones are not chosen by their size."""
    _, ratio = intensities(reflections)
    out = np.zeros(len(reflections), dtype=bool)
    for shell in shells(reflections):
        out[shell] = ratio[shell].mean() >= _SIGNAL
    return out
