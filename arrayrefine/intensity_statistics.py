"""Intensities in shells of resolution, and how they depend on direction: what needs no model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrayrefine.reflections import Reflections

Float = NDArray[np.float64]

LEAST_IN_SHELL = 50
_SHELLS = 20
_SIGNAL = 3.0  # mean I/sigma of a shell that counts as strong
_BOUND = 12.0  # intensity over its mean; chance e⁻¹²
_FEWEST = 500  # reflections of strong shells that a direction can be told from


def anisotropy(reflections: Reflections) -> Float:
    """Anisotropic part of the B of the data.

    Wilson's distribution with the mean exp(-½ sᵀ B s) times a function of resolution, fitted to the intensities by
    maximum likelihood: a gamma regression with logarithmic link. Reflections further above the mean than chance allows
    count as far above it as chance allows.

    Returns
    -------
    (3, 3) float64
        Traceless symmetric Cartesian tensor, Å².
    """
    basis = reflections.crystal.anisotropy_basis
    intensity, _ = intensities(reflections)
    y = np.maximum(intensity / reflections.epsilon, 0.0)
    for shell in shells(reflections):
        y[shell] /= max(float(np.median(y[shell])), 1e-30)
    used = strong(reflections)
    if not len(basis) or used.sum() < _FEWEST:
        return np.zeros((3, 3))
    s = reflections.hkl[used].astype(float) @ reflections.crystal.frac
    columns = [np.ones(len(s)), reflections.s_squared[used], *(-0.5 * np.einsum("ri,nij,rj->nr", s, basis, s))]
    design = np.stack(columns, axis=1)
    solve = np.linalg.pinv(design)
    p = np.zeros(design.shape[1])
    for _ in range(20):
        step = solve @ (np.minimum(y[used] * np.exp(-design @ p), _BOUND) - 1.0)
        p += step
        if float(np.abs(design @ step).max()) < 1e-3:
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


def strong(reflections: Reflections) -> NDArray[np.bool_]:
    """(R,) True for all reflections of the shells with enough signal: single ones are not chosen by their size."""
    _, ratio = intensities(reflections)
    out = np.zeros(len(reflections), dtype=bool)
    for shell in shells(reflections):
        out[shell] = ratio[shell].mean() >= _SIGNAL
    return out
