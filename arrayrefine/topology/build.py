"""From a model and its dictionaries to `Restraints`, through gemmi's topology."""

from __future__ import annotations

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.errors import InputError, MonomerError
from arrayrefine.hydrogens.lengths import give_both_distances
from arrayrefine.io.models.dummy_atoms import UNKNOWN_REACH, unknown_atoms
from arrayrefine.io.models.entities import set_up_entities
from arrayrefine.kernels.distances import close_pairs
from arrayrefine.monomers import MonomerLibrary, Unknown, missing_components_message, unused_message
from arrayrefine.restraints import Restraints
from arrayrefine.topology import twisted_peptides
from arrayrefine.topology.adducts import find_adducts, with_adducts
from arrayrefine.topology.atom_names import names_of_other_programs, use_dictionary_names
from arrayrefine.topology.chiral_centres import read_chiralities
from arrayrefine.topology.crowded_metals import crowded_metals
from arrayrefine.topology.crowded_waters import crowded_waters
from arrayrefine.topology.exchanged_names import name_by_bonds
from arrayrefine.topology.hydrogen_names import use_dictionary_names_of_hydrogens
from arrayrefine.topology.link_angles import with_link_angles
from arrayrefine.topology.link_lengths import use_typical_lengths
from arrayrefine.topology.links import complete_links, lone_links, warnings_of_lone_links
from arrayrefine.topology.mate_links import read_across
from arrayrefine.topology.nonbonded import (
    build_non_bonded,
    coordination_pairs,
    covalent_pairs,
    energy_types,
    image_pairs,
    metal_flags,
    topological_pairs,
)
from arrayrefine.topology.nucleotide_ends import mark_free_ends
from arrayrefine.topology.overlapping_mates import overlapping_mates
from arrayrefine.topology.overlapping_parts import overlapping_parts
from arrayrefine.topology.pyranoses import read_chairs
from arrayrefine.topology.stretched import stretched_residues
from arrayrefine.topology.terms import (
    HYDROGEN_BOND_LENGTH,
    LinkEnds,
    TopologyModel,
    image_links,
    link_ends,
    read_angles,
    read_bonds,
    read_planes,
    read_torsions,
    tie_hydrogens,
)
from arrayrefine.topology.unbonded import unbonded_neighbours
from arrayrefine.topology.unlinked import unlinked_contacts
from arrayrefine.wording import Caution, are, counted, listed


