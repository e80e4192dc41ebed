"""When a refinement has converged: what a cycle must gain to be followed by another."""

from __future__ import annotations

from collections.abc import Sequence

from arrayrefine.problem import Problem
from arrayrefine.report import Step
from arrayrefine.state import State, work_nll
from arrayrefine.steering.guard import RMSZ_SLACK, strain
from arrayrefine.steering.nearness import nearness

_NO_BETTER = "made neither R-work nor the likelihood better"
KEPT = f"{_NO_BETTER}: the model before it is kept"
"""The reason on which the model before the cycle is to be taken."""
_IN_BAND = 1.005
"""A cycle that ends further out of the band of the geometry, relative to its edge, is followed by another."""
_SETTLED_R = 0.0005
_SETTLED_NLL = 0.001
"""A cycle that moves R-work and -log p per work reflection by less, with geometry in its band, is the last."""
_SETTLED_GAIN = 0.015
"""And so is one that lowers the objective by less per free parameter, or reflection where there are fewer. Noise alone
gives ½ each, and what comes so late is little else: on ten crystals R-free was then where later cycles took it (0.0001
higher on average, 0.002 at worst), after 3.4 cycles instead of 4.3. Less is enough where the model is far from its
data.
"""
_FORESEEN_GAIN = 0.5 * _SETTLED_GAIN
"""And a cycle that is foreseen to gain less, by `foresight`, is not begun: half, as up to twice as much may come of it.
Sixteen of 44 crystals are spared a cycle or two like that, for 0.0009 in R-work and 0.0003 in R-free."""
_MOVED_R = 0.0015
"""A cycle that lowers R-work by more than this is followed by another, whatever it gained: where reflections are few,
or the model is far from them, much R is little likelihood."""


def settled(problem: Problem, before: State, now: State, made: Sequence[Step]) -> str:
    """Why a cycle was the last, or "" if it was not."""
    strained = strain(problem, now)
    in_band = strained <= _IN_BAND
    if strained > RMSZ_SLACK:
        return ""
    gain = before.statistics.r_work - now.statistics.r_work
    start, end = work_nll(before, now)
    if abs(gain) < _SETTLED_R and abs(start - end) < _SETTLED_NLL and in_band:
        return f"moved R-work by less than {_SETTLED_R:g}"
    # Where scale and B pull against each other, cycles can go on gaining what the next scale takes back.
    was = strain(problem, before)
    if gain < _SETTLED_R and start - end < _SETTLED_NLL and was <= RMSZ_SLACK:
        worse = gain < 0.0 and end > start and was <= max(1.0, strained) and not _mended(problem, before, now, made)
        if worse or in_band:
            return KEPT if worse else _NO_BETTER
    enough = nearness(now) * _SETTLED_GAIN
    count, what = _fewer(now, sum(step.free_parameters for step in made))
    if in_band and gain < _MOVED_R and 0.0 <= sum(step.gain for step in made) < enough * count:
        return f"gained less than {enough:.2g} per {what}"
    return ""


def _mended(problem: Problem, before: State, now: State, made: Sequence[Step]) -> bool:
    """Whether outliers of the geometry that have gone are worth what the data fit worse."""
    weight = next((w for step in reversed(made) if isinstance(w := step.weights.get("geometry"), float)), 0.0)
    start, end = work_nll(before, now)
    geometry = problem.geometry.firmed(before.atoms)
    gone = geometry.excess(before.atoms) - geometry.excess(now.atoms)
    return weight * gone > (end - start) * int(now.xray.work.sum())


def foreseen(state: State, left: float, free: int) -> str:
    """Why a cycle that would gain `left` with `free` parameters need not begin, or "" if it must."""
    enough = nearness(state) * _FORESEEN_GAIN
    count, what = _fewer(state, free)
    if left >= enough * count:
        return ""
    return f"another cycle was foreseen to gain {left / count:.2g} per {what}, less than {enough:.2g}"


def _fewer(state: State, free: int) -> tuple[int, str]:
    """Free parameters or reflections, whichever are fewer: the data determine no more."""
    work = int(state.xray.work.sum())
    return (free, "free parameter") if free <= work else (work, "reflection")
