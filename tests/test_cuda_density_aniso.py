"""Splat and gather of the CUDA kernels for anisotropic atoms, run on the host, against their NumPy twins."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import emulator
import numpy as np
import pytest
from checks import check_direction, dot_test
from synthetic import crystal

from arrayrefine.kernels import backend, bricks_cuda, density_aniso, density_aniso_cuda, symmetric
from arrayrefine.kernels.backend import to_device, to_host

SHAPE = (12, 15, 18)
KINDS = [(np.float32, 2e-5), (np.float64, 1e-12)]
Atoms = tuple[np.ndarray, ...]


def gaussians(n: int = 9, channels: int = 2, seed: int = 1, ratio: float = 4.0, depth: float = 40.0) -> Atoms:
    """Atoms in and out of the cell, their axes in any direction, with radii beyond which nothing is left."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(n, 3, 3)))[0]
    value = rng.uniform(0.4, 0.9, (n, 3)) * np.array([1.0, 1.0, ratio])
    precision = symmetric.six((axes * value[:, None, :]) @ axes.transpose(0, 2, 1))
    radius = np.sqrt(depth / value.min(axis=1))
    return rng.uniform(-1.2, 1.8, (n, 3)), rng.normal(size=n), precision, radius, rng.normal(size=(n, channels))


