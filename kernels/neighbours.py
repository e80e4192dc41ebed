"""Pairs of neighbours with weights, and the sums over them that are made again and again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Float = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass(frozen=True)
class Neighbours:
    """Pairs of atoms.

    Attributes
    ----------
    i, j : (p,) int64
    weight : (p,) float64
    count : int
        Atoms N.
    """

    i: Int
    j: Int
    weight: Float
    count: int

    def differences(self, values: Float) -> Float:
        """Σ w (A₁ − A₂) over the pairs of each atom, with the sign of its end, of values (N, k): (N, k)."""
        return np.asarray(self._laplacian @ values)

    def ends(self, columns: Float) -> tuple[Float, Float]:
        """Values of columns (k, N) at either end of the pairs, (k, p) each."""
        one, two = np.empty((2, len(columns), len(self.i)))
        for k, column in enumerate(columns):
            np.take(column, self.i, out=one[k])
            np.take(column, self.j, out=two[k])
        return one, two

    def gathered(self, columns: Iterable[tuple[Float, Float]]) -> Float:
        """Sums over the pairs of each atom, (N, k): of k times a value (p,) where it is the first of a pair, less
        another where it is the second."""
        found = [np.bincount(self.i, one, self.count) - np.bincount(self.j, two, self.count) for one, two in columns]
        return np.stack(found, axis=1, dtype=np.float64)

    @cached_property
    def _laplacian(self) -> sparse.csr_array:
        degree = np.bincount(self.i, self.weight, self.count) + np.bincount(self.j, self.weight, self.count)
        own = np.arange(self.count)
        entries = np.concatenate([-self.weight, -self.weight, degree])
        places = np.concatenate([self.i, self.j, own]), np.concatenate([self.j, self.i, own])
        return sparse.csr_array(sparse.coo_array((entries, places), shape=(self.count, self.count)))
