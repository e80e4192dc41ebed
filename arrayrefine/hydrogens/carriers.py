"""What carries each riding hydrogen: the frame of its parent's neighbours, found once; and which groups turn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.hydrogens.placing import Hydrogens, Rotors
from arrayrefine.kernels.frames import TORSION, measure, torsion
from arrayrefine.options import RidingHydrogens

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Bonded = list[list[int]]
"""Of each atom, those bonded to it."""

LONGEST_BOND = 2.8
"""Å; what is further from a parent than this (across symmetry, in a broken model) is no part of its frame."""
_ROUND = np.pi / 6.0
"""Dictionaries give most torsions of hydrogens as multiples of this."""
_FLAT = 0.4
"""Volume of three unit vectors to the neighbours of an atom; 0.77 in a tetrahedron, 0 in a plane."""
_DOUBLY_BONDED = {("C", 1), ("N", 0)}
"""Elements, and their hydrogens, that have a double bond where their neighbours are a hydroxyl and one more."""


def carried(
    atoms: Atoms, own: Int, bonded: Bonded, certain: NDArray[np.bool_], options: RidingHydrogens
) -> tuple[Atoms, Hydrogens]:
    """Find what carries each riding atom, and which of them turn.

    Parameters
    ----------
    atoms : Atoms
        Complete, with the riding atoms in their places.
    own, bonded
        The other atoms, and what is bonded to each, as numbers in `own`.
    certain : (M,) bool
        Whether the place of the riding atom is known.
    options : RidingHydrogens
        Their B, and what turns.
    """
    number = np.full(len(atoms), -1)
    number[own] = np.arange(len(own))
    child, parent, who = atoms.riding.child, atoms.riding.parent, atoms.identity
    conformer = np.where(who.altloc[child] != "", who.altloc[child], who.altloc[parent])
    group_of: dict[tuple[int, str], int] = {}
    at, letter = number[parent].tolist(), conformer.tolist()
    group = np.array([group_of.setdefault(key, len(group_of)) for key in zip(at, letter)], dtype=np.int64)
    first = np.unique(group, return_index=True)[1]
    around = _Around.of(atoms, own, bonded)
    near = [around.near(*key) for key in group_of]
    neighbour = np.array([parent[first[k]] for k in range(len(near)) for _ in range(3)], dtype=np.int64).reshape(-1, 3)
    for k, arms in enumerate(near):
        neighbour[k, : len(arms)] = arms
    count = np.array([len(arms) for arms in near], dtype=np.int64)
    single = np.flatnonzero(count == 1)
    behind = [
        around.near(int(number[neighbour[k, 0]]), letter[first[k]], int(parent[first[k]]))
        for k in single
    ]
    _choose_ends(atoms.xyz, child[first], parent[first], neighbour, count, single, behind)
    frames = measure(atoms.xyz, child, parent, neighbour[group], count[group])
    members = np.bincount(group, minlength=len(near))[group]
    carbon = atoms.element[parent] == "C"
    # A carbon with fewer hydrogens and one neighbour is the end of a side chain that is not all there.
    # Of hydroxyls and thiols dictionaries that give one torsion name a conformer, not what holds the hydrogen there.
    hydroxyl = np.isin(atoms.element[parent], ("O", "S")) & (members == 1)
    cone = (frames.kind == TORSION) & ((members == 3) | hydroxyl | (~certain & (members < 3) & ~carbon))
    turns = cone & (options.turn != "none") & (~carbon | (options.turn == "all"))
    flat, acid = np.zeros((2, len(near)), dtype=bool)
    flat[single] = _flat(atoms.xyz, parent[first[single]], neighbour[single, 0], behind)
    carries = dict(zip(group_of, np.bincount(group, minlength=len(near)).tolist()))
    for k, ends in zip(single.tolist(), behind):
        centre, conformer = int(neighbour[k, 0]), letter[first[k]]
        held = [_riding(carries, int(number[row]), conformer) for row in (centre, *ends)]
        if len(ends) == 1 and carries[int(number[parent[first[k]]]), conformer] == 1:
            # of formic acid and oximes no volume tells the plane
            flat[k] = (atoms.element[centre], held[0]) in _DOUBLY_BONDED
        acid[k] = flat[k] and atoms.element[centre] == "C" and any(
            atoms.element[end] == "O" and not count_of and not around.near(int(number[end]), conformer, centre)
            for end, count_of in zip(ends, held[1:])
        )  # fmt: skip
    lead = np.where(turns, first[group], -1)
    head = np.maximum(lead, 0)
    offset = np.where(turns, frames.value[:, 2] - frames.value[head, 2], 0.0)
    rotors = Rotors(lead, offset, frames.value[head, 2], flat[group], acid[group])
    # Where a place is neither known nor to be found, the hydrogen neither scatters nor repels.
    occupancy = atoms.occupancy.copy()
    occupancy[child[~certain & ~turns]] = 0.0
    witness = np.full(len(child), -1)
    for m in np.flatnonzero((who.altloc[child] != "") & (who.altloc[parent] == "")):
        members_of = [n for n in near[group[m]] if who.altloc[n] == who.altloc[child[m]]]
        witness[m] = members_of[0] if members_of else -1
    ratio = np.where(cone, options.b_ratio_turning, options.b_ratio)
    hydrogens = Hydrogens(own, frames, rotors, ratio, witness)
    b_iso = atoms.b_iso.copy()
    b_iso[child] = ratio * b_iso[parent]
    atoms = atoms.replace(b_iso=b_iso, occupancy=occupancy)
    return atoms.replace(occupancy=hydrogens._shared(atoms)), hydrogens


def _riding(carries: dict[tuple[int, str], int], at: int, conformer: str) -> int:
    """How many hydrogens an atom of `own` carries in a conformer."""
    return carries.get((at, conformer), carries.get((at, ""), 0))


class _Around(NamedTuple):
    """What is bonded to each atom of `own`, as lists: rows, conformers, what names an atom, coordinates."""

    bonded: Bonded
    rows: list[int]
    letters: list[str]
    names: list[tuple[str, int]]
    xyz: list[list[float]]

    @classmethod
    def of(cls, atoms: Atoms, own: Int, bonded: Bonded) -> _Around:
        who = atoms.identity
        names = list(zip(who.atom_name[own].tolist(), who.residue[own].tolist()))
        return cls(bonded, own.tolist(), who.altloc[own].tolist(), names, atoms.xyz[own].tolist())

    def near(self, at: int, conformer: str, but: int = -1) -> list[int]:
        """Up to three atoms bonded to the atom `at` of `own`, of one conformer and with different names."""
        names: dict[tuple[str, int], int] = {}
        centre = self.xyz[at]
        for k in self.bonded[at]:
            letter, n = self.letters[k], self.rows[k]
            if n == but or (letter and conformer and letter != conformer):
                continue
            if all(abs(a - b) < LONGEST_BOND for a, b in zip(self.xyz[k], centre)):
                names.setdefault(self.names[k], n)
        return list(names.values())[:3]


def _flat(xyz: Float, parent: Int, centre: Int, behind: list[list[int]]) -> NDArray[np.bool_]:
    """Whether each centre lies in one plane with the parent and two others, by the volume of the three bonds."""
    flat = np.zeros(len(centre), dtype=bool)
    rows = np.flatnonzero([len(ends) == 2 for ends in behind])
    if len(rows):
        three = np.column_stack([parent[rows], np.array([behind[k] for k in rows], dtype=np.int64)])
        arms = xyz[three] - xyz[centre[rows]][:, None]
        arms /= np.maximum(np.linalg.norm(arms, axis=2, keepdims=True), 1e-6)
        flat[rows] = np.abs(np.linalg.det(arms)) < _FLAT
    return flat


def _choose_ends(
    xyz: Float, child: Int, parent: Int, neighbour: Int, count: Int, single: Int, behind: list[list[int]]
) -> None:
    """Find the fourth atom of the torsions that place hydrogens; groups without any get no neighbours.

    It is the one that the dictionary's torsion counts from: with it, the torsion is a round number.
    """
    best, misfit = np.zeros(len(single), dtype=np.int64), np.full(len(single), np.inf)
    for k in range(3):
        has = np.flatnonzero([len(ends) > k for ends in behind])
        if not len(has):
            break
        end, rows = np.array([behind[i][k] for i in has], dtype=np.int64), single[has]
        angle = torsion(xyz[end], xyz[neighbour[rows, 0]], xyz[parent[rows]], xyz[child[rows]])
        off = np.abs(angle / _ROUND - np.round(angle / _ROUND))
        better = off < misfit[has] - 1e-3
        best[has[better]], misfit[has[better]] = end[better], off[better]
    found = np.isfinite(misfit)
    neighbour[single[found], 1] = best[found]
    count[single[~found]] = 0
