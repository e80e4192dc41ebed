"""Models that lack a part of the crystal: told by what a cycle leaves unexplained, and held by a jelly body.

What is missing pulls at what is there as noise would, and the model is bent to it: R-work falls, R-free does not. In a
model that is only bent or shaken, what it leaves unexplained of the intensity is mostly its own fault, and a cycle
mends it. The share that is unexplained before the first cycle, what part of that is left after it, and R-work then:

- 18 models bent by an ångström: 0.37 to 0.89, x 0.20 to 0.54, 0.17 to 0.40
- 17 without almost half of their residues, all ligands and water: 0.51 to 0.74, x 0.83 to 1.02, 0.38 to 0.45
- 12 without a fifth of them: 0.36 to 0.54, x 0.80 to 0.99, 0.30 to 0.34
- 10 as from molecular replacement, displaced by 0.35 Å smoothly, without a fifth to a quarter in loops, ligands and
  water: 0.49 to 0.73, x 0.46 to 0.69, 0.31 to 0.38; seven of them, whose data end before 1.5 Å, x 0.63 to 0.69
- 7 whole ones without ligands and water, displaced by 1 Å smoothly: 0.66 to 0.86, x 0.13 to 0.25, 0.18 to 0.28
- 18 whole ones, the poorest of 80 and at low resolution, shaken: 0.22 to 0.52, x 0.22 to 0.93, 0.13 to 0.27

With a jelly body R-free ends 0.009 lower in the second kind, 0.006 in the third and 0.005 in the one displaced and
without loops, and 0.003 higher in the first.
"""

from __future__ import annotations

import dataclasses

from arrayrefine.problem import Problem
from arrayrefine.restraints import JellyBody
from arrayrefine.state import State
from arrayrefine.steering.nearness import unexplained
from arrayrefine.wording import Caution

NEWS = "begun anew, with a jelly body"
_FAR = 0.3
"""Share of the intensity that is unexplained, from where on a part of the crystal may be missing."""
_LEFT = 0.6
"""What a cycle leaves of that share, at least, where it cannot be mended."""
_POOR = 0.285
"""And R-work that such a cycle ends above."""


def is_incomplete(problem: Problem, before: State, after: State) -> bool:
    """Whether a cycle from `before` to `after` shows that a large part of the crystal is missing from the model, and
    the options leave it to the model whether a jelly body holds it."""
    how = problem.options.external
    if how.jelly_body != "auto" or how.jelly_body_weight <= 0.0 or "xyz" not in problem.options.kinds:
        return False
    if before.xray.kind != "ml" or after is before:
        return False
    was = unexplained(before)
    return was > _FAR and unexplained(after) > _LEFT * was and after.statistics.r_work > _POOR


def held(problem: Problem) -> Problem:
    """The same problem with a jelly body, as firm as if it had been asked for."""
    options = problem.options
    how = options.external
    jelly = JellyBody(how.distance, how.jelly_body_sigma, how.jelly_body_weight)
    restraints = dataclasses.replace(problem.restraints, jelly_body=jelly)
    return dataclasses.replace(
        problem,
        options=dataclasses.replace(options, external=dataclasses.replace(how, jelly_body="on")),
        restraints=restraints,
        geometry=dataclasses.replace(problem.geometry, restraints=restraints),
    )


def sentence(before: State, after: State) -> str:
    """What to say of it."""
    return Caution(
        f"the model leaves {100 * unexplained(before):.0f} % of the intensity unexplained, and the first cycle left "
        f"{100 * unexplained(after):.0f} %: a part of the crystal probably is missing from the model, which was "
        "bent to noise; a model in a wrong place and twinned data look the same. That cycle was given up; since then a "
        "jelly body holds distances between neighbours (--external.jelly-body)"
    )
