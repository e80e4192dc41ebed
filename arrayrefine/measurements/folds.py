"""Reflections cut into test sets of which each has its share of every resolution, and none shares twin mates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrayrefine.errors import InputError
from arrayrefine.lattice_symmetry import families
from arrayrefine.reflections import Reflections
from arrayrefine.wording import are, counted

_LEAST = 2
"""Folds, and families of reflections in each of them."""


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
    family = families(reflections.crystal, reflections.hkl)
    _, first = np.unique(family, return_index=True)
    if len(first) < _LEAST**2:
        raise InputError(
            f"{counted(len(first), 'reflection')} that no symmetry of the lattice relates {are(len(first))} too few "
            f"for cross-validation; expected {_LEAST**2} or more"
        )
    if not isinstance(count, int | np.integer) or not _LEAST <= count <= len(first) // _LEAST:
        raise InputError(
            f"--folds {count!r}: expected {_LEAST} to {len(first) // _LEAST} folds of {len(first)} reflections that no "
            "symmetry of the lattice relates; 10 is usual"
        )
    order = np.argsort(reflections.s_squared[first], kind="stable")
    rng = np.random.default_rng(seed)
    drawn = rng.permuted(np.tile(np.arange(count, dtype=np.int32), (-(-len(order) // count), 1)), axis=1)
    of_family = np.empty(len(order), dtype=np.int32)
    of_family[order] = drawn.reshape(-1)[: len(order)]
    return np.asarray(of_family[family])
