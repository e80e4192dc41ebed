"""Second derivative of the restraints on displacements, for a preconditioner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.displacements.displacement import total_u
from arrayrefine.kernels import adp_aniso, symmetric
from arrayrefine.kernels.processes import release, shared
from arrayrefine.kernels.threads import each
from arrayrefine.targets.adp import AdpTarget, Shapes

Float = NDArray[np.float64]
Int = NDArray[np.int64]
_Blocks: TypeAlias = tuple[Float, Float, Float]
_Pairs: TypeAlias = tuple[Int, Int, Float]

_PAIRS = 8192
"""Pairs whose blocks are made at a time: each takes some 3 kB, and a large model has millions."""
_STRAIN_BLOCKS = "strain blocks of the first", "strain blocks between", "strain blocks of the second"
"""Names of what processes share."""
_STRONG = 1.0 / 0.25**2
"""Weight from which a pair enters in full: bonds and angles. The others are weaker and many; only their diagonal is
kept, for tensors as it is in the mean of all directions, and the factor stays sparse."""


def log_matrix(target: AdpTarget, atoms: Atoms) -> sparse.csr_array:
    """Approximate second derivative (N, N) by ln B of isotropic atoms, positive semi-definite.

    By ln B the term is 2 w sinh²((u₁ − u₂)/2), whose Gauss-Newton matrix is w cosh²((u₁ − u₂)/2) [1 −1; −1 1].
    """
    if target.kind == "variance":
        return sparse.csr_array(sparse.diags_array(2.0 * atoms.b_iso**2))
    return _of_logarithms(target, atoms, np.ones(len(target.i), dtype=bool))


def strain_matrix(target: AdpTarget, atoms: Atoms, scalar: Int, tensor: Int) -> sparse.csr_array:
    """Second derivative by ln B of some atoms, and after these by the six components of S of others.

    S is that of U = R exp(S) R, R² the U of `atoms`, in the components of `symmetric.STRAINS`.

    Parameters
    ----------
    target : AdpTarget
    atoms : Atoms
    scalar, tensor : (s,), (t,) int64

    Returns
    -------
    (s + 6t, s + 6t) csr array
        Positive semi-definite. That of the last atoms asked for is kept, as several ask for the same.
    """
    for known, of, first, second, matrix in target.curvatures:
        if known is target and of is atoms and np.array_equal(first, scalar) and np.array_equal(second, tensor):
            return matrix
    matrix = _strain_matrix(target, atoms, scalar, tensor)
    target.curvatures[:] = [(target, atoms, scalar, tensor, matrix)]
    return matrix


def _strain_matrix(target: AdpTarget, atoms: Atoms, scalar: Int, tensor: Int) -> sparse.csr_array:
    if not len(tensor) or target.kind != "kl":
        chosen = np.concatenate([scalar, np.repeat(tensor, 6)])
        only = np.concatenate([np.ones(len(scalar)), np.tile(np.eye(6)[0], len(tensor))])
        matrix = log_matrix(target, atoms)
        if not len(tensor):
            return matrix[chosen][:, chosen]
        return sparse.csr_array(sparse.diags_array(only * matrix.diagonal()[chosen]))
    n = len(atoms)
    places = _Places(n, scalar, tensor)
    odd = places.tensor[target.i] | places.tensor[target.j]
    i, j, weight = target.i[odd], target.j[odd], target.weight[odd]
    u = total_u(atoms)
    block, strong = np.zeros((n, 6, 6)), weight >= _STRONG
    _add_weak(block, u, i[~strong], j[~strong], weight[~strong], [1.0] + 5 * [1.0 / 3.0])
    i, j, weight = i[strong], j[strong], weight[strong]
    off = _added(block, u, atoms.xyz, i, j, weight, lambda u, _, *pairs: [adp_aniso.kl_curvature(u, *pairs)])
    if target.shapes is not None:
        block += adp_aniso.sphericity_curvature(u, target.shapes.round)
        off = _joined(off, _of_shapes(target.shapes, atoms, u, block), n)
    plain = _of_logarithms(target, atoms, ~odd)[scalar][:, scalar]
    return places.matrix(plain, block, *off)


def _joined(one: _Pairs, two: _Pairs, n: int) -> _Pairs:
    """One list of pairs (i, j, block) for two: what both have, as is the rule, is added up."""
    keys = one[0] * n + one[1]
    order = np.argsort(keys, kind="stable")
    wanted = two[0] * n + two[1]
    place = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(order) - 1)] if len(order) else wanted
    same = keys[place] == wanted if len(order) else np.zeros(len(wanted), dtype=bool)
    one[2][place[same]] += two[2][same]
    if same.all():
        return one
    i, j, values = (np.concatenate([first, second[~same]]) for first, second in zip(one, two))
    return i, j, values


def _of_shapes(shapes: Shapes, atoms: Atoms, u: Float, block: Float) -> _Pairs:
    """Blocks between pairs of atoms; those of each atom are added to `block`."""
    strong = shapes.weight >= _STRONG
    i, j, weight = shapes.i[~strong], shapes.j[~strong], shapes.weight[~strong]
    # Along a line e the shapes' Σ (eᵀSe)² is 2/15 each in the mean of all lines, and the size's is 1.
    along = shapes.rigid * np.array([1.0] + 5 * [2.0 / 15.0])
    _add_weak(block, u, i, j, weight, along + shapes.alike * np.array([0.0] + 5 * [1.0 / 3.0]))

    def terms(u: Float, xyz: Float, i: Int, j: Int, weight: Float) -> list[_Blocks]:
        along = adp_aniso.directions(xyz, i, j)
        return [
            adp_aniso.shape_curvature(u, i, j, shapes.alike * weight),
            adp_aniso.rigid_bond_curvature(u, i, j, along, shapes.rigid * weight),
        ]

    return _added(block, u, atoms.xyz, shapes.i[strong], shapes.j[strong], shapes.weight[strong], terms)


def _add_weak(block: Float, u: Float, i: Int, j: Int, weight: Float, diagonal: Any) -> None:
    """Add to each atom's block (N, 6, 6) that of pairs which are many and weak, as if they differed in size only."""
    mean = np.maximum(symmetric.trace(u) / 3.0, adp_aniso.U_FLOOR)
    stiff = weight * 0.25 * (mean[i] + mean[j]) ** 2 / (mean[i] * mean[j])
    total = np.bincount(i, stiff, len(u)) + np.bincount(j, stiff, len(u))
    block += total[:, None, None] * np.diag(diagonal)


