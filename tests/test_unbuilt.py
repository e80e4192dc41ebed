"""Tests of arrayrefine.real_space.unbuilt."""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

import gemmi
import pytest

from arrayrefine import Options
from arrayrefine.evaluation import Evaluated, evaluate_files
from arrayrefine.example import DATA, MODEL
from arrayrefine.real_space import unbuilt
from arrayrefine.real_space.map_grids import map_grid
from arrayrefine.real_space.peaks import Peak, find_peaks
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


def test_no_region_is_told_of_a_whole_model() -> None:
    """Asp 116 of 1RX2 has density for more than its atoms, which is told as peaks."""
    found = evaluate_files(MODEL, DATA, OPTIONS)
    (said,) = unbuilt.sentences(found.problem, found.state, found.maps)
    assert isinstance(said, Caution)
    assert re.match(r"the mFo-DFc map ends with 2 peaks above 8 sigma: \d+ sigma 2\.\d Å from A/ASP 116/CB", said)
    assert "region" not in said
    difference = map_grid(found.maps, found.problem.reflections.crystal, "mFo-DFc")
    high = find_peaks(difference, found.state.atoms, 8.0)
    (less,) = unbuilt.sentences(found.problem, found.state, found.maps, told=high[:1])  # at a water that was added, say
    assert "ends with 1 peak above 8 sigma" in less
    assert not unbuilt.sentences(found.problem, found.state, found.maps, told=high)


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
    """It does not where R-work is too high to look for any, whatever the option says."""
    found = without_ligands
    problem = dataclasses.replace(found.problem, options=dataclasses.replace(OPTIONS, waters=waters))
    assert not unbuilt.sentences(problem, found.state, found.maps, True)
    (said,) = unbuilt.sentences(problem, found.state, found.maps, False)
    assert "too large for waters" in said


def test_peaks_of_a_region_that_is_told_are_not_told_again(without_ligands: Evaluated) -> None:
    """They are there, among those of the ligands, in either case."""
    found = without_ligands
    difference = map_grid(found.maps, found.problem.reflections.crystal, "mFo-DFc")
    assert find_peaks(difference, found.state.atoms, 8.0)
    said = unbuilt.sentences(found.problem, found.state, found.maps)
    assert [sentence for sentence in said if "region" in sentence] == said


def test_holes_are_told_beside_peaks(without_ligands: Evaluated) -> None:
    atoms = without_ligands.state.atoms
    (said,) = unbuilt.of_peaks([Peak(9.2, (0.0, 0.0, 0.0), 0, 2.6), Peak(-8.4, (0.0, 0.0, 0.0), 1, 0.3)], atoms)
    first, second = atoms.identity.label(0), atoms.identity.label(1)
    assert f"1 peak above 8 sigma: 9 sigma 2.6 Å from {first}, and " in said
    assert f" and 1 hole below -8 sigma: -8 sigma 0.3 Å from {second}" in said
    assert "missing at peaks, or are of a heavier element, and atoms at holes are there" in said
    (said,) = unbuilt.of_peaks([Peak(-8.4, (0.0, 0.0, 0.0), 1, 0.3)], atoms)
    assert "missing" not in said
    assert "solvent" not in said
    (said,) = unbuilt.of_peaks([Peak(-8.1, (0.0, 0.0, 0.0), 1, 4.0)], atoms)
    assert "See whether there is less than the model's bulk solvent at holes away from atoms" in said
    assert unbuilt.of_peaks([], atoms) == []
