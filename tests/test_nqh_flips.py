"""Ends of Asn, Gln and His: how they turn, what speaks for it, and what turns in a refinement."""

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
from arrayrefine.commands.tables import validation_lines
from arrayrefine.example import DATA, MODEL
from arrayrefine.options import Options, Xray
from arrayrefine.page.findings import tables
from arrayrefine.problem import Problem
from arrayrefine.rebuilding import better_places, nqh_ends, nqh_flips
from arrayrefine.rebuilding.nqh_ends import ENDS, WORTH_TURNING, End, end_of, gained_by_contacts
from arrayrefine.rebuilding.nqh_flips import with_flipped_ends
from arrayrefine.state import State, evaluate
from arrayrefine.targets.contacts import pair_distances
from arrayrefine.topology.polymers import Residue, residues_of
from arrayrefine.validation import validate

Case = Callable[[str], Path]

CLEAR = (45, 59, 102, 114, 141, 147)
"""Residues of the example that meet enough to be told: three His, two Asn and a Gln."""


@pytest.fixture(scope="module")
def deposited() -> tuple[Problem, State]:
    _, problem, atoms, _ = ar.prepare(MODEL, DATA, Options(d_min=2.0))
    return problem, evaluate(problem, atoms)


@pytest.fixture(scope="module")
def start(deposited: tuple[Problem, State]) -> tuple[Problem, State]:
    """The example as it should be."""
    problem, state = deposited
    return problem, with_flipped_ends(problem, state)[0]


@pytest.fixture(scope="module")
def wrong(start: tuple[Problem, State]) -> tuple[Problem, State]:
    """All clear ends turned, and B as they were: nothing has followed yet."""
    problem, state = start
    return problem, evaluate(problem, turned(problem, state.atoms, CLEAR))


def ends_of(atoms: Atoms, numbers: Sequence[int] | None = None) -> list[End]:
    found = (end_of(residue, atoms) for residue in residues_of(atoms))
    return [end for end in found if end is not None and (numbers is None or end.residue.key[0] in numbers)]


def free_ends(problem: Problem, atoms: Atoms) -> list[End]:
    """Those that are not bound to a metal or another residue."""
    stays = better_places.held(problem, atoms)
    return nqh_ends.ends_of(atoms, residues_of(atoms), problem.reflections.crystal, stays)


def gained(problem: Problem, atoms: Atoms, ends: Sequence[End]) -> np.ndarray:
    return gained_by_contacts(atoms, problem.restraints.non_bonded, problem.reflections.crystal, ends)


def turned(problem: Problem, atoms: Atoms, numbers: Sequence[int]) -> Atoms:
    xyz = atoms.xyz.copy()
    ends = ends_of(atoms, numbers)
    assert len(ends) == len(numbers)
    for end in ends:
        xyz[end.rows] = end.there
    return problem.hydrogens.place(atoms.replace(xyz=xyz))


def flipped(problem: Problem, atoms: Atoms, ends: Sequence[End]) -> Atoms:
    return nqh_flips._flipped(problem, atoms, ends, better_places.displaced(problem, atoms))


def evidence(state: State) -> nqh_flips._Evidence:
    return nqh_flips._Evidence(state, np.ones(len(state.atoms), dtype=bool))


def numbers_of(names: Sequence[tuple[str, float]]) -> list[int]:
    return [int(name.split()[1]) for name, _ in names]


def test_the_example_as_deposited(deposited: tuple[Problem, State]) -> None:
    """N of Gln 102 is at N6 of an adenine, and O at N7; Asn 18 has a hydrogen in CB of His 45."""
    problem, state = deposited
    after, found = with_flipped_ends(problem, state)
    assert [name for name, _ in found] == ["A/ASN 18", "A/GLN 102"]
    assert found[1].gain > 30.0
    who = state.atoms.identity
    n6 = np.flatnonzero((who.residue_name == "NAP") & (who.atom_name == "N6A"))[0]
    oxygen, nitrogen = ends_of(state.atoms, [102])[0].rows[:2]
    for atoms, near in ((state.atoms, nitrogen), (after.atoms, oxygen)):
        assert np.linalg.norm(atoms.xyz[near] - atoms.xyz[n6]) < 2.9


