"""Phases that are known beside the model, at its origin, and believed as far as data and model bear them out."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from arrayrefine.measurements.phase_origins import at_origin_of
from arrayrefine.measurements.phases import KnownPhases, agreement
from arrayrefine.problem import Problem
from arrayrefine.state import State
from arrayrefine.wording import Caution

Float = NDArray[np.float64]

_WHOLE = 0.9
"""Scale of the coefficients from which on phases are believed as they are."""
_DOUBTFUL = 0.5
"""And below which they are warned of."""
_CHANCE = 4.0
"""Standard deviations of a mean cosine within which it may be chance."""
_TOO_GOOD = 0.5
"""What phases may be nearer to those of a model than σ_A has the crystal's: the share of 1 less the mean cosine."""


def with_known_phases(problem: Problem, first: State) -> tuple[Problem, tuple[str, ...]]:
    """The problem with its phases at the origin of the model, and with coefficients of the most likely scale.

    Density modification, and errors that are alike in all phases, make them surer of themselves than they are right.
    The probability of the amplitudes, given the model and the phases, tells it: of a scale of all coefficients from 0
    to 1 the one is taken that makes it the largest. It knows by σ_A how far the model's own phases may be off.

    Parameters
    ----------
    problem : Problem
    first : State
        Of the model at the start.

    Returns
    -------
    problem : Problem
        The same object where no phases are known.
    notes : tuple of str

    Raises
    ------
    InputError
        Phases and model have nothing to do with each other.
    """
    data = problem.reflections
    if data.phases is None:
        return problem, ()
    fom = first.sigma_a.fom(data, first.f_model, first.outliers.variance_factor)
    phases, notes = at_origin_of(data.phases, first.f_model, data.crystal, data.hkl, fom)
    notes = (*notes, *_of_this_model(phases, first, fom))
    scale = most_likely_scale(phases, first)
    if scale < _WHOLE:
        phases = phases.scaled(scale)
        said = (
            f"phases of {','.join(phases.columns)} are surer of themselves than data and model bear out: their "
            f"coefficients count {scale:.2f} times"
        )
        more = "; see whether they are of this crystal, and whether R-free is lower without them"
        notes = (*notes, Caution(said + more) if scale < _DOUBTFUL else said)
    return dataclasses.replace(problem, reflections=dataclasses.replace(data, phases=phases)), notes


def _of_this_model(phases: KnownPhases, state: State, fom: Float) -> tuple[str, ...]:
    """A warning where phases agree with those of a model better than the true ones can, which are off by what its
    figures of merit (R,) say: then they have its errors."""
    data = state.xray.reflections
    found, weight = agreement(phases, state.f_model, data.centric), np.abs(phases.expected(data.centric))
    of_truth = float((weight * fom).sum() / weight.sum())
    cosine, by_chance = found["cosine"], found["by_chance"]
    if 1.0 - cosine >= _TOO_GOOD * (1.0 - of_truth) or cosine - of_truth < _CHANCE * by_chance:
        return ()
    return (Caution(
        f"phases of {','.join(phases.columns)} agree with those of the model (mean cosine {cosine:.2f}) better than "
        f"those of the crystal can by σ_A ({of_truth:.2f}): they were made with this model or one like it, and are no "
        "evidence for it, or it was refined with them"
    ),)


def most_likely_scale(phases: KnownPhases, state: State) -> float:
    """Scale of the coefficients, 0 to 1, with which the amplitudes are the most probable by a state's model."""
    data = state.xray.reflections
    d = state.sigma_a.d(data.s_squared)  # the target's own depends on the phases as they were before

    def unlikely(scale: float) -> float:
        known = dataclasses.replace(data, phases=phases.scaled(scale))
        return float(dataclasses.replace(state.xray, reflections=known, d=d).values(state.f_calc).mean())

    return float(minimize_scalar(unlikely, bounds=(0.0, 1.0), method="bounded", options={"xatol": 0.01}).x)
