"""A stand-in for the parts of CuPy that the package uses; kernels are compiled with g++ and run on the host.

It is stricter than CuPy where that shows mistakes early: NumPy arrays never mix with device arrays, scalar arguments
of kernels are NumPy scalars of the declared type, fresh memory is filled with NaN, memory around every array is
watched, and floating-point atomics do not compile.
"""

from __future__ import annotations

import importlib.machinery
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from . import arrays, capture, device, fft

NAMES = (
    "cupy", "cupy.cuda", "cupy.cuda.runtime", "cupy.cuda.cufft", "cupy.fft",
    "cupyx", "cupyx.scipy", "cupyx.scipy.fft",
)  # fmt: skip


def unavailable_reason() -> str | None:
    """Say why the emulator cannot run, or None."""
    return None if shutil.which("g++") else "g++ is not installed, so the CUDA kernels cannot be compiled for the host"


def _modules() -> dict[str, ModuleType]:
    modules = {name: ModuleType(name) for name in NAMES}
    for name, module in modules.items():
        module.__spec__ = importlib.machinery.ModuleSpec(name, loader=None, is_package=True)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    contents: dict[str, dict[str, Any]] = {
        "cupy": {**arrays.PUBLIC, **device.CUPY, "__version__": "0.0+emulated", "__getattr__": arrays.forward},
        "cupy.cuda": device.CUDA,
        "cupy.cuda.runtime": device.RUNTIME,
        "cupy.cuda.cufft": fft.CUFFT,
        "cupy.fft": fft.NUMPY_LIKE,
        "cupyx.scipy.fft": fft.SCIPY_LIKE,
    }
    for name, content in contents.items():
        for key, value in content.items():
            setattr(modules[name], key, value)
    return modules


@contextmanager
def installed() -> Iterator[ModuleType]:
    """Put the stand-in where `import cupy` finds it, and take it out again."""
    before = {name: sys.modules.get(name) for name in NAMES}
    modules = _modules()
    sys.modules.update(modules)
    try:
        yield modules["cupy"]
    finally:
        capture.abandon()
        fft.forget()
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module


reversed_order = device.reversed_order
