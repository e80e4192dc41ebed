"""The objective with its gradient on a CUDA device: milliseconds, agreement with NumPy, and many models at once."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module  # parts of the package that this version may not have
from pathlib import Path
from typing import Any

import numpy as np
from evaluation import files_of, relative
from measuring import least
from numpy.typing import NDArray

from arrayrefine.displacements.tls import NUMBERS
from arrayrefine.minimize import Objective
from arrayrefine.options import Options, Xray
from arrayrefine.parameters import Parameters
from arrayrefine.preparation import prepare
from arrayrefine.problem import Problem
from arrayrefine.state import State, evaluate
from arrayrefine.weighting.schemes import find_weights
from arrayrefine.weights import Weights

STEP = 0.003
"""Å, and relative change of B, between one evaluation and the next: about what a line search tries."""
ACCURATE = 5e-5
"""Accuracy of F at which device and NumPy are compared: what is cut off, and where, is not the same in the two, so that
each may be off by that. Timed is a refinement's own accuracy."""
LIMIT_VALUE, LIMIT_GRADIENT = 1e-5, 1e-3
"""Relative differences from NumPy."""
SAME_VALUE, SAME_GRADIENT = 1e-6, 1e-5
"""Relative differences of models evaluated together from the same models alone: FFTs of stacks may sum otherwise."""


_MOTION = np.concatenate([[0.03, 0.02, 0.025, 0.004, -0.003, 0.002], np.full(3, 2e-4), np.zeros(NUMBERS - 9)])
"""T in Å² and L in rad² of every group."""


class MissingError(Exception):
    """This version or this machine lacks what is to be measured."""


class Work:
    """A case as in a step of its refinement; scale and solvent fitted on the host.

    What is free are coordinates and B, and with `motion` the TLS groups of its chains, which start from some motion.
    """

    def __init__(
        self, name: str, restraints: tuple[Path, ...] = (), d_min: float | None = None, motion: bool = False,
        accuracy: float = Xray().accuracy,
    ) -> None:
        tls = ("chain",) if motion else ("none",)
        xray = Xray(accuracy=accuracy)
        options = Options(device="cpu", restraints=restraints, d_min=d_min, unknown="hold", tls=tls, xray=xray)
        prepared = prepare(*files_of(name), options)
        self.problem: Problem = prepared[1]
        atoms = prepared[2]
        if motion:
            groups = Parameters.of(atoms, "tls")
            atoms = groups.unpack(np.tile(_MOTION, len(atoms.tls)))
        self.state: State = evaluate(self.problem, atoms)
        kinds = "xyz+tls+b" if motion else "xyz+b"
        self.parameters = Parameters.of(self.state.atoms, kinds, self.problem.restraints.held)
        self.weights: Weights = find_weights(self.problem, self.state, self.parameters)

    def on_host(self) -> Objective:
        """The objective by NumPy."""
        problem = self.problem
        return Objective(self.parameters, self.weights, self.state.xray, problem.geometry, problem.adp)

    def on_device(self, copies: int = 1) -> Any:
        """The objective of several models on the device, launched as one.

        Raises
        ------
        MissingError
            This version has none.
        """
        member, objective = _parts("device_objective", "Member", "DeviceObjective")
        (restraints,) = _parts("device_restraints", "DeviceRestraints")
        (made,) = _parts("device_factors", "made")
        problem, state = self.problem, self.state
        return objective(
            [member(self.parameters, self.weights, state.xray)] * copies,
            made(state.xray.structure_factors.how, copies),  # type: ignore[attr-defined, unused-ignore]
            restraints(problem.geometry, problem.adp, state.atoms.multiplicity, copies),
        )


def _parts(module: str, *names: str) -> list[Any]:
    try:
        held = import_module(f"arrayrefine.{module}")
        return [getattr(held, name) for name in names]
    except (ImportError, AttributeError) as error:
        raise MissingError(f"this version has no objective on the device: {error}") from error


class Wander:
    """Vectors (copies, n) a little off the start, others after each call."""

    def __init__(self, parameters: Parameters, copies: int = 1) -> None:
        self._start = np.tile(parameters.pack(parameters.reference), (copies, 1))
        self._scale = np.ones(self._start.shape[1])
        n_xyz, n_b, *_ = parameters.sizes
        self._scale[n_xyz : n_xyz + n_b] = self._start[0, n_xyz : n_xyz + n_b]
        self._scale[parameters.slices["tls"]] = np.tile(np.abs(_MOTION), int(parameters.tls.sum()))
        self._rng = np.random.default_rng(0)
        self.here: NDArray[np.float64] = self._start

    def __call__(self) -> None:
        self.here = self._start + STEP * self._scale * self._rng.normal(size=self._start.shape)


def _case(
    text: str, restraints_of: Callable[[str], tuple[Path, ...]]
) -> tuple[str, tuple[Path, ...], float | None, bool]:
    """Name, restraints, resolution and whether there is motion, of "NAME" or "NAME:D_MIN", "+tls" behind it for TLS."""
    what, plus, _ = text.partition("+tls")
    name, _, d_min = what.partition(":")
    return name, restraints_of(name), float(d_min) if d_min else None, bool(plus)


