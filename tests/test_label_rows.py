"""Links and helices of mmCIF files that name residues as authors do, whose atoms have labels alone."""

from __future__ import annotations

import gemmi
import pytest
from gemmi import cif

from arrayrefine import example
from arrayrefine.io.models.label_rows import follow_renamed_atoms, name_rows_by_labels
from arrayrefine.io.models.reading import read_model


def _document() -> cif.Document:
    """A model whose numbers start at 101, of a bond between a ligand and a chain, and helices."""
    structure = gemmi.read_structure(str(example.MODEL))
    for residue in structure[0]["A"]:
        residue.seqid.num += 100
    structure.connections.clear()
    for end in [end for helix in structure.helices for end in (helix.start, helix.end)]:
        end.res_id.seqid.num += 100
    structure.setup_entities()
    structure.assign_label_seq_id()
    link = gemmi.Connection()
    link.name, link.type, link.asu = "bond", gemmi.ConnectionType.Covale, gemmi.Asu.Same
    protein, ligand = structure[0]["A"][9], next(r for r in structure[0]["A"] if r.name == "FOL")
    link.partner1 = gemmi.AtomAddress("A", protein.seqid, protein.name, "CA")
    link.partner2 = gemmi.AtomAddress("A", ligand.seqid, "FOL", "N1")
    structure.connections.append(link)
    return structure.make_mmcif_document()


@pytest.mark.parametrize("missing", [("auth_asym_id", "auth_seq_id"), ("auth_asym_id",), ("auth_seq_id",), ()])
def test_rows_follow_the_names_that_atoms_have(missing: tuple[str, ...]) -> None:
    document = _document()
    block = document.sole_block()
    table = block.get_mmcif_category("_atom_site.")
    block.set_mmcif_category("_atom_site.", {name: v for name, v in table.items() if name not in missing})
    model = read_model(document)
    (link,) = model.structure.connections
    ends = [model.structure[0].find_cra(end) for end in (link.partner1, link.partner2)]
    assert [str(end.atom.name) for end in ends if end.atom is not None] == ["CA", "N1"]
    assert [end.residue.name for end in ends] == [model.structure[0][0][9].name, "FOL"]
    helix = model.structure.helices[0]
    assert model.structure[0].find_cra(helix.start).residue is not None
    said = [note for note in model.notes if "name residues by auth_ items" in note]
    assert len(said) == bool(missing)


def test_rows_of_residues_that_no_atom_has_stay_as_they_are() -> None:
    block = _document().sole_block()
    items = ["auth_asym_id", "auth_seq_id", "label_comp_id"]
    (second,) = block.find("_struct_conn.ptnr2_", items)
    second[1], second[2] = "999", "XXX"
    name_rows_by_labels(block, (True, True), [])
    (second,) = block.find("_struct_conn.ptnr2_", items)
    assert second[1] == "999"


@pytest.mark.parametrize(("chain", "shift"), [("Q", 0), ("A", 300), ("Q", 300)])
def test_rows_follow_chains_that_were_renamed_or_renumbered_in_the_atoms_alone(chain: str, shift: int) -> None:
    document = _document()
    for row in document.sole_block().find("_atom_site.", ["auth_asym_id", "auth_seq_id"]):
        row[0], row[1] = chain, str(int(row[1]) + shift)
    model = read_model(document)
    (link,) = model.structure.connections
    ends = [model.structure[0].find_cra(end) for end in (link.partner1, link.partner2)]
    assert [end.residue and end.residue.name for end in ends] == [model.structure[0][0][9].name, "FOL"]
    ends_of_helices = [end for helix in model.structure.helices for end in (helix.start, helix.end)]
    assert ends_of_helices
    assert all(model.structure[0].find_cra(end).residue is not None for end in ends_of_helices)
    (note,) = [note for note in model.notes if "auth_ items that no atom has now" in note]
    number = link.partner2.res_id.seqid.num
    assert f"A/FOL {number - shift} as {chain}/FOL {number}" in note


def test_rows_of_waters_follow_the_name_of_their_chain() -> None:
    document = _document()
    block = document.sole_block()
    atoms = block.find("_atom_site.", ["auth_asym_id", "auth_seq_id", "label_comp_id", "label_asym_id"])
    number, asym = next((row[1], row[3]) for row in atoms if row[2] == "HOH")
    (end,) = block.find("_struct_conn.ptnr2_", ["auth_seq_id", "label_comp_id", "label_asym_id"])
    end[0], end[1], end[2] = number, "HOH", asym
    for row in atoms:
        row[0] = "Q"
    follow_renamed_atoms(block, [])
    (end,) = block.find("_struct_conn.ptnr2_", ["auth_asym_id", "auth_seq_id"])
    assert [*end] == ["Q", number]
