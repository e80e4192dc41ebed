"""Map coefficients of an evaluated model."""

from __future__ import annotations

import numpy as np

from arrayrefine.maps import MapCoefficients, map_coefficients
from arrayrefine.reflections import positions
from arrayrefine.state import Problem, State
from arrayrefine.structure_factors import StructureFactors


def maps_of(problem: Problem, state: State, *, filled: bool = True) -> MapCoefficients:
    """Map coefficients of all reflections to d_min, measured or not.

    Parameters
    ----------
    problem : Problem
    state : State
        Of a model and these data, see `evaluate`.
    filled : bool
        False: the measured reflections only, which is all that a difference map is made of.
    """
    data = problem.reflections
    crystal = data.crystal
    missing = data.possible[positions(data.possible, data.hkl) < 0] if filled else data.hkl[:0]
    hkl = np.concatenate([data.hkl, missing])
    f_model = state.f_model
    if len(missing):
        options = problem.options
        f_calc = StructureFactors(
            crystal, missing, state.atoms, method=options.xray.method, accuracy=options.xray.accuracy,
            precision=options.xray.precision, threads=options.threads,
        )(state.atoms)  # fmt: skip
        f_mask = problem.solvent(state.atoms, missing)
        f_model = np.concatenate([f_model, state.scale.apply(f_calc, f_mask, missing)])
    gap = np.full(len(missing), np.nan)
    return map_coefficients(
        hkl,
        np.concatenate([data.f_obs, gap]),
        np.concatenate([data.sigma, gap]),
        np.concatenate([data.free, np.zeros(len(missing), dtype=bool)]),
        f_model,
        np.concatenate([state.sigma_a.fom(data, state.f_model, state.outliers.variance_factor), gap]),
        state.sigma_a.d(crystal.inverse_d_squared(hkl)),
        crystal.centric(hkl),
        np.concatenate([state.outliers.left_out, np.zeros(len(missing), dtype=bool)]),
    )
