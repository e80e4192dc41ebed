"""The weight of the restraints on displacements, from how much refined displacements differ.

The restraints say that neighbours' displacements differ little: exp(−w E) is their probability before the data are
seen, and how little is w. After a refinement the differences themselves tell it. Of N displacements the data determine
γ = Σ λ / (λ + w μ) (λ and μ the curvatures of the X-ray term and of E along the axes that they share), and the most
probable w is the one with 2 w E = γ (MacKay (1992) Neural Comput. 4, 415-447): noise that weak restraints let in makes
neighbours differ, but raises E no further than w falls.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.kernels.processes import gathered
from arrayrefine.kernels.work_memory import give_back
from arrayrefine.options import Weighting
from arrayrefine.parameters import Parameters
from arrayrefine.preconditioner import displacement_curvature
from arrayrefine.sparse_factor import symmetric_factor
from arrayrefine.targets.adp import AdpTarget
from arrayrefine.targets.adp_curvature import strain_matrix

_PROBES, _PRODUCTS = 8, 8000
"""Random vectors for the trace, and more where there are fewer than 1000 displacements: then γ is good to 1 %."""
_NOTHING = 1e-9
"""E of an atom below which its displacement differs from those of its neighbours by rounding only."""
_ENOUGH = 1.02
"""The weight has been found when it is known within this factor."""
_ROUNDS = 6
_BEND = 0.25
"""The most that the second derivative of ln γ by ln w can be, either way: γ is a sum of 1 / (1 + exp(ln w − c)), and
the second derivative the variance less the mean of numbers between 0 and 1."""


class _Curvatures(NamedTuple):
    """Of data and restraints by the free displacements, and random vectors times a root of the former."""

    data: Any
    restraints: Any
    probes: Any

    @classmethod
    def at(cls, target: AdpTarget, atoms: Atoms, parameters: Parameters, curvature: Gradient, seed: int) -> _Curvatures:
        by_data = displacement_curvature(parameters, curvature)
        matrix = restraints_curvature(target, atoms, parameters)
        # A root on either side keeps each term of the trace between 0 and 1, its noise small where curvatures differ.
        return cls(by_data.matrix(), matrix, by_data.root() @ _probes(matrix.shape[0], seed))

    def determined(self, weight: float) -> tuple[float, float]:
        """γ with this weight of the restraints, and the derivative of ln γ by that of the weight, between -1 and 0."""
        solved = symmetric_factor(lambda: self.data + weight * self.restraints).solve(self.probes)
        found = float(np.einsum("nk,nk->", self.probes, solved))
        lost = weight * float(np.einsum("nk,nk->", solved, self.restraints @ solved))
        return found / self.probes.shape[1], -lost / found if found > 0.0 else 0.0


def _probes(n: int, seed: int) -> Any:
    """Vectors (n, K) of which K⁻¹ Σ z zᵀ is the unit matrix: expected to be with random ones, exactly with n."""
    count = max(_PROBES, -(-_PRODUCTS // n))
    return math.sqrt(n) * np.eye(n) if count >= n else np.random.default_rng(seed).choice([-1.0, 1.0], (n, count))


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
    value, _ = target.on(parameters.copies.some(parameters.b | parameters.u))(atoms)
    if not value > _NOTHING * np.count_nonzero(parameters.b | parameters.u):
        return None
    give_back()  # factors take more than all that has been evaluated before
    curvatures = _Curvatures.at(target, atoms, parameters, curvature, seed)
    low, high = options.adp_prior / options.clamp, options.adp_prior * options.clamp
    # Where a factor costs seconds, the limit that tensors mostly end at comes first.
    weight = low if parameters.u.any() else options.adp_prior
    for _ in range(_ROUNDS):
        determined, slope = curvatures.determined(weight)
        asked = options.evidence_adp * determined / (2.0 * value)
        before = math.log(weight)
        step = math.log(asked / weight) / (1.0 - slope)
        weight = min(max(math.exp(before + step), low), high)
        moved = math.log(weight) - before
        if 0.5 * _BEND * moved**2 < math.log(_ENOUGH):
            break
    return Evidence(weight, determined * math.exp(slope * moved) / curvatures.data.shape[0])


def restraints_curvature(target: AdpTarget, atoms: Atoms, parameters: Parameters) -> Any:
    """Second derivative of the restraints by the free displacements, see `strain_matrix`, which keeps the last one.

    Where all processes of a team ask for it together, they share the work, and tasks of one of them then find it.
    """
    if not len(parameters.copies):
        return strain_matrix(target, atoms, np.flatnonzero(parameters.b), np.flatnonzero(parameters.u))
    scalar, tensor, moves = parameters.carried.displacements(parameters.b, parameters.u)
    return moves.T @ strain_matrix(target, atoms, scalar, tensor) @ moves


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

    def determined(weight: float) -> float:
        # Within the task: matrices are kept by the process that made them, and not all may have one.
        return _Curvatures.at(target, atoms, parameters, curvature, seed).determined(weight)[0]

    before, now = gathered([partial(determined, weight) for weight in (loose, firm)])
    return before - now
