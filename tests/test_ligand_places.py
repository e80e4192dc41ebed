"""Ligands as rigid fragments about bonds that turn: derivatives, which may move, and that they come to their places."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gemmi
import numpy as np
import pytest
from drawn import built
from peptide import add_waters, lone_residue, peptide_in_cell
from synthetic import as_data

import arrayrefine as ar
from arrayrefine.atoms import Atoms
from arrayrefine.monomers import load_monomers
from arrayrefine.options import Options
from arrayrefine.problem import Problem
from arrayrefine.rebuilding import better_ligands, ligands
from arrayrefine.rebuilding.better_ligands import Placed, told, with_better_ligands
from arrayrefine.rebuilding.better_places import Trial
from arrayrefine.rebuilding.ligands import Bonded, Ligands, joined_residues, ligand_of, pieces_of
from arrayrefine.rebuilding.occurrences import Occurrences
from arrayrefine.rebuilding.side_chains import Poses
from arrayrefine.restraints import taken
from arrayrefine.state import State, evaluate

NAME = "MES"
"""The ligand of the crystal that tests make up."""
HINGE = ("CG", "CD")
"""A bond of folate that turns."""


def ligand(name: str, **how: Any) -> tuple[Atoms, Ligands]:
    atoms, restraints = built(name, **how)
    found = ligand_of(Bonded.of(atoms, restraints), np.unique(atoms.identity.residue), 20.0)
    assert found is not None
    return atoms, found


def bonds_of(atoms: Atoms, kind: Ligands) -> set[frozenset[str]]:
    names = atoms.identity.atom_name[kind.rows[0]]
    return {frozenset(names[pair].tolist()) for pair in kind.axes}


def test_single_bonds_turn_and_rings_and_flat_ones_do_not() -> None:
    atoms, kind = ligand("FOL")
    turning = bonds_of(atoms, kind)
    assert {frozenset(pair) for pair in (HINGE, ("C6", "C9"), ("C9", "N10"), ("CA", "CB"), ("CA", "CT"))} <= turning
    assert frozenset(("C", "N")) not in turning  # an amide
    assert frozenset(("C11", "C12")) not in turning  # a ring
    assert frozenset(("C", "O")) not in turning  # nothing beyond
    assert len(kind.beyond) == len(turning) == kind.depth.max()
    assert np.bincount(kind.depth).argmax() == 0
    assert kind.numbers.tolist() == np.unique(atoms.identity.residue).tolist()


def test_ions_and_what_does_not_hang_together_are_none() -> None:
    for name, how in (("MG", {}), ("EDO", {"lacks": ("C1",)}), ("ACT", {"lacks": ("O",)}), ("MES", {"lacks": ("C7",)})):
        atoms, restraints = built(name, **how)  # type: ignore[arg-type]
        assert ligand_of(Bonded.of(atoms, restraints), np.unique(atoms.identity.residue), 20.0) is None


def test_atoms_without_bonds_are_no_ligand() -> None:
    atoms, restraints = built("MES")
    none = dataclasses.replace(restraints, bonds=taken(restraints.bonds, np.zeros(len(restraints.bonds.ideal), bool)))
    assert ligand_of(Bonded.of(atoms, none), np.unique(atoms.identity.residue), 20.0) is None


def test_values_are_found_where_they_stand() -> None:
    values = np.random.default_rng(1).integers(0, 9, (20, 2))
    found = Occurrences.of(values)
    for wanted in ([], [3], [7, 2, 2], [11]):
        np.testing.assert_array_equal(found.at(np.array(wanted, int)), np.flatnonzero(np.isin(values, wanted)))


@pytest.mark.parametrize(("limit", "value"), [("_MOST", 20), ("_MOST_BONDS", 3)])
def test_large_ligands_are_left_alone(monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    atoms, restraints = built("FOL")
    numbers = np.unique(atoms.identity.residue)
    assert ligand_of(Bonded.of(atoms, restraints), numbers, 20.0) is not None
    monkeypatch.setattr(ligands, limit, value)
    assert ligand_of(Bonded.of(atoms, restraints), numbers, 20.0) is None


@pytest.mark.parametrize("size", [0.0, 0.6])
def test_places_by_poses(size: float) -> None:
    atoms, kind = ligand("FOL")
    kind, rng = kind.taken([0, 0, 0]), np.random.default_rng(1)
    k = len(kind.axes)
    poses = Poses(*(rng.normal(0.0, s, (3, n)) for s, n in ((100.0 * size, k), (size, 3), (size, 3))))
    placed = kind.posed(atoms.xyz, poses)
    found = kind.by_pose(atoms.xyz, poses, placed)
    assert found.shape == (3, kind.rows.shape[1], 3, 6 + k)
    for n in range(6 + k):
        step = np.zeros((3, 6 + k))
        step[:, n] = 1e-5
        ahead, behind = (kind.posed(atoms.xyz, poses.changed(s)) for s in (step, -step))
        np.testing.assert_allclose(found[..., n], (ahead - behind) / 2e-5, atol=1e-6)


def test_poses_bend_nothing() -> None:
    atoms, restraints = built("FOL")
    kind = ligand_of(Bonded.of(atoms, restraints), np.unique(atoms.identity.residue), 20.0)
    assert kind is not None
    np.testing.assert_allclose(kind.posed(atoms.xyz, Poses.of(kind.chi(atoms.xyz)))[0], atoms.xyz[kind.rows[0]])
    rng = np.random.default_rng(2)
    poses = Poses(rng.uniform(-180, 180, (1, len(kind.axes))), rng.normal(size=(1, 3)), rng.normal(size=(1, 3)))
    xyz = atoms.xyz.copy()
    xyz[kind.rows[0]] = kind.posed(atoms.xyz, poses)[0]
    for index in (restraints.bonds.index, restraints.angles.index[:, [0, 2]]):
        index = index[~atoms.is_hydrogen[index].any(axis=1)]
        was, now = (np.linalg.norm(x[index[:, 0]] - x[index[:, 1]], axis=1) for x in (atoms.xyz, xyz))
        np.testing.assert_allclose(now, was, atol=1e-9)
    one, two = np.array(kind.successive()).T
    np.testing.assert_array_equal(kind.beyond[one] & kind.beyond[two], kind.beyond[two])
    assert len(one) == len(kind.axes) - (kind.beyond[:, 1:].sum(axis=0) == 1).sum()


def test_with_its_hydrogens_a_ligand_is_put_where_it_was_tried() -> None:
    atoms, kind = ligand("FOL")
    poses = Poses(np.full((1, len(kind.axes)), 20.0), np.array([[0.3, -0.2, 0.4]]), np.array([[0.1, 0.2, 0.3]]))
    more = kind.with_also(kind.rows[0, :3], kind.depth[:3])
    np.testing.assert_array_equal(more.posed(atoms.xyz, poses)[:, : len(kind.depth)], kind.posed(atoms.xyz, poses))


def crystal(name: str, waters: Sequence[Sequence[float]] = ()) -> gemmi.Structure:
    """Seven residues, a component as its dictionary draws it, and waters."""
    beside = gemmi.Chain("L")
    drawn = [atom for atom in load_monomers([name]).monlib.monomers[name].atoms if not atom.is_hydrogen()]
    middle = np.mean([atom.xyz.tolist() for atom in drawn], axis=0)
    placed = [(atom.id, atom.el, atom.xyz.tolist() - middle + [15.0, 18.0, 22.0]) for atom in drawn]
    beside.add_residue(lone_residue(name, 1, placed))
    add_waters(beside, waters)
    return peptide_in_cell("P 21 21 21", (30.0, 32.0, 36.0, 90.0, 90.0, 90.0), beside)


def prepared(structure: gemmi.Structure, data: gemmi.Mtz, **how: Any) -> tuple[Problem, State]:
    options = Options(hydrogens="strip", anisotropic="none", **how)
    _, problem, atoms, _ = ar.prepare(structure, data, options)
    return problem, evaluate(problem, atoms)


@pytest.fixture(scope="module")
def right() -> tuple[Problem, State]:
    structure = crystal(NAME)
    return prepared(structure, as_data(structure, 2.0))


def the_ligand(problem: Problem, atoms: Atoms) -> Ligands:
    (kind,) = better_ligands._free(problem, atoms)
    return kind


def put_off(problem: Problem, state: State, turn: float = 40.0) -> State:
    """The ligand shifted, rotated, and turned about some of its bonds."""
    kind, xyz = the_ligand(problem, state.atoms), state.atoms.xyz.copy()
    chi = turn * (np.arange(len(kind.axes)) % 3 - 1.0)[None]
    xyz[kind.rows[0]] = kind.posed(xyz, Poses(chi, np.array([[0.0, 0.1, 0.1]]), np.array([[0.4, -0.3, 0.3]])))[0]
    return evaluate(problem, state.atoms.replace(xyz=xyz))


def rms(problem: Problem, one: State, two: State) -> float:
    rows = the_ligand(problem, one.atoms).rows[0]
    return float(np.sqrt(((one.atoms.xyz - two.atoms.xyz)[rows] ** 2).sum(axis=1).mean()))


def stays(problem: Problem, state: State, far: bool) -> bool:
    found, placed = with_better_ligands(problem, state, far)
    return found is state and placed == ()


def test_what_is_right_stays(right: tuple[Problem, State]) -> None:
    problem, state = right
    for far in (False, True):
        assert stays(problem, state, far)


def test_what_is_wrong_comes_where_the_data_want_it(right: tuple[Problem, State]) -> None:
    problem, state = right
    wrong = put_off(problem, state)
    assert rms(problem, wrong, state) > 0.8
    found, (placed,) = with_better_ligands(problem, wrong, False)
    assert rms(problem, found, state) < 0.2
    assert placed.residue == f"L/{NAME} 1"
    assert placed.gain > 50.0
    assert placed.distance == pytest.approx(rms(problem, wrong, found))
    assert found.statistics.r_free < wrong.statistics.r_free - 0.05
    still = np.setdiff1d(np.arange(len(state.atoms)), the_ligand(problem, state.atoms).rows)
    np.testing.assert_array_equal(found.atoms.xyz[still], wrong.atoms.xyz[still])


def test_nothing_moves_that_is_to_be_kept(right: tuple[Problem, State]) -> None:
    problem, state = right
    wrong = put_off(problem, state)
    kept = dataclasses.replace(problem, options=dataclasses.replace(problem.options, ligands="keep"))
    assert stays(kept, wrong, True)
    still = dataclasses.replace(problem, options=dataclasses.replace(problem.options, targets=("b",)))
    assert stays(still, wrong, True)


def test_a_ligand_without_density_stays() -> None:
    structure = crystal(NAME)
    empty = structure.clone()
    del empty[0]["L"][0]
    problem, state = prepared(structure, as_data(empty, 2.0))
    assert stays(problem, state, True)


def test_a_move_that_log_p_does_not_bear_out_is_not_made(
    right: tuple[Problem, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, state = right
    wrong = put_off(problem, state)
    monkeypatch.setattr(better_ligands, "lost", lambda one, two: -0.5 * better_ligands.WORTH / one.xray.work.sum())
    assert stays(problem, wrong, False)


@pytest.mark.parametrize("mate", [False, True])
def test_waters_in_the_way_are_told(right: tuple[Problem, State], mate: bool) -> None:
    problem, state = right
    place = state.atoms.xyz[the_ligand(problem, state.atoms).rows[0][0]] + np.array([1.0, 0.0, 0.0])
    if mate:  # by the screw axis along c: 1/2 - x, -y, 1/2 + z
        place = np.array([15.0, 0.0, 18.0]) + place * (-1.0, -1.0, 1.0)
    structure = crystal(NAME, [place.tolist()])
    problem, off = prepared(structure, as_data(crystal(NAME), 2.0))
    _, (placed,) = with_better_ligands(problem, put_off(problem, off), False)
    assert placed.waters == ("L/HOH 2",)
    assert told((placed,)).endswith("; waters in the way: L/HOH 2")
    assert told((Placed("A/X 1", 9.6, 0.44, ()),)) == (
        "1 ligand moved as rigid fragments, rms, for the gain in log p: A/X 1 by 0.4 Å (+10)"
    )


def test_a_ligand_of_a_real_crystal_comes_back(case: Callable[[str], Path]) -> None:
    folder = case("1rx2")
    _, problem, atoms, _ = ar.prepare(folder / "model.pdb", folder / "norm.mtz", Options())
    (kind,) = (k for k in better_ligands._free(problem, atoms) if k.residues[0].name == "NAP")
    xyz, k = atoms.xyz.copy(), len(kind.axes)
    chi = 5.0 * (np.arange(k) % 3 - 1.0)[None]
    xyz[kind.rows[0]] = kind.posed(xyz, Poses(chi, np.array([[0.1, 0.0, 0.1]]), np.array([[0.3, -0.3, 0.3]])))[0]
    state = evaluate(problem, atoms.replace(xyz=xyz))
    found, (placed,) = with_better_ligands(problem, state, False)
    away = [float(np.sqrt(((x - atoms.xyz)[kind.rows[0]] ** 2).sum(axis=1).mean())) for x in (xyz, found.atoms.xyz)]
    assert away[0] > 1.5
    assert away[1] < 0.2
    assert placed.residue == "A/NAP 164"


def test_what_is_said_is_how_far_all_moves_took_a_ligand(
    right: tuple[Problem, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sugar that turned, and then went with the one that it hangs on."""
    problem, state = right
    whole = the_ligand(problem, state.atoms)
    outer = dataclasses.replace(whole.residues[0], number=whole.residues[0].number + 1)
    part = dataclasses.replace(
        whole, residues=(outer,), rows=whole.rows[:, :3], depth=whole.depth[:3], axes=whole.axes[:0],
        beyond=whole.beyond[:0],
    )  # fmt: skip
    trials = []
    for kind, shift in ((part, [0.3, 0.0, 0.0]), (whole, [0.0, 0.4, 0.0])):
        poses = Poses(np.zeros((1, len(kind.axes))), np.zeros((1, 3)), np.array([shift]))
        trials.append(Trial(kind, 0, poses, kind.posed(state.atoms.xyz, poses)[0], 8.0))
    monkeypatch.setattr(better_ligands, "_better", lambda *_: [trials.pop(0)] if trials else [])
    monkeypatch.setattr(better_ligands, "_free", lambda *_: [part, whole])
    monkeypatch.setattr(better_ligands, "lost", lambda *_: -1.0)
    found, (all_of_it, beyond) = with_better_ligands(problem, state, False)
    assert beyond.distance == pytest.approx(0.5)
    moved = (found.atoms.xyz - state.atoms.xyz)[whole.rows[0]]
    assert all_of_it.distance == pytest.approx(np.sqrt((moved**2).sum(axis=1).mean()))


