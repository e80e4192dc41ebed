"""Splat and gather of anisotropic atoms: against a plain sum, against the isotropic kernel, and as an adjoint pair."""

from __future__ import annotations

import numpy as np
import pytest
from checks import check_direction, dot_test
from synthetic import crystal

from arrayrefine.crystal import Crystal
from arrayrefine.kernels import density, exponentials, symmetric
from arrayrefine.kernels.bricks import assign
from arrayrefine.kernels.density_aniso import gather_aniso, splat_aniso

SHAPE = (12, 15, 18)
GROUPS = ["P 1", "tilted", "C 1 2 1", "P 21 21 21", "P 63"]


def _precision(rng: np.random.Generator, n: int, largest_ratio: float = 4.0) -> np.ndarray:
    """K with axes in any direction; lengths of the ellipsoid's axes up to the ratio apart."""
    axes = np.linalg.qr(rng.normal(size=(n, 3, 3)))[0]
    value = rng.uniform(0.4, 0.8, (n, 3)) * np.array([1.0, 1.0, largest_ratio])
    return symmetric.six((axes * value[:, None, :]) @ axes.transpose(0, 2, 1))


def _radius(precision: np.ndarray, exponent: float = 16.0) -> np.ndarray:
    return np.sqrt(exponent / np.linalg.eigvalsh(symmetric.matrices(precision))[:, 0])


def _problem(group: str, n: int = 7, ratio: float = 4.0):
    box = Crystal((12.0, 14.0, 17.0, 80.0, 90.0, 90.0), "P 1") if group == "tilted" else crystal(group)
    rng = np.random.default_rng(1)
    fractional = rng.uniform(-1.2, 1.8, (n, 3))
    precision = _precision(rng, n, ratio)
    return box, (fractional, rng.normal(size=n), precision, _radius(precision), rng.normal(size=(n, 2)))


