"""Header of `refined.pdb`: what stays of that of the input, where, and what is said of the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import gemmi
import pytest
from test_write import make_data, make_report, small_pdb

from arrayrefine.crystal import Crystal
from arrayrefine.io.models.reading import in_crystal, read_model
from arrayrefine.io.output.write import write_outputs
from arrayrefine.io.pdb_header import header_records

ORDER = (
    "HEADER TITLE COMPND SOURCE KEYWDS EXPDTA AUTHOR JRNL REMARK DBREF SEQADV SEQRES HET HETNAM HETSYN FORMUL HELIX "
    "SHEET LINK CISPEP SITE CRYST1 ATOM TER HETATM END"
)
CARRIED = ("COMPND", "SOURCE", "AUTHOR", "JRNL", "SEQADV", "HETNAM", "HETSYN", "FORMUL", "SITE")


def written(source: Path, folder: Path, cell: tuple[float, ...] | None = None) -> tuple[list[str], list[str]]:
    """Lines of `refined.pdb`, and what the log says was left out or is in one file only."""
    model = read_model(source)
    if cell is not None:
        model = in_crystal(model, Crystal(cell, model.crystal.space_group))
    write_outputs(folder, model, model.atoms, *make_data(model.crystal, 8.0), make_report())
    warnings = json.loads((folder / "report.json").read_text())["warnings"]
    lines = [line.rstrip() for line in (folder / "refined.pdb").read_text().splitlines()]
    return lines, [w for w in warnings if "left out" in w or "header" in w]


def with_lines(tmp_path: Path, *lines: str) -> Path:
    """The small model with more lines at the head of its file."""
    source = small_pdb(tmp_path)
    source.write_text("\n".join([*lines, source.read_text()]))
    return source


def records(lines: list[str]) -> list[str]:
    """Names of records in their order, runs of one name once."""
    names = [line[:6].strip() for line in lines]
    return [name for name, before in zip(names, [None, *names]) if name != before]


def test_records_that_stay_true_are_carried_in_the_order_of_the_format(
    case: Callable[[str], Path], tmp_path: Path
) -> None:
    source = case("1rx2") / "model.pdb"
    lines, said = written(source, tmp_path)
    assert records(lines) == ORDER.split()
    before = [line.rstrip() for line in source.read_text().splitlines()]
    for name in CARRIED:
        assert [line for line in lines if line[:6].strip() == name] == [
            line for line in before if line[:6].strip() == name
        ]
    assert said == [
        "left out of the output, as belonging to the file that the model was in: REVDAT, CONECT, MASTER",
        "in the header of refined.pdb, but not in refined.cif: COMPND, SOURCE, JRNL, SEQADV, HETNAM, HETSYN, FORMUL, "
        "SITE, REMARKs of text",
        "left out of the output, as it judges the model as it was: REMARK 500",
    ]


def test_a_second_refinement_finds_the_same_header(case: Callable[[str], Path], tmp_path: Path) -> None:
    first, _ = written(case("1rx2") / "model.pdb", tmp_path / "1")
    second, said = written(tmp_path / "1" / "refined.pdb", tmp_path / "2")
    assert second == first
    assert not [sentence for sentence in said if "left out" in sentence]


def test_logs_of_other_programs_are_left_out(tmp_path: Path) -> None:
    log = (
        "REMARK Final: r_work = 0.1616 r_free = 0.1774", "REMARK", "REMARK  /home/me/model.pdb",
        "REMARK   1_xyz: 0.1616 0.1774", "REMARK 0    : statistics 0.1616",
    )  # fmt: skip
    source = with_lines(tmp_path, *log)
    lines, said = written(source, tmp_path / "out")
    assert not [line for line in lines if "0.1616" in line or "/home/me" in line]
    assert [line for line in lines if line.startswith("REMARK 280")]
    assert said == ["left out of the output, as logs of other programs: 5 REMARKs without a number of the format"]


@pytest.mark.parametrize(("length", "kept"), [(20.0, True), (20.1, False)])
def test_symmetry_in_angstrom_is_left_out_where_the_cell_is_another(tmp_path: Path, length: float, kept: bool) -> None:
    rows = (
        "REMARK 290   SMTRY1   2 -1.000000  0.000000  0.000000       10.00000",
        "REMARK 290   SMTRY2   2  0.000000 -1.000000  0.000000        0.00000",
        "REMARK 290   SMTRY3   2  0.000000  0.000000  1.000000       15.00000",
    )
    lines, said = written(with_lines(tmp_path, *rows), tmp_path / "out", (length, 25.0, 30.0, 90.0, 90.0, 90.0))
    assert set(rows) <= set(lines) if kept else not [line for line in lines if line.startswith("REMARK 290")]
    sentence = "left out of refined.pdb, as its translations are of another cell: REMARK 290"
    assert said == ([] if kept else [sentence])


def test_names_of_records_may_be_in_lower_case(tmp_path: Path) -> None:
    source = with_lines(
        tmp_path, "compnd    MOL_ID: 1;", "author    A.AUTHOR", "remark 200 EXPERIMENT TYPE", "remark 500 GEOMETRY"
    )
    source.write_text(source.read_text().replace("ATOM  ", "atom  "))
    lines, said = written(source, tmp_path)
    assert "COMPND    MOL_ID: 1;" in lines
    assert "AUTHOR    A.AUTHOR" in lines
    assert "REMARK 200 EXPERIMENT TYPE" in lines
    assert not any("REMARK 500" in line for line in lines)
    assert not any("logs" in sentence or "atom" in sentence or "ATOM" in sentence for sentence in said)


def test_records_of_split_names_keep_their_place(tmp_path: Path) -> None:
    dbref = ("DBREF1 1TST A    1     1  UNP                  A0A023GPI8", "DBREF2 1TST A     A0A023GPI8         1    1")
    source = with_lines(tmp_path, *dbref, "SEQADV 1TST ALA A    1  UNP  A0A023GPI  GLY     1 CONFLICT", "NONSENSE LINE")
    lines, said = written(source, tmp_path / "out")
    start = next(i for i, line in enumerate(lines) if line.startswith("DBREF1"))
    assert [line[:6] for line in lines[start : start + 3]] == ["DBREF1", "DBREF2", "SEQADV"]
    assert said == [
        "left out of the output, as belonging to the file that the model was in: NONSEN",
        "in the header of refined.pdb, but not in refined.cif: SEQADV",
    ]


def test_atoms_are_no_records_of_the_header() -> None:
    """Also where a serial number grew into the name."""
    lines = ("COMPND    X  ", "REMARK   4", "", "ATOM100000  N", "HETATM    1  O", "TER1234", "ENDMDL", "MODEL    2")
    assert header_records("\n".join([*lines, "CONECT    1", "END"])) == ("COMPND    X", "CONECT    1")


def test_a_polymer_ends_with_ter_whatever_the_input_had(tmp_path: Path) -> None:
    source = small_pdb(tmp_path)
    water = "HETATM    9  O   HOH A   9      12.000  12.000  12.000  1.00 20.00           O"
    source.write_text(source.read_text().replace("\nEND", f"\n{water}\nEND"))
    lines, _ = written(source, tmp_path / "out")
    assert records(lines)[-4:] == ["ATOM", "TER", "HETATM", "END"]
    assert gemmi.read_pdb_string("\n".join(lines))[0].count_atom_sites() == 6
