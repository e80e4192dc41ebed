"""One step of a refinement: weights, minimisation, steering of the geometry, and the guard of the result."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from arrayrefine import preconditioner, weights
from arrayrefine.arguments import check_types
from arrayrefine.device.batch import Share
from arrayrefine.device.objective import Member
from arrayrefine.displacements.tls_motion import in_reach, sensible
from arrayrefine.kernels.blas import one_blas_thread
from arrayrefine.kernels.processes import size
from arrayrefine.kernels.work_memory import give_back
from arrayrefine.minimize import INTERRUPTED, Objective, Solution, minimise
from arrayrefine.occupancies.overlapping import with_overlaps
from arrayrefine.parameters import Parameters
from arrayrefine.preconditioner import ChangeOfVariable
from arrayrefine.problem import Problem
from arrayrefine.rendezvous import Evaluated
from arrayrefine.report import Step
from arrayrefine.state import State, evaluate, work_nll
from arrayrefine.steering.foresight import foreseen_gain
from arrayrefine.steering.guard import objection, strains
from arrayrefine.steering.nearness import nearness
from arrayrefine.steering.remedy import FACTOR, remedy
from arrayrefine.targets.geometry_curvature import normal_matrix
from arrayrefine.weighting.adp_evidence import restraints_curvature
from arrayrefine.weighting.schemes import displacements_tell, find_weights
from arrayrefine.weights import Steering, Weights
from arrayrefine.wording import counted

_RETRIES = 2
_SLIGHT = 0.002
"""A first step with anisotropic atoms that lowers R-work by less is tried with looser restraints on them, too."""
_SAID_B = 0.05
"""Å²; a smaller common shift of B is not worth a note."""
_SAID_FIRMNESS = 0.95
"""Nor is a factor on the jelly body above this."""
_STEERED = ("robust", "search")
"""Schemes whose weights follow the geometry, and that try a refused step again."""
_GUARDED = (*_STEERED, "fixed")
"""Schemes whose steps are guarded."""
_STEERINGS = 2
"""Times that a step may steer its weight and go on."""
_MENDINGS = 5
"""And times that it may where the guard would refuse its geometry: better mended there than all of it lost."""


class Moved(NamedTuple):
    """What was turned between steps, as `report.Step` has it: residues, and what was to be gained by each."""

    side_chains: tuple[tuple[str, float], ...] = ()
    peptides: tuple[tuple[str, float], ...] = ()
    nqh_flips: tuple[tuple[str, float], ...] = ()
    ligands: tuple[tuple[str, float, float, tuple[str, ...]], ...] = ()


_STILL = Moved()


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
    refined : bool
        Whether displacements of the kind that atoms have now were refined.
    news : str
        What happened since the last step, to be said with the next.
    adp : float or None
        Weight of the restraints that displacements of the kind that atoms have now were refined with last.
    moved : Moved
        What turned since the last step.
    left : float
        What another step like the last would gain; infinite where that cannot be told.
    freed : bool
        Whether atoms have become anisotropic, and no step has refined them as such yet.
    """

    state: State
    steering: Steering
    stale: Weights | None = None
    last: Weights | None = None
    refined: bool = False
    news: str = ""
    adp: float | None = None
    moved: Moved = _STILL
    left: float = math.inf
    freed: bool = False


@one_blas_thread
def minimise_step(
    problem: Problem, state: State, parameters: Parameters, found: Weights, stop: Callable[[], bool] = lambda: False
) -> Solution:
    """One minimisation of the free parameters with given weights; scale and sigma_A are those of `state`.

    Raises
    ------
    StaleWeightsError
        The weights were computed for another freeze state.
    InputError
        An argument is of another type.
    """
    check_types(
        "minimise_step", problem=(problem, Problem), state=(state, State), parameters=(parameters, Parameters),
        found=(found, Weights),
    )  # fmt: skip
    return _minimised(problem, state, parameters, found, stop)[0]


