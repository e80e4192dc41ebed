"""Other axes of one lattice: the new indices with which data are of the crystal of a model."""

from __future__ import annotations

import itertools

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.crystal import Crystal
from arrayrefine.io.regular_cell import CELL_TOLERANCE

_SYSTEMS = (gemmi.CrystalSystem.Triclinic, gemmi.CrystalSystem.Monoclinic, gemmi.CrystalSystem.Orthorhombic)
"""Higher ones have no choice of axes but where twins differ, which cells do not tell."""


def new_indices(model: Crystal, cell: gemmi.UnitCell, group: gemmi.SpaceGroup) -> str:
    """New indices with which data are of the crystal of a model, as for `gemmi.Op`; empty where none do.

    Of orthorhombic data the axes are those of the model in another order. Of monoclinic ones they may be other
    diagonals too, as of I 2 and C 2, and of triclinic ones any sums and differences.

    Parameters
    ----------
    model : Crystal
    cell : gemmi.UnitCell
    group : gemmi.SpaceGroup
        Cell and space group of the data.

    Returns
    -------
    str
        Of several that fit, the one whose cell is nearest.
    """
    own = model.gemmi_space_group
    if own.crystal_system() not in _SYSTEMS or group.crystal_system() not in _SYSTEMS:
        return ""
    changes = np.array(list(itertools.product((0, 1, -1), repeat=9)), dtype=np.float64).reshape(-1, 3, 3)
    changes = changes[np.rint(np.linalg.det(changes)) == 1.0]  # the hand stays
    ours = np.array(model.cell)
    metric = np.array(cell.metric_tensor().as_mat33().tolist())
    difference = np.abs(_cells(changes @ metric @ changes.transpose(0, 2, 1)) / ours - 1.0).max(axis=1)
    wanted = _symmetry(own, np.eye(3))
    for number in np.argsort(difference, kind="stable"):
        if difference[number] > CELL_TOLERANCE:
            break
        if not np.array_equal(changes[number], np.eye(3)) and _symmetry(group, changes[number]) == wanted:
            return ",".join(_indices(row) for row in changes[number])
    return ""


def _cells(metrics: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lengths, Å, and angles, degrees, (N, 6), of metric tensors (N, 3, 3)."""
    lengths = np.sqrt(np.diagonal(metrics, axis1=1, axis2=2))
    cosines = metrics / (lengths[:, :, None] * lengths[:, None, :])
    angles = np.degrees(np.arccos(np.clip(cosines[:, [1, 0, 0], [2, 2, 1]], -1.0, 1.0)))
    return np.hstack([lengths, angles])


def _symmetry(group: gemmi.SpaceGroup, change: NDArray[np.float64]) -> set[tuple[int, ...]]:
    """Twofold operators of a group for other axes: rotations, and what of translations no origin changes, in 1/24."""
    found = set()
    positions = np.linalg.inv(change).T
    for operator in group.operations():
        rotation = positions @ (np.array(operator.rot) / operator.DEN) @ change.T
        translation = positions @ np.array(operator.tran) * 24.0 / operator.DEN
        screw = (translation + rotation @ translation) / 2.0 % 24.0
        found.add(tuple(np.rint([*rotation.ravel(), *screw]).astype(int).tolist()))
    return found


def _indices(row: NDArray[np.float64]) -> str:
    terms = "".join(f"{'+' if factor > 0 else '-'}{index}" for factor, index in zip(row, "hkl") if factor)
    return terms.removeprefix("+")
