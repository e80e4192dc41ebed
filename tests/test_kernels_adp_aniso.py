"""Kernels of the restraints on anisotropic U."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from checks import check_direction

from arrayrefine.kernels import adp, adp_aniso, symmetric
from arrayrefine.kernels.neighbours import Neighbours

RNG = np.random.default_rng(5)
N = 14
AXES = np.linalg.qr(RNG.normal(size=(N, 3, 3)))[0]
VALUES = RNG.uniform(0.02, 0.4, (N, 3))
VALUES[0] = 0.2
VALUES[1, 0] = 0.004
U = symmetric.six((AXES * VALUES[:, None, :]) @ AXES.transpose(0, 2, 1))
ONE, TWO = np.triu_indices(N, 1)
W = RNG.uniform(1.0, 100.0, len(ONE))
E = adp_aniso.directions(RNG.normal(size=(N, 3)), ONE, TWO)
TO_U = 1.0 / (8.0 * np.pi**2)

Restraint = Callable[[np.ndarray], tuple[float, np.ndarray]]
RESTRAINTS: dict[str, Restraint] = {
    "kl": lambda u: adp_aniso.kl(u, ONE, TWO, W),
    "shape": lambda u: adp_aniso.shape(u, ONE, TWO, W),
    "rigid bond": lambda u: adp_aniso.rigid_bond(u, ONE, TWO, E, W),
    "sphericity": lambda u: adp_aniso.sphericity(u, W[:N]),
}


@pytest.mark.parametrize("name", list(RESTRAINTS))
def test_gradient_is_the_derivative_of_the_value(name: str) -> None:
    function = RESTRAINTS[name]
    value, gradient = function(U)
    assert value > 0
    for k, direction in enumerate(RNG.normal(size=(5, N, 6))):
        d = direction * np.array([1, 1, 1, k != 1, k != 1, k != 1])
        check_direction(lambda t, d=d: function(U + t * d)[0], float((gradient * d).sum()), 1e-5, 1e-6)


@pytest.mark.parametrize("name", list(RESTRAINTS))
def test_no_restraint_depends_on_the_axes(name: str) -> None:
    turn = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    turned = symmetric.six(turn @ symmetric.matrices(U) @ turn.T)
    value = RESTRAINTS[name](U)[0]
    rotated = adp_aniso.rigid_bond(turned, ONE, TWO, E @ turn.T, W)[0]
    assert (rotated if name == "rigid bond" else RESTRAINTS[name](turned)[0]) == pytest.approx(value)


def test_kl_of_isotropic_atoms_is_that_of_their_b() -> None:
    b = RNG.uniform(3.0, 80.0, N)
    b[3] = 0.01  # below the floor of both
    expected, by_b = adp.kl(b, ONE, TWO, W)
    value, by_u = adp_aniso.kl(symmetric.isotropic(b * TO_U), ONE, TWO, W)
    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(symmetric.trace(by_u) * TO_U, by_b, rtol=1e-10)


def test_kl_of_two_by_the_formula() -> None:
    one, two = symmetric.matrices(U[:2])
    traces = np.trace(one @ np.linalg.inv(two)) + np.trace(two @ np.linalg.inv(one))
    value, _ = adp_aniso.kl(U[:2], np.array([0]), np.array([1]), np.array([9.0]))
    assert value == pytest.approx(9.0 / 6.0 * (traces - 6.0))


def test_shapes_do_not_see_sizes() -> None:
    grown = U * RNG.uniform(0.5, 3.0, (N, 1))
    value, gradient = RESTRAINTS["shape"](grown)
    bad = VALUES.min(axis=1) * 0.5 < adp_aniso.U_FLOOR  # made rounder first
    assert not bad.any()
    assert value == pytest.approx(RESTRAINTS["shape"](U)[0], rel=1e-10)
    np.testing.assert_allclose((gradient * grown).sum(axis=1), 0.0, atol=1e-10 * np.abs(gradient * grown).max())
    assert RESTRAINTS["shape"](symmetric.isotropic(RNG.uniform(0.1, 0.5, N)))[0] == pytest.approx(0.0, abs=1e-10)


def test_small_differences_of_shapes_by_the_formula() -> None:
    one, two = 1e-3 * RNG.normal(size=(2, 6))
    u = symmetric.Exponential.of(np.array([one, two])).value() * np.array([[0.1], [0.4]])
    apart = symmetric.matrices(one - two)
    apart -= np.trace(apart) / 3.0 * np.eye(3)
    value, _ = adp_aniso.shape(u, np.array([0]), np.array([1]), np.array([9.0]))
    assert value == pytest.approx(9.0 / 6.0 * (apart**2).sum(), rel=1e-2)


def test_a_bond_is_rigid_when_the_atoms_differ_across_it_only() -> None:
    u = np.array([[0.1, 0.2, 0.3, 0.0, 0.0, 0.0], [0.1, 0.5, 0.4, 0.0, 0.0, 0.1]])
    pair = np.array([0]), np.array([1])
    assert adp_aniso.rigid_bond(u, *pair, np.array([[1.0, 0.0, 0.0]]), np.ones(1))[0] == pytest.approx(0.0)
    value, gradient = adp_aniso.rigid_bond(u, *pair, np.array([[0.0, 1.0, 0.0]]), np.array([10.0]))
    apart = np.log(0.2 / 0.5)
    assert value == pytest.approx(0.5 * 10.0 * apart**2)
    expected = 10.0 * apart * np.array([[0, 1 / 0.2, 0, 0, 0, 0], [0, -1 / 0.5, 0, 0, 0, 0]])
    np.testing.assert_allclose(gradient, expected, atol=1e-12)


def test_what_moves_as_a_rigid_body_is_rigid_along_every_line() -> None:
    """Libration: the mean of squared small turns about an axis, at which atoms' U differ in size and in shape."""
    xyz = RNG.uniform(-8.0, 8.0, (N, 3))
    axes = RNG.normal(size=(3, 3))
    moved = np.cross(axes[None], xyz[:, None])
    u = symmetric.six(1e-3 * np.einsum("nka,nkb->nab", moved, moved)) + symmetric.isotropic(0.05)
    along = adp_aniso.directions(xyz, ONE, TWO)
    assert RESTRAINTS["kl"](u)[0] > 10.0
    assert adp_aniso.rigid_bond(u, ONE, TWO, along, W)[0] == pytest.approx(0.0, abs=1e-18)


