"""Ends of Asn, Gln and His, and carboxamides, each as it is and turned by half: where atoms are, and what these meet.

Density shows O and N, or C and N, much alike; what they bind tells them apart (Word, Lovell, Richardson & Richardson
(1999), J. Mol. Biol. 285, 1735-1747). Energies are in units of kT, as for hydrogens that turn (`turning`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.hydrogens.turning import SIGMA, bond_energy, may_meet, met_by, straightness
from arrayrefine.kernels.contacts import pairs_of
from arrayrefine.rebuilding.bound import loose_hydrogens
from arrayrefine.restraints import NonBonded
from arrayrefine.targets.contacts import POLAR_HYDROGEN, TOGETHER, pair_distances
from arrayrefine.topology.polymers import Residue

Float = NDArray[np.float64]
Int = NDArray[np.int64]

EndNames: TypeAlias = tuple[tuple[str, str], tuple[tuple[str, str], ...]]
"""Names of the atoms of a bond, and of pairs of atoms that take each other's place as the end turns about it."""
ENDS: dict[str, EndNames] = {
    "ASN": (("CB", "CG"), (("OD1", "ND2"),)),
    "GLN": (("CG", "CD"), (("OE1", "NE2"),)),
    "HIS": (("CB", "CG"), (("ND1", "CD2"), ("CE1", "NE2"))),
}
"""The bond about which an end turns, and the atoms that take each other's place."""

_BARE = ("ND1", "NE2")
"""N of histidines, of which hydrogens are there or not (their occupancy is 0)."""
WORTH_TURNING = 7.0
"""What must be gained where an end turns, in units of kT and log p: a little more than by a good hydrogen bond."""
_REACH = 8.5
"""Å; hydrogens go as far as 4.3 Å when an end turns, and what they meet there is no further from where they were."""
_NEAR = 4.0
"""Å; ends of which heavy atoms are nearer to each other meet."""
_BLOCK = 256
"""Ends at a time: each meets a thousand atoms or so, for which operators are kept."""
_HEAVY_BOND = 2.85
"""Å; from the N of NH3 to its acceptor."""
_HARD = 2.0
"""Sigmas of a contact beyond which its energy rises no faster: what meets there gives way."""
_ACCEPTED = 1.55 + POLAR_HYDROGEN
"""Å; from a bare N of histidine to the hydrogen that it accepts, at least."""
_CHARGED = 1.0
"""kT; of a histidine with both its protons."""


@dataclass(frozen=True)
class End:
    """Atoms (M,) of one end, the heavy ones first.

    Attributes
    ----------
    residue : Residue
    rows : (M,) int
        The heavy atoms, partner beside partner, then their hydrogens.
    partner : (M,) int
        Of heavy atoms the row of the one whose place it would take; of hydrogens their own.
    parent : (M,) int
        Position in `rows` of what a hydrogen rides on; of heavy atoms their own.
    here, there : (M, 3)
        Places as they are, and as they would be: heavy atoms in each other's, hydrogens on them, with their bonds
        turned by half about that of the end.
    names : EndNames
        Which atoms it has.
    """

    residue: Residue
    rows: Int
    partner: Int
    parent: Int
    here: Float
    there: Float
    names: EndNames = (("", ""), ())

    @property
    def heavy(self) -> int:
        """Number of heavy atoms."""
        return int((self.parent == np.arange(len(self.rows))).sum())

    @property
    def key(self) -> int:
        """What tells it from others: its first row."""
        return int(self.rows[0])

    @property
    def heavy_rows(self) -> Int:
        """The heavy atoms."""
        return self.rows[: self.heavy]


def end_of(residue: Residue, atoms: Atoms, end: EndNames | None = None) -> End | None:
    """The end of a residue that has one, by itself or the `end` given, with hydrogens on its N; None for others."""
    end = end or ENDS.get(residue.name, (("", ""), ()))
    (one, two), pairs = end
    names = [name for pair in pairs for name in pair]
    if not pairs or not residue.atoms.keys() >= {one, two, *names}:
        return None
    heavy = np.array([residue.atoms[name] for name in names])
    riding = atoms.riding
    mine = np.flatnonzero(np.isin(riding.parent, heavy))
    parents = riding.parent[mine]
    if not (atoms.element[parents] == "N").any():
        return None
    xyz, hydrogens = atoms.xyz, riding.child[mine]
    swapped = np.arange(len(heavy)).reshape(-1, 2)[:, ::-1].ravel()
    axis = xyz[residue.atoms[two]] - xyz[residue.atoms[one]]
    axis /= np.linalg.norm(axis)
    arm = xyz[hydrogens] - xyz[parents]
    rows = np.append(heavy, hydrogens)
    position = {row: k for k, row in enumerate(heavy.tolist())}
    turned = 2.0 * np.outer(arm @ axis, axis) - arm
    parent = np.append(np.arange(len(heavy)), [position[row] for row in parents.tolist()]).astype(np.int64)
    return End(
        residue, rows, np.append(heavy[swapped], hydrogens), parent, xyz[rows],
        np.concatenate([xyz[heavy[swapped]], xyz[heavy[swapped][parent[len(heavy) :]]] + turned]), end,
    )  # fmt: skip


