"""Riding hydrogens: added from the dictionary, placed by gemmi, taken off again for the output."""

from __future__ import annotations

import dataclasses
import io
from dataclasses import dataclass, field, fields
from typing import Literal

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, Identity, Riding
from arrayrefine.crystal import Crystal
from arrayrefine.io.model import Model
from arrayrefine.links import complete_links
from arrayrefine.monomers import MonomerLibrary

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Key = tuple[int, str, str]
"""Running number of the residue, atom name, altloc."""

B_RATIO = 1.2
"""B of a hydrogen over that of its parent."""
_OLD = "o"
"""Flag of atoms that were there before hydrogens were added."""


@dataclass(frozen=True)
class Hydrogens:
    """What is needed to place the hydrogens of a model again when its other atoms have moved.

    Attributes
    ----------
    own : (H,) int
        The atoms with parameters of their own in the complete model, in the order of the model as read.
    keys : tuple
        Of each riding atom, in the order of `Atoms.riding`.
    template : gemmi.Structure or None
        The model without riding hydrogens, its links named, its atoms flagged as old.
    library : gemmi.MonLib or None
    bare : Model or None
        The model as read, without the hydrogens that were replaced.
    had : bool
        Whether the model as read had hydrogens.
    """

    own: Int
    keys: tuple[Key, ...] = ()
    template: gemmi.Structure | None = None
    library: gemmi.MonLib | None = None
    bare: Model | None = None
    had: bool = False
    _placed: dict[bytes, Float] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def none(cls, n: int) -> Hydrogens:
        """No atom rides."""
        return cls(np.arange(n))

    def place(self, atoms: Atoms) -> Atoms:
        """Put every hydrogen where the dictionary wants it around the present positions of the other atoms."""
        if self.template is None or self.library is None:
            return atoms
        child, parent = atoms.riding.child, atoms.riding.parent
        where = atoms.xyz[self.own].tobytes()
        if where not in self._placed:
            self._placed.clear()
            self._placed[where] = self._positions(atoms)
        xyz, b_iso, occupancy = atoms.xyz.copy(), atoms.b_iso.copy(), atoms.occupancy
        xyz[child] = self._placed[where]
        b_iso[child] = B_RATIO * b_iso[parent]
        return atoms.replace(xyz=xyz, b_iso=b_iso, occupancy=occupancy)

    def _positions(self, atoms: Atoms) -> Float:
        """Coordinates (M, 3) of the riding atoms."""
        assert self.template is not None
        assert self.library is not None
        structure = self.template.clone()
        for site, position in zip(_sites(structure), atoms.xyz[self.own].tolist()):
            site.pos = gemmi.Position(*position)
        _, found = _add(structure, self.library)
        xyz = atoms.xyz[atoms.riding.child]
        # Where a link has come or gone a hydrogen may be missing: it stays where its parent has taken it.
        there = [k for k, key in enumerate(self.keys) if key in found]
        xyz[there] = _placed([found[self.keys[k]] for k in there], atoms.xyz[atoms.riding.parent[there]])
        return xyz

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


def add_hydrogens(model: Model, crystal: Crystal, library: MonomerLibrary) -> tuple[Model, Hydrogens, tuple[str, ...]]:
    """Give a model the hydrogens of its dictionary, riding; those that it had in known components are replaced.

    Water stays as it is. A hydrogen that turns freely (of OH, say) gets occupancy zero from gemmi: it neither scatters
    nor repels.

    Returns
    -------
    model : Model
        With hydrogens; the other atoms as they were.
    hydrogens : Hydrogens
    notes : tuple of str
    """
    monlib = library.monlib.clone()
    bare = model.structure.clone()
    known = {name for name in bare[0].get_all_residue_names() if name in monlib.monomers}
    kept = _strip(bare, known) if model.atoms.is_hydrogen.any() else np.arange(len(model.atoms))
    template = bare.clone()
    template.cell = crystal.gemmi_cell
    template.spacegroup_hm = crystal.space_group
    template.ncs.clear()
    template.setup_cell_images()
    template.setup_entities()
    monlib.update_old_atom_names(template, io.StringIO())
    complete_links(template, monlib)
    old_sites = _sites(template)
    for site in old_sites:
        site.flag = _OLD
    with_hydrogens = template.clone()
    topology, found = _add(with_hydrogens, monlib)
    parents = _parents(with_hydrogens, topology, found)
    found = {key: site for key, site in found.items() if key in parents}
    before = np.array([site.pos.tolist() for site in old_sites])
    positions = _placed(list(found.values()), before[np.array([parents[key] for key in found], dtype=np.int64)])
    complete_structure = bare.clone()
    residues = [residue for chain in complete_structure[0] for residue in chain]
    for ((number, _, _), site), position in zip(found.items(), positions.tolist()):
        site.pos = gemmi.Position(*position)
        residues[number].add_atom(site)
    complete, hydrogens = _assemble(model.atoms, kept, found, parents, positions)
    hydrogens = dataclasses.replace(
        hydrogens, template=template, library=monlib, had=bool(model.atoms.is_hydrogen.any()),
        bare=dataclasses.replace(model, atoms=hydrogens.without(complete), structure=bare),
    )  # fmt: skip
    note = f"{len(found)} hydrogens were added; they ride on their parents"
    free = sum(site.occ == 0 for site in found.values())
    if free:
        note += f" ({free} that turn freely have occupancy 0)"
    if len(kept) < len(model.atoms):
        note += f"; they replace {len(model.atoms) - len(kept)} of the model"
    return dataclasses.replace(model, atoms=complete, structure=complete_structure), hydrogens, (note,)