def test_lines_turn_with_the_atoms() -> None:
    xyz = RNG.normal(size=(N, 3))
    xyz[TWO[0]] = xyz[ONE[0]]  # no direction between them

    def value(x: np.ndarray) -> float:
        return adp_aniso.rigid_bond(U, ONE, TWO, adp_aniso.directions(x, ONE, TWO), W)[0]

    along = adp_aniso.directions(xyz, ONE, TWO)
    restraint, by_u, gradient = adp_aniso.rigid_among(U, xyz, Neighbours(ONE, TWO, W, N), 1e-9)
    held, slope = adp_aniso.rigid_bond(U, ONE, TWO, along, W)
    assert restraint == pytest.approx(held, rel=1e-12)
    np.testing.assert_allclose(by_u, slope, rtol=1e-9, atol=1e-9 * np.abs(slope).max())
    for d in RNG.normal(size=(3, N, 3)):
        d[TWO[0]] = d[ONE[0]]
        check_direction(lambda t, d=d: value(xyz + t * d), float((gradient * d).sum()), 1e-6, 1e-5)


def test_sphericity_of_one_by_the_formula() -> None:
    u = np.array([[0.1, 0.2, 0.3, 0.0, 0.0, 0.0]])
    value, _ = adp_aniso.sphericity(u, np.array([6.0]))
    assert value == pytest.approx(0.2 * (1 / 0.1 + 1 / 0.2 + 1 / 0.3) - 3.0)


def test_what_is_alike_and_round_costs_nothing() -> None:
    flat = symmetric.isotropic(np.full(N, 0.17))
    for function in RESTRAINTS.values():
        value, gradient = function(flat)
        assert value == pytest.approx(0.0, abs=1e-12)
        np.testing.assert_allclose(gradient, 0.0, atol=1e-9)


def test_absurd_u_keeps_everything_finite() -> None:
    u = np.array([[0.1, 0.1, 0.1, 0.3, 0, 0], [0, 0, 0, 0, 0, 0], [-0.2, -0.1, -0.3, 0, 0, 0], [9e2, 1, 1, 0, 0, 0]])
    pairs = np.array([0, 1, 2]), np.array([1, 2, 3])
    along = np.eye(3)
    for value, gradient in (
        adp_aniso.kl(u, *pairs, np.ones(3)), adp_aniso.shape(u, *pairs, np.ones(3)),
        adp_aniso.rigid_bond(u, *pairs, along, np.ones(3)), adp_aniso.sphericity(u, np.ones(4)),
    ):  # fmt: skip
        assert np.isfinite(value)
        assert value > 0
        assert np.isfinite(gradient).all()


def test_of_nothing() -> None:
    none, u = np.zeros(0, int), np.zeros((0, 6))
    for value, gradient in (
        adp_aniso.kl(u, none, none, np.zeros(0)),
        adp_aniso.shape(u, none, none, np.zeros(0)),
        adp_aniso.rigid_bond(u, none, none, np.zeros((0, 3)), np.zeros(0)),
        adp_aniso.sphericity(u, np.zeros(0)),
    ):
        assert value == 0.0
        assert gradient.shape == (0, 6)


