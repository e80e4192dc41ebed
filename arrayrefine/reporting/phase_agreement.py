"""How phases that were known beside the model went together with it, before and after, for the report."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.measurements.phases import agreement
from arrayrefine.problem import Problem
from arrayrefine.reporting.summaries import shell_edges
from arrayrefine.state import State
from arrayrefine.wording import counted


def describe(problem: Problem, first: State, last: State) -> dict[str, Any]:
    """What `report.json` has in `data`, nothing where no phases are known.

    Returns
    -------
    dict
        "phases": columns; scale, by which their coefficients count; "fom_claimed", mean figure of merit before that;
        what `agreement` finds of all of them at the end, and "cosine_start" at the start; and the same in "shells" of
        resolution, lowest first.
    """
    data = problem.reflections
    known = data.phases
    if known is None:
        return {}
    volume, edges = data.s_squared**1.5, shell_edges(data.s_squared)

    def row(chosen: NDArray[np.bool_]) -> dict[str, Any]:
        some = known.select(chosen)
        centric = data.centric[chosen]
        found = agreement(some, last.f_model[chosen], centric)
        return found | {"cosine_start": agreement(some, first.f_model[chosen], centric)["cosine"]}

    shells = [
        {"d_low": low ** (-1 / 3) if low > 0 else None, "d_high": high ** (-1 / 3)}
        | row((volume >= low) & (volume < high))
        for low, high in itertools.pairwise(edges)
    ]
    claimed = np.abs(known.scaled(1.0 / known.scale).expected(data.centric))[known.known]
    names = {"columns": list(known.columns), "scale": known.scale, "fom_claimed": float(claimed.mean())}
    return {"phases": names | row(np.ones(len(data), dtype=bool)) | {"shells": shells}}


def sentences(described: dict[str, Any]) -> list[str]:
    """What the log says of it at the end."""
    found = described.get("phases")
    if found is None or found["cosine"] is None:
        return []
    scale = "" if found["scale"] == 1.0 else f", which count {found['scale']:.2f} times"
    return [
        f"phases of {','.join(found['columns'])}{scale}: mean cosine of the difference to those of the model "
        f"{found['cosine_start']:.3f} -> {found['cosine']:.3f}, mean figure of merit {found['fom']:.2f}, of "
        f"{counted(found['reflections'], 'reflection')}"
    ]
