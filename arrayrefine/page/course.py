"""How the refinement went: R factors, likelihood and weights step by step."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from arrayrefine.page.figure import COLOURS, Chart, axes, inline, legend
from arrayrefine.page.table import Cell, Column, Table, number, plain, table, whole

if typing.TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Account = Mapping[str, Any]
_MOST_LABELS = 12


def charts(account: Account) -> list[Chart]:
    """Charts of the steps of a refinement; none where there was no step."""
    if not account["steps"]:
        return []
    found = [_r_factors(account), _likelihood(account["steps"]), _weights(account["steps"]), _geometry(account)]
    return [chart for chart in found if chart]


def step_table(account: Account) -> Table | None:
    """Every step in numbers."""
    if not account["steps"]:
        return None
    columns = (
        Column("Step", numeric=False), Column("Free", hint="refined parameters"), Column("w(geometry)"), Column("w(B)"),
        Column("R-work"), Column("R-free"), Column("−log p work"), Column("−log p test"),
        Column("Bond Z", hint="RMSZ of bonds"), Column("Angle Z", hint="RMSZ of angles"),
        Column("Calls", hint="evaluations of the objective"), Column("Time, s"),
    )  # fmt: skip
    rows = []
    for name, step in zip(_names(account["steps"]), account["steps"]):
        weights = step["weights"]
        rows.append((
            Cell(name), whole(step["free_parameters"]),
            _significant(weights.get("geometry")), _significant(weights.get("adp")), number(step["r_work"], 4),
            number(step["r_free"], 4), number(step["nll_work"], 3), number(step["nll_free"], 3),
            number(step["bond_rmsz"], 2), number(step["angle_rmsz"], 2), whole(step["evaluations"]),
            number(step["seconds"], 1),
        ))  # fmt: skip
    return table("Every step in numbers", columns, rows, sortable=False)


def reasons(account: Account) -> list[tuple[str, str, str]]:
    """Of each step its name, how its weights came about, and how it ended."""
    steps = account["steps"]
    return [
        (name, _capital(step["weights"].get("sentence") or ""), _capital(step["note"] or ""))
        for name, step in zip(_names(steps), steps)
    ]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _significant(value: float | None) -> Cell:
    return Cell("–" if value is None else f"{value:.3g}", value)


def _names(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{step['cycle']} {step['target']}" for step in steps]


def _axis(names: Sequence[str]) -> tuple[Figure, Axes]:
    """An axis with the steps from left to right."""
    every = 1 + (len(names) - 1) // _MOST_LABELS
    places = range(0, len(names), every)
    turned = len(places) * max(map(len, names)) > 36
    figure, (axis,) = axes(height=2.9, bottom=0.62 if turned else 0.34)
    axis.set_xticks(list(places), list(names[::every]), rotation=30 if turned else 0, fontsize=8.5,
                    ha="right" if turned else "center", rotation_mode="anchor")  # fmt: skip
    axis.grid(visible=False, axis="x")
    axis.set_xlim(-0.3, len(names) - 0.7)
    return figure, axis


def _curve(axis: Axes, values: Sequence[float | None], label: str, colour: str, marker: str) -> list[float]:
    """Draw a value for each step, with gaps where there is none, and return those that there are."""
    known = [value for value in values if value is not None]
    if known:
        drawn = [float("nan") if value is None else value for value in values]
        axis.plot(drawn, marker=marker, color=colour, label=label)
    return known


def _r_factors(account: Account) -> Chart:
    steps, start = account["steps"], account["start"]
    names = ["start", *_names(steps)]
    figure, axis = _axis(names)
    parts = []
    for label, name, colour, marker in (("R-work", "r_work", "work", "o"), ("R-free", "r_free", "free", "s")):
        values = [start[name], *(step[name] for step in steps)]
        if _curve(axis, values, label, COLOURS[colour], marker):
            parts.append(f"{label} goes from {plain(values[0], 4)} to {plain(values[-1], 4)}")
    axis.set_ylabel("R")
    legend(axis)
    text = "; ".join(parts) + f", over {len(steps)} steps: {', '.join(names)}."
    return Chart(
        "r-steps", "R factors, step by step",
        "Both should fall and level off. A gap that widens while R-work still falls is the mark of overfitting.",
        text, inline(figure, "r-steps"),
    )  # fmt: skip


def _likelihood(steps: Sequence[Mapping[str, Any]]) -> Chart | None:
    if all(step["nll_work"] is None for step in steps):
        return None
    figure, axis = _axis(_names(steps))
    parts = []
    for label, name, colour, marker in (("work", "nll_work", "work", "o"), ("test", "nll_free", "free", "s")):
        values = [step[name] for step in steps]
        if _curve(axis, values, label, COLOURS[colour], marker):
            parts.append(f"of the {label} set from {plain(values[0], 3)} to {plain(values[-1], 3)}")
    axis.set_ylabel("mean −log p")
    legend(axis)
    return Chart(
        "nll-steps", "Likelihood, step by step",
        "Mean −log p per reflection, lower is better. What the refinement minimises is that of the work set; "
        "that of the test set should follow.",
        f"Mean −log p per reflection after each step: {'; '.join(parts)}.", inline(figure, "nll-steps"),
    )  # fmt: skip


def _weights(steps: Sequence[Mapping[str, Any]]) -> Chart | None:
    kinds = (("geometry", "geometry", "work", "o"), ("B factors", "adp", "free", "s"))
    figure, axis = _axis(_names(steps))
    parts = []
    for label, name, colour, marker in kinds:
        places = [i for i, step in enumerate(steps) if step["weights"].get(name)]
        if not places:
            continue
        values = [steps[i]["weights"][name] for i in places]
        axis.plot(places, values, marker=marker, color=COLOURS[colour], label=label)
        parts.append(f"{label}: " + ", ".join(f"{value:.3g}" for value in values))
        priors = [(steps[i]["weights"].get(f"{name}_detail") or {}).get("prior") for i in places]
        if all(priors):
            axis.plot(places, np.array(priors, dtype=float), ls=":", lw=1.0, marker="_", ms=7.0, color=COLOURS[colour])
    if not parts:
        return None
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    low, high = low / 1.2, high * 1.2
    axis.set_ylim(low, high)
    mantissas = (1, 2, 5) if high / low < 200 else (1,)
    ticks = [m * 10.0**k for k in range(-7, 4) for m in mantissas if low <= m * 10.0**k <= high]
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_yticks([], minor=True)
    axis.set_ylabel("weight")
    legend(axis)
    return Chart(
        "weights", "Weights of the restraints, step by step",
        "Found anew for what is free in each step. Dotted: what the resolution leads one to expect. The table of steps "
        "below gives the reason for each.",
        f"Weights step by step, {'; '.join(parts)}.", inline(figure, "weights"),
    )  # fmt: skip


def _geometry(account: Account) -> Chart | None:
    steps = account["steps"]
    figure, axis = _axis(_names(steps))
    parts = []
    for label, name, colour, marker in (("bonds", "bond_rmsz", "work", "o"), ("angles", "angle_rmsz", "free", "s")):
        values = [step[name] for step in steps]
        if known := _curve(axis, values, label, COLOURS[colour], marker):
            parts.append(f"of {label} from {plain(known[0], 2)} to {plain(known[-1], 2)}")
    if not parts:
        return None
    band = account["options"]["weighting"]
    axis.axhspan(band["rmsz_low"], band["rmsz_high"], color=COLOURS["band"], alpha=0.3, lw=0)
    axis.set_ylim(0.0, max(1.4, axis.get_ylim()[1] * 1.15))
    axis.set_ylabel("RMSZ")
    legend(axis)
    return Chart(
        "rmsz-steps", "Geometry, step by step",
        "Root mean square of the deviations in units of their σ. Bonds are steered into the shaded band; far above 1 "
        "the model is strained, far below the restraints leave the data no say.",
        f"RMSZ after each step, {'; '.join(parts)}.", inline(figure, "rmsz-steps"),
    )  # fmt: skip
