"""mmCIF files with values that gemmi does not read."""

from __future__ import annotations

from pathlib import Path

import gemmi
import pytest
from test_io_model import MMCIF

import arrayrefine as ar
from arrayrefine import example
from arrayrefine.io.models.checks import DEFAULT_B
from arrayrefine.io.models.mended_cif import mend
from arrayrefine.io.models.reading import read_model


@pytest.fixture
def text() -> str:
    structure = gemmi.read_structure(str(example.MODEL))
    for residue in structure[0]["A"]:
        if residue.seqid.num == 53:
            residue.seqid = gemmi.SeqId(52, "A")
    structure.setup_entities()
    return str(structure.make_mmcif_document().as_string())


def test_counts_in_quotes(text: str, tmp_path: Path) -> None:
    """As pdb_extract writes them."""
    path = tmp_path / "model.cif"
    block = gemmi.cif.read_string(text).sole_block()
    for value, expected in (("'1'", "1"), ("'many'", "?")):
        block.set_pairs("_exptl.", {"entry_id": "1RX2", "method": "'X-RAY DIFFRACTION'"}, raw=True)
        block.set_pair("_exptl.crystals_number", value)
        block.write_file(str(path))
        with pytest.raises((RuntimeError, ValueError)):
            gemmi.read_structure(str(path))
        model = read_model(path)
        assert len(model.atoms) == len(read_model(example.MODEL).atoms)
        assert model.document is not None
        assert model.document.sole_block().find_value("_exptl.crystals_number") == expected


def test_insertion_codes_behind_residue_numbers(text: str, tmp_path: Path) -> None:
    """As an old REFMAC writes them, in atoms and sequence."""
    path = tmp_path / "model.cif"
    document = gemmi.cif.read_string(text)
    block = document.sole_block()
    changed = 0
    for row in block.find("_atom_site.", ["auth_seq_id", "pdbx_PDB_ins_code"]):
        if row[1] == "A":
            row[0], row[1] = "52A", "?"
            changed += 1
    assert changed
    entity = block.find_values("_entity_poly.entity_id")[0]
    loop = block.init_loop("_entity_poly_seq.", ["entity_id", "num", "mon_id"])
    for number, name in (("51", "GLY"), ("52A", "LEU"), ("53", "ALA")):
        loop.add_row([entity, number, name])
    document.write_file(str(path))
    with pytest.raises((RuntimeError, ValueError), match="52A"):
        gemmi.read_structure(str(path))
    model = read_model(path)
    who = model.atoms.identity
    assert int(((who.sequence_number == 52) & (who.insertion_code == "A")).sum()) == changed
    (said,) = [note for note in model.notes if "insertion code" in note]
    assert f"for {changed} atoms" in said
    result = ar.refine(path, example.DATA, ar.Options(cycles=0, d_min=3.5, report=False))
    result.write(tmp_path / "out")
    for name in ("refined.cif", "refined.pdb"):
        again = read_model(tmp_path / "out" / name)
        assert not [note for note in again.notes if "insertion code" in note]
        assert int((again.atoms.identity.insertion_code == "A").sum()) == changed
    rows = gemmi.cif.read(str(tmp_path / "out" / "refined.cif")).sole_block().find("_entity_poly_seq.", ["num"])
    assert [row[0] for row in rows] == ["1", "2", "3"]


def test_residues_that_no_author_numbers(tmp_path: Path) -> None:
    """What is of no sequence has no label_seq_id: each water still is a residue, and so is each ligand."""
    structure = gemmi.read_structure(str(example.MODEL))
    structure.setup_entities()
    structure.assign_label_seq_id()
    whole = read_model(example.MODEL).atoms.identity
    block = structure.make_mmcif_document().sole_block()
    rows = block.get_mmcif_category("_atom_site.")
    kept = {name: values for name, values in rows.items() if not name.startswith(("auth_", "pdbx_PDB_ins_code"))}
    block.set_mmcif_category("_atom_site.", kept)
    block.write_file(str(tmp_path / "model.cif"))
    model = read_model(tmp_path / "model.cif")
    who = model.atoms.identity
    assert len(set(who.residue.tolist())) == len(set(whole.residue.tolist()))
    (note,) = (note for note in model.notes if "auth_seq_id is missing" in note)
    others = len(set(whole.residue[whole.sequence_number > 159].tolist()))  # behind the chain of 159
    assert f"{others} residues outside the sequences of polymers are numbered" in note
    for name in ("HOH", "FOL", "NAP"):
        mine = who.residue_name == name
        numbers = set(zip(who.chain[mine].tolist(), who.sequence_number[mine].tolist()))
        assert len(numbers) == len(set(whole.residue[whole.residue_name == name].tolist()))
    assert "auth_seq_id" not in " ".join(read_model(example.MODEL).notes)


