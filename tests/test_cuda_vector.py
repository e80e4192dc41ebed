"""Vectors and atoms on the device against the package's NumPy functions, on the emulated device."""

from __future__ import annotations

import dataclasses
from types import ModuleType

import emulator
import numpy as np
import pytest
from checks import dot_test
from synthetic import crystal, random_atoms

from arrayrefine.atoms import Atoms, Gradient, Riding
from arrayrefine.hydrogens import riding
from arrayrefine.kernels import vector_cuda
from arrayrefine.kernels.backend import launch_counts, reset_launch_counts, to_device, to_host
from arrayrefine.parameters import Parameters


@pytest.fixture(autouse=True)
def _cuda(emulated_cuda: ModuleType) -> None:
    """Every test here runs on the emulator."""


def model(n: int = 150, riders: bool = True, seed: int = 0) -> Atoms:
    """Atoms of which some ride on others (several on one), some lie on special positions, some have no B."""
    atoms = random_atoms(crystal("C 1 2 1"), n, seed)
    rng = np.random.default_rng(seed)
    if not n:
        return atoms
    axis = rng.normal(size=(n, 3))
    axis /= np.linalg.norm(axis, axis=1)[:, None]
    special = rng.random(n) < 0.2
    projection = np.where(special[:, None, None], axis[:, :, None] * axis[:, None, :], np.eye(3))
    child = rng.permutation(n)[: n // 2] if riders else np.zeros(0, dtype=np.int64)
    others = np.setdiff1d(np.arange(n), child)
    parent = rng.choice(others[: max(1, len(others) // 3)], len(child))
    b_iso, occupancy = atoms.b_iso.copy(), atoms.occupancy.copy()
    b_iso[others[:2]] = 0.0
    occupancy[others[1:3]] = 0.0
    return dataclasses.replace(
        atoms, site_projection=projection, riding=Riding(child, parent), b_iso=b_iso, occupancy=occupancy
    )


def parameters_of(atoms: Atoms, seed: int = 1) -> Parameters:
    rng = np.random.default_rng(seed)
    free = ~atoms.riding.mask(len(atoms))
    xyz, b, occupancy = (free & (rng.random(len(atoms)) < share) for share in (0.8, 0.7, 0.3))
    return dataclasses.replace(Parameters.frozen(atoms), xyz=xyz, b=b, occupancy=occupancy)


def layout_of(parameters: Parameters, *references: Atoms) -> vector_cuda.Layout:
    """With several references, each is that of one model."""
    a = parameters.reference
    values = [a.xyz, a.b_iso, a.occupancy]
    if references:
        values = [np.stack([getattr(r, k) for r in references]) for k in ("xyz", "b_iso", "occupancy")]
    return vector_cuda.layout(
        parameters.xyz, parameters.b, parameters.occupancy, a.riding.child, a.riding.parent, a.site_projection, *values
    )


def random_gradient(n: int, seed: int = 2) -> Gradient:
    rng = np.random.default_rng(seed)
    return Gradient(rng.normal(size=(n, 3)), rng.normal(size=n), rng.normal(size=n))


def parts(g: Gradient) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return g.xyz, g.b_iso, g.occupancy


def close(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-12) -> None:
    assert found.shape == expected.shape
    assert np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected)


@pytest.mark.parametrize(("n", "riders"), [(150, True), (150, False), (1, False), (2, True), (129, True)])
def test_unpack_and_pullback_agree_with_parameters(n: int, riders: bool) -> None:
    atoms = model(n, riders)
    parameters = parameters_of(atoms)
    table = layout_of(parameters)
    assert table.size == parameters.size
    x = parameters.pack(atoms) + np.random.default_rng(3).normal(size=parameters.size)
    reset_launch_counts()
    found = vector_cuda.unpack(table, to_device(x))
    expected = parameters.unpack(x)
    for one, two in zip(found, (expected.xyz, expected.b_iso, expected.occupancy), strict=True):
        close(to_host(one), two)
    g = random_gradient(n)
    pulled = vector_cuda.pullback(table, *(to_device(a) for a in parts(g)))
    close(to_host(pulled), parameters.pullback(g))
    folded = vector_cuda.fold(table, *(to_device(a) for a in parts(g)))
    for one, two in zip(folded, parts(riding.fold(atoms, g)), strict=True):
        close(to_host(one), two)
    assert sum(launch_counts().values()) == 3
    with emulator.reversed_order():
        assert np.array_equal(to_host(pulled), to_host(vector_cuda.pullback(table, *(to_device(a) for a in parts(g)))))


def test_pullback_is_the_adjoint_of_unpack() -> None:
    atoms = model()
    parameters = parameters_of(atoms)
    table = layout_of(parameters)
    rng = np.random.default_rng(4)
    x, shift = parameters.pack(atoms), rng.normal(size=parameters.size)
    g = random_gradient(len(atoms))
    ends = [[to_host(a) for a in vector_cuda.unpack(table, to_device(x + t * shift))] for t in (-1.0, 1.0)]
    left = sum(float((g * (b - a)).sum()) / 2 for g, a, b in zip(parts(g), *ends))
    pulled = to_host(vector_cuda.pullback(table, *(to_device(a) for a in parts(g))))
    dot_test(left, float(pulled @ shift), 1e-11)


@pytest.mark.parametrize("own", [False, True])
def test_batch_of_models(own: bool) -> None:
    atoms = model()
    parameters = parameters_of(atoms)
    others = [dataclasses.replace(model(seed=s), riding=atoms.riding) for s in (5, 6)]
    references = [atoms, *others] if own else [atoms] * 3
    table = layout_of(parameters, *references) if own else layout_of(parameters)
    x = np.random.default_rng(3).normal(size=(3, parameters.size)) + 20.0
    gradients = [random_gradient(len(atoms), seed) for seed in range(3)]
    found = [to_host(a) for a in vector_cuda.unpack(table, to_device(x))]
    stacked = [to_device(np.stack(a)) for a in zip(*(parts(g) for g in gradients))]
    pulled = to_host(vector_cuda.pullback(table, *stacked))
    folded = [to_host(a) for a in vector_cuda.fold(table, *stacked)]
    for m, reference in enumerate(references):
        at = dataclasses.replace(reference, site_projection=atoms.site_projection)
        expected = dataclasses.replace(parameters, reference=at).unpack(x[m])
        for one, two in zip(found, (expected.xyz, expected.b_iso, expected.occupancy), strict=True):
            close(one[m], two)
        close(pulled[m], dataclasses.replace(parameters, reference=at).pullback(gradients[m]))
        for one, two in zip(folded, parts(riding.fold(at, gradients[m])), strict=True):
            close(one[m], two)


def test_nothing_is_free_and_no_atoms() -> None:
    atoms = model()
    table = layout_of(Parameters.frozen(atoms))
    found = vector_cuda.unpack(table, to_device(np.zeros(0)))
    close(to_host(found[0]), atoms.xyz)
    assert vector_cuda.pullback(table, *(to_device(a) for a in parts(random_gradient(150)))).shape == (0,)
    nothing = np.zeros(0, dtype=bool)
    table = vector_cuda.layout(
        nothing, nothing, nothing, [], [], np.zeros((0, 3, 3)), np.zeros((0, 3)), np.zeros(0), np.zeros(0)
    )
    assert vector_cuda.unpack(table, to_device(np.zeros(0)))[0].shape == (0, 3)
    assert vector_cuda.pullback(table, *(to_device(a) for a in parts(Gradient.zeros(0)))).shape == (0,)


def test_gaussians_and_their_chain_rule() -> None:
    atoms, box, blur, cutoff = model(), crystal("C 1 2 1"), 12.0, 1e-4
    frac = to_device(box.frac)
    values = [to_device(np.stack([a, a])) for a in (atoms.xyz, atoms.b_iso, atoms.occupancy)]
    fractional, amplitude, exponent, radius = (to_host(a) for a in vector_cuda.gaussians(*values, frac, blur, cutoff))
    k = 4.0 * np.pi**2 / (atoms.b_iso + blur)
    for m in range(2):
        close(fractional[m], box.fractional(atoms.xyz))
        close(exponent[m], k)
        close(amplitude[m], atoms.occupancy * (k / np.pi) ** 1.5)
        close(radius[m], np.sqrt(-np.log(cutoff) / k))
    rng = np.random.default_rng(6)
    d_amplitude, d_exponent = rng.normal(size=(2, len(atoms)))
    on_device = [to_device(a) for a in (atoms.occupancy, k, d_amplitude, d_exponent)]
    d_b, d_q = (to_host(a) for a in vector_cuda.gaussians_pullback(*on_device))

    def value(b: np.ndarray, q: np.ndarray) -> np.ndarray:
        arrays = to_device(atoms.xyz), to_device(b), to_device(q)
        _, a, e, _ = (to_host(v) for v in vector_cuda.gaussians(*arrays, frac, blur, cutoff))
        return d_amplitude * a + d_exponent * e

    b, q, h = atoms.b_iso, atoms.occupancy, 1e-4
    np.testing.assert_allclose(d_b, (value(b + h, q) - value(b - h, q)) / (2 * h), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(d_q, (value(b, q + h) - value(b, q - h)) / (2 * h), rtol=1e-6, atol=1e-8)


def test_the_least_width() -> None:
    one = to_device(np.ones(1))
    found = vector_cuda.gaussians(to_device(np.zeros((1, 3))), -one, one, to_device(np.eye(3)), 0.0, 0.01)
    assert float(found[2][0]) == pytest.approx(4 * np.pi**2 / 0.1)


def test_an_evaluation_can_be_captured(emulated_cuda: ModuleType) -> None:
    atoms = model()
    parameters = parameters_of(atoms)
    table, n, size = layout_of(parameters), len(atoms), parameters.size
    x = to_device(parameters.pack(atoms))
    frac, empty = to_device(np.eye(3)), emulated_cuda.empty
    places, g = (empty((n, 3)), empty(n), empty(n)), tuple(to_device(a) for a in parts(random_gradient(n)))
    forms = empty((n, 3)), empty(n), empty(n), empty(n)
    pulled = empty(size)
    with emulated_cuda.cuda.Stream() as stream:
        stream.begin_capture()
        vector_cuda.unpack(table, x, places)
        vector_cuda.gaussians(*places, frac, 5.0, 1e-4, forms)
        d_b, d_q = vector_cuda.gaussians_pullback(places[2], forms[2], g[1], g[2], (empty(n), empty(n)))
        vector_cuda.pullback(table, g[0], d_b, d_q, pulled)
        graph = stream.end_capture()
        graph.launch()
        first = to_host(places[0]).copy()
        x += 1.0
        pulled[...] = to_device(np.zeros(size))
        graph.launch()
    stream.synchronize()
    moved = parameters.unpack(to_host(x))
    assert not np.array_equal(first, moved.xyz)
    close(to_host(places[0]), moved.xyz)
    fresh = vector_cuda.gaussians_pullback(places[2], forms[2], g[1], g[2], (empty(n), empty(n)))
    close(to_host(pulled), to_host(vector_cuda.pullback(table, g[0], *fresh, empty(size))))


def test_mistakes_are_named(emulated_cuda: ModuleType) -> None:
    atoms = model()
    parameters = parameters_of(atoms)
    table = layout_of(parameters)
    with pytest.raises(ValueError, match="free parameters"):
        vector_cuda.unpack(table, to_device(np.zeros(table.size + 1)))
    with pytest.raises(ValueError, match=r"float64 \(150, 3\) is needed"):
        vector_cuda.pullback(table, *(to_device(a) for a in (np.zeros((149, 3)), np.zeros(150), np.zeros(150))))
    whole = [to_device(np.zeros(shape)) for shape in ((150, 3), (150,), (150,))]
    with pytest.raises(ValueError, match="a contiguous array"):  # a kernel would fill what lies between as well
        vector_cuda.pullback(table, *whole, out=to_device(np.zeros(2 * table.size))[::2])
    with pytest.raises(ValueError, match="ride on others"):
        layout_of(dataclasses.replace(parameters, xyz=np.ones(150, dtype=bool)))
    with pytest.raises(ValueError, match="a batch"):
        vector_cuda.unpack(layout_of(parameters, atoms, atoms), to_device(np.zeros((3, table.size))))
    one, two = to_device(np.zeros(4)), to_device(np.zeros(5))
    with pytest.raises(ValueError, match=r"passes of float64 \(5,\) and float64 \(4,\) cannot be added"):
        vector_cuda.add_pass(one, two)
    with pytest.raises(ValueError, match=r"passes of float32 \(4,\) and float64 \(4,\) cannot"):
        vector_cuda.add_pass(one, to_device(np.zeros(4), np.float32))
