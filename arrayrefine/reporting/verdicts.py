"""Whether a refinement ended with a worse model than it was given, with its geometry outside the band, or with chiral
centres of the wrong hand."""

from __future__ import annotations

import numpy as np

from arrayrefine.displacements.anisotropy import ATOMIC_D_MIN
from arrayrefine.further_restraints.choice import calls
from arrayrefine.measurements.free_uncertainty import doubt, uncertainty
from arrayrefine.problem import Problem
from arrayrefine.report import Step
from arrayrefine.state import State
from arrayrefine.wording import Caution, are, counted, listed

R_FREE_RISE = 0.003
"""R-free may end this much above that of the input before the result is called worse."""
_R_WORK_RISE = 0.002
"""And R-work, where R-free of the input may have been none."""
_RMSZ_RISE = 0.05
"""An RMSZ may end above its band by this much more than the input's."""
BESIDE = 0.05
"""And outside its band by this much before that is worth a word."""


def worse_than_start(problem: Problem, first: State, last: State) -> list[str]:
    """A sentence with both sets of numbers where the model ended worse than it came, by R-free or by its geometry."""
    was, now = first.statistics, last.statistics
    found, said = [], []
    risen = False
    if was.r_free is not None and now.r_free is not None:
        risen = now.r_free > was.r_free + max(R_FREE_RISE, 2.0 * doubt(problem.reflections, now.r_free))
    if risen:
        numbers = f"R-free {was.r_free:.4f} -> {now.r_free:.4f} (R-work {was.r_work:.4f} -> {now.r_work:.4f}"
        if not problem.reflections.has_new_test_set:
            found.append(f"{numbers}; a model that was refined against this test set starts too low)")
        elif _fits_work_worse(problem, first, last):
            new = "the test set was chosen in this run, but R-work, which does not depend on it, rose too"
            found.append(f"{numbers}; {new})")
        else:
            said.append(
                f"{numbers}): the test set was chosen in this run. Where the model had been refined against these "
                "reflections, as it probably was, its R-free was no R-free; only the one at the end counts"
            )
    risen &= bool(found)
    for name, start, final in _strained(problem, first, last):
        found.append(f"{name} RMSZ {start:.2f} -> {final:.2f}")
    if found:
        remedy = _remedy(problem, last) if risen else ""
        said.append(Caution(
            f"the model is worse than the one given: {'; '.join(found)}; report.json holds the numbers of both{remedy}"
        ))
    return said


def _fits_work_worse(problem: Problem, first: State, last: State) -> bool:
    """Whether R-work rose by more than noise."""
    was, now = first.statistics.r_work, last.statistics.r_work
    return now > was + max(_R_WORK_RISE, 2.0 * uncertainty(now, max(int(problem.reflections.work.sum()), 1)))


def _strained(problem: Problem, first: State, last: State) -> list[tuple[str, float, float]]:
    """Bonds or angles that ended worse than they came and above their band, with RMSZ at start and end."""
    band, out = problem.options.weighting, []
    for name, limit in (("bond", band.rmsz_high), ("angle", band.angle_rmsz_high)):
        start, final = (getattr(state.statistics, f"{name}_rmsz") for state in (first, last))
        if start is not None and final is not None and final > max(start, limit) + _RMSZ_RISE:
            out.append((name, start, final))
    return out


def _remedy(problem: Problem, last: State) -> str:
    """What may help where the data show alternate conformers one by one."""
    refined = "occupancy" in problem.options.kinds
    data = problem.reflections
    if refined or round(data.d_min, 2) > ATOMIC_D_MIN or not (last.atoms.identity.altloc != "").any():
        return ""
    if calls(data.d_min, int(data.work.sum()), last.atoms, problem.options.external):  # too few for more numbers
        return ""
    steps = " ".join(f"{t}+occupancy" if "xyz" in t.split("+") else t for t in problem.options.targets)
    return f". At atomic resolution occupancies of alternate conformers are worth refining: --targets {steps}"


def out_of_band(problem: Problem, first: State, last: State, steps: tuple[Step, ...]) -> list[str]:
    """A sentence where refined coordinates ended with bonds or angles outside their band, but for what is worse than it
    came; below the band only where angles let bonds be looser.
    """
    if not any(step.free_parameters and "xyz" in step.target.split("+") for step in steps):
        return []
    band, (bond, angle) = problem.options.weighting, last.core_rmsz
    known = {name for name, _, _ in _strained(problem, first, last)}
    high = []
    if bond is not None and bond > band.rmsz_high + BESIDE and "bond" not in known:
        high.append(f"bond RMSZ {bond:.2f} (band {band.rmsz_low:g} to {band.rmsz_high:g})")
    if angle is not None and angle > band.angle_rmsz_high + BESIDE and "angle" not in known:
        high.append(f"angle RMSZ {angle:.2f} (at most {band.angle_rmsz_high:g})")
    if high:
        numbers = ", ".join(high) + _of_weights(problem)
        return [Caution(f"the geometry ended outside its band, metals and what is frozen aside: {numbers}")]
    loose = (angle or 0.0) > band.angle_rmsz_high
    if bond is None or loose or known or bond >= band.rmsz_low - BESIDE:
        return []
    numbers = f"bond RMSZ {bond:.2f} (band {band.rmsz_low:g} to {band.rmsz_high:g})"
    return [f"the geometry ended tighter than its band: {numbers}{_of_weights(problem)}"]


def _of_weights(problem: Problem) -> str:
    """What may bring the geometry into its band."""
    scheme = problem.options.weights
    if scheme == "fixed":
        return ". The weights are fixed: try another --weighting.geometry, or --weights robust"
    if scheme in ("stale", "literal"):
        return f". --weights {scheme} does not steer it, --weights robust does"
    return ". arrayrefine validate names the restraints that are furthest off"


def contradicted(problem: Problem, last: State) -> list[str]:
    """A sentence on components that miss their restraints by far more than the rest of the model does."""
    who = last.atoms.identity
    odd = problem.geometry.odd_residues(last.atoms).tolist()
    names = [who.residue_label(int(np.flatnonzero(who.residue == k)[0])) for k in odd]
    if not names:
        return []
    return [Caution(
        f"the model contradicts the restraints of {counted(len(names), 'component')}: {listed(names)}. See whether the "
        "dictionary is of this compound, and in this state (--restraints), and whether the component is in its place: "
        "one on a symmetry axis, or there in part, may not be. --freeze keeps a component as it is"
    )]


def hands(problem: Problem, first: State, last: State) -> list[str]:
    """Sentences on chiral centres that were, or ended, of another hand than that which is restrained."""
    was, now = (set(problem.restraints.chiralities.of_wrong_hand(state.atoms.xyz).tolist()) for state in (first, last))
    out = []
    for chosen, what in (
        (was - now, "turned to the hand of {its} restraint"),
        (
            was & now,
            "{are} still of the other hand than {its} restraint, which strains what is around: bonds and angles there "
            "do not count in the band of the geometry",
        ),
        (now - was, "ended of the other hand than {its} restraint, unlike at the start: look there in the maps"),
    ):
        if chosen:
            n, names = len(chosen), listed([last.atoms.identity.label(int(i)) for i in sorted(chosen)])
            said = what.format(are=are(n), its="its" if n == 1 else "their")
            sentence = f"{counted(n, 'chiral centre')} {said}: {names}"
            out.append(sentence if what.startswith("turned") else Caution(sentence))
    return out