def test_what_programs_leave_out_of_atoms_is_completed_and_said(tmp_path: Path) -> None:
    left_out = ("id", "label_alt_id", "label_asym_id", "occupancy", "B_iso_or_equiv")
    tags = [line for line in MMCIF.splitlines() if line.rpartition(".")[2] not in left_out]
    path = tmp_path / "model.cif"
    rows = ("ATOM C CA GLY 1 1 ? 1 2 3 1 A 1", "HETATM O O HOH 2 . ? 5 6 7 2 A 1")
    path.write_text("\n".join((*tags, *rows, "")))
    model = read_model(path)
    who = model.atoms.identity
    assert who.chain.tolist() == ["A", "A"]
    assert who.altloc.tolist() == ["", ""]
    assert model.atoms.occupancy.tolist() == [1.0, 1.0]
    assert model.atoms.b_iso.tolist() == [DEFAULT_B, DEFAULT_B]
    assert "_atom_site.occupancy has no value for 2 atoms, and is set to 1" in model.notes
    assert (
        "columns that _atom_site lacks are filled in: id (counted), label_alt_id (no conformers), "
        "label_asym_id (those of auth_asym_id)"
    ) in model.notes
    assert any("B was zero, negative or not a number" in note for note in model.notes)
    path.write_text(MMCIF + "ATOM 1 C CA . GLY A 1 1 ? 1 2 3 ? 20 1 A 1\nATOM 2 N N . GLY A 1 1 ? 2 3 4 . . 1 A 1\n")
    model = read_model(path)
    assert model.atoms.occupancy.tolist() == [1.0, 1.0]
    assert model.atoms.b_iso.tolist() == [20.0, 20.0]
    assert any("20.0 Å² (the median of the model) for 1 atom: A/GLY 1/N" in note for note in model.notes)


def test_documents_in_memory_are_mended_as_files_are_and_stay_as_they_were() -> None:
    tags = "".join(f"{line}\n" for line in MMCIF.splitlines() if not line.endswith(("occupancy", "auth_seq_id")))
    document = gemmi.cif.read_string(f"{tags}ATOM 1 C CA . GLY A 1 1 ? 1 2 3 20 A 1\n")
    before = document.as_string()
    model = read_model(document)
    assert model.atoms.occupancy.tolist() == [1.0]
    assert model.atoms.identity.sequence_number.tolist() == [1]
    assert "_atom_site.occupancy has no value for 1 atom, and is set to 1" in model.notes
    assert document.as_string() == before
    with pytest.raises(ar.InputError, match="without an _atom_site category"):
        read_model(gemmi.cif.Document())


@pytest.mark.parametrize("given", [True, False])
def test_residues_without_a_number_are_counted_behind_the_sequence_of_their_chain(tmp_path: Path, given: bool) -> None:
    rows = (
        "ATOM 1 C CA . GLY A 1 1 ? 1 2 3 1.0 20 {} A 1", "ATOM 2 C CA . GLY A 1 2 ? 4 2 3 1.0 20 {} A 1",
        "HETATM 3 O O . HOH B 2 . ? 5 6 7 1.0 20 {} A 1", "HETATM 4 O O . HOH B 2 . ? 8 6 7 1.0 20 {} A 1",
    )  # fmt: skip
    text = MMCIF + "\n".join(rows) + "\n"
    path = tmp_path / "model.cif"
    without = text.replace("_atom_site.auth_seq_id\n", "").replace("{} ", "")
    path.write_text(text.replace("{}", "?") if given else without)
    assert read_model(path).atoms.identity.sequence_number.tolist() == [1, 2, 3, 4]


def test_charges_as_in_pdb_files(tmp_path: Path) -> None:
    path = tmp_path / "model.cif"
    tags = MMCIF.rstrip() + "\n_atom_site.pdbx_formal_charge\n"
    charges = enumerate(("2+", "+2", "2", "1-", "?"))
    rows = (f"HETATM {i} Zn ZN . ZN A 1 . ? {5 * i} 2 3 1 20 {i} A 1 {charge}" for i, charge in charges)
    path.write_text(tags + "\n".join((*rows, "")))
    residues = read_model(path).structure[0][0]
    assert [residue[0].charge for residue in residues] == [2, 2, 2, -1, 0]


def test_a_letter_behind_a_number_gives_way_to_the_code_that_the_row_has() -> None:
    rows = "".join(f"ATOM {k} C CA . GLY A 1 52A {code} 1.0 2.0 3.0 1.0 20.0 A\n" for k, code in ((1, "?"), (2, "B")))
    tags = "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_seq_id auth_seq_id " \
        "pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy B_iso_or_equiv auth_asym_id"
    block = gemmi.cif.read_string(
        "data_x\nloop_\n" + "".join(f"_atom_site.{tag}\n" for tag in tags.split()) + rows
    ).sole_block()
    notes: list[str] = []
    mend(block, notes)
    assert [tuple(row) for row in block.find("_atom_site.", ["auth_seq_id", "pdbx_PDB_ins_code"])] == [
        ("52", "A"), ("52", "B")
    ]
    assert "for 2 atoms" in notes[-1]


def test_a_single_atom_without_a_loop_is_left_as_it_is() -> None:
    text = "data_x\n_atom_site.Cartn_x 1.0\n_atom_site.Cartn_y 2.0\n_atom_site.Cartn_z 3.0\n"
    block, notes = gemmi.cif.read_string(text).sole_block(), list[str]()
    mend(block, notes)
    assert notes == []
    assert block.find_value("_atom_site.Cartn_x") == "1.0"
    assert block.find_value("_atom_site.occupancy") is None
