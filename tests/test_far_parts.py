"""Parts of a model that are many cells away come back, and nothing else moves."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
import pytest

from arrayrefine.example import MODEL
from arrayrefine.io.models.far_parts import bring_back
from arrayrefine.io.models.reading import read_model
from arrayrefine.structure_factors import StructureFactors


def example() -> gemmi.Structure:
    structure = gemmi.read_structure(str(MODEL))
    structure.setup_entities()
    return structure


def moved_by(structure: gemmi.Structure, residues: list[gemmi.Residue], cells: tuple[int, int, int]) -> None:
    shift = gemmi.Position(*(np.array(structure.cell.orth.mat.tolist()) @ cells))
    for residue in residues:
        for atom in residue:
            atom.pos += shift


def test_a_water_and_a_ligand_come_back() -> None:
    structure = example()
    before = np.array([cra.atom.pos.tolist() for cra in structure[0].all()])
    far = [residue for residue in structure[0]["A"] if residue.name == "FOL" or str(residue.seqid) == "301"]
    assert len(far) == 2
    moved_by(structure, far, (30, 0, -7))
    (note,) = bring_back(structure)
    assert note.startswith("2 parts of the model more than 3 cells away from the rest are brought back")
    assert "A/FOL 161" in note
    after = np.array([cra.atom.pos.tolist() for cra in structure[0].all()])
    apart = structure.cell.frac.mat.tolist() @ (after - before).T
    np.testing.assert_allclose(apart, np.rint(apart), atol=1e-3)
    assert np.abs(apart).max() <= 1.0
    assert bring_back(structure) == []


def test_a_chain_moves_as_a_whole_and_scatters_alike(tmp_path: Path) -> None:
    structure = example()
    chain = gemmi.Chain("B")
    for residue in list(structure[0]["A"])[:20]:
        chain.add_residue(residue)
    structure[0].add_chain(chain)
    moved_by(structure, list(structure[0]["B"]), (9, 9, 9))
    structure.write_pdb(str(tmp_path / "model.pdb"))
    model = read_model(tmp_path / "model.pdb")
    (note,) = (note for note in model.notes if "brought back" in note)
    assert note.endswith("and written there: chain B")
    steps = np.diff(model.atoms.xyz[model.atoms.identity.chain == "B"], axis=0)
    assert np.linalg.norm(steps, axis=1).max() < 10.0
    hkl = np.array([[1, 2, 3], [4, 0, 1], [0, 0, 2]])
    plain = read_model(MODEL).atoms
    twice = np.concatenate([np.arange(len(plain)), np.flatnonzero(plain.identity.residue < 20)])
    found, expected = (
        StructureFactors(model.crystal, hkl, atoms, method="direct")(atoms)
        for atoms in (model.atoms, plain.taken(twice))
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize("cells", [(1, 0, 0), (2, -2, 1), (0, 2, 0)])
def test_what_is_near_stays(cells: tuple[int, int, int]) -> None:
    structure = example()
    moved_by(structure, [structure[0]["A"][-1]], cells)
    before = structure[0]["A"][-1][0].pos.tolist()
    assert bring_back(structure) == []
    assert structure[0]["A"][-1][0].pos.tolist() == before


def test_nothing_to_bring_back() -> None:
    structure = gemmi.Structure()
    structure.cell = gemmi.UnitCell(10, 10, 10, 90, 90, 90)
    structure.add_model(gemmi.Model(1))
    assert bring_back(structure) == []
