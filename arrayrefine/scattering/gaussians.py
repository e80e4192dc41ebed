"""Atoms as Gaussians on the grid, each broadened by the shift of its form factor and by the blur, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.displacements.displacement import EIGHT_PI_SQUARED, total_u
from arrayrefine.kernels import symmetric

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_NARROWEST = 0.1
"""Å²; B on the grid is at least this much."""


@dataclass(frozen=True)
class Isotropic:
    """Atoms of one B each: unit · exp(−exponent r²).

    Attributes
    ----------
    index : (n,) int64 or slice
        Which atoms.
    unit : (n,) float64
        Value at the centre per unit of occupancy, Å⁻³.
    exponent : (n,) float64
        Å⁻².
    radius : (n,) float64
        Where the Gaussian is cut, Å.
    """

    index: Int | slice
    unit: Float
    exponent: Float
    radius: Float

    @classmethod
    def of(cls, atoms: Atoms, index: Int | slice, more: Float, cutoff: float) -> Isotropic:
        """Atoms whose B (Å²) is increased by `more` (N,), cut at a fraction of their centre."""
        width = np.maximum((atoms.b_iso + more)[index], _NARROWEST)
        exponent = 4.0 * np.pi**2 / width
        return cls(index, (exponent / np.pi) ** 1.5, exponent, np.sqrt(-np.log(cutoff) / exponent))

    def by_b(self, by_amplitude: Float, by_exponent: Float, occupancy: Float) -> Float:
        """Gradient by B (n,): both the amplitude q (k/π)^{3/2} and the exponent k = 4π²/(B + blur) depend on it."""
        total = by_exponent + by_amplitude * occupancy * self.unit * 1.5 / self.exponent
        return np.asarray(total * -(self.exponent**2) / (4.0 * np.pi**2))


@dataclass(frozen=True)
class Anisotropic:
    """Atoms with a displacement tensor each: unit · exp(−rᵀ K r), K = ½ U⁻¹.

    Attributes
    ----------
    index : (n,) int64
    unit : (n,) float64
        Value at the centre per unit of occupancy, Å⁻³.
    precision : (n, 6) float64
        K, Cartesian, Å⁻².
    radius : (n,) float64
        Of the sphere outside of which the Gaussian is cut in all directions, Å.
    """

    index: Int
    unit: Float
    precision: Float
    radius: Float

    @classmethod
    def of(cls, atoms: Atoms, index: Int, more: Float, cutoff: float) -> Anisotropic:
        """See `Isotropic.of`."""
        u = total_u(atoms, index) + symmetric.isotropic(more[index] / EIGHT_PI_SQUARED)
        value = symmetric.eigenvalues(u)
        least = _NARROWEST / EIGHT_PI_SQUARED
        thin = np.flatnonzero(value[:, 0] < least)
        if len(thin):
            u[thin] = symmetric.within(u[thin], least, np.inf)
            value = symmetric.eigenvalues(u)
        unit = (2.0 * np.pi) ** -1.5 / np.sqrt(symmetric.determinant(u))
        radius = np.sqrt(-2.0 * np.log(cutoff) * value[:, 2])
        return cls(index, unit, 0.5 * symmetric.inverse(u), radius)

    def by_u(self, by_amplitude: Float, by_precision: Float, occupancy: Float) -> Float:
        """Gradient by the six entries of U (n, 6): dK = −2 K dU K, and the amplitude goes with det(U)^{-1/2}."""
        by_k = symmetric.product_adjoint(self.precision, by_precision)
        by_log = (by_amplitude * occupancy * self.unit)[:, None]
        return np.asarray(-2.0 * by_k - by_log * symmetric.COUNTS * self.precision)