def test_ends_that_shall_stay_do_not_turn(deposited: tuple[Problem, State]) -> None:
    found = with_flipped_ends(*deposited, {"A/GLN 102"})[1]
    assert [name for name, _ in found] == ["A/ASN 18"]


def test_two_half_turns_are_none(start: tuple[Problem, State]) -> None:
    atoms = start[1].atoms
    ends = ends_of(atoms)
    assert {end.residue.name for end in ends} == set(ENDS)
    there = atoms.xyz.copy()
    for end in ends:
        names = atoms.identity.atom_name[end.rows[: end.heavy]].tolist()
        assert names == [name for pair in ENDS[end.residue.name][1] for name in pair]
        there[end.rows] = end.there
        hydrogens = np.arange(end.heavy, len(end.rows))
        assert atoms.is_hydrogen[end.rows[hydrogens]].all()
        arms = [np.linalg.norm(x[hydrogens] - x[end.parent[hydrogens]], axis=1) for x in (end.here, end.there)]
        np.testing.assert_allclose(*arms, atol=1e-9)
    again = atoms.replace(xyz=there)
    for end, back in zip(ends, ends_of(again), strict=True):
        np.testing.assert_allclose(back.there, end.here, atol=1e-9)


def test_residues_without_an_end(start: tuple[Problem, State]) -> None:
    atoms = start[1].atoms
    residues = residues_of(atoms)
    assert all((end_of(r, atoms) is not None) == (r.name in ENDS) for r in residues)
    asn = next(r for r in residues if r.name == "ASN")
    short = dataclasses.replace(asn, atoms={k: v for k, v in asn.atoms.items() if k != "OD1"})
    assert end_of(short, atoms) is None
    _, bare, atoms, _ = ar.prepare(MODEL, DATA, Options(hydrogens="strip"))
    assert ends_of(atoms) == []
    assert with_flipped_ends(bare, evaluate(bare, atoms))[1] == ()


def energy_by_hand(problem: Problem, atoms: Atoms, end: End, xyz: np.ndarray) -> float:
    """Energy of an end at `xyz`, pair by pair, symmetry mates by all near translations."""
    nb, crystal, who = problem.restraints.non_bonded, problem.reflections.crystal, atoms.identity
    parent = dict(zip(atoms.riding.child.tolist(), atoms.riding.parent.tolist()))
    assert problem.hydrogens.rotors is not None
    turning = set(atoms.riding.child[problem.hydrogens.rotors.rows].tolist())
    ammonium = {parent[h] for h in turning if atoms.element[parent[h]] == "N"}
    turning = {h for h, k in parent.items() if atoms.element[k] in "OS" or k in ammonium}
    apart = {tuple(sorted(pair)) for pair in np.concatenate([nb.excluded, nb.one_four]).tolist()}
    carriers = np.array([parent.get(k, k) for k in range(len(atoms))])
    plain, bare = np.zeros(len(end.rows)), np.zeros(len(end.rows))
    shifts = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    for (rotation, translation), shift in itertools.product(zip(crystal.rotations, crystal.translations), shifts):
        fractional = crystal.fractional(atoms.xyz) @ rotation.T + translation
        mates = crystal.cartesian(fractional - np.rint(fractional - crystal.fractional(xyz[0])) + shift)
        same = np.linalg.norm(mates - atoms.xyz, axis=1) < 1e-3
        near = np.flatnonzero(np.linalg.norm(mates - xyz.mean(axis=0), axis=1) < 8.0)
        for (m, row), other in itertools.product(enumerate(end.rows.tolist()), near.tolist()):
            if same[other] and (other in end.rows or tuple(sorted((row, other))) in apart):
                continue
            if atoms.occupancy[other] <= 0 or len({nb.conformer[row], nb.conformer[other], 0}) > 2:
                continue
            if other in turning or (who.residue_name[other] == "HIS" and who.atom_name[other] in ("ND1", "NE2")):
                continue
            share = min(atoms.occupancy[other], 1.0)  # ends are whole here
            to = mates[other] - xyz[m]
            distance = np.linalg.norm(to)
            d0 = pair_distances(nb, np.array([row]), np.array([other]), np.zeros(1, dtype=bool))[0]
            gives, accepts = nb.hydrogen[other], nb.acceptor[other] and not nb.donor[other]
            plain[m] += share * repelled(distance, d0)
            bare[m] += share * repelled(distance, min(d0, 1.65) if gives else d0)
            if nb.hydrogen[row] and accepts and not atoms.is_hydrogen[other]:
                plain[m] += share * bond(distance, 1.9, xyz[m] - xyz[end.parent[m]], to)
            taken = 0.0
            if gives:
                taken = share * bond(distance, 1.9, mates[other] - mates[carriers[other]], -to)
            elif other in ammonium:
                taken = -share * 6.0 * np.exp(-0.5 * ((distance - 2.85) / 0.35) ** 2)
            bare[m] += taken
            plain[m] += taken if atoms.element[row] == "O" else 0.0
    whole = float(plain.sum())
    if end.residue.name != "HIS":
        return whole
    (nd1,), (ne2,) = (np.flatnonzero(atoms.identity.atom_name[end.rows] == name) for name in ("ND1", "NE2"))
    return min(whole + 1.0, *(whole - plain[end.parent == n].sum() + bare[n] for n in (nd1, ne2)))


