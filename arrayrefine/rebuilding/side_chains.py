"""Side chains of proteins as chains of torsions, and where their atoms are with other ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.kernels.geometry import dihedral
from arrayrefine.kernels.rotations import axis_and_angle, crossing, left_jacobian, rotated
from arrayrefine.topology.polymers import Residue
from arrayrefine.validation.torsions import chi_path, common_name

Float = NDArray[np.float64]
Int = NDArray[np.int64]
_Alike = TypeVar("_Alike", bound="Alike")

BACKBONE = frozenset({"N", "CA", "C", "O", "OXT"})
_REMOTENESS = "BGDEZH"
"""Second letters of the names of atoms, by how many torsions turn them."""
FLATTER = 10.0
"""Å²; B of an atom in a new place is no more than this above CB's for each torsion: where it was wrong it has grown."""
FROM_WRONG_PLACE = (float(np.radians(10.0)), 0.35, float(np.radians(15.0)))
"""Radians and Å; rotation, shift and torsions by which one that has the torsions of a rotamer may be off, on a backbone
that was pulled at."""
_IDEAL_CB = (-0.58273431, 0.56802827, -0.54067466)
"""CB from CA: factors of (CA − N) × (C − CA), CA − N and C − CA, for ideal angles at CA."""


class Poses(NamedTuple):
    """Where P side chains of one kind are: torsions (P, k), degrees; and how they are moved as bodies after that,
    rotated about CA by rotation vectors (P, 3), radians, and shifted (P, 3), Å.
    """

    chi: Float
    rotation: Float
    shift: Float

    @classmethod
    def of(cls, chi: Float) -> Poses:
        """Torsions alone."""
        return cls(chi, np.zeros((len(chi), 3)), np.zeros((len(chi), 3)))

    def taken(self, chosen: Sequence[int] | Int) -> Poses:
        """Some of them."""
        return Poses(*(values[np.asarray(chosen, dtype=np.int64)] for values in self))

    def changed(self, step: Float) -> Poses:
        """Moved on by (P, 6 + k): rotation, shift, and torsions in radians."""
        return Poses(self.chi + np.degrees(step[:, 6:]), self.rotation + step[:, :3], self.shift + step[:, 3:6])


class Upright(NamedTuple):
    """R side chains with CB in its ideal place: atoms (R, m, 3), those of the path (R, k + 3, 3), torsions (R, k)."""

    atoms: Float
    path: Float
    chi: Float

    def taken(self, chosen: Int) -> Upright:
        """Some of them."""
        return Upright(*(values[chosen] for values in self))


@dataclass(frozen=True)
class Alike:
    """R parts of the model that move alike, of the same m atoms each: what side chains, peptides and ligands share.

    Attributes
    ----------
    residues : tuple of R Residue
    rows : (R, m) int
        Atoms that move.
    depth : (m,) int
        See each kind.
    """

    residues: tuple[Residue, ...]
    rows: Int
    depth: Int

    @property
    def numbers(self) -> Int:
        """Running numbers (R,) of the residues."""
        return np.array([residue.number for residue in self.residues], dtype=np.int64)

    def with_also(self: _Alike, rows: Int, depth: Int) -> _Alike:
        """One of them with further atoms (n,) that move with it."""
        return dataclasses.replace(
            self, rows=np.append(self.rows, rows[None], axis=1), depth=np.append(self.depth, depth)
        )


