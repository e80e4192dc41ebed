"""A pull towards where atoms were: what is left to hold a model where there are no data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, Gradient

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Tether:
    """½ Σ |x − x₀|² / σ² over the atoms that do not ride; zero gradient by B and occupancy.

    Attributes
    ----------
    place : (N, 3) float64
        x₀, Å.
    held : (N,) bool
        Atoms that are pulled.
    sigma : float
        σ, Å; infinite for no pull.
    """

    place: Float
    held: NDArray[np.bool_]
    sigma: float

    @classmethod
    def at(cls, atoms: Atoms, sigma: float) -> Tether:
        """Pull towards these atoms."""
        return cls(atoms.xyz.copy(), ~atoms.riding.mask(len(atoms)), sigma)

    def __call__(self, atoms: Atoms) -> tuple[float, Gradient]:
        """Value (dimensionless) and gradient."""
        z = np.where(self.held[:, None], atoms.xyz - self.place, 0.0) / self.sigma
        zero = np.zeros(len(z))
        return 0.5 * float(np.vdot(z, z)), Gradient(z / self.sigma, zero, zero)

    @property
    def curvature(self) -> Gradient:
        """Second derivative by each value."""
        zero = np.zeros(len(self.held))
        return Gradient(np.repeat((self.held / self.sigma**2)[:, None], 3, axis=1), zero, zero)
