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
