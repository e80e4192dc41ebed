"""What the CUDA kernels of the contacts want to know about symmetry and about pairs of atoms; made on the host."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Int = NDArray[np.integer[Any]]

_MOST_OPERATORS = 192
_EXCLUDED, _EXCLUDED_IMAGE, _ONE_FOUR = 1, 2, 4


@dataclass(frozen=True)
class Symmetry:
    """Cell and operators, on the host; as `contacts.neighbour_pairs` takes them.

    Attributes
    ----------
    rotations, translations : (G, 3, 3) int, (G, 3) float64
    orth, frac : (3, 3) float64
    """

    rotations: Int
    translations: Float
    orth: Float
    frac: Float


@dataclass(frozen=True)
class Rules:
    """Which atoms may not come too close, and how close; on the host.

    Attributes
    ----------
    kind : (N,) int
        Row of each atom in `limit`.
    limit : (2, T, T) float64
        Distance below which atoms of two kinds repel, Å: in general, and at 1-4. Symmetric.
    conformer : (N,) int
        Different non-zero numbers never meet.
    held : (N,) bool
        Two such atoms never meet.
    multiplicity : (N,) int
        Operators that map the atom onto itself.
    excluded, excluded_images, one_four : (p, 2) int
        Pairs left out within the model, pairs left out across symmetry, pairs at 1-4 (within the model); the smaller
        number first.
    sigma : float
        Standard uncertainty of the distances, Å.
    reach : float
        No pair further apart is listed, Å.
    skin : float
        Pairs this much beyond their limit are listed too, Å.
    own_image : float
        An atom does not meet an image of its own closer than this, Å: it sits on a special position.
    together : float
        Occupancies of an atom and a symmetry mate must sum to more than this for them to meet.
    """

    kind: Int
    limit: Float
    conformer: Int
    held: NDArray[np.bool_]
    multiplicity: Int
    excluded: Int
    excluded_images: Int
    one_four: Int
    sigma: float
    reach: float
    skin: float
    own_image: float
    together: float


def cell_bins(margin: Float, images: int) -> tuple[int, int, int]:
    """Number of bins of the unit cell along its axes: as wide as the `margin`, not many more than there are images."""
    number = [max(1, math.floor(1.0 / m)) for m in margin.tolist()]
    while math.prod(number) > max(64, 2 * images):
        finest = number.index(max(number))
        number[finest] = -(-number[finest] // 2)
    return number[0], number[1], number[2]


def search_margin(symmetry: Symmetry, reach: float) -> Float:
    """Fractional reach along each axis of the cell (3,), with a hair for rounding; `reach` in Å."""
    fractional: Float = (reach * (1.0 + 1e-6) + 1e-6) * np.linalg.norm(symmetry.frac, axis=1)
    return fractional


def _inverses(symmetry: Symmetry) -> Int:
    """Number of the operator that undoes each one, lattice vectors aside (G,)."""
    rotations, translations = np.asarray(symmetry.rotations, dtype=float), symmetry.translations
    found: list[int] = []
    for rotation, translation in zip(rotations, translations):
        rest = translations @ rotation.T + translation
        undone = (np.abs(rotation @ rotations - np.eye(3)).max(axis=(1, 2)) < 1e-6) & (
            np.abs(rest - np.rint(rest)).max(axis=1) < 1e-4
        )
        if undone.sum() != 1:
            raise ValueError(
                f"{int(undone.sum())} of {len(rotations)} operators are the inverse of operator {len(found)}; "
                "expected one: give all operators of the space group once, centring included"
            )
        found.append(int(np.argmax(undone)))
    return np.array(found)


def symmetry_tables(symmetry: Symmetry, margin: Float) -> tuple[Float, Int]:
    """What the kernels want to know about the symmetry.

    Returns
    -------
    values : (21 + 12 G,) float64
        `frac`, `orth`, `margin`; Cartesian rotation and fractional translation of each operator.
    operators : (G, 10) int
        Fractional rotation of each operator, and the number of its inverse.

    Raises
    ------
    ValueError
        When the operators are not a group, or too many.
    """
    rotations = np.asarray(symmetry.rotations)
    if not 0 < len(rotations) <= _MOST_OPERATORS:
        raise ValueError(f"{len(rotations)} symmetry operators; expected 1 to {_MOST_OPERATORS}")
    cartesian = np.einsum("ij,gjk,kl->gil", symmetry.orth, rotations.astype(float), symmetry.frac)
    each = np.concatenate([cartesian.reshape(-1, 9), symmetry.translations], axis=1)
    values = np.concatenate([np.ravel(symmetry.frac), np.ravel(symmetry.orth), margin, np.ravel(each)])
    return values, np.concatenate([rotations.reshape(-1, 9), _inverses(symmetry)[:, None]], axis=1)


def rule_table(rules: Rules, n: int) -> tuple[Int, Int]:
    """Rules for pairs, listed for each of their N = n atoms.

    Returns
    -------
    first, rule : (N + 1,), (r,) int
        8 · other atom + the sum of 1 for excluded, 2 for excluded across symmetry and 4 for 1-4, ascending:
        rule[first[a]:first[a + 1]] of atom a.

    Raises
    ------
    ValueError
        When an atom is not in 0..N-1.
    """
    atoms, others, bits = [], [], []
    for pairs, bit in ((rules.excluded, _EXCLUDED), (rules.excluded_images, _EXCLUDED_IMAGE),
                       (rules.one_four, _ONE_FOUR)):  # fmt: skip
        pairs = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
        if len(pairs) and not (pairs.min() >= 0 and pairs.max() < n):
            raise ValueError(f"rules name the atoms {pairs.min()} to {pairs.max()} of {n} atoms")
        atoms += [pairs[:, 0], pairs[:, 1]]
        others += [pairs[:, 1], pairs[:, 0]]
        bits.append(np.full(2 * len(pairs), bit))
    keys, where = np.unique(np.concatenate(atoms) * n + np.concatenate(others), return_inverse=True)
    together = np.zeros(len(keys), dtype=np.int64)
    np.bitwise_or.at(together, where.reshape(-1), np.concatenate(bits))
    first = np.searchsorted(keys, np.arange(n + 1) * n)
    return first, 8 * (keys % max(1, n)) + together
