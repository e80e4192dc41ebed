"""Free displacement tensors on the emulated device against `Parameters`."""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import Any

import emulator
import numpy as np
import pytest
from synthetic import atoms_from

from arrayrefine.atoms import Atoms, Gradient, Riding
from arrayrefine.device.displacement import FreeTensors
from arrayrefine.displacements.displacement import EIGHT_PI_SQUARED, U_LIMITS
from arrayrefine.displacements.tls import Tls
from arrayrefine.kernels import displaced_cuda, symmetric, vector_cuda
from arrayrefine.kernels.backend import launch_counts, reset_launch_counts, to_device, to_host
from arrayrefine.parameters import Parameters

N = 420
LARGE, SMALL, FROZEN, OWN = np.arange(0, 300), np.arange(300, 330), np.arange(330, 350), np.arange(350, 390)
"""Two groups that are refined, one that is not, and atoms with a U of their own."""
CHILD = np.concatenate([[5, 120], np.arange(400, 420)])
"""Two of them are in a group, as no program's riding atoms should be."""
SPECIAL = np.array([3, 40, 310, 352, 360])


@pytest.fixture(autouse=True)
def _cuda(emulated_cuda: ModuleType) -> None:
    """Every test here runs on the emulator."""


def _atoms(seed: int) -> Atoms:
    """Atoms of every kind, of which seeds tell the values only."""
    rng = np.random.default_rng(seed)
    b_iso = rng.uniform(10.0, 40.0, N)
    atoms = atoms_from(rng.uniform(0.0, 30.0, (N, 3)), ["C"] * N, b_iso, rng.uniform(0.3, 1.0, N))
    fixed = np.random.default_rng(0)
    free = np.setdiff1d(np.arange(390), CHILD)
    parent = np.concatenate([[20, 355], fixed.choice(free, len(CHILD) - 2)])
    group = np.full(N, -1)
    for number, members in enumerate((LARGE, FROZEN, SMALL)):
        group[members] = number
    origin = np.stack([atoms.xyz[m].mean(axis=0) for m in (LARGE, FROZEN, SMALL)])
    values = np.concatenate([rng.normal(0.0, s, (3, w)) for s, w in ((1e-2, 6), (1e-4, 6), (1e-3, 8))], axis=1)
    six = rng.uniform(-0.2, 0.2, (N, 6)) * (b_iso / EIGHT_PI_SQUARED)[:, None]
    six[395:] = 0.0
    projection = np.tile(np.eye(6), (N, 1, 1))
    for atom in SPECIAL:  # what a twofold axis along a direction leaves
        axis = fixed.normal(size=3)
        axis /= np.linalg.norm(axis)
        turn = 2.0 * np.outer(axis, axis) - np.eye(3)
        units = np.eye(6)
        projection[atom] = np.stack([0.5 * (u + symmetric.six(turn @ symmetric.matrices(u) @ turn)) for u in units], 1)
    anisotropic = np.isin(np.arange(N), OWN)
    return dataclasses.replace(
        atoms, riding=Riding(CHILD, parent), tls=Tls(group, origin, values), u_projection=projection,
        u_aniso=six - symmetric.isotropic(symmetric.trace(six) / 3.0), anisotropic=anisotropic,
    )  # fmt: skip


def _parameters(atoms: Atoms, kinds: str = "xyz+b+tls") -> Parameters:
    """Half of the members have no B of their own, the middle group is frozen, and so are some of the atoms' U."""
    p = Parameters.of(atoms, kinds)
    number = np.arange(N)
    tls = p.tls & (np.arange(3) != 1)
    return dataclasses.replace(p, b=p.b & ((number % 2 == 0) | (number > 390)), u=p.u & (number != 351), tls=tls)


def _table(parameters: list[Parameters], own: bool) -> vector_cuda.Layout:
    p, atoms = parameters[0], [q.reference for q in parameters]
    values = (
        np.stack([getattr(a, name) for a in atoms]) if own else getattr(atoms[0], name)
        for name in ("xyz", "b_iso", "occupancy")
    )
    riding = p.reference.riding
    more = p.sizes.u + p.sizes.tls
    return vector_cuda.layout(
        p.xyz, p.b, p.occupancy, riding.child, riding.parent, p.reference.site_projection, *values, more
    )


