"""Restraints of phenix.refine's geometry_restraints.edits: what they become, beside a table that says the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic import example_of_two_conformers

import arrayrefine as ar
from arrayrefine.__main__ import main
from arrayrefine.example import DATA, MODEL
from arrayrefine.further_restraints.tables import read_rows, with_tables
from arrayrefine.restraints import Restraints
from arrayrefine.wording import Caution

TABLE = """kind,atom1,atom2,atom3,atom4,ideal,sigma,period
bond,A/10/N,A/10/CA,,,1.47,0.02,
distance,A/10/O,A/14/N,,,2.9,0.1,
robust distance,A/10/O,A/15/N,,,3.1,0.1,
angle,A/10/N,A/10/CA,A/10/C,,110,2,
torsion,A/10/N,A/10/CA,A/10/CB,A/10/CG2,60,5,3
plane,A/45/CG,A/45/ND1,A/45/CE1,A/45/NE2,,0.02,
"""
EDITS = """# of a metal site, say
his45 = chain A and resid 45
refinement {
  geometry_restraints.edits {
    bond {
      action = *add delete change
      atom_selection_1 = name N and chain A and resname VAL and resseq 10
      atom_selection_2 = "chain A and resseq 10 and name CA"
      symmetry_operation = None
      distance_ideal = 1.47
      sigma = 0.02
      slack = None
    }
    bond { action = *add
      atom_selection_1 = chain A and resid 10 \\
        and name O  # goes on
      atom_selection_2 = chain A and resid 14 and name N
      distance_ideal = 2.9
      sigma = 0.1 }
    bond {
      atom_selection_1 = chain A and resid 10 and name O
      atom_selection_2 = chain A and resid 15 and name N
      distance_ideal = 3.1
      sigma = 0.1
      top_out = True
    }
    angle {
      atom_selection_1 = chain A and resid 10 and name N
      atom_selection_2 = chain A and resid 10 and name CA
      atom_selection_3 = chain A and resid 10 and name C
      angle_ideal = 110
      sigma = 2
    }
    dihedral {
      atom_selection_1 = chain A and resid 10 and name N
      atom_selection_2 = chain A and resid 10 and name CA
      atom_selection_3 = chain A and resid 10 and name CB
      atom_selection_4 = chain A and resid 10 and name CG2
      angle_ideal = 60
      sigma = 5
      periodicity = 3
    }
    planarity {
      atom_selection = $his45 and (name CG or name ND1 or name CE1 or name NE2)
      sigma = 0.02
    }
    bond {
      action = *add delete change
      atom_selection_1 = None
      atom_selection_2 = None
    }
  }
}
"""


@pytest.fixture(scope="module")
def atoms() -> ar.Atoms:
    """Those of the example with two conformers."""
    return ar.read_model(example_of_two_conformers()).atoms


def write(folder: Path, text: str) -> Path:
    path = folder / "site.edits"
    path.write_text(text)
    return path


def bond(one: str, other: str, more: str = "") -> str:
    selections = f"atom_selection_1 = chain A and {one}\natom_selection_2 = chain A and {other}\n"
    return f"geometry_restraints.edits {{\n bond {{\n{selections}distance_ideal = 2\nsigma = 0.1\n{more}\n }}\n}}\n"


def test_they_are_what_a_table_says(atoms: ar.Atoms, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(TABLE)
    rows = read_rows(write(tmp_path, EDITS), atoms)
    expected = read_rows(table, atoms)
    assert rows[:-1] == expected[:-1]
    assert (rows[-1].kind, {*rows[-1].atoms}, rows[-1].sigma) == ("plane", {*expected[-1].atoms}, 0.02)


def test_restraints_without_conformers_are_for_each(atoms: ar.Atoms, tmp_path: Path) -> None:
    text = bond("resid 116 and name CA", "resid 116 and name CB").replace("ideal = 2", "ideal = 1.53") + (
        "geometry_restraints.edits.planarity {\n atom_selection = chain A and resid 116 and (name CG or name OD1 or "
        "name OD2 or name CB)\n sigma = 0.02\n}\n"
    )
    rows = read_rows(write(tmp_path, text), atoms)
    conformers = [{str(atoms.identity.altloc[i]) for i in row.atoms} for row in rows]
    assert [(row.kind, len(row.atoms)) for row in rows] == [("bond", 2), ("bond", 2), ("plane", 4), ("plane", 4)]
    assert conformers == [{"A"}, {"B"}, {"A"}, {"B"}]


def test_what_is_left_out_is_said(atoms: ar.Atoms, tmp_path: Path) -> None:
    ends = ("resid 10 and name O", "resid 14 and name N")
    path = write(tmp_path, (
        "refinement {\n main {\n number_of_macro_cycles = 3\n }\n}\n"
        + bond(*ends, "action = add *delete change")
        + bond(*ends, "symmetry_operation = -x,y,-z")
        + bond(*ends, "slack = 0.1")
        + "geometry_restraints.edits {\n parallelity {\n atom_selection_1 = chain A\n }\n}\n"
    ))  # fmt: skip
    note = with_tables(Restraints.none(len(atoms)), atoms, [path]).notes[-1]
    assert isinstance(note, Caution)
    assert note == (
        "restraint table site.edits: 1 distance; not used: 1 x scope of other parameters, 1 x bond to delete, 1 x bond "
        "to a symmetry mate, 1 x slack of a bond, 1 x block parallelity"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (bond("resid 10 and name XX", "resid 14"), "line 2: 'chain A and resid 10 and name XX' selects no atom"),
        (bond("resid 10 and name N", "resid 14"), r"'chain A and resid 14' selects \d+ atoms of the model \(A/"),
        (bond("nonsense 3", "resid 14"), "line 2: selection 'chain A and nonsense 3'"),
        (bond("resid 10 and name N", "resid 14 and name N").replace("distance_ideal", "ideal"), "distance_ideal is ''"),
        (bond("resid 10 and name N", "resid 14 and name N").replace("sigma", "s"), "sigma is ''; expected a number"),
        (bond("resid 10 and name N", "resid 14 and name N").replace("bond", "angle"), "found 2 selections; expected 3"),
        ("edits {\n bond {\n sigma = 1\n}\n", "line 1: 'edits {' has no end; expected '}' after it"),
        ("edits {\n}\n}\n", "line 3: found '}' and no '{' before it"),
        ("edits {\n bond\n}\n", "line 2: found 'bond'; expected 'name = value', or a scope in braces"),
    ],
)
def test_scopes_that_make_no_sense(atoms: ar.Atoms, tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ar.InputError, match=words) as caught:
        read_rows(path, atoms)
    assert str(path) in str(caught.value)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, EDITS)
    flags = ["--cycles", "0", "--d-min", "3", "--tls", "none", "--hydrogens", "strip", "--out", str(tmp_path / "out")]
    assert main(["refine", "--restraint-tables", str(path), str(MODEL), str(DATA), *flags]) == 0
    shown = capsys.readouterr().out
    assert "restraint table site.edits: 1 bond, 1 angle, 1 torsion, 1 distance, 1 robust distance, 1 plane" in shown
