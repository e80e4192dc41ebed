"""Restraints from tables: CSV, TSV, pandas and rows; what they replace, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from checks import check_direction

import arrayrefine as ar
from arrayrefine.__main__ import main
from arrayrefine.example import DATA, MODEL
from arrayrefine.further_restraints.tables import as_tables, read_rows, with_tables
from arrayrefine.problem import Problem
from arrayrefine.restraints import Distances, Restraints
from arrayrefine.targets.geometry import GeometryTarget
from arrayrefine.wording import Caution

HEAD = "kind,atom1,atom2,atom3,atom4,ideal,sigma,period"
ROWS = f"""# a comment
{HEAD}
bond,A/10/N,A/10/CA,,,1.40,0.01,
angle, //A/10/N, A/VAL 10/CA, A/10/C,,120,2,
torsion,A/10/N,A/10/CA,A/10/CB,A/10/CG2,60,5,3
chirality,A/10/CA,A/10/N,A/10/C,A/10/CB,2.5,0.2,
distance,A/10/O,A/14/N,,,2.9,0.05,
robust distance,A/10/CA,chain A and 40 and name CA,,,20,0.5,

plane,A/45/CG,A/45/ND1,A/45/CE1,A/45/NE2,,0.02,
"""


@pytest.fixture(scope="module")
def prepared() -> tuple[Problem, ar.Atoms]:
    """The example without hydrogens to 4 Å."""
    options = ar.Options(d_min=4.0, tls=("none",), hydrogens="strip")
    external = dataclasses.replace(options.external, low_resolution=5.0, few_reflections=0.0)
    options = dataclasses.replace(options, external=external)
    _, problem, atoms, _ = ar.prepare(MODEL, DATA, options)
    return problem, atoms


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "known.csv"
    path.write_text(ROWS)
    return path


def test_every_kind_is_read(prepared: tuple[Problem, ar.Atoms], table: Path) -> None:
    _, atoms = prepared
    rows = read_rows(table, atoms)
    assert [row.kind for row in rows] == [
        "bond", "angle", "torsion", "chirality", "distance", "robust distance", "plane",
    ]  # fmt: skip
    assert [atoms.identity.label(i) for i in rows[1].atoms] == ["A/VAL 10/N", "A/VAL 10/CA", "A/VAL 10/C"]
    assert (rows[2].ideal, rows[2].sigma, rows[2].period) == (60.0, 5.0, 3)
    assert ar.select(atoms, "//A/40/CA")[rows[5].atoms[1]]
    assert len(rows[6].atoms) == 4


def test_other_forms_of_the_same_table(prepared: tuple[Problem, ar.Atoms], table: Path, tmp_path: Path) -> None:
    _, atoms = prepared
    rows = read_rows(table, atoms)
    for mark in ("\t", ";"):
        other = tmp_path / "known.txt"
        other.write_text(ROWS.replace(",", mark))
        assert read_rows(other, atoms) == rows
    body = [line.split(",") for line in ROWS.splitlines()[1:] if line]
    records = [dict(zip(body[0], map(str.strip, line))) for line in body[1:]]
    assert read_rows(records, atoms) == rows
    assert as_tables(records) == (records,)
    assert as_tables(table) == (table,)
    assert as_tables([table, records]) == (table, records)
    with pytest.raises(ar.InputError, match="found a int; expected a list of tables"):
        as_tables(3)  # type: ignore[arg-type]
    with pytest.raises(ar.InputError, match="found one dictionary; expected a list"):
        as_tables(records[0])


def test_pandas(prepared: tuple[Problem, ar.Atoms], table: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.read_csv(table, comment="#", skipinitialspace=True)
    assert read_rows(frame, prepared[1]) == read_rows(table, prepared[1])
    assert len(as_tables(frame)) == 1


def test_restraints_are_replaced_or_added(prepared: tuple[Problem, ar.Atoms], table: Path) -> None:
    problem, atoms = prepared
    before = problem.restraints
    after = with_tables(before, atoms, [table])
    assert len(after.bonds.index) == len(before.bonds.index)  # in place of the dictionary's
    assert len(after.angles.index) == len(before.angles.index)
    assert len(after.chiralities.index) == len(before.chiralities.index)
    assert after.planes.plane.max() == before.planes.plane.max() + 1
    assert (np.diff(after.planes.plane) >= 0).all()
    assert after.bonds.ideal[-1] == 1.40
    assert after.chiralities.ideal[-1] == 2.5
    assert {d.kind: (len(d), d.alpha) for d in after.distances if "table" in d.kind} == {
        "table": (1, 2.0), "table, robust": (1, -2.0),
    }  # fmt: skip
    assert not isinstance(after.notes[-1], Caution)
    assert after.notes[-1] == (
        "restraint table known.csv: 1 bond, 1 angle, 1 torsion, 1 chirality, 1 distance, 1 robust distance, 1 plane; 4 "
        "restraints of the dictionary replaced"
    )
    twice = with_tables(after, atoms, [table])
    assert len(twice.bonds.index) == len(after.bonds.index)
    assert [len(d) for d in twice.distances if d.kind == "table"] == [2]


def test_columns_that_mean_nothing_are_named(prepared: tuple[Problem, ar.Atoms]) -> None:
    problem, atoms = prepared
    names = {f"atom{k}": f"A/10/{name}" for k, name in enumerate(("N", "CA", "CB", "CG2"), start=1)}
    row = {"kind": "torsion", **names, "ideal": 180.0, "sigma": 10.0, "perod": 3, "Period": 3}
    note = with_tables(problem.restraints, atoms, [[row]]).notes[-1]
    assert note.endswith("; columns that are not used: perod")
    assert isinstance(note, Caution)


def test_a_name_that_two_atoms_have_is_refused(prepared: tuple[Problem, ar.Atoms]) -> None:
    atoms = prepared[1]
    names = atoms.identity.atom_name.copy()
    names[ar.select(atoms, "//A/10/CG2")] = "CG1"
    twice = dataclasses.replace(atoms, identity=dataclasses.replace(atoms.identity, atom_name=names))
    row = {"kind": "distance", "atom1": "A/VAL 10/CG1", "atom2": "A/10/CA", "ideal": 2.5, "sigma": 0.1}
    with pytest.raises(ar.InputError, match="'A/VAL 10/CG1' names 2 atoms"):
        read_rows([row], twice)


def test_new_bond_ends_contacts(prepared: tuple[Problem, ar.Atoms]) -> None:
    problem, atoms = prepared
    row = {"kind": "bond", "atom1": "A/10/CB", "atom2": "A/40/CB", "ideal": 1.5, "sigma": 0.02}
    after = with_tables(problem.restraints, atoms, [[row]])
    before = {tuple(pair) for pair in problem.restraints.non_bonded.excluded.tolist()}
    new = {tuple(pair) for pair in after.non_bonded.excluded.tolist()} - before
    names = {tuple(sorted(atoms.identity.label(i).split()[-1] for i in pair)) for pair in new}
    assert ("10/CB", "40/CB") in names
    assert ("10/CA", "40/CB") in names
    assert ("10/CB", "40/CA") in names


def test_planes_and_distances_of_other_sources_are_replaced(prepared: tuple[Problem, ar.Atoms]) -> None:
    """A distance at a metal that somebody knows better than the program, and a plane of the same atoms."""
    problem, atoms = prepared
    before = problem.restraints
    last = int(before.planes.plane.max())
    plane = {f"atom{k}": atoms.identity.label(i) for k, i in enumerate(before.planes.index[before.planes.plane == 0])}
    plane = {"kind": "plane", "sigma": 0.1, **{f"atom{int(key[4:]) + 1}": label for key, label in plane.items()}}
    (i, j), (k, m) = (1, 50), (2, 60)
    more = Distances("metal", np.array([[i, j], [m, k]]), np.full(2, 2.0), np.full(2, 0.1))
    both = np.array([[i, j, k, m], [j, i, k, m]])
    differences = Distances("local NCS", both, np.zeros(2), np.ones(2))
    known = dataclasses.replace(before, distances=(more, differences))
    one, other = (atoms.identity.label(n) for n in (k, m))
    row = {"kind": "distance", "atom1": one, "atom2": other, "ideal": 3, "sigma": 1}
    after = with_tables(known, atoms, [[row, plane]])
    assert [(d.kind, d.index.tolist()) for d in after.distances] == [
        ("metal", [[i, j]]), ("local NCS", both.tolist()), ("table", [[k, m]]),
    ]  # fmt: skip
    assert after.planes.plane.max() == last
    assert set(np.diff(after.planes.plane)) <= {0, 1}
    assert (after.planes.sigma[after.planes.plane == last] == 0.1).all()
    assert after.notes[-1].endswith("1 restraint of the dictionary replaced; 1 distance of other sources replaced")


def test_gradient(prepared: tuple[Problem, ar.Atoms], table: Path) -> None:
    problem, atoms = prepared
    crystal = problem.reflections.crystal
    nothing = Restraints.none(len(atoms))
    contacts_off = dataclasses.replace(problem.options.geometry, contacts=False)
    target = GeometryTarget.build(with_tables(nothing, atoms, [table]), crystal, contacts_off)
    value, gradient = target(atoms)
    assert value > 1.0
    touched = np.flatnonzero(np.abs(gradient.xyz).sum(axis=1))
    assert len(touched) == len({i for row in read_rows(table, atoms) for i in row.atoms})
    direction = np.random.default_rng(5).normal(size=atoms.xyz.shape)
    check_direction(
        lambda t: target(atoms.replace(xyz=atoms.xyz + t * direction))[0], float((gradient.xyz * direction).sum()),
        1e-4, 1e-7,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("bnod,A/10/N,A/10/CA,,,1.4,0.1,", "row 1: kind is 'bnod'; expected one of bond, angle"),
        ("bond,A/10/N,,,,1.4,0.1,", r"row 1: 1 atom in columns atom1, atom2 and so on; a bond has 2"),
        ("plane,A/10/N,A/10/C,A/10/O,,,0.1,", "3 atoms in columns .*; a plane has 4 or more"),
        ("bond,A/10/N,A/10/N,,,1.4,0.1,", "an atom is named twice"),
        ("bond,A/10/N,A/10/XX,,,1.4,0.1,", "'A/10/XX' names no atom of the model; expected one: a name as in the log"),
        ("bond,A/10/N,A/ALA 10/CA,,,1.4,0.1,", "'A/ALA 10/CA' names no atom"),
        ("bond,A/10/N,A/10,,,1.4,0.1,", r"'A/10' names 7 atoms \(A/VAL 10/N, A/VAL 10/CA, A/VAL 10/C, ...\)"),
        ("bond,A/10/N,//A/x/CA,,,1.4,0.1,", "selection '//A/x/CA': Invalid selection syntax"),
        ("bond,A/10/N,A/10/CA,,,,0.1,", "ideal is ''; expected a number"),
        ("bond,A/10/N,A/10/CA,,,0,0.1,", "the ideal of a bond is 0; expected a distance above 0"),
        ("distance,A/10/N,A/10/CA,,,-1,0.1,", "the ideal of a distance is -1; expected a distance of 0 or more"),
        ("bond,A/10/N,A/10/CA,,,1.4,0,", "sigma is 0; expected a number above 0"),
        ("bond,A/10/N,A/10/CA,,,1.4,nan,", "sigma is 'nan'; expected a number"),
        ("torsion,A/10/N,A/10/CA,A/10/C,A/10/O,60,5,0.5", "period is 0.5; expected a whole number, 1 or more"),
    ],
)
def test_rows_that_make_no_sense(prepared: tuple[Problem, ar.Atoms], tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(f"{HEAD}\n{line}\n")
    with pytest.raises(ar.InputError, match=words) as caught:
        read_rows(path, prepared[1])
    assert str(path) in str(caught.value)


def test_tables_that_cannot_be_read(prepared: tuple[Problem, ar.Atoms], tmp_path: Path) -> None:
    empty, binary, dictionary = (tmp_path / name for name in ("empty.csv", "binary.csv", "link.cif"))
    dictionary.write_text("global_\n_lib_name ?\n")
    empty.write_text("# nothing\n")
    binary.write_bytes(b"\xff\xfe\x00")
    for source, words in (
        (tmp_path / "none.csv", "cannot be read: No such file"), (empty, "is empty; expected CSV or TSV"),
        (binary, "is no text in UTF-8.*save it so"),
        (dictionary, "first line is 'global_'; expected.*a dictionary is for --restr"),
        (3.0, "expected a path, a pandas.DataFrame, or a list"),
    ):  # fmt: skip
        with pytest.raises(ar.InputError, match=words):
            read_rows(source, prepared[1])


def test_command_line(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    flags = ["--cycles", "0", "--d-min", "3", "--tls", "none", "--hydrogens", "strip", "--out", str(out)]
    assert main(["refine", "--restraint-tables", str(table), str(MODEL), str(DATA), *flags]) == 0
    shown = capsys.readouterr().out
    assert "restraint table known.csv: 1 bond" in shown
    assert "table, robust: 1 restraint of weight 1" in shown
    assert str(table) in (out / "report.json").read_text()
    # an input is never overwritten
    inside = out / "refined.mtz"
    inside.write_text(ROWS)
    assert main(["refine", str(MODEL), str(DATA), "--restraint-tables", str(inside), *flags]) == 2
    assert "would be replaced by the output" in capsys.readouterr().err
