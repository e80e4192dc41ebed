"""RawModule and its functions, streams, the runtime's answers, and the memory pool."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from . import arrays, capture

SHIM = Path(__file__).with_name("shim.h")
_FLAGS = ("-O2", "-std=c++17", "-fPIC", "-shared", "-w", "-fno-strict-aliasing")
_KNOWN_OPTIONS = re.compile(
    r"-std=c\+\+(11|14|17|20)|-D.+|-I.+|--?use_fast_math|-lineinfo|--generate-line-info|--fmad=\w+|-fmad=\w+"
    r"|--?maxrregcount=\d+|--extra-device-vectorization|-dopt=on|--restrict|-restrict"
)
_NOT_IN_NVRTC = re.compile(r"^\s*#\s*include\b|\bstd::|\bu?int(8|16|32|64)_t\b", re.MULTILINE)
_DYNAMIC = re.compile(
    r"extern\s+__shared__\s+(?:__align__\s*\(\s*\d+\s*\)\s*)?([A-Za-z_][\w\s]*?)\s+(?:__align__\s*\(\s*\d+\s*\)\s*)?"
    r"(\w+)\s*\[\s*\]\s*;"
)
_KERNEL = re.compile(r"__global__\s+(?:__launch_bounds__\s*\([^()]*\)\s*)?void\s+(?:__launch_bounds__\s*\([^()]*\)\s*)?"
                     r"(\w+)\s*\(")  # fmt: skip
_MAX_SHARED, _MAX_SHARED_ASKED = 48 * 1024, 227 * 1024

_order = [False]


@contextmanager
def reversed_order() -> Iterator[None]:
    """Run blocks, warps and lanes from the last to the first, which shows missing barriers and races."""
    _order.append(True)
    try:
        yield
    finally:
        _order.pop()


class CompileException(Exception):  # noqa: N818 - CuPy's name
    """The host compiler refused the source."""


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CompileException(done.stderr[-6000:])
    return done.stdout


def _build(code: str, options: tuple[str, ...]) -> tuple[Path, list[str]]:
    """Compiled library of a module, and the names of its kernels; cached by the source."""
    defines = [o for o in options if o.startswith(("-D", "-I"))]
    stamp = "\0".join([code, SHIM.read_text(), *_FLAGS, *defines, os.uname().machine])
    name = hashlib.sha256(stamp.encode()).hexdigest()[:24]
    folder = Path(tempfile.gettempdir()) / f"cuda-emulator-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    library, names = folder / f"{name}.so", folder / f"{name}.names"
    if library.exists() and names.exists():
        return library, names.read_text().split()
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        plain = Path(scratch) / "module.cu"
        plain.write_text(code)
        clean = _run(["g++", "-E", "-P", "-x", "c++", *defines, "-D__CUDACC_RTC__", "-D__CUDA_ARCH__=900", str(plain)])
        kernels = sorted(set(_KERNEL.findall(clean)))
        source = Path(scratch) / "module.cpp"
        body = _DYNAMIC.sub(r"\1* const \2 = static_cast<\1*>(emulated::dynamic_shared());", code)
        body = f'#include "{SHIM}"\n#line 1 "module.cu"\n{body}\n'
        source.write_text(body + "".join(f"EMULATED_KERNEL({k})\n" for k in kernels))
        built = Path(scratch) / "module.so"
        command = ["g++", *_FLAGS, *defines, "-o", str(built), str(source)]
        try:
            _run(command)
        except CompileException as error:  # shared variables of templates cannot be put in a section of their own
            if "section type conflict" not in str(error):
                raise
            _run([*command, "-DEMULATED_PLAIN_SHARED"])
        (Path(scratch) / "names").write_text(" ".join(kernels))
        (Path(scratch) / "names").rename(names)
        built.rename(library)
    return library, kernels


class RawModule:
    """Module of kernels from source."""

    def __init__(
        self, *, code: str | None = None, path: str | None = None, options: tuple[str, ...] = (),
        backend: str = "nvrtc", translate_cucomplex: bool = False, enable_cooperative_groups: bool = False,
        name_expressions: Any = None, jitify: bool = False,
    ) -> None:  # fmt: skip
        if code is None or path is not None or name_expressions is not None or jitify:
            raise NotImplementedError("only source code with extern C kernels is emulated")
        for option in options:
            if not _KNOWN_OPTIONS.fullmatch(option):
                raise CompileException(f"nvrtc: error: invalid value for --gpu-architecture or unknown option {option}")
        without_comments = re.sub(r"//[^\n]*|/\*.*?\*/", "", code, flags=re.DOTALL)
        found = _NOT_IN_NVRTC.search(without_comments)
        if found:
            raise CompileException(f"NVRTC has no headers of the host: {found.group().strip()!r}")
        self.code, self.options = code, tuple(options)
        self._library: Any = None
        self._names: list[str] = []

    def compile(self, log_stream: Any = None) -> None:
        if self._library is None:
            path, self._names = _build(self.code, self.options)
            self._library = ctypes.PyDLL(str(path))  # one kernel at a time, whatever the threads

    def get_function(self, name: str) -> RawKernel:
        self.compile()
        if name not in self._names or not hasattr(self._library, name):
            raise RuntimeError(
                f"CUDA_ERROR_NOT_FOUND: named symbol not found: {name} (extern C kernels: {self._names})"
            )
        return RawKernel(name, self._library)


class _Parameter:
    """Declared type of one argument of a kernel."""

    def __init__(self, text: str) -> None:
        pointer, const, self.kind, size, lanes = text.split()
        self.pointer, self.const, self.size, self.lanes = pointer == "p", const == "1", int(size), int(lanes)

    def __str__(self) -> str:
        kind = {"f": "float", "i": "int", "u": "uint", "b": "bool", "v": "void", "s": "struct"}[self.kind]
        return f"{kind}{8 * self.size}{f' x {self.lanes}' if self.lanes > 1 else ''}{' *' if self.pointer else ''}"

    def accepts(self, dtype: np.dtype[Any], size: int) -> bool:
        if self.kind in "vs" or dtype.kind == "V":
            return True
        if dtype.kind == "c":
            return self.kind == "f" and dtype.itemsize == 2 * self.size and 2 * size % self.lanes == 0
        if self.size == 1 and dtype.itemsize == 1:
            return True
        return dtype.kind == self.kind and dtype.itemsize == self.size and size % self.lanes == 0


class RawKernel:
    """One kernel; its arguments are checked against the declaration before it runs."""

    def __init__(self, name: str, library: Any) -> None:
        self.name = name
        self.max_dynamic_shared_size_bytes = _MAX_SHARED
        signature = getattr(library, f"emulated_signature_{name}")
        signature.restype = ctypes.c_char_p
        self.parameters = [_Parameter(text) for text in signature().decode().split(";") if text]
        self._launch = getattr(library, f"emulated_launch_{name}")
        self._launch.restype = ctypes.c_char_p
        self._launch.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int]

    def __call__(self, grid: Any, block: Any, args: Any, *, shared_mem: int = 0, stream: Any = None) -> None:
        shape = [self._dimensions(grid, "grid"), self._dimensions(block, "block")]
        self._check_limits(shape[0], shape[1], shared_mem)
        if len(args) != len(self.parameters):
            raise TypeError(f"{self.name} takes {len(self.parameters)} arguments, {len(args)} were given")
        values = [self._argument(i, p, a) for i, (p, a) in enumerate(zip(self.parameters, args, strict=True))]
        kept = list(args)

        def go() -> None:
            self._run(shape[0], shape[1], int(shared_mem), values, kept)

        if capture.recording():
            capture.record(self.name, go)
        else:
            go()

    def _dimensions(self, given: Any, what: str) -> np.ndarray:
        if not isinstance(given, tuple) or not 1 <= len(given) <= 3:
            raise TypeError(f"{self.name}: {what} is a tuple of 1 to 3 integers, not {given!r}")
        if any(isinstance(n, (float, np.floating, arrays.ndarray)) for n in given):
            raise TypeError(f"{self.name}: {what} is {given!r}, not integers of the host")
        return np.array([*given, 1, 1][:3], np.int64)

    def _check_limits(self, grid: np.ndarray, block: np.ndarray, shared: int) -> None:
        if (grid < 1).any() or (grid > [2**31 - 1, 65535, 65535]).any():
            raise RuntimeError(f"CUDA_ERROR_INVALID_VALUE: {self.name} with a grid of {tuple(grid)}")
        if (block < 1).any() or (block > [1024, 1024, 64]).any() or block.prod() > 1024:
            raise RuntimeError(f"CUDA_ERROR_INVALID_VALUE: {self.name} with a block of {tuple(block)}")
        if shared > self.max_dynamic_shared_size_bytes or shared > _MAX_SHARED_ASKED:
            raise RuntimeError(f"CUDA_ERROR_INVALID_VALUE: {self.name} with {shared} bytes of shared memory")

    def _argument(self, i: int, parameter: _Parameter, given: Any) -> np.ndarray:
        """Bytes of one argument: the address of an array, or the value of a scalar."""
        where = f"argument {i} of {self.name} ({parameter})"
        if parameter.pointer:
            if type(given) is np.uint64 and given == 0:
                return np.zeros(1, np.uintp)
            if given is None:
                raise TypeError(f"{where} is None, which older CuPy passes wrongly: a null pointer is np.uintp(0)")
            if not isinstance(given, arrays.ndarray):
                raise TypeError(f"{where} is {type(given).__name__}, not a device array")
            if not given.flags.c_contiguous:
                raise ValueError(f"{where} is not C-contiguous")
            if not parameter.accepts(given.dtype, given.size):
                raise TypeError(f"{where} is an array of {given.dtype} with {given.size} elements")
            return np.array([given.data.ptr], np.uintp)
        if isinstance(given, np.ndarray) and given.ndim == 0 and given.dtype.kind == "V" and parameter.kind == "s":
            given = given[()]
        if not isinstance(given, np.generic):
            raise TypeError(f"{where} is {type(given).__name__}; scalars are given as NumPy scalars")
        wrong_size = given.dtype.itemsize != parameter.size * parameter.lanes
        if wrong_size or not ((parameter.lanes == 1 and parameter.accepts(given.dtype, 1)) or given.dtype.kind in "Vc"):
            raise TypeError(f"{where} is {type(given).__name__}")
        return np.array([given])

    def _run(self, grid: np.ndarray, block: np.ndarray, shared: int, values: list[np.ndarray], kept: list[Any]) -> None:
        pointers = (ctypes.c_void_p * max(len(values), 1))(*[v.ctypes.data for v in values])
        u_grid, u_block = grid.astype(np.uint32), block.astype(np.uint32)
        error = self._launch(u_grid.ctypes.data, u_block.ctypes.data, shared, pointers, int(_order[-1]))
        if error:
            raise RuntimeError(f"{self.name}: {error.decode()}")
        for a in kept:
            if isinstance(a, arrays.ndarray) and a._memory is not None:
                a._memory.check(self.name)


class _Pool:
    """Memory pool: what the arrays alive hold."""

    def used_bytes(self) -> int:
        return arrays.used_bytes

    def total_bytes(self) -> int:
        return arrays.used_bytes

    def free_all_blocks(self) -> None:
        pass


class Device:
    """The only device."""

    def __init__(self, number: int | None = None) -> None:
        self.id = 0
        self.compute_capability = "90"
        self.mem_info = (70 * 2**30, 80 * 2**30)
        self.attributes = {"MultiProcessorCount": 132}

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def use(self) -> None:
        pass

    def synchronize(self) -> None:
        capture.forbid_synchronisation("Device.synchronize")


class CUDARuntimeError(RuntimeError):
    """Error of the CUDA runtime."""


CUPY: dict[str, Any] = {
    "RawModule": RawModule,
    "get_default_memory_pool": _Pool,
    "get_default_pinned_memory_pool": _Pool,
}
CUDA: dict[str, Any] = {
    "Stream": capture.Stream,
    "Event": capture.Event,
    "Graph": capture.Graph,
    "Device": Device,
    "get_current_stream": capture.current_stream,
    "get_elapsed_time": lambda start, end: 1e3 * (end.time - start.time),
    "is_available": lambda: True,
    "alloc_pinned_memory": lambda size: bytearray(b"\xff" * size),
    "compiler": SimpleNamespace(CompileException=CompileException),
}
RUNTIME: dict[str, Any] = {
    "CUDARuntimeError": CUDARuntimeError,
    "getDeviceCount": lambda: 1,
    "getDevice": lambda: 0,
    "getDeviceProperties": lambda number: {
        "name": b"emulated device", "major": 9, "minor": 0, "multiProcessorCount": 132, "totalGlobalMem": 80 * 2**30,
        "sharedMemPerBlock": _MAX_SHARED, "warpSize": 32, "maxThreadsPerBlock": 1024,
    },
    "memGetInfo": lambda: (70 * 2**30, 80 * 2**30),
    "runtimeGetVersion": lambda: 13000,
    "driverGetVersion": lambda: 13000,
    "deviceSynchronize": lambda: capture.forbid_synchronisation("deviceSynchronize"),
    "streamCaptureModeGlobal": 0,
    "streamCaptureModeThreadLocal": 1,
    "streamCaptureModeRelaxed": 2,
}  # fmt: skip
