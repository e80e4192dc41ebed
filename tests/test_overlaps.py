"""Second derivatives of -log p by the occupancies of two atoms, apart: against the target's own, and their slopes."""

from __future__ import annotations

import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine.example import DATA, MODEL
from arrayrefine.options import Options
from arrayrefine.rebuilding.overlaps import Overlaps
from arrayrefine.state import State, evaluate


@pytest.fixture(scope="module")
def state() -> State:
    _, problem, atoms, _ = ar.prepare(MODEL, DATA, Options(d_min=2.0))
    return evaluate(problem, atoms)


def test_overlap_of_an_atom_with_itself_is_its_curvature(state: State) -> None:
    atoms = state.atoms
    overlaps = Overlaps(state.xray, atoms)
    some = np.flatnonzero((atoms.element == "C") & (atoms.multiplicity == 1))
    expected = state.xray.curvature(atoms).occupancy[some]
    found = overlaps(np.zeros(len(some)), 2.0 * atoms.b_iso[some]) * overlaps.electrons[some] ** 2
    np.testing.assert_allclose(found, expected, rtol=0.01)
    far = overlaps(np.full(len(some), 8.0), 2.0 * atoms.b_iso[some]) * overlaps.electrons[some] ** 2
    assert np.abs(far).max() < 0.02 * expected.max()


def test_slope_and_sharpness_are_derivatives(state: State) -> None:
    overlaps = Overlaps(state.xray, state.atoms)
    distance, b_sum = (a.ravel() for a in np.meshgrid(np.arange(0.45, 6.0, 0.2), [20.0, 45.0, 90.0]))
    step = 0.1  # that of the table, between whose points it is linear
    by_difference = (overlaps(distance + step, b_sum) - overlaps(distance - step, b_sum)) / (2.0 * step)
    largest = np.abs(by_difference).max()
    np.testing.assert_allclose(overlaps.slope(distance, b_sum), by_difference, atol=0.02 * largest)
    for b in (20.0, 45.0, 90.0):
        at, beside = overlaps(np.array([0.0, 0.1]), np.full(2, b))
        assert overlaps.sharpness(np.array([b]))[0] == pytest.approx(2.0 * (at - beside) / 0.1**2, rel=0.02)


def test_sums_over_pairs_and_their_derivatives(state: State) -> None:
    overlaps, rng = Overlaps(state.xray, state.atoms), np.random.default_rng(3)
    one, two = rng.normal(0.0, 1.5, (2, 4, 3)), rng.normal(0.0, 1.5, (2, 5, 3))
    b, c, q, p = rng.uniform(10.0, 60.0, (2, 4)), rng.uniform(10.0, 60.0, (2, 5)), np.ones((2, 4)), np.full((2, 5), 6.0)
    two[0, 0] = one[0, 0]  # no direction
    value, slope = overlaps.between_by_xyz(one, two, b, c, q, p)
    np.testing.assert_allclose(value, overlaps.between(one, two, b, c, q, p), rtol=1e-12)
    for i in range(3):
        ahead, behind = one.copy(), one.copy()
        ahead[:, 2, i] += 0.1
        behind[:, 2, i] -= 0.1
        ends = [overlaps.between(x, two, b, c, q, p) for x in (ahead, behind)]
        np.testing.assert_allclose(slope[:, 2, i], (ends[0] - ends[1]) / 0.2, atol=0.03 * np.abs(slope).max())
    assert np.isfinite(slope).all()
