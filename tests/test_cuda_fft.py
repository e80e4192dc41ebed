"""Stacked real FFTs on the device against SciPy, on the emulated device."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import scipy.fft
from checks import dot_test

from arrayrefine.kernels import fft_cuda
from arrayrefine.kernels.backend import to_device, to_host

AXES = (-3, -2, -1)


@pytest.fixture(autouse=True)
def _cuda(emulated_cuda: ModuleType) -> Any:
    """Every test here runs on the emulator, and leaves no plan behind."""
    yield
    fft_cuda.forget()


def grids(shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("shape", [(6, 5, 8), (3, 6, 5, 9), (2, 3, 4, 6, 1), (1, 2, 1, 1, 1, 2)])
def test_agree_with_scipy(shape: tuple[int, ...], dtype: Any, tolerance: float) -> None:
    given = grids(shape, dtype)
    expected = scipy.fft.rfftn(given, axes=AXES)
    kept = to_device(given)
    found = fft_cuda.rfftn(kept)
    assert found.dtype == expected.dtype
    assert np.linalg.norm(to_host(found) - expected) <= tolerance * np.linalg.norm(expected)
    assert np.array_equal(to_host(kept), given)
    back = to_host(fft_cuda.irfftn(found, shape[-3:]))
    n = np.prod(shape[-3:])
    assert back.dtype == dtype
    assert np.linalg.norm(back / n - given) <= tolerance * np.linalg.norm(given)


def test_there_and_back_are_adjoints() -> None:
    """Of real grids and Hermitian transforms, in which the layers l > 0 stand for two."""
    shape = (2, 6, 5, 9)
    x, y = grids(shape), scipy.fft.rfftn(grids(shape)[::-1], axes=AXES)
    forward = to_host(fft_cuda.rfftn(to_device(x)))
    twice = np.where(np.arange(5) == 0, 1.0, 2.0)
    backward = to_host(fft_cuda.irfftn(to_device(y), shape[1:]))
    dot_test(float((np.vdot(y, forward * twice)).real), float((x * backward).sum()), 1e-12)


def test_plans_are_made_once(emulated_cuda: ModuleType) -> None:
    held = fft_cuda.plan((6, 5, 8), 6)
    assert fft_cuda.plan((6, 5, 8), 6, np.float32) is held
    assert fft_cuda.plan((6, 5, 8), 5) is not held
    assert held.half == (6, 5, 5)
    given = to_device(grids((2, 3, 6, 5, 8), np.float32))
    out = emulated_cuda.empty((2, 3, 6, 5, 5), np.complex64)
    back = emulated_cuda.empty((2, 3, 6, 5, 8), np.float32)
    assert fft_cuda.rfftn(given, out, held) is out
    assert fft_cuda.irfftn(out, (6, 5, 8), back, held) is back
    assert np.allclose(to_host(back) / 240, to_host(given), atol=1e-5)
    fft_cuda.forget()
    assert fft_cuda.plan((6, 5, 8), 6) is not held


def test_transforms_can_be_captured(emulated_cuda: ModuleType) -> None:
    given = to_device(grids((2, 6, 5, 8)))
    held = fft_cuda.plan((6, 5, 8), 2, np.float64)
    out = emulated_cuda.empty((2, 6, 5, 5), np.complex128)
    back = emulated_cuda.empty((2, 6, 5, 8))
    with emulated_cuda.cuda.Stream() as stream:
        stream.begin_capture()
        fft_cuda.rfftn(given, out, held)
        fft_cuda.irfftn(out, (6, 5, 8), back, held)
        stream.end_capture().launch()
    np.testing.assert_allclose(to_host(back) / 240, to_host(given), atol=1e-13)


def test_mistakes_are_named(emulated_cuda: ModuleType) -> None:
    with pytest.raises(TypeError, match="float32 or float64"):
        fft_cuda.plan((6, 5, 8), 1, np.float16)
    with pytest.raises(ValueError, match="nothing to transform"):
        fft_cuda.plan((6, 5, 8), 0)
    held, given = fft_cuda.plan((6, 5, 8), 1), to_device(grids((6, 5, 8)))
    with pytest.raises(ValueError, match="the plan is for 1 grids"):
        fft_cuda.rfftn(given, plan=held)
    with pytest.raises(ValueError, match="the result is complex64"):
        fft_cuda.rfftn(given.astype(np.float32), emulated_cuda.empty((6, 5, 4), np.complex64), held)
    with pytest.raises(ValueError, match="C-contiguous"):
        fft_cuda.rfftn(to_device(grids((6, 8, 5))).transpose(0, 2, 1))
    with pytest.raises(TypeError, match="complex64 or complex128"):
        fft_cuda.irfftn(given, (6, 5, 14))
    with pytest.raises(ValueError, match="transforms of grids of"):
        fft_cuda.irfftn(fft_cuda.rfftn(given), (6, 5, 10))
