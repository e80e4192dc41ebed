"""Compounds with coordinates: their bonds, rings, and what is flat, by which restraints are made."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.kernels.geometry import dihedral

Float = NDArray[np.float64]
Bond = tuple[int, int, str]
"""Two atoms, and how the dictionary calls the bond: single, double, triple, aromatic, deloc."""

_TRIGONAL, LINEAR = 115.0, 160.0
"""Degrees; mean angles at an atom above which it has three neighbours in a plane, or two in line."""
_FLAT_RING = 0.08
"""Å; rms of a flat ring from its plane; an envelope of five has 0.15."""
_RING = 8
"""Atoms of the largest ring that is told from a chain."""


@dataclass(frozen=True)
class Compound:
    """A compound with one or more sets of coordinates.

    Attributes
    ----------
    name : str
    kind : str
        Its type in the PDB, such as "L-peptide linking" or "non-polymer".
    atoms, elements : tuple of str
        Names (m,), and symbols in capitals.
    charges : tuple of int
    bonds : tuple of Bond
    places : (K, m, 3) float
        Å; nan where a copy has no such atom.
    stereo : frozenset of str
        Atoms whose hand the coordinates tell; others of their kind may have either.
    """

    name: str
    kind: str
    atoms: tuple[str, ...]
    elements: tuple[str, ...]
    charges: tuple[int, ...]
    bonds: tuple[Bond, ...]
    places: Float
    stereo: frozenset[str]

    @cached_property
    def neighbours(self) -> list[list[int]]:
        """Bonded atoms of each atom."""
        found: list[list[int]] = [[] for _ in self.atoms]
        for one, two, _ in self.bonds:
            found[one].append(two)
            found[two].append(one)
        return found

    @property
    def heavy_atoms(self) -> list[int]:
        """All that are not hydrogen."""
        return self.heavy(range(len(self.atoms)))

    def heavy(self, atoms: Iterable[int]) -> list[int]:
        """Those that are not hydrogen."""
        return [atom for atom in atoms if self.elements[atom] not in ("H", "D")]

    def is_metal(self, atom: int) -> bool:
        return bool(gemmi.Element(self.elements[atom]).is_metal)

    def is_end(self, atom: int) -> bool:
        """Whether an atom has one neighbour."""
        return len(self.neighbours[atom]) == 1

    def is_double(self, one: int, two: int) -> bool:
        """Whether there is a double bond between two atoms."""
        return any({first, second} == {one, two} and kind == "double" for first, second, kind in self.bonds)

    def distance(self, one: int, two: int) -> float:
        """Mean over the copies, Å."""
        return float(np.nanmean(np.linalg.norm(self.places[:, one] - self.places[:, two], axis=-1)))

    def angle(self, one: int, centre: int, two: int) -> float:
        """Mean over the copies, degrees."""
        a, b = self.places[:, one] - self.places[:, centre], self.places[:, two] - self.places[:, centre]
        cosine = (a * b).sum(axis=-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
        return float(np.degrees(np.nanmean(np.arccos(np.clip(cosine, -1.0, 1.0)))))

    def torsion(self, *four: int) -> float:
        """Mean over the copies, as of angles on a circle, degrees."""
        there = self.places[np.isfinite(self.places[:, four]).all(axis=(1, 2))]
        index = np.array(four) + len(self.atoms) * np.arange(len(there))[:, None]
        turn = np.radians(dihedral(there.reshape(-1, 3), index)[0])
        return float(np.degrees(np.arctan2(np.sin(turn).mean(), np.cos(turn).mean())))

    def has(self, atoms: Sequence[int]) -> bool:
        """Whether any copy has all of some atoms."""
        return bool(np.isfinite(self.places[:, list(atoms)]).all(axis=(1, 2)).any())

    def heights(self, plane: Sequence[int], atoms: Sequence[int]) -> Float:
        """Distances (n,) of atoms from the plane of others, Å, rms over copies that have them all."""
        there = self.places[np.isfinite(self.places[:, [*plane, *atoms]]).all(axis=(1, 2))]
        found = []
        for xyz in there:
            middle = xyz[list(plane)].mean(axis=0)
            normal = np.linalg.svd(xyz[list(plane)] - middle)[2][-1]
            found.append((xyz[list(atoms)] - middle) @ normal)
        return np.sqrt(np.mean(np.square(found), axis=0)) if found else np.full(len(atoms), np.inf)

    def volumes(self, centre: int, three: Sequence[int]) -> Float:
        """Chiral volumes of the copies that have all four atoms, Å³."""
        edges = self.places[:, list(three)] - self.places[:, [centre]]
        return np.asarray(np.linalg.det(edges[np.isfinite(edges).all(axis=(1, 2))]))

    def mean_angle(self, atom: int) -> float:
        """Of all pairs of neighbours that a copy has, degrees; 0 where there is none."""
        pairs = [pair for pair in itertools.combinations(self.neighbours[atom], 2) if self.has((*pair, atom))]
        return float(np.mean([self.angle(one, atom, two) for one, two in pairs])) if pairs else 0.0

    def is_trigonal(self, atom: int) -> bool:
        return len(self.neighbours[atom]) <= 3 and _TRIGONAL < self.mean_angle(atom) < LINEAR

    @cached_property
    def rings(self) -> list[tuple[int, ...]]:
        """The smallest ring through each bond, each once, its atoms in turn."""
        found: dict[frozenset[int], tuple[int, ...]] = {}
        for one, two, _ in self.bonds:
            ring = self._around(one, two)
            if ring and not any(self.is_metal(atom) for atom in ring):
                found.setdefault(frozenset(ring), ring)
        return [*found.values()]

    def _around(self, one: int, two: int) -> tuple[int, ...]:
        """The shortest way from one end of a bond to the other that is not the bond; empty if it is too long."""
        came = {one: one}
        waiting = deque([(one, 1)])
        while waiting:
            atom, length = waiting.popleft()
            if atom == two:
                way = [two]
                while way[-1] != one:
                    way.append(came[way[-1]])
                return tuple(way)
            for other in self.neighbours[atom]:
                if other not in came and {atom, other} != {one, two} and length < _RING:
                    came[other] = atom
                    waiting.append((other, length + 1))
        return ()

    @cached_property
    def ring_bonds(self) -> set[frozenset[int]]:
        """Pairs of atoms that follow each other in a ring."""
        return {frozenset(pair) for ring in self.rings for pair in zip(ring, (*ring[1:], ring[0]))}

    @cached_property
    def aromatic_rings(self) -> list[tuple[int, ...]]:
        """Rings of five and six whose atoms all have a double bond in a ring, or a pair of electrons to share."""
        shares = {
            atom for one, two, kind in self.bonds for atom in (one, two)
            if kind in ("double", "aromatic", "deloc") and frozenset((one, two)) in self.ring_bonds
        } | {atom for atom, element in enumerate(self.elements) if element in ("N", "O", "S")}  # fmt: skip
        return [ring for ring in self.rings if len(ring) in (5, 6) and shares.issuperset(ring)]

    @cached_property
    def surroundings(self) -> list[str]:
        """Of each atom its element, its smallest ring, and the elements of its neighbours, such as "C6(CCH)"."""
        size = {atom: min(len(ring) for ring in self.rings if atom in ring) for ring in self.rings for atom in ring}
        near = ("".join(sorted(self.elements[other] for other in others)) for others in self.neighbours)
        return [f"{self.elements[atom]}{size.get(atom, '')}({around})" for atom, around in enumerate(near)]

    @cached_property
    def flat_rings(self) -> list[tuple[int, ...]]:
        """Rings of which all atoms are near one plane."""
        return [ring for ring in self.rings if self.is_flat(ring)]

    def is_flat(self, atoms: Sequence[int]) -> bool:
        """Whether a ring, or fused ones, are near one plane."""
        return rms(self.heights(atoms, atoms)) < _FLAT_RING


def rms(heights: Float) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(heights**2)))
