"""Sentences about how a refinement ended."""

from __future__ import annotations

import numpy as np

from arrayrefine.atoms import WATERS
from arrayrefine.displacements.displacement import B_BOUNDS, large_b
from arrayrefine.displacements.tensors import FITS
from arrayrefine.measurements.free_uncertainty import doubt, uncertainty
from arrayrefine.problem import Problem
from arrayrefine.report import Step
from arrayrefine.state import State
from arrayrefine.topology.polymers import of_polymers
from arrayrefine.wording import Caution, counted

_R_FREE_RISE = 0.01
"""R-free may end this much above its lowest value before that is worth a warning."""
_UNRELATED = 0.5
"""R above which a model says little of the data; that of atoms at random is 0.59 (Wilson 1950, Acta Cryst. 3, 397)."""
_POOR = 0.45
"""R-free above which a right model still has far to go."""
_INCOMPLETE = 0.48
"""R-free below which a model is mostly in its place: one that is not has more, as atoms at random have."""
_GAINED = 0.02
"""And what it gains on the way, at least."""
_WIDE = 0.1
"""R-free above R-work from which it is worth a warning, besides twice its standard uncertainty."""
_VAGUE = 0.05
"""Standard uncertainty of R-free above which it does not tell a model in its place from one that is not."""
_MEMORY = 0.35
"""Of the gap between R-free and R-work at the end that there is at the start, where it is suspiciously little."""
_AS_GOOD = 0.06
"""R-work of a start above that of the end, at most, where it was as well refined."""
_SHOWN = 2.5
"""Å; data to here show ordered waters, once the model is right."""
_CHAIN = 20
"""Residues of chains from which a crystal that holds no water is not one."""


def limits(problem: Problem, state: State) -> list[str]:
    """Sentences about B factors that ended on their bounds."""
    atoms = problem.hydrogens.without(state.atoms)
    b = atoms.b_iso
    out: list[str] = []
    lowest, most = B_BOUNDS[0], large_b(b)
    for said, chosen in (
        (f"at the limit of B, {lowest:g} Å²", b <= lowest),
        (f"with B above {most:.0f} Å², where hardly anything of them is seen", (b > most) | (b >= B_BOUNDS[1])),
    ):
        if chosen.any():
            first = atoms.identity.label(int(np.flatnonzero(chosen)[0]))
            number = counted(int(chosen.sum()), "atom")
            out.append(Caution(f"{number} ended {said}; the first is {first}"))
    return out


def wide_gap(problem: Problem, last: State, steps: tuple[Step, ...]) -> list[str]:
    """A sentence where R-free is far above R-work after a refinement."""
    r_work, r_free = last.statistics.r_work, last.statistics.r_free
    if not steps or r_free is None or r_free - r_work < _WIDE + 2.0 * doubt(problem.reflections, r_free):
        return []
    few = f"{int((~problem.reflections.free).sum())} work reflections"
    fewer = ". See whether R-free rises with fewer: --anisotropic none" if last.atoms.anisotropic.any() else ""
    return [Caution(
        f"R-free ended {r_free - r_work:.3f} above R-work ({r_work:.4f}, {r_free:.4f}): {few} bear few of the numbers "
        f"that were refined{fewer}"
    )]


def known_test_set(problem: Problem, first: State, last: State) -> list[str]:
    """A sentence where the gap between R-free and R-work of a start that was well refined opens in a refinement.

    Of models as deposited 1CBS starts with 0.13 of the gap that it ends with, 1DUR with 0.20, 4XOF with
    0.91, 3G70 with 0.85. A model that ends far from its data was fitted to little of them, whatever it started with:
    cut to alanines as for molecular replacement, one loses as little R-work as one that was well refined.
    """
    was, now = first.statistics, last.statistics
    if was.r_free is None or now.r_free is None or problem.reflections.has_new_test_set or now.r_work > FITS:
        return []
    before, after = was.r_free - was.r_work, now.r_free - now.r_work
    off = uncertainty(now.r_free, int(problem.reflections.free.sum()))
    if was.r_work - now.r_work > _AS_GOOD or before > _MEMORY * after or after - before < 2.0 * off:
        return []
    started = f"only {before:.3f} above R-work" if before > 0.0 else f"{-before:.3f} below R-work"
    return [Caution(
        f"R-free started {started} and ended {after:.3f} above it: unless the model is of another crystal, it was "
        "probably refined against this test set before, and R-free started too low, and may still be. Check that the "
        "flags are those that it was refined with; arrayrefine crossvalidate tells R of all reflections, each left out "
        "of one refinement"
    )]


