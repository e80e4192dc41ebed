"""A chain with a blank name is a chain like others; neighbours that lost their bond are noticed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest

from arrayrefine import Options, refine
from arrayrefine.displacements.tls_groups import choose_tls
from arrayrefine.io.models.entities import name_for_nameless, set_up_entities
from arrayrefine.io.models.reading import read_model
from arrayrefine.io.output.write import left_out
from arrayrefine.monomers import load_monomers
from arrayrefine.restraints import Restraints
from arrayrefine.selection import select
from arrayrefine.topology.build import build_restraints

Case = Callable[[str], Path]


def named(case: Case, name: str, entry: str = "1aba") -> gemmi.Structure:
    """A crystal with another name for its chain, as a file without a sequence has it."""
    structure = gemmi.read_structure(str(case(entry) / "model.pdb"))
    structure.rename_chain(structure[0][0].name, name)
    return gemmi.read_pdb_string(structure.make_pdb_string(gemmi.PdbWriteOptions(seqres_records=False)))


def restraints_of(structure: gemmi.Structure) -> Restraints:
    model = read_model(structure)
    library = load_monomers(model.structure[0].get_all_residue_names())
    return build_restraints(model.structure, model.atoms, model.crystal, library, unknown="hold")


def test_restraints_are_those_of_a_chain_with_a_name(case: Case) -> None:
    blank, other = restraints_of(named(case, "")), restraints_of(named(case, "A"))
    assert len(other.bonds.index) > 700
    np.testing.assert_array_equal(blank.bonds.index, other.bonds.index)
    np.testing.assert_array_equal(blank.angles.index, other.angles.index)
    np.testing.assert_array_equal(blank.planes.index, other.planes.index)
    assert not [note for note in (*blank.notes, *other.notes) if "as near as if bonded" in note]


def test_links_to_it_are_kept(case: Case) -> None:
    structure = named(case, "", "hewl_ssad")
    assert [connection.partner1.chain_name for connection in structure.connections] == [""] * 4
    found = restraints_of(structure)
    assert not [note for note in found.notes if "left out" in note or "not named" in note]
    names = np.array([atom.name for chain in structure[0] for residue in chain for atom in residue])
    assert int((names[found.bonds.index] == "SG").all(axis=1).sum()) == 4


def test_the_entity_has_a_name_of_its_own(case: Case) -> None:
    structure = named(case, "")
    structure[0].add_chain(structure[0][0].clone())
    structure[0][1].name = "1"
    structure = gemmi.read_pdb_string(structure.make_pdb_string(gemmi.PdbWriteOptions(seqres_records=False)))
    set_up_entities(structure)
    entities = [structure.get_entity_of(chain.get_polymer()) for chain in structure[0]]
    assert [entity.name for entity in entities] == ["2", "1"]
    assert {entity.polymer_type for entity in entities} == {gemmi.PolymerType.PeptideL}


@pytest.mark.parametrize(
    ("names", "expected"),
    [(["A", "B"], None), ([""], "A"), (["", "A", "B"], "C"), (["", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "1"], "2")],
)
def test_the_first_free_name_is_taken(names: list[str], expected: str | None) -> None:
    structure = gemmi.Structure()
    structure.add_model(gemmi.Model(1))
    for name in names:
        structure[0].add_chain(gemmi.Chain(name))
    assert name_for_nameless(structure) == expected


def test_it_is_blank_in_pdb_and_has_a_name_in_mmcif(case: Case, tmp_path: Path) -> None:
    options = Options(cycles=0, d_min=3.0, report=False, tls=("chain ''",), anisotropic="none")
    result = refine(named(case, ""), case("1aba") / "norm.mtz", options)
    (note,) = [note for note in left_out(result.model, result.atoms) if "without a name" in note]
    assert "chain A in refined.cif" in note
    result.write(tmp_path)
    chains = {kind: gemmi.read_structure(str(tmp_path / f"refined.{kind}"))[0] for kind in ("pdb", "cif")}
    assert {kind: [chain.name for chain in model] for kind, model in chains.items()} == {"pdb": [""], "cif": ["A"]}
    block = gemmi.cif.read(str(tmp_path / "refined.cif")).sole_block()
    assert set(block.find_values("_pdbx_refine_tls_group.beg_auth_asym_id")) == {"A"}
    assert set(block.find_values("_struct_conn.ptnr1_auth_asym_id")) <= {"A"}


def test_selections_and_groups_name_it(case: Case) -> None:
    model = read_model(named(case, ""))
    assert select(model.atoms, "chain ''").all()
    n = len(model.atoms)
    atoms, _ = choose_tls(model.atoms, ("chain",), 100_000, model.atoms.u_aniso, np.zeros(n, dtype=bool), [])
    assert atoms.tls.names == ("chain ''",)
    few = model.atoms.taken(np.arange(5))
    _, notes = choose_tls(few, ("chain",), 100_000, few.u_aniso, np.zeros(5, dtype=bool), [])
    assert any(note.startswith("chain '' has 5 atoms") for note in notes)


def test_neighbours_without_a_bond_are_named(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arrayrefine.topology.build.set_up_entities", gemmi.Structure.setup_entities)
    structure = named(case, "")
    count = len({str(residue.seqid) for residue in structure[0][0].get_polymer()})
    (note,) = [note for note in restraints_of(structure).notes if "as near as if bonded" in note]
    assert note.startswith(f"{count - 1} pairs of neighbours")
    assert "/MET 1/C - PHE 2/N (1.3" in note
    for residue in structure[0][0]:
        residue.name = "XXX"  # held in place: it needs no bond
    assert not [note for note in restraints_of(structure).notes if "as near as if bonded" in note]
