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
"""By how much the correlation of amplitudes must be higher with other indices: that of 1az5 (R-work 0.19) is 0.84 with
the right ones and 0.02 with the others."""
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
        if with_law - without > best:
            best, name, as_given = with_law - without, law, without
    if best < _BETTER:
        return ""
    return Caution(
        f"with indices changed by {name} the data fit the model: amplitudes correlate by {as_given + best:.2f}, by "
        f"{as_given:.2f} as they are indexed. Both are right for the lattice, but data and model must have the same: "
        f"{reindexed_by(name)}"
    )
