"""Atoms carried by the frame of their neighbours: hydrogens measured once, and put back wherever the frame goes.

What is kept of a child is chosen so that the ideal angles that it was placed with survive any move of its neighbours,
whatever the geometry that it was measured in (Liebschner et al. (2020), Methods Enzymol. 634, 177-199, section 2.3):

- one neighbour of the parent: distance, angle, and torsion about the bond;
- two, all nearly in a plane: distance, how the child divides the outer angle, and its height;
- two: direction in the plane as a sum of the unit vectors, and the heights in and above the plane;
- three: distance, and the ratio of the cosines to the three bonds.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]

OFFSET, TORSION, PLANAR, PYRAMID, TRIPOD = range(5)
"""How a child is carried: by a constant vector from its parent, or as listed above."""
_FLAT = 0.1
"""Sine of the height above the plane of parent and two neighbours below which a child lies in it."""
_TINY = 1e-6


@dataclass(frozen=True)
class Frames:
    """M children in the frames of their neighbours.

    Attributes
    ----------
    child, parent : (M,) int
    kind : (M,) int
        OFFSET, TORSION, PLANAR, PYRAMID or TRIPOD.
    neighbour : (M, 3) int
        Bonded to the parent; for TORSION the second is a neighbour of the first. What a kind does not need is the
        parent.
    value : (M, 4) float64
        OFFSET: vector, Å. TORSION: distance (Å), angle at the parent and torsion (radians). PLANAR: distance in the
        plane (Å), share of the outer angle on the side of the first neighbour, height above the plane (Å). PYRAMID:
        sums of the unit vectors to both neighbours, distances in and above their plane (Å). TRIPOD: distance, cosines
        to the three bonds.
    """

    child: Int
    parent: Int
    kind: Int
    neighbour: Int
    value: Float

    def with_torsion(self, torsion: Float) -> Frames:
        """The same with other torsions (M,), radians; they count where the kind is TORSION."""
        value = self.value.copy()
        value[:, 2] = np.where(self.kind == TORSION, torsion, value[:, 2])
        return dataclasses.replace(self, value=value)


def measure(xyz: Float, child: Int, parent: Int, neighbour: Int, count: Int) -> Frames:
    """Find what carries each child from where it is.

    Parameters
    ----------
    xyz : (N, 3) float64, Å
    child, parent : (M,) int
    neighbour : (M, 3) int
        Up to three atoms bonded to the parent; with a single one, the second is one bonded to that, if there is any.
    count : (M,) int
        Neighbours of the parent that are given, 0..3.

    Returns
    -------
    Frames
        OFFSET where atoms lie on top of each other or in a line, so that nothing else is defined.
    """
    vector = xyz[child] - xyz[parent]
    length = _norm(vector)
    h = _unit(vector)
    u = _unit(xyz[neighbour] - xyz[parent][:, None])
    value = np.zeros((len(child), 4))
    value[:, :3] = vector
    sound = length > _TINY
    kind = np.full(len(child), OFFSET)

    one = (count == 1) & sound
    one &= np.isfinite(u[:, 0]).all(axis=1)
    value[one, 0], value[one, 1] = length[one], _angle(h, u[:, 0])[one]
    value[one, 2] = torsion(xyz[neighbour[:, 1]], xyz[neighbour[:, 0]], xyz[parent], xyz[child])[one]
    kind[one] = TORSION

    normal = np.cross(u[:, 0], u[:, 1])
    spread = _norm(normal)
    height = np.einsum("ni,ni->n", h, _unit(normal))
    two = (count == 2) & sound & (spread > 0.05)
    flat = two & (np.abs(height) < _FLAT)
    outer = 2.0 * np.pi - _angle(u[:, 0], u[:, 1])
    within = _unit(h - height[:, None] * _unit(normal))
    first, second = _angle(within, u[:, 0]), _angle(within, u[:, 1])
    flat &= np.abs(first + second - outer) < 1e-3  # on the far side of both bonds, not between them
    in_plane = np.stack([length * np.sqrt(np.maximum(1.0 - height**2, 0.0)), first / outer, length * height], axis=1)
    value[flat, :3] = in_plane[flat]
    kind[flat] = PLANAR
    above = two & ~flat
    cosine = np.einsum("ni,ni->n", u[:, 0], u[:, 1])
    c1, c2 = np.einsum("ni,ni->n", h, u[:, 0]), np.einsum("ni,ni->n", h, u[:, 1])
    value[above] = np.stack(
        [c1 - cosine * c2, c2 - cosine * c1, length * np.sqrt(np.maximum(1.0 - height**2, 0.0)), length * height], 1
    )[above]
    kind[above] = PYRAMID

    volume = np.abs(np.einsum("ni,ni->n", normal, u[:, 2]))
    three = (count == 3) & sound & np.isfinite(volume)
    value[three, 0] = length[three]
    value[three, 1:] = np.where(volume[:, None] > 1e-3, np.einsum("nki,ni->nk", u, h), -1.0 / 3.0)[three]
    kind[three] = TRIPOD
    return Frames(child, parent, kind, neighbour, value)


def place(frames: Frames, xyz: Float) -> Float:
    """Positions (M, 3) of the children around the other atoms of `xyz` (N, 3), Å."""
    out = frames.value[:, :3].copy()
    for kind, carried in ((TORSION, _by_torsion), (PLANAR, _in_plane), (PYRAMID, _above_plane), (TRIPOD, _on_tripod)):
        rows = np.flatnonzero(frames.kind == kind)
        if len(rows):
            at = frames.parent[rows]
            arms = xyz[frames.neighbour[rows]] - xyz[at][:, None]
            vector = carried(arms, frames.value[rows])
            fallen = ~np.isfinite(vector).all(axis=1)  # neighbours on top of each other, or in a line
            vector[fallen] = (0.0, 0.0, 1.0)
            out[rows] = vector
    placed: Float = out + xyz[frames.parent]
    return placed


def on_cone(xyz: Float, frames: Frames, rows: Int, torsions: Float) -> Float:
    """Positions (m, A, 3) of the children `rows` (m,), of kind TORSION, at other torsions (m, A), radians."""
    n = torsions.shape[1]
    value = np.repeat(frames.value[rows], n, axis=0)
    value[:, 2] = torsions.ravel()
    at = frames.parent[rows]
    arms = np.repeat(xyz[frames.neighbour[rows]] - xyz[at][:, None], n, axis=0)
    vector = _by_torsion(arms, value)
    vector[~np.isfinite(vector).all(axis=1)] = (0.0, 0.0, 1.0)
    vector = vector.reshape(len(rows), n, 3)
    placed: Float = vector + xyz[at][:, None]
    return placed


def torsion(a: Float, b: Float, c: Float, d: Float) -> Float:
    """Torsion angles (n,) a-b-c-d, radians; 0 where three of the atoms lie in a line."""
    axis = _unit(c - b)
    one, two = a - b, d - c
    one = one - np.einsum("ni,ni->n", one, axis)[:, None] * axis
    two = two - np.einsum("ni,ni->n", two, axis)[:, None] * axis
    angle: Float = np.arctan2(np.einsum("ni,ni->n", np.cross(axis, one), two), np.einsum("ni,ni->n", one, two))
    return np.nan_to_num(angle)


def _by_torsion(arms: Float, value: Float) -> Float:
    axis = -_unit(arms[:, 0])  # from the neighbour to the parent
    back = arms[:, 1] - arms[:, 0]
    across = _unit(back - np.einsum("ni,ni->n", back, axis)[:, None] * axis)
    third = np.cross(axis, across)
    distance, angle, turn = value[:, 0], value[:, 1], value[:, 2]
    radial = np.cos(turn)[:, None] * across + np.sin(turn)[:, None] * third
    return distance[:, None] * (-np.cos(angle)[:, None] * axis + np.sin(angle)[:, None] * radial)


def _in_plane(arms: Float, value: Float) -> Float:
    u, v = _unit(arms[:, 0]), _unit(arms[:, 1])
    inner = _angle(u, v)
    aside = _unit(u * np.cos(inner)[:, None] - v)  # in the plane, away from the second neighbour
    turn = value[:, 1] * (2.0 * np.pi - inner)
    within = np.cos(turn)[:, None] * u + np.sin(turn)[:, None] * aside
    return value[:, :1] * within + value[:, 2:3] * _unit(np.cross(u, v))


def _above_plane(arms: Float, value: Float) -> Float:
    u, v = _unit(arms[:, 0]), _unit(arms[:, 1])
    within = np.where(value[:, 2:3] > _TINY, _unit(value[:, :1] * u + value[:, 1:2] * v), 0.0)
    return value[:, 2:3] * within + value[:, 3:4] * _unit(np.cross(u, v))


def _on_tripod(arms: Float, value: Float) -> Float:
    u = _unit(arms)
    # Cramer's rule by cross products: the vector whose products with the three bonds are as wanted.
    across = np.stack([np.cross(u[:, 1], u[:, 2]), np.cross(u[:, 2], u[:, 0]), np.cross(u[:, 0], u[:, 1])], axis=1)
    volume = np.einsum("ni,ni->n", u[:, 0], across[:, 0])
    direction = np.einsum("nk,nki->ni", value[:, 1:], across) * np.sign(volume)[:, None]
    return value[:, :1] * _unit(direction)


def _norm(vector: Float) -> Float:
    length: Float = np.sqrt(np.einsum("...i,...i->...", vector, vector))
    return length


def _unit(vector: Float) -> Float:
    """Unit vectors; nan where there is no direction."""
    length = _norm(vector)[..., None]
    unit: Float = np.divide(vector, length, out=np.full_like(vector, np.nan), where=length > _TINY)
    return unit


def _angle(u: Float, v: Float) -> Float:
    """Angles (n,) of unit vectors, radians."""
    angle: Float = np.arctan2(_norm(np.cross(u, v)), np.einsum("ni,ni->n", u, v))
    return angle
