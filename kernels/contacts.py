"""Neighbours of atoms, symmetry mates and lattice translations included, and the repulsion between them.

The image of atom j is ``R[op] x_j + t`` in Cartesian coordinates. Energies are per asymmetric unit: each
contact of the crystal is listed once, a contact of an atom with its own image with weight ½, because the
image "owns" the other half. On special positions divide further, see `pair_weights`.
On a CUDA device `contacts_cuda` does all of this in one evaluation.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_TINY = 1e-12
_BLOCK = 1 << 15
"""Pairs that are measured at a time; their vectors stay in the cache."""


class Pairs(NamedTuple):
    """Pairs of atoms; the second may be an image.

    Attributes
    ----------
    i, j : (p,) int
        Atoms; i < j, or i = j for an atom and its own image.
    op : (p,) int
        Symmetry operator applied to j.
    shift : (p, 3) float64
        Translation of the image, fractional: that of the operator plus lattice vectors.
    image : (p,) bool
        False where both atoms are in the model as given.
    """

    i: Int
    j: Int
    op: Int
    shift: Float
    image: NDArray[np.bool_]

    def taken(self, keep: NDArray[np.bool_] | Int) -> Pairs:
        """Some of them."""
        return Pairs(self.i[keep], self.j[keep], self.op[keep], self.shift[keep], self.image[keep])

    def lengths(self, xyz: Float, rotations: NDArray[np.integer], orth: Float, frac: Float) -> Float:
        """Distances (p,), Å, of atoms at `xyz` (N, 3); for the others see `neighbour_pairs`."""
        x = xyz @ frac.T
        moved = np.einsum("pij,pj->pi", rotations[self.op], x[self.j]) + self.shift
        return np.asarray(np.linalg.norm((x[self.i] - moved) @ orth.T, axis=1))


_MOST_CUBES = 2e7
"""Beyond them, as of atoms far from all others, the cubes take more time and memory than they save."""


def _lattice_images(image: Float, low: Float, high: Float) -> list[tuple[Float, Int]]:
    """Lattice vectors, and the atoms that each of them brings into the box low..high (fractional)."""
    first = np.ceil(low - image.max(axis=0)).astype(int)
    last = np.floor(high - image.min(axis=0)).astype(int)
    found = []
    for u in range(first[0], last[0] + 1):
        in_u = np.flatnonzero((image[:, 0] + u >= low[0]) & (image[:, 0] + u <= high[0]))
        for v in range(first[1], last[1] + 1):
            y = image[in_u, 1] + v
            in_v = in_u[(y >= low[1]) & (y <= high[1])]
            for w in range(first[2], last[2] + 1):
                z = image[in_v, 2] + w
                atoms = in_v[(z >= low[2]) & (z <= high[2])]
                if len(atoms):
                    found.append((np.array([u, v, w], dtype=float), atoms))
    return found


def _in_reach(xyz: Float, places: Float, cutoff: float) -> NDArray[np.bool_]:
    """Which of the places (m, 3) are in a cube with atoms, or next to one: of a large model's images few are."""
    corner = xyz.min(axis=0) - cutoff
    size = np.floor((xyz.max(axis=0) - corner) / cutoff) + 2.0
    if size.prod() > _MOST_CUBES:
        return np.ones(len(places), dtype=bool)
    own = tuple(np.floor((xyz - corner) / cutoff).astype(np.int64).T)
    filled = np.zeros(size.astype(np.int64), dtype=bool)
    filled[own] = True
    for axis in range(3):
        along = np.moveaxis(filled, axis, 0)
        before = along.copy()
        along[1:] |= before[:-1]
        along[:-1] |= before[1:]
    cube = np.floor((places - corner) / cutoff).astype(np.int64)
    inside: NDArray[np.bool_] = ((cube >= 0) & (cube < filled.shape)).all(axis=1)
    inside[inside] = filled[tuple(cube[inside].T)]
    return inside


