"""Displacement tensors that are refined, alone or in groups, on the device: the host side of `displaced.cu`.

A batch has a leading axis of M. What is refined, and of which group an atom is, is shared by the models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from arrayrefine.kernels.backend import blocks_for, checked, launch, to_device, to_host
from arrayrefine.kernels.vector_cuda import Layout

Array: TypeAlias = Any

NUMBERS = 20
"""Of a group, see `displaced.cu`."""
_BLOCK = 128


@dataclass(frozen=True)
class Displaced:
    """Which tensors of N atoms are refined, and what they are made of; see `plan`.

    Attributes
    ----------
    begin : int
        Entry of the vector where the numbers of the groups begin.
    n_groups : int
        G, groups that are refined.
    limits : tuple of 2 floats
        Between which the eigenvalues of U stay, Å².
    entry : (N, 3) int32
        Where U and the numbers of its group begin in the vector, and the row of its projection, −1 for none.
    projection : (special, 6, 6) float64
    groups : (G, 23) or (M, G, 23) float64
        Origin (Å) and numbers in the reference.
    u_aniso : (N, 6) or (M, N, 6) float64
        In the reference, Å².
    order : (n,) int32
        Atoms that have derivatives by U, those of a group together.
    begins, run : (runs + 1,), (runs,) int32
        Where runs of atoms begin in `order`, and the group of each, −1 for none.
    runs_of : (G + 1,) int32
        Where the runs of each group begin.
    """

    begin: int
    n_groups: int
    limits: tuple[float, float]
    entry: Array
    projection: Array
    groups: Array
    u_aniso: Array
    order: Array
    begins: Array
    run: Array
    runs_of: Array

    @property
    def runs(self) -> int:
        """Runs of atoms; a block owns each."""
        return len(self.run)


def plan(
    table: Layout,
    u_free: NDArray[np.bool_],
    group: NDArray[np.int64],
    origin: NDArray[np.float64],
    numbers: NDArray[np.float64],
    u_aniso: NDArray[np.float64],
    projection: NDArray[np.float64] | None,
    limits: tuple[float, float],
) -> Displaced:
    """Prepare `unpack` and `pullback`; all arrays are on the host.

    Parameters
    ----------
    table : Layout
        Of a vector whose last entries are U of the free atoms, then the numbers of the groups.
    u_free : (N,) bool
        Atoms with a free U of their own; no riding atom.
    group : (N,) int
        Which of the G refined groups each atom is of, −1 for none.
    origin, numbers : (G, 3), (G, 20) float64
        Å; T in Å², L in rad², S in Å rad. With a leading axis of M where `table` has one.
    u_aniso : (N, 6) float64
        What U has besides its isotropic part in the reference, Å²; axes as for `origin`.
    projection : (N, 6, 6) float64, optional
        Onto the U that the site symmetry allows.
    limits : tuple of 2 floats
        Between which the eigenvalues of U stay, Å².
    """
    n, n_groups = len(u_free), numbers.shape[-2]
    batch = table.b_iso.shape[:-1]
    wanted = (*batch, n_groups, 3), (*batch, n_groups, NUMBERS), (*batch, n, 6)
    if any(a.shape != shape for a, shape in zip((origin, numbers, u_aniso), wanted)) or len(group) != n:
        raise ValueError(f"groups {numbers.shape} at {origin.shape} and U {u_aniso.shape} for a vector of {n} atoms")
    begin = table.size - NUMBERS * n_groups
    entry = np.full((n, 3), -1)
    entry[u_free, 0] = begin - 6 * int(u_free.sum()) + 6 * np.arange(int(u_free.sum()))
    entry[group >= 0, 1] = begin + NUMBERS * group[group >= 0]
    special = np.zeros(0, dtype=np.int64)
    if projection is not None:
        special = np.flatnonzero((projection != np.eye(6)).any(axis=(1, 2)) & (u_free | (group >= 0)))
        entry[special, 2] = np.arange(len(special))
    riding = to_host(table.parent) >= 0
    order, begins, run = _runs(np.flatnonzero((u_free | (group >= 0)) & ~riding), group)
    return Displaced(
        begin=begin,
        n_groups=n_groups,
        limits=limits,
        entry=to_device(entry, np.int32),
        projection=to_device(np.zeros((1, 6, 6)) if projection is None or not len(special) else projection[special]),
        groups=to_device(np.concatenate([origin, numbers], axis=-1)),
        u_aniso=to_device(u_aniso, np.float64),
        order=to_device(order, np.int32),
        begins=to_device(begins, np.int32),
        run=to_device(run, np.int32),
        runs_of=to_device(np.searchsorted(run, np.arange(n_groups + 1)), np.int32),
    )


def _runs(
    atoms: NDArray[np.int64], group: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Atoms sorted by group, where runs of as many as a block takes begin among them, and the group of each run."""
    order = atoms[np.argsort(group[atoms], kind="stable")]
    own = group[order]
    first = np.searchsorted(own, own)  # where each one's group begins
    starts = np.flatnonzero((np.arange(len(order)) - first) % _BLOCK == 0)
    return order, np.append(starts, len(order)), own[starts]


