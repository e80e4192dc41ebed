"""Anomalous differences: what Friedel mates tell of atoms that absorb, and how much of it is signal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.crystal import Crystal
from arrayrefine.wording import counted

Float = NDArray[np.float64]

_PER_BIN, _MOST_BINS = 200, 20
_OUTLIER = 5.0
"""Differences beyond this many times what is usual in their bin are left out: one of them shows in all of a map."""
_MEDIAN = 0.4549
"""Of the square of a normal deviate."""
_OTHER = 0.1
"""R beyond which means are of another crystal or wavelength than the amplitudes."""
_LEAST_SIGNAL = 0.1
"""Of the noise: what a bin is taken to have at least, as how much is noise is not known well."""


@dataclass(frozen=True)
class AnomalousDifferences:
    """Differences of A acentric Friedel pairs, both mates of which were measured.

    Attributes
    ----------
    hkl : (A, 3) int32
        In the asymmetric unit.
    difference, sigma : (A,) float64
        F(h) − F(−h) and its standard uncertainty, on the scale of the amplitudes.
    weight : (A,) float64
        Share of a difference that is signal as far as is known, 0 to 1; see `weighed`.
    columns : tuple of str
        Where they are from.
    bins : tuple of dict
        By resolution: d_max, d_min, count, and mean square of the differences over that of their `sigma`.
    apart : float
        R of the means of the mates with the amplitudes used.
    """

    hkl: NDArray[np.int32]
    difference: Float
    sigma: Float
    weight: Float
    columns: tuple[str, ...]
    bins: tuple[dict[str, Any], ...]
    apart: float = 0.0

    def __len__(self) -> int:
        return len(self.difference)

    def as_dict(self) -> dict[str, Any]:
        """What the report says of them."""
        return {"columns": [*self.columns], "pairs": len(self), "r_of_means": self.apart, "by_resolution": [*self.bins]}

    def sentence(self) -> str:
        """How many there are, and of what."""
        said = f"{counted(len(self), 'anomalous difference')} ({', '.join(self.columns)})"
        if self.apart <= _OTHER:
            return said
        return f"{said}, of another crystal or wavelength, as means are not the amplitudes (R {self.apart:.2f})"


def weighed(
    crystal: Crystal, hkl: NDArray[np.int32], difference: Float, sigma: Float, columns: tuple[str, ...],
    apart: float = 0.0,
) -> AnomalousDifferences:  # fmt: skip
    """Differences with the share of each that is signal.

    In a bin of resolution the mean square of the signal S² is that of the differences less that of their errors, and
    the share S²/(S² + σ²), as by Wiener: what is noise adds none to a map. Errors are not taken at their word, as those
    of many files are too large: they are scaled to what is seen in the bin that has least beyond them.

    Parameters
    ----------
    crystal : Crystal
    hkl : (A, 3) int32
    difference, sigma : (A,) float64
    columns : tuple of str
    apart : float
        See `AnomalousDifferences`.
    """
    s_squared = crystal.inverse_d_squared(hkl)
    order = np.argsort(s_squared, kind="stable")
    parts = np.array_split(order, int(np.clip(len(order) // _PER_BIN, 1, _MOST_BINS)))
    squares, errors = difference**2, sigma**2
    usual = np.array([_usual_mean(squares[rows]) for rows in parts])
    noise = np.array([errors[rows].mean() for rows in parts])
    error_scale = min(1.0, float((usual / noise).min()))
    weight = np.zeros(len(order))
    bins = []
    for rows, mean, given in zip(parts, usual, noise):
        error, own = error_scale * given, error_scale * errors[rows]
        signal = max(mean - error, _LEAST_SIGNAL * error)
        kept = squares[rows] <= _OUTLIER**2 * (signal + np.maximum(own, error))
        weight[rows] = np.where(kept, signal / (signal + own), 0.0)
        d = s_squared[rows[[0, -1]]] ** -0.5
        ratio = float(mean / given)
        bins.append({"d_max": float(d[0]), "d_min": float(d[1]), "count": len(rows), "ratio": ratio})
    return AnomalousDifferences(hkl, difference, sigma, weight, columns, tuple(bins), apart)


def _usual_mean(squares: Float) -> float:
    """Mean of those that are not far beyond the others, and not zero."""
    median = float(np.median(squares))
    usual = squares[squares <= _OUTLIER**2 * median / _MEDIAN] if median > 0.0 else squares
    return max(float(usual.mean()), float(np.finfo(float).tiny))
