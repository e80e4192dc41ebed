"""Restraints on isotropic displacement parameters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrayrefine.kernels.backend import array_module

Float = NDArray[np.float64]
Int = NDArray[np.int64]

B_FLOOR = 0.1
"""Å²; smaller B are taken as this in `kl`, whose value has a pole at zero."""


def kl(b: Float, i: Int, j: Int, weight: Float) -> tuple[float, Float]:
    """Kullback-Leibler restraint: neighbours have similar B.

    ½ Σ w (B₁ − B₂)² / (B₁ B₂), the symmetrised divergence of two isotropic Gaussians up to a factor
    (Murshudov et al., Acta Cryst. D67, 355, 2011; the form that Servalcat uses).

    Parameters
    ----------
    b : (N,) float64, Å²
    i, j : (p,) int
    weight : (p,) float64

    Returns
    -------
    value : float
    gradient : (N,) float64, 1/Å²
    """
    if array_module(b) is not np:
        from arrayrefine.kernels import adp_cuda

        return adp_cuda.kl(b, i, j, weight)
    safe = np.maximum(b, B_FLOOR)
    b1, b2 = safe[i], safe[j]
    ratio = b1 / b2
    value = 0.5 * float(weight @ (ratio + 1.0 / ratio - 2.0))
    half = 0.5 * weight * (ratio - 1.0 / ratio)
    n = len(b)
    gradient: Float = np.bincount(i, half / b1, n).astype(float) - np.bincount(j, half / b2, n).astype(float)
    return value, gradient


def variance(b: Float) -> tuple[float, Float]:
    """Sum of squared deviations from the mean, Σ (B − mean B)².

    Collapses the spread of B when over-weighted; kept to show that.

    Parameters
    ----------
    b : (N,) float64, Å²

    Returns
    -------
    value : float, Å⁴
    gradient : (N,) float64, Å²
    """
    if array_module(b) is not np:
        from arrayrefine.kernels import adp_cuda

        return adp_cuda.variance(b)
    delta = b - b.mean() if len(b) else b
    return float(delta @ delta), 2.0 * delta
