"""Atoms that ride on others: hydrogens that follow their parents and have no parameters of their own.

Within a step a child keeps its vector from the parent, its ratio of B and of occupancy; it is placed anew between
steps. Children are isotropic: they take their share of the equivalent B of an anisotropic parent.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, Gradient, Riding

Float = NDArray[np.float64]


def follow(reference: Atoms, moved: Atoms) -> Atoms:
    """Put the children where their parents in `moved` take them; vectors and ratios are those of `reference`."""
    riding = reference.riding
    if not len(riding):
        return moved
    c, p = riding.child, riding.parent
    xyz, b_iso, occupancy = moved.xyz.copy(), moved.b_iso.copy(), moved.occupancy.copy()
    xyz[c] = moved.xyz[p] + (reference.xyz[c] - reference.xyz[p])
    b_iso[c] = moved.b_iso[p] * _ratio(riding, reference.b_iso)
    occupancy[c] = moved.occupancy[p] * _ratio(riding, reference.occupancy)
    return moved.replace(xyz=xyz, b_iso=b_iso, occupancy=occupancy)


def fold(reference: Atoms, gradient: Gradient) -> Gradient:
    """Add the children's gradient to their parents': the adjoint of `follow`. The children's own becomes zero."""
    riding = reference.riding
    if not len(riding):
        return gradient
    xyz, b_iso, occupancy = gradient.xyz.copy(), gradient.b_iso.copy(), gradient.occupancy.copy()
    c, p = riding.child, riding.parent
    np.add.at(xyz, p, gradient.xyz[c])
    np.add.at(b_iso, p, gradient.b_iso[c] * _ratio(riding, reference.b_iso))
    np.add.at(occupancy, p, gradient.occupancy[c] * _ratio(riding, reference.occupancy))
    u_aniso = None if gradient.u_aniso is None else gradient.u_aniso.copy()
    for part in (xyz, b_iso, occupancy, u_aniso):
        if part is not None:
            part[c] = 0.0
    return dataclasses.replace(gradient, xyz=xyz, b_iso=b_iso, occupancy=occupancy, u_aniso=u_aniso)


def fold_columns(riding: Riding, jacobian: sparse.csr_array, n: int) -> sparse.csr_array:
    """Add the columns of the children's coordinates (m, 3n) to those of their parents."""
    if not len(riding):
        return jacobian
    target = np.arange(n, dtype=np.int32)
    target[riding.child] = riding.parent
    column = (3 * target[:, None] + np.arange(3, dtype=np.int32)).reshape(-1)
    moves = sparse.csr_array((np.ones(3 * n), column, np.arange(3 * n + 1, dtype=np.int32)), shape=(3 * n, 3 * n))
    return sparse.csr_array(jacobian @ moves)


def _ratio(riding: Riding, values: Float) -> Float:
    parent = values[riding.parent]
    return np.where(parent > 0, values[riding.child] / np.where(parent > 0, parent, 1.0), 1.0)
