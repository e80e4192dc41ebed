"""END records that more atoms follow: what is read of the rest of the file, and what is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from test_io_model import CRYST, atom, read, said

from arrayrefine.errors import InputError
from arrayrefine.io.models.inner_end import read_through
from arrayrefine.io.models.reading import read_model
from arrayrefine.io.pdb_header import header_records
from arrayrefine.wording import Caution

OTHER = CRYST.replace("20.000   30.000", "25.000   35.000")
LIGAND = atom("C1", residue="BME", number="   9 ", xyz=(5, 6, 7)).replace("ATOM  ", "HETATM")


@pytest.mark.parametrize("end", ["END", "END   ", "end"])
def test_atoms_behind_end_are_read_and_nothing_else(tmp_path: Path, end: str) -> None:
    model = read(tmp_path, atom(), end, "COMPND    LIGAND", OTHER, LIGAND, "CONECT    1    2")
    assert model.atoms.identity.residue_name.tolist() == ["GLY", "BME"]
    assert model.crystal.cell[:3] == (20.0, 30.0, 40.0)
    assert header_records("\n".join(model.header)) == (CRYST,)
    assert said(model, r"model.pdb': 1 atom stands behind the END of line 3 and is read; other records there are not: "
                       r"COMPND, CRYST1; make the file one model, with a single END")  # fmt: skip


def test_the_end_of_a_file_is_no_news(tmp_path: Path) -> None:
    model = read(tmp_path, atom(), LIGAND, "END", "CONECT    1    2")
    assert len(model.atoms) == 2
    assert not said(model, "END")
    assert read_through("no END at all\n", "x") == ("no END at all\n", ())


def test_records_behind_end_are_named(tmp_path: Path) -> None:
    """As of links that were added to a file by hand."""
    (tmp_path / "model.pdb").write_text("\n".join([CRYST, atom(), "END", "LINK         ND2 ASN A  75", "# scores", ""]))
    (note,) = (note for note in read_model(tmp_path / "model.pdb").notes if "behind the END of line 3" in note)
    assert isinstance(note, Caution)
    assert note.endswith("are not read: LINK; put them before it")


def test_the_parts_of_a_chain_are_put_together(tmp_path: Path) -> None:
    parts = atom(), "END", "", atom("CB", xyz=(2, 2, 3)), "TER", "END", LIGAND
    model = read(tmp_path, *parts)
    assert model.atoms.identity.atom_name.tolist() == ["CA", "CB", "C1"]
    assert model.atoms.identity.residue.tolist() == [0, 0, 1]
    assert said(model, "2 atoms stand behind the END of line 3 and are read; make")


def test_frames_of_dynamics_are_other_models(tmp_path: Path) -> None:
    moved = atom(xyz=(1.5, 2.0, 3.0))
    model = read(tmp_path, atom(), "END", "COMPND    FRAME", moved, "END", moved, LIGAND)
    assert model.atoms.xyz.tolist() == [[1.0, 2.0, 3.0]]
    assert model.header == (CRYST,)
    assert said(model, "3 atoms stand behind the END of line 3 and are not read, as 2 of them are before it too")


def test_files_with_model_records_stay_as_they_are(tmp_path: Path) -> None:
    model = read(tmp_path, "MODEL        1", atom(), "ENDMDL", "MODEL        2", atom(), "ENDMDL", "END", LIGAND)
    assert len(model.atoms) == 1
    assert said(model, "only the first of 2 models")
    assert said(model, "1 atom stands behind the END of line 8 and is not read, as the file has MODEL records")


def test_lines_of_errors_are_those_of_the_file(tmp_path: Path) -> None:
    bad = LIGAND.replace("5.000", "5.0x0")
    with pytest.raises(InputError, match=r"line 5 .*for the coordinates"):
        read(tmp_path, atom(), "END", OTHER, bad)


def test_a_real_protein_and_its_ligand_in_one_file(case: Callable[[str], Path], tmp_path: Path) -> None:
    whole = case("1rx2") / "shaken.pdb"
    lines = [line for line in whole.read_text().splitlines() if not line.startswith(("CONECT", "MASTER", "END"))]
    cut = next(i for i, line in enumerate(lines) if line.startswith("HETATM"))
    path = tmp_path / "cat.pdb"
    path.write_text("\n".join([*lines[:cut], "END", *lines[cut:], "END", ""]))
    one, two = read_model(whole), read_model(path)
    assert two.atoms.xyz.tolist() == one.atoms.xyz.tolist()
    assert two.atoms.identity.atom_name.tolist() == one.atoms.identity.atom_name.tolist()


@pytest.mark.parametrize("blanks", [" ", "    ", "\t"])
def test_records_of_atoms_that_blanks_hide_are_refused(blanks: str, tmp_path: Path) -> None:
    """They were not read, and left out as records of the header: 728 atoms of 1ABA, for a blank before each ATOM."""
    with pytest.raises(InputError, match=r"line 3 .*found 1 record of atoms with blanks before ATOM.*column 1"):
        read(tmp_path, LIGAND, f"{blanks}{atom('CB', serial='    2')}")


def test_a_text_on_records_of_atoms_is_none(tmp_path: Path) -> None:
    model = read(tmp_path, atom(), header="\n".join(["  ATOM  records begin here", "  HETATM records too", CRYST]))
    assert len(model.atoms) == 1
