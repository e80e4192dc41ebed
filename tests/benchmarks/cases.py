"""Refine real crystals from their perturbed starts and have an outside program score the results.

    python tests/benchmarks/cases.py                                   # arrayrefine alone
    python tests/benchmarks/cases.py 1aba 1rx2 --servalcat servalcat --monomers MONOMER_LIBRARY

With --servalcat the same start is also refined by Servalcat (10 cycles, defaults), and both models are scored by
Servalcat with zero cycles on the same data. For the cases see programs.py; for time alone see speed.py.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
from programs import DATA, Servalcat, arrayrefine, start_of

DEFAULT = ("1aba", "1cbs", "1rx2", "3sb3", "5kzb", "2r4r", "3g70", "4iid")


def positions(path: Path) -> dict[tuple[str, ...], list[float]]:
    """Non-hydrogen, non-water atoms by identity."""
    return {
        (chain.name, str(residue.seqid), residue.name, atom.name, atom.altloc): atom.pos.tolist()
        for chain in gemmi.read_structure(str(path))[0]
        for residue in chain
        for atom in residue
        if not atom.is_hydrogen() and residue.name not in ("HOH", "DOD")
    }


def distance(model: Path, case: Path) -> float:
    """Rms distance (Å) to the deposited model."""
    reference = positions(next(p for p in (case / "model.pdb", case / "model.cif") if p.exists()))
    ours = positions(model)
    common = [k for k in reference if k in ours]
    d = np.array([np.subtract(reference[k], ours[k]) for k in common])
    return float(np.sqrt((d**2).sum(axis=1).mean()))


def compare(case: Path, start_name: str, peer: Servalcat | None, extra: list[str]) -> list[dict[str, Any]]:
    """One row per program for one case."""
    start = start_of(case, start_name)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        done, model, report = arrayrefine(case, start, folder, extra)
        final = report["final"]
        row: dict[str, Any] = {
            "case": case.name, "program": "arrayrefine", "cpu_seconds": done.cpu, "rmsd": distance(model, case),
            **{k: final[k] for k in ("r_work", "r_free", "bond_rmsz", "angle_rmsz")},
            "evaluations": sum(step["evaluations"] for step in report["steps"]), "cycles": report["steps"][-1]["cycle"],
        }  # fmt: skip
        if peer:
            row["outside"] = peer.score(case, model)
        rows.append(row)
        if peer:
            done, model, _ = peer.refine(case, start, folder, 10)
            scores = peer.score(case, model)
            rows.append(
                {"case": case.name, "program": "Servalcat", "cpu_seconds": done.cpu, "rmsd": distance(model, case),
                 "outside": scores}
            )  # fmt: skip
    return rows


def line(row: dict[str, Any]) -> str:
    """One line of the Markdown table."""

    def pair(values: dict[str, Any] | None, first: str, second: str, form: str) -> str:
        if not values or values.get(first) is None:
            return "–"
        return " / ".join("–" if values.get(k) is None else format(values[k], form) for k in (first, second))

    outside = row.get("outside")
    return (
        f"| {row['case']} | {row['program']} | {pair(row, 'r_work', 'r_free', '.4f')} "
        f"| {pair(row, 'bond_rmsz', 'angle_rmsz', '.2f')} | {pair(outside, 'r_work', 'r_free', '.4f')} "
        f"| {pair(outside, 'bond_rmsz', 'angle_rmsz', '.2f')} | {row['rmsd']:.3f} | {row['cpu_seconds']:.0f} "
        f"| {row.get('evaluations', '–')} |"
    )


HEADER = """| case | program | own R / R-free | own bond / angle RMSZ | outside R / R-free | outside bond / angle RMSZ \
| rmsd to deposited, Å | CPU s | evaluations |
|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=list(DEFAULT))
    parser.add_argument("--servalcat", help="Servalcat's executable: the peer, and the judge")
    parser.add_argument("--monomers", default=os.environ.get("CLIBD_MON", ""), help="monomer library for Servalcat")
    parser.add_argument("--start", default="shaken", help="shaken or model")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    parser.add_argument("extra", nargs=argparse.REMAINDER, help="after --: options for arrayrefine")
    args = parser.parse_args()
    extra = [e for e in args.extra if e != "--"]
    peer = Servalcat(args.servalcat, args.monomers) if args.servalcat else None
    print(HEADER, flush=True)
    rows = []
    for name in args.cases:
        try:
            found = compare(DATA / name, args.start, peer, extra)
        except RuntimeError as error:
            print(f"| {name} | failed: {error} |", flush=True)
            continue
        rows += found
        for row in found:
            print(line(row), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
