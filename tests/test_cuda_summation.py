"""CUDA kernels of the direct summation against their NumPy twin, on the emulated device."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import emulator
import numpy as np
import pytest
from checks import check_direction, dot_test
from synthetic import crystal, random_atoms, random_hkl

from arrayrefine.kernels import summation, summation_cuda
from arrayrefine.kernels.backend import launch_counts, reset_launch_counts, to_device, to_host
from arrayrefine.scattering.form_factors import form_factors, scattering

Problem = dict[str, np.ndarray]


def problem(group: str, n_atoms: int = 12, n_reflections: int = 60, d_min: float = 3.0) -> Problem:
    """Arguments in the order of the functions; atoms in and out of the cell, one on the origin."""
    box = crystal(group)
    atoms = random_atoms(box, max(1, n_atoms))
    hkl = np.concatenate([[[0, 0, 0]], random_hkl(box, d_min, max(1, n_reflections))])[:n_reflections].astype(np.int32)
    s_squared = box.inverse_d_squared(hkl)
    _, element, coefficients = form_factors(atoms.element)
    fractional = box.fractional(atoms.xyz)
    fractional[0] = 0.0
    return {
        "hkl": hkl, "s_squared": s_squared, "fractional": fractional[:n_atoms], "b_iso": atoms.b_iso[:n_atoms],
        "occupancy": atoms.occupancy[:n_atoms], "form_factor": scattering(coefficients, s_squared),
        "element": element[:n_atoms], "rotations": box.rotations, "translations": box.translations,
    }  # fmt: skip


def on_device(given: Problem) -> list[Any]:
    integers = ("hkl", "element", "rotations")
    return [to_device(a, np.int32 if name in integers else np.float64) for name, a in given.items()]


def random_d_f(n: int) -> np.ndarray:
    rng = np.random.default_rng(4)
    return rng.normal(size=n) + 1j * rng.normal(size=n)


def close(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-12) -> None:
    assert found.shape == expected.shape
    assert np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected)


def agree(given: Problem) -> None:
    """Both functions agree with NumPy, and are bitwise the same in any order of the threads."""
    d_f, device = random_d_f(len(given["hkl"])), on_device(given)
    f = to_host(summation.structure_factors(*device)).copy()
    close(f, summation.structure_factors(*given.values()))
    gradient = [to_host(a).copy() for a in summation.gradient(to_device(d_f), *device)]
    for found, expected in zip(gradient, summation.gradient(d_f, *given.values()), strict=True):
        close(found, expected)
    with emulator.reversed_order():
        assert np.array_equal(f, to_host(summation.structure_factors(*device)))
        for found, again in zip(gradient, summation.gradient(to_device(d_f), *device), strict=True):
            assert np.array_equal(found, to_host(again))


@pytest.fixture(autouse=True)
def _cuda(emulated_cuda: ModuleType) -> None:
    """Every test here runs on the emulator."""


@pytest.mark.parametrize("group", ["P 1", "P 1 21 1", "C 1 2 1", "R 3:H", "I 2 3", "F 4 3 2"])
def test_agree_with_numpy(group: str) -> None:
    agree(problem(group))


@pytest.mark.parametrize(("n_atoms", "n_reflections"), [(0, 5), (5, 0), (0, 0), (1, 1), (7, 300), (150, 9)])
def test_sizes(n_atoms: int, n_reflections: int) -> None:
    given = problem("P 1 21 1", n_atoms, n_reflections, 2.0)
    assert (len(given["fractional"]), len(given["hkl"])) == (n_atoms, n_reflections)
    agree(given)


@pytest.mark.parametrize("parts", [1, 3, 100])
def test_parts_add_up(parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """More parts than there are atoms or blocks of reflections leave some parts empty."""
    monkeypatch.setattr(summation_cuda, "_parts", lambda n, owners, least: parts)
    agree(problem("P 1", 20, 280, 2.0))


def test_adjoint_and_derivatives() -> None:
    given = problem("R 3:H")
    device, d_f = on_device(given), random_d_f(60)
    by_x, by_b, by_q = (to_host(a).copy() for a in summation_cuda.gradient(to_device(d_f), *device))

    def value(name: str, change: np.ndarray) -> Callable[[float], float]:
        def along(t: float) -> float:
            moved = {**given, name: given[name] + t * change}
            return float(np.vdot(d_f, to_host(summation_cuda.structure_factors(*on_device(moved)))).real)

        return along

    dot_test(value("occupancy", np.zeros(12))(0.0), float(by_q @ given["occupancy"]), 1e-12)
    rng = np.random.default_rng(5)
    shift, change = rng.normal(size=(12, 3)), rng.normal(size=12)
    check_direction(value("fractional", shift), float((by_x * shift).sum()), 1e-4, 1e-8, "by x")
    check_direction(value("b_iso", change), float(by_b @ change), 1e-3, 1e-8, "by B")


def test_no_operators() -> None:
    given = problem("P 1")
    given = {**given, "rotations": given["rotations"][:0], "translations": given["translations"][:0]}
    assert (to_host(summation_cuda.structure_factors(*on_device(given))) == 0).all()
    for part in summation_cuda.gradient(to_device(random_d_f(60)), *on_device(given)):
        assert (to_host(part) == 0).all()


def test_an_evaluation_is_four_launches_and_can_be_captured(emulated_cuda: ModuleType) -> None:
    given = problem("P 1 21 1")
    device, d_f = on_device(given), to_device(random_d_f(60))
    held = summation_cuda.buffers(60, 12)
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
    assert all(np.array_equal(to_host(a), b) for a, b in zip(parts, pulled))


def test_mistakes_are_named() -> None:
    given = problem("P 1")
    many = {**given, "rotations": np.zeros((400, 3, 3)), "translations": np.zeros((400, 3))}
    with pytest.raises(ValueError, match="400 operators"):
        summation_cuda.structure_factors(*on_device(many))
    with pytest.raises(ValueError, match="buffers for 60 reflections and 11 atoms"):
        summation_cuda.structure_factors(*on_device(given), out=summation_cuda.buffers(60, 11))
    with pytest.raises(ValueError, match="form factors"):
        summation_cuda.structure_factors(*on_device({**given, "b_iso": given["b_iso"][1:]}))
