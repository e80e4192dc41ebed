"""Carboxamides of ligands, such as that of NADP: ends that may be the wrong way round, as those of Asn and Gln may."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.rebuilding.nqh_ends import EndNames
from arrayrefine.topology.polymers import Residue, of_polymers

Int = NDArray[np.int64]

_HYDROGENS = 2


def carboxamides_of(atoms: Atoms, bonds: Int) -> list[tuple[Residue, EndNames]]:
    """Carbons of other components than those of chains that carry O, NH2 and one more atom, which others are bonded to.

    Parameters
    ----------
    atoms : Atoms
    bonds : (b, 2) int
        Of the restraints.

    Returns
    -------
    list of (Residue, EndNames)
        The component, the bond about which the end turns, and the names of O and N.
    """
    who, element = atoms.identity, atoms.element
    other = ~(of_polymers(who.residue_name) | atoms.is_water)
    carbons = np.flatnonzero(other & (element == "C"))
    if not len(carbons):
        return []
    heavy = bonds[~atoms.is_hydrogen[bonds].any(axis=1)]
    near: dict[int, list[int]] = {}
    for one, two in heavy[other[heavy].any(axis=1)].tolist():
        near.setdefault(one, []).append(two)
        near.setdefault(two, []).append(one)
    hydrogens = np.bincount(atoms.riding.parent, minlength=len(atoms))
    found: list[tuple[Residue, EndNames]] = []
    for carbon in carbons.tolist():
        around = near.get(carbon, [])
        ends = [atom for atom in around if len(near[atom]) == 1]
        rest = [atom for atom in around if len(near[atom]) > 1]
        if len(rest) != 1 or sorted(element[ends].tolist()) != ["N", "O"]:
            continue
        oxygen, nitrogen = sorted(ends, key=lambda atom: str(element[atom]), reverse=True)
        if hydrogens[oxygen] or hydrogens[nitrogen] != _HYDROGENS or len(set(who.residue[[carbon, *around]])) > 1:
            continue
        label = who.atom_name
        end = (str(label[rest[0]]), str(label[carbon])), ((str(label[oxygen]), str(label[nitrogen])),)
        found.append((_residue(atoms, carbon), end))
    return found


def _residue(atoms: Atoms, row: int) -> Residue:
    """The component that an atom is of."""
    who = atoms.identity
    mine = np.flatnonzero((who.residue == who.residue[row]) & ~atoms.is_hydrogen)[::-1]  # of alternates the first
    key = int(who.sequence_number[row]), str(who.insertion_code[row])
    rows = dict(zip(who.atom_name[mine].tolist(), mine.tolist()))
    return Residue(int(who.residue[row]), str(who.chain[row]), str(who.residue_name[row]), key, rows)
