"""Amino acids named for their state of charge."""

from __future__ import annotations

import gemmi
import pytest

from arrayrefine.example import MODEL
from arrayrefine.io.models.reading import read_model
from arrayrefine.io.models.states_of_charge import use_pdb_names_of_amino_acids

_AMBER = {"HIS": "HIE", "CYS": "CYX", "LYS": "LYN", "ASP": "ASH", "GLU": "GLH"}


def _renamed(names: dict[str, str]) -> gemmi.Structure:
    """The embedded crystal without its sequence, with other names of residues."""
    structure = gemmi.read_structure(str(MODEL))
    structure.entities.clear()
    for chain in structure[0]:
        for residue in chain:
            residue.name = names.get(residue.name, residue.name)
            residue.entity_id = residue.subchain = ""
    return structure


def _names(structure: gemmi.Structure) -> list[str]:
    return [residue.name for chain in structure[0] for residue in chain]


def test_names_of_amber_become_those_of_the_pdb() -> None:
    model = read_model(_renamed(_AMBER))
    assert _names(model.structure) == _names(gemmi.read_structure(str(MODEL)))
    (note,) = [note for note in model.notes if "named for the state of charge" in note]
    assert "are renamed as in the PDB: A/" in note


def test_links_follow() -> None:
    structure = _renamed(_AMBER)
    one = next(residue for residue in structure[0]["A"] if residue.name == "LYN")
    link = gemmi.Connection()
    link.partner1 = gemmi.AtomAddress("A", one.seqid, "LYN", "NZ")
    link.partner2 = gemmi.AtomAddress("A", one.seqid, "LYN", "CE")
    structure.connections.append(link)
    use_pdb_names_of_amino_acids(structure)
    assert [end.res_id.name for end in (structure.connections[-1].partner1, structure.connections[-1].partner2)] == [
        "LYS", "LYS",
    ]  # fmt: skip


@pytest.mark.parametrize("why", ["another atom", "side chains missing", "in a sequence"])
def test_other_compounds_of_these_names_stay(why: str) -> None:
    """As homoserine (HSE), phosphohistidine (HIP), or what an author calls so on purpose."""
    structure = _renamed({"LYS": "LYN"})
    chains = [residue for chain in structure[0] for residue in chain if residue.name == "LYN"]
    for residue in chains if why == "side chains missing" else ():
        for name in [atom.name for atom in residue if atom.name not in ("N", "CA", "C", "O", "CB")]:
            del residue[[atom.name for atom in residue].index(name)]
    if why == "another atom":
        atom = chains[0][0].clone()
        atom.name, atom.element = "P", gemmi.Element("P")
        chains[0].add_atom(atom)
    if why == "in a sequence":
        entity = gemmi.Entity("A")
        entity.full_sequence = ["LYN"]
        structure.entities.append(entity)
    before = _names(structure)
    assert use_pdb_names_of_amino_acids(structure) == []
    assert _names(structure) == before


def _document(names: dict[str, str], sequence: bool = True) -> gemmi.cif.Document:
    """The embedded crystal as mmCIF with sequences, and other names of residues in all of it."""
    structure = gemmi.read_structure(str(MODEL))
    structure.setup_entities()
    polymer = structure[0][0].get_polymer()
    for residue in polymer:
        residue.name = names.get(residue.name, residue.name)
    polymer[0].name, polymer[-1].name = f"N{polymer[0].name}", f"C{polymer[-1].name}"
    entity = structure.get_entity_of(polymer)
    entity.full_sequence = [residue.name for residue in polymer.first_conformer()] if sequence else []
    structure.assign_label_seq_id()
    return structure.make_mmcif_document()


def test_all_of_an_mmcif_file_follows() -> None:
    """Ends of chains and sequences too: nothing of it has the other names."""
    document = _document(_AMBER)
    model = read_model(document)
    assert _names(model.structure) == _names(gemmi.read_structure(str(MODEL)))
    entity = model.structure.get_entity_of(model.structure[0][0].get_polymer())
    assert entity.full_sequence == _names_of_polymer(model.structure)
    assert any("2 ends of chains named as in AMBER are renamed" in note for note in model.notes)
    assert any("named for the state of charge" in note for note in model.notes)
    assert model.document is not None
    block = model.document.sole_block()
    said = {value for tag in ("label_comp_id", "auth_comp_id") for value in block.find_values(f"_atom_site.{tag}")}
    said |= {*block.find_values("_entity_poly_seq.mon_id"), *block.find_values("_chem_comp.id")}
    assert not said & {*_AMBER.values(), "NMET"}
    assert "HIS" in said
    assert len(set(block.find_values("_chem_comp.id"))) == len(block.find_values("_chem_comp.id"))
    text = "".join(block.find_values("_entity_poly.pdbx_seq_one_letter_code"))
    assert "(" not in text


def _names_of_polymer(structure: gemmi.Structure) -> list[str]:
    return [residue.name for residue in structure[0][0].get_polymer().first_conformer()]


def test_what_the_file_itself_draws_is_no_other() -> None:
    document = _document({"ASP": "ASH"})
    loop = document.sole_block().init_loop("_chem_comp_atom.", ["comp_id", "atom_id"])
    loop.add_row(["ASH", "CL1"])
    assert "ASH" in _names(read_model(document).structure)
