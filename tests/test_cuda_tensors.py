"""Anisotropic atoms among others on the device against the package's NumPy functions, on the emulated device."""

from __future__ import annotations

from types import ModuleType

import emulator
import numpy as np
import pytest
from synthetic import crystal, random_atoms

from arrayrefine.atoms import Atoms
from arrayrefine.displacements.displacement import EIGHT_PI_SQUARED, parted, total_u
from arrayrefine.kernels import adp_aniso, adp_aniso_cuda, symmetric, tensors_cuda
from arrayrefine.kernels.backend import launch_counts, reset_launch_counts, to_device, to_host
from arrayrefine.scattering.gaussians import Anisotropic
from arrayrefine.targets.adp import Shapes

N, CUTOFF, BLUR = 200, 1e-5, 4.0
BOX = crystal("P 1")


@pytest.fixture(autouse=True)
def _cuda(emulated_cuda: ModuleType) -> None:
    """Every test here runs on the emulator."""


def _model(seed: int) -> Atoms:
    """Atoms with U of all shapes: flat, long, round, and some that are not positive definite."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(N, 3, 3)))[0]
    values = rng.uniform(0.005, 0.5, (N, 3))
    values[:4] = [[0.2, 0.2, 0.2], [-0.3, 0.2, 0.4], [-0.3, -0.2, 0.4], [-0.4, -0.3, -0.2]]
    b_iso, u_aniso = parted(symmetric.six((axes * values[:, None, :]) @ np.swapaxes(axes, -1, -2)))
    return random_atoms(BOX, N, seed).replace(b_iso=b_iso, u_aniso=u_aniso)


def _together(models: list[Atoms], name: str) -> np.ndarray:
    return np.stack([getattr(m, name) for m in models])


@pytest.mark.parametrize("count", [150, 1])
@pytest.mark.parametrize("own", [True, False])
def test_ellipsoids_and_their_adjoint(count: int, own: bool) -> None:
    rng = np.random.default_rng(5)
    models = [_model(0), _model(1)]
    if not own:
        models[1] = models[1].replace(b_iso=models[0].b_iso, u_aniso=models[0].u_aniso)
    index = np.append(np.arange(4), 4 + rng.permutation(N - 4))[:count]
    shift = rng.uniform(-0.2, 3.0, N)
    atoms = [to_device(_together(models, k)) for k in ("xyz", "b_iso", "occupancy")]
    u = to_device(_together(models, "u_aniso") if own else models[0].u_aniso)
    some = to_device(index, np.int32)
    shapes = ((2, count, 3), (2, count), (2, count, 6), (2, count))
    made = tuple(to_device(np.full(s, np.nan)) for s in shapes)
    arguments = some, (*atoms, u), to_device(BOX.frac), to_device(shift), BLUR, CUTOFF
    reset_launch_counts()
    tensors_cuda.ellipsoids(*arguments, made)
    by = [rng.normal(size=s) for s in ((2, count), (2, count, 3), (2, count, 6))]
    kept = [rng.normal(size=s) for s in ((2, N, 3), (2, N), (2, N), (2, N, 6))]
    out = tuple(map(to_device, kept))
    by_gaussian = tuple(map(to_device, by))
    tensors_cuda.ellipsoids_pullback(some, atoms[2], made[2], by_gaussian, out)
    assert sum(launch_counts().values()) == 2
    for m, model in enumerate(models):
        expected = Anisotropic.of(model, index, shift + BLUR, CUTOFF)
        np.testing.assert_allclose(to_host(made[0])[m], BOX.fractional(model.xyz)[index], rtol=1e-12)
        amplitude = expected.unit * model.occupancy[index]
        for found, wanted in ((made[1], amplitude), (made[2], expected.precision), (made[3], expected.radius)):
            assert np.abs(to_host(found)[m] / wanted - 1.0)[..., :3].max() < 1e-7  # where eigenvalues are clipped
            scale = np.abs(wanted[4:]).max(initial=0.0)
            assert np.abs(to_host(found)[m][4:] - wanted[4:]).max(initial=0.0) <= 1e-12 * scale
        at = np.setdiff1d(np.arange(N), index)
        for found, before in zip(out, kept):
            np.testing.assert_array_equal(to_host(found)[m][at], before[m][at])
        by_u = expected.by_u(by[0][m], by[2][m], model.occupancy[index])
        wanted = by[1][m], symmetric.trace(by_u) / EIGHT_PI_SQUARED, by[0][m] * expected.unit, by_u
        for found, value in zip(out, wanted):
            np.testing.assert_allclose(to_host(found)[m][index], value, rtol=1e-5, atol=1e-7 * np.abs(value).max())
    first = [to_host(a).copy() for a in (*made, *out)]
    with emulator.reversed_order():
        tensors_cuda.ellipsoids(*arguments, made)
        tensors_cuda.ellipsoids_pullback(some, atoms[2], made[2], by_gaussian, out)
    assert all(np.array_equal(a, to_host(b)) for a, b in zip(first, (*made, *out)))


def test_what_is_taken_is_put_back() -> None:
    rng = np.random.default_rng(0)
    index = rng.permutation(N)[:70]
    shapes = ((2, N, 3), (2, N), (2, N))
    values, others = ([rng.normal(size=s) for s in shapes] for _ in range(2))
    some = tuple(to_device(np.zeros((2, 70, *s[2:]))) for s in shapes)
    out = tuple(map(to_device, others))
    tensors_cuda.take(to_device(index, np.int32), tuple(map(to_device, values)), some)
    tensors_cuda.put(to_device(index, np.int32), some, out)
    for value, before, part, found in zip(values, others, some, out):
        np.testing.assert_array_equal(to_host(part), value[:, index])
        before[:, index] = value[:, index]
        np.testing.assert_array_equal(to_host(found), before)


@pytest.mark.parametrize("own", [True, False])
def test_total_u_and_the_way_back_to_b(own: bool) -> None:
    models = [_model(0), _model(1)]
    u = _together(models, "u_aniso") if own else models[0].u_aniso
    b = _together(models, "b_iso")
    total = tensors_cuda.total_u(to_device(b), to_device(u), to_device(np.zeros((2, N, 6))))
    for m, model in enumerate(models):
        expected = total_u(model if own else model.replace(u_aniso=u))
        np.testing.assert_allclose(to_host(total)[m], expected, rtol=1e-14, atol=1e-16)
    rng = np.random.default_rng(1)
    for count in (1, 2, 3, 4):
        terms = [(rng.normal(size=2), rng.normal(size=(2, N, 6))) for _ in range(count)]
        out = to_device(np.zeros(2)), to_device(np.zeros((2, N)))
        value, by_b = tensors_cuda.sum_by_b([(to_device(v), to_device(g)) for v, g in terms], out)
        np.testing.assert_allclose(to_host(value), sum(v for v, _ in terms), rtol=1e-13)
        slope = symmetric.trace(np.asarray(sum(g for _, g in terms))) / EIGHT_PI_SQUARED
        np.testing.assert_allclose(to_host(by_b), slope, rtol=1e-12, atol=1e-15)


def test_rigid_bonds_turn_with_the_atoms() -> None:
    rng = np.random.default_rng(2)
    models = [_model(0), _model(1)]
    i, j = rng.integers(0, N, (2, 300))
    i, j = i[i != j], j[i != j]
    for model in models:
        model.xyz[j[0]] = model.xyz[i[0]]  # no direction between them
    shapes = Shapes(i, j, np.full(len(i), 3.0), 0.0, 3.0, np.zeros(N))
    xyz, u = to_device(_together(models, "xyz")), to_device(np.stack([total_u(m) for m in models]))
    plan = adp_aniso_cuda.plan(N, i, j, np.full(len(i), 9.0), 2, np.zeros((len(i), 3)))
    adp_aniso_cuda.find_directions(plan, xyz)
    value, by_u = adp_aniso_cuda.evaluate_rigid_bond(plan, u)
    by_xyz = adp_aniso_cuda.turn(plan, u, xyz, 0.1, to_device(np.full((2, N, 3), np.nan)))
    for m, model in enumerate(models):
        expected, slope, turned = shapes(total_u(model), model.xyz)
        assert to_host(value)[m] == pytest.approx(expected, rel=1e-11)
        np.testing.assert_allclose(to_host(by_u)[m], slope, rtol=1e-10, atol=1e-11 * np.abs(slope).max())
        np.testing.assert_allclose(to_host(by_xyz)[m], turned, rtol=1e-10, atol=1e-11 * np.abs(turned).max())
        assert np.abs(turned).max() > 0.1
    assert adp_aniso.directions(models[0].xyz, i[:1], j[:1]).any() == 0


def test_arrays_that_do_not_fit_are_refused() -> None:
    index = to_device(np.arange(3), np.int32)
    xyz, b, q = (to_device(np.zeros(s)) for s in ((1, 5, 3), (1, 5), (1, 5)))
    out = tuple(to_device(np.zeros(s)) for s in ((1, 3, 3), (1, 3), (1, 3)))
    with pytest.raises(ValueError, match="int32"):
        tensors_cuda.take(to_device(np.arange(3)), (xyz, b, q), out)
    with pytest.raises(ValueError, match=r"float64 \(1, 3\) is needed"):
        tensors_cuda.take(index, (xyz, b, q), (out[0], b, q))
    with pytest.raises(ValueError, match="six values each"):
        tensors_cuda.total_u(b, to_device(np.zeros((5, 3))), to_device(np.zeros((1, 5, 6))))
    with pytest.raises(ValueError, match="0 terms"):
        tensors_cuda.sum_by_b([], (to_device(np.zeros(1)), b))
    plan = adp_aniso_cuda.plan(5, np.array([0]), np.array([1]), np.ones(1))
    with pytest.raises(ValueError, match="without directions"):
        adp_aniso_cuda.find_directions(plan, xyz)