def _minimised(
    problem: Problem, state: State, parameters: Parameters, found: Weights, stop: Callable[[], bool]
) -> tuple[Solution, ChangeOfVariable]:
    """What `minimise_step` returns, and the change of variable that it went by."""
    # Steering mends the geometry; a jelly body that it stiffened would keep it as it is.
    share = weights.geometry_prior(problem.reflections.d_min) / found.geometry if found.geometry else 1.0
    geometry = problem.geometry.anchored(state.atoms, share * _firmness(problem, state))
    problem = dataclasses.replace(problem, geometry=geometry)
    objective = _objective(problem, state, parameters, found)
    xyz_matrix = adp_matrix = None
    if problem.options.minimiser.precondition:
        if found.geometry is not None:
            xyz_matrix = partial(normal_matrix, problem.geometry, state.atoms, parameters.xyz, parameters.carried)
        if found.adp is not None:
            adp_matrix = partial(restraints_curvature, problem.adp, state.atoms, parameters)
            if size() > 2:
                adp_matrix()  # by all processes, which keep it; two have a task each
    give_back()  # factors are made in the place of what evaluations work with, which they make anew
    curvature = with_overlaps(state.xray.curvature(state.atoms), state.xray, state.atoms)
    change = preconditioner.build(
        parameters, curvature, xyz_matrix=xyz_matrix, geometry=found.geometry or 0.0,
        adp_matrix=adp_matrix, adp=found.adp or 0.0,
    )  # fmt: skip
    problem.adp.release()  # only a step that is refused asks for it again
    how = problem.options.minimiser, stop, nearness(state)
    if problem.meet is None:
        solution = minimise(objective, change, *how)
    else:
        with problem.meet(objective) as place:
            solution = minimise(place, change, *how)
    problem.geometry.agree()
    give_back()  # the mask of the model that comes next takes as much
    if isinstance(objective, Share):
        problem.counts["launches"] = objective.launches
    return solution, change


def _firmness(problem: Problem, state: State) -> float:
    """Factor on the weight of the jelly body in a step from `state`; 1 where there is none, or the user wants it."""
    if problem.restraints.jelly_body is None or problem.options.external.jelly_body != "auto":
        return 1.0
    return nearness(state)


def _objective(problem: Problem, state: State, parameters: Parameters, found: Weights) -> Evaluated:
    """The objective where the problem computes: on the device or with NumPy.

    Where there are extra targets or copies, the host makes the atoms, for them and for what the device computes.
    """
    if problem.device.kind == "cpu" or problem.extra or len(problem.copies):
        return Objective(
            parameters, found, state.xray, problem.geometry, problem.adp, problem.extra, problem.timer
        )
    return Share(problem, Member(parameters, found, state.xray))


def _times(one: Steering, two: Steering) -> Steering:
    return Steering(one.geometry * two.geometry, one.adp * two.adp)


