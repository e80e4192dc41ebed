"""Waters that lie on other atoms that are there at the same time: one of the two is not where the model has it."""

from __future__ import annotations

import numpy as np

from arrayrefine.atoms import Atoms
from arrayrefine.restraints import NonBonded
from arrayrefine.topology.crowded_pairs import crowded_pairs, labels_of_pairs
from arrayrefine.topology.nonbonded import metal_flags
from arrayrefine.wording import Caution, are, counted, listed

_NEAREST = 2.0
"""Å; the shortest hydrogen bonds are 2.4 long."""
_TOGETHER = 0.5
"""Part of the crystal that must have both: below that a water may be in part for a conformer that nothing names."""


def crowded_waters(atoms: Atoms, non_bonded: NonBonded) -> list[str]:
    """Warn of waters nearer than 2 Å to a heavy atom that is there together with them in most of the crystal.

    Contacts push the two apart, as far as the next place that is free, which may be that of a third: so a water that
    was placed for the second conformer of a side chain drives away what the data show well.

    Parameters
    ----------
    atoms : Atoms
        Metals, hydrogens and what has no occupancy are not looked at, nor are symmetry mates.
    non_bonded : NonBonded
        Its excluded pairs are bonded, or known to be there instead of each other.

    Returns
    -------
    list of str
        One warning, or none.
    """
    rows = np.flatnonzero((atoms.occupancy > 0.0) & ~atoms.is_hydrogen & ~metal_flags(atoms.element))
    pairs = crowded_pairs(atoms, non_bonded, rows, _NEAREST, 1.0 + _TOGETHER, non_bonded.excluded)
    labels = labels_of_pairs(atoms, pairs[atoms.is_water[pairs].any(axis=1)])
    if not labels:
        return []
    n = len(labels)
    return [Caution(
        f"{counted(n, 'pair')} of a water and another atom, there at the same time, {are(n)} within {_NEAREST:g} Å; "
        f"contacts will push them apart, one of the two from where the map shows it: {listed(labels, '; ')}. Take out "
        "what is not there, or give both occupancies of 1 together, where one is there instead of the other"
    )]
