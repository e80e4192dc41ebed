"""The one place that knows which array library holds an array.

The backend follows the array that is passed in; there is no process-wide switch.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import numpy as np


def array_module(array: Any) -> ModuleType:
    """Return the module (numpy or cupy) that `array` belongs to."""
    cupy = sys.modules.get("cupy")
    if cupy is not None and isinstance(array, cupy.ndarray):
        return cupy
    return np


def cuda_unavailable_reason() -> str | None:
    """Say why CUDA cannot be used, or None when a device answers."""
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed"
    try:
        import cupy

        if cupy.cuda.runtime.getDeviceCount() < 1:
            return "no CUDA device is visible"
    except Exception as error:  # CuPy raises its own and the driver's error types
        return f"CuPy cannot reach a CUDA device: {error}"
    return None
