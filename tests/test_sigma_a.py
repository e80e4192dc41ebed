"""Estimation of D and S: known values recovered, and behaviour without enough data."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from arrayrefine.crystal import Crystal
from arrayrefine.errors import InputError
from arrayrefine.io import read_model, read_reflections
from arrayrefine.kernels.likelihood import rice_ml
from arrayrefine.reflections import Reflections
from arrayrefine.scaling import fit_scale
from arrayrefine.sigma_a import (
    MOST_WORK,
    _Fit,
    _maximise,
    _sample,
    estimate_sigma_a,
)
from arrayrefine.sigma_a_curves import interpolation, prior_at, widened
from arrayrefine.solvent import solvent_structure_factors
from arrayrefine.structure_factors import StructureFactors

CELL = Crystal((52.0, 58.0, 61.0, 90.0, 90.0, 90.0), "P 21 21 21")


def wilson_mean(x):
    return 4e4 * np.exp(-0.5 * 25.0 * x)


def falling_d(x):
    return 0.98 - 0.25 * x / 0.25


def rising_ratio(x):
    return 0.06 + 0.5 * x / 0.25


def made_up(n_free, d=falling_d, ratio=rising_ratio, seed=0, d_min=2.0, noise=0.03, b_aniso=None):
    """Amplitudes drawn from the distribution: |D F_c + error of the model + error of measurement|."""
    rng = np.random.default_rng(seed)
    hkl = CELL.unique_reflections(d_min, 40.0)
    n, x = len(hkl), CELL.inverse_d_squared(hkl)
    epsilon, centric = CELL.epsilon(hkl), CELL.centric(hkl)

    def draw(variance):
        real = rng.standard_normal(n)
        imaginary = rng.standard_normal(n)
        return np.where(centric, np.sqrt(variance) * real, np.sqrt(variance / 2) * (real + 1j * imaginary))

    strength = 1.0 if b_aniso is None else CELL.anisotropic_factor(hkl, b_aniso)
    s = ratio(x) * wilson_mean(x)
    # The model's own intensity makes the total that of the shell.
    power = np.maximum(wilson_mean(x) - s, 1e-3 * wilson_mean(x)) / np.maximum(d(x), 0.05) ** 2
    f_model = strength * draw(epsilon * power)
    sigma = noise * np.sqrt(wilson_mean(x))
    # (3 - c) σ² is the variance of the complex value for acentric, of the real one for centric reflections.
    measured = draw(np.where(centric, 1.0, 2.0) * sigma**2)
    f_obs = np.abs(d(x) * f_model + strength * draw(epsilon * s) + measured)
    free = np.zeros(n, dtype=bool)
    free[rng.permutation(n)[:n_free]] = True
    return Reflections(CELL, hkl, f_obs, sigma, free), f_model


@pytest.mark.parametrize(("n_free", "tolerance"), [(200, 0.12), (700, 0.08), (2000, 0.05)])
def test_known_values_are_recovered(n_free, tolerance):
    errors_d, errors_s = [], []
    for seed in range(4):
        reflections, f_model = made_up(n_free, seed=seed)
        estimate = estimate_sigma_a(reflections, f_model)
        x = np.linspace(0.02, 0.24, 40)
        errors_d.append(estimate.d(x) - falling_d(x))
        errors_s.append(np.log(estimate.s(x) / (rising_ratio(x) * wilson_mean(x))))
        assert not estimate.notes
    assert np.sqrt(np.mean(np.square(errors_d))) < tolerance
    assert abs(np.mean(errors_d)) < 0.5 * tolerance
    assert np.sqrt(np.mean(np.square(errors_s))) < 4.0 * tolerance
    assert abs(np.mean(errors_s)) < 2.0 * tolerance


def test_the_truth_is_hardly_more_likely_than_the_estimate():
    reflections, f_model = made_up(2000)
    estimate = estimate_sigma_a(reflections, f_model)
    x, free = reflections.s_squared, reflections.free
    measured = np.where(reflections.centric, 1.0, 2.0) * reflections.sigma**2
    truth = reflections.epsilon * rising_ratio(x) * wilson_mean(x) + measured

    def mean_nll(d, variance, part):
        values = rice_ml(reflections.f_obs, d * np.abs(f_model), variance, reflections.centric)[0]
        return values[part].mean()

    total = estimate.sigma_total(reflections)
    assert mean_nll(estimate.d(x), total, free) < mean_nll(falling_d(x), truth, free) + 1e-3
    # Reflections that had no part in the estimate.
    assert mean_nll(estimate.d(x), total, ~free) < mean_nll(falling_d(x), truth, ~free) + 0.02


def test_the_error_of_the_model_is_as_anisotropic_as_the_data():
    tensor = np.diag([-12.0, 4.0, 8.0])
    reflections, f_model = made_up(1500, b_aniso=tensor)
    x = reflections.s_squared
    k = CELL.anisotropic_factor(reflections.hkl, tensor)
    estimate = estimate_sigma_a(reflections, f_model, b_aniso=tensor)
    isotropic = estimate_sigma_a(reflections, f_model)
    measured = np.where(reflections.centric, 1.0, 2.0) * reflections.sigma**2
    truth = reflections.epsilon * k**2 * rising_ratio(x) * wilson_mean(x) + measured
    inside = x > 0.03

    def error(found):
        return np.sqrt(np.mean(np.log(found.sigma_total(reflections) / truth)[inside] ** 2))

    assert error(estimate) < 0.15
    assert error(isotropic) > 3.0 * error(estimate)
    np.testing.assert_allclose(estimate.s(x[inside]), (rising_ratio(x) * wilson_mean(x))[inside], rtol=0.4)

    def of_work(found):
        nll = rice_ml(
            reflections.f_obs, found.d(x) * np.abs(f_model), found.sigma_total(reflections), reflections.centric
        )[0]
        return nll[reflections.work].mean()

    assert of_work(estimate) < of_work(isotropic) - 0.05


def test_estimate_is_the_maximum():
    reflections, f_model = made_up(500)
    estimate = estimate_sigma_a(reflections, f_model)
    used = reflections.free
    x = reflections.s_squared
    mean = np.exp(np.interp(x, estimate.shells, estimate.log_mean_intensity))
    work = _sample(reflections.work, x, MOST_WORK)
    parts = (reflections.f_obs, np.abs(f_model), reflections.epsilon * mean)
    parts += (np.where(reflections.centric, 1.0, 2.0) * reflections.sigma**2, reflections.centric)
    shape = _Fit(*(part[work] for part in parts), interpolation(x[work], estimate.knots), prior_at(estimate.knots))
    p_work = np.concatenate(_maximise(shape, len(estimate.knots))[:2])
    fit = _Fit(
        reflections.f_obs[used],
        np.abs(f_model)[used],
        (reflections.epsilon * mean)[used],
        (np.where(reflections.centric, 1.0, 2.0) * reflections.sigma**2)[used],
        reflections.centric[used],
        interpolation(x[used], estimate.knots),
        widened(estimate.knots, p_work),
    )
    p = np.concatenate([estimate.d_knots, estimate.log_ratio])
    assert fit.value(p) == pytest.approx(-estimate.log_likelihood, rel=1e-12)
    rng = np.random.default_rng(3)
    for size in (1e-3, 1e-2, 0.1):
        for _ in range(10):
            assert fit.value(p + size * rng.standard_normal(len(p))) > fit.value(p)
    gradient, hessian, _ = fit.newton(p + 0.02)
    for i in range(len(p)):
        h = np.zeros(len(p))
        h[i] = 1e-4
        numeric = (fit.value(p + 0.02 + h) - fit.value(p + 0.02 - h)) / 2e-4
        assert gradient[i] == pytest.approx(numeric, rel=1e-4, abs=1e-3)
        column = (fit.newton(p + 0.02 + h)[0] - fit.newton(p + 0.02 - h)[0]) / 2e-4
        np.testing.assert_allclose(hessian[:, i], column, rtol=1e-3, atol=1e-2 * np.abs(hessian).max() ** 0.5)


def overfitted(reflections, f_model, share):
    """Amplitudes of a model that has come closer to the measured work reflections by a share of the difference."""
    closer = np.abs(f_model) + share * (reflections.f_obs - np.abs(f_model))
    return np.where(reflections.work, closer, np.abs(f_model))


@pytest.mark.parametrize(("n_free", "tolerance"), [(20, 0.45), (50, 0.35), (200, 0.3), (700, 0.2)])
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_the_level_comes_from_the_test_set(n_free, tolerance, share):
    """Whether or not the model has been fitted to the work set, S is that of reflections it has not been fitted to."""
    errors = []
    for seed in range(6):
        reflections, f_model = made_up(n_free, seed=seed)
        estimate = estimate_sigma_a(reflections, overfitted(reflections, f_model, share))
        x = np.linspace(0.02, 0.24, 40)
        errors.append(np.log(estimate.s(x) / (rising_ratio(x) * wilson_mean(x))))
    assert np.sqrt(np.mean(np.square(errors))) < tolerance
    assert abs(np.mean(errors)) < 0.7 * tolerance


def test_bins_follow_the_work_set_and_count_the_test_set():
    for n_free in (2000, 400, 20):
        reflections, f_model = made_up(n_free)
        estimate = estimate_sigma_a(reflections, f_model)
        assert 10 <= len(estimate.knots) <= 20
        assert estimate.count.sum() == n_free
        assert not estimate.notes
    assert len(estimate_sigma_a(*made_up(2000), max_bins=3).knots) == 3
    assert len(estimate_sigma_a(*made_up(2000), max_bins=1).knots) == 1


def test_a_single_test_reflection_is_said_as_one():
    assert estimate_sigma_a(*made_up(1)).notes[0].startswith("sigma_A: 1 test reflection is too few")


@pytest.mark.parametrize("n_free", [0, 5])
def test_too_few_test_reflections_are_replaced_and_said(n_free):
    reflections, f_model = made_up(n_free)
    estimate = estimate_sigma_a(reflections, f_model)
    assert f"sigma_A: {n_free} test reflections are too few" in estimate.notes[0]
    assert estimate.count.sum() == n_free
    assert estimate.d(np.array([0.1]))[0] == pytest.approx(falling_d(0.1), abs=0.05)
    # Wider than what the work set says, as that has been fitted.
    x = np.linspace(0.02, 0.24, 40)
    assert 0.0 < np.log(estimate.s(x) / (rising_ratio(x) * wilson_mean(x))).mean() < 0.7


def test_a_few_bad_test_reflections_do_not_widen_it():
    reflections, f_model = made_up(100)
    clean = estimate_sigma_a(reflections, f_model, improbable=1e-6)
    f_obs = reflections.f_obs.copy()
    weak = np.flatnonzero(reflections.free)[np.argsort(f_obs[reflections.free])[:3]]
    f_obs[weak] = 5.0 * np.sqrt(wilson_mean(reflections.s_squared[weak]))
    spoilt = dataclasses.replace(reflections, f_obs=f_obs)
    x = reflections.s_squared
    wide = np.median(estimate_sigma_a(spoilt, f_model).s(x) / clean.s(x))
    assert wide > 1.2
    np.testing.assert_allclose(estimate_sigma_a(spoilt, f_model, improbable=1e-6).s(x), clean.s(x), rtol=0.15)


def test_all_reflections_free():
    reflections, f_model = made_up(100)
    everything = dataclasses.replace(reflections, free=np.ones(len(reflections), dtype=bool))
    assert estimate_sigma_a(everything, f_model).count.sum() == len(reflections)


def test_a_useless_model_gets_no_weight():
    reflections, _ = made_up(1000, d=lambda x: 0.0 * x, ratio=lambda x: 1.0 + 0.0 * x)
    rng = np.random.default_rng(9)
    size = np.sqrt(wilson_mean(reflections.s_squared))
    f_model = size * (rng.standard_normal(len(size)) + 1j * rng.standard_normal(len(size))) / np.sqrt(2)
    estimate = estimate_sigma_a(reflections, f_model)
    x = reflections.s_squared
    assert estimate.d(x).mean() < 0.25
    assert np.median(estimate.s(x) / wilson_mean(x)) == pytest.approx(1.0, abs=0.15)
    assert estimate.fom(reflections, f_model).mean() < 0.3


def test_a_perfect_model_stays_finite():
    reflections, f_model = made_up(1000, d=lambda x: 1.0 + 0 * x, ratio=lambda x: 0 * x + 1e-9, noise=1e-4)
    exact = dataclasses.replace(reflections, f_obs=np.abs(f_model), sigma=1e-4 * reflections.f_obs + 1e-6)
    estimate = estimate_sigma_a(exact, f_model)
    np.testing.assert_allclose(estimate.d_knots, 1.0, atol=0.01)
    assert (estimate.s(exact.s_squared) > 0).all()
    assert estimate.fom(exact, f_model).mean() > 0.98


@pytest.mark.parametrize("factor", [0.0, 1e-6, 0.3, 30.0, 1e6])
def test_badly_scaled_models_stay_within_the_limits(factor):
    reflections, f_model = made_up(500)
    estimate = estimate_sigma_a(reflections, factor * f_model)
    assert (estimate.d_knots > 0).all()
    assert (estimate.d_knots <= 1.2).all()
    total = estimate.sigma_total(reflections)
    assert np.isfinite(total).all()
    assert (total > 0).all()
    assert np.isfinite(estimate.fom(reflections, factor * f_model)).all()


def test_outliers_are_left_out_and_counted():
    reflections, f_model = made_up(700)
    clean = estimate_sigma_a(reflections, f_model)
    f_obs = reflections.f_obs.copy()
    strong = np.nonzero(reflections.free)[0][:5]
    f_obs[strong] += 200.0 * np.sqrt(wilson_mean(reflections.s_squared[strong]))
    estimate = estimate_sigma_a(dataclasses.replace(reflections, f_obs=f_obs), f_model)
    assert "5 of 700 test reflections" in estimate.notes[0]
    x = reflections.s_squared
    np.testing.assert_allclose(estimate.s(x), clean.s(x), rtol=0.2)


def test_units_of_the_data_do_not_matter():
    reflections, f_model = made_up(500)
    clean = estimate_sigma_a(reflections, f_model)
    large = dataclasses.replace(reflections, f_obs=1e5 * reflections.f_obs, sigma=1e5 * reflections.sigma)
    estimate = estimate_sigma_a(large, 1e5 * f_model)
    np.testing.assert_allclose(estimate.d_knots, clean.d_knots, rtol=1e-4)
    np.testing.assert_allclose(estimate.s(estimate.knots), 1e10 * clean.s(clean.knots), rtol=1e-3)


def test_a_handful_of_reflections():
    reflections, f_model = made_up(3)
    few = np.zeros(len(reflections), dtype=bool)
    few[:4] = True
    estimate = estimate_sigma_a(reflections.select(few), f_model[few])
    assert np.isfinite(estimate.sigma_total(reflections)).all()
    assert json.loads(json.dumps(estimate.describe(), allow_nan=False))[0]["reflections"] > 0


def test_nothing_to_estimate_from_is_an_error():
    reflections, f_model = made_up(100)
    none = np.zeros(len(reflections), dtype=bool)
    with pytest.raises(InputError, match="found none"):
        estimate_sigma_a(reflections.select(none), f_model[none])
    f_model = f_model.copy()
    f_model[7] = np.inf
    with pytest.raises(InputError, match="not finite for 1 reflections"):
        estimate_sigma_a(reflections, f_model)


@pytest.mark.parametrize(("name", "bins", "fom"), [("1aba", 5, 0.85), ("5e5z", 1, 0.8), ("1rx2", 8, 0.88)])
def test_real_crystals(case, name, bins, fom):
    folder = case(name)
    model = read_model(folder / "model.pdb")
    reflections, _ = read_reflections(folder / "norm.mtz", model.crystal)
    f_calc = StructureFactors(reflections.crystal, reflections.hkl, model.atoms)(model.atoms)
    f_mask = solvent_structure_factors(model.atoms, reflections.crystal, reflections.hkl, reflections.d_min)
    f_model = fit_scale(reflections, f_calc, f_mask).apply(f_calc, f_mask, reflections.hkl)
    estimate = estimate_sigma_a(reflections, f_model)
    assert len(estimate.knots) >= bins
    assert ((estimate.d_knots > 0.8) & (estimate.d_knots < 1.1)).all()
    assert (np.exp(estimate.log_ratio) < 0.25).all()
    assert estimate.fom(reflections, f_model).mean() > fom
    # A model that is wrong everywhere must be trusted less.
    shaken = np.abs(f_model) * (1.0 + 0.4 * np.random.default_rng(0).standard_normal(len(f_model)))
    worse = estimate_sigma_a(reflections, shaken)
    assert worse.s(worse.knots).mean() > 1.5 * estimate.s(estimate.knots).mean()
    assert worse.fom(reflections, shaken).mean() < estimate.fom(reflections, f_model).mean()


def test_a_near_start_ends_at_the_same_place() -> None:
    reflections, f_model = made_up(2000)
    first = estimate_sigma_a(reflections, f_model)
    nearly = f_model * np.random.default_rng(5).normal(1.0, 0.01, len(f_model))
    cold, warm = estimate_sigma_a(reflections, nearly), estimate_sigma_a(reflections, nearly, start=first)
    np.testing.assert_allclose(warm.d_knots, cold.d_knots, atol=2e-4)
    np.testing.assert_allclose(warm.log_ratio, cold.log_ratio, atol=2e-3)
    fewer = estimate_sigma_a(reflections, nearly, max_bins=3, start=first)  # other knots: it begins anew
    np.testing.assert_array_equal(fewer.d_knots, estimate_sigma_a(reflections, nearly, max_bins=3).d_knots)


def test_where_no_step_raises_the_posterior_the_start_is_kept() -> None:
    class Uphill:
        """Its gradient points the wrong way, so that steps of all lengths make it worse."""

        prior = (np.array([0.5, 0.0]), np.eye(2))

        def value(self, p: np.ndarray) -> float:
            return float(((p - self.prior[0]) ** 2).sum())

        def newton(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            return np.array([1.0, 1.0]), np.eye(2), np.ones(2)

    d, log_ratio, value = _maximise(Uphill(), 1)  # type: ignore[arg-type]
    assert (d.tolist(), log_ratio.tolist(), value) == ([0.5], [0.0], 0.0)