def run_step(problem: Problem, path: Path, cycle: int, target: str, stop: Callable[[], bool]) -> tuple[Path, Step]:
    """Refine what `target` names, guard the result, and describe it."""
    began = time.perf_counter()
    problem.timer.clear()
    problem.counts.clear()
    if target == "scale":
        path = dataclasses.replace(path, state=evaluate(problem, path.state.atoms))
        note = "; ".join(("scale, solvent and sigma_A refitted", *_between_scale_and_atoms(problem, path.state)))
        return path, _record(problem, path, cycle, target, 0, {}, 0, began, note)
    guarded = problem.options.weights in _GUARDED
    parameters = problem.parameters(path.state.atoms, target)
    if parameters.size == 0:
        note = "nothing to refine: no atom has such a free value"
        return path, _record(problem, path, cycle, target, 0, {}, 0, began, note)
    notes: list[str] = []
    trial, evaluations, gain, changed = path, 0, 0.0, Steering()
    retries = _RETRIES if problem.options.weights in _STEERED else 0
    spare: _Reached | None = None
    for attempt in range(retries + 1):
        reached = _refine_in_band(problem, trial, parameters, stop, steer=attempt == 0)
        candidate, found = reached.path, reached.weights
        evaluations += reached.evaluations
        states = path.state, candidate.state
        objected = objection(problem, *states, found, parameters, path.adp, path.freed) if guarded else ""
        if spare is not None and (objected or not _fits_better(spare.path.state, candidate.state)):
            notes += [reached.reason, "fits no better: the one before is kept"]
            reached, candidate, found, objected = spare, spare.path, spare.weights, ""
        if reached.solution.reason == INTERRUPTED and (objected or not reached.gain > 0.0):
            notes += [reached.reason, "the model was not better yet: that of the step before is kept"]
            break
        slight = states[0].statistics.r_work - states[1].statistics.r_work < _SLIGHT
        first = guarded and path.freed and found.adp is not None and bool(parameters.displaced.any())
        if not objected and slight and first and spare is None and attempt < retries and not stop():
            spare, looser = reached, Steering(adp=1.0 / FACTOR)
            notes += [reached.reason, f"anisotropic atoms fit hardly better: tried again with {_said(looser)}"]
            trial = dataclasses.replace(trial, steering=_times(candidate.steering, looser), last=candidate.last)
            continue
        if not objected:
            path, gain = candidate, reached.gain
            notes.insert(0, reached.reason)
            notes += _between_scale_and_atoms(problem, path.state)
            break
        change = remedy(problem, path.state, candidate.state, reached.solution.atoms, found) if guarded else None
        changed = changed if change is None else _times(changed, change)
        if stop() or attempt == retries or change is None or changed == Steering():
            notes += [reached.reason, f"{objected}: rolled back, the model of the step before is kept"]
            break
        notes += [reached.reason, f"{objected}: rolled back, tried again with {_said(change)}"]
        # The factor is on what the refused step went by.
        trial = dataclasses.replace(trial, steering=_times(candidate.steering, change), last=candidate.last)
    said = "; ".join(notes)
    return path, _record(problem, path, cycle, target, parameters.size, found.as_dict(), evaluations, began, said, gain)


def _fits_better(one: State, two: State) -> bool:
    """Whether the second model fits the data better, by R-work and likelihood both."""
    start, end = work_nll(one, two)
    return two.statistics.r_work < one.statistics.r_work and end < start


def _between_scale_and_atoms(problem: Problem, state: State) -> list[str]:
    """What to say of B that came from the scale, and of anisotropy that went there."""
    out = []
    if abs(state.b_shift) > _SAID_B:
        which = "all B" if "b" in problem.options.kinds else "B in TLS groups"
        out.append(f"{which} moved by {state.b_shift:+.2f} Å², out of the scale")
    if state.shared:
        out.append(f"anisotropy that all U shared, up to {state.shared:.1f} Å² of B, went to the scale")
    return out


def _said(change: Steering) -> str:
    name, factor = ("geometry", change.geometry) if change.geometry != 1.0 else ("ADP", change.adp)
    return f"{name} weight x {factor:.2g}"


class _Reached(NamedTuple):
    """The path after a step, the last weights and solution, why it ended, evaluations, and gain."""

    path: Path
    weights: Weights
    solution: Solution
    reason: str
    evaluations: int
    gain: float


