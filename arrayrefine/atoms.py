"""Atoms as arrays, and the gradient record that has their shape."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Identity:
    """Who the atoms are; never changed by refinement. All arrays have length N.

    Attributes
    ----------
    chain, residue_name, atom_name, altloc, insertion_code : arrays of str
        altloc and insertion_code are "" where absent.
    sequence_number : array of int
    residue : array of int
        Running index of the residue; microheterogeneity gives each residue name its own index.
    """

    chain: NDArray[np.str_]
    residue_name: NDArray[np.str_]
    atom_name: NDArray[np.str_]
    altloc: NDArray[np.str_]
    insertion_code: NDArray[np.str_]
    sequence_number: NDArray[np.int64]
    residue: NDArray[np.int64]

    def label(self, i: int) -> str:
        """Short name of atom `i`, e.g. ``A/HIS 57B/CA.A``."""
        alt = f".{self.altloc[i]}" if self.altloc[i] else ""
        return (
            f"{self.chain[i]}/{self.residue_name[i]} {self.sequence_number[i]}{self.insertion_code[i]}"
            f"/{self.atom_name[i]}{alt}"
        )


@dataclass(frozen=True)
class Riding:
    """Which atoms ride on which, and so have no parameters of their own.

    Attributes
    ----------
    child, parent : (M,) int
        Every child once; no parent is a child.
    """

    child: NDArray[np.int64]
    parent: NDArray[np.int64]

    @classmethod
    def none(cls) -> Riding:
        """Nothing rides."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.child)

    def mask(self, n: int) -> NDArray[np.bool_]:
        """(n,) True for atoms that ride."""
        mask = np.zeros(n, dtype=bool)
        mask[self.child] = True
        return mask


@dataclass(frozen=True)
class Atoms:
    """N atoms of the asymmetric unit, in the order of the model file.

    Attributes
    ----------
    xyz : (N, 3) float64
        Cartesian coordinates, Å.
    b_iso : (N,) float64
        Isotropic displacement parameters, Å².
    occupancy : (N,) float64
    element : (N,) str
        Element symbol as gemmi spells it ("C", "Fe", "D").
    identity : Identity
    site_projection : (N, 3, 3) float64
        Projection (Cartesian) onto the displacements that the site symmetry allows; identity off special positions.
    multiplicity : (N,) int64
        Number of operators that map the atom onto itself (1 = general position).
    riding : Riding
        Atoms that follow others.
    """

    xyz: Float
    b_iso: Float
    occupancy: Float
    element: NDArray[np.str_]
    identity: Identity
    site_projection: Float
    multiplicity: NDArray[np.int64]
    riding: Riding = field(default_factory=Riding.none)

    def __len__(self) -> int:
        return len(self.b_iso)

    def replace(self, xyz: Float | None = None, b_iso: Float | None = None, occupancy: Float | None = None) -> Atoms:
        """Return the same atoms with some of their values replaced."""
        changes = {k: v for k, v in {"xyz": xyz, "b_iso": b_iso, "occupancy": occupancy}.items() if v is not None}
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    @property
    def is_hydrogen(self) -> NDArray[np.bool_]:
        """(N,) True for H and D."""
        return np.isin(self.element, ("H", "D"))


@dataclass(frozen=True)
class Gradient:
    """Derivative of a scalar by the values of `Atoms`: an Atoms-shaped record.

    Attributes
    ----------
    xyz : (N, 3) float64, per Å
    b_iso : (N,) float64, per Å²
    occupancy : (N,) float64
    """

    xyz: Float
    b_iso: Float
    occupancy: Float

    @classmethod
    def zeros(cls, n: int) -> Gradient:
        """Gradient of a constant over `n` atoms."""
        return cls(np.zeros((n, 3)), np.zeros(n), np.zeros(n))

    def __add__(self, other: Gradient) -> Gradient:
        return Gradient(self.xyz + other.xyz, self.b_iso + other.b_iso, self.occupancy + other.occupancy)

    def __mul__(self, factor: float) -> Gradient:
        return Gradient(self.xyz * factor, self.b_iso * factor, self.occupancy * factor)

    __rmul__ = __mul__
