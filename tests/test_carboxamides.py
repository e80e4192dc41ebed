"""Carboxamides of ligands: found by their bonds, and turned where what they meet and the data say so."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import built

import arrayrefine as ar
from arrayrefine.example import DATA, MODEL
from arrayrefine.options import Options
from arrayrefine.problem import Problem
from arrayrefine.rebuilding.better_places import displaced, held
from arrayrefine.rebuilding.carboxamides import carboxamides_of
from arrayrefine.rebuilding.nqh_ends import End, ends_of
from arrayrefine.rebuilding.nqh_flips import _flipped, whose, with_flipped_ends
from arrayrefine.rebuilding.rotamers import Turned
from arrayrefine.state import State, evaluate

LIGAND = "A/NAP 164"


@pytest.fixture(scope="module")
def example() -> tuple[Problem, State]:
    _, problem, atoms, _ = ar.prepare(MODEL, DATA, Options(d_min=2.5))
    return problem, evaluate(problem, atoms)


def the_end(problem: Problem, state: State) -> End:
    amides = carboxamides_of(state.atoms, problem.restraints.bonds.index)
    (end,) = ends_of(state.atoms, [], problem.reflections.crystal, held(problem, state.atoms), amides)
    return end


def test_the_carboxamide_of_nadp_is_found_and_no_other_end(example: tuple[Problem, State]) -> None:
    end = the_end(*example)
    assert end.residue.name == "NAP"
    assert end.names == (("C3N", "C7N"), (("O7N", "N7N"),))
    names = example[1].atoms.identity.atom_name[end.rows].tolist()
    assert names[:2] == ["O7N", "N7N"]
    assert len(names) == 4


@pytest.mark.parametrize("name", ["GLN", "MES", "ATP", "FOL"])
def test_amino_acids_and_other_amides_are_left_out(name: str) -> None:
    atoms, restraints = built(name)
    assert carboxamides_of(atoms, restraints.bonds.index) == []


def test_one_that_is_right_stays_and_one_that_is_wrong_turns(example: tuple[Problem, State]) -> None:
    problem, state = example
    assert LIGAND not in [one.residue for one in with_flipped_ends(problem, state)[1]]
    turned_by_half = _flipped(problem, state.atoms, [the_end(problem, state)], displaced(problem, state.atoms))
    wrong = evaluate(problem, turned_by_half)
    found, turned = with_flipped_ends(problem, wrong)
    gain = next(one.gain for one in turned if one.residue == LIGAND)
    assert gain > 30.0
    rows = the_end(problem, state).heavy_rows
    assert np.abs(found.atoms.xyz[rows] - state.atoms.xyz[rows]).max() < 1e-3


def test_whose_ends_turned_is_said() -> None:
    one, other = Turned("A/ASN 1", 8.0), Turned(LIGAND, 40.0)
    assert whose([one]) == "Asn, Gln or His"
    assert whose([one, other]) == "Asn, Gln, His or a carboxamide"
