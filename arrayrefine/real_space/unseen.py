"""Components, residues and ligands, that end where the map shows nothing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.maps import MapCoefficients
from arrayrefine.problem import Problem
from arrayrefine.real_space.map_grids import map_grid
from arrayrefine.state import State
from arrayrefine.topology.polymers import by_chain, residues_of
from arrayrefine.wording import Caution, are, counted, listed

_NOTHING = 0.3
"""Sigma of the 2mFo-DFc map that atoms of a component have on average, below which nothing is seen of it. Of 2812 of
seventeen deposited models three have less, two of them at 3.4 Å; of a tail that was predicted through empty solvent 19
of 20, and a ligand put there ends with 0.03."""
_FAINT, _LONG = 0.6, 15
"""Sigma that residues in a row have on average, and how many of them, from which they are a part of its own: 63 of
1TJ3, of a domain turned as in another crystal, end with 0.2, the others of the chain with 2.2. Of fifteen chains no
more than 3 in a row have less than 0.6, 7 less than 0.8."""
_COARSE = 4.1
"""Å; in maps of lower resolution residues that are right lie in none too: of the deposited 1RX2, 1CBS, 3SB3, 4XOF, 1EHZ
and 5KZB cut at 4 Å nothing more than at 3 Å, at 5 Å 5, 23, 1, 0, 3 and 0 components, at 6 Å up to 65."""


def sentences(problem: Problem, state: State, maps: MapCoefficients) -> list[str]:
    """A sentence on residues, other than waters, whose atoms end in no density; not of neutrons, as some scatter less
    than nothing, and not where the map is too coarse to tell.
    """
    atoms, data = state.atoms, problem.reflections
    who = atoms.identity
    seen = ~atoms.is_hydrogen & (atoms.occupancy > 0.0) & ~atoms.is_water
    rows = np.flatnonzero(seen)
    if data.radiation == "neutron" or data.d_min > _COARSE or not len(rows):
        return []
    residue, first, member = np.unique(who.residue[rows], return_index=True, return_inverse=True)
    member = member.reshape(-1)
    level = map_grid(maps, data.crystal, "2mFo-DFc").at(atoms.xyz[rows])
    mean = np.bincount(member, level, minlength=len(residue)) / np.bincount(member, minlength=len(residue))
    level_of = dict(zip(residue.tolist(), mean.tolist()))
    parts = _faint_parts(atoms, level_of)
    said: list[str] = [Caution(part.said) for part in parts]
    told = np.isin(residue, [number for part in parts for number in part.residues])
    low = np.flatnonzero((mean < _NOTHING) & ~told)
    if not len(low):
        return said
    low = low[np.argsort(mean[low], kind="stable")]
    names = [f"{who.residue_label(int(rows[first[k]]))} ({mean[k]:.1f} sigma)" for k in low.tolist()]
    n, they = len(names), "it is" if len(names) == 1 else "they are"
    return [*said, Caution(
        f"{counted(n, 'component')} {are(n)} where the 2mFo-DFc map shows nothing (below {_NOTHING:g} sigma on average)"
        f": {listed(names)}. See whether {they} in the crystal, and there"
    )]


class _Part(NamedTuple):
    """Residues in a row, by their running indices, and what to say of them."""

    residues: tuple[int, ...]
    said: str


def _faint_parts(atoms: Atoms, level_of: dict[int, float]) -> list[_Part]:
    """Of each chain the row of residues that the map shows least of, where it is long and the others are seen."""
    found = []
    for chain, every in by_chain(residues_of(atoms)).items():
        residues = [residue for residue in every if residue.number in level_of]
        level = np.array([level_of[residue.number] for residue in residues])
        start, end = _least(level - _FAINT)
        others = np.concatenate([level[:start], level[end:]])
        if end - start < _LONG or not len(others) or others.mean() < 2.0 * _FAINT:
            continue
        span = f"{residues[start].key[0]}-{residues[end - 1].key[0]}"
        found.append(_Part(
            tuple(residue.number for residue in residues[start:end]),
            f"residues {span} of chain {chain} end where the 2mFo-DFc map has {level[start:end].mean():.1f} sigma on "
            f"average, the others of the chain where it has {others.mean():.1f}: this part is not where it is in the "
            "crystal, as a domain that is turned against the others, or not in order there. Place it by molecular "
            "replacement for itself, with the rest fixed, or leave it out",
        ))
    return found


def _least(values: NDArray[np.float64]) -> tuple[int, int]:
    """First and last, exclusive, of the consecutive values (n,) of the least sum; none where no value is below 0."""
    before = np.concatenate([[0.0], np.cumsum(values)])
    drop = before - np.maximum.accumulate(before)
    end = int(drop.argmin())
    return (int(before[: end + 1].argmax()), end) if drop[end] < 0.0 else (0, 0)
