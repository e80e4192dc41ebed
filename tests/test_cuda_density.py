"""Splat and gather of the CUDA kernels, run on the host: against a plain sum, as an adjoint pair, and bit by bit."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any, NamedTuple

import emulator
import numpy as np
import pytest
from checks import check_direction, dot_test
from synthetic import crystal

from arrayrefine.kernels import backend, bricks_cuda, density_cuda

SHAPE = (12, 15, 18)
KINDS = [(np.float32, 1e-5), (np.float64, 1e-12)]


class Model(NamedTuple):
    fractional: np.ndarray
    amplitude: np.ndarray
    exponent: np.ndarray
    radius: np.ndarray
    channel: np.ndarray


def gaussians(n: int = 9, channels: int = 2, seed: int = 1, smallest: float = 0.4) -> Model:
    """Atoms in and out of the cell, with radii beyond which nothing is left in float64."""
    rng = np.random.default_rng(seed)
    exponent = rng.uniform(smallest, 1.5, n)
    fractional = rng.uniform(-1.2, 1.8, (n, 3))
    return Model(fractional, rng.normal(size=n), exponent, np.sqrt(40.0 / exponent), rng.normal(size=(n, channels)))


def plain(atoms: Model, shape: tuple[int, int, int], orth: np.ndarray, images: int = 2) -> np.ndarray:
    """Every atom, every image within some cells, every point."""
    points = np.stack(np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij"), axis=-1)
    out = np.zeros((atoms.channel.shape[1], *shape))
    shifts = np.stack(np.meshgrid(*[np.arange(-images, images + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    for x, a, k, _, c in zip(*atoms):
        for shift in shifts:
            d = (points - (x - np.floor(x)) - shift) @ orth.T
            out += c[:, None, None, None] * (a * np.exp(-k * (d**2).sum(axis=-1)))
    return out


def splat(atoms: Model, shape: tuple[int, int, int], orth: np.ndarray, dtype: Any, **more: Any) -> np.ndarray:
    on_device = [backend.to_device(a) for a in atoms]
    return backend.to_host(density_cuda.splat(*on_device, shape, orth, dtype, **more))


def gather(maps: np.ndarray, atoms: Model, orth: np.ndarray, **more: Any) -> list[np.ndarray]:
    on_device = [backend.to_device(a) for a in atoms]
    return [backend.to_host(a) for a in density_cuda.gather(backend.to_device(maps), *on_device, orth, **more)]


def plain_gather(maps: np.ndarray, atoms: Model, orth: np.ndarray, images: int = 2) -> list[np.ndarray]:
    shape = maps.shape[1:]
    points = np.stack(np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij"), axis=-1)
    shifts = np.stack(np.meshgrid(*[np.arange(-images, images + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    n = len(atoms.amplitude)
    out = [np.zeros(n), np.zeros((n, 3)), np.zeros(n)]
    for i, (x, a, k, _, c) in enumerate(zip(*atoms)):
        mixed = np.einsum("k,kxyz->xyz", c, maps)
        for shift in shifts:
            d = (points - (x - np.floor(x)) - shift) @ orth.T
            square = (d**2).sum(axis=-1)
            e = mixed * np.exp(-k * square)
            out[0][i] += e.sum()
            out[1][i] += 2 * a * k * np.einsum("xyz,xyzc->c", e, d)
            out[2][i] -= a * (e * square).sum()
    return out


def close(a: np.ndarray, b: np.ndarray, tolerance: float) -> None:
    assert a.shape == b.shape
    error = np.linalg.norm(a - b)
    assert error <= tolerance * np.linalg.norm(b), f"{error / np.linalg.norm(b):.2e}"


@pytest.fixture(autouse=True)
def _cuda(emulated_cuda: ModuleType) -> None:
    """Every test here runs on the emulator."""


@pytest.mark.parametrize(("dtype", "tolerance"), KINDS)
@pytest.mark.parametrize("space_group", ["P 1", "P 21 21 21", "P 63", "C 1 2 1"])
def test_equals_the_plain_sum(space_group: str, dtype: Any, tolerance: float) -> None:
    atoms, orth = gaussians(), crystal(space_group).orth
    close(splat(atoms, SHAPE, orth, dtype)[0], plain(atoms, SHAPE, orth), tolerance)
    maps = np.random.default_rng(3).normal(size=(2, *SHAPE)).astype(dtype)
    for got, wanted in zip(gather(maps[None], atoms, orth), plain_gather(maps.astype(float), atoms, orth)):
        close(got, wanted, tolerance)


@pytest.mark.parametrize("shape", [(8, 8, 16), (9, 17, 33), (5, 3, 2), (24, 10, 20)])
def test_shapes_of_grids(shape: tuple[int, int, int]) -> None:
    """Whole bricks, bricks with one point left over, and grids smaller than a brick."""
    atoms, orth = gaussians(5, 3, smallest=0.2), crystal("P 1").orth
    close(splat(atoms, shape, orth, np.float64)[0], plain(atoms, shape, orth), 1e-12)
    maps = np.random.default_rng(3).normal(size=(3, *shape))
    for got, wanted in zip(gather(maps[None], atoms, orth), plain_gather(maps, atoms, orth)):
        close(got, wanted, 1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), KINDS)
def test_spheres_wider_than_the_cell(dtype: Any, tolerance: float) -> None:
    atoms, orth = gaussians(4), crystal("P 1").orth
    atoms = atoms._replace(exponent=np.full(4, 0.03), radius=np.full(4, 33.2))  # in a cell of 12 Å
    close(splat(atoms, SHAPE, orth, dtype)[0], plain(atoms, SHAPE, orth, images=4), tolerance)
    maps = np.random.default_rng(3).normal(size=(2, *SHAPE)).astype(dtype)
    for got, wanted in zip(gather(maps[None], atoms, orth), plain_gather(maps.astype(float), atoms, orth, 4)):
        close(got, wanted, tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sharp_atoms_between_the_points(dtype: Any) -> None:
    """So sharp that a row cannot start from its middle: its points are then evaluated one by one."""
    atoms, orth = gaussians(6), crystal("P 21 21 21").orth
    atoms = atoms._replace(exponent=np.array([1.6, 2.0, 4.0, 30.0, 300.0, 1.0]), radius=np.full(6, 4.0))
    atoms.fractional[3:5] = np.round(atoms.fractional[3:5] * SHAPE) / SHAPE + 0.001
    tolerance = 1e-5 if dtype is np.float32 else 2e-6  # exp(−16) is left at the cut-off radius of the last atom
    close(splat(atoms, SHAPE, orth, dtype)[0], plain(atoms, SHAPE, orth), tolerance)


def test_atoms_on_faces_and_special_positions() -> None:
    orth = crystal("P 63").orth
    places = np.array([[0, 0, 0], [1, 1, 1], [-1, 0, 2], [0.5, 0, 0], [1 / 3, 2 / 3, 0.25], [-1e-18, 0, 1 - 1e-17]])
    atoms = gaussians(6)._replace(fractional=places)
    close(splat(atoms, SHAPE, orth, np.float64)[0], plain(atoms, SHAPE, orth), 1e-12)
    maps = np.random.default_rng(3).normal(size=(2, *SHAPE))
    for got, wanted in zip(gather(maps[None], atoms, orth), plain_gather(maps, atoms, orth)):
        close(got, wanted, 1e-12)


@pytest.mark.parametrize("channels", range(1, 9))
def test_numbers_of_channels(channels: int) -> None:
    atoms, orth = gaussians(3, channels), crystal("P 1").orth
    close(splat(atoms, SHAPE, orth, np.float32)[0], plain(atoms, SHAPE, orth, 1), 1e-5)
    maps = np.random.default_rng(3).normal(size=(channels, *SHAPE))
    close(gather(maps[None], atoms, orth)[1], plain_gather(maps, atoms, orth, 1)[1], 1e-9)


def test_nine_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="9 channels were given"):
        splat(gaussians(3, 9), SHAPE, crystal("P 1").orth, np.float32)


def test_grids_beyond_32_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 2³¹ points"):
        bricks_cuda.plan((1000, 1000, 600), crystal("P 1").orth, 1, 4, 3.0)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_batch_of_models(n: int) -> None:
    atoms, orth = gaussians(n), crystal("P 1").orth
    model = np.array([2, 0, 2, 2, 0][:n], np.int32)
    grids = splat(atoms, SHAPE, orth, np.float64, model=backend.to_device(model), n_models=4)
    maps = np.random.default_rng(3).normal(size=(4, 2, *SHAPE))
    parts = gather(maps, atoms, orth, model=backend.to_device(model))
    assert [p.shape for p in parts] == [(n,), (n, 3), (n,)]
    for m in range(4):
        of_model = Model(*(a[model == m] for a in atoms))
        if (model == m).any():
            close(grids[m], plain(of_model, SHAPE, orth), 1e-12)
            for got, wanted in zip(parts, plain_gather(maps[m], of_model, orth)):
                close(got[model == m], wanted, 1e-12)
        else:
            assert not grids[m].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gather_is_the_adjoint_also_of_what_is_cut_off(dtype: Any) -> None:
    """At a radius where much is left, both include the same points."""
    atoms, orth = gaussians(20), crystal("P 1").orth
    atoms = atoms._replace(radius=np.sqrt(3.0 / atoms.exponent))
    maps = np.random.default_rng(3).normal(size=(1, 2, *SHAPE)).astype(dtype)
    grids = splat(atoms, SHAPE, orth, dtype)
    by_amplitude, _, _ = gather(maps, atoms, orth)
    tolerance = 1e-12 if dtype is np.float64 else 2e-5
    dot_test(float((grids.astype(float) * maps).sum()), float(atoms.amplitude @ by_amplitude), tolerance)


def test_gather_gives_the_derivatives() -> None:
    atoms, box = gaussians(4), crystal("P 1")
    rng = np.random.default_rng(4)
    maps = rng.normal(size=(1, 2, *SHAPE))
    _, by_xyz, by_exponent = gather(maps, atoms, box.orth)
    shift, change = rng.normal(size=(4, 3)), rng.normal(size=4)

    def value(**changed: Any) -> float:
        return float((splat(atoms._replace(**changed), SHAPE, box.orth, np.float64) * maps).sum())

    check_direction(
        lambda t: value(fractional=atoms.fractional + t * shift @ box.frac.T), float((by_xyz * shift).sum()), 1e-3, 1e-8
    )
    check_direction(lambda t: value(exponent=atoms.exponent + t * change), float(by_exponent @ change), 1e-3, 1e-8)


def test_a_plan_serves_again_and_in_a_graph(emulated_cuda: ModuleType) -> None:
    orth, first, second = crystal("P 1").orth, gaussians(seed=1), gaussians(seed=2)
    plan = bricks_cuda.plan(SHAPE, orth, 9, 2, 10.0, np.float64)
    on_device = [backend.to_device(a) for a in first]
    out = emulated_cuda.empty((1, 2, *SHAPE))
    out.fill(np.nan)
    parts = tuple(emulated_cuda.empty(s) for s in ((9,), (9, 3), (9,)))
    stream = emulated_cuda.cuda.Stream()
    backend.reset_launch_counts()
    with stream:
        stream.begin_capture()
        density_cuda.splat(*on_device, SHAPE, orth, np.float64, plan=plan, out=out)
        density_cuda.gather(out, *on_device, orth, plan=plan, out=parts)
        graph = stream.end_capture()
    assert sum(backend.launch_counts().values()) == 6
    assert np.isnan(out.get()).all()
    for atoms in (first, second, first):
        for a, b in zip(on_device, atoms):
            a.set(b)
        graph.launch(stream)
        wanted = plain(atoms, SHAPE, orth)
        close(out.get()[0], wanted, 1e-12)
        close(parts[1].get(), plain_gather(wanted, atoms, orth)[1], 1e-11)
    bricks_cuda.check(plan)


def test_the_same_input_gives_the_same_bits() -> None:
    atoms, orth = gaussians(300, smallest=0.2), crystal("P 1").orth
    atoms = atoms._replace(radius=np.sqrt(9.0 / atoms.exponent))
    maps = np.random.default_rng(3).normal(size=(1, 2, *SHAPE)).astype(np.float32)

    def bits() -> bytes:
        parts = gather(maps, atoms, orth)
        return splat(atoms, SHAPE, orth, np.float32).tobytes() + b"".join(p.tobytes() for p in parts)

    wanted = bits()
    for i in range(20):
        if i % 2:
            assert bits() == wanted
        else:
            with emulator.reversed_order():  # the lists of the bricks are then filled in another order
                assert bits() == wanted


def test_long_lists_are_sorted_too() -> None:
    """More atoms in a brick than the sort holds in shared memory."""
    atoms, orth = gaussians(1500), crystal("P 1").orth
    atoms = atoms._replace(radius=np.full(1500, 1.5))
    plan = bricks_cuda.plan((8, 8, 8), orth, 1500, 2, 1.5, np.float32)
    on_device = [backend.to_device(a) for a in atoms]
    density_cuda.splat(*on_device, (8, 8, 8), orth, plan=plan)
    begin, end, keys = (a.get() for a in (plan.begin, plan.end, plan.keys))
    mine = keys[begin[0] : end[0]]
    assert len(mine) > 1500
    assert (np.diff(mine.astype(np.int64)) > 0).all()
    bricks_cuda.check(plan)


def test_a_plan_that_is_too_small_says_so() -> None:
    atoms, orth = gaussians(), crystal("P 1").orth
    plan = bricks_cuda.plan((64, 64, 64), orth, 9, 2, 0.1)
    with pytest.raises(ValueError, match="the plan is for"):
        splat(atoms, SHAPE, orth, np.float32, plan=plan)
    splat(atoms, (64, 64, 64), orth, np.float32, plan=plan)
    with pytest.raises(RuntimeError, match="largest radius"):
        bricks_cuda.check(plan)


@pytest.mark.parametrize(("field", "bad"), [("fractional", np.nan), ("exponent", np.inf), ("radius", np.nan)])
def test_what_is_not_finite_is_reported(field: str, bad: float) -> None:
    atoms, orth = gaussians(), crystal("P 1").orth
    getattr(atoms, field)[3] = bad
    with pytest.raises(RuntimeError, match="not finite"):
        splat(atoms, SHAPE, orth, np.float32)
    parts = gather(np.ones((1, 2, *SHAPE), np.float32), atoms, orth)
    assert np.isnan(parts[0]).nonzero()[0].tolist() == [3]
    assert np.isnan(parts[1]).all(axis=1).nonzero()[0].tolist() == [3]


def test_unknown_model_is_reported() -> None:
    model = backend.to_device(np.array([0] * 8 + [1], np.int32))
    with pytest.raises(RuntimeError, match="a model that the plan does not have"):
        splat(gaussians(), SHAPE, crystal("P 1").orth, np.float32, model=model)


def test_signatures_begin_as_those_of_the_twin() -> None:
    from arrayrefine.kernels import density

    for name in ("splat", "gather"):
        positional = [
            [p.name for p in inspect.signature(getattr(module, name)).parameters.values() if p.kind != p.KEYWORD_ONLY]
            for module in (density, density_cuda)
        ]
        assert positional[0] == positional[1]


def test_equals_the_numpy_twin() -> None:
    from arrayrefine.kernels import density

    atoms, orth = gaussians(40), crystal("P 21 21 21").orth
    close(splat(atoms, SHAPE, orth, np.float32), density.splat(*atoms, SHAPE, orth, np.float32), 1e-5)
    maps = np.random.default_rng(3).normal(size=(1, 2, *SHAPE)).astype(np.float32)
    for got, wanted in zip(gather(maps, atoms, orth), density.gather(maps, *atoms, orth)):
        close(got, wanted, 1e-5)