def _moved(p: Parameters, seed: int, far: bool) -> np.ndarray:
    """A vector near the reference, or where many an eigenvalue of U lies beyond the limits."""
    rng = np.random.default_rng(seed)
    x, at = p.pack(p.reference), p.slices
    x[at["xyz"]] += 0.1 * rng.normal(size=p.sizes.xyz)
    x[at["b"]] += rng.normal(size=p.sizes.b)
    x[at["u"]] += (0.3 if far else 0.005) * rng.normal(size=p.sizes.u)
    scale = np.repeat([1e-2, 1e-4, 1e-3], [6, 6, 8]) * (10.0 if far else 0.3)
    x[at["tls"]] += np.tile(scale, p.sizes.tls // 20) * rng.normal(size=p.sizes.tls)
    if far and p.sizes.u:
        x[at["u"]][:6] = [5.0, 4.5, 4.2, 0.1, 0.2, 0.3]  # wider than any atom
    return x


def _unpacked(free: FreeTensors, table: vector_cuda.Layout, x: np.ndarray) -> tuple[Any, Any]:
    _, b_iso, _ = vector_cuda.unpack(table, to_device(x))
    free.unpack(to_device(x), b_iso)
    return to_host(b_iso).copy(), to_host(free.u_aniso).copy()


CASES = [("xyz+b+tls", True), ("xyz+b+tls", False), ("b", True), ("tls", False)]


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize(("kinds", "own"), CASES)
def test_atoms_are_those_of_the_parameters(kinds: str, own: bool, far: bool) -> None:
    atoms = [_atoms(s) for s in (0, 1, 2)] if own else [_atoms(0)] * 3
    parameters = [_parameters(a, kinds) for a in atoms]
    table = _table(parameters, own)
    free = FreeTensors(parameters, table)
    x = np.stack([_moved(p, seed, far) for seed, p in enumerate(parameters)])
    b_iso, u_aniso = _unpacked(free, table, x)
    clipped = 0
    for m, p in enumerate(parameters):
        expected = p.unpack(x[m])
        np.testing.assert_allclose(b_iso[m], expected.b_iso, rtol=1e-12)
        np.testing.assert_allclose(u_aniso[m], expected.u_aniso, rtol=1e-12, atol=1e-13)
        u = expected.u_aniso + symmetric.isotropic(expected.b_iso / EIGHT_PI_SQUARED)
        value = symmetric.eigenvalues(u)
        clipped += int(((value[:, 0] < 1.001 * U_LIMITS[0]) | (value[:, 2] > 0.999 * U_LIMITS[1])).sum())
    assert clipped > 30 if far else clipped == 0
    with emulator.reversed_order():
        again = _unpacked(free, table, x)
    assert np.array_equal(again[0], b_iso)
    assert np.array_equal(again[1], u_aniso)


@pytest.mark.parametrize("restrained", [True, False])
@pytest.mark.parametrize(("kinds", "own"), CASES)
def test_gradient_is_that_of_the_parameters(kinds: str, own: bool, restrained: bool) -> None:
    atoms = [_atoms(s) for s in (0, 1, 2)] if own else [_atoms(0)] * 3
    parameters = [_parameters(a, kinds) for a in atoms]
    table = _table(parameters, own)
    free = FreeTensors(parameters, table)
    rng = np.random.default_rng(1)
    d_xyz, d_b, d_q, d_u, by_u = (rng.normal(size=(3, N, *w)) for w in ((3,), (), (), (6,), (6,)))
    weight = rng.uniform(0.5, 2.0, (3, 2))
    gradient = to_device(np.full((3, table.size), np.nan))
    given = [to_device(a) for a in (d_xyz, d_b, d_q, d_u)]
    restraints = (to_device(weight), to_device(by_u)) if restrained else None
    vector_cuda.pullback(table, *given[:3], gradient)
    reset_launch_counts()
    free.pullback(given[1], given[3], restraints, gradient)
    assert sum(launch_counts().values()) == (1 if kinds == "b" else 2)
    found = to_host(gradient).copy()
    for m, p in enumerate(parameters):
        whole = d_u[m] + (weight[m, 1] * by_u[m] if restrained else 0.0)
        expected = p.pullback(Gradient(d_xyz[m], d_b[m], d_q[m], whole))
        for name, part in p.slices.items():
            scale = np.abs(expected[part]).max(initial=0.0)
            np.testing.assert_allclose(found[m, part], expected[part], rtol=1e-11, atol=1e-12 * scale, err_msg=name)
    with emulator.reversed_order():
        vector_cuda.pullback(table, *given[:3], gradient)
        free.pullback(given[1], given[3], restraints, gradient)
    assert np.array_equal(to_host(gradient), found)


def test_the_gradient_is_the_adjoint() -> None:
    """Where nothing is clipped, B and U are linear in the vector."""
    p = _parameters(_atoms(0))
    table = _table([p], False)
    free = FreeTensors([p], table)
    rng = np.random.default_rng(2)
    x = _moved(p, 5, False)[None]
    step = 0.1 * (_moved(p, 6, False) - p.pack(p.reference))[None]
    one, two = _unpacked(free, table, x), _unpacked(free, table, x + step)
    d_b, d_u = rng.normal(size=(1, N)), rng.normal(size=(1, N, 6))
    d_u[0, CHILD] = 0.0  # a riding atom has no derivative by a U of its own
    gradient = to_device(np.zeros((1, table.size)))
    none = to_device(np.zeros((1, N, 3))), to_device(np.zeros((1, N)))
    vector_cuda.pullback(table, none[0], to_device(d_b), none[1], gradient)
    free.pullback(to_device(d_b), to_device(d_u), None, gradient)
    moved = float(np.sum(d_b * (two[0] - one[0])) + np.sum(d_u * (two[1] - one[1])))
    assert float(np.sum(to_host(gradient) * step)) == pytest.approx(moved, rel=1e-10)


def test_nan_goes_through() -> None:
    """A line search that goes astray must see it."""
    p = _parameters(_atoms(0))
    table = _table([p], False)
    x = _moved(p, 5, False)[None]
    x[0, p.slices["u"]] = np.nan
    b_iso, u_aniso = _unpacked(FreeTensors([p], table), table, x)
    assert np.isnan(b_iso[0, p.u]).all()
    assert np.isnan(u_aniso[0, p.u]).all()
    assert np.isfinite(u_aniso[0, LARGE]).all()


def test_arrays_that_do_not_fit_are_refused() -> None:
    p = _parameters(_atoms(0))
    table = _table([p], False)
    free = FreeTensors([p], table)
    b = to_device(np.zeros((1, N)))
    with pytest.raises(ValueError, match="float64"):
        free.unpack(to_device(np.zeros((1, table.size - 1))), b)
    with pytest.raises(ValueError, match="float64"):
        free.pullback(b, to_device(np.zeros((1, N, 3))), None, to_device(np.zeros((1, table.size))))
    atoms = p.reference
    with pytest.raises(ValueError, match="for a vector of 420 atoms"):
        displaced_cuda.plan(
            table, p.u, atoms.tls.group, atoms.tls.origin[:2], atoms.tls.values, atoms.u_aniso, None, U_LIMITS
        )
