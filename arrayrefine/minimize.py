"""L-BFGS-B over a masked vector, in the variable of the preconditioner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Protocol

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.kernels.processes import gathered
from arrayrefine.options import Minimiser
from arrayrefine.parameters import Parameters
from arrayrefine.rendezvous import Evaluated
from arrayrefine.targets import Sum, Target
from arrayrefine.targets.extra import ExtraTarget
from arrayrefine.weights import Weights

Float = NDArray[np.float64]

INTERRUPTED = "interrupted"
"""Why a minimisation ended that was asked to."""
_FIRST_STEP = 0.8
"""Fraction of the preconditioned Newton step that the first line search tries: contacts may switch on beyond it."""
_MEMORY = 20
_WORTH = 0.3
"""Total gain per free parameter below which nothing is worth pursuing: noise alone gives ½ each."""
_LEAST = 3
"""Iterations before that is asked: the first is a damped step, and where only a weight has changed it gains little."""
_MOST = 1.0
"""Total gain per free parameter beyond which what is enough grows no more: what a bad start gained at once says nothing
about the rest, and bonds that are still far off would be taken for too loose a weight."""


@dataclass(frozen=True)
class Objective:
    """T = T_xray + w_geometry T_geometry + w_adp T_adp + Σ w E, E extra targets, as a function of the free parameters.

    Raises
    ------
    StaleWeightsError
        On construction, if the weights were computed for another freeze state.
    """

    parameters: Parameters
    weights: Weights
    xray: Target
    geometry: Target
    adp: Target
    extra: tuple[ExtraTarget, ...] = ()
    timer: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.weights.require(self.parameters)
        for term in self.extra:
            self.weights.of(term)

    def at(self, x: Float) -> tuple[float, Float]:
        """Value, and gradient by the free parameters, at the vector `x`."""
        atoms = self.parameters.unpack(x)
        value, gradient = self.xray(atoms)
        start = perf_counter()
        for weight, (term, slope) in self._terms(atoms):
            value, gradient = value + weight * term, gradient + weight * slope
        self._clock("restraints", start)
        return value, self.parameters.pullback(gradient)

    def _terms(self, atoms: Atoms) -> list[tuple[float, tuple[float, Gradient]]]:
        """Weights, and values and gradients, of the terms other than the X-ray one."""
        terms: list[tuple[float, Target]] = []
        if self.weights.geometry is not None:
            parts = self.geometry.parts() if isinstance(self.geometry, Sum) else (self.geometry,)
            terms += [(self.weights.geometry, part) for part in parts]
        if self.weights.adp is not None:
            terms.append((self.weights.adp, self.adp))
        found = gathered([partial(target, atoms) for _, target in terms])
        start = perf_counter()
        own = [(w, target(atoms)) for target in self.extra if (w := self.weights.of(target)) is not None]
        if self.extra:
            self._clock("extra", start)
        return [*((weight, result) for (weight, _), result in zip(terms, found)), *own]

    def _clock(self, part: str, start: float) -> None:
        self.timer[part] = self.timer.get(part, 0.0) + perf_counter() - start


@dataclass(frozen=True)
class Solution:
    """Where a minimisation ended.

    Attributes
    ----------
    atoms : Atoms
        The best atoms met.
    value, start_value : float
    evaluations, iterations : int
    reason : str
        Why it ended, as a sentence.
    """

    atoms: Atoms
    value: float
    start_value: float
    evaluations: int
    iterations: int
    reason: str


class Change(Protocol):
    """A change of variable, such as `ChangeOfVariable`."""

    @property
    def x0(self) -> Float:
        """Where p = 0 lies (n,)."""
        ...

    def to_x(self, p: Float) -> Float:
        """The vector of the parameters (n,) at p (n,)."""
        ...

    def pullback(self, x: Float, gradient: Float, p: Float) -> Float:
        """Gradient by p (n,) at `x` = to_x(p), from the gradient by x."""
        ...

    def bounds(self) -> tuple[Float, Float]:
        """Bounds on p (n,)."""
        ...


class _EndedError(Exception):
    """Raised inside the objective to leave SciPy."""


class _Run:
    """Counts evaluations and keeps the best point, which SciPy does not hand out when it is left early."""

    def __init__(
        self, objective: Evaluated, change: Change, options: Minimiser, stop: Callable[[], bool], worth: float
    ):
        self.objective, self.change, self.options, self.stop = objective, change, options, stop
        self.worth = worth * _WORTH
        self.evaluations = 0
        self.iterations = 0
        self.start = self.best = np.inf
        self.best_x = change.x0
        self.last = np.inf
        self.unit = 1.0
        self.reason = ""
        self.first: tuple[float, Float] | None = None

    def __call__(self, p: Float) -> tuple[float, Float]:
        if self.stop():
            self.reason = INTERRUPTED
            raise _EndedError
        if self.first is not None and not p.any():  # SciPy asks once more for the start
            return self.first[0], self.unit * self.first[1]
        x = self.change.to_x(self.unit * p)
        value, gradient = self.objective.at(x)
        self.evaluations += 1
        if self.evaluations == 1:
            self.start = self.last = value
        if value < self.best:
            self.best, self.best_x = value, x
        by_p = self.change.pullback(x, gradient, self.unit * p)
        if self.first is None:
            self.first = value, by_p
        return value, self.unit * by_p

    def after_iteration(self, _: Float) -> None:
        self.iterations += 1
        gain, total = self.last - self.best, self.start - self.best
        self.last = self.best
        n = len(self.best_x)
        enough = self.options.tolerance * min(max(total, self.worth * n), _MOST * n)
        if gain <= enough and self.iterations >= _LEAST:
            self.reason = f"converged: the last iteration gained {gain:.2g} of {total:.4g}, below {enough:.2g}"
            raise _EndedError


def _in_words(message: str) -> str:
    """What SciPy says of an end that it found itself."""
    said = message.strip().lower()
    return "the line search found no lower value" if "abnormal" in said else said


def minimise(
    objective: Evaluated,
    change: Change,
    options: Minimiser,
    stop: Callable[[], bool] = lambda: False,
    worth: float = 1.0,
) -> Solution:
    """Lower an objective from the reference atoms of its parameters.

    Parameters
    ----------
    objective : Objective, or what evaluates like one
    change : ChangeOfVariable, or what changes variables like one
        Of the same parameters.
    options : Minimiser
    stop : callable
        Polled before every evaluation; True ends the step with the best atoms so far.
    worth : float
        Factor on the gain below which nothing is worth pursuing; below 1 for a model that is far from its data.

    Returns
    -------
    Solution
        Never worse than the start.
    """
    run = _Run(objective, change, options, stop, worth)
    n = objective.parameters.size
    try:
        _, gradient = run(np.zeros(n))
        norm = float(np.linalg.norm(gradient))
        if norm == 0.0:
            run.reason = "converged: the gradient is zero"
            raise _EndedError
        # SciPy's first step has length one; this makes it the damped Newton step.
        run.unit = _FIRST_STEP * norm
        lower, upper = change.bounds()
        # SciPy goes through bounds one by one, in Python, infinite ones too.
        bounded = bool(np.isfinite(lower).any() or np.isfinite(upper).any())
        result = scipy.optimize.minimize(
            run, np.zeros(n), jac=True, method="L-BFGS-B", callback=run.after_iteration,
            bounds=scipy.optimize.Bounds(lower / run.unit, upper / run.unit) if bounded else None,
            options={"maxiter": options.max_iterations, "maxcor": _MEMORY, "maxls": 12, "ftol": 0.0, "gtol": 0.0,
                     "maxfun": 10 * options.max_iterations},
        )  # fmt: skip
        if run.iterations >= options.max_iterations:
            run.reason = f"reached the limit of {options.max_iterations} iterations"
        else:
            run.reason = f"{'converged' if result.success else 'stopped'}: {_in_words(str(result.message))}"
    except _EndedError:
        pass
    atoms = objective.parameters.unpack(run.best_x)
    return Solution(atoms, run.best, run.start, run.evaluations, run.iterations, run.reason)
