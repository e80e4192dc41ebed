"""Whether the data are in another of the indexings that the lattice allows than the model is.

In point groups of less symmetry than their lattice, two crystals of one kind may be indexed in ways that no operator
relates. A model from one of them then fits nothing of the data of the other, however right it is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrayrefine.lattice_symmetry import mates
from arrayrefine.measurements.intensity_statistics import over_shell_means
from arrayrefine.reflections import Reflections
from arrayrefine.wording import Caution, reindexed_by

_FITS = 0.4
"""R-work below which nothing is asked."""
_BETTER = 0.3
"""By how much the correlation of amplitudes is higher with other indices where the model is good: that of 1az5 (R-work
0.19) is 0.84 with the right ones and 0.02 with the others."""
_BEYOND_CHANCE = 5.0
"""The same for models as molecular replacement places them, in standard deviations of such a difference: chains bent by
0.7 Å, whole or cut to alanines, correlate by 0.16 to 0.56 with the right indices of four crystals (2.5 Å) and by −0.01
to 0.24 with others, misplaced ones by −0.03 to 0.05 with any."""
_LEAST = 0.1
"""And at least by this, as intensities that a model does not explain are not all independent."""
_FEWEST = 200


def other_indexing(reflections: Reflections, f_calc: NDArray[np.complex128], r_work: float) -> str:
    """A sentence, or "" where the indices are right, or nothing tells.

    Parameters
    ----------
    reflections : Reflections
    f_calc : (R,) complex128
        Structure factors of the model.
    r_work : float
        Its R-work.
    """
    laws = reflections.crystal.twin_laws
    if r_work < _FITS or not laws:
        return ""
    amplitudes = (values / np.sqrt(reflections.epsilon) for values in (reflections.f_obs, np.abs(f_calc)))
    measured, model = (over_shell_means(reflections, values) for values in amplitudes)
    best, name, as_given = 0.0, "", 0.0
    for law, matrix in laws.items():
        mate = mates(reflections.crystal, reflections.hkl, matrix)
        there = np.flatnonzero(mate >= 0)
        if len(there) < _FEWEST:
            continue
        with_law = float(np.corrcoef(measured[there], model[mate[there]])[0, 1])
        without = float(np.corrcoef(measured[there], model[there])[0, 1])
        chance = np.sqrt(2.0 / len(there))
        enough = min(_BETTER, max(_LEAST, _BEYOND_CHANCE * chance))
        if with_law - without > max(best, enough):
            best, name, as_given = with_law - without, law, without
    if not name:
        return ""
    fit = "fit the model" if best >= _BETTER else "fit the model better"
    return Caution(
        f"with indices changed by {name} the data {fit}: amplitudes correlate by {as_given + best:.2f}, by "
        f"{as_given:.2f} as they are indexed. Both are right for the lattice, but data and model must have the same: "
        f"{reindexed_by(name)}"
    )