class _Log:
    """Collects gemmi's warnings, which would otherwise go to stderr."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass

    def lines(self) -> list[str]:
        return [line for line in dict.fromkeys(s.strip() for s in self.text.splitlines()) if line]


def build_restraints(
    structure: gemmi.Structure,
    atoms: Atoms,
    crystal: Crystal,
    library: MonomerLibrary,
    *,
    unknown: Unknown = "error",
    at_nuclei: bool = False,
) -> Restraints:
    """Find everything that is known about the geometry of a model.

    Parameters
    ----------
    structure : gemmi.Structure
        The model; its first model is used, and is not changed.
    atoms : Atoms
        The same atoms in the same order.
    crystal : Crystal
    library : MonomerLibrary
    unknown : {"error", "hold", "shape"}
        What to do with components that have no restraints in the library: stop, or hold their atoms in place.
    at_nuclei : bool
        Whether hydrogens are held where their nuclei are, and not at the centres of their electrons.

    Returns
    -------
    Restraints

    Raises
    ------
    MonomerError
        A component without restraints, and `unknown` is "error".
    InputError
        The topology cannot be made.
    """
    n = len(atoms)
    if structure[0].count_atom_sites() != n:
        raise ValueError(f"the structure has {structure[0].count_atom_sites()} atoms, the arrays have {n}")
    notes = _check_components(structure, library, unknown)
    monlib = library.monlib.clone()
    give_both_distances(monlib, sorted(set(structure[0].get_all_residue_names()) & set(monlib.monomers)))
    model = _prepare(structure, atoms, crystal, monlib, notes)
    types, held, loose = _who_is_known(model, atoms, monlib, notes)
    metal_parts = _components_with_metals(monlib, atoms)
    known_links = list(library.monlib.links)
    bonds, edges = read_bonds(model, known_links, held, notes, at_nuclei)
    notes += unbonded_neighbours(model.structure, model.row, edges, held) + stretched_residues(bonds, atoms)
    guessed = covalent_pairs(atoms, crystal, held | loose)
    bonds = tie_hydrogens(bonds, guessed, loose, atoms.xyz)
    adducts = find_adducts(model, known_links, held, monlib, atoms, notes)
    angles, bonds = with_link_angles(
        read_angles(model, held, notes), bonds, model, known_links, edges, held, monlib, atoms, notes, adducts
    )
    torsions, rigid = read_torsions(model, held, metal_parts, edges, atoms)
    torsions = torsions.and_also(read_chairs(model, atoms, monlib, notes))
    notes += twisted_peptides.at_start(torsions, atoms)
    chiralities = read_chiralities(model, held, metal_parts, edges, atoms, monlib, notes)
    planes = read_planes(model, held, notes)
    bonds, angles, planes = with_adducts(bonds, angles, planes, adducts, atoms)
    across = read_across(model, known_links, held, atoms, crystal, notes)

    kinds, unknown_types = energy_types(types, atoms.element, library.energy)
    if unknown_types:
        notes.append(f"energy types unknown to the library, replaced by element: {', '.join(sorted(unknown_types))}")
    coordination, coordination_across = coordination_pairs(atoms, crystal, metal_flags(atoms.element))
    all_edges = np.vstack([edges, guessed, coordination])
    unknown_rows = unknown_atoms(atoms.identity)
    near = unknown_rows[close_pairs(atoms.xyz[unknown_rows], UNKNOWN_REACH)]
    groups = [*np.split(planes.index, np.flatnonzero(np.diff(planes.plane)) + 1), *near]
    excluded, one_four = topological_pairs(all_edges, rigid, groups, n)
    excluded_images = image_pairs(image_links(model), coordination_across, all_edges, n)
    non_bonded = build_non_bonded(atoms, kinds, all_edges, (excluded, excluded_images, one_four))
    notes += unlinked_contacts(atoms, non_bonded)
    non_bonded, said = overlapping_parts(atoms, non_bonded, edges)
    notes += said
    notes += crowded_waters(atoms, non_bonded) + crowded_metals(atoms, non_bonded, edges)
    notes += overlapping_mates(atoms, non_bonded, crystal)
    return Restraints(
        bonds, angles, torsions, chiralities, planes, non_bonded, held, tuple(notes), across=across, at_nuclei=at_nuclei
    )


def _check_components(
    structure: gemmi.Structure, library: MonomerLibrary, unknown: Unknown
) -> list[str]:
    """Stop at components without restraints, or say that they are held."""
    where: dict[str, list[str]] = {}
    for chain in structure[0]:
        for residue in chain:
            if residue.name not in library.monlib.monomers:
                where.setdefault(residue.name, []).append(f"{chain.name} {residue.seqid}")
    if where and unknown == "error":
        raise MonomerError(missing_components_message(where) + unused_message(library.unused))
    return [
        Caution(
            f"component {name} has no restraints: {counted(len(places), 'residue')} held in place ({listed(places)})."
            f"{names_of_other_programs([name])}".rstrip(".")
        )
        for name, places in where.items()
    ]


def _prepare(
    structure: gemmi.Structure, atoms: Atoms, crystal: Crystal, monlib: gemmi.MonLib, notes: list[str]
) -> TopologyModel:
    """Copy the structure, complete its links and let gemmi make the topology."""
    copy = structure.clone()
    while len(copy) > 1:
        del copy[len(copy) - 1]
    copy.cell = crystal.gemmi_cell
    copy.spacegroup_hm = crystal.space_group
    copy.ncs.clear()
    copy.setup_cell_images()
    set_up_entities(copy)
    log = _Log()
    notes += use_dictionary_names(copy, monlib, log)
    notes += name_by_bonds(copy, monlib)
    notes += use_dictionary_names_of_hydrogens(copy, monlib)
    if (atoms.element == "D").any():
        _name_deuterium(copy, monlib)
    notes += complete_links(copy, monlib)
    mark_free_ends(copy, monlib)
    known_links = list(monlib.links)  # gemmi adds those that it guesses
    before = [(atom.name, atom.altloc) for atom in _sites(copy)]
    try:
        topology = gemmi.prepare_topology(copy, monlib, h_change=gemmi.HydrogenChange.NoChange, warnings=log)
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(f"no restraints can be made for this model: {error}") from error
    use_typical_lengths(topology, known_links, monlib)
    # prepare_topology renumbers the atoms, so the order is read back rather than assumed
    sites = _sites(copy)
    row = {atom.serial: k for k, atom in enumerate(sites)}
    after = [(atom.name, atom.altloc) for atom in sites]
    if before != after or len(row) != len(atoms):
        raise InputError("atoms changed their order while bonds were named; look for duplicated atoms in the model")
    told = warnings_of_lone_links(copy)
    notes += [f"gemmi: {line}" for line in log.lines() if "definition not found" not in line and line not in told]
    notes += _chain_notes(topology)
    return TopologyModel(copy, topology, row, atoms.identity.altloc, lone_links(copy))


def _sites(structure: gemmi.Structure) -> list[gemmi.Atom]:
    return [atom for chain in structure[0] for residue in chain for atom in residue]


def _name_deuterium(structure: gemmi.Structure, monlib: gemmi.MonLib) -> None:
    """Make deuterium atoms of the copy hydrogens, named as in the dictionary: gemmi merges those that share a place."""
    for chain in structure[0]:
        for residue in chain:
            if not any(a.element.name == "D" for a in residue):
                continue
            known = {a.id for a in monlib.monomers[residue.name].atoms} if residue.name in monlib.monomers else set()
            taken = {(a.name, a.altloc) for a in residue}
            for atom in residue:
                name = "H" + atom.name[1:]
                wrong = atom.element.name == "D" and atom.name not in known and name in known
                if wrong and (name, atom.altloc) not in taken:
                    atom.name = name
                if atom.element.name == "D":
                    atom.element = gemmi.Element("H")


def _chains(topology: gemmi.Topo) -> list[gemmi.Topo.ChainInfo]:
    return [topology.chain_infos[k] for k in range(len(topology.chain_infos))]


def _same_ends(one: LinkEnds, two: LinkEnds) -> bool:
    """Whether two links join the same residues, in conformers that can be there together."""
    first, second = ({end[:3]: end[3] for end in ends} for ends in (one, two))
    alike = (first[k] == second[k] or "\0" in (first[k], second[k]) for k in first.keys() & second.keys())
    return first.keys() == second.keys() and all(alike)


def _chain_notes(topology: gemmi.Topo) -> list[str]:
    """Chain breaks and cis peptides."""
    gaps, cis, joined = [], [], set()
    named = [link_ends(link) for link in topology.extras if link.link_id and link.asu != gemmi.Asu.Different]
    for chain in _chains(topology):
        for info in chain.res_infos:
            for link in info.prev:
                label = f"{chain.chain_ref.name} {link.res1.seqid}-{link.res2.seqid}"
                if link.link_id in ("gap", "") and not any(_same_ends(link_ends(link), ends) for ends in named):
                    gaps.append(label)
                elif "CIS" in link.link_id and not _is_twisted(link):
                    cis.append(label)
                if link.link_id not in ("gap", ""):
                    joined.add(label)
    # of residues that share a place and a main chain, one that has no part of this chain is no break
    gaps = [label for label in gaps if label not in joined]
    notes = []
    for what, labels in (("chain break", gaps), ("cis peptide", cis)):
        labels = list(dict.fromkeys(labels))
        if labels:
            notes.append(f"{counted(len(labels), what)}: {listed(labels)}")
    return notes


def _is_twisted(link: gemmi.Topo.Link) -> bool:
    """Whether a peptide taken for cis is far from it; of atoms that the conformers of the link lack any counts."""
    one, two = (link.res1, link.alt1), (link.res2, link.alt2)
    places = ((one, "CA"), (one, "C"), (two, "N"), (two, "CA"))
    sites = [residue.find_atom(name, letter) or residue.find_atom(name, "*") for (residue, letter), name in places]
    if not all(sites):
        return False
    return bool(abs(np.degrees(gemmi.calculate_dihedral(*(site.pos for site in sites)))) > twisted_peptides.TWIST)


def _who_is_known(
    model: TopologyModel, atoms: Atoms, monlib: gemmi.MonLib, notes: list[str]
) -> tuple[list[str | None], NDArray[np.bool_], NDArray[np.bool_]]:
    """Energy type of each atom; atoms to hold; and hydrogens that the dictionary does not name."""
    types: list[str | None] = [None] * len(atoms)
    known: list[int] = []
    # residues that are modified alike share a dictionary, which has to stay for its id to stay its own
    finals: dict[int, tuple[gemmi.ChemComp, dict[str, str]]] = {}
    for chain in _chains(model.topology):
        for info in chain.res_infos:
            if info.res.name not in monlib.monomers:
                continue
            tables: dict[str, dict[str, str]] = {}
            for atom in info.res:
                altloc = atom.altloc
                if altloc not in tables:
                    final = info.get_final_chemcomp(altloc)
                    if id(final) not in finals:
                        finals[id(final)] = final, {a.id: a.chem_type for a in final.atoms}
                    tables[altloc] = finals[id(final)][1]
                k = model.row[atom.serial]
                types[k] = tables[altloc].get(atom.name)
                known.append(k)
    held = np.ones(len(atoms), dtype=bool)
    held[known] = False
    stray = ~held & np.array([name is None for name in types], dtype=bool)
    loose = stray & atoms.is_hydrogen
    lost = stray & ~atoms.is_hydrogen
    for mask, fate in (
        (lost, "held in place"),
        (loose, f"tied to the nearest atom by a bond of {HYDROGEN_BOND_LENGTH} Å"),
    ):
        if mask.any():
            labels = listed([atoms.identity.label(int(i)) for i in np.flatnonzero(mask)])
            n = int(mask.sum())
            unknown = "that the dictionary does not name, or a link removes"
            what = f"{counted(n, 'atom')} {unknown}, {are(n)} {fate}: {labels}"
            remedy = ". Remove what is not there, such as OXT where the chain goes on"
            notes.append(Caution(what + remedy) if mask is lost else what)
    return types, held | lost, loose


def _components_with_metals(monlib: gemmi.MonLib, atoms: Atoms) -> NDArray[np.bool_]:
    """(N,) True for atoms of components that contain a metal, such as FeS clusters and haem."""
    names = [
        name
        for name in set(atoms.identity.residue_name.tolist())
        if name in monlib.monomers and any(a.el.is_metal for a in monlib.monomers[name].atoms)
    ]
    return np.isin(atoms.identity.residue_name, np.array(names, dtype=str))