def linked(problem: Problem, atoms: Atoms, pairs: list[tuple[int, int]]) -> Problem:
    """With bonds that no library has."""
    bonds, n = problem.restraints.bonds, len(pairs)
    index = np.append(bonds.index, pairs, axis=0)
    more = dataclasses.replace(
        bonds, index=index, ideal=np.append(bonds.ideal, n * [1.5]), sigma=np.append(bonds.sigma, n * [1.0])
    )
    return problem.with_restraints(dataclasses.replace(problem.restraints, bonds=more), atoms)


def hanging(problem: Problem, atoms: Atoms) -> tuple[Problem, Ligands]:
    """The ligand bonded to the side chain of a residue, by whichever atom is next to it."""
    rows, leucine = the_ligand(problem, atoms).rows[0], _leucine(atoms)
    own = rows[np.argmin(np.linalg.norm(atoms.xyz[rows] - atoms.xyz[leucine], axis=1))]
    bonded = linked(problem, atoms, [(int(own), leucine)])
    return bonded, the_ligand(bonded, atoms)


def _leucine(atoms: Atoms) -> int:
    who = atoms.identity
    return int(np.flatnonzero((who.atom_name == "CD1") & (who.residue_name == "LEU"))[0])


def beside_leucine() -> gemmi.Structure:
    """The crystal with its ligand at a side chain, on the side that is away from the chain."""
    structure = crystal(NAME)
    chain, (residue,) = structure[0]["A"], structure[0]["L"]
    end = next(r for r in chain if r.name == "LEU")["CD1"][0].pos
    out = np.array(end.tolist()) - np.mean([atom.pos.tolist() for r in chain for atom in r], axis=0)
    out /= np.linalg.norm(out)
    first = min(residue, key=lambda atom: float(out @ np.array(atom.pos.tolist())))
    shift = end + gemmi.Position(*(1.5 * out)) - first.pos
    for atom in residue:
        atom.pos += shift
    return structure


