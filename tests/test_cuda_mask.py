"""CUDA kernels of the solvent mask against their NumPy twin, on the emulated device."""

from __future__ import annotations

from types import ModuleType

import emulator
import numpy as np
import pytest
from synthetic import CELLS, crystal

from arrayrefine.crystal import Crystal
from arrayrefine.kernels.backend import launch_counts, reset_launch_counts, to_device, to_host
from arrayrefine.kernels.mask import dilate, solvent_mask
from arrayrefine.solvent import grid_shape


def both(
    box: Crystal, fractional: np.ndarray, radius: np.ndarray, shape: tuple[int, int, int], shrink: float
) -> tuple[np.ndarray, np.ndarray]:
    """The mask from the device, twice, and from NumPy."""
    operators = box.rotations, box.translations
    reset_launch_counts()
    found = to_host(solvent_mask(to_device(fractional), to_device(radius), *operators, box.orth, shape, shrink))
    assert sum(launch_counts().values()) <= 2
    with emulator.reversed_order():
        again = to_host(solvent_mask(to_device(fractional), to_device(radius), *operators, box.orth, shape, shrink))
    assert np.array_equal(found, again)
    assert found.dtype == bool
    return found, solvent_mask(fractional, radius, *operators, box.orth, shape, shrink)


def random_spheres(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1.3, 1.9, (n, 3)), rng.choice([2.1, 2.6, 3.0], n)


@pytest.fixture(autouse=True)
def _cuda(emulated_cuda: ModuleType) -> None:
    """Every test here runs on the emulator."""


@pytest.mark.parametrize("group", sorted(CELLS))
def test_agrees_with_numpy(group: str) -> None:
    box = crystal(group)
    fractional, radius = random_spheres(max(1, 24 // len(box.rotations)))
    found, expected = both(box, fractional, radius, grid_shape(box, 1.0), 1.1)
    assert 0.0 < expected.mean() < 1.0
    assert (found == expected).all()  # random atoms have no points on their spheres


@pytest.mark.parametrize("shape", [(7, 9, 31), (8, 5, 32), (6, 6, 33), (5, 4, 64), (3, 3, 1), (1, 1, 1)])
def test_rows_that_end_inside_a_word(shape: tuple[int, int, int]) -> None:
    fractional, radius = random_spheres(4)
    for shrink in (0.0, 0.9, 4.0):
        found, expected = both(crystal("P 1"), fractional, radius, shape, shrink)
        assert (found == expected).all()


def test_special_positions_and_faces_of_the_cell() -> None:
    """Atoms on grid points have points exactly on their spheres, which rounding may put on either side."""
    box = crystal("P 63")
    places = np.array([[0, 0, 0], [1, 1, 1], [0.5, 0, 0], [1 / 3, 2 / 3, 0.25], [-1e-18, 0, 1 - 1e-17]])
    found, expected = both(box, places, np.array([2.0, 3.0, 2.37, 2.61, 1.9]), grid_shape(box, 0.9), 0.8)
    assert (found != expected).sum() <= 4


def test_no_atoms_leave_all_to_the_solvent_and_wide_spheres_nothing() -> None:
    box = Crystal((3.0, 3.5, 4.0, 80.0, 95.0, 105.0), "P 1")
    found, expected = both(box, np.zeros((0, 3)), np.zeros(0), (6, 7, 8), 0.8)
    assert found.all()
    assert expected.all()
    found, expected = both(box, np.zeros((1, 3)), np.array([9.0]), (6, 7, 40), 0.8)
    assert not found.any()
    assert not expected.any()


def test_atoms_without_a_place_cover_nothing() -> None:
    box = crystal("P 1")
    shape = grid_shape(box, 1.0)
    fractional, radius = random_spheres(3)
    fractional[0, 1] = np.nan
    arrays = to_device(fractional), to_device(radius), box.rotations, box.translations
    found = to_host(solvent_mask(*arrays, box.orth, shape, 0.8))
    _, expected = both(box, fractional[1:], radius[1:], shape, 0.8)
    assert (found == expected).all()


def test_without_shrinking_it_is_what_the_spheres_leave() -> None:
    box = crystal("P 21 21 21")
    shape = grid_shape(box, 0.8)
    fractional, radius = random_spheres(5)
    found, expected = both(box, fractional, radius, shape, 0.0)
    assert (found == expected).all()
    grown = both(box, fractional, radius, shape, 1.0)[0]
    assert (grown == dilate(found, box.orth / np.asarray(shape), 1.0)).all()
    assert grown.sum() > found.sum()
