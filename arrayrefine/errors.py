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
