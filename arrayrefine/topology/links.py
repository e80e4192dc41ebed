"""Links between residues: those that the model should have named."""

from __future__ import annotations

import dataclasses
import io
import itertools
import math

import gemmi

from arrayrefine.crystal import Crystal
from arrayrefine.io.models.entities import set_up_entities
from arrayrefine.io.models.reading import Model
from arrayrefine.topology.atom_names import OF_CHAINS, use_dictionary_names
from arrayrefine.topology.exchanged_names import name_by_bonds
from arrayrefine.topology.hydrogen_bonds import mark_hydrogen_bonds
from arrayrefine.topology.link_conformers import link_conformers
from arrayrefine.topology.named_links import STRETCHED, check_named, pair_key
from arrayrefine.topology.near_disulfides import is_near_disulfide
from arrayrefine.topology.valence import LONGEST, POLYMER_BONDS, FullAtoms, place
from arrayrefine.wording import Caution, are, counted, listed

SEARCH = 2.5
"""Å; unnamed links are looked for up to here (covers S-S)."""
FOUND = "found"
"""Names of links that the model did not name begin with this."""
LONE = "lone"
"""And of those between conformers of different letters with this."""
_MARGIN = 1.3
"""Times its length; up to here a link that the library has is found, as by Servalcat. One of just two
components of which one is no common residue hardly comes by chance, and is found up to `LONGEST` times its length."""
_UNLIKE = 0.5
"""Å; conformers of neighbours whose bond would be so much too long or too short do not belong together."""
_BY_GROUP = {
    gemmi.ChemComp.Group.Peptide: "", gemmi.ChemComp.Group.PPeptide: "P", gemmi.ChemComp.Group.MPeptide: "NM",
}  # fmt: skip
"""How the names of peptide links begin, by the group of the residue that gives N."""
_CIS = 30.0
"""Degrees of omega within which a stretched peptide is taken for a cis one."""
_CLASH = 0.75
"""Times its length; atoms that lie closer are no link that the model does not name, but in each other's way."""


def complete_links(structure: gemmi.Structure, monlib: gemmi.MonLib) -> list[str]:
    """Check the connections of a structure in place and add the covalent links that it lacks.

    Connections that cannot be used are removed. An unnamed link is added where the library knows a link between two
    atoms that are closer than 1.3 times its ideal length, as Servalcat does, or 1.5 times where it is a link of
    just these two components of which one is no common residue; but not where they are closer than 0.75 times that, and
    no disulfide by what is around them, or are atoms of a backbone with all their bonds: those are clashes, as wrong
    models have them between molecules.

    Parameters
    ----------
    structure : gemmi.Structure
        With cell, space group, images and entities set up.
    monlib : gemmi.MonLib

    Returns
    -------
    list of str
        What was left out and what was added.
    """
    notes = link_conformers(structure)
    notes += check_named(structure, monlib)
    notes += [*_mend_peptides(structure, monlib), *_join_lone_conformers(structure, monlib)]
    return [*notes, *_find_links(structure, monlib)]


def _mend_peptides(structure: gemmi.Structure, monlib: gemmi.MonLib) -> list[str]:
    """Bond neighbours in sequence whose peptide bond is stretched, as models from building and bending have them.

    Not where the model bonds one of the two atoms to another: an ester or an isopeptide has the place of the peptide.
    """
    covalent = (gemmi.ConnectionType.Covale, gemmi.ConnectionType.Unknown)
    named = [link for link in structure.connections if link.type in covalent and link.link_id != "gap"]
    elsewhere = {place(end) for link in named for end in (link.partner1, link.partner2)}
    mended: list[str] = []
    for chain in structure[0]:
        for residue, following in itertools.pairwise(chain.get_polymer()):
            c, n = _only(residue, "C"), _only(following, "N")
            if c is None or n is None or not _follows(residue, following):
                continue
            length = c.pos.dist(n.pos)
            if not LONGEST * POLYMER_BONDS["C", "N"] < length < STRETCHED:
                continue
            ends = _address(chain, residue, c), _address(chain, following, n)
            link_id = _peptide_link(residue, following, monlib)
            if link_id not in monlib.links or elsewhere & {place(end) for end in ends}:
                continue
            _join(structure, f"mended{len(mended) + 1}", ends, link_id)
            mended.append(f"{chain.name} {residue.seqid}-{following.seqid} ({length:.2f} Å)")
    if not mended:
        return []
    said = f"{counted(len(mended), 'stretched peptide bond')} between neighbours, restrained: {listed(mended)}"
    return [Caution(said)]


