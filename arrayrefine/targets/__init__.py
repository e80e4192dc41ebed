"""Targets: callables on atoms that return a value and a gradient of the atoms' shape."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from arrayrefine.atoms import Atoms, Gradient


class Target(Protocol):
    """A scalar function of the atoms."""

    def __call__(self, atoms: Atoms) -> tuple[float, Gradient]:
        """Return the value (dimensionless, -log p) and its gradient."""
        ...


@runtime_checkable
class Sum(Protocol):
    """A target that is a sum of others, which may be evaluated at the same time."""

    def parts(self) -> tuple[Target, ...]:
        """The others; the first of them may keep what it can use again."""
        ...
