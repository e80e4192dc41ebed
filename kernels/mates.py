"""Symmetry mates of a few atoms, numbered behind the atoms of the model, so that restraints can name them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]


def placed(xyz: Float, source: Int, rotation: Float, shift: Float) -> Float:
    """Coordinates of the atoms and, behind them, of the mates.

    Parameters
    ----------
    xyz : (N, 3) float64, Å
    source : (G,) int
        Atom that each mate is an image of.
    rotation, shift : (G, 3, 3), (G, 3) float64
        Cartesian operator, Å: a mate is at R x + t.

    Returns
    -------
    (N + G, 3) float64, Å
    """
    return np.concatenate([xyz, np.einsum("gij,gj->gi", rotation, xyz[source]) + shift])


def of_sources(jacobian: Float, index: Int, source: Int, rotation: Float, n_atoms: int) -> tuple[Float, Int]:
    """Derivatives by mates as derivatives by the atoms that they are images of.

    Parameters
    ----------
    jacobian : (n, k, 3) float64
        By the coordinates of the k atoms and mates of each restraint.
    index : (n, k) int
        Their numbers; mates are n_atoms and above.
    source, rotation
        As for `placed`.
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
    turned[mate] = np.einsum("mi,mij->mj", jacobian[mate], rotation[which])
    atoms[mate] = source[which]
    return turned, atoms