def test_what_hangs_on_a_side_chain_comes_back() -> None:
    structure = beside_leucine()
    problem, state = prepared(structure, as_data(structure, 2.0))
    problem, kind = hanging(problem, state.atoms)
    assert kind.hangs
    xyz = state.atoms.xyz.copy()
    turns = np.where(kind.axes.min(axis=1) < 0, 25.0, 0.0)[None]
    xyz[kind.rows[0]] = kind.posed(xyz, Poses.of(turns))[0]
    wrong = evaluate(problem, state.atoms.replace(xyz=xyz))
    assert rms(problem, wrong, state) > 0.5
    assert stays(problem, state, False)
    found, (placed,) = with_better_ligands(problem, wrong, False)
    assert placed.residue == f"L/{NAME} 1"
    assert rms(problem, found, state) < 0.2
    still = np.setdiff1d(np.arange(len(state.atoms)), kind.rows)
    np.testing.assert_array_equal(found.atoms.xyz[still], state.atoms.xyz[still])


def test_what_hangs_on_a_side_chain_keeps_its_link(right: tuple[Problem, State]) -> None:
    problem, state = right
    free = the_ligand(problem, state.atoms)
    _, kind = hanging(problem, state.atoms)
    for spread in (better_ligands._NEAR, better_ligands._FAR):
        loose, bound = (better_ligands._drawn(one, 100, spread).poses for one in (free, kind))
        assert np.abs(loose.shift).max() > 0.5
        assert 0.05 < np.abs(bound.shift).max() < 0.5
        assert np.abs(bound.rotation).max() < np.abs(loose.rotation).max()


