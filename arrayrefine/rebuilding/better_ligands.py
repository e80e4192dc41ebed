"""Ligands put where the data want them, before each cycle as long as some move.

Minimisation moves the atoms of a misplaced ligand one by one: they bend, raise their B, and settle half-way, and what
they would gain is little of what a step gains. As rigid fragments about bonds that turn they come there whole. A ligand
that the data do not want to move as such is left to minimisation.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.kernels.contacts import Pairs, pairs_of
from arrayrefine.problem import Problem
from arrayrefine.rebuilding.better_places import WORTH, Trial, crowding, held, moved, moves
from arrayrefine.rebuilding.bound import split_or_loose
from arrayrefine.rebuilding.ligands import Bonded, Ligands, joined_residues, ligand_of, pieces_of
from arrayrefine.rebuilding.occurrences import Occurrences
from arrayrefine.rebuilding.rotamers import label
from arrayrefine.rebuilding.side_chain_fit import fitted, foreseen
from arrayrefine.rebuilding.side_chain_scores import Candidates, Movable, Scores
from arrayrefine.rebuilding.side_chains import Poses
from arrayrefine.state import State, evaluate
from arrayrefine.steering.guard import lost
from arrayrefine.topology.polymers import of_polymers
from arrayrefine.wording import counted, listed

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

_NEIGHBOURS = 5.0
"""Å; B of polymers within this of a ligand are what is around it."""
_HERE = 0.3
"""Å, rms; what moves less is minimisation's business."""
_TURNS = (120.0, 180.0, 240.0)
"""Degrees by which single bonds are turned."""
_BEST = 24
"""So many poses of a ligand are fitted: the best as they are."""
_FEW, _NEAR = 12, (np.radians(12.0), 0.4, np.radians(20.0))
"""Poses near that where a ligand is from which it is fitted, beside that itself: how many, and rotation, shift and
torsions, radians and Å."""
_MANY, _FAR = 100, (np.radians(30.0), 0.8, np.radians(60.0))
"""And those far from it, which are tried where little of a ligand is seen."""
_SEEN = 0.6
"""A ligand that gains less of what it would where all its density is found may be anywhere."""
_SEEN_THERE = 0.5
"""And where less than this would be found it is not put."""
_IN_THE_WAY = 2.4
"""Å; waters nearer than this to where a ligand is put are told."""
_PASSES = 3
"""Times that a ligand is moved, each from where it came to: the farther it was, the less was known of its place."""
_SEED = 0


class Placed(NamedTuple):
    """A ligand that was moved, as "A/LIG 1", or "A/NAG 1 and 2 joined to it", what log p was expected to gain, by how
    much it moved (rms, Å), and waters in its way.
    """

    residue: str
    gain: float
    distance: float
    waters: tuple[str, ...]


def with_better_ligands(problem: Problem, state: State, far: bool) -> tuple[State, tuple[Placed, ...]]:
    """Move ligands to where they explain the data better.

    Parameters
    ----------
    problem : Problem
    state : State
    far : bool
        Whether poses far from where it is are tried of what is hardly seen there.

    Returns
    -------
    state : State
        The same object where nothing moves, or where the likelihood is no better for it after all.
    placed : tuple of Placed
        In the order of the model.
    """
    options = problem.options
    if options.ligands == "keep" or options.reference is not None or not moves(problem, state):
        return state, ()
    start, kinds = state.atoms, _free(problem, state.atoms)
    gains: dict[int, float] = {}
    last: dict[int, Trial] = {}
    for _ in range(_PASSES):
        goes_on: set[int] = set()
        for trial in _better(problem, state, kinds, far):
            now = evaluate(problem, moved(problem, state.atoms, [trial]), absorb_b=False, before=state)
            if -lost(state, now) * int((state.xray.work & now.xray.work).sum()) > WORTH:
                number, state = trial.residue.number, now
                gains[number], last[number] = gains.get(number, 0.0) + trial.gain, trial
                goes_on.add(number)
        kinds = [kind for kind in kinds if kind.residues[0].number in goes_on]
    ends = state.atoms
    return state, tuple(_placed(problem, start, ends, last[number], gains[number]) for number in sorted(last))


