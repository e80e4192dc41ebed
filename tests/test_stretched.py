"""Tests of arrayrefine.topology.stretched."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import EMBEDDED, load_monomers
from arrayrefine.topology.build import build_restraints
from arrayrefine.wording import Caution


def _crystal(names: tuple[str, ...]) -> gemmi.Structure:
    """Ligands of these names as their dictionaries have them, apart from each other."""
    structure = gemmi.Structure()
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(60.0, 60.0, 60.0, 90.0, 90.0, 90.0), "P 1"
    chain = structure.add_model(gemmi.Model(1)).add_chain("L")
    for number, name in enumerate(names, 1):
        block = gemmi.cif.read(str(EMBEDDED / name[0].lower() / f"{name}.cif")).find_block(f"comp_{name}")
        residue = chain.add_residue(gemmi.Residue())
        residue.name, residue.seqid, residue.het_flag = name, gemmi.SeqId(str(number)), "H"
        for atom_name, element, *xyz in block.find("_chem_comp_atom.", ["atom_id", "type_symbol", "x", "y", "z"]):
            if element != "H":
                atom = residue.add_atom(gemmi.Atom())
                atom.name, atom.element = atom_name, gemmi.Element(element)
                atom.pos = gemmi.Position(*map(float, xyz)) + gemmi.Position(12.0 * number, 0.0, 0.0)
    structure.setup_entities()
    return structure


@pytest.mark.parametrize(("exchanged", "shaken", "said"), [(True, 0.0, 1), (False, 0.0, 0), (False, 0.7, 0)])
def test_exchanged_names_are_warned_of_and_models_shaken_as_a_whole_are_not(
    exchanged: bool, shaken: float, said: int
) -> None:
    structure = _crystal(("NAG", "GOL", "NAG", "ACT"))
    residue = structure[0]["L"][0]
    if exchanged:
        one, two = residue["C8"][0], residue["O6"][0]
        one.pos, two.pos = gemmi.Position(*two.pos.tolist()), gemmi.Position(*one.pos.tolist())
    random = np.random.default_rng(3)
    for each in structure[0].all():
        each.atom.pos += gemmi.Position(*random.normal(0.0, shaken, 3))
    found = _warnings(structure)
    assert len(found) == said
    for note in found:
        assert isinstance(note, Caution)
        assert note.startswith("1 residue with bonds far longer than in the dictionary")
        assert "L/NAG 1/O6 - C6 (8.0 Å, not 1.4" in note
        assert "; 2 of its 15 bonds)" in note


def test_a_component_alone_has_no_rest_to_be_unlike() -> None:
    structure = _crystal(("GOL",))
    structure[0]["L"][0]["O3"][0].pos += gemmi.Position(9.0, 0.0, 0.0)
    assert not _warnings(structure)


def _warnings(structure: gemmi.Structure) -> list[str]:
    model = read_model(structure)
    library = load_monomers(sorted(set(structure[0].get_all_residue_names())))
    restraints = build_restraints(model.structure, model.atoms, model.crystal, library)
    return [note for note in restraints.notes if "unlike the rest of the model" in note]