def sums(xp: Any, made: Displaced, n_models: int) -> Array:
    """Allocate the memory of `pullback` for M models, (M, runs, 20) float64; `xp` is the cupy module."""
    return xp.zeros((n_models, made.runs, NUMBERS))


def unpack(made: Displaced, table: Layout, x: Array, b_iso: Array, u_aniso: Array) -> None:
    """Displacements of the atoms whose U is refined, and B of those that ride on them: one launch.

    Parameters
    ----------
    made : Displaced
    table : Layout
    x : (M, n) float64
    b_iso : (M, N) float64, Å²
        As `vector_cuda.unpack` made it; what is refined as U becomes its equivalent.
    u_aniso : (M, N, 6) float64, Å²
        Atoms whose U is not refined keep what they have.
    """
    models, n = len(x), len(table.slot)
    checked((x, b_iso, u_aniso), (models, table.size), (models, n), (models, n, 6))
    atoms, own = table.scalars()
    launch(
        "displaced", "displace", (blocks_for(n, _BLOCK), models), (_BLOCK,),
        (atoms, np.int32(table.size), own, np.int32(made.n_groups), np.int32(made.begin), *map(np.float64, made.limits),
         table.slot, made.entry, table.parent, made.projection, made.groups, table.xyz, table.b_iso, made.u_aniso,
         table.b_ratio, x, b_iso, u_aniso),
    )  # fmt: skip


def pullback(
    made: Displaced,
    table: Layout,
    d_b: Array,
    d_u: Array,
    restraints: tuple[Array, Array] | None,
    gradient: Array,
    partial: Array,
) -> None:
    """Gradient by U and the numbers of groups, the adjoint of `unpack`: one launch, and one more where groups are free.

    The clip of the eigenvalues has no part in it.

    Parameters
    ----------
    made : Displaced
    table : Layout
    d_b : (M, N) float64
        Derivative by B, of all terms.
    d_u : (M, N, 6) float64
        By u_aniso with B held; of the refined atoms alone it is read.
    restraints : (M, 2), (M, N, 6) float64, optional
        Weights, of which the second is taken, and a term's derivative by U to be added to `d_u`.
    gradient : (M, n) float64
        For the result; entries of other kinds keep what they have.
    partial : (M, runs, 20) float64
        See `sums`.
    """
    models, n = d_b.shape
    checked((d_b, d_u), (models, n), (models, n, 6))
    checked((gradient, partial), (models, table.size), (models, made.runs, NUMBERS))
    weight, by_u = (None, None) if restraints is None else restraints
    if restraints is not None:
        checked((weight, by_u), (models, 2), (models, n, 6))
    atoms, own = table.scalars()
    size = np.int32(table.size)
    launch(
        "displaced", "pull_tensors", (made.runs, models), (_BLOCK,),
        (atoms, size, own, np.int32(made.n_groups), made.order, made.begins, made.run, table.slot, made.entry,
         table.first, table.child, made.projection, made.groups, table.xyz, table.b_ratio, weight, d_b, d_u, by_u,
         gradient, partial),
    )  # fmt: skip
    launch(
        "displaced", "sum_runs", (made.n_groups, models), (_BLOCK,),
        (np.int32(made.runs), size, np.int32(made.begin), made.runs_of, partial, gradient),
    )  # fmt: skip
