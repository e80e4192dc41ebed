"""Components that miss their restraints by far more than all else, even once they are refined.

By a wrong dictionary, as a rule: of another compound, or another state of it. Before refinement it may be the model
that is wrong: bonds of the buffer in 1ABA as deposited have an RMSZ of 10, and end as the dictionary has them. So what
is odd steers no weight, and is held as all else is; it is named at the end.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.topology.polymers import of_polymers

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_LEAST, _TIMES = 3.0, 2.0
"""RMSZ of bonds or angles of a component from which it is odd, and over that of the rest."""
_COUNT = 6
"""Restraints of a kind from which its RMSZ says something."""


def odd_residues(atoms: Atoms, terms: Sequence[tuple[Int, Float]]) -> Int:
    """Running numbers of residues that are no links of a polymer, and miss their restraints by far more than all else.

    Parameters
    ----------
    atoms : Atoms
    terms : sequence of (index (n, k) int, z (n,))
        Bonds and angles with how far they are from their ideals, in sigma; those of hydrogens do not count.
    """
    residue, names = atoms.identity.residue, atoms.identity.residue_name
    size = int(residue.max(initial=-1)) + 1
    alone = np.zeros(size, dtype=bool)
    alone[residue[~of_polymers(names)]] = True
    odd = np.zeros(size, dtype=bool)
    for index, z in terms:
        rows = residue[index]
        own = (rows == rows[:, :1]).all(axis=1) & ~atoms.is_hydrogen[index].any(axis=1)
        count = np.bincount(rows[own, 0], minlength=size)
        squares = np.bincount(rows[own, 0], z[own] ** 2, size)
        rest = np.maximum((squares.sum() - squares) / np.maximum(count.sum() - count, 1), 1e-12)
        mean = squares / np.maximum(count, 1)
        odd |= alone & (count >= _COUNT) & (mean > np.maximum(_LEAST**2, _TIMES**2 * rest))
    return np.flatnonzero(odd)
