"""First and second derivatives of the restraints on coordinates as sparse matrices, for a preconditioner."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from arrayrefine.atoms import Atoms
from arrayrefine.hydrogens.riding import fold_columns
from arrayrefine.strict_ncs.carried import Carried
from arrayrefine.targets.geometry import TO_MATES, GeometryTarget

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_MANY = ("jelly body", "local NCS")
"""Classes with several distances for each atom, in all directions."""
_ALONG = 4
"""Residues; what distances couple that are further apart along the chain is left out of the preconditioner, the factor
of which would fill up. That takes up to two fifths more evaluations, and for 14,000 atoms two fifths of the time."""


def normal_matrix(
    target: GeometryTarget, atoms: Atoms, free: NDArray[np.bool_], carried: Carried | None = None
) -> sparse.csr_array:
    """Gauss-Newton matrix JᵀJ (3n, 3n) of the restraints, by the coordinates of free atoms (N,), Å⁻².

    Children that ride move with their parents, and copies as `carried` has them; operators come after the atoms.
    """
    folded = fold_columns(atoms.riding, jacobian(target, atoms), len(atoms))
    if carried is not None and len(carried.copies):
        folded = folded @ carried.shifts(free)
    else:
        folded = folded[:, np.repeat(free, 3)]
    return sparse.csr_array(folded.T @ folded)


def jacobian(target: GeometryTarget, atoms: Atoms, torsions: bool = False) -> sparse.csr_array:
    """Rows whose squares tell the curvature of the restraints by the coordinates, for a Gauss-Newton preconditioner.

    Parameters
    ----------
    target : GeometryTarget
    atoms : Atoms
    torsions : bool
        Include torsions, which are soft and far from linear.

    Returns
    -------
    (rows, 3N) csr array, 1/Å
        Column 3 k + axis belongs to atom k. Rows: bonds, angles, chirality, planes, short contacts, distances;
        those of a jelly body and of NCS in parts, where they join what is far apart along the chain.
    """
    rows, columns, values = [], [], []
    count = 0
    soft = {"torsion", TO_MATES["torsion"], *(more.kind for more in target.conformation)}
    for kind, slope, index in target.curved(atoms):
        if kind in soft and not torsions:
            continue
        if kind in _MANY:
            index, slope = _parted(index, slope, atoms.identity.residue)
        shape = (*index.shape, 3)
        row = np.arange(count, count + len(index), dtype=np.int32)
        rows.append(np.broadcast_to(row[:, None, None], shape).ravel())
        columns.append((3 * index[:, :, None] + np.arange(3)).astype(np.int32).ravel())
        values.append(slope.ravel())
        count += len(index)
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_array(entries, shape=(count, 3 * len(atoms)))


def _parted(index: Int, jacobian: Float, residue: Int) -> tuple[Int, Float]:
    """Distances as rows of two atoms, or of one and nothing where the two are far apart along the chain.

    Parameters
    ----------
    index : (n, 2) or (n, 4) int64
        Atoms of a distance, or of two that are to be alike.
    jacobian : (n, 2 or 4, 3) float64
    residue : (N,) int64

    Returns
    -------
    index : (m, 2) int64
    jacobian : (m, 2, 3) float64
    """
    index, jacobian = index.reshape(-1, 2), jacobian.reshape(-1, 2, 3)
    far = np.abs(residue[index[:, 0]] - residue[index[:, 1]]) > _ALONG
    ends = jacobian[far, :, None, :] * np.eye(2)[:, :, None]
    return (
        np.concatenate([index[~far], np.repeat(index[far], 2, axis=0)]),
        np.concatenate([jacobian[~far], ends.reshape(-1, 2, 3)]),
    )