def _join_lone_conformers(structure: gemmi.Structure, monlib: gemmi.MonLib) -> list[str]:
    """Bond conformers of C or N that the neighbour in sequence does not have to the one of it that fits best."""
    joined: list[str] = []
    for chain in structure[0]:
        for residue, following in itertools.pairwise(chain.get_polymer()):
            carbons, nitrogens = _by_altloc(residue, "C"), _by_altloc(following, "N")
            if not (carbons and nitrogens) or "\0" in carbons.keys() | nitrogens.keys():
                continue
            if carbons.keys() == nitrogens.keys():
                continue
            link_id = _peptide_link(residue, following, monlib) if _follows(residue, following) else ""
            if link_id not in monlib.links:
                continue
            strain = {
                (c, n): abs(one.pos.dist(two.pos) - POLYMER_BONDS["C", "N"])
                for (c, one), (n, two) in itertools.product(carbons.items(), nitrogens.items())
            }
            pairs = [min(((c, n) for c in carbons), key=strain.__getitem__) for n in nitrogens if n not in carbons]
            pairs += [min(((c, n) for n in nitrogens), key=strain.__getitem__) for c in carbons if c not in nitrogens]
            for c, n in dict.fromkeys(pairs):
                if strain[c, n] > _UNLIKE:
                    continue
                ends = _address(chain, residue, carbons[c]), _address(chain, following, nitrogens[n])
                _join(structure, f"{LONE}{len(joined) + 1}", ends, link_id)
                joined.append(f"{chain.name} {residue.seqid}.{c}-{following.seqid}.{n}")
    if not joined:
        return []
    return [
        f"{counted(len(joined), 'peptide bond')} of conformers that the neighbour in sequence does not have, to the "
        f"one of it that fits best: {listed(joined)}"
    ]


def _join(
    structure: gemmi.Structure, name: str, ends: tuple[gemmi.AtomAddress, gemmi.AtomAddress], link_id: str
) -> None:
    """Add a link between neighbours in a chain, one of the library if it has a name there."""
    connection = gemmi.Connection()
    connection.name, connection.link_id = name, link_id
    connection.partner1, connection.partner2 = ends
    connection.type, connection.asu = gemmi.ConnectionType.Covale, gemmi.Asu.Same
    structure.connections.append(connection)


def name_neighbours(structure: gemmi.Structure, monlib: gemmi.MonLib) -> None:
    """Name the bonds to neighbours in a chain whose dictionaries call them no residues of it, such as its amide.

    Where gemmi is to make up no links it leaves these out, even those that the library has, and what they take away.
    """
    named = {pair_key(link.partner1, link.partner2) for link in structure.connections}
    found = 0
    for chain in structure[0]:
        for residue, following in itertools.pairwise(chain.get_polymer()):
            if all(_joins_chain(home, monlib) for home in (residue, following)):
                continue
            near = [
                (one, two) for one, two in itertools.product(residue, following)
                if one.pos.dist(two.pos) < LONGEST * POLYMER_BONDS.get((one.name, two.name), 0.0)
                and (one.altloc == two.altloc or "\0" in (one.altloc, two.altloc))
            ]
            for one, two in near:
                link, inverted, *_ = monlib.match_link(residue, one.name, one.altloc, following, two.name, two.altloc)
                ends = _address(chain, residue, one), _address(chain, following, two)
                if pair_key(*ends) not in named:
                    found += 1
                    name = f"neighbour{found}"
                    _join(structure, name, ends[::-1] if inverted else ends, "" if link is None else link.id)