def repelled(distance: float, limit: float) -> float:
    short = max(limit - distance, 0.0) / 0.2
    return 0.5 * short**2 if short < 2.0 else 2.0 * short - 2.0


def bond(distance: float, length: float, arm: np.ndarray, to: np.ndarray) -> float:
    cosine = max(arm @ to / np.linalg.norm(arm) / np.linalg.norm(to), 0.0)
    return float(-6.0 * np.exp(-0.5 * ((distance - length) / 0.35) ** 2) * cosine**2)


def test_energies_pair_by_pair(start: tuple[Problem, State], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nqh_ends, "_BLOCK", 3)
    problem, state = start
    ends = free_ends(problem, state.atoms)
    found = gained(problem, state.atoms, ends)
    for end, gain in zip(ends, found.tolist()):
        here, there = (energy_by_hand(problem, state.atoms, end, xyz) for xyz in (end.here, end.there))
        assert gain == pytest.approx(here - there, abs=1e-6)
    assert np.abs(found).max() > 20.0
    assert gained(problem, state.atoms, []).shape == (0,)


def test_what_is_there_in_part_counts_in_part(start: tuple[Problem, State]) -> None:
    """A neighbour in two conformers makes one bond, and not two."""
    problem, state = start
    atoms = state.atoms
    (end,) = ends_of(atoms, [59])
    whole = gained(problem, atoms, [end])[0]
    occupancy = 0.5 * atoms.occupancy
    occupancy[end.rows] = 1.0
    assert gained(problem, atoms.replace(occupancy=occupancy), [end])[0] == pytest.approx(0.5 * whole, rel=1e-9)
    occupancy[end.rows] = 0.5  # all that is here is there with it, and no mate need be
    alone = gained(problem, atoms.replace(occupancy=occupancy), [end])[0]
    assert alone == pytest.approx(whole, abs=3.0)
    assert atoms.occupancy[end.rows[0]] == 1.0


def test_a_histidine_has_its_protons_where_they_serve() -> None:
    """Of two N one faces an acceptor and one a donor: turned by half, both face what they should not."""
    residue, rows, parent = Residue(0, "A", "HIS", (1, ""), {}), np.arange(8), np.array([0, 1, 2, 3, 0, 1, 2, 3])
    end = End(residue, rows, rows, parent, np.zeros((8, 3)), np.zeros((8, 3)))
    element = np.array(["N", "C", "C", "N", "H", "H", "H", "H"])
    atoms: Any = type("Some", (), {"element": element})()
    plain, bare = np.zeros(8), np.zeros(8)
    plain[4], bare[0], plain[7], bare[3] = -6.0, 0.5, 8.0, -5.0
    assert nqh_ends._total(end, atoms, np.array([plain, bare])) == pytest.approx(-11.0)  # ND1 gives, NE2 takes
    plain[7], bare[3] = -4.0, 0.0
    assert nqh_ends._total(end, atoms, np.array([plain, bare])) == pytest.approx(-9.0)  # both give: charged
    plain[4], plain[7] = 7.0, 7.0
    assert nqh_ends._total(end, atoms, np.array([plain, bare])) == pytest.approx(7.0)  # one proton is there at least
    one = End(residue, rows[:7], rows[:7], parent[:7], np.zeros((7, 3)), np.zeros((7, 3)))  # the file has none on NE2
    plain[4], bare[0], bare[3] = 7.0, -9.0, -5.0
    assert nqh_ends._total(one, atoms, np.array([plain, bare])[:, :7]) == pytest.approx(2.0)


