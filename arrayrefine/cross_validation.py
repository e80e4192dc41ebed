"""Cross-validation: every reflection is left out of one refinement, and judged by it."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from arrayrefine.configuration import check_options
from arrayrefine.errors import ArrayRefineError
from arrayrefine.further_restraints.tables import TableSource
from arrayrefine.io.in_memory import DataSource, ModelSource
from arrayrefine.io.models.reading import read_model
from arrayrefine.io.reflections.phase_columns import with_phases
from arrayrefine.io.reflections.reading import crystal_of, read_reflections
from arrayrefine.kernels.backend import cupy_is_there
from arrayrefine.many import Job, refine_many
from arrayrefine.measurements.folds import cut
from arrayrefine.minimize import INTERRUPTED
from arrayrefine.options import DISPLACED, Options
from arrayrefine.reflections import RANDOM, Reflections, positions
from arrayrefine.report import Step
from arrayrefine.reporting.summaries import correlation, shell_edges
from arrayrefine.result import Result
from arrayrefine.scaling import r_factor
from arrayrefine.version import version
from arrayrefine.wording import parted

Float = NDArray[np.float64]
_T = TypeVar("_T")

SCHEMA = "arrayrefine.crossvalidation/1"


@dataclass(frozen=True)
class CrossValidation:
    """What came of refinements each of which left other reflections out.

    R-complete is Σ|F_o − F_c| / Σ F_o over all reflections, with F_c from the refinement that left the reflection out:
    Luebben & Gruene (2015) PNAS 112, 8999-9003.

    Attributes
    ----------
    reflections : Reflections
        As read; `free` is the test set of the file, if it has one.
    fold : (R,) int32
        Number of the refinement that left each reflection out, from 0.
    f_model : (R,) float64
        Amplitude by that refinement, on the scale of `f_obs`; nan where it was interrupted, or set the measurement
        aside.
    results : tuple of Result
        One for each fold, as far as they had begun.
    notes : tuple of str
        What was fixed up, left out or assumed as the data were read.
    options : Options
        As given.
    """

    reflections: Reflections
    fold: NDArray[np.int32]
    f_model: Float
    results: tuple[Result, ...]
    notes: tuple[str, ...]
    options: Options

    @property
    def ended(self) -> tuple[int, ...]:
        """Numbers of the folds that were not interrupted."""
        return tuple(k for k, r in enumerate(self.results) if not r.report.stopped.startswith(INTERRUPTED))

    @property
    def known(self) -> NDArray[np.bool_]:
        """Reflections (R,) that a refinement has left out."""
        return np.isfinite(self.f_model)

    @property
    def r_complete(self) -> float:
        """R of all reflections, each by the refinement that left it out; nan where there is none."""
        return self._r(self.known)

    @property
    def r_work(self) -> float:
        """Mean R-work of the refinements; nan where none has ended."""
        values = [self.results[k].r_work for k in self.ended]
        return float(np.mean(values)) if values else math.nan

    @property
    def r_free(self) -> tuple[float, ...]:
        """R of the reflections that each of the refinements that have ended left out."""
        return tuple(self._r(self.known & (self.fold == k)) for k in self.ended)

    @property
    def standard_error(self) -> float:
        """Standard error of R-complete; nan where fewer than two refinements have ended.

        The larger of two, each that of a ratio of sums, by what ``|F_o − F_c|`` is beyond R F_o: of single reflections,
        as if these were independent, and of folds, whose refinements differ too. The second alone would often be far
        too small with few folds.
        """
        folds, known = self.ended, self.known
        if len(folds) < 2:
            return math.nan
        f_obs, fold = self.reflections.f_obs[known], self.fold[known]
        beyond = np.abs(f_obs - self.f_model[known]) - self.r_complete * f_obs
        of_folds = np.bincount(fold, beyond)[list(folds)]
        squares = max(float(beyond @ beyond), float(of_folds @ of_folds) * len(folds) / (len(folds) - 1))
        return math.sqrt(squares) / float(f_obs.sum())

    @property
    def r_own(self) -> float | None:
        """R of the file's own test set, each reflection by the refinement that left it out; None without that set."""
        own = self.known & self.reflections.free
        return self._r(own) if own.any() else None

    def shells(self) -> tuple[dict[str, Any], ...]:
        """R-complete and the correlation of amplitudes in up to ten shells, lowest resolution first."""
        edges = shell_edges(self.reflections.s_squared)
        shell = np.clip(np.searchsorted(edges, self.reflections.s_squared**1.5, side="right") - 1, 0, len(edges) - 2)
        rows = []
        for k, (low, high) in enumerate(itertools.pairwise(edges)):
            inside = self.known & (shell == k)
            rows.append({
                "d_low": float(low ** (-1 / 3)) if low > 0 else None, "d_high": float(high ** (-1 / 3)),
                "n": int(inside.sum()), "r_complete": self._r(inside) if inside.any() else None,
                "cc_complete": correlation(self.reflections.f_obs[inside], self.f_model[inside]),
            })  # fmt: skip
        return tuple(rows)

    def as_dict(self) -> dict[str, Any]:
        """For `crossvalidation.json`."""
        rows = []
        for k in self.ended:
            final = self.results[k].report.final
            inside = self.known & (self.fold == k)
            rows.append({
                "fold": k + 1, "n": int(inside.sum()), "r_work": final.r_work, "r_free": self._r(inside),
                "bond_rmsz": final.bond_rmsz, "angle_rmsz": final.angle_rmsz, "stopped": self.results[k].report.stopped,
                **parted(self.results[k].report.warnings),
            })  # fmt: skip
        inputs = {**(self.results[0].report.inputs if self.results else {}), "data": self.reflections.source}
        return {
            "schema": SCHEMA, "version": version(), "inputs": inputs,
            "options": dataclasses.asdict(self.options), "folds": int(self.fold.max()) + 1, "n": int(self.known.sum()),
            "r_complete": self.r_complete, "standard_error": self.standard_error, "r_work": self.r_work,
            "own_test_set": {"n": int((self.known & self.reflections.free).sum()), "r_complete": self.r_own},
            "by_fold": rows, "shells": self.shells(), "notes": self.notes,
        }  # fmt: skip

    def _r(self, chosen: NDArray[np.bool_]) -> float:
        return r_factor(self.reflections.f_obs[chosen], self.f_model[chosen])


