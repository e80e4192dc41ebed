"""Time of whole refinements, from files to files, arrayrefine beside the peers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation import geometric_mean
from programs import DATA, Run, Servalcat, arrayrefine, start_of, torchref

OURS = "arrayrefine, 1 thread"
CYCLES = 10
"""Of Servalcat: its default."""

Program = Callable[[Path, Path, Path], tuple[Run, float | None]]
"""(case, start, folder) -> the run, and the program's own R-free."""


def _arrayrefine(extra: list[str], threads: int = 1) -> Program:
    def refine(case: Path, start: Path, folder: Path) -> tuple[Run, float | None]:
        done, _, report = arrayrefine(case, start, folder, extra, threads)
        return done, report["final"]["r_free"]

    return refine


def _servalcat(peer: Servalcat) -> Program:
    def refine(case: Path, start: Path, folder: Path) -> tuple[Run, float | None]:
        done, _, stats = peer.refine(case, start, folder, CYCLES)
        summary = stats["data"]["summary"]
        return done, summary.get("Rfree", summary.get("R1free"))

    return refine


def _torchref(executable: str, device: str = "cpu") -> Program:
    def refine(case: Path, start: Path, folder: Path) -> tuple[Run, float | None]:
        return torchref(executable, case, start, folder, device), None

    return refine


def programs(
    peer: Servalcat | None, torchref_executable: str | None, threads: int, devices: Sequence[str]
) -> dict[str, Program]:
    """Everything that is to be compared, by its label; in the order in which each round runs it."""
    found: dict[str, Program] = {}
    if "cpu" in devices:
        found[OURS] = _arrayrefine(["--device", "cpu"])
        if threads > 1:
            found[f"arrayrefine, {threads} threads"] = _arrayrefine(["--device", "cpu"], threads)
        if peer:
            found["Servalcat"] = _servalcat(peer)
        if torchref_executable:
            found["TorchRef"] = _torchref(torchref_executable)
    if "cuda" in devices:
        found["arrayrefine, CUDA"] = _arrayrefine(["--device", "cuda"])
        if torchref_executable:
            found["TorchRef, CUDA"] = _torchref(torchref_executable, "cuda")
    return found


def compare(name: str, entrants: Mapping[str, Program], repeats: int) -> list[dict[str, Any]]:
    """One row per program for one case: the least of several runs, taken in turns."""
    case = DATA / name
    start = start_of(case)
    runs: dict[str, list[tuple[Run, float | None]]] = {label: [] for label in entrants}
    failed: dict[str, str] = {}
    for _ in range(repeats):
        for label, refine in entrants.items():
            if label in failed:
                continue
            with tempfile.TemporaryDirectory() as folder:
                try:
                    runs[label].append(refine(case, start, Path(folder)))
                except RuntimeError as error:
                    failed[label] = str(error).strip().splitlines()[-1][-160:]
    return [
        {"case": name, "program": label, "failed": failed[label]} if label in failed else
        {"case": name, "program": label, "cpu": min(r.cpu for r, _ in done), "wall": min(r.wall for r, _ in done),
         "r_free": done[-1][1], "runs": len(done)}
        for label, done in runs.items()
    ]  # fmt: skip


HEADER = """| case | program | CPU s | wall s | own R-free |
|---|---|---|---|---|"""


def line(row: Mapping[str, Any]) -> str:
    """One line of the Markdown table."""
    start = f"| {row['case']} | {row['program']} |"
    if "failed" in row:
        return f"{start} failed: {row['failed']} | | |"
    r_free = "–" if row["r_free"] is None else f"{row['r_free']:.4f}"
    return f"{start} {row['cpu']:.1f} | {row['wall']:.1f} | {r_free} |"


def ratios(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Time of arrayrefine over that of each peer, by case and as geometric mean: of the CPU; on a device, wall."""
    found = []
    pairs = ((OURS, "Servalcat", "cpu"), (OURS, "TorchRef", "cpu"), ("arrayrefine, CUDA", "TorchRef, CUDA", "wall"))
    done = {(r["case"], r["program"]): r for r in rows if "failed" not in r}
    for ours, theirs, clock in pairs:
        cases = [name for name, label in done if label == ours and (name, theirs) in done]
        by_case = {name: done[name, ours][clock] / done[name, theirs][clock] for name in cases}
        if by_case:
            mean = geometric_mean(list(by_case.values()))
            found.append({"ours": ours, "peer": theirs, "clock": clock, "by_case": by_case, "mean": mean})
    return found


def ratio_line(ratio: Mapping[str, Any]) -> str:
    """One sentence about a ratio."""
    clock = "CPU" if ratio["clock"] == "cpu" else "wall"
    cases = ", ".join(f"{name} {value:.2f}" for name, value in ratio["by_case"].items())
    return f"{clock} time of {ratio['ours']} over {ratio['peer']}, geometric mean: {ratio['mean']:.2f} ({cases})"
