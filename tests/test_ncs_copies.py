"""Models that give operators for copies instead of writing them out."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine import example
from arrayrefine.io.models.reading import read_model


def _one_chain(folder: Path) -> tuple[gemmi.Structure, gemmi.Structure]:
    """3G70 as it is, and with its second chain as an operator on the first."""
    complete = gemmi.read_structure(str(folder / "model.pdb"))
    complete.setup_entities()
    first, second = (complete[0][name].get_polymer() for name in "AB")
    found = gemmi.calculate_superposition(second, first, gemmi.PolymerType.PeptideL, gemmi.SupSelect.CaP)
    half = complete.clone()
    del half[0]["B"]
    within = [link for link in half.connections if {link.partner1.chain_name, link.partner2.chain_name} == {"A"}]
    half.connections = gemmi.ConnectionList(within)
    half.ncs = gemmi.NcsOpList([gemmi.NcsOp(gemmi.Transform(), "1", True), gemmi.NcsOp(found.transform, "2", False)])
    return complete, half


@pytest.fixture(scope="module")
def halved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The model with an operator, as files."""
    folder = request.getfixturevalue("case")("3g70")
    into = tmp_path_factory.mktemp("halved")
    _, half = _one_chain(folder)
    half.write_pdb(str(into / "half.pdb"))
    half.make_mmcif_document().write_file(str(into / "half.cif"))
    return {"pdb": into / "half.pdb", "cif": into / "half.cif", "data": folder / "norm.mtz"}


@pytest.mark.parametrize("kind", ["pdb", "cif"])
def test_copies_are_written_out(halved: dict[str, Path], tmp_path: Path, kind: str) -> None:
    model = read_model(halved[kind])
    (said,) = [note for note in model.notes if "non-crystallographic symmetry" in note]
    assert "1 operator" in said
    assert "the 1 chain given are 2 now" in said
    who = model.atoms.identity
    assert set(who.chain.tolist()) == {"A", "B"}
    assert (who.chain == "A").sum() == (who.chain == "B").sum()
    result = ar.refine(halved[kind], halved["data"], ar.Options(cycles=0, d_min=3.0, report=False))
    assert result.report.final.r_free < 0.33  # 0.45 without the copy
    result.write(tmp_path)
    for name in ("refined.cif", "refined.pdb"):
        again = read_model(tmp_path / name)
        assert len(again.atoms) == len(model.atoms)
        assert not [note for note in again.notes if "non-crystallographic symmetry" in note]
    block = gemmi.cif.read(str(tmp_path / "refined.cif")).sole_block()
    units = set(block.find_values("_struct_asym.id"))
    assert set(block.find_values("_atom_site.label_asym_id")) == units
    assert all(re.fullmatch("[A-Za-z0-9]+", unit) for unit in units)
    assert {tuple(row) for row in block.find("_struct_ncs_oper.", ["id", "code"])} == {("1", "given"), ("2", "given")}
    assert [row[0] for row in block.find("_entity_poly.", ["pdbx_strand_id"])] == ["A,B"]


def test_copies_that_are_there_are_not_made_again(case: Callable[[str], Path]) -> None:
    """Programs hand on the operator, without its flag, beside the copy."""
    complete, half = _one_chain(case("3g70"))
    complete.ncs = half.ncs
    model = read_model(complete)
    assert len(model.atoms) == len(read_model(case("3g70") / "model.pdb").atoms)
    assert any("is not applied: the copies are there already" in note for note in model.notes)


