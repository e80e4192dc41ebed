"""Anisotropic atoms by direct summation: gradient, symmetry, and against the density on a grid."""

from __future__ import annotations

import numpy as np
import pytest
from checks import check_direction
from synthetic import crystal, random_hkl

from arrayrefine.kernels import summation, symmetric
from arrayrefine.kernels.density_aniso import gather_aniso, splat_aniso

GROUPS = ["P 1", "P 1 21 1", "R 3:H", "P 61 2 2", "I 2 3"]


def _problem(group: str, n: int = 9, d_min: float = 2.0, ratio: float = 10.0):
    """Arguments of `summation.structure_factors`, with one element and scattering of one electron."""
    box, rng = crystal(group), np.random.default_rng(3)
    hkl = random_hkl(box, d_min, 80)
    axes = np.linalg.qr(rng.normal(size=(n, 3, 3)))[0]
    value = rng.uniform(0.03, 0.05, (n, 3)) * np.array([1.0, 2.0, ratio])
    u = symmetric.six((axes * value[:, None, :]) @ axes.transpose(0, 2, 1))
    arguments = {
        "hkl": hkl, "s_squared": box.inverse_d_squared(hkl), "fractional": rng.uniform(-0.7, 1.6, (n, 3)),
        "b_iso": rng.uniform(0.0, 5.0, n), "occupancy": rng.uniform(0.3, 1.0, n),
        "form_factor": np.ones((1, len(hkl))), "element": np.zeros(n, int), "rotations": box.rotations,
        "translations": box.translations, "u_aniso": u, "frac": box.frac,
    }  # fmt: skip
    return box, arguments


def _d_f(n: int) -> np.ndarray:
    rng = np.random.default_rng(4)
    return rng.normal(size=n) + 1j * rng.normal(size=n)


@pytest.mark.parametrize("group", GROUPS)
def test_isotropic_u_is_b(group: str) -> None:
    _, given = _problem(group)
    b = np.linspace(3.0, 50.0, 9)
    given |= {"b_iso": b, "u_aniso": np.zeros((9, 6))}
    expected = summation.structure_factors(**given)
    as_u = given | {"b_iso": np.zeros(9), "u_aniso": symmetric.isotropic(b / (8.0 * np.pi**2))}
    np.testing.assert_allclose(summation.structure_factors(**as_u), expected, atol=1e-10)
    without = {k: v for k, v in given.items() if k not in ("u_aniso", "frac")}
    np.testing.assert_allclose(summation.structure_factors(**without), expected, atol=1e-12)
    d_f = _d_f(len(expected))
    plain, mixed = summation.gradient(d_f, **without), summation.gradient(d_f, **given)
    assert (len(plain), len(mixed)) == (3, 4)
    for a, b in zip(plain, mixed):
        np.testing.assert_allclose(a, b, atol=1e-9)
    np.testing.assert_allclose(symmetric.trace(mixed[3]) / (8.0 * np.pi**2), plain[1], atol=1e-10)


@pytest.mark.parametrize("group", GROUPS)
def test_gradient(group: str) -> None:
    _, given = _problem(group)
    d_f, rng = _d_f(len(given["hkl"])), np.random.default_rng(5)
    slopes = dict(zip(("fractional", "b_iso", "occupancy", "u_aniso"), summation.gradient(d_f, **given)))
    for name, gradient in slopes.items():
        change = rng.normal(size=gradient.shape)
        check_direction(
            lambda t, name=name, change=change: float(
                np.vdot(d_f, summation.structure_factors(**(given | {name: given[name] + t * change}))).real
            ),
            float((gradient * change).sum()), 1e-4, 1e-7, name,
        )  # fmt: skip


@pytest.mark.parametrize("group", GROUPS)
def test_an_atom_and_its_mate_scatter_alike(group: str) -> None:
    """U turns with the operator that moves its atom."""
    box, given = _problem(group)
    rotation, translation = box.rotations[-1], box.translations[-1]
    turn = box.orth @ rotation @ box.frac
    moved = given | {
        "fractional": given["fractional"] @ rotation.T + translation,
        "u_aniso": symmetric.six(turn @ symmetric.matrices(given["u_aniso"]) @ turn.T),
    }
    np.testing.assert_allclose(summation.structure_factors(**moved), summation.structure_factors(**given), atol=1e-9)


@pytest.mark.parametrize("group", ["P 1", "P 21 21 21"])
def test_fft_of_the_density_agrees(group: str) -> None:
    """A random anisotropic model in P 1 of that cell: F and the gradients by x, q and U."""
    box, given = _problem(group, ratio=4.0)
    given |= {"rotations": np.eye(3, dtype=int)[None], "translations": np.zeros((1, 3)), "b_iso": np.zeros(9)}
    hkl, q, shape = given["hkl"], given["occupancy"], tuple(int(n) for n in 5 * np.ceil(box.cell[:3]).astype(int) // 2)
    d_f = _d_f(len(hkl))

    # Everything is blurred on the grid, and sharpened again after.
    blur = 0.2
    sharpen = np.exp(2.0 * np.pi**2 * blur * given["s_squared"])
    # The transform of a exp(−rᵀKr) is exp(−2π² sᵀUs) for K = U⁻¹/2 and a = √(det K/π³).
    precision = 0.5 * symmetric.inverse(given["u_aniso"] + symmetric.isotropic(np.full(9, blur)))
    unit = np.sqrt(symmetric.determinant(precision) / np.pi**3)
    radius = np.sqrt(22.0 / symmetric.eigenvalues(precision)[:, 0])
    atoms = given["fractional"], unit * q, precision, radius, np.ones((9, 1))
    grid = splat_aniso(*atoms, shape, box.orth, np.float64, out=np.zeros((1, 1, *shape)))[0, 0]
    scale = np.linalg.det(box.orth) / grid.size
    f = np.conj(np.fft.fftn(grid))[tuple((hkl % shape).T)] * scale * sharpen
    expected = summation.structure_factors(**given)
    assert np.linalg.norm(f - expected) < 1e-6 * np.linalg.norm(expected)

    pulled = np.zeros(shape, complex)
    np.add.at(pulled, tuple((hkl % shape).T), np.conj(d_f) * sharpen)
    maps = np.fft.ifftn(pulled).real * scale * grid.size
    by_amplitude, by_xyz, by_precision = gather_aniso(maps[None, None], *atoms, box.orth)
    by_x, _, by_q, by_u = summation.gradient(d_f, **given)
    # dK = −½ V dU V and da = −½ a tr(V dU), V = U⁻¹ = 2K.
    inverse = 2.0 * precision
    through = -0.5 * symmetric.product_adjoint(inverse, by_precision)
    through -= (0.5 * by_amplitude * atoms[1])[:, None] * symmetric.COUNTS * inverse
    for found, exact in ((by_xyz, by_x @ box.frac), (by_amplitude * unit, by_q), (through, by_u)):
        assert np.linalg.norm(found - exact) < 1e-5 * np.linalg.norm(exact)


def test_u_needs_the_cell() -> None:
    _, given = _problem("P 1")
    with pytest.raises(ValueError, match="frac"):
        summation.structure_factors(**(given | {"frac": None}))
