"""Side chains and peptides put somewhere else between cycles, where the data say that they are there.

Minimisation does not take them over a barrier. Each is tried in a few poses, and the best of these fitted to the data
nearby, by what -log p would gain to second order (`side_chain_scores`): the gradient by occupancy where it would be and
where it is, what its atoms hide of the density themselves, and the rise where it would find none. Nothing is left out
of the model for it, so phases are as good as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from arrayrefine.atoms import Atoms
from arrayrefine.displacements.displacement import least_b
from arrayrefine.hydrogens.turning import may_meet
from arrayrefine.kernels.contacts import pairs_of
from arrayrefine.problem import Problem
from arrayrefine.rebuilding.bound import bound
from arrayrefine.rebuilding.side_chain_fit import fitted
from arrayrefine.rebuilding.side_chain_scores import Candidates, Movable, Scores, b_elsewhere
from arrayrefine.rebuilding.side_chains import Poses
from arrayrefine.state import State, evaluate
from arrayrefine.steering.guard import lost
from arrayrefine.targets.contacts import pair_distances
from arrayrefine.topology.polymers import Residue

Float = NDArray[np.float64]
Int = NDArray[np.int64]

WORTH = 7.0
"""What log p must gain at least: a residue has some thousand places that fits can end in, and ln 1000 is 6.9."""
_PROMISING, _SHARE, _HOPE = 6, 0.75, 45.0
"""So many poses of a residue are fitted to the data: the best as they are, where they are no further below what is
wanted than this share of what the side chain would explain at best, and this."""
_HERE = 1.0
"""Å; side chains of which no atom moves further are still where they were: minimisation's business."""
_CONTACT_SIGMA = 0.4
"""Å; of distances to other atoms, which have not made room yet."""
_PASSES = 3
"""Times that side chains are looked at, where those that turn are near each other, or need each other's place."""
_NEAR = 3.5
"""Å; side chains that are or were nearer to each other do not turn at the same time."""


class Trial(NamedTuple):
    """One of a kind elsewhere: its row, its pose, places (m, 3), and what log p gains."""

    kind: Movable
    row: int
    poses: Poses
    xyz: Float
    gain: float

    @property
    def residue(self) -> Residue:
        return self.kind.residues[self.row]


class Search(NamedTuple):
    """What is tried.

    Attributes
    ----------
    kinds : sequence of SideChains or Peptides
    others : callable
        Poses of one kind to try, from the atoms (N, 3).
    least : float
        What the data must gain by a trial.
    judged : callable
        Trials with what else speaks for or against them in their gains.
    """

    kinds: Sequence[Movable]
    others: Callable[[Movable, Float], Candidates]
    least: float
    judged: Callable[[Atoms, list[Trial]], list[Trial]]


def moves(problem: Problem, state: State) -> bool:
    """Whether anything may be put elsewhere: coordinates are refined, by their likelihood."""
    return state.xray.kind == "ml" and "xyz" in problem.options.kinds


def with_better_places(problem: Problem, state: State, search: Search) -> tuple[State, list[Trial]]:
    """Put elsewhere what explains the data better there.

    Returns
    -------
    state : State
        The same object where nothing moves, or where the likelihood is no better for it after all.
    moved : list of Trial
        In the order of the model.
    """
    kinds = search.kinds
    turned: dict[int, Trial] = {}
    kept: list[Trial] = []
    now = state
    for _ in range(_PASSES):
        found = search.judged(now.atoms, _best(now, search)) if kinds else []
        found = _apart(problem, now.atoms, found, _rows(kinds)) if found else []
        if not found:
            break
        chosen = _independent(now.atoms, found)
        turned |= {trial.residue.number: trial for trial in chosen}
        now = evaluate(problem, moved(problem, now.atoms, chosen), absorb_b=False, before=now)
        kept = _apart(problem, state.atoms, [*turned.values()])  # one that goes back is where it was
        if len(kept) == len(turned) and len(chosen) == len(found):
            break
    if len(kept) < len(turned):
        turned = {trial.residue.number: trial for trial in kept}
        now = evaluate(problem, moved(problem, state.atoms, kept), absorb_b=False, before=state) if kept else state
    if not lost(state, now) < 0.0:  # also where nothing turned
        return state, []
    return now, [trial for _, trial in sorted(turned.items())]


