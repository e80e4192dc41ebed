"""From where on a restraint is an outlier, which is restrained more firmly: as a model is at the start of a step.

Far from its data a model has no outliers, as all of it is strained; nor are there any at a centre of the wrong hand,
where angles pay for what the restraint of the other hand asks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.kernels.geometry import Firm
from arrayrefine.options import Geometry
from arrayrefine.restraints import Restraints

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_STRAINED = 3.0
"""RMSZ of bonds or angles from which a model has no outliers. That of 1aba is 15 where it is shaken by 0.2 Å; with
outliers at 2.5 times the RMSZ there too, R-free ended 0.0024 higher in the mean of eight crystals."""


@dataclass(frozen=True)
class Limits:
    """Where outliers begin.

    Attributes
    ----------
    spread : float
        Times as far as the options say: 1, or RMSZ of bonds or of angles, whichever is larger, where that is above 1;
        infinite where all is strained.
    exempt : tuple of int
        Centres of the wrong hand and their neighbours: what they belong to is no outlier.
    """

    spread: float = 1.0
    exempt: tuple[int, ...] = ()

    @classmethod
    def at(cls, atoms: Atoms, restraints: Restraints, rmsz: tuple[float | None, float | None]) -> Limits:
        """Those of a step that starts at `atoms`, where bonds and angles have these `rmsz`."""
        chiral = restraints.chiralities
        wrong = chiral.index[chiral.is_wrong(atoms.xyz)]
        spread = max(1.0, *(value or 0.0 for value in rmsz))
        return cls(spread if spread < _STRAINED else np.inf, tuple(np.unique(wrong).tolist()))

    def firm(self, options: Geometry, index: Int) -> Firm:
        """How restraints on the atoms `index` (n, k) are held."""
        limit = options.outlier_z * self.spread
        if not self.exempt or options.outlier_weight == 0.0:
            return Firm(limit, options.outlier_weight)
        spared = np.isin(index, self.exempt).any(axis=1)
        return Firm(np.where(spared, np.inf, limit), options.outlier_weight)
