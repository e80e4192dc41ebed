"""CUDA kernels of the likelihood against their NumPy twins, on the emulated device."""

from __future__ import annotations

from itertools import product
from types import ModuleType

import emulator
import numpy as np
import pytest
from scipy.special import i0e, i1e

from arrayrefine.kernels import likelihood, likelihood_cuda
from arrayrefine.kernels.backend import launch_counts, reset_launch_counts, to_device, to_host
from arrayrefine.kernels.phased_likelihood import phase_moments, phased_ml


def _awkward(n: int = 300) -> tuple[np.ndarray, ...]:
    """Zeros, tiny and huge amplitudes and variances in all combinations, and random ones."""
    rng = np.random.default_rng(1)
    sizes = (0.0, 1e-12, 1.0, 7.0, 1e8)
    grid = np.array(list(product(sizes, sizes, (1e-12, 1.0, 1e16), (0.0, 1.0)))).T
    f_obs, x = rng.uniform(0.0, 30.0, (2, n))
    variance = 10.0 ** rng.uniform(-3.0, 3.0, n)
    made = np.c_[grid, [f_obs, x, variance, rng.random(n) < 0.5]]
    return (*made[:3], made[3].astype(bool))


def _close(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-12) -> None:
    assert found.shape == np.shape(expected)
    assert np.isfinite(found).all()
    assert np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected)


def test_bessel_functions_to_thirteen_digits(emulated_cuda: ModuleType) -> None:
    edge = 8.0
    argument = np.r_[
        0.0, np.geomspace(1e-300, 1e300, 400), np.linspace(0.0, 30.0, 700), edge, np.nextafter(edge, 9), 300.0
    ]
    found = [to_host(a) for a in likelihood_cuda.scaled_bessel(to_device(argument))]
    np.testing.assert_allclose(found[0], i0e(argument), rtol=1e-13, atol=0)
    np.testing.assert_allclose(found[1], i1e(argument), rtol=1e-13, atol=0)
    assert (found[1] <= found[0]).all()


def test_elementwise_functions_agree_with_numpy(emulated_cuda: ModuleType) -> None:
    f_obs, x, variance, centric = _awkward()
    on_device = [to_device(a) for a in (f_obs, x, variance, centric)]
    expected = likelihood.rice_ml(f_obs, x, variance, centric)
    found = likelihood.rice_ml(*on_device)
    # where 1 - m/X - m² cancels, and where x - mF does, only the size of the parts can be kept
    parts = (
        np.abs(expected[0]) + (f_obs - x) ** 2 / variance, (x + f_obs) / variance,
        2.0 / variance + (0.1 * f_obs / variance) ** 2, np.ones_like(x),
    )  # fmt: skip
    for one, two, size in zip(found, expected, parts):
        assert (np.abs(to_host(one) - two) <= 1e-12 * size).all()
    by_variance = likelihood.rice_ml_by_variance(*on_device, found[3])
    wanted = likelihood.rice_ml_by_variance(f_obs, x, variance, centric, to_host(found[3]))
    np.testing.assert_allclose(to_host(by_variance), wanted, rtol=1e-12)
    for one, two in zip(likelihood.gaussian(*on_device[:3]), likelihood.gaussian(f_obs, x, variance)):
        np.testing.assert_allclose(to_host(one), two, rtol=1e-13)


