"""Measurements on a CUDA device, one step at a time; gpu.sh runs them all.

    python tests/benchmarks/gpu.py agreement [CASE ...]      # CUDA against NumPy: the same refinement, the same result
    python tests/benchmarks/gpu.py objective [CASE[:D_MIN][+tls] ...]  # milliseconds of the objective with its gradient
    python tests/benchmarks/gpu.py kernels [CASE[:D_MIN][+tls] ...]    # microseconds of every kernel in it, by PyTorch
    python tests/benchmarks/gpu.py evaluation [CASE[:D_MIN] ...]   # the same within refinements, overheads included
    python tests/benchmarks/gpu.py refinements [CASE[:D_MIN] ...]  # whole ones after start-up, by 1, 2, 4 … processes
    python tests/benchmarks/gpu.py batch-objective [COPIES]  # evaluations of copies of 1RX2 together and one by one
    python tests/benchmarks/gpu.py batch [COPIES]            # refinements of them
    python tests/benchmarks/gpu.py short [unpooled]          # a short refinement, for compute-sanitizer

Prints lines of Markdown. The exit status is 0 where all was measured and within its limits, 1 where something was not
or failed, and 3 where this version or this machine lacks what the step is about. The case "example" is the embedded
1RX2; others are folders of ARRAYREFINE_DATA (default ../shared/data).
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import objectives
from evaluation import files_of
from objectives import MissingError
from programs import DATA, ligand_files

from arrayrefine import example
from arrayrefine.errors import ArrayRefineError, DeviceError
from arrayrefine.kernels.backend import cuda_unavailable_reason, launch_counts
from arrayrefine.options import Minimiser, Options
from arrayrefine.refine import refine
from arrayrefine.result import Result

MISSING = 3
LIMIT_R_FREE, LIMIT_XYZ = 0.0005, 0.01
"""By how much R-free, and the coordinates (Å rms), may differ between CUDA and NumPy."""
AGREEMENT = ("example", "1aba")
OBJECTIVES = ("example", "example+tls", "5orl:2.0", "3g70", "3g70+tls", "4iid", "4iid+tls")
EVALUATION = ("example", "5orl:2.0", "3g70", "4iid")
"""1503 atoms at 1.8 Å, 2388 at 2.0, 5706 at 2.0 and 14,782 at 2.3 Å; about as many hydrogens ride along.

A ligand of 5ORL is in no library, and is held.
"""
COPIES, ALONE = 64, 8
"""Copies that are refined together, and how many of them also alone."""
STEPS = (
    "agreement", "objective", "kernels", "evaluation", "refinements", "batch-objective", "batch", "short",
)  # fmt: skip
PERTURB = 0.2
"""Å rms, as `arrayrefine demo` does."""


def lacking(error: Exception) -> bool:
    """Whether an error says that this version has no such thing, and not that it went wrong."""
    return isinstance(error, MissingError) or (isinstance(error, DeviceError) and "has no CUDA kernels" in str(error))


def ligands_of(name: str) -> tuple[Path, ...]:
    """Restraint CIFs that come with a case."""
    return () if name == "example" else tuple(ligand_files(DATA / name))


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Result and wall seconds of a call; a refinement ends on the host, so there is nothing to wait for."""
    began = time.perf_counter()
    return call(), time.perf_counter() - began


def each(names: Sequence[str], header: str, rows: Callable[[str], Iterator[tuple[str, bool]]]) -> bool:
    """Print a table; a case that fails is a row. True if every row is good."""
    print(header, flush=True)
    good = True
    for name in names:
        try:
            for line, fine in rows(name):
                print(line, flush=True)
                good = good and fine
        except Exception as error:  # the other cases are to be measured all the same
            if lacking(error):
                raise
            print(f"| {name} | {type(error).__name__}: {error} |", flush=True)
            good = False
    return good


AGREEMENT_HEADER = """| case | NumPy R-free | CUDA R-free | difference | xyz, Å rms | NumPy s | CUDA s | again s | so |
|---|---|---|---|---|---|---|---|---|"""