def _added(
    block: Float, u: Float, xyz: Float, i: Int, j: Int, weight: Float,
    terms: Callable[[Float, Float, Int, Int, Float], Sequence[_Blocks]],
) -> _Pairs:  # fmt: skip
    """What terms have between the atoms of pairs; what they have of each atom is added to `block`."""
    one, both, two = (shared(name, float, len(i), 6, 6) for name in _STRAIN_BLOCKS)
    parts = [slice(start, start + _PAIRS) for start in range(0, len(i), _PAIRS)]

    def work(number: int) -> None:
        k = parts[number]
        here, place = np.unique(np.concatenate([i[k], j[k]]), return_inverse=True)
        first, second = place.reshape(2, -1)
        found = terms(u[here], xyz[here], first, second, weight[k])
        one[k], both[k], two[k] = (np.sum(blocks, axis=0) for blocks in zip(*found))

    each(work, len(parts), 1)
    for k in parts:
        np.add.at(block, i[k], one[k])
        np.add.at(block, j[k], two[k])
    found = i, j, both.copy()
    release(_STRAIN_BLOCKS)
    return found


def _of_logarithms(target: AdpTarget, atoms: Atoms, some: NDArray[np.bool_]) -> sparse.csr_array:
    """The matrix (N, N) by ln B of some of the pairs."""
    n, b = len(atoms), atoms.b_iso
    i, j, weight = target.i[some], target.j[some], target.weight[some]
    w = weight * 0.25 * (b[i] + b[j]) ** 2 / (b[i] * b[j])
    diagonal = (np.bincount(i, w, n) + np.bincount(j, w, n)).astype(float)
    strong = weight >= _STRONG
    off = sparse.coo_array((-w[strong], (i[strong].astype(np.int32), j[strong].astype(np.int32))), shape=(n, n))
    return sparse.csr_array(off + off.T + sparse.diags_array(diagonal))


