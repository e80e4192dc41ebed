"""Side chains turned to another rotamer between cycles, where the data say that they are elsewhere."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.problem import Problem
from arrayrefine.rebuilding.better_places import WORTH, Search, held, moves, with_better_places
from arrayrefine.rebuilding.bound import split_or_loose
from arrayrefine.rebuilding.nqh_ends import ENDS
from arrayrefine.rebuilding.side_chain_scores import Candidates, Movable
from arrayrefine.rebuilding.side_chains import BACKBONE, Poses, SideChains, side_chains_of
from arrayrefine.state import State
from arrayrefine.topology.polymers import Residue, residues_of
from arrayrefine.validation.top8000 import tables

Float = NDArray[np.float64]

_SAME = 40.0
"""Degrees; torsions that all differ by less are the rotamer that is there, and minimisation's business."""


class Turned(NamedTuple):
    """A side chain that was turned, as "A/LEU 121", and what log p was expected to gain by it."""

    residue: str
    gain: float


def with_better_rotamers(
    problem: Problem, state: State, stay: Collection[str] = ()
) -> tuple[State, tuple[Turned, ...]]:
    """Turn side chains to rotamers that explain the data better.

    Parameters
    ----------
    problem : Problem
    state : State
    stay : collection of str
        Residues that do not turn, such as "A/LEU 121".

    Returns
    -------
    state : State
        The same object where nothing turns, or where the likelihood is no better for it after all.
    turned : tuple of Turned
        In the order of the model.
    """
    options = problem.options
    kept = options.side_chains == "keep" or options.reference is not None or options.external.rotamers == "on"
    if kept or not moves(problem, state):
        return state, ()
    kinds = side_chains_of([one for one in _free(problem, state.atoms) if label(one) not in stay])
    state, trials = with_better_places(problem, state, _search(kinds))
    return state, tuple(Turned(label(trial.residue), trial.gain) for trial in trials)


def _search(kinds: list[SideChains]) -> Search:
    return Search(kinds, _rotamers, WORTH, lambda _, found: found)


def label(residue: Residue) -> str:
    """Such as "A/LEU 121"."""
    number, code = residue.key
    return f"{residue.chain}/{residue.name} {number}{code.strip()}"


def _free(problem: Problem, atoms: Atoms) -> list[Residue]:
    """Residues whose side chains may turn: free, in one conformer, off axes, and bound to nothing else."""
    stays, left = held(problem, atoms), split_or_loose(atoms)
    return [
        residue
        for residue in residues_of(atoms)
        if residue.number not in left
        and not any(stays[row] for name, row in residue.atoms.items() if name not in BACKBONE)
    ]


def _rotamers(kind: Movable, xyz: Float) -> Candidates:
    """All rotamers but those that the side chains are in.

    Ends of Asn, Gln and His that are turned by half are in the same: which way round they are hydrogen bonds say, too,
    and whether they may turn is another option. Judged by the data alone, they would be turned back each time.
    """
    assert isinstance(kind, SideChains)
    known = tables()
    mean = known[f"mean/{kind.name}"].astype(float)
    away = mean - kind.chi(xyz)[:, None]
    periods = known.get(f"period/{kind.name}", np.full(mean.shape[1], 360.0))
    if kind.name in ENDS:
        periods = np.append(periods[:-1], 180.0)
    away -= periods * np.rint(away / periods)
    row, rotamer = np.nonzero((np.abs(away) > _SAME).any(axis=2))
    return Candidates(kind, row, Poses.of(mean[rotamer]))