def _sites(structure: gemmi.Structure) -> list[gemmi.Atom]:
    return [site for chain in structure[0] for residue in chain for site in residue]


def _strip(structure: gemmi.Structure, known: set[str]) -> Int:
    """Remove the hydrogens of known components, waters aside; returns the indices of the atoms that stay."""
    kept, index = [], 0
    for chain in structure[0]:
        for residue in chain:
            goes = residue.name in known and not residue.is_water()
            for site in residue:
                if not (goes and site.is_hydrogen()):
                    kept.append(index)
                index += 1
            if goes:
                residue.remove_hydrogens()
    return np.array(kept, dtype=np.int64)


def _add(structure: gemmi.Structure, monlib: gemmi.MonLib) -> tuple[gemmi.Topo, dict[Key, gemmi.Atom]]:
    """Add hydrogens to `structure`, whose atoms are flagged as old; returns its topology and the hydrogens."""
    topology = gemmi.prepare_topology(
        structure,
        monlib,
        h_change=gemmi.HydrogenChange.ReAddButWater,
        warnings=io.StringIO(),
        ignore_unknown_links=True,
    )
    residues = enumerate(residue for chain in structure[0] for residue in chain)
    new = [(number, site) for number, residue in residues for site in residue if site.flag != _OLD]
    return topology, {(number, site.name, site.altloc): site for number, site in new}


def _parents(structure: gemmi.Structure, topology: gemmi.Topo, found: dict[Key, gemmi.Atom]) -> dict[Key, int]:
    """The number of the parent of each hydrogen among the atoms that were there before."""
    number_of = {site.serial: k for k, site in enumerate(s for s in _sites(structure) if s.flag == _OLD)}
    key_of = {site.serial: key for key, site in found.items()}
    ends = [site.serial for bond in topology.bonds for site in bond.atoms]
    parents: dict[Key, int] = {}
    for one, two in zip(ends[::2], ends[1::2]):
        for child, parent in ((one, two), (two, one)):
            if child in key_of and parent in number_of:
                parents.setdefault(key_of[child], number_of[parent])
    return parents


def _placed(sites: list[gemmi.Atom], parents: Float) -> Float:
    """Coordinates (n, 3) of hydrogens, whose parents are at `parents` (n, 3)."""
    xyz = np.array([site.pos.tolist() for site in sites], dtype=float).reshape(-1, 3)
    lost = ~np.isfinite(xyz).all(axis=1)  # the neighbours of the parent lie on top of each other
    xyz[lost] = parents[lost] + np.array([0.0, 0.0, 1.0])
    return xyz


def _assemble(
    old: Atoms, kept: Int, found: dict[Key, gemmi.Atom], parents: dict[Key, int], positions: Float
) -> tuple[Atoms, Hydrogens]:
    """Arrays of the complete structure: the old atoms that are kept, and in each residue its hydrogens after them."""
    before = Hydrogens(kept).without(old)
    number = np.array([number for number, _, _ in found], dtype=np.int64)
    order = np.argsort(np.concatenate([before.identity.residue, number]), kind="stable")
    place = np.argsort(order)
    own, child = place[: len(kept)], place[len(kept) :]
    row = np.array([parents[key] for key in found], dtype=np.int64)
    who = before.identity
    names = np.array([name for _, name, _ in found], dtype=np.str_)
    altloc = np.array([altloc for _, _, altloc in found], dtype=np.str_)  # NumPy takes NUL, gemmi's blank, for nothing
    residue = np.searchsorted(who.residue, number)  # an atom of the same residue
    new = Identity(
        who.chain[residue], who.residue_name[residue], names, altloc, who.insertion_code[residue],
        who.sequence_number[residue], number,
    )  # fmt: skip
    identity = Identity(
        **{f.name: np.concatenate([getattr(who, f.name), getattr(new, f.name)])[order] for f in fields(Identity)}
    )
    element = np.array([site.element.name for site in found.values()], dtype=np.str_)
    given = np.array([site.occ for site in found.values()], dtype=float)
    count = len(found)
    atoms = Atoms(
        np.concatenate([before.xyz, positions])[order],
        np.concatenate([before.b_iso, B_RATIO * before.b_iso[row]])[order],
        np.concatenate([before.occupancy, np.minimum(given, before.occupancy[row])])[order],
        np.concatenate([before.element, element])[order],
        identity,
        np.concatenate([before.site_projection, np.tile(np.eye(3), (count, 1, 1))])[order],
        np.concatenate([before.multiplicity, np.ones(count, dtype=np.int64)])[order],
        Riding(child, own[row]),
        np.concatenate([before.u_aniso, np.zeros((count, 6))])[order],
        np.concatenate([before.anisotropic, np.zeros(count, dtype=bool)])[order],
        None
        if before.u_projection is None
        else np.concatenate([before.u_projection, np.tile(np.eye(6), (count, 1, 1))])[order],
    )
    return atoms, Hydrogens(own, tuple(found))