def _plain(box: Crystal, fractional, amplitude, precision, radius, channel, cells: int = 1) -> np.ndarray:
    """Every atom, every image within so many cells, every point."""
    points = np.stack(np.meshgrid(*(np.arange(n) / n for n in SHAPE), indexing="ij"), axis=-1)
    out = np.zeros((2, *SHAPE))
    images = np.stack(np.meshgrid(*[np.arange(-cells, cells + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    for x, a, k, factors in zip(fractional - np.floor(fractional), amplitude, symmetric.matrices(precision), channel):
        for image in images:
            d = (points - x - image) @ box.orth.T
            out += np.multiply.outer(factors, a * np.exp(-((d @ k) * d).sum(axis=-1)))
    return out[None]


def _empty(dtype: type = np.float64) -> np.ndarray:
    return np.zeros((1, 2, *SHAPE), dtype)


@pytest.mark.parametrize("ratio", [1.0, 100.0], ids=["round", "flat"])
@pytest.mark.parametrize("group", GROUPS)
def test_splat_adds_the_plain_sum(group: str, ratio: float) -> None:
    box, atoms = _problem(group, ratio=ratio)
    before = np.random.default_rng(2).normal(size=(1, 2, *SHAPE))
    expected = before + _plain(box, *atoms)
    for dtype, tolerance in ((np.float64, 3e-6), (np.float32, 5e-5)):
        out = before.astype(dtype)
        assert splat_aniso(*atoms, SHAPE, box.orth, dtype, out=out) is out
        assert np.abs(out - expected).max() < tolerance


@pytest.mark.parametrize("group", GROUPS)
def test_isotropic_atoms_are_those_of_the_isotropic_kernel(group: str) -> None:
    box, (fractional, amplitude, _, _, channel) = _problem(group)
    exponent = np.linspace(0.5, 1.5, 7)
    radius = np.sqrt(30.0 / exponent)
    precision = symmetric.isotropic(exponent)
    maps = np.random.default_rng(5).normal(size=(1, 2, *SHAPE))
    expected = density.splat(fractional, amplitude, exponent, radius, channel, SHAPE, box.orth, np.float64)
    found = splat_aniso(fractional, amplitude, precision, radius, channel, SHAPE, box.orth, np.float64, out=_empty())
    assert np.abs(found - expected).max() < 1e-11
    one = density.gather(maps, fractional, amplitude, exponent, radius, channel, box.orth)
    two = gather_aniso(maps, fractional, amplitude, precision, radius, channel, box.orth)
    for a, b in zip(one, (two[0], two[1], symmetric.trace(two[2]))):
        np.testing.assert_allclose(a, b, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("group", GROUPS)
def test_gather_is_the_adjoint_of_splat(group: str, dtype: type) -> None:
    box, atoms = _problem(group, ratio=50.0)
    maps = np.random.default_rng(3).normal(size=(1, 2, *SHAPE)).astype(dtype)
    grids = splat_aniso(*atoms, SHAPE, box.orth, dtype, out=_empty(dtype))
    by_amplitude, by_xyz, by_precision = gather_aniso(maps, *atoms, box.orth)
    assert {a.dtype for a in (by_amplitude, by_xyz, by_precision)} == {np.dtype(np.float64)}
    tolerance = 1e-12 if dtype is np.float64 else 2e-5
    dot_test(float((grids.astype(float) * maps).sum()), float(atoms[1] @ by_amplitude), tolerance)


@pytest.mark.parametrize("group", GROUPS)
def test_gather_gives_the_derivatives(group: str) -> None:
    box, atoms = _problem(group, ratio=10.0)
    fractional, amplitude, precision, radius, channel = atoms
    rng = np.random.default_rng(4)
    maps = rng.normal(size=(1, 2, *SHAPE))
    _, by_xyz, by_precision = double = gather_aniso(maps, *atoms, box.orth)
    for single, exact in zip(gather_aniso(maps.astype(np.float32), *atoms, box.orth), double):
        assert np.linalg.norm(single - exact) < 3e-5 * np.linalg.norm(exact)

    def value(fractional=fractional, precision=precision) -> float:
        # The cut-off radius is held, as it is in a refinement step.
        grids = splat_aniso(
            fractional, amplitude, precision, radius, channel, SHAPE, box.orth, np.float64, out=_empty()
        )
        return float((grids * maps).sum())

    shift, change = rng.normal(size=fractional.shape), 0.1 * rng.normal(size=precision.shape)
    slope = float((by_xyz * shift).sum())
    check_direction(lambda t: value(fractional=fractional + t * shift @ box.frac.T), slope, 1e-4, 1e-5)
    for direction in (change, change * np.array([1, 1, 1, 0, 0, 0]), change * np.array([0, 0, 0, 1, 1, 1])):
        slope = float((by_precision * direction).sum())
        check_direction(lambda t, d=direction: value(precision=precision + t * d), slope, 1e-4, 1e-5)


@pytest.mark.parametrize("place", [(0.0, 0.0, 0.0), (1.0, -1.0, 0.5), (-1e-17, 1.0 - 1e-16, 17.0 / 18.0)])
def test_one_atom_on_a_face_of_the_cell(place: tuple[float, float, float]) -> None:
    box = crystal("P 1")
    precision = _precision(np.random.default_rng(6), 1)
    atoms = (np.array([place]), np.ones(1), precision, _radius(precision), np.ones((1, 2)))
    found = splat_aniso(*atoms, SHAPE, box.orth, np.float64, out=_empty())
    assert np.abs(found - _plain(box, *atoms)).max() < 3e-6


def test_sphere_wider_than_the_cell_wraps_more_than_once() -> None:
    box, (fractional, amplitude, _, _, channel) = _problem("P 1")
    precision = 0.15 * _precision(np.random.default_rng(7), 7)  # reaches 16 Å in a cell of 12 Å
    atoms = fractional, amplitude, precision, _radius(precision), channel
    found = splat_aniso(*atoms, SHAPE, box.orth, np.float64, out=_empty())
    assert np.abs(found - _plain(box, *atoms, cells=2)).max() < 2e-5


def test_few_atoms_change_only_what_they_reach() -> None:
    """Also where bricks of a row along the grid stay empty; memory of an earlier call must not show."""
    box, shape = crystal("P 21 21 21"), (24, 40, 36)
    rng = np.random.default_rng(11)
    exponent = rng.uniform(3.0, 4.0, 2)
    fractional, amplitude, radius, channel = rng.random((2, 3)), np.ones(2), np.sqrt(30.0 / exponent), np.ones((2, 2))
    start = rng.normal(size=(1, 2, *shape))
    splat_aniso(
        rng.random((50, 3)), np.ones(50), _precision(rng, 50), np.full(50, 3.0), np.ones((50, 2)), shape, box.orth,
        np.float64, out=np.zeros_like(start),
    )  # fmt: skip
    atoms = fractional, amplitude, symmetric.isotropic(exponent), radius, channel
    found = splat_aniso(*atoms, shape, box.orth, np.float64, out=start.copy())
    expected = start + density.splat(fractional, amplitude, exponent, radius, channel, shape, box.orth, np.float64)
    assert np.abs(found - expected).max() < 1e-11
    one = density.gather(start, fractional, amplitude, exponent, radius, channel, box.orth)
    two = gather_aniso(start, *atoms, box.orth)
    for a, b in zip(one, (two[0], two[1], symmetric.trace(two[2]))):
        np.testing.assert_allclose(a, b, atol=1e-9)


def test_no_atoms_add_nothing() -> None:
    none, orth = np.zeros(0), crystal("P 1").orth
    atoms = np.zeros((0, 3)), none, np.zeros((0, 6)), none, np.zeros((0, 2))
    grids = splat_aniso(*atoms, SHAPE, orth, out=np.ones((1, 2, *SHAPE), np.float32))
    assert (grids == 1).all()
    assert [p.shape for p in gather_aniso(grids, *atoms, orth)] == [(0,), (0, 3), (0, 6)]


def test_models_bricks_threads_and_repetition_change_nothing() -> None:
    box, atoms = _problem("P 21 21 21", n=60)
    model = np.random.default_rng(2).integers(0, 3, 60)
    bricks = assign(atoms[0], atoms[3], SHAPE, box.orth, np.float64, model, 3, slack=0.3, joint=True)
    grids = np.zeros((3, 2, *SHAPE))
    splat_aniso(*atoms, SHAPE, box.orth, np.float64, model, 3, bricks=bricks, threads=2, out=grids)
    again = splat_aniso(*atoms, SHAPE, box.orth, np.float64, model, 3, bricks=bricks, out=np.zeros_like(grids))
    assert np.array_equal(grids, again)
    maps = np.random.default_rng(3).normal(size=grids.shape)
    gradient = gather_aniso(maps, *atoms, box.orth, model, bricks=bricks, threads=2)
    for m in range(3):
        own = [a[model == m] for a in atoms]
        single = splat_aniso(*own, SHAPE, box.orth, np.float64, out=_empty())
        np.testing.assert_allclose(grids[m], single[0], atol=1e-5)
        for whole, part in zip(gradient, gather_aniso(maps[m : m + 1], *own, box.orth)):
            np.testing.assert_allclose(whole[model == m], part, atol=1e-4)


def test_grids_and_bricks_that_do_not_fit_are_refused() -> None:
    box, atoms = _problem("P 21 21 21")
    split = assign(atoms[0], atoms[3], SHAPE, box.orth, np.float64)
    with pytest.raises(ValueError, match="joint=True"):
        splat_aniso(*atoms, SHAPE, box.orth, np.float64, bricks=split, out=_empty())
    with pytest.raises(ValueError, match="float32"):
        splat_aniso(*atoms, SHAPE, box.orth, np.float64, out=_empty(np.float32))
    with pytest.raises(ValueError, match="C order"):
        splat_aniso(*atoms, SHAPE, box.orth, np.float64, out=np.zeros((1, *SHAPE, 2)).transpose(0, 4, 1, 2, 3))


@pytest.mark.parametrize("room", [True, False])
def test_gather_with_what_splat_has_kept(room: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not room:
        monkeypatch.setattr(exponentials, "_LARGEST", 100)
    box, (fractional, *rest) = _problem("P 21 21 21")
    radius = rest[2]
    bricks = assign(fractional, radius, SHAPE, box.orth, np.float64, slack=0.5, joint=True)
    keep = exponentials.Exponentials("tensors")
    splat_aniso(fractional, *rest, SHAPE, box.orth, np.float64, bricks=bricks, out=_empty(), keep=keep)
    assert keep.hold(bricks, fractional.copy(), rest[1]) == room
    maps = np.random.default_rng(2).normal(size=_empty().shape)
    for x in (fractional, fractional + 1e-3):  # for other atoms it is not used
        known = gather_aniso(maps, x, *rest, box.orth, bricks=bricks, kept=keep)
        anew = gather_aniso(maps, x, *rest, box.orth, bricks=bricks)
        for a, b in zip(known, anew):
            np.testing.assert_array_equal(a, b)
