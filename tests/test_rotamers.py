"""Side chains that turn to another rotamer: where they go, what that is worth, and when they stay."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine import macrocycle
from arrayrefine.__main__ import main
from arrayrefine.atoms import Atoms
from arrayrefine.displacements.tls import Tls
from arrayrefine.example import DATA, MODEL
from arrayrefine.kernels.geometry import dihedral
from arrayrefine.options import External, Minimiser, Options, Xray
from arrayrefine.problem import Problem
from arrayrefine.rebuilding import better_places, rotamers
from arrayrefine.rebuilding.rotamers import with_better_rotamers
from arrayrefine.rebuilding.side_chain_scores import Scores, b_elsewhere
from arrayrefine.rebuilding.side_chains import Poses, side_chains_of
from arrayrefine.state import State, evaluate
from arrayrefine.structure_factors import StructureFactors
from arrayrefine.topology.polymers import Residue, residues_of
from arrayrefine.validation.torsions import chi_path

Case = Callable[[str], Path]

WRONG = {36: "LEU", 41: "ILE", 103: "PHE", 88: "VAL", 69: "ASP"}
"""Residues of the example, all well in the density, that tests turn by 120 degrees."""


@pytest.fixture(scope="module")
def start() -> tuple[Problem, State]:
    _, problem, atoms, _ = ar.prepare(MODEL, DATA, Options(d_min=2.0))
    return problem, evaluate(problem, atoms)


def residue(atoms: Atoms, number: int) -> Residue:
    return next(r for r in residues_of(atoms) if r.key[0] == number)


def chi1(atoms: Atoms, number: int) -> float:
    return float(dihedral(atoms.xyz, np.array([chi_path(residue(atoms, number))[:4]]))[0][0])


def apart(one: float, two: float) -> float:
    return abs((one - two + 180.0) % 360.0 - 180.0)


def turned(problem: Problem, atoms: Atoms, numbers: Sequence[int], by: float = 120.0) -> Atoms:
    """The atoms with some side chains turned about CA-CB."""
    xyz = atoms.xyz.copy()
    for kind in side_chains_of([residue(atoms, number) for number in numbers]):
        chi = kind.chi(atoms.xyz)
        chi[:, 0] += by
        xyz[kind.rows] = kind.turned(atoms.xyz, chi)
    return problem.hydrogens.place(atoms.replace(xyz=xyz))


@pytest.fixture(scope="module")
def wrong(start: tuple[Problem, State]) -> tuple[Problem, State]:
    problem, state = start
    return problem, evaluate(problem, turned(problem, state.atoms, list(WRONG)), before=state)


@pytest.fixture(scope="module")
def mended(wrong: tuple[Problem, State]) -> tuple[State, tuple[tuple[str, float], ...]]:
    return with_better_rotamers(*wrong)


def test_torsions_become_those_asked_for_and_bonds_stay(start: tuple[Problem, State]) -> None:
    problem, state = start
    atoms, rng = state.atoms, np.random.default_rng(0)
    kinds = side_chains_of(residues_of(atoms))
    assert {kind.name for kind in kinds} >= {"ARG", "LYS", "MET", "ILE", "TRP", "HIS", "THR"}
    bonds = problem.restraints.bonds.index
    bonds = bonds[atoms.identity.residue[bonds[:, 0]] == atoms.identity.residue[bonds[:, 1]]]
    length = np.linalg.norm(atoms.xyz[bonds[:, 0]] - atoms.xyz[bonds[:, 1]], axis=1)
    for kind in kinds:
        chi = rng.uniform(-180.0, 180.0, (len(kind.rows), kind.path.shape[1] - 3))
        xyz = atoms.xyz.copy()
        xyz[kind.rows] = kind.turned(atoms.xyz, chi)
        assert np.abs((kind.chi(xyz) - chi + 180.0) % 360.0 - 180.0).max() < 1e-6
        moved = np.isin(bonds, kind.rows).any(axis=1)
        now = np.linalg.norm(xyz[bonds[:, 0]] - xyz[bonds[:, 1]], axis=1)
        np.testing.assert_allclose(now[moved], length[moved], atol=1e-9)
        n, ca, cb = (xyz[kind.path[:, k]] for k in range(3))
        for other in (n, xyz[kind.carbonyl]):
            one, two = other - ca, cb - ca
            cosine = (one * two).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
            assert np.abs(np.degrees(np.arccos(cosine)) - 110.5).max() < 7.0


def test_side_chains_keep_their_shape(start: tuple[Problem, State]) -> None:
    """As they are, they are but for CB's place; and mirror images are not made."""
    problem, state = start
    atoms, chirality = state.atoms, problem.restraints.chiralities.index
    xyz = atoms.xyz.copy()
    for kind in side_chains_of(residues_of(atoms)):
        xyz[kind.rows] = kind.turned(atoms.xyz, kind.chi(atoms.xyz))
    moved = np.linalg.norm(xyz - atoms.xyz, axis=1)
    assert np.sqrt((moved**2).mean()) < 0.2

    def volume(at: Any) -> Any:
        a, b, c = (at[chirality[:, k]] - at[chirality[:, 0]] for k in (1, 2, 3))
        return np.einsum("ni,ni->n", a, np.cross(b, c))

    assert (np.sign(volume(xyz)) == np.sign(volume(atoms.xyz))).all()


