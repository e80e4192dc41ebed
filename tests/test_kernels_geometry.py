"""Kernels of the coordinate restraints: values, derivatives, invariance, singular geometry."""

from __future__ import annotations

from collections.abc import Callable

import gemmi
import numpy as np
import pytest

from arrayrefine.kernels import geometry

RNG = np.random.default_rng(5)
N, ROWS = 30, 40
Kernel = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def _rows(width: int) -> np.ndarray:
    return np.array([RNG.choice(N, width, replace=False) for _ in range(ROWS)])


def _made() -> dict[str, tuple[np.ndarray, Kernel]]:
    two, three, four, centre = _rows(2), _rows(3), _rows(4), _rows(4)
    sigma = RNG.uniform(0.02, 0.1, ROWS)
    wide = RNG.uniform(2.0, 9.0, ROWS)
    period = RNG.integers(1, 7, ROWS)
    number = np.repeat(np.arange(6), [4, 5, 4, 9, 6, 4])
    members = np.concatenate([RNG.choice(N, k, replace=False) for k in np.bincount(number)])
    flat = RNG.uniform(0.02, 0.04, len(members))
    ideal = RNG.uniform(1.0, 2.0, ROWS)
    theta = RNG.uniform(60.0, 170.0, ROWS)
    phi = RNG.uniform(-180.0, 180.0, ROWS)
    volume = RNG.normal(0.0, 2.5, ROWS)
    return {
        "bond": (two, lambda x: geometry.bond(x, two, ideal, sigma)),
        "angle": (three, lambda x: geometry.angle(x, three, theta, wide)),
        "torsion": (four, lambda x: geometry.torsion(x, four, phi, wide, period)),
        "chirality": (centre, lambda x: geometry.chirality(x, centre, volume, sigma)),
        "plane": (members, lambda x: geometry.plane(x, members, number, flat)),
    }


KERNELS = _made()


@pytest.mark.parametrize("name", KERNELS)
def test_gradient_is_the_derivative_of_the_value(name: str) -> None:
    index, kernel = KERNELS[name]
    xyz = RNG.normal(0.0, 2.0, (N, 3))

    def total(x: np.ndarray) -> tuple[float, np.ndarray]:
        return geometry.accumulate(*kernel(x), index, N)

    _, gradient = total(xyz)
    for direction in RNG.normal(size=(4, N, 3)):
        h = 1e-6
        numeric = (total(xyz + h * direction)[0] - total(xyz - h * direction)[0]) / (2 * h)
        assert numeric == pytest.approx(float((gradient * direction).sum()), rel=2e-6)


@pytest.mark.parametrize("name", ["bond", "angle", "torsion", "chirality"])
def test_jacobian_is_the_derivative_of_each_deviation(name: str) -> None:
    index, kernel = KERNELS[name]
    xyz, direction = RNG.normal(0.0, 2.0, (2, N, 3))
    _, jacobian = kernel(xyz)
    h = 1e-6
    numeric = (kernel(xyz + h * direction)[0] - kernel(xyz - h * direction)[0]) / (2 * h)
    np.testing.assert_allclose(np.einsum("nkx,nkx->n", jacobian, direction[index]), numeric, rtol=1e-5, atol=1e-4)


def test_firm_outliers() -> None:
    """What is beyond the limit counts again; what is not stays as it is."""
    index, kernel = KERNELS["angle"]
    xyz, limit, weight = RNG.normal(0.0, 2.0, (N, 3)), 4.0, 3.0
    z, jacobian = kernel(xyz)
    beyond = np.maximum(np.abs(z) - limit, 0.0)
    assert 3 < np.count_nonzero(beyond) < len(z) - 3
    assert geometry.with_firm_outliers(z, jacobian, geometry.Firm(limit, 0.0))[0] is z
    assert geometry.with_firm_outliers(z, jacobian, geometry.Firm(np.abs(z).max(), weight))[1] is jacobian

    def total(x: np.ndarray) -> tuple[float, np.ndarray]:
        return geometry.accumulate(*geometry.with_firm_outliers(*kernel(x), geometry.Firm(limit, weight)), index, N)

    value, gradient = total(xyz)
    assert value == pytest.approx(0.5 * (z @ z + weight * np.sum(beyond**3 / (1.0 + beyond))), rel=1e-12)
    r, slope = geometry.with_firm_outliers(z, jacobian, geometry.Firm(limit, weight))
    assert np.array_equal(np.sign(r), np.sign(z))
    assert np.array_equal(slope[beyond == 0.0], jacobian[beyond == 0.0])
    pull = geometry.stiffness(z, geometry.Firm(limit, weight)) * z
    np.testing.assert_allclose(r[:, None, None] * slope, pull[:, None, None] * jacobian, rtol=1e-12)
    for direction in RNG.normal(size=(4, N, 3)):
        h = 1e-6
        numeric = (total(xyz + h * direction)[0] - total(xyz - h * direction)[0]) / (2 * h)
        assert numeric == pytest.approx(float((gradient * direction).sum()), rel=2e-6)