def _target_data(n_models: int, n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    f_calc = rng.normal(0.0, 20.0, (n_models, n)) + 1j * rng.normal(0.0, 20.0, (n_models, n))
    solvent = rng.normal(0.0, 3.0, n) + 1j * rng.normal(0.0, 3.0, n)
    f_calc[:, : n // 10] = -solvent[: n // 10]  # no amplitude, no phase
    f_obs = np.abs(f_calc[0] + solvent) * rng.normal(1.0, 0.3, n).clip(0.0)
    f_obs[n // 20 : n // 5] = 0.0
    f_obs[-3:] *= 1e5
    return {
        "f_calc": f_calc, "solvent": solvent, "factor": rng.uniform(0.5, 1.5, n), "d": rng.uniform(0.1, 1.0, n),
        "f_obs": f_obs, "spread": 10.0 ** rng.uniform(-2.0, 3.0, n), "centric": rng.random(n) < 0.3,
        "work": rng.random(n) < 0.9,
    }  # fmt: skip


def _expected(data: dict[str, np.ndarray], kind: str) -> tuple[float, np.ndarray]:
    """The target of one model from the elementwise functions."""
    total = data["f_calc"] + data["solvent"]
    amplitude = np.abs(total)
    chain = data["factor"] * (data["d"] if kind == "ml" else 1.0)
    if kind == "ml":
        value, slope, _, _ = likelihood.rice_ml(data["f_obs"], chain * amplitude, data["spread"], data["centric"])
    else:
        value, slope, _ = likelihood.gaussian(data["f_obs"], chain * amplitude, data["spread"])
    unit = total / np.where(amplitude > 0, amplitude, 1.0)
    work = data["work"]
    return float(value[work].sum()), np.where(work, slope * chain, 0.0) * unit


@pytest.mark.parametrize("kind", ["ml", "gaussian"])
@pytest.mark.parametrize(("n_models", "n"), [(1, 700), (3, 700), (1, 1), (3, 256), (1, 0)])
def test_xray_target_of_a_batch(emulated_cuda: ModuleType, kind: str, n_models: int, n: int) -> None:
    data = _target_data(n_models, n)
    f_calc, *rest = (to_device(a) for a in data.values())
    out = likelihood_cuda.xray_buffers(emulated_cuda, n_models, n)
    reset_launch_counts()
    value, d_f = (to_host(a) for a in likelihood_cuda.xray_target(f_calc, *rest, kind, out))
    assert sum(launch_counts().values()) <= 2
    for m in range(n_models):
        total, slope = _expected({**data, "f_calc": data["f_calc"][m]}, kind)
        assert value[m] == pytest.approx(total, rel=1e-12)
        _close(d_f[m], slope)
    with emulator.reversed_order():
        again = [to_host(a) for a in likelihood_cuda.xray_target(f_calc, *rest, kind)]
    assert np.array_equal(value, again[0])
    assert np.array_equal(d_f, again[1])


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(("n_models", "n"), [(1, 300), (3, 300), (1, 1), (1, 0)])
def test_xray_target_with_known_phases(emulated_cuda: ModuleType, own: bool, n_models: int, n: int) -> None:
    data, rng = _target_data(n_models, n), np.random.default_rng(5)
    data["f_obs"][-3:] *= 1e-5  # exponents of 1e8 have no digits left for a comparison
    known = rng.normal(0.0, 2.0, (n_models, n, 4)) * rng.integers(0, 2, (n_models, n, 1))
    known[:, :, 2:] *= ~data["centric"][:, None]
    known = known if own else known[:1].repeat(n_models, axis=0)
    norm = np.stack([phase_moments(one)[0] for one in known])
    table = np.concatenate([known, norm[:, :, None]], axis=2)
    given = [to_device(a) for a in data.values()]
    value, d_f = (
        to_host(a) for a in likelihood_cuda.xray_target(*given, known=to_device(table if own else table[0].copy()))
    )
    work, chain = data["work"], data["factor"] * data["d"]
    for m in range(n_models):
        expected = chain * (data["f_calc"][m] + data["solvent"])
        nll, by_z, _, _ = phased_ml(data["f_obs"], expected, data["spread"], data["centric"], known[m], norm[m])
        assert value[m] == pytest.approx(float(nll[work].sum()), rel=1e-12)
        _close(d_f[m], np.where(work, by_z, 0.0) * chain)


def test_known_phases_of_another_shape_or_kind_are_refused(emulated_cuda: ModuleType) -> None:
    data = [to_device(a) for a in _target_data(1, 30).values()]
    with pytest.raises(ValueError, match=r"known phases have the shape \(30, 4\), expected \(30, 5\)"):
        likelihood_cuda.xray_target(*data, known=emulated_cuda.zeros((30, 4)))
    with pytest.raises(ValueError, match="known phases are of the likelihood 'ml', found 'gaussian'"):
        likelihood_cuda.xray_target(*data, "gaussian", known=emulated_cuda.zeros((30, 5)))


@pytest.mark.parametrize("own", ["solvent", "factor", "d", "f_obs", "spread", "centric", "work"])
def test_arrays_with_a_row_for_each_model(emulated_cuda: ModuleType, own: str) -> None:
    data = _target_data(3, 90)
    rng = np.random.default_rng(3)
    rows = rng.random((3, 90)) < 0.5 if data[own].dtype == bool else data[own] * rng.uniform(0.7, 1.3, (3, 90))
    given = {**data, own: rows}
    value, d_f = (to_host(a) for a in likelihood_cuda.xray_target(*(to_device(a) for a in given.values())))
    for m in range(3):
        total, slope = _expected({**data, "f_calc": data["f_calc"][m], own: rows[m]}, "ml")
        assert value[m] == pytest.approx(total, rel=1e-12)
        _close(d_f[m], slope)


def test_one_model_without_a_batch_axis(emulated_cuda: ModuleType) -> None:
    data = _target_data(1, 100)
    data["f_calc"] = data["f_calc"][0]
    f_calc, *rest = (to_device(a) for a in data.values())
    value, d_f = likelihood_cuda.xray_target(f_calc, *rest)
    assert value.shape == ()
    assert float(value) == pytest.approx(_expected(data, "ml")[0], rel=1e-12)
    assert d_f.shape == (100,)
    rest[1] = None  # the scale of a Gaussian needs no D
    gaussian = likelihood_cuda.xray_target(f_calc, rest[0], to_device(data["factor"]), None, *rest[3:], "gaussian")
    assert float(gaussian[0]) == pytest.approx(_expected(data, "gaussian")[0], rel=1e-12)


def test_reflections_outside_the_work_set_may_hold_anything(emulated_cuda: ModuleType) -> None:
    data = _target_data(1, 100)
    plain = likelihood_cuda.xray_target(*(to_device(a) for a in data.values()))
    out = ~data["work"]
    for name in ("f_obs", "spread", "factor"):
        data[name] = np.where(out, np.nan, data[name])
    spoilt = likelihood_cuda.xray_target(*(to_device(a) for a in data.values()))
    for one, two in zip(plain, spoilt):
        assert np.array_equal(to_host(one), to_host(two))


def test_the_target_can_be_captured(emulated_cuda: ModuleType) -> None:
    data = _target_data(2, 300)
    f_calc, *rest = (to_device(a) for a in data.values())
    out = likelihood_cuda.xray_buffers(emulated_cuda, 2, 300)
    expected = to_host(likelihood_cuda.xray_target(f_calc, *rest)[0])
    stream = emulated_cuda.cuda.Stream()
    with stream:
        stream.begin_capture()
        value, _ = likelihood_cuda.xray_target(f_calc, *rest, "ml", out)
        graph = stream.end_capture()
        graph.launch(stream)
    assert np.array_equal(to_host(value), expected)


def test_wrong_arguments_are_named(emulated_cuda: ModuleType) -> None:
    data = [to_device(a) for a in _target_data(2, 30).values()]
    with pytest.raises(ValueError, match="kind of likelihood is 'rice'"):
        likelihood_cuda.xray_target(*data, "rice")
    with pytest.raises(ValueError, match=r"argument 2 has the shape \(30,\), expected \(29,\)"):
        likelihood_cuda.xray_target(emulated_cuda.ascontiguousarray(data[0][:, :29]), *data[1:])
    with pytest.raises(ValueError, match=r"buffers for \(3, 30\) \(models, reflections\), f_calc has \(2, 30\)"):
        likelihood_cuda.xray_target(*data, "ml", likelihood_cuda.xray_buffers(emulated_cuda, 3, 30))
    one, other = to_device(np.ones(30)), to_device(np.ones(29))
    with pytest.raises(ValueError, match=r"arrays of one shape are needed, found \(30,\) and \(29,\)"):
        likelihood_cuda.gaussian(one, other, one)
    with pytest.raises(ValueError, match="needs d"):
        likelihood_cuda.xray_target(*data[:3], None, *data[4:])
