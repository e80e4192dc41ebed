"""Targets: callables on atoms that return a value and a gradient of the atoms' shape."""

from __future__ import annotations

from typing import Protocol

from arrayrefine.atoms import Atoms, Gradient


class Target(Protocol):
    """A scalar function of the atoms."""

    def __call__(self, atoms: Atoms) -> tuple[float, Gradient]:
        """Return the value (dimensionless, -log p) and its gradient."""
        ...
