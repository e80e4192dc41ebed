"""How finely the density is sampled: the cheapest grid, blur and cut-off that keep a stated accuracy."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from arrayrefine.crystal import AT_LIMIT, Crystal
from arrayrefine.scattering.form_factors import Radiation, form_factors, scattering

Float = NDArray[np.float64]

_RATES = (2.3, 2.5, 2.7, 3.0, 3.4, 4.0)
"""Grid points per d_min among which the cheapest is chosen."""
_ALONG = 0.8
"""Grid points per d_min along the axes of the cell, in units of those across its faces: more where axes are oblique."""
_REFLECTIONS = 64
"""Reflections from which errors are estimated: as many taken at random, and as many of the worst."""
_QUANTILES = np.array([0.0, 0.001, 0.003, 0.01, 0.03, 0.06, 0.12, 0.25, 0.4, 0.6, 0.8, 1.0])
"""Classes of B from which errors are estimated; aliases come from the few atoms of lowest B."""
_NARROWEST = 0.1
"""Å²; B and blur of a Gaussian on the grid add up to this much at least."""
_PART = 0.7
"""Part of the error allowed for aliasing and for the cut-off each; the two add up in squares."""
_TOO_COARSE, _TOO_FINE = 1.15, 0.4
"""A sampling is kept while its errors, in units of those it was chosen for, lie between these."""
_GRADIENT = 2.4
"""The gradient's relative error may be this much larger than that of F."""
_MOST_BLUR = 20.0
"""Largest blur, in units of d_min²: float32 loses digits beyond."""
BRICK_TAIL, SPHERE_TAIL = 0.09, 0.85
"""Error of F from the cut-off, in units of the cut-off and of what taking the blur off magnifies, where whole bricks
around the sphere are computed, and where nothing beyond the sphere is.

The largest found on three crystals (1.6 to 3.2 Å), twenty pairs of grid and blur each, and cut-offs of 1e-3 to 1e-4.
"""
_BRICK = (8.0, 8.0, 16.0)
"""Points along the bricks of the density kernel."""
_NS_POINT, _NS_CHANNEL, _NS_GRID = 0.3, 0.12, 9.0
"""Nanoseconds of one core: per atom and point in its bricks, splat and gather; the same for every grid on which the
atom goes; per grid point, transform and back."""


@dataclass(frozen=True)
class Sampling:
    """How finely the density is sampled.

    Attributes
    ----------
    shape : tuple of 3 ints
    blur : float
        Added to every B on the grid and taken off again in reciprocal space, Å².
    cutoff : float
        The Gaussian is cut where it falls below this fraction of its centre.
    """

    shape: tuple[int, int, int]
    blur: float
    cutoff: float


def reach(crystal: Crystal, d_min: float) -> tuple[int, int, int]:
    """Largest |h|, |k|, |l| that a reflection to d_min can have, those that count as at d_min among them."""
    largest = np.floor(np.linalg.norm(crystal.orth, axis=0) / (d_min * (1.0 - AT_LIMIT)) + 1e-6).astype(int)
    return int(largest[0]), int(largest[1]), int(largest[2])


def grid_shape(crystal: Crystal, d_min: float, rate: float) -> tuple[int, int, int]:
    """FFT-friendly grid with at least `rate` points per `d_min` across the faces of the cell, and room for all h.

    In a cell far from right angles the room for h is all that counts at any rate across: `_ALONG` makes rates differ.
    """
    across = 1.0 / (d_min * np.linalg.norm(crystal.frac, axis=1))
    most = reach(crystal, d_min)
    least = [max(math.ceil(rate * a), math.ceil(_ALONG * rate * h), 2 * h) + 1 for a, h in zip(across, most)]
    nx, ny, nz = (int(scipy.fft.next_fast_len(k, real=True)) for k in least)
    return nx, ny, nz


def neighbours(crystal: Crystal, shape: tuple[int, int, int]) -> NDArray[np.int64]:
    """Shifts (n, 3) of an index h to those that a grid cannot tell from it: along the axes, and between oblique ones.

    Of sums of axes only those count that are shorter than at right angles: others are behind the axes themselves.
    """
    signs = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    shifts = signs[signs.any(axis=1)] * np.asarray(shape)
    alone = (shifts**2) @ np.diag(crystal.frac @ crystal.frac.T)
    single = np.count_nonzero(shifts, axis=1) == 1
    return np.asarray(shifts[single | (crystal.inverse_d_squared(shifts) < (1.0 - 1e-6) * alone)])