class _Places:
    """Where the components of each atom lie in the matrix: one of each in `scalar`, then six of each in `tensor`."""

    def __init__(self, n: int, scalar: Int, tensor: Int) -> None:
        self._scalar, self._tensor = scalar, tensor
        self._first, self._width = np.zeros(n, dtype=np.int32), np.zeros(n, dtype=np.int32)
        self._first[scalar], self._width[scalar] = np.arange(len(scalar)), 1
        self._first[tensor], self._width[tensor] = len(scalar) + 6 * np.arange(len(tensor)), 6
        self.tensor = self._width == 6

    def matrix(self, plain: sparse.csr_array, block: Float, i: Int, j: Int, values: Float) -> sparse.csr_array:
        """Sum of a matrix by all scalars (s, s), the block of each atom (N, 6, 6), and those of pairs (p, 6, 6) and
        their transposes."""
        whole = self.tensor[i] & self.tensor[j]
        tensors = self._between_tensors(block, i[whole], j[whole], values[whole])
        if not len(self._scalar):
            return tensors
        i, j, values = i[~whole], j[~whole], values[~whole]
        part = sparse.coo_array(plain)
        row, column, data = self._spread(i, j, values)
        own = np.arange(len(self._scalar), dtype=np.int32)
        rows = np.concatenate([part.row, own, row, column])
        columns = np.concatenate([part.col, own, column, row])
        data = np.concatenate([part.data, block[self._scalar, 0, 0], data, data])
        count, size = len(self._scalar), len(self._scalar) + tensors.shape[0]
        below = np.concatenate([np.zeros(count, dtype=tensors.indptr.dtype), tensors.indptr])
        shifted = sparse.csr_array((tensors.data, tensors.indices + count, below), shape=(size, size))
        others = sparse.coo_array((data, (rows, columns)), shape=(size, size))
        return sparse.csr_array(shifted + sparse.csr_array(others))

    def _between_tensors(self, block: Float, i: Int, j: Int, values: Float) -> sparse.csr_array:
        """The part of the matrix by tensors alone."""
        n, first = len(self._tensor), len(self._scalar)
        one, two = (((self._first[k] - first) // 6).astype(np.int64) for k in (i, j))
        every = np.arange(n)
        row, column = np.concatenate([one, two, every]), np.concatenate([two, one, every])
        data = np.concatenate([values, values.transpose(0, 2, 1), block[self._tensor]])
        key = row * n + column
        order = np.argsort(key, kind="stable")
        start = np.flatnonzero(np.diff(key[order], prepend=-1))
        row, column, summed = row[order[start]], column[order[start]], data[order[start]]
        count = np.diff(start, append=len(order))
        for more in range(1, count.max(initial=1)):  # pairs of more than one kind
            again = np.flatnonzero(count > more)
            summed[again] += data[order[start[again] + more]]
        index = np.searchsorted(row, np.arange(n + 1)).astype(np.int32)
        del data  # as much again as what it was summed to
        return sparse.csr_array(sparse.bsr_array((summed, column.astype(np.int32), index), shape=(6 * n, 6 * n)))

    def _spread(self, i: Int, j: Int, values: Float) -> tuple[Int, Int, Float]:
        """Row, column and value of blocks (p, 6, 6) of pairs of atoms; what belongs to no place is left out."""
        number = np.arange(6, dtype=np.int32)
        row = np.broadcast_to((self._first[i][:, None] + number)[:, :, None], values.shape)
        column = np.broadcast_to((self._first[j][:, None] + number)[:, None, :], values.shape)
        there = (number < self._width[i][:, None])[:, :, None] & (number < self._width[j][:, None])[:, None, :]
        return row[there], column[there], values[there]
