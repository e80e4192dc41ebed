"""Residues that are there in part, in one place, without conformers that say so: contacts push them apart."""

from __future__ import annotations

import numpy as np

from arrayrefine.atoms import WATERS, Atoms
from arrayrefine.kernels.contacts import in_table
from arrayrefine.kernels.distances import close_pairs
from arrayrefine.restraints import NonBonded
from arrayrefine.topology.nonbonded import APART, metal_flags
from arrayrefine.wording import Caution, are, counted, listed


def overlapping_parts(atoms: Atoms, non_bonded: NonBonded) -> list[str]:
    """Warn of residues that overlap, and have occupancies that add up to no more than 1, but no conformers.

    Parameters
    ----------
    atoms : Atoms
        Hydrogens, metals and atoms on special positions, which are there in part for their images, are not looked at,
        nor is what has no occupancy.
    non_bonded : NonBonded
        Its excluded pairs are bonded, or nearly so.

    Returns
    -------
    list of str
        One sentence, or none: a warning where anything but waters is among them.
    """
    who = atoms.identity
    chosen = (non_bonded.conformer == 0) & ~atoms.is_hydrogen & ~metal_flags(atoms.element) & (atoms.multiplicity == 1)
    rows = np.flatnonzero(chosen & (atoms.occupancy > 0.0) & (atoms.occupancy < 1.0))
    if not len(rows):
        return []
    pairs = rows[close_pairs(atoms.xyz[rows], APART)]
    i, j = pairs[:, 0], pairs[:, 1]
    chosen = (who.residue[i] != who.residue[j]) & (atoms.occupancy[i] + atoms.occupancy[j] <= 1.0)
    chosen &= ~in_table(i, j, non_bonded.excluded, len(atoms))
    i, j = i[chosen], j[chosen]
    if not len(i):
        return []
    distance = np.linalg.norm(atoms.xyz[i] - atoms.xyz[j], axis=1)
    nearest: dict[tuple[int, int], int] = {}
    for k in np.argsort(distance, kind="stable").tolist():
        nearest.setdefault((int(who.residue[i[k]]), int(who.residue[j[k]])), k)
    n = len(nearest)
    labels = [f"{who.label(int(i[k]))} - {who.label(int(j[k]))} ({distance[k]:.2f} Å)" for k in nearest.values()]
    said = (
        f"{counted(n, 'pair')} of residues that are there in part {are(n)} in one place, without conformers; "
        f"contacts will push them apart: {listed(labels, '; ')}. If one is there instead of the other, name them "
        "conformers A and B (altloc); if they are bonded, name the bond in the model (LINK or struct_conn)"
    )
    return [said if np.isin(who.residue_name[np.concatenate([i, j])], WATERS).all() else Caution(said)]
