"""Rounds in which ordered waters are added, or left out, and the model is refined on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.course import Course, go_on
from arrayrefine.displacements.anisotropy import is_atomic
from arrayrefine.further_restraints.tables import TableSource
from arrayrefine.io.models.reading import Model
from arrayrefine.parameters import Parameters
from arrayrefine.preparation import prepare_changed
from arrayrefine.real_space.peaks import Peak
from arrayrefine.rebuilding.model_change import Change, change_of, changed
from arrayrefine.rebuilding.waters import (
    Sites,
    find_waters,
    lone_waters,
    more_than_waters,
    place_of,
    unsupported_waters,
)
from arrayrefine.restraints import Restraints
from arrayrefine.selection import select
from arrayrefine.state import State, work_nll
from arrayrefine.steering.callbacks import Listeners
from arrayrefine.wording import Caution, are, counted, listed

_FEW = 0.03
"""Share of the waters that are there; a round that finds fewer new ones is not worth its cycles."""
_WATERS_OF = "the changes of waters in round"
_PER_WATER = 4.0
"""Coordinates and B: what log p gains by a water that stands for noise (Akaike), and must gain, all told."""
_WOBBLE = 1e-3
"""-log p per reflection by which minimisations of one model end apart: so much may a round lose that only takes out."""


class Watered(NamedTuple):
    """Model and course after all rounds, a row on each, sentences, whether waters were looked for at all, and the peaks
    of the last map that were told, at waters that were added."""

    model: Model
    course: Course
    rounds: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]
    looked: bool
    told: tuple[Peak, ...] = ()


def water_rounds(
    model: Model, course: Course, listeners: Listeners, tables: Sequence[TableSource] = ()
) -> Watered:
    """Look for waters where a refinement ended, and refine on with those that are found, a few times.

    Parameters
    ----------
    model : Model
        As prepared, with its riding hydrogens.
    course : Course
        Of its refinement.
    listeners : Listeners
        Asked before each round whether to end.
    tables : sequence
        Restraint tables in memory, as in `prepare`.
    """
    options = course.problem.options
    limits = options.ordered_solvent
    if options.waters == "keep" or not options.cycles:
        return Watered(model, course, (), (), False)
    rows: list[dict[str, Any]] = []
    notes: list[str] = []

    def say(sentence: str) -> None:
        notes.append(sentence)
        listeners.say(sentence)

    if refused := _why_not(course):
        say(refused)
        return Watered(model, course, (), tuple(notes), False)
    ended = looked = False  # there are no more to add
    few = 0  # places for waters that were not worth a round
    ours = 0  # waters at the end of the model that earlier rounds have added
    for number in range(1, limits.rounds + 2):
        if listeners.interrupted():
            break
        problem, state = course.problem, course.state
        assert course.maps is not None
        # The last time only those of the round before can be left out.
        last = number > limits.rounds or ended
        looked |= not last
        sites = Sites.none() if last else find_waters(state, course.maps, limits)
        if number == 1 and sites.avoided:
            say(_avoided(state, sites))
        if len(sites) < _FEW * int(state.atoms.is_water.sum()):
            few, sites = len(sites), Sites.none()
        gone = unsupported_waters(state, _removable(model, course, ours), limits)
        if not len(sites) and (ended or not len(gone)):
            break
        ended = not len(sites)
        change = change_of(model, state.atoms, sites.xyz, sites.b_iso, gone, _have_tensors(course))
        said = _said(state, change, sites)
        listeners.say(said)
        new_model, hydrogens, atoms = changed(model, problem.hydrogens, state.atoms, change)
        new_problem = prepare_changed(problem, new_model, hydrogens, tables)
        after = go_on(course, new_problem, change.of(course.first.atoms), atoms, said, listeners)
        if after.problem is problem:
            course = after
            say(f"{_WATERS_OF} {number} are not kept: no step has refined them")
            break
        gain, enough = _gained(state, after.state, len(sites), len(gone))
        if not enough:
            chance = "less than as many parameters do by chance"
            say(f"{_WATERS_OF} {number} are not kept: log p gained {gain:.1f} by them, {chance}")
            break
        notes.append(said)
        rows.append(_row(number, change, state, after.state, gain))
        ours += len(sites) - int((gone >= len(state.atoms) - ours).sum())
        model, course = new_model, after
    if not rows and not any(not isinstance(note, Caution) for note in notes):
        why = "there is none by which log p gains enough, or too little"
        if few:
            why = f"{counted(few, 'place')} by which log p would gain enough {are(few)} too few for a round of cycles"
        say(f"no water was added or left out: {why}")
    if odd := _hardly_waters(course, ours):
        say(_more(course.state.atoms, odd))
    return Watered(model, course, tuple(rows), tuple(notes), looked, tuple(peak for _, peak in odd))


def _gained(before: State, after: State, come: int, gone: int) -> tuple[float, bool]:
    """What log p has gained by a round, and whether that is enough for the waters that came, less those that went."""
    was, now = work_nll(before, after)
    reflections = int((before.xray.work & after.xray.work).sum())
    gain = (was - now) * reflections
    wobble = 0.0 if come else _WOBBLE * reflections
    return gain, gain >= _PER_WATER * (come - gone) - wobble


def _hardly_waters(course: Course, ours: int) -> Sequence[tuple[int, Peak]]:
    """Waters that were added, `ours` at the end, and the difference density that stays at them."""
    if not ours or course.maps is None or course.problem.reflections.radiation == "neutron":
        return []
    atoms = course.state.atoms
    return more_than_waters(course.state, course.maps, np.arange(len(atoms) - ours, len(atoms)))


def _have_tensors(course: Course) -> bool:
    """Whether waters that are added are anisotropic: as those that are there, or as all else at atomic resolution."""
    atoms = course.state.atoms
    waters = atoms.anisotropic & select(atoms, "water")
    return bool(waters.any() or (atoms.anisotropic.any() and is_atomic(course.problem.reflections.d_min)))


def _why_not(course: Course) -> str:
    """Why no water is looked for; empty where they are."""
    state, options = course.state, course.problem.options
    r_work, most = state.statistics.r_work, options.ordered_solvent.most_r_work
    if r_work > most:
        return Caution(
            f"no water was looked for, as R-work is {r_work:.3f}, above {most:g}: what the model lacks is hardly water "
            "yet (--ordered-solvent.most-r-work)"
        )
    if not (state.atoms.element == "O").any():
        return Caution("no water was looked for, as the model has no oxygen")
    return ""


def _removable(model: Model, course: Course, ours: int) -> NDArray[np.int64]:
    """Waters that may be left out: those added here and, where the options say so, those of the model that nothing
    names: no link, restraint, frozen selection or group of occupancies."""
    problem, atoms = course.problem, course.state.atoms
    rows = lone_waters(atoms)
    if problem.options.waters != "update":
        return rows[rows >= len(atoms) - ours]
    who = atoms.identity
    linked = {
        (end.chain_name, end.res_id.seqid.num, end.res_id.seqid.icode.strip())
        for link in model.structure.connections
        for end in (link.partner1, link.partner2)
    }
    named = zip(who.chain[rows].tolist(), who.sequence_number[rows].tolist(), who.insertion_code[rows].tolist())
    free = np.array([name not in linked for name in named], dtype=bool)
    frozen = Parameters.frozen_atoms(atoms, "xyz", problem.options.freeze)
    free &= ~frozen[rows] & ~problem.restraints.held[rows] & ~np.isin(rows, _restrained(problem.restraints))
    if problem.options.occupancy_groups and problem.occupancy is not None:
        free &= problem.occupancy.group[rows] < 0
    return rows[free & (atoms.occupancy[rows] > 0.0)]


def _restrained(restraints: Restraints) -> NDArray[np.int64]:
    """Atoms that restraints name, contacts aside; of waters those that a table or a metal binds."""
    r, across = restraints, restraints.across
    named = [r.bonds.index, r.angles.index, r.torsions.index, r.chiralities.index, r.planes.index]
    named += [distances.index for distances in (*r.distances, *across.distances)]
    return np.concatenate([*(index.ravel() for index in named), across.mates.source])


def _avoided(state: State, sites: Sites) -> str:
    """What to say of density that no water is put into."""
    n = len(sites.avoided)
    where = [place_of(blob, state.atoms) for blob in sites.avoided]
    return Caution(
        f"no water is put into {counted(n, 'region')} of density too large for waters: {listed(where)}. Build what is "
        "there"
    )


def _more(atoms: Atoms, odd: Sequence[tuple[int, Peak]]) -> str:
    """What to say of waters that are hardly waters."""
    where = [f"{atoms.identity.label(row)} ({peak.height:.1f} sigma at {peak.distance:.1f} Å)" for row, peak in odd]
    return Caution(
        f"difference density stays at {counted(len(odd), 'water')} that {'was' if len(odd) == 1 else 'were'} added: "
        f"{listed(where)}. Something heavier, or another thing, is there"
    )


def _said(state: State, change: Change, sites: Sites) -> str:
    """What a round is about to do."""
    parts = []
    if len(sites):
        who = change.added.identity
        first, last = (f"{who.chain[k]}/HOH {who.sequence_number[k]}" for k in (0, -1))
        span = first if len(sites) == 1 else f"{first} to {last.rsplit(' ', 1)[-1]}"
        parts.append(
            f"{counted(len(sites), 'water')} added where log p is to gain {sites.gain[-1]:.1f} to {sites.gain[0]:.0f} "
            f"by each: {span}"
        )
    if len(change.left_out):
        names = [state.atoms.identity.residue_label(i) for i in change.left_out.tolist()]
        parts.append(
            f"{counted(len(names), 'water')} left out, by which log p gains too little, or less than by one too near "
            f"to it: {listed(names)}"
        )
    return "; ".join(parts)


def _row(number: int, change: Change, before: State, after: State, gain: float) -> dict[str, Any]:
    """What the report says of a round."""
    was, now = before.statistics, after.statistics
    return {
        "round": number, "added": len(change.added), "left_out": len(change.left_out), "gain": gain,
        "r_work": [was.r_work, now.r_work], "r_free": [was.r_free, now.r_free],
    }  # fmt: skip
