"""What log p would gain, to second order, by side chains somewhere else than they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.rebuilding.ligands import Ligands
from arrayrefine.rebuilding.peptides import Peptides
from arrayrefine.rebuilding.probes import Probes
from arrayrefine.rebuilding.side_chains import Poses, SideChains
from arrayrefine.structure_factors import StructureFactors

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Movable: TypeAlias = SideChains | Peptides | Ligands

@dataclasses.dataclass(frozen=True)
class Candidates:
    """P side chains, or peptides, of one kind in other poses.

    Attributes
    ----------
    of : SideChains or Peptides
        All of the kind.
    row : (P,) int
        Which of these.
    poses : Poses
        Where they would be.
    """

    of: Movable
    row: Int
    poses: Poses

    def __len__(self) -> int:
        return len(self.row)

    def taken(self, chosen: Int) -> Candidates:
        """Some of them."""
        return Candidates(self.of, self.row[chosen], self.poses.taken(chosen))

    @property
    def numbers(self) -> Int:
        """Running numbers (P,) of the residues."""
        return self.of.numbers[self.row]

    @property
    def side_chains(self) -> Movable:
        """One for each candidate."""
        return self.of.taken(self.row)


class _Place(NamedTuple):
    """Atoms (R, m) of side chains in the model."""

    xyz: Float
    b_iso: Float
    occupancy: Float


class Scores(Probes):
    """By how much -log p is lower with a side chain somewhere than without it, to second order.

    They are good until anything of the state is evaluated anew.
    """

    def as_they_are(self, kind: Movable) -> Float:
        """Of side chains (R,) where they are."""
        rows, atoms = kind.rows, self._atoms
        xyz, b, q = atoms.xyz[rows], atoms.b_iso[rows], atoms.occupancy[rows]
        weight = self._weight(kind)
        own = self._overlaps.between(xyz, xyz, b, b, weight, weight)
        return np.asarray(0.5 * own - (self._here[rows] * q).sum(axis=1))

    def most(self, kind: Movable) -> Float:
        """What side chains (R,) would explain where all their density is found."""
        b, weight, xyz = b_elsewhere(self._atoms, kind), self._weight(kind), self._atoms.xyz[kind.rows]
        return np.asarray(0.5 * self._overlaps.between(xyz, xyz, b, b, weight, weight))

    def sharpness(self, kind: Movable) -> Float:
        """Curvature (R, m) by the place of each atom somewhere else, the sign turned, Å⁻²."""
        found: Float = self._overlaps.sharpness(2.0 * b_elsewhere(self._atoms, kind)) * self._weight(kind) ** 2
        return found

    def plan(self, kinds: Sequence[Movable]) -> StructureFactors:
        """What finds values of the same side chains again and again."""
        return self._sf.like(_rows(kinds))

    def values(self, kinds: Sequence[Movable], places: Sequence[Float]) -> list[Float]:
        """Values (P,) of side chains, of each kind at places (P, m, 3)."""
        found = []
        for kind, xyz, (by_occupancy, _) in zip(kinds, places, self._gradient(kinds, places, self.plan(kinds))):
            b, weight, there = b_elsewhere(self._atoms, kind), self._weight(kind), self._there(kind)
            hidden = self._overlaps.between(xyz, there.xyz, b, there.b_iso, weight, weight)
            own = self._overlaps.between(xyz, xyz, b, b, weight, weight)
            found.append(np.asarray(hidden - 0.5 * own - (by_occupancy * there.occupancy).sum(axis=1)))
        return found

    def values_and_slopes(
        self, kinds: Sequence[Movable], places: Sequence[Float], plan: StructureFactors
    ) -> list[tuple[Float, Float]]:
        """The same, and derivatives (P, m, 3) by the places, Å⁻¹; `plan` is of these side chains."""
        found = []
        for kind, xyz, (by_occupancy, by_xyz) in zip(kinds, places, self._gradient(kinds, places, plan)):
            b, weight, there = b_elsewhere(self._atoms, kind), self._weight(kind), self._there(kind)
            hidden, hidden_slope = self._overlaps.between_by_xyz(xyz, there.xyz, b, there.b_iso, weight, weight)
            own, half_slope = self._overlaps.between_by_xyz(xyz, xyz, b, b, weight, weight)
            value = hidden - 0.5 * own - (by_occupancy * there.occupancy).sum(axis=1)
            found.append((np.asarray(value), hidden_slope - half_slope - by_xyz))
        return found

    def _gradient(
        self, kinds: Sequence[Movable], places: Sequence[Float], plan: StructureFactors
    ) -> list[tuple[Float, Float]]:
        """Derivatives of -log p by occupancies (P, m) and places (P, m, 3) of atoms put beside those of the model."""
        source = _rows(kinds)
        if not len(source):
            return [(np.zeros(x.shape[:2]), np.zeros(x.shape)) for x in places]
        put = dataclasses.replace(
            self._atoms.taken(source), xyz=np.concatenate([x.reshape(-1, 3) for x in places]),
            b_iso=np.concatenate([b_elsewhere(self._atoms, kind).ravel() for kind in kinds]),
            u_aniso=np.zeros((len(source), 6)), anisotropic=np.zeros(len(source), dtype=bool),
        )  # fmt: skip
        gradient = self._field(plan, put)
        ends = np.cumsum([kind.rows.size for kind in kinds])[:-1]
        parts = zip(places, np.split(gradient.occupancy, ends), np.split(gradient.xyz, ends))
        return [(by_q.reshape(x.shape[:2]), by_x.reshape(x.shape)) for x, by_q, by_x in parts]

    def _there(self, kind: Movable) -> _Place:
        """Where side chains are."""
        atoms, rows = self._atoms, kind.rows
        return _Place(atoms.xyz[rows], atoms.b_iso[rows], atoms.occupancy[rows])

    def _weight(self, kind: Movable) -> Float:
        """q f(0) of the atoms (R, m)."""
        found: Float = self._atoms.occupancy[kind.rows] * self._overlaps.electrons[kind.rows]
        return found


def b_elsewhere(atoms: Atoms, kind: Movable) -> Float:
    """B (R, m), Å², that atoms of side chains have in another place."""
    return np.minimum(atoms.b_iso[kind.rows], kind.most_b(atoms))


def _rows(kinds: Sequence[Movable]) -> Int:
    return np.concatenate([np.zeros(0, dtype=np.int64), *(kind.rows.ravel() for kind in kinds)])
