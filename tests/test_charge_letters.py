"""Amino acids with a letter for their state of charge behind the name."""

from __future__ import annotations

from pathlib import Path

import gemmi
import pytest

from arrayrefine.example import MODEL
from arrayrefine.io.models.charge_letters import without_letters_of_charge
from arrayrefine.io.models.reading import read_model

_LETTERS = {"HIS": "E", "LYS": "H", "ASP": "P", "CYS": "2"}


def _named_as_gromacs(line: str) -> str:
    letter = _LETTERS.get(line[17:20], " ") if line.startswith(("ATOM", "ANISOU")) else " "
    return line if letter == " " else f"{line[:20]}{letter}{line[21:]}"


def test_letters_are_no_part_of_the_names_of_chains(tmp_path: Path) -> None:
    lines = gemmi.read_structure(str(MODEL)).make_pdb_string().splitlines()
    plain, lettered = tmp_path / "plain.pdb", tmp_path / "lettered.pdb"
    plain.write_text("\n".join(lines))
    lettered.write_text("\n".join(map(_named_as_gromacs, lines)))
    expected, found = read_model(plain), read_model(lettered)
    assert found.atoms.identity.chain.tolist() == expected.atoms.identity.chain.tolist()
    assert found.atoms.identity.residue_name.tolist() == expected.atoms.identity.residue_name.tolist()
    (note,) = [note for note in found.notes if "a letter for the state of charge" in note]
    assert "A/" in note


@pytest.mark.parametrize("other", ["ALAEA   5", "HISQA   5"])
def test_chains_of_two_letters_stay(other: str) -> None:
    lines = [f"ATOM      1  CA  {who}       1.000   2.000   3.000" for who in ("HISEA   4", other)]
    notes: list[str] = []
    assert without_letters_of_charge(lines, notes) == lines
    assert not notes
