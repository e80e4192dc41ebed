"""What the tensors of all atoms share goes to the scale, and nothing else changes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from synthetic import crystal, random_atoms

import arrayrefine as ar
from arrayrefine.atoms import Atoms
from arrayrefine.displacements.common_anisotropy import common_anisotropy, without_common
from arrayrefine.displacements.displacement import EIGHT_PI_SQUARED, total_u
from arrayrefine.example import DATA, MODEL
from arrayrefine.kernels import symmetric
from arrayrefine.options import Options
from arrayrefine.problem import Problem
from arrayrefine.refinement_step import Path, run_step
from arrayrefine.state import State, evaluate
from arrayrefine.weights import Steering

SHARED = np.array([0.03, -0.01, -0.02, 0.0, 0.008, 0.0])
"""Å²; as a monoclinic crystal allows."""


def with_tensors(atoms: Atoms, u_aniso: np.ndarray, some: np.ndarray | None = None) -> Atoms:
    some = ~atoms.is_hydrogen if some is None else some
    return dataclasses.replace(atoms, anisotropic=some, u_aniso=np.where(some[:, None], u_aniso, 0.0))


def deviations(n: int, seed: int = 0) -> np.ndarray:
    """Traceless tensors whose mean is zero."""
    u = np.random.default_rng(seed).normal(0.0, 0.004, (n, 6))
    u -= u.mean(axis=0)
    return u - symmetric.isotropic(symmetric.trace(u) / 3.0)


def test_it_is_what_all_have_in_common() -> None:
    space = crystal("P 1 21 1")
    atoms = random_atoms(space, 40)
    atoms = dataclasses.replace(atoms, occupancy=np.ones(40), b_iso=np.full(40, 40.0))
    atoms = with_tensors(atoms, deviations(40) + SHARED)
    found = common_anisotropy(atoms, space)
    np.testing.assert_allclose(found, SHARED, atol=1e-12)
    left = without_common(atoms, found)
    np.testing.assert_allclose(left.u_aniso, deviations(40), atol=1e-12)
    np.testing.assert_allclose(left.b_iso, atoms.b_iso)


@pytest.mark.parametrize("space", ["P 21 3", "P 43 21 2", "P 61 2 2", "P 21 21 21"])
def test_it_is_as_symmetric_as_the_crystal(space: str) -> None:
    made = crystal(space)
    atoms = with_tensors(random_atoms(made, 40), np.tile(SHARED + np.array([0.0, 0.0, 0.0, 0.01, 0.0, 0.02]), (40, 1)))
    u = symmetric.matrices(common_anisotropy(atoms, made))
    for rotation in made.primitive_rotations:
        turn = made.orth @ rotation @ made.frac
        np.testing.assert_allclose(turn @ u @ turn.T, u, atol=1e-12)
    assert np.trace(u) == pytest.approx(0.0, abs=1e-12)
    assert np.abs(u).max() == pytest.approx(0.0, abs=1e-12) if space == "P 21 3" else np.abs(u).max() > 0.005


def test_few_tensors_or_groups_share_nothing() -> None:
    space = crystal("P 1 21 1")
    atoms = random_atoms(space, 40)
    few = np.arange(40) < 20
    assert not common_anisotropy(with_tensors(atoms, np.tile(SHARED, (40, 1)), few), space).any()
    assert not common_anisotropy(atoms, space).any()
    tensors = with_tensors(atoms, np.tile(SHARED, (40, 1)))
    group = dataclasses.replace(tensors.tls, group=np.where(few, 0, -1))
    assert not common_anisotropy(dataclasses.replace(tensors, tls=group), space).any()


def test_what_stays_is_possible() -> None:
    atoms = with_tensors(random_atoms(crystal("P 1 21 1"), 40), deviations(40))
    sharp = atoms.replace(b_iso=np.full(40, 2.0))
    left = without_common(sharp, SHARED)
    least = symmetric.eigenvalues(total_u(left))[:, 0]
    assert EIGHT_PI_SQUARED * least.min() > 0.49


@pytest.fixture(scope="module")
def start() -> tuple[Problem, State]:
    _, problem, atoms, _ = ar.prepare(MODEL, DATA, Options(d_min=2.5, tls=("none",)))
    return problem, evaluate(problem, atoms)


def test_the_scale_takes_it_over(start: tuple[Problem, State]) -> None:
    problem, state = start
    u = np.array([6.0, 3.0, -9.0, 0.0, 0.0, 0.0]) / EIGHT_PI_SQUARED
    atoms = with_tensors(state.atoms, np.tile(u, (len(state.atoms), 1)))
    moved, kept = evaluate(problem, atoms), evaluate(problem, atoms, absorb_b=False)
    assert moved.shared == pytest.approx(9.0)
    assert kept.shared == 0.0
    assert np.abs(moved.atoms.u_aniso).max() < 1e-12
    np.testing.assert_array_equal(kept.atoms.u_aniso, atoms.u_aniso)
    change = np.diag(moved.scale.b_aniso - kept.scale.b_aniso)
    np.testing.assert_allclose(change, [6.0, 3.0, -9.0], atol=1.5)
    assert moved.statistics.r_work < kept.statistics.r_work + 1e-4
    small = with_tensors(state.atoms, np.tile(0.1 * u, (len(state.atoms), 1)))
    assert evaluate(problem, small).shared == 0.0
    frozen = dataclasses.replace(problem, options=dataclasses.replace(problem.options, freeze=("b: all",)))
    np.testing.assert_array_equal(evaluate(frozen, atoms).atoms.u_aniso, atoms.u_aniso)


def test_a_step_says_so(start: tuple[Problem, State]) -> None:
    problem, state = start
    u = np.array([6.0, 3.0, -9.0, 0.0, 0.0, 0.0]) / EIGHT_PI_SQUARED
    atoms = with_tensors(state.atoms, np.tile(u, (len(state.atoms), 1)))
    problem = dataclasses.replace(problem, adp=problem.adp.with_tensors(atoms, problem.options.geometry))
    before = evaluate(problem, atoms, absorb_b=False)
    path, step = run_step(problem, Path(before, Steering()), 1, "xyz+b", lambda: False)
    assert path.state is not before
    assert "anisotropy that all U shared" in step.note
