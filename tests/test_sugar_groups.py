"""Sugars told by their bonds, so that links of sugars apply."""

from __future__ import annotations

import gemmi
import pytest

from arrayrefine.monomers import library_for, load_monomers
from arrayrefine.topology.sugar_groups import set_sugar_groups, sugar_group


def component(name: str) -> gemmi.ChemComp:
    return load_monomers([name]).monlib.monomers[name]


def without(known: gemmi.ChemComp, *names: str) -> gemmi.ChemComp:
    """A component that lacks some atoms."""
    for k in reversed(range(len(known.atoms))):
        if known.atoms[k].id in names:
            del known.atoms[k]
    for k in reversed(range(len(known.rt.bonds))):
        if {known.rt.bonds[k].id1.atom, known.rt.bonds[k].id2.atom} & set(names):
            del known.rt.bonds[k]
    return known


@pytest.mark.parametrize(
    ("name", "group"),
    [("NAG", "pyranose"), ("BMA", "pyranose"), ("FUC", "pyranose"), ("BOG", "pyranose"), ("SIA", "ketopyranose")],
)
def test_sugars_are_told_by_their_bonds(name: str, group: str) -> None:
    assert sugar_group(component(name)) == group


@pytest.mark.parametrize("name", ["MES", "PRO", "ATP", "HEM", "GOL", "TRP"])
def test_what_is_no_sugar_has_no_such_group(name: str) -> None:
    assert sugar_group(component(name)) == ""


def test_a_sugar_lacks_what_a_link_replaces_and_keeps_oxygens_elsewhere() -> None:
    assert sugar_group(without(component("NAG"), "O1", "HO1")) == "pyranose"
    assert sugar_group(without(component("BMA"), "O2", "O3")) == ""


def test_what_has_two_branches_at_its_anomeric_carbon_is_no_pyranose() -> None:
    """As a lactol with a methyl group there."""
    lactol = component("BMA")
    (hydrogen,) = (atom for atom in lactol.atoms if atom.id == "H1")
    assert hydrogen.is_hydrogen()
    hydrogen.el = gemmi.Element("C")
    assert sugar_group(lactol) == ""


def test_only_what_is_called_nothing_else_becomes_a_sugar() -> None:
    library = load_monomers(["BMA", "NAG"]).monlib
    library.monomers["BMA"].set_group("non-polymer")
    library.monomers["NAG"].set_group("peptide")
    (note,) = set_sugar_groups(library, ["BMA", "NAG"])
    assert note.startswith("component BMA is a pyranose")
    assert library.monomers["BMA"].group == gemmi.ChemComp.Group.Pyranose
    assert library.monomers["NAG"].group == gemmi.ChemComp.Group.Peptide


def test_a_sugar_of_the_model_has_the_link_to_asparagine_of_the_library() -> None:
    structure = gemmi.Structure()
    structure.add_model(gemmi.Model(1))
    chain = structure[0].add_chain("A")
    for number, (name, called) in enumerate((("ASN", "ASN"), ("NAG", "QQQ")), 1):
        residue = gemmi.Residue()
        residue.name, residue.seqid = called, gemmi.SeqId(str(number))
        for known in component(name).atoms:
            if not known.is_hydrogen() and known.id not in ("OXT", "O1"):
                atom = gemmi.Atom()
                atom.name, atom.element, atom.pos = known.id, known.el, known.xyz
                residue.add_atom(atom)
        chain.add_residue(residue)
    library = library_for(structure, [], None, "shape")
    one, two = structure[0]["A"]
    link, *_ = library.monlib.match_link(one, "ND2", "\0", two, "C1", "\0", 0.0)
    assert link is not None
    assert link.id == "pyr-ASN"
    assert any("QQQ is a pyranose" in note for note in library.notes)
