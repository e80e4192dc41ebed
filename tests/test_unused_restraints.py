"""Dictionaries of the user for components that the model does not have."""

from __future__ import annotations

from pathlib import Path

import gemmi
import pytest

from arrayrefine.errors import MonomerError
from arrayrefine.monomers import EMBEDDED, library_for, load_monomers, unused_message

ACT = (EMBEDDED / "a" / "ACT.cif").read_text()


def _dictionary(folder: Path, name: str) -> Path:
    path = folder / f"{name}.cif"
    path.write_text(ACT.replace("ACT", name))
    return path


def test_a_file_for_another_name_is_told_and_named_in_the_errors(tmp_path: Path) -> None:
    """A dictionary of INH, or one whose name a PDB file cuts, where the model has ACT."""
    path, long = _dictionary(tmp_path, "INH"), _dictionary(tmp_path, "7ZTVU")
    library = load_monomers(["ALA"], [path])
    assert library.unused == {"INH": str(path)}
    assert f"{path} describes INH, which the model does not have: not used" in library.notes
    used = load_monomers(["INH"], [path])
    assert not used.unused
    assert not [note for note in used.notes if "not used" in note]
    assert unused_message(load_monomers(["ACT"], [path, long]).unused) == (
        f" --restraints describes INH ({path}), 7ZTVU ({long}), which the model does not have: one compound needs "
        "one name in both, and a name of more than three characters a model in mmCIF."
    )
    assert unused_message({}) == ""


def test_a_ligand_of_another_compound_is_refused_with_what_the_file_describes(tmp_path: Path) -> None:
    structure = gemmi.Structure()
    residue = structure.add_model(gemmi.Model(1)).add_chain("L").add_residue(gemmi.Residue())
    residue.name, residue.seqid = "ACT", gemmi.SeqId("1")
    residue.add_atom(gemmi.Atom()).name = "C1X"
    with pytest.raises(MonomerError, match=r"of another compound .* --restraints describes INH"):
        library_for(structure, [_dictionary(tmp_path, "INH")], None, "error")


def test_of_two_files_for_one_ligand_the_error_names_both(tmp_path: Path) -> None:
    structure = gemmi.Structure()
    residue = structure.add_model(gemmi.Model(1)).add_chain("L").add_residue(gemmi.Residue())
    residue.name, residue.seqid = "INH", gemmi.SeqId("1")
    residue.add_atom(gemmi.Atom()).name = "C1X"
    first = _dictionary(tmp_path, "INH").rename(tmp_path / "first.cif")
    second = _dictionary(tmp_path, "INH")
    with pytest.raises(MonomerError) as error:
        library_for(structure, [first, second], None, "error")
    assert f"{second} (used in place of that in {first}): it is of another compound" in str(error.value)