@pytest.mark.parametrize("count", [1, 2])
def test_an_operator_of_the_crystal_makes_no_copy(count: int) -> None:
    """Its mates are there by symmetry."""
    structure = gemmi.read_structure(str(example.MODEL))
    operations = list(gemmi.SpaceGroup(structure.spacegroup_hm).operations())[1 : count + 1]
    cell = structure.cell
    for k, op in enumerate(operations):
        rot, tran = np.array(op.rot) / gemmi.Op.DEN, np.array(op.tran) / gemmi.Op.DEN
        orth, frac = np.array(cell.orth.mat.tolist()), np.array(cell.frac.mat.tolist())
        transform = gemmi.Transform(gemmi.Mat33((orth @ rot @ frac).tolist()), gemmi.Vec3(*(orth @ tran)))
        structure.ncs.append(gemmi.NcsOp(transform, str(k + 2), False))
    model = read_model(structure)
    assert len(model.atoms) == len(read_model(example.MODEL).atoms)
    assert any("not applied: the copies are there already" in note for note in model.notes)


def test_an_operator_to_where_a_copy_is_makes_none(case: Callable[[str], Path]) -> None:
    """The same again, and the same followed by a symmetry of the crystal, as files list all of a virus."""
    _, half = _one_chain(case("3g70"))
    operator = half.ncs[1].tr
    cell, (_, op) = half.cell, list(gemmi.SpaceGroup(half.spacegroup_hm).operations())[:2]
    orth, frac = np.array(cell.orth.mat.tolist()), np.array(cell.frac.mat.tolist())
    turn = orth @ (np.array(op.rot) / gemmi.Op.DEN) @ frac
    shift = orth @ (np.array(op.tran) / gemmi.Op.DEN)
    mat = turn @ np.array(operator.mat.tolist())
    vec = turn @ np.array(operator.vec.tolist()) + shift
    mate = gemmi.Transform(gemmi.Mat33(mat.tolist()), gemmi.Vec3(*vec))
    half.ncs.append(gemmi.NcsOp(mate, "3", False))
    half.ncs.append(gemmi.NcsOp(operator, "4", False))
    model = read_model(half)
    assert set(model.atoms.identity.chain.tolist()) == {"A", "B"}
    said = " ".join(note for note in model.notes if "non-crystallographic" in note)
    assert "1 operator of" in said
    assert "2 operators of non-crystallographic symmetry (MTRIX, _struct_ncs_oper) are not applied" in said


def test_many_copies_of_a_small_chain(halved: dict[str, Path]) -> None:
    structure = gemmi.read_structure(str(example.MODEL))
    for k in range(1, 4):
        transform = gemmi.Transform()
        transform.vec.fromlist([200.0 * k + 17.3, 11.1 * k, 5.0])
        structure.ncs.append(gemmi.NcsOp(transform, str(k + 1), False))
    before = read_model(example.MODEL)
    model = read_model(structure)
    assert len(model.atoms) == 4 * len(before.atoms)
    assert len(set(model.atoms.identity.chain.tolist())) == 4 * len(set(before.atoms.identity.chain.tolist()))


def test_copies_of_a_chain_of_waters_belong_to_no_sequence() -> None:
    structure = gemmi.read_structure(str(example.MODEL))
    waters = gemmi.Chain("W")
    for residue in list(structure[0]["A"]):
        if residue.is_water() and len(waters) < 3:
            waters.add_residue(residue)
    for number in reversed(range(len(structure[0]["A"]))):
        if structure[0]["A"][number].is_water():
            del structure[0]["A"][number]
    structure[0].add_chain(waters)
    structure.setup_entities()
    structure.assign_label_seq_id()
    away = gemmi.Transform()
    away.vec.fromlist([217.3, 11.1, 5.0])
    structure.ncs.append(gemmi.NcsOp(away, "2", False))
    model = read_model(structure.make_mmcif_document())
    chains = dict.fromkeys(model.atoms.identity.chain.tolist())
    assert len(chains) == 4
    assert model.document is not None
    rows = model.document.sole_block().find("_entity_poly.", ["pdbx_strand_id"])
    strands = [gemmi.cif.as_string(row[0]).split(",") for row in rows]
    assert len(strands) == 1
    assert len(strands[0]) == 2
    assert "W" not in strands[0]