def test_selenomethionine_turns_like_methionine(start: tuple[Problem, State]) -> None:
    atoms = start[1].atoms
    met = next(r for r in residues_of(atoms) if r.name == "MET")
    names = {"SE" if name == "SD" else name: row for name, row in met.atoms.items()}
    mse = dataclasses.replace(met, name="MSE", atoms=names)
    one, two = side_chains_of([met])[0], side_chains_of([mse])[0]
    chi = np.array([[60.0, -170.0, 100.0]])
    place = dict(zip(one.rows[0].tolist(), one.turned(atoms.xyz, chi)[0].tolist()))
    for row, xyz in zip(two.rows[0].tolist(), two.turned(atoms.xyz, chi)[0].tolist()):
        assert xyz == pytest.approx(place[row], abs=1e-9)


def test_incomplete_side_chains_and_proline_have_none(start: tuple[Problem, State]) -> None:
    atoms = start[1].atoms
    leu = residue(atoms, 36)
    short = dataclasses.replace(leu, atoms={name: row for name, row in leu.atoms.items() if name != "CG"})
    proline = next(r for r in residues_of(atoms) if r.name == "PRO")
    assert side_chains_of([short, proline]) == []


def test_what_is_expected_is_what_happens(start: tuple[Problem, State], wrong: tuple[Problem, State]) -> None:
    """Gains to second order against those of the likelihood itself, scale and sigma_A as they are."""
    for state in (start[1], wrong[1]):
        atoms, work = state.atoms, state.xray.work
        before = state.xray.values(state.f_calc)[work].sum()
        kinds = side_chains_of([residue(atoms, number) for number in (36, 41, 103, 88, 69, 8, 24, 92)])
        scores = Scores(state)
        found, true = [], []
        for kind in kinds:
            others = rotamers._rotamers(kind, atoms.xyz)
            places = others.side_chains.posed(atoms.xyz, others.poses)
            value = scores.values([others.side_chains], [places])[0]
            for r, x, v in list(zip(others.row.tolist(), places, value.tolist()))[:6]:
                found.append(v - scores.as_they_are(kind)[r])
                moved = atoms.xyz.copy()
                moved[kind.rows[r]] = x
                b_iso, u_aniso = atoms.b_iso.copy(), atoms.u_aniso.copy()
                b_iso[kind.rows[r]] = b_elsewhere(atoms, kind)[r]
                there = atoms.replace(xyz=moved, b_iso=b_iso, u_aniso=u_aniso)
                f_calc = state.xray.structure_factors(there)
                true.append(before - state.xray.values(f_calc)[work].sum())
        assert len(found) > 15
        assert np.corrcoef(found, true)[0, 1] > 0.95
        assert 0.6 < np.dot(found, true) / np.dot(true, true) < 1.5