@pytest.mark.parametrize("name", KERNELS)
def test_invariant_under_rotation_and_translation(name: str) -> None:
    index, kernel = KERNELS[name]
    xyz = RNG.normal(0.0, 2.0, (N, 3))
    rotation, _ = np.linalg.qr(RNG.normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    value, gradient = geometry.accumulate(*kernel(xyz), index, N)
    moved, turned = geometry.accumulate(*kernel(xyz @ rotation.T + [3.0, -8.0, 20.0]), index, N)
    assert moved == pytest.approx(value, rel=1e-9)
    np.testing.assert_allclose(turned, gradient @ rotation.T, rtol=1e-7, atol=1e-7 * np.abs(gradient).max())
    np.testing.assert_allclose(gradient.sum(axis=0), 0.0, atol=1e-9 * np.abs(gradient).max())


def test_values_against_gemmi() -> None:
    xyz = RNG.normal(0.0, 2.0, (4, 3))
    p = [gemmi.Position(*row) for row in xyz]
    one = np.ones(1)
    zero = np.zeros(1)
    assert geometry.bond(xyz, np.array([[0, 1]]), zero, one)[0][0] == pytest.approx(p[0].dist(p[1]))
    angle = np.degrees(gemmi.calculate_angle(p[0], p[1], p[2]))
    assert geometry.angle(xyz, np.array([[0, 1, 2]]), zero, one)[0][0] == pytest.approx(angle)
    torsion = np.degrees(gemmi.calculate_dihedral(*p))
    assert geometry.dihedral(xyz, np.array([[0, 1, 2, 3]]))[0][0] == pytest.approx(torsion)


def test_torsion_takes_the_nearest_of_its_ideals() -> None:
    xyz = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.5], [-1.0, 0.02, 1.5]])
    index = np.array([[0, 1, 2, 3]])
    phi = geometry.dihedral(xyz, index)[0]
    for ideal, period, expected in ((-179.0, 1, 0.0), (60.0, 3, 0.0), (0.0, 1, 180.0), (0.0, 2, 0.0)):
        z, _ = geometry.torsion(xyz, index, np.array([ideal]), np.ones(1), np.array([period]))
        assert abs(z[0]) == pytest.approx(expected, abs=2.5), (ideal, period, phi)


def test_chirality_changes_its_sign_in_the_mirror() -> None:
    xyz = RNG.normal(size=(4, 3))
    index = np.array([[0, 1, 2, 3]])
    left, _ = geometry.chirality(xyz, index, np.zeros(1), np.ones(1))
    right, _ = geometry.chirality(xyz * [-1, 1, 1], index, np.zeros(1), np.ones(1))
    assert left[0] == pytest.approx(-right[0])
    assert abs(left[0]) > 1e-3


def test_plane_is_the_least_squares_plane() -> None:
    xyz = np.c_[RNG.normal(size=(7, 2)) * 3, np.zeros(7)]
    off = xyz.copy()
    off[:, 2] = RNG.normal(0.0, 0.05, 7)
    index, number, sigma = np.arange(7), np.zeros(7, dtype=int), np.full(7, 0.02)
    z, _ = geometry.plane(xyz, index, number, sigma)
    np.testing.assert_allclose(z, 0.0, atol=1e-9)
    z, _ = geometry.plane(off, index, number, sigma)
    best = np.linalg.svd(off - off.mean(axis=0))[1][-1] / 0.02
    assert np.linalg.norm(z) == pytest.approx(best)


def test_singular_geometry_is_finite() -> None:
    """Coincident atoms, angles of 0 and 180 degrees, straight torsions, planes without a plane."""
    line = np.array([[0.0, 0, 0], [1.5, 0, 0], [3.0, 0, 0], [4.5, 0, 0]])
    same = np.zeros((4, 3))
    back = np.array([[1.0, 0, 0], [0, 0, 0], [1.0, 0, 0], [0, 0, 0]])
    one = np.ones(1)
    for xyz in (line, same, back):
        results = [
            geometry.bond(xyz, np.array([[0, 1]]), one, one),
            geometry.angle(xyz, np.array([[0, 1, 2]]), 109 * one, one),
            geometry.torsion(xyz, np.array([[0, 1, 2, 3]]), 60 * one, one, np.array([3])),
            geometry.chirality(xyz, np.array([[0, 1, 2, 3]]), 2.5 * one, one),
            geometry.plane(xyz, np.arange(4), np.zeros(4, dtype=int), np.full(4, 0.02)),
        ]
        for z, jacobian in results:
            assert np.isfinite(z).all()
            assert np.isfinite(jacobian).all()
            assert np.abs(jacobian).max() < 1e6
    z, _ = geometry.angle(line, np.array([[0, 1, 2]]), 180 * one, one)
    assert z[0] == pytest.approx(0.0)


def test_nothing_to_restrain() -> None:
    xyz = RNG.normal(size=(3, 3))
    empty = np.zeros(0)
    for z, jacobian, index in (
        (*geometry.bond(xyz, np.zeros((0, 2), int), empty, empty), np.zeros((0, 2), int)),
        (*geometry.plane(xyz, np.zeros(0, int), np.zeros(0, int), empty), np.zeros(0, int)),
    ):
        value, gradient = geometry.accumulate(z, jacobian, index, 3)
        assert value == 0.0
        np.testing.assert_array_equal(gradient, np.zeros((3, 3)))