def test_of_joined_residues_what_is_beyond_a_bond_hangs_on_it() -> None:
    """A chain of three with a branch, on an amino acid."""
    numbers, who = np.array([1, 2, 3, 4]), np.repeat(np.arange(5), 2)
    atoms = SimpleNamespace(identity=SimpleNamespace(residue=who), is_hydrogen=np.zeros(10, dtype=bool))
    within = [(2 * k, 2 * k + 1) for k in range(5)]
    bonds = np.array([*within, (1, 2), (3, 4), (6, 5), (3, 8)])
    found = pieces_of(atoms, numbers, bonds)  # type: ignore[arg-type]
    assert [(piece.tolist(), link) for piece, link in found] == [
        ([1, 2, 3, 4], (2, 1)), ([2, 3], (4, 3)), ([3], (6, 5)), ([4], (8, 3)),
    ]  # fmt: skip
    assert pieces_of(atoms, numbers, np.append(bonds, [(0, 7)], axis=0)) == []  # type: ignore[arg-type]
    ((free, none),) = pieces_of(atoms, numbers, bonds[[1, 2, 3, 4, 6, 7, 8]])  # type: ignore[arg-type]
    assert (free.tolist(), none) == ([1, 2, 3, 4], None)
    ring = pieces_of(atoms, numbers, np.append(bonds, [(7, 9)], axis=0))  # type: ignore[arg-type]
    assert len(ring) == 1