def _chosen(crystal: Crystal, hkl: NDArray[np.integer[Any]]) -> tuple[NDArray[np.int64], Float]:
    """Reflections, or images of them, that stand for all, and how many each stands for."""
    s2 = crystal.inverse_d_squared(hkl)
    rotations = crystal.primitive_rotations
    shape = grid_shape(crystal, float(1.0 / np.sqrt(s2.max())), _RATES[2])
    high = np.flatnonzero(s2 >= 0.5 * s2.max())
    images = np.einsum("ri,gij->rgj", hkl[high], rotations).reshape(-1, 3)
    nearest = np.full(len(images), np.inf)
    for shift in neighbours(crystal, shape):
        np.minimum(nearest, crystal.inverse_d_squared(images + shift), out=nearest)
    # About as the blurred amplitude there grows when the blur is taken off here; most of B on the grid is blur.
    rank = np.argsort(1.2 * nearest - np.repeat(s2[high], len(rotations)), kind="stable")[:_REFLECTIONS]
    worst = high[rank // len(rotations)] * len(rotations) + rank % len(rotations)
    total = len(hkl) * len(rotations)
    drawn = np.random.default_rng(0).choice(total, min(2 * _REFLECTIONS, total), replace=False)
    drawn = drawn[~np.isin(drawn, worst)][:_REFLECTIONS]
    every = np.concatenate([worst, drawn])
    weight = np.ones(len(every))
    weight[len(worst) :] = (total - len(worst)) / max(len(drawn), 1)
    rotated = np.einsum("ri,rij->rj", hkl[every // len(rotations)], rotations[every % len(rotations)])
    return rotated.astype(np.int64), weight


class Errors:
    """Relative errors of F and of the gradient by B, expected of atoms at random places.

    Sampling adds to F(h) what the blurred density has at h + n, n one of the `neighbours`, and taking the blur off
    magnifies it by e^{+blur s²/4}. The gradient by B weights both with s². All sums are over reflections, atoms and
    neighbours; form factors count as falling like that of carbon. The few reflections at high resolution
    that lie along an axis of the grid make most of the error where it is small, so the worst are taken one by one.

    Parameters
    ----------
    crystal : Crystal
    hkl : (R, 3) int
    tail : float
        What the cut-off costs: `BRICK_TAIL` or `SPHERE_TAIL`.
    radiation : "xray", "electron" or "neutron"
    """

    def __init__(
        self, crystal: Crystal, hkl: NDArray[np.integer[Any]], tail: float = BRICK_TAIL, radiation: Radiation = "xray"
    ) -> None:
        self.crystal, self._tail = crystal, tail
        self.d_min = float(1.0 / np.sqrt(crystal.inverse_d_squared(hkl).max()))
        self._hkl, self._weight = _chosen(crystal, hkl)
        self._s2 = crystal.inverse_d_squared(self._hkl)
        self._carbon = scattering(form_factors(["C"], radiation)[2], self._s2)[0] ** 2

    def of(self, b_iso: Float, strength: Float) -> ErrorsOfAtoms:
        """Errors for atoms with these B (N,), as they are put on the grids without blur, Å², and f² (N,)."""
        order = np.argsort(b_iso, kind="stable")
        first = np.unique((_QUANTILES[:-1] * len(order)).astype(int))
        atoms = np.add.reduceat(strength[order], first)
        # Aliases come from the sharpest atoms of a class, however few; the rest is a matter of all of them.
        b = b_iso[order][first]
        mean = np.add.reduceat(b_iso[order], first) / np.diff(np.append(first, len(order)))
        atoms = atoms / atoms.sum() if atoms.sum() > 0.0 else np.full(len(atoms), 1.0 / len(atoms))
        f = self._weight * self._carbon
        # A gradient by F falls with resolution as F does.
        by_f = f * self._carbon * np.exp(-0.5 * float(b_iso.mean()) * self._s2)
        decay = np.exp(-0.5 * self._s2[:, None] * mean) @ atoms
        by_f /= float((by_f * self._s2**2) @ decay)
        return ErrorsOfAtoms(self._s2, f / float(f @ decay), by_f, b, atoms, self._tail)

    def aliases(self, shape: tuple[int, int, int]) -> Float:
        """1/d² of the `neighbours` of every reflection (neighbours, reflections)."""
        shifts = neighbours(self.crystal, shape)
        return np.stack([self.crystal.inverse_d_squared(self._hkl + shift) for shift in shifts])


@dataclass(frozen=True)
class ErrorsOfAtoms:
    """Errors of given atoms; made by `Errors.of`.

    Attributes
    ----------
    s_squared : (n,) float64
    f, by_f : (n,) float64
        What the square of each reflection's error counts in that of F and of the gradient.
    b, atoms : (q,) float64
        Lowest B of each class, Å², and the fraction of all f² in it.
    tail : float
        See `Errors`.
    """

    s_squared: Float
    f: Float
    by_f: Float
    b: Float
    atoms: Float
    tail: float

    def sampled(self, aliases: Float, blur: float) -> tuple[float, float]:
        """Errors of F and of the gradient from sampling."""
        decay = np.exp(-0.5 * (self.b + blur) * aliases[..., None]) @ self.atoms * np.exp(0.5 * blur * self.s_squared)
        return float(np.sqrt((self.f * decay).sum())), float(np.sqrt((self.by_f * aliases**2 * decay).sum()))

    def cutoff(self, blur: float, error: float) -> float:
        """Cut-off that adds `error` to F and less than `_GRADIENT` times as much to the gradient."""
        grown = np.exp(0.5 * blur * self.s_squared)
        tail = self.tail * float(np.sqrt(self.f @ grown))
        tail_b = self.tail * float(np.sqrt(self.by_f @ grown))
        # By B, the tail counts with k r² = −ln(cut-off), over B + blur.
        width = 4.0 / max(float(self.b @ self.atoms) + blur, _NARROWEST)
        cut = error / tail
        for _ in range(3):
            cut = min(error / tail, _GRADIENT * error / (tail_b * width * max(1.0, -math.log(cut))), 1e-2)
        return cut


def choose_sampling(errors: Errors, b_iso: Float, strength: Float, n_grids: int, accuracy: float) -> Sampling:
    """The cheapest sampling whose expected error of F is below `accuracy`, and that of the gradient not much larger.

    Parameters
    ----------
    errors : Errors
        Of the reflections.
    b_iso : (N,) float64
        B of the atoms as they are put on the grids, without blur, Å².
    strength : (N,) float64
        How strongly each scatters, f².
    n_grids : int
    accuracy : float
        ‖ΔF‖/‖F‖.

    Raises
    ------
    ValueError
        No grid reaches the accuracy.
    """
    of_atoms = errors.of(b_iso, strength)
    best: tuple[float, Sampling] | None = None
    for rate in _RATES:
        shape = grid_shape(errors.crystal, errors.d_min, rate)
        blur = _least_blur(of_atoms, errors.aliases(shape), _PART * accuracy, errors.d_min)
        if blur is None:
            continue
        sampling = Sampling(shape, blur, of_atoms.cutoff(blur, _PART * accuracy))
        cost = _nanoseconds(errors.crystal, sampling, b_iso, n_grids)
        if best is None or cost < best[0]:
            best = cost, sampling
    if best is None:
        raise ValueError(f"no sampling reaches an accuracy of {accuracy:g}; ask for less, or for direct summation")
    return best[1]


def still_fits(sampling: Sampling, errors: Errors, b_iso: Float, strength: Float, accuracy: float) -> bool:
    """Whether a sampling that was chosen for other B is neither much too coarse nor much too fine for these."""
    of_atoms = errors.of(b_iso, strength)
    if float(b_iso.min()) + sampling.blur < _NARROWEST:
        return False
    f, gradient = of_atoms.sampled(errors.aliases(sampling.shape), sampling.blur)
    worst = max(f, gradient / _GRADIENT) / (_PART * accuracy)
    cut = sampling.cutoff / of_atoms.cutoff(sampling.blur, _PART * accuracy)
    return max(worst, cut) < _TOO_COARSE and cut > _TOO_FINE and (sampling.blur == 0.0 or worst > _TOO_FINE)


def _least_blur(errors: ErrorsOfAtoms, aliases: Float, accuracy: float, d_min: float) -> float | None:
    """Smallest blur (Å²) that keeps aliasing below `accuracy`; None where the grid is too coarse for any."""

    def fits(blur: float) -> bool:
        f, gradient = errors.sampled(aliases, blur)
        return f <= accuracy and gradient <= _GRADIENT * accuracy

    low, high = 0.0, _MOST_BLUR * d_min**2
    if fits(low):
        return low
    if not fits(high):
        return None
    while high - low > 0.1 * d_min**2:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def _nanoseconds(crystal: Crystal, sampling: Sampling, b_iso: Float, n_grids: int) -> float:
    """Cost of F and its gradient on one core."""
    points = float(np.prod(sampling.shape))
    voxel = crystal.volume / points
    radius = np.sqrt(-np.log(sampling.cutoff) * np.maximum(b_iso + sampling.blur, 0.1)) / (2.0 * np.pi)
    a, b, c = np.asarray(_BRICK) * np.linalg.norm(crystal.orth, axis=0) / np.asarray(sampling.shape)
    # A sphere meets the bricks whose centres lie in the brick grown by its radius (Steiner's formula).
    grown = a * b * c + 2.0 * radius * (a * b + b * c + c * a) + np.pi * radius**2 * (a + b + c)
    inside = float((grown + 4.0 / 3.0 * np.pi * radius**3).sum()) / voxel
    return inside * (_NS_POINT + _NS_CHANNEL * n_grids) + _NS_GRID * n_grids * points
