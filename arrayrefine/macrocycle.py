"""The path of a refinement: cycles of steps, what is asked of the data between them, and when to stop."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple, TypeGuard

from arrayrefine.displacements import tensors
from arrayrefine.displacements.tls import NUMBERS
from arrayrefine.displacements.tls_groups import AUTO_REFLECTIONS, SEGMENTED
from arrayrefine.displacements.tls_segments import segmented
from arrayrefine.errors import InputError
from arrayrefine.hydrogens.turning import turn_hydrogens
from arrayrefine.parameters import KINDS
from arrayrefine.problem import Problem
from arrayrefine.rebuilding.better_ligands import told, with_better_ligands
from arrayrefine.rebuilding.nqh_flips import whose, with_flipped_ends
from arrayrefine.rebuilding.peptide_flips import with_flipped_peptides
from arrayrefine.rebuilding.rotamers import with_better_rotamers
from arrayrefine.refinement_step import Moved, Path, run_step
from arrayrefine.report import Step
from arrayrefine.state import State, evaluate
from arrayrefine.steering import incomplete
from arrayrefine.steering.convergence import KEPT, foreseen, settled
from arrayrefine.strict_ncs.keeping import kept_alike
from arrayrefine.weighting import search
from arrayrefine.weighting.schemes import stale_weights
from arrayrefine.weights import Steering
from arrayrefine.wording import counted, listed

_SEARCH_AFTER = 1
"""Cycle after which --weights search tries other weights."""
_MOTION_AFTER = 1
"""Cycle after which atoms get tensors, or the data are asked which move as bodies: B mean something by then, and more
cycles would leave the data less to say."""
_INTERRUPTED = "interrupted"
_DONE = {0: "no cycle was asked for", 1: "the one cycle done"}
"""Why a run ended that did all its cycles, where these are hardly "all"."""
_NOTHING_FREE = (
    "stopped: nothing to refine: no atom has a free value of what the steps name",
    "stopped: scale, solvent and sigma_A were refitted, and nothing else is free: another cycle would be the same",
)
"""Why a run ended whose steps have nothing free, without and with one of scale."""


def check_targets(targets: tuple[str, ...]) -> None:
    """Raise InputError unless every step names kinds of parameters, or "scale"."""
    for target in targets:
        for kind in target.split("+"):
            if kind not in KINDS and target != "scale":
                raise InputError(
                    f"--targets: '{target}' is not a step; expected scale, or one or several of {', '.join(KINDS)} "
                    "joined by '+', such as: xyz b"
                )
    if not targets:
        raise InputError("--targets: the list is empty; expected steps such as: xyz b")


def start_path(problem: Problem, state: State) -> Path:
    """Path at the start; computes the stale weights where that scheme is asked for."""
    stale = stale_weights(problem, state) if problem.options.weights == "stale" else None
    return Path(state, Steering(), stale)


class Ended(NamedTuple):
    """Where all macro-cycles ended, every step, why, and what was decided on the way.

    The problem is the one given, but for the restraints on displacements where atoms became anisotropic.
    """

    problem: Problem
    path: Path
    steps: tuple[Step, ...]
    reason: str
    notes: tuple[str, ...] = ()


class _Place(NamedTuple):
    """What the cycles came to, and may go back to."""

    problem: Problem
    path: Path
    notes: tuple[str, ...] = ()


def run_cycles(
    problem: Problem, path: Path, stop: Callable[[], bool], on_step: Callable[[Step, State], None], done: int = 0
) -> Ended:
    """All macro-cycles, numbered on from those that are `done`. `on_step` hears of each step and state."""
    cycles = _Cycles(_Place(problem, path), stop, on_step, done)
    reason = cycles.run()
    end, notes = cycles.here, cycles.here.notes
    if end.problem.undecided is not None and cycles.steps and not reason.startswith(_INTERRUPTED):
        notes += (tensors.never(end.path.state),)
    given = dataclasses.replace(end.problem, options=problem.options) if cycles.trials else end.problem
    return Ended(given, end.path, tuple(cycles.steps), reason, notes)


class _Cycles:
    """The macro-cycles under way: where they stand, and what is remembered from one to the next."""

    def __init__(
        self, start: _Place, stop: Callable[[], bool], on_step: Callable[[Step, State], None], done: int
    ) -> None:
        self.here = start
        self.steps: list[Step] = []
        self.options = start.problem.options
        self.trials = self.options.weights == "search" and bool(start.problem.reflections.free.any())
        self.stop, self.on_step, self.done = stop, on_step, done
        self.as_given = start
        self.asked: _Place | None = None  # as it was before the model became another kind
        self.unturned: _Place | None = None  # as it was before this cycle's peptides and side chains turned
        self.looks = True  # for peptides and side chains in a wrong place, as long as some are found
        self.given_up = 0  # cycles that do not count

    def run(self) -> str:
        """All cycles; why they ended."""
        if tensors.fits_at_once(self.here.problem, self.here.path.state):
            self.asked = self.here
            self.here = _with_tensors(self.here, f"from cycle {self.done + 1} on" if self.done else "from the start")
        self.as_given = self.asked or self.here
        for cycle in range(1, self.options.cycles + 1):
            if reason := self._cycle(cycle):
                return reason
        return _DONE.get(self.options.cycles, f"all {self.options.cycles} cycles done")

    def _cycle(self, cycle: int) -> str:
        """One cycle; why it was the last one, or ""."""
        count = cycle - self.given_up
        self._look_for_better_places(cycle, count)
        compared = count > 1 + (_SEARCH_AFTER if self.trials else 0)
        if compared and not self.stop() and (reason := _foreseen(self.here.problem, self.here.path)):
            return f"converged: {reason}"
        began = _turned(self.here.problem, self.here.path)
        self.here = self.here._replace(path=began)
        made = self._refine(cycle, count)
        self.steps += made
        if self.stop():
            self._go_back_unless_refined(began.state, cycle)
            return f"{_INTERRUPTED}: the best model so far was kept"
        first, self.asked = self.asked, None
        if self._begins_anew(began, first, cycle) or self._becomes_another_kind(began.state, first, cycle):
            return ""
        if self.trials and count <= _SEARCH_AFTER:
            return ""
        return self._reason_to_stop(began.state, first, cycle, made)

    def _look_for_better_places(self, cycle: int, count: int) -> None:
        """Ligands are put where the data want them, and from the second cycle on peptides and side chains."""
        self.unturned = None
        if not self.looks or self.stop():
            return
        path, said = _with_better_places(self.here.problem, self.here.path, self.done + cycle, count == 1, self.steps)
        self.looks = bool(said) or count == 1
        self.unturned = self.here if said else None
        self.here = self.here._replace(path=path, notes=(*self.here.notes, *said))

    def _refine(self, cycle: int, count: int) -> list[Step]:
        """The steps of one cycle, or of the best of several with other weights."""
        problem, path, _ = self.here
        if self.trials and count == _SEARCH_AFTER + 1 and not self.stop():
            problem = search.loosened(problem)
            path, made = _searched(problem, path, self.done + cycle, self.stop)
            for step in made:
                self.on_step(step, path.state)
        else:
            path, made = _run_cycle(problem, path, self.done + cycle, self.stop, self.on_step)
        self.here = self.here._replace(problem=problem, path=path)
        return made

    def _go_back_unless_refined(self, before: State, cycle: int) -> None:
        """A model that no step has refined as what it has become is not kept."""
        if self.here.path.state is not before:
            return
        if self.asked is not None or cycle == 1:
            self.here = self.asked or self.as_given
        else:
            self._turn_back()

    def _turn_back(self) -> None:
        """Peptides and side chains as they were before this cycle, where any turned."""
        if self.unturned is not None:
            self.here = self.here._replace(path=self.unturned.path, notes=self.unturned.notes)

    def _begins_anew(self, began: Path, first: _Place | None, cycle: int) -> bool:
        """Whether the first cycle showed that much of the crystal is missing, and does not count."""
        problem, path, notes = self.here
        if not (cycle == 1 < self.options.cycles and incomplete.is_incomplete(problem, began.state, path.state)):
            return False
        self.asked, self.given_up = first, 1
        news = "; ".join(filter(None, (began.news, incomplete.NEWS)))
        said = (*notes, incomplete.sentence(began.state, path.state))
        self.here = _Place(incomplete.held(problem), dataclasses.replace(began, news=news), said)
        return True

    def _becomes_another_kind(self, before: State, first: _Place | None, cycle: int) -> bool:
        """Whether the next cycle begins with tensors or TLS groups that this one had not, or without those it had."""
        count = cycle - self.given_up
        if _new_tensors(first, self.here) and self.here.path.state is before:
            self.here = _without_tensors(first)
            if count == _MOTION_AFTER + 1:
                self.here = self.here._replace(path=_segmented(self.here.problem, self.here.path))
            self.looks = True
            return True
        if count < _MOTION_AFTER or cycle == self.options.cycles:
            return False
        known = self.here
        if tensors.fits(known.problem, known.path.state):
            self.here = _with_tensors(known, f"from cycle {self.done + cycle + 1} on")
        elif count == _MOTION_AFTER:
            self.here = known._replace(path=_segmented(known.problem, known.path))
        if not self.here.path.news:
            return False
        self.asked = known
        return True

    def _reason_to_stop(self, before: State, first: _Place | None, cycle: int, made: list[Step]) -> str:
        """Why this cycle is the last one, or ""; what it made for nothing is undone."""
        if made and not any(step.free_parameters for step in made):
            scaled = any(step.target == "scale" for step in made)
            if not scaled or cycle < self.options.cycles:
                return _NOTHING_FREE[scaled]
        if not self.options.minimiser.early_stop:
            return ""
        path = self.here.path
        if path.state is before:
            self._turn_back()
            return f"stopped: no step of cycle {self.done + cycle} made the model better"
        reason = settled(self.here.problem, before, path.state, made)
        if not reason:
            return ""
        if reason == KEPT and _new_tensors(first, self.here):
            self.here = _without_tensors(first)
        elif reason == KEPT:
            self.here = self.here._replace(path=dataclasses.replace(path, state=before))
            self._turn_back()
        return f"converged: cycle {self.done + cycle} {reason}"


def _run_cycle(
    problem: Problem, path: Path, cycle: int, stop: Callable[[], bool], on_step: Callable[[Step, State], None]
) -> tuple[Path, list[Step]]:
    """The steps of one macro-cycle, as far as `stop` lets them be taken."""
    steps: list[Step] = []
    path = dataclasses.replace(path, state=kept_alike(problem, path.state))
    for target in _targets(problem, path):
        if stop():
            break
        news, moved = path.news, path.moved
        here = dataclasses.replace(path, news="", moved=Moved(), left=math.inf)
        path, step = run_step(problem, here, cycle, target, stop)
        note = "; ".join(filter(None, (news, step.note)))
        step = dataclasses.replace(step, note=note, **moved._asdict())
        steps.append(step)
        on_step(step, path.state)
    return path, steps


def _searched(problem: Problem, path: Path, cycle: int, stop: Callable[[], bool]) -> tuple[Path, list[Step]]:
    """One macro-cycle with each of several weights, of which the test set chooses one; trials cut short have no say."""
    whole: set[tuple[float, float]] = set()

    def trial(factors: tuple[float, float], own: Problem) -> tuple[Path, list[Step]]:
        start = dataclasses.replace(path, steering=search.scaled(path.steering, *factors))
        end = _run_cycle(own, start, cycle, stop, lambda step, state: None)
        if not stop():
            whole.add(factors)
        return end

    ends = search.side_by_side(problem, [partial(trial, factors) for factors in search.FACTORS])
    done = len(list(itertools.takewhile(whole.__contains__, search.FACTORS)))
    choice = search.choose(problem, [end.state for end, _ in ends[: max(done, 1)]])
    taken, steps = ends[choice.taken]
    if steps:
        tried = sum(step.evaluations for _, made in ends for step in made) - sum(step.evaluations for step in steps)
        note = f"{steps[-1].note}; {choice.sentence()} ({tried} evaluations in the other trials)"
        steps[-1] = dataclasses.replace(
            steps[-1], note=note, weights=steps[-1].weights | {"search": [*choice.rows]}
        )
    return taken, steps


def _turned(problem: Problem, path: Path) -> Path:
    """The path with the hydrogens that turn where contacts and data want them."""
    state = path.state
    atoms = turn_hydrogens(
        problem.hydrogens, state.atoms, problem.restraints.non_bonded, problem.reflections.crystal, state.xray
    )
    if atoms is state.atoms:
        return path
    return dataclasses.replace(path, state=evaluate(problem, atoms, before=state, refit=False))


def _to_and_fro(steps: Sequence[Step], kind: Literal["side_chains", "nqh_flips"]) -> frozenset[str]:
    """Residues that turned twice, there and back: the data and what they meet say either, and another time decides
    nothing. Two ends of one ligand that turn at once are one time."""
    times = Counter(residue for step in steps for residue in {residue for residue, _ in getattr(step, kind)})
    return frozenset(residue for residue, count in times.items() if count > 1)


def _with_better_places(
    problem: Problem, path: Path, cycle: int, first: bool, steps: Sequence[Step]
) -> tuple[Path, list[str]]:
    """The path with ligands, peptides and side chains where the data want them, and what to say of those that moved."""
    state, placed = with_better_ligands(problem, path.state, far=not first)
    flipped, turned, ends = Moved()[:3]
    if not first:
        state, flipped = with_flipped_peptides(problem, state)
        state, turned = with_better_rotamers(problem, state, _to_and_fro(steps, "side_chains"))
        state, ends = with_flipped_ends(problem, state, _to_and_fro(steps, "nqh_flips"))
    news = []
    if placed:
        news.append(told(placed))
    for found, what, why in (
        (flipped, "peptide", "turned round, for the gain in log p and torsions, by the residue of O"),
        (turned, "side chain", "turned to another rotamer, for the gain in log p"),
        (ends, "end", f"of {whose(ends)} turned by half, for the gain in hydrogen bonds, contacts and log p"),
    ):
        if found:
            names = listed([f"{residue} (+{gain:.0f})" for residue, gain in found])
            news.append(f"{counted(len(found), what)} {why}: {names}")
    if not news:
        return path, []
    said = "; ".join(filter(None, (path.news, *news)))
    path = dataclasses.replace(path, state=state, news=said, moved=Moved(turned, flipped, ends, placed))
    return path, [f"before cycle {cycle}, {one}" for one in news]


def _with_tensors(here: _Place, when: str) -> _Place:
    """Problem and path with anisotropic atoms, where that was left open, and what to say of it."""
    problem, state, news = tensors.given_tensors(here.problem, here.path.state, when)
    said = "; ".join(filter(None, (here.path.news, news)))
    freed = dataclasses.replace(here.path, state=state, last=None, refined=False, adp=None, news=said, freed=True)
    return _Place(problem, freed, (*here.notes, news))


def _new_tensors(first: _Place | None, here: _Place) -> TypeGuard[_Place]:
    """Whether what was before the model became another kind had no tensors, and what is here has."""
    return first is not None and first.problem.undecided is not here.problem.undecided


def _without_tensors(first: _Place) -> _Place:
    """What was before atoms became anisotropic, for good."""
    return _Place(dataclasses.replace(first.problem, undecided=None), first.path, (*first.notes, tensors.REFUSED))


def _segmented(problem: Problem, path: Path) -> Path:
    """The path with the TLS groups that the data ask for, where the options leave that to them."""
    state = path.state
    if problem.options.tls not in SEGMENTED or not len(state.atoms.tls):
        return path
    refined = any("tls" in target.split("+") for target in _targets(problem, path))
    if not refined or not problem.parameters(state.atoms, "tls").tls.all():  # frozen groups stay as they are
        return path
    most = int(state.xray.work.sum() / (AUTO_REFLECTIONS * NUMBERS))
    _, gradient = state.xray(state.atoms)
    atoms, news = segmented(state.atoms, gradient, state.xray.curvature(state.atoms), most)
    if not news:
        return path
    return dataclasses.replace(path, state=evaluate(problem, atoms, before=state), news=news)


def _foreseen(problem: Problem, path: Path) -> str:
    """Why no other cycle need begin, or "": only where it would be like the last step, and nothing happened since."""
    targets = _targets(problem, path)
    if not problem.options.minimiser.early_stop or path.news or len(targets) > 1 or math.isinf(path.left):
        return ""
    return foreseen(path.state, path.left, problem.parameters(path.state.atoms, *targets).size)


def _targets(problem: Problem, path: Path) -> tuple[str, ...]:
    """Steps of a cycle: B goes with TLS unless a step of its own does, occupancies only where there are groups."""
    targets, groups = problem.options.targets, problem.occupancy
    if len(path.state.atoms.tls) and not any("tls" in target.split("+") for target in targets):
        targets = tuple("+".join("tls+b" if k == "b" else k for k in target.split("+")) for target in targets)
    if groups is not None and not len(groups) and targets != ("occupancy",):
        targets = tuple(target for target in targets if target != "occupancy")
    return targets
