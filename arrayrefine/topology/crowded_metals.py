"""Metals that lie on each other and are there together: at most one of the two is where the model has it."""

from __future__ import annotations

import numpy as np

from arrayrefine.atoms import Atoms
from arrayrefine.restraints import Int, NonBonded
from arrayrefine.topology.crowded_pairs import crowded_pairs, labels_of_pairs
from arrayrefine.topology.nonbonded import metal_flags, unique_pairs
from arrayrefine.wording import Caution, are, counted, listed

_NEAREST = 2.4
"""Å; copper of Cu(A) is 2.4 to 2.5 apart, iron of clusters 2.5 to 2.8, and ions that share oxygens 3 and more."""
_TOGETHER = 1.1
"""Occupancies that were refined one by one may add up to as much, where one metal is there instead of the other."""


def crowded_metals(atoms: Atoms, non_bonded: NonBonded, edges: Int) -> list[str]:
    """Warn of metals nearer than 2.4 Å to one of another residue, where both are there together in part of the crystal.

    No contact keeps two metals apart, as those of clusters are nearer than ions, and each is drawn to the donors that
    they share: so two that were built into the density of one, or of one and a water, stay on each other.

    Parameters
    ----------
    atoms : Atoms
        What has no occupancy is not looked at, nor are symmetry mates.
    non_bonded : NonBonded
        Its conformers say which atoms are there together.
    edges : (e, 2) int
        Bonds; two metals that are bonded are meant to be near.

    Returns
    -------
    list of str
        One warning, or none.
    """
    rows = np.flatnonzero((atoms.occupancy > 0.0) & metal_flags(atoms.element))
    known = unique_pairs([edges], len(atoms))
    labels = labels_of_pairs(atoms, crowded_pairs(atoms, non_bonded, rows, _NEAREST, _TOGETHER, known))
    if not labels:
        return []
    n = len(labels)
    return [Caution(
        f"{counted(n, 'pair')} of metals of different residues, there together, {are(n)} within {_NEAREST:g} Å, nearer "
        f"than metals are, and nothing will push them apart: {listed(labels, '; ')}. One of the two may be a water, or "
        "not there: see in the maps, and take it out, or give both occupancies of 1 together, where one is there "
        "instead of the other"
    )]