def test_a_right_model_is_left_alone() -> None:
    _, problem, atoms, _ = ar.prepare(MODEL, DATA, Options())
    state = evaluate(problem, atoms)
    after, found = with_better_rotamers(problem, state)
    assert (after is state, found) == (True, ())


def test_what_turns_in_a_right_model_is_right_by_the_test_set(start: tuple[Problem, State]) -> None:
    """With data to 2.0 Å one lysine turns, whose end has a B of 58 Å² as it is: test reflections agree."""
    problem, state = start
    after, found = with_better_rotamers(problem, state)
    assert {name for name, _ in found} <= {"A/LYS 32"}
    assert after.statistics.r_free <= state.statistics.r_free


def test_wrong_side_chains_turn_back(
    start: tuple[Problem, State], wrong: tuple[Problem, State], mended: tuple[State, tuple[tuple[str, float], ...]]
) -> None:
    state = wrong[1]
    after, found = mended
    assert {name for name, _ in found} >= {f"A/{name} {number}" for number, name in WRONG.items()}
    assert [int(name.split()[1]) for name, _ in found] == sorted(int(name.split()[1]) for name, _ in found)
    assert len(found) <= len(WRONG) + 1
    assert min(gain for _, gain in found) > 6.0
    assert after.nll_work < state.nll_work
    assert after.statistics.r_work < state.statistics.r_work - 0.01
    for number in WRONG:
        assert apart(chi1(after.atoms, number), chi1(start[1].atoms, number)) < 25.0
    rest = ~np.isin(state.atoms.identity.sequence_number, [int(name.split()[1]) for name, _ in found])
    np.testing.assert_allclose(after.atoms.xyz[rest], state.atoms.xyz[rest], atol=1e-9)


def test_direct_summation_finds_the_same(wrong: tuple[Problem, State]) -> None:
    problem, state = wrong
    crystal, hkl = problem.reflections.crystal, problem.reflections.hkl
    direct = StructureFactors(crystal, hkl, state.atoms, method="direct")
    exact = dataclasses.replace(state, xray=dataclasses.replace(state.xray, structure_factors=direct))
    kinds = side_chains_of(rotamers._free(problem, state.atoms))
    one, two = (better_places._best(x, rotamers._search(kinds)) for x in (exact, state))
    assert [t.residue.key for t in one] == [t.residue.key for t in two]
    assert [t.gain for t in one] == pytest.approx([t.gain for t in two], rel=0.02)


def test_a_backbone_that_followed_is_no_hindrance(start: tuple[Problem, State]) -> None:
    """Side chains in a wrong place have pulled CA, and with it CB, some way towards it."""
    problem, state = start
    xyz = turned(problem, state.atoms, list(WRONG)).xyz
    for kind in side_chains_of([residue(state.atoms, number) for number in WRONG]):
        for r in range(len(kind.rows)):
            towards = xyz[kind.rows[r]].mean(axis=0) - state.atoms.xyz[kind.rows[r]].mean(axis=0)
            moved = np.append(kind.rows[r], kind.path[r, 1])
            xyz[moved] += 0.3 * towards / np.linalg.norm(towards)
    pulled = evaluate(problem, problem.hydrogens.place(state.atoms.replace(xyz=xyz)), before=state)
    after, found = with_better_rotamers(problem, pulled)
    assert {name for name, _ in found} >= {f"A/{name} {number}" for number, name in WRONG.items()}
    for number in WRONG:
        ends = [row for name, row in residue(state.atoms, number).atoms.items() if name[:2] in ("CG", "CD", "OD")]
        off = np.linalg.norm(after.atoms.xyz[ends][:, None] - state.atoms.xyz[ends], axis=2).min(axis=1)
        assert off.max() < 1.0
    bonds = after.atoms.riding
    assert np.linalg.norm(after.atoms.xyz[bonds.child] - after.atoms.xyz[bonds.parent], axis=1).max() < 1.4


