"""A crystal of several domains, twin mates of each other: what is measured is the sum of their intensities."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from arrayrefine.lattice_symmetry import asu_key, mates
from arrayrefine.reflections import Reflections

Float = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Twin:
    """Domains of a twin, and which reflections of each add up to a measured one.

    Attributes
    ----------
    laws : tuple of str
        Of the K - 1 domains beside the first, such as "-h,k,-l".
    mates : (K, R) int64
        Rows of the structure factors, those of the R reflections followed by those of `unmeasured`, whose intensities
        add up to each reflection; the first row is the reflection itself.
    unmeasured : Reflections
        Of what is not among the R reflections, E of them, without values.
    fractions : (K,) float64
        Of the domains; they add up to 1.
    """

    laws: tuple[str, ...]
    mates: Rows
    unmeasured: Reflections
    fractions: Float

    @staticmethod
    def of(reflections: Reflections, laws: Sequence[str], fractions: Sequence[float]) -> Twin:
        """The twin by `laws`, of which each has its fraction.

        Parameters
        ----------
        reflections : Reflections
        laws : sequence of str
            Of `Crystal.twin_laws`.
        fractions : sequence of float
            Of each of them.
        """
        crystal, hkl = reflections.crystal, reflections.hkl
        rows: list[Rows] = [np.arange(len(hkl), dtype=np.int64)]
        more = np.zeros((0, 3), dtype=np.int32)
        for law in laws:
            matrix = crystal.twin_laws[law]
            there = mates(crystal, hkl, matrix)
            lacking = np.flatnonzero(there < 0)
            mate = np.rint(hkl[lacking] @ matrix).astype(np.int32)
            key, known = asu_key(crystal, mate, hkl), asu_key(crystal, more, hkl)
            _, first = np.unique(key, return_index=True)
            new = first[~np.isin(key[first], known)]
            more = np.concatenate([more, mate[new]])
            known = np.concatenate([known, key[new]])
            order = np.argsort(known)
            there[lacking] = len(hkl) + order[np.searchsorted(known, key, sorter=order)]
            rows.append(there)
        empty = np.full(len(more), np.nan)
        unmeasured = Reflections(crystal, more, empty, empty, np.zeros(len(more), dtype=np.bool_))
        given = np.array(fractions, dtype=float)
        return Twin(tuple(laws), np.array(rows), unmeasured, np.concatenate([[1.0 - given.sum()], given]))

    def with_fractions(self, fractions: Float) -> Twin:
        """The same with other fractions (K,)."""
        return dataclasses.replace(self, fractions=np.asarray(fractions, dtype=float))

    def select(self, chosen: NDArray[np.bool_]) -> Twin:
        """Of the chosen reflections (R,) only; the rows of their mates are those among all."""
        return dataclasses.replace(self, mates=self.mates[:, chosen])

    @cached_property
    def complete(self) -> NDArray[np.bool_]:
        """Reflections (R,) of which all mates are measured."""
        return np.asarray((self.mates < self.mates.shape[1]).all(axis=0))

    @cached_property
    def shares(self) -> Float:
        """Fractions (K, R) of the domains in a reflection: 0 where the mate is one of those before, which has both."""
        shares = np.repeat(self.fractions[:, None], self.mates.shape[1], axis=1)
        for k in range(1, len(shares)):
            for j in range(k):
                same = self.mates[k] == self.mates[j]
                shares[j] += np.where(same, shares[k], 0.0)
                shares[k] = np.where(same, 0.0, shares[k])
        return shares

    def components(self, amplitude: Float) -> Float:
        """Amplitudes (K, R) of the domains from those of all structure factors (R + E,)."""
        return np.asarray(amplitude[self.mates])

    def amplitude(self, components: Float) -> Float:
        """√(Σ_k α_k |F_k|²) (R,), what is measured, from the amplitudes (K, R) of the domains."""
        return np.asarray(np.sqrt(np.einsum("kr,kr->r", self.shares, components**2)))

    def split(self, reflections: Reflections) -> int:
        """Number of test reflections with a mate in the work set: these are not free of the model's doing."""
        measured = self.mates < len(reflections)
        work = reflections.work[np.where(measured, self.mates, 0)] & measured
        return int((reflections.free & work.any(axis=0)).sum())
