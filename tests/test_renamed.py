"""Tests of arrayrefine.io.models.renamed."""

from __future__ import annotations

import gemmi
import pytest

from arrayrefine.example import MODEL
from arrayrefine.io.models.reading import read_model
from arrayrefine.io.models.renamed import follow_renamed


def edited(names: dict[str, str], residues: dict[str, str]) -> gemmi.Structure:
    """The example with chains and residues under other names, and records as they were."""
    structure = gemmi.read_pdb(str(MODEL))
    for chain in structure[0]:
        for residue in chain:
            residue.name = residues.get(residue.name, residue.name)
        chain.name = names.get(chain.name, chain.name)
    return structure


@pytest.mark.parametrize(
    ("names", "residues"), [({}, {}), ({"A": "X"}, {}), ({}, {"BME": "LIG"}), ({"A": "X"}, {"BME": "LIG"})]
)
def test_records_follow_a_chain_and_a_ligand(names: dict[str, str], residues: dict[str, str]) -> None:
    """A chain, a ligand, neither or both."""
    whole = gemmi.read_pdb(str(MODEL))
    model = read_model(edited(names, residues))
    chain = names.get("A", "A")
    now = model.structure
    assert [helix.start.chain_name for helix in now.helices] == [chain] * len(whole.helices)
    assert {entity.name for entity in now.entities if entity.full_sequence} == {chain}
    assert len(now.cispeps) == len(whole.cispeps) > 0
    for link in now.connections:
        assert now[0].find_cra(link.partner1).atom is not None
        assert now[0].find_cra(link.partner2).atom is not None
    assert any("those of chain X" in note for note in model.notes) == bool(names)
    assert any(f"{chain}/BME 162, now LIG" in note for note in model.notes) == bool(residues)


def test_records_follow_no_chain_where_two_could_be_meant() -> None:
    structure = edited({"A": "X"}, {})
    copy = structure[0]["X"].clone()
    copy.name = "Y"
    structure[0].add_chain(copy)
    assert not any("which the model does not have, are those" in note for note in read_model(structure).notes)


@pytest.mark.parametrize("name", ["CYS", "HOH", "DG"])
def test_links_do_not_follow_a_ligand_to_what_is_no_ligand(name: str) -> None:
    structure = edited({}, {"BME": name})
    linked = [str(link) for link in structure.connections]
    assert any("BME" in link for link in linked)
    assert follow_renamed(structure) == []
    assert [str(link) for link in structure.connections] == linked


def test_records_of_other_chains_and_of_an_entity_that_is_there_stay() -> None:
    structure = gemmi.read_pdb(str(MODEL))
    structure.setup_entities()
    copy = structure[0]["A"].clone()
    copy.name = "B"
    structure[0].add_chain(copy)
    helix = gemmi.Helix()
    helix.start, helix.end = structure.helices[0].start, structure.helices[0].end
    helix.start.chain_name = helix.end.chain_name = "B"
    count = len(structure.helices)
    structure.helices.append(helix)
    structure[0]["A"].name = "X"
    structure.entities.append(gemmi.Entity("X"))
    names = [entity.name for entity in structure.entities]
    (said,) = follow_renamed(structure)
    assert said.endswith("are those of chain X, which has the residues that they name")
    assert [helix.start.chain_name for helix in structure.helices] == ["X"] * count + ["B"]
    assert [entity.name for entity in structure.entities] == names
