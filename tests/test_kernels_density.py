"""Splat and gather: against a plain sum, and as an adjoint pair."""

from __future__ import annotations

import numpy as np
import pytest
from checks import check_direction, dot_test
from synthetic import CELLS, crystal

from arrayrefine.crystal import Crystal
from arrayrefine.kernels import density, exponentials
from arrayrefine.kernels.bricks import Bricks, assign, renew
from arrayrefine.kernels.density_aniso import gather_aniso, splat_aniso

SHAPE = (12, 15, 18)


TILTED = Crystal((12.0, 14.0, 17.0, 80.0, 90.0, 90.0), "P 1")
"""The first axis is at right angles to the others, which are not to each other."""


def _gaussians(space_group: str, n: int = 7, seed: int = 1):
    box = TILTED if space_group == "tilted" else crystal(space_group)
    rng = np.random.default_rng(seed)
    fractional = rng.uniform(-1.2, 1.8, (n, 3))
    exponent = rng.uniform(0.4, 1.5, n)
    return box, fractional, rng.normal(size=n), exponent, np.sqrt(16.0 / exponent), rng.normal(size=(n, 2))


def _plain(box, fractional, amplitude, exponent, channel):
    """Every atom, every image within two cells, every point."""
    points = np.stack(np.meshgrid(*(np.arange(n) / n for n in SHAPE), indexing="ij"), axis=-1)
    out = np.zeros((2, *SHAPE))
    images = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    for x, a, k, factors in zip(fractional - np.floor(fractional), amplitude, exponent, channel):
        for image in images:
            d = (points - x - image) @ box.orth.T
            out += np.multiply.outer(factors, a * np.exp(-k * (d**2).sum(axis=-1)))
    return out[None]


@pytest.mark.parametrize("space_group", ["P 1", "tilted", "C 1 2 1", "P 21 21 21", "P 63"])
def test_splat_equals_the_plain_sum(space_group: str) -> None:
    box, fractional, amplitude, exponent, radius, channel = _gaussians(space_group)
    grids = density.splat(fractional, amplitude, exponent, radius, channel, SHAPE, box.orth, np.float64)
    assert np.abs(grids - _plain(box, fractional, amplitude, exponent, channel)).max() < 1e-5


def test_sphere_wider_than_the_cell_wraps_more_than_once() -> None:
    box, fractional, amplitude, exponent, _, channel = _gaussians("P 1")
    exponent = np.full_like(exponent, 0.08)  # reaches 14 Å in a cell of 12 Å
    grids = density.splat(
        fractional, amplitude, exponent, np.sqrt(16.0 / exponent), channel, SHAPE, box.orth, np.float64
    )
    assert np.abs(grids - _plain(box, fractional, amplitude, exponent, channel)).max() < 2e-5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("space_group", ["P 1", "tilted", "C 1 2 1", "P 21 21 21"])
def test_gather_is_the_adjoint_of_splat(space_group: str, dtype: type) -> None:
    box, fractional, amplitude, exponent, radius, channel = _gaussians(space_group)
    maps = np.random.default_rng(3).normal(size=(1, 2, *SHAPE)).astype(dtype)
    grids = density.splat(fractional, amplitude, exponent, radius, channel, SHAPE, box.orth, dtype)
    by_amplitude, _, _ = density.gather(maps, fractional, amplitude, exponent, radius, channel, box.orth)
    tolerance = 1e-12 if dtype is np.float64 else 2e-5
    dot_test(float((grids.astype(float) * maps).sum()), float(amplitude @ by_amplitude), tolerance)


@pytest.mark.parametrize("space_group", ["P 1", "tilted", "C 1 2 1", "P 21 21 21", "P 63"])
def test_gather_gives_the_derivatives(space_group: str) -> None:
    box, fractional, amplitude, exponent, radius, channel = _gaussians(space_group)
    rng = np.random.default_rng(4)
    maps = rng.normal(size=(1, 2, *SHAPE))
    _, by_xyz, by_exponent = density.gather(maps, fractional, amplitude, exponent, radius, channel, box.orth)

    def value(fractional=fractional, exponent=exponent) -> float:
        # The cut-off radius is held, as it is in a refinement step.
        grids = density.splat(fractional, amplitude, exponent, radius, channel, SHAPE, box.orth, np.float64)
        return float((grids * maps).sum())

    shift, change = rng.normal(size=fractional.shape), rng.normal(size=len(exponent))
    check_direction(
        lambda t: value(fractional=fractional + t * shift @ box.frac.T), float((by_xyz * shift).sum()), 1e-4, 1e-5
    )
    check_direction(lambda t: value(exponent=exponent + t * change), float(by_exponent @ change), 1e-4, 1e-5)


