"""Places of residues in the sequence of their chain."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest

from arrayrefine import Options, refine
from arrayrefine.io.models.reading import read_model
from arrayrefine.io.models.sequence_numbers import number_by_sequence
from arrayrefine.io.output.write import left_out

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


def test_mutations_in_mmcif_are_said_too(case: Case, tmp_path: Path) -> None:
    plain = gemmi.read_structure(str(case("1aba") / "model.pdb"))
    number_by_sequence(plain)
    document = plain.make_mmcif_document()
    document.write_file(str(tmp_path / "plain.cif"))
    plain_model = read_model(tmp_path / "plain.cif")
    for row in document.sole_block().find("_atom_site.", ["label_seq_id", "label_comp_id"]):
        if row[0] == "21":
            row[1] = "ALA"
    document.write_file(str(tmp_path / "mutated.cif"))
    model = read_model(tmp_path / "mutated.cif")
    said = [note for note in left_out(model, model.atoms) if "has others than the model" in note]
    assert said == [
        "the sequence of chain A (_entity_poly_seq) has others than the model for 1 residue: A/ALA 21 (LYS)"
    ]
    assert not [note for note in left_out(plain_model, plain_model.atoms) if "has others than the model" in note]


def test_mutations_beside_a_gap_leave_residues_their_places(case: Case) -> None:
    plain, structure = gemmi.read_structure(str(case("1aba") / "model.pdb")), mutated(case)
    missing = [str(number) for number in range(38, 44)]
    for one in (plain, structure):
        for k in reversed(range(len(one[0]["A"]))):
            if str(one[0]["A"][k].seqid) in missing:
                del one[0]["A"][k]
    number_by_sequence(plain)
    number_by_sequence(structure)
    found = places(structure)
    assert found == places(plain)
    assert None not in found
    assert np.diff(found).max() == 7


def test_what_is_no_part_of_the_sequence_has_no_place(case: Case) -> None:
    structure = mutated(case)
    structure.setup_entities()
    entity = structure.get_entity_of(structure[0]["A"].get_polymer())
    entity.full_sequence = list(entity.full_sequence)[:-3]
    (note,) = number_by_sequence(structure)
    assert places(structure)[-4:] == [84, None, None, None]
    assert "(none)" in note


def without_sequences(path: Path) -> gemmi.Structure:
    """A model as from a PDB file without SEQRES."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith(("SEQRES", "DBREF"))]
    structure = gemmi.read_pdb_string("\n".join(lines))
    structure.merge_chain_parts()
    return structure


def test_a_chain_without_a_name_is_named_as_selections_name_it(case: Case) -> None:
    structure = without_sequences(case("1aba") / "model.pdb")
    structure[0][0].name = ""
    (note,) = number_by_sequence(structure)
    assert note.startswith("the model names no sequence (SEQRES) of chain '': ")


def test_without_a_sequence_it_is_that_of_the_residues_and_this_is_said(case: Case) -> None:
    """This crystal has three chains, two of which lack residues within."""
    structure = without_sequences(case("2r4r") / "model.pdb")
    (note,) = number_by_sequence(structure)
    assert note == (
        "the model names no sequence (SEQRES) of chains A, L, H: in refined.cif it is that of the residues that are "
        "there, without those missing in gaps and at ends"
    )
    for chain in structure[0]:
        polymer = chain.get_polymer()
        assert [residue.label_seq for residue in polymer] == list(range(1, len(polymer) + 1))
        assert structure.get_entity_of(polymer).full_sequence == [residue.name for residue in polymer]


def test_equal_chains_without_a_sequence_are_one_entity_and_residues_may_be_two(case: Case) -> None:
    structure = without_sequences(case("5orl") / "model.pdb")
    first = structure[0]["A"].get_polymer()[0]
    other = first.clone()
    first.name, other.name = "SER", "THR"
    structure[0]["A"].add_residue(other, 1)
    twin = structure[0]["A"].clone()
    twin.name = "B"
    structure[0].add_chain(twin)
    structure.assign_subchains(force=True)
    (note,) = number_by_sequence(structure)
    assert "chains A, B:" in note
    (entity,) = [e for e in structure.entities if e.entity_type == gemmi.EntityType.Polymer]
    assert len(entity.subchains) == 2
    assert entity.full_sequence[0] == "SER,THR"
    assert [residue.label_seq for residue in structure[0]["B"].get_polymer()][:3] == [1, 1, 2]


def test_a_file_without_a_sequence_gives_one_that_reads_back(case: Case, tmp_path: Path) -> None:
    folder = case("5orl")
    structure = without_sequences(folder / "model.pdb")
    result = refine(structure, folder / "data.mtz", Options(cycles=0, d_min=4.0, report=False, unknown="hold"))
    result.write(tmp_path)
    block = gemmi.cif.read(str(tmp_path / "refined.cif")).sole_block()
    assert len(block.find_values("_entity_poly_seq.num")) == 265
    again = read_model(tmp_path / "refined.cif")
    for field in dataclasses.fields(again.atoms.identity):
        one, two = (getattr(model.atoms.identity, field.name) for model in (result.model, again))
        np.testing.assert_array_equal(one, two)


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


def test_residues_that_share_a_place_share_the_sequence(case: Case, tmp_path: Path) -> None:
    """SEQRES names one of two residues of microheterogeneity; mmCIF names both."""
    structure = gemmi.read_structure(str(case("1aba") / "model.pdb"))
    structure.setup_entities()
    chain = structure[0]["A"]
    position = next(k for k, residue in enumerate(chain) if residue.name == "SER")
    other = chain[position].clone()
    other.name = "ALA"
    for k in reversed(range(len(other))):
        if other[k].name == "OG":
            del other[k]
    for letter, residue in (("A", chain[position]), ("B", other)):
        for atom in residue:
            atom.altloc, atom.occ = letter, 0.5
    chain.add_residue(other, position + 1)
    seqid = str(other.seqid)
    assert number_by_sequence(structure) == []
    place = chain[position].label_seq
    assert [residue.label_seq for residue in chain if str(residue.seqid) == seqid] == [place, place]
    entity = structure.get_entity_of(chain.get_polymer())
    assert entity.full_sequence[place - 1] == "SER,ALA"
    steps = structure.make_mmcif_document().sole_block().find("_entity_poly_seq.", ["num", "mon_id"])
    assert [row[1] for row in steps if row[0] == str(place)] == ["SER", "ALA"]
    chain[position].name = "THR"  # one that the sequence does not name either
    chain[position + 1].name = "GLY"
    again = gemmi.read_structure(str(case("1aba") / "model.pdb"))
    structure.entities = again.entities
    assert any("has others than the model for 2 residues" in note for note in number_by_sequence(structure))
