"""Restraints in keywords of REFMAC5: what they become, beside a table that says the same; what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import gemmi
import numpy as np
import pytest
from checks import check_direction
from synthetic import example_of_two_conformers

import arrayrefine as ar
from arrayrefine.__main__ import main
from arrayrefine.example import DATA, MODEL
from arrayrefine.further_restraints.tables import read_rows, with_tables
from arrayrefine.problem import Problem
from arrayrefine.restraints import Restraints
from arrayrefine.targets.geometry import GeometryTarget
from arrayrefine.wording import Caution

TABLE = """kind,atom1,atom2,atom3,atom4,ideal,sigma,period
robust distance,A/10/O,A/14/N,,,2.9,0.1,
distance,A/10/O,A/15/N,,,3.1,0.1,
distance,A/45/NE2,A/47/CH2,,,3.5,0.2,
bond,A/10/N,A/10/CA,,,1.47,0.02,
angle,A/10/N,A/10/CA,A/10/C,,110,2,
torsion,A/10/N,A/10/CA,A/10/CB,A/10/CG2,60,5,3
chirality,A/10/CA,A/10/N,A/10/C,A/10/CB,2.5,0.2,
plane,A/45/CG,A/45/ND1,A/45/CE1,A/45/NE2,,0.02,
"""
PAIR = "first chain A resi 9 atom N second chain A resi 9 atom C"
KEYWORDS = """# as several programs write them
exte dist first chain A resi 10 ins . atom O second chain A resi 14 ins . atom N value 2.9 sigma 0.1
EXTERNAL DISTANCE FIRST CHAIN A RESIDUE 10 ATOM O SECOND CHAIN A RESIDUE 15 ATOM N VALUE 3.1 SIGMA 0.1 ALPHA 2
exte dist first chain A resi 45 ins . atom NE2 second chain A resi 47 -
     inse . atom CH2 value 3.5 sigma 0.2 type 1  ! no bond, as it is too long
exte dist first chain A resi 10 atom N altecode . second chain A resi 10 atom CA
value 1.47 sigma 0.02 type 0
exte angle first chain A resi 10 atom N next chain A resi 10 atom CA next chain A resi 10 atom C valu 110 sigm 2
exte tors firs chai A resi 10 ins . atom N seco chai A resi 10 ins . atom CA thir chai A resi 10 ins . atom CB -
 four chai A resi 10 ins . atom CG2 value 60 sigma 5 peri 3
exte chir first chain A resi 10 atom CA next chain A resi 10 atom N next chain A resi 10 atom C -
 next chain A resi 10 atom CB value 2.5 sigma 0.2
