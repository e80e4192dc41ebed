"""Reflections that a symmetry of the lattice relates which the crystal need not have: its twin mates, and families."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.crystal import Crystal

Float = NDArray[np.float64]

_WHOLE = 1e-6  # an index this close to a whole number is one


def mates(crystal: Crystal, hkl: NDArray[np.integer], matrix: Float) -> NDArray[np.int64]:
    """Rows (R,) in which twin mates of the reflections (R, 3) by a law, or equivalents of these, stand; -1 for none."""
    key = asu_key(crystal, hkl, hkl)
    order = np.argsort(key)
    exact = hkl @ matrix
    mate = np.rint(exact).astype(np.int64)
    mate_key = asu_key(crystal, mate, hkl)
    place = order[np.minimum(np.searchsorted(key, mate_key, sorter=order), len(key) - 1)]
    there = (np.abs(exact - mate).max(axis=1) < _WHOLE) & (key[place] == mate_key)
    return np.where(there, place, -1)


def asu_key(crystal: Crystal, hkl: NDArray[np.integer], among: NDArray[np.integer]) -> NDArray[np.int64]:
    """A number for each of the indices (M, 3), the same for those that the point group and Friedel's law relate.

    It is as unique for mates of `among` (R, 3), which may have larger indices, as for these.
    """
    return _orbit_key(crystal.primitive_rotations, hkl, among)


def families(crystal: Crystal, hkl: NDArray[np.integer]) -> NDArray[np.int64]:
    """A number for each reflection (R,) of indices (R, 3), the same for those that a symmetry of the lattice relates.

    Where the crystal is a twin they are measured together, and where it is nearly of higher symmetry they are alike:
    one of them in the test set is hardly left out while another is refined against. Families are numbered as they come.
    """
    key = _orbit_key(_lattice_rotations(crystal), hkl, hkl)
    _, first, family = np.unique(key, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[family.reshape(-1)], dtype=np.int64)


def _lattice_rotations(crystal: Crystal) -> Float:
    """Matrices (G, 3, 3) of the point group of the lattice: the crystal's, and products of these with the laws."""
    own = crystal.primitive_rotations.astype(np.float64)
    products = [np.einsum("aij,jk,bkl->abil", own, law, own).reshape(-1, 3, 3) for law in crystal.twin_laws.values()]
    return np.asarray(np.unique(np.concatenate([own, *products]).round(6), axis=0))


def _orbit_key(rotations: NDArray[Any], hkl: NDArray[np.integer], among: NDArray[np.integer]) -> NDArray[np.int64]:
    """A number for each of the indices (M, 3), the same for those that a group (G, 3, 3) and Friedel's law relate."""
    side = 32 * int(np.abs(among).max()) + 1
    weight = np.array([side * side, side, 1], dtype=np.int64)
    keys = [np.abs(hkl.astype(np.int64) @ (rotation @ weight)) for rotation in rotations]
    return np.asarray(np.rint(np.max(keys, axis=0)), dtype=np.int64)
