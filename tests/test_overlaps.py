"""Second derivatives of -log p by the occupancies of two atoms, apart: against the target's own, and their slopes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from synthetic import crystal, random_atoms, random_hkl

import arrayrefine as ar
from arrayrefine.example import DATA, MODEL
from arrayrefine.options import Options
from arrayrefine.rebuilding.overlaps import Overlaps
from arrayrefine.rebuilding.probes import Probes
from arrayrefine.reflections import Reflections
from arrayrefine.state import State, evaluate
from arrayrefine.structure_factors import StructureFactors
from arrayrefine.targets.xray import XrayTarget


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


def test_by_direct_summation_places_are_probed_as_by_transforms() -> None:
    box = crystal("P 21 21 21")
    atoms, hkl = random_atoms(box, n=12), random_hkl(box, 2.0, 400)
    ones = np.ones(len(hkl))
    made = []
    for method in ("fft", "direct"):
        sf = StructureFactors(box, hkl, atoms, method=method, precision="double")  # type: ignore[arg-type]
        f_obs = np.abs(sf(atoms)) + 1.0
        data = Reflections(box, hkl, f_obs, ones, np.zeros(len(hkl), dtype=bool))
        xray = XrayTarget(data, sf, ones, 0.0 * ones, 0.9 * ones, ones * np.mean(f_obs**2), "ml")
        probes = Probes(SimpleNamespace(atoms=atoms, xray=xray))  # type: ignore[arg-type]
        assert probes._sf.method == "fft"
        every = np.arange(len(atoms))
        moved = atoms.replace(xyz=atoms.xyz + 0.5)
        made.append(np.append(probes._field(probes._sf.like(every), moved).occupancy, probes._here))
    np.testing.assert_allclose(made[1], made[0], atol=5e-3 * np.abs(made[0]).max())
