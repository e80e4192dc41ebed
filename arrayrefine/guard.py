"""The guard of a step: when it has made the model worse, and how far the geometry is out of its band."""

from __future__ import annotations

import math

from arrayrefine.state import Problem, State, work_nll
from arrayrefine.weights import Weights

_R_WORK_RISE = 0.002
"""R-work may rise by this much in a step before the guard refuses it."""
_R_WORK_MENDING = 0.05
"""And by this much in a step that mends a strained model."""
_NLL_RISE = 0.01
"""-log p per work reflection may rise by this much; its sigma_A is estimated anew, with some noise."""
RMSZ_SLACK = 1.15
"""Bond RMSZ may exceed its band by this factor."""


def strain(problem: Problem, state: State) -> float:
    """How far the geometry is above its band: 1 at its upper edge, of bonds or angles whichever is worse."""
    band = problem.options.weighting
    bond, angle = state.core_rmsz
    return max((bond or 0.0) / band.rmsz_high, (angle or 0.0) / band.angle_rmsz_high)


def objection(problem: Problem, before: State, after: State, found: Weights) -> str:
    """Why the guard refuses a step, or "" if it does not. The test set has no say: it would cease to be one.

    With fixed weights only a step that is worse for both the data and the geometry is refused. What targets of the
    user's own gained may be paid for with likelihood: they were added because they know something.
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
    if strained > RMSZ_SLACK and strained > was:
        return f"bond RMSZ went from {then.bond_rmsz:.2f} to {now.bond_rmsz:.2f}, angle RMSZ to {now.angle_rmsz:.2f}"
    mending = was > 1.0 and strained < was
    gained = _gained(problem, before, after, found) / max(int(after.xray.work.sum()), 1)
    lenient = mending or (gained > 0.0 and end <= start + gained)
    if now.r_work > then.r_work + (_R_WORK_MENDING if lenient else _R_WORK_RISE):
        return f"R-work rose from {then.r_work:.4f} to {now.r_work:.4f}"
    if not mending and end > start + _NLL_RISE + gained:
        return f"-log p per work reflection rose from {start:.4f} to {end:.4f}"
    return ""


def _gained(problem: Problem, before: State, after: State, found: Weights) -> float:
    """What extra targets gained in a step, with their weights; 0 where they lost."""
    weighted = [(found.of(term), term) for term in problem.extra]
    gains = [w * (term(before.atoms)[0] - term(after.atoms)[0]) for w, term in weighted if w is not None]
    return max(sum(gains), 0.0)
