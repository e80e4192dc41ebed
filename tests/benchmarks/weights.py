"""Twenty macro-cycles with three ways to find weights, and the figure of them in the README.

    python tests/benchmarks/weights.py                       # 1aba and 1rx2, docs/weights.png
    python tests/benchmarks/weights.py 5kzb --cycles 8 --out weights.png --json weights.json

robust   the default
literal  the ratio of the gradients' norms at the current model, taken anew before each step
stale    that ratio, taken once with coordinates and B free together, with the variance of B as ADP restraint

All start from the same shaken model. The folder of cases is ARRAYREFINE_DATA (default ../shared/data).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from pathlib import Path
from typing import Any, Literal

from arrayrefine.options import Minimiser, Options, Weighting
from arrayrefine.refine import refine
from arrayrefine.report import Statistics, Step

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("ARRAYREFINE_DATA", ROOT.parent / "shared" / "data"))

Scheme = Literal["robust", "literal", "stale"]
SCHEMES: tuple[Scheme, ...] = ("robust", "literal", "stale")
LABELS = {
    "robust": "robust (the default)",
    "literal": "literal ratio, anew before each step",
    "stale": "stale: once at the start, variance of B",
}
COLOURS = {"robust": "#1b7837", "literal": "#e08214", "stale": "#b2182b"}


IN_TURN = ("xyz", "b")
"""Steps in which the schemes that fail do so: each with the rest frozen."""


def options(scheme: Scheme, cycles: int, targets: tuple[str, ...] = IN_TURN) -> Options:
    """Options of a run that never stops early."""
    return Options(
        cycles=cycles, weights=scheme, adp="variance" if scheme == "stale" else "kl", targets=targets,
        minimiser=Minimiser(early_stop=False),
    )  # fmt: skip


def history(
    case: Path, scheme: Scheme, cycles: int, targets: tuple[str, ...] = IN_TURN, anisotropic: str = "auto"
) -> dict[str, Any]:
    """R-work, R-free and bond RMSZ at the start and after every step, with the steps' names, notes and seconds."""
    how = dataclasses.replace(options(scheme, cycles, targets), anisotropic=anisotropic)
    report = refine(case / "shaken.pdb", case / "norm.mtz", how).report
    points: list[Statistics | Step] = [report.start, *report.steps]
    return {
        "r_work": [p.r_work for p in points],
        "r_free": [p.r_free for p in points],
        "bond_rmsz": [p.bond_rmsz for p in points],
        "target": [step.target for step in report.steps],
        "note": [step.note for step in report.steps],
        "seconds": report.seconds,
    }


def draw(runs: dict[str, dict[str, dict[str, Any]]], path: Path) -> None:
    """R-free (above) and bond RMSZ (below) after each step; a column per case."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator, NullLocator

    figure, axes = plt.subplots(
        2, len(runs), figsize=(5.2 * len(runs), 5.6), sharex="col", squeeze=False, layout="constrained"
    )
    for column, (case, by_scheme) in enumerate(runs.items()):
        above, below = axes[:, column]
        for scheme, run in by_scheme.items():
            style = {"color": COLOURS[scheme], "label": LABELS[scheme], "linewidth": 1.6}
            cycle = [i / 2 for i in range(len(run["r_free"]))]
            above.plot(cycle, run["r_free"], **style)
            below.plot(cycle, run["bond_rmsz"], **style)
        below.axhspan(Weighting().rmsz_low, Weighting().rmsz_high, color="0.9", zorder=0)
        below.set_yscale("log")
        above.set_title(case)
        below.set_xlabel("macro-cycle (a step of xyz, then one of B)")
        above.set_ylabel("R-free")
        below.set_ylabel("bond RMSZ (grey: its band)")
        below.set_yticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"], minor=False)
        below.yaxis.set_minor_locator(NullLocator())
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axis in (above, below):
            axis.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=["1aba", "1rx2"])
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "weights.png", help="the figure")
    parser.add_argument("--json", type=Path, help="write the numbers here too, and after every run")
    parser.add_argument("--draw", type=Path, help="draw the numbers of an earlier --json instead of refining")
    args = parser.parse_args()
    if args.draw:
        draw(json.loads(args.draw.read_text()), args.out)
        return
    runs: dict[str, dict[str, dict[str, Any]]] = {}
    for case in args.cases:
        for scheme in SCHEMES:
            run = history(DATA / case, scheme, args.cycles)
            runs.setdefault(case, {})[scheme] = run
            print(
                f"{case} {scheme:<8} R-free {run['r_free'][0]:.4f} -> {run['r_free'][-1]:.4f}, "
                f"best {min(run['r_free']):.4f}, worst after it {worst_rise(run['r_free']):+.4f}; "
                f"bond RMSZ {min(run['bond_rmsz'][1:]):.2f} to {max(run['bond_rmsz'][1:]):.2f}; {run['seconds']:.0f} s",
                flush=True,
            )
            if args.json:
                args.json.write_text(json.dumps(runs, indent=1))
    draw(runs, args.out)


def worst_rise(values: list[float]) -> float:
    """Largest amount by which a value lies above the lowest one before it."""
    return max(b - min(values[: i + 1]) for i, b in enumerate(values[1:]))


if __name__ == "__main__":
    main()
