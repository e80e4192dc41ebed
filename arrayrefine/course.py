"""The course of a refinement, from atoms to states, steps and maps; shared by processes where there are several."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from arrayrefine.atoms import Atoms
from arrayrefine.kernels.processes import release, together, told
from arrayrefine.macrocycle import run_cycles, start_path
from arrayrefine.maps import MapCoefficients
from arrayrefine.mask_search import search_mask
from arrayrefine.problem import Problem
from arrayrefine.real_space.model_maps import maps_of
from arrayrefine.refinement_step import Path
from arrayrefine.report import Step
from arrayrefine.state import State, evaluate
from arrayrefine.steering.callbacks import Listeners
from arrayrefine.steering.known_phases import with_known_phases
from arrayrefine.steering.rigid_body import left_alone, move_groups
from arrayrefine.twins.evidence import twin_evidence
from arrayrefine.twins.other_indexing import other_indexing
from arrayrefine.wording import Caution


class Course(NamedTuple):
    """What a refinement came to: the problem, the states at start and end, steps, why it ended, what the search of the
    mask found, what was decided on the way, and, once it has ended, maps and where the path stands."""

    problem: Problem
    first: State
    state: State
    steps: tuple[Step, ...]
    stopped: str
    found: tuple[str, ...]
    answers: tuple[str, ...]
    maps: MapCoefficients | None = None
    path: Path | None = None


Work = Callable[[Problem, list[Course]], Course]
"""Refines; what several processes do together, of which the first alone has listeners. Notes what is reached."""


def run_course(problem: Problem, atoms: Atoms, listeners: Listeners) -> Course:
    """Refine from `atoms`."""
    return _shared(problem, partial(_from_start, atoms, listeners), listeners)


def go_on(
    course: Course, problem: Problem, first: Atoms, atoms: Atoms, news: str, listeners: Listeners
) -> Course:
    """Refine on from where a course has ended, with other atoms.

    Parameters
    ----------
    course : Course
        That has ended.
    problem : Problem
        Of the new atoms.
    first, atoms : Atoms
        Where the new ones were at the start of the course, and where they are.
    news : str
        What has changed, to be said with the next step.
    listeners : Listeners

    Returns
    -------
    Course
        With the steps of both; the one given, and the reason, where the end was asked for before a step was done.
    """
    began = course._replace(first=dataclasses.replace(course.first, atoms=first))
    return _shared(problem, partial(_from_end, began, course, atoms, news, listeners), listeners)


def _shared(problem: Problem, work: Work, listeners: Listeners) -> Course:
    """Do the work with as many processes as the problem asks for."""
    reached: list[Course] = []
    try:
        return together(
            partial(work, problem, reached), problem.processes, partial(_alone, problem, work, listeners, reached)
        )
    finally:
        release()


def _interrupted(listeners: Listeners) -> bool:
    return told(listeners.interrupted)


def _hearing(before: Course, listeners: Listeners, reached: list[Course]) -> Callable[[Step, State], None]:
    """What hears of each step after those of a course."""

    def heard(step: Step, state: State) -> None:
        steps = (*(reached[-1].steps if reached else before.steps), step)
        reached[:] = [before._replace(
            state=state, steps=steps, stopped="interrupted: the best model so far was kept", answers=()
        )]
        told(lambda: listeners.step(step, _apart(state)))

    return heard


def _from_start(atoms: Atoms, listeners: Listeners, problem: Problem, reached: list[Course]) -> Course:
    interrupted = partial(_interrupted, listeners)
    found: tuple[str, ...] = ()
    first = evaluate(problem, atoms, absorb_b=False)
    problem, of_phases = with_known_phases(problem, first)
    if of_phases:
        first = evaluate(problem, atoms, absorb_b=False)
    sentence = other_indexing(problem.reflections, first.f_calc, first.statistics.r_work)
    laws = () if problem.twin is None else problem.twin.laws
    told_of_mates = [] if problem.options.twin == ("none",) else twin_evidence(problem.reflections, first.f_model, laws)
    for said in (*of_phases, *([sentence] if sentence else []), *told_of_mates):
        found = (*found, said)
        told(partial(listeners.say, said))
    if problem.options.solvent.search:
        problem, chosen = search_mask(problem, first)
        first = evaluate(problem, atoms, absorb_b=False)
        found = (*found, chosen)
        told(partial(listeners.say, chosen))
    heard = _hearing(Course(problem, first, first, (), "", found, ()), listeners, reached)
    path = start_path(problem, first)
    moves: tuple[Step, ...] = ()
    still: list[str] = []
    unmoved = first
    if not interrupted() and problem.options.cycles:
        unmoved = evaluate(problem, atoms, before=first)
        state, moved = move_groups(problem, unmoved, interrupted)
        path = dataclasses.replace(path, state=state)
        if moved:
            moves = (moved,)
            heard(moved, state)
        else:
            still = left_alone(problem, unmoved.atoms)
    problem, path, steps, stopped, answers = run_cycles(problem, path, interrupted, heard)
    # On the way, mask and scale are kept where the model hardly moved: what is reported is what others will find.
    # Where no step came to anything, B do not take their part of the scale either.
    as_given = path.state is first or path.state is unmoved
    state = first if as_given else evaluate(problem, problem.copies.alike(path.state.atoms), absorb_b=False)
    answers = (*(move.note for move in moves), *still, *answers)
    return Course(
        problem, first, state, moves + steps, stopped, found, answers, maps_of(problem, state), path
    )


def _from_end(
    began: Course, course: Course, atoms: Atoms, news: str, listeners: Listeners, problem: Problem,
    reached: list[Course],
) -> Course:  # fmt: skip
    assert course.path is not None
    before = course.path
    start = evaluate(problem, atoms)
    path = dataclasses.replace(
        start_path(problem, start), steering=before.steering, refined=before.refined, adp=before.adp, news=news
    )
    done = max((step.cycle for step in course.steps), default=0)
    heard = _hearing(began._replace(problem=problem), listeners, reached)
    problem, path, steps, stopped, answers = run_cycles(problem, path, partial(_interrupted, listeners), heard, done)
    if path.state is start:
        return course._replace(stopped=stopped)
    state = evaluate(problem, problem.copies.alike(path.state.atoms), absorb_b=False)
    answers = (*course.answers, *answers)
    return Course(
        problem, began.first, state, course.steps + steps, stopped, course.found, answers, maps_of(problem, state),
        path,
    )  # fmt: skip


def _apart(state: State) -> State:
    """A state for a listener, who may evaluate what is in it without changing what the refinement keeps."""
    own = dataclasses.replace(state.xray, structure_factors=state.xray.structure_factors.forgetful())
    return dataclasses.replace(state, xray=own)


def _alone(problem: Problem, work: Work, listeners: Listeners, reached: list[Course], reason: str) -> Course:
    """Refine from the start, after the processes that shared the work were lost; not if the end has been asked for."""
    if reached and listeners.interrupted():
        end = reached[-1]
        state = evaluate(problem, end.state.atoms, absorb_b=False)
        found = (*end.found, Caution(f"{reason}: this is the end of the last step"))
        return end._replace(state=state, found=found, maps=maps_of(problem, state))
    sentence = Caution(
        f"{reason}: the refinement began again with one, with the same result to rounding. Where memory is short, use "
        "--threads 1"
    )
    listeners.say(sentence)
    geometry = problem.geometry
    if geometry.contacts is not None:
        geometry = dataclasses.replace(geometry, contacts=geometry.contacts.forgetful())
    course = work(dataclasses.replace(problem, geometry=geometry, _plans={}), [])
    return course._replace(found=(sentence, *course.found))