def agreement(name: str) -> Iterator[tuple[str, bool]]:
    """The same default refinement by CUDA, again by CUDA, and by NumPy."""
    model, data = files_of(name)

    def run(device: Literal["cpu", "cuda"]) -> Result:
        perturb = PERTURB if name == "example" else 0.0
        return refine(model, data, Options(device=device, perturb=perturb, restraints=ligands_of(name)))

    (device, first), (again, second), (host, seconds) = (timed(partial(run, d)) for d in ("cuda", "cuda", "cpu"))
    ours, theirs = (np.nan if result.r_free is None else result.r_free for result in (host, device))
    apart = host.atoms.xyz - device.atoms.xyz
    rms = float(np.sqrt((apart**2).sum(axis=1).mean()))
    objections = []
    if not abs(ours - theirs) <= LIMIT_R_FREE:
        objections.append(f"R-free differs by more than {LIMIT_R_FREE}")
    if not rms <= LIMIT_XYZ:
        objections.append(f"coordinates differ by more than {LIMIT_XYZ} Å")
    if not np.array_equal(device.atoms.xyz, again.atoms.xyz):
        objections.append("two runs on the device differ")
    yield (
        f"| {name} | {ours:.4f} | {theirs:.4f} | {abs(ours - theirs):.5f} | {rms:.4f} | {seconds:.1f} | {first:.1f} "
        f"| {second:.1f} | {'; '.join(objections) or 'agree'} |",
        not objections,
    )


EVALUATION_HEADER = """| case | atoms | reflections | d_min, Å | step | evaluations | ms each | parts, ms |
|---|---|---|---|---|---|---|---|"""


def evaluation(text: str) -> Iterator[tuple[str, bool]]:
    """Milliseconds of an evaluation within the steps of a refinement, all overheads of the steps included."""
    name, _, d_min = text.partition(":")
    model, data = files_of(name)
    limit = float(d_min) if d_min else None
    options = Options(device="cuda", cycles=2, d_min=limit, restraints=ligands_of(name), unknown="hold")
    result = refine(model, data, options)
    data_used = result.reflections
    for step in result.history:
        count = max(1, step.evaluations)
        parts = ", ".join(f"{key} {1e3 * value / count:.3f}" for key, value in step.timings.items())
        yield (
            f"| {name} | {len(result.atoms)} | {len(data_used.hkl)} | {data_used.d_min:.2f} | {step.cycle} "
            f"{step.target} | {step.evaluations} | {1e3 * step.seconds / count:.3f} | {parts} |",
            True,
        )


REFINEMENTS_HEADER = """| case | atoms | processes | s | R-work | R-free | evaluations |
|---|---|---|---|---|---|---|"""


def refinements(text: str) -> Iterator[tuple[str, bool]]:
    """Seconds of whole refinements by default, page and start-up left out, by more and more processes."""
    name, _, d_min = text.partition(":")
    refine(example.MODEL, example.DATA, Options(device="cuda", cycles=2))  # kernels are compiled now
    cores, count = len(os.sched_getaffinity(0)), 1
    while count <= cores:
        options = Options(
            device="cuda", threads=count, d_min=float(d_min) if d_min else None, restraints=ligands_of(name),
            unknown="hold", perturb=PERTURB if name == "example" else 0.0,
        )  # fmt: skip
        result, seconds = timed(partial(refine, *files_of(name), options))
        yield (
            f"| {text} | {int((~result.atoms.is_hydrogen).sum())} | {count} | {seconds:.2f} | {result.r_work:.4f} "
            f"| {result.r_free or np.nan:.4f} | {sum(step.evaluations for step in result.history)} |",
            True,
        )
        count *= 2


KERNELS_HEADER = """| case | kernel | launches | µs |
|---|---|---|---|"""


def kernels(text: str) -> Iterator[tuple[str, bool]]:
    """Microseconds of the kernels of an evaluation, from replays of its graph."""
    try:
        from torch.profiler import ProfilerActivity, profile
    except ImportError as error:
        raise MissingError(f"PyTorch, whose profiler sees kernels in graphs: {error}") from error
    for name, (count, microseconds) in objectives.kernels(text, ligands_of, profile, ProfilerActivity.CUDA).items():
        yield f"| {text} | {name} | {count:.1f} | {microseconds:.1f} |", True


