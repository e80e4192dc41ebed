"""The weight of the restraints on displacements, from how much refined displacements differ.

The restraints say that neighbours' displacements differ little: exp(−w E) is their probability before the data are
seen, and how little is w. After a refinement the differences themselves tell it. Of N displacements the data determine
γ = Σ λ / (λ + w μ) (λ and μ the curvatures of the X-ray term and of E along the axes that they share), and the most
probable w is the one with 2 w E = γ (MacKay (1992) Neural Comput. 4, 415-447): noise that weak restraints let in makes
neighbours differ, but raises E no further than w falls.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.options import Weighting
from arrayrefine.parameters import Parameters
from arrayrefine.preconditioner import displacement_curvature, symmetric_factor
from arrayrefine.targets.adp import AdpTarget
from arrayrefine.targets.adp_curvature import strain_matrix

_PROBES = 8
"""Random vectors for the trace: with 1000 displacements γ is good to 1 %."""
_ENOUGH = 1.05
"""The weight has been found when it changes by less than this factor."""
_ROUNDS = 6


class Evidence(NamedTuple):
    """Weight that the displacements ask for, and the share of them that the data determine with it."""

    weight: float
    determined: float


def evidence(
    target: AdpTarget, atoms: Atoms, parameters: Parameters, curvature: Gradient, options: Weighting, seed: int = 0
) -> Evidence | None:
    """Weight of the restraints at refined displacements.

    Parameters
    ----------
    target : AdpTarget
    atoms : Atoms
        Refined with these restraints, at whatever weight.
    parameters : Parameters
        Only its free displacements, and the restraints that act on them, are looked at.
    curvature : Gradient
        Of the X-ray term.
    options : Weighting
        `evidence_adp` is used; `adp_prior` and `clamp` say where the weight may lie.
    seed : int
        Of the random vectors.

    Returns
    -------
    Evidence or None
        None where nothing that is free is restrained, or nothing differs.
    """
    scalar, tensor = np.flatnonzero(parameters.b), np.flatnonzero(parameters.u)
    value, _ = target.on(parameters.b | parameters.u)(atoms)
    if not len(scalar) + len(tensor) or not value > 0.0:
        return None
    by_data = displacement_curvature(parameters, curvature)
    data, matrix = by_data.matrix(), strain_matrix(target, atoms, scalar, tensor)
    # A root on either side keeps every term of the trace between 0 and 1, and its noise small where curvatures differ.
    probes = by_data.root() @ np.random.default_rng(seed).choice([-1.0, 1.0], (data.shape[0], _PROBES))
    weight = options.adp_prior
    low, high = weight / options.clamp, weight * options.clamp
    for _ in range(_ROUNDS):
        solved = symmetric_factor(data + weight * matrix).solve(probes)
        determined = float(np.einsum("nk,nk->", probes, solved)) / _PROBES
        before, weight = weight, min(max(options.evidence_adp * determined / (2.0 * value), low), high)
        if abs(math.log(weight / before)) < math.log(_ENOUGH):
            break
    return Evidence(weight, determined / data.shape[0])
