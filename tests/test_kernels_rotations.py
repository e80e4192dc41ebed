"""Rotations by vectors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from arrayrefine.kernels.rotations import axis_and_angle, crossing, left_jacobian, rotated, rotations

VECTORS = np.array([[0.3, -1.1, 0.7], [2e-5, 1e-5, -3e-5], [0.0, 0.0, 0.0], [0.0, np.pi, 0.0], [4.0, 1.0, -2.0]])


def test_rotations_are_rotations_and_agree_with_their_jacobian() -> None:
    found = rotations(VECTORS)
    np.testing.assert_allclose(found, Rotation.from_rotvec(VECTORS).as_matrix(), atol=1e-14)
    for omega, rotation in zip(VECTORS, found):
        assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.allclose(rotation @ omega, omega)
        assert np.trace(rotation) == pytest.approx(1.0 + 2.0 * np.cos(np.linalg.norm(omega)))
        delta = 1e-6 * np.array([0.2, -0.9, 0.4])
        turned = rotations((left_jacobian(omega[None])[0] @ delta)[None])[0] @ rotation
        assert np.allclose(rotations((omega + delta)[None])[0], turned, atol=1e-11)


def test_the_jacobian_is_smooth_where_its_series_ends() -> None:
    along = np.array([1.0, 2.0, -2.0]) / 3.0
    below, above = left_jacobian(np.array([0.9999e-4, 1.0001e-4])[:, None] * along)
    np.testing.assert_allclose(below, above, atol=2e-8)


def test_points_turn_about_a_line() -> None:
    rng = np.random.default_rng(1)
    xyz, centre, axis = rng.normal(size=(5, 4, 3)), rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    angle = np.array([0.0, 1e-6, 1.0, np.pi, -2.0])
    turned = rotated(xyz, centre, axis, angle)
    for k in range(5):
        by = Rotation.from_rotvec(angle[k] * axis[k] / np.linalg.norm(axis[k]))
        np.testing.assert_allclose(turned[k], by.apply(xyz[k] - centre[k]) + centre[k], atol=1e-13)
    np.testing.assert_allclose(crossing(axis) @ centre[:, :, None], np.cross(axis, centre)[:, :, None])
    assert axis_and_angle(np.zeros((1, 3)))[0].any()  # an axis there is, as what turns by nothing needs one
