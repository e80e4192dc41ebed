"""Clashes between molecules are no links; cyclic peptides, isopeptides and disulfides are."""

from __future__ import annotations

import gemmi
import pytest

from arrayrefine.example import MODEL
from arrayrefine.io.models.reading import Model, read_model
from arrayrefine.monomers import load_monomers
from arrayrefine.topology.build import build_restraints
from arrayrefine.topology.links import with_found_links
from arrayrefine.topology.valence import full_atoms


def _strand(first: int, count: int) -> gemmi.Structure:
    """Residues of the embedded crystal in a large cell of their own."""
    source = gemmi.read_structure(str(MODEL))
    structure = gemmi.Structure()
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(90.0, 90.0, 90.0, 90.0, 90.0, 90.0), "P 1"
    chain = gemmi.Chain("A")
    for residue in source[0]["A"]:
        if first <= (residue.seqid.num or 0) < first + count and residue.entity_type != gemmi.EntityType.Water:
            kept = residue.clone()
            for k in reversed(range(len(kept))):
                if kept[k].altloc not in ("\0", "A"):
                    del kept[k]
            for atom in kept:
                atom.altloc = "\0"
            chain.add_residue(kept)
    structure.add_model(gemmi.Model(1))
    structure[0].add_chain(chain)
    return structure


def _onto(moved: gemmi.Residue, name: str, target: gemmi.Position, distance: float) -> gemmi.Position:
    """The shift that brings an atom to a distance of a position."""
    wanted = target + gemmi.Position(0.6 * distance, 0.0, 0.8 * distance)
    return wanted - moved.sole_atom(name).pos


def _pair(end: tuple[int, str], to: tuple[int, str], distance: float, mate: bool) -> Model:
    """Two strands of five residues, an atom of the second near one of the first, or a cell further."""
    structure = _strand(41, 5)
    other = _strand(41, 5)[0][0]
    other.name = "B"
    shift = _onto(other[to[0]], to[1], structure[0][0][end[0]].sole_atom(end[1]).pos, distance)
    shift += gemmi.Position(90.0, 0.0, 0.0) if mate else gemmi.Position(0.0, 0.0, 0.0)
    for residue in other:
        for atom in residue:
            atom.pos += shift
    structure[0].add_chain(other)
    return read_model(structure)


def _found(model: Model) -> tuple[list[str], list[str]]:
    """What is said of links and clashes that touch the two atoms."""
    library = load_monomers(model.structure[0].get_all_residue_names())
    linked, notes = with_found_links(model, model.crystal, library.monlib)
    restraints = build_restraints(linked.structure, linked.atoms, linked.crystal, library)
    assert {note for note in notes if "clash" in note} <= set(restraints.notes)  # said once in the end
    return [f"{c.partner1} - {c.partner2}" for c in linked.structure.connections], notes


@pytest.mark.parametrize("mate", [False, True])
@pytest.mark.parametrize(
    ("end", "to", "distance", "joined"),
    [
        ((2, "C"), (2, "N"), 1.5, False),  # both in the middle of a chain
        ((4, "C"), (2, "N"), 1.4, False),  # the C of an end, which is free, and an N that is not
        ((4, "C"), (0, "N"), 1.4, True),  # two free ends
        ((4, "C"), (0, "N"), 0.9, False),  # but not on top of each other
    ],
)
def test_backbones_bond_at_their_ends_only(
    end: tuple[int, str], to: tuple[int, str], distance: float, joined: bool, mate: bool
) -> None:
    links, notes = _found(_pair(end, to, distance, mate))
    wanted = {f"A/{end[1]}", f"B/{to[1]}"}
    pairs = [{f"{e[0]}/{e.split('/')[-1]}" for e in link.split(" - ")} for link in links]
    assert (wanted in pairs) == joined
    assert len(pairs) == joined
    clashes = [note for note in notes if "taken for clashes" in note]
    assert bool([note for note in clashes if f"{distance:.2f} Å" in note]) == (not joined)