def test_no_atoms_give_an_empty_grid_and_an_empty_gradient() -> None:
    none, orth = np.zeros(0), crystal("P 1").orth
    grids = density.splat(np.zeros((0, 3)), none, none, none, np.zeros((0, 2)), SHAPE, orth)
    assert grids.shape == (1, 2, *SHAPE)
    assert not grids.any()
    parts = density.gather(grids, np.zeros((0, 3)), none, none, none, np.zeros((0, 2)), orth)
    assert [p.shape for p in parts] == [(0,), (0, 3), (0,)]


def test_the_same_input_gives_the_same_bits() -> None:
    box, fractional, amplitude, exponent, radius, channel = _gaussians("P 21 21 21", n=40)
    args = (fractional, amplitude, exponent, radius, channel, SHAPE, box.orth)
    assert density.splat(*args).tobytes() == density.splat(*args).tobytes()


def test_models_of_a_batch_have_grids_of_their_own() -> None:
    box, fractional, amplitude, exponent, radius, channel = _gaussians("P 21 21 21", n=30)
    model = np.random.default_rng(2).integers(0, 3, 30)
    atoms = fractional, amplitude, exponent, radius, channel
    grids = density.splat(*atoms, SHAPE, box.orth, np.float64, model, 3)
    maps = np.random.default_rng(3).normal(size=grids.shape)
    gradient = density.gather(maps, *atoms, box.orth, model)
    for m in range(3):
        own = [a[model == m] for a in atoms]
        np.testing.assert_allclose(grids[m], density.splat(*own, SHAPE, box.orth, np.float64)[0], atol=1e-5)
        for whole, part in zip(gradient, density.gather(maps[m : m + 1], *own, box.orth)):
            np.testing.assert_allclose(whole[model == m], part, atol=1e-4)


@pytest.mark.parametrize("space_group", ["P 21 21 21", "P 63", "C 1 2 1", "tilted", "P 1"])
def test_bricks_hold_until_an_atom_has_moved_by_the_slack(space_group: str) -> None:
    box, fractional, amplitude, exponent, radius, channel = _gaussians(space_group, n=30)
    bricks = assign(fractional, radius, SHAPE, box.orth, np.float64, slack=0.3)
    direction = np.random.default_rng(4).normal(size=fractional.shape)
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    near, far = (fractional + box.fractional(step * direction) for step in (0.29, 0.31))
    assert not len(bricks.beyond(near, radius))
    assert len(bricks.beyond(far, radius)) == 30
    assert len(bricks.beyond(fractional, radius + 0.31)) == 30
    assert renew(bricks, near, radius, SHAPE, box.orth, slack=0.3) is bricks
    listed = density.splat(near, amplitude, exponent, radius, channel, SHAPE, box.orth, np.float64, bricks=bricks)
    assert np.abs(listed - _plain(box, near, amplitude, exponent, channel)).max() < 1e-5


