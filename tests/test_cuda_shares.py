"""Occupancies that atoms share on the emulated device against `OccupancyGroups`, and in whole objectives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import emulator
import numpy as np
import pytest
from synthetic import atoms_from
from test_device_objective import N, _case, _device_factors

import arrayrefine as ar
from arrayrefine.atoms import Atoms, Gradient, Riding
from arrayrefine.device.objective import DeviceObjective, Member
from arrayrefine.device.occupancy import SharedOccupancies
from arrayrefine.device.restraints import DeviceRestraints
from arrayrefine.kernels import shares_cuda, vector_cuda
from arrayrefine.kernels.backend import to_device, to_host
from arrayrefine.minimize import Objective
from arrayrefine.occupancies.groups import LEAST, OccupancyGroups
from arrayrefine.options import Geometry
from arrayrefine.parameters import Parameters
from arrayrefine.weights import Weights

SOME = 600


@pytest.fixture(autouse=True)
def _cuda(emulated_cuda: ModuleType) -> None:
    """Every test here runs on the emulator."""


def _groups(n: int) -> OccupancyGroups:
    """Three that exclude each other, two, one whose partner has no atoms, and two that stand alone, large and small."""
    group = np.full(n, -1)
    sizes = (np.array([0.3, 0.05, 0.05, 0.1, 0.05, 0.05, 0.02, 0.18]) * n).astype(int)
    group[: sizes.sum()] = np.repeat(np.arange(8), sizes)
    return OccupancyGroups(group, np.array([7, 2, 7, 7, -1, 2, 9, -1]))


def _parameters(seed: int, kinds: str = "xyz+b+occupancy") -> Parameters:
    rng = np.random.default_rng(seed)
    atoms = atoms_from(
        rng.uniform(0.0, 30.0, (SOME, 3)), ["C"] * SOME, rng.uniform(10.0, 40.0, SOME), rng.uniform(0.2, 0.9, SOME)
    )
    fixed = np.random.default_rng(0)
    child = np.r_[[4, 190], np.arange(SOME - 40, SOME)]
    parent = fixed.choice(np.setdiff1d(np.arange(SOME - 40), child), len(child))
    multiplicity = fixed.choice([1, 1, 2, 3], SOME)
    atoms = dataclasses.replace(atoms, riding=Riding(child, parent), multiplicity=multiplicity)
    p = Parameters.of(atoms, kinds, groups=_groups(SOME))
    # Riding atoms are refined with their parents, and do not keep their group from it.
    return dataclasses.replace(p, occupancy=np.ones(SOME, dtype=bool)) if "occupancy" in kinds else p


def _table(parameters: list[Parameters], own: bool) -> vector_cuda.Layout:
    p, atoms = parameters[0], [q.reference for q in parameters]
    values = (
        np.stack([getattr(a, name) for a in atoms]) if own else getattr(atoms[0], name)
        for name in ("xyz", "b_iso", "occupancy")
    )
    riding = p.reference.riding
    return vector_cuda.layout(
        p.xyz, p.b, np.zeros(SOME, dtype=bool), riding.child, riding.parent, p.reference.site_projection, *values,
        p.sizes.occupancy,
    )  # fmt: skip


def _both(own: bool) -> tuple[list[Parameters], vector_cuda.Layout, SharedOccupancies, np.ndarray]:
    parameters = [_parameters(s) for s in (0, 1, 2)] if own else [_parameters(0)] * 3
    table = _table(parameters, own)
    x = np.stack([p.pack(p.reference) for p in parameters])
    at = parameters[0].slices["occupancy"]
    assert parameters[0].shares
    assert at.stop - at.start == 5
    x[:, at] = np.random.default_rng(3).uniform(0.1, 0.3, (3, 5))
    x[1, at] = [0.7, 0.9, 0.6, 0.95, -0.2]  # the last of three falls below the least share, and more
    return parameters, table, SharedOccupancies(parameters[0], table), x


@pytest.mark.parametrize("own", [True, False])
def test_occupancies_are_those_of_the_groups(own: bool) -> None:
    parameters, table, shares, x = _both(own)

    def unpacked() -> Any:
        *_, occupancy = vector_cuda.unpack(table, to_device(x))
        shares.unpack(to_device(x), occupancy)
        return to_host(occupancy).copy()

    found = unpacked()
    for m, p in enumerate(parameters):
        np.testing.assert_allclose(found[m], p.unpack(x[m]).occupancy, rtol=1e-13)
    with emulator.reversed_order():
        assert np.array_equal(unpacked(), found)


def test_a_place_that_none_may_be_in() -> None:
    """A group without atoms, the last of its alternative, takes what the others leave."""
    groups = _groups(SOME)
    room = dataclasses.replace(groups, alternative=np.append(groups.alternative, 9), empty=(8,))
    p = dataclasses.replace(_parameters(0), groups=room)
    table = _table([p], True)
    x = p.pack(p.reference)[None]
    at = p.slices["occupancy"]
    assert at.stop - at.start == 6
    shares = SharedOccupancies(p, table)
    for values in (np.full(6, 0.3), np.array([0.2, 0.1, 0.4, 0.99, 0.3, 0.8])):
        x[0, at] = values
        *_, occupancy = vector_cuda.unpack(table, to_device(x))
        shares.unpack(to_device(x), occupancy)
        np.testing.assert_allclose(to_host(occupancy)[0], p.unpack(x[0]).occupancy, rtol=1e-13)
    d_xyz, d_b, d_q = (np.random.default_rng(1).normal(size=(1, SOME, *w)) for w in ((3,), (), ()))
    gradient = to_device(np.full((1, table.size), np.nan))
    given = [to_device(a) for a in (d_xyz, d_b, d_q)]
    vector_cuda.pullback(table, *given, gradient)
    shares.pullback(given[2], gradient)
    expected = p.pullback(Gradient(d_xyz[0], d_b[0], d_q[0]))
    np.testing.assert_allclose(to_host(gradient)[0], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("own", [True, False])
def test_gradient_is_that_of_the_groups(own: bool) -> None:
    parameters, table, shares, _ = _both(own)
    rng = np.random.default_rng(1)
    d_xyz, d_b, d_q = (rng.normal(size=(3, SOME, *w)) for w in ((3,), (), ()))
    gradient = to_device(np.full((3, table.size), np.nan))
    given = [to_device(a) for a in (d_xyz, d_b, d_q)]
    vector_cuda.pullback(table, *given, gradient)
    shares.pullback(given[2], gradient)
    found = to_host(gradient).copy()
    for m, p in enumerate(parameters):
        expected = p.pullback(Gradient(d_xyz[m], d_b[m], d_q[m]))
        np.testing.assert_allclose(found[m], expected, rtol=1e-12, atol=1e-12)
    with emulator.reversed_order():
        shares.pullback(given[2], gradient)
    assert np.array_equal(to_host(gradient), found)


def test_the_gradient_is_the_adjoint() -> None:
    """Where no share is the least, occupancies are linear in the vector."""
    _, table, shares, x = _both(False)
    x[1] = x[0]
    step = np.zeros_like(x)
    step[:, -5:] = np.random.default_rng(4).normal(0.0, 0.01, (3, 5))
    occupancy = [to_device(np.zeros((3, SOME))) for _ in range(2)]
    for at, out in zip((x, x + step), occupancy):
        shares.unpack(to_device(at), out)
    d_q = np.random.default_rng(5).normal(size=(3, SOME))
    gradient = to_device(np.zeros((3, table.size)))
    shares.pullback(to_device(d_q), gradient)
    moved = float(np.sum(d_q * (to_host(occupancy[1]) - to_host(occupancy[0]))))
    assert float(np.sum(to_host(gradient) * step)) == pytest.approx(moved, rel=1e-10)


def test_arrays_that_do_not_fit_are_refused() -> None:
    _, table, shares, x = _both(False)
    with pytest.raises(ValueError, match="float64"):
        shares.unpack(to_device(x), to_device(np.zeros((3, SOME - 1))))
    with pytest.raises(ValueError, match="float64"):
        shares.pullback(to_device(np.zeros((2, SOME))), to_device(np.zeros((3, table.size))))
    place, one = np.zeros(SOME, dtype=np.int64), np.ones(1, dtype=bool)
    with pytest.raises(ValueError, match="1 groups of 599 atoms"):
        shares_cuda.plan(table, 0, place[1:], np.zeros(1, dtype=np.int64), one, place, LEAST)


def _grouped(atoms: Atoms) -> OccupancyGroups:
    """Of the atoms of a made-up problem; riding ones follow."""
    return OccupancyGroups(np.where(atoms.riding.mask(N), -1, _groups(N).group), _groups(N).alternative)


@pytest.mark.parametrize("target", ["occupancy", "xyz+b+occupancy"])
def test_value_and_gradient_are_those_of_numpy(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = _case("C 1 2 1", monkeypatch)
    p = Parameters.of(case.atoms, target, groups=_grouped(case.atoms))
    assert p.shares
    weights = Weights(0.3 if p.xyz.any() else None, 0.2 if p.b.any() else None, p.fingerprint)
    host = Objective(p, weights, case.xray, case.geometry, case.adp)
    restraints = DeviceRestraints(case.geometry, case.adp, case.atoms.multiplicity)
    device = DeviceObjective([Member(p, weights, case.xray)], _device_factors(case), restraints)
    start, rng = p.pack(case.atoms), np.random.default_rng(0)
    for _ in range(3):  # without a graph, captured, and replayed
        x = start + 0.02 * rng.normal(size=p.size)
        value, gradient = host.at(x)
        found, slope = device.at(x)
        assert found == pytest.approx(value, rel=1e-5)
        for name, part in p.slices.items():
            error = np.linalg.norm(slope[part] - gradient[part])
            assert error <= 1e-5 * np.linalg.norm(gradient[part]), name
        again, bits = device.at(x)
        assert again == found
        assert np.array_equal(bits, slope)


def test_a_refinement_is_that_of_numpy(case: Callable[[str], Path]) -> None:
    """With outliers as all else: the path by firm ones is another after few steps, and only the end is the same."""
    files = case("1aba") / "shaken.pdb", case("1aba") / "norm.mtz"
    options = ar.Options(cycles=1, targets=("xyz+b+occupancy",), tls=("none",), hydrogens="strip")
    options = dataclasses.replace(options, geometry=Geometry(outlier_weight=0.0))
    host, device = (ar.refine(*files, dataclasses.replace(options, device=where)) for where in ("cpu", "cuda"))  # type: ignore[arg-type]
    assert all(step.launches for step in device.history)
    assert device.r_work == pytest.approx(host.r_work, abs=5e-4)
    assert np.ptp(host.atoms.occupancy) > 0.05
    assert np.abs(host.atoms.occupancy - device.atoms.occupancy).max() < 0.01
