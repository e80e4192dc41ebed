"""CUDA kernels of the direct summation with anisotropic U against their NumPy twin, on the emulated device."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import emulator
import numpy as np
import pytest
from synthetic import crystal, random_hkl

from arrayrefine.kernels import summation, summation_cuda, symmetric
from arrayrefine.kernels.backend import launch_counts, reset_launch_counts, to_device, to_host

Problem = dict[str, np.ndarray]


def problem(group: str, n: int = 9, n_reflections: int = 60) -> Problem:
    """Flat and round atoms, in and out of the cell, one on the origin; the reflection 0 0 0 among the others."""
    box, rng = crystal(group), np.random.default_rng(3)
    hkl = np.concatenate([[[0, 0, 0]], random_hkl(box, 3.0, max(1, n_reflections))])[:n_reflections].astype(np.int32)
    axes = np.linalg.qr(rng.normal(size=(n, 3, 3)))[0]
    value = rng.uniform(0.02, 0.1, (n, 3)) * np.array([1.0, 3.0, 20.0])
    fractional = rng.uniform(-0.7, 1.6, (n, 3))
    fractional[:1] = 0.0
    return {
        "hkl": hkl, "s_squared": box.inverse_d_squared(hkl), "fractional": fractional,
        "b_iso": rng.uniform(0.0, 9.0, n), "occupancy": rng.uniform(0.3, 1.0, n),
        "form_factor": rng.uniform(1.0, 9.0, (2, len(hkl))), "element": np.arange(n) % 2, "rotations": box.rotations,
        "translations": box.translations, "u_aniso": symmetric.six((axes * value[:, None]) @ axes.transpose(0, 2, 1)),
        "frac": box.frac,
    }  # fmt: skip


def on_device(given: Problem) -> list[Any]:
    integers = ("hkl", "element", "rotations")
    return [to_device(a, np.int32 if name in integers else np.float64) for name, a in given.items()]


def random_d_f(n: int) -> np.ndarray:
    rng = np.random.default_rng(4)
    return rng.normal(size=n) + 1j * rng.normal(size=n)


def agree(given: Problem) -> None:
    """Both functions agree with NumPy, and are bitwise the same in any order of the threads."""
    d_f, device = random_d_f(len(given["hkl"])), on_device(given)
    f = to_host(summation.structure_factors(*device)).copy()
    gradient = [to_host(a).copy() for a in summation.gradient(to_device(d_f), *device)]
    wanted = summation.structure_factors(*given.values()), *summation.gradient(d_f, *given.values())
    for found, expected in zip((f, *gradient), wanted, strict=True):
        assert found.shape == expected.shape
        assert np.linalg.norm(found - expected) <= 1e-12 * np.linalg.norm(expected)
    with emulator.reversed_order():
        assert np.array_equal(f, to_host(summation.structure_factors(*device)))
        for found, again in zip(gradient, summation.gradient(to_device(d_f), *device), strict=True):
            assert np.array_equal(found, to_host(again))


@pytest.fixture(autouse=True)
def _cuda(emulated_cuda: ModuleType) -> None:
    """Every test here runs on the emulator."""


@pytest.mark.parametrize("group", ["P 1", "P 1 21 1", "R 3:H", "I 2 3", "F 4 3 2"])
def test_agree_with_numpy(group: str) -> None:
    agree(problem(group))


@pytest.mark.parametrize(("n", "n_reflections"), [(0, 5), (5, 0), (1, 1), (7, 200), (150, 9)])
def test_sizes(n: int, n_reflections: int) -> None:
    agree(problem("P 1 21 1", n, n_reflections))


@pytest.mark.parametrize("parts", [1, 3, 100])
def test_parts_add_up(parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summation_cuda, "_parts", lambda n, owners, least: parts)
    agree(problem("P 1", 20, 200))


def test_an_evaluation_is_four_launches_and_can_be_captured(emulated_cuda: ModuleType) -> None:
    given = problem("P 1 21 1")
    device, d_f = on_device(given), to_device(random_d_f(60))
    held = summation_cuda.buffers(60, 9, anisotropic=True)
    reset_launch_counts()
    expected = to_host(summation_cuda.structure_factors(*device)).copy()
    pulled = [to_host(a).copy() for a in summation_cuda.gradient(d_f, *device)]
    assert sum(launch_counts().values()) == 4
    with emulated_cuda.cuda.Stream() as stream:
        stream.begin_capture()
        f = summation_cuda.structure_factors(*device, out=held)
        parts = summation_cuda.gradient(d_f, *device, out=held)
        stream.end_capture().launch()
    assert np.array_equal(to_host(f), expected)
    assert all(np.array_equal(to_host(a), b) for a, b in zip(parts, pulled, strict=True))


def test_mistakes_are_named() -> None:
    given = problem("P 1")
    device = on_device(given)
    with pytest.raises(ValueError, match="without frac"):
        summation_cuda.structure_factors(*device[:-1])
    with pytest.raises(ValueError, match="six values"):
        summation_cuda.structure_factors(*on_device({**given, "u_aniso": given["u_aniso"][:, :3]}))
    with pytest.raises(ValueError, match="buffers for"):
        summation_cuda.gradient(to_device(random_d_f(60)), *device, out=summation_cuda.buffers(60, 9))