def test_hydrogens_go_along(mended: tuple[State, tuple[tuple[str, float], ...]]) -> None:
    atoms = mended[0].atoms
    riding = atoms.riding
    length = np.linalg.norm(atoms.xyz[riding.child] - atoms.xyz[riding.parent], axis=1)
    assert length.max() < 1.4
    methyl = np.flatnonzero((atoms.identity.sequence_number == 36) & (atoms.element == "H"))
    near = np.linalg.norm(atoms.xyz[methyl][:, None] - atoms.xyz[methyl], axis=2)
    assert near[~np.eye(len(methyl), dtype=bool)].min() > 1.4


def test_displacements_of_what_turns_are_not_those_of_a_wrong_place(wrong: tuple[Problem, State]) -> None:
    problem, state = wrong
    leu = side_chains_of([residue(state.atoms, 36)])[0]
    b_iso, u_aniso = state.atoms.b_iso.copy(), state.atoms.u_aniso.copy()
    b_iso[leu.rows[0][leu.depth > 0]] += 60.0
    u_aniso[leu.rows[0]] = (0.05, -0.05, 0.0, 0.0, 0.0, 0.0)
    grown = evaluate(problem, state.atoms.replace(b_iso=b_iso, u_aniso=u_aniso), absorb_b=False)
    atoms = with_better_rotamers(problem, grown)[0].atoms
    far = leu.rows[0][leu.depth == 2]
    assert (atoms.b_iso[far] < grown.atoms.b_iso[far] - 20.0).all()
    np.testing.assert_array_equal(atoms.u_aniso, grown.atoms.u_aniso)  # what they have is their group's
    alone = grown.atoms.replace(tls=Tls.none(len(atoms)))
    atoms = with_better_rotamers(problem, evaluate(problem, alone, absorb_b=False))[0].atoms
    assert (atoms.b_iso[far] < grown.atoms.b_iso[far] - 20.0).all()
    assert not atoms.u_aniso[leu.rows[0]].any()
    for options in ({"freeze": ("b: 36",)}, {"targets": ("xyz",)}):
        still = dataclasses.replace(problem, options=dataclasses.replace(problem.options, **options))
        atoms = with_better_rotamers(still, grown)[0].atoms
        assert apart(chi1(atoms, 36), chi1(grown.atoms, 36)) > 90.0
        assert atoms.b_iso[far] == pytest.approx(grown.atoms.b_iso[far])


@pytest.mark.parametrize(
    "options",
    [
        {"side_chains": "keep"}, {"reference": Path("other.pdb")}, {"external": External(rotamers="on")},
        {"targets": ("b",)}, {"freeze": ("xyz: all",)},
    ],
    ids=str,
)  # fmt: skip
def test_what_the_user_wants_kept_is_kept(wrong: tuple[Problem, State], options: dict[str, Any]) -> None:
    problem, state = wrong
    problem = dataclasses.replace(problem, options=dataclasses.replace(problem.options, **options))
    assert with_better_rotamers(problem, state) == (state, ())


def test_another_target_is_no_likelihood(wrong: tuple[Problem, State]) -> None:
    problem, state = wrong
    gaussian = dataclasses.replace(problem, options=dataclasses.replace(problem.options, xray=Xray(target="gaussian")))
    other = evaluate(gaussian, state.atoms)
    assert with_better_rotamers(gaussian, other) == (other, ())


