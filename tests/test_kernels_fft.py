"""Transforms with low frequencies only: against those with all of them, and as an adjoint pair."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
from checks import dot_test

from arrayrefine.kernels import fft

CASES = [((12, 15, 18), (3, 4, 5)), ((9, 8, 10), (4, 3, 5)), ((5, 6, 8), (2, 9, 9)), ((7, 4, 6), (0, 0, 0))]


def _frequencies(n: int, m: int) -> np.ndarray:
    return np.arange(n)[np.r_[0 : m - m // 2, n - m // 2 : n]]


@pytest.mark.parametrize(("shape", "reach"), CASES)
@pytest.mark.parametrize("threads", [1, 2])
def test_low_frequencies_equal_those_of_the_whole_transform(shape, reach, threads: int) -> None:
    grids = np.random.default_rng(0).normal(size=(2, *shape))
    kept = fft.kept(shape, reach)
    whole = scipy.fft.rfftn(grids, axes=(1, 2, 3))
    x, y = (_frequencies(n, m) for n, m in zip(shape[:2], kept[:2]))
    expected = whole[:, x[:, None], y[None, :], : kept[2]]
    before = grids.copy()
    np.testing.assert_allclose(fft.rfftn(grids, kept, threads), expected, atol=1e-12)
    assert np.array_equal(grids, before)
    padded = np.zeros_like(whole)
    padded[:, x[:, None], y[None, :], : kept[2]] = expected
    back = scipy.fft.irfftn(padded, s=shape, axes=(1, 2, 3), norm="forward")
    np.testing.assert_allclose(fft.irfftn(expected, shape, threads), back, atol=1e-10)


@pytest.mark.parametrize(("shape", "reach"), CASES[:2])
def test_there_and_back_are_an_adjoint_pair(shape, reach) -> None:
    """Layers with l > 0 count twice in the real inverse, but for the last of an even grid."""
    rng = np.random.default_rng(1)
    grid = rng.normal(size=(1, *shape))
    kept = fft.kept(shape, reach)
    spectrum = fft.rfftn(rng.normal(size=(1, *shape)), kept)
    twice = np.full(kept[2], 2.0)
    twice[0] = 1.0
    twice[shape[2] // 2 :] = 1.0
    left = float((np.vdot(spectrum * twice, fft.rfftn(grid, kept))).real)
    dot_test(left, float((fft.irfftn(spectrum, shape) * grid).sum()), 1e-12)


def test_a_transform_that_does_not_work_in_place_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    shape, reach = CASES[0]
    half = fft.rfftn(np.random.default_rng(0).normal(size=(2, *shape)), fft.kept(shape, reach))
    expected = fft.irfftn(half, shape)
    in_place = scipy.fft.ifft
    monkeypatch.setattr(scipy.fft, "ifft", lambda a, **how: in_place(a.copy(), **how))
    np.testing.assert_array_equal(fft.irfftn(half, shape), expected)


def test_precision_is_kept() -> None:
    grids = np.ones((1, 4, 6, 8), np.float32)
    half = fft.rfftn(grids, fft.kept((4, 6, 8), (1, 1, 1)))
    assert half.dtype == np.complex64
    assert fft.irfftn(half, (4, 6, 8)).dtype == np.float32
