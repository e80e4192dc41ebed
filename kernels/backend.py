"""The one place that knows which array library holds an array, and the only one that imports CuPy.

The backend follows the array that is passed in; there is no process-wide switch.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

import numpy as np

Given = ParamSpec("Given")
Result = TypeVar("Result")

_OPTIONS = ("-std=c++17",)
_UNFUSED = "-fmad=false"
_FUSED = frozenset({"density", "density_aniso", "summation"})
"""Sources whose multiplications and additions may be fused: there speed is arithmetic. All others round as NumPy does,
so that what is exactly zero or on a limit there is so here."""
_INCLUDE = re.compile(r'^#include "(\w+\.cuh)"\n', re.MULTILINE)
_NULL = np.uintp(0)  # None is a null pointer in recent CuPy only
_functions: dict[tuple[ModuleType, int, str, str], Any] = {}
_modules: dict[tuple[ModuleType, int, str], Any] = {}
_launches: Counter[str] = Counter()
_turn = threading.RLock()
_device = {"used": False, "lost": False}
"""Whether this process has used a device, and whether one that had was forked to make this: a device is of one process.
"""
_sharers = [1]


def _after_fork() -> None:
    _device["lost"] = _device["used"]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def can_fork() -> bool:
    """Whether a process that is forked from this one could use a device: nothing in this one may have done so."""
    try:
        loaded = "libcuda.so" in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        loaded = "cupy" in sys.modules
    return not (_device["used"] or loaded)


def _use_device() -> None:
    if _device["lost"]:
        raise RuntimeError("the process that this one was forked from has used a CUDA device, which is not this one's")
    _device["used"] = True


def one_at_a_time(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Let one thread of the process use the device at a time.

    FFT plans share their work memory, and nothing may be allocated while another thread captures a graph.
    """

    @functools.wraps(function)
    def guarded(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        with _turn:
            return function(*args, **kwargs)

    return guarded


def array_module(array: Any) -> ModuleType:
    """Return the module (numpy or cupy) that `array` belongs to."""
    cupy = sys.modules.get("cupy")
    if cupy is not None and isinstance(array, cupy.ndarray):
        return cupy
    return np


def cupy_is_there() -> bool:
    """Whether CuPy is installed; told without a touch of any device, which processes forked later could not use."""
    return importlib.util.find_spec("cupy") is not None


def cuda_unavailable_reason() -> str | None:
    """Say why CUDA cannot be used, or None when a device answers."""
    if not cupy_is_there():
        return "CuPy is not installed (the extras gpu12 and gpu13 of arrayrefine bring it)"
    try:
        import cupy

        _use_device()
        if cupy.cuda.runtime.getDeviceCount() < 1:
            return "no CUDA device is visible"
    except Exception as error:  # CuPy raises its own and the driver's error types
        return f"CuPy cannot reach a CUDA device: {error}"
    return None


def device_module() -> Any:
    """Return the module cupy, for those who allocate on the device; call it only where CUDA can be used."""
    import cupy

    _use_device()
    return cupy


@dataclass(frozen=True)
class DeviceFacts:
    """What a CUDA device says about itself.

    Attributes
    ----------
    name : str
    capability : tuple of 2 ints
        Compute capability, such as (9, 0).
    free, total : int
        Memory, bytes.
    """

    name: str
    capability: tuple[int, int]
    free: int
    total: int


def share_device(processes: int) -> None:
    """Count as free, from now on, this process's part of the memory that several take from."""
    _sharers[0] = processes


@one_at_a_time
def device_facts() -> DeviceFacts:
    """Describe the current device, once what CuPy keeps of its memory is given back; call it only where
    `cuda_unavailable_reason` has nothing to say."""
    import cupy

    _use_device()
    runtime = cupy.cuda.runtime
    found = runtime.getDeviceProperties(runtime.getDevice())
    cupy.get_default_memory_pool().free_all_blocks()
    free, total = runtime.memGetInfo()
    name = found["name"].decode() if isinstance(found["name"], bytes) else str(found["name"])
    return DeviceFacts(name, (int(found["major"]), int(found["minor"])), int(free) // _sharers[0], int(total))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is CuPy's way to say that the device has no memory left."""
    return type(error).__name__ == "OutOfMemoryError" and type(error).__module__.split(".")[0] == "cupy"


def to_device(array: Any, dtype: Any = None) -> Any:
    """Copy an array to the device as a C-contiguous one; what is there already with that type is returned as it is."""
    import cupy

    _use_device()
    return cupy.ascontiguousarray(cupy.asarray(array, dtype=dtype))


def pinned(shape: tuple[int, ...]) -> Any:
    """NumPy array of float64 in memory that the device copies from and to without the host's help."""
    import cupy

    _use_device()
    size = int(np.prod(shape))
    memory = cupy.cuda.alloc_pinned_memory(max(size, 1) * 8)
    return np.frombuffer(memory, np.float64, size).reshape(shape)


def to_host(array: Any) -> Any:
    """Return a NumPy array with the values of `array`; this waits for the device."""
    return array.get() if array_module(array) is not np else np.asarray(array)


def source_of(module: str) -> str:
    """Text of `kernels/<module>.cu` with the `.cuh` that it includes, each once.

    They are put in here, since CuPy keeps what it has compiled by the text alone and would not see that a part changed.
    """
    included: set[str] = set()

    def text_of(name: str) -> str:
        text = Path(__file__).with_name(name).read_text(encoding="utf-8")
        return _INCLUDE.sub(lambda found: part_of(found[1]), text)

    def part_of(name: str) -> str:
        if name in included:
            return ""
        included.add(name)
        return text_of(name)

    return text_of(f"{module}.cu")


def compile_options(module: str) -> tuple[str, ...]:
    """What NVRTC is asked for where it compiles `kernels/<module>.cu`."""
    return _OPTIONS if module in _FUSED else (*_OPTIONS, _UNFUSED)


def _function(module: str, kernel: str) -> Any:
    """Compiled kernel of `kernels/<module>.cu` on the current device."""
    import cupy

    device = int(cupy.cuda.runtime.getDevice())
    function = _functions.get((cupy, device, module, kernel))
    if function is None:
        built = _modules.get((cupy, device, module))
        if built is None:
            built = cupy.RawModule(code=source_of(module), options=compile_options(module))
            _modules[cupy, device, module] = built
        function = built.get_function(kernel)
        _functions[cupy, device, module, kernel] = function
    return function


def launch(module: str, kernel: str, grid: tuple[int, ...], block: tuple[int, ...], args: Sequence[Any]) -> None:
    """Launch a kernel on the current stream; it is compiled at its first launch and kept.

    Parameters
    ----------
    module : str
        Name of the source, `kernels/<module>.cu`.
    kernel : str
        Name of an `extern "C" __global__` function in it.
    grid, block : tuple of 1 to 3 ints
        Blocks, and threads of a block. A grid without blocks is an empty task: nothing is launched.
    args : sequence
        Device arrays (or None for a null pointer) and NumPy scalars of the declared types.
    """
    if 0 in grid:
        return
    _use_device()
    values = tuple(_NULL if a is None else a for a in args)
    _function(module, kernel)(grid, block, values)
    _launches[kernel] += 1


def blocks_for(n: int, per_block: int) -> int:
    """Blocks of a grid for `n` things, so many in each block."""
    return -(-n // per_block)


def checked(arrays: Sequence[Any], *shapes: tuple[int, ...]) -> Sequence[Any]:
    """Return arrays that a kernel reads, or fills, as they lie: contiguous, float64, of these shapes.

    Raises
    ------
    ValueError
        If one of them is another.
    """
    for a, shape in zip(arrays, shapes, strict=True):
        if a.shape != shape or a.dtype != np.float64 or not a.flags.c_contiguous:
            raise ValueError(f"a contiguous array of float64 {shape} is needed, found {a.dtype} {a.shape}")
    return arrays


def launch_counts() -> dict[str, int]:
    """Launches by kernel name since the last reset. A launch captured in a graph counts once, at its capture."""
    return dict(_launches)


def reset_launch_counts() -> None:
    """Start the count of launches again."""
    _launches.clear()
