"""Which weight is changed for another try at a step that the guard refused."""

from __future__ import annotations

from arrayrefine.atoms import Atoms
from arrayrefine.problem import Problem
from arrayrefine.state import State
from arrayrefine.steering.guard import strains
from arrayrefine.targets import Target
from arrayrefine.weights import Steering, Weights

FACTOR = 3.0
"""By which a weight is changed for another try."""


def remedy(problem: Problem, before: State, refused: State, reached: Atoms, found: Weights) -> Steering | None:
    """Factors on the weights, one of which is not 1; None where no weight is to blame.

    Geometry that left its band was held too little. Data that became less likely, at the scale and sigma_A of the
    start, paid for what a restraint gained: the one that gained most pulled too hard. Data that became more likely, and
    are worse off only with scale and sigma_A of the end, are not helped by restraints that hold more.

    Parameters
    ----------
    problem : Problem
    before : State
    refused : State
        The end of the step.
    reached : Atoms
        The same as the minimiser left it, for the scale of the start.
    found : Weights
    """
    if strains(problem, before, refused) and found.geometry is not None:
        return Steering(geometry=FACTOR)

    def rise(target: Target) -> float:
        return target(reached)[0] - target(before.atoms)[0]

    if not rise(before.xray) > 0.0:
        return None
    by_geometry, by_adp = (found.geometry or 0.0) * rise(problem.geometry), (found.adp or 0.0) * rise(problem.adp)
    if not min(by_geometry, by_adp) < 0.0:
        return None
    return Steering(geometry=1.0 / FACTOR) if by_geometry < by_adp else Steering(adp=1.0 / FACTOR)