def test_what_hangs_on_a_side_chain_turns_about_the_bonds_before_it(right: tuple[Problem, State]) -> None:
    problem, state = right
    _, kind = hanging(problem, state.atoms)
    atoms, names = state.atoms, state.atoms.identity.atom_name
    assert names[kind.anchor[0]].tolist() == ["CB", "CD2", "CG", "CD1"]
    assert kind.hangs
    assert kind.expected[1] < ligands.EXPECTED[1]
    assert not np.isin(kind.anchor, kind.rows).any()
    assert kind.axes[0].tolist() == [-2, -1]
    k, rng = len(kind.axes), np.random.default_rng(1)
    three = kind.taken([0, 0, 0])
    poses = Poses(rng.normal(0.0, 60.0, (3, k)), rng.normal(0.0, 0.1, (3, 3)), rng.normal(0.0, 0.1, (3, 3)))
    placed = three.posed(atoms.xyz, poses)
    found = three.by_pose(atoms.xyz, poses, placed)
    for n in range(6 + k):
        step = np.zeros((3, 6 + k))
        step[:, n] = 1e-5
        ahead, behind = (three.posed(atoms.xyz, poses.changed(s)) for s in (step, -step))
        np.testing.assert_allclose(found[..., n], (ahead - behind) / 2e-5, atol=1e-6)
    turned = kind.posed(atoms.xyz, Poses.of(50.0 + kind.chi(atoms.xyz)))[0]
    own = int(kind.axes[kind.axes.max(axis=1) >= 0].max(axis=1)[0])
    for atom in kind.anchor[0][-2:]:  # the bond of the link, and the angle at it
        before, after = (np.linalg.norm(x - atoms.xyz[atom]) for x in (atoms.xyz[kind.rows[0][own]], turned[own]))
        assert after == pytest.approx(before)


