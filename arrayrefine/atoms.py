"""Atoms as arrays, and the gradient record that has their shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.displacements.tls import Tls

Float = NDArray[np.float64]

WATERS = ("HOH", "DOD", "WAT", "H2O")
"""Names of residues that are waters."""


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

    def residue_label(self, i: int) -> str:
        """Residue of an atom for messages: "A/ALA 10"."""
        return self.label(i).rsplit("/", 1)[0]


def coexist(one: NDArray[Any], two: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether atoms are there at the same time: both of one conformer, or one of them of all.

    Parameters
    ----------
    one, two : arrays that broadcast
        Letters of conformers, "" for all of them, or numbers, 0 for all.
    """
    every = one.dtype.type()
    found: NDArray[np.bool_] = (one == two) | (one == every) | (two == every)
    return found


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
        Isotropic displacement parameters, Å²; of an anisotropic atom the equivalent, 8π²/3 tr U.
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
    u_aniso : (N, 6) float64
        What U has besides its isotropic part b_iso/8π²: traceless, Cartesian, 11 22 33 12 13 23, Å²; zero by default.
    anisotropic : (N,) bool
        Atoms with six displacement parameters of their own; a group (TLS) may give u_aniso to others too.
    u_projection : (N, 6, 6) float64 or None
        Projection onto the U that the site symmetry allows; None where all positions are general.
    tls : Tls
        Groups that move as rigid bodies.
    """

    xyz: Float
    b_iso: Float
    occupancy: Float
    element: NDArray[np.str_]
    identity: Identity
    site_projection: Float
    multiplicity: NDArray[np.int64]
    riding: Riding = field(default_factory=Riding.none)
    u_aniso: Float = None  # type: ignore[assignment]
    anisotropic: NDArray[np.bool_] = None  # type: ignore[assignment]
    u_projection: Float | None = None
    tls: Tls = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        n = len(self.b_iso)
        absent: dict[str, Callable[[], Any]] = {
            "u_aniso": lambda: np.zeros((n, 6)),
            "anisotropic": lambda: np.zeros(n, dtype=bool),
            "tls": lambda: Tls.none(n),
        }
        for name, make in absent.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, make())

    def __len__(self) -> int:
        return len(self.b_iso)

    def __repr__(self) -> str:
        return f"Atoms({len(self)} atoms, {len(self.riding)} of them riding)"

    def replace(
        self,
        xyz: Float | None = None,
        b_iso: Float | None = None,
        occupancy: Float | None = None,
        u_aniso: Float | None = None,
        tls: Tls | None = None,
    ) -> Atoms:
        """Return the same atoms with some of their values replaced."""
        given = {"xyz": xyz, "b_iso": b_iso, "occupancy": occupancy, "u_aniso": u_aniso, "tls": tls}
        changes: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
        return dataclasses.replace(self, **changes)

    def taken(self, index: NDArray[np.int64]) -> Atoms:
        """Some of the atoms (n,), none of them riding."""
        identity = Identity(**{f.name: getattr(self.identity, f.name)[index] for f in fields(Identity)})
        tls = dataclasses.replace(self.tls, group=self.tls.group[index])
        return Atoms(
            self.xyz[index], self.b_iso[index], self.occupancy[index], self.element[index], identity,
            self.site_projection[index], self.multiplicity[index], Riding.none(), self.u_aniso[index],
            self.anisotropic[index], None if self.u_projection is None else self.u_projection[index], tls,
        )  # fmt: skip

    @property
    def is_hydrogen(self) -> NDArray[np.bool_]:
        """(N,) True for H and D."""
        return np.isin(self.element, ("H", "D"))

    @property
    def is_water(self) -> NDArray[np.bool_]:
        """(N,) True for what belongs to waters, by the names that the PDB and gemmi know."""
        return np.isin(self.identity.residue_name, WATERS)


@dataclass(frozen=True)
class Gradient:
    """Derivative of a scalar by the values of `Atoms`: an Atoms-shaped record.

    Attributes
    ----------
    xyz : (N, 3) float64, per Å
    b_iso : (N,) float64, per Å²
    occupancy : (N,) float64
    u_aniso : (N, 6) float64, per Å², or None
        By the six entries of U with b_iso held, each off-diagonal standing for both places; None where nothing
        depends on them.
    """

    xyz: Float
    b_iso: Float
    occupancy: Float
    u_aniso: Float | None = None

    @classmethod
    def zeros(cls, n: int) -> Gradient:
        """Gradient of a constant over `n` atoms."""
        return cls(np.zeros((n, 3)), np.zeros(n), np.zeros(n))

    def __add__(self, other: Gradient) -> Gradient:
        parts = [u for u in (self.u_aniso, other.u_aniso) if u is not None]
        return Gradient(
            self.xyz + other.xyz, self.b_iso + other.b_iso, self.occupancy + other.occupancy,
            sum(parts[1:], parts[0]) if parts else None,
        )  # fmt: skip

    def __mul__(self, factor: float) -> Gradient:
        u_aniso = None if self.u_aniso is None else self.u_aniso * factor
        return Gradient(self.xyz * factor, self.b_iso * factor, self.occupancy * factor, u_aniso)

    __rmul__ = __mul__
