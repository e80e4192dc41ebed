"""Groups of occupancies: which atoms share one, what excludes what, and how they are refined."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest
from checks import check_direction, dot_test
from synthetic import atoms_from

from arrayrefine.atoms import Atoms, Gradient, Riding
from arrayrefine.errors import InputError
from arrayrefine.occupancies.conformers import build_occupancy_groups, overfull, uneven
from arrayrefine.occupancies.groups import LEAST
from arrayrefine.options import Options
from arrayrefine.parameters import Parameters
from arrayrefine.preparation import prepare
from arrayrefine.refine import refine

# chain, residue, number, altloc, occupancy; one atom each
ROWS = [
    ("A", "SER", 1, "", 1.0),
    ("A", "SER", 1, "A", 0.6),
    ("A", "SER", 1, "B", 0.4),
    ("A", "GLY", 2, "A", 0.6),
    ("A", "GLY", 2, "B", 0.4),
    ("A", "LEU", 3, "A", 0.2),
    ("A", "LEU", 3, "B", 0.7),
    ("A", "LYS", 7, "A", 0.5),
    ("A", "ARG", 7, "B", 0.5),
    ("A", "GLU", 9, "", 1.0),
    ("A", "GLU", 9, "", 0.3),
    ("A", "GLU", 9, "", 0.3),
    ("A", "GLU", 9, "", 0.0),
    ("B", "LIG", 1, "", 0.8),
    ("B", "LIG", 1, "", 0.8),
    ("B", "HOH", 2, "", 0.5),
    ("B", "HOH", 3, "A", 0.5),
    ("B", "HOH", 3, "B", 0.5),
    ("B", "HOH", 4, "A", 0.5),
    ("B", "HOH", 4, "B", 0.5),
    ("B", "ZN", 5, "", 1.0),
]


def model(rows: list[tuple[str, str, int, str, float]] = ROWS) -> Atoms:
    n = len(rows)
    made = atoms_from(np.arange(3.0 * n).reshape(n, 3), ["C"] * n, np.full(n, 20.0), np.array([row[4] for row in rows]))
    residues = [row[:3] for row in rows]
    identity = dataclasses.replace(
        made.identity,
        chain=np.array([row[0] for row in rows]),
        residue_name=np.array([row[1] for row in rows]),
        atom_name=np.array([f"C{i}" for i in range(n)]),
        sequence_number=np.array([row[2] for row in rows]),
        altloc=np.array([row[3] for row in rows]),
        residue=np.array([list(dict.fromkeys(residues)).index(one) for one in residues]),
    )
    return dataclasses.replace(made, identity=identity)


def test_what_belongs_together_and_what_excludes_what() -> None:
    groups, notes = build_occupancy_groups(model())
    found = {
        name: (np.flatnonzero(groups.group == k).tolist(), int(groups.alternative[k]))
        for k, name in enumerate(groups.names)
    }
    assert found == {
        "A 1-2 conformer A": ([1, 3], 0),
        "A 1-2 conformer B": ([2, 4], 0),
        "A LEU 3 conformer A": ([5], 1),  # other occupancies: no longer one run
        "A LEU 3 conformer B": ([6], 1),
        "A LYS 7 conformer A": ([7], 2),
        "A ARG 7 conformer B": ([8], 2),
        "B HOH 3 conformer A": ([16], 3),
        "B HOH 3 conformer B": ([17], 3),
        "B HOH 4 conformer A": ([18], 4),
        "B HOH 4 conformer B": ([19], 4),
        "A GLU 9": ([10, 11], -1),
        "B LIG 1": ([13, 14], -1),
        "B HOH 2": ([15], -1),
    }
    assert (groups.group[[0, 9, 12, 20]] == -1).all()
    (note,) = notes
    assert "1 set of conformers did not add up to 1" in note
    assert "A LEU 3 conformer A, had 0.90" in note


def test_conformers_of_a_ligand_that_is_there_in_part_are_not_made_to_fill_its_place() -> None:
    """As of fragments, 0.15 and 0.15; those of a residue of a chain are, and of a water that adds up to 0.99."""
    atoms = model()
    occupancy = atoms.occupancy.copy()
    occupancy[[16, 17]], occupancy[[18, 19]], occupancy[[5, 6]] = (0.15, 0.2), (0.59, 0.4), (0.3, 0.2)
    atoms = atoms.replace(occupancy=occupancy)
    groups, notes = build_occupancy_groups(atoms)
    (empty,) = groups.empty
    assert groups.names[empty] == "none of B HOH 3 conformer A + B HOH 3 conformer B"
    assert not (groups.group == empty).any()
    (said,) = [note for note in notes if "there in part" in note]
    assert said.endswith("1 ligand, waters among them, add up to less than 1, as of what is there in part, and may: "
                         "B HOH 3 conformer A + B HOH 3 conformer B")  # fmt: skip
    free = groups.free(np.ones(len(atoms), dtype=bool))
    assert empty in free
    assert groups.occupancies(atoms, np.array([empty]))[0] == pytest.approx(0.65)
    values = groups.pack(atoms, free)
    back = groups.unpack(atoms, free, values)
    np.testing.assert_allclose(back[[16, 17]], [0.15, 0.2])
    np.testing.assert_allclose(back[[5, 6]].sum(), 1.0)
    at = [int(np.flatnonzero(free[groups.independent(free)] == groups.group[k])[0]) for k in (16, 17)]
    values[at] = 0.9, 0.8  # more than there is room for
    back = groups.unpack(atoms, free, values)
    assert 0.97 < back[[16, 17]].sum() < 1.0
    values[at] = 0.3, 0.25
    slope = groups.pullback(atoms, free, np.arange(1.0, len(atoms) + 1.0))
    assert slope[at].tolist() == [17.0, 18.0]  # nothing of the empty group comes off
    # without one of the two neither is refined
    held = np.ones(len(atoms), dtype=bool)
    held[16] = False
    assert not np.isin([empty, groups.group[17]], groups.free(held)).any()


def test_alternatives_that_add_up_to_more_than_one_are_named() -> None:
    """Where occupancies are not refined nothing else mends them; less than one may be a partly empty site."""
    atoms = model()
    assert overfull(atoms, build_occupancy_groups(atoms)[0]) == ()
    occupancy = atoms.occupancy.copy()
    occupancy[[5, 6]] = 0.75
    spoilt = atoms.replace(occupancy=occupancy)
    (note,) = overfull(spoilt, build_occupancy_groups(spoilt)[0])
    assert note.startswith("the occupancies of 1 set of conformers add up to more than 1")
    assert ": A LEU 3 conformer A 0.75 + A LEU 3 conformer B 0.75 = 1.50. " in note


def test_what_rounding_leaves_open_in_a_sum_of_many_conformers_is_no_excess() -> None:
    """Occupancies have two decimals in a file: fourteen conformers of 1/14 add up to 0.98, others to 1.02."""
    shares = [0.03, 0.07, 0.08, 0.06, 0.10, 0.04, 0.07, 0.11, 0.08, 0.10, 0.07, 0.10, 0.05, 0.06]
    for more, is_said in ((0.0, False), (0.08, True)):
        rows = [("A", "GLU", 32, "ABCDEFGHIJKLMN"[k], one) for k, one in enumerate((shares[0] + more, *shares[1:]))]
        groups, notes = build_occupancy_groups(atoms := model(rows))
        assert len(groups) == len(rows)
        assert bool(overfull(atoms, groups)) is is_said
        assert any("did not add up to 1" in note for note in notes) is is_said


def test_residues_of_a_chain_without_a_name_are_named_without_it() -> None:
    (note,) = uneven(model([("", "GLU", 9, "", 1.0), ("", "GLU", 9, "", 0.3)]))
    assert ", or of one conformer there: GLU 9 (0.30 to 1.00). " in note


@pytest.mark.parametrize(("targets", "is_said"), [(("xyz+b",), True), (("xyz+b", "occupancy"), False)])
def test_a_refinement_that_leaves_occupancies_alone_says_so(
    case: Callable[[str], Path], targets: tuple[str, ...], is_said: bool
) -> None:
    structure = gemmi.read_structure(str(case("1aba") / "model.pdb"))
    residue = next(residue for chain in structure[0] for residue in chain if "CB" in residue)
    place = [atom.name for atom in residue].index("CB")
    for altloc in "AB":
        copy = residue[place].clone()
        copy.altloc, copy.occ = altloc, 0.75
        residue.add_atom(copy)
    del residue[place]
    notes = prepare(structure, case("1aba") / "norm.mtz", Options(targets=targets))[3]
    assert any("add up to more than 1" in note and "conformer A 0.75" in note for note in notes) == is_said
    assert any("did not add up to 1" in note for note in notes) != is_said



def test_microheterogeneity_without_conformer_letters_and_a_single_conformer() -> None:
    groups, _ = build_occupancy_groups(model([("A", "LYS", 7, "", 0.3), ("A", "ARG", 7, "", 0.7)]))
    assert groups.names == ("A LYS 7 conformer LYS", "A ARG 7 conformer ARG")
    assert groups.alternative.tolist() == [0, 0]
    alone, _ = build_occupancy_groups(model([("A", "ASP", 7, "A", 0.5), ("A", "ASP", 7, "A", 0.5)]))
    assert alone.group.tolist() == [0, 0]
    assert alone.alternative.tolist() == [-1]


def test_an_atom_with_an_amount_of_its_own_excludes_none() -> None:
    """Of A, which lacks what B has, an atom has less than the others: those of two amounts cannot share one."""
    rows = [("A", "SER", 1, "A", 0.7), ("A", "SER", 1, "B", 0.3), ("A", "SER", 1, "A", 0.5)]
    groups, notes = build_occupancy_groups(model(rows))
    assert groups.group.tolist() == [0, 1, 2]
    assert groups.alternative.tolist() == [0, 0, -1]
    assert not notes


def test_residues_that_share_a_main_chain_exclude_each_other_by_their_letters() -> None:
    """As crambin has it (1EJG): Leu and Ile at 25, with one main chain, which bears the name of Leu."""
    rows = [
        ("A", "LEU", 25, "", 1.0), ("A", "LEU", 25, "A", 0.33), ("A", "LEU", 25, "A", 0.57),
        ("A", "ILE", 25, "B", 0.33), ("A", "ILE", 25, "C", 0.34),
        ("A", "ILE", 25, "B", 0.21), ("A", "ILE", 25, "C", 0.22),
    ]  # fmt: skip
    atoms = model(rows)
    names = np.array(["N", "CB", "CG", "CB", "CB", "CG1", "CG1"])
    atoms = dataclasses.replace(atoms, identity=dataclasses.replace(atoms.identity, atom_name=names))
    groups, notes = build_occupancy_groups(atoms)
    assert not notes
    assert not overfull(atoms, groups)
    members = [np.flatnonzero(groups.group == k).tolist() for k in range(len(groups))]
    assert members == [[1], [3], [4], [5], [6], [2]]
    assert groups.alternative.tolist() == [0, 0, 0, 1, 1, 1]
    assert groups.group[0] == -1


def test_groups_that_the_user_names_come_first() -> None:
    groups, _ = build_occupancy_groups(model(), ("chain B and 5", "7 and altloc A | chain B and 2"))
    assert np.flatnonzero(groups.group == 0).tolist() == [20]
    assert [groups.group[i] for i in (7, 15)] == [1, 2]
    assert groups.alternative[:3].tolist() == [-1, 0, 0]
    assert groups.names[:3] == ("chain B and 5", "7 and altloc A", "chain B and 2")
    assert groups.names[groups.group[8]] == "A ARG 7 conformer B"
    assert groups.alternative[groups.group[8]] == -1


@pytest.mark.parametrize(
    ("selections", "words"),
    [
        (("chain A and 1",), "names the conformers A and B as one group; select one of them (altloc A)"),
        (("chain C",), "'chain C' names no atom with an occupancy above 0"),
        (("chain B and 1", "resname LIG"), "B/LIG 1/C13 is in two groups"),
        (("colour red",), "--occupancy-groups: selection 'colour red'"),
    ],
)
def test_selections_that_make_no_groups(selections: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        build_occupancy_groups(model(), selections)


def test_sums_stay_one_riders_follow_and_the_gradient_is_the_adjoint() -> None:
    atoms = dataclasses.replace(model(), riding=Riding(np.array([12]), np.array([1])))
    atoms = atoms.replace(occupancy=np.where(np.arange(len(atoms)) == 12, 0.3, atoms.occupancy))
    atoms = dataclasses.replace(atoms, multiplicity=np.where(np.arange(len(atoms)) == 15, 2, 1))
    groups, _ = build_occupancy_groups(atoms)
    parameters = Parameters.of(atoms, "b+occupancy", groups=groups)
    assert parameters.sizes.occupancy == 5 + 2  # the water at 0.5 of a two-fold position is fully there
    rng = np.random.default_rng(0)
    x = parameters.pack(atoms)
    at = parameters.slices["occupancy"]
    x[at] = rng.uniform(0.2, 0.8, at.stop - at.start)
    after = parameters.unpack(x)
    for k in range(5):
        first = [np.flatnonzero(groups.group == g)[0] for g in np.flatnonzero(groups.alternative == k)]
        assert after.occupancy[first].sum() == pytest.approx(1.0)
    assert after.occupancy[12] == pytest.approx(after.occupancy[1] / 2.0)
    assert after.occupancy[[0, 9, 20]].tolist() == [1.0, 1.0, 1.0]
    dx = rng.normal(size=len(x)) * 0.01
    moved = parameters.unpack(x + dx)
    n = len(atoms)
    y = Gradient(np.zeros((n, 3)), rng.normal(size=n), rng.normal(size=n))
    left = (moved.occupancy - after.occupancy) @ y.occupancy + (moved.b_iso - after.b_iso) @ y.b_iso
    dot_test(float(left), float(parameters.pullback(y) @ dx), 1e-10)

    weight = rng.normal(size=n)
    slope = parameters.pullback(Gradient(np.zeros((n, 3)), np.zeros(n), 3.0 * weight * after.occupancy**2)) @ dx
    check_direction(lambda t: float(weight @ parameters.unpack(x + t * dx).occupancy ** 3), float(slope), 1e-2, 1e-8)
    low, high = parameters.bounds()
    assert low[at].tolist() == [LEAST] * 5 + [0.0] * 2
    assert high[at].tolist() == [1.0 - LEAST] * 5 + [1.0] * 2


def test_freezing_by_selection() -> None:
    atoms = model()
    groups, _ = build_occupancy_groups(atoms)
    every = Parameters.of(atoms, "xyz+b+occupancy", groups=groups)
    some = every.without(("xyz: chain B", "b:water", "occupancy: chain A and 2 and altloc A"))
    assert np.array_equal(some.xyz, atoms.identity.chain == "A")
    assert np.array_equal(some.b, atoms.identity.residue_name != "HOH")
    assert some.sizes.occupancy == every.sizes.occupancy - 1  # an alternative as a whole
    for text, words in (("chain B", "expected one of xyz, b"), ("uij: all", "a colon"), ("b: colour", "selection")):
        with pytest.raises(InputError, match=words):
            every.without((text,))


def test_strain_that_is_frozen_does_not_steer_the_weights(case: Callable[[str], Path]) -> None:
    folder = case("5e5z")
    options = Options(freeze=("xyz: 1-3",))
    _, problem, atoms, _ = prepare(folder / "shaken.pdb", folder / "norm.mtz", options)
    frozen = Parameters.frozen_atoms(atoms, "xyz", options.freeze)
    own = ~atoms.is_hydrogen
    assert np.array_equal(frozen[own], (atoms.identity.sequence_number <= 3)[own])
    inside = frozen & (atoms.identity.sequence_number == 2)
    far = atoms.replace(xyz=atoms.xyz + 0.5 * inside[:, None] * np.cos(np.arange(len(atoms)))[:, None])
    one, two = (problem.geometry.core_rmsz(some, frozen) for some in (atoms, far))
    assert one == pytest.approx(two)
    assert problem.geometry.core_rmsz(far)[0] > 1.2 * problem.geometry.core_rmsz(atoms)[0]


def test_frozen_b_stays_as_it_was_given(case: Callable[[str], Path]) -> None:
    folder = case("5e5z")
    options = Options(cycles=1, freeze=("b: all", "xyz: chain Z"), occupancy_groups=("1-2",))
    result = refine(folder / "shaken.pdb", folder / "norm.mtz", options)
    given = np.array([row.atom.b_iso for row in gemmi.read_structure(str(folder / "shaken.pdb"))[0].all()])
    own = ~result.atoms.is_hydrogen
    assert np.allclose(result.atoms.b_iso[own], given, atol=1e-3)
    assert not result.atoms.u_aniso.any()
    said = result.report.warnings
    assert "--freeze 'xyz: chain Z' names no atom of the model" in said
    assert any(note.startswith("--occupancy-groups has no effect") for note in said)


def test_a_real_crystal_finds_occupancies_again(case: Callable[[str], Path], tmp_path: Path) -> None:
    folder = case("6mw0")
    options = Options(cycles=1, targets=("occupancy",), hydrogens="strip", anisotropic="keep", d_min=1.2)
    _, problem, atoms, _ = prepare(folder / "model.cif", folder / "norm.mtz", options)
    assert problem.occupancy is not None
    assert len(problem.occupancy) == 7
    every = np.arange(7)
    share = problem.occupancy.occupancies(atoms, every)
    for k in every:  # nothing changes by grouping alone
        assert np.allclose(atoms.occupancy[problem.occupancy.group == k], share[k], atol=0.006)
    structure = gemmi.read_structure(str(folder / "model.cif"))
    for residue in structure[0]["A"]:
        for atom in residue:
            if residue.seqid.num == 1002 and atom.altloc in "AB":
                atom.occ = {"A": 0.2, "B": 0.8}[atom.altloc]
    start = tmp_path / "wrong.cif"
    structure.make_mmcif_document().write_file(str(start))
    result = refine(start, folder / "norm.mtz", options)
    groups = {record["name"]: record for record in result.report.occupancies}
    one, two = groups["A PHE 1002 conformer A"], groups["A PHE 1002 conformer B"]
    assert one["start"] == pytest.approx(0.2)
    assert one["final"] == pytest.approx(0.6, abs=0.12)
    assert one["final"] + two["final"] == pytest.approx(1.0)
    assert result.report.final.r_work < result.report.start.r_work
    full = (result.atoms.identity.altloc == "") & (atoms.occupancy == 1.0)
    assert full.any()
    assert (result.atoms.occupancy[full] == 1.0).all()