def before(dtype: Any, models: int = 1, channels: int = 2, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(9).normal(size=(models, channels, *shape)).astype(dtype)


def splat(atoms: Atoms, shape: tuple[int, int, int], orth: np.ndarray, dtype: Any, **more: Any) -> np.ndarray:
    """What is added to grids that are not empty."""
    start = before(np.float64, more.get("n_models", 1), atoms[4].shape[1], shape)
    out = to_device(start.astype(dtype))
    found = density_aniso_cuda.splat_aniso(*map(to_device, atoms), shape, orth, dtype, out=out, **more)
    assert found is out
    return to_host(out) - start


def twin(atoms: Atoms, shape: tuple[int, int, int], orth: np.ndarray) -> np.ndarray:
    """The NumPy kernel with as little cut off as it can."""
    out = np.zeros((1, atoms[4].shape[1], *shape))
    return density_aniso.splat_aniso(*atoms, shape, orth, np.float64, out=out)


def gather(maps: np.ndarray, atoms: Atoms, orth: np.ndarray, **more: Any) -> list[np.ndarray]:
    found = density_aniso_cuda.gather_aniso(to_device(maps), *map(to_device, atoms), orth, **more)
    return [to_host(a) for a in found]


def close(a: np.ndarray, b: np.ndarray, tolerance: float) -> None:
    assert a.shape == b.shape
    assert np.linalg.norm(a - b) <= tolerance * np.linalg.norm(b)


@pytest.fixture(autouse=True)
def _cuda(emulated_cuda: ModuleType) -> None:
    """Every test here runs on the emulator."""


@pytest.mark.parametrize(("dtype", "tolerance"), KINDS)
@pytest.mark.parametrize(
    ("group", "ratio"), [("P 1", 4.0), ("P 21 21 21", 1.0), ("P 63", 100.0), ("C 1 2 1", 10.0), ("P 1", 100.0)]
)
def test_equals_the_numpy_twin(group: str, ratio: float, dtype: Any, tolerance: float) -> None:
    atoms, orth = gaussians(ratio=ratio), crystal(group).orth
    scale = 3.0 if ratio > 50.0 else 1.0  # float32 has few digits for exponents of atoms far sharper than the grid
    close(splat(atoms, SHAPE, orth, dtype), twin(atoms, SHAPE, orth), scale * tolerance)
    maps = before(dtype)
    wanted = density_aniso.gather_aniso(maps.astype(float), *atoms, orth)
    for found, expected in zip(gather(maps, atoms, orth), wanted, strict=True):
        close(found, expected, scale * tolerance)


@pytest.mark.parametrize("shape", [(8, 8, 16), (9, 17, 33), (5, 3, 2)])
def test_shapes_of_grids(shape: tuple[int, int, int]) -> None:
    """Whole bricks, bricks with one point left over, and grids smaller than a brick."""
    atoms, orth = gaussians(5, 3), crystal("P 1").orth
    close(splat(atoms, shape, orth, np.float64), twin(atoms, shape, orth), 1e-12)
    maps = before(np.float64, 1, 3, shape)
    for found, expected in zip(gather(maps, atoms, orth), density_aniso.gather_aniso(maps, *atoms, orth)):
        close(found, expected, 1e-12)


def test_atoms_on_faces_and_wider_than_the_cell() -> None:
    orth = crystal("P 63").orth
    atoms = gaussians(6)
    atoms[0][:] = [[0, 0, 0], [1, 1, 1], [-1, 0, 2], [0.5, 0, 0], [1 / 3, 2 / 3, 0.25], [-1e-18, 0, 1 - 1e-17]]
    atoms[2][3:] *= 0.05
    atoms[3][3:] /= np.sqrt(0.05)
    close(splat(atoms, SHAPE, orth, np.float64), twin(atoms, SHAPE, orth), 1e-12)
    maps = before(np.float64)
    for found, expected in zip(gather(maps, atoms, orth), density_aniso.gather_aniso(maps, *atoms, orth)):
        close(found, expected, 1e-12)


@pytest.mark.parametrize("channels", [1, 3, 4, 6, 8])
def test_numbers_of_channels(channels: int) -> None:
    atoms, orth = gaussians(3, channels), crystal("P 1").orth
    close(splat(atoms, SHAPE, orth, np.float32), twin(atoms, SHAPE, orth), 2e-5)
    maps = before(np.float64, 1, channels)
    close(gather(maps, atoms, orth)[2], density_aniso.gather_aniso(maps, *atoms, orth)[2], 1e-12)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_batch_of_models(n: int) -> None:
    atoms, orth = gaussians(n), crystal("P 1").orth
    model = np.array([2, 0, 2, 2, 0][:n], np.int32)
    added = splat(atoms, SHAPE, orth, np.float64, model=to_device(model), n_models=4)
    maps = before(np.float64, 4)
    parts = gather(maps, atoms, orth, model=to_device(model))
    assert [p.shape for p in parts] == [(n,), (n, 3), (n, 6)]
    for m in range(4):
        own = tuple(a[model == m] for a in atoms)
        if not len(own[0]):
            assert not added[m].any()
            continue
        close(added[m : m + 1], twin(own, SHAPE, orth), 1e-12)
        for found, expected in zip(parts, density_aniso.gather_aniso(maps[m : m + 1], *own, orth)):
            close(found[model == m], expected, 1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gather_is_the_adjoint_also_of_what_is_cut_off(dtype: Any) -> None:
    """At a radius where much is left, both include the same points."""
    atoms, orth = gaussians(20, ratio=10.0, depth=3.0), crystal("P 1").orth
    maps = before(dtype)
    added = splat(atoms, SHAPE, orth, dtype)
    by_amplitude, _, _ = gather(maps, atoms, orth)
    tolerance = 1e-12 if dtype is np.float64 else 2e-5
    dot_test(float((added * maps).sum()), float(atoms[1] @ by_amplitude), tolerance)


def test_gather_gives_the_derivatives() -> None:
    atoms, box = gaussians(4, ratio=10.0), crystal("P 1")
    fractional, amplitude, precision, radius, channel = atoms
    rng, maps = np.random.default_rng(4), before(np.float64)
    _, by_xyz, by_precision = gather(maps, atoms, box.orth)
    shift, change = rng.normal(size=(4, 3)), 0.1 * rng.normal(size=(4, 6))

    def value(x: np.ndarray, k: np.ndarray) -> float:
        return float((splat((x, amplitude, k, radius, channel), SHAPE, box.orth, np.float64) * maps).sum())

    slope = float((by_xyz * shift).sum())
    check_direction(lambda t: value(fractional + t * shift @ box.frac.T, precision), slope, 1e-3, 1e-7)
    slope = float((by_precision * change).sum())
    check_direction(lambda t: value(fractional, precision + t * change), slope, 1e-3, 1e-7)


def test_a_plan_serves_again_and_in_a_graph(emulated_cuda: ModuleType) -> None:
    orth, first, second = crystal("P 1").orth, gaussians(seed=1), gaussians(seed=2)
    plan = density_aniso_cuda.plan(SHAPE, orth, 9, 2, 10.0, np.float64)
    on_device = [to_device(a) for a in first]
    out = emulated_cuda.zeros((1, 2, *SHAPE))
    parts = tuple(emulated_cuda.empty(s) for s in ((9,), (9, 3), (9, 6)))
    stream = emulated_cuda.cuda.Stream()
    backend.reset_launch_counts()
    with stream:
        stream.begin_capture()
        out.fill(0.0)
        density_aniso_cuda.splat_aniso(*on_device, SHAPE, orth, np.float64, plan=plan, out=out)
        density_aniso_cuda.gather_aniso(out, *on_device, orth, plan=plan, out=parts)
        graph = stream.end_capture()
    assert sum(backend.launch_counts().values()) == 7
    for atoms in (first, second, first):
        for a, b in zip(on_device, atoms):
            a.set(b)
        graph.launch(stream)
        wanted = twin(atoms, SHAPE, orth)
        close(out.get(), wanted, 1e-12)
        close(parts[2].get(), density_aniso.gather_aniso(wanted, *atoms, orth)[2], 1e-11)
    bricks_cuda.check(plan.lists)


def test_the_same_input_gives_the_same_bits() -> None:
    atoms, orth = gaussians(200, depth=9.0), crystal("P 1").orth
    maps = before(np.float32)

    def bits() -> bytes:
        parts = gather(maps, atoms, orth)
        return splat(atoms, SHAPE, orth, np.float32).tobytes() + b"".join(p.tobytes() for p in parts)

    wanted = bits()
    with emulator.reversed_order():  # the lists of the bricks are then filled in another order
        assert bits() == wanted


@pytest.mark.parametrize("bad", [(0, np.nan), (3, np.nan), (2, np.inf), (2, -1.0)], ids=str)
def test_what_makes_no_sense_is_reported(bad: tuple[int, float]) -> None:
    atoms, orth = gaussians(), crystal("P 1").orth
    atoms[bad[0]][3] = bad[1]
    with pytest.raises(RuntimeError, match="not finite"):
        splat(atoms, SHAPE, orth, np.float32)
    for part in gather(before(np.float32), atoms, orth):
        assert np.isnan(part.reshape(9, -1)).all(axis=1).nonzero()[0].tolist() == [3]


def test_what_does_not_fit_is_refused() -> None:
    atoms, orth = gaussians(), crystal("P 1").orth
    with pytest.raises(ValueError, match="a plan of 1 models"):
        density_aniso_cuda.splat_aniso(*map(to_device, atoms), SHAPE, orth, np.float32, out=to_device(before(float)))
    with pytest.raises(ValueError, match="the plan is for 4 atoms"):
        splat(atoms, SHAPE, orth, np.float32, plan=density_aniso_cuda.plan(SHAPE, orth, 4, 2, 3.0))
    with pytest.raises(ValueError, match="six values"):
        gather(before(np.float32), (*atoms[:2], atoms[2][:, :3], *atoms[3:]), orth)


def test_signatures_begin_as_those_of_the_twin() -> None:
    for name in ("splat_aniso", "gather_aniso"):
        positional = [
            [p.name for p in inspect.signature(getattr(module, name)).parameters.values() if p.kind != p.KEYWORD_ONLY]
            for module in (density_aniso, density_aniso_cuda)
        ]
        assert positional[0] == positional[1]
