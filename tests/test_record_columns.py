"""PDB files with other things where the format has elements and charges, or with lines that only begin like atoms."""

from __future__ import annotations

from pathlib import Path

import gemmi
import pytest
from test_io_model import CRYST, atom, read, said

from arrayrefine.example import MODEL
from arrayrefine.io.models.reading import read_model
from arrayrefine.io.models.record_columns import in_columns

_RECORDS = ("ATOM  ", "HETATM", "ANISOU", "TER")


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


def test_names_on_the_left_without_elements_are_those_of_common_residues(tmp_path: Path) -> None:
    """As CHARMM and NAMD write them; CA would be calcium, and HG mercury."""
    lines = gemmi.read_structure(str(MODEL)).make_pdb_string().splitlines()
    residues = {name for name in gemmi.read_structure(str(MODEL))[0].get_all_residue_names()
                if gemmi.find_tabulated_residue(name).is_standard()}  # fmt: skip
    lines = [line for line in lines if not line.startswith(_RECORDS) or line[17:20] in residues]
    left = [f"{line[:12]}{line[12:16].strip():4}{line[16:76]}" if line.startswith("ATOM") else line for line in lines
            if not line.startswith("ANISOU")]  # fmt: skip
    (tmp_path / "plain.pdb").write_text("\n".join(lines))
    (tmp_path / "left.pdb").write_text("\n".join(left))
    expected, found = read_model(tmp_path / "plain.pdb"), read_model(tmp_path / "left.pdb")
    assert found.atoms.element.tolist() == expected.atoms.element.tolist()
    assert found.atoms.identity.atom_name.tolist() == expected.atoms.identity.atom_name.tolist()
    assert said(found, r"names of \d+ atoms are one column further left")


def test_names_on_the_left_stay_with_elements_and_in_other_residues(tmp_path: Path) -> None:
    model = read(tmp_path, f"{atom('CA  ')[:76]}CA", f"{atom('CA  ', residue=' CA', xyz=(6, 6, 6))[:66]}")
    assert model.atoms.element.tolist() == ["Ca", "Ca"]
