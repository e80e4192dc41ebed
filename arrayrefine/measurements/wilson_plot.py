"""Overall B of the data by themselves: the slope of Wilson's plot.

Wilson, A. J. C. (1942). Nature 150, 152. With N atoms at random, ⟨I/ε⟩ = k Σ f² exp(−B s²/2), s = 1/d, so that
ln(⟨I/ε⟩ / Σ f²) is a line whose slope is −B/2. Atoms of macromolecules are not at random: bonds and solvent bend the
line at low resolution, which is left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.measurements.intensity_statistics import intensities, shells
from arrayrefine.reflections import Reflections
from arrayrefine.scattering.form_factors import form_factors, scattering

Float = NDArray[np.float64]

_D_MAX = 4.0
"""Å; where the line begins, beyond the peak of helices and strands at 4.5 Å and the dip before it (French & Wilson
1978, Acta Cryst. A34, 517, begin at 4 Å, as CCP4's programs do)."""
_SIGNAL = 1.0
"""Mean I/sigma of a shell below which amplitudes made of intensities say how these were made positive."""
_FEWEST = 5
"""Shells that a line is drawn through."""


def wilson_b(reflections: Reflections, atoms: Atoms) -> float | None:
    """Overall B of the data, Å².

    Parameters
    ----------
    reflections : Reflections
        Measured intensities where they are known, else squares of amplitudes.
    atoms : Atoms
        Of what the crystal consists, riding hydrogens among it; where they are and how they move plays no part.

    Returns
    -------
    float or None
        None where fewer than five shells with signal lie beyond 4 Å.
    """
    points = np.array(wilson_plot(reflections, atoms)).reshape(-1, 2)
    if len(points) < _FEWEST:
        return None
    slope, _ = np.polyfit(points[:, 0], points[:, 1], 1)
    return float(-2.0 * slope)


def wilson_plot(reflections: Reflections, atoms: Atoms) -> list[tuple[float, float]]:
    """Mean 1/d² (Å⁻²) and ln(⟨I/ε⟩ / Σ f²) of each shell beyond 4 Å that has signal."""
    intensity, ratio = intensities(reflections)
    intensity = intensity / reflections.epsilon
    _, element, coefficients = form_factors(atoms.element, reflections.radiation, reflections.wavelength)
    amount = np.bincount(element, weights=atoms.occupancy, minlength=len(coefficients))
    points = []
    for shell in shells(reflections):
        s_squared = float(reflections.s_squared[shell].mean())
        mean = float(intensity[shell].mean())
        if s_squared < _D_MAX**-2 or mean <= 0.0 or ratio[shell].mean() < _SIGNAL:
            continue
        power = float(amount @ scattering(coefficients, [s_squared])[:, 0] ** 2)
        points.append((s_squared, float(np.log(mean / power))))
    return points
