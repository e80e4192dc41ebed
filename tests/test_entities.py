"""Tests of arrayrefine.io.models.entities."""

from __future__ import annotations

import gemmi
import pytest

from arrayrefine.io.models.entities import set_up_entities

ATOM = "{:6s}{:5d}  {:3s} {} A{:4d}    {:8.3f}{:8.3f}   0.000  1.00 10.00           {}  \n"


@pytest.mark.parametrize("mixed", [False, True])
def test_one_label_for_a_polymer_and_its_waters_is_parted(mixed: bool) -> None:
    """As Coot's mmCIF files without entities have it: waters are no part of the polymer, whose residues are bonded."""
    text = "".join(
        ATOM.format("ATOM", 4 * k + n, name, "ALA", k, 3.8 * k + x, y, name[0])
        for k in (1, 2, 3)
        for n, (name, x, y) in enumerate((("N", 0.0, 0.0), ("CA", 1.2, 0.8), ("C", 2.4, 0.0), ("O", 2.4, -1.2)))
    )
    text += "".join(ATOM.format("HETATM", k, "O", "HOH", k, 9.0 + k, 9.0, "O") for k in (90, 91))
    structure = gemmi.read_pdb_string(text)
    for residue in structure[0]["A"]:
        if mixed:
            residue.subchain, residue.entity_id = "A", "1"
    set_up_entities(structure)
    polymer = structure[0]["A"].get_polymer()
    assert [residue.name for residue in polymer] == ["ALA"] * 3
    entity = structure.get_entity_of(polymer)
    assert entity is not None
    assert (entity.entity_type, entity.polymer_type) == (gemmi.EntityType.Polymer, gemmi.PolymerType.PeptideL)
    assert polymer.subchain_id() not in {residue.subchain for residue in structure[0]["A"] if residue.name == "HOH"}


@pytest.mark.parametrize("sequence", [False, True])
def test_lone_ligand_before_a_ter_is_no_polymer(sequence: bool) -> None:
    """gemmi takes what is before a TER for a polymer: refined.cif had a polymer of one ligand, without a type."""
    text = "".join(ATOM.format("HETATM", k, name, "TRS", 500, 1.5 * k, 0.0, name) for k, name in enumerate("NC", 1))
    structure = gemmi.read_pdb_string(("SEQRES   1 A    1  TRS\n" if sequence else "") + text + "TER\n")
    assert structure[0]["A"][0].entity_type == gemmi.EntityType.Polymer
    set_up_entities(structure)
    kind = gemmi.EntityType.Polymer if sequence else gemmi.EntityType.NonPolymer
    assert [(entity.entity_type, structure[0]["A"][0].entity_type) for entity in structure.entities] == [(kind, kind)]
