"""Peptides turned round between cycles, where the data and the torsions on either side say that O is on the other side.

A peptide is turned about the line between its CA. What log p gains by that is held together with how common the
torsions φ and ψ of both residues are before and after. In some forty models as published, of data to 0.8 to 3.8 Å,
peptides turn in two, and in three of four that are there to teach how models are mended. Of 21 that were turned round
before refinements to 1.8 Å 20 turned back, and no other one did.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.problem import Problem
from arrayrefine.rebuilding.better_places import WORTH, Search, Trial, held, moves, with_better_places
from arrayrefine.rebuilding.bound import split_or_loose
from arrayrefine.rebuilding.peptides import peptides_of
from arrayrefine.rebuilding.rotamers import Turned, label
from arrayrefine.rebuilding.side_chain_scores import Candidates, Movable
from arrayrefine.rebuilding.side_chains import Poses
from arrayrefine.state import State
from arrayrefine.topology.polymers import Residue, residues_of
from arrayrefine.validation.torsions import classify_backbone

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_TURNS = (120.0, 150.0, 180.0, 210.0, 240.0)
"""Degrees, from which a fit goes on."""
_LEAST = 3.0
"""What the data alone must gain."""
_COMMON = (1e-5, 0.1)
"""Percentiles of φ and ψ between which their logarithm counts: there it falls as that of their density does, which is
what the torsions say of a place before the data do."""


def with_flipped_peptides(problem: Problem, state: State) -> tuple[State, tuple[Turned, ...]]:
    """Turn peptides round that explain the data better so.

    Returns
    -------
    state : State
        The same object where nothing turns, or where the likelihood is no better for it after all.
    turned : tuple of Turned
        In the order of the model, each by the residue of its O.
    """
    options = problem.options
    kept = options.peptides == "keep" or options.reference is not None
    if kept or not moves(problem, state):
        return state, ()
    atoms, bonds = state.atoms, problem.restraints.bonds.index
    residues = residues_of(atoms)
    every = peptides_of(residues, bonds)
    if every is None:
        return state, ()
    stays, left = held(problem, atoms, every.rows[:, [0, 2]]), split_or_loose(atoms)
    one, two = (atoms.identity.residue[every.rows[:, k]].tolist() for k in (0, 2))
    free = [k for k, rows in enumerate(every.rows) if not stays[rows].any() and not left & {one[k], two[k]}]
    after = dict(zip(one, two))

    def judged(now: Atoms, found: list[Trial]) -> list[Trial]:
        xyz = now.xyz.copy()
        for trial in found:
            xyz[trial.kind.rows[trial.row]] = trial.xyz
        was, then = (_log_common(x, bonds, residues) for x in (now, now.replace(xyz=xyz)))
        gains = [
            trial.gain + sum(then.get(k, 0.0) - was.get(k, 0.0) for k in (number, after[number]))
            for trial in found for number in [trial.residue.number]
        ]  # fmt: skip
        return [trial._replace(gain=gain) for trial, gain in zip(found, gains) if gain > WORTH]

    kinds = [every.taken(free)] if free else []
    state, trials = with_better_places(problem, state, Search(kinds, _turns, _LEAST, judged))
    return state, tuple(Turned(label(trial.residue), trial.gain) for trial in trials)


def _turns(kind: Movable, xyz: Float) -> Candidates:
    row = np.repeat(np.arange(len(kind.rows)), len(_TURNS))
    return Candidates(kind, row, Poses.of(np.tile(_TURNS, len(kind.rows))[:, None]))


def _log_common(atoms: Atoms, bonds: Int, residues: list[Residue]) -> dict[int, float]:
    """How common φ and ψ of residues are, as the logarithm of their percentile, by the running number."""
    known = classify_backbone(atoms, bonds, residues)
    return {
        number: float(np.log(np.clip(one.percentile, *_COMMON)))
        for number, one in known.items() if one.percentile is not None
    }  # fmt: skip
