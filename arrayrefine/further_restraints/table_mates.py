"""Rows of tables that are distances: as a class of restraints, to symmetry mates, and to where an atom is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from arrayrefine.crystal import Crystal
from arrayrefine.errors import InputError
from arrayrefine.further_restraints.surroundings import TO_MATE
from arrayrefine.further_restraints.translated import NEAREST
from arrayrefine.kernels.mates import operator_key
from arrayrefine.restraints import Across, Bonds, Distances, Mates, Restraints

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Operator: TypeAlias = tuple[int, tuple[float, float, float]]
"""Row of the rotations of a crystal, and fractional translation."""

IDENTITY: Operator = (0, (0.0, 0.0, 0.0))
_HALF = 2.0**0.5
"""Times sigma: of the distance of an atom and its own mate about a twofold axis one half belongs to each."""
TABLE, ROBUST, PLACE = "table", "table, robust", "table, position"
"""Names of the classes of distances."""


class Length(Protocol):
    """A row that is a distance between two atoms."""

    @property
    def kind(self) -> str:
        """Bond, distance or robust distance."""
        ...

    @property
    def atoms(self) -> tuple[int, ...]:
        """Two of them."""
        ...

    @property
    def ideal(self) -> float:
        """Å."""
        ...

    @property
    def sigma(self) -> float:
        """Å."""
        ...

    @property
    def slack(self) -> float:
        """Å."""
        ...

    @property
    def operator(self) -> Operator:
        """What makes a mate of the second atom."""
        ...


def operator_of(text: str, xyz: Float, crystal: Crystal | None, where: str) -> Operator:
    """What makes the mate of the second atom that is meant; the identity where none is.

    Parameters
    ----------
    text : str
        An operator, as in "-x,y,-z+1", blank, or one of `NEAREST`.
    xyz : (n, 3) float64, Å
        Of the atoms.
    crystal : Crystal or None
    where : str
        What is read, for messages.

    Raises
    ------
    InputError
        It is no operator of the space group.
    """
    wanted = text.strip().lower()
    if not wanted:
        return IDENTITY
    if crystal is None:
        raise InputError(f"{where}: symmetry is '{text}', but there is no crystal; expected it blank")
    if wanted in NEAREST and len(xyz) == 2:
        return crystal.nearest_operator(xyz[0], xyz[1], itself=wanted == NEAREST[False])
    found = crystal.operator_named(wanted)
    if found is None:
        raise InputError(
            f"{where}: symmetry is '{text}'; expected an operator of {crystal.space_group}, such as "
            f"'{crystal.operator_name(len(crystal.rotations) - 1, crystal.translations[-1])}', that is applied to the "
            f"second atom, or '{NEAREST[False]}'"
        )
    return found


def distances_of(
    name: str, rows: Sequence[Length], index: Sequence[tuple[int, ...]], alpha: float
) -> Distances:
    """Rows as a class of distances between the atoms `index`."""
    return Distances(
        name, np.array(index, dtype=np.int64).reshape(-1, 2), np.array([row.ideal for row in rows]),
        np.array([row.sigma for row in rows]), alpha, slack=np.array([row.slack for row in rows]),
    )  # fmt: skip


def joined(known: Distances, made: Distances) -> Distances:
    """More of a class that there is."""
    return dataclasses.replace(
        made, index=np.concatenate([known.index, made.index]), ideal=np.concatenate([known.ideal, made.ideal]),
        sigma=np.concatenate([known.sigma, made.sigma]),
        slack=np.concatenate([np.broadcast_to(d.slack, len(d)) for d in (known, made)]),
    )  # fmt: skip


def with_mates(
    restraints: Restraints, rows: Sequence[Length], loss: float, crystal: Crystal
) -> tuple[Restraints, int]:
    """The restraints with distances to symmetry mates, and how many bonds of the dictionary these replace.

    Bonds end contacts between their atoms and each other's neighbours.
    """
    n = len(restraints.non_bonded.radius)
    operators = [crystal.cartesian_operator(row.operator[0], np.array(row.operator[1])) for row in rows]
    across, replaced = _without_bonds(restraints.across, rows, crystal, n)
    first = n + len(across)
    mates = Mates(
        np.array([row.atoms[1] for row in rows], dtype=np.int64), np.array([how[0] for how in operators]),
        np.array([how[1] for how in operators]),
    )  # fmt: skip
    across = across.with_distances(mates)
    sigma = [row.sigma * (_HALF if _is_about_axis(row, how) else 1.0) for row, how in zip(rows, operators)]
    classes = [*across.distances]
    for name, alpha, robust in ((TABLE + TO_MATE, 2.0, False), (ROBUST.replace(TABLE, TABLE + TO_MATE), loss, True)):
        some = [k for k, row in enumerate(rows) if (row.kind == "robust distance") == robust]
        if some:
            known = next((d for d in classes if d.kind == name), None)
            index = [(rows[k].atoms[0], first + k) for k in some]
            classes = [d for d in classes if d is not known]
            made = distances_of(name, [rows[k] for k in some], index, alpha)
            made = dataclasses.replace(made, sigma=np.array([sigma[k] for k in some]))
            classes.append(made if known is None else joined(known, made))
    bonds = [row.atoms for row in rows if row.kind == "bond"]
    excluded = _excluded(restraints, np.array(bonds, dtype=np.int64).reshape(-1, 2))
    return dataclasses.replace(
        restraints,
        across=dataclasses.replace(across, distances=tuple(classes)),
        non_bonded=dataclasses.replace(restraints.non_bonded, excluded_images=excluded),
    ), replaced


def _is_about_axis(row: Length, operator: tuple[Float, Float]) -> bool:
    """Whether an operator makes each of the atoms of the other."""
    rotation, shift = operator
    back = operator_key(rotation.T, -rotation.T @ shift)
    return row.atoms[0] == row.atoms[1] and operator_key(rotation, shift) == back


def with_places(restraints: Restraints, rows: Sequence[Length], xyz: Float) -> Restraints:
    """The restraints with atoms held to where they are in `xyz` (N, 3), Å: at a distance of 0 from it.

    The place is a mate that stays, so that kernels need not know of it.
    """
    chosen = np.array([row.atoms[0] for row in rows], dtype=np.int64)
    mates = Mates(chosen, np.zeros((len(rows), 3, 3)), xyz[chosen])
    first = len(xyz) + len(restraints.across)
    made = distances_of(PLACE, rows, [(int(i), first + k) for k, i in enumerate(chosen)], 2.0)
    across = restraints.across.with_distances(mates)
    known = next((d for d in across.distances if d.kind == PLACE), None)
    others = [d for d in across.distances if d is not known]
    classes = *others, made if known is None else joined(known, made)
    return dataclasses.replace(restraints, across=dataclasses.replace(across, distances=classes))


def without_same(
    restraints: Restraints, rows: Sequence[Length], crystal: Crystal | None
) -> tuple[Restraints, int]:
    """The restraints without distances of other sources between atoms that rows have; and their number."""
    n = len(restraints.non_bonded.radius)
    within = {tuple(sorted(row.atoms)) for row in rows if row.operator == IDENTITY}
    beyond = _known([row for row in rows if row.operator != IDENTITY], crystal)

    def left(classes: Sequence[Distances]) -> tuple[Distances, ...]:
        kept = []
        for d in classes:
            known = d.kind.startswith(TABLE) or d.index.shape[1] != 2
            same = [not known and _is_known(pair, within, beyond, restraints.across, n) for pair in d.index.tolist()]
            kept.append(d.select(np.flatnonzero(~np.array(same, dtype=bool))) if any(same) else d)
        return tuple(d for d in kept if len(d))

    before = sum(map(len, (*restraints.distances, *restraints.across.distances)))
    across = dataclasses.replace(restraints.across, distances=left(restraints.across.distances))
    restraints = dataclasses.replace(restraints, distances=left(restraints.distances), across=across)
    return restraints, before - sum(map(len, (*restraints.distances, *across.distances)))


def _known(rows: Sequence[Length], crystal: Crystal | None) -> set[tuple[int, int, bytes, bytes]]:
    """Distances to mates, seen from either side: an atom, the source of its mate, and the operator."""
    known = set()
    for row in rows:
        assert crystal is not None  # or it would have no operator
        rotation, shift = crystal.cartesian_operator(row.operator[0], np.array(row.operator[1]))
        i, j = row.atoms
        known |= {(i, j, *operator_key(rotation, shift)), (j, i, *operator_key(rotation.T, -rotation.T @ shift))}
    return known


def _is_known(
    pair: Sequence[int], within: set[tuple[int, ...]], beyond: set[tuple[int, int, bytes, bytes]], across: Across,
    n: int,
) -> bool:  # fmt: skip
    atom, mate = sorted(pair)
    if mate < n:
        return (atom, mate) in within
    m = across.mates
    return (atom, int(m.source[mate - n]), *operator_key(m.rotation[mate - n], m.shift[mate - n])) in beyond


def _without_bonds(across: Across, rows: Sequence[Length], crystal: Crystal, n: int) -> tuple[Across, int]:
    """What crosses the symmetry without bonds between atoms that rows have, and their number."""
    known = _known(rows, crystal)
    b = across.bonds
    kept = np.array([not _is_known(pair, set(), known, across, n) for pair in b.index.tolist()], dtype=bool)
    bonds = Bonds(b.index[kept], b.ideal[kept], b.sigma[kept])
    shares = across.shares[0][kept], *across.shares[1:]
    return dataclasses.replace(across, bonds=bonds, shares=shares), int((~kept).sum())


def _excluded(restraints: Restraints, bonds: Int) -> Int:
    """Pairs without contact where one is a mate (p, 2): also ends of bonds, and each with the other's neighbours."""
    near: dict[int, set[int]] = {}
    for i, j in restraints.bonds.index.tolist():
        near.setdefault(i, set()).add(j)
        near.setdefault(j, set()).add(i)
    pairs = []
    for i, j in bonds.tolist():
        pairs += [(i, j), *((i, k) for k in near.get(j, ())), *((j, k) for k in near.get(i, ()))]
    before = restraints.non_bonded.excluded_images
    if not pairs:
        return before
    return np.unique(np.concatenate([before, np.sort(np.array(pairs, dtype=np.int64), axis=1)]), axis=0)
