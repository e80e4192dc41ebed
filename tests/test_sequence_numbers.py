"""Places of residues in the sequence of their chain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gemmi
import pytest

from arrayrefine import Options, refine
from arrayrefine.io.sequence_numbers import number_by_sequence
from arrayrefine.io.write import left_out

Case = Callable[[str], Path]
MUTATED = {"21": "ALA", "30": "ARG", "51": "ALA", "56": "ALA"}


def mutated(case: Case) -> gemmi.Structure:
    """1aba with alanines and an arginine that its sequence does not have, each cut to the atoms of alanine."""
    structure = gemmi.read_structure(str(case("1aba") / "model.pdb"))
    for residue in structure[0]["A"].get_polymer():
        name = MUTATED.get(str(residue.seqid))
        if name is not None:
            residue.name = name
            for k in reversed(range(len(residue))):
                if residue[k].name not in ("N", "CA", "C", "O", "CB"):
                    del residue[k]
    return structure


def places(structure: gemmi.Structure) -> list[int | None]:
    return [residue.label_seq for residue in structure[0]["A"].get_polymer()]


def test_mutations_leave_residues_their_places(case: Case) -> None:
    plain, structure = gemmi.read_structure(str(case("1aba") / "model.pdb")), mutated(case)
    assert number_by_sequence(plain) == []
    assert None not in places(plain)
    by_gemmi = structure.clone()
    by_gemmi.setup_entities()
    by_gemmi.assign_label_seq_id()
    assert None in places(by_gemmi)
    (note,) = number_by_sequence(structure)
    assert places(structure) == places(plain)
    assert note.startswith("the sequence of chain A (SEQRES) has others than the model for 4 residues: A/ALA 21 (")


def test_what_is_no_part_of_the_sequence_has_no_place(case: Case) -> None:
    structure = mutated(case)
    structure.setup_entities()
    entity = structure.get_entity_of(structure[0]["A"].get_polymer())
    entity.full_sequence = list(entity.full_sequence)[:-3]
    (note,) = number_by_sequence(structure)
    assert places(structure)[-4:] == [84, None, None, None]
    assert "(none)" in note


def test_without_a_sequence_there_are_none(case: Case) -> None:
    structure = mutated(case)
    structure.setup_entities()
    structure.get_entity_of(structure[0]["A"].get_polymer()).full_sequence = []
    assert number_by_sequence(structure) == []
    assert set(places(structure)) == {None}


@pytest.mark.parametrize("changed", [False, True])
def test_the_file_has_them_and_a_warning_says_so(case: Case, tmp_path: Path, changed: bool) -> None:
    folder = case("1aba")
    structure = mutated(case) if changed else gemmi.read_structure(str(folder / "model.pdb"))
    result = refine(structure, folder / "norm.mtz", Options(cycles=0, d_min=3.0, report=False))
    said = [note for note in left_out(result.model, result.atoms) if "SEQRES" in note]
    assert len(said) == changed
    result.write(tmp_path)
    written = gemmi.read_structure(str(tmp_path / "refined.cif"))
    assert None not in places(written)
