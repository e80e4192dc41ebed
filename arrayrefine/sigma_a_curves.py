"""What is expected of D and ln(S/Σ_N) as piecewise linear functions of 1/d²: knots, interpolation, and weak priors."""

from __future__ import annotations

import itertools
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from arrayrefine.kernels.scale import roughness

Float: TypeAlias = NDArray[np.float64]

D_LIMITS = (1e-3, 1.2)
LOG_RATIO_LIMITS = (float(np.log(1e-6)), float(np.log(10.0)))

# Weak priors: mean and standard deviation of D and ln(S/Σ_N), and of the departure of a knot from the line
# between its neighbours.
_D_PRIOR, _LOG_RATIO_PRIOR = (0.9, 0.5), (float(np.log(0.2)), 2.0)
_D_ROUGHNESS, _LOG_RATIO_ROUGHNESS = 0.05, 0.3

# The same for the gap between test and work set. On nine refined crystals ln S of the test set was 0.3 to 1.0 above
# that of the work set, D 0.02 below.
_D_GAP, LOG_RATIO_GAP = (-0.02, 0.03), (0.5, 0.35)
_D_GAP_ROUGHNESS, _LOG_RATIO_GAP_ROUGHNESS = 0.005, 0.03


def knots_of(x: Float, max_bins: int, per_bin: int) -> Float:
    """Mean 1/d² (K,) of bins of equal width, each joined to the next until it holds `per_bin` of the x (n,)."""
    x = np.sort(x)
    edges = np.linspace(x[0], x[-1], max(1, max_bins) + 1)[1:-1]
    begin, ends = 0, []
    for edge in edges:
        end = int(np.searchsorted(x, edge, side="right"))
        if min(end - begin, len(x) - end) >= per_bin:
            ends.append(end)
            begin = end
    bounds = [0, *ends, len(x)]
    return np.array([x[i:j].mean() for i, j in itertools.pairwise(bounds)])


def interpolation(x: Float, knots: Float) -> Float:
    """Matrix (n, K) of piecewise linear interpolation between knots, constant beyond the ends."""
    if len(knots) == 1:
        return np.ones((len(x), 1))
    i = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, len(knots) - 2)
    t = np.clip((x - knots[i]) / (knots[i + 1] - knots[i]), 0.0, 1.0)
    basis = np.zeros((len(x), len(knots)))
    row = np.arange(len(x))
    basis[row, i] = 1.0 - t
    basis[row, i + 1] = t
    return basis


def _precision(knots: Float, rough: tuple[float, float], deviation: tuple[float, float]) -> Float:
    """Inverse covariance (2K, 2K) of two curves, given how far each departs from a line, and from its mean."""
    n = len(knots)
    whole = np.zeros((2 * n, 2 * n))
    for k in range(2):
        part = slice(k * n, (k + 1) * n)
        whole[part, part] = roughness(knots) / rough[k] ** 2 + np.eye(n) / (n * deviation[k] ** 2)
    return whole


def prior_at(knots: Float) -> tuple[Float, Float]:
    """Mean (2K,) and inverse covariance (2K, 2K) of [D, ln ratio] at the knots."""
    precision = _precision(knots, (_D_ROUGHNESS, _LOG_RATIO_ROUGHNESS), (_D_PRIOR[1], _LOG_RATIO_PRIOR[1]))
    return np.repeat([_D_PRIOR[0], _LOG_RATIO_PRIOR[0]], len(knots)), precision


def widened(knots: Float, work: Float) -> tuple[Float, Float]:
    """Mean (2K,) and inverse covariance (2K, 2K) of [D, ln ratio] of the test set, given those of the work set (2K,).

    What differs between the two is nearly linear in 1/d²: the model has been fitted to the work set.
    """
    n = len(knots)
    precision = _precision(knots, (_D_GAP_ROUGHNESS, _LOG_RATIO_GAP_ROUGHNESS), (_D_GAP[1], LOG_RATIO_GAP[1]))
    mean = work + np.repeat([_D_GAP[0], LOG_RATIO_GAP[0]], n)
    mean[:n] = np.clip(mean[:n], *D_LIMITS)
    mean[n:] = np.clip(mean[n:], *LOG_RATIO_LIMITS)
    return mean, precision
