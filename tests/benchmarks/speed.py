"""Speed of this machine's programs side by side: evaluations, whole refinements, growth with size, and the floor.

    python tests/benchmarks/speed.py                                          # arrayrefine and gemmi alone
    python tests/benchmarks/speed.py --cctbx PYTHON --torchref PYTHON --sfcalculator PYTHON --plot growth.png
    python tests/benchmarks/speed.py --parts refinement --cases 1aba 1rx2 --servalcat EXE --monomers LIBRARY
    python tests/benchmarks/speed.py --parts refinement --stored done.json    # tables of what was measured before

evaluation  F_calc, and F_calc with the gradient by coordinates, B and occupancies, for atoms that have moved a little
            ("once": the plan, and what the first two evaluations take longer than later ones); errors are those
            against direct summation; cctbx_accurate is cctbx with settings of about the accuracy of arrayrefine
refinement  a whole default refinement from shaken.* with norm.mtz, from files to files, start-up included
growth      time of an evaluation by atoms, reflections and symmetry operators; --plot draws it
floor       bytes and operations of each part of an evaluation, and what this machine would need for them at best

A peer that is not given, or fails, is a row that says so. Each program runs in a process of its own with as many
OMP, OpenBLAS and MKL threads as it is said to have, one by default; times are the least of the repeats, CPU is user +
system.
Interpreters and executables can be given by environment variables too: ARRAYREFINE_ + CCTBX, TORCHREF, SFCALCULATOR,
SERVALCAT, TORCHREF_REFINE, SCORE, SCORE_PYTHON; and CLIBD_MON. The folder of cases is ARRAYREFINE_DATA (default
../shared/data).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import evaluation
import floor
import growth
import refinement
from programs import THREAD_VARIABLES, Scorer
from threadpoolctl import threadpool_limits

from arrayrefine.kernels.backend import cuda_unavailable_reason
from arrayrefine.version import version

PARTS = ("evaluation", "refinement", "growth", "floor")
CASES = ("1aba", "1rx2", "4xof", "3g70", "4iid")


class Record:
    """Rows of all parts: those stored by an earlier run, and new ones, written down as they come."""

    def __init__(self, stored: Iterable[Path], path: Path | None) -> None:
        self.path = path
        self.rows: dict[str, list[dict[str, Any]]] = {part: [] for part in PARTS}
        for file in stored:
            for part, rows in json.loads(file.read_text())["rows"].items():
                self.rows[part] += rows

    def has(self, part: str, **keys: Any) -> bool:
        """Whether a row with these values is there and did not fail."""
        return any(
            "failed" not in row and all(row.get(k) == v for k, v in keys.items()) for row in self.rows[part]
        )

    def add(self, part: str, row: dict[str, Any]) -> None:
        """Add a row in the place of one that failed, and write all rows."""
        key = row["case"], row["program"]
        self.rows[part] = [r for r in self.rows[part] if "failed" not in r or (r["case"], r["program"]) != key] + [row]
        if self.path:
            self.path.write_text(json.dumps({"rows": self.rows}, indent=1))


def _wanted(args: argparse.Namespace, record: Record, part: str, case: str) -> Callable[[str], bool]:
    """Whether a program is chosen and has no stored row of this case."""

    def wanted(label: str) -> bool:
        chosen = not args.programs or any(text.lower() in label.lower() for text in args.programs)
        return chosen and not record.has(part, case=case, program=label)

    return wanted


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_evaluation(args: argparse.Namespace, record: Record) -> None:
    """Tables and ratios of the evaluations."""
    pythons = {name: path for name in evaluation.PEERS if (path := getattr(args, name.removesuffix("_accurate")))}
    print(f"\n### Evaluation\n\n{evaluation.HEADER}", flush=True)
    for name in args.cases:
        for row in record.rows["evaluation"]:
            if row["case"] == name and "failed" not in row:
                print(evaluation.line(row), flush=True)
        try:
            wanted = _wanted(args, record, "evaluation", name)
            for row in evaluation.compare(name, pythons, args.threads, args.devices, args.repeats, wanted):
                record.add("evaluation", row)
                print(evaluation.line(row), flush=True)
        except Exception as error:  # a case that is not there must not hide the others
            print(f"| {name} | failed: {type(error).__name__}: {error} |", flush=True)
    print()
    for ratio in evaluation.ratios(record.rows["evaluation"]):
        print(evaluation.ratio_line(ratio))


def run_refinement(args: argparse.Namespace, record: Record) -> None:
    """Tables and ratios of whole refinements."""
    scorer = Scorer(args.score, args.score_python or sys.executable) if args.score else None
    peers = refinement.Peers(args.servalcat, args.torchref_refine, args.monomers, scorer)
    entrants = refinement.programs(peers, args.threads, args.devices)
    print(f"\n### Refinement\n\n{refinement.HEADER}", flush=True)
    for name in args.cases:
        for row in record.rows["refinement"]:
            if row["case"] == name and "failed" not in row:
                print(refinement.line(row), flush=True)
        wanted = _wanted(args, record, "refinement", name)
        chosen = {label: refine for label, refine in entrants.items() if wanted(label)}
        for row in refinement.compare(name, chosen, scorer, args.runs):
            record.add("refinement", row)
            print(refinement.line(row), flush=True)
    print()
    for ratio in refinement.ratios(record.rows["refinement"]):
        print(refinement.ratio_line(ratio))


def run_growth(args: argparse.Namespace, record: Record) -> None:
    """Table, exponents and figure of the growth."""
    print(f"\n### Growth (1 thread)\n\n{growth.HEADER}", flush=True)
    for along in growth.LABELS:
        if not record.has("growth", along=along):
            for row in growth.series(along, args.repeats, args.largest):
                record.add("growth", {"case": along, "program": str(row[along]), **row})
        for row in record.rows["growth"]:
            if row["along"] == along:
                print(growth.line(row), flush=True)
    print()
    for along in growth.LABELS:
        print(growth.slopes([row for row in record.rows["growth"] if row["along"] == along], along))
    if args.plot:
        growth.draw(record.rows["growth"], args.plot)
        print(f"figure: {args.plot.name}")


def run_floor(args: argparse.Namespace, record: Record) -> None:
    """Rates of this machine, and the table of the floor."""
    found = floor.rates()
    absent = cuda_unavailable_reason() if "cuda" in args.devices else "not asked for"
    device = None if absent else floor.rates("cuda")
    print(f"\n### Floor of an evaluation (1 thread)\n\n{floor.rates_line(found, 'CPU')}")
    print(floor.rates_line(device, "device") if device else f"device: missing, {absent}")
    print(f"\n{floor.HEADER}", flush=True)
    for name in args.cases:
        try:
            for row in floor.compare(name, found, device, args.repeats):
                record.add("floor", row)
                print(floor.line(row), flush=True)
        except Exception as error:  # a case that is not there must not hide the others
            print(f"| {name} | {type(error).__name__}: {error} |", flush=True)


RUN: dict[str, Callable[[argparse.Namespace, Record], None]] = {
    "evaluation": run_evaluation,
    "refinement": run_refinement,
    "growth": run_growth,
    "floor": run_floor,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cuda = ["cuda"] if cuda_unavailable_reason() is None else []
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["evaluation", "growth", "floor"])
    parser.add_argument("--cases", nargs="+", default=list(CASES))
    parser.add_argument("--programs", nargs="+", help="parts of the labels of those to run (default: all)")
    parser.add_argument("--threads", type=int, default=_usable_cores(), help="of 'all cores' (default: usable ones)")
    parser.add_argument("--devices", nargs="+", choices=["cpu", "cuda"], default=["cpu", *cuda])
    parser.add_argument("--repeats", type=int, default=5)
    for name, what in evaluation.PEERS.items():
        if name.endswith("_accurate"):
            continue
        default = sys.executable if name == "gemmi" else os.environ.get(f"ARRAYREFINE_{name.upper()}")
        parser.add_argument(f"--{name}", default=default, help=f"Python that has {what}")
    environ = os.environ.get
    parser.add_argument("--servalcat", default=environ("ARRAYREFINE_SERVALCAT"), help="executable of Servalcat")
    parser.add_argument(
        "--torchref-refine", default=environ("ARRAYREFINE_TORCHREF_REFINE"), help="executable torchref.refine"
    )
    parser.add_argument("--monomers", default=environ("CLIBD_MON", ""), help="monomer library of all refinements")
    parser.add_argument("--score", default=environ("ARRAYREFINE_SCORE"), help="script that scores models, see Scorer")
    parser.add_argument("--score-python", default=environ("ARRAYREFINE_SCORE_PYTHON"), help="Python of that script")
    parser.add_argument("--runs", type=int, default=1, help="of each refinement; the least counts")
    parser.add_argument("--largest", type=int, default=growth.ATOMS[-1], help="atoms of the largest crystal of growth")
    parser.add_argument("--plot", type=Path, help="PNG of growth")
    parser.add_argument("--json", type=Path, help="write all rows here, after every row")
    parser.add_argument("--stored", type=Path, nargs="+", default=[], help="rows of earlier runs: not measured again")
    return parser


def main() -> None:
    args = _parser().parse_args()
    threadpool_limits(limits=1)
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    if args.monomers:
        os.environ["CLIBD_MON"] = args.monomers
    record = Record(args.stored, args.json)
    print(f"arrayrefine {version()}, Python {platform.python_version()}, {platform.machine()}, {_usable_cores()} cores")
    for part in args.parts:
        RUN[part](args, record)


if __name__ == "__main__":
    main()
