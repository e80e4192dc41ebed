"""Atoms that lie on those of symmetry mates: the model is in a wrong place, or its space group or cell is wrong."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, coexist
from arrayrefine.crystal import Crystal
from arrayrefine.kernels.contacts import in_table, neighbour_pairs
from arrayrefine.restraints import NonBonded
from arrayrefine.topology.nonbonded import APART, metal_flags
from arrayrefine.wording import Caution, are, counted, listed

Int = NDArray[np.int64]

_SAME_PLACE = 0.3
"""Å; copies of one atom are as near, whatever digits were lost when they were written."""
_MOST = 0.5
"""A chain with more of its atoms than this share on those of mates of another chain is a copy of that."""


def overlapping_mates(atoms: Atoms, non_bonded: NonBonded, crystal: Crystal) -> list[str]:
    """Warn of heavy atoms that lie on those of symmetry mates, and that contacts push apart.

    Parameters
    ----------
    atoms : Atoms
        Metals, waters and atoms on special positions are not looked at, nor are atoms that are there instead of each
        other.
    non_bonded : NonBonded
        Its excluded pairs across symmetry are bonded, or nearly so.
    crystal : Crystal

    Returns
    -------
    list of str
        One warning, or none.
    """
    who = atoms.identity
    others = atoms.is_hydrogen | metal_flags(atoms.element) | atoms.is_water
    rows = np.flatnonzero(~others & (atoms.multiplicity == 1) & (atoms.occupancy > 0.0))
    if not len(rows):
        return []
    pairs = neighbour_pairs(atoms.xyz[rows], crystal.rotations, crystal.translations, crystal.orth, crystal.frac, APART)
    i, j = rows[pairs.i], rows[pairs.j]
    conformer = non_bonded.conformer
    chosen = pairs.image & (atoms.occupancy[i] + atoms.occupancy[j] > 1.0)
    chosen &= coexist(conformer[i], conformer[j])
    chosen &= ~in_table(i, j, non_bonded.excluded_images, len(atoms))
    if not chosen.any():
        return []
    distance = pairs.taken(chosen).lengths(atoms.xyz[rows], crystal.rotations, crystal.orth, crystal.frac)
    i, j = i[chosen], j[chosen]
    order = np.argsort(distance, kind="stable")
    _, first = np.unique((i * len(atoms) + j)[order], return_index=True)  # one of a pair that meets more than once
    labels = [f"{who.label(int(i[k]))} - {who.label(int(j[k]))} ({distance[k]:.2f} Å)" for k in order[np.sort(first)]]
    n = len(np.union1d(i, j))
    near = distance < _SAME_PLACE
    copies = _copies(atoms, rows, i[near], j[near])
    assembly = ", as in a file of a biological assembly: give the asymmetric unit, in which each chain is there once"
    copied = f". But {listed(copies)}{assembly}" if copies else ""
    return [Caution(
        f"{counted(n, 'atom')} {are(n)} within {APART:g} Å of symmetry mates without a link to them; contacts will "
        f"push them apart: {listed(labels, '; ')}. If they are bonded, name the bond in the model (LINK or "
        "struct_conn); if one is there instead of the other, give them occupancies of 0.5; if there are many, the "
        "space group, its setting, the cell or the place of the model is wrong; else one of them is in a wrong "
        f"place{copied}"
    )]  # fmt: skip


def _copies(atoms: Atoms, rows: Int, i: Int, j: Int) -> list[str]:
    """Say of each chain that symmetry makes of another one that it is there twice.

    Parameters
    ----------
    atoms : Atoms
    rows : (n,) int64
        Atoms that were looked at.
    i, j : (P,) int64
        Pairs of atoms of which one lies on a mate of the other.
    """
    who = atoms.identity
    same = (who.atom_name[i] == who.atom_name[j]) & (who.sequence_number[i] == who.sequence_number[j])
    same &= who.residue_name[i] == who.residue_name[j]
    size = Counter(who.chain[rows].tolist())
    count = Counter(zip(who.chain[i[same]].tolist(), who.chain[j[same]].tolist()))
    return [
        f"chain {copy} lies on symmetry mates of chain {chain}, atom by atom"
        for (chain, copy), n in count.items()
        if chain != copy and n > _MOST * size[copy]
    ]
