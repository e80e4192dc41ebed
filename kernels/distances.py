"""Robust restraints on distances, and on differences of two distances.

The deviation is z = (d_ij − ideal) / sigma, or z = (d_ij − d_kl − ideal) / sigma, and a restraint adds w ρ(z) with the
general robust loss of Barron (CVPR 2019, 4331), scale 1. Where there is slack, what is within it of the ideal does not
deviate, and all else by so much less.

ρ(z) = |α − 2|/α ((z²/|α − 2| + 1)^{α/2} − 1),

½ z² at α = 2, log(½ z² + 1) at α = 0, 2 z²/(z² + 4) at α = −2 (Geman and McClure). ρ is ½ z² near zero for every α;
below 0 it is bounded, and a restraint that is far off stops to pull.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from arrayrefine.kernels.backend import array_module

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_TINY = 1e-12


def deviations(
    xyz: Float, index: Int, ideal: Float, sigma: Float, slack: Float | float = 0.0
) -> tuple[Float, Float]:
    """Normalised deviations and their derivative.

    Parameters
    ----------
    xyz : (N, 3) float64, Å
    index : (n, 2) or (n, 4) int
        Atoms of one distance, or of two whose difference, first less second, is restrained.
    ideal, sigma : (n,) float64, Å
    slack : float or (n,) float64, Å
        0 or more.

    Returns
    -------
    z : (n,) float64
    jacobian : (n, 2, 3) or (n, 4, 3) float64, 1/Å
        Zero where two atoms coincide and their distance has no direction, and within the slack.
    """
    z, parts = -ideal, []
    for first, sign in ((0, 1.0), (2, -1.0))[: index.shape[1] // 2]:
        delta = xyz[index[:, first]] - xyz[index[:, first + 1]]
        length = np.sqrt(np.einsum("ij,ij->i", delta, delta))
        unit = delta * (sign / (np.maximum(length, _TINY) * sigma))[:, None]
        z = z + sign * length
        parts += [unit, -unit]
    jacobian = np.stack(parts, axis=1)
    if np.any(slack):
        within = np.abs(z) < slack
        z = np.where(within, 0.0, z - np.copysign(slack, z))
        jacobian[within] = 0.0
    return z / sigma, jacobian


def loss(z: Float, alpha: float) -> tuple[Float, Float]:
    """ρ(z) (n,) and its derivative (n,); `alpha` at most 2."""
    half = 0.5 * z * z
    if alpha == 2.0:
        return half, z
    if alpha == 0.0:
        return np.log1p(half), z / (half + 1.0)
    scale = 2.0 - alpha
    power = 0.5 * alpha * np.log1p(z * z / scale)
    return scale / alpha * np.expm1(power), z * np.exp(power) / (z * z / scale + 1.0)


def residuals(z: Float, jacobian: Float, alpha: float, weight: float = 1.0) -> tuple[Float, Float]:
    """Residuals r with ½ r² = w ρ(z), and their derivative by the coordinates: what a Gauss-Newton matrix is made of.

    Parameters
    ----------
    z : (n,) float64
    jacobian : (n, k, 3) float64
        Derivative of z.
    alpha, weight : float
    """
    rho, slope = loss(z, alpha)
    size = np.sqrt(2.0 * rho)
    ratio = np.where(size > _TINY, np.abs(slope) / np.maximum(size, _TINY), 1.0)
    root = np.sqrt(weight)
    return root * np.copysign(size, z), root * ratio[:, None, None] * jacobian


def evaluate(
    xyz: Float, index: Int, ideal: Float, sigma: Float, alpha: float = 2.0, weight: float = 1.0,
    slack: Float | float = 0.0,
) -> tuple[float, Float]:  # fmt: skip
    """Σ w ρ(z) and its gradient.

    Parameters
    ----------
    xyz : (N, 3) float64, Å
    index, ideal, sigma, slack
        See `deviations`.
    alpha : float
        Shape of the loss, at most 2.
    weight : float

    Returns
    -------
    value : float
    gradient : (N, 3) float64, 1/Å
    """
    if array_module(xyz) is not np:
        from arrayrefine.kernels import distances_cuda

        return distances_cuda.evaluate_once(xyz, index, ideal, sigma, alpha, weight, slack)
    z, jacobian = deviations(xyz, index, ideal, sigma, slack)
    rho, slope = loss(z, alpha)
    pull = ((weight * slope)[:, None, None] * jacobian).reshape(-1, 3)
    gradient = np.empty((len(xyz), 3))
    for axis in range(3):
        gradient[:, axis] = np.bincount(index.ravel(), weights=pull[:, axis], minlength=len(xyz))
    return weight * float(rho.sum()), gradient


def close_pairs(xyz: Float, reach: float) -> Int:
    """Pairs (p, 2), i < j, of points (N, 3) on the host that are closer than `reach` Å, in order."""
    if len(xyz) < 2:
        return np.zeros((0, 2), dtype=np.int64)
    pairs = cKDTree(xyz).query_pairs(reach, output_type="ndarray").astype(np.int64)
    pairs.sort(axis=1)
    return np.asarray(pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))])
