"""PDB files with other things where the format has elements and charges, or with lines that only begin like atoms."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_io_model import CRYST, atom, read, said

from arrayrefine.io.models.reading import read_model
from arrayrefine.io.models.record_columns import in_columns


def _numbered(*lines: str) -> list[str]:
    return [f"{line[:72]:72}1ABC{number:4d}" for number, line in enumerate(lines, 35)]


def test_entries_and_numbers_of_lines_are_no_elements_and_charges(tmp_path: Path) -> None:
    model = read(tmp_path, *_numbered("COMPND    A PROTEIN", atom(" CA "), atom("ND2", xyz=(4, 5, 6))))
    assert model.atoms.element.tolist() == ["C", "N"]
    assert [line.rstrip() for line in model.header] == [CRYST.rstrip(), "COMPND    A PROTEIN"]
    assert said(model, r"columns 73-80 hold the entry \(1ABC\)")


@pytest.mark.parametrize("columns", ["      C ", "A     C ", "1ABC  C ", "          ", ""])
def test_segments_and_elements_stay(columns: str) -> None:
    notes: list[str] = []
    text = f"{CRYST}\n{atom()[:72]}{columns}\n"
    assert in_columns(text, notes) is text
    assert not notes


def test_tables_of_other_programs_are_no_atoms(tmp_path: Path) -> None:
    model = read(tmp_path, atom(), "TER", "# scores", "atom_pair_constraint 0")
    assert len(model.atoms) == 1
    assert said(model, "lines that begin like atoms and are none are not read: 1, the first is 5")


def test_atoms_that_were_added_since_do_not_bring_the_numbers_back(tmp_path: Path) -> None:
    added = f"{atom(' ZN ', xyz=(7, 8, 9))[:72]:72}    ZN"
    model = read(tmp_path, *_numbered(atom(" CA "), atom("ND2", xyz=(4, 5, 6))), added)
    assert model.atoms.element.tolist() == ["C", "N", "Zn"]
    assert said(model, r"columns 73-80 of 2 of 3 atoms hold the entry \(1ABC\)")


def test_the_names_of_waters_do_not_reach_into_those_of_chains(tmp_path: Path) -> None:
    lines = [f"ATOM      {n}  {atom} TIP{end}W{n:4d}       {n:.3f}   2.000   3.000  1.00 20.00      WT1"
             for n, (atom, end) in enumerate((("OH2", "3"), ("O  ", "3"), ("O  ", " ")), 1)]  # fmt: skip
    path = tmp_path / "model.pdb"
    path.write_text("\n".join(["CRYST1   30.000   30.000   30.000  90.00  90.00  90.00 P 1", *lines, "END", ""]))
    who = read_model(path).atoms.identity
    assert who.chain.tolist() == ["W", "W", "W"]
    assert who.residue_name.tolist() == ["HOH", "HOH", "HOH"]
