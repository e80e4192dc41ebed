"""The minimiser and its change of variable."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sparse
from checks import dot_test
from synthetic import crystal, random_atoms

from arrayrefine import preconditioner, weights
from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.displacements.displacement import B_BOUNDS
from arrayrefine.minimize import Objective, minimise
from arrayrefine.options import Minimiser
from arrayrefine.parameters import Parameters
from arrayrefine.sparse_factor import Cholesky


class Chain:
    """½ Σ k ((x_i − x_{i+1} − d_i)/σ)²: stiff, sparse; minimum 0."""

    def __init__(self, atoms: Atoms, sigma: float) -> None:
        self.n = len(atoms)
        rng = np.random.default_rng(0)
        minimum = atoms.xyz + rng.normal(0, 0.2, atoms.xyz.shape)
        rows = 3 * (self.n - 1)
        data = np.concatenate([np.ones(rows), -np.ones(rows)]) / sigma
        index = (np.tile(np.arange(rows), 2), np.concatenate([np.arange(rows), np.arange(rows) + 3]))
        self.matrix = sparse.csr_matrix((data, index), shape=(rows, 3 * self.n))
        self.normal = self.matrix.T @ self.matrix
        self.right = self.matrix @ minimum.reshape(-1)

    def jacobian(self, _: Atoms):
        return self.matrix

    def __call__(self, atoms: Atoms) -> tuple[float, Gradient]:
        z = self.matrix @ atoms.xyz.reshape(-1) - self.right
        g = (self.matrix.T @ z).reshape(-1, 3)
        return 0.5 * float(z @ z), Gradient(g, np.zeros(self.n), np.zeros(self.n))


class Well:
    """½ h |x − x₀|² + ½ h_b |B − b₀|²."""

    def __init__(self, atoms: Atoms, b: float) -> None:
        self.centre, self.b, self.h = atoms.xyz + 0.05, b, 20.0

    def __call__(self, atoms: Atoms) -> tuple[float, Gradient]:
        dx, db = atoms.xyz - self.centre, atoms.b_iso - self.b
        value = 0.5 * self.h * float((dx**2).sum()) + 0.5 * 0.01 * float((db**2).sum())
        return value, Gradient(self.h * dx, 0.01 * db, np.zeros(len(atoms)))

    def curvature(self, atoms: Atoms) -> Gradient:
        n = len(atoms)
        return Gradient(np.full((n, 3), self.h), np.full(n, 0.01), np.ones(n))


@pytest.fixture
def atoms() -> Atoms:
    made = random_atoms(crystal("P 1"), n=60)
    return made.replace(occupancy=0.9 * made.occupancy)


def _objective(atoms: Atoms, target: str, b: float = 20.0):
    parameters = Parameters.of(atoms, target)
    chain, well = Chain(atoms, 0.01), Well(atoms, b)
    found = weights.Weights(
        1.0 if parameters.xyz.any() else None, 0.0 if parameters.b.any() else None, parameters.fingerprint
    )
    return Objective(parameters, found, well, chain, lambda a: (0.0, Gradient.zeros(len(a)))), chain, well


def test_change_of_variable_is_a_factor_of_the_matrix(atoms: Atoms) -> None:
    objective, chain, well = _objective(atoms, "xyz")
    change = preconditioner.build(objective.parameters, well.curvature(atoms), xyz_matrix=chain.normal, geometry=2.0)
    matrix = (2.0 * chain.matrix.T @ chain.matrix).toarray()
    h = max(20.0 * (1 + 0.02), 1e-3 * matrix.diagonal().mean())  # what the data do not see gets some stiffness
    matrix += h * np.eye(3 * len(atoms))
    rng = np.random.default_rng(1)
    p = rng.normal(size=objective.parameters.size)
    step = change.to_x(p) - change.x0
    assert step @ matrix @ step == pytest.approx(p @ p, rel=1e-8)


@pytest.mark.parametrize("target", ["xyz", "b", "xyz+b", "occupancy", "xyz+b+occupancy"])
@pytest.mark.parametrize("factored", [True, False])
def test_pullback_is_the_adjoint_of_the_change(atoms: Atoms, target: str, factored: bool) -> None:
    """At any p, not only at the start: the map is not linear in B."""
    objective, chain, well = _objective(atoms, target)
    normal = chain.normal if factored else None
    pairs = sparse.diags_array([-np.ones(59), 2.0 * np.ones(60), -np.ones(59)], offsets=[-1, 0, 1]).tocsr()
    change = preconditioner.build(
        objective.parameters, well.curvature(atoms), xyz_matrix=normal, geometry=1.0,
        adp_matrix=pairs if factored else None, adp=0.5,
    )  # fmt: skip
    rng = np.random.default_rng(2)
    p, direction, g = 0.002 * rng.normal(size=(3, objective.parameters.size))
    step = 1e-5
    numeric = (change.to_x(p + step * direction) - change.to_x(p - step * direction)) @ g / (2 * step)
    dot_test(float(numeric), float(direction @ change.pullback(change.to_x(p), g, p)), 1e-5)


def test_a_b_near_its_bound_keeps_it_and_the_others_their_factor(atoms: Atoms) -> None:
    atoms = atoms.replace(b_iso=np.where(np.arange(60) == 7, B_BOUNDS[0], atoms.b_iso))
    objective, _, well = _objective(atoms, "b")
    pairs = sparse.diags_array([-np.ones(59), 2.0 * np.ones(60), -np.ones(59)], offsets=[-1, 0, 1]).tocsr()
    change = preconditioner.build(objective.parameters, well.curvature(atoms), adp_matrix=pairs, adp=0.5)
    assert np.flatnonzero(change.bounded).tolist() == [7]
    lower, upper = change.bounds()
    assert np.isinf(np.delete(lower, 7)).all()
    assert lower[7] == pytest.approx(0.0, abs=1e-12)
    p = np.random.default_rng(3).normal(size=60)
    step = np.log(change.to_x(p) / change.x0)
    p[7] = upper[7]
    furthest = B_BOUNDS[0] * np.exp(preconditioner._LARGEST_LOG)  # that one step can be told to go
    assert change.to_x(p)[7] == pytest.approx(min(B_BOUNDS[1], furthest))
    np.testing.assert_allclose(np.delete(np.log(change.to_x(p) / change.x0), 7), np.delete(step, 7))


def test_preconditioned_minimisation_needs_few_evaluations(atoms: Atoms) -> None:
    objective, chain, well = _objective(atoms, "xyz")
    round_map = preconditioner.build(objective.parameters, well.curvature(atoms), xyz_matrix=chain.normal, geometry=1.0)
    plain = preconditioner.build(objective.parameters, well.curvature(atoms))
    options = Minimiser(max_iterations=500, tolerance=1e-9)
    quick, slow = minimise(objective, round_map, options), minimise(objective, plain, options)
    assert quick.value == pytest.approx(slow.value, rel=1e-3)
    assert quick.evaluations < 20 < slow.evaluations
    assert quick.reason.startswith("converged")
    assert quick.value < quick.start_value


def test_a_gain_that_is_worth_it_is_pursued(atoms: Atoms) -> None:
    objective, _, well = _objective(atoms, "xyz")
    plain = preconditioner.build(objective.parameters, well.curvature(atoms))
    there = minimise(objective, plain, Minimiser(max_iterations=12, tolerance=0.0)).atoms
    objective = Objective(objective.parameters.at(there), objective.weights, well, objective.geometry, objective.adp)
    plain = preconditioner.build(objective.parameters, well.curvature(there))
    options = Minimiser(max_iterations=500, tolerance=0.02)
    soon, late = (minimise(objective, plain, options, worth=worth) for worth in (1.0, 1e-3))
    assert soon.start_value - soon.value < 0.3 * objective.parameters.size  # else the gain itself is the measure
    assert soon.value > late.value
    assert soon.iterations < late.iterations


def test_bounds_hold(atoms: Atoms) -> None:
    objective, _, well = _objective(atoms, "b", b=-30.0)
    change = preconditioner.build(objective.parameters, well.curvature(atoms))
    solution = minimise(objective, change, Minimiser(max_iterations=200, tolerance=1e-12))
    assert np.allclose(solution.atoms.b_iso, 0.5)


def test_iteration_limit_is_the_stated_reason(atoms: Atoms) -> None:
    objective, _, well = _objective(atoms, "xyz")
    change = preconditioner.build(objective.parameters, well.curvature(atoms))
    solution = minimise(objective, change, Minimiser(max_iterations=3, tolerance=0.0))
    assert solution.reason == "reached the limit of 3 iterations"
    assert solution.iterations == 3


def test_a_line_search_that_finds_nothing_is_said_in_words(atoms: Atoms) -> None:
    objective, _, well = _objective(atoms, "xyz")
    change = preconditioner.build(objective.parameters, well.curvature(atoms))

    class Uphill:
        """The gradient points the wrong way."""

        parameters = objective.parameters

        def at(self, x: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = objective.at(x)
            return value, -gradient

    solution = minimise(Uphill(), change, Minimiser())  # type: ignore[arg-type]
    assert solution.reason == "stopped: the line search found no lower value"


def test_interruption_keeps_the_best_point(atoms: Atoms) -> None:
    objective, _, well = _objective(atoms, "xyz")
    change = preconditioner.build(objective.parameters, well.curvature(atoms))
    calls = []
    solution = minimise(objective, change, Minimiser(tolerance=0.0), lambda: calls.append(0) or len(calls) > 15)
    assert solution.reason == "interrupted"
    assert solution.evaluations == 14  # SciPy asks for the start once more
    assert solution.value < solution.start_value
    assert objective.at(objective.parameters.pack(solution.atoms))[0] == pytest.approx(solution.value)


def test_start_at_the_minimum_ends_at_once(atoms: Atoms) -> None:
    objective, _, well = _objective(atoms, "b")
    there = atoms.replace(b_iso=np.full(len(atoms), 20.0))
    objective = Objective(objective.parameters.at(there), objective.weights, well, objective.geometry, objective.adp)
    change = preconditioner.build(objective.parameters, well.curvature(there))
    solution = minimise(objective, change, Minimiser())
    assert solution.evaluations == 1
    assert "gradient is zero" in solution.reason


def test_a_factor_keeps_no_more_than_its_lower_half() -> None:
    matrix = sparse.diags_array([-1.0, 4.0, -1.0], offsets=[-1, 0, 1], shape=(6, 6)).tocsc()
    factor = Cholesky(matrix)
    assert factor._order.base is None  # a view would keep all that SuperLU has
    p = np.arange(6.0)
    np.testing.assert_allclose(factor.adjoint(matrix @ factor.forward(p)), p, atol=1e-12)
