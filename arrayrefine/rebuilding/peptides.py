"""Peptide groups as bodies that turn about the line between the CA on either side, with the interface of side chains.

A flipped peptide has its O where H should be; no minimisation turns it back, as C and N would have to pass through the
chain's own density.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.kernels.rotations import axis_and_angle, left_jacobian, rotated
from arrayrefine.rebuilding.side_chains import FLATTER, FROM_WRONG_PLACE, Alike, Poses, Upright
from arrayrefine.topology.polymers import Residue

Float = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass(frozen=True)
class Peptides(Alike):
    """R peptide groups: C and O of a residue, N of the next.

    Attributes
    ----------
    residues, rows, depth
        See `Alike`; C and O belong to the residues, and `depth` is 1: B elsewhere may be as much above CA's as that of
        an atom that one torsion turns above CB's.
    path : (R, 3) int
        CA of the next residue, and CA of this one twice: the second of these is what B are compared with.
    """

    path: Int

    keeps_shape: ClassVar[float] = 0.0
    expected: ClassVar[tuple[float, float, float]] = FROM_WRONG_PLACE

    def taken(self, chosen: Sequence[int] | Int) -> Peptides:
        """Some of them."""
        chosen = np.asarray(chosen, dtype=np.int64)
        residues = tuple(self.residues[k] for k in chosen.tolist())
        return Peptides(residues, self.rows[chosen], self.depth, self.path[chosen])

    def most_b(self, atoms: Atoms) -> Float:
        """B (R, m), Å², that atoms have in another place at most."""
        return np.asarray(atoms.b_iso[self.path[:, 2]][:, None] + FLATTER * self.depth)

    def chi(self, xyz: Float) -> Float:
        """Angles (R, 1), degrees, counted from where the peptides are."""
        return np.zeros((len(self.rows), 1))

    def upright(self, xyz: Float) -> Upright:
        """As they are."""
        return Upright(xyz[self.rows], xyz[self.path], self.chi(xyz))

    def posed(self, xyz: Float, poses: Poses, upright: Upright | None = None) -> Float:
        """Atoms (R, m, 3) of each peptide turned about the line, then as a body about the middle of it, and shifted."""
        start = xyz[self.rows] if upright is None else upright.atoms
        one, two, middle = self._line(xyz)
        turned = rotated(start, one, two - one, np.radians(poses.chi[:, 0]))
        return rotated(turned, middle, *axis_and_angle(poses.rotation)) + poses.shift[:, None]

    def by_pose(self, xyz: Float, poses: Poses, placed: Float) -> Float:
        """Derivatives (R, m, 3, 7) of the `placed` atoms (R, m, 3) by rotation, shift and the turn (radians)."""
        found = np.zeros((*placed.shape, 7))
        one, two, middle = self._line(xyz)
        pivot = middle + poses.shift
        jacobian = left_jacobian(poses.rotation)
        for k in range(3):
            found[..., k] = np.cross(jacobian[:, None, :, k], placed - pivot[:, None])
        found[..., 3:6] = np.eye(3)
        line = rotated((two - one)[:, None], np.zeros_like(one), *axis_and_angle(poses.rotation))
        line /= np.linalg.norm(line, axis=2, keepdims=True)
        found[..., 6] = np.cross(line, placed - pivot[:, None])
        return found

    def _line(self, xyz: Float) -> tuple[Float, Float, Float]:
        """Its ends and middle (R, 3)."""
        one, two = xyz[self.path[:, 1]], xyz[self.path[:, 0]]
        return one, two, 0.5 * (one + two)


def peptides_of(residues: Sequence[Residue], bonds: Int) -> Peptides | None:
    """Peptides between residues that a bond joins, proline's aside, whose ring would have to follow; None for none.

    Parameters
    ----------
    residues : sequence of Residue
    bonds : (b, 2) int
    """
    joined = {tuple(sorted(pair)) for pair in bonds.tolist()}
    found = [
        (one, [one.atoms["C"], one.atoms["O"], two.atoms["N"]], [two.atoms["CA"], one.atoms["CA"], one.atoms["CA"]])
        for one, two in itertools.pairwise(residues)
        if two.name != "PRO" and one.atoms.keys() >= {"CA", "C", "O"} and two.atoms.keys() >= {"N", "CA"}
        and tuple(sorted((one.atoms["C"], two.atoms["N"]))) in joined
    ]  # fmt: skip
    if not found:
        return None
    return Peptides(
        tuple(residue for residue, _, _ in found), np.array([rows for _, rows, _ in found]), np.ones(3, dtype=np.int64),
        np.array([path for _, _, path in found]),
    )  # fmt: skip
