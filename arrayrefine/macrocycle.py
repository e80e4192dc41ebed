"""The path of a refinement: steps, their guard, and when to stop."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from arrayrefine import extra_weights, preconditioner, search, shape_evidence, weights
from arrayrefine.convergence import KEPT, settled
from arrayrefine.device_batch import Share
from arrayrefine.device_objective import Member
from arrayrefine.errors import InputError
from arrayrefine.guard import objection
from arrayrefine.minimize import Objective, Solution, minimise
from arrayrefine.parameters import KINDS, Parameters
from arrayrefine.rendezvous import Evaluated
from arrayrefine.report import Step
from arrayrefine.state import Problem, State, evaluate
from arrayrefine.targets.adp_curvature import strain_matrix
from arrayrefine.tls import NUMBERS
from arrayrefine.tls_groups import AUTO_REFLECTIONS, SEGMENTED
from arrayrefine.tls_motion import sensible
from arrayrefine.tls_segments import segmented
from arrayrefine.turning import turn_hydrogens
from arrayrefine.weights import Steering, Weights

_RETRIES = 2
_SAID_B = 0.05
"""Å²; a smaller common shift of B is not worth a note."""
_TIGHTEN = 3.0
_SEARCH_AFTER = 1
"""Cycle after which --weights search tries other weights."""
_MOTION_AFTER = 1
"""Cycle after which the data are asked which atoms move as bodies, or each for itself: B mean something by then, and
more cycles would leave the data less to say."""
_STEERED = ("robust", "search")
"""Schemes whose weights follow the geometry, and that try a refused step again."""
_STEERINGS = 2
"""Times that a step may steer its weight and go on."""
_DONE = {0: "no cycle was asked for", 1: "the one cycle done"}
"""Why a run ended that did all its cycles, where these are hardly "all"."""


@dataclass(frozen=True)
class Path:
    """Where a refinement stands between two steps.

    Attributes
    ----------
    state : State
    steering : Steering
    stale : Weights or None
        The weights that the scheme 'stale' computed at the start.
    last : Weights or None
        Those of the last minimisation.
    news : str
        What happened since the last step, to be said with the next.
    """

    state: State
    steering: Steering
    stale: Weights | None = None
    last: Weights | None = None
    news: str = ""


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


def find_weights(
    problem: Problem,
    state: State,
    parameters: Parameters,
    steering: Steering | None = None,
    stale: Weights | None = None,
    last: Weights | None = None,
) -> Weights:
    """Weights of the chosen scheme for one freeze state.

    Parameters
    ----------
    problem : Problem
        Its options choose the scheme.
    state : State
    parameters : Parameters
        The freeze state; the weights are valid for no other.
    steering : Steering, optional
        What earlier steps learned.
    stale : Weights, optional
        For the scheme 'stale': the weights that were computed once, at the start.
    last : Weights, optional
        Of an earlier minimisation in the same refinement; see `weights.robust_weights`.
    """
    found = _of_scheme(problem, state, parameters, steering, stale, last)
    if not problem.extra:
        return found
    options = problem.options
    return extra_weights.with_extra(
        found, problem.extra, state.atoms, parameters, state.xray, options.weighting, options.seed
    )


def _of_scheme(
    problem: Problem, state: State, parameters: Parameters, steering: Steering | None, stale: Weights | None,
    last: Weights | None,
) -> Weights:  # fmt: skip
    """Weights of geometry and ADP terms."""
    options = problem.options
    targets = (state.xray, problem.geometry.of_dictionary, problem.adp)
    d_min = problem.reflections.d_min
    if options.weights == "stale":
        return (stale or stale_weights(problem, state)).rebound(parameters)
    if options.weights == "literal":
        return weights.literal_weights(state.atoms, parameters, *targets)
    if options.weights == "fixed":
        return weights.fixed_weights(parameters, d_min=d_min, options=options.weighting)
    return weights.robust_weights(
        state.atoms, parameters, *targets, d_min=d_min, options=options.weighting, steering=steering or Steering(),
        seed=options.seed, clamp=options.xray.target == "ml", metal=problem.restraints.non_bonded.metal,
        threads=options.threads, curvature=state.xray.curvature(state.atoms), last=last,
    )  # fmt: skip


def stale_weights(problem: Problem, state: State) -> Weights:
    """Literal weights with coordinates and B both free, to be used for every later step."""
    everything = problem.parameters(state.atoms, "xyz+b")
    found = weights.literal_weights(state.atoms, everything, state.xray, problem.geometry.of_dictionary, problem.adp)
    return dataclasses.replace(found, explanation=found.explanation | {"scheme": "stale"})


def minimise_step(
    problem: Problem, state: State, parameters: Parameters, found: Weights, stop: Callable[[], bool] = lambda: False
) -> Solution:
    """One minimisation of the free parameters with given weights; scale and sigma_A are those of `state`.

    Raises
    ------
    StaleWeightsError
        The weights were computed for another freeze state.
    """
    # Steering mends the geometry; a jelly body that it stiffened would keep it as it is.
    share = weights.geometry_prior(problem.reflections.d_min) / found.geometry if found.geometry else 1.0
    problem = dataclasses.replace(problem, geometry=problem.geometry.anchored(state.atoms, share))
    objective = _objective(problem, state, parameters, found)
    jacobian = adp_matrix = None
    if problem.options.minimiser.precondition:
        jacobian = problem.geometry.jacobian(state.atoms) if found.geometry is not None else None
        if found.adp is not None:
            free = np.flatnonzero(parameters.b), np.flatnonzero(parameters.u)
            adp_matrix = strain_matrix(problem.adp, state.atoms, *free)
    change = preconditioner.build(
        parameters, state.xray.curvature(state.atoms), jacobian=jacobian, geometry=found.geometry or 0.0,
        adp_matrix=adp_matrix, adp=found.adp or 0.0,
    )  # fmt: skip
    if problem.meet is None:
        solution = minimise(objective, change, problem.options.minimiser, stop)
    else:
        with problem.meet(objective) as place:
            solution = minimise(place, change, problem.options.minimiser, stop)
    if isinstance(objective, Share):
        problem.counts["launches"] = objective.launches
    return solution


def _objective(problem: Problem, state: State, parameters: Parameters, found: Weights) -> Evaluated:
    """The objective where the problem computes: on the device or with NumPy.

    Where there are extra targets, the host makes the atoms, for them and for what the device computes.
    """
    if problem.device.kind == "cpu" or problem.extra:
        return Objective(
            parameters, found, state.xray, problem.geometry, problem.adp, problem.options.threads, problem.extra,
            problem.timer,
        )  # fmt: skip
    return Share(problem, Member(parameters, found, state.xray))


def _other_weights(steering: Steering, parameters: Parameters, factor: float) -> Steering:
    return Steering(
        steering.geometry * (factor if parameters.xyz.any() else 1.0),
        steering.adp * (factor if parameters.displaced.any() else 1.0),
    )


def _remedy(path: Path, after: Solution) -> float:
    """Factor on the restraint weights for another try at a refused step.

    Where the step lowered the objective but made the data less likely, the restraints pulled too hard; where the data
    became more likely and the model worse all the same, they held too little.
    """
    return 1.0 / _TIGHTEN if path.state.xray(after.atoms)[0] > path.state.xray(path.state.atoms)[0] else _TIGHTEN


def run_step(problem: Problem, path: Path, cycle: int, target: str, stop: Callable[[], bool]) -> tuple[Path, Step]:
    """Refine what `target` names, guard the result, and describe it."""
    began = time.perf_counter()
    problem.timer.clear()
    problem.counts.clear()
    if target == "scale":
        path = dataclasses.replace(path, state=evaluate(problem, path.state.atoms))
        return path, _record(problem, path, cycle, target, 0, {}, 0, began, "scale, solvent and sigma_A refitted")
    guarded = problem.options.weights in (*_STEERED, "fixed")
    parameters = problem.parameters(path.state.atoms, target)
    if parameters.size == 0:
        note = "nothing to refine: no atom has such a free value"
        return path, _record(problem, path, cycle, target, 0, {}, 0, began, note)
    notes: list[str] = []
    trial, evaluations, gain = path, 0, 0.0
    retries = _RETRIES if problem.options.weights in _STEERED else 0
    for attempt in range(retries + 1):
        reached = _refine_in_band(problem, trial, path.state, parameters, stop, steer=attempt == 0)
        candidate, found = reached.path, reached.weights
        evaluations += reached.evaluations
        objected = objection(problem, path.state, candidate.state, found) if guarded else ""
        if not objected:
            path, gain = candidate, reached.gain
            notes.insert(0, reached.reason)
            if abs(path.state.b_shift) > _SAID_B:
                notes.append(f"all B moved by {path.state.b_shift:+.2f} Å², out of the scale")
            break
        if stop() or attempt == retries:
            notes.append(f"{objected}: rolled back, the model of the step before is kept")
            break
        factor = _remedy(path, reached.solution)
        notes.append(f"{objected}: rolled back, tried again with restraint weight x {factor:.2g}")
        trial = dataclasses.replace(trial, steering=_other_weights(candidate.steering, parameters, factor))
    return path, _record(
        problem, path, cycle, target, parameters.size, found.as_dict(), evaluations, began, "; ".join(notes),
        gain,
    )  # fmt: skip


class _Reached(NamedTuple):
    """The path after a step, the last weights and solution, why it ended, evaluations, and gain."""

    path: Path
    weights: Weights
    solution: Solution
    reason: str
    evaluations: int
    gain: float


def _refine_in_band(
    problem: Problem, path: Path, start: State, parameters: Parameters, stop: Callable[[], bool], steer: bool
) -> _Reached:
    """Minimise from `start`; where the RMSZ ends outside its band, steer the weight and go on from there.

    A retry, whose weight was changed on purpose, does not `steer` it back. The motion of TLS groups that have none yet
    waits until the first minimisation has done the rough work: with it every atom is anisotropic, and costs twice as
    much.
    """
    notes: list[str] = []
    evaluations, gain = 0, 0.0
    state, steering, last = start, path.steering, path.last
    follows = steer and problem.options.weights in _STEERED and bool(parameters.xyz.any())
    for attempt in range(_STEERINGS + 1):
        here = parameters.at(state.atoms)
        waits = follows and _is_new(parameters, state)
        if waits:
            here = dataclasses.replace(here, tls=np.zeros_like(here.tls))
        found = last = find_weights(problem, state, here, steering, path.stale, last)
        solution = minimise_step(problem, state, here, found, stop)
        evaluations += solution.evaluations
        gain += solution.start_value - solution.value
        atoms = sensible(solution.atoms) if parameters.sizes.tls else solution.atoms
        state = evaluate(problem, atoms, before=state)
        notes.append(solution.reason)
        if not follows:
            break
        bond, angle = state.core_rmsz
        factor = weights.steer(bond, angle, steering.geometry, problem.options.weighting)
        if (factor == steering.geometry and not waits) or stop():
            break
        further = "gone on" if attempt < _STEERINGS else "from the next step on"
        if factor != steering.geometry:
            notes.append(
                f"bond RMSZ {bond or 0:.2f}, angle RMSZ {angle or 0:.2f} outside the band: geometry weight x "
                f"{factor / steering.geometry:.2f}, {further}"
            )
        if waits:
            notes.append("TLS from here on")
        steering = dataclasses.replace(steering, geometry=factor)
    ended = dataclasses.replace(path, state=state, steering=steering, last=last)
    return _Reached(ended, found, solution, "; ".join(notes), evaluations, gain)


def _is_new(parameters: Parameters, state: State) -> bool:
    """Whether the motion of all TLS groups is to be refined for the first time."""
    return bool(parameters.sizes.tls) and not state.atoms.tls.values.any()


def _record(
    problem: Problem, path: Path, cycle: int, target: str, free: int, found: dict[str, object], evaluations: int,
    began: float, note: str, gain: float = 0.0,
) -> Step:  # fmt: skip
    now = path.state.statistics
    values = {term.name: term(path.state.atoms)[0] for term in problem.extra}
    found = found | ({"extra_values": values} if values else {})
    return Step(
        cycle=cycle, target=target, free_parameters=free, weights={"geometry": None, "adp": None} | found,
        r_work=now.r_work, r_free=now.r_free, bond_rmsz=now.bond_rmsz, angle_rmsz=now.angle_rmsz,
        evaluations=evaluations, seconds=time.perf_counter() - began, note=note, timings=dict(problem.timer),
        launches=problem.counts.get("launches"), nll_work=path.state.nll_work, nll_free=path.state.nll_free,
        gain=gain,
    )  # fmt: skip


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
    problem: Problem, path: Path, stop: Callable[[], bool], on_step: Callable[[Step, State], None]
) -> Ended:
    """All macro-cycles. `on_step` hears of each step and state."""
    steps: list[Step] = []
    notes: list[str] = []
    options = problem.options
    trials = options.weights == "search" and bool(problem.reflections.free.any())
    asked: tuple[Problem, Path] | None = None

    def ended(reason: str) -> Ended:
        given = dataclasses.replace(problem, options=options) if trials else problem
        return Ended(given, path, tuple(steps), reason, tuple(notes))

    for cycle in range(1, options.cycles + 1):
        path = _turned(problem, path)
        before = path.state
        if trials and cycle == _SEARCH_AFTER + 1 and not stop():
            problem = search.loosened(problem)
            path, made = _searched(problem, path, cycle, stop)
            for step in made:
                on_step(step, path.state)
        else:
            path, made = _run_cycle(problem, path, cycle, stop, on_step)
        steps += made
        if stop():
            if asked is not None and not made:  # a model that no step has refined as what it has become
                problem, path, notes = asked[0], asked[1], []
            return ended("interrupted: the best model so far was kept")
        asked = None
        if cycle == _MOTION_AFTER < options.cycles:
            asked = problem, path
            problem, path, answer = _shaped(problem, path)
            if answer:
                notes.append(answer)
            path = path if path.news else _segmented(problem, path)
            if path.news:
                continue
        if trials and cycle <= _SEARCH_AFTER:
            continue
        if options.minimiser.early_stop and path.state is before:
            return ended(f"stopped: no step of cycle {cycle} made the model better")
        if options.minimiser.early_stop and (reason := settled(problem, before, path.state, made)):
            if reason == KEPT:
                path = dataclasses.replace(path, state=before)
            return ended(f"converged: cycle {cycle} {reason}")
    return ended(_DONE.get(options.cycles, f"all {options.cycles} cycles done"))


def _run_cycle(
    problem: Problem, path: Path, cycle: int, stop: Callable[[], bool], on_step: Callable[[Step, State], None]
) -> tuple[Path, list[Step]]:
    """The steps of one macro-cycle, as far as `stop` lets them be taken."""
    steps: list[Step] = []
    for target in _targets(problem, path):
        if stop():
            break
        news = path.news
        path, step = run_step(problem, dataclasses.replace(path, news=""), cycle, target, stop)
        step = dataclasses.replace(step, note="; ".join(filter(None, (news, step.note))))
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


def _shaped(problem: Problem, path: Path) -> tuple[Problem, Path, str]:
    """Problem and path with anisotropic atoms, where that is left to the data and these ask for it; and the answer."""
    problem, state, answer = shape_evidence.decided(problem, path.state)
    if state is path.state:
        return problem, path, answer
    return problem, dataclasses.replace(path, state=state, last=None, news=answer), answer


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


def _targets(problem: Problem, path: Path) -> tuple[str, ...]:
    """Steps of a cycle: B goes with TLS unless a step of its own does, occupancies only where there are groups."""
    targets, groups = problem.options.targets, problem.occupancy
    if len(path.state.atoms.tls) and not any("tls" in target.split("+") for target in targets):
        targets = tuple("+".join("tls+b" if k == "b" else k for k in target.split("+")) for target in targets)
    if groups is not None and not len(groups) and targets != ("occupancy",):
        targets = tuple(target for target in targets if target != "occupancy")
    return targets
