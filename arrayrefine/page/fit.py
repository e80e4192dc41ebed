"""How the model fits the data by resolution: R factors, correlations, sigma_A, scale."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from arrayrefine.page.figure import COLOURS, Chart, axes, inline, legend
from arrayrefine.page.table import Cell, Column, Table, number, plain, table, whole
from arrayrefine.scattering.form_factors import UNITS, Radiation

if typing.TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = Sequence[Mapping[str, Any]]
_TICKS = (20.0, 10.0, 8.0, 7.0, 6.0, 5.0, 4.5, 4.0, 3.5, 3.2, 3.0, 2.8, 2.6, 2.5, 2.4, 2.3, 2.2, 2.1, 2.0, 1.9, 1.8,
          1.7, 1.6, 1.5, 1.4, 1.3, 1.2, 1.15, 1.1, 1.05, 1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6)  # fmt: skip
"""Å; where the axis of resolution may have a label."""


def charts(account: Mapping[str, Any]) -> list[Chart]:
    """Charts by resolution."""
    found: list[Chart] = []
    if account["shells"]:
        rows = _shell_table(account["shells"])
        found += [_r_factors(account["shells"], rows), _correlations(account["shells"])]
    scaling = account["scaling"]
    if scaling.get("sigma_a"):
        found.append(_sigma_a(scaling["sigma_a"]))
    bins = scaling.get("scale", {}).get("bins")
    if bins:
        found.append(_scale(bins, scaling, account["data"].get("radiation", "xray")))
    if (account["data"].get("phases") or {}).get("shells"):  # not in reports of before
        found.append(_phases(account["data"]["phases"]))
    return found


def _resolution_axis(axis: Axes, finest: float, coarsest: float) -> None:
    """Label an axis of 1/d² with d; as many labels as there is room for."""
    low, high = (0.0 if coarsest > 12.0 else coarsest**-2), finest**-2
    axis.set_xlim(low, high * 1.02)
    last, places = -1.0, []
    for d in _TICKS:
        x = d**-2
        if low <= x <= high * 1.02 and x - last > (high - low) / 9:
            places.append(d)
            last = x
    axis.set_xticks([d**-2 for d in places], [f"{d:g}" for d in places])
    axis.set_xlabel("resolution d (Å)")


def _middle(shell: Mapping[str, Any]) -> float:
    """1/d² in the middle of a shell."""
    low = 0.0 if shell["d_low"] is None else shell["d_low"] ** -2
    return float(low + shell["d_high"] ** -2) / 2.0


def _range(shell: Mapping[str, Any]) -> Cell:
    low = "∞" if shell["d_low"] is None else f"{shell['d_low']:.2f}"
    return Cell(f"{low} – {shell['d_high']:.2f}", -shell["d_high"])


def _lines(axis: Axes, x: Sequence[float], shells: Rows, kinds: Sequence[tuple[str, str, str, str]]) -> list[str]:
    """Draw a value of all shells per kind (label, key, colour, marker); say where each begins and ends."""
    said = []
    for label, name, colour, marker in kinds:
        values = [shell[name] for shell in shells]
        known = [value for value in values if value is not None]
        if known:
            drawn = [float("nan") if value is None else value for value in values]
            axis.plot(x, drawn, marker=marker, color=COLOURS[colour], label=label)
            said.append(f"{label} {plain(known[0], 3)} in the lowest shell and {plain(known[-1], 3)} in the highest")
    return said


def _r_factors(shells: Rows, rows: Table) -> Chart:
    figure, (axis,) = axes()
    x = [_middle(shell) for shell in shells]
    said = _lines(axis, x, shells, (("R-work", "r_work", "work", "o"), ("R-free", "r_free", "free", "s")))
    axis.set_ylim(0.0, None)
    axis.set_ylabel("R")
    legend(axis)
    _resolution_axis(axis, shells[-1]["d_high"], shells[0]["d_low"] or 1e3)
    return Chart(
        "r-shells", "R factors by resolution",
        "Rises smoothly towards high resolution. A rise at the low end points to the solvent or to missing parts of "
        "the model; a peak at one resolution to ice rings or to bad measurements; near 0.42 there is no signal left.",
        f"R factors in {len(shells)} shells: {'; '.join(said)}.", inline(figure, "r-shells"), table=rows,
    )  # fmt: skip


def _correlations(shells: Rows) -> Chart:
    figure, (axis,) = axes()
    x = [_middle(shell) for shell in shells]
    kinds = (("CC work", "cc_work", "work", "o"), ("CC free", "cc_free", "free", "s"))
    said = _lines(axis, x, shells, kinds)
    if any(shell["completeness"] is not None for shell in shells):
        whole_shells = [float("nan") if s["completeness"] is None else s["completeness"] for s in shells]
        axis.plot(x, whole_shells, ls="--", lw=1.1, color=COLOURS["muted"], label="completeness")
        said.append(f"completeness {plain(whole_shells[0], 2)} and {plain(whole_shells[-1], 2)}")
    axis.set_ylim(min(0.0, axis.get_ylim()[0]), 1.04)
    legend(axis)
    _resolution_axis(axis, shells[-1]["d_high"], shells[0]["d_low"] or 1e3)
    return Chart(
        "cc-shells", "Correlation of F(obs) and F(model), and completeness",
        "CC free should stay well above 0 up to the last shell; where it stays high, the crystal may hold data beyond "
        "the limit. Few test reflections make it noisy.",
        f"Correlations in {len(shells)} shells: {'; '.join(said)}.", inline(figure, "cc-shells"),
    )  # fmt: skip


def _shell_table(shells: Rows) -> Table:
    columns = (
        Column("Resolution, Å", numeric=False), Column("Work"), Column("Test"), Column("Complete"), Column("R-work"),
        Column("R-free"), Column("CC work"), Column("CC free"),
    )  # fmt: skip
    rows = [
        (
            _range(s),
            whole(s["n_work"]), whole(s["n_free"]),
            Cell("–" if s["completeness"] is None else f"{100 * s['completeness']:.1f} %", s["completeness"]),
            number(s["r_work"], 3), number(s["r_free"], 3), number(s["cc_work"], 3), number(s["cc_free"], 3),
        )
        for s in shells
    ]  # fmt: skip
    return table("Shells of resolution", columns, rows)


def _sigma_a(bins: Rows) -> Chart:
    figure, (axis,) = axes()
    x = [row["d"] ** -2 for row in bins]
    luzzati, error = [row["D"] for row in bins], [row.get("S_over_mean_intensity") for row in bins]
    axis.plot(x, luzzati, marker="o", color=COLOURS["work"], label="D")
    if all(value is not None for value in error):
        axis.plot(x, np.array(error, dtype=float), marker="s", color=COLOURS["free"], label="S / mean F²")
    axis.set_ylim(0.0, max(1.05, axis.get_ylim()[1]))
    legend(axis)
    _resolution_axis(axis, bins[-1]["d"], bins[0]["d"])
    columns = (Column("d, Å"), Column("D"), Column("S"), Column("S / mean F²"), Column("Reflections"))
    rows = [
        (number(b["d"], 2), number(b["D"], 3), number(b.get("S"), 1), number(b.get("S_over_mean_intensity"), 3),
         whole(b.get("reflections")))
        for b in bins
    ]  # fmt: skip
    return Chart(
        "sigma-a", "σ_A: what the model is worth",
        "D is the part of F(model) that can be trusted, S the variance that the model does not explain, as a share of "
        "the mean intensity. D near 1 and S near 0 is a complete model; both come from the test set.",
        f"D is {plain(luzzati[0], 3)} at {bins[0]['d']:.1f} Å and {plain(luzzati[-1], 3)} at {bins[-1]['d']:.1f} Å; "
        f"S over mean intensity {plain(error[0], 3)} and {plain(error[-1], 3)}.",
        inline(figure, "sigma-a"), table=table("σ_A by resolution", columns, rows, row_heads=False),
    )  # fmt: skip


def _scale(bins: Rows, scaling: Mapping[str, Any], radiation: Radiation) -> Chart:
    figure, (axis,) = axes()
    x = [row["d"] ** -2 for row in bins]
    overall = scaling["scale"].get("k_overall") or 1.0
    axis.plot(x, [row["k_iso"] / overall for row in bins], marker="o", color=COLOURS["work"], label="k, over its mean")
    said = [f"k over its mean {plain(bins[0]['k_iso'] / overall, 3)} to {plain(bins[-1]['k_iso'] / overall, 3)}"]
    if scaling.get("solvent_model") != "none" and all("k_mask" in row for row in bins):
        axis.plot(x, [row["k_mask"] for row in bins], marker="s", color=COLOURS["free"], label="k solvent")
        said.append(f"k of the solvent {plain(bins[0]['k_mask'], 3)} to {plain(bins[-1]['k_mask'], 3)}")
    axis.set_ylim(0.0, max(1.2, axis.get_ylim()[1]))
    legend(axis)
    _resolution_axis(axis, bins[-1]["d"], bins[0]["d"])
    tensor = {k: v for k, v in (scaling["scale"].get("b_aniso") or {}).items() if abs(v) > 0.005}
    more = f" Anisotropic B: {', '.join(f'{k} {plain(v, 2)}' for k, v in tensor.items())} Å²." if tensor else ""
    columns = (Column("d, Å"), Column("k"), Column("k solvent"))
    rows = [(number(b["d"], 2), number(b["k_iso"], 3), number(b.get("k_mask"), 3)) for b in bins]
    return Chart(
        "scale", "Scale and bulk solvent",
        "k should be flat and near 1: a trend or a step is a problem of the data. The solvent's factor, "
        f"{UNITS[radiation]}/Å³, should {'start at 0.3 to 0.45 and ' if radiation == 'xray' else ''}only fall.{more}",
        f"By resolution, lowest first: {'; '.join(said)}.",
        inline(figure, "scale"), table=table("Scale by resolution", columns, rows, row_heads=False),
    )  # fmt: skip


def _phases(phases: Mapping[str, Any]) -> Chart:
    figure, (axis,) = axes()
    shells = phases["shells"]
    x = [_middle(shell) for shell in shells]
    kinds = (
        ("cosine, start", "cosine_start", "free", "s"), ("cosine, end", "cosine", "work", "o"),
        ("figure of merit", "fom", "muted", "_"),
    )  # fmt: skip
    said = _lines(axis, x, shells, kinds)
    axis.set_ylim(min(0.0, axis.get_ylim()[0]), 1.04)
    legend(axis)
    _resolution_axis(axis, shells[-1]["d_high"], shells[0]["d_low"] or 1e3)
    columns = (
        Column("Resolution, Å", numeric=False), Column("Reflections"), Column("Figure of merit"),
        Column("Cosine, start"), Column("Cosine, end"),
    )  # fmt: skip
    every = {"d_low": shells[0]["d_low"], "d_high": shells[-1]["d_high"], **phases}
    rows = [
        (_range(s), whole(s["reflections"]), number(s["fom"], 2), number(s["cosine_start"], 3), number(s["cosine"], 3))
        for s in (*shells, every)
    ]
    counted = ""
    if phases["scale"] != 1.0:
        counted = f" These were {plain(phases['fom_claimed'], 2)} in the mean; they count {phases['scale']:.2f} times."
    return Chart(
        "phases", "Known phases",
        f"{', '.join(phases['columns'])} of {phases['reflections']:,} reflections, and the mean cosine of their "
        "difference to those of the model, weighted by their figures of merit. Where the model is right and these are "
        f"what phases are worth, the cosine is at least the mean figure of merit.{counted}",
        f"By resolution: {'; '.join(said)}. Of all: figure of merit {plain(phases['fom'], 2)}, cosine "
        f"{plain(phases['cosine_start'], 3)} at the start and {plain(phases['cosine'], 3)} at the end.",
        inline(figure, "phases"), table=table("Known phases by resolution; of all in the last row", columns, rows),
    )  # fmt: skip
