"""Metals that lie on each other and are there together: at most one of the two is where the model has it."""

from __future__ import annotations

import numpy as np

from arrayrefine.atoms import Atoms, coexist
from arrayrefine.kernels.contacts import in_table
from arrayrefine.kernels.distances import close_pairs
from arrayrefine.restraints import Int, NonBonded
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
    who, conformer, occupancy = atoms.identity, non_bonded.conformer, atoms.occupancy
    rows = np.flatnonzero((occupancy > 0.0) & metal_flags(atoms.element))
    pairs = rows[close_pairs(atoms.xyz[rows], _NEAREST)]
    i, j = pairs[:, 0], pairs[:, 1]
    chosen = (who.residue[i] != who.residue[j]) & coexist(conformer[i], conformer[j])
    chosen &= (occupancy[i] + occupancy[j] > _TOGETHER) & ~in_table(i, j, unique_pairs([edges], len(atoms)), len(atoms))
    i, j = i[chosen], j[chosen]
    if not len(i):
        return []
    distance = np.linalg.norm(atoms.xyz[i] - atoms.xyz[j], axis=1)
    labels = [
        f"{who.label(int(i[k]))} - {who.label(int(j[k]))} ({distance[k]:.2f} Å)"
        for k in np.argsort(distance, kind="stable").tolist()
    ]
    n = len(labels)
    return [Caution(
        f"{counted(n, 'pair')} of metals of different residues, there together, {are(n)} within {_NEAREST:g} Å, nearer "
        f"than metals are, and nothing will push them apart: {listed(labels, '; ')}. One of the two may be a water, or "
        "not there: see in the maps, and take it out, or give both occupancies of 1 together, where one is there "
        "instead of the other"
    )]
