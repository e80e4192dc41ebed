"""Atoms that are copies of others: as one moves, so do all, each turned as its copy of the model is.

The operators are found from the coordinates, by superposition, and so go from one step to the next in the atoms alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.displacements.displacement import least_b
from arrayrefine.kernels import symmetric
from arrayrefine.kernels.rotations import superposing

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Mask = NDArray[np.bool_]

_TRIMMED = 3.0
"""Atoms further off than this multiple of the median have no say in a superposition: what turned in one copy alone."""
_FITS = 4
"""Times that they are left out anew."""


class Motions(NamedTuple):
    """Operators x → R x + t: rotations (K, 3, 3) and shifts (K, 3), Å."""

    rotation: Float
    shift: Float

    def applied(self, operator: Int, xyz: Float) -> Float:
        """Points (n, 3) moved by an operator each, (n,)."""
        return np.asarray(np.einsum("nij,nj->ni", self.rotation[operator], xyz) + self.shift[operator])

    def undone(self, operator: Int, xyz: Float) -> Float:
        """Points (n, 3) moved back by an operator each, (n,)."""
        return np.asarray(np.einsum("nji,nj->ni", self.rotation[operator], xyz - self.shift[operator]))


def superposed(one: Float, two: Float) -> tuple[Float, Float]:
    """Rotation (3, 3) and shift (3,) that bring points (n, 3) nearest to others, but for those that never fit."""
    used = np.ones(len(one), dtype=bool)
    for _ in range(_FITS):
        rotation = superposing(one[used], two[used])
        shift = two[used].mean(axis=0) - rotation @ one[used].mean(axis=0)
        off = np.linalg.norm(one @ rotation.T + shift - two, axis=1)
        fits = off <= _TRIMMED * np.median(off)
        if fits.sum() < 4 or np.array_equal(fits, used):
            break
        used = fits
    return rotation, shift


@dataclass(frozen=True)
class Copies:
    """Which atoms are copies of which, and by which operator.

    Attributes
    ----------
    child, parent : (m,) int64
        Every child once; no parent is a child, and none rides or lies on a special position.
    operator : (m,) int64
        What takes the parent to the child, 0 ... K - 1.
    names : tuple of K str
        Which chains an operator takes to which, such as "A, B to C, D".
    same_b : (m,) bool
        Whether the displacement is the parent's too.
    """

    child: Int
    parent: Int
    operator: Int
    names: tuple[str, ...]
    same_b: Mask

    @classmethod
    def none(cls) -> Copies:
        """No atom is a copy."""
        empty = np.zeros(0, dtype=np.int64)
        return cls(empty, empty, empty, (), np.zeros(0, dtype=bool))

    def __len__(self) -> int:
        return len(self.child)

    def every(self, chosen: Mask) -> Mask:
        """Which of (N,) are chosen with all atoms that they are the same as."""
        return ~self.some(~chosen)

    def some(self, chosen: Mask) -> Mask:
        """Which of (N,) are chosen, or are the same as one that is."""
        found = chosen.copy()
        np.logical_or.at(found, self.parent, chosen[self.child])
        found[self.child] = found[self.parent]
        return found

    def motions(self, atoms: Atoms) -> Motions:
        """The operators of the atoms as they are."""
        rows = (self.operator == k for k in range(len(self.names)))
        found = [superposed(atoms.xyz[self.parent[row]], atoms.xyz[self.child[row]]) for row in rows]
        return Motions(
            np.array([rotation for rotation, _ in found]).reshape(-1, 3, 3),
            np.array([shift for _, shift in found]).reshape(-1, 3),
        )

    def displaced_alike(self, atoms: Atoms) -> Mask:
        """(m,) True where displacements are the same: the atom and all its copies are isotropic, or all anisotropic."""
        other = np.zeros(len(atoms), dtype=bool)
        differs = atoms.anisotropic[self.child] != atoms.anisotropic[self.parent]
        np.logical_or.at(other, self.parent, differs | ~self.same_b)
        return ~other[self.parent]

    def alike(self, atoms: Atoms) -> Atoms:
        """Atoms with every child where its operator takes its parent, and with the parent's B, and U turned."""
        return self.placed(atoms, self.motions(atoms)) if len(self) else atoms

    def placed(self, atoms: Atoms, motions: Motions) -> Atoms:
        """The same by given operators."""
        xyz, b_iso, u_aniso = atoms.xyz.copy(), atoms.b_iso.copy(), atoms.u_aniso.copy()
        xyz[self.child] = motions.applied(self.operator, xyz[self.parent])
        rows = self.displaced_alike(atoms)
        # the motion of a TLS group, which no other has, may need more of it
        np.maximum.at(b_iso, self.parent[rows], least_b(atoms)[self.child[rows]])
        b_iso[self.child[rows]] = b_iso[self.parent[rows]]
        rows &= atoms.anisotropic[self.child]
        u_aniso[self.child[rows]] = turned(motions.rotation[self.operator[rows]], u_aniso[self.parent[rows]])
        return atoms.replace(xyz=xyz, b_iso=b_iso, u_aniso=u_aniso)

    def centres(self, atoms: Atoms) -> tuple[Float, Float]:
        """Of what each operator makes the centre (K, 3), and the root mean square distance from it (K,), Å."""
        rows = [self.child[self.operator == k] for k in range(len(self.names))]
        centre = np.array([atoms.xyz[row].mean(axis=0) for row in rows]).reshape(-1, 3)
        spread = [np.sqrt(((atoms.xyz[row] - c) ** 2).sum(axis=1).mean()) for row, c in zip(rows, centre)]
        return centre, np.maximum(np.array(spread), 1.0)


def turned(rotation: Float, u: Float) -> Float:
    """R U Rᵀ (n, 6) of tensors (n, 6)."""
    return symmetric.six(rotation @ symmetric.matrices(u) @ np.swapaxes(rotation, -1, -2))
