"""Regions of a periodic mask."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from arrayrefine.kernels.processes import possible, together
from arrayrefine.periodic_regions import periodic_regions, without_islands

SHAPES = [(1, 1, 1), (3, 5, 2), (16, 9, 7), (17, 30, 21)]


def blobs(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    noise = scipy.ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 0.9, mode="wrap")
    return noise > np.quantile(noise, 0.6)


def regions(mask: np.ndarray) -> np.ndarray:
    """Number of the region of each point, by spreading from point to point."""
    number = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        reached = [np.roll(number, shift, axis) for axis in range(3) for shift in (1, -1)]
        further = np.where(mask, np.maximum.reduce([number, *reached]), 0)
        if np.array_equal(further, number):
            return number
        number = further


@pytest.mark.parametrize("shape", SHAPES)
def test_regions_are_those_of_steps_from_point_to_point(shape: tuple[int, int, int]) -> None:
    mask = blobs(shape, 1)
    labels, region = periodic_regions(mask)
    found, expected = region[labels], regions(mask)
    assert (found[~mask] == region[0]).all()
    assert (found[mask] != region[0]).all()
    pairs = np.unique(np.stack([found[mask], expected[mask]]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("smallest", [1, 12, 1e9])
def test_small_regions_are_left_out(shape: tuple[int, int, int], smallest: float) -> None:
    mask = blobs(shape, 2)
    number = regions(mask)
    size = np.bincount(number.reshape(-1), minlength=mask.size + 1)
    expected = mask & (size[number] >= smallest)
    assert np.array_equal(without_islands(mask, smallest), expected)
    if possible():
        assert np.array_equal(together(lambda: without_islands(mask, smallest), 3), expected)