def compare(text: str, restraints_of: Callable[[str], tuple[Path, ...]]) -> dict[str, Any]:
    """The row of a case, "NAME" or "NAME:D_MIN", "+tls" behind it for TLS groups; riding hydrogens included."""
    case = _case(text, restraints_of)
    work = Work(*case, ACCURATE)
    wander = Wander(work.parameters)
    wander()
    value, gradient = work.on_host().at(wander.here[0])
    found, slope = work.on_device().at(wander.here[0])
    off = abs(found - value) / abs(value), relative(slope, gradient)
    work = Work(*case)
    host, device, wander = work.on_host(), work.on_device(), Wander(work.parameters)
    wander()
    device.at(wander.here[0])  # which counts its launches
    return {
        "case": case[0] + case[3] * "+tls", "atoms": len(work.state.atoms),
        "reflections": len(work.problem.reflections), "d_min": work.problem.reflections.d_min,
        "launches": int(device.launches),
        "device": least(lambda: device.at(wander.here[0]), 50, before=wander).wall,
        "host": least(lambda: host.at(wander.here[0]), 3, before=wander).wall,
        "value": off[0], "gradient": off[1], "good": off[0] <= LIMIT_VALUE and off[1] <= LIMIT_GRADIENT,
    }  # fmt: skip


def kernels(
    text: str, restraints_of: Callable[[str], tuple[Path, ...]], profile: Any, activity: Any, replays: int = 20
) -> dict[str, tuple[float, float]]:
    """Launches and microseconds of each kernel in an evaluation, the costly ones first, by PyTorch's profiler."""
    work = Work(*_case(text, restraints_of))
    device, wander = work.on_device(), Wander(work.parameters)
    for _ in range(3):  # compiled, captured, replayed
        wander()
        device.at(wander.here[0])
    stream = device._factors.stream
    with stream, profile(activities=[activity]) as seen:
        for _ in range(replays):
            device._graph.launch(stream=stream)
        stream.synchronize()
    found: dict[str, tuple[float, float]] = {}
    for event in seen.events():
        if "CUDA" in str(event.device_type):  # and not the host's call of the graph
            count, total = found.get(event.name[:40], (0.0, 0.0))
            lasted = event.time_range.end - event.time_range.start
            found[event.name[:40]] = count + 1.0 / replays, total + lasted / replays
    return dict(sorted(found.items(), key=lambda item: -item[1][1]))


COLUMNS = (
    "case", "atoms", "reflections", "d_min, Å", "CUDA, ms", "NumPy, ms", "launches", "value off by", "gradient off by",
    "verdict",
)  # fmt: skip
HEADER = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"


def line(row: dict[str, Any]) -> str:
    """One line of the Markdown table."""
    return (
        f"| {row['case']} | {row['atoms']} | {row['reflections']} | {row['d_min']:.2f} | {1e3 * row['device']:.3f} "
        f"| {1e3 * row['host']:.1f} | {row['launches']} | {row['value']:.1e} | {row['gradient']:.1e} "
        f"| {'agree' if row['good'] else f'more than {LIMIT_VALUE:g} or {LIMIT_GRADIENT:g}'} |"
    )


def batch(name: str, copies: int) -> dict[str, Any]:
    """All copies at once and one by one."""
    work = Work(name)
    one, many, wander = work.on_device(), work.on_device(copies), Wander(work.parameters, copies)
    wander()
    values, gradients = many.at_all(wander.here)
    alone = [one.at(x) for x in wander.here]

    def one_by_one() -> None:
        for x in wander.here:
            one.at(x)

    value = max(float(abs(v - a[0]) / abs(a[0])) for v, a in zip(values, alone))
    gradient = max(relative(g, a[1]) for g, a in zip(gradients, alone))
    return {
        "case": name, "atoms": len(work.state.atoms), "copies": copies,
        "together": least(lambda: many.at_all(wander.here), 10, before=wander).wall,
        "apart": least(one_by_one, 3, before=wander).wall,
        "value": value, "gradient": gradient, "good": value <= SAME_VALUE and gradient <= SAME_GRADIENT,
    }  # fmt: skip


BATCH_COLUMNS = (
    "case", "atoms", "copies", "together, ms", "ms each", "one by one, ms each", "gain", "value off by",
    "gradient off by", "verdict",
)  # fmt: skip
BATCH_HEADER = f"| {' | '.join(BATCH_COLUMNS)} |\n|{'---|' * len(BATCH_COLUMNS)}"


def batch_line(row: dict[str, Any]) -> str:
    """One line of the Markdown table."""
    each, apart = 1e3 * row["together"] / row["copies"], 1e3 * row["apart"] / row["copies"]
    return (
        f"| {row['case']} | {row['atoms']} | {row['copies']} | {1e3 * row['together']:.2f} | {each:.3f} | {apart:.3f} "
        f"| {apart / each:.1f} | {row['value']:.1e} | {row['gradient']:.1e} "
        f"| {'agree' if row['good'] else f'more than {SAME_VALUE:g} or {SAME_GRADIENT:g}'} |"
    )
