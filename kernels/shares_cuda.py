"""Occupancies that atoms share, on the device: the host side of `shares.cu`.

A batch has a leading axis of M; who shares with whom is the same in all models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from arrayrefine.kernels.backend import blocks_for, checked, launch, to_device, to_host
from arrayrefine.kernels.vector_cuda import Layout

Array: TypeAlias = Any

_BLOCK = 128


@dataclass(frozen=True)
class Shares:
    """G groups of atoms that have an occupancy in common; see `plan`.

    Attributes
    ----------
    least : float
        Smallest share of a group that excludes others.
    place : (N,) int32
        Group of each atom, −1 for none.
    row, begins, member : (G,), (rows + 1,), (G,) int32
        Row of each group, and the groups of row r: member[begins[r]:begins[r + 1]].
    entry : (G,) int32
        Where the value of each group is in the vector, −1 for the one of a row that makes up for the others.
    owner, last : (n,) int32
        Group of each value, and the one that makes up for it, −1 for none.
    atoms_of, atom : (G + 1,), (atoms,) int32
        Atoms of group g that do not ride: atom[atoms_of[g]:atoms_of[g + 1]].
    multiplicity : (N,) float64
    """

    least: float
    place: Array
    row: Array
    begins: Array
    member: Array
    entry: Array
    owner: Array
    last: Array
    atoms_of: Array
    atom: Array
    multiplicity: Array


def plan(
    table: Layout,
    begin: int,
    place: NDArray[np.int64],
    row: NDArray[np.int64],
    independent: NDArray[np.bool_],
    multiplicity: NDArray[np.int64],
    least: float,
) -> Shares:
    """Prepare `unpack` and `pullback`; all arrays are on the host.

    Parameters
    ----------
    table : Layout
    begin : int
        Entry of the vector where the values of the independent groups begin.
    place : (N,) int
        Group of each atom, −1 for none.
    row : (G,) int
        A number for all groups that exclude each other, 0, 1, …; one that stands alone has its own.
    independent : (G,) bool
        False for the one group of a row that makes up for the others.
    multiplicity : (N,) int
        Operators that map each atom onto itself.
    least : float
        Smallest share of a group that excludes others.
    """
    count = len(row)
    if len(place) != len(table.slot) or len(independent) != count or place.max(initial=-1) >= count:
        raise ValueError(f"{count} groups of {len(place)} atoms for a vector of {len(table.slot)} atoms")
    owner = np.flatnonzero(independent)
    closing = np.full(count, -1)
    closing[row[~independent]] = np.flatnonzero(~independent)
    entry = np.full(count, -1)
    entry[owner] = begin + np.arange(len(owner))
    atom = np.flatnonzero((place >= 0) & (to_host(table.parent) < 0))
    atom = atom[np.argsort(place[atom], kind="stable")]
    member = np.argsort(row, kind="stable")
    lists = {
        "place": place, "row": row, "begins": np.searchsorted(row[member], np.arange(row.max(initial=-1) + 2)),
        "member": member, "entry": entry, "owner": owner, "last": closing[row[owner]],
        "atoms_of": np.searchsorted(place[atom], np.arange(count + 1)), "atom": atom,
    }  # fmt: skip
    whole = {name: to_device(values, np.int32) for name, values in lists.items()}
    return Shares(least=least, multiplicity=to_device(multiplicity, np.float64), **whole)


def unpack(made: Shares, table: Layout, x: Array, occupancy: Array) -> None:
    """Occupancies of the atoms in groups, and of those that ride on them: one launch.

    Parameters
    ----------
    made : Shares
    table : Layout
    x : (M, n) float64
    occupancy : (M, N) float64
        Other atoms keep what they have.
    """
    models, n = len(x), len(table.slot)
    checked((x, occupancy), (models, table.size), (models, n))
    atoms, own = table.scalars()
    launch(
        "shares", "share_out", (blocks_for(n, _BLOCK), models), (_BLOCK,),
        (atoms, np.int32(table.size), own, np.float64(made.least), made.place, table.parent, made.row, made.begins,
         made.member, made.entry, made.multiplicity, table.occupancy_ratio, x, occupancy),
    )  # fmt: skip


def pullback(made: Shares, table: Layout, d_occupancy: Array, gradient: Array) -> None:
    """Gradient by the values of the groups, the adjoint of `unpack`: one launch.

    The least share has no part in it.

    Parameters
    ----------
    made : Shares
    table : Layout
    d_occupancy : (M, N) float64
    gradient : (M, n) float64
        For the result; entries of other kinds keep what they have.
    """
    models, n = len(gradient), len(table.slot)
    checked((d_occupancy, gradient), (models, n), (models, table.size))
    atoms, own = table.scalars()
    launch(
        "shares", "pull_shares", (len(made.owner), models), (_BLOCK,),
        (atoms, np.int32(table.size), own, made.owner, made.last, made.entry, made.atoms_of, made.atom, table.first,
         table.child, made.multiplicity, table.occupancy_ratio, d_occupancy, gradient),
    )  # fmt: skip
