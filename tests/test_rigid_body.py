"""Rigid bodies: the map, its gradient, groups, and chains that are found again."""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest
from checks import check_direction
from synthetic import atoms_from, crystal, random_atoms

from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.displacements.displacement import parted
from arrayrefine.displacements.tls import Tls
from arrayrefine.errors import InputError
from arrayrefine.options import Options
from arrayrefine.preparation import prepare
from arrayrefine.refine import refine
from arrayrefine.state import evaluate
from arrayrefine.steering import rigid_body
from arrayrefine.steering.rigid_body import (
    RigidBodies,
    find_groups,
    left_alone,
    move_groups,
)


def model(sizes: dict[str, int], seed: int = 0) -> Atoms:
    """Chains of random atoms, side by side along x."""
    rng = np.random.default_rng(seed)
    n = sum(sizes.values())
    chain = np.repeat(list(sizes), list(sizes.values()))
    start = 30.0 * np.repeat(np.arange(len(sizes)), list(sizes.values()))
    xyz = rng.uniform(0.0, 10.0, (n, 3)) + np.column_stack([start, 0 * start, 0 * start])
    atoms = atoms_from(xyz, ["C"] * n, np.full(n, 20.0), np.ones(n))
    return dataclasses.replace(atoms, identity=dataclasses.replace(atoms.identity, chain=chain))


def test_pullback_is_the_derivative_of_unpack() -> None:
    atoms = model({"A": 7, "B": 5})
    bodies = RigidBodies(atoms, (atoms.identity.chain == "A", atoms.identity.chain == "B"), ("A", "B"))
    rng = np.random.default_rng(1)
    u_aniso = rng.normal(0.0, 0.1, (len(atoms), 6))
    u_aniso[:3] = 0.0
    atoms = atoms.replace(u_aniso=u_aniso)
    bodies = dataclasses.replace(bodies, reference=atoms)
    aim = atoms.xyz + rng.normal(0.0, 2.0, atoms.xyz.shape)
    x = rng.normal(0.0, 0.6, bodies.size)
    along = rng.normal(size=bodies.size)

    wanted = rng.normal(0.0, 0.1, (len(atoms), 6))

    def value(y: np.ndarray) -> float:
        moved = bodies.unpack(y)
        return float(((moved.xyz - aim) ** 4).sum() + 1e4 * ((moved.u_aniso - wanted) ** 3).sum())

    d, e = bodies.unpack(x).xyz - aim, bodies.unpack(x).u_aniso - wanted
    slope = bodies.pullback(x, Gradient(4.0 * d**3, np.zeros(len(atoms)), np.zeros(len(atoms)), 3e4 * e**2))
    check_direction(lambda t: value(x + t * along), float(slope @ along), 1e-3, 1e-7)
    assert np.allclose(bodies.unpack(np.zeros(bodies.size)).xyz, atoms.xyz)


def test_the_motion_of_a_group_turns_with_it() -> None:
    atoms = model({"A": 9})
    rng = np.random.default_rng(2)
    tls = Tls(np.zeros(9, dtype=np.int64), rng.normal(0.0, 3.0, (1, 3)), rng.normal(0.0, 0.1, (1, 20)), ("A",))
    atoms = atoms.replace(tls=tls, u_aniso=parted(tls.u(atoms.xyz))[1])
    bodies = RigidBodies(atoms, (np.ones(9, dtype=bool),), ("A",))
    moved = bodies.unpack(np.array([0.4, -0.2, 0.9, 1.0, 2.0, -3.0]))
    assert np.allclose(moved.u_aniso, parted(moved.tls.u(moved.xyz))[1])
    assert not np.allclose(moved.u_aniso, atoms.u_aniso, atol=1e-2)


def test_groups_by_chain_take_their_neighbours_along() -> None:
    atoms = model({"A": 60, "B": 60, "L": 3, "W": 2})
    xyz = atoms.xyz.copy()
    xyz[120:123] = [35.0, 5.0, 5.0]  # the small chain lies in B
    xyz[123:] = [[3.0, 4.0, 5.0], [36.0, 5.0, 5.0]]
    bodies = find_groups(atoms.replace(xyz=xyz), ())
    assert bodies.labels == ("chain A", "chain B")
    assert [int(mask.sum()) for mask in bodies.groups] == [61, 64]
    fixed = dataclasses.replace(atoms, multiplicity=np.where(np.arange(len(atoms)) == 0, 2, 1))
    assert not any(mask[0] for mask in find_groups(fixed, ()).groups)
    assert find_groups(model({"A": 20}), ()).labels == ("the model",)


