"""The main job: a model and data in, a better model and an account of it out."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine import coordinate_uncertainty
from arrayrefine.atoms import Atoms
from arrayrefine.course import Course, run_course
from arrayrefine.device.choice import memory_errors_named
from arrayrefine.device.density import Gridded
from arrayrefine.device.memory import Budget
from arrayrefine.displacements import tls_motion
from arrayrefine.further_restraints.tables import TableSource, as_tables
from arrayrefine.hydrogens.placing import output_atoms
from arrayrefine.io.files import IN_MEMORY
from arrayrefine.io.in_memory import DataSource, ModelSource, is_path, label_of
from arrayrefine.io.models.reading import Model
from arrayrefine.io.output.ncs_operators import with_operators
from arrayrefine.io.output.refinement_items import last_weights
from arrayrefine.kernels.blas import one_blas_thread_throughout
from arrayrefine.maps import MapCoefficients
from arrayrefine.measurements import free_uncertainty
from arrayrefine.options import Options
from arrayrefine.preparation import prepare
from arrayrefine.problem import Problem
from arrayrefine.real_space import absorbers, unbuilt, unseen
from arrayrefine.real_space.map_grids import wanted_maps
from arrayrefine.real_space.peaks import Peak
from arrayrefine.rebuilding.water_rounds import water_rounds
from arrayrefine.rendezvous import Evaluated, Place
from arrayrefine.report import Report, Step
from arrayrefine.reporting import outcome, phase_agreement, summaries, verdicts
from arrayrefine.reporting.ncs_pairs import ncs_pairs
from arrayrefine.result import Result
from arrayrefine.state import State
from arrayrefine.steering.callbacks import Listeners
from arrayrefine.strict_ncs import account
from arrayrefine.targets.extra import ExtraTarget
from arrayrefine.topology import twisted_peptides
from arrayrefine.topology.unmodelled import bare
from arrayrefine.topology.unplaced import check_placed
from arrayrefine.twins import choice as twin_choice
from arrayrefine.twins.other_indexing import other_indexing


def _named(files: Iterable[Path]) -> list[dict[str, str]]:
    """Paths and hashes of input files."""
    return [{"path": str(path), "sha256": sha256(path.read_bytes()).hexdigest()} for path in files]


def _tables(options: Options, given: Sequence[TableSource]) -> dict[str, list[dict[str, str]]]:
    """Tables of restraints for the report; no entry where there are none."""
    every = _named(options.restraint_tables)
    for table in as_tables(given):
        every += _named([Path(table)]) if is_path(table) else [{"path": label_of(table), "sha256": IN_MEMORY}]
    return {"restraint_tables": every} if every else {}


def _inputs(
    source: Model, model: ModelSource, data: DataSource, problem: Problem, tables: Sequence[TableSource]
) -> dict[str, Any]:
    """All that was read, for the report."""
    options = problem.options
    return {
        "model": {"path": label_of(model), "sha256": source.sha256},
        "data": {"path": label_of(data), **problem.reflections.source},
        "restraints": _named(options.restraints),
        **_tables(options, tables),
        **({"reference": _named([options.reference])} if options.reference is not None else {}),
    }


def _memory(problem: Problem, atoms: Atoms) -> Budget | None:
    """What the refinement will take on a device; None where it is not reckoned."""
    how = problem.structure_factors(problem.hydrogens.place(atoms)).how if problem.device.kind == "cuda" else None
    if not isinstance(how, Gridded):
        return None
    # Atoms that are round so far may not stay so.
    tensor = how.tensor | atoms.anisotropic | (atoms.tls.group >= 0)
    if problem.undecided is not None:
        tensor |= problem.undecided
    return problem.budget(dataclasses.replace(how, tensor=tensor))


def _judgement(
    course: Course, maps: MapCoefficients, looked: bool, told: Sequence[Peak], own_targets: bool
) -> list[str]:
    """What the end of a refinement is to be told of: limits, doubts, and what is left in the maps.

    `looked` says whether waters were looked for, `told` which peaks were told at those added, `own_targets` whether
    there are some of the user's: beside them no waters can be added.
    """
    problem, first, state, steps = course.problem, course.first, course.state, course.steps
    said = [*course.answers, *state.scale.notes, *state.sigma_a.notes, *state.outliers.sentence(problem.reflections)]
    said += [*outcome.limits(problem, state), *outcome.chosen_weights(problem, steps)]
    doubts = [*outcome.hindsight(problem, state, steps), *verdicts.worse_than_start(problem, first, state)]
    said += doubts or outcome.known_test_set(problem, first, state)
    said += verdicts.out_of_band(problem, first, state, steps)
    said += [*verdicts.contradicted(problem, state), *verdicts.hands(problem, first, state)]
    said += twisted_peptides.at_end(problem.restraints.torsions, state.atoms)
    reindexed = other_indexing(problem.reflections, first.f_calc, first.statistics.r_work)
    misplaced = outcome.not_placed(problem, first, state, steps, bare(state.atoms), reindexed)
    said += misplaced or ([] if doubts else outcome.wide_gap(problem, state, steps))
    said += twin_choice.at_end(state.twin.twin) if state.twin is not None else []
    said += [] if own_targets else outcome.waterless(problem, state)
    said += absorbers.sentences(problem, state, maps)
    if not misplaced:
        said += [*unseen.sentences(problem, state, maps), *unbuilt.sentences(problem, state, maps, looked, told)]
    return said


def refine(
    model: ModelSource,
    data: DataSource,
    options: Options | None = None,
    *,
    extra: ExtraTarget | Sequence[ExtraTarget] = (),
    restraint_tables: Sequence[TableSource] = (),
    on_step: Callable[[Step], object] | None = None,
    on_state: Callable[[Step, State], object] | None = None,
    on_message: Callable[[str], object] | None = None,
    stop: Callable[[], int | None] | None = None,
) -> Result:
    """Refine a model against measured reflections.

    Parameters
    ----------
    model : path, gemmi.Structure, gemmi.cif.Document or Model
        PDB or mmCIF, .gz too; or what was made of one.
    data : path, gemmi.Mtz, pandas.DataFrame, reciprocalspaceship.DataSet or Reflections
        MTZ or sf-mmCIF; or a table in memory, see `read_reflections`.
    options : Options, optional
    extra : ExtraTarget or sequence of them
        Further terms of the objective: any callables on atoms, each with a weight.
    restraint_tables : sequence of paths, pandas.DataFrame or lists of mappings
        Further restraints, beside those that the options name; see `with_tables`.
    on_step : callable, optional
        Called with the `Step` that is on record, whenever a step has ended.
    on_state : callable, optional
        Called after it with the `Step` and the `State` at its end: atoms (added hydrogens included), statistics,
        structure factors. Where waters are added or left out, their number changes on the way.
    on_message : callable, optional
        Called with every note (what was fixed up, skipped, assumed).

        Any of the three ends the run with the best model so far by returning True or raising `StopRefinement`; other
        values mean nothing, and other exceptions are passed on to the caller.
    stop : callable, optional
        Polled before every evaluation; anything but None, or StopRefinement raised, ends the run with the best model so
        far.

    Returns
    -------
    Result

    Raises
    ------
    InputError, MonomerError, DeviceError
        The input cannot be used as given; the message says what to do.
    """
    # Threads share the blocks of a kernel; a BLAS that starts its own inside each would only get in their way.
    with one_blas_thread_throughout():
        return run(
            model, data, options or Options(), on_step, on_message, stop, None, on_state, extra, restraint_tables
        )


def _uncertainty(course: Course) -> tuple[NDArray[np.float64] | None, dict[str, Any]]:
    """Standard uncertainties (N, 3) of the coordinates, Å, and their entry in the report, where they are asked for."""
    problem, state = course.problem, course.state
    if not problem.options.uncertainties:
        return None, {}
    weight = last_weights(step.weights for step in course.steps)["geometry"]
    found = coordinate_uncertainty.standard_uncertainties(problem, state, weight, problem.options.seed)
    return found, {"coordinate_uncertainty": coordinate_uncertainty.describe(state.atoms, found)}


@memory_errors_named()
def run(
    model: ModelSource,
    data: DataSource,
    options: Options,
    on_step: Callable[[Step], object] | None = None,
    on_message: Callable[[str], object] | None = None,
    stop: Callable[[], int | None] | None = None,
    meet: Callable[[Evaluated], Place] | None = None,
    on_state: Callable[[Step, State], object] | None = None,
    extra: ExtraTarget | Sequence[ExtraTarget] = (),
    restraint_tables: Sequence[TableSource] = (),
) -> Result:
    """The work of `refine`; `meet` gives a minimisation its place among those of other runs, see `Rendezvous.join`."""
    began = time.perf_counter()
    listeners = Listeners(on_step, on_state, on_message, stop)
    source, problem, atoms, notes = prepare(model, data, options, extra=extra, restraint_tables=restraint_tables)
    problem = dataclasses.replace(problem, meet=meet)
    say = listeners.say
    memory = _memory(problem, atoms)
    if problem.device.kind == "cuda":
        notes += [f"computes on {problem.device}", *([memory.sentence()] if memory else [])]
    flags = problem.reflections.flags
    notes += [flags.note] if flags is not None and flags.note else []
    for note in notes:
        say(note)
    check_placed(problem, atoms, label_of(model))
    course = run_course(problem, atoms, listeners)
    source, course, rounds, said, looked, told = water_rounds(source, course, listeners, restraint_tables)
    problem, first, state, steps, maps = course.problem, course.first, course.state, course.steps, course.maps
    assert maps is not None
    notes += [*course.found, *said]
    refined = tls_motion.settled(state.atoms)
    motion = tls_motion.describe(refined)
    own_targets = summaries.extra_targets(problem, first, state)
    late = summaries.external_classes(problem, first, state)
    late += [*summaries.extra_sentences(own_targets), *_judgement(course, maps, looked, told, bool(extra))]
    uncertainty, uncertain = _uncertainty(course)
    if uncertain:
        late.append(coordinate_uncertainty.sentence(uncertain["coordinate_uncertainty"]))
    phases = phase_agreement.describe(problem, first, state)
    late += phase_agreement.sentences(phases)
    late += free_uncertainty.sentences(problem.reflections, state.statistics)
    late += tls_motion.sentences(motion)
    described = summaries.data(problem, first, state)
    late += account.sentences(described.get("strict_ncs", ()))
    for note in late:
        say(note)
    notes += late
    report = Report(
        inputs=_inputs(source, model, data, problem, restraint_tables),
        options=dataclasses.asdict(options),
        start=first.statistics,
        final=state.statistics,
        steps=steps,
        warnings=tuple(dict.fromkeys(notes)),
        seconds=time.perf_counter() - began,
        data=described | {"n_riding": len(state.atoms.riding.child)} | phases | uncertain,
        scaling=summaries.scaling(problem, state),
        shells=summaries.shells(problem, state),
        restraints=summaries.restraint_classes(problem, state),
        tls=motion,
        occupancies=summaries.occupancies(problem, first.atoms, state),
        ncs=ncs_pairs(problem.geometry.external, state.atoms),
        device=str(problem.device),
        mode=problem.device.mode(options) | ({"memory": memory.as_dict()} if memory else {}),
        stopped=listeners.reason(course.stopped),
        extra=own_targets,
        maps=wanted_maps(options.maps, maps),
        waters=rounds,
    )
    written, output = output_atoms(source, problem.hydrogens, refined, options.write_hydrogens)
    written = with_operators(written, problem.copies.names, problem.copies.motions(refined))
    if uncertainty is not None and len(output) < len(refined):
        uncertainty = uncertainty[problem.hydrogens.own]
    return Result(
        written, output, problem.reflections, state.amplitude, maps, report, refined, problem.restraints,
        uncertainty,
    )  # fmt: skip
