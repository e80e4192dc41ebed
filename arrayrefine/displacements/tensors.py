"""When atoms of a model that starts isotropic get anisotropic displacements of their own.

At the start, or where data are few after the first cycle, at whatever resolution. Few reflections could not tell six
numbers for each atom, but they need not: that neighbours are alike in shape, and move alike along the line between
them, leaves little more free than TLS groups do, whose limits nobody has to draw.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.displacements.anisotropy import candidates
from arrayrefine.displacements.tls import Tls
from arrayrefine.further_restraints.choice import calls
from arrayrefine.problem import Problem
from arrayrefine.state import State
from arrayrefine.wording import counted

Mask = NDArray[np.bool_]

FITS = 0.35
"""R-work above which shapes would rather stand for what the model lacks, or where it is wrong."""

REFUSED = "no atom became anisotropic, as the first steps with tensors did not make the model better"


def undecided(problem: Problem, atoms: Atoms) -> Mask | None:
    """Atoms (N,) that become anisotropic once the model is near its data.

    None where that is decided: by an option or by the model. Atoms whose displacement is not refined stay as they are,
    as do all where the user froze a group, or where neighbours are not compared.
    """
    options, free = problem.options, problem.parameters(atoms, "tls+b")
    if options.anisotropic != "auto" or options.tls not in (("auto",), ("none",)) or free.u.any():
        return None
    if "b" not in options.kinds or not free.tls.all() or not options.cycles or options.adp != "kl":
        return None
    if options.weights == "stale":  # they were computed for atoms as they are
        return None
    chosen = candidates(atoms, problem.reflections.d_min) & free.b & ~atoms.anisotropic
    return chosen if chosen.any() else None


def fits(problem: Problem, state: State) -> bool:
    """Whether there are undecided atoms, and the model is near enough to its data to decide."""
    return problem.undecided is not None and state.statistics.r_work <= FITS


def fits_at_once(problem: Problem, state: State) -> bool:
    """Whether that is so before anything is refined, with data that need no help from other restraints."""
    if not fits(problem, state):
        return False
    data = problem.reflections
    return not calls(data.d_min, int(data.work.sum()), state.atoms, problem.options.external)


def never(state: State) -> str:
    """What to say of atoms that remained undecided."""
    r_work = state.statistics.r_work
    far = f"the model is far from the data: R-work {r_work:.2f}"
    return f"no atom became anisotropic, as {far if r_work > FITS else 'there was no further cycle for it'}"


def given_tensors(problem: Problem, state: State, when: str) -> tuple[Problem, State, str]:
    """Problem and state in which the undecided atoms are anisotropic, and what to say about it: `when` that was.

    TLS groups end: what they did to their atoms is where these start from. The model is the same.
    """
    assert problem.undecided is not None
    chosen = problem.undecided | (state.atoms.tls.group >= 0)
    anisotropic = state.atoms.anisotropic | chosen
    atoms = dataclasses.replace(state.atoms, anisotropic=anisotropic, tls=Tls.none(len(chosen)))
    adp = problem.adp.with_tensors(atoms, problem.options.geometry)
    problem = dataclasses.replace(problem, adp=adp, undecided=None, _on_device=[])
    groups = len(state.atoms.tls)
    ended = f"; {counted(groups, 'TLS group')} {'ends' if groups == 1 else 'end'}" if groups else ""
    news = (
        f"{counted(int(chosen.sum()), 'atom')} anisotropic {when}, their tensors restrained to be those of bodies that "
        f"are rigid nearby{ended}"
    )
    return problem, dataclasses.replace(state, atoms=atoms), news
