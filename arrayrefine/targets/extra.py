"""Targets that the user brings: any callable on atoms, added to a refinement with a weight."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.errors import InputError
from arrayrefine.kernels.processes import told


@dataclass(frozen=True)
class ExtraTarget:
    """A term w E(atoms) beside the likelihood and the restraints.

    Attributes
    ----------
    name : str
        In log and report.
    target : callable
        ``Atoms -> (value, Gradient)``. It sees all N atoms, added hydrogens included (`select` finds others), and must
        give the same for the same atoms. The gradient is by every atom for itself: what is frozen, shared or rides is
        the refinement's affair.
    weight : float or "auto"
        A number stays as it is. "auto" is found anew for what each step refines, and is valid for nothing else: the
        change of the X-ray gradient over that of this term, on a copy displaced by noise, over `ratio`.
    ratio : float
        X-ray gradient over weighted gradient of the term that "auto" aims at; smaller pulls harder.
    """

    name: str
    target: Callable[[Atoms], tuple[float, Gradient]]
    weight: float | Literal["auto"] = 1.0
    ratio: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise InputError(f"ExtraTarget: the name is {self.name!r}; expected some text")
        if not callable(self.target):
            raise InputError(f"{self}: {self.target!r} cannot be called; expected Atoms -> (value, Gradient)")
        numbers = {"ratio": self.ratio} | ({} if self.weight == "auto" else {"weight": self.weight})
        for what, value in numbers.items():
            good = isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and math.isfinite(value)
            if not (good and float(value) >= 0.0 and (float(value) > 0.0 or what == "weight")):
                extra = ", or 'auto'" if what == "weight" else ""
                raise InputError(f"{self}: {what} is {value!r}; expected a positive number{extra}")

    def __str__(self) -> str:
        return f"the extra target '{self.name}'"

    def __call__(self, atoms: Atoms) -> tuple[float, Gradient]:
        """Value and gradient, without the weight.

        Raises
        ------
        InputError
            The callable returned something else, or numbers that are not finite, or it changed the atoms.
        """
        # Nobody knows what it keeps, or whether it can be forked: it is the first process that calls it.
        return told(lambda: self._checked(atoms))

    def _checked(self, atoms: Atoms) -> tuple[float, Gradient]:
        """What the callable returns, as numbers and arrays of NumPy."""
        before = {part: getattr(atoms, part).copy() for part in ("xyz", "b_iso", "occupancy", "u_aniso")}
        found: object = self.target(atoms)
        for part, array in before.items():
            if not np.array_equal(getattr(atoms, part), array, equal_nan=True):
                raise InputError(f"{self} changed {part} of the atoms in place; expected that it moves a copy")
        if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], Gradient)):
            parts = ", ".join(type(part).__name__ for part in found) if isinstance(found, tuple) else ""
            what = type(found).__name__ + (f" ({parts})" if parts else "")
            raise InputError(f"{self} returned {what}; expected a tuple (value, arrayrefine.Gradient)")
        value, gradient = _scalar(found[0]), found[1]
        n = len(atoms)
        shapes = {"xyz": (n, 3), "b_iso": (n,), "occupancy": (n,), "u_aniso": (n, 6)}
        for part, shape in shapes.items():
            array = getattr(gradient, part)
            if part == "u_aniso" and array is None:
                continue
            if np.shape(array) != shape:
                raise InputError(f"{self}: its gradient by {part} has the shape {np.shape(array)}; expected {shape}")
            if (dtype := np.asarray(array).dtype).kind not in "fiub":
                raise InputError(f"{self}: its gradient by {part} is of type {dtype}; expected real numbers")
            if not np.isfinite(array).all():
                raise InputError(f"{self}: its gradient by {part} has nan or infinity; expected finite numbers")
        if not math.isfinite(value):
            raise InputError(f"{self} returned the value {found[0]!r}; expected a finite number")
        by_u = gradient.u_aniso
        return value, Gradient(
            np.asarray(gradient.xyz), np.asarray(gradient.b_iso), np.asarray(gradient.occupancy),
            None if by_u is None else np.asarray(by_u),
        )  # fmt: skip


def _scalar(value: object) -> float:
    """A number, or nan for all that is none."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def check_extra(extra: ExtraTarget | Sequence[ExtraTarget]) -> tuple[ExtraTarget, ...]:
    """The extra targets of a refinement, one or several, as they can be used.

    Raises
    ------
    InputError
        Something else is among them, or two of them have one name.
    """
    if not (callable(extra) or isinstance(extra, Iterable)):
        raise InputError(f"extra: found a {type(extra).__name__}; expected ExtraTarget(...), or a list of them")
    terms = (extra,) if callable(extra) else tuple(extra)
    for term in terms:
        if not isinstance(term, ExtraTarget):
            raise InputError(f"extra: found a {type(term).__name__}; expected ExtraTarget(name, callable, weight)")
    names = [term.name for term in terms]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise InputError(f"extra: several targets are named '{twice[0]}'; give each a name of its own")
    return terms
