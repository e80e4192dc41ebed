"""Non-bonded properties of atoms, and the pairs that a contact term must leave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import gemmi
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.kernels.contacts import neighbour_pairs
from arrayrefine.monomers import EnergyType
from arrayrefine.restraints import Int, NonBonded

MAX_RADIUS = 2.0
"""Å; larger library radii (K, Na, Cs as neutral atoms) are taken as this, as Servalcat does."""
COORDINATION = 3.0
"""Å; a metal and a donor atom closer than this are taken to be coordinated."""
APART = 2.0
"""Å; no atoms that are not bonded come so near, and a disulfide is longer."""
_SOFTENING = {"O": 0.10, "N": 0.10}
_SOFTENING_OTHER = 0.15
_DONOR_ELEMENTS = ("N", "O", "S", "Se", "F", "Cl", "Br", "I", "P")


def covalent_pairs(atoms: Atoms, crystal: Crystal, loose: NDArray[np.bool_]) -> Int:
    """Bonds guessed from distances for atoms that no dictionary describes.

    Parameters
    ----------
    atoms : Atoms
    crystal : Crystal
    loose : (N,) bool
        Atoms without restraints.

    Returns
    -------
    (n, 2) int
        Pairs with at least one such atom, closer than their covalent radii + 0.4 Å.
    """
    if not loose.any():
        return np.zeros((0, 2), dtype=np.int64)
    reach = 2.8
    pairs = neighbour_pairs(atoms.xyz, crystal.rotations, crystal.translations, crystal.orth, crystal.frac, reach)
    keep = ~pairs.image & (loose[pairs.i] | loose[pairs.j])
    i, j = pairs.i[keep], pairs.j[keep]
    radius = np.array([gemmi.Element(str(e)).covalent_r for e in atoms.element])
    close = np.linalg.norm(atoms.xyz[i] - atoms.xyz[j], axis=1) < radius[i] + radius[j] + 0.4
    both_hydrogen = atoms.is_hydrogen[i] & atoms.is_hydrogen[j]
    bonded: Int = np.column_stack([i, j])[close & ~both_hydrogen]
    return bonded


def coordination_pairs(atoms: Atoms, crystal: Crystal, metal: NDArray[np.bool_]) -> tuple[Int, Int]:
    """Metal-ligand pairs by distance: within the model as given (n, 2), and across symmetry (s, 2)."""
    empty = np.zeros((0, 2), dtype=np.int64)
    if not metal.any():
        return empty, empty
    donor = np.isin(atoms.element, _DONOR_ELEMENTS) | metal
    subset = np.flatnonzero(donor)
    pairs = neighbour_pairs(
        atoms.xyz[subset], crystal.rotations, crystal.translations, crystal.orth, crystal.frac, COORDINATION
    )
    i, j = subset[pairs.i], subset[pairs.j]
    keep = (metal[i] | metal[j]) & (i != j)
    index = np.column_stack([i, j])
    return index[keep & ~pairs.image], index[keep & pairs.image]


def metal_flags(element: NDArray[np.str_]) -> NDArray[np.bool_]:
    """(N,) True for metals."""
    return np.isin(element, [e for e in np.unique(element) if gemmi.Element(str(e)).is_metal])


def _adjacency(edges: Int, n: int) -> sparse.csr_array:
    both = np.vstack([edges, edges[:, ::-1]])
    matrix = sparse.csr_array((np.ones(len(both), dtype=np.int64), (both[:, 0], both[:, 1])), shape=(n, n))
    matrix.data[:] = 1
    return matrix


def _upper(matrix: sparse.sparray, diagonal: bool = False) -> tuple[Int, Int]:
    """Pairs i < j (or i <= j) of the non-zero entries, and their values."""
    part = sparse.triu(matrix, k=0 if diagonal else 1).tocoo()
    return np.column_stack([part.row, part.col]).astype(np.int64), part.data


def unique_pairs(found: Sequence[Int], n: int) -> Int:
    """Pairs of all these tables (p, 2), each once, the lower number first, in order; `n` is the number of atoms."""
    pairs = np.vstack(found).reshape(-1, 2)
    keys = np.sort(pairs.min(axis=1) * n + pairs.max(axis=1))
    keys = keys[np.diff(keys, prepend=-1) != 0]
    return np.column_stack(np.divmod(keys, n))


def _keys(pairs: Int, n: int) -> Int:
    return pairs[:, 0] * n + pairs[:, 1]


def topological_pairs(edges: Int, rigid: Int, planes: Sequence[Int], n: int) -> tuple[Int, Int]:
    """Pairs that bonds keep at their distance.

    Parameters
    ----------
    edges : (b, 2) int
        Bonds, coordination bonds included.
    rigid : (r, 2) int
        Bonds that do not turn (double, in rings): atoms 1-4 about them are excluded, not softened.
    planes : sequence of int arrays
        Atoms of each plane; all pairs in a plane are excluded.
    n : int
        Number of atoms.

    Returns
    -------
    excluded : (p, 2) int, i < j
        1-2 and 1-3 pairs, 1-4 pairs about rigid bonds or in six-membered rings (two paths), pairs in one
        plane.
    one_four : (q, 2) int, i < j
        The other 1-4 pairs.
    """
    bonds = _adjacency(edges, n)
    two = bonds @ bonds
    three = two @ bonds
    edges = unique_pairs([edges], n)
    near = [edges, _upper(two)[0]]
    first = rigid[:, 0], rigid[:, 1]
    if len(rigid):
        middle = sparse.csr_array((np.ones(len(rigid), dtype=np.int64), first), shape=(n, n))
        near.append(_upper(bonds @ (middle + middle.T) @ bonds)[0])
    for size in {len(atoms) for atoms in planes}:
        atoms = np.array([atoms for atoms in planes if len(atoms) == size])
        a, b = np.triu_indices(size, 1)
        near.append(np.column_stack([atoms[:, a].ravel(), atoms[:, b].ravel()]))
    paths, count = _upper(three)
    double = paths[count >= 2]
    near.append(double[~np.isin(_keys(double, n), _keys(edges, n), assume_unique=True)])
    excluded = unique_pairs(near, n)
    excluded = excluded[excluded[:, 0] != excluded[:, 1]]
    one_four = paths[~np.isin(_keys(paths, n), _keys(excluded, n), assume_unique=True)]
    return excluded, one_four


def image_pairs(links: Int, coordination: Int, edges: Int, n: int) -> Int:
    """Pairs without contacts across symmetry.

    Parameters
    ----------
    links : (s, 2) int
        Atoms linked to a symmetry mate: 1-2, 1-3 and 1-4 pairs are left out.
    coordination : (m, 2) int
        Metals and their ligands across symmetry: 1-2 and 1-3 pairs are left out.
    edges : (b, 2) int
        Bonds within the model as given.
    n : int
        Number of atoms.

    Returns
    -------
    (p, 2) int, i <= j
    """
    every = np.vstack([links, coordination])
    if not len(every):
        return np.zeros((0, 2), dtype=np.int64)
    bonds, across, linked = _adjacency(edges, n), _adjacency(every, n), _adjacency(links, n)
    near = across + across @ bonds + bonds @ across + across @ across
    two = bonds @ bonds
    return _upper(near + bonds @ linked @ bonds + linked @ two + two @ linked, diagonal=True)[0]


def energy_types(
    types: Sequence[str | None], elements: NDArray[np.str_], energy: Mapping[str, EnergyType]
) -> tuple[list[EnergyType], set[str]]:
    """Non-bonded properties of each atom by energy type, else by element; and the unknown types."""
    default = EnergyType("N", 1.7, 1.7, float("nan"))
    unknown = set()
    found = []
    for name, element in zip(types, elements.tolist()):
        kind = energy.get(name) if name else None
        if kind is None:
            if name:
                unknown.add(name)
            kind = energy.get("H" if element in ("H", "D") else element.upper(), default)
        found.append(kind)
    return found, unknown


def build_non_bonded(
    atoms: Atoms,
    kinds: Sequence[EnergyType],
    edges: Int,
    pairs: tuple[Int, Int, Int],
) -> NonBonded:
    """Assemble what the contact term needs.

    Parameters
    ----------
    atoms : Atoms
    kinds : sequence of N EnergyType
    edges : (b, 2) int
        Bonds, to find the donors of hydrogens.
    pairs : excluded, excluded_images, one_four
    """
    hydrogen = atoms.is_hydrogen
    plain = np.array([k.radius for k in kinds])
    full = np.array([k.radius_with_hydrogens for k in kinds])
    plain, full = (np.minimum(np.where(np.isnan(r), 1.7, r), MAX_RADIUS) for r in (plain, full))
    residue = atoms.identity.residue
    complete = np.isin(residue, np.unique(residue[hydrogen]))
    bonding = np.array([k.hydrogen_bond for k in kinds])
    donor, acceptor = np.isin(bonding, ("D", "B")) & ~hydrogen, np.isin(bonding, ("A", "B")) & ~hydrogen
    polar = hydrogen & (bonding == "H")
    for a, b in ((edges[:, 0], edges[:, 1]), (edges[:, 1], edges[:, 0])):
        polar[a[hydrogen[a] & donor[b]]] = True
    softening = np.array([_SOFTENING.get(e, _SOFTENING_OTHER) for e in atoms.element.tolist()])
    excluded, excluded_images, one_four = pairs
    return NonBonded(
        radius=np.where(complete | hydrogen, plain, full),
        ion_radius=np.array([k.ion_radius for k in kinds]),
        radius_one_four=plain - softening,
        donor=donor,
        acceptor=acceptor,
        hydrogen=polar,
        metal=metal_flags(atoms.element),
        excluded=excluded,
        excluded_images=excluded_images,
        one_four=one_four,
        conformer=conformer_numbers(atoms.identity.altloc),
    )


def conformer_numbers(altloc: NDArray[np.str_]) -> Int:
    """0 for atoms in every conformer, else a number per altloc letter (N,)."""
    letters = sorted(set(altloc.tolist()) - {""})
    number = {"": 0, **{letter: k + 1 for k, letter in enumerate(letters)}}
    return np.array([number[a] for a in altloc.tolist()], dtype=np.int64)