def test_what_the_data_gain_agrees_with_the_likelihood(
    start: tuple[Problem, State], wrong: tuple[Problem, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one end turned back, with B in their places and nothing else moved."""
    monkeypatch.setattr(nqh_flips, "_LEFT", 1.0)  # no B follows here
    problem, state = wrong
    ends = ends_of(state.atoms)
    expected = evidence(state).gained(ends)
    true = []
    for end in ends:
        atoms = flipped(problem, state.atoms, [end])
        xyz = atoms.xyz.copy()
        xyz[end.rows] = end.there  # hydrogens as they were turned, not placed anew
        f_calc = problem.structure_factors(atoms)(atoms.replace(xyz=xyz))
        true.append(float((state.xray.values(state.f_calc) - state.xray.values(f_calc))[state.xray.work].sum()))
    np.testing.assert_allclose(expected, true, atol=1.5, rtol=0.2)
    assert evidence(state).gained([]).shape == (0,)
    kept = nqh_flips._Evidence(state, np.zeros(len(state.atoms), dtype=bool)).gained(ends)  # B stay with their atoms
    assert np.abs(kept - expected).max() > 0.5


def test_data_and_contacts_are_added(wrong: tuple[Problem, State], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends that meet nothing turn where the data say so; those that meet something stay where the data want that."""
    problem, state = wrong
    ends = free_ends(problem, state.atoms)
    by_data = dict(zip([end.residue.key[0] for end in ends], evidence(state).gained(ends).tolist()))
    assert max(by_data.values()) > WORTH_TURNING + 1.0
    assert min(by_data.values()) < -3.0
    for contacts in (0.0, WORTH_TURNING + 2.0):
        monkeypatch.setattr(nqh_flips, "gained_by_contacts", lambda *_, c=contacts: np.full(len(_[-1]), c))
        monkeypatch.setattr(nqh_flips, "_PASSES", 1)
        turned = dict(zip(numbers_of(found := with_flipped_ends(problem, state)[1]), [gain for _, gain in found]))
        assert set(turned) == {n for n, gain in by_data.items() if gain + contacts > WORTH_TURNING}
        assert turned == pytest.approx({n: by_data[n] + contacts for n in turned})


def test_wrong_ends_turn_back_and_right_ones_stay(start: tuple[Problem, State], wrong: tuple[Problem, State]) -> None:
    problem, state = wrong
    after, found = with_flipped_ends(problem, state)
    assert numbers_of(found) == list(CLEAR)
    assert all(gain > WORTH_TURNING for _, gain in found)
    off = np.linalg.norm(after.atoms.xyz - start[1].atoms.xyz, axis=1)
    assert off.max() < 0.05
    assert after.nll_work < state.nll_work
    assert with_flipped_ends(*start) == (start[1], ())


def test_displacements_stay_where_they_were(start: tuple[Problem, State]) -> None:
    problem, state = start
    (end,) = ends_of(state.atoms, [59])
    oxygen, nitrogen = end.rows[:2]
    u = np.random.default_rng(0).normal(0.0, 0.01, state.atoms.u_aniso.shape)
    atoms = state.atoms.replace(u_aniso=u)
    after = flipped(problem, atoms, [end])
    assert after.b_iso[oxygen] == atoms.b_iso[nitrogen]
    assert after.b_iso[nitrogen] == atoms.b_iso[oxygen]
    np.testing.assert_array_equal(after.u_aniso[[oxygen, nitrogen]], u[[nitrogen, oxygen]])
    for options in ({"freeze": ("b: 59",)}, {"targets": ("xyz",)}):
        kept = dataclasses.replace(problem, options=dataclasses.replace(problem.options, **options))
        after = flipped(kept, atoms, [end])
        assert after.b_iso[oxygen] == atoms.b_iso[oxygen]
        np.testing.assert_array_equal(after.u_aniso, u)
    anisotropic = atoms.anisotropic.copy()
    anisotropic[oxygen] = not anisotropic[nitrogen]
    after = flipped(problem, dataclasses.replace(atoms, anisotropic=anisotropic), [end])
    assert after.b_iso[oxygen] == atoms.b_iso[nitrogen]
    np.testing.assert_array_equal(after.u_aniso, u)  # a tensor is of no use to an isotropic atom


@pytest.mark.parametrize(
    "options",
    [{"nqh_flips": "keep"}, {"reference": Path("other.pdb")}, {"xray": Xray(target="gaussian")}, {"targets": ("b",)}],
)
def test_they_stay_where_that_is_asked_for(wrong: tuple[Problem, State], options: dict[str, Any]) -> None:
    problem, state = wrong
    changed = dataclasses.replace(problem, options=dataclasses.replace(problem.options, **options))
    if "xray" in options:
        state = evaluate(changed, state.atoms)
    assert with_flipped_ends(changed, state) == (state, ())


def test_frozen_ones_and_conformers_stay(wrong: tuple[Problem, State]) -> None:
    problem, state = wrong
    frozen = dataclasses.replace(problem, options=dataclasses.replace(problem.options, freeze=("xyz: 59",)))
    assert numbers_of(with_flipped_ends(frozen, state)[1]) == [n for n in CLEAR if n != 59]
    who = state.atoms.identity
    altloc = who.altloc.copy()
    altloc[ends_of(state.atoms, [141])[0].rows[0]] = "A"
    atoms = dataclasses.replace(state.atoms, identity=dataclasses.replace(who, altloc=altloc))
    split = dataclasses.replace(state, atoms=atoms)
    assert numbers_of(with_flipped_ends(problem, split)[1]) == [n for n in CLEAR if n != 141]


def test_ends_that_meet_across_symmetry_are_near(start: tuple[Problem, State]) -> None:
    problem, state = start
    crystal, atoms = problem.reflections.crystal, state.atoms
    one, two = ends_of(atoms, [59, 147])
    assert nqh_ends.near_each_other(atoms, crystal, [one, two]) == set()
    xyz = atoms.xyz.copy()
    xyz[two.heavy_rows] = xyz[one.heavy_rows] + crystal.orth @ (1.0, 0.0, -1.0) + 2.0
    moved = atoms.replace(xyz=xyz)
    assert nqh_ends.near_each_other(moved, crystal, [one, two]) == {(0, 1), (1, 0)}
    gain = np.array([WORTH_TURNING + 1.0, WORTH_TURNING + 2.0])
    assert nqh_flips._independent(atoms, crystal, [one, two], gain) == [1, 0]
    assert nqh_flips._independent(moved, crystal, [one, two], gain) == [1]
    assert nqh_flips._independent(atoms, crystal, [one, two], np.full(2, WORTH_TURNING)) == []


def test_which_ends_may_turn(start: tuple[Problem, State]) -> None:
    problem, state = start
    crystal, atoms = problem.reflections.crystal, state.atoms
    residues, stays = residues_of(atoms), np.zeros(len(atoms), dtype=bool)

    def numbers(atoms: Atoms) -> set[int]:
        return {end.residue.key[0] for end in nqh_ends.ends_of(atoms, residues, crystal, stays)}

    every = numbers(atoms)
    assert set(CLEAR) < every
    (end,) = ends_of(atoms, [59])
    for name, value in (("occupancy", 0.0), ("multiplicity", 2)):
        changed = getattr(atoms, name).copy()
        changed[end.rows[1]] = value
        assert numbers(dataclasses.replace(atoms, **{name: changed})) == every - {59}
    stays[end.rows[0]] = True
    assert numbers(atoms) == every - {59}
    stays[:] = False
    # a hydrogen on the backbone that its neighbour's conformers split does not matter; one that does not ride does
    backbone = next(r for r in residues if r.key[0] == 59).atoms["N"]
    riding = atoms.riding
    amide = riding.child[riding.parent == backbone]
    altloc = atoms.identity.altloc.copy()
    altloc[amide] = "A"
    assert numbers(dataclasses.replace(atoms, identity=dataclasses.replace(atoms.identity, altloc=altloc))) == every
    rides = ~np.isin(riding.child, amide)
    fewer = dataclasses.replace(riding, child=riding.child[rides], parent=riding.parent[rides])
    assert numbers(dataclasses.replace(atoms, riding=fewer)) == every - {59}


def test_an_end_that_meets_its_own_mate_stays(case: Case) -> None:
    """N of His 187 of 5ORL is at a twofold axis: what it meets would turn with it."""
    folder = case("5orl")
    _, problem, atoms, _ = ar.prepare(next(folder.glob("model.*")), folder / "norm.mtz", Options(unknown="hold"))
    crystal = problem.reflections.crystal
    residues = [residue for residue in residues_of(atoms) if residue.name == "HIS"]
    whole = [end for end in ends_of(atoms) if end.residue.name == "HIS"]
    own = {a for a, b in nqh_ends.near_each_other(atoms, crystal, whole) if a == b}
    assert {whole[k].residue.key[0] for k in own} == {187}
    free = nqh_ends.ends_of(atoms, residues, crystal, np.zeros(len(atoms), dtype=bool))
    assert 187 not in {end.residue.key[0] for end in free}


def test_of_two_that_gain_by_a_turn_one_turns(case: Case) -> None:
    """Gln 38 and 39 of the two chains of an antibody face each other: with one turned, the other is right."""
    folder = case("2r4r")
    _, problem, atoms, _ = ar.prepare(next(folder.glob("model.*")), folder / "norm.mtz", Options())
    state = evaluate(problem, atoms)
    facing = (("L", 38), ("H", 39))
    pair = [end for end in ends_of(atoms, [38, 39]) if (end.residue.chain, end.residue.key[0]) in facing]
    assert gained(problem, atoms, pair).min() > WORTH_TURNING + 5.0
    after, turned = with_flipped_ends(problem, state)
    names = [name for name, _ in turned]
    assert "L/GLN 38" in names
    assert "H/GLN 39" not in names
    assert len(names) == len(set(names))
    assert gained(problem, after.atoms, free_ends(problem, after.atoms)).max() < 12.0


def test_validation_names_them(deposited: tuple[Problem, State], start: tuple[Problem, State]) -> None:
    problem, state = deposited
    found = validate(problem, state)
    assert [row.residue for row in found.nqh_flips] == ["A 102 GLN", "A 18 ASN"]
    lines = validation_lines(found, 10)
    title = next(k for k, line in enumerate(lines) if "wrong way round" in line)
    assert lines[title + 2].split() == [f"{found.nqh_flips[0].gain:.1f}", "A", "102", "GLN"]
    named = tables(found.as_dict(), lambda label: None)["nqh_flips"]
    assert named is not None
    assert "A 102 GLN" in str(named.rows)
    right = validate(*start)
    assert right.nqh_flips == ()
    assert tables(right.as_dict(), lambda label: None)["nqh_flips"] is None
    assert not any("wrong way round" in line for line in validation_lines(right, 10))


def test_a_crystal_with_wrong_ends(case: Case, tmp_path: Path) -> None:
    """1CBS with four ends turned: all turn back, and with them every other that is not asked to keep."""
    folder = case("1cbs")
    structure = gemmi.read_structure(str(folder / "shaken.pdb"))
    numbers = (14, 25, 45, 74)
    for residue in structure[0]["A"]:
        if residue.seqid.num in numbers:
            for one, two in ENDS[residue.name][1]:
                a, b = residue.find_atom(one, "*"), residue.find_atom(two, "*")
                a.pos, b.pos = gemmi.Position(*b.pos.tolist()), gemmi.Position(*a.pos.tolist())
    model = tmp_path / "model.pdb"
    structure.write_pdb(str(model))
    reports = {}
    for how in ("auto", "keep"):
        out = tmp_path / how
        options = ["--nqh-flips", how, "--cycles", "2", "--no-report", "--anisotropic", "none", "--d-min", "2"]
        assert main(["refine", str(model), str(folder / "norm.mtz"), "--out", str(out), *options]) == 0
        reports[how] = json.loads((out / "report.json").read_text())
    auto, keep = reports["auto"], reports["keep"]
    found = [pair for step in auto["steps"] for pair in step["nqh_flips"]]
    assert numbers_of(found) == list(numbers)
    assert any(f"{len(numbers)} ends of Asn, Gln or His turned by half" in text for text in auto["warnings"])
    assert not any(step["nqh_flips"] for step in keep["steps"])
    assert auto["final"]["r_work"] < keep["final"]["r_work"]
