"""Map coefficients of an evaluated model."""

from __future__ import annotations

import dataclasses

import numpy as np

from arrayrefine.arguments import check_types
from arrayrefine.maps import MapCoefficients, anomalous_coefficients, map_coefficients
from arrayrefine.problem import Problem
from arrayrefine.reflections import positions
from arrayrefine.state import State


def maps_of(problem: Problem, state: State, *, filled: bool = True) -> MapCoefficients:
    """Map coefficients of all reflections to d_min, measured or not; of anomalous differences where there are any.

    Parameters
    ----------
    problem : Problem
    state : State
        Of a model and these data, see `evaluate`. Of a twin the maps are those of its first domain.
    filled : bool
        False: the measured reflections only, which is all that a difference map is made of.

    Returns
    -------
    MapCoefficients
        The reflections of the problem first, in their order.
    """
    check_types("maps_of", problem=(problem, Problem), state=(state, State))
    data = problem.reflections
    crystal = data.crystal
    measured = data.measured if filled else data
    aside = np.arange(len(measured)) >= len(data)
    missing = data.possible[positions(data.possible, measured.hkl) < 0] if filled else data.hkl[:0]
    hkl = np.concatenate([measured.hkl, missing])
    f_model = state.f_model
    others = hkl[len(data) :]
    if len(others):
        f_calc = problem.structure_factors_of(state.atoms, others)
        f_mask = problem.solvent(state.atoms, others)
        f_model = np.concatenate([f_model, state.scale.apply(f_calc, f_mask, others)])
    gap, nowhere = np.full(len(missing), np.nan), np.zeros(len(missing), dtype=bool)
    variance_factor = np.ones(len(measured))
    variance_factor[~aside] = state.outliers.variance_factor
    left_out = aside.copy()
    left_out[~aside] = state.outliers.left_out
    f_obs, best = measured.f_obs, None
    if measured.phases is None:
        fom = state.sigma_a.fom(measured, f_model[: len(measured)], variance_factor)
    else:
        merit = state.sigma_a.merit(measured, f_model[: len(measured)], variance_factor)
        fom, best = np.abs(merit), np.concatenate([np.exp(1j * np.angle(merit)), np.ones(len(missing))])
    if state.twin is not None:
        f_obs, fom = f_obs.copy(), fom.copy()
        f_obs[~aside], fom[~aside] = state.twin.detwinned.amplitude, state.twin.detwinned.fom
    maps = map_coefficients(
        hkl,
        np.concatenate([f_obs, gap]),
        np.concatenate([measured.sigma, gap]),
        np.concatenate([measured.free, nowhere]),
        f_model,
        np.concatenate([fom, gap]),
        state.sigma_a.d(crystal.inverse_d_squared(hkl)),
        crystal.centric(hkl),
        np.concatenate([left_out, nowhere]),
        best,
    )
    pairs = data.anomalous if filled and state.twin is None else None
    phased = maps if best is None else dataclasses.replace(maps, fc=best)  # m is of the best phases
    return dataclasses.replace(
        maps,
        f_obs=np.concatenate([measured.f_obs, gap]),
        anomalous=None if pairs is None else anomalous_coefficients(phased, pairs.hkl, pairs.difference, pairs.weight),
    )
