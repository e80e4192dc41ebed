"""Splat and gather: against a plain sum, and as an adjoint pair."""

from __future__ import annotations

import numpy as np
import pytest
from checks import check_direction, dot_test
from synthetic import CELLS, crystal

from arrayrefine.kernels import density

SHAPE = (12, 15, 18)


def _gaussians(space_group: str, n: int = 7, seed: int = 1):
    box = crystal(space_group)
    rng = np.random.default_rng(seed)
    fractional = rng.uniform(-1.2, 1.8, (n, 3))
    exponent = rng.uniform(0.4, 1.5, n)
    return box, fractional, rng.normal(size=n), exponent, np.sqrt(16.0 / exponent), rng.integers(0, 2, n)


def _plain(box, fractional, amplitude, exponent, grid_id):
    """Every atom, every image within two cells, every point."""
    points = np.stack(np.meshgrid(*(np.arange(n) / n for n in SHAPE), indexing="ij"), axis=-1)
    out = np.zeros((2, *SHAPE))
    images = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    for x, a, k, grid in zip(fractional - np.floor(fractional), amplitude, exponent, grid_id):
        for image in images:
            d = (points - x - image) @ box.orth.T
            out[grid] += a * np.exp(-k * (d**2).sum(axis=-1))
    return out


@pytest.mark.parametrize("space_group", ["P 1", "P 21 21 21", "P 63"])
def test_splat_equals_the_plain_sum(space_group: str) -> None:
    box, fractional, amplitude, exponent, radius, grid_id = _gaussians(space_group)
    grids = density.splat(fractional, amplitude, exponent, radius, grid_id, 2, SHAPE, box.orth, np.float64)
    assert np.abs(grids - _plain(box, fractional, amplitude, exponent, grid_id)).max() < 1e-5


def test_sphere_wider_than_the_cell_wraps_more_than_once() -> None:
    box, fractional, amplitude, exponent, _, grid_id = _gaussians("P 1")
    exponent = np.full_like(exponent, 0.08)  # reaches 14 Å in a cell of 12 Å
    grids = density.splat(
        fractional, amplitude, exponent, np.sqrt(16.0 / exponent), grid_id, 2, SHAPE, box.orth, np.float64
    )
    assert np.abs(grids - _plain(box, fractional, amplitude, exponent, grid_id)).max() < 2e-5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gather_is_the_adjoint_of_splat(dtype: type) -> None:
    box, fractional, amplitude, exponent, radius, grid_id = _gaussians("P 1")
    maps = np.random.default_rng(3).normal(size=(2, *SHAPE)).astype(dtype)
    grids = density.splat(fractional, amplitude, exponent, radius, grid_id, 2, SHAPE, box.orth, dtype)
    by_amplitude, _, _ = density.gather(maps, fractional, amplitude, exponent, radius, grid_id, box.orth)
    tolerance = 1e-12 if dtype is np.float64 else 2e-5
    dot_test(float((grids.astype(float) * maps).sum()), float(amplitude @ by_amplitude), tolerance)


def test_gather_gives_the_derivatives() -> None:
    box, fractional, amplitude, exponent, radius, grid_id = _gaussians("P 1")
    rng = np.random.default_rng(4)
    maps = rng.normal(size=(2, *SHAPE))
    _, by_xyz, by_exponent = density.gather(maps, fractional, amplitude, exponent, radius, grid_id, box.orth)

    def value(fractional=fractional, exponent=exponent) -> float:
        # The cut-off radius is held, as it is in a refinement step.
        grids = density.splat(fractional, amplitude, exponent, radius, grid_id, 2, SHAPE, box.orth, np.float64)
        return float((grids * maps).sum())

    shift, change = rng.normal(size=fractional.shape), rng.normal(size=len(exponent))
    check_direction(
        lambda t: value(fractional=fractional + t * shift @ box.frac.T), float((by_xyz * shift).sum()), 1e-4, 1e-5
    )
    check_direction(lambda t: value(exponent=exponent + t * change), float(by_exponent @ change), 1e-4, 1e-5)


def test_no_atoms_give_an_empty_grid_and_an_empty_gradient() -> None:
    none, orth = np.zeros(0), crystal("P 1").orth
    grids = density.splat(np.zeros((0, 3)), none, none, none, none.astype(int), 2, SHAPE, orth)
    assert grids.shape == (2, *SHAPE)
    assert not grids.any()
    parts = density.gather(grids, np.zeros((0, 3)), none, none, none, none.astype(int), orth)
    assert [p.shape for p in parts] == [(0,), (0, 3), (0,)]


def test_the_same_input_gives_the_same_bits() -> None:
    box, fractional, amplitude, exponent, radius, grid_id = _gaussians("P 21 21 21", n=40)
    args = (fractional, amplitude, exponent, radius, grid_id, 2, SHAPE, box.orth)
    assert density.splat(*args).tobytes() == density.splat(*args).tobytes()


def test_cells_cover_both_rhombohedral_settings() -> None:
    assert {"R 3:H", "R 3 2:R"} <= set(CELLS)
