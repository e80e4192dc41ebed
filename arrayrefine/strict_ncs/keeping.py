"""Copies are made the same again, after what was done to one of them between steps."""

from __future__ import annotations

import numpy as np

from arrayrefine.problem import Problem
from arrayrefine.state import State, evaluate

_OFF = 1e-3
"""Å; copies that are nearer than this to where their operators take what they are copies of stay where they are."""


def kept_alike(problem: Problem, state: State) -> State:
    """A state of which the copies are the same.

    Where chains moved as rigid bodies, the operators have changed; where peptides, side chains or ligands turned, which
    the density about the first copy decides, the others follow. Steps leave the copies the same, but for what
    turning an operator by a finite angle makes of a linear map.
    """
    if not len(problem.copies):
        return state
    atoms = problem.copies.alike(state.atoms)
    child = problem.copies.child
    off = np.abs(atoms.xyz[child] - state.atoms.xyz[child]).max()
    return state if off < _OFF else evaluate(problem, atoms, before=state)
