"""Tests of arrayrefine.io.restraint_file."""

from __future__ import annotations

from pathlib import Path

import pytest

from arrayrefine.errors import InputError
from arrayrefine.io.restraint_file import read_restraint_file
from arrayrefine.monomers import EMBEDDED

ACT = (EMBEDDED / "a" / "ACT.cif").read_text()
SDF = "LIG\n  made up\n\n  1  0  0  0  0  0  0  0  0  0999 V2000\n    0.0    0.0    0.0 C   0  0\nM  END\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SDF, "(it is an SDF or MOL file)"),
        ("@<TRIPOS>MOLECULE\nLIG\n", "(it is a MOL2 file)"),
        ("<!DOCTYPE html>\n<html></html>\n", "(it is a web page or XML"),
        ("C1CC1 LIG\n", "(it is a text file of no known kind)"),
        ("HEADER    LIGAND\n", "(it is a PDB coordinate file)"),
        (f"{ACT}\n{ACT}", "(several files were joined into one: give them one by one"),
    ],
)
def test_what_is_no_dictionary_is_told(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "ligand.cif"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_restraint_file(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "expects one as made by AceDRG" in str(error.value)
