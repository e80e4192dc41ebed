"""Cis peptides in the output, as the model has them."""

from __future__ import annotations

from collections.abc import Callable

import gemmi
import pytest

from arrayrefine import example
from arrayrefine.io.models.reading import read_model
from arrayrefine.io.output.cis_peptides import key_of, list_cis_peptides, write_angles
from arrayrefine.io.output.write import left_out

CIS = ("A", "95", "96", "")
"""Gly 95 - Gly 96 of dihydrofolate reductase."""


@pytest.fixture
def structure() -> gemmi.Structure:
    found = gemmi.read_structure(str(example.MODEL))
    found.setup_entities()
    return found


def _keys(structure: gemmi.Structure) -> list[tuple[str, str, str, str]]:
    return [key_of(peptide) for peptide in structure.cispeps]


def test_those_that_the_model_does_not_list_are_found(structure: gemmi.Structure) -> None:
    structure.cispeps = []
    assert list_cis_peptides(structure) == []
    assert _keys(structure) == [CIS]
    assert abs(structure.cispeps[0].reported_angle) < 30.0
    assert "CISPEP   1 GLY A   95    GLY A   96" in structure.make_pdb_string()


def test_angles_are_brought_up_to_date_and_what_is_trans_goes(structure: gemmi.Structure) -> None:
    list_cis_peptides(structure)
    (old,) = (peptide.reported_angle for peptide in structure.cispeps)
    trans = gemmi.CisPep()
    trans.partner_c, trans.partner_n = (
        gemmi.AtomAddress("A", gemmi.SeqId("9"), "ALA", ""),
        gemmi.AtomAddress("A", gemmi.SeqId("10"), "VAL", ""),
    )
    unknown = gemmi.CisPep()
    unknown.partner_c = unknown.partner_n = gemmi.AtomAddress("Q", gemmi.SeqId("1"), "ALA", "")
    structure.cispeps[0].reported_angle = 77.0
    structure.cispeps = [*structure.cispeps, trans, unknown]
    assert list_cis_peptides(structure) == ["A/9(ALA) - 10(VAL)"]
    assert _keys(structure) == [CIS, ("Q", "1", "1", "")]
    assert structure.cispeps[0].reported_angle == old


def test_what_is_trans_now_is_said(structure: gemmi.Structure) -> None:
    trans = gemmi.CisPep()
    trans.partner_c = gemmi.AtomAddress("A", gemmi.SeqId("9"), "ALA", "")
    trans.partner_n = gemmi.AtomAddress("A", gemmi.SeqId("10"), "VAL", "")
    structure.cispeps = [*structure.cispeps, trans]
    model = read_model(structure)
    said = [sentence for sentence in left_out(model, model.atoms) if "cis" in sentence]
    assert said == ["cis peptides of the model that are trans now are not listed as cis: A/9(ALA) - 10(VAL)"]


def test_a_conformer_alone_may_be_cis(structure: gemmi.Structure) -> None:
    structure.cispeps = []
    for residue, name in ((95, "O"), (95, "CA"), (96, "CA")):
        own = next(one for one in structure[0]["A"] if one.seqid.num == residue)
        atom = next(one for one in own if one.name == name)
        other = atom.clone()
        atom.altloc, other.altloc = "A", "B"
        if (residue, name) == (96, "CA"):  # half a turn round C-N, in effect
            before = next(one for one in structure[0]["A"] if one.seqid.num == 95)
            c, n = before["C"][0].pos, own["N"][0].pos
            along = (n - c) * (1.0 / (n - c).length())
            d = other.pos - c
            other.pos = c + along * (2.0 * d.dot(along)) - d
        own.add_atom(other)
    assert list_cis_peptides(structure) == []
    assert _keys(structure) == [(*CIS[:3], "A")]


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (lambda structure: None, False),
        (lambda structure: setattr(structure, "cispeps", []), True),
        (lambda structure: setattr(structure.cispeps[0], "reported_angle", -4.0), False),
    ],
)
def test_rows_of_mmcif(structure: gemmi.Structure, change: Callable[[gemmi.Structure], None], differs: bool) -> None:
    block = structure.make_mmcif_document().sole_block()
    change(structure)
    assert write_angles(block, structure) == differs
    structure.update_mmcif_block(block, gemmi.MmcifOutputGroups(False, cis=differs))
    angles = [float(value) for value in block.find_values("_struct_mon_prot_cis.pdbx_omega_angle")]
    assert angles == pytest.approx([peptide.reported_angle for peptide in structure.cispeps], abs=0.01)
