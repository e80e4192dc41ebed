"""TLS: the displacements of a group of atoms that moves as a rigid body.

U = T + A L Aᵀ + A S + Sᵀ Aᵀ, with A r' = r' × r written as a matrix of the position r from the origin of the group
(Schomaker & Trueblood (1968) Acta Cryst. B24, 63-76; Winn, Isupov & Murshudov (2001) Acta Cryst. D57, 122-133). The
trace of S has no effect and is taken as zero, which leaves 20 numbers per group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arrayrefine.kernels import symmetric

Float = NDArray[np.float64]

NUMBERS = 20
"""T and L: 11, 22, 33, 12, 13, 23. S: 11, 22, 12, 13, 21, 23, 31, 32; S33 = −S11 − S22."""
_SIX = symmetric.ROW, symmetric.COLUMN
_S = (np.array([0, 1, 0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 2, 0, 2, 0, 1]))
"""Rows and columns of these numbers."""


@dataclass(frozen=True)
class Tls:
    """Groups of atoms and their motion.

    Attributes
    ----------
    group : (N,) int64
        Group of each atom, −1 for none.
    origin : (G, 3) float64
        Å; never refined.
    values : (G, 20) float64
        T in Å², L in rad², S in Å rad, in the order of `NUMBERS`.
    names : tuple of str
        What each group is, as it was asked for.
    """

    group: NDArray[np.int64]
    origin: Float
    values: Float
    names: tuple[str, ...] = ()

    @classmethod
    def none(cls, n: int) -> Tls:
        """No groups among n atoms."""
        return cls(np.full(n, -1, dtype=np.int64), np.zeros((0, 3)), np.zeros((0, NUMBERS)))

    def __len__(self) -> int:
        return len(self.origin)

    def u(self, xyz: Float) -> Float:
        """U (N, 6) that the groups give to atoms at `xyz` (N, 3); zero outside of them."""
        out = np.zeros((len(xyz), 6))
        inside = np.flatnonzero(self.group >= 0)
        group = self.group[inside]
        out[inside] = np.einsum("nij,nj->ni", design(xyz[inside] - self.origin[group]), self.values[group])
        return out

    def moved(self, chosen: NDArray[np.bool_], rotation: Float, centre: Float, shift: Float) -> Tls:
        """The motion of some groups (G,) turned by `rotation` (3, 3) about `centre` (3,), then shifted (3,)."""
        if not chosen.any():
            return self
        origin, values = self.origin.copy(), self.values.copy()
        origin[chosen] = (origin[chosen] - centre) @ rotation.T + centre + shift
        for group in np.flatnonzero(chosen):
            values[group] = numbers_of(*(rotation @ tensor @ rotation.T for tensor in tensors_of(values[group])))
        return Tls(self.group, origin, values, self.names)


def tensors_of(values: Float) -> tuple[Float, Float, Float]:
    """T (3, 3) in Å², L in rad², S in Å rad of the twenty numbers of a group."""
    s = np.zeros((3, 3))
    s[_S] = values[12:]
    s[2, 2] = -values[12] - values[13]
    return symmetric.matrices(values[:6]), symmetric.matrices(values[6:12]), s


def numbers_of(t: Float, libration: Float, s: Float) -> Float:
    """The twenty numbers of T, L and S (3, 3), of which S has no trace: the inverse of `tensors_of`."""
    return np.concatenate([t[_SIX], libration[_SIX], s[_S]])


def design(position: Float) -> Float:
    """Matrices (n, 6, 20) that take the numbers of a group to U at positions (n, 3) from its origin, Å."""
    x, y, z = position.T
    out = np.zeros((len(position), 6, NUMBERS))
    out[:, :, :6] = np.eye(6)
    for row, terms in enumerate(_entries(x, y, z)):
        for column, value in terms.items():
            out[:, row, column] = value
    return out


def _entries(x: Float, y: Float, z: Float) -> tuple[dict[int, Float], ...]:
    """What A L Aᵀ + A S + Sᵀ Aᵀ has in U11, U22, U33, U12, U13 and U23, by the places of L and S among the numbers."""
    l11, l22, l33, l12, l13, l23, s11, s22, s12, s13, s21, s23, s31, s32 = range(6, NUMBERS)
    xx, yy, zz, xy, xz, yz = x * x, y * y, z * z, x * y, x * z, y * z
    return (
        {l22: zz, l33: yy, l23: -2.0 * yz, s21: 2.0 * z, s31: -2.0 * y},
        {l11: zz, l33: xx, l13: -2.0 * xz, s12: -2.0 * z, s32: 2.0 * x},
        {l11: yy, l22: xx, l12: -2.0 * xy, s13: 2.0 * y, s23: -2.0 * x},
        {l33: -xy, l23: xz, l13: yz, l12: -zz, s11: -z, s22: z, s31: x, s32: -y},
        {l22: -xz, l23: xy, l13: -yy, l12: yz, s11: 2.0 * y, s22: y, s21: -x, s23: z},
        {l11: -yz, l23: -xx, l13: xy, l12: xz, s11: -x, s22: -2.0 * x, s12: y, s13: -z},
    )
