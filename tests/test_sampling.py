"""The choice of grid, blur and cut-off."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from synthetic import crystal, random_hkl

from arrayrefine.crystal import Crystal
from arrayrefine.scattering.sampling import (
    BRICK_TAIL,
    SPHERE_TAIL,
    Errors,
    choose_sampling,
    grid_shape,
    neighbours,
    reach,
    still_fits,
)

D_MIN = 2.0


def test_sharp_atoms_and_finer_accuracy_cost_more() -> None:
    box = crystal("P 21 21 21")
    hkl = random_hkl(box, D_MIN, 300)

    def effort(b: float, accuracy: float) -> float:
        chosen = choose_sampling(Errors(box, hkl), np.full(10, b), np.ones(10), 2, accuracy)
        return float(np.prod(chosen.shape)) * np.sqrt((b + chosen.blur) * -np.log(chosen.cutoff)) ** 3

    assert effort(8.0, 1e-5) > effort(8.0, 3e-4) > effort(8.0, 1e-2)
    blurs = [choose_sampling(Errors(box, hkl), np.full(10, b), np.ones(10), 2, 3e-4).blur for b in (5.0, 25.0, 60.0)]
    assert blurs[0] > blurs[1] > blurs[2] >= 0.0


@pytest.mark.parametrize("space_group", ["P 1", "C 1 2 1", "R 3 2:R", "P 61 2 2"])
def test_the_grid_holds_every_reflection(space_group: str) -> None:
    box = crystal(space_group)
    hkl = random_hkl(box, 1.5, 2000)
    assert (np.abs(hkl).max(axis=0) <= reach(box, 1.5)).all()
    shape = grid_shape(box, 1.5, 2.3)
    assert all(n > 2 * h for n, h in zip(shape, reach(box, 1.5)))
    assert all(n >= 2.3 / (1.5 * np.linalg.norm(row)) for n, row in zip(shape, box.frac))


def test_reflections_a_hair_beyond_the_limit_are_held() -> None:
    # 72 Å / 1.8 Å is 40: of data that end at 1.8000009 Å, as an MTZ has them in single precision, 0 40 0 is one.
    box = Crystal((71.47, 72.0, 73.39, 90.0, 101.13, 90.0), "C 1 2 1")
    d_min = 1.8000009
    hkl = box.unique_reflections(d_min, 6.0)
    assert np.abs(hkl)[:, 1].max() == 40
    assert (np.abs(hkl).max(axis=0) <= reach(box, d_min)).all()


def test_an_accuracy_beyond_every_grid_is_refused() -> None:
    box = crystal("P 1")
    with pytest.raises(ValueError, match="no sampling reaches an accuracy of 1e-40"):
        choose_sampling(Errors(box, random_hkl(box, D_MIN, 50)), np.full(5, 10.0), np.ones(5), 1, 1e-40)


def test_a_sampling_fits_while_b_changes_little() -> None:
    box = crystal("P 21 21 21")
    errors, b, one = Errors(box, random_hkl(box, D_MIN, 300)), np.linspace(10.0, 40.0, 50), np.ones(50)
    chosen = choose_sampling(errors, b, one, 2, 3e-4)
    assert still_fits(chosen, errors, b, one, 3e-4)
    assert still_fits(chosen, errors, b + 0.3, one, 3e-4)
    assert not still_fits(chosen, errors, b - 8.0, one, 3e-4)
    assert not still_fits(chosen, errors, np.append(b[1:], -chosen.blur), one, 3e-4)  # no Gaussian is left of one atom
    assert not still_fits(chosen, errors, b + 40.0, one, 3e-4)


def test_spheres_are_cut_later_than_bricks() -> None:
    box = crystal("P 21 21 21")
    hkl, b, one = random_hkl(box, D_MIN, 300), np.full(10, 20.0), np.ones(10)
    bricks, spheres = (choose_sampling(Errors(box, hkl, t), b, one, 2, 3e-4) for t in (BRICK_TAIL, SPHERE_TAIL))
    assert spheres.cutoff < 0.5 * bricks.cutoff


def test_a_heavy_atom_of_low_b_asks_for_more_blur() -> None:
    box = crystal("P 21 21 21")
    errors = Errors(box, random_hkl(box, D_MIN, 300))
    b, light, heavy = np.append(5.0, np.full(99, 25.0)), np.ones(100), np.append(20.0, np.ones(99))
    assert choose_sampling(errors, b, heavy, 1, 3e-4).blur > choose_sampling(errors, b, light, 1, 3e-4).blur


@pytest.mark.parametrize("angles", [(90.0, 90.0, 90.0), (90.0, 90.0, 120.0), (90.0, 155.0, 90.0), (40.0, 45.0, 50.0)])
def test_the_nearest_alias_is_among_the_neighbours(angles: tuple[float, float, float]) -> None:
    """Between oblique axes there are aliases nearer than those along one of them."""
    box = Crystal((40.0, 30.0, 38.0, *angles), "P 1")
    hkl, shape = random_hkl(box, D_MIN, 200), grid_shape(box, D_MIN, 2.5)
    every = np.array([n for n in itertools.product(range(-2, 3), repeat=3) if any(n)]) * shape
    nearest, found = (
        np.min([box.inverse_d_squared(hkl + shift) for shift in shifts], axis=0)
        for shifts in (every, neighbours(box, shape))
    )
    np.testing.assert_allclose(found, nearest)
    assert (len(neighbours(box, shape)) == 6) == (angles == (90.0, 90.0, 90.0))
