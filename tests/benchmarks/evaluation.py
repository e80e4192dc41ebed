"""Time and error of structure factors and their gradient, arrayrefine beside the peers."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from evaluators import Case
from programs import DATA, ROOT, run, start_of

from arrayrefine import example
from arrayrefine.options import Options
from arrayrefine.preparation import prepare
from arrayrefine.structure_factors import StructureFactors

OURS = {
    "arrayrefine, 1 thread": "arrayrefine",
    "arrayrefine, 1 thread, 3e-4": "arrayrefine_3e-4",
    "arrayrefine, 1 thread, 5e-5": "arrayrefine_5e-5",
}
"""Labels and evaluators: as in a refinement, and with stricter bounds on the error of F, to compare with peers of any
accuracy."""
SUBSET = 500
"""Reflections that are summed directly, to measure the error of F and of the gradient."""
PEERS = {
    "gemmi": "gemmi",
    "cctbx": "cctbx-base",
    "cctbx_accurate": "cctbx-base",
    "torchref": "torchref",
    "sfcalculator": "SFcalculator_torch",
}
"""What to install for each peer."""


def files_of(name: str) -> tuple[Path, Path]:
    """Model and data of a case; "example" is the embedded one."""
    if name == "example":
        return example.MODEL, example.DATA
    return start_of(DATA / name), DATA / name / "norm.mtz"


def make_case(model: Path, data: Path, seed: int = 0) -> Case:
    """Atoms without hydrogens, isotropic, and the measured reflections; weights w of the gradient at random."""
    _, problem, atoms, _ = prepare(model, data, Options(hydrogens="strip", device="cpu"))
    reflections = problem.reflections
    rng = np.random.default_rng(seed)
    count = len(reflections)
    return Case(
        cell=np.array(reflections.crystal.cell), space_group=reflections.crystal.space_group,
        d_min=reflections.d_min, hkl=reflections.hkl, xyz=atoms.xyz, b_iso=atoms.b_iso, occupancy=atoms.occupancy,
        element=list(atoms.element), weight=rng.normal(size=count) + 1j * rng.normal(size=count),
        subset=np.sort(rng.permutation(count)[:SUBSET]), model=str(model), data=str(data),
    )  # fmt: skip


def reference(case: Case) -> dict[str, Any]:
    """F and gradient of the subset by direct summation in double precision."""
    _, problem, atoms, _ = prepare(case.model, case.data, Options(hydrogens="strip", device="cpu"))
    direct = StructureFactors(problem.reflections.crystal, case.hkl[case.subset], atoms, method="direct")
    gradient = direct.pullback(case.weight[case.subset], atoms)
    return {
        "f": direct(atoms), "xyz": gradient.xyz, "b_iso": gradient.b_iso, "occupancy": gradient.occupancy,
    }  # fmt: skip


def relative(found: Any, exact: Any) -> float:
    """‖found − exact‖ / ‖exact‖."""
    return float(np.linalg.norm(np.asarray(found) - exact) / np.linalg.norm(exact))


def errors(found: Mapping[str, Any], exact: Mapping[str, Any], subset: Any) -> dict[str, float]:
    """Relative errors of F, and of the gradients where there are any."""
    gradients = {f"error_{n}": relative(found[n], exact[n]) for n in ("xyz", "b_iso", "occupancy") if n in found}
    return {"error_f": relative(found["f"][subset], exact["f"])} | gradients


def measure(
    program: str, python: str, file: Path, *, threads: int = 1, device: str = "cpu", repeats: int = 5
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run one program in a process of its own; what it printed, and its arrays.

    Raises
    ------
    RuntimeError
        If it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.npz"
        command = [python, str(Path(__file__).with_name("evaluators.py")), program, str(file), str(out)]
        command += ["--threads", str(threads), "--device", device, "--repeats", str(repeats)]
        env = {"PYTHONPATH": str(ROOT)} if program.startswith("arrayrefine") else None
        printed = run(command, Path(folder), env, threads).output
        with np.load(out) as held:
            return json.loads(printed.splitlines()[-1]), dict(held)


def variants(
    pythons: Mapping[str, str], threads: int, devices: Sequence[str]
) -> list[tuple[str, str, dict[str, Any]]]:
    """Label, program and arguments of `measure` for everything that is to be compared, installed or not."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    if "cpu" in devices:
        found += [(label, program, {}) for label, program in OURS.items()]
        if threads > 1:
            found.append((f"arrayrefine, {threads} threads", "arrayrefine", {"threads": threads}))
        found += [(name, name, {}) for name in PEERS]
    if "cuda" in devices:
        found.append(("arrayrefine, CUDA", "arrayrefine", {"device": "cuda"}))
        found += [(f"{name}, CUDA", name, {"device": "cuda"}) for name in ("torchref", "sfcalculator")]
    return found


