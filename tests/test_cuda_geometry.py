"""CUDA kernels of the coordinate restraints against their NumPy twins, on the emulated device."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import emulator
import numpy as np
import pytest

from arrayrefine.kernels import geometry, geometry_cuda
from arrayrefine.kernels.backend import launch_counts, reset_launch_counts, to_device, to_host

N = 40
TERMS = {"bond": 2, "angle": 3, "torsion": 4, "chirality": 4}
Terms = dict[str, tuple[np.ndarray, ...]]


def _close(found: Any, expected: Any, tolerance: float = 1e-12) -> None:
    found, expected = to_host(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert np.isfinite(found).all()
    assert np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected) + 1e-20


def _restraints(rows: int, n: int = N, seed: int = 0) -> Terms:
    """Some of each kind, on distinct atoms; planes of 3 to 9 atoms."""
    rng = np.random.default_rng(seed)
    made: Terms = {}
    for kind, width in TERMS.items():
        index = np.array([rng.choice(n, width, replace=False) for _ in range(rows)], dtype=np.int64)
        made[kind] = (index.reshape(-1, width), rng.normal(50.0, 60.0, rows), rng.uniform(0.02, 5.0, rows))
    made["torsion"] += (rng.integers(1, 7, rows),)
    number = np.repeat(np.arange(rows), rng.integers(3, 10, rows))
    sizes = np.bincount(number, minlength=rows)
    members = np.concatenate([np.zeros(0, np.int64), *(rng.choice(n, k, replace=False) for k in sizes)])
    made["plane"] = (members.astype(np.int64), number, rng.uniform(0.02, 0.1, len(members)))
    return made


def _positions(seed: int = 1) -> np.ndarray:
    """Random, with eight atoms on a line, four in one place, and a flat ring."""
    rng = np.random.default_rng(seed)
    xyz = rng.normal(0.0, 3.0, (N, 3))
    xyz[:8] = np.arange(8)[:, None] * [1.0, 0.0, 0.0]
    xyz[8:12] = [2.0, -3.0, 40.0]
    xyz[12:18, 2] = 5.0
    return xyz


AWKWARD = {
    "line": np.arange(9.0)[:, None] * [1.5, 0.0, 0.0],
    "skew line": np.arange(9.0)[:, None] * [0.3, -0.7, 1.1] + [10.0, 20.0, 30.0],
    "one place": np.full((9, 3), 7.3),
    "to and fro": np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]] * 5)[:9],
    "flat": np.random.default_rng(4).normal(size=(9, 3)) * [1.0, 1.0, 0.0],
    "far away": np.random.default_rng(5).normal(size=(9, 3)) + 1e4,
}


def _expected(
    terms: Terms, xyz: np.ndarray, firm: geometry.Firm | None = None, shares: tuple[np.ndarray, ...] | None = None
) -> tuple[float, np.ndarray]:
    total, gradient = 0.0, np.zeros_like(xyz)
    roots = dict(zip(("bond", "angle"), map(np.sqrt, shares or ())))
    for kind, given in terms.items():
        z, jacobian = getattr(geometry, kind)(xyz, *given)
        if firm and kind in ("bond", "angle", "chirality"):
            z, jacobian = geometry.with_firm_outliers(z, jacobian, firm)
        root = roots.get(kind, np.ones(1))
        value, part = geometry.accumulate(z * root, jacobian * root[:, None, None], given[0], len(xyz))
        total += value
        gradient += part
    return total, gradient


def _plan(terms: Terms, n_atoms: int = N, n_models: int = 1) -> geometry_cuda.GeometryPlan:
    return geometry_cuda.plan(
        n_atoms, terms["bond"], terms["angle"], terms["torsion"], terms["chirality"], terms["plane"], n_models
    )


@pytest.mark.parametrize("rows", [0, 1, 150])
@pytest.mark.parametrize("kind", TERMS)
def test_single_kinds(emulated_cuda: ModuleType, kind: str, rows: int) -> None:
    xyz, given = _positions(), _restraints(rows)[kind]
    function = getattr(geometry, kind)
    z, jacobian = function(to_device(xyz), *(to_device(a) for a in given))
    expected = function(xyz, *given)
    _close(z, expected[0])
    _close(jacobian, expected[1])
    value, gradient = geometry.accumulate(z, jacobian, to_device(given[0]), N)
    total, slope = geometry.accumulate(*expected, given[0], N)
    assert float(value) == pytest.approx(total, rel=1e-12)
    _close(gradient, slope)


@pytest.mark.parametrize("rows", [0, 1, 150])
def test_planes(emulated_cuda: ModuleType, rows: int) -> None:
    xyz, given = _positions(), _restraints(rows)["plane"]
    z, jacobian = geometry.plane(to_device(xyz), *(to_device(a) for a in given))
    expected = geometry.plane(xyz, *given)
    _close(z * z, expected[0] ** 2)  # the sign of a normal is arbitrary
    _close(z[:, None, None] * jacobian, expected[0][:, None, None] * expected[1])
    _, slope = geometry.accumulate(*expected, given[0], N)
    _close(geometry.accumulate(z, jacobian, to_device(given[0]), N)[1], slope)


def test_dihedral(emulated_cuda: ModuleType) -> None:
    xyz, (index, *_) = _positions(), _restraints(60)["torsion"]
    for found, expected in zip(geometry.dihedral(to_device(xyz), to_device(index)), geometry.dihedral(xyz, index)):
        _close(found, expected)


@pytest.mark.parametrize("rows", [0, 1, 150])
@pytest.mark.parametrize("n_models", [1, 3])
def test_all_restraints_at_once(emulated_cuda: ModuleType, rows: int, n_models: int) -> None:
    terms = _restraints(rows)
    xyz = np.array([_positions(seed) for seed in range(n_models)])
    plan, on_device = _plan(terms, n_models=n_models), to_device(xyz)
    reset_launch_counts()
    value, gradient = (to_host(a) for a in geometry_cuda.evaluate(plan, on_device))
    assert sum(launch_counts().values()) <= 2
    for m in range(n_models):
        total, slope = _expected(terms, xyz[m])
        assert value[m] == pytest.approx(total, rel=1e-12)
        _close(gradient[m], slope)
    with emulator.reversed_order():
        again = geometry_cuda.evaluate(plan, on_device)
    assert np.array_equal(value, to_host(again[0]))
    assert np.array_equal(gradient, to_host(again[1]))


@pytest.mark.parametrize("shared", [False, True])
def test_firm_outliers(emulated_cuda: ModuleType, shared: bool) -> None:
    """Those of which sigmas have a share are worth that share of what they are worth without."""
    terms, xyz, firm, rng = _restraints(150), _positions(), geometry.Firm(4.0, 3.0), np.random.default_rng(7)
    z = {kind: getattr(geometry, kind)(xyz, *terms[kind])[0] for kind in ("bond", "angle", "chirality")}
    assert all(np.count_nonzero(np.abs(z[kind]) > firm.limit) > 10 for kind in z)
    shares = tuple(rng.choice([0.5, 1.0], 150) for _ in range(2)) if shared else None
    given = dict(terms)
    for kind, share in zip(("bond", "angle"), shares or ()):
        index, ideal, sigma = terms[kind]
        given[kind] = index, ideal, sigma / np.sqrt(share)
    kinds = (given[kind] for kind in ("bond", "angle", "torsion", "chirality", "plane"))
    value, gradient = geometry_cuda.evaluate(geometry_cuda.plan(N, *kinds, 1, firm, shares), to_device(xyz))
    total, slope = _expected(terms, xyz, firm, shares)
    assert total > 1.5 * _expected(given, xyz)[0]
    assert float(value) == pytest.approx(total, rel=1e-12)
    _close(gradient, slope)


def test_every_model_has_its_own_limits(emulated_cuda: ModuleType) -> None:
    terms, rng = _restraints(150), np.random.default_rng(8)
    xyz = np.array([_positions(seed) for seed in range(2)])
    kinds = (terms[kind] for kind in ("bond", "angle", "torsion", "chirality", "plane"))
    plan = geometry_cuda.plan(N, *kinds, 2, geometry.Firm(4.0, 3.0))
    limits = {kind: rng.choice([2.0, 6.0, np.inf], 150) for kind in ("bond", "angle", "chirality")}
    geometry_cuda.set_limits(plan, 1, [*limits.values()])
    value, gradient = (to_host(a) for a in geometry_cuda.evaluate(plan, to_device(xyz)))
    for m, limit in enumerate((dict.fromkeys(limits, 4.0), limits)):
        total, slope = 0.0, np.zeros_like(xyz[m])
        for kind, given in terms.items():
            value_of, slope_of = _expected({kind: given}, xyz[m], geometry.Firm(limit.get(kind, np.inf), 3.0))
            total, slope = total + value_of, slope + slope_of
        assert value[m] == pytest.approx(total, rel=1e-12)
        _close(gradient[m], slope)


@pytest.mark.parametrize("name", AWKWARD)
def test_singular_geometry(emulated_cuda: ModuleType, name: str) -> None:
    """Coincident atoms, angles of 0 and 180 degrees, straight torsions, planes without a plane."""
    xyz, terms = AWKWARD[name], _restraints(20, n=9)
    value, gradient = geometry_cuda.evaluate(_plan(terms, n_atoms=9), to_device(xyz))
    total, slope = _expected(terms, xyz)
    # where coordinates are large, differences of them keep fewer digits
    assert float(value) == pytest.approx(total, rel=1e-12)
    _close(gradient, slope, 1e-12 if name != "far away" else 1e-9)


@pytest.mark.parametrize("kind", [*TERMS, "plane"])
def test_one_kind_alone(emulated_cuda: ModuleType, kind: str) -> None:
    """Kinds without restraints take no slots from those that have some."""
    given, empty = _restraints(7, seed=3)[kind], _restraints(0)
    xyz = _positions()
    value, gradient = geometry_cuda.evaluate(_plan({**empty, kind: given}), to_device(xyz))
    total, slope = _expected({kind: given}, xyz)
    assert value.shape == ()
    assert float(value) == pytest.approx(total, rel=1e-12)
    _close(gradient, slope)


def test_normal_of_the_best_plane_is_exact(emulated_cuda: ModuleType) -> None:
    """Flat groups in any orientation: the deviations are those of the singular value decomposition."""
    rng = np.random.default_rng(8)
    flat = np.c_[rng.normal(0.0, 2.0, (60, 6, 2)).reshape(-1, 2), rng.normal(0.0, 1e-4, 360)].reshape(60, 6, 3)
    turn = np.linalg.qr(rng.normal(size=(60, 3, 3)))[0]
    xyz = np.einsum("pij,paj->pai", turn, flat) + rng.normal(0.0, 5.0, (60, 1, 3))
    number = np.repeat(np.arange(60), 6)
    z, jacobian = geometry.plane(
        to_device(xyz.reshape(-1, 3)), *(to_device(a) for a in (np.arange(360), number, np.ones(360)))
    )
    smallest = np.linalg.svd(xyz - xyz.mean(axis=1, keepdims=True))[1][:, -1]
    found = np.linalg.norm(to_host(z).reshape(60, 6), axis=1)
    np.testing.assert_allclose(found, smallest, rtol=1e-10)
    np.testing.assert_allclose(np.linalg.norm(to_host(jacobian), axis=2), 1.0, rtol=1e-15)


def test_the_evaluation_can_be_captured(emulated_cuda: ModuleType) -> None:
    terms = _restraints(30)
    plan, xyz = _plan(terms), to_device(_positions())
    stream = emulated_cuda.cuda.Stream()
    with stream:
        stream.begin_capture()
        value, gradient = geometry_cuda.evaluate(plan, xyz)
        graph = stream.end_capture()
        for seed in (1, 2):
            xyz[...] = to_device(_positions(seed))
            graph.launch(stream)
            total, slope = _expected(terms, _positions(seed))
            assert float(value) == pytest.approx(total, rel=1e-12)
            _close(gradient, slope)


def test_no_atoms(emulated_cuda: ModuleType) -> None:
    value, gradient = geometry_cuda.evaluate(geometry_cuda.plan(0), to_device(np.zeros((0, 3))))
    assert float(value) == 0.0
    assert gradient.shape == (0, 3)


def test_wrong_atoms_are_refused(emulated_cuda: ModuleType) -> None:
    one = np.ones(1)
    with pytest.raises(ValueError, match="name the atoms 3 to 9 of 9 atoms"):
        geometry_cuda.plan(9, bonds=(np.array([[3, 9]]), one, one))
    plan = geometry_cuda.plan(9, n_models=2)
    with pytest.raises(ValueError, match="2 models of 9 atoms"):
        geometry_cuda.evaluate(plan, to_device(np.zeros((9, 3))))
