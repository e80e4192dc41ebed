"""Waters under the names of other programs are refined as those of the PDB are."""

from __future__ import annotations

import gemmi
import pytest

from arrayrefine.example import MODEL
from arrayrefine.io.models.reading import Model, read_model
from arrayrefine.monomers import load_monomers
from arrayrefine.topology.build import build_restraints


def _water(name: str, atoms: str, altlocs: str = "\0", link: bool = False) -> Model:
    """One residue of the named atoms, whose elements are their first letters, about 1 Å from the first."""
    structure = gemmi.Structure()
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(30.0, 30.0, 30.0, 90.0, 90.0, 90.0), "P 1"
    structure.add_model(gemmi.Model(1))
    chain, residue = gemmi.Chain("W"), gemmi.Residue()
    residue.name, residue.seqid, residue.het_flag = name, gemmi.SeqId("1"), "H"
    places = [(0.0, 0.0, 0.0), (0.96, 0.0, 0.0), (-0.24, 0.93, 0.0), (0.0, 0.0, 1.0)]
    for altloc in altlocs:
        for called, (x, y, z) in zip(atoms.split(), places):
            atom = gemmi.Atom()
            atom.name, atom.element, atom.altloc = called, gemmi.Element(called.strip("1")[0]), altloc
            atom.b_iso, atom.occ = 20.0, 1.0 / len(altlocs)
            atom.pos = gemmi.Position(10.0 + x, 10.0 + y, 10.0 + z + (1.5 if altloc == "B" else 0.0))
            residue.add_atom(atom)
    chain.add_residue(residue)
    if link:
        metal = gemmi.Residue()
        metal.name, metal.seqid, metal.het_flag = "MG", gemmi.SeqId("2"), "H"
        ion = gemmi.Atom()
        ion.name, ion.element, ion.b_iso, ion.pos = "MG", gemmi.Element("Mg"), 20.0, gemmi.Position(9.0, 8.2, 10.0)
        metal.add_atom(ion)
        chain.add_residue(metal)
        connection = gemmi.Connection()
        connection.name, connection.type = "metal1", gemmi.ConnectionType.MetalC
        connection.partner1 = gemmi.AtomAddress("W", residue.seqid, name, atoms.split()[0])
        connection.partner2 = gemmi.AtomAddress("W", metal.seqid, "MG", "MG")
        structure.connections.append(connection)
    structure[0].add_chain(chain)
    return read_model(structure)


@pytest.mark.parametrize(
    ("name", "atoms", "new"),
    [
        ("HOH", "OH2", "HOH O"),
        ("HOH", "OW0", "HOH O"),
        ("WAT", "O", "HOH O"),
        ("TIP3", "OH2 H1 H2", "HOH O H1 H2"),
        ("SOL", "OW HW1 HW2", "HOH O H1 H2"),
        ("WAT", "O H2 1H", "HOH O H2 H1"),
        ("D2O", "O D1 D2", "DOD O D1 D2"),
        ("DOD", "O1 DW1 DW2", "DOD O D1 D2"),
    ],
)
def test_waters_are_renamed(name: str, atoms: str, new: str) -> None:
    model = _water(name, atoms)
    (residue,) = model.structure[0][0]
    assert " ".join([residue.name, *(atom.name for atom in residue)]) == new
    assert model.atoms.identity.residue_name[0] == residue.name
    old = f"W/{name} 1/{atoms.split()[0]} as {residue.name}/O"
    assert f"1 water named as in other programs is renamed as in the PDB: {old}" in model.notes
    library = load_monomers([residue.name])
    restraints = build_restraints(model.structure, model.atoms, model.crystal, library)
    assert not restraints.held.any()
    assert not [note for note in restraints.notes if "does not name" in note]


def test_conformers_and_links_of_a_water_are_renamed_with_it() -> None:
    model = _water("WAT", "OH2", altlocs="AB", link=True)
    assert [atom.name for atom in model.structure[0][0][0]] == ["O", "O"]
    (link,) = model.structure.connections
    assert str(link.partner1) == "W/HOH 1/O"
    assert str(link.partner2) == "W/MG 2/MG"


@pytest.mark.parametrize(
    ("name", "atoms"),
    [
        ("SOL", "O1 O2"),  # another compound
        ("SOL", "C1"),
        ("HOH", "O H1 H2"),
        ("HOH", "O D1 D2"),
        ("HOH", "O H1 H2 H3"),  # what that is, is not known
        ("OH", "O1"),
    ],
)
def test_others_keep_their_names(name: str, atoms: str) -> None:
    model = _water(name, atoms)
    (residue,) = model.structure[0][0]
    assert [residue.name, *(atom.name for atom in residue)] == [name, *atoms.split()]
    assert not [note for note in model.notes if "renamed" in note]


def test_waters_of_a_file_are_written_under_their_new_names() -> None:
    structure = gemmi.read_structure(str(MODEL))
    for residue in (residue for chain in structure[0] for residue in chain if residue.is_water()):
        residue.name = "WAT"
        residue[0].name = "OW0"
    model = read_model(structure)
    usual = read_model(MODEL)
    assert model.atoms.identity.atom_name.tolist() == usual.atoms.identity.atom_name.tolist()
    assert model.atoms.identity.residue_name.tolist() == usual.atoms.identity.residue_name.tolist()
    (note,) = [note for note in model.notes if "renamed" in note]
    assert " and " in note
    assert " more" in note
