"""Tests of arrayrefine.real_space.unseen."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from arrayrefine import Options
from arrayrefine.evaluation import Evaluated, evaluate_files
from arrayrefine.example import DATA, MODEL
from arrayrefine.real_space import unseen
from arrayrefine.real_space.map_grids import map_grid
from arrayrefine.wording import Caution


@pytest.fixture(scope="module")
def found() -> Evaluated:
    return evaluate_files(MODEL, DATA, Options(d_min=3.0, hydrogens="strip"))


def test_nothing_is_said_of_a_model_that_is_seen(found: Evaluated) -> None:
    assert not unseen.sentences(found.problem, found.state, found.maps)


@pytest.mark.parametrize("what", ["NAP", "LYS 32", "water", "empty"])
def test_what_lies_in_no_density_is_named(found: Evaluated, what: str) -> None:
    """Not waters, which are seen to elsewhere, nor atoms of no occupancy."""
    problem, atoms = found.problem, found.state.atoms
    grid = map_grid(found.maps, problem.reflections.crystal)
    hole = grid.step @ np.array(np.unravel_index(grid.values.argmin(), grid.values.shape))
    who = atoms.identity
    moved = who.residue_name == {"water": "HOH", "empty": "NAP", "LYS 32": "LYS"}.get(what, what)
    if what == "LYS 32":
        moved &= who.sequence_number == 32
    xyz, occupancy = atoms.xyz.copy(), atoms.occupancy.copy()
    xyz[moved] = hole
    if what == "empty":
        occupancy[moved] = 0.0
    state = dataclasses.replace(found.state, atoms=dataclasses.replace(atoms, xyz=xyz, occupancy=occupancy))
    said = unseen.sentences(problem, state, found.maps)
    assert len(said) == (what in ("NAP", "LYS 32"))
    for sentence in said:
        assert isinstance(sentence, Caution)
        assert sentence.startswith("1 component is where the 2mFo-DFc map shows nothing")
        assert f"A/{'NAP 164' if what == 'NAP' else what} (-" in sentence


@pytest.mark.parametrize(("last", "is_part"), [(39, False), (52, True)])
def test_a_part_of_a_chain_is_told_as_one(found: Evaluated, last: int, is_part: bool) -> None:
    """As of a domain that is turned otherwise than in the crystal; a few residues are named one by one."""
    problem, atoms = found.problem, found.state.atoms
    grid = map_grid(found.maps, problem.reflections.crystal)
    hole = grid.step @ np.array(np.unravel_index(grid.values.argmin(), grid.values.shape))
    who = atoms.identity
    moved = (who.sequence_number >= 33) & (who.sequence_number <= last) & (who.residue_name != "HOH")
    xyz = atoms.xyz.copy()
    xyz[moved] = hole
    state = dataclasses.replace(found.state, atoms=dataclasses.replace(atoms, xyz=xyz))
    (said,) = unseen.sentences(problem, state, found.maps)
    assert isinstance(said, Caution)
    assert said.startswith(f"residues 33-{last} of chain A end where" if is_part else "7 components are where")


def test_nothing_is_said_where_the_map_is_too_coarse(found: Evaluated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unseen, "_NOTHING", 9.0)  # more than any residue has
    assert unseen.sentences(found.problem, found.state, found.maps)
    monkeypatch.setattr(unseen, "_COARSE", 2.9)
    assert found.problem.reflections.d_min > 2.9
    assert not unseen.sentences(found.problem, found.state, found.maps)
