"""Models that lack a part of the crystal: told by what a cycle leaves unexplained, and held by a jelly body.

What is missing pulls at what is there as noise would, and the model is bent to it: R-work falls, R-free rises. In a
model that is only bent, nearly all of the intensity that it leaves unexplained is its own fault, and a cycle mends most
of that: in eighteen bent by an ångström 0.4 to 0.9 of the intensity was unexplained, and 0.2 to 0.54 times as much
after a cycle. In seventeen of which almost half of the residues, all ligands and water were cut away it was 0.5 to
0.75, and 0.83 to 1.02 times as much; these end 0.009 lower in R-free with a jelly body, and the bent 0.003 higher.
"""

from __future__ import annotations

import dataclasses

from arrayrefine.nearness import unexplained
from arrayrefine.restraints import JellyBody
from arrayrefine.state import Problem, State

NEWS = "begun anew, with a jelly body"
_FAR = 0.4
"""Share of the intensity that is unexplained, from where on a part of the crystal may be missing."""
_POOR = 0.32
"""R-work that such a cycle ends above: 0.38 to 0.44 in those seventeen, and 0.20 to 0.26 in whole models at 3 to 4 Å
that data say so little of that as much is unexplained."""
_LEFT = 0.7
"""What a cycle leaves of that share, at least, where it cannot be mended."""


def is_incomplete(problem: Problem, before: State, after: State) -> bool:
    """Whether a cycle from `before` to `after` shows that a large part of the crystal is missing from the model, and
    the options leave it to the model whether a jelly body holds it."""
    how = problem.options.external
    moves = any("xyz" in target.split("+") for target in problem.options.targets)
    if how.jelly_body != "auto" or how.jelly_body_weight <= 0.0 or not moves:
        return False
    if before.xray.kind != "ml" or after is before:
        return False
    was = unexplained(before)
    return after.statistics.r_work > _POOR and was > _FAR and unexplained(after) > _LEFT * was


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
    return (
        f"the model leaves {100 * unexplained(before):.0f} % of the intensity unexplained, and the first cycle left "
        f"{100 * unexplained(after):.0f} %: a large part of the crystal probably is missing from the model, which was "
        "bent to noise. That cycle was given up; since then a jelly body holds distances between neighbours "
        "(--external.jelly-body)"
    )
