"""Which pairs of atoms may not come too close, and how close: the contact part of the geometry target."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, coexist
from arrayrefine.crystal import Crystal
from arrayrefine.kernels.contacts import (
    Pairs,
    in_table,
    neighbour_pairs,
    pair_weights,
    pairs_of,
    repulsion_terms,
    separations,
    squared_distances,
)
from arrayrefine.kernels.contacts_tables import Rules, Symmetry
from arrayrefine.kernels.processes import told
from arrayrefine.restraints import NonBonded, Restraints

if TYPE_CHECKING:
    from arrayrefine.kernels.contacts_cuda import ContactPlan

Float = NDArray[np.float64]
Int = NDArray[np.int64]

SKIN = 0.6
"""Å; pairs this much beyond their limit are listed too: the list lasts until an atom moves by half of it."""
REACH = 2.2
"""Å; pairs this much beyond their limit are candidates, from which lists are made without a search."""
SELF_CONTACT = 0.8
"""Å; an atom closer to its own image sits on a special position."""
CLASH = 0.3
"""Å; overlap from which a contact is a clash."""
_FEW = 0.02
"""Fraction of the atoms for which a search for those alone is worth while."""
HYDROGEN_BOND = -0.3
"""Å; donor-acceptor pairs may come this much closer (REFMAC, Servalcat)."""
POLAR_HYDROGEN = 0.1
"""Å; a polar hydrogen may come to the acceptor's radius + this (REFMAC, Servalcat)."""
TOGETHER = 1.0 + 1e-3
"""An atom and a symmetry mate whose occupancies sum to no more than this are never there at the same time."""


@dataclass(frozen=True)
class _List:
    """Listed pairs at the coordinates they were listed for. Columns as in `repulsion_terms`."""

    xyz: Float
    i: Int
    j: Int
    rotation: Float
    shift: Float
    image: Int
    d0: Float
    weight: Float

    def moved(self, xyz: Float, limit: float) -> Int:
        """Atoms (m,) that have moved by `limit` (Å)."""
        by = xyz - self.xyz
        return np.flatnonzero(np.einsum("ij,ij->i", by, by) >= limit**2)

    def near(self, xyz: Float, q: Float, skin: float) -> _List:
        """The pairs of atoms that are there together by occupancies q, and at most `skin` (Å) beyond their limit."""
        squared = squared_distances(xyz, self.i, self.j, self.rotation, self.shift, self.image)
        keep = squared < (self.d0 + skin) ** 2
        if (q <= 0.0).any():
            keep &= (q[self.i] > 0.0) & (q[self.j] > 0.0)
        keep[self.image] &= q[self.i[self.image]] + q[self.j[self.image]] > TOGETHER
        kept = np.flatnonzero(keep)
        mates = keep[self.image]
        image = np.searchsorted(kept, self.image[mates])
        return _List(
            xyz.copy(), self.i[kept], self.j[kept], self.rotation[mates], self.shift[mates], image, self.d0[kept],
            self.weight[kept],
        )  # fmt: skip


