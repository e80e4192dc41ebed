"""The path of a refinement: cycles of steps, what is asked of the data between them, and when to stop."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from arrayrefine.displacements import tensors
from arrayrefine.displacements.tls import NUMBERS
from arrayrefine.displacements.tls_groups import AUTO_REFLECTIONS, SEGMENTED
from arrayrefine.displacements.tls_segments import segmented
from arrayrefine.errors import InputError
from arrayrefine.hydrogens.turning import turn_hydrogens
from arrayrefine.parameters import KINDS
from arrayrefine.problem import Problem
from arrayrefine.rebuilding.nqh_flips import with_flipped_ends
from arrayrefine.rebuilding.peptide_flips import with_flipped_peptides
from arrayrefine.rebuilding.rotamers import with_better_rotamers
from arrayrefine.refinement_step import Moved, Path, run_step
from arrayrefine.report import Step
from arrayrefine.state import State, evaluate
from arrayrefine.steering import incomplete
from arrayrefine.steering.convergence import KEPT, foreseen, settled
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


def run_cycles(
    problem: Problem, path: Path, stop: Callable[[], bool], on_step: Callable[[Step, State], None], done: int = 0
) -> Ended:
    """All macro-cycles, numbered on from those that are `done`. `on_step` hears of each step and state."""
    steps: list[Step] = []
    notes: list[str] = []
    options = problem.options
    trials = options.weights == "search" and bool(problem.reflections.free.any())
    asked: tuple[Problem, Path, list[str]] | None = None  # as they were before the model became another kind

    def ended(reason: str) -> Ended:
        if problem.undecided is not None and steps and not reason.startswith(_INTERRUPTED):
            notes.append(tensors.never(path.state))
        given = dataclasses.replace(problem, options=options) if trials else problem
        return Ended(given, path, tuple(steps), reason, tuple(notes))

    if tensors.fits_at_once(problem, path.state):
        asked = problem, path, [*notes]
        when = f"from cycle {done + 1} on" if done else "from the start"
        problem, path, news = _with_tensors(problem, path, when)
        notes.append(news)
    as_given = asked or (problem, path, [*notes])
    looks = True  # for side chains and peptides in a wrong place, as long as some are found
    given_up = 0  # cycles that do not count
    for cycle in range(1, options.cycles + 1):
        unturned: tuple[Path, list[str]] | None = None  # path and notes, where side chains turned after them
        count = cycle - given_up
        if count > 1 and looks and not stop():
            known_path, known_notes = path, [*notes]
            path, said = _with_better_places(problem, path, done + cycle)
            notes += said
            looks = bool(said)
            unturned = (known_path, known_notes) if looks else None
        if count > 1 + (_SEARCH_AFTER if trials else 0) and not stop() and (reason := _foreseen(problem, path)):
            return ended(f"converged: {reason}")
        path = _turned(problem, path)
        began, before = path, path.state
        if trials and count == _SEARCH_AFTER + 1 and not stop():
            problem = search.loosened(problem)
            path, made = _searched(problem, path, done + cycle, stop)
            for step in made:
                on_step(step, path.state)
        else:
            path, made = _run_cycle(problem, path, done + cycle, stop, on_step)
        steps += made
        if stop():
            # A model that no step has refined as what it has become is not kept.
            if path.state is before and (asked is not None or cycle == 1):
                problem, path, notes = asked or as_given
            elif path.state is before:
                path, notes = unturned or (path, notes)
            return ended(f"{_INTERRUPTED}: the best model so far was kept")
        first, asked = asked, None
        new_tensors = first is not None and first[0].undecided is not problem.undecided
        if cycle == 1 < options.cycles and incomplete.is_incomplete(problem, before, path.state):
            notes.append(incomplete.sentence(before, path.state))
            problem, asked, given_up = incomplete.held(problem), first, 1
            path = dataclasses.replace(began, news="; ".join(filter(None, (began.news, incomplete.NEWS))))
            continue
        if first is not None and new_tensors and path.state is before:
            problem, path, notes = _without_tensors(*first)
            path, looks = _segmented(problem, path) if count == _MOTION_AFTER + 1 else path, True
            continue
        if count >= _MOTION_AFTER and cycle < options.cycles:
            known = problem, path, [*notes]
            if tensors.fits(problem, path.state):
                problem, path, news = _with_tensors(problem, path, f"from cycle {done + cycle + 1} on")
                notes.append(news)
            elif count == _MOTION_AFTER:
                path = _segmented(problem, path)
            if path.news:
                asked = known
                continue
        if trials and count <= _SEARCH_AFTER:
            continue
        if made and not any(step.free_parameters for step in made):
            scaled = any(step.target == "scale" for step in made)
            if not scaled or cycle < options.cycles:
                return ended(_NOTHING_FREE[scaled])
        if options.minimiser.early_stop and path.state is before:
            path, notes = unturned or (path, notes)
            return ended(f"stopped: no step of cycle {done + cycle} made the model better")
        if options.minimiser.early_stop and (reason := settled(problem, before, path.state, made)):
            if reason == KEPT and first is not None and new_tensors:
                problem, path, notes = _without_tensors(*first)
            elif reason == KEPT:
                path, notes = unturned or (dataclasses.replace(path, state=before), notes)
            return ended(f"converged: cycle {done + cycle} {reason}")
    return ended(_DONE.get(options.cycles, f"all {options.cycles} cycles done"))


def _run_cycle(
    problem: Problem, path: Path, cycle: int, stop: Callable[[], bool], on_step: Callable[[Step, State], None]
) -> tuple[Path, list[Step]]:
    """The steps of one macro-cycle, as far as `stop` lets them be taken."""
    steps: list[Step] = []
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


def _with_better_places(problem: Problem, path: Path, cycle: int) -> tuple[Path, list[str]]:
    """The path with peptides and side chains where the data want them, and what to say of those that turned, if any."""
    state, flipped = with_flipped_peptides(problem, path.state)
    state, turned = with_better_rotamers(problem, state)
    state, ends = with_flipped_ends(problem, state)
    news = []
    for found, what, why in (
        (flipped, "peptide", "turned round, for the gain in log p and torsions, by the residue of O"),
        (turned, "side chain", "turned to another rotamer, for the gain in log p"),
        (ends, "end", "of Asn, Gln or His turned by half, for the gain in hydrogen bonds, contacts and log p"),
    ):
        if found:
            names = listed([f"{residue} (+{gain:.0f})" for residue, gain in found])
            news.append(f"{counted(len(found), what)} {why}: {names}")
    if not news:
        return path, []
    said = "; ".join(filter(None, (path.news, *news)))
    path = dataclasses.replace(path, state=state, news=said, moved=Moved(turned, flipped, ends))
    return path, [f"before cycle {cycle}, {one}" for one in news]


def _with_tensors(problem: Problem, path: Path, when: str) -> tuple[Problem, Path, str]:
    """Problem and path with anisotropic atoms, where that was left open, and what to say of it."""
    problem, state, news = tensors.given_tensors(problem, path.state, when)
    said = "; ".join(filter(None, (path.news, news)))
    freed = dataclasses.replace(path, state=state, last=None, refined=False, adp=None, news=said, freed=True)
    return problem, freed, news


def _without_tensors(problem: Problem, path: Path, notes: list[str]) -> tuple[Problem, Path, list[str]]:
    """What was before atoms became anisotropic, for good."""
    return dataclasses.replace(problem, undecided=None), path, [*notes, tensors.REFUSED]


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
