"""CUDA kernels of the restraints on anisotropic U against their NumPy twins, on the emulated device."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import emulator
import numpy as np
import pytest

from arrayrefine.kernels import adp_aniso, adp_aniso_cuda, symmetric
from arrayrefine.kernels.backend import launch_counts, reset_launch_counts, to_device, to_host


def _close(found: Any, expected: Any, tolerance: float = 1e-11) -> None:
    found, expected = to_host(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert np.isfinite(found).all()
    assert np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected)


def _pairs(n: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs in any order, some of them twice; the last atom has most partners, the first has none."""
    rng = np.random.default_rng(0)
    i = rng.integers(1, max(2, n - 1), count)
    j = np.where(rng.random(count) < 0.3, n - 1, rng.integers(min(2, n - 1), n, count))
    return i, j, rng.uniform(0.5, 100.0, count)


def _directions(*shape: int) -> np.ndarray:
    along = np.random.default_rng(2).normal(size=(*shape, 3))
    return along / np.linalg.norm(along, axis=-1, keepdims=True)


def _u(n: int, n_models: int) -> np.ndarray:
    """Random ones, round and flat ones, and some that are not positive definite."""
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.normal(size=(n_models, n, 3, 3)))[0]
    u = symmetric.six((axes * rng.uniform(0.01, 0.5, (n_models, n, 1, 3))) @ np.swapaxes(axes, -1, -2))
    awkward = np.array([[0.2] * 3 + [0] * 3, [0] * 6, [0.1, 0.1, 0.1, 0.3, 0, 0], [-0.1, 0.2, 0.1, 0, 0, 0.1]])
    u[:, : min(4, n // 8)] = awkward[: min(4, n // 8)]
    return u


SIZES = [(100, 700), (3, 1), (1, 0), (40, 0), (0, 0)]


@pytest.mark.parametrize(("n", "count"), SIZES)
@pytest.mark.parametrize("n_models", [1, 3])
def test_kl_shapes_and_rigid_bonds(emulated_cuda: ModuleType, n: int, count: int, n_models: int) -> None:
    (i, j, weight), u, e = _pairs(n, count), _u(n, n_models), _directions(n_models, count)
    tensors, on_device = adp_aniso_cuda.plan(n, i, j, weight, n_models, e), to_device(u)
    shapes = adp_aniso_cuda.plan(n, i, j, weight, n_models, shapes=True)
    for plan, evaluate, launches, twin in (
        (tensors, adp_aniso_cuda.evaluate_kl, 3, lambda m: adp_aniso.kl(u[m], i, j, weight)),
        (shapes, adp_aniso_cuda.evaluate_kl, 3, lambda m: adp_aniso.shape(u[m], i, j, weight)),
        (tensors, adp_aniso_cuda.evaluate_rigid_bond, 2, lambda m: adp_aniso.rigid_bond(u[m], i, j, e[m], weight)),
    ):
        reset_launch_counts()
        value, gradient = (to_host(a).copy() for a in evaluate(plan, on_device))
        assert sum(launch_counts().values()) <= launches
        for m in range(n_models):
            total, slope = twin(m)
            assert value[m] == pytest.approx(total, rel=1e-11)
            _close(gradient[m], slope)
        with emulator.reversed_order():
            again = evaluate(plan, on_device)
        assert np.array_equal(value, to_host(again[0]))
        assert np.array_equal(gradient, to_host(again[1]))


@pytest.mark.parametrize("count", [0, 1, 700])
def test_the_twins_take_device_arrays(emulated_cuda: ModuleType, count: int) -> None:
    (i, j, weight), u, e = _pairs(100, count), _u(100, 1)[0], _directions(count)
    for function, arguments in (
        (adp_aniso.kl, (u, i, j, weight)), (adp_aniso.shape, (u, i, j, weight)),
        (adp_aniso.rigid_bond, (u, i, j, e, weight)), (adp_aniso.sphericity, (u, np.linspace(0.0, 9.0, 100))),
    ):  # fmt: skip
        value, gradient = function(*map(to_device, arguments))
        total, slope = function(*arguments)
        assert float(value) == pytest.approx(total, rel=1e-11)
        _close(gradient, slope)


@pytest.mark.parametrize("n", [0, 1, 127, 300])
def test_sphericity(emulated_cuda: ModuleType, n: int) -> None:
    u, weight = _u(n, 3), np.linspace(0.0, 50.0, n)
    value, gradient = (to_host(a).copy() for a in adp_aniso.sphericity(to_device(u), to_device(weight)))
    for m in range(3):
        total, slope = adp_aniso.sphericity(u[m], weight)
        assert value[m] == pytest.approx(total, rel=1e-11)
        _close(gradient[m], slope)
    with emulator.reversed_order():
        again = adp_aniso.sphericity(to_device(u), to_device(weight))
    assert np.array_equal(value, to_host(again[0]))
    assert np.array_equal(gradient, to_host(again[1]))


def test_the_evaluation_can_be_captured(emulated_cuda: ModuleType) -> None:
    (i, j, weight), u, e = _pairs(50, 200), to_device(_u(50, 1)), _directions(200)
    kl, rigid = adp_aniso_cuda.plan(50, i, j, weight), adp_aniso_cuda.plan(50, i, j, weight, direction=e)
    alike = adp_aniso_cuda.plan(50, i, j, weight, shapes=True)
    shape = to_device(weight[:50])
    out = emulated_cuda.zeros(1), emulated_cuda.zeros((1, 50, 6)), emulated_cuda.zeros((1, 1))
    stream = emulated_cuda.cuda.Stream()
    with stream:
        stream.begin_capture()
        found = [adp_aniso_cuda.evaluate_kl(kl, u), adp_aniso_cuda.evaluate_rigid_bond(rigid, u)]
        found += [adp_aniso_cuda.sphericity(u, shape, out), adp_aniso_cuda.evaluate_kl(alike, u)]
        graph = stream.end_capture()
        for factor in (1.0, 1.7):
            given = factor * _u(50, 1)
            u[...] = to_device(given)
            graph.launch(stream)
            expected = [
                adp_aniso.kl(given[0], i, j, weight), adp_aniso.rigid_bond(given[0], i, j, e, weight),
                adp_aniso.sphericity(given[0], weight[:50]), adp_aniso.shape(given[0], i, j, weight),
            ]  # fmt: skip
            for (value, gradient), (total, slope) in zip(found, expected):
                assert float(value[0]) == pytest.approx(total, rel=1e-11)
                _close(gradient[0], slope)


def test_other_directions(emulated_cuda: ModuleType) -> None:
    (i, j, weight), u, e = _pairs(20, 40), _u(20, 2), _directions(2, 40)
    plan = adp_aniso_cuda.plan(20, i, j, weight, 2, e[0])
    adp_aniso_cuda.set_directions(plan, e)
    value, _ = adp_aniso_cuda.evaluate_rigid_bond(plan, to_device(u))
    assert to_host(value)[1] == pytest.approx(adp_aniso.rigid_bond(u[1], i, j, e[1], weight)[0])


def test_a_u_that_is_not_a_number_shows(emulated_cuda: ModuleType) -> None:
    u = _u(3, 1)[0]
    u[1, 4] = np.nan
    pairs = [to_device(a) for a in (np.array([0]), np.array([1]), np.ones(1))]
    assert np.isnan(float(adp_aniso.kl(to_device(u), *pairs)[0]))
    assert np.isnan(float(adp_aniso.shape(to_device(u), *pairs)[0]))
    assert np.isnan(float(adp_aniso.sphericity(to_device(u), to_device(np.ones(3)))[0]))


def test_wrong_shapes_are_refused(emulated_cuda: ModuleType) -> None:
    i, j, weight = _pairs(50, 20)
    plan = adp_aniso_cuda.plan(50, i, j, weight)
    with pytest.raises(ValueError, match="1 models of 50 atoms"):
        adp_aniso_cuda.evaluate_kl(plan, to_device(np.ones((2, 50, 6))))
    with pytest.raises(ValueError, match="without directions"):
        adp_aniso_cuda.evaluate_rigid_bond(plan, to_device(np.ones((50, 6))))
    with pytest.raises(ValueError, match="directions"):
        adp_aniso_cuda.plan(50, i, j, weight, direction=_directions(19))
    with pytest.raises(ValueError, match="without directions"):
        adp_aniso_cuda.set_directions(plan, _directions(20))