@dataclass(frozen=True)
class Contacts:
    """Repulsion of atoms that are not bonded, symmetry mates included.

    Left out: the pairs that the restraints exclude, different conformers, atoms without occupancy, an
    atom's own image on a special position, symmetry mates that cannot be there together (occupancies that
    sum to at most 1), and pairs of which both atoms are held. A minimisation goes by the occupancies of its start, see
    `at`, as a pair that came and went with them would be a jump.
    """

    non_bonded: NonBonded
    held: NDArray[np.bool_]
    crystal: Crystal
    sigma: float
    occupancy: Float | None = field(default=None, compare=False, repr=False)
    _list: list[_List] = field(default_factory=list, compare=False, repr=False)
    _occupancy: list[Float] = field(default_factory=list, compare=False, repr=False)
    _candidates: list[_List] = field(default_factory=list, compare=False, repr=False)

    @classmethod
    def of(cls, restraints: Restraints, crystal: Crystal, sigma: float) -> Contacts:
        """Contacts between the atoms of the restraints; sigma in Å. Pairs are listed when they are first asked for."""
        return cls(restraints.non_bonded, restraints.held, crystal, sigma)

    def evaluate(self, atoms: Atoms) -> tuple[Float, Float, Int, Float]:
        """Contacts that are too short: z, jacobian (k, 2, 3), index (k, 2) and weight (k,)."""
        pairs = self._pairs(atoms)
        sigma = np.full(len(pairs.d0), self.sigma)
        active, z, jacobian = repulsion_terms(
            atoms.xyz,
            pairs.i,
            pairs.j,
            pairs.rotation,
            pairs.shift,
            pairs.image,
            pairs.d0,
            sigma,
            pairs.weight,
        )
        return z, jacobian, np.column_stack([pairs.i[active], pairs.j[active]]), pairs.weight[active]

    def clashing(self, atoms: Atoms) -> Int:
        """Pairs (c, 2) that are too close by more than `CLASH`, symmetry mates aside."""
        pairs = self._pairs(atoms)
        delta = separations(atoms.xyz, pairs.i, pairs.j, pairs.rotation, pairs.shift, pairs.image)
        close = np.linalg.norm(delta, axis=1) < pairs.d0 - CLASH
        close[pairs.image] = False
        return np.column_stack([pairs.i[close], pairs.j[close]])

    def at(self, atoms: Atoms) -> Contacts:
        """The same for a minimisation that starts at `atoms`, whose occupancies choose the pairs all along."""
        return dataclasses.replace(self, occupancy=atoms.occupancy)

    def forgetful(self) -> Contacts:
        """The same without the lists that it keeps."""
        return dataclasses.replace(self, _list=[], _occupancy=[], _candidates=[])

    def agree(self) -> None:
        """In a team of processes, take over the lists of the first one, which alone may have kept them up."""
        first = told(lambda: (self._list, self._occupancy, self._candidates))
        self._list[:], self._occupancy[:], self._candidates[:] = first

    @property
    def symmetry(self) -> Symmetry:
        """Cell and operators as the device wants them."""
        crystal = self.crystal
        return Symmetry(crystal.rotations, crystal.translations, crystal.orth, crystal.frac)

    @property
    def reach(self) -> float:
        """Distance up to which pairs are listed on the device, Å."""
        return float(distance_kinds(self.non_bonded)[1].max(initial=0.0)) + SKIN

    def device_plan(self, multiplicity: Int, n_models: int = 1, capacity: int | None = None) -> ContactPlan:
        """Prepare the same contacts on the CUDA device, for `contacts_cuda.evaluate`.

        Parameters
        ----------
        multiplicity : (N,) int
            Operators that map each atom onto itself.
        n_models, capacity : int
            See `contacts_cuda.plan`.
        """
        from arrayrefine.kernels import contacts_cuda

        nb = self.non_bonded
        kind, limit = distance_kinds(nb)
        rules = Rules(
            kind, limit, nb.conformer, self.held, multiplicity, nb.excluded, nb.excluded_images, nb.one_four,
            self.sigma, self.reach, SKIN, SELF_CONTACT, TOGETHER,
        )  # fmt: skip
        return contacts_cuda.plan(self.symmetry, rules, len(kind), n_models, capacity)

    def _pairs(self, atoms: Atoms) -> _List:
        """The list in force, made anew when an atom has moved by half the skin."""
        occupancy = atoms.occupancy if self.occupancy is None else self.occupancy
        if (
            self._list
            and np.array_equal(self._occupancy[0], occupancy)
            and not len(self._list[0].moved(atoms.xyz, 0.5 * SKIN))
        ):
            return self._list[0]
        candidates = self._candidates_of(atoms)
        self._list[:] = [candidates.near(atoms.xyz, occupancy, SKIN)]
        self._occupancy[:] = [occupancy.copy()]
        return self._list[0]

    def _candidates_of(self, atoms: Atoms) -> _List:
        """Candidates that hold for these atoms; where few have moved far, only those are searched for again."""
        if not self._candidates:
            self._candidates.append(self._search(atoms))
            return self._candidates[0]
        moved = [known.moved(atoms.xyz, 0.5 * (REACH - SKIN)) for known in self._candidates]
        best = int(np.argmin([len(m) for m in moved]))
        if len(moved[best]) == 0:
            return self._candidates[best]
        few = len(moved[best]) <= _FEW * len(atoms)
        made = self._renewed(self._candidates[best], moved[best], atoms) if few else self._search(atoms)
        # The weights look at a displaced copy now and then: candidates for the model and for the copy are kept.
        self._candidates[:] = [made, *(known for k, known in enumerate(self._candidates) if k != best or not few)][:2]
        return made

    def _search(self, atoms: Atoms) -> _List:
        return self._limited(neighbour_pairs(atoms.xyz, *self._symmetry(), self._cutoff()), atoms)

    def _renewed(self, known: _List, moved: Int, atoms: Atoms) -> _List:
        """Candidates with those of the atoms that have `moved` (m,) made anew."""
        added = self._limited(pairs_of(moved, atoms.xyz, *self._symmetry(), self._cutoff()), atoms)
        stays = np.ones(len(atoms), dtype=bool)
        stays[moved] = False
        keep = stays[known.i] & stays[known.j]
        kept, mates = np.flatnonzero(keep), keep[known.image]
        xyz = known.xyz.copy()
        xyz[moved] = atoms.xyz[moved]
        image = np.concatenate([np.searchsorted(kept, known.image[mates]), added.image + len(kept)])
        whole = [np.concatenate([getattr(known, k)[kept], getattr(added, k)]) for k in ("i", "j", "d0", "weight")]
        turned = [np.concatenate([getattr(known, k)[mates], getattr(added, k)]) for k in ("rotation", "shift")]
        return _List(xyz, whole[0], whole[1], turned[0], turned[1], image, whole[2], whole[3])

    def _symmetry(self) -> tuple[NDArray[np.int32], Float, Float, Float]:
        crystal = self.crystal
        return crystal.rotations, crystal.translations, crystal.orth, crystal.frac

    def _cutoff(self) -> float:
        return 2.0 * float(self.non_bonded.radius.max(initial=0.0)) + REACH

    def _limited(self, pairs: Pairs, atoms: Atoms) -> _List:
        """Of pairs within the largest reach of all, those within their own that may repel."""
        nb = self.non_bonded
        one_four = in_table(pairs.i, pairs.j, nb.one_four, len(atoms)) & ~pairs.image
        d0 = pair_distances(nb, pairs.i, pairs.j, one_four)
        distance = self._distances(pairs, atoms)
        near = (distance < d0 + REACH) & ~((pairs.i == pairs.j) & (distance < SELF_CONTACT))
        pairs, d0 = pairs.taken(near), d0[near]
        allowed = self._allowed(pairs, atoms)
        pairs, d0 = pairs.taken(allowed), d0[allowed]
        image = np.flatnonzero(pairs.image)
        rotation, shift = self._operators(pairs, image)
        weight = pair_weights(pairs.i, pairs.j, atoms.multiplicity)
        return _List(atoms.xyz.copy(), pairs.i, pairs.j, rotation, shift, image, d0, weight)

    def _distances(self, pairs: Pairs, atoms: Atoms) -> Float:
        image = np.flatnonzero(pairs.image)
        rotation, shift = self._operators(pairs, image)
        squared = squared_distances(atoms.xyz, pairs.i, pairs.j, rotation, shift, image)
        return np.sqrt(squared, out=squared)

    def _operators(self, pairs: Pairs, image: Int) -> tuple[Float, Float]:
        """Cartesian rotations and translations of the pairs with an image."""
        crystal = self.crystal
        cartesian = np.einsum("ij,gjk,kl->gil", crystal.orth, crystal.rotations.astype(float), crystal.frac)
        return cartesian[pairs.op[image]], crystal.cartesian(pairs.shift[image])

    def _allowed(self, pairs: Pairs, atoms: Atoms) -> NDArray[np.bool_]:
        nb, n = self.non_bonded, len(atoms)
        i, j = pairs.i, pairs.j
        ok = coexist(nb.conformer[i], nb.conformer[j])
        ok &= ~(self.held[i] & self.held[j])
        ok &= ~(~pairs.image & in_table(i, j, nb.excluded, n))
        ok &= ~(pairs.image & in_table(i, j, nb.excluded_images, n))
        return ok