def test_what_is_held_does_not_turn(wrong: tuple[Problem, State]) -> None:
    problem, state = wrong
    atoms, who = state.atoms, state.atoms.identity

    def free(problem: Problem = problem, atoms: Atoms = atoms) -> set[int]:
        return {r.key[0] for r in rotamers._free(problem, atoms)}

    assert free() >= set(WRONG)
    frozen = dataclasses.replace(problem, options=dataclasses.replace(problem.options, freeze=("xyz: 36",)))
    assert free() - free(frozen) == {36}
    backbone = dataclasses.replace(problem, options=dataclasses.replace(problem.options, freeze=("xyz: name CB",)))
    assert side_chains_of(rotamers._free(backbone, atoms)) == []
    altloc = who.altloc.copy()
    altloc[residue(atoms, 36).atoms["CD1"]] = "A"
    assert free() - free(atoms=dataclasses.replace(atoms, identity=dataclasses.replace(who, altloc=altloc))) == {36}
    multiplicity = atoms.multiplicity.copy()
    multiplicity[residue(atoms, 41).atoms["CD1"]] = 2
    assert free() - free(atoms=dataclasses.replace(atoms, multiplicity=multiplicity)) == {41}
    loose = dataclasses.replace(atoms, riding=dataclasses.replace(
        atoms.riding, **{name: getattr(atoms.riding, name)[who.sequence_number[atoms.riding.child] != 69]
                         for name in ("child", "parent")}))  # fmt: skip
    assert 69 in free() - free(atoms=loose)
    metal = problem.restraints.non_bonded.metal.copy()
    metal[residue(atoms, 103).atoms["CZ"]] = True
    non_bonded = dataclasses.replace(problem.restraints.non_bonded, metal=metal)
    bound = problem.with_restraints(dataclasses.replace(problem.restraints, non_bonded=non_bonded), atoms)
    assert 103 in free() - free(bound)
    bonds = problem.restraints.bonds
    link = [[residue(atoms, 36).atoms["CD1"], residue(atoms, 88).atoms["CG1"]]]
    more = dataclasses.replace(
        bonds, index=np.append(bonds.index, link, axis=0), ideal=np.append(bonds.ideal, 1.5),
        sigma=np.append(bonds.sigma, 0.02),
    )  # fmt: skip
    linked = problem.with_restraints(dataclasses.replace(problem.restraints, bonds=more), atoms)
    assert free() - free(linked) == {36, 88}


def trial(state: State, number: int, chi: Sequence[float], gain: float) -> better_places.Trial:
    kind = side_chains_of([residue(state.atoms, number)])[0]
    poses = Poses.of(np.array([chi]))
    return better_places.Trial(kind, 0, poses, kind.posed(state.atoms.xyz, poses)[0], gain)


def at_a_place(state: State, number: int, other: int, gain: float) -> better_places.Trial:
    """A side chain laid upon that of another residue."""
    made = trial(state, number, chi=kind_chi(state, number), gain=gain)
    shift = state.atoms.xyz[residue(state.atoms, other).atoms["CG"]] - made.xyz.mean(axis=0)
    return made._replace(xyz=made.xyz + shift)


def kind_chi(state: State, number: int) -> list[float]:
    found: list[float] = side_chains_of([residue(state.atoms, number)])[0].chi(state.atoms.xyz)[0].tolist()
    return found


def test_others_are_in_the_way(start: tuple[Problem, State]) -> None:
    problem, state = start
    here, upon = trial(state, 36, kind_chi(state, 36), 20.0), at_a_place(state, 8, 103, 20.0)
    assert better_places.crowding(problem, state.atoms, [here])[0] < 3.0
    assert better_places.crowding(problem, state.atoms, [upon])[0] > 20.0
    phe = side_chains_of([residue(state.atoms, 103)])[0]
    yielding = better_places.crowding(problem, state.atoms, [upon], phe.rows[0])[0]
    assert yielding < better_places.crowding(problem, state.atoms, [upon])[0] - 15.0
    assert better_places._apart(problem, state.atoms, [upon]) == []
    pair = [at_a_place(state, 8, 103, 50.0), at_a_place(state, 24, 103, 40.0)]
    both = better_places.crowding(problem, state.atoms, pair)
    assert both[1] > both[0]


def test_neighbours_take_turns(start: tuple[Problem, State]) -> None:
    atoms = start[1].atoms
    gains = {36: 20.0, 8: 9.0, 103: 7.0}
    here, there, far = (trial(start[1], number, kind_chi(start[1], number), gain) for number, gain in gains.items())
    assert better_places._independent(atoms, [far, there, here]) == [here, there, far]
    upon = at_a_place(start[1], 8, 36, 9.0)
    assert better_places._independent(atoms, [far, upon, here]) == [here, far]
    left = at_a_place(start[1], 8, 103, 30.0)  # near where another was
    assert better_places._independent(atoms, [far._replace(xyz=far.xyz + 50.0), left]) == [left]