def short(unpooled: bool) -> bool:
    """The shortest refinement that runs every kernel, for a tool that is slow.

    Without CuPy's pool of memory every array is an allocation of its own, so that an access beyond it is seen.
    """
    if unpooled:
        import cupy

        cupy.cuda.set_allocator(None)
    options = Options(device="cuda", cycles=1, d_min=3.5, perturb=PERTURB, minimiser=Minimiser(max_iterations=3))
    print(f"R-free {refine(example.MODEL, example.DATA, options).r_free}")
    return True


def objective(name: str) -> Iterator[tuple[str, bool]]:
    """Milliseconds of the objective alone, and its agreement with NumPy."""
    row = objectives.compare(name, ligands_of)
    yield objectives.line(row), row["good"]


def batch_objective(copies: int) -> bool:
    """Evaluations of copies of 1RX2, all at once and one by one."""
    row = objectives.batch("example", copies)
    print(f"{objectives.BATCH_HEADER}\n{objectives.batch_line(row)}")
    return bool(row["good"])


def batch(copies: int) -> bool:
    """Displaced copies of 1RX2, all by `arrayrefine.refine_many` on all cores, and the first few by `refine`."""
    package: Any = importlib.import_module("arrayrefine")
    if not hasattr(package, "refine_many"):
        raise MissingError("this version has no arrayrefine.refine_many")
    options = [Options(device="cuda", perturb=PERTURB, seed=seed) for seed in range(copies)]
    cores = len(os.sched_getaffinity(0))
    jobs = [package.Job(example.MODEL, example.DATA, replace(one, threads=cores)) for one in options]
    # Kernels are compiled by another process: those that share the jobs need one that has not used CUDA yet.
    compiled = subprocess.run([sys.executable, __file__, "short"], capture_output=True, text=True)
    if compiled.returncode == MISSING:
        raise MissingError(compiled.stdout.strip().removeprefix("missing: "))
    together, all_seconds = timed(lambda: package.refine_many(jobs))
    refine(example.MODEL, example.DATA, options[0])
    alone, seconds = timed(lambda: [refine(example.MODEL, example.DATA, one) for one in options[:ALONE]])
    for result in together:
        if isinstance(result, ArrayRefineError):
            raise result
    pairs = [(a.r_free, b.r_free) for a, b in zip(alone, together)]
    worst = np.max([np.nan if a is None or b is None else abs(a - b) for a, b in pairs])
    one_by_one, of_all = seconds / len(alone), all_seconds / copies
    print("| copies of 1RX2 | cores | together, s | s each | one by one, s each | gain | difference of R-free |")
    print("|---|---|---|---|---|---|---|")
    print(f"| {copies} | {cores} | {all_seconds:.1f} | {of_all:.3f} | {one_by_one:.3f} (of {len(alone)}) "
          f"| {one_by_one / of_all:.1f} | {worst:.5f} |")  # fmt: skip
    return bool(worst <= LIMIT_R_FREE)


def run(step: str, what: Sequence[str]) -> bool:
    """Run one step; True if all is well."""
    if step == "agreement":
        return each(what or AGREEMENT, AGREEMENT_HEADER, agreement)
    if step == "objective":
        return each(what or OBJECTIVES, objectives.HEADER, objective)
    if step == "kernels":
        return each(what or OBJECTIVES, KERNELS_HEADER, kernels)
    if step == "refinements":
        return each(what or EVALUATION, REFINEMENTS_HEADER, refinements)
    if step == "batch-objective":
        return batch_objective(int(what[0]) if what else COPIES)
    if step == "evaluation":
        return each(what or EVALUATION, EVALUATION_HEADER, evaluation)
    if step == "batch":
        return batch(int(what[0]) if what else COPIES)
    return short("unpooled" in what)


def main() -> int:
    """Run one step; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("what", nargs="*", help="cases; the number of copies; unpooled")
    args = parser.parse_args()
    try:
        if args.step != "batch" and (reason := cuda_unavailable_reason()):
            raise MissingError(reason)
        good = run(args.step, args.what)
        if not launch_counts():
            print("no kernel was launched on the device: the CPU did the work")
            return 1
        return 0 if good else 1
    except Exception as error:
        if lacking(error):
            print(f"missing: {error}")
            return MISSING
        traceback.print_exc(file=sys.stdout)
        return 1


if __name__ == "__main__":
    sys.exit(main())