exte plane first chain A resi 45 ins . atom {CG ND1 CE1 NE2} sigma 0.02
"""


@pytest.fixture(scope="module")
def prepared() -> tuple[Problem, ar.Atoms]:
    """The example with two conformers, without hydrogens to 4 Å."""
    options = ar.Options(d_min=4.0, tls=("none",), hydrogens="strip")
    _, problem, atoms, _ = ar.prepare(example_of_two_conformers(), DATA, options)
    return problem, atoms


def write(folder: Path, text: str) -> Path:
    path = folder / "external.txt"
    path.write_text(text)
    return path


def test_they_are_what_a_table_says(prepared: tuple[Problem, ar.Atoms], tmp_path: Path) -> None:
    atoms = prepared[1]
    table = tmp_path / "table.csv"
    table.write_text(TABLE)
    assert read_rows(write(tmp_path, KEYWORDS), atoms) == read_rows(table, atoms)


def test_codes_may_be_blank(prepared: tuple[Problem, ar.Atoms], tmp_path: Path) -> None:
    """As programs write them that fill a fixed form."""
    full = "exte torsion first {} next {} next {} next {} value 60 sigma 5 period 1"
    names = ("N", "CA", "CB", "CG2")
    blank = full.format(*(f"chain A resi   10 inse   atom {name:>4s} alte  " for name in names))
    dots = full.format(*(f"chain A resi 10 inse . atom {name} alte ." for name in names))
    rows = read_rows(write(tmp_path, blank), prepared[1])
    assert [row.kind for row in rows] == ["torsion"]
    assert rows == read_rows(write(tmp_path, dots), prepared[1])
    last = "exte dist first chain A resi 10 atom N value 3.2 sigma 0.1 second chain A resi 14 atom O alte"
    assert [row.ideal for row in read_rows(write(tmp_path, last), prepared[1])] == [3.2]


def test_what_is_set_holds_for_the_lines_after_it(prepared: tuple[Problem, ar.Atoms], tmp_path: Path) -> None:
    distance = "exte dist first chain A resi 10 atom O second chain A resi {} atom N value {} sigma 0.1"
    lines = [
        "exte weight scale 5 angle 2 sgmn 0.2 sgmx 0.4", distance.format(14, 2.9),
        "exte type 1", "exte dmax 4.2", distance.format(15, 3.1), distance.format(16, 5.0),
        "exte weight scale distance 0.1", distance.format(17, 4.0), distance.format(13, 3.9) + " type 2",
        "exte alpha 2", distance.format(18, 4.1) + " type 2",
        "exte angle first chain A resi 10 atom N next chain A resi 10 atom CA next chain A resi 10 atom C value 110 "
        "sigma 0.3",
    ]  # fmt: skip
    rows = read_rows(write(tmp_path, "\n".join(lines)), prepared[1])
    assert [(row.kind, row.ideal) for row in rows] == [
        ("robust distance", 2.9), ("distance", 3.1), ("distance", 4.0), ("robust distance", 3.9), ("distance", 4.1),
        ("angle", 110.0),
    ]  # fmt: skip
    # as Servalcat 0.4.142 has them: scaled first, then kept between sgmn and sgmx, which are for distances alone
    assert [row.sigma for row in rows] == pytest.approx([0.2, 0.2, 0.4, 0.4, 0.4, 0.15])


def test_several_are_set_on_one_line(prepared: tuple[Problem, ar.Atoms], tmp_path: Path) -> None:
    distance = "exte dist first chain A resi 10 atom O second chain A resi {} atom N value {} sigma 0.1"
    lines = ["exte dmin 2.5 dmax 4.2", "exte typall 1", "exte verbose off", "exte use all", distance.format(14, 2.9),
             distance.format(15, 2.2), distance.format(16, 5.0), distance.format(17, 4.0) + " type f"]  # fmt: skip
    path = write(tmp_path, "\n".join(lines))
    assert [(row.kind, row.ideal) for row in read_rows(path, prepared[1])] == [
        ("distance", 2.9), ("robust distance", 4.0),
    ]  # fmt: skip
    note = with_tables(prepared[0].restraints, prepared[1], [path]).notes[-1]
    assert note.endswith("not used: 2 x distance beyond dmin and dmax")


def labels(atoms: ar.Atoms, path: Path) -> list[tuple[str, ...]]:
    return [tuple(atoms.identity.label(i).split("/")[-1] for i in row.atoms) for row in read_rows(path, atoms)]


def test_atoms_stand_in_the_order_that_they_say(prepared: tuple[Problem, ar.Atoms], tmp_path: Path) -> None:
    """As in Servalcat; an angle has its vertex in the middle whatever the order of the words."""
    c, ca, n = (f"chain A resi 10 atom {name}" for name in ("C", "CA", "N"))
    text = (
        f"exte angle third {c} second {ca} first {n} value 110 sigma 2\n"
        f"exte angle value 110 sigma 3 second {ca} next {n.replace('10', '11')} first {c} ! C - CA - N\n"
    )
    path = write(tmp_path, text)
    assert labels(prepared[1], path) == [("N", "CA", "C"), ("C", "CA", "N")]
    assert [row.sigma for row in read_rows(path, prepared[1])] == [2.0, 3.0]


def test_liberties_of_the_format(prepared: tuple[Problem, ar.Atoms], tmp_path: Path) -> None:
    """Windows line ends, comments in words, quotes, braces before the residue, no last line end, END."""
    lines = [
        "External Distance &", "First Segment A Residue 10 Atom 'O' -",
        "Second Chain A Residue 14 Ins . Atom N Value 2.9 Sigma 0.1#5", "exte missing ignore",
        "exte plane first atoms { CG ND1 CE1 HE1 \"NE2\" } chain A resi 45 sigma 0.02!of a ring",
        "exte dist first chain A resi 10 atom XX second chain A resi 14 atom N value 2.9 sigma 0.1",
        "END", "exte dist first chain A resi 10 atom O second chain A resi 15 atom N value 2.9 sigma 0.1",
    ]
    path = tmp_path / "external.txt"
    path.write_bytes("\r\n".join(lines).encode())
    assert labels(prepared[1], path) == [("O", "N"), ("CG", "ND1", "CE1", "NE2")]
    note = with_tables(prepared[0].restraints, prepared[1], [path]).notes[-1]
    assert note.endswith("not used: 1 x restraint of atoms that are not in the model, 1 x line after END")


def test_primes_insertion_codes_long_and_nameless_chains(tmp_path: Path) -> None:
    lines = [
        "CRYST1   30.000   30.000   30.000  90.00  90.00  90.00 P 1",
        "ATOM      1  O2'   U E2  1       1.000   1.000   1.000  1.00 10.00           O",
        "ATOM      2  O2    U E2  1       4.000   1.000   1.000  1.00 10.00           O",
        "ATOM      3  CA  GLY    52       9.000   1.000   1.000  1.00 10.00           C",
        "ATOM      4  CA  GLY    52A     12.000   1.000   1.000  1.00 10.00           C",
    ]
    lines[1:3] = [line.replace(" E2  1", "E2   1") for line in lines[1:3]]
    atoms = ar.read_model(gemmi.read_pdb_string("\n".join(lines))).atoms
    last = "value 3 sigma 0.1"
    text = (
        f"exte dist first chain E2 resi 1 ins . atom O2' second chain . resi 52A atom CA {last}\n"
        f"exte dist first chain E2 resi 1 atom \"O2'\" second chain . resi 52 ins A atom CA {last} type 0\n"
        f"exte dist first chain E2 resi 1 atom O2 second chain . resi 52 ins . atom CA {last}\n"
    )
    rows = read_rows(write(tmp_path, text), atoms)
    assert [row.atoms for row in rows] == [(0, 3), (1, 2)]
    assert rows[0].kind == "distance"  # the second line, which is firmer


def test_intervals(prepared: tuple[Problem, ar.Atoms], tmp_path: Path) -> None:
    """One distance with slack, or two where the ends have sigmas of their own."""
    problem, atoms = prepared
    name = "chain A resi {} atom {}"
    line = f"exte inte first {name.format(10, 'O')} second {name.format(14, 'N')}"
    i, j = (ar.select(atoms, selection) for selection in ("//A/10/O", "//A/14/N"))
    apart = float(np.linalg.norm(atoms.xyz[i] - atoms.xyz[j]))
    off = dataclasses.replace(problem.options.geometry, contacts=False)
    for ends, below, above in (
        ("dmin 2 dmax {}", 0.05, 0.05), ("dmin 2 dmax {} smin 0.2", 0.2, 0.2), ("dmax {} smax 0.1 dmin 2", 0.1, 0.1),
        ("dmin 2 dmax {} smin 0.2 smax 0.1", 0.2, 0.1),
    ):  # fmt: skip
        for high, low, z in ((apart + 1.0, 2.0, 0.0), (apart - 0.3, 2.0, 0.3 / above), (9.0, apart + 0.2, 0.2 / below)):
            text = f"{line} {ends.format(high).replace('dmin 2', f'dmin {low}')}"
            alone = with_tables(Restraints.none(len(atoms)), atoms, [write(tmp_path, text)])
            value, _ = GeometryTarget.build(alone, problem.reflections.crystal, off)(atoms)
            assert value == pytest.approx(0.5 * z * z, abs=1e-9)
    scaled = write(tmp_path, f"exte weight scale interval 2\n{line} dmin 2 dmax 3 smin 0.2")
    assert [(row.ideal, row.slack, row.sigma) for row in read_rows(scaled, atoms)] == [(2.5, 0.5, 0.1)]


def test_positions(prepared: tuple[Problem, ar.Atoms], tmp_path: Path) -> None:
    """Atoms held to where they are, all conformers of them."""
    problem, atoms = prepared
    text = (
        "exte harmonic residues from 115 A to 116 A sigma 0.02\nexte harm resi from * A to 3 A atom CA\n"
        "exte harm resi from 158 to * A atom * sigma 0.1 bval incl\n"
        "exte harm atin chain A resi 10 ins . atom CA sigm 0.05 tole 0.3\nexte undef ignore\n"
        "exte harm atin chain A resi 10 ins . atom XX sigm 0.05\n"
    )
    path = write(tmp_path, text)
    rows = read_rows(path, atoms)
    chosen = {i for row in rows for i in row.atoms}
    expected = "(115-116 or 1-3 and name CA or 158: or 10 and name CA) and chain A and not hydrogen"
    assert chosen == {*np.flatnonzero(ar.select(atoms, expected.replace("158:", "resseq 158:"))).tolist()}
    assert {row.sigma for row in rows} == {0.02, 0.5, 0.1, 0.05}
    held = with_tables(Restraints.none(len(atoms)), atoms, [path], crystal=problem.reflections.crystal)
    assert held.notes[-1].endswith(
        f"{len(rows)} positions; not used: 1 x bvalue of positions, 1 x tolerance of positions, 1 x restraint of atoms "
        "that are not in the model"
    )
    off = dataclasses.replace(problem.options.geometry, contacts=False)
    target = GeometryTarget.build(held, problem.reflections.crystal, off)
    assert target(atoms)[0] == 0.0
    moved = np.random.default_rng(8).normal(0.0, 0.1, atoms.xyz.shape)
    value, gradient = target(atoms.replace(xyz=atoms.xyz + moved))
    weight = np.zeros((len(atoms), 1))
    for row in rows:
        weight[row.atoms[0]] += 1.0 / row.sigma**2
    assert value == pytest.approx(0.5 * (weight * moved**2).sum())
    np.testing.assert_allclose(gradient.xyz, weight * moved, rtol=1e-9, atol=1e-9)


def test_symmetry(prepared: tuple[Problem, ar.Atoms], tmp_path: Path) -> None:
    """OE1 of Gln 108 is 3.54 Å from NE2 of His 149 in the next molecule, and O of Val 10 is far from any."""
    problem, atoms = prepared
    crystal = problem.reflections.crystal
    mate = "first chain A resi 108 atom OE1 second chain A resi 149 atom NE2 value 3.4 sigma 0.1"
    here = "first chain A resi 10 atom O second chain A resi 14 atom N value 3.0 sigma 0.1"
    lines = [f"dist {mate} symm y", "symall", f"dist {mate} type 1", f"dist {here}", f"dist {here} symm n type 1"]
    text = "\n".join(f"exte {line}" for line in lines)
    rows = read_rows(write(tmp_path, text), atoms, crystal)
    assert [(row.kind, row.operator) for row in rows] == [
        ("distance", crystal.operator_named("x-1,y,z")), ("robust distance", (0, (0.0, 0.0, 0.0))),
        ("distance", (0, (0.0, 0.0, 0.0))),
    ]  # fmt: skip
    target = GeometryTarget.build(
        with_tables(Restraints.none(len(atoms)), atoms, [write(tmp_path, f"exte dist {mate} type 1 symm y")],
                    crystal=crystal),
        crystal, dataclasses.replace(problem.options.geometry, contacts=False),
    )  # fmt: skip
    assert target(atoms)[0] == pytest.approx(0.5 * (0.136 / 0.1) ** 2, rel=0.01)
    text = f"exte symall yes exclude self\nexte dist {here}\n"
    (row,) = read_rows(write(tmp_path, text), atoms, crystal)
    assert row.operator != (0, (0.0, 0.0, 0.0))

def test_restraints_without_conformers_are_for_each(prepared: tuple[Problem, ar.Atoms], tmp_path: Path) -> None:
    atoms = prepared[1]
    name = "chain A resi 116 ins . atom {}"
    ca, cb, ca_b = name.format("CA"), name.format("CB"), name.format("CA") + " alte B"
    text = (
        f"exte dist first {ca} second {cb} value 1.53 sigma 0.02 type 0\n"
        f"exte dist first {ca_b} second chain A resi 115 ins . atom O value 2.8 sigma 0.1\n"
        f"exte dist first {ca} alte A second {ca_b} value 0.0 sigma 0.02 type 1\n"
    )
    rows = read_rows(write(tmp_path, text), atoms)
    said = [(row.kind, *(atoms.identity.label(i) for i in row.atoms)) for row in rows]
    assert said == [
        ("bond", "A/ASP 116/CA.A", "A/ASP 116/CB.A"), ("bond", "A/ASP 116/CA.B", "A/ASP 116/CB.B"),
        ("robust distance", "A/ASP 116/CA.B", "A/ILE 115/O"), ("distance", "A/ASP 116/CA.A", "A/ASP 116/CA.B"),
    ]  # fmt: skip


def test_conformers_held_together(prepared: tuple[Problem, ar.Atoms], tmp_path: Path) -> None:
    """A distance of 0 pulls whatever its direction, and not at all where it is kept."""
    problem, atoms = prepared
    name = "chain A resi 116 ins . atom CA alte"
    path = write(tmp_path, f"exte dist first {name} A second {name} B value 0 sigma 0.02 type 1")
    off = dataclasses.replace(problem.options.geometry, contacts=False)
    alone = with_tables(Restraints.none(len(atoms)), atoms, [path])
    target = GeometryTarget.build(alone, problem.reflections.crystal, off)
    value, gradient = target(atoms)
    assert value == pytest.approx(0.5 * (0.3**2 + 0.2**2 + 0.1**2) / 0.02**2, rel=1e-3)
    direction = np.random.default_rng(6).normal(size=atoms.xyz.shape)
    check_direction(
        lambda t: target(atoms.replace(xyz=atoms.xyz + t * direction))[0], float((gradient.xyz * direction).sum()),
        1e-4, 1e-7,
    )  # fmt: skip
    i, j = read_rows(path, atoms)[0].atoms
    xyz = atoms.xyz.copy()
    xyz[i] = xyz[j]
    value, gradient = target(atoms.replace(xyz=xyz))
    assert value == 0.0
    assert not gradient.xyz.any()


def test_what_is_left_out_is_said(prepared: tuple[Problem, ar.Atoms], tmp_path: Path) -> None:
    problem, atoms = prepared
    again = "exte dist first chain A resi 14 atom N second chain A resi 10 atom O value 2.8 sigma 0.1"
    path = write(tmp_path, (
        "monomer distance 10\n"
        "occupancy group id 1 chain A resi 116 alte A\n"
        "exte undefined ignore\n"
        "exte weight scale 1 gmwt 0.1\n"
        "exte hydr ignore\n"
        "exte cut 5\n"
        "exte stacking plan 1 firs resi 45 chai A atoms { CG ND1 } plan 2 firs resi 47 chai A atoms { CE2 } dist 3.4\n"
        "exte angle first chain A resi 10 atom N next chain A resi 10 atom CA next chain A resi 10 atom C value 110 "
        "sigma 2 symm y prob 1\n"
        "exte dist first chain A resi 10 atom H second chain A resi 14 atom O value 2.0 sigma 0.1\n"
        "exte dist first chain A resi 10 atom XX second chain A resi 14 atom O value 2.0 sigma 0.1\n"
        "exte dist first chain A resi 10 atom N alte C second chain A resi 14 atom O value 2.0 sigma 0.1 symm n\n"
        f"{again}\n{again}\n{again} type 1\n"
    ))  # fmt: skip
    after = with_tables(problem.restraints, atoms, [path])
    assert isinstance(after.notes[-1], Caution)
    assert after.notes[-1] == (
        "restraint table external.txt: 1 angle, 1 distance; 1 restraint of the dictionary replaced; not used: 1 x "
        "keyword monomer, 1 x keyword occupancy, 1 x external weight gmwt, 1 x external cut, 1 x external stacking, "
        "1 x look for symmetry mates, 1 x prob of a restraint, 1 x restraint of hydrogens, 2 x restraint of atoms that "
        "are not in the model, 2 x restraint of the same atoms as another"
    )


def test_hydrogens_on_request(prepared: tuple[Problem, ar.Atoms], tmp_path: Path) -> None:
    line = "exte dist first chain A resi 10 atom H second chain A resi 14 atom O value 2.0 sigma 0.1"
    with pytest.raises(ar.InputError, match="line 2: the model has no atom A/10/H; expected one"):
        read_rows(write(tmp_path, f"exte hydr use\n{line}"), prepared[1])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("exte dist first chain A resi 10 atom N value 1 sigma 1", "line 1: 1 atom; external distance has 2"),
        ("exte dist first chain A resi 10 atom N second chain A resi 10 value 1", "atom 2 has no atom name; expected"),
        ("exte dist first resi 10 atom N", "atom 1 has no chain"),
        ("exte dist chain A resi 10 atom N", "found 'chain' before any atom; expected 'first' before it"),
        ("exte dist first chain A resi 10 atom N secnd chain A", "found 'secnd'; expected atoms"),
        ("exte dist first chain A resi 10 atom N value", "found 'value'; expected atoms"),
        ("exte dist first chain A resi x atom N second chain A resi 9 atom N", "the residue is 'x'; expected a number"),
        ("exte dist first chain A resi 9 atom N second chain A resi 9 atom XX", "has no atom A/9/XX; expected one"),
        ("exte dist first chain A resi 9 atom N second chain A resi 9 atom C alte C", "atom A/9/C, conformer C"),
        ("exte dist first chain A resi 9 atom N second chain A resi 9 atom C sigma 1", "value is ''; expected a numb"),
        ("exte dist first chain A resi 9 atom N second chain A resi 9 atom C value 1", "sigma is ''; expected a numb"),
        ("exte dist first chain A resi 9 atom N second chain A resi 9 atom C value -1 sigma 1", "line 1: the ideal of"),
        ("exte weight scale 0", "the scale of dist is 0; expected a number above 0"),
        ("exte dmax far", "dmax is 'far'; expected a number"),
        ("exte dmax 4 far 3", "found 'far'; expected dmin, dmax, typeall or alphall and a number"),
        ("exte dmin 4 dmax", "dmax is ''; expected a number"),
        ("exte typall 3", "typa is '3'; expected 0, 1 or 2"),
        ("exte weight sgmn", "sgmn is ''; expected a number"),
        ("exte harm residues from 10 A to 14 B sigma 0.1", "found 'from 10 A to 14 B sigma 0.1'; expected 'from 10 A"),
        ("exte harm residues 10 A", "found '10 A'; expected 'from 10 A to 14 A', residues of one chain"),
        ("exte harm residues from 900 A to 910 A", "found no atom of the model to hold; expected 'residues from"),
        ("exte harm sigma 0.1", "found no atom of the model to hold; expected 'residues from"),
        ("exte harm atin chain A resi 9 atom XX", "the model has no atom A/9/XX; expected one"),
        ("exte harm atin chain A resi 9 atom N sigma 0", "sigma is 0; expected a number above 0"),
        ("@more.txt", "line 2: '@more.txt' includes another file.*give that as one more of --restraint-tables"),
        ("exte file more.txt", "line 1: 'exte file more.txt' includes another file"),
        ("exte dist first chain A resi 9 atom N first chain A resi 9 atom C", "found 'first' twice; expected first"),
        ("exte plane first chain A resi 45 atom CG chain A resi 45 atom ND1", "found 'chain' again; expected it once"),
        ("exte plane first chain A resi 45 atom { CG ND1 sigma 0.1", "found '{' and no '}' after it"),
        (f"exte dist {PAIR} value 1 sigma -1", "sigma is -1; expected"),
        (f"exte dist {PAIR} value 1 sigma inf", "sigma is 'inf'; exp"),
        (f"exte dist {PAIR} type 3 value 1 sigma 1", "type is '3'; exp"),
        (f"exte inte {PAIR} dmax 3", "an interval without dmin; expec"),
        (f"exte inte {PAIR} dmin 4 dmax 3", "dmin 4 and dmax 3; expect"),
        (f"exte inte {PAIR} dmin 2 dmax 3 smin 0", "a sigma of 0; exp"),
    ],
)
def test_lines_that_make_no_sense(prepared: tuple[Problem, ar.Atoms], tmp_path: Path, line: str, words: str) -> None:
    path = write(tmp_path, f"exte\n{line}" if line.startswith("@") else line)
    with pytest.raises(ar.InputError, match=words) as caught:
        read_rows(path, prepared[1])
    assert str(path) in str(caught.value)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, KEYWORDS)
    flags = ["--cycles", "0", "--d-min", "3", "--tls", "none", "--hydrogens", "strip", "--out", str(tmp_path / "out")]
    assert main(["refine", "--restraint-tables", str(path), str(MODEL), str(DATA), *flags]) == 0
    shown = capsys.readouterr().out
    assert "restraint table external.txt: 1 bond, 1 angle, 1 torsion, 1 chirality, 2 distances, 1 robust" in shown
