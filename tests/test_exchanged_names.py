"""Ligands with exchanged names are restrained by their bonds, where these fit the dictionary in one way."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from joined import drawn, empty

from arrayrefine.hydrogens.sources import add_hydrogens
from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import load_monomers
from arrayrefine.options import RidingHydrogens
from arrayrefine.topology.build import build_restraints
from arrayrefine.topology.exchanged_names import name_by_bonds
from arrayrefine.topology.name_symmetry import Skeleton


def ligand(name: str, exchanged: dict[str, str], hydrogens: bool = False) -> gemmi.Structure:
    """A component as drawn, of which some atoms have the names of others."""
    structure, chain, residue = empty(), gemmi.Chain("A"), gemmi.Residue()
    residue.name, residue.seqid, residue.het_flag = name, gemmi.SeqId("1"), "H"
    residue.entity_type = gemmi.EntityType.NonPolymer
    places, elements = drawn(name)
    for key, place in places.items():
        if elements[key] != "H" or hydrogens:
            atom = gemmi.Atom()
            atom.name, atom.element, atom.b_iso = exchanged.get(key, key), gemmi.Element(elements[key]), 20.0
            atom.pos = gemmi.Position(*(place + 40.0).tolist())
            residue.add_atom(atom)
    chain.add_residue(residue)
    structure[0].add_chain(chain)
    return structure


def longest(structure: gemmi.Structure) -> tuple[float, list[str]]:
    """By how much the longest bond is longer than in the dictionary, Å, hydrogens added; and the notes."""
    model = read_model(structure)
    library = load_monomers(model.structure[0].get_all_residue_names())
    model, _, _ = add_hydrogens(model, model.crystal, library, RidingHydrogens())
    found = build_restraints(model.structure, model.atoms, model.crystal, library)
    one, two = model.atoms.xyz[found.bonds.index.T]
    beyond = np.linalg.norm(one - two, axis=1) - found.bonds.ideal
    return float(beyond.max()), [note for note in found.notes if "exchanged" in note]


@pytest.mark.parametrize(("name", "exchanged", "told"), [
    ("GOL", {"O1": "O3", "O3": "O1"}, 1),
    ("GOL", {"O1": "O2", "O2": "O3", "O3": "O1"}, 1),
    ("EPE", {"C9": "C3", "C3": "C9"}, 1),
    ("GOL", {}, 0),
    ("GOL", {"O1": "O3", "O3": "O1", "C1": "C3", "C3": "C1"}, 0),  # the other end first is as good
])  # fmt: skip
@pytest.mark.parametrize("hydrogens", [False, True])
def test_names_follow_the_bonds(name: str, exchanged: dict[str, str], told: int, hydrogens: bool) -> None:
    beyond, notes = longest(ligand(name, exchanged, hydrogens))
    assert beyond < 0.2
    assert len(notes) == told


def names(structure: gemmi.Structure) -> list[str]:
    library = load_monomers(structure[0].get_all_residue_names())
    name_by_bonds(structure, library.monlib)
    return [atom.name for atom in structure[0][0][0]]


def test_hydrogens_go_with_their_parents_and_so_do_links() -> None:
    structure = ligand("GOL", {"O1": "O3", "O3": "O1"}, hydrogens=True)
    own = [atom.name for atom in ligand("GOL", {}, hydrogens=True)[0][0][0]]
    link = gemmi.Connection()
    link.partner1 = link.partner2 = gemmi.AtomAddress("A", gemmi.SeqId("1"), "GOL", "O3")
    structure.connections.append(link)
    other = gemmi.Connection()
    other.partner1 = other.partner2 = gemmi.AtomAddress("B", gemmi.SeqId("1"), "GOL", "O3")
    structure.connections.append(other)
    found = dict(zip(own, names(structure)))
    for oxygen, hydrogen in (("O1", "HO1"), ("O3", "HO3"), ("O2", "HO2")):
        assert found[hydrogen] == f"H{found[oxygen]}"
    assert structure.connections[0].partner1.atom_name == found["O1"]
    assert structure.connections[1].partner1.atom_name == "O3"  # of another ligand


def test_a_hydrogen_far_from_all_gets_none_that_another_has() -> None:
    structure = ligand("GOL", {"O1": "O3", "O3": "O1"}, hydrogens=True)
    residue = structure[0][0][0]
    own = [atom.name for atom in ligand("GOL", {}, hydrogens=True)[0][0][0]]
    far = own.index("HO1")
    residue[far].pos += gemmi.Position(9.0, 9.0, 9.0)
    found = names(structure)
    assert sorted(found) == sorted(own)
    for oxygen, hydrogen in (("O1", "HO1"), ("O2", "HO2"), ("O3", "HO3")):
        if own.index(hydrogen) != far:
            assert found[own.index(hydrogen)] == f"H{found[own.index(oxygen)]}"


def incomplete(residue: gemmi.Residue) -> None:
    del residue[[atom.name for atom in residue].index("O2")]


def split(residue: gemmi.Residue) -> None:
    for atom in residue:
        atom.altloc = "A"


def broken(residue: gemmi.Residue) -> None:
    residue["O2"][0].pos += gemmi.Position(2.0, 2.0, 2.0)


def test_a_dictionary_without_hydrogens_tells_no_orders_of_bonds() -> None:
    """Names that bonds alone would give back stay."""
    structure = ligand("GOL", {"O1": "O3", "O3": "O1"})
    before = [atom.name for atom in structure[0][0][0]]
    library = load_monomers(["GOL"])
    assert Skeleton.of(library.monlib.monomers["GOL"]) is not None
    library.monlib.monomers["GOL"].remove_hydrogens()
    assert Skeleton.of(library.monlib.monomers["GOL"]) is None
    assert not name_by_bonds(structure, library.monlib)
    assert [atom.name for atom in structure[0][0][0]] == before


@pytest.mark.parametrize("change", [incomplete, split, broken])
def test_what_is_not_sure_keeps_its_names(change) -> None:  # type: ignore[no-untyped-def]
    structure = ligand("GOL", {"O1": "O3", "O3": "O1"})
    change(structure[0][0][0])
    before = [atom.name for atom in structure[0][0][0]]
    assert names(structure) == before


@pytest.mark.parametrize(("hydrogens", "expected"), [
    ((3, 2, 3), {"C1": "C2", "C2": "C1", "C3": "C3"}),  # propane
    ((3, 1, 2), None),  # propene: which end is which is not seen
])  # fmt: skip
def test_bonds_that_fit_in_several_ways_tell_nothing(
    hydrogens: tuple[int, int, int], expected: dict[str, str] | None
) -> None:
    drawn_so = Skeleton(("C1", "C2", "C3"), tuple(("C", count) for count in hydrogens), ((1,), (0, 2), (1,)))
    found = drawn_so.named_as([(1, 2), (0,), (0,)])  # C1 lies between the others
    assert found == expected
