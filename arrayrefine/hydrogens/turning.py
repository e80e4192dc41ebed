"""Hydrogens that may turn about a bond, turned to where contacts, hydrogen bonds and the data want them.

Everything is in units of kT or of -log p, which are added: the barrier of the bond, contacts as the geometry target has
them, hydrogen bonds, and what the likelihood gains, to first order, from a hydrogen at a place when all those that turn
are left out of the model. Only work reflections enter.

From eleven displaced models (1ABA, 6MW0, 4XOF, 1RX2, 1CBS, 3SB3, 1DUR, 3G70, 5E5Z, a lysozyme and BR) R-free ends
0.0006 lower in the mean (0.0009 in the median; seven better) than with OH and SH left without occupancy, as gemmi has
them, and CH3 and NH3 as the dictionary has them. With OH, SH and NH3 turned and CH3 not, it is 0.0003 higher on seven.
Both are near the noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from arrayrefine.atoms import Atoms, coexist
from arrayrefine.crystal import Crystal
from arrayrefine.hydrogens.placing import Hydrogens
from arrayrefine.kernels.contacts import in_table, pairs_of
from arrayrefine.kernels.frames import Frames, on_cone, place
from arrayrefine.restraints import NonBonded
from arrayrefine.targets.contacts import pair_distances
from arrayrefine.targets.xray import XrayTarget

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_ANGLES = 24
"""Torsions that are tried over a full turn."""
_BARRIER = {"O": 1.8, "S": 2.1}
_BARRIER_OTHER, _BARRIER_FLAT = 5.0, 5.7
"""kT at 300 K, of methanol, methanethiol, ethane and phenol: Lowe (1968), Prog. Phys. Org. Chem. 6, 1-80."""
_BARRIER_ACID = 23.0
"""kT at 300 K, of formic acid: Hocking (1976), Z. Naturforsch. 31a, 1113-1121."""
_BOND_DEPTH, _BOND_LENGTH, _BOND_WIDTH = 6.0, 1.9, 0.35
"""Of a straight hydrogen bond: kT, and Å from the hydrogen to the acceptor."""
SIGMA = 0.2
"""Å; of a contact distance."""
_REACH = 4.4
"""Å; what is further from the parent does not meet the hydrogen."""
_ROUNDING = 1e-3
"""Å; of the distance of a hydrogen from its parent as it turns."""
_WORTH = 0.5
"""kT; a group stays where it is for less."""
_GIVEN = 4.0
"""The same by contacts alone, where the model gives the torsion: less than a hydrogen bond, or a clash of 0.6 Å."""
_SWEEPS = 3


class Met(NamedTuple):
    """Pairs of atoms near each other: one, another, the operator that brings it there (Å), whether it is a mate's."""

    first: Int
    other: Int
    rotation: Float
    shift: Float
    image: NDArray[np.bool_]


@dataclass(frozen=True)
class _Meetings:
    """Pairs of a turning hydrogen with another atom near it.

    Attributes
    ----------
    row : (P,) int
        The hydrogen, among those that turn.
    other : (P,) int
        The other atom, among those that turn for `moves`, among all atoms otherwise.
    rotation, shift : (P, 3, 3), (P, 3)
        Operator that brings the other atom near the hydrogen, Å.
    d0 : (P,) float64
        Distance below which they repel, Å.
    bonding : (P,) bool
        Whether they can make a hydrogen bond.
    """

    row: Int
    other: Int
    rotation: Float
    shift: Float
    d0: Float
    bonding: NDArray[np.bool_]

    def chosen(self, keep: NDArray[np.bool_], other: Int | None = None) -> _Meetings:
        """Those in a mask (P,)."""
        other = self.other if other is None else other
        return _Meetings(
            self.row[keep], other[keep], self.rotation[keep], self.shift[keep], self.d0[keep], self.bonding[keep]
        )

    def places(self, xyz: Float) -> Float:
        """Where the other atoms (P, 3) are, as they are met."""
        return np.asarray(np.einsum("pij,pj->pi", self.rotation, xyz[self.other]) + self.shift)

    def energy(self, tried: Float, parent: Float, xyz: Float, n: int) -> Float:
        """Energy (n, A) of each hydrogen at the places `tried` (n, A, 3) on its `parent` (n, 3); others at `xyz`."""
        to = self.places(xyz)[:, None] - tried[self.row]
        distance = np.sqrt(np.einsum("pai,pai->pa", to, to))
        short = np.minimum(distance - self.d0[:, None], 0.0) / SIGMA
        energy = 0.5 * short**2
        bonds = np.flatnonzero(self.bonding)
        arm = tried[self.row[bonds]] - parent[self.row[bonds]][:, None]
        energy[bonds] += bond_energy(distance[bonds]) * straightness(arm, to[bonds])
        return _summed(self.row, energy, n)


