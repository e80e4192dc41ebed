"""Peptides the wrong way round: where they would be, found by data and torsions, and turned in a refinement."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine.__main__ import main
from arrayrefine.atoms import Atoms
from arrayrefine.example import DATA, MODEL
from arrayrefine.options import Options, Xray
from arrayrefine.problem import Problem
from arrayrefine.rebuilding import better_places, peptide_flips
from arrayrefine.rebuilding.peptide_flips import with_flipped_peptides
from arrayrefine.rebuilding.peptides import Peptides, peptides_of
from arrayrefine.rebuilding.side_chain_scores import Scores
from arrayrefine.rebuilding.side_chains import Poses
from arrayrefine.state import State, evaluate
from arrayrefine.topology.polymers import residues_of
from arrayrefine.validation.top8000 import percentiles
from arrayrefine.validation.torsions import classify_backbone

Case = Callable[[str], Path]

WRONG = (7, 30, 90, 110)
"""Residues of the example whose O tests put on the other side."""


@pytest.fixture(scope="module")
def start() -> tuple[Problem, State]:
    _, problem, atoms, _ = ar.prepare(MODEL, DATA, Options(d_min=2.0))
    return problem, evaluate(problem, atoms)


def of(problem: Problem, atoms: Atoms, numbers: Sequence[int] | None = None) -> Peptides:
    found = peptides_of(residues_of(atoms), problem.restraints.bonds.index)
    assert found is not None
    if numbers is None:
        return found
    return found.taken([k for k, residue in enumerate(found.residues) if residue.key[0] in numbers])


def flipped(problem: Problem, atoms: Atoms, numbers: Sequence[int]) -> Atoms:
    kind = of(problem, atoms, numbers)
    assert len(kind.rows) == len(numbers)
    xyz = atoms.xyz.copy()
    xyz[kind.rows] = kind.posed(atoms.xyz, Poses.of(np.full((len(kind.rows), 1), 180.0)))
    return problem.hydrogens.place(atoms.replace(xyz=xyz))


@pytest.fixture(scope="module")
def wrong(start: tuple[Problem, State]) -> tuple[Problem, State]:
    problem, state = start
    return problem, evaluate(problem, flipped(problem, state.atoms, WRONG), before=state)


def numbers_of(turned: Sequence[tuple[str, float]]) -> list[int]:
    return [int(name.split()[-1]) for name, _ in turned]


def test_peptides_are_those_between_residues_but_before_proline(start: tuple[Problem, State]) -> None:
    problem, state = start
    residues = residues_of(state.atoms)
    kind = of(problem, state.atoms)
    following = {one.number: two for one, two in itertools.pairwise(residues)}
    prolines = sum(residue.name == "PRO" for residue in residues[1:])
    assert prolines > 3
    assert len(kind.rows) == len(residues) - 1 - prolines
    assert all(following[residue.number].name != "PRO" for residue in kind.residues)
    names = state.atoms.identity.atom_name
    assert {tuple(row) for row in names[kind.rows].tolist()} == {("C", "O", "N")}
    assert {tuple(row) for row in names[kind.path].tolist()} == {("CA", "CA", "CA")}
    assert peptides_of(residues, problem.restraints.bonds.index[:0]) is None


def test_a_turn_keeps_lengths_and_brings_o_to_the_other_side(start: tuple[Problem, State]) -> None:
    problem, state = start
    kind, xyz = of(problem, state.atoms), state.atoms.xyz
    placed = kind.posed(xyz, Poses.of(np.full((len(kind.rows), 1), 180.0)))
    ends = [xyz[kind.path[:, k]] for k in (1, 0)]
    for k, end in ((0, ends[0]), (2, ends[1])):
        was, now = (np.linalg.norm(x[:, k] - end, axis=1) for x in (xyz[kind.rows], placed))
        np.testing.assert_allclose(now, was, atol=1e-9)
    assert np.linalg.norm(placed[:, 1] - xyz[kind.rows[:, 1]], axis=1).min() > 2.5
    np.testing.assert_allclose(kind.posed(xyz, Poses.of(kind.chi(xyz))), xyz[kind.rows], atol=1e-12)
    np.testing.assert_allclose(kind.posed(placed_in(xyz, kind, placed), Poses.of(np.full((len(kind.rows), 1), 180.0))),
                               xyz[kind.rows], atol=1e-9)  # fmt: skip


def placed_in(xyz: np.ndarray, kind: Peptides, placed: np.ndarray) -> np.ndarray:
    out = xyz.copy()
    out[kind.rows] = placed  # neighbours share no atom
    return out


def test_derivatives_by_pose(start: tuple[Problem, State]) -> None:
    problem, state = start
    kind, xyz, rng = of(problem, state.atoms), state.atoms.xyz, np.random.default_rng(0)
    count, step = len(kind.rows), 1e-5
    poses = Poses(rng.uniform(-180, 180, (count, 1)), rng.normal(0, 0.5, (count, 3)), rng.normal(0, 0.5, (count, 3)))
    found = kind.by_pose(xyz, poses, kind.posed(xyz, poses))
    for k in range(7):
        change = np.zeros((count, 7))
        change[:, k] = step
        up, down = (kind.posed(xyz, poses.changed(sign * change)) for sign in (1.0, -1.0))
        np.testing.assert_allclose((up - down) / (2 * step), found[..., k], atol=1e-8)
    still = Poses.of(kind.chi(xyz))
    assert np.isfinite(kind.by_pose(xyz, still, kind.posed(xyz, still))).all()


def test_values_agree_with_the_likelihood(start: tuple[Problem, State], wrong: tuple[Problem, State]) -> None:
    """What log p gains by one peptide turned back, expected and evaluated."""
    problem, state = wrong
    kind = of(problem, state.atoms, WRONG)
    back = kind.posed(state.atoms.xyz, Poses.of(np.full((len(WRONG), 1), 180.0)))
    scores = Scores(state)
    expected = scores.values([kind], [back])[0] - scores.as_they_are(kind)
    true = []
    for rows, places in zip(kind.rows, back):
        xyz = state.atoms.xyz.copy()
        xyz[rows] = places
        f_calc = problem.structure_factors(state.atoms)(state.atoms.replace(xyz=xyz))
        work = state.xray.work
        true.append(float((state.xray.values(state.f_calc) - state.xray.values(f_calc))[work].sum()))
    np.testing.assert_allclose(expected, true, rtol=0.25)
    assert min(true) > 20.0


def test_wrong_peptides_turn_back_and_right_ones_stay(
    start: tuple[Problem, State], wrong: tuple[Problem, State]
) -> None:
    problem, state = wrong
    after, turned = with_flipped_peptides(problem, state)
    assert numbers_of(turned) == list(WRONG)
    assert all(gain > better_places.WORTH for _, gain in turned)
    kind = of(problem, state.atoms, WRONG)
    off = np.linalg.norm(after.atoms.xyz - start[1].atoms.xyz, axis=1)
    assert off[kind.rows].max() < 1.0
    riding = after.atoms.riding
    moved = np.isin(riding.parent, kind.rows)
    assert off[riding.child[moved]].max() < 1.2  # their hydrogens with them
    still = np.setdiff1d(np.arange(len(off)), np.append(kind.rows, riding.child))
    assert off[still].max() < 1e-9
    assert after.statistics.r_free < state.statistics.r_free - 0.01
    assert with_flipped_peptides(*start) == (start[1], ())


def test_torsions_have_a_say(wrong: tuple[Problem, State], monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn that brings residues where none are needs more of the data, and one that takes them from there less."""
    problem, state = wrong
    kind = of(problem, state.atoms, WRONG[:1])
    searches: list[better_places.Search] = []

    def kept(problem: Problem, state: State, search: better_places.Search) -> tuple[State, list[Any]]:
        searches.append(search)
        return state, []

    monkeypatch.setattr(peptide_flips, "with_better_places", kept)
    assert with_flipped_peptides(problem, state) == (state, ())
    poses = Poses.of(np.full((1, 1), 180.0))
    back = better_places.Trial(kind, 0, poses, kind.posed(state.atoms.xyz, poses)[0], 5.0)
    (judged,) = searches[0].judged(state.atoms, [back])
    assert judged.gain > 5.0 + 3.0
    xyz = state.atoms.xyz.copy()
    xyz[kind.rows[0]] = back.xyz
    right = state.atoms.replace(xyz=xyz)
    away = back._replace(xyz=kind.posed(right.xyz, poses)[0], gain=10.0)
    assert searches[0].judged(right, [away]) == []
    assert searches[0].judged(right, [away._replace(gain=30.0)])[0].gain < 27.0
    assert searches[0].judged(right, []) == []