def cross_validate(
    model: ModelSource,
    data: DataSource,
    options: Options = DISPLACED,
    folds: int = 10,
    *,
    restraint_tables: Sequence[TableSource] = (),
    on_step: Callable[[int, Step], object] | None = None,
    on_message: Callable[[int, str], object] | None = None,
    stop: Callable[[], int | None] | None = None,
) -> CrossValidation:
    """Refine once for each of several test sets that have all reflections between them.

    As many as `Options.threads` says are under way at a time, each with memory of its own, and what is interrupted has
    those that have ended; where a CUDA device may be used all are, as it evaluates them together.

    Parameters
    ----------
    model, data : path or object in memory
        As for `refine`.
    options : Options
        As for `refine`; the default displaces the start by 0.2 Å, as a model has been refined against all but one of
        these test sets before. `seed` chooses the sets, and `threads` says how many processes share the refinements.
    folds : int
        How many test sets. Reflections that a symmetry of the lattice relates are in one of them.
    restraint_tables : sequence
        As for `refine`.
    on_step, on_message, stop : callable, optional
        As for `refine_many`.

    Returns
    -------
    CrossValidation

    Raises
    ------
    InputError, MonomerError, DeviceError
        The input cannot be used as given.
    """
    check_options(options)
    crystal = read_model(model, lambda _: crystal_of(data)).crystal
    reflections, notes = read_reflections(
        data, crystal, columns=options.columns, free=options.free, d_min=options.d_min, d_max=options.d_max,
        seed=options.seed, free_fraction=0.0,
    )  # fmt: skip
    reflections, of_phases = with_phases(reflections, options.phases, data)
    fold, notes = cut(reflections, folds, options.seed), (*notes, *of_phases)
    given, options = options, dataclasses.replace(
        options, columns=None, free=None, phases=None, d_min=None, d_max=None
    )
    jobs = [
        Job(model, _without(reflections, fold, k, options.seed), options, restraint_tables=restraint_tables)
        for k in range(folds)
    ]
    results: list[Result] = []
    at_once = options.threads if options.device == "cpu" or not cupy_is_there() else folds
    for first in range(0, folds, at_once):
        if stop is not None and stop() is not None:
            break
        for result in refine_many(
            jobs[first : first + at_once], on_step=_counted_from(first, on_step),
            on_message=_counted_from(first, on_message), stop=stop,
        ):  # fmt: skip
            if isinstance(result, ArrayRefineError):
                raise result
            results.append(result)
    made = CrossValidation(reflections, fold, np.full(len(reflections), np.nan), tuple(results), notes, given)
    for k in made.ended:
        own = results[k].reflections
        made.f_model[positions(own.hkl[own.free], reflections.hkl)] = results[k].f_model[own.free]
    return made


def _counted_from(first: int, callback: Callable[[int, _T], object] | None) -> Callable[[int, _T], object] | None:
    """A callback for some of all refinements, which numbers them from 0."""
    return None if callback is None else lambda number, what: callback(first + number, what)


def _without(reflections: Reflections, fold: NDArray[np.int32], number: int, seed: int) -> Reflections:
    """Reflections with a fold for the test set, which is as new to the model as one chosen when they were read."""
    said = f"{RANDOM}, fold {number + 1} of {int(fold.max()) + 1}, seed {seed}"
    source = reflections.source | {"free_column": None, "free_convention": said, "free_file_value": None}
    return dataclasses.replace(reflections, free=fold == number, flags=None, source=source)
