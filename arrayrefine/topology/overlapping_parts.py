"""Residues that are there in part, in one place, without conformers that say so: one is there instead of the other."""

from __future__ import annotations

import dataclasses

import numpy as np

from arrayrefine.atoms import WATERS, Atoms
from arrayrefine.kernels.contacts import in_table
from arrayrefine.kernels.distances import close_pairs
from arrayrefine.restraints import NonBonded
from arrayrefine.topology.nonbonded import APART, metal_flags, unique_pairs
from arrayrefine.wording import Caution, are, counted, listed

_ROUNDED = 0.005
"""What occupancies of two decimals, added up, may miss one by."""


def overlapping_parts(atoms: Atoms, non_bonded: NonBonded) -> tuple[NonBonded, list[str]]:
    """Leave contacts out between residues that overlap, with occupancies that add up to no more than 1.

    Without conformers nothing else says that they are never there together; contacts would push them apart, as far as
    the next place that is free.

    Parameters
    ----------
    atoms : Atoms
        Hydrogens, metals and atoms on special positions, which are there in part for their images, are not looked at,
        nor is what has no occupancy.
    non_bonded : NonBonded
        Its excluded pairs are bonded, or nearly so.

    Returns
    -------
    non_bonded : NonBonded
        With all pairs of atoms of such residues excluded that are there in part.
    notes : list of str
        One sentence, or none: a warning where anything but waters is among them.
    """
    who = atoms.identity
    in_part = (non_bonded.conformer == 0) & (atoms.occupancy > 0.0) & (atoms.occupancy < 1.0)
    chosen = in_part & ~atoms.is_hydrogen & ~metal_flags(atoms.element) & (atoms.multiplicity == 1)
    rows = np.flatnonzero(chosen)
    if not len(rows):
        return non_bonded, []
    pairs = rows[close_pairs(atoms.xyz[rows], APART)]
    i, j = pairs[:, 0], pairs[:, 1]
    chosen = (who.residue[i] != who.residue[j]) & (atoms.occupancy[i] + atoms.occupancy[j] <= 1.0 + _ROUNDED)
    chosen &= ~in_table(i, j, non_bonded.excluded, len(atoms))
    i, j = i[chosen], j[chosen]
    if not len(i):
        return non_bonded, []
    distance = np.linalg.norm(atoms.xyz[i] - atoms.xyz[j], axis=1)
    nearest: dict[tuple[int, int], int] = {}
    for k in np.argsort(distance, kind="stable").tolist():
        nearest.setdefault((int(who.residue[i[k]]), int(who.residue[j[k]])), k)
    n = len(nearest)
    labels = [f"{who.label(int(i[k]))} - {who.label(int(j[k]))} ({distance[k]:.2f} Å)" for k in nearest.values()]
    said = (
        f"{counted(n, 'pair')} of residues that are there in part {are(n)} in one place, without conformers; one is "
        f"taken to be there instead of the other, without contacts between them: {listed(labels, '; ')}. Name them "
        "conformers A and B (altloc); if they are bonded, name the bond in the model (LINK or struct_conn)"
    )
    mine = {of: np.flatnonzero(in_part & (who.residue == of)) for of in {of for pair in nearest for of in pair}}
    apart = [np.stack(np.meshgrid(mine[one], mine[two]), axis=-1).reshape(-1, 2) for one, two in nearest]
    non_bonded = dataclasses.replace(non_bonded, excluded=unique_pairs([non_bonded.excluded, *apart], len(atoms)))
    quiet = np.isin(who.residue_name[np.concatenate([i, j])], WATERS).all()
    return non_bonded, [said if quiet else Caution(said)]
