"""What is refined: masks over the atoms' values, and the map between atoms and the optimiser's vector."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrayrefine.arguments import check_types
from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.displacements.displacement import (
    B_BOUNDS,
    NOT_ROUND,
    joined,
    least_b,
    on_sites,
    parted,
    possible,
    total_u,
)
from arrayrefine.displacements.tls import NUMBERS, design
from arrayrefine.errors import InputError
from arrayrefine.hydrogens.riding import fold, follow
from arrayrefine.occupancies.groups import OccupancyGroups
from arrayrefine.selection import GemmiSelection, select
from arrayrefine.strict_ncs.carried import Carried
from arrayrefine.strict_ncs.copies import Copies

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Mask = NDArray[np.bool_]

KINDS = ("xyz", "b", "occupancy", "tls")
"""What can be named: "b" stands for the displacement parameters, six of an anisotropic atom and one of another."""


class Sizes(NamedTuple):
    """Lengths of the parts of the vector: coordinates (and operators of copies), B, occupancies, U and TLS."""

    xyz: int
    b: int
    occupancy: int
    u: int
    tls: int


def frozen_kinds(frozen: tuple[str, ...]) -> set[str]:
    """Kinds of which some atoms are frozen, see `Parameters.without`."""
    return {text.partition(":")[0].strip() for text in frozen}


@dataclass(frozen=True)
class Parameters:
    """The free values of a model: the vector is [xyz of the free atoms, their B, occupancies, U, TLS of groups].

    Attributes
    ----------
    reference : Atoms
        Where the frozen values come from, and what selections are read against.
    xyz, b, occupancy, u : (N,) bool
        True where the atom's value is refined; never for atoms that ride on others, or are copies. `u` is for
        anisotropic atoms, `b` for the others. An occupancy is refined where all atoms of its group are free, and all
        groups that exclude each other.
    tls : (G,) bool
        Groups of `reference.tls` whose 20 numbers are refined.
    groups : OccupancyGroups
    copies : Copies
        Atoms that are the same as others: what is refined of these moves them.
    """

    reference: Atoms
    xyz: Mask
    b: Mask
    occupancy: Mask
    u: Mask
    tls: Mask
    groups: OccupancyGroups
    copies: Copies = field(default_factory=Copies.none)

    @classmethod
    def frozen(
        cls, atoms: Atoms, groups: OccupancyGroups | None = None, copies: Copies | None = None
    ) -> Parameters:
        """Nothing is refined."""
        check_types("Parameters.frozen", atoms=(atoms, Atoms))
        none = np.zeros(len(atoms), dtype=bool)
        groups = OccupancyGroups.single(len(atoms)) if groups is None else groups
        copies = Copies.none() if copies is None else copies
        return cls(atoms, none, none, none, none, np.zeros(len(atoms.tls), dtype=bool), groups, copies)

    @classmethod
    def of(
        cls, atoms: Atoms, target: str, held: Mask | None = None, groups: OccupancyGroups | None = None,
        copies: Copies | None = None,
    ) -> Parameters:  # fmt: skip
        """Free the kinds that a step names, such as "xyz" or "xyz+b", on all atoms but `held`.

        Without `groups`, occupancies are freed one by one where they lie below 1 in the model: a full atom stays full.
        """
        parameters = cls.frozen(atoms, groups, copies)
        movable = np.ones(len(atoms), dtype=bool) if held is None else ~held
        for kind in target.split("+"):
            single = kind == "occupancy" and groups is None
            parameters = parameters._with(kind, movable & (atoms.occupancy < 1.0) if single else movable, True)
        return parameters

    def _with(self, kind: str, chosen: Mask, free: bool) -> Parameters:
        """Free, or freeze, a kind of value on some atoms (N,)."""
        if kind not in KINDS:
            raise InputError(f"parameter kind '{kind}' is not known; expected one of {', '.join(KINDS)}")
        atoms = self.reference
        if kind == "tls":
            touched = np.zeros(len(atoms.tls), dtype=bool)
            touched[atoms.tls.group[chosen & (atoms.tls.group >= 0)]] = True
            return dataclasses.replace(self, tls=self.tls | touched if free else self.tls & ~touched)
        chosen = chosen & ~atoms.riding.mask(len(chosen))
        names = {"xyz": ("xyz",), "b": ("b", "u"), "occupancy": ("occupancy",)}[kind]
        able = {"b": ~atoms.anisotropic, "u": atoms.anisotropic}
        if len(self.copies) and kind != "occupancy":
            # what is the same is free together, and the vector has it once
            chosen = self.copies.every(chosen) & ~self.carried.copied(kind) if free else self.copies.some(chosen)
        changed = {
            name: getattr(self, name) | (chosen & able.get(name, True)) if free else getattr(self, name) & ~chosen
            for name in names
        }
        return dataclasses.replace(self, **changed)

    def unfreeze(self, kind: str, selection: str | GemmiSelection = "all") -> Parameters:
        """Refine `kind` ("xyz", "b", "occupancy" or "tls") of the selected atoms, or their groups, too."""
        return self._with(kind, select(self.reference, selection), True)

    def freeze(self, kind: str, selection: str | GemmiSelection = "all") -> Parameters:
        """Refine `kind` of the selected atoms, or of groups with such atoms, no longer."""
        return self._with(kind, select(self.reference, selection), False)

    def without(self, frozen: tuple[str, ...]) -> Parameters:
        """Freeze several kinds of selected atoms, each told as "kind: selection", such as "xyz: chain B"."""
        parameters = self
        for text in frozen:
            kind, colon, selection = text.partition(":")
            if not colon or kind.strip() not in KINDS:
                raise InputError(
                    f"--freeze '{text}': expected one of {', '.join(KINDS)}, a colon and a selection, such as "
                    "'xyz: chain B'"
                )
            chosen = select(self.reference, selection, f"--freeze '{text}'")
            parameters = parameters._with(kind.strip(), chosen, False)
        return parameters

    @classmethod
    def frozen_atoms(cls, atoms: Atoms, kind: str, frozen: tuple[str, ...]) -> Mask:
        """(N,) True for atoms whose `kind` of value a list of frozen ones names, see `without`."""
        every = cls.of(atoms, kind, groups=OccupancyGroups.single(len(atoms)))
        left = every.without(frozen)
        names = ("b", "u") if kind == "b" else (kind,)
        masks: list[Mask] = [getattr(every, name) & ~getattr(left, name) for name in names]
        return np.asarray(np.logical_or.reduce(masks))

    def at(self, atoms: Atoms) -> Parameters:
        """The same masks around other values of the same atoms; InputError where they are others."""
        if len(atoms) != len(self.xyz):
            raise InputError(
                f"parameters of {len(self.xyz)} atoms met {len(atoms)} atoms; expected the same, hydrogens included: "
                "make them with Parameters.frozen(state.atoms)"
            )
        return dataclasses.replace(self, reference=atoms)

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the freeze state: equal for equal masks, different otherwise."""
        digest = hashlib.sha256()
        for mask in (self.xyz, self.b, self.occupancy, self.u, self.tls):
            digest.update(len(mask).to_bytes(8, "little") + np.packbits(mask).tobytes())
        copies = self.copies
        for table in (self.groups.group, copies.child, copies.parent, copies.operator, copies.same_b):
            digest.update(table.tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def free_groups(self) -> Int:
        """Numbers of the groups whose occupancies are refined."""
        return self.groups.free(self.occupancy)

    @cached_property
    def sizes(self) -> Sizes:
        """Number of free entries of each kind."""
        xyz, b, u, tls = (int(np.count_nonzero(mask)) for mask in (self.xyz, self.b, self.u, self.tls))
        values = int(np.count_nonzero(self.groups.independent(self.free_groups)))
        return Sizes(3 * xyz + self.carried.operators(self.xyz), b, values, 6 * u, NUMBERS * tls)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Where each kind lies in the vector."""
        ends = np.cumsum((0, *self.sizes))
        return {name: slice(int(a), int(b)) for name, a, b in zip(Sizes._fields, ends, ends[1:])}

    @property
    def size(self) -> int:
        """Length of the vector."""
        return sum(self.sizes)

    @cached_property
    def carried(self) -> Carried:
        """How what is free moves the copies."""
        return Carried(self.copies, self.reference)

    @property
    def displaced(self) -> Mask:
        """(N,) True for atoms whose displacement is refined, alone or in a group."""
        return self.b | self.u | self._grouped

    @property
    def tensors(self) -> Mask:
        """(N,) True for atoms that are anisotropic, or may become so as U or groups are refined."""
        return np.asarray(self.reference.u_aniso.any(axis=1)) | self.u | self._grouped

    @property
    def _grouped(self) -> Mask:
        return np.append(self.tls, False)[self.reference.tls.group]

    @property
    def shares(self) -> bool:
        """Whether refined occupancies are not each of one atom alone: atoms have one in common, or exclude others."""
        free = self.free_groups
        apart = (self.groups.alternative[free] < 0).all() and np.array_equal(free, np.flatnonzero(self.occupancy))
        return not apart

    def describe(self) -> str:
        """What is free, for people."""
        named = [f"{n} {kind}" for kind, n in self.sizes._asdict().items() if n]
        return " + ".join(named) if named else "nothing"

    def pack(self, atoms: Atoms) -> Float:
        """Free values as one float64 vector (Å, Å², fraction, Å², and Å² rad² Å rad of TLS)."""
        return np.concatenate(
            [
                atoms.xyz[self.xyz].reshape(-1),
                np.zeros(self.carried.operators(self.xyz)),  # which are as they are in these atoms
                atoms.b_iso[self.b],
                self.groups.pack(atoms, self.free_groups),
                total_u(atoms, self.u).reshape(-1),
                atoms.tls.values[self.tls].reshape(-1),
            ]
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
        atoms, at, sizes = self.reference, self.slices, self.sizes
        xyz, b_iso, occupancy = atoms.xyz, atoms.b_iso, atoms.occupancy
        if len(self.copies):
            start = self.pack(atoms)[at["xyz"]]
            xyz = xyz + (self.carried.shifts(self.xyz) @ (x[at["xyz"]] - start)).reshape(-1, 3)
        elif sizes.xyz:
            shift = x[at["xyz"]].reshape(-1, 3) - xyz[self.xyz]
            xyz = xyz.copy()
            xyz[self.xyz] += np.einsum("nij,nj->ni", atoms.site_projection[self.xyz], shift)
        if sizes.b:
            b_iso = b_iso.copy()
            b_iso[self.b] = x[at["b"]]
            self.carried.set_b(b_iso, self.b)
        if sizes.occupancy:
            occupancy = self.groups.unpack(atoms, self.free_groups, x[at["occupancy"]])
        moved = atoms.replace(xyz=xyz, b_iso=b_iso, occupancy=occupancy)
        if sizes.u or sizes.tls:
            moved = self._displaced(moved, x)
        if sizes.u and len(self.copies):
            moved = self.carried.displaced(moved, self.u)
        return follow(atoms, moved)

    def _displaced(self, moved: Atoms, x: Float) -> Atoms:
        """Atoms with the U that the vector gives them, alone and in their groups; always positive definite."""
        atoms, at = self.reference, self.slices
        u, touched = total_u(moved), self.u.copy()
        u[self.u] = on_sites(self.reference, x[at["u"]].reshape(-1, 6), np.flatnonzero(self.u))
        tls = atoms.tls
        if self.sizes.tls:
            values = tls.values.copy()
            values[self.tls] = x[at["tls"]].reshape(-1, NUMBERS)
            index, matrix = self.group_design
            u[index] += np.einsum("nij,nj->ni", matrix, (values - tls.values)[tls.group[index]])
            touched[index] = True
            tls = dataclasses.replace(tls, values=values)
        b_iso, u_aniso = moved.b_iso.copy(), moved.u_aniso.copy()
        b_iso[touched], u_aniso[touched] = parted(possible(u[touched]))
        # Round atoms have no derivative by their shape: those whose shape is refined must not be quite round.
        u_aniso[touched & ~u_aniso.any(axis=1), 3] = NOT_ROUND
        return moved.replace(b_iso=b_iso, u_aniso=u_aniso, tls=tls)

    @cached_property
    def group_design(self) -> tuple[Int, Float]:
        """Atoms of the free TLS groups (n,), and the matrices (n, 6, 20) that take their numbers to U.

        Where an atom's B is refined beside its group, the group changes what is anisotropic only: the rest is in B.
        """
        tls = self.reference.tls
        index = np.flatnonzero(np.append(self.tls, False)[tls.group])
        position = self.reference.xyz[index] - tls.origin[tls.group[index]]
        matrix = on_sites(self.reference, design(position), index)
        own = self.b[index] | self.carried.round[index]  # of copies always: their B is the same
        matrix[own, :3] -= matrix[own, :3].mean(axis=1, keepdims=True)
        return index, matrix

    def pullback(self, gradient: Gradient) -> Float:
        """Gradient by the vector: the adjoint of `unpack`."""
        atoms = self.reference
        gradient = fold(atoms, gradient)
        if len(self.copies):
            xyz = self.carried.shifts(self.xyz).T @ gradient.xyz.reshape(-1)
        else:
            xyz = np.einsum("nji,nj->ni", atoms.site_projection[self.xyz], gradient.xyz[self.xyz])
        by_b = self.carried.summed(gradient.b_iso)
        occupancy = by_u = by_tls = np.zeros(0)
        if self.sizes.occupancy:
            occupancy = self.groups.pullback(atoms, self.free_groups, gradient.occupancy)
        if self.sizes.u or self.sizes.tls:
            u = joined(gradient.b_iso, gradient.u_aniso)
            by_u = self.carried.summed_by_u(u)[self.u]
            if atoms.u_projection is not None:
                by_u = np.einsum("nji,nj->ni", atoms.u_projection[self.u], by_u)
            if self.sizes.tls:
                index, matrix = self.group_design
                total = np.zeros((len(atoms.tls), NUMBERS))
                np.add.at(total, atoms.tls.group[index], np.einsum("nji,nj->ni", matrix, u[index]))
                by_tls = total[self.tls]
        parts = (xyz, by_b[self.b], occupancy, by_u, by_tls)
        return np.concatenate([part.reshape(-1) for part in parts])

    def bounds(self) -> tuple[Float, Float]:
        """Lower and upper bounds of the vector; infinite for coordinates, U and TLS."""
        lower, upper = np.full(self.size, -np.inf), np.full(self.size, np.inf)
        atoms, at = self.reference, self.slices
        # An isotropic atom in a TLS group has an anisotropic part: its B keeps U positive definite.
        lower[at["b"]] = self.carried.largest(least_b(atoms))[self.b]
        upper[at["b"]] = B_BOUNDS[1]
        lower[at["occupancy"]], upper[at["occupancy"]] = self.groups.bounds(self.free_groups)
        return lower, upper
