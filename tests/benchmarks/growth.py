"""How the time of an evaluation grows with atoms, reflections and symmetry operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measuring import least

from arrayrefine import example
from arrayrefine.atoms import Atoms, Identity
from arrayrefine.crystal import Crystal
from arrayrefine.options import Options
from arrayrefine.preparation import prepare
from arrayrefine.structure_factors import StructureFactors

VOLUME = 33.0
"""Å³ of the asymmetric unit per atom, half of it solvent: a Matthews coefficient of 2.4 Å³/Da."""
D_MIN = 2.0
ATOMS = (300, 1000, 3000, 10_000, 30_000, 100_000)
RESOLUTIONS = (4.0, 3.2, 2.5, 2.0, 1.6, 1.2)
OPERATED = 1500
"""Atoms of the asymmetric unit where the number of operators changes."""
GROUPS = ("P 1", "P 1 21 1", "P 21 21 21", "P 41 21 2", "P 2 3", "P 4 3 2", "I 4 3 2")
"""1, 2, 4, 8, 12, 24 and 48 operators, all of them with a cubic cell, so that only their number changes."""
LABELS = {"atoms": "atoms, P 1 at 2 Å", "reflections": "reflections, 1RX2 at 4 to 1.2 Å", "operators": "operators"}


def boxed(count: int, space_group: str = "P 1", seed: int = 0) -> tuple[Crystal, Atoms]:
    """A cubic crystal at the density of a protein crystal, with atoms at random, of a protein's elements.

    Parameters
    ----------
    count : int
        Atoms of the asymmetric unit.
    space_group : str
    seed : int
    """
    operators = len(Crystal((50.0, 50.0, 50.0, 90.0, 90.0, 90.0), space_group).rotations)
    edge = (VOLUME * count * operators) ** (1.0 / 3.0)
    crystal = Crystal((edge, edge, edge, 90.0, 90.0, 90.0), space_group)
    rng = np.random.default_rng(seed)
    element = rng.choice(["C", "N", "O", "S"], count, p=[0.63, 0.17, 0.19, 0.01])
    blank, number = np.full(count, ""), np.arange(count)
    identity = Identity(np.full(count, "A"), np.full(count, "UNK"), element, blank, blank, number + 1, number)
    atoms = Atoms(
        crystal.cartesian(rng.random((count, 3))), rng.gamma(4.0, 4.0, count) + 8.0, np.ones(count), element, identity,
        np.tile(np.eye(3), (count, 1, 1)), np.ones(count, dtype=np.int64),
    )  # fmt: skip
    return crystal, atoms


def timed(crystal: Crystal, atoms: Atoms, d_min: float, repeats: int) -> dict[str, Any]:
    """Sizes, and least seconds of F and of F with the gradient, for all unique reflections to d_min."""
    hkl = crystal.unique_reflections(d_min, 1e3)
    factors = StructureFactors(crystal, hkl, atoms)
    rng = np.random.default_rng(0)
    weight = rng.normal(size=len(hkl)) + 1j * rng.normal(size=len(hkl))

    def both() -> None:
        factors(atoms)
        factors.pullback(weight, atoms)

    return {
        "atoms": len(atoms), "reflections": len(hkl), "operators": len(crystal.rotations),
        "forward": least(lambda: factors(atoms), repeats, 0.2)._asdict(),
        "both": least(both, repeats, 0.2)._asdict(),
    }  # fmt: skip


def series(along: str, repeats: int, largest: int = ATOMS[-1]) -> list[dict[str, Any]]:
    """Points of one series: "atoms", "reflections" or "operators"."""
    if along == "atoms":
        found = [timed(*boxed(n), D_MIN, repeats) for n in ATOMS if n <= largest]
    elif along == "reflections":
        _, problem, atoms, _ = prepare(example.MODEL, example.DATA, Options(hydrogens="strip", device="cpu"))
        found = [timed(problem.reflections.crystal, atoms, d, repeats) for d in RESOLUTIONS]
    else:
        found = [timed(*boxed(OPERATED, group), D_MIN, repeats) for group in GROUPS]
    return [{"along": along, **point} for point in found]


def exponent(points: Sequence[Mapping[str, Any]], part: str = "both") -> float:
    """Slope of log time by log size between the two largest points of a series."""
    a, b = sorted(points, key=lambda p: p[p["along"]])[-2:]
    along = b["along"]
    return float(np.log(b[part]["cpu"] / a[part]["cpu"]) / np.log(b[along] / a[along]))


def slopes(points: Sequence[Mapping[str, Any]], along: str) -> str:
    """One sentence about a series."""
    if len(points) < 2:
        return f"{along}: too few points for a slope"
    size = np.log([float(p[along]) for p in points])
    whole = float(np.polyfit(size, np.log([p["both"]["cpu"] for p in points]), 1)[0])
    last = exponent(points)
    return f"{LABELS[along]}: F + gradient goes as size^{whole:.2f} over all points, ^{last:.2f} at the largest two"


HEADER = """| along | atoms | reflections | operators | F: CPU ms | F + gradient: CPU ms |
|---|---|---|---|---|---|"""


def line(row: Mapping[str, Any]) -> str:
    """One line of the Markdown table."""
    times = (f"{1e3 * row[part]['cpu']:.4g}" for part in ("forward", "both"))
    sizes = (str(row[key]) for key in ("atoms", "reflections", "operators"))
    return f"| {row['along']} | {' | '.join((*sizes, *times))} |"


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Time against size, log by log, one panel per series, with a dotted line of slope one."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    names = [name for name in LABELS if any(row["along"] == name for row in rows)]
    figure, axes = plt.subplots(1, len(names), figsize=(4.2 * len(names), 3.6), squeeze=False, layout="constrained")
    for axis, name in zip(axes[0], names):
        points = [row for row in rows if row["along"] == name]
        size = np.array([p[name] for p in points], dtype=float)
        for part, label, colour in (("both", "F + gradient", "#1b7837"), ("forward", "F", "#2166ac")):
            axis.loglog(size, [1e3 * p[part]["cpu"] for p in points], "o-", color=colour, label=label, markersize=4)
        top = 1e3 * points[-1]["both"]["cpu"]
        axis.loglog(size, top * size / size[-1], ":", color="0.5", label="slope 1")
        for which in (axis.xaxis, axis.yaxis):
            which.set_minor_formatter(NullFormatter())
        axis.set_xlabel(LABELS[name])
        axis.grid(alpha=0.3, which="both")
    axes[0, 0].set_ylabel("CPU time, ms")
    axes[0, 0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
