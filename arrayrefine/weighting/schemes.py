"""Which scheme gives the weights of a freeze state, and what it needs."""

from __future__ import annotations

import dataclasses

from arrayrefine import weights
from arrayrefine.arguments import check_types
from arrayrefine.kernels.blas import one_blas_thread
from arrayrefine.kernels.processes import size
from arrayrefine.options import Options
from arrayrefine.parameters import Parameters
from arrayrefine.problem import Problem
from arrayrefine.state import State
from arrayrefine.weighting import extra as extra_weights
from arrayrefine.weighting.adp_evidence import Evidence, evidence, restraints_curvature
from arrayrefine.weights import Steering, Weights


@one_blas_thread
def find_weights(
    problem: Problem,
    state: State,
    parameters: Parameters,
    steering: Steering | None = None,
    stale: Weights | None = None,
    last: Weights | None = None,
    refined: bool = False,
) -> Weights:
    """Weights of the chosen scheme for one freeze state.

    Parameters
    ----------
    problem : Problem
        Its options choose the scheme.
    state : State
    parameters : Parameters
        The freeze state; the weights are valid for no other.
    steering : Steering, optional
        What earlier steps learned.
    stale : Weights, optional
        For the scheme 'stale': the weights that were computed once, at the start.
    last : Weights, optional
        Of an earlier minimisation in the same refinement; see `weights.robust_weights`.
    refined : bool
        Whether displacements have been refined under restraints before, so that how much they differ tells the weight
        of these; see `adp_evidence`.
    """
    check_types(
        "find_weights", problem=(problem, Problem), state=(state, State), parameters=(parameters, Parameters)
    )
    found = _of_scheme(problem, state, parameters, steering, stale, last, refined)
    if not problem.extra:
        return found
    options = problem.options
    return extra_weights.with_extra(
        found, problem.extra, state.atoms, parameters, state.xray, options.weighting, options.seed
    )


def _of_scheme(
    problem: Problem, state: State, parameters: Parameters, steering: Steering | None, stale: Weights | None,
    last: Weights | None, refined: bool,
) -> Weights:  # fmt: skip
    """Weights of geometry and ADP terms."""
    options = problem.options
    targets = (state.xray, problem.geometry.of_dictionary, problem.adp)
    d_min = problem.reflections.d_min
    if options.weights == "stale":
        return (stale or stale_weights(problem, state)).rebound(parameters)
    if options.weights == "literal":
        return weights.literal_weights(state.atoms, parameters, *targets)
    if options.weights == "fixed":
        return weights.fixed_weights(parameters, d_min=d_min, options=options.weighting)
    curvature, ask = state.xray.curvature(state.atoms), None
    steered = steering is not None and steering.adp != 1.0
    # What a factor made of the displacements must not be taken for what the crystal shows, and multiplied again.
    before = last.evidence if steered and last is not None else None
    if refined and displacements_tell(options, parameters):

        def ask() -> Evidence | None:
            return before or evidence(
                problem.adp, state.atoms, parameters, curvature, options.weighting, options.seed
            )

    # Two tasks are enough for two processes; more of them share what the tasks are made of first.
    together = problem.device.kind == "cuda" or size() > 2
    if ask is not None and before is None and together:
        restraints_curvature(problem.adp, state.atoms, parameters)
    found = weights.robust_weights(
        state.atoms, parameters, *targets, d_min=d_min, options=options.weighting, steering=steering or Steering(),
        seed=options.seed, clamp=options.xray.target == "ml", metal=problem.restraints.non_bonded.metal,
        curvature=curvature, last=last, ask=ask, apart=state.xray.apart, together=together,
    )  # fmt: skip
    problem.geometry.agree()  # the first process alone has looked at the copy
    return found


def displacements_tell(options: Options, parameters: Parameters) -> bool:
    """Whether displacements, once refined, tell the weight of their restraints; see `adp_evidence`.

    The Gaussian target is no −log p: it takes all misfit for noise of the data, and everything for determined.
    """
    return options.adp == "kl" and options.xray.target == "ml" and bool(parameters.displaced.any())


def stale_weights(problem: Problem, state: State) -> Weights:
    """Literal weights with coordinates and B both free, to be used for every later step."""
    everything = problem.parameters(state.atoms, "xyz+b")
    found = weights.literal_weights(state.atoms, everything, state.xray, problem.geometry.of_dictionary, problem.adp)
    return dataclasses.replace(found, explanation=found.explanation | {"scheme": "stale"})
