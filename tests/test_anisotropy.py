"""Anisotropic atoms, TLS groups and alternatives: structure factors, targets, parameters, and a real crystal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest
from checks import check_direction, check_target, dot_test
from scipy import sparse
from synthetic import crystal, random_atoms, random_hkl

import arrayrefine as ar
from arrayrefine import preconditioner
from arrayrefine.atoms import Atoms, Gradient, Riding
from arrayrefine.displacements.anisotropy import choose_anisotropic
from arrayrefine.displacements.displacement import U_LIMITS, least_b, parted, possible, sharpest, total_u
from arrayrefine.displacements.tls import NUMBERS, Tls, design
from arrayrefine.errors import InputError
from arrayrefine.example import DATA, MODEL
from arrayrefine.kernels import symmetric
from arrayrefine.occupancies.groups import LEAST, OccupancyGroups
from arrayrefine.parameters import Parameters
from arrayrefine.restraints import Restraints
from arrayrefine.scattering.gaussians import Anisotropic
from arrayrefine.sparse_factor import Cholesky
from arrayrefine.structure_factors import StructureFactors
from arrayrefine.targets.adp import AdpTarget, Shapes
from arrayrefine.targets.adp_curvature import log_matrix, strain_matrix

N = 24


def ellipsoids(n: int, seed: int = 5) -> np.ndarray:
    """U (n, 6) with axes of up to ten to one, Å²."""
    rng = np.random.default_rng(seed)
    frame = np.linalg.qr(rng.normal(size=(n, 3, 3)))[0]
    return symmetric.six(np.einsum("nij,nj,nkj->nik", frame, rng.uniform(0.05, 0.5, (n, 3)), frame))


def model(space_group: str = "P 21 21 21") -> Atoms:
    """Every third atom isotropic, one TLS group over half of the others, an atom on a two-fold, a riding one."""
    atoms = random_atoms(crystal(space_group), N)
    u = ellipsoids(N)
    u[::3] = symmetric.isotropic(atoms.b_iso[::3] / (8 * np.pi**2))
    projection = np.tile(np.eye(6), (N, 1, 1))
    projection[1] = np.diag([1.0, 1.0, 1.0, 0.0, 1.0, 0.0])  # a two-fold along y
    u[1] = projection[1] @ u[1]
    b_iso, u_aniso = parted(u)
    single = np.arange(N) % 3 == 1
    group = np.where(np.arange(N) % 3 == 2, 0, -1)
    group[[3, 6]] = 0
    rng = np.random.default_rng(3)
    tls = Tls(group, atoms.xyz[group == 0].mean(axis=0, keepdims=True), 1e-3 * rng.normal(size=(1, NUMBERS)))
    u_aniso[group < 0] *= single[group < 0, None]
    return dataclasses.replace(
        atoms, b_iso=b_iso, u_aniso=u_aniso, anisotropic=single, u_projection=projection, tls=tls,
        riding=Riding(np.array([0]), np.array([1])),
    )  # fmt: skip


def free(atoms: Atoms) -> Parameters:
    return Parameters.of(atoms, "xyz+b+tls").unfreeze("occupancy")


def by_atoms(atoms: Atoms, seed: int = 8) -> Gradient:
    rng = np.random.default_rng(seed)
    shapes = (atoms.xyz, atoms.b_iso, atoms.occupancy, atoms.u_aniso)
    return Gradient(*(rng.normal(size=a.shape) for a in shapes))


def inner(atoms: Atoms, g: Gradient) -> float:
    parts = ((atoms.xyz, g.xyz), (atoms.b_iso, g.b_iso), (atoms.occupancy, g.occupancy), (atoms.u_aniso, g.u_aniso))
    return float(sum((a * b).sum() for a, b in parts))


@pytest.mark.parametrize("space_group", ["P 1", "P 43 21 2", "R 3:H"])
def test_f_calc_by_fft_and_by_direct_summation(space_group: str) -> None:
    atoms, box = model(space_group), crystal(space_group)
    hkl = random_hkl(box, 2.0, 200)
    direct = StructureFactors(box, hkl, atoms, method="direct")(atoms)
    for accuracy, precision in ((3e-4, "single"), (1e-6, "double")):
        f = StructureFactors(box, hkl, atoms, accuracy=accuracy, precision=precision)(atoms)  # type: ignore[arg-type]
        assert np.linalg.norm(f - direct) < accuracy * np.linalg.norm(direct)


@pytest.mark.parametrize("method", ["fft", "direct"])
def test_gradient_of_f_calc_by_finite_differences(method: str) -> None:
    atoms, box = model("P 43 21 2"), crystal("P 43 21 2")
    hkl = random_hkl(box, 2.0, 200)
    sf = StructureFactors(box, hkl, atoms, method=method, accuracy=1e-7, precision="double")  # type: ignore[arg-type]
    rng = np.random.default_rng(1)
    d_f = rng.normal(size=len(hkl)) + 1j * rng.normal(size=len(hkl))

    def target(at: Atoms) -> tuple[float, Gradient]:
        return float((np.conj(d_f) * sf(at)).real.sum()), sf.pullback(d_f, at)

    check_target(target, atoms, tolerance=2e-5)
    direction = rng.normal(size=(N, 6)) * atoms.anisotropic[:, None]
    slope = target(atoms)[1].u_aniso
    assert slope is not None
    check_direction(
        lambda t: target(atoms.replace(u_aniso=atoms.u_aniso + t * direction))[0], float((slope * direction).sum()),
        1e-5, 2e-5, "by U",
    )  # fmt: skip


def test_sampling_follows_the_sharpest_direction() -> None:
    atoms, box = model(), crystal("P 21 21 21")
    hkl = random_hkl(box, 2.0, 200)
    flat = atoms.replace(b_iso=np.maximum(atoms.b_iso, least_b(atoms)))
    assert (sharpest(flat) < flat.b_iso)[flat.anisotropic].all()
    thin = possible(total_u(flat) * np.where(np.arange(N) == 4, 0.05, 1.0)[:, None])
    b_iso, u_aniso = parted(thin)
    other = flat.replace(b_iso=b_iso, u_aniso=np.where(flat.u_aniso.any(axis=1)[:, None], u_aniso, 0.0))
    sf = StructureFactors(box, hkl, flat)
    assert sf.adapted(flat) is sf
    exact = StructureFactors(box, hkl, other, method="direct")(other)
    assert np.linalg.norm(sf.adapted(other)(other) - exact) < 3e-4 * np.linalg.norm(exact)


def test_pack_and_unpack_are_inverse() -> None:
    atoms = model()
    parameters = free(atoms)
    sizes = parameters.sizes
    assert sizes.u == 6 * int(atoms.anisotropic.sum())
    assert sizes.tls == NUMBERS
    assert sum(sizes) == parameters.size
    same = parameters.unpack(parameters.pack(atoms))
    for name in ("xyz", "b_iso", "occupancy", "u_aniso"):
        np.testing.assert_allclose(getattr(same, name)[1:], getattr(atoms, name)[1:], atol=1e-12)
    assert parameters.describe() == "69 xyz + 15 b + 23 occupancy + 48 u + 20 tls"


def test_pullback_is_the_adjoint_of_unpack() -> None:
    atoms = model()
    parameters = free(atoms)
    rng = np.random.default_rng(4)
    x, dx = parameters.pack(atoms), 1e-5 * rng.normal(size=parameters.size)
    g = by_atoms(atoms)
    left = inner(parameters.unpack(x + dx), g) - inner(parameters.unpack(x - dx), g)
    dot_test(left, 2.0 * float(parameters.pullback(g) @ dx), 1e-8)


def test_u_stays_positive_definite_and_within_its_site() -> None:
    atoms = model()
    parameters = free(atoms)
    x = parameters.pack(atoms)
    x[parameters.slices["u"]] = np.random.default_rng(2).normal(size=parameters.sizes.u)
    moved = parameters.unpack(x)
    values = np.linalg.eigvalsh(symmetric.matrices(total_u(moved, moved.anisotropic)))
    assert values.min() > U_LIMITS[0] * (1 - 1e-6)
    assert values.max() < U_LIMITS[1] * (1 + 1e-6)
    np.testing.assert_allclose(total_u(moved)[1, [3, 5]], 0.0, atol=1e-15)
    np.testing.assert_allclose(symmetric.trace(moved.u_aniso), 0.0, atol=1e-12)


def test_tls_of_a_rigid_body() -> None:
    """A libration about z through the origin moves an atom on x along y only."""
    values = np.zeros((1, NUMBERS))
    values[0, 8] = 0.01
    tls = Tls(np.zeros(2, dtype=np.int64), np.zeros((1, 3)), values)
    u = tls.u(np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 5.0]]))
    np.testing.assert_allclose(u, [[0.0, 0.04, 0.0, 0.0, 0.0, 0.0], [0.0] * 6], atol=1e-15)
    # S11 with S33 = -S11: an atom on y moves along x and z together, by both.
    assert (design(np.array([[0.0, 1.0, 0.0]]))[0] @ np.eye(NUMBERS)[12])[4] == pytest.approx(2.0)


@pytest.mark.parametrize("factored", [True, False])
def test_change_of_variable_with_u_and_tls(factored: bool) -> None:
    atoms = model()
    parameters = free(atoms)
    rng = np.random.default_rng(6)
    curvature = Gradient(np.full((N, 3), 50.0), np.full(N, 0.02), np.full(N, 30.0))
    n = parameters.sizes.b + parameters.sizes.u
    pairs = sparse.diags_array([-np.ones(n - 1), 2.0 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1]).tocsr()
    change = preconditioner.build(parameters, curvature, adp_matrix=pairs if factored else None, adp=0.5)
    np.testing.assert_allclose(change.to_x(np.zeros(parameters.size)), parameters.pack(atoms), atol=1e-10)
    p, direction, g = 0.05 * rng.normal(size=(3, parameters.size))
    step = 1e-5
    numeric = (change.to_x(p + step * direction) - change.to_x(p - step * direction)) @ g / (2 * step)
    dot_test(float(numeric), float(direction @ change.pullback(change.to_x(p), g, p)), 1e-6)
    u = change.to_x(60.0 * p)[parameters.slices["u"]].reshape(-1, 6)
    assert (symmetric.eigenvalues(u) > 0.0).all()


def test_tls_block_makes_the_curvature_round() -> None:
    atoms = model()
    parameters = Parameters.of(atoms, "tls")
    h = np.full(N, 0.02)
    change = preconditioner.build(parameters, Gradient(np.zeros((N, 3)), h, np.zeros(N)))
    unit = change.tls[0]
    index, matrix = parameters.group_design
    # One direction s at a time: by U the amplitude changes with s_i s_j, as by B with s²/4.
    s = np.random.default_rng(0).normal(size=(20000, 3))
    s /= np.linalg.norm(s, axis=1, keepdims=True)
    by_u = s[:, [0, 1, 2, 0, 0, 1]] * s[:, [0, 1, 2, 1, 2, 2]] * symmetric.COUNTS * 8 * np.pi**2
    tensor = by_u.T @ by_u / len(s)
    normal = np.einsum("n,nji,jk,nkl->il", h[index], matrix, tensor, matrix)
    np.testing.assert_allclose(np.linalg.eigvalsh(unit.T @ normal @ unit)[5:], 1.0, atol=0.15)


def test_adp_target_by_finite_differences() -> None:
    atoms = model()
    i, j = np.arange(N - 1), np.arange(1, N)
    # Bonds of rigid pairs near each other, so that the direction matters.
    xyz = np.cumsum(np.random.default_rng(1).normal(0.0, 0.8, (N, 3)), axis=0)
    atoms = dataclasses.replace(atoms, xyz=xyz, riding=Riding.none())
    few = i[1::3]
    shapes = Shapes(few, few + 1, np.full(len(few), 30.0), 3.0, 2.0, np.where(atoms.anisotropic, 4.0, 0.0))
    target = AdpTarget("kl", i, j, np.full(len(i), 30.0), shapes=shapes)
    value, gradient = target(atoms)
    rng = np.random.default_rng(0)
    by_xyz, by_b = rng.normal(size=(N, 3)), rng.normal(size=N)
    check_direction(
        lambda t: target(atoms.replace(xyz=atoms.xyz + t * by_xyz))[0], float((gradient.xyz * by_xyz).sum()), 1e-4, 1e-6
    )
    check_direction(
        lambda t: target(atoms.replace(b_iso=atoms.b_iso + t * by_b))[0], float(gradient.b_iso @ by_b), 1e-3, 1e-6
    )
    assert target(atoms.replace(occupancy=0.5 * atoms.occupancy))[0] == value
    assert not gradient.occupancy.any()
    direction = 0.01 * np.random.default_rng(7).normal(size=(N, 6)) * atoms.u_aniso.any(axis=1)[:, None]
    assert gradient.u_aniso is not None
    check_direction(
        lambda t: target(atoms.replace(u_aniso=atoms.u_aniso + t * direction))[0],
        float((gradient.u_aniso * direction).sum()), 1e-3, 1e-6, "by U",
    )  # fmt: skip


def test_strain_matrix_is_the_second_derivative() -> None:
    """By ln B and S of two kinds of atoms, where all are alike and so nothing of it is left out."""
    n = 12
    atoms = random_atoms(crystal("P 1"), n)
    tensor = np.arange(n) % 3 != 0
    tensor[-2:] = False
    flat = dataclasses.replace(
        atoms, anisotropic=tensor, u_aniso=np.zeros((n, 6)), b_iso=np.full(n, 20.0), riding=Riding.none(),
        xyz=np.cumsum(np.random.default_rng(1).normal(0.0, 0.8, (n, 3)), axis=0),
    )  # fmt: skip
    i, j = np.arange(n - 1), np.arange(1, n)
    both = tensor[i] & tensor[j]
    shapes = Shapes(i[both], j[both], np.full(both.sum(), 30.0), 3.0, 2.0, np.where(tensor, 4.0, 0.0))
    target = AdpTarget("kl", i, j, np.full(n - 1, 30.0), shapes=shapes)
    scalar = np.flatnonzero(~tensor)[:-1]  # the last is not refined
    matrix = strain_matrix(target, flat, scalar, np.flatnonzero(tensor))
    assert abs(matrix - matrix.T).max() < 1e-9
    u0 = total_u(flat)
    root = symmetric.root(u0)
    for v in np.random.default_rng(3).normal(size=(4, matrix.shape[0])):

        def value(t: float, v: np.ndarray = v) -> float:
            s = np.zeros((n, 6))
            s[scalar, 0] = v[: len(scalar)]
            s[tensor] = v[len(scalar) :].reshape(-1, 6)
            u = symmetric.product(root, symmetric.Exponential.of(t * s @ symmetric.STRAINS).value())
            b, shape = parted(u)
            return target(flat.replace(b_iso=b, u_aniso=shape))[0]

        h = 1e-3
        second = (value(h) - 2.0 * value(0.0) + value(-h)) / h**2
        assert second == pytest.approx(float(v @ (matrix @ v)), rel=1e-3)
    without = strain_matrix(target, flat, np.arange(n), np.zeros(0, dtype=np.int64))
    assert abs(without - log_matrix(target, flat)).max() < 1e-12


def test_where_the_spread_of_b_is_restrained_only_the_size_of_a_tensor_has_a_curvature() -> None:
    """Σ (B − mean)² by ln B, and by the first component of S: the mean is taken as fixed."""
    atoms = model()
    target = AdpTarget("variance", *(np.zeros(0, dtype=np.int64),) * 2, np.zeros(0))
    found = strain_matrix(target, atoms, np.array([0, 3]), np.array([1])).toarray()
    stiff = 2.0 * atoms.b_iso**2
    assert np.array_equal(found, np.diag([stiff[0], stiff[3], stiff[1], 0.0, 0.0, 0.0, 0.0, 0.0]))


def test_a_matrix_that_cannot_be_factored_in_its_order_is_refused() -> None:
    with pytest.raises(ArithmeticError, match="pivoted"):
        Cholesky(np.array([[0.0, 1.0], [1.0, 0.0]]))


def test_curvatures_of_sizes_and_of_shapes_add_up_whatever_pairs_they_have() -> None:
    n, none = 6, np.zeros(0, dtype=np.int64)
    atoms = random_atoms(crystal("P 1"), n)
    atoms = dataclasses.replace(
        atoms, anisotropic=np.ones(n, dtype=bool), u_aniso=np.zeros((n, 6)), b_iso=np.full(n, 20.0),
        riding=Riding.none(), xyz=np.cumsum(np.random.default_rng(1).normal(0.0, 0.8, (n, 3)), axis=0),
    )  # fmt: skip
    i, j = np.array([0, 1, 2]), np.array([1, 2, 3])
    shapes = Shapes(i + 1, j + 1, np.full(3, 30.0), 3.0, 2.0, np.full(n, 4.0))

    def matrix(i: np.ndarray, j: np.ndarray, shapes: Shapes | None) -> np.ndarray:
        target = AdpTarget("kl", i, j, np.full(len(i), 30.0), shapes=shapes)
        return np.asarray(strain_matrix(target, atoms, none, np.arange(n)).toarray())

    sizes, of_shapes = matrix(i, j, None), matrix(none, none, shapes)
    assert sizes.any()
    assert of_shapes.any()
    np.testing.assert_allclose(matrix(i, j, shapes), sizes + of_shapes, atol=1e-9)
    np.testing.assert_allclose(matrix(np.append(i, i), np.append(j, j), None), 2.0 * sizes, atol=1e-9)
    np.testing.assert_allclose(matrix(i[:1], j[:1], shapes), matrix(i[:1], j[:1], None) + of_shapes, atol=1e-9)


def test_a_tensor_that_is_thin_along_a_line_is_as_wide_as_a_grid_can_show_and_no_other_changes() -> None:
    atoms = random_atoms(crystal("P 1"), 2)
    u = np.array([[0.3, 0.2, 1e-4, 0.0, 0.0, 0.0], [0.3, 0.2, 0.1, 0.0, 0.0, 0.05]])
    b_iso, shape = parted(u)
    atoms = dataclasses.replace(atoms, b_iso=b_iso, u_aniso=shape, anisotropic=np.ones(2, dtype=bool))
    drawn = Anisotropic.of(atoms, np.arange(2), np.zeros(2), 1e-4)
    least = 0.1 / (8.0 * np.pi**2)
    wide = symmetric.matrices(0.5 * symmetric.inverse(drawn.precision))
    np.testing.assert_allclose(np.linalg.eigvalsh(wide[0]), [least, 0.2, 0.3])
    np.testing.assert_allclose(wide[1], symmetric.matrices(u)[1], atol=1e-12)


def test_strain_has_a_limit_that_it_does_not_reach() -> None:
    atoms = model()
    parameters = free(atoms)
    change = preconditioner.build(parameters, Gradient(np.full((N, 3), 50.0), np.full(N, 0.02), np.full(N, 30.0)))
    p = np.zeros(parameters.size)
    p[parameters.slices["u"]] = 1e3
    u0, u = (change.to_x(x)[parameters.slices["u"]].reshape(-1, 6) for x in (0.0 * p, p))
    assert (symmetric.trace(u) < 3.0 * np.e**2 * symmetric.trace(u0)).all()
    assert (symmetric.trace(u) > symmetric.trace(u0)).all()


def test_round_tensors_are_restrained_as_their_b() -> None:
    atoms = random_atoms(crystal("P 1"), N)
    i, j = np.arange(N - 1), np.arange(1, N)
    target = AdpTarget("kl", i, j, np.full(len(i), 30.0))
    tiny = np.zeros((N, 6))
    tiny[:, 3] = 1e-9
    assert target(atoms.replace(u_aniso=tiny))[0] == pytest.approx(target(atoms)[0], rel=1e-9)
    np.testing.assert_allclose(target(atoms.replace(u_aniso=tiny))[1].b_iso, target(atoms)[1].b_iso, rtol=1e-5)


def test_tensors_are_not_compared_with_those_of_mates_that_are_turned(case: Callable[[str], Path]) -> None:
    folder = case("5e5z")
    pairs = []
    for kind in ("none", "all"):
        options = ar.Options(anisotropic=kind, tls=("none",), hydrogens="strip")
        _, problem, atoms, _ = ar.prepare(folder / "model.pdb", folder / "norm.mtz", options)
        pairs.append(set(zip(problem.adp.i.tolist(), problem.adp.j.tolist())))
    box = problem.reflections.crystal
    shift = np.array([[i, j, k] for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]) @ box.orth.T

    def without_turning(i: int, j: int) -> float:
        return float(np.linalg.norm(atoms.xyz[i] - atoms.xyz[j] + shift, axis=1).min())

    assert pairs[1] < pairs[0]
    assert max(without_turning(*pair) for pair in pairs[1]) <= 4.0
    # Further apart than their turned images are; some are near each other in both ways.
    assert sum(without_turning(*pair) > 4.0 for pair in pairs[0] - pairs[1]) > 10


def test_shapes_hold_anisotropic_atoms_only(case: Callable[[str], Path]) -> None:
    folder = case("5e5z")
    _, problem, atoms, notes = ar.prepare(
        folder / "model.pdb", folder / "norm.mtz", ar.Options(anisotropic="not water")
    )
    shapes, restraints = problem.adp.shapes, problem.restraints
    assert isinstance(restraints, Restraints)
    assert shapes is not None
    assert atoms.anisotropic[np.concatenate([shapes.i, shapes.j])].all()
    assert np.array_equal(shapes.round > 0, atoms.anisotropic)
    assert not atoms.anisotropic[atoms.is_hydrogen].any()
    assert any("refined with anisotropic displacements" in note for note in notes)


class TestAlternatives:
    """Occupancies that add up to one."""

    groups = OccupancyGroups(np.array([0, 0, 1, 2, 3, 4, -1, -1]), np.array([7, 7, 7, -1, 2]))

    def atoms(self) -> Atoms:
        atoms = random_atoms(crystal("P 1"), 8)
        return atoms.replace(occupancy=np.array([0.5, 0.5, 0.3, 0.2, 0.9, 1.0, 1.0, 0.4]))

    def test_sum_to_one(self) -> None:
        atoms = self.atoms()
        parameters = Parameters.of(atoms, "occupancy", groups=self.groups)
        assert parameters.sizes.occupancy == 3  # two of three, and one that stands alone; the last has no partner left
        moved = parameters.unpack(np.array([0.2, 0.7, 0.6]))
        assert moved.occupancy.tolist() == pytest.approx([0.2, 0.2, 0.7, 0.1, 0.6, 1.0, 1.0, 0.4])
        beyond = parameters.unpack(np.array([0.7, 0.8, 0.6])).occupancy
        assert beyond[0] + beyond[2] + beyond[3] == pytest.approx(1.0)
        assert beyond[3] == pytest.approx(LEAST / (1.5 + LEAST))
        lower, upper = parameters.bounds()
        assert lower.tolist() == [LEAST, LEAST, 0.0]
        assert upper.tolist() == [1.0 - LEAST, 1.0 - LEAST, 1.0]

    def test_adjoint(self) -> None:
        atoms = self.atoms()
        parameters = Parameters.of(atoms, "occupancy", groups=self.groups)
        x, dx = np.array([0.5, 0.3, 0.9]), np.array([0.01, 0.02, -0.03])
        g = np.random.default_rng(0).normal(size=8)
        left = (parameters.unpack(x + dx).occupancy - parameters.unpack(x).occupancy) @ g
        dot_test(float(left), float(parameters.pullback(Gradient(np.zeros((8, 3)), np.zeros(8), g)) @ dx), 1e-10)

    def test_an_alternative_is_free_as_a_whole_or_not(self) -> None:
        parameters = Parameters.of(self.atoms(), "occupancy", groups=self.groups)
        parameters = dataclasses.replace(parameters, occupancy=np.arange(8) != 3)
        assert parameters.free_groups.tolist() == [3, 4]
        assert parameters.shares

    def test_what_was_not_one_becomes_one(self) -> None:
        atoms = self.atoms().replace(occupancy=np.full(8, 0.2))
        parameters = Parameters.of(atoms, "occupancy", groups=self.groups)
        assert parameters.pack(atoms).tolist() == pytest.approx([1 / 3, 1 / 3, 0.2])


def test_choice_of_anisotropic_atoms() -> None:
    atoms = model()
    for option, d_min, n_work, expected in (
        ("none", 1.0, 10**6, 0),
        ("keep", 3.0, 10, 8),
        ("auto", 1.0, 10**6, N - 1),
        ("auto", 2.5, 10**6, 0),
        ("auto", 1.0, 20, 0),
        ("auto", 1.204, 10**6, N - 1),
        ("auto", 1.21, 10**6, 0),
        ("element C", 3.0, 10, int((atoms.element[1:] == "C").sum())),
    ):
        chosen, notes = choose_anisotropic(atoms, option, d_min, n_work)
        assert int(chosen.anisotropic.sum()) == expected, option
        assert not chosen.u_aniso[~chosen.anisotropic].any()
        assert bool(notes) == (expected > 0 or option != "keep")
        # what is found anew may end anisotropic again: only `auto` does so
        lost = [note for note in notes if "isotropic equivalent" in note]
        assert all(("found anew" in note) == (option == "auto") for note in lost)
        assert bool(lost) == bool((atoms.anisotropic & ~chosen.anisotropic).any())
    most = dataclasses.replace(atoms, anisotropic=np.arange(N) < 20)
    for d_min, groups, ours, expected in (
        (1.2, True, False, N - 1), (1.21, True, False, 0), (1.21, False, False, N - 1), (1.704, False, False, N - 1),
        (1.71, False, False, 0), (2.0, False, True, N - 1), (2.0, True, True, 0),
    ):  # fmt: skip
        chosen, _ = choose_anisotropic(most, "auto", d_min, 10**6, by_group=groups, ours=ours)
        assert int(chosen.anisotropic.sum()) == expected, (d_min, groups, ours)
        if d_min > 1.2:
            assert not choose_anisotropic(atoms, "auto", d_min, 10**6, ours=ours)[0].anisotropic.any()
    kept, _ = choose_anisotropic(atoms, "auto", 2.5, 10**6, frozen=np.arange(N) < 4)
    assert kept.anisotropic.tolist() == (atoms.anisotropic & (np.arange(N) < 4)).tolist()
    assert "only 0.05" in choose_anisotropic(atoms, "all", 3.0, 10)[1][0]
    with pytest.raises(InputError, match=r"^--anisotropic: selection 'colour red'.*; or one of auto, none, keep$"):
        choose_anisotropic(atoms, "colour red", 1.0, 100)


def test_anisotropic_atoms_that_no_step_refines_are_not_called_refined() -> None:
    atoms = model()
    own = atoms.anisotropic
    for refined, frozen, is_refined in (
        (True, None, True), (False, None, False), (True, own, False), (True, own & (np.arange(N) > 4), True),
    ):  # fmt: skip
        _, (note,) = choose_anisotropic(atoms, "keep", 1.0, 10**6, frozen=frozen, refined=refined)
        assert note.startswith("8 atoms ")
        assert ("refined with anisotropic displacements" in note) == is_refined
        assert ("which are not refined" in note) != is_refined
    for options, is_refined in (
        (ar.Options(), True), (ar.Options(cycles=0), False), (ar.Options(targets=("xyz",)), False),
    ):  # fmt: skip
        *_, notes = ar.prepare(MODEL, DATA, dataclasses.replace(options, anisotropic="not water"))
        assert any("which are not refined" in note for note in notes) != is_refined


def test_a_real_crystal_with_anisotropic_atoms(case: Callable[[str], Path], tmp_path: Path) -> None:
    folder = case("6mw0")
    model_path, data = folder / "shaken.pdb", folder / "norm.mtz"
    results = {}
    for option in ("none", "not water"):
        results[option] = ar.refine(model_path, data, ar.Options(cycles=2, anisotropic=option))
    assert results["not water"].r_free < results["none"].r_free
    assert "u" in results["not water"].history[1].weights or results["not water"].history[1].free_parameters > 4 * 91
    results["not water"].write(tmp_path)
    block = gemmi.cif.read(str(tmp_path / "refined.cif")).sole_block()
    assert block.find_value("_refine.pdbx_isotropic_thermal_model") == "MIXED"
    for name in ("refined.cif", "refined.pdb"):
        sites = [a for chain in gemmi.read_structure(str(tmp_path / name))[0] for residue in chain for a in residue]
        tensors = [site for site in sites if site.aniso.nonzero()]
        assert not [g for r in gemmi.read_structure(str(tmp_path / name)).meta.refinement for g in r.tls_groups]
        assert len(tensors) == int(results["not water"].atoms.anisotropic.sum())
        assert all(site.b_iso == pytest.approx(site.b_eq(), abs=0.05) for site in tensors)
        assert all(min(np.linalg.eigvalsh(np.array(site.aniso.as_mat33().tolist()))) > 0 for site in tensors)


def test_round_tensors_of_the_file_come_out_again_where_no_step_changes_them() -> None:
    """Of such B, made U and back, some leave a trace of rounding in the shape, and others none."""
    structure = gemmi.read_structure(str(MODEL))
    for atom in (atom for chain in structure[0] for residue in chain for atom in residue):
        u = round(atom.b_iso / (8 * np.pi**2), 4)
        atom.aniso = gemmi.SMat33f(u, u, u, 0.0, 0.0, 0.0)
    result = ar.refine(structure, DATA, ar.Options(cycles=1, anisotropic="keep", tls=("none",)), stop=lambda: 1)
    sites = [atom for chain in result.to_gemmi()[0] for residue in chain for atom in residue if not atom.is_hydrogen()]
    assert sum(atom.aniso.nonzero() for atom in sites) == len(sites)
    free = ar.refine(MODEL, DATA, ar.Options(cycles=1, anisotropic="all", tls=("none",)), stop=lambda: 1)
    assert not any(atom.aniso.nonzero() for chain in free.to_gemmi()[0] for residue in chain for atom in residue)
