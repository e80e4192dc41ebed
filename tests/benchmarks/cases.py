"""Refine real crystals and have an outside program score the results, beside other programs.

    python tests/benchmarks/cases.py                                   # arrayrefine alone
    python tests/benchmarks/cases.py 1aba 1rx2 --servalcat servalcat --monomers MONOMER_LIBRARY
    python tests/benchmarks/cases.py --servalcat servalcat --torchref-refine torchref.refine --json rows.json
    python tests/benchmarks/cases.py --servalcat servalcat --stored rows.json --start model -- --cycles 8

Every program starts from the same file, `--start shaken` (displaced by 0.2 Å rms), `--start model` (deposited),
`--start bent` (as far off as a predicted model; made by bend.py) or `--start cut` (without a part of the crystal; made
by cut.py), and refines with its defaults (Servalcat: 10 cycles). Servalcat with zero cycles on the same data is the
judge of all models and of the start. It keeps ANISOU records as they are ("--adp fix"); a model that has some is scored
a second time without them. A row of --stored is taken instead of a run where case, program, start and options are the
same; rows of arrayrefine only under another --label, which makes an earlier version a peer. For the cases see
programs.py; for time alone see speed.py.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import gemmi
import numpy as np
from programs import DATA, Servalcat, arrayrefine, start_of, torchref

DEFAULT = (
    "5e5z", "6mw0", "1dur", "5kzb", "3sb3", "1aba", "1cbs", "4xof", "1rx2", "1ehz", "hewl_ssad", "5orl", "br_lcls",
    "2r4r", "3g70", "4iid",
)  # fmt: skip
"""X-ray data, not twinned; by size."""
NEEDED = {"5orl": ["--unknown", "hold"]}
"""Options of arrayrefine without which a case stops: the ligand of 5orl is in no library."""
PEERS = ("Servalcat", "TorchRef")
START = "start"
CYCLES = 10
BOND_BAND, ANGLE_LIMIT = (0.5, 1.0), 1.1

Row = dict[str, Any]


def positions(path: Path) -> dict[tuple[str, ...], list[float]]:
    """Non-hydrogen, non-water atoms by identity."""
    return {
        (chain.name, str(residue.seqid), residue.name, atom.name, atom.altloc): atom.pos.tolist()
        for chain in gemmi.read_structure(str(path))[0]
        for residue in chain
        for atom in residue
        if not atom.is_hydrogen() and residue.name not in ("HOH", "DOD")
    }


def distances(model: Path, case: Path) -> dict[str, float]:
    """Rms and median distance (Å) to the deposited model; where the origin is free, along that axis to its mean."""
    reference, ours = positions(start_of(case, "model")), positions(model)
    d = np.array([np.subtract(reference[k], ours[k]) for k in reference if k in ours])
    structure = gemmi.read_structure(str(start_of(case, "model")))
    frac, orth = structure.cell.frac.mat.tolist(), structure.cell.orth.mat.tolist()
    rotations = [np.array(op.rot) / op.DEN for op in structure.find_spacegroup().operations()]
    d -= np.array(orth) @ np.mean(rotations, axis=0) @ np.array(frac) @ d.mean(axis=0)
    length = np.sqrt((d**2).sum(axis=1))
    return {"rms_distance": float(np.sqrt((length**2).mean())), "median_distance": float(np.median(length))}


def anisotropic(path: Path) -> bool:
    """Whether a model has ANISOU records."""
    return any(cra.atom.aniso.nonzero() for cra in gemmi.read_structure(str(path))[0].all())


def judged(judge: Servalcat | None, case: Path, model: Path) -> Row:
    """Distances to the deposited model and, where there is a judge, what it says."""
    row: Row = dict(distances(model, case))
    if judge:
        row["outside"] = judge.score(case, model)
        if anisotropic(model):
            row["outside_iso"] = judge.score(case, model, "iso")
    return row


def run_arrayrefine(case: Path, start: Path, folder: Path, extra: list[str]) -> tuple[Path, Row]:
    """The refined model, and what arrayrefine says of it."""
    done, model, report = arrayrefine(case, start, folder, [*NEEDED.get(case.name, []), *extra])
    final = report["final"]
    return model, {
        "cpu_seconds": done.cpu, **{k: final[k] for k in ("r_work", "r_free", "bond_rmsz", "angle_rmsz")},
        "evaluations": sum(step["evaluations"] for step in report["steps"]), "cycles": report["steps"][-1]["cycle"],
    }  # fmt: skip


def entrants(args: argparse.Namespace, judge: Servalcat | None, extra: list[str]) -> dict[str, Callable[..., Any]]:
    """What is to be run, by its label: (case, start, folder) -> refined model and further entries of the row."""

    def servalcat(case: Path, start: Path, folder: Path) -> tuple[Path, Row]:
        assert judge is not None
        done, model, _ = judge.refine(case, start, folder, CYCLES)
        return model, {"cpu_seconds": done.cpu}

    def with_torchref(case: Path, start: Path, folder: Path) -> tuple[Path, Row]:
        done, model = torchref(args.torchref_refine, case, start, folder)
        return model, {"cpu_seconds": done.cpu}

    found: dict[str, Callable[..., Any]] = {args.label: lambda *where: run_arrayrefine(*where, extra)}
    if judge:
        found |= {START: lambda case, start, folder: (start, {}), "Servalcat": servalcat}
    if args.torchref_refine:
        found["TorchRef"] = with_torchref
    return {label: program for label, program in found.items() if not args.programs or label in args.programs}


def rows_of(
    case: Path, start_name: str, programs: Mapping[str, Callable[..., Any]], judge: Servalcat | None, keep: Path | None
) -> Iterator[Row]:
    """One row per program for one case."""
    for label, program in programs.items():
        row: Row = {"case": case.name, "program": label, "start": start_name}
        with tempfile.TemporaryDirectory() as folder:
            try:
                model, entries = program(case, start_of(case, start_name), Path(folder))
                row |= {**entries, **judged(judge, case, model)}
                if keep:
                    keep.mkdir(parents=True, exist_ok=True)
                    shutil.copy(model, keep / f"{case.name}-{label.replace(' ', '_')}{model.suffix}")
            except RuntimeError as error:
                row["failed"] = " ".join(str(error).split())[-200:]
        yield row


HEADER = """| case | program | own R / R-free | own bond / angle RMSZ | outside R / R-free | outside bond / angle RMSZ \
| rms / median distance to deposited, Å | CPU s | evaluations |
|---|---|---|---|---|---|---|---|---|"""


def line(row: Row) -> str:
    """One line of the Markdown table."""
    if "failed" in row:
        return f"| {row['case']} | {row['program']} | failed: {row['failed']} | | | | | | |"

    def pair(values: Row | None, first: str, second: str, form: str) -> str:
        if not values or values.get(first) is None:
            return "–"
        return " / ".join("–" if values.get(k) is None else format(values[k], form) for k in (first, second))

    outside, iso = row.get("outside"), row.get("outside_iso")
    without = f" (without ANISOU {pair(iso, 'r_work', 'r_free', '.4f')})" if iso else ""
    seconds = "–" if row.get("cpu_seconds") is None else f"{row['cpu_seconds']:.0f}"
    return (
        f"| {row['case']} | {row['program']} | {pair(row, 'r_work', 'r_free', '.4f')} "
        f"| {pair(row, 'bond_rmsz', 'angle_rmsz', '.2f')} | {pair(outside, 'r_work', 'r_free', '.4f')}{without} "
        f"| {pair(outside, 'bond_rmsz', 'angle_rmsz', '.2f')} | {pair(row, 'rms_distance', 'median_distance', '.3f')} "
        f"| {seconds} | {row.get('evaluations', '–')} |"
    )


def summary(rows: Sequence[Row], label: str) -> list[str]:
    """Sentences: R-free, gap and distance beside each other program, and geometry that is out of its band."""
    scored = {(r["case"], r["program"]): r for r in rows if "failed" not in r and r.get("outside")}
    found = []
    for other in dict.fromkeys(program for _, program in scored if program != label):
        cases = [case for case, program in scored if program == label and (case, other) in scored]
        if not cases:
            continue
        ours, theirs = ([scored[c, p]["outside"] for c in cases] for p in (label, other))
        d = {c: a["r_free"] - b["r_free"] for c, a, b in zip(cases, ours, theirs)}
        worst = max(d, key=lambda c: d[c])
        gaps = [median([s["r_free"] - s["r_work"] for s in side]) for side in (ours, theirs)]
        both = [c for c in cases if all(scored[c, p].get("rms_distance") is not None for p in (label, other))]
        closer = [scored[c, label]["rms_distance"] - scored[c, other]["rms_distance"] for c in both] or [float("nan")]
        found.append(
            f"{label} − {other}, {len(cases)} cases, outside R-free: median {median(d.values()):+.4f}, mean "
            f"{np.mean(list(d.values())):+.4f}, worst {d[worst]:+.4f} ({worst}); median gap {gaps[0]:.4f} against "
            f"{gaps[1]:.4f}; rms distance to deposited, median {median(closer):+.3f} Å"
        )
    for program in dict.fromkeys(program for _, program in scored):
        out = [f"{c} {_band(r['outside'])}" for (c, p), r in scored.items() if p == program and _band(r["outside"])]
        limits = f"bond RMSZ {BOND_BAND[0]}–{BOND_BAND[1]}, angle RMSZ up to {ANGLE_LIMIT}"
        found.append(f"{program}, outside {limits} (outside program): {', '.join(out) or 'none'}")
    ours_own = {r["case"]: _band(r) for r in rows if r["program"] == label and r.get("bond_rmsz") is not None}
    if ours_own:
        out = [f"{case} {what}" for case, what in ours_own.items() if what]
        found.append(f"{label}, the same by its own restraints: {', '.join(out) or 'none'}")
    return found


def _band(values: Row) -> str:
    """Bond and angle RMSZ where one of them is out of its band, or ""."""
    bond, angle = values.get("bond_rmsz"), values.get("angle_rmsz")
    fine = bond is None or BOND_BAND[0] <= round(bond, 2) <= BOND_BAND[1]
    fine &= angle is None or round(angle, 2) <= ANGLE_LIMIT
    return "" if fine else " / ".join("–" if z is None else f"{z:.2f}" for z in (bond, angle))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    environ = os.environ.get
    parser.add_argument("cases", nargs="*", default=list(DEFAULT))
    parser.add_argument(
        "--servalcat", default=environ("ARRAYREFINE_SERVALCAT"), help="Servalcat's executable: the peer, and the judge"
    )
    parser.add_argument(
        "--torchref-refine", default=environ("ARRAYREFINE_TORCHREF_REFINE"), help="executable torchref.refine"
    )
    parser.add_argument("--monomers", default=environ("CLIBD_MON", ""), help="monomer library of the peers")
    parser.add_argument("--start", default="shaken", choices=["shaken", "model", "bent", "cut"])
    parser.add_argument("--label", default="arrayrefine", help="name of arrayrefine in the table")
    parser.add_argument("--programs", nargs="+", help="labels to run: start, Servalcat, TorchRef, arrayrefine")
    parser.add_argument("--stored", type=Path, nargs="+", default=[], help="rows of earlier runs")
    parser.add_argument("--json", type=Path, help="write all rows here, after every row")
    parser.add_argument("--keep", type=Path, help="copy refined models into this folder")
    parser.epilog = "after --: options for arrayrefine"
    return parser


def main() -> None:
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    args, extra = _parser().parse_args(given[:end]), given[end + 1 :]
    if args.monomers:
        os.environ["CLIBD_MON"] = args.monomers.rstrip("/") + "/"
    judge = Servalcat(args.servalcat, args.monomers) if args.servalcat else None
    programs = entrants(args, judge, extra)
    stored: list[Row] = [
        row for path in args.stored for row in json.loads(path.read_text())
        if row["start"] == args.start and row["program"] != args.label and row["case"] in args.cases
    ]  # fmt: skip
    print(HEADER, flush=True)
    rows: list[Row] = []
    for name in args.cases:
        known = [row for row in stored if row["case"] == name]
        wanted = {k: p for k, p in programs.items() if k not in {row["program"] for row in known}}
        for row in (*known, *rows_of(DATA / name, args.start, wanted, judge, args.keep)):
            rows.append({**row, "options": extra} if row["program"] == args.label else row)
            print(line(row), flush=True)
            if args.json:
                args.json.write_text(json.dumps(rows, indent=1))
    print()
    for sentence in summary(rows, args.label):
        print(sentence)


if __name__ == "__main__":
    main()