def ends_of(
    atoms: Atoms, residues: Sequence[Residue], crystal: Crystal, stays: NDArray[np.bool_],
    more: Sequence[tuple[Residue, EndNames]] = (),
) -> list[End]:  # fmt: skip
    """Ends that may turn, of residues by their names and `more`: there, of one conformer, off axes, and none of their
    atoms among those that stay (N,).

    Those that meet a mate of themselves do not, as it would turn with them; nor do those with hydrogens that would stay
    behind.
    """
    stays = stays | (atoms.occupancy <= 0.0) | (atoms.multiplicity > 1)
    behind = set(atoms.identity.residue[loose_hydrogens(atoms)].tolist())
    every = [*((residue, None) for residue in residues), *more]
    found = [end_of(residue, atoms, end) for residue, end in every if residue.number not in behind]
    whole = [
        end for end in found
        if end is not None and not (stays[end.heavy_rows].any() or (atoms.identity.altloc[end.rows] != "").any())
    ]  # fmt: skip
    near = near_each_other(atoms, crystal, whole)
    return [end for k, end in enumerate(whole) if (k, k) not in near]


def near_each_other(atoms: Atoms, crystal: Crystal, ends: Sequence[End]) -> set[tuple[int, int]]:
    """Pairs of ends, by their numbers, in both orders, of which heavy atoms are near, mates included."""
    if not ends:
        return set()
    rows = np.concatenate([end.heavy_rows for end in ends])
    number = np.full(len(atoms), -1)
    number[rows] = np.repeat(np.arange(len(ends)), [end.heavy for end in ends])
    near = pairs_of(rows, atoms.xyz, crystal.rotations, crystal.translations, crystal.orth, crystal.frac, _NEAR)
    one, two = number[near.i], number[near.j]
    keep = (one >= 0) & (two >= 0) & (near.image | (one != two))
    found = set(zip(one[keep].tolist(), two[keep].tolist()))
    return found | {(b, a) for a, b in found}


def gained_by_contacts(atoms: Atoms, non_bonded: NonBonded, crystal: Crystal, ends: Sequence[End]) -> Float:
    """By how much (E,) the energy of what each end meets is lower the other way round, kT."""
    blocks = [ends[k : k + _BLOCK] for k in range(0, len(ends), _BLOCK)]
    return np.concatenate([np.zeros(0), *(_gained(atoms, non_bonded, crystal, block) for block in blocks)])


def _gained(atoms: Atoms, non_bonded: NonBonded, crystal: Crystal, ends: Sequence[End]) -> list[float]:
    rows = np.concatenate([end.rows for end in ends])
    owner = np.repeat(np.arange(len(ends)), [len(end.rows) for end in ends])
    first = np.searchsorted(owner, np.arange(len(ends)))
    parent = np.concatenate([end.parent + k for end, k in zip(ends, first)])
    met = _Met.of(atoms, non_bonded, crystal, rows, owner)
    here = met.energies(np.concatenate([end.here for end in ends]), parent)
    there = met.energies(np.concatenate([end.there for end in ends]), parent)
    gained = []
    for end, k in zip(ends, first.tolist()):
        mine = slice(k, k + len(end.rows))
        gained.append(_total(end, atoms, here[:, mine]) - _total(end, atoms, there[:, mine]))
    return gained


def _total(end: End, atoms: Atoms, energy: Float) -> float:
    """Energy of an end from those of its atoms (2, M), as they are and as N without hydrogen.

    Of a histidine with hydrogens on both N the protons are where they serve best; with one, it is there.
    """
    nitrogens = np.flatnonzero(atoms.element[end.heavy_rows] == "N").tolist()
    if len(nitrogens) < 2:
        return float(energy[0].sum())
    without = {n: float(energy[0, end.parent != n].sum() + energy[1, n]) for n in nitrogens}
    bare = [n for n in nitrogens if (end.parent == n).sum() == 1]
    if bare:
        return without[bare[0]]
    return min(float(energy[0].sum()) + _CHARGED, *without.values())


