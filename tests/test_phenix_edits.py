"""Restraints of phenix.refine's geometry_restraints.edits: what they become, beside a table that says the same."""

from __future__ import annotations

from pathlib import Path

import gemmi
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
        + bond(*ends, "action = delete")
        + "geometry_restraints.edits {\n parallelity {\n atom_selection_1 = chain A\n }\n}\n"
        + "geometry_restraints.remove {\n dihedrals = chain A\n}\n"
        + "pdb_interpretation.secondary_structure.enabled = True\n"
        + bond(*ends, "top_out = True\nlimit = 0.5")
        + "geometry_restraints.edits.dihedral {\n"
        + "".join(f" atom_selection_{k} = chain A and resid 10 and name {name}\n" for k, name in
                  enumerate(("N", "CA", "CB", "CG2"), start=1))
        + " angle_ideal = 60\n alt_angle_ideals = 180, -60\n sigma = 5\n}\n"
    ))  # fmt: skip
    note = with_tables(Restraints.none(len(atoms)), atoms, [path]).notes[-1]
    assert isinstance(note, Caution)
    assert note == (
        "restraint table site.edits: 1 torsion, 1 robust distance; not used: 2 x scope of other "
        "parameters, 2 x bond to delete, 1 x block parallelity, 1 x "
        "geometry_restraints.remove, 1 x limit of a bond, 1 x alt_angle_ideals of a dihedral"
    )


def test_liberties_of_the_format(atoms: ar.Atoms, tmp_path: Path) -> None:
    """Braces on lines of their own, several assignments on one, quotes, capitals, what is switched off."""
    path = write(tmp_path, (
        "refinement\n{\n  geometry_restraints.edits\n  {\n"
        "    .style = hidden\n"
        "    bond\n    {\n      action=*Add delete change; atom_selection_1 = CHAIN A AND resseq 10 and name \" N  \"\n"
        "      atom_selection_2 = 'chain \"A\" and resid   10  and name C?'; distance_ideal = 1.47; sigma = 0.02 #\n"
        "    }\n"
        "    bond { action = change\n"
        '      atom_selection_1 = "chain A and resid 14\n and name N and (element n)"\n'
        '      atom_selection_2 = "chain A and" \\\n "resid 10 and name O"\n'
        "      distance_ideal = 2.9\n sigma = 0.1\n top_out = yes }\n"
        "    !bond { atom_selection_1 = all\n atom_selection_2 = all\n }\n"
        "  }\n}\n"
        "!geometry_restraints.edits { angle { atom_selection_1 = all\n } }\n"
        "#geometry_restraints.edits { angle { atom_selection_1 = all } }\n"
        "refinement { geometry_restraints.edits.dihedral.periodicity = None }\n"
        "geometry_restraints.edits.excessive_bond_distance_limit = 20"
    ).replace("name C?", "name CA"))  # fmt: skip
    rows = read_rows(path, atoms)
    said = [(row.kind, *(atoms.identity.label(i) for i in row.atoms), row.ideal, row.sigma) for row in rows]
    assert said == [
        ("bond", "A/VAL 10/N", "A/VAL 10/CA", 1.47, 0.02), ("robust distance", "A/ILE 14/N", "A/VAL 10/O", 2.9, 0.1),
    ]  # fmt: skip


def test_windows_line_ends(atoms: ar.Atoms, tmp_path: Path) -> None:
    path = tmp_path / "site.edits"
    path.write_bytes(b"\xef\xbb\xbf" + EDITS.rstrip().replace("\n", "\r\n").encode())
    assert read_rows(path, atoms) == read_rows(write(tmp_path, EDITS), atoms)


def test_slack_and_symmetry(odd: ar.Atoms, tmp_path: Path) -> None:
    """The operator is that of the second atom; None and 0 are neither."""
    model = ar.read_model(gemmi.read_pdb_string(URIDINE.replace("P 1\n", "P 1 2 1\n")))
    ends = ("resid 52", "resid 52A")
    text = bond(*ends, "slack = 0.25\nsymmetry_operation = -x+1,y-1,-z") + bond(*ends, "slack = 0\nlimit = -1")
    text += bond("resid 52", "resid 52", "symmetry_operation = '-x, y, -z'").replace("ideal = 2", "ideal = 1.5")
    rows = read_rows(write(tmp_path, text), odd, model.crystal)
    assert [(row.kind, row.slack, row.operator) for row in rows] == [
        ("distance", 0.25, (1, (1.0, -1.0, 0.0))), ("distance", 0.0, (0, (0.0, 0.0, 0.0))),
        ("bond", 0.0, (1, (0.0, 0.0, 0.0))),
    ]  # fmt: skip
    path = write(tmp_path, bond(*ends, "symmetry_operation = x+1/2,y,z"))
    with pytest.raises(ar.InputError, match=r"line 2: symmetry is 'x.1/2,y,z'; expected an operator of P 1 2 1"):
        read_rows(path, odd, model.crystal)


