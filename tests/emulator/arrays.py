"""Device arrays: a NumPy array inside a class that NumPy does not take for its own."""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from . import capture

GUARD = 256
"""Bytes before and after the memory of every array that kernels must not change."""
POISON = 0xFF
"""Fresh memory: NaN as a floating-point number, −1 as a signed integer."""

used_bytes = 0


class Memory:
    """Memory of one array with its guards."""

    def __init__(self, nbytes: int) -> None:
        global used_bytes
        raw = np.full(nbytes + 2 * GUARD + 64, POISON, np.uint8)
        start = -raw.ctypes.data % 64 + GUARD
        self.raw, self.nbytes = raw, nbytes
        self.before, self.bytes = raw[:start], raw[start : start + nbytes]
        self.after = raw[start + nbytes :]
        used_bytes += nbytes

    def __del__(self) -> None:
        global used_bytes
        used_bytes -= self.nbytes

    def check(self, what: str) -> None:
        if (self.before != POISON).any() or (self.after != POISON).any():
            raise RuntimeError(f"{what} wrote outside an array of {self.nbytes} bytes")


def _fresh(shape: Any, dtype: Any, fortran: bool = False) -> ndarray:
    dtype = np.dtype(dtype)
    if dtype.kind not in "biufcV":
        raise ValueError(f"Unsupported dtype {dtype}")
    shape = (operator.index(shape),) if np.ndim(shape) == 0 else tuple(operator.index(n) for n in shape)
    count = 1
    for n in shape:
        count *= n
    memory = Memory(count * dtype.itemsize)
    flat = memory.bytes.view(dtype)
    return ndarray(flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape), memory)


def _own(host: Any) -> ndarray:
    """A device copy of a host array, in its memory order."""
    host = np.asarray(host)
    out = _fresh(host.shape, host.dtype, host.ndim > 1 and host.flags.f_contiguous and not host.flags.c_contiguous)
    out._a[...] = host
    return out


def _host(x: Any) -> Any:
    """The same arguments with device arrays replaced by their NumPy arrays."""
    if isinstance(x, ndarray):
        return x._a
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {np.ndarray}: NumPy arrays do not mix with device arrays")
    if isinstance(x, (list, tuple)) and type(x) in (list, tuple):
        return type(x)(_host(y) for y in x)
    if isinstance(x, dict):
        return {k: _host(v) for k, v in x.items()}
    return x


def _inputs(x: Any) -> list[ndarray]:
    if isinstance(x, ndarray):
        return [x]
    if isinstance(x, dict):
        x = list(x.values())
    return [a for y in x for a in _inputs(y)] if isinstance(x, (list, tuple)) else []


def _device(r: Any, inputs: list[ndarray], fresh: list[ndarray]) -> Any:
    """Results as device arrays: views keep the memory of their base, the others are copied and listed in `fresh`."""
    if isinstance(r, np.ndarray):
        for a in inputs:
            if r is a._a:
                return a
            if r.size and np.may_share_memory(r, a._a):
                return ndarray(r, a._memory)
    if isinstance(r, (np.ndarray, np.generic)):
        fresh.append(_own(r))
        return fresh[-1]
    if isinstance(r, tuple) and hasattr(r, "_fields"):
        return type(r)(*(_device(y, inputs, fresh) for y in r))
    if isinstance(r, (list, tuple)):
        return type(r)(_device(y, inputs, fresh) for y in r)
    return r


def call(
    function: Callable[..., Any], args: Any = (), kwargs: dict[str, Any] | None = None, changes: bool = False
) -> Any:
    """Call a NumPy function on device arrays; while a stream is captured, record the call instead.

    `changes` says that it writes into an argument.
    """
    kwargs = {k: v for k, v in (kwargs or {}).items() if v is not None or k not in ("out", "dtype")}
    inputs = _inputs([args, kwargs])
    host_args, host_kwargs = _host(args), _host(kwargs)
    changes = changes or "out" in kwargs
    with np.errstate(all="ignore"):  # devices raise no floating-point warnings
        if capture.recording() and changes:
            capture.record(getattr(function, "__name__", "call"), lambda: function(*host_args, **host_kwargs))
            out = kwargs.get("out")
            return out[0] if isinstance(out, tuple) else out
        result = function(*host_args, **host_kwargs)
    fresh: list[ndarray] = []
    wrapped = _device(result, inputs, fresh)
    if capture.recording() and fresh:
        _record_results(function, host_args, host_kwargs, fresh)
    return wrapped


