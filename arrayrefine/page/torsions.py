"""The Ramachandran plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.page.figure import COLOURS, Chart, axes, inline

Row = Mapping[str, Any]

_LABELLED = 12


def chart(validation: Mapping[str, Any], percentiles: NDArray[np.float64]) -> Chart | None:
    """All residues that have both φ and ψ; None where there are none.

    Parameters
    ----------
    validation : mapping
    percentiles : (n, n) float64
        Background: how common each (φ, ψ) is, from −180° on.
    """
    rows = [row for row in validation["residues"] if row.get("ramachandran")]
    if not rows:
        return None
    figure, (axis,) = axes(4.6, 4.6, top=0.34)
    _background(axis, percentiles)
    for kind, colour, size in (("favoured", "work", 7.0), ("allowed", "third", 20.0), ("outlier", "bad", 40.0)):
        chosen = [row for row in rows if row["ramachandran"] == kind]
        axis.scatter([], [], s=size, lw=0, marker="X" if kind == "outlier" else "o", color=COLOURS[colour],
                     label=f"{kind} {len(chosen)}")  # fmt: skip
        for shape in sorted({_shape(row) for row in chosen}):
            of_shape = [row for row in chosen if _shape(row) == shape]
            axis.scatter([row["phi"] for row in of_shape], [row["psi"] for row in of_shape], s=size, marker=shape, lw=0,
                         color=COLOURS[colour], zorder=3)  # fmt: skip
    outliers = [row for row in rows if row["ramachandran"] == "outlier"]
    named: list[Row] = []
    for row in outliers:
        if len(named) == _LABELLED or any(_crowded(row, other) for other in named):
            continue
        named.append(row)
        right = row["phi"] > 90
        axis.annotate(f"{row['name']} {row['seqid']}", (row["phi"], row["psi"]), xytext=(-6 if right else 6, 3),
                      textcoords="offset points", ha="right" if right else "left", fontsize=8)  # fmt: skip
    axis.set(xlim=(-180, 180), ylim=(-180, 180), xlabel="φ (°)", ylabel="ψ (°)")
    axis.set_xticks(range(-180, 181, 60))
    axis.set_yticks(range(-180, 181, 60))
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, handletextpad=0.1, columnspacing=1.0)
    return Chart(
        "ramachandran", "Ramachandran plot",
        "Crosses are outliers: right only where the density leaves no doubt. Triangles are Gly, squares Pro. Shaded: "
        "where residues other than Gly, Pro, Ile, Val and those before Pro are common; each residue was judged by the "
        "distribution of its own kind.",
        _said(rows, outliers), inline(figure, "ramachandran"),
    )  # fmt: skip


def _crowded(one: Row, two: Row) -> bool:
    """Whether there is no room for the names of both."""
    return bool(abs(one["phi"] - two["phi"]) < 75.0 and abs(one["psi"] - two["psi"]) < 11.0)


def _shape(row: Row) -> str:
    if row["ramachandran"] == "outlier":
        return "X"
    return "^" if row["name"] == "GLY" else "s" if row["name"] == "PRO" else "o"


def _background(axis: Any, grid: NDArray[np.float64]) -> None:
    """Shade where residues are allowed and favoured."""
    n = len(grid)
    centres = -180.0 + (np.arange(-1, n + 1) + 0.5) * 360.0 / n
    wrapped = np.pad(grid, 1, mode="wrap").T
    axis.contourf(centres, centres, wrapped, levels=[0.0005, 0.02, 1.01], colors=[COLOURS["band"]] * 2,
                  alpha=0.35, zorder=0)  # fmt: skip
    axis.contour(centres, centres, wrapped, levels=[0.0005, 0.02], colors=[COLOURS["muted"]] * 2,
                 linewidths=[0.5, 0.8], zorder=1)  # fmt: skip


def _said(rows: Sequence[Row], outliers: Sequence[Row]) -> str:
    count = {kind: sum(row["ramachandran"] == kind for row in rows) for kind in ("favoured", "allowed", "outlier")}
    names = ", ".join(f"{row['chain']} {row['seqid']} {row['name']}" for row in outliers)
    return (
        f"φ and ψ of {len(rows)} residues: {count['favoured']} favoured, {count['allowed']} allowed, "
        f"{count['outlier']} outliers{f': {names}' if names else ''}."
    )
