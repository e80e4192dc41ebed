"""Equivalent measurements: into the asymmetric unit, and merged there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.crystal import Crystal

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Observations:
    """M measurements on their way to unique reflections.

    Attributes
    ----------
    hkl : (M, 3) int32
    value, sigma : (M,) float64
    flag : (M,) float64
        0 in the test set, 1 in the work set, nan where missing.
    row : (M,) int64
        Row of the file; the two members of a (+)/(-) pair share it.
    """

    hkl: NDArray[np.int32]
    value: Float
    sigma: Float
    flag: Float
    row: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: Sequence[Observations]) -> Observations:
        """Those of all parts, one after the other."""
        names = ("hkl", "value", "sigma", "flag", "row")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def select(self, mask: NDArray[np.bool_] | NDArray[np.int64]) -> Observations:
        """The measurements where `mask` is True, or by index."""
        return Observations(self.hkl[mask], self.value[mask], self.sigma[mask], self.flag[mask], self.row[mask])


def to_asu(observed: Observations, crystal: Crystal) -> Observations:
    """Move the indices into the asymmetric unit of reciprocal space (CCP4's)."""
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = crystal.gemmi_space_group
    mtz.set_cell_for_all(crystal.gemmi_cell)
    mtz.set_data(observed.hkl.astype(np.float32))
    mtz.ensure_asu()
    hkl = np.array(mtz.array)[:, :3].astype(np.int32)
    return Observations(hkl, observed.value, observed.sigma, observed.flag, observed.row)


@dataclass(frozen=True)
class Merging:
    """What was merged.

    Attributes
    ----------
    pairs : int
        Reflections with both members of a (+)/(-) pair.
    duplicates : int
        Further rows of the file for a reflection that has one already.
    conflicts : int
        Reflections of which some copies were free and others not; they are free.
    """

    pairs: int
    duplicates: int
    conflicts: int


def without_friedel(observed: Observations, hkl: NDArray[np.int32], crystal: Crystal) -> NDArray[np.bool_]:
    """Whether rotations alone bring the indices of the file (M, 3) to those in the asymmetric unit (M,)."""
    turned = np.zeros(len(hkl), dtype=bool)
    for rotation in crystal.primitive_rotations:
        turned |= (hkl @ rotation == observed.hkl).all(axis=1)
    return turned


def own_rows_of_mates(observed: Observations, hkl: NDArray[np.int32], crystal: Crystal) -> int:
    """Number of reflections of which both Friedel mates are there, each with the indices that belong to it.

    Parameters
    ----------
    observed : Observations
        In the asymmetric unit.
    hkl : (M, 3) int32
        Their indices in the file.
    crystal : Crystal
    """
    turned = without_friedel(observed, hkl, crystal) | crystal.centric(observed.hkl)
    unique, place = np.unique(observed.hkl, axis=0, return_inverse=True)
    sides = np.zeros((len(unique), 2), dtype=bool)
    sides[place.reshape(-1), turned.astype(int)] = True
    return int(sides.all(axis=1).sum())


def disagreeing(observed: Observations, flag: Float) -> int:
    """Number of reflections of which some copies are free and others not, by flags (M,) as those of `Observations`."""
    _, place = np.unique(observed.hkl, axis=0, return_inverse=True)
    free, work = (np.bincount(place.reshape(-1), flag == value) > 0 for value in (0.0, 1.0))
    return int((free & work).sum())


def merge(observed: Observations) -> tuple[Observations, Merging]:
    """Merge (+) with (-), and duplicates, by inverse-variance weights; the result is sorted by index.

    Copies (same value, same sigma: expanded data, or one value in both columns of a pair) carry no new
    information, so they keep their sigma.
    """
    side = 2 * int(np.abs(observed.hkl).max(initial=0)) + 1
    key = observed.hkl.astype(np.int64) @ np.array([side * side, side, 1])
    order = np.lexsort((observed.row, key))
    observed, key = observed.select(order), key[order]
    start = np.flatnonzero(np.diff(key, prepend=key[:1] - 1))
    weight = observed.sigma**-2.0
    total = np.add.reduceat(weight, start)
    value = np.add.reduceat(weight * observed.value, start) / total
    sigma = total**-0.5
    copies = np.ones(len(start), dtype=bool)
    for array in (observed.value, observed.sigma):
        copies &= np.minimum.reduceat(array, start) == np.maximum.reduceat(array, start)
    value[copies], sigma[copies] = observed.value[start][copies], observed.sigma[start][copies]
    # a reflection that any copy names free must not be refined against; fmin ignores missing flags
    flag = np.fmin.reduceat(observed.flag, start)
    conflict = int((np.fmax.reduceat(observed.flag, start) > flag).sum())
    rows = int(np.count_nonzero(np.bincount(observed.row)))
    merged = Observations(observed.hkl[start], value, sigma, flag, observed.row[start])
    return merged, Merging(len(order) - rows, rows - len(start), conflict)
