"""The first nucleotide of a chain has a hydroxyl where it has no phosphate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest

from arrayrefine.atoms import Atoms
from arrayrefine.hydrogens.sources import add_hydrogens
from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import load_monomers
from arrayrefine.options import RidingHydrogens
from arrayrefine.restraints import Restraints
from arrayrefine.topology.build import build_restraints
from arrayrefine.topology.nucleotide_ends import mark_free_ends


def _cut(path: Path, without: int | None) -> gemmi.Structure:
    """Three nucleotides of a transfer RNA, of which one may lose its phosphate."""
    structure = gemmi.read_structure(str(path))
    chain = structure[0]["A"]
    for k in reversed(range(len(chain))):
        if not 2 <= chain[k].seqid.num <= 4:
            del chain[k]
    structure.connections.clear()
    structure.entities.clear()
    structure.mod_residues = []
    structure.add_entity_types(overwrite=True)
    for residue in structure[0]["A"]:
        if residue.seqid.num == without:
            for name in ("P", "OP1", "OP2"):
                residue.remove_atom(name, "\0")
    return structure


def _grown(structure: gemmi.Structure) -> tuple[Atoms, Restraints]:
    model = read_model(structure)
    library = load_monomers(sorted(set(model.structure[0].get_all_residue_names())))
    complete, _, _ = add_hydrogens(model, model.crystal, library, RidingHydrogens())
    return complete.atoms, build_restraints(complete.structure, complete.atoms, complete.crystal, library)


def test_a_chain_without_a_phosphate_begins_with_a_hydroxyl(case: Callable[[str], Path]) -> None:
    atoms, restraints = _grown(_cut(case("1ehz") / "model.pdb", 2))
    who = atoms.identity
    (hydrogen,) = np.flatnonzero(who.atom_name == "HO5'")
    (oxygen,) = np.flatnonzero((who.atom_name == "O5'") & (who.sequence_number == 2))
    assert who.sequence_number[hydrogen] == 2
    assert np.linalg.norm(atoms.xyz[hydrogen] - atoms.xyz[oxygen]) == pytest.approx(0.84, abs=0.02)
    assert {int(hydrogen), int(oxygen)} in [set(pair) for pair in restraints.bonds.index.tolist()]
    assert not any("does not name" in note or "lack" in note for note in restraints.notes)


@pytest.mark.parametrize("without", [None, 3])
def test_a_phosphate_that_is_there_or_lost_within_a_chain_has_none_beside_it(
    case: Callable[[str], Path], without: int | None
) -> None:
    atoms, _ = _grown(_cut(case("1ehz") / "model.pdb", without))
    assert "HO5'" not in atoms.identity.atom_name


@pytest.mark.parametrize("numbered", [False, True])
def test_what_a_sequence_has_before_the_first_nucleotide_is_not_modelled(
    case: Callable[[str], Path], numbered: bool
) -> None:
    structure = _cut(case("1ehz") / "model.pdb", 2)
    structure.setup_entities()
    monlib = load_monomers(["C", "G"]).monlib
    for sequence, count in ((["G", "C", "G", "G"], 0), (["C", "G", "G", "A"], 1)):
        structure.entities[0].full_sequence = sequence
        structure.mod_residues = []
        for k, residue in enumerate(structure[0]["A"]):
            residue.label_seq = k + 2 - count if numbered else None
        mark_free_ends(structure, monlib)
        assert len(structure.mod_residues) == count


def test_a_link_has_the_place_of_the_hydroxyl(case: Callable[[str], Path]) -> None:
    structure = _cut(case("1ehz") / "model.pdb", 2)
    link = gemmi.Connection()
    link.name, link.type = "ring", gemmi.ConnectionType.Covale
    first, last = structure[0]["A"][0], structure[0]["A"][2]
    link.partner1 = gemmi.AtomAddress("A", first.seqid, first.name, "O5'")
    link.partner2 = gemmi.AtomAddress("A", last.seqid, last.name, "P")
    library = load_monomers(["C", "G"])
    mark_free_ends(structure, library.monlib)
    assert [(mark.mod_id, str(mark.res_id.seqid)) for mark in structure.mod_residues] == [("5*END", "2")]
    structure.mod_residues = []
    structure.connections.append(link)
    mark_free_ends(structure, library.monlib)
    assert not structure.mod_residues
