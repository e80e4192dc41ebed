"""Ligands as rigid fragments about bonds that turn, and where their atoms are in other poses.

A ligand is what bonds hold together beside chains and waters: a component, or several such as the sugars of a glycan.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from arrayrefine.atoms import Atoms
from arrayrefine.kernels.rotations import axis_and_angle, left_jacobian, rotated
from arrayrefine.rebuilding.occurrences import Occurrences
from arrayrefine.rebuilding.side_chains import FLATTER, Alike, Poses, Upright
from arrayrefine.restraints import Restraints
from arrayrefine.topology.polymers import Residue, of_polymers

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

_DOUBLE = {"CC": 1.42, "CN": 1.37, "CO": 1.36, "NN": 1.33, "NO": 1.33}
"""Å; shorter bonds are double in part, as those of amides and esters are, and do not turn."""
_FEWEST, _MOST, _MOST_BONDS = 4, 120, 40
"""Atoms of a ligand, fewer of which are ions or lie anyhow; and bonds that turn, beyond which poses are too many."""
EXPECTED = (float(np.radians(20.0)), 0.7, float(np.radians(30.0)))
"""Radians and Å; rotation, shift and torsions by which one that is nearly there may be off."""
_EXPECTED_HANGING = (float(np.radians(5.0)), 0.1, EXPECTED[2])
"""And one that hangs on another residue: angles at the link bend, and little else."""


@dataclass(frozen=True)
class Ligands(Alike):
    """R times a ligand: other poses of the same m atoms.

    Attributes
    ----------
    residues, rows, depth
        See `Alike`. The residue is the first of each ligand, or where it hangs on another residue, the one that does;
        `depth` is the rigid fragment that an atom belongs to, of most atoms 0.
    axes : (k, 2) int
        Columns of `rows`: bonds that turn, from the first fragment outwards.
    beyond : (k, k + 1) bool
        The fragments that each of them turns.
    around : (R,) float
        Å²; B of what is next to each.
    anchor : (R, a) int
        Atoms of another residue that stay where they are, on which it hangs; the last of them is bonded to it. Negative
        columns in `axes` are of these.
    about : (R, p) int
        Atoms about the middle of which it turns as a whole: all that move, or where it hangs, the one it is bonded to.
    own : (k,) bool
        Bonds that turn atoms of the residue at the link; what the others turn hangs there as a ligand of its own. All
        of what is free.
    """

    axes: Int
    beyond: Bool
    around: Float
    anchor: Int
    about: Int
    own: Bool

    keeps_shape: ClassVar[float] = 0.5

    @property
    def expected(self) -> tuple[float, float, float]:
        """By how much rotation, shift and torsions may be off, radians and Å."""
        return _EXPECTED_HANGING if self.hangs else EXPECTED

    @property
    def hangs(self) -> bool:
        """Whether they are bonded to what stays."""
        return bool(self.anchor.shape[1])

    def taken(self, chosen: Sequence[int] | Int) -> Ligands:
        """Some of them."""
        chosen = np.asarray(chosen, dtype=np.int64)
        residues = tuple(self.residues[k] for k in chosen.tolist())
        return dataclasses.replace(
            self, residues=residues, rows=self.rows[chosen], around=self.around[chosen], anchor=self.anchor[chosen],
            about=self.about[chosen],
        )  # fmt: skip

    def most_b(self, atoms: Atoms) -> Float:
        """B (R, m), Å², that atoms have in another place at most: not much more than what is next to them."""
        return np.repeat((self.around + FLATTER)[:, None], self.rows.shape[1], axis=1)

    def successive(self) -> list[tuple[int, int]]:
        """Bonds that turn, and those next to them further out."""
        depth = self.beyond[:, 1:].sum(axis=0)  # how many of them turn the fragment behind each
        one, two = np.nonzero(self.beyond[:, 1:] & (depth == depth[:, None] + 1))
        return list(zip(one.tolist(), two.tolist()))

    def chi(self, xyz: Float) -> Float:
        """Torsions (R, k), degrees, counted from where the ligands are."""
        return np.zeros((len(self.rows), len(self.axes)))

    def upright(self, xyz: Float) -> Upright:
        """As they are."""
        return Upright(xyz[self.rows], xyz[self.rows[:, :0]], self.chi(xyz))

    def posed(self, xyz: Float, poses: Poses, upright: Upright | None = None) -> Float:
        """Atoms (R, m, 3): bonds turned, then the whole rotated, and shifted."""
        moved = (xyz[self.rows] if upright is None else upright.atoms).copy()
        middle = self._middle(xyz)
        still, turn = xyz[self.anchor], np.radians(poses.chi)
        for k, (one, two) in enumerate(self.axes.tolist()):
            mine = self.beyond[k][self.depth]
            end = _column(moved, still, two)
            moved[:, mine] = rotated(moved[:, mine], end, end - _column(moved, still, one), turn[:, k])
        return rotated(moved, middle, *axis_and_angle(poses.rotation)) + poses.shift[:, None]

    def by_pose(self, xyz: Float, poses: Poses, placed: Float) -> Float:
        """Derivatives (R, m, 3, 6 + k) of the `placed` atoms (R, m, 3) by rotation, shift and torsions (radians)."""
        found = np.zeros((*placed.shape, 6 + len(self.axes)))
        from_pivot = placed - (self._middle(xyz) + poses.shift)[:, None]
        jacobian = left_jacobian(poses.rotation)
        for k in range(3):
            found[..., k] = np.cross(jacobian[:, None, :, k], from_pivot)
        found[..., 3:6] = np.eye(3)
        still = self._moved_with(xyz, poses)
        for k, (one, two) in enumerate(self.axes.tolist()):
            mine = self.beyond[k][self.depth]
            end = _column(placed, still, two)
            axis = end - _column(placed, still, one)
            axis = axis / np.linalg.norm(axis, axis=1, keepdims=True)
            found[..., 6 + k][:, mine] = np.cross(axis[:, None], placed[:, mine] - end[:, None])
        return found

    def _moved_with(self, xyz: Float, poses: Poses) -> Float:
        """The anchor (R, a, 3) rotated and shifted as what hangs on it: where the axes are that this turned about."""
        turned = rotated(xyz[self.anchor], self._middle(xyz), *axis_and_angle(poses.rotation))
        return np.asarray(turned + poses.shift[:, None])

    def _middle(self, xyz: Float) -> Float:
        """Where they turn about (R, 3)."""
        return np.asarray(xyz[self.about].mean(axis=1))


def _column(moved: Float, still: Float, column: int) -> Float:
    """Places (R, 3) of an atom by its column in `axes`."""
    return moved[:, column] if column >= 0 else still[:, column]


def joined_residues(atoms: Atoms, bonds: Int) -> tuple[list[Int], Int]:
    """Running numbers of the residues of each ligand; and the bonds (b, 2) between residues of one."""
    who = atoms.identity
    other = ~(atoms.is_water | of_polymers(who.residue_name))
    if not other.any():
        return [], np.zeros((0, 2), dtype=np.int64)
    inside = bonds[other[bonds].all(axis=1)]
    count = int(who.residue.max()) + 1
    one, two = who.residue[inside].T
    _, part = connected_components(coo_array((np.ones(len(one)), (one, two)), shape=(count, count)), directed=False)
    numbers = np.unique(who.residue[other])
    groups = [numbers[part[numbers] == k] for k in dict.fromkeys(part[numbers].tolist())]
    return groups, inside[one != two]


def pieces_of(atoms: Atoms, numbers: Int, bonds: Int) -> list[tuple[Int, tuple[int, int] | None]]:
    """What may move of residues that are joined: all of them where they are free; else what hangs on one bond each.

    Parameters
    ----------
    atoms : Atoms
    numbers : (n,) int
        Running numbers of the residues.
    bonds : (b, 2) int

    Returns
    -------
    list of (numbers, link)
        Residues, and their atom and that of another residue that are bonded; None of free ones. Pieces of pieces have
        their own place in the list, and nothing is where there are several bonds to others.
    """
    who = atoms.identity.residue
    bonds = bonds[~atoms.is_hydrogen[bonds].any(axis=1)]
    mine = np.isin(who[bonds], numbers)
    outside = bonds[mine.any(axis=1) & ~mine.all(axis=1)]
    if not len(outside):
        return [(numbers, None)]
    if len(outside) > 1:
        return []
    inside = bonds[mine.all(axis=1) & (who[bonds[:, 0]] != who[bonds[:, 1]])]
    own, other = sorted(outside[0].tolist(), key=lambda atom: who[atom] not in numbers)
    found: list[tuple[Int, tuple[int, int] | None]] = [(numbers, (own, other))]
    for k, (one, two) in enumerate(inside.tolist()):
        count, part = _parts(np.searchsorted(numbers, who[np.delete(inside, k, axis=0)]), len(numbers))
        beyond = part != part[np.searchsorted(numbers, who[own])]
        if count == 2:  # else they are joined in a ring
            far, near = (one, two) if beyond[np.searchsorted(numbers, who[one])] else (two, one)
            found.append((numbers[beyond], (far, near)))
    return found


class Bonded(NamedTuple):
    """What is looked up of a model for each of its ligands, of which there may be thousands."""

    atoms: Atoms
    restraints: Restraints
    heavy: Bool
    residues: Occurrences
    bonds: Occurrences
    planes: Occurrences

    @classmethod
    def of(cls, atoms: Atoms, restraints: Restraints) -> Bonded:
        """That of a model."""
        every = (atoms.identity.residue, restraints.bonds.index, restraints.planes.index)
        return cls(atoms, restraints, ~atoms.is_hydrogen, *map(Occurrences.of, every))

    def rows(self, numbers: Int) -> Int:
        """Atoms (m,) of some residues, without hydrogens."""
        every = self.residues.at(numbers)
        return every[self.heavy[every]]

    def bonds_of(self, rows: Int) -> tuple[Int, Float]:
        """Bonds (b, 2) of some atoms, to others or to each other but not to hydrogens, and their ideal lengths, Å."""
        known = self.restraints.bonds
        which = np.unique(self.bonds.at(rows) // 2)
        which = which[self.heavy[known.index[which]].all(axis=1)]
        return known.index[which], known.ideal[which]


def ligand_of(
    bonded: Bonded, numbers: Int, around: float, link: tuple[int, int] | None = None
) -> Ligands | None:
    """The ligand that some residues are; None where it has too few or too many atoms, or they do not hang together.

    One that hangs on another residue has a `link`: its atom, and that of the other, which stays.
    """
    who, rows = bonded.atoms.identity, bonded.rows(numbers)
    m = len(rows)
    if not _FEWEST <= m <= _MOST:
        return None
    anchor = _anchor(bonded, link)
    every, n = np.append(rows, anchor), m + len(anchor)
    column = dict(zip(every.tolist(), range(n)))
    index, ideal = bonded.bonds_of(every)
    within = np.isin(index, every).all(axis=1)
    ends = np.sort(np.array([column[atom] for atom in index[within].ravel().tolist()], int).reshape(-1, 2), axis=1)
    bonds = np.unique(ends, axis=0)
    if _parts(bonds, n)[0] > 1:
        return None
    single = _single(np.char.upper(bonded.atoms.element[every]), ends, ideal[within])
    turns = _that_turn(bonds, n, _flat(bonded, column), single)
    if len(turns) > _MOST_BONDS:
        return None
    axes, beyond, fragment = _tree(bonds, turns, n, m if len(anchor) else None)
    axes = np.where(axes < m, axes, axes - n)
    at = int(rows[0]) if link is None else link[0]
    names = dict(zip(who.atom_name[rows].tolist(), rows.tolist()))
    key = int(who.sequence_number[at]), str(who.insertion_code[at])
    first = Residue(int(who.residue[at]), str(who.chain[at]), str(who.residue_name[at]), key, names)
    at_link = np.unique(fragment[:m][who.residue[rows] == first.number])
    own = np.asarray(beyond[:, at_link].any(axis=1)) | (link is None)
    about = rows if link is None else anchor[-1:]
    return Ligands(
        (first,), rows[None], fragment[:m], axes, beyond, np.array([around]), anchor[None], about[None], own
    )


def _anchor(bonded: Bonded, link: tuple[int, int] | None) -> Int:
    """What stays where a ligand hangs on an atom: this last, its neighbours, and where it has one, those of that."""
    if link is None:
        return np.zeros(0, dtype=np.int64)

    def near(atom: int, but: int) -> list[int]:
        return sorted({*bonded.bonds_of(np.array([atom]))[0].ravel().tolist()} - {atom, but})

    own, other = link
    next_to = near(other, own)
    further = near(next_to[0], other) if len(next_to) == 1 else []
    return np.array([*further, *next_to, other], dtype=np.int64)


def _parts(bonds: Int, m: int) -> tuple[int, Int]:
    """How many parts bonds make of m atoms, and the part of each."""
    graph = coo_array((np.ones(len(bonds)), (bonds[:, 0], bonds[:, 1])), shape=(m, m))
    count, part = connected_components(graph, directed=False)
    return int(count), np.asarray(part, dtype=np.int64)


def _flat(bonded: Bonded, column: dict[int, int]) -> list[set[int]]:
    """Atoms of each plane, by their columns."""
    planes = bonded.restraints.planes
    at = bonded.planes.at(np.fromiter(column, np.int64))
    found: dict[int, set[int]] = {}
    for plane, atom in zip(planes.plane[at].tolist(), planes.index[at].tolist()):
        found.setdefault(plane, set()).add(column[atom])
    return list(found.values())


def _single(element: NDArray[np.str_], ends: Int, ideal: Float) -> set[tuple[int, int]]:
    """Bonds (b, 2), columns in order, that are single ones by their ideal lengths."""
    return {
        (one, two) for (one, two), length in zip(ends.tolist(), ideal.tolist())
        if length > _DOUBLE.get("".join(sorted((element[one], element[two]))), 0.0)
    }  # fmt: skip


def _that_turn(bonds: Int, m: int, planes: list[set[int]], single: set[tuple[int, int]]) -> Int:
    """Single bonds (k, 2) in no ring and across no plane, with atoms on both sides."""
    next_to: list[set[int]] = [set() for _ in range(m)]
    for one, two in bonds.tolist():
        next_to[one].add(two)
        next_to[two].add(one)
    found = []
    for one, two in bonds.tolist():
        left, right = next_to[one] - {two}, next_to[two] - {one}
        if not left or not right or (one, two) not in single:
            continue
        if any({one, two} <= plane and plane & left and plane & right for plane in planes):
            continue
        if not _around(next_to, one, two):
            found.append((one, two))
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _around(next_to: Sequence[set[int]], one: int, two: int) -> bool:
    """Whether a way leads from one end of a bond to the other that is not the bond."""
    seen, border = {one}, next_to[one] - {two}
    while border and two not in border:
        seen |= border
        border = set().union(*(next_to[atom] for atom in border)) - seen
    return bool(border)


def _tree(bonds: Int, turns: Int, m: int, root: int | None) -> tuple[Int, Bool, Int]:
    """Axes (k, 2) from the fragment of an atom, or the largest, outwards, which fragments (k, k + 1) each turns, and
    that of each atom.
    """
    keys = bonds @ np.array([m, 1])
    count, part = _parts(bonds[~np.isin(keys, turns @ np.array([m, 1]))], m)
    first = int(np.argmax(np.bincount(part)) if root is None else part[root])
    joins = part[turns]
    graph = coo_array((np.ones(len(joins)), (joins[:, 0], joins[:, 1])), shape=(count, count)).tocsr()
    order, before = breadth_first_order(graph, first, directed=False)
    place = np.empty(count, dtype=np.int64)
    place[order] = np.arange(count)
    axes = np.zeros((count - 1, 2), dtype=np.int64)
    for (one, two), (a, b) in zip(turns.tolist(), joins.tolist()):
        outwards = before[b] == a
        axes[place[b if outwards else a] - 1] = (one, two) if outwards else (two, one)
    beyond = np.zeros((count - 1, count), dtype=bool)
    for k in range(count - 1, 0, -1):
        beyond[k - 1, k] = True
        parent = place[before[order[k]]]
        if parent:
            beyond[parent - 1] |= beyond[k - 1]
    return axes, beyond, place[part]