def _record_results(function: Any, args: Any, kwargs: Any, fresh: list[ndarray]) -> None:
    """Captured calls are not run: their results hold nothing before the first launch of the graph."""

    def again() -> None:
        found: list[ndarray] = []
        with np.errstate(all="ignore"):
            _device(function(*args, **kwargs), [], found)
        for old, new in zip(fresh, found, strict=True):
            old._a[...] = new._a

    for a in fresh:
        if a._memory is not None:
            a._memory.bytes[...] = POISON
    capture.record(getattr(function, "__name__", "call"), again)


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):  # noqa: N801 - CuPy's name
    """Array on the (emulated) device."""

    __array_priority__ = 100

    def __init__(self, host: Any, memory: Memory | None) -> None:
        self._a = host.view(np.ndarray)
        self._memory = memory

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return call(getattr(ufunc, method), inputs, kwargs, changes=method == "at")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return call(function, args, kwargs, changes=function in (np.copyto, np.put, np.fill_diagonal))

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    # -- crossing to the host
    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> np.ndarray:
        capture.forbid_synchronisation("get")
        if out is None:
            return self._a.copy(order="C")
        out[...] = self._a
        return out

    def set(self, host: np.ndarray, stream: Any = None) -> None:
        capture.forbid_synchronisation("set")
        if isinstance(host, ndarray) or host.shape != self.shape or host.dtype != self.dtype:
            raise ValueError("set takes a NumPy array of the same shape and dtype")
        self._a[...] = host

    def _scalar(self, convert: Callable[[Any], Any]) -> Any:
        capture.forbid_synchronisation(convert.__name__)
        return convert(self._a)

    def __bool__(self) -> bool:
        return self._scalar(bool)

    def __int__(self) -> int:
        return self._scalar(int)

    def __float__(self) -> float:
        return self._scalar(float)

    def __complex__(self) -> complex:
        return self._scalar(complex)

    def __index__(self) -> int:
        return self._scalar(operator.index)

    def __format__(self, text: str) -> str:
        return format(self.get().item() if self.ndim == 0 else self.get(), text)

    def item(self, *args: Any) -> Any:
        capture.forbid_synchronisation("item")
        return self._a.item(*args)

    def tolist(self) -> Any:
        capture.forbid_synchronisation("tolist")
        return self._a.tolist()

    # -- shape and memory
    shape = property(lambda self: self._a.shape)
    dtype = property(lambda self: self._a.dtype)
    ndim = property(lambda self: self._a.ndim)
    size = property(lambda self: self._a.size)
    nbytes = property(lambda self: self._a.nbytes)
    itemsize = property(lambda self: self._a.itemsize)
    strides = property(lambda self: self._a.strides)
    flags = property(lambda self: self._a.flags)
    T = property(lambda self: ndarray(self._a.T, self._memory))
    data = property(lambda self: SimpleNamespace(ptr=self._a.ctypes.data if self.size else 0))
    device = property(lambda self: SimpleNamespace(id=0))

    @property
    def real(self) -> ndarray:
        return ndarray(self._a.real, self._memory)

    @real.setter
    def real(self, value: Any) -> None:
        self.real[...] = value

    @property
    def imag(self) -> ndarray:
        return ndarray(self._a.imag, self._memory) if self.dtype.kind == "c" else call(np.imag, (self,))

    @imag.setter
    def imag(self, value: Any) -> None:
        self.imag[...] = value

    def __len__(self) -> int:
        return len(self._a)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"device {self._a!r}"

    def __getitem__(self, key: Any) -> ndarray:
        full = key if isinstance(key, tuple) else (key,)
        if not any(isinstance(k, (ndarray, np.ndarray, list)) for k in full):
            full = full if any(k is Ellipsis for k in full) else (*full, ...)  # a view, also of a single element
            return ndarray(self._a[full], self._memory)
        if any(a.dtype == bool for a in _inputs(full)):
            capture.forbid_synchronisation("indexing by a mask")
        return call(operator.getitem, (self, key))

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(value, np.ndarray) and value.ndim:
            raise TypeError("a NumPy array cannot be assigned to a device array")
        call(operator.setitem, (self, key, value), changes=True)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not callable(getattr(np.ndarray, name, None)):
            raise AttributeError(f"device arrays have no attribute {name!r}")
        if name in ("nonzero", "compress"):
            capture.forbid_synchronisation(name)
        changes = name in ("fill", "sort", "partition", "put")
        return lambda *args, **kwargs: call(_method(name), (self, *args), kwargs, changes)


def _method(name: str) -> Callable[..., Any]:
    def method(a: np.ndarray, *args: Any, **kwargs: Any) -> Any:
        return getattr(a, name)(*args, **kwargs)

    method.__name__ = name
    return method