@pytest.mark.parametrize("kind", ["general", "glycine", "isoleucine-valine", "pre-proline"])
def test_percentiles_of_torsions_stand_for_their_density(kind: str) -> None:
    """Between the limits; a share of the residues within a share of the plot is a density."""
    grid = percentiles(f"ramachandran/{kind}")

    def log_density(low: float, high: float) -> float:
        return float(np.log((high - low) / np.mean((grid > low) & (grid <= high))))

    rare, common = peptide_flips._COMMON
    for low in (rare, 10.0 * rare, 100.0 * rare):
        fall = log_density(common, 3.0 * common) - log_density(low, 3.0 * low)
        assert fall == pytest.approx(np.log(common / low), abs=1.8)


def test_a_turn_into_an_empty_part_of_the_plot_needs_much_of_the_data(
    start: tuple[Problem, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One residue among torsions that hardly any model has counts for more than one just outside the contours."""
    problem, state = start
    searches: list[better_places.Search] = []

    def kept(problem: Problem, state: State, search: better_places.Search) -> tuple[State, list[Any]]:
        searches.append(search)
        return state, []

    monkeypatch.setattr(peptide_flips, "with_better_places", kept)
    with_flipped_peptides(problem, state)
    kind, atoms = of(problem, state.atoms), state.atoms

    def shares(now: Atoms) -> dict[int, float]:
        known = classify_backbone(now, problem.restraints.bonds.index, residues_of(now))
        return {number: 0.0 if one.percentile is None else one.percentile for number, one in known.items()}

    poses = Poses.of(np.full((len(kind.rows), 1), 180.0))
    places = kind.posed(atoms.xyz, poses)
    turned = [better_places.Trial(kind, k, poses.taken([k]), xyz, 14.0) for k, xyz in enumerate(places)]
    before = shares(atoms)
    lost = []
    for trial in turned[::4]:
        moved = atoms.replace(xyz=placed_in(atoms.xyz, kind.taken([trial.row]), trial.xyz[None]))
        ends = atoms.identity.residue[kind.path[trial.row, :2]].tolist()
        was, then = ([known[end] for end in ends] for known in (before, shares(moved)))
        if min(was) > 0.1 and max(then) > 0.01 and min(then) < 2e-5:
            lost.append(trial)
    assert len(lost) > 2
    judged = searches[0].judged
    assert not any(judged(atoms, [trial]) for trial in lost)
    assert all(judged(atoms, [trial._replace(gain=30.0)]) for trial in lost)


@pytest.mark.parametrize(
    "options",
    [{"peptides": "keep"}, {"reference": Path("other.pdb")}, {"xray": Xray(target="gaussian")}, {"targets": ("b",)}],
)
def test_they_stay_where_that_is_asked_for(wrong: tuple[Problem, State], options: dict[str, Any]) -> None:
    problem, state = wrong
    changed = dataclasses.replace(problem, options=dataclasses.replace(problem.options, **options))
    if "xray" in options:
        state = evaluate(changed, state.atoms)
    assert with_flipped_peptides(changed, state) == (state, ())


def test_frozen_ones_and_conformers_stay(wrong: tuple[Problem, State]) -> None:
    problem, state = wrong
    frozen = dataclasses.replace(problem, options=dataclasses.replace(problem.options, freeze=("xyz: 30-31",)))
    assert numbers_of(with_flipped_peptides(frozen, state)[1]) == [7, 90, 110]
    who = state.atoms.identity
    altloc = who.altloc.copy()
    altloc[of(problem, state.atoms, [90]).rows[0, 2]] = "A"
    atoms = dataclasses.replace(state.atoms, identity=dataclasses.replace(who, altloc=altloc))
    split = dataclasses.replace(state, atoms=atoms)
    assert 90 not in numbers_of(with_flipped_peptides(problem, split)[1])


def test_a_model_without_peptides(start: tuple[Problem, State]) -> None:
    problem, state = start
    bonds = dataclasses.replace(problem.restraints.bonds, index=problem.restraints.bonds.index[:0])
    bare = problem.with_restraints(dataclasses.replace(problem.restraints, bonds=bonds), state.atoms)
    assert with_flipped_peptides(bare, state) == (state, ())


def test_a_crystal_with_wrong_peptides(case: Case, tmp_path: Path) -> None:
    folder = case("1cbs")
    _, problem, atoms, _ = ar.prepare(folder / "shaken.pdb", folder / "norm.mtz", Options(hydrogens="strip"))
    numbers = (8, 27, 85, 95, 124)
    structure = gemmi.read_structure(str(folder / "shaken.pdb"))
    structure.remove_hydrogens()
    places = flipped(problem, atoms, numbers).xyz
    for atom, place in zip([cra.atom for cra in structure[0].all()], places, strict=True):
        atom.pos = gemmi.Position(*place)
    model = tmp_path / "model.pdb"
    structure.write_pdb(str(model))
    reports = {}
    common = ["--cycles", "2", "--no-report", "--anisotropic", "none", "--d-min", "2"]
    for how in ("auto", "keep"):
        out = tmp_path / how
        options = ["--out", str(out), "--peptides", how, *common]
        assert main(["refine", str(model), str(folder / "norm.mtz"), *options]) == 0
        reports[how] = json.loads((out / "report.json").read_text())
    auto, keep = reports["auto"], reports["keep"]
    turned = [(name, gain) for step in auto["steps"] for name, gain in step["peptides"]]
    assert numbers_of(turned) == list(numbers)
    assert auto["final"]["r_free"] < keep["final"]["r_free"] - 0.01
    assert any("5 peptides turned round" in text and turned[0][0] in text for text in auto["warnings"])
    assert turned[0][0] in auto["steps"][1]["note"]
    assert not any(step["peptides"] for step in keep["steps"])