def test_conformers_of_an_end_are_linked_each() -> None:
    """As where the first residue of a helix that goes on in the next cell is one amino acid here and another there."""
    structure = _pair((4, "C"), (0, "N"), 1.33, True).structure.clone()
    chain = structure[0]["B"]
    other = chain[0].clone()
    for residue, name, letter, occupancy in ((chain[0], chain[0].name, "A", 0.8), (other, "ALA", "B", 0.2)):
        residue.name = name
        for atom in residue:
            atom.altloc, atom.occ = letter, occupancy
    for k in reversed(range(len(other))):
        if other[k].name not in ("N", "CA", "C", "O", "CB"):
            del other[k]
    chain.add_residue(other, 1)
    structure.setup_entities()
    links, notes = _found(read_model(structure))
    assert sorted(link.split(".")[-1][0] for link in links) == ["A", "B"]
    assert not [note for note in notes if "taken for clashes" in note]


def test_a_link_that_the_model_names_stays() -> None:
    """However near: the user knows."""
    model = _pair((4, "C"), (0, "N"), 0.9, False)
    structure = model.structure.clone()
    chains = structure[0]
    connection = gemmi.Connection()
    connection.name, connection.type = "named", gemmi.ConnectionType.Covale
    connection.partner1 = gemmi.AtomAddress("A", chains[0][4].seqid, chains[0][4].name, "C")
    connection.partner2 = gemmi.AtomAddress("B", chains[1][0].seqid, chains[1][0].name, "N")
    structure.connections.append(connection)
    links, notes = _found(read_model(structure))
    assert len(links) == 1
    assert not [note for note in notes if "0.90 Å" in note]


def test_an_isopeptide_goes_to_a_free_end_alone() -> None:
    """NZ of a lysine and C: of an end, or of the middle of a chain."""
    for residue, joined in ((0, False), (-1, True)):
        structure = _strand(36, 4)
        names = [r.name for r in structure[0][0]]
        lysine = names.index("LYS")
        other = _strand(41, 3)[0][0]
        other.name = "B"
        shift = _onto(other[residue], "C", structure[0][0][lysine].sole_atom("NZ").pos, 1.4)
        for amino in other:
            for atom in amino:
                atom.pos += shift
        structure[0].add_chain(other)
        links, notes = _found(read_model(structure))
        assert bool([link for link in links if "NZ" in link]) == joined, notes
        assert bool([note for note in notes if "clashes" in note and "NZ" in note]) != joined


@pytest.mark.parametrize("mate", [False, True])
def test_an_end_with_oxt_is_no_end_of_a_link(mate: bool) -> None:
    """In a rough start NZ of a lysine lay 1.4 Å from C of the last residue of a mate, which had O and OXT."""
    model = _pair((4, "C"), (0, "N"), 1.4, mate)
    structure = model.structure.clone()
    last = structure[0][0][4]
    closing = last.sole_atom("O").clone()
    carbon, alpha = last.sole_atom("C").pos, last.sole_atom("CA").pos
    closing.name, closing.pos = "OXT", carbon - (closing.pos - carbon) + (carbon - alpha)
    last.add_atom(closing)
    links, notes = _found(read_model(structure))
    assert not links
    assert [note for note in notes if "taken for clashes" in note and "1.40 Å" in note]


def test_what_is_full() -> None:
    structure = _strand(41, 3)
    structure.setup_entities()
    numbers = [str(residue.seqid) for residue in structure[0][0]]
    one, two, three = numbers
    inside = {("A", one, "C"), ("A", two, "N"), ("A", two, "C"), ("A", three, "N")}
    assert full_atoms(structure) == inside
    connection = gemmi.Connection()
    first, _, last = structure[0][0]
    connection.partner1 = gemmi.AtomAddress("A", last.seqid, last.name, "C")
    connection.partner2 = gemmi.AtomAddress("A", first.seqid, first.name, "N")
    ends: set[tuple[str, str, str]] = {("A", three, "C"), ("A", one, "N")}
    for kind, more in ((gemmi.ConnectionType.MetalC, set()), (gemmi.ConnectionType.Covale, ends)):
        connection.type = kind
        structure.connections.clear()
        structure.connections.append(connection)
        assert full_atoms(structure) == inside | more
    for atom in structure[0][0][2]:
        atom.pos += gemmi.Position(3.0, 0.0, 0.0)
    structure.connections.clear()
    assert full_atoms(structure) == {("A", one, "C"), ("A", two, "N")}
