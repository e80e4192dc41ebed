"""Peaks and holes of a map, and regions of density without a model, each with what lies nearest."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.kernels.mask import solvent_mask
from arrayrefine.periodic_regions import periodic_regions
from arrayrefine.real_space.map_grids import MapGrid

Float = NDArray[np.float64]
Int = NDArray[np.int64]

LIMIT = 4.0
"""Sigma of a difference map beyond which a peak or a hole is worth a look."""
_NOISE = 5.0
"""Sigma of an anomalous difference map that noise reaches anywhere."""
_RIPPLE = 1.5
"""Of d_min: how far from a peak the first ripples about it are."""
_MOST = 500
"""Peaks that are kept of each sign."""
BLOB_LEVEL = 1.2
"""Sigma of the 2mFo-DFc map within blobs."""
BLOB_DIFFERENCE = 3.0
"""Sigma of the mFo-DFc map that a blob must reach."""
_CLEAR = 1.5
"""Å from every atom that blobs keep."""
_LEAST_VOLUME = 2.0
"""Å³."""
_BLOCK = 100_000
"""Grid points that are compared with their neighbours at a time."""
_NEIGHBOURS = np.array([v for v in itertools.product((-1, 0, 1), repeat=3) if any(v)])


@dataclass(frozen=True)
class Peak:
    """A maximum or minimum of a map.

    Attributes
    ----------
    height : float
        In sigma; negative for a hole.
    xyz : tuple of 3 floats
        Å; of all symmetry copies the one nearest to the model as given.
    atom : int
        The nearest atom that is not a hydrogen, or -1.
    distance : float
        To that atom, Å.
    """

    height: float
    xyz: tuple[float, float, float]
    atom: int
    distance: float


@dataclass(frozen=True)
class Blob:
    """A connected region of density without a model.

    Attributes
    ----------
    volume : float
        Å³.
    peak : float
        Highest value of the difference map in it, in sigma.
    integral : float
        Sum of the 2mFo-DFc map over it, sigma · Å³.
    xyz : tuple of 3 floats
        Where the difference map is highest, Å; of all symmetry copies the one nearest to the model as given.
    atom : int
        Nearest atom, or -1.
    distance : float
        To that atom, Å.
    """

    volume: float
    peak: float
    integral: float
    xyz: tuple[float, float, float]
    atom: int
    distance: float


def find_peaks(grid: MapGrid, atoms: Atoms, limit: float = LIMIT, most: int = _MOST) -> tuple[Peak, ...]:
    """Maxima above `limit` sigma and minima below −`limit`, each once, the most extreme first.

    The place and height of each are those of the paraboloid through the grid point and its 26 neighbours.

    Parameters
    ----------
    grid : MapGrid
        A difference map.
    atoms : Atoms
        To name the nearest of.
    limit : float
    most : int
        Of each sign.
    """
    heights, places = [], []
    for sign in (1.0, -1.0):
        height, place = _maxima(grid, sign, limit * grid.sigma)
        best = np.argsort(-height, kind="stable")[:most]
        heights.append(sign * height[best] / grid.sigma)
        places.append(place[best])
    height, place = np.concatenate(heights), np.concatenate(places)
    xyz, atom, distance = nearest_copies(grid.crystal, place, atoms)
    order = np.argsort(-np.abs(height), kind="stable")
    columns = (height[order], xyz[order], atom[order], distance[order])
    return tuple(Peak(h, (x[0], x[1], x[2]), a, d) for h, x, a, d in zip(*(column.tolist() for column in columns)))


def anomalous_peaks(grid: MapGrid, atoms: Atoms) -> tuple[Peak, ...]:
    """Peaks of an anomalous difference map that are higher than noise makes them: than its deepest hole, and 5 sigma.

    f″ is positive, so that whatever is below zero is noise, which has as many peaks as holes; or a ripple about a high
    peak, of both signs, where the series ends: what is so near to one four times as high is left out.
    """
    found = find_peaks(grid, atoms)
    if not found:
        return ()
    height, xyz = np.array([peak.height for peak in found]), np.array([peak.xyz for peak in found])
    near = np.linalg.norm(xyz[:, None] - xyz, axis=-1) < _RIPPLE * grid.d_min
    ripple = (near & (height > 4.0 * np.abs(height)[:, None])).any(axis=1)
    noise = max(_NOISE, -float(height[~ripple].min(initial=0.0)))
    return tuple(peak for peak, alone in zip(found, ~ripple) if alone and peak.height > noise)


def _maxima(grid: MapGrid, sign: float, limit: float) -> tuple[Float, Float]:
    """Heights (n,) and fractional coordinates (n, 3) of unique maxima of the map times `sign`."""
    values, shape = grid.values, np.array(grid.values.shape)
    every = np.argwhere(values > limit) if sign > 0 else np.argwhere(values < -limit)
    half = len(_NEIGHBOURS) // 2  # of equal neighbours one is the maximum
    found = []
    for start in range(0, len(every), _BLOCK):
        point = every[start : start + _BLOCK]
        around = (point[:, None] + _NEIGHBOURS) % shape
        here = sign * values[tuple(point.T)].astype(float)
        there = sign * values[tuple(np.moveaxis(around, 2, 0))].astype(float)
        top = (here[:, None] >= there[:, :half]).all(axis=1) & (here[:, None] > there[:, half:]).all(axis=1)
        found.append((point[top], here[top], there[top]))
    if not found:
        return np.zeros(0), np.zeros((0, 3))
    point, here, there = (np.concatenate(column) for column in zip(*found))
    point, first = _one_of_each(grid, point)
    shift, gain = _paraboloid(here[first], there[first])
    return here[first] + gain, (point + shift) / shape


def _one_of_each(grid: MapGrid, point: Int) -> tuple[Int, Int]:
    """Grid points without their symmetry copies, and which of those given they are.

    Of the copies it is the one with the smallest number: the highest would be chosen by rounding, and the paraboloid
    on a grid that is not rectangular is not the same for all of them.
    """
    crystal, shape = grid.crystal, np.array(grid.values.shape)
    smallest = np.full(len(point), np.iinfo(np.int64).max)
    for rotation, translation in zip(crystal.rotations, crystal.translations):
        image = np.rint(((point / shape) @ rotation.T + translation) * shape).astype(np.int64) % shape
        smallest = np.minimum(smallest, np.ravel_multi_index(tuple(image.T), grid.values.shape))
    order = np.lexsort((np.ravel_multi_index(tuple(point.T), grid.values.shape), smallest))
    first = order[np.unique(smallest[order], return_index=True)[1]]
    return point[first], first


def _paraboloid(here: Float, there: Float) -> tuple[Float, Float]:
    """Where a paraboloid has its top, in grid units from the point, and how much higher that is.

    It goes through the point (n,); gradient and curvature are those of the least-squares fit to this and its 26
    neighbours (n, 26).
    """
    u, v, w = _NEIGHBOURS.T
    ones = np.ones(len(_NEIGHBOURS))
    design = np.column_stack([ones, u, v, w, u * u, v * v, w * w, u * v, u * w, v * w])
    design = np.vstack([np.eye(10)[0], design])
    values = np.column_stack([here, there])
    fitted = values @ np.linalg.pinv(design).T
    gradient = fitted[:, 1:4]
    curvature = np.empty((len(here), 3, 3))
    for k, (i, j) in enumerate(((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))):
        curvature[:, i, j] = curvature[:, j, i] = fitted[:, 4 + k] * (2.0 if i == j else 1.0)
    definite = np.linalg.eigvalsh(curvature)[:, -1] < 0.0 if len(here) else np.zeros(0, dtype=bool)
    shift = np.zeros_like(gradient)
    shift[definite] = -np.linalg.solve(curvature[definite], gradient[definite][:, :, None])[:, :, 0]
    shift = np.clip(shift, -1.0, 1.0)
    gain = np.einsum("ni,ni->n", gradient, shift) + 0.5 * np.einsum("ni,nij,nj->n", shift, curvature, shift)
    return shift, np.maximum(gain, 0.0)


def nearest_copies(crystal: Crystal, fractional: Float, atoms: Atoms) -> tuple[Float, Int, Float]:
    """Of the symmetry copies of some places the one nearest to an atom of the model as given.

    Parameters
    ----------
    crystal : Crystal
    fractional : (n, 3) float64
    atoms : Atoms
        Hydrogens and atoms without occupancy do not count.

    Returns
    -------
    xyz : (n, 3) float64, Å
    atom : (n,) int
        -1 where there is no atom at all.
    distance : (n,) float64, Å
    """
    n = len(fractional)
    xyz, atom, distance = crystal.cartesian(fractional), np.full(n, -1), np.full(n, np.inf)
    counted = np.flatnonzero(~atoms.is_hydrogen & (atoms.occupancy > 0.0))
    if not len(counted) or not n:
        return xyz, atom, distance
    tree = cKDTree(atoms.xyz[counted])
    model = crystal.fractional(atoms.xyz[counted])
    # no place is further from all copies of an atom than the diagonal of a cell
    reach, furthest = 6.0, float(np.linalg.norm(crystal.orth, axis=0).sum())
    while len(todo := np.flatnonzero(atom < 0)) and reach < 2.0 * furthest:
        margin = reach * np.linalg.norm(crystal.frac, axis=1)
        low, high = model.min(axis=0) - margin, model.max(axis=0) + margin
        for rotation, translation in zip(crystal.rotations, crystal.translations):
            image = fractional[todo] @ rotation.T.astype(float) + translation
            first = np.ceil(low - image.max(axis=0)).astype(int)
            last = np.floor(high - image.min(axis=0)).astype(int)
            for vector in itertools.product(*(range(a, b + 1) for a, b in zip(first, last))):
                moved = image + vector
                inside = np.flatnonzero(((moved >= low) & (moved <= high)).all(axis=1))
                if not len(inside):
                    continue
                place = crystal.cartesian(moved[inside])
                far, near = tree.query(place, distance_upper_bound=reach)
                better = far < distance[todo[inside]] - 1e-6
                rows = todo[inside[better]]
                xyz[rows], atom[rows], distance[rows] = place[better], counted[near[better]], far[better]
        reach *= 2.0
    return xyz, atom, distance


def _regions(best: MapGrid, atoms: Atoms) -> tuple[Int, int]:
    """Numbers, from 1, of the connected regions of a map away from the model, on its grid; and how many there are."""
    crystal = best.crystal
    nu, nv, nw = best.values.shape
    counted = ~atoms.is_hydrogen & (atoms.occupancy > 0.0)
    clear = solvent_mask(
        crystal.fractional(atoms.xyz[counted]), np.full(int(counted.sum()), _CLEAR), crystal.rotations,
        crystal.translations, crystal.orth, (nu, nv, nw), 0.0,
    )  # fmt: skip
    labels, joined = periodic_regions(clear & (best.values > BLOB_LEVEL * best.sigma))
    return np.asarray(joined[labels]), int(joined.max())


def region_volumes(best: MapGrid, atoms: Atoms, xyz: Float) -> Float:
    """Volumes (n,), Å³, of the regions such as those of `find_blobs` that places (n, 3) lie in; 0 outside of any.

    Parameters
    ----------
    best : MapGrid
        2mFo-DFc.
    atoms : Atoms
    xyz : (n, 3) float64
        Å.
    """
    region, n = _regions(best, atoms)
    volume = np.bincount(region.reshape(-1), minlength=n + 1) * best.crystal.volume / best.values.size
    volume[0] = 0.0
    shape = np.array(best.values.shape)
    place = np.rint(best.crystal.fractional(xyz) * shape).astype(np.int64) % shape
    return np.asarray(volume[region[tuple(place.T)]])


def find_blobs(best: MapGrid, difference: MapGrid, atoms: Atoms) -> tuple[Blob, ...]:
    """Connected regions of the 2mFo-DFc map away from the model, where the mFo-DFc map has something too.

    Parameters
    ----------
    best, difference : MapGrid
        2mFo-DFc and mFo-DFc on the same grid.
    atoms : Atoms

    Returns
    -------
    tuple of Blob
        Each once, the largest integral first.
    """
    crystal, shape = best.crystal, np.array(best.values.shape)
    region, n = _regions(best, atoms)
    if not n:
        return ()
    inside = np.flatnonzero(region)
    member = region.reshape(-1)[inside] - 1
    voxel = crystal.volume / best.values.size
    volume = np.bincount(member, minlength=n) * voxel
    density = best.values.reshape(-1)[inside].astype(float) / best.sigma
    integral: Float = np.bincount(member, density, minlength=n).astype(float) * voxel
    order = np.lexsort((difference.values.reshape(-1)[inside], member))
    top = inside[order[np.flatnonzero(np.diff(member[order], append=n))]]
    peak = difference.values.reshape(-1)[top].astype(float) / difference.sigma
    kept = np.flatnonzero((volume >= _LEAST_VOLUME) & (peak >= BLOB_DIFFERENCE))
    point = np.column_stack(np.unravel_index(top[kept], best.values.shape))
    point, first = _one_of_each(difference, point)
    kept = kept[first]
    xyz, atom, distance = nearest_copies(crystal, point / shape, atoms)
    order = np.argsort(-integral[kept], kind="stable")
    columns = (volume[kept], peak[kept], integral[kept], xyz, atom, distance)
    rows = zip(*(column[order].tolist() for column in columns))
    return tuple(Blob(v, p, s, (x[0], x[1], x[2]), a, d) for v, p, s, x, a, d in rows)
