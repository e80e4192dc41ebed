"""Standard uncertainties of coordinates beside what coordinates do: data simulated from a refined model, refined again.

    python tests/benchmarks/uncertainty.py 1aba 1rx2 4xof 2r4r --sets 8

The model is refined from `shaken`. Each simulated set of amplitudes is |D F + n| + e: n of the variance that sigma_A
says of the model's errors, e of that of the measurement. Coordinates are refined against it with the weight of the last
step, everything else held. Printed: over all atoms, root mean square of the scatter of a coordinate about its mean, and
of its uncertainty as estimated; quantiles over atoms of the ratio of scatter to uncertainty, and their correlation in
the logarithm. A restraint is a prior: of its own scatter, which is in the uncertainty, simulated data have none.
"""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np
from programs import DATA, ligand_files, start_of

import arrayrefine as ar
from arrayrefine.coordinate_uncertainty import standard_uncertainties
from arrayrefine.io.output.refinement_items import last_weights
from arrayrefine.problem import Problem
from arrayrefine.state import State


def simulated(problem: Problem, state: State, rng: np.random.Generator) -> Problem:
    """The problem with amplitudes as this model would give."""
    data = problem.reflections
    f, spread = state.f_model, np.sqrt(state.sigma_a.model_variance(data))
    along = rng.normal(size=len(data)) * np.exp(1j * np.angle(f))
    anywhere = (rng.normal(size=len(data)) + 1j * rng.normal(size=len(data))) / np.sqrt(2.0)
    noise = spread * np.where(data.centric, along, anywhere)
    f_obs = np.abs(state.sigma_a.d(data.s_squared) * f + noise) + data.sigma * rng.normal(size=len(data))
    return dataclasses.replace(
        problem, reflections=dataclasses.replace(data, f_obs=np.maximum(f_obs, 0.01 * data.sigma))
    )


def run(case: str, sets: int, d_min: float | None) -> str:
    """One line of the table."""
    folder = DATA / case
    start, data = start_of(folder), folder / "norm.mtz"
    options = ar.Options(restraints=tuple(ligand_files(folder)), d_min=d_min)
    result = ar.refine(start, data, options)
    _, problem, _, _ = ar.prepare(start, data, options)
    atoms, weight = result.every_atom, last_weights(step.weights for step in result.history)["geometry"]
    state = ar.evaluate(problem, atoms, absorb_b=False)
    free = problem.parameters(atoms, "xyz")
    weights = dataclasses.replace(ar.find_weights(problem, state, free), geometry=weight)
    rng, places = np.random.default_rng(0), []
    for _ in range(sets):
        own = simulated(problem, state, rng)
        xray = dataclasses.replace(state.xray, reflections=own.reflections, known=None)
        here = dataclasses.replace(state, xray=xray)
        for _ in range(3):
            end = ar.minimise_step(own, here, problem.parameters(here.atoms, "xyz"), weights).atoms
            here = dataclasses.replace(here, atoms=end)
        places.append(here.atoms.xyz)
    known = free.xyz
    scatter = np.var(places, axis=0, ddof=1).mean(axis=1)[known]
    found = (standard_uncertainties(problem, state, weight)[known] ** 2).mean(axis=1)
    ratio = np.sqrt(scatter / found)
    low, middle, high = np.quantile(ratio, [0.1, 0.5, 0.9])
    together = np.corrcoef(np.log(scatter), np.log(found))[0, 1]
    return (
        f"| {case} | {problem.reflections.d_min:.2f} | {int(known.sum())} | {np.sqrt(scatter.mean()):.3f} | "
        f"{np.sqrt(found.mean()):.3f} | {low:.2f} / {middle:.2f} / {high:.2f} | {together:.2f} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+")
    parser.add_argument("--sets", type=int, default=8)
    parser.add_argument("--d-min", type=float, default=None)
    given = parser.parse_args()
    print("| case | Å | atoms | scatter, Å | estimated, Å | ratio: 10, 50, 90 % of atoms | correlation |")
    print("|---|---|---|---|---|---|---|")
    for case in given.cases:
        print(run(case, given.sets, given.d_min), flush=True)


if __name__ == "__main__":
    main()
