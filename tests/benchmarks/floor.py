"""What each part of an evaluation moves and computes at least, and how long this machine would need for it at best.

The counts are those of this program's algorithm with every array read or written once and every table in cache: grids
and their transforms, look-up tables, atoms, restraints. A part needs the longer of its bytes by the measured bandwidth
of a copy, and its operations and exponentials by the measured rates of a matrix product in float32 and of NumPy's exp.
Nothing reaches that; the ratio says how far there is to go. Operations of restraints and of the likelihood are counted
by hand, to a factor of two. Splat and gather are taken to need the points within the spheres alone; beside that stands
what the bricks make of it, which are filled to their corners and to the fullest brick of their block.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from evaluation import files_of
from measuring import least

from arrayrefine.atoms import Atoms
from arrayrefine.options import Options
from arrayrefine.preparation import prepare
from arrayrefine.problem import Problem
from arrayrefine.scattering.gaussians import Anisotropic, Isotropic
from arrayrefine.state import State, evaluate
from arrayrefine.structure_factors import StructureFactors

SHIFT = 0.02
"""Å along each axis, by which atoms move before every evaluation."""
LIKELIHOOD, TRANSCENDENTAL = 100, 4
"""Operations per reflection: an amplitude, a logarithm, a ratio of Bessel functions, and the chain rule; and how many
functions there are that cost as much as an exponential."""
RESTRAINTS = {"bonds": (2, 30), "angles": (3, 90), "torsions": (4, 220), "chiralities": (4, 80), "planes": (1, 50)}
"""Atoms, and operations for value and gradient, of a restraint (of planes: of each of its atoms)."""
CONTACT, ADP = 30, 14
"""Operations of a listed pair."""
CLOCKS = ("time.perf_counter", "arrayrefine.targets.geometry.perf_counter", "arrayrefine.targets.adp.perf_counter")


class Rates(NamedTuple):
    """Bytes per second of a copy (read and write), and per second: float32 operations of a product, exponentials."""

    bandwidth: float
    operations: float
    exponentials: float


class Count(NamedTuple):
    """Bytes, operations and exponentials that one part needs, and operations that it does where they are known."""

    bytes: float
    operations: float
    exponentials: float = 0.0
    done: float | None = None


def rates(device: str = "cpu") -> Rates:
    """Measure this machine, with as many threads as BLAS was told; or its CUDA device."""
    xp: Any = np
    synchronise: Callable[[], Any] = int
    if device == "cuda":
        import cupy

        xp, synchronise = cupy, cupy.cuda.runtime.deviceSynchronize
    n, few, times = (1024, 1 << 15, 64) if device == "cpu" else (8192, 1 << 26, 1)
    source = xp.ones(1 << 26, dtype=xp.float32)
    target = xp.empty_like(source)
    a = xp.ones((n, n), dtype=xp.float32)
    product = xp.empty_like(a)
    x = xp.full(few, -1.5, dtype=xp.float32)
    y = xp.empty_like(x)
    copy = least(lambda: xp.copyto(target, source), 5, 1.0, synchronise)
    gemm = least(lambda: xp.matmul(a, a, out=product), 5, 1.0, synchronise)

    def exponentials() -> None:
        for _ in range(times):  # what fits into a cache takes too little time to be seen by every clock
            xp.exp(x, out=y)

    exponential = least(exponentials, 50, 0.3, synchronise)
    # Wall time would count the other work of a shared machine; of a device, the processor only waits for it.
    copied, multiplied, raised = (s.cpu if device == "cpu" else s.wall for s in (copy, gemm, exponential))
    return Rates(2.0 * source.nbytes / copied, 2.0 * n**3 / multiplied, times * few / raised)


def counts(problem: Problem, state: State, factors: StructureFactors) -> dict[str, Count]:
    """Least bytes and operations of each part."""
    atoms, shape, stored = state.atoms, factors.sampling.shape, factors._table.stored
    points, kept = math.prod(shape), math.prod(stored)
    channels = factors.density.channel.shape[1]
    radius = np.concatenate([kind.radius for kind in _kinds(factors, atoms)])
    in_spheres = float((4.0 / 3.0 * np.pi * radius**3).sum()) / (factors.crystal.volume / points)
    steps = np.linalg.norm(factors.crystal.orth, axis=0) / np.asarray(shape)
    along_axes = float((2.0 * radius[:, None] / steps).sum())  # a Gaussian is a product of functions along the axes
    in_bricks = _bricked(factors, atoms)
    grid, transform = 4.0 * channels * points, 8.0 * channels * kept
    (nx, ny, nz), (_, my, mz) = shape, stored
    fft = channels * (
        2.5 * points * math.log2(nz) + 5.0 * nx * mz * ny * math.log2(ny) + 5.0 * my * mz * nx * math.log2(nx)
    )
    terms = factors._table.index.size
    count = factors._table.index.shape[1]
    look_up = Count(transform + (8 + 8 + 4) * terms + (4 * channels + 16) * count, (8 + 4 * channels) * terms)
    return {
        "splat": Count(grid, in_spheres * (1 + 2 * channels), along_axes, 2.0 * in_bricks * channels),
        "FFT": Count(grid + transform, fft),
        "look-up": look_up,
        "likelihood": Count(88.0 * count, LIKELIHOOD * count, TRANSCENDENTAL * count),
        "look-up, adjoint": look_up,
        "FFT, back": Count(grid + transform, fft),
        "gather": Count(grid, in_spheres * (2 + 2 * channels), along_axes, 4.0 * in_bricks * channels),
        **_restraint_counts(problem, state),
    }


def _kinds(factors: StructureFactors, atoms: Atoms) -> list[Isotropic | Anisotropic]:
    """Gaussians of atoms, the anisotropic ones apart."""
    round_, other = factors.density.gaussians(atoms)
    return [round_] if other is None else [round_, other]


def _bricked(factors: StructureFactors, atoms: Atoms) -> float:
    """Points of all bricks, each counted for every place for an atom in it, empty places included."""
    fractional = factors.crystal.fractional(atoms.xyz)
    bricks = [factors.density.assigned(fractional[kind.index], kind) for kind in _kinds(factors, atoms)]
    return float(sum(len(b.atom) * math.prod(b.width) for b in bricks))


def _restraint_counts(problem: Problem, state: State) -> dict[str, Count]:
    # An atom's coordinates are read and its gradient is added to: 48 bytes, besides its index.
    moved = operations = 0.0
    for name, (members, work) in RESTRAINTS.items():
        number = len(getattr(problem.restraints, name).index)
        moved += number * (members * (48 + 8) + 16)
        operations += number * work
    found = {"geometry": Count(moved, operations)}
    contacts = problem.geometry.contacts
    if contacts is not None:
        pairs = len(contacts._pairs(state.atoms).i)
        found["contacts"] = Count(pairs * (2 * (24 + 8) + 16.0), float(pairs * CONTACT))
    pairs = len(problem.adp.i)
    found["ADP"] = Count(pairs * (2 * (16 + 8) + 8.0), float(pairs * ADP))
    return found


def times(problem: Problem, state: State, factors: StructureFactors, repeats: int) -> dict[str, float]:
    """Least CPU seconds of each part."""
    rng = np.random.default_rng(0)
    atoms, d_f = state.atoms, np.asarray(rng.normal(size=len(factors.hkl)), dtype=np.complex128)
    geometry = {"geometry": "geometry"} | ({"contacts": "contacts"} if problem.geometry.contacts else {})
    forward = {"splat": "splat", "fft": "FFT", "lookup": "look-up"}
    back = {"lookup": "look-up, adjoint", "fft": "FFT, back", "splat": "gather"}
    calls: tuple[tuple[Callable[[Atoms], Any], dict[str, str]], ...] = (
        (factors, forward),
        (lambda moved: factors.pullback(d_f, moved), back),
        (state.xray, {"likelihood": "likelihood"}),
        (problem.geometry, geometry),
        (problem.adp, {"adp": "ADP"}),
    )
    found: dict[str, float] = {}
    for number in range(repeats + 2):
        if number == 2:  # plans are made by then
            found.clear()
        moved = atoms.replace(xyz=atoms.xyz + rng.normal(0.0, SHIFT, atoms.xyz.shape))
        for call, names in calls:
            problem.timer.clear()
            with contextlib.ExitStack() as clocks:
                for clock in CLOCKS:  # on the wall clock, a shared machine's other work would count too
                    clocks.enter_context(mock.patch(clock, time.process_time))
                call(moved)
            for key, name in names.items():
                found[name] = min(found.get(name, math.inf), problem.timer[key])
    return found


def compare(name: str, found: Rates, device: Rates | None, repeats: int) -> Iterator[dict[str, Any]]:
    """One row per part of an evaluation of a case, with default options, riding hydrogens included; and their sum."""
    _, problem, atoms, _ = prepare(*files_of(name), Options(device="cpu"))
    state = evaluate(problem, atoms)
    factors = problem.structure_factors(state.atoms)
    measured = times(problem, state, factors, repeats)
    total = dict.fromkeys(("bytes", "operations", "need", "seconds", "device"), 0.0)
    for part, count in counts(problem, state, factors).items():
        row = {
            "bytes": count.bytes, "operations": count.operations, "done": count.done, "need": _need(count, found),
            "seconds": measured[part], "device": _need(count, device) if device else 0.0,
        }  # fmt: skip
        total = {key: total[key] + (row[key] or 0.0) for key in total}
        yield {"case": name, "program": part, **row}
    yield {"case": name, "program": "all", **total}


def _need(count: Count, found: Rates) -> float:
    work = count.operations / found.operations + count.exponentials / found.exponentials
    return max(count.bytes / found.bandwidth, work)


COLUMNS = ("case", "part", "MB", "Mflop", "done, Mflop", "needed, ms", "taken, CPU ms", "ratio", "device needs, µs")
HEADER = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"


def line(row: Mapping[str, Any]) -> str:
    """One line of the Markdown table."""
    device = f"{1e6 * row['device']:.2f}" if row["device"] else "–"
    done = f"{row['done'] / 1e6:.1f}" if row.get("done") else "–"
    return (
        f"| {row['case']} | {row['program']} | {row['bytes'] / 1e6:.2f} | {row['operations'] / 1e6:.2f} | {done} "
        f"| {1e3 * row['need']:.3f} | {1e3 * row['seconds']:.3f} | {row['seconds'] / row['need']:.1f} | {device} |"
    )


def rates_line(found: Rates, where: str) -> str:
    """One sentence about a machine."""
    return (
        f"{where}: a copy {found.bandwidth / 1e9:.1f} GB/s, a matrix product in float32 "
        f"{found.operations / 1e9:.0f} Gflop/s, exponentials {found.exponentials / 1e9:.2f} G/s"
    )
