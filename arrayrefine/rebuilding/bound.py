"""Atoms that are bound to what does not move with them: other residues, symmetry mates, metals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.kernels.contacts import pairs_of
from arrayrefine.restraints import Restraints

Int = NDArray[np.int64]

_METAL = 3.2
"""Å; side chains this near to a metal bind it."""


def bound(atoms: Atoms, restraints: Restraints, crystal: Crystal, aside: Int | None = None) -> NDArray[np.bool_]:
    """Atoms (N,) with a bond to another residue or a mate, or near a metal; metals with such neighbours, too.

    Bonds `aside` (b, 2), first atom and second, do not count.
    """
    who, n = atoms.identity, len(atoms)
    found = np.zeros(n, dtype=bool)
    bonds = restraints.bonds.index
    other = who.residue[bonds[:, 0]] != who.residue[bonds[:, 1]]
    if aside is not None:
        keys = np.sort(bonds, axis=1) @ np.array([n, 1])
        other &= ~np.isin(keys, np.sort(aside, axis=1) @ np.array([n, 1]))
    found[bonds[other]] = True
    across = restraints.across
    found[np.append(np.arange(n), across.mates.source)[across.bonds.index]] = True
    metal = np.flatnonzero(restraints.non_bonded.metal)
    near = pairs_of(metal, atoms.xyz, crystal.rotations, crystal.translations, crystal.orth, crystal.frac, _METAL)
    found[near.i] = found[near.j] = True
    return found


def loose_hydrogens(atoms: Atoms) -> NDArray[np.bool_]:
    """Hydrogens (N,) that do not ride: they would stay behind where what they are on is put elsewhere."""
    return np.asarray(atoms.is_hydrogen & ~atoms.riding.mask(len(atoms)))


def split_or_loose(atoms: Atoms) -> set[int]:
    """Running numbers of residues with alternates, or with hydrogens that would stay behind."""
    who = atoms.identity
    return set(who.residue[(who.altloc != "") | loose_hydrogens(atoms)].tolist())