# ---- functions of the module


def array(host: Any, dtype: Any = None, copy: bool = True, order: str = "K", ndmin: int = 0) -> ndarray:
    if isinstance(host, (list, tuple)) and _inputs(host):
        return call(np.array, (host,), {"dtype": dtype, "ndmin": ndmin})
    if isinstance(host, ndarray):
        return call(lambda a: np.array(a, dtype, order="C" if order == "C" else "K", ndmin=ndmin), (host,))
    capture.forbid_synchronisation("a copy from the host")
    return _own(np.array(host, dtype, order="C" if order in "KAC" else "F", ndmin=ndmin))


def asarray(host: Any, dtype: Any = None, order: str | None = None) -> ndarray:
    if isinstance(host, ndarray) and (dtype is None or host.dtype == dtype):
        return host if order != "C" or host.flags.c_contiguous else array(host, order="C")
    return array(host, dtype)


def ascontiguousarray(host: Any, dtype: Any = None) -> ndarray:
    out = asarray(host, dtype)
    return out if out.flags.c_contiguous else call(lambda a: np.array(a, order="C"), (out,))


def asnumpy(device: Any, stream: Any = None, order: str = "C", out: Any = None) -> np.ndarray:
    return device.get(out=out) if isinstance(device, ndarray) else np.asarray(device)


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return _fresh(shape, dtype, order == "F")


def full(shape: Any, value: Any, dtype: Any = None, order: str = "C") -> ndarray:
    if dtype is None:
        dtype = value.dtype if isinstance(value, ndarray) else np.result_type(value)
    out = _fresh(shape, dtype, order == "F")
    call(operator.setitem, (out, Ellipsis, value), changes=True)
    return out


def zeros(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return full(shape, 0, dtype, order)


def ones(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return full(shape, 1, dtype, order)


def empty_like(a: ndarray, dtype: Any = None, shape: Any = None) -> ndarray:
    return _fresh(a.shape if shape is None else shape, a.dtype if dtype is None else dtype)


def zeros_like(a: ndarray, dtype: Any = None, shape: Any = None) -> ndarray:
    return full_like(a, 0, dtype, shape)


def ones_like(a: ndarray, dtype: Any = None, shape: Any = None) -> ndarray:
    return full_like(a, 1, dtype, shape)


def full_like(a: ndarray, value: Any, dtype: Any = None, shape: Any = None) -> ndarray:
    return full(a.shape if shape is None else shape, value, a.dtype if dtype is None else dtype)


def arange(*args: Any, dtype: Any = None) -> ndarray:
    return call(np.arange, args, {"dtype": dtype})


def get_array_module(*args: Any) -> Any:
    import sys

    return sys.modules["cupy"] if _inputs(list(args)) else np


PUBLIC: dict[str, Any] = {
    f.__name__: f
    for f in (
        ndarray, array, asarray, ascontiguousarray, asnumpy, empty, full, zeros, ones, empty_like, zeros_like,
        ones_like, full_like, arange, get_array_module,
    )
}  # fmt: skip

HOST_ANSWERS = {"result_type", "dtype", "can_cast", "promote_types", "broadcast_shapes", "isscalar", "finfo", "iinfo"}
SYNCHRONISING = {"nonzero", "flatnonzero", "argwhere", "unique", "array_equal", "allclose", "compress", "extract"}
CHANGING = {"copyto", "put", "fill_diagonal", "place", "putmask"}
ABSENT = {"memmap", "load", "save", "asfarray", "vectorize", "fromfunction"}


def forward(name: str) -> Any:
    """A further function, constant or type of NumPy under CuPy's name."""
    if name.startswith("__") or name in ABSENT:
        raise AttributeError(f"module 'cupy' has no attribute {name!r}")
    try:
        found = getattr(np, name)
    except AttributeError:
        raise AttributeError(f"module 'cupy' has no attribute {name!r}") from None
    if isinstance(found, np.ufunc):
        return found
    if name == "linalg":
        return SimpleNamespace(
            **{k: _forwarded(getattr(np.linalg, k), k) for k in np.linalg.__all__ if callable(getattr(np.linalg, k))}
        )
    if isinstance(found, type) or not callable(found):
        return found
    return _forwarded(found, name)


def _forwarded(found: Any, name: str) -> Callable[..., Any]:
    def function(*args: Any, **kwargs: Any) -> Any:
        if name in SYNCHRONISING:
            capture.forbid_synchronisation(name)
        if name in HOST_ANSWERS:
            return found(*_host(args), **_host(kwargs))
        return call(found, args, kwargs, changes=name in CHANGING)

    function.__name__ = name
    return function
