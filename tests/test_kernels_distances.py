"""Robust restraints on distances and their differences: formulas, derivatives, and the twin on the emulated device."""

from __future__ import annotations

from types import ModuleType

import emulator
import numpy as np
import pytest
from checks import check_direction

from arrayrefine.kernels import distances, distances_cuda
from arrayrefine.kernels.backend import launch_counts, reset_launch_counts, to_device, to_host

N = 30
ALPHAS = (2.0, 1.0, 0.0, -2.0, -7.5)
Class = tuple[np.ndarray, np.ndarray, np.ndarray, float, float, np.ndarray | float]


def _class(width: int, rows: int, alpha: float, weight: float = 1.7) -> Class:
    rng = np.random.default_rng(width + rows)
    index = np.array([rng.choice(N, width, replace=False) for _ in range(rows)], dtype=np.int64).reshape(-1, width)
    ideal = rng.normal(3.0 if width == 2 else 0.0, 1.0, rows)
    return index, ideal, rng.uniform(0.05, 2.0, rows), alpha, weight, np.maximum(rng.uniform(-2.0, 2.0, rows), 0.0)


def _positions(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 3.0, (N, 3))


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("width", [2, 4])
def test_gradient(width: int, alpha: float) -> None:
    xyz, given = _positions(), _class(width, 40, alpha)
    _, gradient = distances.evaluate(xyz, *given)
    direction = np.random.default_rng(5).normal(size=xyz.shape)
    check_direction(
        lambda t: distances.evaluate(xyz + t * direction, *given)[0], float((gradient * direction).sum()), 1e-4, 1e-7
    )


@pytest.mark.parametrize("alpha", ALPHAS)
def test_residuals_are_the_same_term(alpha: float) -> None:
    xyz, (index, ideal, sigma, _, weight, slack) = _positions(), _class(4, 40, alpha)
    value, gradient = distances.evaluate(xyz, index, ideal, sigma, alpha, weight, slack)
    residual, jacobian = distances.residuals(*distances.deviations(xyz, index, ideal, sigma, slack), alpha, weight)
    assert 0.5 * residual @ residual == pytest.approx(value, rel=1e-12)
    summed = np.zeros_like(xyz)
    np.add.at(summed, index, residual[:, None, None] * jacobian)
    np.testing.assert_allclose(summed, gradient, rtol=1e-9, atol=1e-9)


def test_losses_known_by_name() -> None:
    z = np.array([-30.0, -1.0, -1e-9, 0.0, 0.3, 4.0])
    np.testing.assert_allclose(distances.loss(z, -2.0)[0], 2 * z**2 / (z**2 + 4), rtol=1e-12)  # Geman-McClure
    np.testing.assert_allclose(distances.loss(z, 1.0)[0], np.sqrt(z**2 + 1) - 1, rtol=1e-12, atol=1e-17)
    np.testing.assert_allclose(distances.loss(z, 1e-7)[0], distances.loss(z, 0.0)[0], rtol=1e-5)


def test_an_outlier_is_let_go() -> None:
    xyz = np.array([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]])
    one, index = np.ones(1), np.array([[0, 1]])
    assert abs(distances.evaluate(xyz, index, one, 0.1 * one, -2.0)[1]).max() < 1e-3
    assert abs(distances.evaluate(xyz, index, one, 0.1 * one, 2.0)[1]).max() == pytest.approx(800.0)


def test_within_the_slack_nothing_pulls() -> None:
    xyz = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    index, one = np.array([[0, 1]]), np.ones(1)
    for ideal, slack, z in ((3.2, 0.3, 0.0), (3.5, 0.3, -2.0), (2.0, 0.9, 1.0), (3.0, 0.0, 0.0)):
        found, jacobian = distances.deviations(xyz, index, ideal * one, 0.1 * one, slack * one)
        assert found == pytest.approx(z)
        assert jacobian.any() == (slack == 0.0 or z != 0.0)  # where there is none, it is stiff at its ideal
        assert distances.evaluate(xyz, index, ideal * one, 0.1 * one, 2.0, 1.0, slack)[0] == pytest.approx(0.5 * z * z)


def test_coincident_atoms_are_finite() -> None:
    xyz = np.zeros((4, 3))
    value, gradient = distances.evaluate(xyz, np.array([[0, 1, 2, 3]]), np.ones(1), np.ones(1), -2.0)
    assert np.isfinite(value)
    assert not gradient.any()


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("width", [2, 4])
def test_the_twin(emulated_cuda: ModuleType, width: int, alpha: float) -> None:
    xyz, (index, ideal, sigma, _, weight, slack) = _positions(), _class(width, 200, alpha)
    expected, slope = distances.evaluate(xyz, index, ideal, sigma, alpha, weight, slack)
    arrays = (to_device(a) for a in (xyz, index, ideal, sigma))
    value, gradient = distances.evaluate(*arrays, alpha, weight, to_device(slack))
    assert float(value) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(to_host(gradient), slope, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rows", [0, 1, 150])
def test_classes_and_models_together(emulated_cuda: ModuleType, rows: int) -> None:
    classes = [_class(4, rows, -2.0), _class(2, rows, 0.0, 0.3), _class(4, 7, 1.0)]
    plan = distances_cuda.plan(N, classes, 2)
    xyz = np.stack([_positions(1), _positions(2)])
    results = []
    for order in (False, True):
        value, gradient = to_device(np.array([1.0, 2.0])), to_device(np.full((2, N, 3), 3.0))
        reset_launch_counts()
        if order:
            with emulator.reversed_order():
                distances_cuda.add(plan, to_device(xyz), value, gradient)
        else:
            distances_cuda.add(plan, to_device(xyz), value, gradient)
        assert sum(launch_counts().values()) == 2
        results.append((to_host(value), to_host(gradient)))
    for m in range(2):
        parts = [distances.evaluate(xyz[m], *given) for given in classes]
        assert results[0][0][m] == pytest.approx(1.0 + m + sum(v for v, _ in parts), rel=1e-12)
        np.testing.assert_allclose(results[0][1][m], 3.0 + sum(g for _, g in parts), rtol=1e-10, atol=1e-10)
    assert np.array_equal(results[0][0], results[1][0])
    assert np.array_equal(results[0][1], results[1][1])


def test_wrong_shapes_are_refused(emulated_cuda: ModuleType) -> None:
    plan = distances_cuda.plan(N, [_class(2, 5, -2.0)])
    with pytest.raises(ValueError, match="1 models of 30 atoms"):
        distances_cuda.add(plan, to_device(np.zeros((2, N, 3))), to_device(np.zeros(2)), to_device(np.zeros((2, N, 3))))
