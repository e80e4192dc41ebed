"""What is refined: masks over the atoms' values, and the map between atoms and the optimiser's vector."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.errors import InputError
from arrayrefine.riding import fold, follow
from arrayrefine.selection import select

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

KINDS = ("xyz", "b", "occupancy")
B_BOUNDS = (0.5, 300.0)
"""Å²"""
OCCUPANCY_BOUNDS = (0.0, 1.0)


@dataclass(frozen=True)
class Parameters:
    """The free values of a model: the vector is [xyz of the free atoms, their B, their occupancies].

    Attributes
    ----------
    reference : Atoms
        Where the frozen values come from, and what selections are read against.
    xyz, b, occupancy : (N,) bool
        True where the atom's value is refined; never for atoms that ride on others.
    """

    reference: Atoms
    xyz: Mask
    b: Mask
    occupancy: Mask

    @classmethod
    def frozen(cls, atoms: Atoms) -> Parameters:
        """Nothing is refined."""
        none = np.zeros(len(atoms), dtype=bool)
        return cls(atoms, none, none, none)

    @classmethod
    def of(cls, atoms: Atoms, target: str, held: Mask | None = None) -> Parameters:
        """Free the kinds that a step names, such as "xyz" or "xyz+b", on all atoms but `held`.

        Occupancies are freed only where they lie below 1 in the model: a full atom stays full.
        """
        parameters = cls.frozen(atoms)
        movable = np.ones(len(atoms), dtype=bool) if held is None else ~held
        for kind in target.split("+"):
            mask = movable & (atoms.occupancy < 1.0) if kind == "occupancy" else movable
            parameters = parameters._with(kind, getattr(parameters, kind, mask) | mask)
        return parameters

    def _with(self, kind: str, mask: Mask) -> Parameters:
        if kind not in KINDS:
            raise InputError(f"parameter kind '{kind}' is not known; expected one of {', '.join(KINDS)}")
        mask = mask & ~self.reference.riding.mask(len(mask))
        if kind == "xyz":
            return dataclasses.replace(self, xyz=mask)
        if kind == "b":
            return dataclasses.replace(self, b=mask)
        return dataclasses.replace(self, occupancy=mask)

    def _selected(self, selection: str) -> Mask:
        return select(self.reference, selection)

    def unfreeze(self, kind: str, selection: str = "all") -> Parameters:
        """Refine `kind` ("xyz", "b" or "occupancy") of the selected atoms too."""
        return self._with(kind, getattr(self, kind, self.xyz) | self._selected(selection))

    def freeze(self, kind: str, selection: str = "all") -> Parameters:
        """Refine `kind` of the selected atoms no longer."""
        return self._with(kind, getattr(self, kind, self.xyz) & ~self._selected(selection))

    def at(self, atoms: Atoms) -> Parameters:
        """The same masks around other values of the same atoms."""
        return dataclasses.replace(self, reference=atoms)

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the freeze state: equal for equal masks, different otherwise."""
        digest = hashlib.sha256()
        for mask in (self.xyz, self.b, self.occupancy):
            digest.update(len(mask).to_bytes(8, "little") + np.packbits(mask).tobytes())
        return digest.hexdigest()[:16]

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Number of free xyz, B and occupancy entries."""
        return 3 * int(self.xyz.sum()), int(self.b.sum()), int(self.occupancy.sum())

    @property
    def size(self) -> int:
        """Length of the vector."""
        return sum(self.sizes)

    def describe(self) -> str:
        """What is free, for people."""
        named = [f"{n} {kind}" for kind, n in zip(KINDS, self.sizes) if n]
        return " + ".join(named) if named else "nothing"

    def pack(self, atoms: Atoms) -> Float:
        """Free values as one float64 vector (Å, Å², fraction)."""
        return np.concatenate(
            [atoms.xyz[self.xyz].reshape(-1), atoms.b_iso[self.b], atoms.occupancy[self.occupancy]]
        ).astype(float)

    def unpack(self, x: Float) -> Atoms:
        """Atoms with the free values replaced; atoms on special positions stay on them.

        Raises
        ------
        ValueError
            `x` has not the length `size`.
        """
        if x.shape != (self.size,):
            raise ValueError(f"vector of shape {x.shape} for {self.size} free parameters")
        n_xyz, n_b, _ = self.sizes
        xyz, b_iso, occupancy = self.reference.xyz, self.reference.b_iso, self.reference.occupancy
        if n_xyz:
            shift = x[:n_xyz].reshape(-1, 3) - xyz[self.xyz]
            xyz = xyz.copy()
            xyz[self.xyz] += np.einsum("nij,nj->ni", self.reference.site_projection[self.xyz], shift)
        if n_b:
            b_iso = b_iso.copy()
            b_iso[self.b] = x[n_xyz : n_xyz + n_b]
        if len(x) > n_xyz + n_b:
            occupancy = occupancy.copy()
            occupancy[self.occupancy] = x[n_xyz + n_b :]
        moved = self.reference.replace(xyz=xyz, b_iso=b_iso, occupancy=occupancy)
        return follow(self.reference, moved)

    def pullback(self, gradient: Gradient) -> Float:
        """Gradient by the vector: the adjoint of `unpack`."""
        gradient = fold(self.reference, gradient)
        xyz = np.einsum("nji,nj->ni", self.reference.site_projection[self.xyz], gradient.xyz[self.xyz])
        return np.concatenate([xyz.reshape(-1), gradient.b_iso[self.b], gradient.occupancy[self.occupancy]])

    def bounds(self) -> tuple[Float, Float]:
        """Lower and upper bounds of the vector; infinite for coordinates."""
        n_xyz, n_b, n_q = self.sizes
        top = OCCUPANCY_BOUNDS[1] / self.reference.multiplicity[self.occupancy]
        lower = np.concatenate([np.full(n_xyz, -np.inf), np.full(n_b, B_BOUNDS[0]), np.full(n_q, OCCUPANCY_BOUNDS[0])])
        upper = np.concatenate([np.full(n_xyz, np.inf), np.full(n_b, B_BOUNDS[1]), top])
        return lower, upper
