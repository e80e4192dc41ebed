"""The X-ray targets: gradients, free reflections, curvature."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from checks import check_target
from synthetic import crystal, random_atoms, random_hkl

from arrayrefine.measurements.phases import KnownPhases
from arrayrefine.reflections import Reflections
from arrayrefine.structure_factors import StructureFactors
from arrayrefine.targets.xray import XrayTarget, _least


def _target(kind: str, space_group: str = "P 21 21 21", method: str = "fft", n: int = 25, count: int = 400):
    box = crystal(space_group)
    truth = random_atoms(box, n=n)
    hkl = random_hkl(box, 2.0, count)
    rng = np.random.default_rng(2)
    sf = StructureFactors(box, hkl, truth, method=method, precision="double", accuracy=1e-7)
    f_true = sf(truth)
    f_obs = np.abs(f_true) * rng.normal(1.0, 0.1, len(hkl)).clip(0.2)
    data = Reflections(box, hkl, f_obs, 0.05 * f_obs + 0.1, np.arange(len(hkl)) % 10 == 0)
    f_mask = 3.0 * (rng.normal(size=len(hkl)) + 1j * rng.normal(size=len(hkl)))
    target = XrayTarget(
        data, sf, rng.uniform(0.8, 1.2, len(hkl)), f_mask, np.full(len(hkl), 0.9),
        data.epsilon * 0.2 * (f_obs**2).mean() + np.where(data.centric, 1.0, 2.0) * data.sigma**2, kind,
    )  # fmt: skip
    start = truth.replace(xyz=truth.xyz + rng.normal(0, 0.2, truth.xyz.shape))
    return target, start, truth


@pytest.mark.parametrize("kind", ["ml", "gaussian"])
@pytest.mark.parametrize("method", ["fft", "direct"])
@pytest.mark.parametrize("space_group", ["P 1", "P 61 2 2"])
def test_gradient_by_finite_differences(kind: str, method: str, space_group: str) -> None:
    target, atoms, _ = _target(kind, space_group, method)
    check_target(target, atoms, tolerance=1e-5)


@pytest.mark.parametrize("kind", ["ml", "gaussian"])
def test_free_reflections_never_enter(kind: str) -> None:
    target, atoms, _ = _target(kind)
    data = target.reflections
    spoilt = dataclasses.replace(data, f_obs=np.where(data.free, 7.0 * data.f_obs + 5.0, data.f_obs))
    value, gradient = target(atoms)
    other, other_gradient = dataclasses.replace(target, reflections=spoilt)(atoms)
    assert value == other
    assert np.array_equal(gradient.xyz, other_gradient.xyz)
    work = dataclasses.replace(data, f_obs=np.where(data.free, data.f_obs, 1.1 * data.f_obs))
    assert dataclasses.replace(target, reflections=work)(atoms)[0] != value


def test_outliers_that_are_left_out_never_enter() -> None:
    target, atoms, _ = _target("ml")
    out = np.arange(len(target.reflections)) % 7 == 1
    target = dataclasses.replace(target, left_out=out)
    check_target(target, atoms, tolerance=1e-5)
    data = target.reflections
    spoilt = dataclasses.replace(data, f_obs=np.where(out, 7.0 * data.f_obs, data.f_obs))
    assert dataclasses.replace(target, reflections=spoilt)(atoms)[0] == target(atoms)[0]
    assert not (target.work & (out | data.free)).any()


def test_the_truth_is_more_likely_than_a_displaced_model() -> None:
    target, atoms, truth = _target("ml")
    assert target(truth)[0] < target(atoms)[0]


def test_expected_curvature_matches_gradient_differences() -> None:
    """The mean diagonal of the Hessian, probed by random signs (Hutchinson), against the analytic expectation.

    At the truth, where the curvature of the likelihood does not change sign.
    """
    target, _, truth = _target("ml", n=40, count=3000)
    h = target.curvature(truth)
    rng = np.random.default_rng(6)
    ratios = []
    for kind, step in (("xyz", 1e-3), ("b_iso", 1e-2)):
        found = 0.0
        for _ in range(6):
            values = getattr(truth, kind)
            sign = rng.choice([-1.0, 1.0], values.shape)
            up = getattr(target(truth.replace(**{kind: values + step * sign}))[1], kind)
            down = getattr(target(truth.replace(**{kind: values - step * sign}))[1], kind)
            found += float((sign * (up - down)).sum()) / (2 * step) / 6
        ratios.append(found / float(getattr(h, kind).sum()))
    assert all(0.6 < r < 1.6 for r in ratios), ratios


def test_values_cover_the_test_set_too() -> None:
    target, atoms, _ = _target("ml")
    values = target.values(target.structure_factors(atoms))
    assert values.shape == (len(target.reflections),)
    assert np.isfinite(values).all()
    assert target(atoms)[0] == pytest.approx(values[target.reflections.work].sum())


def test_atoms_whose_f_calc_is_known_are_evaluated_once() -> None:
    target, start, truth = _target("ml")
    known = dataclasses.replace(target, known=(start, target.structure_factors(start)))
    same = start.replace(xyz=start.xyz + 1e-12, b_iso=start.b_iso.copy())
    for atoms in (start, truth, same, start):
        value, gradient = target(atoms)
        found, by_known = known(atoms)
        assert found == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(by_known.xyz, gradient.xyz, rtol=1e-7, atol=1e-9)
    assert known(same)[1] is known(start)[1]
    target.structure_factors.timer.clear()
    known(start)
    known.curvature(same)
    assert not target.structure_factors.timer


@pytest.mark.parametrize(("scale", "phased"), [(0.8, False), (1.3, False), (1.0, True)])
def test_at_its_own_scale_no_common_change_lowers_the_target(scale: float, phased: bool) -> None:
    target, atoms, truth = _target("ml")
    f_calc = target.structure_factors(atoms)
    if phased:
        phase = np.angle(target.structure_factors(truth))
        known = KnownPhases(3.0 * np.stack([np.cos(phase), np.sin(phase), 0 * phase, 0 * phase], axis=1), ("A", "B"))
        target = dataclasses.replace(target, reflections=dataclasses.replace(target.reflections, phases=known))
    off = dataclasses.replace(target, factor=scale * target.factor * np.exp(0.5 * target.reflections.s_squared))
    own = off.at_own_scale(f_calc)
    least = own.by_structure_factor(f_calc)[0]
    assert least < off.by_structure_factor(f_calc)[0] - 1.0
    for by_log, by_b in ((3e-3, 0.0), (0.0, 0.1)):
        change = np.exp(by_log - 0.25 * by_b * target.reflections.s_squared)
        up, down = (
            dataclasses.replace(own, d=own.d * factor).by_structure_factor(f_calc)[0] for factor in (change, 1 / change)
        )
        assert min(up, down) > least
        assert abs(up - down) < 3e-2 * (up + down - 2.0 * least)
    mean = own.factor * own.d, target.factor * target.at_own_scale(f_calc).d  # the same, whatever the scale was
    np.testing.assert_allclose(*mean, rtol=1e-3)


def test_the_test_set_and_outliers_have_no_part_in_the_scale_of_the_target() -> None:
    target, atoms, _ = _target("ml")
    out = np.arange(len(target.reflections)) % 7 == 1
    target = dataclasses.replace(target, left_out=out)
    f_calc, data = target.structure_factors(atoms), target.reflections
    spoilt = dataclasses.replace(data, f_obs=np.where(data.free | out, 7.0 * data.f_obs, data.f_obs))
    other = dataclasses.replace(target, reflections=spoilt)
    assert np.array_equal(target.at_own_scale(f_calc).d, other.at_own_scale(f_calc).d)


def test_the_scale_of_a_target_stays_near_that_of_the_model() -> None:
    target, atoms, _ = _target("ml")
    f_calc = target.structure_factors(atoms)
    wrong = dataclasses.replace(target, factor=1e3 * target.factor).at_own_scale(f_calc)
    assert np.log(wrong.d / target.d).min() > -0.5 - 0.25 * 20.0 * target.reflections.s_squared.max() - 1e-9
    assert wrong.d.max() < target.d.max()
    gaussian = _target("gaussian")[0]
    assert gaussian.at_own_scale(f_calc) is gaussian


def test_at_a_bound_the_scale_of_a_target_is_the_best_there() -> None:
    target, atoms, _ = _target("ml")
    f_calc, s_squared = target.structure_factors(atoms), target.reflections.s_squared
    off = dataclasses.replace(target, factor=0.4 * target.factor * np.exp(-0.25 * 6.0 * s_squared))
    own = off.at_own_scale(f_calc)
    log = np.log(own.d / off.d)
    scale, b = np.linalg.lstsq(np.stack([np.ones(len(log)), -0.25 * s_squared], axis=1), log, rcond=None)[0]
    assert scale == pytest.approx(0.5)
    assert -20.0 < b < -6.0

    def value(change: float) -> float:
        other = dataclasses.replace(own, d=own.d * np.exp(-0.25 * change * s_squared))
        return other.by_structure_factor(f_calc)[0] + 0.5 * (0.1 * (b + change) / 20.0) ** 2

    assert value(0.0) < min(value(-0.1), value(0.1))


def test_one_shell_does_not_tell_b_from_scale() -> None:
    target, atoms, _ = _target("ml")
    n = len(target.reflections)
    same = dataclasses.replace(target.reflections, hkl=np.tile(target.reflections.hkl[:1], (n, 1)))
    f_calc = target.structure_factors(atoms)
    shell = dataclasses.replace(target, reflections=same, factor=0.8 * target.factor)
    own = shell.at_own_scale(f_calc)
    assert own.by_structure_factor(f_calc)[0] < shell.by_structure_factor(f_calc)[0]
    assert np.isfinite(own.d).all()
    assert abs(np.log(own.d / shell.d)).max() < 0.5 + 0.25 * 20.0 * same.s_squared.max()


def test_each_shell_has_the_curvature_of_its_own_reflections() -> None:
    """What the whole target has in the first, in one between, and in the last is there with these reflections only."""
    target, atoms, _ = _target("gaussian", count=1200)
    target = dataclasses.replace(target, left_out=np.zeros(len(target.reflections), dtype=bool))
    f_calc, data = target.f_calc(atoms), target.reflections
    middle, whole = target.expected_curvature(f_calc)
    shell = np.minimum((data.s_squared / (2.0 * middle[0])).astype(int), len(middle) - 1)
    assert middle[-1] + middle[0] == pytest.approx(data.s_squared.max())
    for k in (1, 7, len(middle) - 1):
        _, found = dataclasses.replace(target, left_out=shell != k).expected_curvature(f_calc)
        assert found[k] > 0.0
        assert found[k] == pytest.approx(whole[k])
        assert not np.delete(found, k).any()


def test_where_no_step_helps_the_scale_stays_and_a_slow_descent_ends() -> None:
    start, far = np.array([0.5]), np.array([10.0])

    def wrong_way(p: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        return float(p @ p), -2.0 * p, np.diag(2.0 + 0.0 * p)

    def sixth_power(p: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        seen.append(float(p[0]))
        return float(p[0] ** 6), 6.0 * p**5, np.diag(30.0 * p**4)

    seen: list[float] = []
    assert _least(wrong_way, start, far).tolist() == start.tolist()
    assert _least(sixth_power, far, far)[0] == pytest.approx(10.0 * 0.8**20)  # each step is a fifth of what is left
    assert len(seen) == 21
