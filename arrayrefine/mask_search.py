"""Choice of the solvent mask's probe and shrink distances, for one model, by R-work."""

from __future__ import annotations

import dataclasses
import itertools

from arrayrefine.problem import Problem
from arrayrefine.solvent import MaskShape, solvent_structure_factors
from arrayrefine.state import State
from arrayrefine.twins.fit import scale_of

_STEPS = (-0.2, 0.0, 0.2, 0.4)
"""Å; tried on either distance."""


def search_mask(problem: Problem, state: State) -> tuple[Problem, str]:
    """Try probe and shrink distances around those of the options, and keep the pair with the lowest R-work.

    Parameters
    ----------
    problem : Problem
    state : State
        Of the model that the masks are drawn for. Scales are fitted afresh, as its own was and the chosen one will be.

    Returns
    -------
    problem : Problem
        With the distances that were chosen among its options.
    note : str
        What was chosen.
    """
    options, data = problem.options, problem.reflections
    twin = None if state.twin is None else state.twin.twin
    around = MaskShape.of(options.solvent)
    if around.empty:
        return problem, "there is no bulk solvent, so no mask to search (--solvent.model none)"
    tried = {(around.probe, around.shrink): state.scale.r_work}
    for by_probe, by_shrink in itertools.product(_STEPS, _STEPS):
        probe, shrink = (round(max(0.0, x), 3) for x in (around.probe + by_probe, around.shrink + by_shrink))
        if (probe, shrink) in tried:
            continue
        shape = dataclasses.replace(around, probe=probe, shrink=shrink)
        f_mask = solvent_structure_factors(state.atoms, data.crystal, data.hkl, data.d_min, shape)
        tried[probe, shrink] = scale_of(data, twin, state.f_calc, f_mask, None).r_work
    probe, shrink = min(tried, key=lambda pair: tried[pair])
    solvent = dataclasses.replace(options.solvent, probe=probe, shrink=shrink)
    note = (
        f"solvent mask: of {len(tried)} pairs of distances, probe {probe:.1f} Å and shrink {shrink:.1f} Å give the "
        f"lowest R-work, {tried[probe, shrink]:.4f} (with {around.probe:.1f} and {around.shrink:.1f} Å "
        f"{tried[around.probe, around.shrink]:.4f})"
    )
    return dataclasses.replace(problem, options=dataclasses.replace(options, solvent=solvent)), note
