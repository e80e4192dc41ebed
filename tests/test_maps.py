"""Map coefficients against their formulas, written out one reflection at a time."""

from __future__ import annotations

import numpy as np
import pytest

from arrayrefine.maps import MapCoefficients, map_coefficients

HKL = np.array([[1, 2, 3], [0, 2, 4], [2, 0, 0], [3, 1, 1], [0, 0, 6]])
F_OBS = np.array([10.0, 8.0, 5.0, np.nan, np.nan])
SIGMA = np.array([1.0, 0.5, 0.3, np.nan, np.nan])
FREE = np.array([False, False, True, False, True])  # the last is missing, so its flag must be dropped
FC = np.array([6 + 8j, -7.0 + 0j, 3j, 2 - 2j, 4 + 0j])
FOM = np.array([0.9, 0.8, 0.7, np.nan, 0.6])
D = np.array([0.95, 0.9, 0.85, 0.8, 0.75])
CENTRIC = np.array([False, True, False, False, True])


def coefficients() -> MapCoefficients:
    return map_coefficients(HKL, F_OBS, SIGMA, FREE, FC, FOM, D, CENTRIC)


def test_acentric_work_reflection_is_2mfo_minus_dfc() -> None:
    m = coefficients()
    direction = np.exp(1j * np.angle(FC[0]))
    assert m.fwt[0] == pytest.approx((2 * 0.9 * 10.0 - 0.95 * 10.0) * direction)
    assert m.fwt_nofill[0] == m.fwt[0]
    assert m.delfwt[0] == pytest.approx((0.9 * 10.0 - 0.95 * 10.0) * direction)
    # mFo < DFc: the phase of the difference turns round, the amplitude stays positive
    assert abs(np.angle(m.delfwt[0] / direction)) == pytest.approx(np.pi)


def test_centric_work_reflection_is_mfo() -> None:
    m = coefficients()
    assert m.fwt[1] == pytest.approx(-0.8 * 8.0)
    assert m.delfwt[1] == pytest.approx(-(0.8 * 8.0 - 0.9 * 7.0))


def test_free_reflection_tells_nothing_about_its_amplitude() -> None:
    m = coefficients()
    assert m.free.tolist() == [False, False, True, False, False]
    assert m.fwt[2] == pytest.approx(0.85 * 3j)
    assert m.delfwt[2] == 0
    assert np.isnan(m.fwt_nofill[2])
    changed = map_coefficients(HKL, F_OBS * np.array([1, 1, 7, 1, 1]), SIGMA, FREE, FC, FOM, D, CENTRIC)
    np.testing.assert_array_equal(changed.fwt, m.fwt)
    np.testing.assert_array_equal(changed.delfwt, m.delfwt)


def test_a_rejected_measurement_is_filled_and_stays_listed() -> None:
    rejected = np.arange(len(HKL)) == 0
    m = map_coefficients(HKL, F_OBS, SIGMA, FREE, FC, FOM, D, CENTRIC, rejected)
    assert m.fwt[0] == pytest.approx(0.95 * FC[0])
    assert m.delfwt[0] == 0
    assert np.isnan(m.fwt_nofill[0])
    assert not m.free[0]
    assert m.f_obs[0] == F_OBS[0]
    np.testing.assert_array_equal(m.fwt[1:], coefficients().fwt[1:])


def test_missing_reflections_are_filled_and_left_out_of_the_difference() -> None:
    m = coefficients()
    for i in (3, 4):
        assert m.fwt[i] == pytest.approx(D[i] * FC[i])
        assert np.isnan(m.fwt_nofill[i])
        assert np.isnan(m.delfwt[i])
        assert np.isnan(m.fom[i])
    np.testing.assert_array_equal(m.fc, FC)


def test_zero_model_amplitude_gives_finite_coefficients() -> None:
    m = map_coefficients([[1, 1, 1]], [5.0], [1.0], [False], [0j], [0.0], [0.9], [False])
    assert m.fwt[0] == 0
    assert m.delfwt[0] == 0


def test_perfect_model_has_no_difference_and_the_observed_map() -> None:
    rng = np.random.default_rng(1)
    fc = rng.normal(size=50) + 1j * rng.normal(size=50)
    m = map_coefficients(
        np.ones((50, 3)), abs(fc), np.ones(50), np.zeros(50), fc, np.ones(50), np.ones(50), np.zeros(50)
    )
    np.testing.assert_allclose(m.fwt, fc)
    np.testing.assert_allclose(m.delfwt, 0, atol=1e-12)


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="one length"):
        map_coefficients(HKL, F_OBS[:3], SIGMA, FREE, FC, FOM, D, CENTRIC)
