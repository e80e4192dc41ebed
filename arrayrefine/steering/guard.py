"""The guard of a step: when it has made the model worse, and how far the geometry is out of its band."""

from __future__ import annotations

import dataclasses
import math

from arrayrefine.parameters import Parameters
from arrayrefine.problem import Problem
from arrayrefine.state import State, work_nll
from arrayrefine.weighting.adp_evidence import noise_let_go
from arrayrefine.weights import Weights

_R_WORK_RISE = 0.002
"""R-work may rise by this much in a step before the guard refuses it."""
_R_WORK_MENDING = 0.05
"""And by up to this much more in a step that mends a strained model: all of it where `strain` fell by 1 or more."""
_NLL_RISE = 0.01
"""-log p per work reflection may rise by this much; its sigma_A is estimated anew, with some noise."""
RMSZ_SLACK = 1.15
"""Bond RMSZ may exceed its band by this factor."""


def strain(problem: Problem, state: State) -> float:
    """How far the geometry is above its band: 1 at its upper edge, of bonds or angles whichever is worse."""
    band = problem.options.weighting
    bond, angle = state.core_rmsz
    return max((bond or 0.0) / band.rmsz_high, (angle or 0.0) / band.angle_rmsz_high)


def strains(problem: Problem, before: State, after: State) -> bool:
    """Whether a step took the geometry further out of its band than may be."""
    return strain(problem, after) > max(RMSZ_SLACK, strain(problem, before))


def objection(
    problem: Problem, before: State, after: State, found: Weights, parameters: Parameters, adp: float | None = None,
    freed: bool = False,
) -> str:  # fmt: skip
    """Why the guard refuses a step, or "" if it does not. R-free has no say: it would cease to be free.

    With fixed weights only a step that is worse for both the data and the geometry is refused. What targets of the
    user's own gained may be paid for with likelihood: they were added because they know something. And data that noise
    in the displacements fitted too well may fit worse once firmer restraints take it out: R-work by what that can
    explain, -log p by what the step lost besides, before sigma_A was found anew.

    Parameters
    ----------
    problem : Problem
    before, after : State
    found : Weights
        Those of the step.
    parameters : Parameters
        What it refined, at `before`.
    adp : float, optional
        Weight of the restraints that displacements were refined with before it.
    freed : bool
        Whether atoms have become anisotropic since the step before: what is so much freer must fit better.
    """
    then, now = before.statistics, after.statistics
    if not (math.isfinite(now.r_work) and math.isfinite(after.nll_work)):
        return "R-work or the likelihood is not a number"
    was, strained = strain(problem, before), strain(problem, after)
    start, end = work_nll(before, after)
    if problem.options.weights == "fixed":
        # The numbers given say how much of the one may be paid for the other.
        paid = end <= start + _NLL_RISE or strained <= was
        return "" if paid else f"-log p per work reflection rose from {start:.4f} to {end:.4f}, and RMSZ with it"
    if strains(problem, before, after):
        return f"bond RMSZ went from {then.bond_rmsz:.2f} to {now.bond_rmsz:.2f}, angle RMSZ to {now.angle_rmsz:.2f}"
    mended = min(max(was - strained, 0.0), 1.0) if was > 1.0 else 0.0
    gained = _gained(problem, before, after, found) / max(int(after.xray.work.sum()), 1)
    paid = gained > 0.0 and end <= start + gained
    free = freed and bool(parameters.displaced.any())
    if free and not (mended or paid) and now.r_work >= then.r_work and end >= start:
        return f"anisotropic atoms fit no better (R-work {then.r_work:.4f}, now {now.r_work:.4f})"
    rise = _R_WORK_RISE + _R_WORK_MENDING * (1.0 if paid else mended)

    def worse(noise: float) -> str:
        """What is worse by more than the loss of `noise` per work reflection makes it."""
        # -log p is half a sum of squares over the variance: a loss of one half doubles it, and R goes with the root.
        if now.r_work > then.r_work * math.sqrt(1.0 + 2.0 * noise) + rise:
            return f"R-work rose from {then.r_work:.4f} to {now.r_work:.4f}"
        if not mended and end > start + _NLL_RISE + gained + min(noise, max(lost(before, after), 0.0)):
            return f"-log p per work reflection rose from {start:.4f} to {end:.4f}"
        return ""

    return worse(0.0) and worse(_noise(problem, before, after, found, parameters, adp))


def _gained(problem: Problem, before: State, after: State, found: Weights) -> float:
    """What extra targets gained in a step, with their weights; 0 where they lost."""
    weighted = [(found.of(term), term) for term in problem.extra]
    gains = [w * (term(before.atoms)[0] - term(after.atoms)[0]) for w, term in weighted if w is not None]
    return max(sum(gains), 0.0)


def _noise(
    problem: Problem, before: State, after: State, found: Weights, parameters: Parameters, adp: float | None
) -> float:
    """What firmer restraints on displacements, if the displacements ask for them, may cost per work reflection.

    They must have gained as much.
    """
    if found.evidence is None or found.adp is None or adp is None:
        return 0.0
    gained = found.adp * (problem.adp(before.atoms)[0] - problem.adp(after.atoms)[0])
    curvature = before.xray.curvature(before.atoms)
    cost = noise_let_go(problem.adp, before.atoms, parameters, curvature, adp, found.adp, problem.options.seed)
    return max(min(gained, cost), 0.0) / max(int(after.xray.work.sum()), 1)


def lost(before: State, after: State) -> float:
    """Rise of -log p per work reflection with the sigma_A of the start at both ends: what the step itself did."""
    both = before.xray.work & after.xray.work
    was = before.xray
    alike = dataclasses.replace(after.xray, reflections=was.reflections, d=was.d, variance=was.variance)
    alike = alike.at_own_scale(after.f_calc)
    return float((alike.values(after.f_calc) - was.values(before.f_calc))[both].mean())
