"""Pairs of atoms that are nearer than they can be, and are there at the same time."""

from __future__ import annotations

import numpy as np

from arrayrefine.atoms import Atoms, coexist
from arrayrefine.kernels.contacts import in_table
from arrayrefine.kernels.distances import close_pairs
from arrayrefine.restraints import Int, NonBonded


def crowded_pairs(
    atoms: Atoms, non_bonded: NonBonded, rows: Int, nearest: float, occupancy: float, known: Int
) -> Int:
    """Pairs (p, 2) of atoms of different residues.

    Parameters
    ----------
    atoms : Atoms
        Symmetry mates are not looked at.
    non_bonded : NonBonded
        Its conformers say which atoms are there together.
    rows : (m,) int
        Atoms that are looked at.
    nearest : float
        Å.
    occupancy : float
        Sum of the two above which both are there.
    known : (e, 2) int
        Pairs that are meant to be near, or are there instead of each other.
    """
    i, j = rows[close_pairs(atoms.xyz[rows], nearest)].T
    residue, conformer = atoms.identity.residue, non_bonded.conformer
    chosen = (residue[i] != residue[j]) & coexist(conformer[i], conformer[j])
    chosen &= (atoms.occupancy[i] + atoms.occupancy[j] > occupancy) & ~in_table(i, j, known, len(atoms))
    return np.stack([i[chosen], j[chosen]], axis=1)


def labels_of_pairs(atoms: Atoms, pairs: Int) -> list[str]:
    """Names and distances of pairs (p, 2), the nearest first."""
    distance = np.linalg.norm(atoms.xyz[pairs[:, 0]] - atoms.xyz[pairs[:, 1]], axis=1)
    return [
        f"{atoms.identity.label(int(pairs[k, 0]))} - {atoms.identity.label(int(pairs[k, 1]))} ({distance[k]:.2f} Å)"
        for k in np.argsort(distance, kind="stable").tolist()
    ]
