"""A model with waters added after its other atoms, or without some of its own."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, Identity, Riding
from arrayrefine.hydrogens.placing import Hydrogens
from arrayrefine.io.models.reading import Model
from arrayrefine.io.models.special_positions import find_sites
from arrayrefine.io.output.water_residues import place_of_waters, waters_in_document, with_waters, without_residues

Float = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass(frozen=True)
class Change:
    """Atoms that are left out of a model, and waters that are added.

    Attributes
    ----------
    left_out : (k,) int
        Atoms, each alone in its residue, that nothing rides on.
    added : Atoms
        (n,) in the order of the new model, after all that stay.
    """

    left_out: Int
    added: Atoms

    def of(self, atoms: Atoms) -> Atoms:
        """Atoms of the model as it was, in other places perhaps, changed."""
        stays = np.ones(len(atoms), dtype=bool)
        stays[self.left_out] = False
        number = np.cumsum(stays) - 1
        rows = np.flatnonzero(stays)
        riding = Riding(number[atoms.riding.child], number[atoms.riding.parent])
        return dataclasses.replace(_joined(atoms.taken(rows), self.added), riding=riding)

    def of_hydrogens(self, hydrogens: Hydrogens, n: int) -> Hydrogens:
        """What places the hydrogens of a model of n atoms, with the numbers of the changed one; `bare` is as it was."""
        stays = np.ones(n, dtype=bool)
        stays[self.left_out] = False
        number = np.cumsum(stays) - 1
        total = int(stays.sum())
        own = number[hydrogens.own[stays[hydrogens.own]]]
        frames = hydrogens.frames
        if frames is not None:
            frames = dataclasses.replace(
                frames, child=number[frames.child], parent=number[frames.parent], neighbour=number[frames.neighbour]
            )
        witness = np.where(hydrogens.witness >= 0, number[hydrogens.witness], -1)
        own = np.append(own, total + np.arange(len(self.added)))
        return dataclasses.replace(hydrogens, own=own, frames=frames, witness=witness)


def change_of(model: Model, atoms: Atoms, xyz: Float, b_iso: Float, left_out: Int, tensors: bool) -> Change:
    """The change by which waters come to a model, full ones, numbered on from those at its end.

    Parameters
    ----------
    model : Model
    atoms : Atoms
        Its atoms as they are now.
    xyz : (n, 3) float64
        Å; places of the new waters.
    b_iso : (n,) float64
        Å².
    left_out : (k,) int
        Atoms that go.
    tensors : bool
        Whether the new ones are anisotropic; they start round.
    """
    chain, number = place_of_waters(without_residues(model.structure, _residues(atoms, left_out)))
    n = len(xyz)
    blank = np.full(n, "", dtype=np.str_)
    identity = Identity(
        np.full(n, chain), np.full(n, "HOH"), np.full(n, "O"), blank, blank, number + np.arange(n), np.arange(n)
    )
    sites = find_sites(model.crystal, xyz, identity.residue)
    added = Atoms(
        sites.xyz, b_iso, 1.0 / sites.multiplicity, np.full(n, "O"), identity, sites.projection, sites.multiplicity,
        anisotropic=np.full(n, tensors), u_projection=sites.u_projection,
    )  # fmt: skip
    return Change(left_out, added)


def changed(model: Model, hydrogens: Hydrogens, atoms: Atoms, change: Change) -> tuple[Model, Hydrogens, Atoms]:
    """A model after a change, with the atoms that it has now: those given, without and with those of the change.

    Parameters
    ----------
    model : Model
        With its riding hydrogens.
    hydrogens : Hydrogens
    atoms : Atoms
        Its atoms as they are now.
    change : Change
    """
    complete = change.of(atoms)
    moved = change.of_hydrogens(hydrogens, len(atoms))
    gone = _residues(atoms, change.left_out)
    if hydrogens.bare is not None:
        bare = _with_structure(hydrogens.bare, gone, change.added, moved.without(complete))
        moved = dataclasses.replace(moved, bare=bare)
    return _with_structure(model, gone, change.added, complete), moved, complete


def _residues(atoms: Atoms, rows: Int) -> list[int]:
    """Running numbers of the residues of some atoms; hydrogens have none of their own, so that they count for all."""
    found: list[int] = atoms.identity.residue[rows].tolist()
    return found


def _with_structure(model: Model, gone: list[int], added: Atoms, atoms: Atoms) -> Model:
    """The model with the structure and the document after a change, and other atoms."""
    structure = without_residues(model.structure, gone)
    if len(added):
        who = added.identity
        structure = with_waters(
            structure, str(who.chain[0]), int(who.sequence_number[0]), added.xyz, added.b_iso, added.occupancy
        )
    document = waters_in_document(model.document, structure)
    return dataclasses.replace(model, structure=structure, document=document, atoms=atoms)


def _joined(one: Atoms, two: Atoms) -> Atoms:
    """Atoms (N,) of which none rides, and others (n,) after them, each a residue of its own, in no TLS group."""
    n, m = len(one), len(two)
    _, residue = np.unique(one.identity.residue, return_inverse=True)
    last = int(residue.max(initial=-1))
    who = Identity(**{
        f.name: np.concatenate([getattr(one.identity, f.name), getattr(two.identity, f.name)])
        for f in fields(Identity)
    })  # fmt: skip
    who = dataclasses.replace(who, residue=np.append(residue, last + 1 + np.arange(m)))
    projections = [
        np.tile(np.eye(6), (count, 1, 1)) if atoms.u_projection is None else atoms.u_projection
        for atoms, count in ((one, n), (two, m))
    ]
    special = one.u_projection is not None or two.u_projection is not None
    return Atoms(
        np.concatenate([one.xyz, two.xyz]), np.append(one.b_iso, two.b_iso), np.append(one.occupancy, two.occupancy),
        np.append(one.element, two.element), who, np.concatenate([one.site_projection, two.site_projection]),
        np.append(one.multiplicity, two.multiplicity), Riding.none(), np.concatenate([one.u_aniso, two.u_aniso]),
        np.append(one.anisotropic, two.anisotropic), np.concatenate(projections) if special else None,
        dataclasses.replace(one.tls, group=np.append(one.tls.group, np.full(m, -1))),
    )  # fmt: skip
