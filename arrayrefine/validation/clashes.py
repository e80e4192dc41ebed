"""Atoms that overlap: all-atom contacts, symmetry mates included."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from arrayrefine.atoms import Atoms, coexist
from arrayrefine.crystal import Crystal
from arrayrefine.kernels.contacts import Pairs, in_table, neighbour_pairs, separations
from arrayrefine.restraints import Bonds, NonBonded
from arrayrefine.targets.contacts import SELF_CONTACT, TOGETHER
from arrayrefine.topology.nonbonded import COORDINATION

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Mask = NDArray[np.bool_]

OVERLAP = 0.4
"""Å; what overlaps by this much is a clash (Word et al., J. Mol. Biol. 285, 1711, 1999)."""
HYDROGEN_BOND = 0.6
"""Å by which donor and acceptor may overlap, as in the same work."""
# Å; the radii that the Richardson laboratory uses with hydrogens at the centre of their electrons: Deis et al.,
# Comput. Crystallogr. Newsl. 4, 9 (2013).
_RADII = MappingProxyType({
    "H": 1.22, "D": 1.22, "C": 1.70, "N": 1.55, "O": 1.40, "F": 1.30, "P": 1.80, "S": 1.80, "Cl": 1.77, "Se": 1.90,
    "Br": 1.95, "I": 2.10,
})  # fmt: skip
_OTHER_RADIUS = 1.7
_CARBONYL, _FLAT_HYDROGEN = 1.65, 1.05
_METAL_RADIUS = 0.9
_METAL_TO_CARBON = 0.3
"""Å more for a metal towards a carbon. With it metals may be about as near to a carbon as to that of a carboxylate that
binds with both oxygens (Zn-C 2.45, Ca-C 2.8 Å); none comes nearer to a carbon that it does not bind."""
_NUCLEUS = 0.05
"""Å less for hydrogens at their nuclei."""


@dataclass(frozen=True)
class Clashes:
    """Overlaps of at least 0.4 Å, the largest first.

    Attributes
    ----------
    i, j : (k,) int
        Atoms.
    distance, overlap : (k,) float64, Å
    symmetry : tuple of str or None
        Operator that brings `j` next to `i`; None where both are in the model as given.
    n_atoms : int
        Atoms with an occupancy above 0.
    """

    i: Int
    j: Int
    distance: Float
    overlap: Float
    symmetry: tuple[str | None, ...]
    n_atoms: int

    def __len__(self) -> int:
        return len(self.i)

    @property
    def score(self) -> float | None:
        """Clashes per 1000 atoms."""
        return 1000.0 * len(self) / self.n_atoms if self.n_atoms else None


def find_clashes(
    atoms: Atoms, bonds: Bonds, non_bonded: NonBonded, crystal: Crystal, *, at_nuclei: bool = False
) -> Clashes:
    """Find the pairs of atoms that overlap though no bond and no hydrogen bond brings them together.

    Left out are atoms up to three bonds apart, four where one of them is a hydrogen, metals and the atoms that they may
    bind, different conformers, symmetry mates that cannot be there together (occupancies that sum to at most 1), and
    atoms without occupancy. Metals bind carbons only where a link or their component says so.
    Donors and acceptors of hydrogen bonds may overlap by 0.6 Å.

    Parameters
    ----------
    atoms : Atoms
        With their hydrogens, or the overlaps are those of the heavier atoms alone.
    bonds : Bonds
    non_bonded : NonBonded
    crystal : Crystal
    at_nuclei : bool
        Whether hydrogens sit at their nuclei, and not at the centres of their electrons.
    """
    edges = np.vstack([bonds.index, np.column_stack([atoms.riding.child, atoms.riding.parent])])
    radius = _radii(atoms, non_bonded, edges, at_nuclei)
    reach = 2.0 * float(radius.max(initial=0.0)) - OVERLAP
    pairs = neighbour_pairs(atoms.xyz, crystal.rotations, crystal.translations, crystal.orth, crystal.frac, reach)
    image = np.flatnonzero(pairs.image)
    turn = np.einsum("ij,gjk,kl->gil", crystal.orth, crystal.rotations.astype(float), crystal.frac)[pairs.op[image]]
    delta = separations(atoms.xyz, pairs.i, pairs.j, turn, crystal.cartesian(pairs.shift[image]), image)
    distance = np.sqrt(np.einsum("ij,ij->i", delta, delta))
    overlap = radius[pairs.i] + radius[pairs.j] - distance
    overlap += _METAL_TO_CARBON * _metal_and_carbon(atoms, non_bonded, pairs.i, pairs.j)
    overlap -= HYDROGEN_BOND * _hydrogen_bond(atoms, non_bonded, edges, pairs)
    rows = np.flatnonzero(overlap >= OVERLAP)
    near = Pairs(pairs.i[rows], pairs.j[rows], pairs.op[rows], pairs.shift[rows], pairs.image[rows])
    rows = rows[_may_clash(atoms, non_bonded, edges, near, distance[rows])]
    rows = rows[np.argsort(-overlap[rows], kind="stable")]
    rows = rows[_first_of_each(pairs, distance, rows, len(atoms))]
    symmetry = tuple(
        crystal.operator_name(int(pairs.op[k]), pairs.shift[k]) if pairs.image[k] else None for k in rows.tolist()
    )
    n_atoms = int((atoms.occupancy > 0.0).sum())
    return Clashes(pairs.i[rows], pairs.j[rows], distance[rows], overlap[rows], symmetry, n_atoms)


def _radii(atoms: Atoms, non_bonded: NonBonded, edges: Int, at_nuclei: bool) -> Float:
    """Radius (N,) of each atom, Å."""
    names, member = np.unique(atoms.element, return_inverse=True)
    radius = np.array([_RADII.get(str(name), _OTHER_RADIUS) for name in names])[member.reshape(-1)]
    hydrogen = atoms.is_hydrogen
    carbon, oxygen = atoms.element == "C", atoms.element == "O"
    degree = np.bincount(edges.ravel(), minlength=len(atoms))
    both = np.vstack([edges, edges[:, ::-1]])
    flat = carbon & (degree <= 3)
    first, second = both[:, 0], both[:, 1]
    radius[first[flat[first] & oxygen[second] & (degree[second] == 1)]] = _CARBONYL
    radius[first[hydrogen[first] & flat[second]]] = _FLAT_HYDROGEN
    radius[non_bonded.hydrogen] = _FLAT_HYDROGEN
    if at_nuclei:
        radius[hydrogen] -= _NUCLEUS
    metal = non_bonded.metal
    radius[metal] = np.where(np.isfinite(non_bonded.ion_radius[metal]), non_bonded.ion_radius[metal], _METAL_RADIUS)
    return radius


def _hydrogen_bond(atoms: Atoms, nb: NonBonded, edges: Int, pairs: Pairs) -> Mask:
    """(p,) True for a polar hydrogen, or a donor without hydrogens in the model, and an acceptor."""
    hydrogen = atoms.is_hydrogen
    covered = np.zeros(len(atoms), dtype=bool)
    for a, b in ((0, 1), (1, 0)):
        covered[edges[hydrogen[edges[:, b]], a]] = True
    giving = nb.hydrogen | (nb.donor & ~covered)
    i, j = pairs.i, pairs.j
    return (giving[i] & nb.acceptor[j]) | (nb.acceptor[i] & giving[j])


def _may_clash(atoms: Atoms, nb: NonBonded, edges: Int, pairs: Pairs, distance: Float) -> Mask:
    """(p,) False for pairs that are bonded in some way, or never there together."""
    i, j, image, n = pairs.i, pairs.j, pairs.image, len(atoms)
    conformer, q = nb.conformer, atoms.occupancy
    ok = coexist(conformer[i], conformer[j])
    ok &= (q[i] > 0.0) & (q[j] > 0.0)
    ok &= ~image | (q[i] + q[j] > TOGETHER)
    ok &= ~((i == j) & (distance < SELF_CONTACT))
    left_out = in_table(i, j, nb.excluded, n) | in_table(i, j, nb.one_four, n)
    left_out[left_out] = ~_beside_donors(atoms, nb, edges, i[left_out], j[left_out])
    ok &= ~(~image & left_out)
    ok &= ~(image & in_table(i, j, nb.excluded_images, n))
    near = np.flatnonzero(ok & ~image)
    if len(near):
        ok[near] = ~_few_bonds_apart(i[near], j[near], edges, atoms.is_hydrogen)
    return ok


def _metal_and_carbon(atoms: Atoms, nb: NonBonded, i: Int, j: Int) -> Mask:
    carbon = atoms.element == "C"
    return np.asarray((nb.metal[i] & carbon[j]) | (nb.metal[j] & carbon[i]))


def _beside_donors(atoms: Atoms, nb: NonBonded, edges: Int, i: Int, j: Int) -> Mask:
    """(p,) True for a metal and a carbon that contacts leave out because a neighbour of the carbon may bind the metal.

    Not so for carbons with one neighbour, as in CO and cyanide, which bind metals themselves.
    """
    found = _metal_and_carbon(atoms, nb, i, j)
    for k in np.flatnonzero(found).tolist():
        metal, carbon = (i[k], j[k]) if nb.metal[i[k]] else (j[k], i[k])
        bonded = edges[(edges == carbon).any(axis=1)]
        near = np.setdiff1d(bonded, [carbon])
        donors = near[~np.isin(atoms.element[near], ("C", "H", "D"))]
        apart = np.linalg.norm(atoms.xyz[donors] - atoms.xyz[metal], axis=1)
        found[k] = len(near) > 1 and bool((apart < COORDINATION).any())
    return found


def _few_bonds_apart(i: Int, j: Int, edges: Int, hydrogen: Mask) -> Mask:
    """(p,) True for atoms at most three bonds apart, or four where one is a hydrogen."""
    n = len(hydrogen)
    both = np.vstack([edges, edges[:, ::-1]])
    ones = np.ones(len(both), dtype=np.int32)
    bonds = sparse.csr_array((ones, (both[:, 0], both[:, 1])), shape=(n, n)) + sparse.eye_array(n, dtype=np.int32)
    atom, start = np.unique(i, return_inverse=True)
    near = bonds[atom]
    for _ in range(2):
        near = near @ bonds
    further = near @ bonds
    three, four = (np.asarray(m.tocsr()[start.reshape(-1), j]).ravel() > 0 for m in (near, further))
    return np.asarray(three | (four & (hydrogen[i] | hydrogen[j])))


def _first_of_each(pairs: Pairs, distance: Float, rows: Int, n: int) -> Mask:
    """(k,) False for a contact that a special position, or an atom with its own image, lists again."""
    key = np.column_stack([pairs.i[rows] * n + pairs.j[rows], pairs.image[rows], np.rint(1e3 * distance[rows])])
    first = np.zeros(len(rows), dtype=bool)
    first[np.unique(key, axis=0, return_index=True)[1]] = True
    return first