def _placed(problem: Problem, start: Atoms, ends: Atoms, trial: Trial, gain: float) -> Placed:
    """What is said of a ligand that a trial moved, and perhaps what it hangs on, or hangs on it, did after it."""
    rows = trial.kind.rows[0]
    distance = _rms(ends.xyz[rows], start.xyz[rows])
    return Placed(_called(trial.kind, ends), gain, distance, _in_the_way(problem, ends, rows))


def _called(kind: Movable, atoms: Atoms) -> str:
    """The first residue of a ligand, and how many move with it."""
    others = len(np.unique(atoms.identity.residue[kind.rows[0]])) - 1
    return label(kind.residues[0]) + (f" and {others} joined to it" if others else "")


def _free(problem: Problem, atoms: Atoms) -> list[Ligands]:
    """Ligands that may move: free or bound by one bond, in one conformer, off axes, and bound to nothing else.

    Of what is bound every residue with all beyond it is one.
    """
    bonds = problem.restraints.bonds.index
    groups, between = joined_residues(atoms, bonds)
    if not groups:
        return []
    bonded, theirs = Bonded.of(atoms, problem.restraints), np.concatenate(groups)
    every, near_them = bonded.rows(theirs), np.unique(bonded.bonds.at(bonded.residues.at(theirs)) // 2)
    pieces = [piece for numbers in groups for piece in pieces_of(atoms, numbers, bonds[near_them])]
    links = np.array([link for _, link in pieces if link is not None], dtype=np.int64).reshape(-1, 2)
    stays = held(problem, atoms, np.concatenate([between, links]))
    left, residue = split_or_loose(atoms), atoms.identity.residue
    around = _Around.of(_beside(problem, atoms.xyz, every, _NEIGHBOURS))
    found = []
    for numbers, link in pieces:
        mine = bonded.rows(numbers)
        whose = {*numbers.tolist(), *residue[list(link or ())].tolist()}
        if stays[mine].any() or left & whose:
            continue
        kind = ligand_of(bonded, numbers, around.b(atoms, mine), link)
        if kind is not None:
            found.append(kind)
    return found


class _Around(NamedTuple):
    """Pairs of ligands with what is near them, by the atom of either end."""

    pairs: Pairs
    by_i: Occurrences
    by_j: Occurrences

    @classmethod
    def of(cls, pairs: Pairs) -> _Around:
        return cls(pairs, Occurrences.of(pairs.i), Occurrences.of(pairs.j))

    def b(self, atoms: Atoms, mine: Int) -> float:
        """B of what is next to some atoms, or the lower quarter of their own where that is more: some may be in place.
        """
        others = np.unique(np.append(self.pairs.i[self.by_j.at(mine)], self.pairs.j[self.by_i.at(mine)]))
        polymers = of_polymers(atoms.identity.residue_name[others])
        b = atoms.b_iso[others[polymers & ~atoms.is_hydrogen[others]]]
        own = float(np.quantile(atoms.b_iso[mine], 0.25))
        return max(float(np.median(b)), own) if len(b) else own


def _beside(problem: Problem, xyz: Float, rows: Int, distance: float) -> Pairs:
    """Pairs of some atoms with what is within a distance of them, by itself or as a symmetry mate."""
    crystal = problem.reflections.crystal
    return pairs_of(rows, xyz, crystal.rotations, crystal.translations, crystal.orth, crystal.frac, distance)


class _Now(NamedTuple):
    """Ligands (L,) where they are: what log p gains by them, and at most; what it is foreseen to gain after a step from
    there, or with one bond turned; and what any other pose must gain.
    """

    value: Float
    most: Float
    foreseen: Float
    worth: Float

    @classmethod
    def of(cls, scores: Scores, kinds: list[Ligands], xyz: Float) -> _Now:
        value = np.array([float(scores.as_they_are(kind)[0]) for kind in kinds])
        most = np.array([float(scores.most(kind)[0]) for kind in kinds])
        worth = np.array([WORTH + 0.5 * (6 + len(kind.axes)) for kind in kinds])  # by noise half of one for each number
        then = np.full(len(kinds), -np.inf)
        # Where nearly all is found there is nothing to gain.
        open_ = np.flatnonzero((value < _SEEN * most) | (most - value > worth))
        ahead = foreseen(scores, xyz, [_turned(kinds[k], _one_bond(kinds[k], kinds[k].own)) for k in open_])
        for k, one in zip(open_.tolist(), ahead):
            value[k] = max(value[k], float(one.value[0]))
            # A fit from where it is may go twice as far as its first step.
            then[k] = one.after[0 if 2.0 * one.distance[0] > _HERE else 1 :].max(initial=-np.inf)
        return cls(value, most, then, worth)


def _better(problem: Problem, state: State, kinds: list[Ligands], far: bool) -> list[Trial]:
    """The best other pose of each ligand that has one which is worth it, in the order of the model."""
    if not kinds:
        return []
    xyz, scores = state.atoms.xyz, Scores(state)
    now = _Now.of(scores, kinds, xyz)
    hidden = now.value < _SEEN * now.most
    near = np.flatnonzero(hidden | (now.foreseen > now.value + now.worth))
    tried = [_nearby(kinds[k]) for k in near]
    wanted = [max(now.value[k] + now.worth[k], _SEEN_THERE * now.most[k]) for k in near]
    found = dict(zip(near.tolist(), _fitted(scores, xyz, tried, wanted)))
    if far and hidden.any():
        at = np.flatnonzero(hidden)
        tried = [_drawn(kinds[k], _MANY, _FAR) for k in at]
        wanted = [max(now.value[k] + now.worth[k] + np.log(_MANY), _SEEN_THERE * now.most[k]) for k in at]
        for k, trials in zip(at.tolist(), _fitted(scores, xyz, tried, wanted)):
            found[k] = found[k] + trials
    some = [k for k in sorted(found) if found[k]]
    tried = [_with_bonds_turned(max(found[k], key=lambda trial: trial.gain)) for k in some]
    for k, trials in zip(some, _fitted(scores, xyz, tried, [now.value[k] + now.worth[k] for k in some])):
        found[k] = found[k] + trials
    best = []
    for k, trials in sorted(found.items()):
        trials = [trial._replace(gain=trial.gain - now.value[k]) for trial in trials]
        trials = _uncrowded(problem, state.atoms, kinds[k], trials)
        best += _nearest([trial for trial in trials if trial.gain > now.worth[k]], xyz[kinds[k].rows[0]])
    return best


def _nearest(trials: list[Trial], here: Float) -> list[Trial]:
    """Of those that are as good as the best the nearest, where that is another place at all."""
    if not trials:
        return []
    least = max(trial.gain for trial in trials) - WORTH  # groups that are alike turned round gain next to nothing
    distance, _, one = min((_rms(one.xyz, here), n, one) for n, one in enumerate(trials) if one.gain >= least)
    return [one] if distance > _HERE else []


def _uncrowded(problem: Problem, atoms: Atoms, kind: Ligands, trials: list[Trial]) -> list[Trial]:
    """Trials with what they lose by contacts that are not there already; waters make room."""
    waters = np.flatnonzero(atoms.is_water)
    stays = Trial(kind, 0, Poses.of(kind.chi(atoms.xyz)), atoms.xyz[kind.rows[0]], 0.0)
    was, *then = (float(crowding(problem, atoms, [one], waters, within=True)[0]) for one in (stays, *trials))
    return [trial._replace(gain=trial.gain - max(crowd - was, 0.0)) for trial, crowd in zip(trials, then)]


def _one_bond(kind: Ligands, of: Bool | None = None) -> Float:
    """Torsions (P, k), degrees: as they are, and with one bond turned, of some (k,) or all."""
    every = np.eye(len(kind.axes))
    some = every if of is None else every[of]
    return np.concatenate([np.zeros((1, len(every))), *(turn * some for turn in _TURNS)])


def _turned(kind: Ligands, torsions: Float) -> Candidates:
    return Candidates(kind, np.zeros(len(torsions), dtype=np.int64), Poses.of(torsions))


def _nearby(kind: Ligands) -> Candidates:
    """The pose that a ligand is in, some about it, and those with a bond turned, or two that follow each other."""
    drawn, k = _drawn(kind, _FEW, _NEAR).poses, len(kind.axes)
    one = _one_bond(kind)[1:]
    two = [one[a::k, None] + one[b::k] for a, b in kind.successive()]
    turned = _turned(kind, np.concatenate([one, *(both.reshape(-1, k) for both in two)])).poses
    poses = Poses(*(np.concatenate(both) for both in zip(drawn, turned)))
    return Candidates(kind, np.zeros(len(poses.chi), dtype=np.int64), poses)


def _with_bonds_turned(trial: Trial) -> Candidates:
    """A pose with one bond turned: groups that are alike turned round may be as they were."""
    assert isinstance(trial.kind, Ligands)
    turns = _one_bond(trial.kind)[1:]
    chi, rotation, shift = (np.repeat(values, len(turns), axis=0) for values in trial.poses)
    return Candidates(trial.kind, np.zeros(len(turns), dtype=np.int64), Poses(chi + turns, rotation, shift))


def _drawn(kind: Ligands, count: int, spread: tuple[float, float, float]) -> Candidates:
    """Poses about the one that a ligand is in, which is the first; what hangs on something keeps its link."""
    rng, k = np.random.default_rng(_SEED), len(kind.axes)
    rotation, shift, torsion = spread
    if kind.hangs:
        rotation, shift = min(rotation, kind.expected[0]), min(shift, kind.expected[1])
    poses = Poses(
        rng.normal(0.0, np.degrees(torsion), (count, k)), rng.normal(0.0, rotation, (count, 3)),
        rng.normal(0.0, shift, (count, 3)),
    )  # fmt: skip
    for values in poses:
        values[0] = 0.0
    return Candidates(kind, np.zeros(count, dtype=np.int64), poses)


def _fitted(scores: Scores, xyz: Float, tried: list[Candidates], wanted: list[float]) -> list[list[Trial]]:
    """Of each ligand the best poses fitted to the data nearby, where they come to more than is wanted."""
    if not tried:
        return []
    values = [one.after for one in foreseen(scores, xyz, tried)]
    tried = [one.taken(np.sort(np.argsort(-value)[:_BEST])) for one, value in zip(tried, values)]
    found: dict[int, list[Trial]] = {one.of.residues[0].number: [] for one in tried}
    for one, places_, value in fitted(scores, xyz, tried, [np.full(len(c), want) for c, want in zip(tried, wanted)]):
        number = one.of.residues[0].number
        found[number] = [Trial(one.of, 0, one.poses.taken([k]), places_[k], float(value[k])) for k in range(len(one))]
    return [
        [trial for trial in found[one.of.residues[0].number] if trial.gain > want] for one, want in zip(tried, wanted)
    ]


def _rms(one: Float, two: Float) -> float:
    """How far atoms (m, 3) are from each other, Å."""
    return float(np.sqrt(((one - two) ** 2).sum(axis=1).mean()))


def _in_the_way(problem: Problem, atoms: Atoms, rows: Int) -> tuple[str, ...]:
    """Waters where a ligand is, by themselves or as symmetry mates."""
    pairs = _beside(problem, atoms.xyz, rows, _IN_THE_WAY)
    near = np.unique(np.append(pairs.i, pairs.j))
    waters = near[(atoms.is_water & ~atoms.is_hydrogen)[near]]
    return tuple(atoms.identity.label(k).rpartition("/")[0] for k in waters.tolist())


def told(placed: tuple[Placed, ...]) -> str:
    """What to say of ligands that were moved."""
    names = listed([f"{one.residue} by {one.distance:.1f} Å (+{one.gain:.0f})" for one in placed])
    said = f"{counted(len(placed), 'ligand')} moved as rigid fragments, rms, for the gain in log p: {names}"
    waters = list(dict.fromkeys(water for one in placed for water in one.waters))
    return said + (f"; waters in the way: {listed(waters)}" if waters else "")
