"""Symmetry mates of a few atoms, numbered behind the atoms of the model, so that restraints can name them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_OFF_TIES = 1.234e-4
"""Å; halves and thirds of cells, which are given to 1e-3 Å, then lie off the ties of rounding."""


class Images(Protocol):
    """Mates of atoms: G of them, each at R x + t of its source; Cartesian, Å."""

    @property
    def source(self) -> Int:
        """(G,)."""
        ...

    @property
    def rotation(self) -> Float:
        """(G, 3, 3)."""
        ...

    @property
    def shift(self) -> Float:
        """(G, 3), Å."""
        ...


def placed(xyz: Float, mates: Images) -> Float:
    """Coordinates (N + G, 3), Å, of the atoms (N, 3) and, behind them, of their mates."""
    if not len(mates.source):
        return xyz
    return np.concatenate([xyz, np.einsum("gij,gj->gi", mates.rotation, xyz[mates.source]) + mates.shift])


def folded(gradient: Float, mates: Images) -> Float:
    """Gradient (N, 3) by the atoms, of one by atoms and mates (N + G, 3): the adjoint of `placed`."""
    n = len(gradient) - len(mates.source)
    out = gradient[:n].copy()
    np.add.at(out, mates.source, np.einsum("gi,gij->gj", gradient[n:], mates.rotation))
    return out


def of_sources(jacobian: Float, index: Int, mates: Images, n_atoms: int) -> tuple[Float, Int]:
    """Derivatives by mates as derivatives by the atoms that they are images of.

    Parameters
    ----------
    jacobian : (n, k, 3) float64
        By the coordinates of the k atoms and mates of each restraint.
    index : (n, k) int
        Their numbers; mates are n_atoms and above.
    mates : Images
    n_atoms : int

    Returns
    -------
    jacobian : (n, k, 3) float64
    index : (n, k) int, < n_atoms
        The same atom may stand twice in a restraint.
    """
    mate = index >= n_atoms
    turned, atoms = jacobian.copy(), index.copy()
    which = index[mate] - n_atoms
    turned[mate] = np.einsum("mi,mij->mj", jacobian[mate], mates.rotation[which])
    atoms[mate] = mates.source[which]
    return turned, atoms


def operator_key(rotation: Float, shift: Float) -> tuple[bytes, bytes]:
    """An operator as something to compare, however it was come by; adding zero makes -0 and 0 one."""
    return (rotation.round(6) + 0.0).tobytes(), ((shift + _OFF_TIES).round(3) + 0.0).tobytes()