def _refine_in_band(
    problem: Problem, path: Path, parameters: Parameters, stop: Callable[[], bool], steer: bool
) -> _Reached:
    """Minimise from where the path stands; where the RMSZ ends outside its band, steer the weight and go on from there.

    A retry, whose weight was changed on purpose, does not `steer` it back. The motion of TLS groups that have none yet
    waits until the first minimisation has done the rough work: with it every atom is anisotropic, and costs twice as
    much.
    """
    notes: list[str] = []
    evaluations, gain, b_shift, shared = 0, 0.0, 0.0, 0.0
    start = path.state
    follows = steer and problem.options.weights in _STEERED and bool(parameters.xyz.any())
    for attempt in range(_MENDINGS + 1):
        waits = follows and _is_new(parameters, path.state)
        change = None  # the next one takes its place in memory
        path, free, found, solution, change, said = _minimised_anew(problem, path, parameters, waits, stop)
        notes += said
        evaluations += solution.evaluations
        gain += solution.start_value - solution.value if solution.evaluations else 0.0
        b_shift, shared = b_shift + path.state.b_shift, max(shared, path.state.shared)
        if not follows:
            break
        steered = _steered(problem, path)
        if (steered == path.steering and not waits) or stop():
            break
        goes_on = attempt < _STEERINGS or (attempt < _MENDINGS and strains(problem, start, path.state))
        if steered != path.steering:
            notes.append(_of_steering(path, steered, goes_on))
        if waits:
            notes.append("TLS from here on")
        path = dataclasses.replace(path, steering=steered)
        if not goes_on:
            break
    state = dataclasses.replace(path.state, b_shift=b_shift, shared=shared)  # of all of the step
    path = dataclasses.replace(path, state=state, left=math.inf, freed=path.freed and not path.refined)
    if change is not None and _is_over(problem, path, parameters, found) and not stop():
        path = dataclasses.replace(path, left=foreseen_gain(problem, state, free, found, change))
    return _Reached(path, found, solution, "; ".join(notes), evaluations, gain)


class _Minimisation(NamedTuple):
    """The path after it, what was free, its weights, solution and change of variable, and what to say."""

    path: Path
    free: Parameters
    weights: Weights
    solution: Solution
    change: ChangeOfVariable
    notes: list[str]


def _minimised_anew(
    problem: Problem, path: Path, parameters: Parameters, without_tls: bool, stop: Callable[[], bool]
) -> _Minimisation:
    """One minimisation with weights found for it, and scale, solvent and sigma_A refitted after it."""
    free = parameters.at(path.state.atoms)
    if without_tls:
        free = dataclasses.replace(free, tls=np.zeros_like(free.tls))
    found = find_weights(problem, path.state, free, path.steering, path.stale, path.last, path.refined)
    notes: list[str] = []
    if free.xyz.any() and (firmness := _firmness(problem, path.state)) < _SAID_FIRMNESS:
        notes.append(f"jelly body x {firmness:.2g}, as the model is far from its data")
    solution, change = _minimised(problem, path.state, free, found, stop)
    notes.append(solution.reason)
    atoms = solution.atoms
    if parameters.sizes.tls:
        atoms, lost = in_reach(atoms, path.state.atoms)
        atoms = sensible(atoms)
        if lost:
            notes.append(f"the data say nothing of the motion of {counted(lost, 'TLS group')}: as before the step")
    path = dataclasses.replace(
        path, state=evaluate(problem, atoms, before=path.state), last=found,
        refined=path.refined or bool(free.sizes.b + free.sizes.u), adp=path.adp if found.adp is None else found.adp,
    )  # fmt: skip
    return _Minimisation(path, free, found, solution, change, notes)


def _steered(problem: Problem, path: Path) -> Steering:
    """The steering that the geometry of the model asks for."""
    factor = weights.steer(*path.state.core_rmsz, path.steering.geometry, problem.options.weighting)
    return dataclasses.replace(path.steering, geometry=factor)


def _of_steering(path: Path, steered: Steering, goes_on: bool) -> str:
    """What to say of a weight that is changed for the geometry of the model."""
    bond, angle = path.state.core_rmsz
    return (
        f"bond RMSZ {bond or 0:.2f}, angle RMSZ {angle or 0:.2f} outside the band: geometry weight x "
        f"{steered.geometry / path.steering.geometry:.2f}, {'gone on' if goes_on else 'from the next step on'}"
    )


def _is_over(problem: Problem, path: Path, parameters: Parameters, found: Weights) -> bool:
    """Whether the next step would be like the one that ended where the path is, so that its end tells its gain."""
    options = problem.options
    if not (options.minimiser.early_stop and options.minimiser.precondition and options.weights in _GUARDED):
        return False
    if options.cycles == 1 or len(options.targets) > 1:
        return False
    changes = _is_new(parameters, path.state)
    if options.weights in _STEERED:
        changes |= bool(parameters.xyz.any()) and _steered(problem, path) != path.steering
        changes |= found.evidence is None and displacements_tell(options, parameters)
    return not changes


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