def _joins_chain(residue: gemmi.Residue, monlib: gemmi.MonLib) -> bool:
    """Whether its dictionary says that a residue is one of a polymer."""
    return residue.name in monlib.monomers and monlib.monomers[residue.name].group in OF_CHAINS


def warnings_of_lone_links(structure: gemmi.Structure) -> set[str]:
    """What gemmi says of each link that `complete_links` made between unlike conformers, which a note tells already."""
    said = set()
    for link in structure.connections:
        if link.name.startswith(LONE):
            one, two = (f"{end.altloc} (in {end.res_id.name})" for end in (link.partner1, link.partner2))
            said.add(f"Warning: LINK between different conformers: {one} and {two}.")
    return said


def lone_links(structure: gemmi.Structure) -> frozenset[frozenset[tuple[str, str, str, str]]]:
    """Ends (subchain, number, name, conformer) of the links that `complete_links` made between unlike conformers."""
    found = []
    for link in structure.connections:
        if link.name.startswith(LONE):
            ends = link.partner1, link.partner2
            homes = [structure[0].find_cra(end, ignore_segment=True).residue for end in ends]
            found.append(frozenset(
                (home.subchain, str(home.seqid), home.name, end.altloc) for home, end in zip(homes, ends)
            ))
    return frozenset(found)


def _by_altloc(residue: gemmi.Residue, name: str) -> dict[str, gemmi.Atom]:
    """Atoms of that name by their conformers."""
    return {atom.altloc: atom for atom in residue if atom.name == name}


def _only(residue: gemmi.Residue, name: str) -> gemmi.Atom | None:
    """The atom of that name, where it has no other conformers."""
    found = [atom for atom in residue if atom.name == name]
    return found[0] if len(found) == 1 else None


def _follows(one: gemmi.Residue, two: gemmi.Residue) -> bool:
    """Whether nothing is missing between two residues, by their numbers."""
    if one.label_seq is not None and two.label_seq is not None:
        return two.label_seq - one.label_seq == 1
    first, second = one.seqid.num, two.seqid.num
    if first is None or second is None:
        return False
    return second - first == 1 or (second == first and two.seqid.icode != one.seqid.icode)


def _peptide_link(one: gemmi.Residue, two: gemmi.Residue, monlib: gemmi.MonLib) -> str:
    """Name of the link of the library between two amino acids, "" for others."""
    if not {one.name, two.name} <= set(monlib.monomers):
        return ""
    groups = [monlib.monomers[residue.name].group for residue in (one, two)]
    if not set(groups) <= set(_BY_GROUP):
        return ""
    cis = abs(math.degrees(gemmi.calculate_omega(one, two))) < _CIS
    return _BY_GROUP[groups[1]] + ("CIS" if cis else "TRANS")


def with_found_links(model: Model, crystal: Crystal, monlib: gemmi.MonLib) -> tuple[Model, list[str]]:
    """The model with the links that it should have named, for all that follows and the output; and what was found."""
    structure = model.structure.clone()
    notes = link_conformers(structure)
    copy = structure.clone()
    copy.cell, copy.spacegroup_hm = crystal.gemmi_cell, crystal.space_group
    copy.ncs.clear()
    copy.setup_cell_images()
    set_up_entities(copy)
    use_dictionary_names(copy, monlib, io.StringIO())
    name_by_bonds(copy, monlib)
    mark_hydrogen_bonds(copy, monlib)
    own = {str(cra): before.atom.name for cra, before in zip(copy[0].all(), model.structure[0].all())}
    count = len(copy.connections)
    found = _find_links(copy, monlib)
    if not notes and len(copy.connections) == count:
        return model, found
    for connection in itertools.islice(copy.connections, count, None):
        for end in (connection.partner1, connection.partner2):
            end.atom_name = own[str(copy[0].find_cra(end, ignore_segment=True))]
        structure.connections.append(connection)
    return dataclasses.replace(model, structure=structure), notes + found