def test_groups_by_selection() -> None:
    atoms = model({"A": 20, "B": 20})
    bodies = find_groups(atoms, ("chain A and 1-10", "chain B"))
    assert [int(mask.sum()) for mask in bodies.groups] == [10, 20]
    with pytest.raises(InputError, match="an earlier group has already"):
        find_groups(atoms, ("chain A", "1-5"))
    with pytest.raises(InputError, match="selects no atom"):
        find_groups(atoms, ("chain Z",))
    with pytest.raises(InputError, match=r"^--rigid-groups: selection 'chain'"):
        find_groups(atoms, ("chain",))


def test_frozen_coordinates_do_not_move_as_rigid_bodies_either(case: Callable[[str], Path]) -> None:
    folder = case("5e5z")
    files = folder / "shaken.pdb", folder / "norm.mtz"
    for options in (
        Options(rigid_body="yes", freeze=("xyz: 2 and name CA",)),
        Options(rigid_body="auto", targets=("b",)),
    ):
        _, problem, atoms, _ = prepare(*files, options)
        start = evaluate(problem, atoms)
        displaced = evaluate(problem, start.atoms.replace(xyz=start.atoms.xyz + 0.7))
        same, step = move_groups(problem, displaced, lambda: False)
        assert step is None
        assert same is displaced


def test_a_displaced_molecule_is_found_again_and_one_in_place_is_left_alone(case: Callable[[str], Path]) -> None:
    folder = case("1dur")
    _, problem, atoms, _ = prepare(folder / "model.pdb", folder / "norm.mtz", Options())
    start = evaluate(problem, atoms)
    same, step = move_groups(problem, start, lambda: False)
    assert same is start
    assert step is None
    bodies = find_groups(start.atoms, ())
    move = np.array([0.03, -0.03, 0.02, 0.6, 0.5, -0.6])
    displaced = evaluate(problem, bodies.unpack(move))
    assert displaced.statistics.r_work > start.statistics.r_work + 0.15
    found, step = move_groups(problem, displaced, lambda: False)
    assert step is not None
    assert step.target == "rigid body"
    said = re.fullmatch(r"1 rigid group moved: the model by (\S+) Å rms, turned by (\S+)°", step.note)
    assert said is not None, step.note
    shift = np.sqrt(((bodies.unpack(move).xyz - start.atoms.xyz) ** 2).sum(axis=1).mean())
    assert float(said[1]) == pytest.approx(shift, abs=0.05)
    assert float(said[2]) == pytest.approx(np.degrees(np.linalg.norm(move[:3])), abs=0.3)
    assert found.statistics.r_work < start.statistics.r_work + 0.01
    left = np.sqrt(((found.atoms.xyz - start.atoms.xyz) ** 2).sum(axis=1).mean())
    assert left < 0.1


@pytest.mark.parametrize(("d_min", "stops_after", "expected"), [(4.5, 9, [8.0, 5.0]), (None, 1, [8.0])])
def test_no_zone_is_begun_beyond_the_data_or_after_a_stop(
    case: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, d_min: float | None, stops_after: int,
    expected: list[float],
) -> None:  # fmt: skip
    folder = case("1dur")
    _, problem, atoms, _ = prepare(folder / "model.pdb", folder / "norm.mtz", Options(d_min=d_min, rigid_body="yes"))
    displaced = evaluate(problem, find_groups(atoms, ()).unpack(np.array([0.03, -0.03, 0.02, 0.6, 0.5, -0.6])))
    zones, made = [], []

    def zone(problem: Any, state: Any, d_min: float, needed: int) -> Any:
        zones.append(d_min)
        return real_zone(problem, state, d_min, needed)

    def minimised(*how: Any) -> Any:
        made.append(real_minimise(*how))
        return made[-1]

    real_zone, real_minimise = rigid_body._zone, rigid_body.minimise
    monkeypatch.setattr(rigid_body, "_zone", zone)
    monkeypatch.setattr(rigid_body, "minimise", minimised)
    found, step = move_groups(problem, displaced, lambda: len(made) >= stops_after)
    assert zones == expected
    assert step is not None
    assert step.note.startswith("1 rigid group moved")
    assert found.statistics.r_work < displaced.statistics.r_work - 0.05