def scripted(monkeypatch: pytest.MonkeyPatch, *answers: list[better_places.Trial]) -> list[int]:
    """Let the search for better places answer in turn; the number of times that it was asked."""
    left, asked = list(answers), [0]

    def best(state: State, search: better_places.Search) -> list[better_places.Trial]:
        asked[0] += 1
        return left.pop(0) if left else []

    monkeypatch.setattr(better_places, "_best", best)
    return asked


def test_a_place_is_taken_from_one_that_yields(wrong: tuple[Problem, State], monkeypatch: pytest.MonkeyPatch) -> None:
    problem, state = wrong
    kinds = side_chains_of(rotamers._free(problem, state.atoms))
    right = {t.residue.key[0]: t for t in better_places._best(state, rotamers._search(kinds))}
    blocked = set(WRONG)
    crowding = better_places.crowding

    def crowded(problem: Problem, atoms: Atoms, chosen: list[better_places.Trial], yielding: Any = None) -> Any:
        """As if 36 needed the place that 41 leaves."""
        cost = crowding(problem, atoms, chosen, yielding)
        numbers = [t.residue.key[0] for t in chosen]
        if yielding is None and 36 in numbers and 41 not in numbers:
            cost[numbers.index(36)] += 1000.0
        return cost

    monkeypatch.setattr(better_places, "crowding", crowded)
    asked = scripted(monkeypatch, [right[n] for n in blocked - {41}], [right[41]])
    after, found = with_better_rotamers(problem, state)
    assert asked == [2]
    assert {name.split()[1] for name, _ in found} == {str(n) for n in WRONG}
    assert apart(chi1(after.atoms, 36), chi1(state.atoms, 36)) > 90.0
    scripted(monkeypatch, [right[36], right[103]])
    after, found = with_better_rotamers(problem, state)
    assert [name for name, _ in found] == ["A/PHE 103"]
    assert chi1(after.atoms, 36) == pytest.approx(chi1(state.atoms, 36), abs=1e-6)
    scripted(monkeypatch, [right[36]])
    assert with_better_rotamers(problem, state) == (state, ())


