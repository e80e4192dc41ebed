"""Atoms of another element than the dictionary has for their name are taken as given, and named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine.evaluation import validate_files
from arrayrefine.example import DATA, MODEL
from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import library_for
from arrayrefine.wording import Caution


def told(structure: gemmi.Structure | Path) -> list[str]:
    library = library_for(read_model(structure).structure, (), None, "hold")
    return [note for note in library.notes if "another element" in note]


def test_waters_of_nitrogen_stay_and_are_named() -> None:
    structure = gemmi.read_structure(str(MODEL))
    waters = [residue for chain in structure[0] for residue in chain if residue.is_water()]
    for residue in waters:
        residue[0].element = gemmi.Element("N")
    (note,) = told(structure)
    assert isinstance(note, Caution)
    assert note.startswith(f"{len(waters)} atoms have another element than the atom of that name in the dictionary")
    assert f"/HOH {waters[0].seqid}/O (N, not O)" in note
    model, _, atoms, notes = ar.prepare(structure, DATA, ar.Options(hydrogens="strip"))
    assert note in notes
    assert set(atoms.element[np.isin(atoms.identity.residue_name, ["HOH"])]) == {"N"}
    assert note in validate_files(structure, None, ar.Options())[1]
    assert len(model.atoms) == len(atoms)


def test_one_that_is_read_from_the_wrong_columns() -> None:
    structure = gemmi.read_structure(str(MODEL))
    (alpha,) = [atom for atom in structure[0][0][1] if atom.name == "CA"]
    alpha.element = gemmi.Element("Ca")
    (note,) = told(structure)
    assert note.startswith("1 atom has another")
    assert "/CA (Ca, not C). If that is a slip" in note


@pytest.mark.parametrize(("name", "count"), [("1dur", 0), ("1ehz", 3), ("1v9g", 0), ("3sb3", 0), ("5kzb", 0)])
def test_deposited_models(case: Callable[[str], Path], name: str, count: int) -> None:
    """1ehz has manganese in sites that it calls magnesium, 1v9g deuterium."""
    said = told(next(case(name).glob("model.*")))
    assert [note.split(maxsplit=1)[0] for note in said] == [str(count)] * (count > 0)


def test_an_unknown_atom_may_be_of_any() -> None:
    structure = gemmi.read_structure(str(MODEL))
    water = next(residue for chain in structure[0] for residue in chain if residue.is_water())
    water.name, water[0].name = "UNX", "UNK"
    assert not told(structure)
