"""Atoms that share one occupancy, and groups of which one or another is there, never both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Mask = NDArray[np.bool_]

LEAST = 0.01
"""Smallest occupancy of a conformer beside others: from zero there is no way back."""


@dataclass(frozen=True)
class OccupancyGroups:
    """A partition of the atoms whose occupancies can be refined.

    The occupancies of the groups of an alternative add up to one: all but the last are independent.

    Attributes
    ----------
    group : (N,) int64
        Group of each atom; −1 where the occupancy is never refined.
    alternative : (G,) int64
        Alternative to which each group belongs; −1 for a group that stands alone.
    names : tuple of str
        What each group is.
    empty : tuple of int
        Groups without atoms: each stands for a place with none of its alternative there, and is the last of it.
    """

    group: Int
    alternative: Int
    names: tuple[str, ...] = ()
    empty: tuple[int, ...] = ()

    @classmethod
    def single(cls, n: int) -> OccupancyGroups:
        """Every atom for itself."""
        return cls(np.arange(n), np.full(n, -1, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.alternative)

    def free(self, mask: Mask) -> Int:
        """Numbers of the groups that may be refined if the atoms of `mask` (N,) may; an alternative only as a whole."""
        inside = self.group >= 0
        held = np.zeros(len(self), dtype=bool)
        held[self.group[inside & ~mask]] = True
        atoms = np.bincount(self.group[inside], minlength=len(self))
        atoms[list(self.empty)] = 1
        held |= atoms == 0
        stuck = np.unique(self.alternative[held])
        held |= np.isin(self.alternative, stuck[stuck >= 0])
        return np.flatnonzero(~held)

    def independent(self, groups: Int) -> Mask:
        """True for those of some groups whose occupancy is a value of its own: not for the last of an alternative."""
        alternative = self.alternative[groups]
        out = np.ones(len(groups), dtype=bool)
        tied = np.flatnonzero(alternative >= 0)
        _, backwards = np.unique(alternative[tied][::-1], return_index=True)
        out[tied[len(tied) - 1 - backwards]] = False
        return out

    def occupancies(self, atoms: Atoms, groups: Int) -> Float:
        """Occupancy of each of some groups: the mean of its atoms', each of a full site; of an empty one the rest."""
        inside = self.group >= 0
        count = np.bincount(self.group[inside], minlength=len(self))
        total = np.bincount(self.group[inside], (atoms.occupancy * atoms.multiplicity)[inside], minlength=len(self))
        share = total / np.maximum(count, 1)
        for one in self.empty:
            share[one] = max(1.0 - share[self.alternative == self.alternative[one]].sum(), LEAST)
        return np.asarray(share[groups])

    def pack(self, atoms: Atoms, groups: Int) -> Float:
        """Independent occupancies of some groups, those of an alternative as parts of one."""
        share = self.occupancies(atoms, groups)
        row, tied = self.rows(groups)
        total = np.bincount(row, share, minlength=1)[row]
        share = np.where(tied & (total > 0.0), share / np.where(total > 0.0, total, 1.0), share)
        return share[self.independent(groups)]

    def rows(self, groups: Int) -> tuple[Int, Mask]:
        """A number for each alternative or group that stands alone, and which of the groups have an alternative."""
        alternative = self.alternative[groups]
        tied = alternative >= 0
        _, row = np.unique(np.where(tied, alternative, -1 - np.arange(len(groups))), return_inverse=True)
        return row.reshape(-1), tied

    def unpack(self, atoms: Atoms, groups: Int, values: Float) -> Float:
        """Occupancies (N,) of the atoms with the independent values of some groups; those of other atoms stay."""
        row, tied = self.rows(groups)
        independent = self.independent(groups)
        share = np.zeros(len(groups))
        share[independent] = values
        share[~independent] = (1.0 - np.bincount(row, share, minlength=1)[row])[~independent]
        # Of three or more the last may fall below zero while each of the others is within its bounds.
        share = np.where(tied, np.maximum(share, LEAST), share)
        share = np.where(tied, share / np.maximum(np.bincount(row, share, minlength=1)[row], LEAST), share)
        place = np.full(len(self) + 1, -1)
        place[groups] = np.arange(len(groups))
        at = place[self.group]
        return np.where(at >= 0, share[np.maximum(at, 0)] / atoms.multiplicity, atoms.occupancy)

    def pullback(self, atoms: Atoms, groups: Int, by_occupancy: Float) -> Float:
        """Derivative by the independent values from that by the atoms' occupancies (N,): the adjoint of `unpack`."""
        inside = self.group >= 0
        by_group = np.bincount(
            self.group[inside], (by_occupancy / atoms.multiplicity)[inside], minlength=len(self)
        )[groups]  # fmt: skip
        row, _ = self.rows(groups)
        independent = self.independent(groups)
        last = np.bincount(row[~independent], by_group[~independent], minlength=int(row.max(initial=-1)) + 1)
        return np.asarray((by_group - last[row])[independent])

    def bounds(self, groups: Int) -> tuple[Float, Float]:
        """Lower and upper bounds of the independent values of some groups."""
        tied = (self.alternative[groups] >= 0)[self.independent(groups)]
        return np.where(tied, LEAST, 0.0), np.where(tied, 1.0 - LEAST, 1.0)