def test_one_that_went_back_is_in_the_way_again(
    start: tuple[Problem, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A side chain on the place of another, which cannot have the place that it turned to, goes back as well."""
    problem, state = start
    upon, away = at_a_place(state, 8, 36, 60.0), at_a_place(state, 36, 103, 20.0)
    scripted(monkeypatch, [upon], [away])
    monkeypatch.setattr(better_places, "_independent", lambda atoms, trials: trials)
    monkeypatch.setattr(better_places, "lost", lambda before, after: -1.0 if after is not before else 0.0)
    first = better_places._apart
    monkeypatch.setattr(
        better_places, "_apart",
        lambda problem, atoms, trials, yielding=None: trials if yielding is not None
        else first(problem, atoms, trials),
    )  # fmt: skip
    assert with_better_rotamers(problem, state) == (state, ())


def small(problem: Problem, **options: Any) -> Problem:
    chosen = dataclasses.replace(problem.options, minimiser=Minimiser(max_iterations=2), **options)
    return dataclasses.replace(problem, options=chosen)


def test_what_no_step_has_refined_is_not_kept(
    wrong: tuple[Problem, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, state = small(wrong[0], cycles=3, anisotropic="none"), wrong[1]
    asked: list[State] = []
    done: list[Any] = []
    found: list[Any] = []
    search, run = macrocycle.with_better_rotamers, macrocycle._run_cycle

    def asking(problem: Problem, state: State, stay: Any) -> Any:
        asked.append(state)
        found[:] = found or [search(problem, state)]  # the second time of the same state
        return found[0]

    def noted(*given: Any) -> Any:
        done.append(run(*given))
        return done[-1]

    monkeypatch.setattr(macrocycle, "with_better_rotamers", asking)
    monkeypatch.setattr(macrocycle, "_run_cycle", noted)
    path = macrocycle.start_path(problem, state)
    ended = macrocycle.run_cycles(problem, path, lambda: bool(asked), lambda step, state: None)
    assert ended.reason.startswith("interrupted")
    assert len(ended.steps) == 1
    assert ended.path.state is asked[0]
    assert not any("turned" in note for note in ended.notes)

    def refused(problem: Problem, path: Any, cycle: int, *rest: Any) -> Any:
        return done[0] if cycle == 1 else (dataclasses.replace(path, news=""), [])

    asked.clear()
    monkeypatch.setattr(macrocycle, "_run_cycle", refused)
    ended = macrocycle.run_cycles(problem, path, lambda: False, lambda step, state: None)
    assert ended.reason.startswith("stopped: no step of cycle 2")
    assert ended.path.state is asked[0] is done[0][0].state
    assert not any("turned to another" in note for note in ended.notes)


def test_what_the_likelihood_does_not_confirm_is_dropped(
    start: tuple[Problem, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, state = start
    chi = kind_chi(state, 36)
    monkeypatch.setattr(better_places, "crowding", lambda problem, atoms, chosen, yielding=None: np.zeros(len(chosen)))
    scripted(monkeypatch, [trial(state, 36, [chi[0] + 120.0, *chi[1:]], 50.0)])
    assert with_better_rotamers(problem, state) == (state, ())


@pytest.fixture(scope="module")
def spoilt(case: Case, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A displaced crystal with some side chains in another rotamer, and its data."""
    folder = case("1cbs")
    _, problem, atoms, _ = ar.prepare(folder / "shaken.pdb", folder / "norm.mtz", Options(hydrogens="strip"))
    numbers = (9, 15, 31, 42, 52, 76, 94, 100, 121)
    xyz = turned(problem, atoms, numbers).xyz
    structure = gemmi.read_structure(str(folder / "shaken.pdb"))
    structure.remove_hydrogens()
    for atom, place in zip([cra.atom for cra in structure[0].all()], xyz, strict=True):
        atom.pos = gemmi.Position(*place)
    path = tmp_path_factory.mktemp("spoilt") / "model.pdb"
    structure.write_pdb(str(path))
    return path, folder / "norm.mtz"


def test_a_crystal_with_wrong_rotamers(spoilt: tuple[Path, Path], tmp_path: Path) -> None:
    model, data = map(str, spoilt)
    reports = {}
    for how in ("auto", "keep"):
        out = tmp_path / how
        options = ["--out", str(out), "--cycles", "3", "--no-report", "--side-chains", how]
        assert main(["refine", model, data, *options]) == 0
        reports[how] = json.loads((out / "report.json").read_text())
    auto, keep = reports["auto"], reports["keep"]
    assert auto["final"]["r_free"] < keep["final"]["r_free"] - 0.02
    turned = [name for step in auto["steps"] for name, _ in step["side_chains"]]
    assert len(turned) >= 6
    assert any("side chains turned to another rotamer" in text and turned[0] in text for text in auto["warnings"])
    assert turned[0] in auto["steps"][1]["note"]
    assert not any(step["side_chains"] for step in keep["steps"])


def test_an_end_that_is_turned_by_half_is_no_other_rotamer(start: tuple[Problem, State]) -> None:
    """1IA1 went on for ten cycles: the data turned four Asn that hydrogen bonds turned back each time."""
    atoms = start[1].atoms
    kinds = side_chains_of([r for r in residues_of(atoms) if r.name in ("ASN", "GLN", "HIS", "LEU")])
    assert {kind.name for kind in kinds} == {"ASN", "GLN", "HIS", "LEU"}
    for kind in kinds:
        candidates = rotamers._rotamers(kind, atoms.xyz)
        away = candidates.poses.chi - kind.chi(atoms.xyz)[candidates.row]
        away = np.abs((away + 180.0) % 360.0 - 180.0)
        assert len(away)
        if kind.name != "LEU":
            away[:, -1] = np.minimum(away[:, -1], 180.0 - away[:, -1])
        assert (away > 40.0 - 1e-6).any(axis=1).all()
