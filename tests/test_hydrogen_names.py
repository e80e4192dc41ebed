"""Hydrogens with old names: they get the restraints of those that the dictionary has at their parents."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import EMBEDDED, library_for
from arrayrefine.restraints import Restraints
from arrayrefine.topology.build import build_restraints
from arrayrefine.topology.hydrogen_names import use_dictionary_names_of_hydrogens

_OLD = {"HB2": "2HB", "HB3": "3HB", "H": "1H", "H2": "2H", "H3": "3H"}


def _alanine(called: dict[str, str]) -> gemmi.Structure:
    structure = gemmi.Structure()
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(40.0, 40.0, 40.0, 90.0, 90.0, 90.0), "P 1"
    residue = gemmi.Residue()
    residue.name, residue.seqid = "ALA", gemmi.SeqId("1")
    component = gemmi.make_chemcomp_from_block(gemmi.cif.read(str(EMBEDDED / "a" / "ALA.cif"))[-1])
    for known in component.atoms:
        atom = gemmi.Atom()
        atom.name, atom.element, atom.b_iso = called.get(known.id, known.id), known.el, 20.0
        atom.pos = gemmi.Position(*known.xyz.tolist())
        residue.add_atom(atom)
    chain = gemmi.Chain("A")
    chain.add_residue(residue)
    structure.add_model(gemmi.Model(1))
    structure[0].add_chain(chain)
    return structure


def _restraints(structure: gemmi.Structure) -> Restraints:
    model = read_model(structure)
    library = library_for(model.structure, (), None, "error")
    return build_restraints(model.structure, model.atoms, model.crystal, library)


def test_they_are_restrained_as_those_with_the_names_of_the_dictionary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLIBD_MON", raising=False)
    found, expected = _restraints(_alanine(_OLD)), _restraints(_alanine({}))
    assert any("5 hydrogens are named otherwise in the dictionary" in note for note in found.notes)
    np.testing.assert_array_equal(found.bonds.index, expected.bonds.index)
    np.testing.assert_array_equal(found.angles.index, expected.angles.index)
    assert len(found.angles.ideal) > 10


@pytest.mark.parametrize("called", [{}, {"HB1": "H1A", "HB2": "D1", "HB3": "D2"}])
def test_names_of_the_dictionary_and_residues_with_deuterium_stay(called: dict[str, str]) -> None:
    structure = _alanine(called)
    for atom in structure[0][0][0]:
        atom.element = gemmi.Element("D" if atom.name.startswith("D") else atom.element.name)
    names = [atom.name for atom in structure[0][0][0]]
    library = library_for(structure, (), None, "error")
    assert not use_dictionary_names_of_hydrogens(structure, library.monlib)
    assert [atom.name for atom in structure[0][0][0]] == names


def test_more_than_the_dictionary_has_there_stay() -> None:
    structure = _alanine({"HB1": "1HB", "HB2": "2HB", "HB3": "3HB"})
    residue = structure[0][0][0]
    more = residue["CB"][0].clone()
    more.name, more.element = "4HB", gemmi.Element("H")
    more.pos.x += 1.0
    residue.add_atom(more)
    library = library_for(structure, (), None, "error")
    assert not use_dictionary_names_of_hydrogens(structure, library.monlib)


def test_a_hydrogen_too_many_is_tied_to_the_nearest_atom() -> None:
    """CA, which comes first in the model, is within reach of it as well."""
    structure = _alanine({})
    residue = structure[0]["A"][0]
    (ca,), (cb,) = residue["CA"], residue["CB"]
    extra = residue["HB1"][0].clone()
    extra.name, extra.pos = "HX", cb.pos + (ca.pos - cb.pos) * 0.4
    residue.add_atom(extra)
    restraints = _restraints(structure)
    names = [atom.name for atom in residue]
    one, two = names.index("CB"), names.index("HX")
    bonded = restraints.bonds.index.tolist()
    assert [sorted(pair) for pair in bonded if two in pair] == [[one, two]]
    assert restraints.bonds.ideal[bonded.index([one, two])] == pytest.approx(0.95)
    (note,) = (note for note in restraints.notes if "does not name" in note)
    assert note.endswith("is tied to the nearest atom by a bond of 0.95 Å: A/ALA 1/HX")
    assert not restraints.held.any()


def _called_with_one_astray(names: dict[str, str], like: str, astray: str) -> list[str]:
    """What the atoms of an alanine are called in the end, one hydrogen like another being far from all."""
    structure = _alanine(names)
    residue = structure[0]["A"][0]
    extra = residue[like][0].clone()
    extra.name, extra.pos = astray, extra.pos + gemmi.Position(9.0, 0.0, 0.0)
    residue.add_atom(extra)
    library = library_for(structure, (), None, "error")
    use_dictionary_names_of_hydrogens(structure, library.monlib)
    return [atom.name for atom in structure[0]["A"][0]]


def test_a_hydrogen_far_from_all_keeps_its_name() -> None:
    called = _called_with_one_astray(_OLD, "1H", "9H")
    assert "9H" in called
    assert not set(called) & set(_OLD.values())


def test_a_name_that_a_hydrogen_far_from_all_has_is_not_given_twice() -> None:
    called = _called_with_one_astray({"HB2": "2HB"}, "2HB", "HB2")
    assert len(set(called)) == len(called)