def pair_distances(nb: NonBonded, i: Int, j: Int, one_four: NDArray[np.bool_]) -> Float:
    """Distance below which pairs repel (p,), Å.

    The sum of the radii; less 0.3 for hydrogen bonds; acceptor's radius + 0.1 to a polar hydrogen; the sum
    of ionic radii for metals where both are known. Atoms 1-4: the sum of radii without implicit hydrogens,
    each less 0.1 (O, N) or 0.15 (others). REFMAC and Servalcat soften 1-4 by as much, but from the radii
    with implicit hydrogens, which turns every gauche C-C-C-C (2.9-3.1 Å) into a clash against 3.5 Å.
    """
    d0: Float = nb.radius[i] + nb.radius[j]
    ionic = nb.ion_radius[i] + nb.ion_radius[j]
    d0 = np.where((nb.metal[i] | nb.metal[j]) & np.isfinite(ionic), ionic, d0)
    bonding = (nb.acceptor[i] & nb.donor[j]) | (nb.donor[i] & nb.acceptor[j])
    d0 = np.where(bonding, nb.radius[i] + nb.radius[j] + HYDROGEN_BOND, d0)
    d0 = np.where(nb.hydrogen[i] & nb.acceptor[j], nb.radius[j] + POLAR_HYDROGEN, d0)
    d0 = np.where(nb.acceptor[i] & nb.hydrogen[j], nb.radius[i] + POLAR_HYDROGEN, d0)
    return np.where(one_four, nb.radius_one_four[i] + nb.radius_one_four[j], d0)


def distance_kinds(nb: NonBonded) -> tuple[Int, Float]:
    """Kinds of atoms that `pair_distances` cannot tell apart (N,), and its answer for two kinds.

    The answer has the shape (2, kinds, kinds), Å: for most pairs, and for atoms 1-4.
    """
    traits = (nb.radius, nb.radius_one_four, nb.donor, nb.acceptor, nb.hydrogen, nb.metal)
    table = np.column_stack([np.nan_to_num(nb.ion_radius, nan=-1.0), *traits])
    _, example, kind = np.unique(table, axis=0, return_index=True, return_inverse=True)
    i, j = np.repeat(example, len(example)), np.tile(example, len(example))
    limit = np.array([pair_distances(nb, i, j, np.full(len(i), soft)) for soft in (False, True)])
    return kind.reshape(-1), limit.reshape(2, len(example), len(example))
