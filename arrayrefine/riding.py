"""Atoms that ride on others: hydrogens that follow their parents and have no parameters of their own."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, Gradient

Float = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass(frozen=True)
class Riding:
    """Which atoms ride on which.

    Within a step a child keeps its vector from the parent, its ratio of B and of occupancy; it is placed anew between
    steps.

    Attributes
    ----------
    child, parent : (M,) int
        Every child once; no parent is a child.
    """

    child: Int
    parent: Int

    @classmethod
    def none(cls) -> Riding:
        """Nothing rides."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.child)

    def mask(self, n: int) -> NDArray[np.bool_]:
        """(n,) True for atoms that ride."""
        mask = np.zeros(n, dtype=bool)
        mask[self.child] = True
        return mask

    def follow(self, reference: Atoms, moved: Atoms) -> Atoms:
        """Put the children where their parents in `moved` take them; vectors and ratios are those of `reference`."""
        if not len(self):
            return moved
        c, p = self.child, self.parent
        xyz, b_iso, occupancy = moved.xyz.copy(), moved.b_iso.copy(), moved.occupancy.copy()
        xyz[c] = moved.xyz[p] + (reference.xyz[c] - reference.xyz[p])
        b_iso[c] = moved.b_iso[p] * self._ratio(reference.b_iso)
        occupancy[c] = moved.occupancy[p] * self._ratio(reference.occupancy)
        return moved.replace(xyz=xyz, b_iso=b_iso, occupancy=occupancy)

    def fold(self, reference: Atoms, gradient: Gradient) -> Gradient:
        """Add the children's gradient to their parents': the adjoint of `follow`. The children's own becomes zero."""
        if not len(self):
            return gradient
        xyz, b_iso, occupancy = gradient.xyz.copy(), gradient.b_iso.copy(), gradient.occupancy.copy()
        c, p = self.child, self.parent
        np.add.at(xyz, p, gradient.xyz[c])
        np.add.at(b_iso, p, gradient.b_iso[c] * self._ratio(reference.b_iso))
        np.add.at(occupancy, p, gradient.occupancy[c] * self._ratio(reference.occupancy))
        for part in (xyz, b_iso, occupancy):
            part[c] = 0.0
        return dataclasses.replace(gradient, xyz=xyz, b_iso=b_iso, occupancy=occupancy)

    def fold_columns(self, jacobian: sparse.csr_array, n: int) -> sparse.csr_array:
        """Add the columns of the children's coordinates (m, 3n) to those of their parents."""
        if not len(self):
            return jacobian
        target = np.arange(n)
        target[self.child] = self.parent
        column = (3 * target[:, None] + np.arange(3)).reshape(-1)
        ones = np.ones(3 * n)
        return sparse.csr_array(jacobian @ sparse.csr_array((ones, (np.arange(3 * n), column)), shape=(3 * n, 3 * n)))

    def _ratio(self, values: Float) -> Float:
        parent = values[self.parent]
        return np.where(parent > 0, values[self.child] / np.where(parent > 0, parent, 1.0), 1.0)
