"""CUDA kernels of the B restraints against their NumPy twins, on the emulated device."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import emulator
import numpy as np
import pytest

from arrayrefine.kernels import adp, adp_cuda
from arrayrefine.kernels.backend import launch_counts, reset_launch_counts, to_device, to_host


def _close(found: Any, expected: Any, tolerance: float = 1e-12) -> None:
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


def _b(n: int, n_models: int) -> np.ndarray:
    b = np.random.default_rng(1).uniform(2.0, 90.0, (n_models, n))
    awkward = [0.0, -3.0, 1e-9, 0.1, 300.0, 0.099, 1e4, 5.0, 5.0, 5.0][: n // 4]
    b[:, : len(awkward)] = awkward
    return b


@pytest.mark.parametrize(("n", "count"), [(100, 700), (3, 1), (1, 0), (40, 0), (0, 0)])
@pytest.mark.parametrize("n_models", [1, 3])
def test_kl(emulated_cuda: ModuleType, n: int, count: int, n_models: int) -> None:
    pairs, b = _pairs(n, count), _b(n, n_models)
    plan, on_device = adp_cuda.plan(n, *pairs, n_models), to_device(b)
    reset_launch_counts()
    value, gradient = (to_host(a) for a in adp_cuda.evaluate(plan, on_device))
    assert sum(launch_counts().values()) <= 2
    for m in range(n_models):
        total, slope = adp.kl(b[m], *pairs)
        assert value[m] == pytest.approx(total, rel=1e-12)
        _close(gradient[m], slope)
    with emulator.reversed_order():
        again = adp_cuda.evaluate(plan, on_device)
    assert np.array_equal(value, to_host(again[0]))
    assert np.array_equal(gradient, to_host(again[1]))


@pytest.mark.parametrize("count", [0, 1, 700])
def test_the_twin_of_kl(emulated_cuda: ModuleType, count: int) -> None:
    pairs, b = _pairs(100, count), _b(100, 1)[0]
    value, gradient = adp.kl(to_device(b), *(to_device(a) for a in pairs))
    total, slope = adp.kl(b, *pairs)
    assert float(value) == pytest.approx(total, rel=1e-12)
    _close(gradient, slope)


@pytest.mark.parametrize("n", [0, 1, 2, 511, 1300])
def test_variance(emulated_cuda: ModuleType, n: int) -> None:
    b = _b(n, 3)
    for value, gradient, given in (
        (*adp.variance(to_device(b[1])), b[1:2]),
        (*adp.variance(to_device(b)), b),
    ):
        for m, row in enumerate(given):
            total, slope = adp.variance(row)
            assert np.atleast_1d(to_host(value))[m] == pytest.approx(total, rel=1e-12, abs=1e-20)
            _close(np.atleast_2d(to_host(gradient))[m], slope)
    with emulator.reversed_order():
        assert np.array_equal(to_host(adp.variance(to_device(b))[1]), to_host(gradient))


def test_the_evaluation_can_be_captured(emulated_cuda: ModuleType) -> None:
    pairs, b = _pairs(50, 200), to_device(_b(50, 1))
    plan = adp_cuda.plan(50, *pairs)
    out = emulated_cuda.zeros(1), emulated_cuda.zeros((1, 50))
    stream = emulated_cuda.cuda.Stream()
    with stream:
        stream.begin_capture()
        value, gradient = adp_cuda.evaluate(plan, b)
        adp_cuda.variance(b, out)
        graph = stream.end_capture()
        for factor in (1.0, 1.7):
            b[...] = to_device(factor * _b(50, 1))
            graph.launch(stream)
            total, slope = adp.kl(factor * _b(50, 1)[0], *pairs)
            assert float(value[0]) == pytest.approx(total, rel=1e-12)
            _close(gradient[0], slope)
            assert float(out[0][0]) == pytest.approx(adp.variance(factor * _b(50, 1)[0])[0], rel=1e-12)


def test_a_b_that_is_not_a_number_shows(emulated_cuda: ModuleType) -> None:
    b = to_device(np.array([10.0, np.nan, 20.0]))
    pairs = [to_device(a) for a in (np.array([0]), np.array([1]), np.ones(1))]
    assert np.isnan(float(adp.kl(b, *pairs)[0]))


def test_wrong_shapes_are_refused(emulated_cuda: ModuleType) -> None:
    plan = adp_cuda.plan(50, *_pairs(50, 20))
    with pytest.raises(ValueError, match="1 models of 50 atoms"):
        adp_cuda.evaluate(plan, to_device(np.ones((2, 50))))
