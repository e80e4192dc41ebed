"""Waters that lie on atoms that are there at the same time are named."""

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
    return [note for note in restraints.notes if "at the same time" in note]


@pytest.fixture
def published(case: Callable[[str], Path]) -> gemmi.Structure:
    """5orl, which has two pairs of whole waters 1.74 and 1.90 Å apart."""
    return gemmi.read_structure(str(next(case("5orl").glob("model.*"))))


def test_waters_that_lie_on_each_other_are_named_the_nearest_first(published: gemmi.Structure) -> None:
    (note,) = _said(published)
    assert kind_of(note) == "warning"
    assert note.startswith("2 pairs of a water and another atom, there at the same time, are within 2 Å")
    assert "A/HOH 645/O - A/HOH 678/O (1.74 Å), A/HOH 508/O - A/HOH 666/O (1.90 Å)" in note.replace("; ", ", ")


@pytest.mark.parametrize("change", ["in part", "conformers", "absent"])
def test_those_that_are_there_instead_of_each_other_are_not(published: gemmi.Structure, change: str) -> None:
    for residue in published[0]["A"]:
        if residue.seqid.num in (645, 678):
            water = residue[0]
            water.occ = {"in part": 0.5, "conformers": 1.0, "absent": float(residue.seqid.num == 645)}[change]
            if change == "conformers":
                water.altloc = "A" if residue.seqid.num == 645 else "B"
    (note,) = _said(published)
    assert note.startswith("1 pair")
    assert "HOH 645" not in note


def test_a_water_beside_a_metal_is_where_it_belongs(published: gemmi.Structure) -> None:
    for residue in published[0]["A"]:
        if residue.seqid.num in (645, 508):
            residue.name, residue[0].name, residue[0].element = "MG", "MG", gemmi.Element("Mg")
    assert not _said(published)
