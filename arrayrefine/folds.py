"""Reflections cut into test sets of which each has its share of every resolution, and none shares twin mates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from arrayrefine.errors import InputError
from arrayrefine.reflections import Reflections
from arrayrefine.twinning import mates
from arrayrefine.wording import are, counted

_LEAST = 2
"""Folds, and families of reflections in each of them."""


def families(reflections: Reflections) -> NDArray[np.int64]:
    """A number for each reflection (R,), the same for those that a symmetry of the lattice relates.

    Where the crystal is a twin they are measured together, and where it is nearly of higher symmetry they are alike:
    one of them in the test set is hardly left out while another is refined against.
    """
    rows, columns = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for law in reflections.crystal.twin_laws.values():
        mate = mates(reflections.crystal, reflections.hkl, law)
        rows.append(np.flatnonzero(mate >= 0))
        columns.append(mate[mate >= 0])
    row, column = np.concatenate(rows), np.concatenate(columns)
    links = coo_array((np.ones(len(row), dtype=np.int8), (row, column)), shape=(len(reflections),) * 2)
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)


def cut(reflections: Reflections, count: int, seed: int) -> NDArray[np.int32]:
    """Cut reflections into folds at random, evenly over resolution.

    Families of reflections, sorted by resolution, are taken `count` at a time, and each of these goes to a fold of its
    own.

    Parameters
    ----------
    reflections : Reflections
    count : int
        Folds, 2 or more.
    seed : int

    Returns
    -------
    (R,) int32
        Number of the fold of each reflection, from 0.

    Raises
    ------
    InputError
        There are too few reflections, or folds.
    """
    family = families(reflections)
    _, first = np.unique(family, return_index=True)
    if len(first) < _LEAST**2:
        raise InputError(
            f"{counted(len(first), 'reflection')} that no symmetry of the lattice relates {are(len(first))} too few "
            f"for cross-validation; expected {_LEAST**2} or more"
        )
    if not _LEAST <= count <= len(first) // _LEAST:
        raise InputError(
            f"--folds {count}: expected {_LEAST} to {len(first) // _LEAST} folds of {len(first)} reflections that no "
            "symmetry of the lattice relates; 10 is usual"
        )
    order = np.argsort(reflections.s_squared[first], kind="stable")
    rng = np.random.default_rng(seed)
    drawn = rng.permuted(np.tile(np.arange(count, dtype=np.int32), (-(-len(order) // count), 1)), axis=1)
    of_family = np.empty(len(order), dtype=np.int32)
    of_family[order] = drawn.reshape(-1)[: len(order)]
    return np.asarray(of_family[family])
