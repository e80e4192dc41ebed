"""Polymers whose residues stand apart in the file are put together; others are left as they stand."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import gemmi
import pytest

from arrayrefine import Options, refine
from arrayrefine.example import MODEL
from arrayrefine.io.models.entities import set_up_entities
from arrayrefine.io.models.reading import Model, read_model

Case = Callable[[str], Path]
Order = Callable[[list[gemmi.Residue]], list[gemmi.Residue]]


def _polymer(residues: list[gemmi.Residue]) -> list[gemmi.Residue]:
    return [residue for residue in residues if residue.entity_type == gemmi.EntityType.Polymer]


def _others(residues: list[gemmi.Residue]) -> list[gemmi.Residue]:
    return [residue for residue in residues if residue.entity_type != gemmi.EntityType.Polymer]


def _shuffled(residues: list[gemmi.Residue]) -> list[gemmi.Residue]:
    random.Random(0).shuffle(residues)
    return residues


def _fragment_last(residues: list[gemmi.Residue]) -> list[gemmi.Residue]:
    return [*_polymer(residues)[30:], *_others(residues), *_polymer(residues)[:30]]


def ordered(path: Path, order: Order) -> str:
    """PDB text of the residues of the first chain, without TER, in another order."""
    structure = gemmi.read_structure(str(path))
    structure.merge_chain_parts()
    structure.setup_entities()
    chain = structure[0][0]
    residues = order([residue.clone() for residue in chain])
    for k in reversed(range(len(chain))):
        del chain[k]
    for residue in residues:
        chain.add_residue(residue)
    options = gemmi.PdbWriteOptions(minimal=True, ter_records=False)
    return structure.make_pdb_string(options)


def read(text: str, folder: Path) -> Model:
    (folder / "model.pdb").write_text(text)
    return read_model(folder / "model.pdb")


def said(model: Model) -> list[str]:
    return [note for note in model.notes if "does not stand in one piece" in note]


@pytest.mark.parametrize(
    ("entry", "order", "how"),
    [
        ("1aba", lambda residues: [*_others(residues), *_polymer(residues)], "the file"),
        ("1aba", _fragment_last, "their numbers"),
        ("1aba", _shuffled, "their numbers"),
        ("1ehz", lambda residues: [*_others(residues), *_polymer(residues)], "the file"),  # modified nucleotides
        ("1ehz", _fragment_last, "their numbers"),
    ],
)
def test_they_are_put_together_as_in_the_usual_order(
    case: Case, tmp_path: Path, entry: str, order: Order, how: str
) -> None:
    path = case(entry) / "model.pdb"
    model, usual = read(ordered(path, order), tmp_path), read_model(path)
    name = usual.structure[0][0].name
    (note,) = said(model)
    assert note.startswith(f"the polymer of chain {name} does not stand in one piece, in sequence, before what else")
    assert f"are taken together, in the order of {how}, and written so" in note
    chain, expected = model.structure[0][0], usual.structure[0][0]
    expected_polymer = _polymer(list(expected)) or list(expected.get_polymer())
    assert [str(residue) for residue in chain.get_polymer()] == [str(residue) for residue in expected_polymer]
    assert sorted(map(str, chain)) == sorted(map(str, expected))
    assert len(model.atoms) == len(usual.atoms)


@pytest.mark.parametrize(
    "order",
    [
        lambda residues: residues,
        lambda residues: [*_polymer(residues), *reversed(_others(residues))],
    ],
)  # fmt: skip
def test_the_usual_orders_stay(case: Case, tmp_path: Path, order: Order) -> None:
    text = ordered(case("1aba") / "model.pdb", order)
    model = read(text, tmp_path)
    assert not said(model)
    lines = [line[12:27] for line in text.splitlines() if line.startswith(("ATOM", "HETATM"))]
    who = model.atoms.identity
    assert [int(line[10:14]) for line in lines] == who.sequence_number.tolist()


def test_numbers_against_the_sequence_stay(case: Case, tmp_path: Path) -> None:
    """As in a circular permutant: the chain is bonded as it stands, whatever its numbers."""

    def permuted(residues: list[gemmi.Residue]) -> list[gemmi.Residue]:
        for k, residue in enumerate(_polymer(residues)):
            residue.seqid.num = k - 5 if k < 40 else 5 - k
        return residues

    model = read(ordered(case("1aba") / "model.pdb", permuted), tmp_path)
    assert not said(model)
    assert [residue.seqid.num for residue in model.structure[0][0]][38:42] == [33, 34, -35, -36]


def test_free_amino_acids_are_no_part_of_the_polymer(case: Case, tmp_path: Path) -> None:
    """Nor are the ligands before them, where the polymer is put ahead of both."""

    def with_glycine(residues: list[gemmi.Residue]) -> list[gemmi.Residue]:
        glycine = next(residue for residue in residues if residue.name == "GLY").clone()
        glycine.seqid.num, glycine.het_flag = 900, "H"
        for atom in glycine:
            atom.pos += gemmi.Position(30.0, 30.0, 30.0)
        return [*_polymer(residues), *_others(residues), glycine]

    assert not said(read(ordered(case("1aba") / "model.pdb", with_glycine), tmp_path))

    model = read(
        ordered(case("1aba") / "model.pdb", lambda residues: with_glycine(residues)[::-1][: len(residues) + 1]),
        tmp_path,
    )
    assert said(model)
    assert 900 not in [residue.seqid.num for residue in model.structure[0][0].get_polymer()]


@pytest.mark.parametrize("apart", [True, False])
def test_what_leads_a_polymer_in_atom_records_is_none_of_it_unless_bonded(
    case: Case, tmp_path: Path, apart: bool
) -> None:
    def led(residues: list[gemmi.Residue]) -> list[gemmi.Residue]:
        polymer, others = _polymer(residues), _others(residues)
        leader, first = others[0], polymer[0]["N"][0].pos
        leader.het_flag = "A"
        shift = first - leader[0].pos + gemmi.Position(20.0 if apart else 1.3, 0.0, 0.0)
        for atom in leader:
            atom.pos += shift
        return [leader, *polymer, *others[1:]]

    model = read(ordered(case("1aba") / "model.pdb", led), tmp_path)
    assert bool(said(model)) == apart
    set_up_entities(model.structure)
    first = model.structure[0][0].get_polymer()[0]
    assert gemmi.find_tabulated_residue(first.name).is_amino_acid() == apart


def test_what_is_written_is_a_polymer_without_links_of_peptides(case: Case, tmp_path: Path) -> None:
    folder = case("1aba")
    text = ordered(folder / "model.pdb", lambda residues: [*_others(residues), *_polymer(residues)])
    model = read(text, tmp_path)
    result = refine(model, folder / "norm.mtz", Options(cycles=0, d_min=3.0, report=False))
    assert said(model)[0] in result.report.warnings
    assert not [note for note in result.report.warnings if "links found, not named" in note]
    result.write(tmp_path)
    again = gemmi.read_structure(str(tmp_path / "refined.pdb"))
    assert not [link for link in again.connections if link.partner1.atom_name == "C"]
    block = gemmi.cif.read(str(tmp_path / "refined.cif")).sole_block()
    assert len(block.find_values("_entity_poly_seq.num")) == 87
    assert set(block.find_values("_atom_site.label_entity_id")) == {"A", "MES!", "water"}


def _capped(*residues: str, records: str = "") -> str:
    """Five residues, then others with one atom each far from these, or NH2 at the last C, then TER."""
    source = gemmi.read_structure(str(MODEL))
    structure = gemmi.Structure()
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(90.0, 90.0, 90.0, 90.0, 90.0, 90.0), "P 1"
    structure.add_model(gemmi.Model(1))
    chain = gemmi.Chain("A")
    for residue in list(source[0][0])[:5]:
        chain.add_residue(residue.clone())
    end = next(atom.pos for atom in chain[4] if atom.name == "C")
    for k, name in enumerate(residues):
        atom = gemmi.Atom()
        atom.name, atom.element, atom.b_iso = ("N", gemmi.Element("N"), 20.0)
        atom.pos = end + gemmi.Position(0.0, 0.0, 1.34 if name == "NH2" else 20.0 + 5.0 * k)
        residue = gemmi.Residue()
        residue.name, residue.seqid, residue.het_flag = name, gemmi.SeqId(str(500 + k)), "H"
        residue.add_atom(atom)
        chain.add_residue(residue)
    structure[0].add_chain(chain)
    lines = structure.make_pdb_string(gemmi.PdbWriteOptions(minimal=True, ter_records=False)).splitlines()
    atoms = [line for line in lines if line.startswith(("CRYST1", "ATOM", "HETATM"))]
    return "\n".join([*([records] if records else []), *atoms, "TER", "END", ""])


@pytest.mark.parametrize(
    ("behind", "records", "parted"),
    [
        (("HEM", "ZN"), "", ["HEM", "ZN"]),
        (("NH2", "HEM"), "", ["HEM"]),  # a cap, bonded to the last residue
        (("MSE", "HEM", "GLY", "ZN"), "", ["HEM", "GLY", "ZN"]),
        (("X0X",), "", ["X0X"]),
        (("X0X",), "SEQRES   1 A    6  ALA GLY X0X", []),
        (("NH2",), "", []),
    ],
)
def test_ligands_before_ter_are_none_of_the_polymer(
    tmp_path: Path, behind: tuple[str, ...], records: str, parted: list[str]
) -> None:
    model = read(_capped(*behind, records=records), tmp_path)
    structure = model.structure.clone()
    set_up_entities(structure)
    others = [residue.name for residue in structure[0][0] if residue.entity_type != gemmi.EntityType.Polymer]
    assert others == parted
    assert len(structure[0][0].get_polymer()) == 5 + len(behind) - len(parted)
    said = [note for note in model.notes if "before TER" in note]
    assert len(said) == bool(parted)
    assert all(name in said[0] for name in parted)


def test_waters_and_ligands_that_a_structure_in_memory_has_for_polymer(tmp_path: Path) -> None:
    structure = read(_capped("HEM", "HOH"), tmp_path).structure.clone()
    for residue in structure[0][0]:
        residue.entity_type = gemmi.EntityType.Polymer
    model = read_model(structure)
    types = [residue.entity_type for residue in model.structure[0][0]]
    assert types[-2:] == [gemmi.EntityType.NonPolymer, gemmi.EntityType.Water]
    assert set(types[:-2]) == {gemmi.EntityType.Polymer}
    assert any("1 residue before TER" in note for note in model.notes)


@pytest.mark.parametrize("ends", [False, True])
def test_common_residues_in_hetatm_records_are_of_the_chain(case: Case, tmp_path: Path, ends: bool) -> None:
    """Without TER behind the chain, gemmi would end it at the first of them, and link all that follows."""
    structure = gemmi.read_structure(str(next(case("1cbs").glob("model.*"))))
    structure.setup_entities()
    chain = structure[0][0]
    expected = len(chain.get_polymer())
    wrong = [residue for residue in chain.get_polymer() if residue.name in ("LEU", "CYS")]
    for residue in wrong:
        residue.het_flag = "H"
    lines = structure.make_pdb_string(gemmi.PdbWriteOptions(minimal=True, ter_records=False)).splitlines()
    if ends:
        lines.insert(-1, "TER")
    model = read("\n".join(lines), tmp_path)
    set_up_entities(model.structure)
    polymer = model.structure[0][0].get_polymer()
    assert len(polymer) == expected
    assert {residue.het_flag for residue in polymer} == {"A"}
    (note,) = (note for note in model.notes if "HETATM" in note and "ATOM: A/" in note)
    assert note.startswith(f"{len(wrong)} common residues of chains, given as HETATM, are read and written as ATOM")
    every = "\n".join(line.replace("ATOM  ", "HETATM") for line in lines)
    assert not [note for note in read(every, tmp_path).notes if "written as ATOM" in note]


def test_labels_say_the_order_of_a_polymer_whose_rows_do_not(tmp_path: Path) -> None:
    """As where residues were rebuilt and stand at the end; they were breaks of the chain, and their peptides links."""
    usual = gemmi.read_structure(str(MODEL))
    usual.setup_entities()
    usual.assign_label_seq_id()
    document = usual.make_mmcif_document()
    block = document.sole_block()
    table = block.find_mmcif_category("_atom_site.")
    tags, rows = [tag.split(".")[1] for tag in table.tags], [list(row) for row in table]
    seq = tags.index("label_seq_id")
    moved = [row for row in rows if row[seq] in ("20", "21", "40")]
    table.erase()
    loop = block.init_loop("_atom_site.", tags)
    for row in [*(row for row in rows if row not in moved), *reversed(moved)]:
        loop.add_row(row)
    path = tmp_path / "model.cif"
    document.write_file(str(path))
    model = read_model(path)
    expected = [(str(residue.seqid), residue.name) for residue in usual[0]["A"]]
    assert [(str(residue.seqid), residue.name) for residue in model.structure[0]["A"]] == expected
    assert [note for note in model.notes if "put in the order of label_seq_id" in note]
    assert not [note for note in read_model(MODEL).notes if "label_seq_id" in note]


def test_ligands_with_places_in_a_sequence_stay_behind_the_polymer(tmp_path: Path) -> None:
    """As where a program writes the numbers of authors for those, and the name of the chain."""
    usual = gemmi.read_structure(str(MODEL))
    document = usual.make_mmcif_document()
    asym, seq = ("label_asym_id", "label_seq_id")
    ligand = next(residue.name for residue in usual[0]["A"] if residue.het_flag == "H" and not residue.is_water())
    for row in document.sole_block().find("_atom_site.", [asym, seq, "auth_seq_id", "label_comp_id"]):
        row[0], row[1] = "A", "1" if row[3] == ligand else row[2]
    path = tmp_path / "model.cif"
    document.write_file(str(path))
    model = read_model(path)
    assert [residue.name for residue in model.structure[0]["A"]] == [residue.name for residue in usual[0]["A"]]
    assert not [note for note in model.notes if "label_seq_id" in note]
