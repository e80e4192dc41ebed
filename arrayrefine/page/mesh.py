"""Electron density as a mesh of contour lines, seen from one side."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, spline_filter
from scipy.spatial import cKDTree

from arrayrefine.real_space.map_grids import MapGrid

Float = NDArray[np.float64]

_TILT = np.radians((21.0, -24.0, 11.0))
"""Of the mesh against the view: lines that ran along the line of sight would be points."""
_MARGIN = 4
"""Grid points around a cut-out, for the spline."""
LAYERS = 3
"""Of depth: the further back, the paler."""


@dataclass(frozen=True)
class View:
    """From where one looks: `axes` (3, 3) are rows right, up, towards the eye; `centre` (3,) and `half` in Å."""

    centre: Float
    axes: Float
    half: float
    depth: float

    @classmethod
    def onto(cls, xyz: Float, centre: Float | None = None) -> View:
        """Look at atoms (n, 3) from where they spread most."""
        middle = xyz.mean(axis=0) if centre is None else centre
        _, _, axes = np.linalg.svd(xyz - xyz.mean(axis=0)) if len(xyz) > 2 else (0, 0, np.eye(3))
        signs = np.sign(axes[np.arange(2), np.abs(axes[:2]).argmax(axis=1)])
        right, up = axes[0] * signs[0], axes[1] * signs[1]
        frame = np.array([right, up, np.cross(right, up)])
        apart = np.abs((xyz - middle) @ frame.T).max(axis=0)
        half = float(np.clip(apart[:2].max() + 2.2, 4.5, 12.0))
        return cls(middle, frame, half, float(min(apart[2], 4.0) + 2.0))

    def project(self, xyz: Float) -> Float:
        """Right, up and towards the eye (n, 3), Å from the centre."""
        return np.asarray((xyz - self.centre) @ self.axes.T)


def smooth_values(density: MapGrid, xyz: Float) -> Float:
    """Values of a map in units of sigma (n,) at places (n, 3) in Å that lie close together, by cubic splines."""
    shape = np.array(density.values.shape)
    place = density.crystal.fractional(xyz) * shape
    first = np.floor(place.min(axis=0)).astype(np.int64) - _MARGIN
    last = np.ceil(place.max(axis=0)).astype(np.int64) + _MARGIN
    index = [np.arange(a, b + 1) % n for a, b, n in zip(first, last, shape)]
    block = spline_filter(density.values[np.ix_(*index)], order=3, output=np.float64)
    return np.asarray(map_coordinates(block, (place - first).T, order=3, prefilter=False)) / density.sigma


def wires(
    density: MapGrid, view: View, levels: tuple[float, ...], around: Float, reach: float, step: float
) -> list[list[list[Float]]]:
    """Contour lines of `density` around atoms.

    Parameters
    ----------
    density : MapGrid
    view : View
    levels : tuple of float
        In units of sigma.
    around : (n, 3) float
        Atoms, Cartesian, Å.
    reach : float
        What is further than this from all of them is left out, Å.
    step : float
        Distance of the wires, Å.

    Returns
    -------
    for each level a list of LAYERS lists of (m, 2) float
        Lines as seen in the view, Å from its centre, the furthest layer first.
    """
    tilted = _tilt() @ view.axes
    inside = (around - view.centre) @ tilted.T
    low = inside.min(axis=0) - reach
    shape = np.ceil((inside.max(axis=0) + reach - low) / step).astype(int) + 1
    places = (low + step * np.moveaxis(np.indices(shape), 0, -1)).reshape(-1, 3)
    near = np.isfinite(cKDTree(inside).query(places, distance_upper_bound=reach)[0])
    values = np.full(len(near), np.nan)
    if near.any():
        values[near] = smooth_values(density, places[near] @ tilted + view.centre)
    found = []
    for lines in _contours(values.reshape(shape), levels):
        layers: list[list[Float]] = [[] for _ in range(LAYERS)]
        for line in lines:
            for part, layer in _by_depth((low + step * line) @ (tilted @ view.axes.T), view):
                layers[layer].append(part)
        found.append(layers)
    return found


def _tilt() -> Float:
    (sa, sb, sc), (ca, cb, cc) = np.sin(_TILT), np.cos(_TILT)
    about_x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    about_y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    about_z = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    return np.asarray(about_x @ about_y @ about_z)


def _contours(values: Float, levels: tuple[float, ...]) -> list[list[Float]]:
    """For each level the contour lines (m, 3), in grid units, of all sections of a box perpendicular to its axes."""
    from contourpy import contour_generator

    found: list[list[Float]] = [[] for _ in levels]
    for axis in range(3):
        first, second = (k for k in range(3) if k != axis)
        sections = np.moveaxis(values, axis, 0)
        rows = sections.shape[1] + 1
        # all sections one below the other, a blank row between: setting contourpy up takes longer than its work
        sheet = np.pad(sections, ((0, 0), (0, 1), (0, 0)), constant_values=np.nan).reshape(-1, sections.shape[2])
        generator = contour_generator(z=np.ma.masked_invalid(sheet), corner_mask=True)
        for lines, level in zip(found, levels):
            for found_line in generator.lines(level):
                flat = np.asarray(found_line, dtype=float)
                line = np.empty((len(flat), 3))
                line[:, axis] = section = flat[0, 1] // rows
                line[:, first] = flat[:, 1] - section * rows
                line[:, second] = flat[:, 0]
                lines.append(line)
    return found


def _by_depth(line: Float, view: View) -> list[tuple[Float, int]]:
    """Cut a line (m, 3) where it goes from one layer of depth to another."""
    middle = (line[1:, 2] + line[:-1, 2]) / 2
    layer = np.clip(((middle / view.depth + 1) / 2 * LAYERS).astype(int), 0, LAYERS - 1)
    cuts = [0, *(np.flatnonzero(np.diff(layer)) + 1), len(layer)]
    return [(line[a : b + 1, :2], int(layer[a])) for a, b in itertools.pairwise(cuts) if b > a]
