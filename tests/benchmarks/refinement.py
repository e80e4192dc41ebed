"""Time of whole refinements, from files to files, arrayrefine beside the peers."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evaluation import geometric_mean, reason
from programs import DATA, Run, Scorer, Servalcat, arrayrefine, start_of, torchref

OURS = "arrayrefine, 1 thread"
CYCLES = 10
"""Of Servalcat: its default."""
_R_FREE = re.compile(r"R-free:\s+(\d\.\d+)")


class Outcome(NamedTuple):
    """A refinement: its run, the refined model, the program's own R-free, and its evaluations where it counts them."""

    run: Run
    model: Path
    r_free: float | None
    evaluations: int | None = None


Program = Callable[[Path, Path, Path], Outcome]
"""(case, start, folder) -> what came of it."""


class Peers(NamedTuple):
    """Executables of the other programs, and the scorer; None where there is none."""

    servalcat: str | None
    torchref: str | None
    monomers: str
    scorer: Scorer | None


def _arrayrefine(extra: list[str], threads: int = 1) -> Program:
    def refine(case: Path, start: Path, folder: Path) -> Outcome:
        done, model, report = arrayrefine(case, start, folder, extra, threads)
        return Outcome(done, model, report["final"]["r_free"], sum(step["evaluations"] for step in report["steps"]))

    return refine


def _servalcat(peers: Peers) -> Program:
    def refine(case: Path, start: Path, folder: Path) -> Outcome:
        if not peers.servalcat:
            raise RuntimeError("missing: no servalcat was given")
        done, model, stats = Servalcat(peers.servalcat, peers.monomers).refine(case, start, folder, CYCLES)
        summary = stats["data"]["summary"]
        return Outcome(done, model, summary.get("Rfree", summary.get("R1free")))

    return refine


def _torchref(peers: Peers, device: str = "cpu") -> Program:
    def refine(case: Path, start: Path, folder: Path) -> Outcome:
        if not peers.torchref:
            raise RuntimeError("missing: no torchref.refine was given")
        done, model = torchref(peers.torchref, case, start, folder, device)
        printed = _R_FREE.findall(done.output)
        return Outcome(done, model, float(printed[-1]) if printed else None)

    return refine


def programs(peers: Peers, threads: int, devices: Sequence[str]) -> dict[str, Program]:
    """Everything that is to be compared, by its label; in the order in which each round runs it."""
    found: dict[str, Program] = {}
    if "cpu" in devices:
        found[OURS] = _arrayrefine(["--device", "cpu"])
        if threads > 1:
            found[f"arrayrefine, {threads} threads"] = _arrayrefine(["--device", "cpu"], threads)
        found["Servalcat"] = _servalcat(peers)
        found["TorchRef"] = _torchref(peers)
    if "cuda" in devices:
        found["arrayrefine, CUDA"] = _arrayrefine(["--device", "cuda"])
        found["TorchRef, CUDA"] = _torchref(peers, "cuda")
    return found


def compare(
    name: str, entrants: Mapping[str, Program], scorer: Scorer | None, repeats: int
) -> Iterator[dict[str, Any]]:
    """One row per program for one case: the least of several runs."""
    case = DATA / name
    for label, refine in entrants.items():
        row: dict[str, Any] = {"case": name, "program": label}
        done: list[Run] = []
        try:
            start = start_of(case)
            for number in range(repeats):
                with tempfile.TemporaryDirectory() as folder:
                    outcome = refine(case, start, Path(folder))
                    done.append(outcome.run)
                    if number == 0:
                        row |= {"r_free": outcome.r_free, "evaluations": outcome.evaluations, "scored": None}
                        if scorer:
                            row["scored"] = scorer.r_free(case, outcome.model)
            row |= {"cpu": min(r.cpu for r in done), "wall": min(r.wall for r in done), "runs": repeats}
        except RuntimeError as error:
            row["failed"] = reason(error)
        yield row


COLUMNS = ("case", "program", "CPU s", "wall s", "evaluations", "own R-free", "scored R-free")
HEADER = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"


def line(row: Mapping[str, Any]) -> str:
    """One line of the Markdown table."""
    start = f"| {row['case']} | {row['program']} |"
    if "failed" in row:
        return f"{start} {row['failed']} |{' |' * (len(COLUMNS) - 3)}"
    r_free = ("–" if row.get(key) is None else f"{row[key]:.4f}" for key in ("r_free", "scored"))
    evaluations = "–" if row.get("evaluations") is None else row["evaluations"]
    return f"{start} {row['cpu']:.1f} | {row['wall']:.1f} | {evaluations} | {' | '.join(r_free)} |"


def ratios(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Time of arrayrefine over that of each peer, by case and as geometric mean: of the CPU; on a device, wall."""
    found = []
    labels = list(dict.fromkeys(r["program"] for r in rows))
    several = [label for label in labels if re.fullmatch(r"arrayrefine, (?!1 )\d+ threads", label)]
    pairs = [(OURS, "Servalcat", "cpu"), (OURS, "TorchRef", "cpu")]
    pairs += [(label, peer, "wall") for label in several for peer in ("Servalcat", "TorchRef")]
    pairs += [("arrayrefine, CUDA", peer, "wall") for peer in ("Servalcat", "TorchRef, CUDA")]
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
