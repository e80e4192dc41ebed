"""Where riding hydrogens come from: the dictionary, through gemmi, or the file."""

from __future__ import annotations

import dataclasses
import io
from dataclasses import fields
from typing import Literal

import gemmi
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from arrayrefine.atoms import Atoms, Identity, Riding, coexist
from arrayrefine.crystal import Crystal
from arrayrefine.displacements.tls import Tls
from arrayrefine.hydrogens.carriers import Bonded, carried
from arrayrefine.hydrogens.given_torsions import with_given_torsions
from arrayrefine.hydrogens.histidines import PROTONS, keep_named, notes_on_protons
from arrayrefine.hydrogens.lengths import NUCLEUS, give_both_distances
from arrayrefine.hydrogens.linked import Grown, Key, settle
from arrayrefine.hydrogens.placing import Hydrogens, Rotors, strip_hydrogens
from arrayrefine.io.models.entities import set_up_entities
from arrayrefine.io.models.reading import Model
from arrayrefine.monomers import MonomerLibrary
from arrayrefine.options import Options, RidingHydrogens
from arrayrefine.topology.atom_names import use_dictionary_names
from arrayrefine.topology.exchanged_names import name_by_bonds
from arrayrefine.topology.hydrogen_names import LONGEST_TO_HYDROGEN
from arrayrefine.topology.links import complete_links, name_neighbours
from arrayrefine.topology.nucleotide_ends import mark_free_ends
from arrayrefine.wording import Caution, are, counted

Float = NDArray[np.float64]
Int = NDArray[np.int64]
_EXCHANGING = ("N", "O", "S")
"""Elements of which hydrogens exchange with those of water."""
_OLD = "o"
"""Flag of atoms that were there before hydrogens were added."""


def with_hydrogens(
    model: Model, crystal: Crystal, library: MonomerLibrary, options: Options
) -> tuple[Model, Hydrogens, tuple[str, ...]]:
    """The model with the hydrogens that the options ask for: those of the dictionary, those of the file, or none.

    Returns
    -------
    model : Model
    hydrogens : Hydrogens
    notes : tuple of str
    """
    if options.hydrogens == "keep":
        return keep_hydrogens(model, crystal, library, options.riding)
    if options.hydrogens == "refine":
        return refine_hydrogens(model)
    if options.hydrogens == "strip":
        bare, notes = strip_hydrogens(model)
        return bare, Hydrogens.none(len(bare.atoms)), notes
    to = "contacts and density between cycles" if options.cycles else "contacts"
    return add_hydrogens(model, crystal, library, options.riding, turned=to)


