"""The weight of the restraints on displacements, from how much refined displacements differ.

The restraints say that neighbours' displacements differ little: exp(−w E) is their probability before the data are
seen, and how little is w. After a refinement the differences themselves tell it. Of N displacements the data determine
γ = Σ λ / (λ + w μ) (λ and μ the curvatures of the X-ray term and of E along the axes that they share), and the most
probable w is the one with 2 w E = γ (MacKay (1992) Neural Comput. 4, 415-447): noise that weak restraints let in makes
neighbours differ, but raises E no further than w falls.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

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
_SLOPE = -1.5
"""Of the logarithm of the weight asked for over that given, by the latter's, until two are known."""


class _Curvatures(NamedTuple):
    """Of data and restraints by the free displacements, and random vectors times a root of the former."""

    data: Any
    restraints: Any
    probes: Any

    @classmethod
    def at(cls, target: AdpTarget, atoms: Atoms, parameters: Parameters, curvature: Gradient, seed: int) -> _Curvatures:
        by_data = displacement_curvature(parameters, curvature)
        matrix = strain_matrix(target, atoms, np.flatnonzero(parameters.b), np.flatnonzero(parameters.u))
        # A root on either side keeps each term of the trace between 0 and 1, its noise small where curvatures differ.
        probes = by_data.root() @ np.random.default_rng(seed).choice([-1.0, 1.0], (matrix.shape[0], _PROBES))
        return cls(by_data.matrix(), matrix, probes)

    def determined(self, weight: float) -> float:
        """γ with this weight of the restraints."""
        solved = symmetric_factor(self.data + weight * self.restraints).solve(self.probes)
        return float(np.einsum("nk,nk->", self.probes, solved)) / _PROBES


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
    value, _ = target.on(parameters.b | parameters.u)(atoms)
    if not (parameters.b | parameters.u).any() or not value > 0.0:
        return None
    curvatures = _Curvatures.at(target, atoms, parameters, curvature, seed)
    low, high = options.adp_prior / options.clamp, options.adp_prior * options.clamp
    dear = bool(parameters.u.any())  # where a factor costs seconds; and tensors mostly end at the lower limit
    weight = low if dear else options.adp_prior
    tried: list[tuple[float, float]] = []  # logarithms of a weight, and of that which it asks for over it
    for _ in range(_ROUNDS):
        determined = curvatures.determined(weight)
        asked = min(max(options.evidence_adp * determined / (2.0 * value), low), high)
        tried.append((math.log(weight), math.log(asked / weight)))
        if abs(tried[-1][1]) < math.log(_ENOUGH):
            break
        plain = asked in (low, high) or not dear
        weight = asked if plain else min(max(math.exp(_zero(tried[-2:])), low), high)
    return Evidence(asked, determined / curvatures.data.shape[0])


def _zero(points: list[tuple[float, float]]) -> float:
    """Where a falling line through one point or two is zero; it falls by 1 to 2, as more weight leaves less to find."""
    (x, y), slope = points[-1], _SLOPE
    if len(points) > 1 and x != points[0][0]:
        slope = min(max((y - points[0][1]) / (x - points[0][0]), -2.0), -1.0)
    return x - y / slope


def noise_let_go(
    target: AdpTarget, atoms: Atoms, parameters: Parameters, curvature: Gradient, loose: float, firm: float,
    seed: int = 0,
) -> float:  # fmt: skip
    """The most that -log p of the data is expected to rise by as restraints become as firm as they should be.

    A displacement that the data determine by g₀, and by g with the most probable weight w, loses ½ ((1 − g)² −
    (1 − g₀)²) (1 + λ / w μ), where the last bracket is for noise and signal, and is 1 / (1 − g). So the rise is between
    ½ and 1 for each that γ falls by: ½ where next to nothing was held before, 1 where next to nothing changes.

    Parameters
    ----------
    target : AdpTarget
    atoms : Atoms
        Refined with the weaker restraints.
    parameters : Parameters
    curvature : Gradient
        Of the X-ray term.
    loose, firm : float
        The weights before and now.
    seed : int

    Returns
    -------
    float
        0 where restraints did not become firmer.
    """
    if firm <= loose or not (parameters.b | parameters.u).any():
        return 0.0
    curvatures = _Curvatures.at(target, atoms, parameters, curvature, seed)
    return curvatures.determined(loose) - curvatures.determined(firm)