@pytest.mark.parametrize("joint", [False, True], ids=["round", "anisotropic"])
@pytest.mark.parametrize("space_group", ["P 21 21 21", "C 1 2 1", "P 1"])
def test_few_atoms_that_went_too_far_are_assigned_anew(space_group: str, joint: bool) -> None:
    """In turn, one of them coming back: as with bricks made for all, and with those that nobody had reached."""
    box, fractional, amplitude, exponent, radius, channel = _gaussians(space_group, n=60, seed=3)
    fractional = 0.4 * (fractional - np.floor(fractional))
    k = np.outer(exponent, [1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    shape = (24, 30, 36)

    def both(at: np.ndarray, bricks: Bricks, threads: int) -> list[np.ndarray]:
        if not joint:
            grids = density.splat(
                at, amplitude, exponent, radius, channel, shape, box.orth, np.float64, bricks=bricks, threads=threads
            )
            return [grids, *density.gather(
                grids, at, amplitude, exponent, radius, channel, box.orth, bricks=bricks, threads=threads
            )]  # fmt: skip
        grids = np.zeros((1, 2, *shape))
        args = at, amplitude, k, radius, channel
        splat_aniso(*args, shape, box.orth, np.float64, bricks=bricks, threads=threads, out=grids)
        return [grids, *gather_aniso(grids, *args, box.orth, bricks=bricks, threads=threads)]

    first = assign(fractional, radius, shape, box.orth, np.float64, slack=0.3, joint=joint)
    bricks, at = first, fractional.copy()
    for moved, threads in (([7], 1), ([7, 20], 2), ([20], 1)):
        at = fractional.copy()
        at[moved] += [[0.45, 0.4, 0.5]] * len(moved)
        bricks = renew(bricks, at, radius, shape, box.orth, slack=0.3, joint=joint)
        assert bricks.base is first
        assert bricks.early == len(first.blocks) < len(bricks.blocks)
        fresh = assign(at, radius, shape, box.orth, np.float64, joint=joint)
        for one, two in zip(both(at, bricks, threads), both(at, fresh, 1)):
            np.testing.assert_allclose(one, two, atol=3e-5)
    at += 0.4
    assert renew(bricks, at, radius, shape, box.orth, slack=0.3, joint=joint).base is None


def test_threads_and_memory_that_is_given_change_nothing() -> None:
    box, fractional, amplitude, exponent, radius, channel = _gaussians("P 21 21 21", n=300)
    args = (fractional, amplitude, exponent, radius, channel)
    shape = (48, 60, 72)
    out = np.full((1, 2, *shape), np.nan, np.float32)
    grids = density.splat(*args, shape, box.orth)
    assert density.splat(*args, shape, box.orth, threads=2, out=out) is out
    assert np.array_equal(grids, out)
    for one, two in zip(density.gather(grids, *args, box.orth), density.gather(grids, *args, box.orth, threads=2)):
        assert np.array_equal(one, two)


@pytest.mark.parametrize("space_group", ["P 1", "tilted"])
@pytest.mark.parametrize("room", [True, False])
def test_gather_with_what_splat_has_kept(space_group: str, room: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not room:
        monkeypatch.setattr(exponentials, "_LARGEST", 100)
    box, fractional, amplitude, exponent, radius, channel = _gaussians(space_group)
    bricks = assign(fractional, radius, SHAPE, box.orth, np.float64, slack=0.5)
    keep = exponentials.Exponentials("round")
    kept = density.splat(
        fractional, amplitude, exponent, radius, channel, SHAPE, box.orth, np.float64, bricks=bricks, keep=keep
    )
    anew = density.splat(fractional, amplitude, exponent, radius, channel, SHAPE, box.orth, np.float64, bricks=bricks)
    np.testing.assert_array_equal(kept, anew)
    # Factors along an axis at right angles are made as fast as they are read.
    assert keep.hold(bricks, fractional.copy(), exponent) == (room and space_group == "P 1")
    maps = np.random.default_rng(2).normal(size=kept.shape)
    for x in (fractional, fractional + 1e-3):  # for other atoms it is not used
        rest = amplitude, exponent, radius, channel, box.orth
        known = density.gather(maps, x, *rest, bricks=bricks, kept=keep)
        for a, b in zip(known, density.gather(maps, x, *rest, bricks=bricks)):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_gaussian_is_a_denormal_number(dtype: type) -> None:
    points, left = np.ones((1, 3)), -np.geomspace(1.0, 1e4, 50)[None]
    made = exponentials.exponentials(points.astype(dtype), left.astype(dtype), np.empty((3, 50), dtype))
    assert made.min() > np.finfo(dtype).tiny ** 0.5
    np.testing.assert_allclose(made, np.exp(np.maximum(np.repeat(left, 3, axis=0), -20.0)), atol=1e-8)


def test_cells_cover_both_rhombohedral_settings() -> None:
    assert {"R 3:H", "R 3 2:R"} <= set(CELLS)