def _find_links(structure: gemmi.Structure, monlib: gemmi.MonLib) -> list[str]:
    notes: list[str] = []
    added: list[str] = []
    across: list[str] = []
    clashes: dict[frozenset[str], str] = {}
    full = FullAtoms(structure)
    known = {pair_key(c.partner1, c.partner2) for c in structure.connections}
    search = gemmi.NeighborSearch(structure[0], structure.cell, SEARCH).populate(include_h=False)
    contacts = gemmi.ContactSearch(SEARCH)
    contacts.ignore = gemmi.ContactSearch.Ignore.SameResidue
    # what is bonded within the model as given is no link to a mate; of several that an atom could have, the shortest
    for contact in sorted(contacts.find_contacts(search), key=lambda found: (found.image_idx != 0, found.dist)):
        one, two = contact.partner1, contact.partner2
        a, b, residue, other = one.atom, two.atom, one.residue, two.residue
        if _is_polymer_link(one, two) or residue.is_water() or other.is_water():
            continue
        if a.element.is_metal or b.element.is_metal:
            continue
        shortest = (contact.dist / LONGEST) ** 2
        link, *_ = monlib.match_link(residue, a.name, a.altloc, other, b.name, b.altloc, shortest)
        if link is None or contact.dist > link.rt.bonds[0].value * _reach(link):
            continue
        connection = gemmi.Connection()
        connection.name = f"{FOUND}{len(added) + len(across) + 1}"
        connection.partner1, connection.partner2 = _address(one.chain, residue, a), _address(two.chain, other, b)
        key = pair_key(*(ends := (connection.partner1, connection.partner2)))
        if key in known:
            continue
        label = f"{one} - {two} ({link.id}, {contact.dist:.2f} Å)"
        clash = contact.dist < link.rt.bonds[0].value * _CLASH and not is_near_disulfide(contact, search, structure)
        if clash or full(ends):
            clashes.setdefault(key, label)
            continue
        known.add(key)
        full.add(ends)
        connection.type = gemmi.ConnectionType.Disulf if link.id == "disulf" else gemmi.ConnectionType.Covale
        same = contact.image_idx == 0 and a.pos.dist(b.pos) < contact.dist + 0.01
        connection.asu = gemmi.Asu.Same if same else gemmi.Asu.Different
        structure.connections.append(connection)
        (added if same else across).append(label)
    if added:
        notes.append(f"{counted(len(added), 'link')} found, not named in the model, restrained: {listed(added, '; ')}")
    if across:
        what = counted(len(across), "link")
        notes.append(f"{what} to symmetry mates found, not named in the model: {listed(across, '; ')}")
    if clashes:
        notes.append(Caution(
            f"{counted(len(clashes), 'contact')} where a link would fit {are(len(clashes))} taken for clashes, as the "
            f"atoms lie too close or have all their bonds: {listed(list(clashes.values()), '; ')}"
        ))
    return notes


def _reach(link: gemmi.ChemLink) -> float:
    """How many times its length a link may have that the model does not name."""
    ends = link.side1.comp, link.side2.comp
    rare = all(ends) and not all(gemmi.find_tabulated_residue(name).is_standard() for name in ends)
    return LONGEST if rare else _MARGIN


def _address(chain: gemmi.Chain, residue: gemmi.Residue, atom: gemmi.Atom) -> gemmi.AtomAddress:
    return gemmi.AtomAddress(chain.name, residue.seqid, residue.name, atom.name, atom.altloc)


def _is_polymer_link(one: gemmi.CRA, two: gemmi.CRA) -> bool:
    """Whether the chain of a polymer itself makes this bond."""
    names = one.atom.name, two.atom.name
    forwards = names in POLYMER_BONDS
    if not forwards and names[::-1] not in POLYMER_BONDS:
        return False
    residue, other = one.residue, two.residue
    if residue.entity_type != gemmi.EntityType.Polymer or residue.subchain != other.subchain:
        return False
    neighbour = one.chain.next_residue(residue) if forwards else one.chain.previous_residue(residue)
    return neighbour is not None and neighbour.seqid == other.seqid
