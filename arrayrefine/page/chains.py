"""Along the chains: B, fit to the density, and what else is wrong with a residue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from arrayrefine.page.figure import COLOURS, Chart, axes, inline
from arrayrefine.page.table import plain

Row = Mapping[str, Any]

_MOST_CHAINS = 12
_POLYMER = ("protein", "nucleic")
_LEAST = 3
_LIMIT_Z = 4.0
_ADVICE = (
    "High B and low RSCC (real-space correlation with the 2mFo−DFc map) together are loops that the data hardly show. "
    "Low B with low RSCC is more likely an error. Several marks below one another are where to start; dotted vertical "
    "lines are gaps in the numbering. "
)
POOR_RSCC = 0.8


def charts(validation: Mapping[str, Any]) -> tuple[list[Chart], str]:
    """A chart for each of the first chains, and a sentence on those that have none."""
    chains: dict[str, list[Row]] = {}
    for row in validation["residues"]:
        if row["kind"] in _POLYMER:
            chains.setdefault(row["chain"], []).append(row)
    long = {name: rows for name, rows in chains.items() if len(rows) >= _LEAST}
    drawn = list(long)[:_MOST_CHAINS]
    left = list(long)[_MOST_CHAINS:]
    note = f"Chains {', '.join(left)} are not drawn; the table of residues has them." if left else ""
    highest = max((row["b_mean"] for name in drawn for row in long[name]), default=0.0)
    return [_chain(i, name, long[name], highest) for i, name in enumerate(drawn)], note


def problems(row: Row) -> list[str]:
    """What is wrong with a residue, in words."""
    found = []
    if row.get("rscc") is not None and row["rscc"] < POOR_RSCC:
        found.append("density")
    if row.get("ramachandran") == "outlier":
        found.append("Ramachandran")
    if row.get("rotamer") == "outlier":
        found.append("rotamer")
    if (row.get("worst_z") or 0.0) > _LIMIT_Z:
        found.append("geometry")
    if row.get("clashes"):
        found.append("clash")
    return found


KINDS = ("density", "Ramachandran", "rotamer", "geometry", "clash")


def _chain(i: int, name: str, rows: Sequence[Row], highest: float) -> Chart:
    has_fit = any(row.get("rscc") is not None for row in rows)
    figure, found = axes(9.6, 3.9 if has_fit else 3.0, (3.0, 2.0, 1.5) if has_fit else (3.0, 1.5), left=0.95, top=0.1)
    upper, lower = found[0], found[-1]
    x = list(range(len(rows)))
    b_mean = [row["b_mean"] for row in rows]
    upper.fill_between(x, b_mean, step="mid", color=COLOURS["work"], alpha=0.25, lw=0)
    upper.step(x, b_mean, where="mid", color=COLOURS["work"], lw=1.1)
    upper.set_ylim(0.0, 1.05 * max(highest, 1.0))
    upper.set_ylabel("mean B (Å²)")
    if has_fit:
        fit = [float("nan") if row.get("rscc") is None else row["rscc"] for row in rows]
        found[1].step(x, fit, where="mid", color=COLOURS["third"], lw=1.1)
        found[1].axhline(POOR_RSCC, color=COLOURS["muted"], ls=":", lw=1.0)
        found[1].set_ylim(min(0.78, *(v for v in fit if v == v)) - 0.03, 1.0)
        found[1].set_ylabel("RSCC")
    _marks(lower, rows)
    gaps = [i + 0.5 for i in range(len(rows) - 1) if _follows_not(rows[i], rows[i + 1])]
    for axis in found:
        for gap in gaps:
            axis.axvline(gap, color=COLOURS["muted"], lw=0.7, ls=(0, (1, 2)))
        axis.set_xlim(-0.6, len(rows) - 0.4)
    every = next(step for step in (5, 10, 20, 25, 50, 100, 200, 500, 1000) if len(rows) / step <= 16 or step == 1000)
    ticks = [i for i, row in enumerate(rows) if _number(row) is not None and _number(row) % every == 0]  # type: ignore[operator]
    lower.set_xticks(ticks, [str(rows[i]["seqid"]) for i in ticks])
    lower.set_xlabel(f"residue of chain {name}")
    top = max(rows, key=lambda row: row["b_mean"])
    said = f"mean B {plain(sum(b_mean) / len(rows), 1)} Å², highest "
    said += f"{plain(top['b_mean'], 1)} at {top['name']} {top['seqid']}"
    if has_fit:
        worst = min((row for row in rows if row.get("rscc") is not None), key=lambda row: row["rscc"])
        said += f"; lowest RSCC {plain(worst['rscc'], 2)} at {worst['name']} {worst['seqid']}"
    marked = [f"{kind} {sum(kind in problems(row) for row in rows)}" for kind in KINDS]
    return Chart(
        f"chain-{i}", f"Chain {name}", ("" if i else _ADVICE) + said[0].upper() + said[1:] + ".",
        f"Chain {name}, {len(rows)} residues: {said}. Residues with problems: {', '.join(marked)}.",
        inline(figure, f"chain-{i}"), wide=True,
    )  # fmt: skip


def _marks(axis: Any, rows: Sequence[Row]) -> None:
    """A row of marks for each kind of problem."""
    for level, kind in enumerate(reversed(KINDS)):
        places = [i for i, row in enumerate(rows) if kind in problems(row)]
        axis.plot(places, [level] * len(places), ls="", marker="|", ms=6.5, mew=1.8, color=COLOURS["bad"])
    axis.set_ylim(-0.6, len(KINDS) - 0.4)
    axis.set_yticks(range(len(KINDS)), list(reversed(KINDS)), fontsize=7)
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="x")


def _number(row: Row) -> int | None:
    text = str(row["seqid"])
    return int(text) if text.lstrip("-").isdigit() else None


def _follows_not(one: Row, two: Row) -> bool:
    a, b = _number(one), _number(two)
    return a is not None and b is not None and b - a > 1