def neighbour_pairs(
    xyz: Float, rotations: NDArray[np.integer], translations: Float, orth: Float, frac: Float, cutoff: float
) -> Pairs:
    """Find all pairs closer than a cut-off in the crystal.

    Parameters
    ----------
    xyz : (N, 3) float64
        Cartesian coordinates, Å; need not lie within the cell.
    rotations : (G, 3, 3) int
        Fractional rotations of all operators, centring included; the first is the identity.
    translations : (G, 3) float64
        Fractional translations; the first is zero.
    orth, frac : (3, 3) float64
        Fractional to Cartesian (Å), and back.
    cutoff : float
        Å.

    Returns
    -------
    Pairs
        Each contact once: of (i, image of j) and (j, inverse image of i) the one with i < j. An atom's own
        images come in both directions. On a special position every operator that maps the atom onto itself
        gives an entry.
    """
    x = xyz @ frac.T
    margin = cutoff * np.linalg.norm(frac, axis=1)
    low, high = x.min(axis=0) - margin, x.max(axis=0) + margin
    tree = cKDTree(xyz)
    own = tree.query_pairs(cutoff, output_type="ndarray").astype(np.int64).reshape(-1, 2)
    own.sort(axis=1)
    i_parts, j_parts = [own[:, 0]], [own[:, 1]]
    op_parts, shift_parts = [np.zeros(len(own), dtype=np.int64)], [np.zeros((len(own), 3))]
    for op, (rotation, translation) in enumerate(zip(rotations, translations)):
        image = x @ rotation.T.astype(float) + translation
        blocks = _lattice_images(image, low, high)
        if op == 0:
            blocks = [block for block in blocks if block[0].any()]
        if not blocks:
            continue
        atom = np.concatenate([atoms for _, atoms in blocks])
        lattice = np.repeat(np.array([vector for vector, _ in blocks]), [len(atoms) for _, atoms in blocks], axis=0)
        places = (image[atom] + lattice) @ orth.T
        close = _in_reach(xyz, places, cutoff)
        atom, lattice = atom[close], lattice[close]
        other = cKDTree(places[close])
        near = tree.sparse_distance_matrix(other, cutoff, output_type="ndarray")
        keep = near["i"] <= atom[near["j"]]
        i_parts.append(near["i"][keep].astype(np.int64))
        j_parts.append(atom[near["j"][keep]].astype(np.int64))
        op_parts.append(np.full(int(keep.sum()), op, dtype=np.int64))
        shift_parts.append(translation + lattice[near["j"][keep]])
    is_image = np.ones(sum(len(part) for part in i_parts), dtype=bool)
    is_image[: len(own)] = False
    return Pairs(
        np.concatenate(i_parts),
        np.concatenate(j_parts),
        np.concatenate(op_parts),
        np.concatenate(shift_parts),
        is_image,
    )


def pairs_of(
    chosen: Int,
    xyz: Float,
    rotations: NDArray[np.integer],
    translations: Float,
    orth: Float,
    frac: Float,
    cutoff: float,
) -> Pairs:
    """Those of `neighbour_pairs` in which one of a few `chosen` (m,) atoms takes part; the others are not searched for.

    A chosen atom is first of a pair where its image under the inverse operator is near the other atom, and second
    where its image under the operator is.
    """
    nothing = np.zeros(0, dtype=np.int64)
    parts = [Pairs(nothing, nothing, nothing, np.zeros((0, 3)), np.zeros(0, dtype=bool))]
    if len(chosen) == 0:
        return parts[0]
    x = xyz @ frac.T
    margin = cutoff * np.linalg.norm(frac, axis=1)
    low, high = x.min(axis=0) - margin, x.max(axis=0) + margin
    tree = cKDTree(xyz)
    is_chosen = np.zeros(len(xyz), dtype=bool)
    is_chosen[chosen] = True

    def add(first: bool, op: int, image: Float, to_shift: Float, offset: Float) -> None:
        """Pairs of chosen atoms at `image` (m, 3), fractional, plus lattice vectors v; shift = v·to_shift + offset."""
        for vector, member in _lattice_images(image, low, high):
            if op == 0 and not vector.any() and not first:
                continue
            images = cKDTree((image[member] + vector) @ orth.T)
            near = images.sparse_distance_matrix(tree, cutoff, output_type="ndarray")
            own, other = chosen[member[near["i"]]], near["j"].astype(np.int64)
            within = op == 0 and not vector.any()
            if within:
                keep = (own < other) | ~is_chosen[other]
                i, j = np.minimum(own, other), np.maximum(own, other)
            elif first:
                keep, i, j = own <= other, own, other
            else:
                keep, i, j = (other < own) & ~is_chosen[other], other, own
            i, j = i[keep], j[keep]
            shift = np.broadcast_to(vector @ to_shift + offset, (len(i), 3))
            parts.append(Pairs(i, j, np.full(len(i), op, dtype=np.int64), shift, np.full(len(i), not within)))

    for op, (rotation, translation) in enumerate(zip(rotations.astype(float), translations)):
        back = np.linalg.inv(rotation)
        add(True, op, (x[chosen] - translation) @ back.T, -rotation.T, translation)
        add(False, op, x[chosen] @ rotation.T + translation, np.eye(3), translation)
    return Pairs(*(np.concatenate(column) for column in zip(*parts)))