@dataclass(frozen=True)
class _Met:
    """P pairs of an atom of an end with another one.

    Attributes
    ----------
    number : (P,) int
        The atom of the end, among the `count` of all ends.
    there, carrier : (P, 3)
        Where the other one is met, and what it rides on.
    limit : (P,)
        Distance below which they repel, Å.
    own_hydrogen, accepts : (P,) bool
        Whether the atom of the end is a polar hydrogen, or accepts some.
    takes, gives, ammonium : (P,) bool
        Whether the other one accepts hydrogens alone, is a polar hydrogen that does not turn, or N of three that do.
    weight : (P,)
        Share of the end that the other one is there with.
    """

    number: Int
    there: Float
    carrier: Float
    limit: Float
    own_hydrogen: NDArray[np.bool_]
    accepts: NDArray[np.bool_]
    takes: NDArray[np.bool_]
    gives: NDArray[np.bool_]
    ammonium: NDArray[np.bool_]
    weight: Float
    count: int

    @classmethod
    def of(cls, atoms: Atoms, nb: NonBonded, crystal: Crystal, rows: Int, owner: Int) -> _Met:
        """Of the atoms `rows` (M,) of ends `owner` (M,).

        Hydrogens that turn give way, and are left out. What can take a hydrogen and give one, as waters, serves an end
        either way round; so does N of another histidine, which is left out, as it may be bare.
        """
        n, occupancy = len(atoms), atoms.occupancy
        met = met_by(rows, atoms, crystal, _REACH)
        number, whose = np.full(n, -1), np.full(n, -1)
        number[rows], whose[rows] = np.arange(len(rows)), owner
        turning, ammonium = _turning(atoms)
        first, other = met.first, met.other
        keep = (number[first] >= 0) & (met.image | (whose[first] != whose[other]))
        bare = (atoms.identity.residue_name == "HIS") & np.isin(atoms.identity.atom_name, _BARE)
        keep &= may_meet(atoms, nb, first, other, met.image) & ~(turning | bare)[other]
        own = occupancy[rows[np.searchsorted(owner, np.arange(owner[-1] + 1))]]  # of the first heavy atom of each
        share = own[whose[first]]
        keep &= ~met.image | (share + occupancy[other] > TOGETHER)
        weight = np.minimum(1.0, occupancy[other] / share)[keep]
        first, other, rotation, shift = first[keep], other[keep], met.rotation[keep], met.shift[keep]
        carrier = np.arange(n)
        carrier[atoms.riding.child] = atoms.riding.parent

        def placed(which: Int) -> Float:
            return np.asarray(np.einsum("pij,pj->pi", rotation, atoms.xyz[which]) + shift)

        takes, gives = nb.acceptor & ~nb.donor & ~atoms.is_hydrogen, nb.hydrogen
        limit = pair_distances(nb, first, other, np.zeros(len(first), dtype=bool))
        return cls(
            number[first], placed(other), placed(carrier[other]), limit, nb.hydrogen[first],
            takes[first], takes[other], gives[other], ammonium[other], weight, len(rows),
        )  # fmt: skip

    def energies(self, xyz: Float, parent: Int) -> Float:
        """Energies (2, M) of atoms at `xyz` (M, 3) that ride on `parent` (M,): as they are, and as bare acceptors."""
        to = self.there - xyz[self.number]
        distance = np.linalg.norm(to, axis=1)
        arm = (xyz - xyz[parent])[self.number]
        given = bond_energy(distance) * straightness(arm, to)
        taken = bond_energy(distance) * straightness(self.there - self.carrier, -to)
        taken = np.where(self.gives, taken, np.where(self.ammonium, bond_energy(distance, _HEAVY_BOND), 0.0))
        repelled = _repulsion(distance - self.limit)
        bare = np.where(self.gives, _repulsion(distance - self.limit.clip(max=_ACCEPTED)), repelled) + taken
        plain = repelled + np.where(self.own_hydrogen & self.takes, given, 0.0) + np.where(self.accepts, taken, 0.0)
        return np.array([np.bincount(self.number, one * self.weight, self.count) for one in (plain, bare)])


def _turning(atoms: Atoms) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Atoms (N,) that are hydrogens which turn, on O, S or NH3; and N of the last."""
    child, parent = atoms.riding.child, atoms.riding.parent
    names = {(k, name) for k, name in zip(parent.tolist(), atoms.identity.atom_name[child].tolist())}
    count = np.bincount([k for k, _ in names], minlength=len(atoms))  # conformers of one hydrogen are one
    ammonium = (atoms.element == "N") & (count >= 3)
    turning = np.zeros(len(atoms), dtype=bool)
    turning[child[np.isin(atoms.element[parent], ("O", "S")) | ammonium[parent]]] = True
    return turning, ammonium


def _repulsion(beyond: Float) -> Float:
    """Of distances (P,) over what contacts allow, Å."""
    short = np.maximum(-beyond, 0.0) / SIGMA
    return np.where(short < _HARD, 0.5 * short**2, _HARD * short - 0.5 * _HARD**2)