def held(problem: Problem, atoms: Atoms, aside: Int | None = None) -> NDArray[np.bool_]:
    """Atoms (N,) that are not put elsewhere: not free, on axes, or bound to another residue, a mate, or a metal.

    Bonds `aside` (b, 2), first atom and second, do not count.
    """
    stays = ~problem.parameters(atoms, "xyz").xyz | (atoms.multiplicity > 1) | (atoms.occupancy <= 0.0)
    return stays | bound(atoms, problem.restraints, problem.reflections.crystal, aside)


def displaced(problem: Problem, atoms: Atoms) -> NDArray[np.bool_]:
    """Atoms (N,) whose displacements are refined."""
    free = problem.parameters(atoms, "b")
    return np.asarray((free.b | free.u) & bool({"b", "tls"} & problem.options.kinds))


def _best(state: State, search: Search) -> list[Trial]:
    """The best other pose of each one that has one which is worth it."""
    scores, xyz, kinds, worth = Scores(state), state.atoms.xyz, search.kinds, search.least
    others = [search.others(kind, xyz) for kind in kinds]
    each = [candidates.side_chains for candidates in others]
    values = scores.values(each, [kind.posed(xyz, candidates.poses) for kind, candidates in zip(each, others)])
    now, most = np.zeros(len(state.atoms)), np.zeros(len(state.atoms))  # by the number of the residue
    for kind in kinds:
        now[kind.numbers], most[kind.numbers] = scores.as_they_are(kind), scores.most(kind)
    least = now + worth - _SHARE * most - _HOPE
    promising = [_promising(c, value, least[c.numbers]) for c, value in zip(others, values)]
    found = fitted(scores, xyz, promising, [now[candidates.numbers] + worth for candidates in promising])
    # Fitted to the data alone, what is there gains as well.
    rows = [np.unique(candidates.row[value > now[candidates.numbers] + worth]) for candidates, _, value in found]
    here = [Candidates(c.of, row, Poses.of(c.of.chi(xyz)[row])) for (c, _, _), row in zip(found, rows)]
    for own, places, value in fitted(scores, xyz, here, [now[candidates.numbers] for candidates in here]):
        near = np.linalg.norm(places - xyz[own.side_chains.rows], axis=-1).max(axis=1) < _HERE
        now[own.numbers[near]] = np.maximum(now[own.numbers], value)[near]
    best: list[Trial] = []
    for candidates, places, value in found:
        gain = value - now[candidates.numbers]
        for row in np.unique(candidates.row[gain > worth]).tolist():
            at = np.flatnonzero(candidates.row == row)
            at = at[[np.argmax(gain[at])]]
            best.append(Trial(candidates.of, row, candidates.poses.taken(at), places[at[0]], float(gain[at[0]])))
    return best


def _promising(candidates: Candidates, value: Float, least: Float) -> Candidates:
    """The best few of each one, by values (P,), with no less than `least` (P,)."""
    row = candidates.row
    order = np.lexsort((-value, row))
    first = np.searchsorted(row[order], row[order], side="left")
    among = np.empty(len(row), dtype=bool)
    among[order] = np.arange(len(row)) - first < _PROMISING
    return candidates.taken(np.flatnonzero(among & (value > least)))


