"""Tests of arrayrefine.unbuilt."""

from __future__ import annotations

import dataclasses
from typing import Literal

import gemmi
import pytest

from arrayrefine import Options, unbuilt
from arrayrefine.evaluation import Evaluated, evaluate_files
from arrayrefine.example import DATA, MODEL
from arrayrefine.wording import Caution

OPTIONS = Options(d_min=2.5, hydrogens="strip")


@pytest.fixture(scope="module")
def without_ligands() -> Evaluated:
    structure = gemmi.read_structure(str(MODEL))
    for chain in structure[0]:
        for k in reversed(range(len(chain))):
            if chain[k].name in ("NAP", "FOL"):
                del chain[k]
    return evaluate_files(structure, DATA, OPTIONS)


def test_nothing_is_said_of_a_whole_model() -> None:
    found = evaluate_files(MODEL, DATA, OPTIONS)
    assert not unbuilt.sentences(found.problem, found.state, found.maps)


def test_ligands_that_are_missing_are_told(without_ligands: Evaluated) -> None:
    found = without_ligands
    (said,) = unbuilt.sentences(found.problem, found.state, found.maps)
    assert isinstance(said, Caution)
    assert "density without a model, too large for waters" in said
    assert " Å³ " in said
    assert " sigma)" in said


@pytest.mark.parametrize("waters", ["add", "update"])
def test_nothing_is_said_where_the_search_for_waters_tells_it(
    without_ligands: Evaluated, waters: Literal["add", "update"]
) -> None:
    found = without_ligands
    problem = dataclasses.replace(found.problem, options=dataclasses.replace(OPTIONS, waters=waters))
    assert not unbuilt.sentences(problem, found.state, found.maps)
