"""Sulfurs of cysteines that lie too near each other: a disulfide where all else looks like one, else a clash."""

from __future__ import annotations

from collections.abc import Callable

import gemmi
import pytest
from joined import joined

from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import load_monomers
from arrayrefine.topology.links import with_found_links

CYS = ("CYS", "SG", "HG")


def pair(length: float) -> gemmi.Structure:
    """Two cysteines whose sulfurs are as far apart, the rest of them as in a disulfide with a torsion of 90°."""
    structure, _ = joined(CYS, CYS, 2.03)
    structure.connections.pop(0)
    for atom in structure[0]["B"][0]:
        x, y, z = atom.pos.tolist()
        atom.pos = gemmi.Position(80.0 - y, x, z)
    sulfurs = [chain[0]["SG"][0] for chain in structure[0]]
    for sulfur, sign in zip(sulfurs, (1.0, -1.0)):
        sulfur.pos += gemmi.Position(0.0, 0.0, sign * (2.03 - length) / 2.0)
    return structure


def links(structure: gemmi.Structure) -> tuple[int, bool]:
    """Number of links that are found, and whether a clash is told."""
    model = read_model(structure)
    library = load_monomers(model.structure[0].get_all_residue_names())
    linked, notes = with_found_links(model, model.crystal, library.monlib)
    return len(linked.structure.connections), any("taken for clashes" in note for note in notes)


@pytest.mark.parametrize(("length", "found"), [(2.0, 1), (1.51, 1), (1.3, 1), (0.9, 0)])
def test_sulfurs_out_of_place_make_a_disulfide(length: float, found: int) -> None:
    assert links(pair(length)) == (found, not found)


def halves(structure: gemmi.Structure) -> None:
    for chain in structure[0]:
        for atom in chain[0]:
            atom.occ = 0.5


def passed(structure: gemmi.Structure) -> None:
    """Each sulfur beyond the other one."""
    one, two = (chain[0]["SG"][0] for chain in structure[0])
    one.pos, two.pos = gemmi.Position(*two.pos.tolist()), gemmi.Position(*one.pos.tolist())


def third(structure: gemmi.Structure) -> None:
    """Another cysteine at one of the two, as far as in a disulfide."""
    other = structure[0]["B"].clone()
    other.name = "C"
    middle = structure[0]["A"][0]["SG"][0].pos
    for atom in other[0]:
        atom.pos = gemmi.Position(middle.x - 1.8 + (middle.x - atom.pos.x), atom.pos.y, atom.pos.z)
    structure[0].add_chain(other)


def metal(structure: gemmi.Structure) -> None:
    residue = gemmi.Residue()
    residue.name, residue.seqid, residue.het_flag = "ZN", gemmi.SeqId("1"), "H"
    atom = gemmi.Atom()
    atom.name, atom.element, atom.b_iso = "ZN", gemmi.Element("Zn"), 20.0
    atom.pos = structure[0]["A"][0]["SG"][0].pos + gemmi.Position(2.3, 0.0, 0.0)
    residue.add_atom(atom)
    chain = gemmi.Chain("Z")
    chain.add_residue(residue)
    structure[0].add_chain(chain)


def bent(structure: gemmi.Structure) -> None:
    """CB nearer to that of the other than in any disulfide."""
    structure[0]["B"][0]["CB"][0].pos = structure[0]["A"][0]["CB"][0].pos + gemmi.Position(0.0, 0.0, 2.2)


def bare(structure: gemmi.Structure) -> None:
    """One that ends at CA but for its sulfur: what its shape is cannot be told."""
    residue = structure[0]["B"][0]
    del residue[[atom.name for atom in residue].index("CB")]


def linked(structure: gemmi.Structure) -> None:
    """Another cysteine that a record bonds to one of the two, too far away to be seen."""
    other = structure[0]["B"].clone()
    other.name = "C"
    for atom in other[0]:
        atom.pos += gemmi.Position(-9.0, 0.0, 0.0)
    structure[0].add_chain(other)
    link = gemmi.Connection()
    link.name, link.type = "covale1", gemmi.ConnectionType.Covale
    link.partner1, link.partner2 = (gemmi.AtomAddress(name, gemmi.SeqId("1"), "CYS", "SG") for name in "CB")
    structure.connections.append(link)


@pytest.mark.parametrize("change", [halves, passed, third, metal, bent, bare, linked])
def test_others_are_clashes(change: Callable[[gemmi.Structure], None]) -> None:
    structure = pair(1.4)
    change(structure)
    assert links(structure)[1]


def test_a_sulfur_too_near_its_own_mate_makes_none() -> None:
    """A disulfide with a symmetry mate has to be named, as all else about it cannot be seen here."""
    structure = pair(1.4)
    structure.spacegroup_hm = "P 1 1 2"
    sulfur = structure[0]["A"][0]["SG"][0].pos
    del structure[0]["B"]
    for atom in structure[0]["A"][0]:
        atom.pos -= gemmi.Position(sulfur.x - 0.7, sulfur.y, sulfur.z)
    assert links(structure) == (0, True)