def test_conformers_and_what_is_bound_or_fixed_stay(right: tuple[Problem, State]) -> None:
    problem, state = right
    atoms = state.atoms
    rows = the_ligand(problem, atoms).rows[0]
    altloc = atoms.identity.altloc.copy()
    altloc[rows[:3]] = "A"
    split = dataclasses.replace(atoms, identity=dataclasses.replace(atoms.identity, altloc=altloc))
    assert better_ligands._free(problem, split) == []
    with_links = linked(problem, atoms, [(0, int(rows[4])), (8, int(rows[0]))])
    assert better_ligands._free(with_links, atoms) == []
    groups, between = joined_residues(atoms, with_links.restraints.bonds.index)
    assert [len(group) for group in groups] == [1]
    assert len(between) == 0  # a bond to a chain is none within
    frozen = dataclasses.replace(problem.options, freeze=("xyz: chain L",))
    assert better_ligands._free(dataclasses.replace(problem, options=frozen), atoms) == []


def test_bonds_that_turn_other_residues_only_are_left_to_these(right: tuple[Problem, State]) -> None:
    problem, state = right
    bonded, kind = hanging(problem, state.atoms)
    assert kind.own.all()
    assert the_ligand(problem, state.atoms).own.all()
    turns = kind.beyond[:, kind.depth]  # atoms by axis
    k = int(np.argmin(np.where(turns.sum(axis=1) > 1, turns.sum(axis=1), len(kind.depth))))
    who = state.atoms.identity
    residue, own = who.residue.copy(), int(kind.residues[0].number)
    residue[kind.rows[0][turns[k]]] = other = int(who.residue.max()) + 1
    parted = dataclasses.replace(state.atoms, identity=dataclasses.replace(who, residue=residue))
    near = int(kind.rows[0][np.argmin(np.linalg.norm(
        state.atoms.xyz[kind.rows[0]] - state.atoms.xyz[kind.anchor[0, -1]], axis=1
    ))])  # fmt: skip
    both = np.array([own, other])
    two = ligand_of(Bonded.of(parted, bonded.restraints), both, 20.0, (near, int(kind.anchor[0, -1])))
    assert two is not None
    assert better_ligands._called(two, parted) == f"L/{NAME} 1 and 1 joined to it"
    np.testing.assert_array_equal(two.axes, kind.axes)
    alone = ~(turns & ~turns[k]).any(axis=1)
    assert 0 < alone.sum() < len(alone)
    np.testing.assert_array_equal(two.own, ~alone)
    tried = better_ligands._one_bond(two, two.own)
    assert len(tried) == 1 + 3 * (~alone).sum()
    assert not tried[:, alone].any()


def test_bonds_are_not_turned_where_all_is_found(right: tuple[Problem, State], monkeypatch: pytest.MonkeyPatch) -> None:
    problem, state = right
    looked: list[int] = []
    real = better_ligands.foreseen

    def counted(scores: Any, xyz: Any, tried: Any) -> Any:
        looked.extend(len(one) for one in tried)
        return real(scores, xyz, tried)

    monkeypatch.setattr(better_ligands, "foreseen", counted)
    assert stays(problem, state, False)
    assert looked == []
    with_better_ligands(problem, put_off(problem, state), False)
    assert looked
