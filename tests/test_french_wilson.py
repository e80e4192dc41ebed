"""French-Wilson against numerical integration, at its limits, and on real intensities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad

from arrayrefine.io.models.reading import read_model
from arrayrefine.io.reflections.french_wilson import REJECT_BELOW, french_wilson, posterior, wilson_mean
from arrayrefine.io.reflections.reading import read_reflections

H = np.array([-1e4, -200.0, -40.0, -9.0, -4.0, -1.0, 0.0, 0.3, 1.0, 3.0, 8.9, 9.1, 30.0, 300.0, 1e4])


def moments(intensity: float, sigma: float, wilson: float, centric: bool) -> tuple[float, float]:
    """Posterior mean and deviation of F by adaptive integration over F, from prior and likelihood."""

    def log_p(f: float) -> float:
        prior = -f * f / (2.0 * wilson) if centric else np.log(f) - f * f / wilson
        return prior - 0.5 * ((f * f - intensity) / sigma) ** 2

    grid = np.linspace(1e-9, np.sqrt(max(intensity, 0.0) + 12.0 * sigma + 1e-12), 20001)
    values = np.array([log_p(f) for f in grid])
    top = values.max()
    inside = grid[values > top - 45.0]
    low, high = max(inside[0] - grid[1], 1e-12), inside[-1] + grid[1]
    peak = grid[values.argmax()]
    settings = {"epsabs": 0.0, "epsrel": 1e-10, "limit": 400, "points": [peak]}
    norm = quad(lambda f: np.exp(log_p(f) - top), low, high, **settings)[0]
    mean = quad(lambda f: f * np.exp(log_p(f) - top), low, high, **settings)[0] / norm
    variance = quad(lambda f: (f - mean) ** 2 * np.exp(log_p(f) - top), low, high, **settings)[0] / norm
    return mean, float(np.sqrt(variance))


@pytest.mark.parametrize("centric", [False, True])
@pytest.mark.parametrize("intensity", [-3.0, -0.5, 0.0, 0.7, 4.0, 40.0])
@pytest.mark.parametrize("wilson", [0.3, 5.0, 200.0])
def test_posterior_agrees_with_integration(intensity: float, wilson: float, centric: bool) -> None:
    sigma = 1.7
    h = (intensity - sigma**2 / (wilson * (2.0 if centric else 1.0))) / sigma
    mean, deviation = (v[0] * np.sqrt(sigma) for v in posterior(np.array([h]), np.array([centric])))
    expected_mean, expected_deviation = moments(intensity, sigma, wilson, centric)
    assert mean == pytest.approx(expected_mean, rel=1e-6)
    assert deviation == pytest.approx(expected_deviation, rel=1e-6)


def test_limits_at_both_ends() -> None:
    for centric in (False, True):
        mean, deviation = posterior(H, np.full(H.shape, centric))
        assert (np.diff(mean) > 0.0).all()
        assert (deviation > 0.0).all()
    # far above the noise F = sqrt(I), sigma_F = sigma_I / 2F; also across the change to the closed form
    big = np.array([1e5, 9.99e5, 1.001e6, 1e12])
    mean, deviation = posterior(big, np.array([False, True, False, True]))
    np.testing.assert_allclose(mean, np.sqrt(big), rtol=1e-9)
    np.testing.assert_allclose(deviation, 0.5 / np.sqrt(big), rtol=1e-8)
    # far below only the prior and exp(hz) are left: <√z> = Γ(ν+1/2) / Γ(ν) / √-h
    mean, _ = posterior(np.array([-1e6, -1e6]), np.array([False, True]))
    np.testing.assert_allclose(mean * 1e3, [np.sqrt(np.pi) / 2.0, 1.0 / np.sqrt(np.pi)], rtol=1e-6)


def test_strong_negatives_are_rejected_and_nothing_else() -> None:
    rng = np.random.default_rng(3)
    count = 2000
    sigma = np.full(count, 2.0)
    intensity = rng.exponential(10.0, count) + rng.normal(0.0, 2.0, count)
    intensity[:3] = [-7.5, -7.3, -100.0]
    centric = np.arange(count) % 5 == 0
    f, sigma_f, keep = french_wilson(intensity, sigma, np.linspace(0.01, 0.2, count), np.ones(count), centric)
    assert np.flatnonzero(~keep).tolist() == np.flatnonzero(intensity / sigma < REJECT_BELOW).tolist()
    assert {0, 2} <= set(np.flatnonzero(~keep).tolist())
    assert keep[1]
    assert np.isfinite(f).all()
    assert (f > 0.0).all()
    assert (sigma_f > 0.0).all()


def test_where_all_are_strong_negatives_none_is_kept() -> None:
    f, sigma_f, keep = french_wilson(np.full(5, -9.0), np.ones(5), np.full(5, 0.1), np.ones(5), np.arange(5) > 2)
    assert not keep.any()
    assert not f.any()
    assert not sigma_f.any()


def test_wilson_mean_follows_resolution_and_withstands_outliers() -> None:
    rng = np.random.default_rng(5)
    s_squared = np.sort(rng.uniform(0.01, 0.4, 20000))
    truth = 500.0 * np.exp(-10.0 * s_squared)
    intensity = truth * rng.exponential(1.0, len(truth))
    intensity[::2000] = 1e9
    every, alike = np.ones(len(truth), dtype=bool), np.ones(len(truth))
    found = wilson_mean(intensity, np.full(len(truth), 0.1), s_squared, every, alike)
    assert np.median(np.abs(found / truth - 1.0)) < 0.06
    assert np.abs(found / truth - 1.0).max() < 0.6


def test_the_mean_leaves_out_what_is_beyond_ten_times_it_and_five_sigma_as_strong_as_a_reflection_should_be() -> None:
    factor = np.where(np.arange(100) % 2, 4.0, 1.0)
    intensity, sigma = 2.0 * factor, np.full(100, 0.1)
    intensity[:3], sigma[2] = (30.0, 60.0, 30.0), 2.0  # only the first is beyond: its factor and sigma are small
    level = intensity.sum() / factor.sum()
    assert 10.0 * level + 0.5 < 30.0 < 10.0 * level + 10.0
    found = wilson_mean(intensity, sigma, np.linspace(0.1, 0.2, 100), np.ones(100, dtype=bool), factor)
    np.testing.assert_allclose(found, intensity[1:].sum() / factor[1:].sum())


def test_noise_without_signal_still_gives_a_positive_mean() -> None:
    rng = np.random.default_rng(7)
    noise = rng.normal(-0.5, 1.0, 1000)
    found = wilson_mean(noise, np.ones(1000), np.linspace(0.1, 0.2, 1000), np.ones(1000, dtype=bool), np.ones(1000))
    assert (found > 0.0).all()


@pytest.mark.parametrize("noise", [20.0, 60.0, 250.0])
def test_simulated_amplitudes_are_recovered_without_bias(noise: float) -> None:
    rng = np.random.default_rng(11)
    count = 30000
    centric = np.arange(count) % 4 == 0
    wilson = 100.0
    normal = rng.normal(size=(count, 2)) * np.sqrt(wilson / 2.0)
    true = np.where(centric, np.abs(normal[:, 0]) * np.sqrt(2.0), np.hypot(*normal.T))
    sigma = np.full(count, noise)
    intensity = true**2 + rng.normal(0.0, sigma)
    f, sigma_f, keep = french_wilson(intensity, sigma, np.linspace(0.01, 0.3, count), np.ones(count), centric)
    for members in (keep & centric, keep & ~centric):
        z = (f - true)[members] / sigma_f[members]
        assert abs(z.mean()) < 0.06
        assert z.std() == pytest.approx(1.0, abs=0.06)
        second = np.mean(f[members] ** 2 + sigma_f[members] ** 2)
        assert second == pytest.approx(wilson, rel=0.06)


def test_a_weak_direction_has_a_mean_of_its_own() -> None:
    rng = np.random.default_rng(13)
    count = 30000
    direction = np.exp(rng.uniform(-3.0, 1.0, count))
    true = np.sqrt(100.0 * direction) * np.hypot(*(rng.normal(size=(2, count)) * np.sqrt(0.5)))
    sigma = np.full(count, 40.0)
    intensity = true**2 + rng.normal(0.0, sigma)
    data = intensity, sigma, np.linspace(0.01, 0.3, count), np.ones(count), np.zeros(count, dtype=bool)
    f, sigma_f, keep = french_wilson(*data, direction)
    alike, *_ = french_wilson(*data)
    weak = keep & (direction < 0.15)
    z = (f - true)[weak] / sigma_f[weak]
    assert abs(z.mean()) < 0.06
    assert z.std() == pytest.approx(1.0, abs=0.06)
    assert np.mean(alike[weak]) > 1.2 * np.mean(true[weak])  # without it, noise passes for signal there


@pytest.mark.parametrize("name", ["hewl_ssad", "br_lcls"])
def test_real_intensities(case: Callable[[str], Path], name: str) -> None:
    folder = case(name)
    data, notes = read_reflections(folder / "norm.mtz", read_model(folder / "model.pdb").crystal)
    assert data.source["kind"] == "intensity"
    assert data.i_obs is not None
    assert data.sigma_i is not None
    assert any("French & Wilson" in note for note in notes)
    assert (data.f_obs > 0.0).all()
    assert (data.sigma > 0.0).all()
    strong = data.i_obs > 10.0 * data.sigma_i
    assert strong.sum() > 1000
    assert np.mean(data.f_obs[strong] ** 2) == pytest.approx(np.mean(data.i_obs[strong]), rel=2e-3)
    np.testing.assert_allclose(data.f_obs[strong], np.sqrt(data.i_obs[strong]), rtol=0.05)
    # the second moment of the posterior keeps the mean intensity in every shell, up to the departure of real
    # intensities from Wilson's statistics, which counts where the noise is as large as the signal
    for shell in np.array_split(np.argsort(data.s_squared), 10):
        weak = np.mean(data.i_obs[shell]) < 5.0 * np.mean(data.sigma_i[shell])
        second = np.mean(data.f_obs[shell] ** 2 + data.sigma[shell] ** 2)
        assert second == pytest.approx(np.mean(data.i_obs[shell]), rel=0.15 if weak else 0.02)