def in_table(i: Int, j: Int, table: Int, n: int) -> NDArray[np.bool_]:
    """Whether pairs are in a table of pairs.

    Parameters
    ----------
    i, j : (p,) int
        Atoms, i <= j.
    table : (q, 2) int
        Pairs i <= j. It is fastest in order, as sorting it again takes little time then.
    n : int
        Number of atoms.

    Returns
    -------
    (p,) bool
    """
    if not len(table):
        return np.zeros(len(i), dtype=bool)
    keys = np.sort(table[:, 0] * n + table[:, 1])
    wanted = i * n + j
    found: NDArray[np.bool_] = keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted
    return found


def pair_weights(i: Int, j: Int, multiplicity: Int) -> Float:
    """Weights that make a sum over `neighbour_pairs` the energy of one asymmetric unit.

    An atom on a special position of multiplicity m (operators that map it onto itself) belongs to the
    asymmetric unit by 1/m only, and m entries list each of its contacts.

    Parameters
    ----------
    i, j : (p,) int
    multiplicity : (N,) int

    Returns
    -------
    weight : (p,) float64
        1 / (m_i m_j), half of it for an atom with its own image.
    """
    weight: Float = np.where(i == j, 0.5, 1.0) / (multiplicity[i] * multiplicity[j])
    return weight


def separations(xyz: Float, pairs_i: Int, pairs_j: Int, rotation: Float, shift: Float, image: Int) -> Float:
    """Vectors from the (image of the) second atom to the first.

    Parameters
    ----------
    xyz : (N, 3) float64, Å
    pairs_i, pairs_j : (p,) int
    rotation : (s, 3, 3) float64
        Cartesian rotations of the entries named in `image`.
    shift : (s, 3) float64, Å
        Cartesian translations of the same entries.
    image : (s,) int
        Which of the p pairs have an image as their second atom.

    Returns
    -------
    (p, 3) float64, Å
    """
    delta = xyz.take(pairs_i, axis=0)
    delta -= xyz.take(pairs_j, axis=0)
    if len(image):
        moved = np.matmul(rotation, xyz[pairs_j[image]][:, :, None])[:, :, 0] + shift
        delta[image] = xyz[pairs_i[image]] - moved
    return delta


def squared_distances(xyz: Float, pairs_i: Int, pairs_j: Int, rotation: Float, shift: Float, image: Int) -> Float:
    """Squares of the lengths of `separations` (p,), Å²; vectors of millions of pairs are not there all at once."""
    squared = np.empty(len(pairs_i))
    none: Int = image[:0]
    for start in range(0, len(squared), _BLOCK):
        here = slice(start, start + _BLOCK)
        delta = separations(xyz, pairs_i[here], pairs_j[here], rotation, shift, none)
        np.einsum("ij,ij->i", delta, delta, out=squared[here])
    delta = separations(xyz, pairs_i[image], pairs_j[image], rotation, shift, np.arange(len(image)))
    squared[image] = np.einsum("ij,ij->i", delta, delta)
    return squared


def repulsion_terms(
    xyz: Float,
    i: Int,
    j: Int,
    rotation: Float,
    shift: Float,
    image: Int,
    d0: Float,
    sigma: Float,
    weight: Float,
) -> tuple[Int, Float, Float]:
    """Contacts that are too short.

    Parameters
    ----------
    xyz : (N, 3) float64, Å
    i, j : (p,) int
    rotation, shift, image
        See `separations`.
    d0, sigma : (p,) float64, Å
        Distance below which the pair repels, and its standard uncertainty.
    weight : (p,) float64
        See `pair_weights`.

    Returns
    -------
    active : (k,) int
        The pairs with d < d0.
    z : (k,) float64
        √weight (d − d0) / sigma, negative.
    jacobian : (k, 2, 3) float64, 1/Å
        Derivative by the model's atoms i and j (not by the image); zero direction where atoms coincide.
    """
    delta = separations(xyz, i, j, rotation, shift, image)
    squared = np.einsum("ij,ij->i", delta, delta)
    active = np.flatnonzero(squared < d0 * d0)
    distance = np.sqrt(squared[active])
    scale = np.sqrt(weight[active]) / sigma[active]
    unit = delta[active] * (scale / np.maximum(distance, _TINY))[:, None]
    back = -unit
    if len(image):
        place = np.full(len(i), -1, dtype=np.int64)
        place[image] = np.arange(len(image))
        row = place[active]
        mates = np.flatnonzero(row >= 0)
        back[mates] = np.einsum("pij,pi->pj", rotation[row[mates]], back[mates])
    return active, (distance - d0[active]) * scale, np.stack([unit, back], axis=1)
