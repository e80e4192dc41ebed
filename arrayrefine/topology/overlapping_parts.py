"""Residues that are there in part, in one place, without conformers that say so: one is there instead of the other."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from arrayrefine.atoms import WATERS, Atoms
from arrayrefine.kernels.contacts import in_table
from arrayrefine.kernels.distances import close_pairs
from arrayrefine.restraints import NonBonded
from arrayrefine.topology.nonbonded import metal_flags, unique_pairs
from arrayrefine.wording import Caution, are, counted, listed

Int = NDArray[np.int64]
Mask = NDArray[np.bool_]

_EXCESS = 0.105
"""What occupancies that were refined one by one may add up to beyond 1: in twelve models 132 pairs of a water and other
within 1.8 Å come to 1 or less, 6 to 1.01 to 1.10, and 5 to more."""
_POLAR, _OTHER = 2.2, 2.6
"""Å; two of N and O, which hydrogen bonds hold at 2.5, and others, which are 3 apart, are not there together nearer."""
_ON_TOP = 1.0
"""Å; shorter than any bond of heavy atoms."""


def overlapping_parts(atoms: Atoms, non_bonded: NonBonded, edges: Int) -> tuple[NonBonded, list[str]]:
    """Leave contacts out between residues that overlap, with occupancies that add up to about 1, or less.

    Where one of them has no conformer nothing else says that they are never there together, as of a water that
    makes room for the second conformer of a side chain; contacts would push them apart, as far as the next place that
    is free. Residues of one molecule, joined by bonds of atoms that are there in part as they are, are there together;
    but not two strands that lie on top of each other, whatever links the model names between them.

    Parameters
    ----------
    atoms : Atoms
        Hydrogens, metals and atoms on special positions, which are there in part for their images, are not looked at,
        nor is what has no occupancy.
    non_bonded : NonBonded
        Its excluded pairs are bonded, or nearly so.
    edges : (e, 2) int
        Bonds.

    Returns
    -------
    non_bonded : NonBonded
        With all pairs of atoms excluded of such residues, or conformers of them, whose occupancies add up so.
    notes : list of str
        One sentence, or none: a warning where anything but waters is among them.
    """
    who, conformer = atoms.identity, non_bonded.conformer
    in_part = (atoms.occupancy > 0.0) & (atoms.occupancy < 1.0)
    chosen = in_part & ~atoms.is_hydrogen & ~metal_flags(atoms.element) & (atoms.multiplicity == 1)
    rows = np.flatnonzero(chosen)
    if not len(rows):
        return non_bonded, []
    pairs = rows[close_pairs(atoms.xyz[rows], _OTHER)]
    i, j = pairs[:, 0], pairs[:, 1]
    distance = np.linalg.norm(atoms.xyz[i] - atoms.xyz[j], axis=1)
    polar = np.isin(atoms.element, ("N", "O"))
    chosen = distance < np.where(polar[i] & polar[j], _POLAR, _OTHER)
    chosen &= (who.residue[i] != who.residue[j]) & (atoms.occupancy[i] + atoms.occupancy[j] <= 1.0 + _EXCESS)
    chosen &= ((conformer[i] == 0) | (conformer[j] == 0)) & ~in_table(i, j, non_bonded.excluded, len(atoms))
    i, j, distance = i[chosen], j[chosen], distance[chosen]
    if not len(i):
        return non_bonded, []
    part = np.unique(np.column_stack([who.residue, conformer]), axis=0, return_inverse=True)[1].ravel()
    alternative = ~_of_one_molecule(atoms, part, edges[in_part[edges].all(axis=1)], (i, j), distance < _ON_TOP)
    i, j, distance = i[alternative], j[alternative], distance[alternative]
    if not len(i):
        return non_bonded, []
    nearest: dict[tuple[int, int], int] = {}
    for k in np.argsort(distance, kind="stable").tolist():
        nearest.setdefault((int(part[i[k]]), int(part[j[k]])), k)
    n = len(nearest)
    labels = [f"{who.label(int(i[k]))} - {who.label(int(j[k]))} ({distance[k]:.2f} Å)" for k in nearest.values()]
    said = (
        f"{counted(n, 'pair')} of residues that are there in part {are(n)} in one place, without conformers that say "
        f"so; one is taken to be there instead of the other, without contacts between them: {listed(labels, '; ')}. "
        "Name them conformers A and B (altloc); if they are bonded, name the bond in the model (LINK or struct_conn)"
    )
    mine = {of: np.flatnonzero(in_part & (part == of)) for of in {of for pair in nearest for of in pair}}
    apart = np.vstack([np.stack(np.meshgrid(mine[a], mine[b]), axis=-1).reshape(-1, 2) for a, b in nearest])
    apart = apart[atoms.occupancy[apart].sum(axis=1) <= 1.0 + _EXCESS]
    non_bonded = dataclasses.replace(non_bonded, excluded=unique_pairs([non_bonded.excluded, apart], len(atoms)))
    quiet = np.isin(who.residue_name[np.concatenate([i, j])], WATERS).all()
    return non_bonded, [said if quiet else Caution(said)]


def _of_one_molecule(atoms: Atoms, part: Int, bonds: Int, pair: tuple[Int, Int], on_top: Mask) -> Mask:
    """Whether bonds join the parts of two atoms, but for two residues under one number and two strands in one place."""
    i, j = pair
    who = atoms.identity
    bonds = bonds[~metal_flags(atoms.element)[bonds].any(axis=1)]
    molecule = _joined(part, bonds)
    strand = _joined(part, bonds[who.chain[bonds[:, 0]] == who.chain[bonds[:, 1]]])
    strands = np.sort(np.column_stack([strand[part[i]], strand[part[j]]]), axis=1)
    _, number = np.unique(strands, axis=0, return_inverse=True)
    exclusive = np.isin(number.ravel(), number.ravel()[on_top]) & (strands[:, 0] != strands[:, 1])
    same_place = np.logical_and.reduce(
        [name[i] == name[j] for name in (who.chain, who.sequence_number, who.insertion_code)]
    )
    return np.asarray((molecule[part[i]] == molecule[part[j]]) & ~same_place & ~exclusive)


def _joined(part: Int, bonds: Int) -> Int:
    """Of each part the number of what bonds join it to."""
    n = int(part.max()) + 1
    graph = sparse.coo_array((np.ones(len(bonds)), (part[bonds[:, 0]], part[bonds[:, 1]])), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1])
