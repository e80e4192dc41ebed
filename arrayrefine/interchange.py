"""Arrays of other libraries in and out: NumPy and CuPy directly, all others through DLPack.

PyTorch, JAX and the like are never imported here: what comes in offers `__dlpack__`, and goes out again through the
`from_dlpack` of the library that it came from.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from arrayrefine.errors import InputError
from arrayrefine.kernels.backend import array_module, cuda_unavailable_reason, device_module, to_device, to_host

Float = NDArray[np.float64]
Back: TypeAlias = Callable[[Float], Any]
"""Turns an array of the host into one of the kind, device and precision of another."""

# Device types of the DLPack standard (dlpack.h)
_CPU, _CUDA, _CUDA_PINNED, _CUDA_MANAGED = 1, 2, 3, 13
_PRECISIONS = ("float32", "float64")


def received(array: Any, what: str, shape: tuple[int, ...]) -> tuple[Float, Back]:
    """Take an array from whatever library made it.

    Parameters
    ----------
    array : array
        Of NumPy, CuPy, or anything with `__dlpack__`; float32 or float64.
    what : str
        Its name in messages.
    shape : tuple of int
        What it must have.

    Returns
    -------
    values : float64 array on the host
        A copy.
    back : callable
        Makes arrays of the library, the device and the precision of `array` from float64 arrays.

    Raises
    ------
    InputError
        It is no array, of another shape or precision, on a device that cannot be read, or not finite.
    """
    host, back = _opened(array, what)
    if host.dtype.name not in _PRECISIONS:
        raise InputError(f"{what} is of type {host.dtype}; expected float32 or float64: convert it first")
    if host.shape != shape:
        raise InputError(
            f"{what} has the shape {host.shape}; expected {shape}: one entry for each atom, in the order of "
            "target.atoms"
        )
    values = np.array(host, dtype=float)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))[0])
        raise InputError(f"{what} has nan or infinity, first in row {row}; expected finite numbers")
    return values, lambda a: back(np.ascontiguousarray(a, dtype=host.dtype))


def _opened(array: Any, what: str) -> tuple[NDArray[Any], Back]:
    """The array on the host, as it is, and the way back."""
    if isinstance(array, np.ndarray):
        return array, lambda a: a
    if array_module(array) is not np:
        return to_host(array), to_device
    if not (hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__")):
        raise InputError(
            f"{what} is a {type(array).__qualname__}; expected an array of NumPy or CuPy, or one that offers "
            "__dlpack__ as those of PyTorch and JAX do"
        )
    make = _maker(array)
    # PyTorch does not export what it records gradients of; the values are wanted, not their history.
    array = array.detach() if hasattr(array, "detach") else array
    try:
        device = int(array.__dlpack_device__()[0])
    except (BufferError, TypeError, ValueError, RuntimeError) as error:
        raise _unreadable(array, what, error) from error
    if device in (_CPU, _CUDA_PINNED):
        return _read(np, array, what), make
    if device not in (_CUDA, _CUDA_MANAGED):
        raise InputError(f"{what} is on a device of DLPack type {device}; expected the CPU or CUDA: move it there")
    if reason := cuda_unavailable_reason():
        raise InputError(f"{what} is on a CUDA device, and {reason}; move it to the CPU, or install CuPy")
    return to_host(_read(device_module(), array, what)), lambda a: make(to_device(a))


def _read(library: Any, array: Any, what: str) -> Any:
    try:
        return library.from_dlpack(array)
    except (BufferError, TypeError, ValueError, RuntimeError) as error:
        raise _unreadable(array, what, error) from error


def _unreadable(array: Any, what: str, error: Exception) -> InputError:
    return InputError(
        f"{what}, a {type(array).__qualname__}, cannot be read through DLPack: {error}; expected a dense array of "
        "float32 or float64 on the CPU or a CUDA device"
    )


def _maker(array: Any) -> Back:
    """The `from_dlpack` of the library that made an array; without one, results stay as they are."""
    namespace = array.__array_namespace__() if hasattr(array, "__array_namespace__") else None
    library = sys.modules.get(type(array).__module__.split(".")[0])
    for home in (namespace, library, type(array)):
        make = getattr(home, "from_dlpack", None)
        if make is not None:
            return make  # type: ignore[no-any-return]
    return lambda a: a