def chosen_weights(problem: Problem, steps: tuple[Step, ...]) -> list[str]:
    """What --weights search did, or why it did nothing."""
    if problem.options.weights != "search":
        return []
    if any("search" in step.weights for step in steps):
        return ["the test set chose the weights (--weights search): R-free flatters the model a little"]
    why = "there is no test set" if not problem.reflections.free.any() else "there was no second cycle"
    return [Caution(f"--weights search chose nothing, as {why}: the weights are those of --weights robust")]


def hindsight(problem: Problem, last: State, steps: tuple[Step, ...]) -> list[str]:
    """Say so where R-free was lower on the way than at the end; it has no part in the course of the refinement."""
    values = [(s.r_free, f"after cycle {s.cycle}, {s.target}") for s in steps if s.r_free is not None]
    end = last.statistics.r_free
    if not values or end is None or end <= min(values)[0] + max(_R_FREE_RISE, 2.0 * doubt(problem.reflections, end)):
        return []
    best, where = min(values)
    return [Caution(
        f"R-free ended at {end:.4f}; it was {best:.4f} {where}: the model may fit noise, "
        "try fewer cycles or tighter weights"
    )]


def not_placed(
    problem: Problem, first: State, last: State, steps: tuple[Step, ...], alone: str = "", reindexed: str = ""
) -> list[str]:
    """Say so where R-free is what a model in a wrong place ends with, or R-work where there is no test set to tell.

    `alone` is what the model has alone, such as waters, where R says nothing of its place; `reindexed` is what was said
    of its indices at the start (`other_indexing`), if anything.
    """
    was, now = first.statistics, last.statistics
    name, start, end = "R-free", was.r_free, now.r_free
    if start is None or end is None or doubt(problem.reflections, end) > _VAGUE:
        name, start, end = "R-work", was.r_work, now.r_work
    stuck = bool(steps) and name == "R-free" and end > max(_POOR, start - _GAINED)
    if not (end > _UNRELATED or stuck):
        return []
    numbers = f"{name} {start:.4f} -> {end:.4f} (R-work {was.r_work:.4f} -> {now.r_work:.4f})"
    if alone:
        unknown = f"the model has no atoms but {alone}, and whether these are in their place R does not tell"
        return [Caution(f"{numbers}: {unknown}")]
    if reindexed:
        return [Caution(
            f"{numbers}: data and model are indexed in different ways, as the start told, and what was refined was "
            "fitted to noise: reindex the data, and refine the model that was given anew"
        )]
    checks = (
        "Check that the data are of this crystal, that the solution of molecular replacement stands out from others, "
        "and that the space group is right (try those with the same rotations, the enantiomorph first)"
    )
    if min(start, end) > _INCOMPLETE:
        return [Caution(
            f"{numbers}: the model probably is not where the crystal has it, and a low R-work only means that it was "
            f"fitted to noise. {checks}, and that no large part of the crystal is missing from the model"
        )]
    return [Caution(
        f"{numbers}: a large part of the crystal probably is missing from the model, or it is not where the crystal "
        "has it, and a low R-work means that it was fitted to noise. Look in the difference map "
        f"for what is missing, and build that. If nothing is: {checks[0].lower()}{checks[1:]}"
    )]


def waterless(problem: Problem, last: State) -> list[str]:
    """What finds waters, where the model has none and the data are such that they are to be seen."""
    who, d_min = last.atoms.identity, problem.reflections.d_min
    options = problem.options
    if options.waters != "keep" or d_min > _SHOWN or last.statistics.r_work > options.ordered_solvent.most_r_work:
        return []
    if np.isin(who.residue_name, WATERS).any():
        return []
    chains = int(of_polymers(who.residue_name[np.unique(who.residue, return_index=True)[1]]).sum())
    if chains < _CHAIN:
        return []
    return [
        f"the model has no waters, and data to {d_min:.2f} Å show some: where all else is built, --waters add puts "
        "them where density and a partner ask for one"
    ]
