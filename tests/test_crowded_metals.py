"""Metals that lie on each other and are there together are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gemmi
import pytest

from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import load_monomers
from arrayrefine.topology.build import build_restraints
from arrayrefine.wording import kind_of


def _said(structure: gemmi.Structure) -> list[str]:
    model = read_model(structure)
    library = load_monomers(sorted(set(model.structure[0].get_all_residue_names())))
    restraints = build_restraints(model.structure, model.atoms, model.crystal, library, unknown="hold")
    return [note for note in restraints.notes if "of metals" in note]


@pytest.fixture
def two_metals(case: Callable[[str], Path]) -> gemmi.Structure:
    """5orl without its magnesium 403, beside which waters 508 and 666, 1.90 Å apart, are magnesium here."""
    structure = gemmi.read_structure(str(next(case("5orl").glob("model.*"))))
    for residue in structure[0]["A"]:
        if residue.seqid.num == 403:
            residue[0].occ = 0.0
        if residue.seqid.num in (508, 666):
            residue.name, residue[0].name, residue[0].element = "MG", "MG", gemmi.Element("Mg")
    return structure


def _atoms(structure: gemmi.Structure) -> list[gemmi.Atom]:
    return [residue[0] for residue in structure[0]["A"] if residue.seqid.num in (508, 666)]


def test_metals_that_lie_on_each_other_are_named(two_metals: gemmi.Structure) -> None:
    (note,) = _said(two_metals)
    assert kind_of(note) == "warning"
    assert note.startswith("1 pair of metals of different residues, there together, is within 2.4 Å")
    assert "A/MG 508/MG - A/MG 666/MG (1.90 Å)" in note


@pytest.mark.parametrize("change", ["in part", "conformers", "absent", "bonded", "apart"])
def test_those_that_are_not_there_together_or_are_bonded_or_apart_are_not(
    two_metals: gemmi.Structure, change: str
) -> None:
    one, other = _atoms(two_metals)
    if change == "in part":
        one.occ, other.occ = 0.6, 0.5
    elif change == "conformers":
        one.altloc, other.altloc = "A", "B"
    elif change == "absent":
        one.occ = 0.0
    elif change == "bonded":
        link = gemmi.Connection()
        link.name, link.type = "metalc1", gemmi.ConnectionType.MetalC
        link.partner1, link.partner2 = (
            gemmi.AtomAddress("A", gemmi.SeqId(number, " "), "MG", "MG") for number in (508, 666)
        )
        two_metals.connections.append(link)
    else:
        away = (other.pos - one.pos) * (2.6 / other.pos.dist(one.pos))
        other.pos = one.pos + away
    assert not _said(two_metals)
