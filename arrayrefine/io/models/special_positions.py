"""Site symmetry of atoms: which operators map an atom onto itself, and where its site exactly is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arrayrefine.crystal import Crystal
from arrayrefine.kernels.symmetric import PLACES

Float = NDArray[np.float64]
Int = NDArray[np.int64]

SITE_TOLERANCE = 0.4
"""Å from the site within which a residue of one atom (water, ion) belongs to it: its image is then closer
than 0.8 Å, gemmi's limit, which no second atom can be."""

MOLECULE_TOLERANCE = 0.1
"""Å from the site within which an atom of a larger residue belongs to it. Such a residue near a symmetry
element is mostly disordered about it, and pulling single atoms of it onto the element would bend it."""

_EXACT = 1e-4  # Å


@dataclass(frozen=True)
class Sites:
    """Sites of N atoms.

    Attributes
    ----------
    xyz : (N, 3) float64
        Å; atoms on special positions lie exactly on them.
    multiplicity : (N,) int64
        Number of operators that map the atom onto itself.
    projection : (N, 3, 3) float64
        Cartesian projection onto the displacements that the site symmetry allows.
    moved : (N,) float64
        Distance moved, Å.
    u_projection : (N, 6, 6) float64 or None
        Projection onto the displacement tensors that the site symmetry allows, as six numbers (11 22 33 12 13 23);
        None where no atom is on a special position.
    """

    xyz: Float
    multiplicity: Int
    projection: Float
    moved: Float
    u_projection: Float | None = None


def find_sites(crystal: Crystal, xyz: Float, residue: Int) -> Sites:
    """Find the atoms on special positions and move them exactly onto their sites.

    Parameters
    ----------
    crystal : Crystal
    xyz : (N, 3) float64
        Cartesian coordinates, Å.
    residue : (N,) int64
        Residue index; atoms alone in their residue get the wider tolerance.
    """
    size = np.bincount(residue, minlength=1)[residue]
    tolerance = np.where(size == 1, SITE_TOLERANCE, MOLECULE_TOLERANCE)
    sites = Sites(
        xyz.copy(),
        np.ones(len(xyz), dtype=np.int64),
        np.tile(np.eye(3), (len(xyz), 1, 1)),
        np.zeros(len(xyz)),
    )
    u_projection: Float | None = None
    for i in np.flatnonzero(_near_own_image(crystal, xyz, 2.0 * tolerance)):
        operators, position = _settle(crystal, xyz[i], float(tolerance[i]))
        if len(operators) == 1:
            continue
        rotations = crystal.orth @ crystal.rotations[operators] @ crystal.frac
        sites.xyz[i] = position
        sites.multiplicity[i] = len(operators)
        sites.projection[i] = rotations.mean(axis=0)
        sites.moved[i] = np.linalg.norm(position - xyz[i])
        if u_projection is None:
            u_projection = np.tile(np.eye(6), (len(xyz), 1, 1))
        u_projection[i] = _tensors_allowed(rotations)
    return dataclasses.replace(sites, u_projection=u_projection)


def _tensors_allowed(rotations: Float) -> Float:
    """Matrix (6, 6) that averages a symmetric tensor over rotations (G, 3, 3)."""
    out = np.zeros((6, 6))
    for column, (i, j) in enumerate(PLACES):
        tensor = np.zeros((3, 3))
        tensor[i, j] = tensor[j, i] = 1.0
        mean = (rotations @ tensor @ rotations.transpose(0, 2, 1)).mean(axis=0)
        out[:, column] = [mean[pair] for pair in PLACES]
    return out


def follow_sites(before: Crystal, after: Crystal, xyz: Float, residue: Int) -> Float:
    """Take the atoms on special positions of one cell to those of another, nearly the same.

    Parameters
    ----------
    before, after : Crystal
        The same space group in two cells.
    xyz : (N, 3) float64
        Cartesian coordinates, Å.
    residue : (N,) int64
        See `find_sites`.

    Returns
    -------
    (N, 3) float64
        Å. On special positions of `before`: on the same symmetry element in `after`, as near as that allows to
        where the atom was. All others as they were.
    """
    sites = find_sites(before, xyz, residue)
    out = xyz.copy()
    for i in np.flatnonzero(sites.multiplicity > 1):
        site = sites.xyz[i]
        operators = np.flatnonzero(_images(before, site)[1] < _EXACT)
        allowed = (after.orth @ after.rotations[operators] @ after.frac).mean(axis=0)
        anchor = after.orth @ (before.frac @ site)
        out[i] = anchor + allowed @ (site - anchor)
    return out


def _near_own_image(crystal: Crystal, xyz: Float, distance: Float) -> NDArray[np.bool_]:
    """True (N,) for atoms that have an image of themselves closer than `distance` (N,)."""
    fractional = crystal.fractional(xyz)
    near = np.zeros(len(xyz), dtype=bool)
    for rotation, translation in zip(crystal.rotations[1:], crystal.translations[1:]):
        shift = fractional @ (rotation - np.eye(3)).T + translation
        shift -= np.round(shift)
        near |= np.linalg.norm(crystal.cartesian(shift), axis=1) < distance
    return near


def _images(crystal: Crystal, position: Float) -> tuple[Float, Float]:
    """Nearest image of one position by each operator, Cartesian (G, 3), and its distance (G,)."""
    x = crystal.frac @ position
    shift = crystal.rotations @ x + crystal.translations - x
    shift -= np.round(shift)
    vectors = shift @ crystal.orth.T
    return position + vectors, np.linalg.norm(vectors, axis=1)


def _settle(crystal: Crystal, start: Float, tolerance: float) -> tuple[Int, Float]:
    """Operators (indices) of the site near `start`, and the site.

    The operators found within a tolerance need not form a group (a point near two axes may reach one of
    them only), so the mean over the images is taken until it maps onto itself; where it does not come to
    rest within the tolerance, the operator with the nearest image decides alone.
    """
    _, distance = _images(crystal, start)
    everything = np.flatnonzero(distance < 2.0 * tolerance)
    nearest = everything[np.argsort(distance[everything], kind="stable")][:2]
    for operators in (everything, nearest):
        position = start
        for _ in range(20):
            images, _ = _images(crystal, position)
            position = images[operators].mean(axis=0)
            exact = np.flatnonzero(_images(crystal, position)[1] < _EXACT)
            if np.isin(operators, exact).all():
                break
        else:
            continue
        if np.linalg.norm(position - start) <= tolerance:
            position = _images(crystal, position)[0][exact].mean(axis=0)
            return exact, position
    return np.zeros(1, dtype=np.int64), start