URIDINE = """CRYST1   30.000   30.000   30.000  90.00  90.00  90.00 P 1
ATOM      1  O2'   U R   1       1.000   1.000   1.000  1.00 10.00           O
ATOM      2  O2    U R   1       4.000   1.000   1.000  1.00 10.00           O
ATOM      3  C1'   U R   1       4.000   4.000   1.000  1.00 10.00           C
ATOM      4  CA  GLY A  52       9.000   1.000   1.000  1.00 10.00           C
ATOM      5  CA  GLY A  52A     12.000   1.000   1.000  1.00 10.00           C
ATOM      6  O  AHOH A  60       9.000   4.000   1.000  0.50 10.00           O
ATOM      7  O  AHOH A  61       9.000   7.000   1.000  0.50 10.00           O
ATOM      8  O  BHOH A  61       9.000   7.500   1.000  0.50 10.00           O
ATOM      9  O  BHOH A  62       9.000   9.000   1.000  0.50 10.00           O
"""


@pytest.fixture(scope="module")
def odd() -> ar.Atoms:
    """A few atoms with primes, insertion codes and conformers."""
    return ar.read_model(gemmi.read_pdb_string(URIDINE)).atoms


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("chain R and name O2'", "chain R and name C1'", ["R/U 1/O2' R/U 1/C1'"]),  # O2 is another atom
        ("chain R and name 'O2'", "chain R and name \"C1'\"", ["R/U 1/O2 R/U 1/C1'"]),
        ("resid 52 and name CA", "resid 52A and name CA", ["A/GLY 52/CA A/GLY 52A/CA"]),
        ("resseq 52 and icode A", "resid 52", ["A/GLY 52A/CA A/GLY 52/CA"]),
        ("resid 60", "resid 61", ["A/HOH 60/O.A A/HOH 61/O.A"]),  # B of 61 is not there with A of 60
        ("resid 60 and altid A", "resid 61 and altloc B", ["A/HOH 60/O.A A/HOH 61/O.B"]),
    ],
)
def test_names_codes_and_conformers(odd: ar.Atoms, tmp_path: Path, one: str, other: str, expected: list[str]) -> None:
    text = bond(one, other).replace("chain A and chain", "chain").replace("chain A and res", "res")
    rows = read_rows(write(tmp_path, text), odd)
    assert [" ".join(odd.identity.label(i) for i in row.atoms) for row in rows] == expected


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
        (bond("resid 10 and name N", "resid 14 and name N", "slak = 1"), "found 'slak'; expected one of action, dist"),
        (bond("resid 10 and name N", "resid 14 and name N", "action = add change"), "action is 'add change'; expected"),
        (bond("resid 10 and name N", "resid 14 and name N", "action = add *remove"), "action is 'add .remove'; expect"),
        (bond("resid 10 and name N", "resid 14").replace("metry_restraints.edits", "metry"), "2: found 'bond' in 'geo"),
        ("bond {\n atom_selection_1 = all\n}\n", "line 1: found 'bond' in 'no scope'; expected it in braces of 'geom"),
        ("edits {\n}\ninclude file more.eff\n", "line 3: 'include file more.eff' includes another file.*; give that"),
        ("edits {\n bond {\n sigma = 2 {\n}\n", "line 3: found '{' after 'sigma = 2'; expected the name of a scope"),
        ("edits {\n bond\n sigma = 1\n}\n", "line 2: found 'bond'; expected 'name = value', or a scope in braces"),
        ("edits {\n bond {\n distance_ideal = 2\n}\n}\n", "2: a bond with distance_ideal and without atoms; expected"),
        ("edits {\n bond { words\n }\n}\n", "line 2: found 'words'; expected 'name = value', or a scope in braces"),
        ("edits {\n}\nwords", "line 3: found 'words'; expected 'name = value', or a scope in braces"),
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