def turn_hydrogens(
    hydrogens: Hydrogens, atoms: Atoms, non_bonded: NonBonded, crystal: Crystal, xray: XrayTarget | None = None
) -> Atoms:
    """Turn every group to the best of the torsions tried.

    Parameters
    ----------
    hydrogens : Hydrogens
    atoms : Atoms
        Complete, with the hydrogens in their places.
    non_bonded : NonBonded
    crystal : Crystal
    xray : XrayTarget, optional
        With the scale, solvent and σ_A of these atoms; without it only contacts count.

    Returns
    -------
    Atoms
        The same object where nothing turns.
    """
    rotors = hydrogens.rotors
    if rotors is None or not len(rotors.rows):
        return atoms
    rows = rotors.rows
    frames = hydrogens.turned(atoms)
    leads, group, size = np.unique(rotors.lead[rows], return_inverse=True, return_counts=True)
    # The torsion as it is, the dictionary's, and steps from that; three that turn together look alike after a third.
    away = rotors.ideal[leads] - frames.value[leads, 2]
    shift = np.column_stack([np.zeros(len(leads)), away[:, None] + np.arange(_ANGLES) * (2.0 * np.pi / _ANGLES)])
    other = (size[:, None] < 3) | (np.arange(_ANGLES + 1) <= _ANGLES // 3)
    tried = on_cone(atoms.xyz, frames, rows, frames.value[rows, 2][:, None] + shift[group])
    child, parent = frames.child[rows], frames.parent[rows]
    parent_xyz = atoms.xyz[parent]
    meetings = _meetings(atoms, non_bonded, crystal, child, parent, group)
    number = np.full(len(atoms), -1)
    number[child] = np.arange(len(child))
    moving = number[meetings.other] >= 0
    each = meetings.chosen(~moving).energy(tried, parent_xyz, atoms.xyz, len(rows))
    if xray is not None:
        each += _by_data(xray, atoms, child, tried, other[group])
    energy = np.where(other, _summed(group, each, len(leads)), np.inf)
    element = atoms.element[frames.parent[leads]]
    energy += _barrier(element, rotors.flat[leads], rotors.acid[leads], size, shift - away[:, None])
    given = np.zeros(len(leads), dtype=bool) if hydrogens.given is None else hydrogens.given[leads]
    worth = np.where(given & (xray is None), _GIVEN, _WORTH)
    choice = _settle(energy, worth, tried, parent_xyz, group, meetings.chosen(moving, number[meetings.other]))
    still = rows[(given & (choice == 0))[group]]
    return _with(atoms, frames, rows, frames.value[rows, 2] + shift[group, choice[group]], still)


def _summed(row: Int, values: Float, n: int) -> Float:
    """Sums (n, A) of the values (P, A) that belong to each row."""
    pick = sparse.csr_array((np.ones(len(row)), (row, np.arange(len(row)))), shape=(n, len(row)))
    return np.asarray(pick @ values)


def _with(atoms: Atoms, frames: Frames, rows: Int, torsions: Float, still: Int) -> Atoms:
    """The atoms with riding ones `rows` at these torsions; those `still` are where they were to the last bit.

    Measured and placed again they would differ by a rounding each time, and nothing given would ever be at rest.
    """
    turn = frames.value[:, 2].copy()
    turn[rows] = torsions
    xyz = atoms.xyz.copy()
    xyz[frames.child] = place(frames.with_torsion(turn), atoms.xyz)
    xyz[frames.child[still]] = atoms.xyz[frames.child[still]]
    return atoms.replace(xyz=xyz)


def _barrier(
    element: NDArray[np.str_], flat: NDArray[np.bool_], acid: NDArray[np.bool_], size: Int, from_ideal: Float
) -> Float:
    """Energy (G, A) of the torsions about the bonds, by their distance from the ideal, radians."""
    twofold = flat & (size == 1)
    height = np.array([_BARRIER.get(e, _BARRIER_OTHER) for e in element.tolist()])
    height = np.where(twofold, np.where(acid, _BARRIER_ACID, _BARRIER_FLAT), np.where(flat, 0.2 * height, height))
    period = np.where(twofold, 2.0, 3.0)
    return np.asarray(0.5 * height[:, None] * (1.0 - np.cos(period[:, None] * from_ideal)))


def _meetings(
    atoms: Atoms, nb: NonBonded, crystal: Crystal, child: Int, parent: Int, group: Int
) -> _Meetings:
    """All that hydrogens may meet, but those that turn with them or are held by bonds."""
    first, other, rotation, shift, image = met_by(np.unique(parent), atoms, crystal, _REACH)
    # Each pair of a parent becomes one of each of its hydrogens.
    order = np.argsort(parent, kind="stable")
    begin, end = (np.searchsorted(parent[order], first, side=side) for side in ("left", "right"))
    count = end - begin
    pair = np.repeat(np.arange(len(first)), count)
    row = order[np.repeat(begin, count) + np.arange(len(pair)) - np.repeat(np.cumsum(count) - count, count)]
    other, image, h = other[pair], image[pair], child[row]
    keep = may_meet(atoms, nb, h, other, image)
    number = np.full(len(atoms), -1)
    number[child] = group
    keep &= image | (number[other] != group[row])
    d0 = pair_distances(nb, h, other, np.zeros(len(h), dtype=bool))
    bonding = nb.hydrogen[h] & nb.acceptor[other]
    every = _Meetings(row, other, rotation[pair], shift[pair], d0, bonding).chosen(keep)
    arm = np.linalg.norm(atoms.xyz[child] - atoms.xyz[parent], axis=1)
    away = every.places(atoms.xyz) - atoms.xyz[parent[every.row]]
    short = np.einsum("pi,pi->p", away, away) < (every.d0 + arm[every.row] + _ROUNDING) ** 2
    return every.chosen(short | every.bonding | (number[every.other] >= 0))  # what turns may come nearer


def bond_energy(distance: Float, length: float = _BOND_LENGTH) -> Float:
    """Of straight hydrogen bonds, kT; `length` is the best distance, Å."""
    return np.asarray(-_BOND_DEPTH * np.exp(-0.5 * ((distance - length) / _BOND_WIDTH) ** 2))


def straightness(arm: Float, to: Float) -> Float:
    """cos² between bonds to hydrogens (..., 3) and where these point to; 0 where they point away, or are none."""
    length = np.sqrt(np.einsum("...i,...i->...", to, to)) * np.sqrt(np.einsum("...i,...i->...", arm, arm))
    cosine = np.einsum("...i,...i->...", arm, to) / np.maximum(length, 1e-6)
    return np.asarray(np.maximum(cosine, 0.0) ** 2)


def met_by(rows: Int, atoms: Atoms, crystal: Crystal, reach: float) -> Met:
    """All that some atoms (n,) have within `reach` (Å), each pair as each of its atoms sees the other."""
    near = pairs_of(rows, atoms.xyz, crystal.rotations, crystal.translations, crystal.orth, crystal.frac, reach)
    cartesian = np.einsum("ij,gjk,kl->gil", crystal.orth, crystal.rotations.astype(float), crystal.frac)
    rotation, shift = cartesian[near.op], crystal.cartesian(near.shift)
    two = near.i != near.j  # an atom's own images are listed in both directions
    back = np.transpose(rotation[two], (0, 2, 1))
    return Met(
        np.concatenate([near.i, near.j[two]]), np.concatenate([near.j, near.i[two]]), np.concatenate([rotation, back]),
        np.concatenate([shift, -np.einsum("pij,pj->pi", back, shift[two])]),
        np.concatenate([near.image, near.image[two]]),
    )  # fmt: skip


def may_meet(atoms: Atoms, nb: NonBonded, h: Int, other: Int, image: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether atoms are there together and no bonds hold them."""
    n = len(atoms)
    i, j = np.minimum(h, other), np.maximum(h, other)
    held = in_table(i, j, nb.excluded, n) | in_table(i, j, nb.one_four, n)
    across = in_table(i, j, nb.excluded_images, n)
    return coexist(nb.conformer[h], nb.conformer[other]) & ~np.where(image, across, held) & (atoms.occupancy[other] > 0)


def _by_data(xray: XrayTarget, atoms: Atoms, child: Int, tried: Float, wanted: NDArray[np.bool_]) -> Float:
    """-log p (T, A) that hydrogens add at the places tried and `wanted` (T, A), to first order in their occupancy."""
    others = xray.f_calc(atoms) - xray.structure_factors.like(child)(atoms.taken(child))
    _, d_f = xray.by_structure_factor(others)
    row, column = np.nonzero(wanted)
    source = child[row]
    placed = atoms.taken(source).replace(xyz=tried[row, column], occupancy=np.zeros(len(source)))
    gained = np.zeros(wanted.shape)
    gained[row, column] = xray.structure_factors.like(source).pullback(d_f, placed).occupancy
    return atoms.occupancy[child][:, None] * gained


def _settle(energy: Float, worth: Float, tried: Float, parent_xyz: Float, group: Int, moving: _Meetings) -> Int:
    """The best torsion of each group (G,), groups that meet one after the other, a few times over."""
    choice = _best(energy, worth)
    if not len(moving.row):
        return choice
    n = len(group)
    colour = _colours(group[moving.row], group[moving.other], len(energy))
    for _ in range(_SWEEPS):
        before = choice.copy()
        for c in range(int(colour.max()) + 1):
            now = tried[np.arange(n), choice[group]]
            met = moving.chosen(colour[group[moving.row]] == c).energy(tried, parent_xyz, now, n)
            choice = np.where(colour == c, _best(energy + _summed(group, met, len(energy)), worth), choice)
        if (choice == before).all():
            break
    return choice


def _best(energy: Float, worth: Float) -> Int:
    """Column with the least energy, the first (as it is) where no more than `worth` (G,) is gained."""
    best = np.argmin(energy, axis=1)
    gain = energy[:, 0] - energy[np.arange(len(energy)), best]
    return np.where(gain > worth, best, 0)


def _colours(one: Int, two: Int, n: int) -> Int:
    """Numbers (n,) that differ between groups that meet, so that those of one colour can turn at once."""
    colour = np.full(n, -1)
    meets: dict[int, set[int]] = {}
    for a, b in zip(one.tolist(), two.tolist()):
        meets.setdefault(a, set()).add(b)
        meets.setdefault(b, set()).add(a)
    for a in range(n):
        taken = {int(colour[b]) for b in meets.get(a, ())}
        colour[a] = next(c for c in range(n + 1) if c not in taken)
    return colour
