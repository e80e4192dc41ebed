"""Errors that a user can act on: each message names the object, what was found, what was expected, a remedy."""

from __future__ import annotations


class ArrayRefineError(Exception):
    """Base class of all errors raised on purpose by arrayrefine."""


class InputError(ArrayRefineError):
    """A file or an option cannot be used as given."""


class MonomerError(ArrayRefineError):
    """A component has no usable restraints."""


class StaleWeightsError(ArrayRefineError):
    """Weights computed for one set of free parameters were offered to another."""


class DeviceError(ArrayRefineError):
    """The requested device cannot be used."""


class StopRefinement(Exception):  # noqa: N818 - like StopIteration, it is no error
    """Raised by a callback, it ends a refinement with the best model so far."""


def message(error: ArrayRefineError | MemoryError) -> str:
    """What the command line says of an error."""
    if isinstance(error, ArrayRefineError):
        return str(error)
    return (
        f"there is less memory than the refinement asks for{f' ({error})' if str(error) else ''}; nothing was written. "
        "Give it more, use one process (--threads 1), or cut the resolution (--d-min)"
    )
