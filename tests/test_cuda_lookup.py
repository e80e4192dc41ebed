"""Look-up in reciprocal space and its adjoint: NumPy against the definition, CUDA kernels against NumPy."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import emulator
import numpy as np
import pytest
import scipy.fft
from checks import dot_test
from synthetic import crystal, random_hkl

from arrayrefine.crystal import Crystal
from arrayrefine.kernels import lookup, lookup_cuda
from arrayrefine.kernels.backend import launch_counts, reset_launch_counts, to_device, to_host

GROUPS = ["P 1", "C 1 2 1", "P 21 21 21", "R 3 2:R", "P 61 2 2", "F 4 3 2"]
KINDS = [(np.complex64, 1e-5), (np.complex128, 1e-12)]
D_MIN = 3.0


def reflections(box: Crystal, n: int = 120) -> np.ndarray:
    """General ones, those on axes and in zones, F(000) and a Friedel mate of one of them."""
    hkl = random_hkl(box, D_MIN, n)
    special = np.array([[0, 0, 0], [2, 0, 0], [0, 4, 0], [0, 0, 2], [2, 2, 0], [0, -2, 2], [2, 2, 2]])
    return np.concatenate([hkl, -hkl[:1], special]).astype(np.int32)


def shape_for(box: Crystal, hkl: np.ndarray) -> tuple[int, int, int]:
    rotated = np.einsum("ri,gij->grj", hkl, box.primitive_rotations)
    nx, ny, nz = (2 * np.abs(rotated).max(axis=(0, 1)) + [3, 2, 5]).tolist()
    return nx, ny, nz


def table_of(box: Crystal, hkl: np.ndarray, stored: tuple[int, ...], dtype: Any, where: Any = lookup) -> Any:
    return where.plan(hkl, box.primitive_rotations, box.primitive_translations, len(box.centring), stored, dtype)


def factors(box: Crystal, hkl: np.ndarray, k: int) -> np.ndarray:
    """Functions of |h| only."""
    s = box.inverse_d_squared(hkl)
    return np.stack([(1.0 + i) * np.exp(-(0.5 + i) * s) for i in range(k)])


def full(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    return shape[0], shape[1], shape[2] // 2 + 1


def pruned(half: np.ndarray, stored: tuple[int, int, int]) -> np.ndarray:
    """Only the low frequencies of a half-complex transform (..., nx, ny, nz // 2 + 1)."""
    places = []
    for m, n in zip(stored[:2], half.shape[-3:-1]):
        h = np.arange(m)
        places.append(np.where(h <= m // 2, h, h - m) % n)
    return half[..., places[0][:, None], places[1][None, :], : stored[2]]


def least_stored(box: Crystal, hkl: np.ndarray) -> tuple[int, int, int]:
    reach = np.abs(np.einsum("ri,gij->grj", hkl, box.primitive_rotations)).max(axis=(0, 1))
    return 2 * int(reach[0]) + 1, 2 * int(reach[1]) + 1, int(reach[2]) + 1


def random_grids(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def random_gradient(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    assert found.shape == expected.shape
    assert np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected)


# ---- NumPy


@pytest.mark.parametrize("group", GROUPS)
def test_look_up_is_a_sum_over_grid_points(group: str) -> None:
    box = crystal(group)
    hkl = reflections(box, 12)
    shape = shape_for(box, hkl)
    grids, by = random_grids((2, *shape)), factors(box, hkl, 2)
    half = scipy.fft.rfftn(grids, axes=(1, 2, 3))
    found = lookup.look_up(half, by, table_of(box, hkl, full(shape), np.complex128))
    x = np.stack(np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij"), axis=-1).reshape(-1, 3)
    density = grids.reshape(2, -1)
    expected = np.zeros(len(hkl), dtype=complex)
    for rotation, translation in zip(box.rotations, box.translations):
        wave = np.exp(2j * np.pi * (hkl @ rotation @ x.T + (hkl @ translation)[:, None]))
        expected += np.einsum("kr,kp,rp->r", by, density, wave)
    # Where centring forbids a reflection its operators cancel; the look-up knows only how many they are.
    present = ~box.absent(hkl)
    close(found[present], expected[present], 1e-11)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("layout", [full, None])
def test_scatter_is_the_adjoint(group: str, layout: Callable[..., Any] | None) -> None:
    box = crystal(group)
    hkl = reflections(box)
    shape = shape_for(box, hkl)
    stored = full(shape) if layout else least_stored(box, hkl)
    table = table_of(box, hkl, stored, np.complex128)
    grids, by, y = random_grids((3, *shape)), factors(box, hkl, 3), random_gradient((len(hkl),))
    half = scipy.fft.rfftn(grids, axes=(1, 2, 3))
    f = lookup.look_up(pruned(half, stored), by, table)
    spread = lookup.scatter(y, by, table, stored)
    whole = np.zeros_like(half)
    positions = pruned(np.arange(half[0].size).reshape(half.shape[1:]), stored).reshape(-1)
    whole.reshape(3, -1)[:, positions] = spread.reshape(3, -1)
    maps = scipy.fft.irfftn(whole, shape, axes=(1, 2, 3), norm="forward")
    dot_test(float(np.vdot(y, f).real), float((maps * grids).sum()), 1e-12)
    # Hermitian on l = 0, as every library wants it
    layer = whole[..., 0]
    mirrored = np.roll(layer[:, ::-1, ::-1], 1, axis=(1, 2)).conj()
    np.testing.assert_allclose(layer, mirrored, atol=1e-12 * np.abs(layer).max())


def test_leading_axes_are_models() -> None:
    box = crystal("P 21 21 21")
    hkl = reflections(box)
    stored = full(shape_for(box, hkl))
    table = table_of(box, hkl, stored, np.complex64)
    half = random_gradient((2, 3, 2, *stored)).astype(np.complex64)
    by, y = factors(box, hkl, 2), random_gradient((2, 3, len(hkl)))
    f, spread = lookup.look_up(half, by, table), lookup.scatter(y, by, table, stored)
    assert f.shape == (2, 3, len(hkl))
    assert f.dtype == np.complex128
    assert spread.shape == (2, 3, 2, *stored)
    assert spread.dtype == np.complex64
    assert np.array_equal(f[1, 2], lookup.look_up(half[1, 2], by, table))
    assert np.array_equal(spread[0, 1], lookup.scatter(y[0, 1], by, table, stored))
    reused = np.full_like(spread, np.nan)
    assert lookup.scatter(y, by, table, stored, reused) is reused
    assert np.array_equal(reused, spread)


def test_reflections_that_are_not_stored_are_refused() -> None:
    box = crystal("P 1")
    for hkl in ([[3, 0, 0]], [[0, -3, 0]], [[0, 0, 3]]):
        with pytest.raises(ValueError, match="does not hold them"):
            table_of(box, np.array(hkl), (5, 5, 3), np.complex64)


# ---- CUDA


@pytest.mark.parametrize(("dtype", "tolerance"), KINDS)
@pytest.mark.parametrize("group", GROUPS)
def test_kernels_agree_with_numpy(emulated_cuda: ModuleType, group: str, dtype: Any, tolerance: float) -> None:
    box = crystal(group)
    hkl = reflections(box)
    for stored, k, models in ((full(shape_for(box, hkl)), 1, ()), (least_stored(box, hkl), 5, (2,))):
        table = table_of(box, hkl, stored, dtype)
        on_device = lookup_cuda.upload(table)
        half, y = random_gradient((*models, k, *stored)).astype(dtype), random_gradient((*models, len(hkl)))
        by = factors(box, hkl, k).astype(table.sign.dtype)
        reset_launch_counts()
        f = lookup.look_up(to_device(half), to_device(by), on_device)
        spread = lookup.scatter(to_device(y), to_device(by), on_device, stored)
        assert sum(launch_counts().values()) == 2
        close(to_host(f), lookup.look_up(half, by, table), tolerance)
        expected = lookup.scatter(y, by, table, stored)
        close(to_host(spread), expected, tolerance)
        assert (to_host(spread)[expected == 0] == 0).all()
        assert spread.dtype == dtype
        with emulator.reversed_order():
            again = lookup_cuda.look_up(to_device(half), to_device(by), on_device, out=emulated_cuda.empty_like(f))
            anew = lookup_cuda.scatter(to_device(y), to_device(by), on_device, stored, emulated_cuda.empty_like(spread))
        assert np.array_equal(to_host(f), to_host(again))
        assert np.array_equal(to_host(spread), to_host(anew))


def test_kernels_are_an_adjoint_pair(emulated_cuda: ModuleType) -> None:
    box = crystal("R 3 2:R")
    hkl = reflections(box)
    shape = shape_for(box, hkl)
    table = table_of(box, hkl, full(shape), np.complex128, lookup_cuda)
    grids, by, y = random_grids((2, *shape)), factors(box, hkl, 2), random_gradient((len(hkl),))
    f = to_host(lookup.look_up(to_device(scipy.fft.rfftn(grids, axes=(1, 2, 3))), to_device(by), table))
    spread = to_host(lookup.scatter(to_device(y), to_device(by), table, full(shape)))
    maps = scipy.fft.irfftn(spread, shape, axes=(1, 2, 3), norm="forward")
    dot_test(float(np.vdot(y, f).real), float((maps * grids).sum()), 1e-12)


@pytest.mark.parametrize(("n", "k", "models"), [(0, 2, 1), (1, 0, 1), (5, 2, 0), (1, 1, 1)])
def test_nothing_to_look_up(emulated_cuda: ModuleType, n: int, k: int, models: int) -> None:
    box = crystal("P 1")
    hkl = reflections(box)[:n]
    stored = full(shape_for(box, reflections(box)))
    table = table_of(box, hkl, stored, np.complex64)
    on_device = lookup_cuda.upload(table)
    by = factors(box, hkl, k).astype(np.float32) if k else np.zeros((0, n), np.float32)
    half, y = random_gradient((models, k, *stored)).astype(np.complex64), random_gradient((models, n))
    expected, spread = lookup.look_up(half, by, table), lookup.scatter(y, by, table, stored)
    found = to_host(lookup.look_up(to_device(half), to_device(by), on_device))
    assert found.shape == expected.shape == (models, n)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    on = to_host(lookup.scatter(to_device(y), to_device(by), on_device, stored))
    assert on.shape == spread.shape == (models, k, *stored)
    np.testing.assert_allclose(on, spread, rtol=1e-5)


def test_an_evaluation_can_be_captured(emulated_cuda: ModuleType) -> None:
    box = crystal("C 1 2 1")
    hkl = reflections(box)
    stored = full(shape_for(box, hkl))
    table = table_of(box, hkl, stored, np.complex64, lookup_cuda)
    half, y = to_device(random_gradient((2, *stored)).astype(np.complex64)), to_device(random_gradient((len(hkl),)))
    by = to_device(factors(box, hkl, 2), np.float32)
    f, spread = lookup_cuda.look_up(half, by, table), lookup_cuda.scatter(y, by, table, stored)
    out = emulated_cuda.empty_like(f), emulated_cuda.empty_like(spread)
    with emulated_cuda.cuda.Stream() as stream:
        stream.begin_capture()
        lookup_cuda.look_up(half, by, table, out[0])
        lookup_cuda.scatter(y, by, table, stored, out[1])
        graph = stream.end_capture()
        graph.launch()
    assert np.array_equal(to_host(out[0]), to_host(f))
    assert np.array_equal(to_host(out[1]), to_host(spread))


def test_mistakes_are_named(emulated_cuda: ModuleType) -> None:
    box = crystal("P 1")
    hkl = reflections(box)
    stored = full(shape_for(box, hkl))
    table = table_of(box, hkl, stored, np.complex64)
    half, by = to_device(np.zeros((1, *stored), np.complex64)), to_device(factors(box, hkl, 1), np.float32)
    with pytest.raises(TypeError, match="plan on the device"):
        lookup.look_up(half, by, table)
    on_device = lookup_cuda.upload(table)
    with pytest.raises(ValueError, match="transforms of complex64"):
        lookup.look_up(half.astype(np.complex128), by, on_device)
    with pytest.raises(ValueError, match="reflections for a plan"):
        lookup.look_up(half, by[:, 1:], on_device)
    with pytest.raises(ValueError, match="the plan is for transforms"):
        lookup.scatter(to_device(np.zeros(len(hkl), complex)), by, on_device, (3, 3, 3))
