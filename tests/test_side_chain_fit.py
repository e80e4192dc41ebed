"""Side chains moved as bodies and about their bonds: derivatives, and that a fit finds where they belong."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine.example import DATA, MODEL
from arrayrefine.options import Options
from arrayrefine.problem import Problem
from arrayrefine.rebuilding.side_chain_fit import fitted
from arrayrefine.rebuilding.side_chain_scores import Candidates, Scores
from arrayrefine.rebuilding.side_chains import Poses, SideChains, side_chains_of
from arrayrefine.state import State, evaluate
from arrayrefine.structure_factors import StructureFactors
from arrayrefine.topology.polymers import residues_of


@pytest.fixture(scope="module")
def start() -> tuple[Problem, State]:
    _, problem, atoms, _ = ar.prepare(MODEL, DATA, Options(d_min=2.0))
    return problem, evaluate(problem, atoms)


def some_poses(kind: SideChains, rng: np.random.Generator, size: float) -> Poses:
    count, length = len(kind.rows), kind.path.shape[1] - 3
    moves = (rng.normal(0.0, size, (count, 3)) for _ in range(2))
    return Poses(rng.uniform(-180.0, 180.0, (count, length)), *moves)


@pytest.mark.parametrize("size", [0.0, 0.4])
def test_places_by_poses(start: tuple[Problem, State], size: float) -> None:
    xyz, rng = start[1].atoms.xyz, np.random.default_rng(1)
    for kind in side_chains_of(residues_of(start[1].atoms)):
        poses = some_poses(kind, rng, size)
        found = kind.by_pose(xyz, poses, kind.posed(xyz, poses))
        for k in range(found.shape[-1]):
            step = np.zeros((len(kind.rows), found.shape[-1]))
            step[:, k] = 1e-5
            ahead, behind = (kind.posed(xyz, poses.changed(s)) for s in (step, -step))
            np.testing.assert_allclose(found[..., k], (ahead - behind) / 2e-5, atol=1e-7)


def test_poses_that_turn_nothing_are_torsions_alone(start: tuple[Problem, State]) -> None:
    xyz = start[1].atoms.xyz
    kind = next(k for k in side_chains_of(residues_of(start[1].atoms)) if k.name == "LEU")
    chi = kind.chi(xyz) + 10.0
    np.testing.assert_allclose(kind.posed(xyz, Poses.of(chi)), kind.turned(xyz, chi), atol=1e-12)
    shifted = Poses.of(chi)._replace(shift=np.full((len(chi), 3), 0.5))
    np.testing.assert_allclose(kind.posed(xyz, shifted), kind.turned(xyz, chi) + 0.5, atol=1e-12)


def test_none_has_no_derivatives(start: tuple[Problem, State]) -> None:
    kind = side_chains_of(residues_of(start[1].atoms))[0].taken([])
    poses = Poses.of(np.zeros((0, kind.path.shape[1] - 3)))
    assert kind.by_pose(start[1].atoms.xyz, poses, np.zeros((0, kind.rows.shape[1], 3))).shape[0] == 0


def exact(state: State) -> State:
    """The state with structure factors that can be told by differences."""
    factors = state.xray.structure_factors
    double = StructureFactors(factors.crystal, factors.hkl, state.atoms, accuracy=1e-6, precision="double")
    return dataclasses.replace(state, xray=dataclasses.replace(state.xray, structure_factors=double))


def test_values_by_places(start: tuple[Problem, State]) -> None:
    state = exact(start[1])
    scores, rng = Scores(state), np.random.default_rng(2)
    kinds = [kind.taken(range(min(len(kind.rows), 2))) for kind in side_chains_of(residues_of(state.atoms))][:4]
    places = [kind.posed(state.atoms.xyz, some_poses(kind, rng, 0.2)) for kind in kinds]
    along = [rng.normal(size=x.shape) for x in places]
    found = scores.values_and_slopes(kinds, places, scores.plan(kinds))
    ahead = scores.values(kinds, [x + 0.05 * d for x, d in zip(places, along)])
    behind = scores.values(kinds, [x - 0.05 * d for x, d in zip(places, along)])
    here = scores.values(kinds, places)
    for (value, slope), d, one, two, same in zip(found, along, ahead, behind, here):
        np.testing.assert_allclose((slope * d).sum(axis=(1, 2)), (one - two) / 0.1, rtol=0.05, atol=1.0)
        np.testing.assert_allclose(value, same, rtol=1e-9)


def test_a_plan_serves_again_and_a_field_is_the_adjoint(start: tuple[Problem, State]) -> None:
    state = start[1]
    scores, kinds = Scores(state), side_chains_of(residues_of(state.atoms))[:3]
    plan = scores.plan(kinds)
    for shift in (0.0, 0.3, 1.5):
        places = [state.atoms.xyz[kind.rows] + shift for kind in kinds]
        for (one, _), two in zip(scores.values_and_slopes(kinds, places, plan), scores.values(kinds, places)):
            np.testing.assert_allclose(one, two, rtol=1e-3, atol=0.02)
    factors, rng = state.xray.structure_factors, np.random.default_rng(5)
    by_f = rng.normal(size=len(factors.hkl)) + 1j * rng.normal(size=len(factors.hkl))
    known, expected = factors.field(by_f)(factors, state.atoms), factors.pullback(by_f, state.atoms)
    np.testing.assert_array_equal(known.xyz, expected.xyz)
    direct = StructureFactors(factors.crystal, factors.hkl[:200], state.atoms, method="direct")
    known, expected = direct.field(by_f[:200])(direct, state.atoms), direct.pullback(by_f[:200], state.atoms)
    np.testing.assert_array_equal(known.occupancy, expected.occupancy)


def test_a_fit_finds_the_place_nearby(start: tuple[Problem, State]) -> None:
    """Side chains of the example that are well in the density, put off by what rotamers and backbones are off by."""
    state, rng = start[1], np.random.default_rng(4)
    xyz, scores = state.atoms.xyz, Scores(start[1])
    residues = [r for r in residues_of(state.atoms) if r.key[0] in (36, 41, 103, 88, 69, 8)]
    tried, wanted = [], []
    for kind in side_chains_of(residues):
        chi, rows = kind.chi(xyz), np.arange(len(kind.rows))
        moves = (rng.normal(0.0, size, (len(chi), 3)) for size in (0.08, 0.15))
        tried.append(Candidates(kind, rows, Poses(chi + rng.choice([-12.0, 12.0], chi.shape), *moves)))
        wanted.append(scores.as_they_are(kind))
    found = fitted(scores, xyz, tried, wanted)
    assert [len(candidates) for candidates, _, _ in found] == [len(candidates) for candidates in tried]
    for (_, places, value), begun in zip(found, tried):
        kind = begun.of
        away = np.linalg.norm(places - xyz[kind.rows], axis=-1).mean(axis=1)
        before = np.linalg.norm(kind.posed(xyz, begun.poses) - xyz[kind.rows], axis=-1).mean(axis=1)
        assert (away < 0.25).all()
        assert (away < before).all()
        first = scores.values([kind], [kind.posed(xyz, begun.poses)])[0]
        assert (value > first - 5.0).all()


def test_what_stays_far_below_is_given_up(start: tuple[Problem, State]) -> None:
    state = start[1]
    xyz, scores = state.atoms.xyz, Scores(start[1])
    kinds = side_chains_of([r for r in residues_of(state.atoms) if r.key[0] in (36, 103)])
    tried = [Candidates(kind, np.zeros(2, dtype=int), Poses.of(kind.chi(xyz)[[0, 0]])) for kind in kinds]
    wanted = [scores.as_they_are(kind)[[0, 0]] + np.array([0.0, 1e4]) for kind in kinds]
    for found, places, value in fitted(scores, xyz, tried, wanted):
        assert len(found) == len(places) == len(value) == 1
    assert fitted(scores, xyz, tried, [want + 1e4 for want in wanted]) == []
