"""Residues of a model with symmetry mates around them, for restraints that reach across the symmetry."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.kernels.contacts import neighbour_pairs
from arrayrefine.kernels.mates import operator_key, placed
from arrayrefine.restraints import Distances, Mates
from arrayrefine.topology.polymers import Residue

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Seen = tuple[int, int, bytes, bytes]

TO_MATE = " to mate"
"""Behind the name of a class: what of it reaches across the symmetry."""
_ONE_OF_TWO = 0.5
"""Residues of no more than this occupancy may be there instead of their mate: none of theirs are looked at."""


@dataclass(frozen=True)
class Surroundings:
    """Residues of a model and, behind them, symmetry mates of those near by.

    Attributes
    ----------
    residues : list of Residue
        Their `atoms` are rows of `xyz`.
    xyz : (N + M, 3) float64, Å
        Of the N atoms of the model and of M mates.
    bonds : (b, 2) int
        Within the model, and within each image of it.
    mates : Mates
        M of them.
    """

    residues: list[Residue]
    xyz: Float
    bonds: Int
    mates: Mates

    def __len__(self) -> int:
        """N, the number of atoms of the model."""
        return len(self.xyz) - len(self.mates.source)

    def seen(self, one: int, two: int) -> tuple[Seen, bool]:
        """A name that two rows share with all their images, and whether a twofold axis maps the two onto each other."""
        (a, of_a, at_a), (b, of_b, at_b) = self._image(one), self._image(two)
        forth = a, b, *operator_key(of_a.T @ of_b, of_a.T @ (at_b - at_a))
        back = b, a, *operator_key(of_b.T @ of_a, of_b.T @ (at_a - at_b))
        return min(forth, back), forth == back

    def _image(self, row: int) -> tuple[int, Float, Float]:
        mate = row - len(self)
        if mate < 0:
            return row, np.eye(3), np.zeros(3)
        return int(self.mates.source[mate]), self.mates.rotation[mate], self.mates.shift[mate]

    def split(self, found: Distances, n_across: int) -> tuple[Distances, Mates, Distances]:
        """Those within the model, and those to mates, with these mates, numbered behind `n_across` others."""
        n = len(self)
        beyond = (found.index >= n).any(axis=1)
        across = found.select(np.flatnonzero(beyond))
        used, place = np.unique(across.index[across.index >= n] - n, return_inverse=True)
        index = across.index.copy()
        index[index >= n] = n + n_across + place.ravel()
        mates = Mates(self.mates.source[used], self.mates.rotation[used], self.mates.shift[used])
        to_mates = dataclasses.replace(across, kind=found.kind + TO_MATE, index=index)
        return found.select(np.flatnonzero(~beyond)), mates, to_mates


def surroundings(
    atoms: Atoms, residues: Sequence[Residue], bonds: Int, core: Sequence[str], reach: float, crystal: Crystal | None
) -> Surroundings:
    """Residues, and mates of them.

    Parameters
    ----------
    atoms : Atoms
    residues : sequence of Residue
    bonds : (b, 2) int
        Within the model.
    core : sequence of str
        Atoms whose middle is the place of a residue; one that lacks some has no mates.
    reach : float, Å
        Mates are those whose place is this near to that of a residue of the model.
    crystal : Crystal or None
        None: no mates.
    """
    none = Mates(np.zeros(0, dtype=np.int64), np.zeros((0, 3, 3)), np.zeros((0, 3)))
    whole = [r for r in residues if all(name in r.atoms for name in core) and _is_sure(atoms, r, core)]
    if crystal is None or not whole:
        return Surroundings(list(residues), atoms.xyz, bonds, none)
    place = np.array([atoms.xyz[[r.atoms[name] for name in core]].mean(axis=0) for r in whole])
    pairs = neighbour_pairs(place, crystal.rotations, crystal.translations, crystal.orth, crystal.frac, reach)
    images: dict[tuple[bytes, bytes], tuple[Float, Float, set[int]]] = {}
    for k in np.flatnonzero(pairs.image).tolist():
        rotation, shift = crystal.cartesian_operator(int(pairs.op[k]), pairs.shift[k])
        # A contact is listed once: the first is near the image of the second, the second near an image of the first.
        for residue, how in ((pairs.j[k], (rotation, shift)), (pairs.i[k], (rotation.T, -rotation.T @ shift))):
            images.setdefault(operator_key(*how), (*how, set()))[2].add(int(residue))
    n, source, operators = len(atoms), list[int](), list[tuple[Float, Float]]()
    every, joined = list(residues), [bonds]
    for rotation, shift, near in images.values():
        row = np.full(n, -1)
        for number in sorted(near):
            rows: dict[str, int] = {}
            for name, atom in whole[number].atoms.items():
                row[atom] = rows[name] = n + len(source)
                source.append(atom)
                operators.append((rotation, shift))
            every.append(dataclasses.replace(whole[number], atoms=rows))
        joined.append(row[bonds][(row[bonds] >= 0).all(axis=1)])
    mates = none if not source else Mates(
        np.array(source), np.array([rotation for rotation, _ in operators]), np.array([shift for _, shift in operators])
    )  # fmt: skip
    return Surroundings(every, placed(atoms.xyz, mates), np.concatenate(joined), mates)


def _is_sure(atoms: Atoms, residue: Residue, core: Sequence[str]) -> bool:
    return bool(atoms.occupancy[[residue.atoms[name] for name in core]].min() > _ONE_OF_TWO)