@dataclass(frozen=True)
class SideChains(Alike):
    """R side chains of one kind: CB moves, and all beyond.

    Attributes
    ----------
    residues, rows, depth
        See `Alike`; `depth` is how many torsions turn each atom.
    name : str
        Of the kind, as in the tables of rotamers.
    path : (R, k + 3) int
        N, CA, CB, and the last atom of each chi.
    carbonyl : (R,) int
        C.
    """

    name: str
    path: Int
    carbonyl: Int

    keeps_shape: ClassVar[float] = 0.0
    expected: ClassVar[tuple[float, float, float]] = FROM_WRONG_PLACE

    def taken(self, chosen: Sequence[int] | Int) -> SideChains:
        """Some of them."""
        chosen = np.asarray(chosen, dtype=np.int64)
        return dataclasses.replace(
            self, residues=tuple(self.residues[k] for k in chosen.tolist()), rows=self.rows[chosen],
            path=self.path[chosen], carbonyl=self.carbonyl[chosen],
        )  # fmt: skip

    def most_b(self, atoms: Atoms) -> Float:
        """B (R, m), Å², that atoms have in another place at most."""
        return np.asarray(atoms.b_iso[self.path[:, 2]][:, None] + FLATTER * self.depth)

    def chi(self, xyz: Float) -> Float:
        """Torsions (R, k), degrees."""
        return _torsions(xyz[self.path])

    def upright(self, xyz: Float) -> Upright:
        """As they are, with CB where the backbone wants it: a side chain in the wrong place has pulled at it."""
        n, ca, cb = (xyz[self.path[:, k]] for k in range(3))
        one, two = ca - n, xyz[self.carbonyl] - ca
        ideal = _IDEAL_CB[0] * np.cross(one, two) + _IDEAL_CB[1] * one + _IDEAL_CB[2] * two
        axis, angle = _between(cb - ca, ideal)
        path = np.concatenate([xyz[self.path[:, :2]], rotated(xyz[self.path[:, 2:]], ca, axis, angle)], axis=1)
        return Upright(rotated(xyz[self.rows], ca, axis, angle), path, _torsions(path))

    def turned(self, xyz: Float, chi: Float, upright: Upright | None = None) -> Float:
        """Atoms (R, m, 3) of each side chain with torsions (R, k), degrees, and CB where the backbone wants it."""
        start = self.upright(xyz) if upright is None else upright
        moved, path = start.atoms.copy(), start.path.copy()
        change = np.radians(chi - start.chi)
        for k in range(change.shape[1]):
            axis, end = path[:, k + 2] - path[:, k + 1], path[:, k + 2]
            beyond = self.depth > k
            moved[:, beyond] = rotated(moved[:, beyond], end, axis, change[:, k])
            path[:, k + 3 :] = rotated(path[:, k + 3 :], end, axis, change[:, k])
        return moved

    def posed(self, xyz: Float, poses: Poses, upright: Upright | None = None) -> Float:
        """Atoms (R, m, 3) of each side chain in its pose."""
        turned = self.turned(xyz, poses.chi, upright)
        axis, angle = axis_and_angle(poses.rotation)
        if not angle.any():
            return np.asarray(turned + poses.shift[:, None])
        return rotated(turned, xyz[self.path[:, 1]], axis, angle) + poses.shift[:, None]

    def by_pose(self, xyz: Float, poses: Poses, placed: Float) -> Float:
        """Derivatives (R, m, 3, 6 + k) of the `placed` atoms (R, m, 3) by rotation, shift and torsions (radians)."""
        count, length = poses.chi.shape
        found = np.zeros((*placed.shape, 6 + length))
        if not count:
            return found
        pivot = xyz[self.path[:, 1]] + poses.shift
        from_pivot = placed - pivot[:, None]
        found[..., :3] = -crossing(from_pivot.reshape(-1, 3)).reshape(*placed.shape, 3) @ left_jacobian(
            poses.rotation
        )[:, None]
        found[..., 3:6] = np.eye(3)
        column = [int(np.flatnonzero(self.rows[0] == atom)[0]) for atom in self.path[0, 2:]]
        path = np.concatenate([pivot[:, None], placed[:, column]], axis=1)
        for k in range(length):
            beyond = self.depth > k
            axis = path[:, k + 1] - path[:, k]
            axis /= np.linalg.norm(axis, axis=1, keepdims=True)
            found[..., 6 + k][:, beyond] = np.cross(axis[:, None], placed[:, beyond] - path[:, k + 1, None])
        return found


def side_chains_of(residues: Sequence[Residue]) -> list[SideChains]:
    """Side chains that have torsions and all the atoms that these need, proline's aside, by kind and atoms."""
    kinds: dict[tuple[str, tuple[str, ...]], list[Residue]] = {}
    for residue in residues:
        if residue.name != "PRO" and "C" in residue.atoms and chi_path(residue):
            names = tuple(sorted(name for name in residue.atoms if name not in BACKBONE))
            kinds.setdefault((residue.name, names), []).append(residue)
    found = []
    for (name, names), members in kinds.items():
        found.append(
            SideChains(
                tuple(members), np.array([[r.atoms[a] for a in names] for r in members]),
                np.array([_depth(name, a) for a in names]), common_name(members[0]),
                np.array([chi_path(r) for r in members]), np.array([r.atoms["C"] for r in members]),
            )
        )
    return found


def _depth(residue: str, atom: str) -> int:
    """How many torsions turn an atom."""
    letter = "D" if (residue, atom) == ("MSE", "SE") else atom[1:2]
    return max(_REMOTENESS.find(letter), 0)


def _torsions(path: Float) -> Float:
    """Torsions (R, k) of atoms (R, k + 3, 3), degrees."""
    count, length = path.shape[:2]
    first = np.arange(count)[:, None] * length + np.arange(length - 3)
    index = (first[:, :, None] + np.arange(4)).reshape(-1, 4)
    return np.asarray(dihedral(path.reshape(-1, 3), index)[0].reshape(count, length - 3))


def _between(one: Float, two: Float) -> tuple[Float, Float]:
    """Axes (R, 3) and angles (R,), radians, of the rotations that bring vectors to the direction of others."""
    axis = np.cross(one, two)
    sine = np.linalg.norm(axis, axis=1)
    axis[sine == 0.0] = (1.0, 0.0, 0.0)
    return axis, np.arctan2(sine, np.einsum("ri,ri->r", one, two))