def moved(problem: Problem, atoms: Atoms, chosen: list[Trial]) -> Atoms:
    """The atoms with what moves where it is to be, their hydrogens with them."""
    xyz, b_iso, u_aniso = atoms.xyz.copy(), atoms.b_iso.copy(), atoms.u_aniso.copy()
    riding, refined = atoms.riding, displaced(problem, atoms)
    own = atoms.tls.group < 0  # what is anisotropic about the others is their group's
    least = np.where(own, 0.0, least_b(atoms))
    for trial in chosen:
        kind = trial.kind.taken([trial.row])
        mine = np.isin(riding.parent, kind.rows[0])
        child, depth = riding.child[mine], kind.depth[_position(kind.rows[0], riding.parent[mine])]
        turned = kind.with_also(child, depth).posed(atoms.xyz, trial.poses)[0]
        rows = kind.rows[0]
        gone = np.linalg.norm(turned[: len(rows)] - xyz[rows], axis=1) >= kind.keeps_shape
        xyz[rows], xyz[child] = turned[: len(rows)], turned[len(rows) :]
        other = np.maximum(b_elsewhere(atoms, kind)[0], least[rows])
        b_iso[rows] = np.where(refined[rows], np.minimum(b_iso[rows], other), b_iso[rows])
        u_aniso[rows] = np.where(((refined & own)[rows] & gone)[:, None], 0.0, u_aniso[rows])
    return atoms.replace(xyz=xyz, b_iso=b_iso, u_aniso=u_aniso)


def _position(rows: Int, wanted: Int) -> Int:
    """Where atoms are among `rows`."""
    order = np.argsort(rows)
    return np.asarray(order[np.searchsorted(rows[order], wanted)])


def _independent(atoms: Atoms, trials: list[Trial]) -> list[Trial]:
    """Those that do not come near to one that gains more, nor to where it was: what is left there is another matter."""
    chosen: list[Trial] = []
    taken = np.zeros((0, 3))
    for trial in sorted(trials, key=lambda trial: -trial.gain):
        mine = np.concatenate([trial.xyz, atoms.xyz[trial.kind.rows[trial.row]]])
        if not len(taken) or cdist(mine, taken).min() > _NEAR:
            chosen.append(trial)
            taken = np.concatenate([taken, mine])
    return chosen


def _rows(kinds: Sequence[Movable]) -> Int:
    """All atoms that may turn."""
    return np.concatenate([kind.rows.ravel() for kind in kinds])


def _apart(problem: Problem, atoms: Atoms, trials: list[Trial], yielding: Int | None = None) -> list[Trial]:
    """Those that are worth it with what they meet where they would be, atoms that are `yielding` aside."""
    chosen = sorted(trials, key=lambda trial: -trial.gain)
    while chosen:
        net = np.array([trial.gain for trial in chosen]) - crowding(problem, atoms, chosen, yielding)
        least = int(np.argmin(net))
        if net[least] > WORTH:
            break
        del chosen[least]
    return chosen


def crowding(
    problem: Problem, atoms: Atoms, chosen: list[Trial], yielding: Int | None = None, within: bool = False
) -> Float:
    """What each of some trials (T,) loses for atoms that would be too close to others; of two, the later one.

    Atoms that are `yielding` aside, and those of the trial itself unless `within`.
    """
    owner = np.full(len(atoms), -1)
    xyz = atoms.xyz.copy()
    for number, trial in enumerate(chosen):
        rows = trial.kind.rows[trial.row]
        owner[rows], xyz[rows] = number, trial.xyz
    crystal, nb = problem.reflections.crystal, problem.restraints.non_bonded
    reach = 2.0 * float(nb.radius.max())
    near = pairs_of(
        np.flatnonzero(owner >= 0), xyz, crystal.rotations, crystal.translations, crystal.orth, crystal.frac, reach
    )
    counts = ~atoms.is_hydrogen
    if yielding is not None:
        counts[yielding[owner[yielding] < 0]] = False
    heavy = counts[near.i] & counts[near.j]
    apart = near.image | within | (owner[near.i] != owner[near.j])
    near = near.taken(heavy & apart & may_meet(atoms, nb, near.i, near.j, near.image))
    i, j = near.i, near.j
    distance = near.lengths(xyz, crystal.rotations, crystal.orth, crystal.frac)
    short = np.maximum(pair_distances(nb, i, j, np.zeros(len(i), dtype=bool)) - distance, 0.0)
    later = np.maximum(owner[i], owner[j])
    return np.asarray(np.bincount(later, 0.5 * (short / _CONTACT_SIGMA) ** 2, len(chosen)), dtype=np.float64)
