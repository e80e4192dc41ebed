"""What works on this machine and what does not."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from arrayrefine.example import DATA, MODEL
from arrayrefine.version import version

_PACKAGES = ("numpy", "scipy", "gemmi", "rich", "tyro")
_CUPY = ("cupy", "cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x")  # one module, several distributions


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis.

    Attributes
    ----------
    topic : str
    state : str
        "works", "absent" (not needed at present) or "broken".
    detail : str
        What was found and, if it does not work, what to do.
    """

    topic: str
    state: Literal["works", "absent", "broken"]
    detail: str


def examine() -> tuple[Finding, ...]:
    """Look at versions, cores, memory, GPU, monomer library, the example, and run the kernels once.

    Never raises: what fails is a finding.
    """
    checks = (_packages, _machine, _gpu, _monomers, _example, _kernels)
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check()
        except Exception as error:  # a broken part is what a diagnosis is for
            topic = check.__name__.strip("_")
            detail = f"{type(error).__name__}: {error}; install arrayrefine again"
            findings.append(Finding(topic, "broken", detail))
    return tuple(findings)


def _packages() -> list[Finding]:
    system = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    found = [Finding("arrayrefine", "works", version()), Finding("Python", "works", system)]
    for name in _PACKAGES:
        try:
            importlib.import_module(name)
            found.append(Finding(name, "works", importlib.metadata.version(name)))
        except ImportError as error:
            found.append(Finding(name, "broken", f"{error}; pip install {name}"))
    return found


def _machine() -> list[Finding]:
    total = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    found = [Finding("cores", "works", f"{usable} usable of {total}; --threads sets how many a refinement uses")]
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
        found.append(Finding("memory", "works", f"{memory:.1f} GiB"))
    except (ValueError, OSError, AttributeError):
        found.append(Finding("memory", "absent", "size unknown on this system"))
    return found


def _gpu() -> list[Finding]:
    """Compile and run kernels on the device, and compare with NumPy, before saying that it works."""
    from arrayrefine.device.choice import cuda_unfit_reason
    from arrayrefine.device.memory import amount
    from arrayrefine.kernels.backend import cuda_unavailable_reason, device_facts

    cupy = ""
    for name in _CUPY:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            cupy = f"{name} {importlib.metadata.version(name)}; "
    if absent := cuda_unavailable_reason():
        return [Finding("GPU", "absent", f"{cupy}{absent}; everything runs on the CPU")]
    if unfit := cuda_unfit_reason():
        remedy = "--device auto and cpu run on the CPU"
        return [Finding("GPU", "broken", f"{cupy}{unfit}; {remedy}")]
    facts = device_facts()
    memory = f"{amount(facts.free)} of {amount(facts.total)} of memory free"
    return [Finding("GPU", "works", f"{cupy}{facts.name}, {memory}; its kernels agree with NumPy")]


def _monomers() -> list[Finding]:
    from arrayrefine.monomers import EMBEDDED, load_monomers

    components = sum(1 for path in EMBEDDED.glob("?/*.cif"))
    found = [Finding("monomers", "works", f"embedded library with {components} components")]
    library = os.environ.get("CLIBD_MON", "")
    if not library:
        found.append(Finding("CLIBD_MON", "absent", "not set; the embedded library is used alone"))
    elif Path(library).is_dir():
        found.append(Finding("CLIBD_MON", "works", f"{library}, searched before the embedded library"))
    else:
        remedy = "unset it or give the folder of a CCP4 monomer library"
        found.append(Finding("CLIBD_MON", "broken", f"'{library}' is not a folder; {remedy}"))
    load_monomers(["ALA", "HOH"])
    return found


def _example() -> list[Finding]:
    size = sum(path.stat().st_size for path in (MODEL, DATA))
    return [Finding("example", "works", f"1RX2 is installed ({size // 1024} KiB); run it with: arrayrefine demo")]


def _kernels() -> list[Finding]:
    """Splat random atoms and test the adjoint: <A q, m> = <q, Aᵀ m>."""
    import numpy as np

    from arrayrefine.kernels import density

    rng = np.random.default_rng(0)
    n, shape, orth = 500, (48, 48, 48), np.diag([24.0, 24.0, 24.0])
    exponent, radius = np.full(n, 2.0), np.full(n, 2.0)
    atoms = (rng.random((n, 3)), rng.random(n) + 1.0, exponent, radius, np.ones((n, 1)))
    began = time.perf_counter()
    grids = density.splat(*atoms, shape, orth)
    seconds = time.perf_counter() - began
    maps = rng.normal(size=(1, 1, *shape)).astype(np.float32)
    gradient = density.gather(maps, *atoms, orth)[0]
    forward = float(np.sum(grids.astype(float) * maps))
    adjoint = float(atoms[1] @ gradient)
    error = abs(forward - adjoint) / max(abs(forward), 1e-30)
    detail = f"{n} atoms on a grid in {1e3 * seconds:.1f} ms, adjoint agrees to {error:.0e}"
    if error > 1e-3:
        return [Finding("kernels", "broken", f"{detail}; expected 1e-3 or better: install NumPy again")]
    return [Finding("kernels", "works", detail)]


def report_lines(findings: tuple[Finding, ...]) -> list[str]:
    """Return the diagnosis as text: a line per finding, and a conclusion."""
    lines = [f"{f.topic:<12} {f.state:<7} {f.detail}" for f in findings]
    broken = [f.topic for f in findings if f.state == "broken"]
    return [
        *lines,
        f"Does not work: {', '.join(broken)}." if broken else "Everything that a refinement needs works.",
    ]
