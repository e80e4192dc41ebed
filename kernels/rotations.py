"""Rotations by vectors, whose direction is the axis and whose length is the angle, in radians."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

_SMALL = 1e-4
"""Radians; below it (a − sin a) / a³ is taken from its series."""


def crossing(vector: Float) -> Float:
    """Matrices (R, 3, 3) of the cross products of vectors (R, 3) with what they are applied to."""
    found = np.zeros((len(vector), 3, 3))
    found[:, 0, 1], found[:, 0, 2], found[:, 1, 2] = -vector[:, 2], vector[:, 1], -vector[:, 0]
    return np.asarray(found - np.swapaxes(found, 1, 2))


def rotations(vector: Float) -> Float:
    """Matrices (R, 3, 3) of the rotations by vectors (R, 3), after Rodrigues."""
    sine, versine, _ = _ratios(vector)
    k = crossing(vector)
    return np.asarray(np.eye(3) + sine * k + versine * (k @ k))


def left_jacobian(vector: Float) -> Float:
    """J (R, 3, 3) with R(ω + δ) = R(J δ) R(ω) to first order in δ, for rotation vectors ω (R, 3).

    It turns a change of the vector into the rotation that follows that by the vector; its transpose is what a torque is
    multiplied by.
    """
    _, versine, third = _ratios(vector)
    k = crossing(vector)
    return np.asarray(np.eye(3) + versine * k + third * (k @ k))


def rotated(xyz: Float, centre: Float, axis: Float, angle: Float) -> Float:
    """Points (R, n, 3) rotated by angles (R,), radians, about axes (R, 3) of any length through centres (R, 3)."""
    unit = axis / np.linalg.norm(axis, axis=1, keepdims=True)
    matrix = rotations(angle[:, None] * unit)
    return np.asarray(centre[:, None] + (xyz - centre[:, None]) @ np.swapaxes(matrix, 1, 2))


def superposing(one: Float, two: Float) -> Float:
    """Rotation (3, 3) that brings points (n, 3) nearest to others, both about their means.

    Kabsch (1976) Acta Cryst. A32, 922-923.
    """
    u, _, v = np.linalg.svd((two - two.mean(axis=0)).T @ (one - one.mean(axis=0)))
    return np.asarray(u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ v))]) @ v)


def axis_and_angle(vector: Float) -> tuple[Float, Float]:
    """Axes (R, 3), not normalised, and angles (R,), radians, of rotation vectors (R, 3)."""
    angle = np.linalg.norm(vector, axis=1)
    return np.where(angle[:, None] > 0.0, vector, (1.0, 0.0, 0.0)), angle


def _ratios(vector: Float) -> tuple[Float, Float, Float]:
    """sin a / a, (1 − cos a) / a² and (a − sin a) / a³ (R, 1, 1) of the angles of vectors (R, 3)."""
    angle = np.linalg.norm(vector, axis=1)[:, None, None]
    sine = np.sinc(angle / np.pi)
    versine = 0.5 * np.sinc(0.5 * angle / np.pi) ** 2
    safe = np.where(angle < _SMALL, 1.0, angle)
    third = np.where(angle < _SMALL, 1.0 / 6.0 - angle**2 / 120.0, (safe - np.sin(safe)) / safe**3)
    return sine, versine, third