def _second(function: Restraint, u: np.ndarray, s: np.ndarray) -> float:
    """Second derivative along S of the value at U = R exp(tS) R, at t = 0."""
    root = symmetric.root(u)
    h = 1e-3
    f = [function(symmetric.product(root, symmetric.Exponential.of(t * s).value()))[0] for t in (-h, 0.0, h)]
    return (f[0] - 2.0 * f[1] + f[2]) / h**2


def _of_pairs(blocks: tuple[np.ndarray, np.ndarray, np.ndarray], s: np.ndarray) -> float:
    one, both, two = blocks
    a, b = s[ONE], s[TWO]
    paths = (("pi,pij,pj", a, one, a), ("pi,pij,pj", b, two, b), ("pi,pij,pj", 2.0 * a, both, b))
    return float(sum(np.einsum(path + "->", *arrays) for path, *arrays in paths))


def test_second_derivatives_by_s() -> None:
    """Of any tensors, exact for `kl`, `shape` and `sphericity`; of `rigid_bond` where it is fulfilled."""
    u = U[VALUES.min(axis=1) > adp_aniso.U_FLOOR]
    u = np.tile(u, (2, 1))[:N]
    s = RNG.normal(size=(N, 6))
    six = s @ symmetric.STRAINS
    expected = _of_pairs(adp_aniso.kl_curvature(u, ONE, TWO, W), s)
    assert _second(RESTRAINTS["kl"], u, six) == pytest.approx(expected, rel=1e-4)
    expected = _of_pairs(adp_aniso.shape_curvature(u, ONE, TWO, W), s)
    assert _second(RESTRAINTS["shape"], u, six) == pytest.approx(expected, rel=1e-4)
    expected = float(np.einsum("ni,nij,nj->", s, adp_aniso.sphericity_curvature(u, W[:N]), s))
    assert _second(RESTRAINTS["sphericity"], u, six) == pytest.approx(expected, rel=1e-4)
    alike = np.tile(U[2], (N, 1))
    expected = _of_pairs(adp_aniso.rigid_bond_curvature(alike, ONE, TWO, E, W), s)
    assert _second(RESTRAINTS["rigid bond"], alike, six) == pytest.approx(expected, rel=1e-4)


def test_second_derivatives_are_not_negative() -> None:
    one, both, two = (sum(parts) for parts in zip(
        adp_aniso.kl_curvature(U, ONE, TWO, W), adp_aniso.shape_curvature(U, ONE, TWO, W),
        adp_aniso.rigid_bond_curvature(U, ONE, TWO, E, W),
    ))  # fmt: skip
    pairs = np.concatenate(
        [np.concatenate([one, both], axis=2), np.concatenate([both.transpose(0, 2, 1), two], axis=2)], axis=1
    )
    for blocks in (pairs, adp_aniso.sphericity_curvature(U, W[:N])):
        values = np.linalg.eigvalsh(blocks)
        assert (values[:, 0] >= -1e-9 * values[:, -1]).all()
    # All of a pair grown or shrunk alike changes nothing that is compared.
    alike = np.tile(symmetric.isotropic(0.1), (N, 1))
    for one, both, _ in (
        adp_aniso.kl_curvature(alike, ONE, TWO, W), adp_aniso.rigid_bond_curvature(alike, ONE, TWO, E, W)
    ):  # fmt: skip
        np.testing.assert_allclose(one + both, 0.0, atol=1e-9)


def test_flat_u_are_made_rounder_by_their_smallest_eigenvalue() -> None:
    """Most are told to be round enough without eigenvalues; none of them wrongly."""
    rng = np.random.default_rng(8)
    axes = np.linalg.qr(rng.normal(size=(4000, 3, 3)))[0]
    values = adp_aniso.U_FLOOR * 10.0 ** rng.uniform(-0.5, 2.0, (4000, 3))
    values *= rng.choice([1.0, 1.0, 1.0, -1.0], (4000, 3))
    u = symmetric.six((axes * values[:, None, :]) @ axes.transpose(0, 2, 1))
    short = np.maximum(adp_aniso.U_FLOOR - symmetric.eigenvalues(u)[:, 0], 0.0)
    assert 500 < (short == 0.0).sum() < 3500
    np.testing.assert_allclose(adp_aniso._safe(u), u + symmetric.isotropic(short), rtol=0.0, atol=1e-10)
    assert np.isnan(adp_aniso._safe(np.full((1, 6), np.nan))).all()