def reason(error: Exception) -> str:
    """Last line of what a program said when it failed, short enough for a table."""
    last = str(error).strip().splitlines()[-1]
    return re.sub(r"^.* ended with -?\d+: ", "", last)[-200:]


def compare(
    name: str,
    pythons: Mapping[str, str],
    threads: int,
    devices: Sequence[str],
    repeats: int,
    wanted: Callable[[str], bool],
) -> Iterator[dict[str, Any]]:
    """One row per program for one case, of those whose label is wanted."""
    chosen = [variant for variant in variants(pythons, threads, devices) if wanted(variant[0])]
    if not chosen:
        return
    case = make_case(*files_of(name))
    exact = reference(case)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "case.npz"
        np.savez(file, **case._asdict())
        for label, program, arguments in chosen:
            row: dict[str, Any] = {
                "case": name, "program": label, "atoms": len(case.xyz), "reflections": len(case.hkl),
            }  # fmt: skip
            python = sys.executable if program.startswith("arrayrefine") else pythons.get(program, "")
            try:
                if not python:
                    raise RuntimeError(f"missing: no Python with {PEERS[program]} was given")
                seconds, arrays = measure(program, python, file, repeats=repeats, **arguments)
                row |= seconds | errors(arrays, exact, case.subset)
            except RuntimeError as error:
                row["failed"] = reason(error)
            yield row


COLUMNS = (
    "case", "program", "atoms", "reflections", "F: CPU ms", "wall ms", "F + gradient: CPU ms", "wall ms",
    "once: CPU ms", "wall ms", "error of F", "of ∂xyz", "of ∂B", "of ∂q",
)  # fmt: skip
HEADER = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"


def line(row: Mapping[str, Any]) -> str:
    """One line of the Markdown table; with a device, the CPU only waits, and wall is what counts."""
    if "failed" in row:
        return f"| {row['case']} | {row['program']} | {row['failed']} |{' |' * (len(COLUMNS) - 3)}"
    start = f"| {row['case']} | {row['program']} | {row['atoms']} | {row['reflections']} |"
    cells = []
    for part in ("forward", "both", "once"):
        for clock in ("cpu", "wall"):
            cells.append(f"{1e3 * row[part][clock]:.4g}" if part in row else "–")
    of = ("error_f", "error_xyz", "error_b_iso", "error_occupancy")
    cells += [f"{row[key]:.1e}" if key in row else "–" for key in of]
    return f"{start} {' | '.join(cells)} |"


def geometric_mean(values: Sequence[float]) -> float:
    """Geometric mean of positive numbers."""
    return float(np.exp(np.mean(np.log(values))))


def ratios(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """CPU time of arrayrefine on one thread over that of each peer, and the same of the errors of F, by case and as
    geometric mean."""
    found = []
    for label in OURS:
        ours = {row["case"]: row for row in rows if row["program"] == label and "failed" not in row}
        for peer in PEERS:
            for part in ("forward", "both"):
                theirs = {r["case"]: r for r in rows if r["program"] == peer and part in r and r["case"] in ours}
                by_case = {name: ours[name][part]["cpu"] / row[part]["cpu"] for name, row in theirs.items()}
                if by_case:
                    errors = [ours[name]["error_f"] / row["error_f"] for name, row in theirs.items()]
                    found.append(
                        {"ours": label, "peer": peer, "part": part, "by_case": by_case,
                         "mean": geometric_mean(list(by_case.values())), "error": geometric_mean(errors)}
                    )  # fmt: skip
    return found


def ratio_line(ratio: Mapping[str, Any]) -> str:
    """One sentence about a ratio."""
    what = "F" if ratio["part"] == "forward" else "F + gradient"
    cases = ", ".join(f"{name} {value:.2g}" for name, value in ratio["by_case"].items())
    return (
        f"{what}, CPU time of {ratio['ours']} over {ratio['peer']}: {ratio['mean']:.2g} ({cases}), "
        f"error of F over its: {ratio['error']:.2g}"
    )