def test_groups_that_ran_away_stay_where_they_were(
    case: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = case("1dur")
    _, problem, atoms, _ = prepare(folder / "model.pdb", folder / "norm.mtz", Options())
    displaced = evaluate(problem, find_groups(atoms, ()).unpack(np.array([0.03, -0.03, 0.02, 0.6, 0.5, -0.6])))
    monkeypatch.setattr(rigid_body, "_FARTHEST", 0.4)
    found, step = move_groups(problem, displaced, lambda: False)
    assert step is not None
    assert step.note.startswith("no rigid group moved: they went 1 Å, further than data lead")
    np.testing.assert_array_equal(found.atoms.xyz, displaced.atoms.xyz)
    monkeypatch.undo()
    for gain, moves in ((5.9, False), (6.1, True)):  # of six numbers each may gain one by chance
        nll = (gain / displaced.xray.work.sum(), 0.0)
        monkeypatch.setattr(rigid_body, "work_nll", lambda one, two, nll=nll: nll)
        found, step = move_groups(problem, displaced, lambda: False)
        assert step is not None
        assert step.note.startswith("1 rigid group moved") is moves
        assert (found is not displaced) is moves


@pytest.mark.parametrize("shift", [0.0, 0.6])
def test_how_far_groups_moved_is_in_the_log(case: Callable[[str], Path], shift: float) -> None:
    folder, heard = case("5e5z"), []
    structure = gemmi.read_structure(str(folder / "model.pdb"))
    structure[0].transform_pos_and_adp(gemmi.Transform(gemmi.Mat33(), gemmi.Vec3(shift, 0.0, 0.0)))
    options = Options(cycles=1, rigid_body="yes", targets=("scale",), hydrogens="strip")
    result = refine(structure, folder / "norm.mtz", options, on_message=heard.append)
    (move,) = [step for step in result.history if step.target == "rigid body"]
    assert move.note in heard
    assert move.note in result.report.warnings
    assert move.note.startswith("1 rigid group moved: the model by " if shift else "no rigid group moved")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cycles": 0}, "--rigid-groups has no effect: there is no cycle"),
        ({"targets": ("b",)}, "--rigid-groups has no effect: no step names xyz"),
        ({"freeze": ("xyz: 3",)}, "the rigid group '1-20' does not move: --freeze holds coordinates of its atoms"),
        ({}, None),
    ],
)
def test_groups_that_cannot_move_are_named(
    case: Callable[[str], Path], options: dict[str, Any], said: str | None
) -> None:
    folder = case("5e5z")
    asked = Options(rigid_groups=("1-20",), **options)
    *_, notes = prepare(folder / "model.pdb", folder / "norm.mtz", asked)
    found = [note for note in notes if note.startswith(("--rigid", "the rigid group"))]
    assert [note.startswith(said or "?") for note in found] == [True] * (said is not None)


def test_asking_for_rigid_bodies_without_a_cycle_is_named(case: Callable[[str], Path]) -> None:
    folder = case("5e5z")
    *_, notes = prepare(folder / "model.pdb", folder / "norm.mtz", Options(rigid_body="yes", cycles=0))
    assert "--rigid-body yes has no effect: there is no cycle" in notes


def test_groups_that_the_trial_leaves_alone_are_named(case: Callable[[str], Path]) -> None:
    folder = case("5e5z")
    for groups in (("1-20",), ()):
        options = Options(cycles=1, rigid_groups=groups, hydrogens="strip")
        said = refine(folder / "model.pdb", folder / "norm.mtz", options).report.cautions
        found = [note for note in said if note.startswith("--rigid-groups has no effect: a trial at low resolution")]
        assert len(found) == len(groups)
    frozen = Options(rigid_groups=("1-20",), freeze=("xyz: all",))
    _, problem, atoms, _ = prepare(folder / "model.pdb", folder / "norm.mtz", frozen)
    assert left_alone(problem, atoms) == []


def test_a_foreseen_shift_is_where_a_parabola_is_least_and_is_probed_nearby() -> None:
    """Two groups with a parameter each: by one Newton step, from a gradient 0.02 Å away; 1 Å where none is least."""
    tried = []

    def objective(k: float) -> Any:
        def at(x: np.ndarray) -> tuple[float, np.ndarray]:
            tried.append(np.abs(x).max())
            return 0.0, k * x - np.array([3.0, -1.0])

        bodies = types.SimpleNamespace(
            reference=None, size=2, groups=(0, 1), lengths=lambda curvature: np.array([2.0, 2.0]), shifts=np.abs
        )
        return types.SimpleNamespace(parameters=bodies, xray=types.SimpleNamespace(curvature=lambda atoms: None), at=at)

    np.testing.assert_allclose(rigid_body.foreseen_shifts(objective(10.0)), [0.3, 0.1])
    assert tried == [0.0, pytest.approx(0.02)]
    np.testing.assert_allclose(rigid_body.foreseen_shifts(objective(-10.0)), [1.0, 1.0 / 3.0])
    flat = objective(10.0)
    flat.at = lambda x: (0.0, np.zeros(2))
    assert rigid_body.foreseen_shifts(flat).tolist() == [0.0, 0.0]


def test_bodies_are_told_apart_by_their_groups() -> None:
    atoms = random_atoms(crystal("P 1"), n=9)
    whole, part = np.ones(9, dtype=bool), np.arange(9) < 5
    asked = ((whole, "A"), (whole, "B"), (part, "A"))
    one, same, other = (RigidBodies(atoms, (mask,), (name,)) for mask, name in asked)
    assert one.fingerprint == same.fingerprint != other.fingerprint