def add_hydrogens(
    model: Model, crystal: Crystal, library: MonomerLibrary, options: RidingHydrogens, turned: str = ""
) -> tuple[Model, Hydrogens, tuple[str, ...]]:
    """Give a model the hydrogens of its dictionary, riding; those that it had in known components are replaced.

    Water stays as it is. Groups that turn freely (OH, say) start at the model's torsion or else the
    dictionary's; see `turning`. `turned` says in the notes what the caller turns them to; empty: they stay there.

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
    give_both_distances(monlib, sorted(known))
    kept = _strip(bare, known) if model.atoms.is_hydrogen.any() else np.arange(len(model.atoms))
    with_hydrogens = _template(bare, crystal, monlib)
    before = np.array([site.pos.tolist() for site in _sites(with_hydrogens)])
    there = _dry(with_hydrogens)
    topology, found = _add(with_hydrogens, monlib, options.distance)
    parents, bonded = _bonds(with_hydrogens, topology, found)
    found = {key: site for key, site in found.items() if key in parents}
    old, homes = _homes(with_hydrogens)
    grown = Grown(with_hydrogens, old, homes, bonded, found, parents, monlib)
    keep_named(grown, model.atoms)
    gone, left_out = settle(grown, topology, options.distance)
    found = {key: site for key, site in found.items() if key not in gone}
    found, parents = _deuterated(found, parents, old, options.deuterium)
    parents = {key: int(there[number]) for key, number in parents.items()}
    at_parents = np.array([parents[key] for key in found], dtype=np.int64)
    positions = _placed(list(found.values()), before[at_parents])
    complete_structure = bare.clone()
    residues = [residue for chain in complete_structure[0] for residue in chain]
    for ((number, _, _), site), position in zip(found.items(), positions.tolist()):
        site.pos = gemmi.Position(*position)
        residues[number].add_atom(site)
    complete, own = _assemble(model.atoms, kept, found, parents, positions)
    # gemmi gives a hydrogen that it cannot place no occupancy, and neither to one that turns.
    bonded = _numbered(bonded, there, len(before))
    certain = np.array([site.occ > 0 for site in found.values()], dtype=bool)
    complete, hydrogens = carried(complete, own, bonded, certain, options)
    complete, hydrogens = with_given_torsions(model.atoms, complete, hydrogens)
    without = dataclasses.replace(model, atoms=hydrogens.without(complete), structure=bare)
    hydrogens = dataclasses.replace(hydrogens, bare=without, had=bool(model.atoms.is_hydrogen.any()))
    note = f"{counted(len(found), 'hydrogen')} added, riding on their parents"
    if len(kept) < len(model.atoms):
        note += f"; they replace {len(model.atoms) - len(kept)} of the model"
    model = dataclasses.replace(model, atoms=complete, structure=complete_structure)
    return model, hydrogens, (note, *left_out, *_notes(hydrogens, complete, turned))


def refine_hydrogens(model: Model) -> tuple[Model, Hydrogens, tuple[str, ...]]:
    """Let the hydrogens of the file be atoms like the others, held by what the dictionary says of them.

    Returns
    -------
    model : Model
        The same.
    hydrogens : Hydrogens
        None rides.
    notes : tuple of str
    """
    count = int(model.atoms.is_hydrogen.sum())
    said = (
        f"{counted(count, 'hydrogen')} of the model {are(count)} refined like other atoms" if count
        else Caution("--hydrogens refine has no effect: the model has no hydrogens")
    )
    return model, dataclasses.replace(Hydrogens.none(len(model.atoms)), had=count > 0), (said,)


def keep_hydrogens(
    model: Model, crystal: Crystal, library: MonomerLibrary, options: RidingHydrogens
) -> tuple[Model, Hydrogens, tuple[str, ...]]:
    """Let the hydrogens of the file ride where they sit, in the frame of their parents' neighbours; none turns.

    Returns
    -------
    model : Model
        The same atoms; B of the hydrogens is tied to that of their parents.
    hydrogens : Hydrogens
    notes : tuple of str
    """
    atoms = model.atoms
    if not atoms.is_hydrogen.any():
        said = Caution("--hydrogens keep has no effect: the model has no hydrogens")
        return model, Hydrogens.none(len(atoms)), (said,)
    child, parent = _nearest_parents(atoms)
    mask = np.ones(len(atoms), dtype=bool)
    mask[child] = False
    own = np.flatnonzero(mask)
    bare_structure = model.structure.clone()
    _keep_sites(bare_structure, mask)
    monlib = library.monlib.clone()
    template = _template(bare_structure, crystal, monlib)
    topology = gemmi.prepare_topology(template, monlib, warnings=io.StringIO(), ignore_unknown_links=True)
    _, bonded = _bonds(template, topology, {})
    u_aniso = atoms.u_aniso.copy()
    u_aniso[child] = 0.0
    riding = dataclasses.replace(
        atoms, riding=Riding(child, parent), u_aniso=u_aniso, anisotropic=atoms.anisotropic & mask
    )
    complete, hydrogens = carried(riding, own, bonded, np.ones(len(child), dtype=bool), options)
    hydrogens = dataclasses.replace(hydrogens, rotors=Rotors.none(len(child)))
    complete = hydrogens.place(complete)
    without = dataclasses.replace(model, atoms=hydrogens.without(complete), structure=bare_structure)
    hydrogens = dataclasses.replace(hydrogens, bare=without, had=True)
    notes = [f"{counted(len(child), 'hydrogen')} of the model kept; they ride where they sit on their parents"]
    alone = np.flatnonzero(atoms.is_hydrogen & mask)
    if len(alone):
        what = f"{counted(len(alone), 'hydrogen')} without an atom to ride on, refined freely"
        notes.append(f"{what}; the first is {atoms.identity.label(int(alone[0]))}")
    return dataclasses.replace(model, atoms=complete), hydrogens, tuple(notes)


def _deuterated(
    found: dict[Key, gemmi.Atom], parents: dict[Key, int], old: list[gemmi.Atom], which: str
) -> tuple[dict[Key, gemmi.Atom], dict[Key, int]]:
    """New hydrogens, and the number of the parent of each, with those made deuterium that are it; named as the Protein
    Data Bank does."""
    if which == "none":
        return found, parents
    renamed: dict[Key, gemmi.Atom] = {}
    parent_of: dict[Key, int] = {}
    for key, site in found.items():
        number, name, altloc = key
        if which == "all" or old[parents[key]].element.name in _EXCHANGING:
            site.name, site.element = name.replace("H", "D", 1), gemmi.Element("D")
        renamed[number, site.name, altloc], parent_of[number, site.name, altloc] = site, parents[key]
    return renamed, parent_of


def _notes(hydrogens: Hydrogens, atoms: Atoms, turned: str) -> list[str]:
    """Sentences about hydrogens that turn, and about those whose place nobody knows."""
    assert hydrogens.rotors is not None
    notes = []
    groups = len(np.unique(hydrogens.rotors.lead[hydrogens.rotors.rows]))
    if groups and turned:
        notes.append(f"{counted(groups, 'group')} of hydrogens turned to {turned}")
    child = atoms.riding.child
    notes += notes_on_protons(atoms)
    idle = child[(atoms.occupancy[child] == 0) & (atoms.occupancy[atoms.riding.parent] > 0)]
    named = (atoms.identity.residue_name == "HIS") & np.isin(atoms.identity.atom_name, list(PROTONS))
    idle = idle[~named[idle]]
    if len(idle):
        what = f"{counted(len(idle), 'hydrogen')} without a definite place, of occupancy 0"
        notes.append(f"{what}; the first is {atoms.identity.label(int(idle[0]))}")
    return notes


def _nearest_parents(atoms: Atoms) -> tuple[Int, Int]:
    """Hydrogens and the heavy atoms that they sit on: of the same residue and conformer, the nearest."""
    hydrogen = np.flatnonzero(atoms.is_hydrogen)
    heavy = np.flatnonzero(~atoms.is_hydrogen)
    who = atoms.identity
    distance, near = cKDTree(atoms.xyz[heavy]).query(atoms.xyz[hydrogen], k=min(6, len(heavy)))
    distance, near = distance.reshape(len(hydrogen), -1), heavy[near.reshape(len(hydrogen), -1)]
    fits = (distance < LONGEST_TO_HYDROGEN) & coexist(who.altloc[hydrogen][:, None], who.altloc[near])
    fits &= who.residue[near] == who.residue[hydrogen][:, None]
    best = np.argmax(fits, axis=1)
    rows = np.flatnonzero(fits.any(axis=1))
    return hydrogen[rows], near[rows, best[rows]]


def _keep_sites(structure: gemmi.Structure, mask: NDArray[np.bool_]) -> None:
    """Remove the atoms of the first model that are not in the mask (N,)."""
    residues = [residue for chain in structure[0] for residue in chain]
    last = len(mask)
    for residue in reversed(residues):
        for k in range(len(residue) - 1, -1, -1):
            last -= 1
            if not mask[last]:
                del residue[k]


def _template(bare: gemmi.Structure, crystal: Crystal, monlib: gemmi.MonLib) -> gemmi.Structure:
    """A copy whose links are named and whose atoms are flagged as old."""
    template = bare.clone()
    template.cell = crystal.gemmi_cell
    template.spacegroup_hm = crystal.space_group
    template.ncs.clear()
    template.setup_cell_images()
    set_up_entities(template)
    use_dictionary_names(template, monlib, io.StringIO())
    name_by_bonds(template, monlib)
    complete_links(template, monlib)
    name_neighbours(template, monlib)
    mark_free_ends(template, monlib)
    for site in _sites(template):
        site.flag = _OLD
    return template


def _dry(template: gemmi.Structure) -> Int:
    """Take what hydrogens are left, such as those of waters, off a template; returns the numbers that the others had.

    gemmi takes them off, too, when it adds others, and after that the atoms that follow would have other numbers.
    """
    stay = [number for number, site in enumerate(_sites(template)) if not site.is_hydrogen()]
    template.remove_hydrogens()
    return np.array(stay, dtype=np.int64)


def _numbered(bonded: Bonded, there: Int, count: int) -> Bonded:
    """What is bonded to each of the atoms `there` (n,), by their numbers among all `count` atoms."""
    number = there.tolist()
    complete: Bonded = [[] for _ in range(count)]
    for atom, others in zip(number, bonded):
        complete[atom] = [number[k] for k in others]
    return complete


def _sites(structure: gemmi.Structure) -> list[gemmi.Atom]:
    return [site for chain in structure[0] for residue in chain for site in residue]


def _homes(structure: gemmi.Structure) -> tuple[list[gemmi.Atom], list[tuple[gemmi.Chain, gemmi.Residue]]]:
    """The atoms that were there before, and chain and residue of each."""
    every = [
        (site, (chain, residue))
        for chain in structure[0]
        for residue in chain
        for site in residue
        if site.flag == _OLD
    ]
    return [site for site, _ in every], [home for _, home in every]


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


def _add(
    structure: gemmi.Structure, monlib: gemmi.MonLib, distance: Literal["auto", "electron", "nucleus"]
) -> tuple[gemmi.Topo, dict[Key, gemmi.Atom]]:
    """Add hydrogens to `structure`, whose atoms are flagged as old; returns its topology and the hydrogens."""
    topology = gemmi.prepare_topology(
        structure,
        monlib,
        h_change=gemmi.HydrogenChange.ReAddButWater,
        warnings=io.StringIO(),
        ignore_unknown_links=True,
    )
    if distance == "nucleus":
        topology.adjust_hydrogen_distances(gemmi.Restraints.DistanceOf.Nucleus, default_scale=NUCLEUS)
    residues = enumerate(residue for chain in structure[0] for residue in chain)
    new = [(number, site) for number, residue in residues for site in residue if site.flag != _OLD]
    return topology, {(number, site.name, site.altloc): site for number, site in new}


def _bonds(
    structure: gemmi.Structure, topology: gemmi.Topo, found: dict[Key, gemmi.Atom]
) -> tuple[dict[Key, int], Bonded]:
    """Of each hydrogen its parent's number among the atoms that were there before; and what is bonded to each."""
    number_of = {site.serial: k for k, site in enumerate(s for s in _sites(structure) if s.flag == _OLD)}
    key_of = {site.serial: key for key, site in found.items()}
    ends = [site.serial for bond in topology.bonds for site in bond.atoms]
    parents: dict[Key, int] = {}
    bonded: Bonded = [[] for _ in number_of]
    for one, two in zip(ends[::2], ends[1::2]):
        if one in number_of and two in number_of:
            bonded[number_of[one]].append(number_of[two])
            bonded[number_of[two]].append(number_of[one])
        for child, parent in ((one, two), (two, one)):
            if child in key_of and parent in number_of:
                parents.setdefault(key_of[child], number_of[parent])
    return parents, bonded


def _placed(sites: list[gemmi.Atom], parents: Float) -> Float:
    """Coordinates (n, 3) of hydrogens, whose parents are at `parents` (n, 3)."""
    xyz = np.array([site.pos.tolist() for site in sites], dtype=float).reshape(-1, 3)
    lost = ~np.isfinite(xyz).all(axis=1)  # the neighbours of the parent lie on top of each other
    xyz[lost] = parents[lost] + np.array([0.0, 0.0, 1.0])
    return xyz


def _assemble(
    old: Atoms, kept: Int, found: dict[Key, gemmi.Atom], parents: dict[Key, int], positions: Float
) -> tuple[Atoms, Int]:
    """The old atoms that are kept, and in each residue its hydrogens after them; and the numbers of the old ones."""
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
    count = len(found)
    atoms = Atoms(
        np.concatenate([before.xyz, positions])[order],
        np.concatenate([before.b_iso, before.b_iso[row]])[order],
        np.concatenate([before.occupancy, before.occupancy[row]])[order],
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
        Tls(
            np.concatenate([before.tls.group, np.full(count, -1)])[order],
            before.tls.origin, before.tls.values, before.tls.names,
        ),
    )  # fmt: skip
    return atoms, own
