"""Where a refinement computes, and why there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from arrayrefine.device.memory import amount, usable
from arrayrefine.errors import DeviceError
from arrayrefine.kernels import density, density_cuda, fft_cuda
from arrayrefine.kernels.backend import (
    cuda_unavailable_reason,
    device_facts,
    is_out_of_memory,
    one_at_a_time,
    to_device,
    to_host,
)
from arrayrefine.options import Options

_OLDEST = (7, 5)
"""Compute capability from which on the kernels are compiled and tested."""
_LEAST_MEMORY = 256 * 2**20
"""Free bytes below which nothing worth the name can be refined."""
_WORST = 1e-4
"""Largest relative difference between device and NumPy in the trial."""
_REMEDY = "use --device cpu or --device auto"


@dataclass(frozen=True)
class Device:
    """Where a refinement computes.

    Attributes
    ----------
    kind : "cpu" or "cuda"
    name : str
    reason : str
        Why this one was chosen; empty where it was asked for.
    memory : int
        Bytes that may be used; 0 for the CPU, whose memory is not reckoned.
    """

    kind: Literal["cpu", "cuda"]
    name: str
    reason: str = ""
    memory: int = 0

    def __str__(self) -> str:
        return f"{self.kind} ({self.name})" + (f", because {self.reason}" if self.reason else "")

    def mode(self, options: Options) -> dict[str, Any]:
        """How it computes, for the report."""
        single = options.xray.precision == "single"
        return {
            "device": self.kind, "name": self.name, "reason": self.reason,
            "grids": "none" if options.xray.method == "direct" else "float32" if single else "float64",
            "sums": "float64", "deterministic": True, "graph": self.kind == "cuda",
        }  # fmt: skip


CPU = Device("cpu", "NumPy")


def cuda_unfit_reason() -> str | None:
    """Say why the CUDA device cannot be used, with what was found and what is needed; None where it can."""
    absent = cuda_unavailable_reason()
    if absent:
        return absent
    try:
        facts = device_facts()  # the first that needs a context: a device that is full or taken refuses it
    except Exception as problem:
        return f"the device refuses: {_first_line(problem)}"
    if facts.capability < _OLDEST:
        found, needed = (".".join(map(str, c)) for c in (facts.capability, _OLDEST))
        return f"{facts.name} is too old: compute capability {found}, {needed} or newer is needed"
    if facts.free < _LEAST_MEMORY:
        return (
            f"{facts.name} has {amount(facts.free)} of its {amount(facts.total)} of memory free, at least "
            f"{amount(_LEAST_MEMORY)} are needed"
        )
    try:
        error = trial_error()
    except Exception as problem:  # of the compiler, the driver or CuPy
        return f"{facts.name} does not run the kernels: {_first_line(problem)}"
    if not error <= _WORST:
        return f"{facts.name} computes something else than NumPy: they differ by {error:.0e}, expected {_WORST:.0e}"
    return None


def _first_line(problem: Exception) -> str:
    return (str(problem).strip() or type(problem).__name__).splitlines()[0]


@one_at_a_time
def trial_error() -> float:
    """Atoms to grid and FFT of a small made-up cell on the device: relative difference from NumPy."""
    rng = np.random.default_rng(0)
    n, shape, orth = 200, (24, 20, 18), np.array([[12.0, 1.0, -2.0], [0.0, 10.0, 0.5], [0.0, 0.0, 9.0]])
    exponent = rng.uniform(1.0, 3.0, n)
    # Nothing is left of a Gaussian beyond such a radius, so bricks and spheres agree.
    radius = np.sqrt(18.0 / exponent)
    atoms = (rng.random((n, 3)), rng.random(n) + 1.0, exponent, radius, rng.random((n, 2)))
    expected = np.fft.rfftn(density.splat(*atoms, shape, orth, np.float64), axes=(-3, -2, -1))
    x, q, k, r, channel = (to_device(a) for a in atoms)
    grids = density_cuda.splat(x, q, k, r, channel, shape, orth, np.float32)
    found = to_host(fft_cuda.rfftn(grids))
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def choose_device(options: Options) -> Device:
    """Decide where to compute.

    Raises
    ------
    DeviceError
        CUDA was asked for and cannot be used: it is never replaced silently by the CPU.
    """
    if options.device == "cpu":
        return CPU
    unfit = cuda_unfit_reason()
    asked = options.device == "cuda"
    if unfit:
        if asked:
            raise DeviceError(f"--device cuda: {unfit}; {_REMEDY}")
        return Device("cpu", CPU.name, unfit)
    facts = device_facts()
    return Device("cuda", facts.name, "" if asked else "it is there and fit for it", usable(facts.free))


@contextmanager
def memory_errors_named() -> Iterator[None]:
    """Turn the device's lack of memory into an error that a user can act on."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        facts = device_facts()
        raise DeviceError(
            f"{facts.name} has no memory left: {str(error).rstrip('.')}; {amount(facts.free)} of its "
            f"{amount(facts.total)} are free: end what else runs there, or use --device cpu"
        ) from error
