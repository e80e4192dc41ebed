"""Riding hydrogens: put back into place when other atoms have moved, and taken off again for the output."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.io.models.reading import Model
from arrayrefine.kernels.frames import Frames, place, torsion

Float = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass(frozen=True)
class Rotors:
    """Groups of hydrogens that may turn about the bond of their parent to its only neighbour.

    Attributes
    ----------
    lead : (M,) int
        Of each riding atom, in the order of `Atoms.riding`: the first of its group; -1 where it does not turn.
    offset : (M,) float64
        Torsion over that of the lead, radians.
    ideal : (M,) float64
        Torsion of the lead that the dictionary prefers, radians.
    flat : (M,) bool
        Whether the neighbour of the parent lies in a plane with its own neighbours, as in a phenol.
    acid : (M,) bool
        Whether it is the carbon of an acid besides.
    """

    lead: Int
    offset: Float
    ideal: Float
    flat: NDArray[np.bool_]
    acid: NDArray[np.bool_]

    @classmethod
    def none(cls, n: int) -> Rotors:
        """None of `n` riding atoms turns."""
        return cls(np.full(n, -1), np.zeros(n), np.zeros(n), np.zeros(n, dtype=bool), np.zeros(n, dtype=bool))

    @property
    def rows(self) -> Int:
        """The riding atoms that turn (T,)."""
        return np.flatnonzero(self.lead >= 0)


@dataclass(frozen=True)
class Hydrogens:
    """What is needed to place the hydrogens of a model again when its other atoms have moved.

    Attributes
    ----------
    own : (N - M,) int
        The atoms with parameters of their own in the complete model, in the order of the model as read.
    frames : Frames or None
        What carries each riding atom, in the order of `Atoms.riding`.
    rotors : Rotors or None
    b_ratio : (M,) float64
        B over that of the parent.
    witness : (M,) int
        For a hydrogen in one conformer of a parent that has only one: an atom of that conformer; else -1.
    bare : Model or None
        The model without riding hydrogens.
    had : bool
        Whether the model as read had hydrogens, or must have them.
    given : (M,) bool or None
        Leads of groups that have the torsion which the model gives them; None for none.
    """

    own: Int
    frames: Frames | None = None
    rotors: Rotors | None = None
    b_ratio: Float = field(default_factory=lambda: np.zeros(0))
    witness: Int = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    bare: Model | None = None
    had: bool = False
    given: NDArray[np.bool_] | None = None

    @classmethod
    def none(cls, n: int) -> Hydrogens:
        """No atom rides."""
        return cls(np.arange(n))

    def place(self, atoms: Atoms) -> Atoms:
        """Put every hydrogen back where it belongs around the present positions of the other atoms.

        Groups that turn keep the torsion that they have.
        """
        if self.frames is None:
            return atoms
        child, parent = atoms.riding.child, atoms.riding.parent
        xyz, b_iso = atoms.xyz.copy(), atoms.b_iso.copy()
        xyz[child] = place(self.turned(atoms), atoms.xyz)
        b_iso[child] = self.b_ratio * b_iso[parent]
        return atoms.replace(xyz=xyz, b_iso=b_iso, occupancy=self._shared(atoms))

    def turned(self, atoms: Atoms) -> Frames:
        """The frames with the present torsions of the groups that turn."""
        assert self.frames is not None
        assert self.rotors is not None
        frames, rotors, xyz = self.frames, self.rotors, atoms.xyz
        rows = rotors.rows
        if not len(rows):
            return frames
        lead = rotors.lead[rows]
        ends = frames.neighbour[lead]
        turn = frames.value[:, 2].copy()
        now = torsion(xyz[ends[:, 1]], xyz[ends[:, 0]], xyz[frames.parent[lead]], xyz[frames.child[lead]])
        turn[rows] = now + rotors.offset[rows]
        return frames.with_torsion(turn)

    def _shared(self, atoms: Atoms) -> Float:
        """Occupancies (N,), those of a parent divided among the conformers of its neighbours."""
        rows = np.flatnonzero(self.witness >= 0)
        if not len(rows):
            return atoms.occupancy
        child, parent = atoms.riding.child[rows], atoms.riding.parent[rows]
        occupancy = atoms.occupancy.copy()
        given = atoms.occupancy[self.witness[rows]]
        _, name = np.unique(atoms.identity.atom_name[child], return_inverse=True)
        _, group = np.unique(np.column_stack([parent, name]), axis=0, return_inverse=True)
        whole = np.bincount(group.ravel(), given)[group.ravel()]
        part = np.divide(given, whole, out=np.zeros(len(rows)), where=whole > 0)
        occupancy[child] = np.where(whole > 0, atoms.occupancy[parent] * part, occupancy[child])
        return occupancy

    def without(self, atoms: Atoms) -> Atoms:
        """The atoms of the model as read."""
        return atoms.taken(self.own)


def output_atoms(
    model: Model, hydrogens: Hydrogens, atoms: Atoms, write: Literal["auto", "yes", "no"]
) -> tuple[Model, Atoms]:
    """The model and atoms to write: with the riding hydrogens or without them."""
    wanted = write == "yes" or (write == "auto" and hydrogens.had)
    if hydrogens.bare is None or wanted:
        return model, atoms
    return hydrogens.bare, hydrogens.without(atoms)


def strip_hydrogens(model: Model) -> tuple[Model, tuple[str, ...]]:
    """The model without any hydrogen or deuterium."""
    keep = np.flatnonzero(~model.atoms.is_hydrogen)
    count = len(model.atoms) - len(keep)
    if not count:
        return model, ()
    structure = model.structure.clone()
    structure.remove_hydrogens()
    atoms = Hydrogens(keep).without(model.atoms)
    return dataclasses.replace(model, atoms=atoms, structure=structure), (f"{count} hydrogens were removed",)
