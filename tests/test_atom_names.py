"""Names of atoms: matched with those of the dictionary, and refused where that is of another compound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest

from arrayrefine.errors import MonomerError
from arrayrefine.hydrogens.sources import with_hydrogens
from arrayrefine.io.models.reading import Model, read_model
from arrayrefine.monomers import EMBEDDED, MonomerLibrary, library_for, missing_components_message
from arrayrefine.options import Options
from arrayrefine.restraints import Restraints
from arrayrefine.topology.build import build_restraints
from arrayrefine.topology.links import with_found_links


def _component(name: str) -> gemmi.ChemComp:
    path = EMBEDDED / name[0].lower() / f"{name}.cif"
    return gemmi.make_chemcomp_from_block(gemmi.cif.read(str(path))[-1])


def _ligand(
    name: str, called: dict[str, str] | None = None, without: tuple[str, ...] = (), conformers: tuple[str, ...] = ()
) -> Model:
    """A component as its dictionary has it, with other names for some of its atoms; conformers where named."""
    structure = gemmi.Structure()
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(60.0, 60.0, 60.0, 90.0, 90.0, 90.0), "P 1"
    chain = gemmi.Chain("A")
    residue = gemmi.Residue()
    residue.name, residue.seqid, residue.het_flag = name, gemmi.SeqId("1"), "H"
    for known in _component(name).atoms:
        if known.is_hydrogen() or known.id in without:
            continue
        for altloc in conformers or ("\0",):
            atom = gemmi.Atom()
            atom.name, atom.element = (called or {}).get(known.id, known.id), known.el
            atom.pos, atom.altloc, atom.b_iso = gemmi.Position(*known.xyz.tolist()), altloc, 20.0
            atom.occ = 1.0 / max(len(conformers), 1)
            residue.add_atom(atom)
    chain.add_residue(residue)
    structure.add_model(gemmi.Model(1))
    structure[0].add_chain(chain)
    return read_model(structure)


def _library(model: Model, unknown: str = "error", restraints: tuple[Path, ...] = ()) -> MonomerLibrary:
    return library_for(model.structure, restraints, None, unknown)  # type: ignore[arg-type]


def _restraints(model: Model, library: MonomerLibrary, unknown: str = "error") -> Restraints:
    return build_restraints(model.structure, model.atoms, model.crystal, library, unknown=unknown)  # type: ignore


STARS = {"C1'": "C1*", "C2'": "C2*", "O2'": "O2*", "C3'": "C3*", "O3'": "O3*", "C4'": "C4*", "O4'": "O4*"}
ODD = {"C2": "C21", "C3": "C22", "O3": "OX"}


@pytest.mark.parametrize(
    ("name", "called", "said"),
    [
        ("ATP", STARS, "7 atoms of ligands are named otherwise in the dictionary"),
        ("AMP", {"O1P": "OP1", "O2P": "OP2"}, "A/AMP 1/OP1 as O1P, A/AMP 1/OP2 as O2P"),
        ("NAG", {"O5": "O"}, "1 atom of ligands is named otherwise in the dictionary, taken so: A/NAG 1/O as O5"),
        ("PO4", {"O1": "OA", "O2": "OB"}, "A/PO4 1/OA as O1, A/PO4 1/OB as O2"),
        ("ALA", {}, ""),
        ("ALA", {"O": "OC1", "OXT": "OC2"}, "A/ALA 1/OC1 as O, A/ALA 1/OC2 as OXT"),
        ("ALA", {"O": "O1", "OXT": "O2"}, "A/ALA 1/O1 as O, A/ALA 1/O2 as OXT"),
    ],
)
@pytest.mark.parametrize("conformers", [(), ("A", "B")])
def test_trivial_names_are_matched(name: str, called: dict[str, str], said: str, conformers: tuple[str, ...]) -> None:
    """Old marks, oxygens of phosphates, and atoms that their neighbours tell: the restraints are those of new names."""
    model, renamed = _ligand(name, conformers=conformers), _ligand(name, called, conformers=conformers)
    expected = _restraints(model, _library(model))
    library = _library(renamed)
    found = _restraints(renamed, library)
    assert not found.held.any()
    assert len(expected.bonds.index) > 3
    np.testing.assert_array_equal(np.sort(found.bonds.index), np.sort(expected.bonds.index))
    np.testing.assert_allclose(found.bonds.ideal, expected.bonds.ideal, atol=0.15)
    assert any(said in note for note in found.notes) if said else found.notes == expected.notes
    assert [atom.name for atom in renamed.structure[0][0][0]] == renamed.atoms.identity.atom_name.tolist()


def test_hydrogens_are_found_beside_old_names() -> None:
    model = _ligand("ATP", STARS)
    library = _library(model)
    complete, _, _ = with_hydrogens(model, model.crystal, library, Options())
    names = complete.atoms.identity.atom_name
    assert {"C1*", "H1'"} <= set(names.tolist())
    assert not _restraints(complete, library).held.any()


@pytest.mark.parametrize("source", ["library", "file"])
def test_a_ligand_that_is_another_compound_is_refused(tmp_path: Path, source: str) -> None:
    model = _ligand("NAG", ODD, ("O1",))
    embedded = EMBEDDED / "n" / "NAG.cif"
    path = embedded if source == "library" else tmp_path / "mine.cif"
    if source == "file":
        path.write_bytes(embedded.read_bytes())
    with pytest.raises(MonomerError) as error:
        _library(model, restraints=() if source == "library" else (path,))
    text = str(error.value)
    assert text.startswith(f"A/NAG 1: 3 of its 14 atoms (C22, OX, C21) are not in the component NAG of {path}")
    assert all(remedy in text for remedy in ("another compound", "--restraints", "--unknown hold"))


def test_it_can_be_held_as_a_whole() -> None:
    model = _ligand("NAG", ODD)
    library = _library(model, "hold")
    assert library.missing == ("NAG",)
    assert "NAG" not in library.sources
    assert any("3 of its 15 atoms" in note and "not used" in note for note in library.notes)
    complete, _, _ = with_hydrogens(model, model.crystal, library, Options())
    assert len(complete.atoms) == len(model.atoms)
    found = _restraints(model, library, "hold")
    assert found.held.all()
    assert not len(found.bonds.index)


def test_names_that_several_places_fit_are_refused() -> None:
    """Benzamidine has =NH and -NH2 on one carbon: which is which is not known."""
    with pytest.raises(MonomerError, match=r"A/BEN 1: 2 of its 9 atoms \(NA, NB\)"):
        _library(_ligand("BEN", {"N1": "NA", "N2": "NB"}))


def test_links_are_told_and_found_under_the_names_of_the_model() -> None:
    """A glycan whose O4 has another name: found between the two sugars, and written as the model names it."""
    model = _ligand("NAG", {"O4": "OX4"}, ("O1",))
    structure = model.structure.clone()
    second = structure[0][0][0].clone()
    second.seqid = gemmi.SeqId("2")
    place = {atom.name: atom.pos for atom in structure[0][0][0]}
    # C1 of the second where OX4 of the first bonds it, 1.43 Å away along C4 - OX4 and out of the first
    outwards = place["OX4"] - place["C4"]
    shift = place["OX4"] + outwards * (1.43 / outwards.length()) - place["C1"]
    for atom in second:
        atom.pos += shift
    structure[0][0].add_residue(second)
    model = read_model(structure)
    library = _library(model)
    linked, notes = with_found_links(model, model.crystal, library.monlib)
    assert len(notes) == 1
    (link,) = linked.structure.connections
    assert {link.partner1.atom_name, link.partner2.atom_name} == {"OX4", "C1"}
    found = _restraints(linked, library)
    names = model.atoms.identity.atom_name[found.bonds.index]
    assert [row for row in names.tolist() if sorted(row) == ["C1", "OX4"]]
    assert not [note for note in found.notes if "left out" in note]


def test_old_names_in_a_polymer_are_matched(case: Callable[[str], Path]) -> None:
    """All of a transfer RNA with the stars of old files: restraints and hydrogens are those of new names."""
    path = case("1ehz") / "model.pdb"
    new = read_model(path)
    structure = gemmi.read_structure(str(path))
    for atom in (atom for chain in structure[0] for residue in chain for atom in residue):
        atom.name = atom.name.replace("'", "*")
    old = read_model(structure)
    restraints = []
    for model in (new, old):
        library = _library(model)
        complete, _, _ = with_hydrogens(model, model.crystal, library, Options())
        restraints.append(_restraints(complete, library))
    expected, found = restraints
    assert not found.held.any()
    np.testing.assert_array_equal(found.bonds.index, expected.bonds.index)
    np.testing.assert_array_equal(found.bonds.ideal, expected.bonds.ideal)
    np.testing.assert_array_equal(found.torsions.index, expected.torsions.index)
    (note,) = [note for note in found.notes if "named otherwise" in note]
    assert "atoms of polymers are named otherwise in the dictionary, taken so: A/G 1/O5* as O5'" in note


def _peptide(*residues: str, called: dict[str, str]) -> Model:
    """Residues far from each other, in sequence, of one polymer."""
    structure = _ligand(residues[0], called).structure
    for number, name in enumerate(residues[1:], start=2):
        residue = _ligand(name, called).structure[0][0][0].clone()
        residue.seqid = gemmi.SeqId(str(number))
        for atom in residue:
            atom.pos += gemmi.Position(8.0 * number, 0.0, 0.0)
        structure[0][0].add_residue(residue)
    for residue in structure[0][0]:
        residue.het_flag = "A"
    return read_model(structure)


def test_names_of_other_programs_in_a_protein() -> None:
    model = _peptide("ILE", "LEU", "ALA", called={"CD1": "CD", "O": "OT1", "OXT": "OT2"})
    (note,) = [note for note in _restraints(model, _library(model)).notes if "named otherwise" in note]
    assert "A/ILE 1/CD as CD1" in note
    assert "OT1 as O, " in note


def test_sulphate_by_its_old_name_is_named_in_the_error() -> None:
    assert missing_components_message({"SUL": ["A 97"]}).endswith("rename them in the model: in the PDB SUL is SO4.")
    assert missing_components_message({"Ala": ["A 1"], "HOH": ["A 2"]}).endswith("in the PDB Ala is ALA.")
    ions = missing_components_message({"Na+": ["A 1"], "CLA": ["A 2"]})
    assert "in the PDB Na+ is NA with an atom NA, where it is an ion, CLA is CL with an atom CL, where" in ions


def test_a_polymer_of_other_compounds_is_refused(tmp_path: Path) -> None:
    """A dictionary of the same name says that GUA is glutaric acid; without it there is none."""
    called = {"G": "GUA"}
    structure = _peptide("G", "G", "G", called={}).structure
    for residue in structure[0][0]:
        residue.name = called[residue.name]
    acid = (EMBEDDED / "g" / "GLU.cif").read_text().replace("GLU", "GUA")
    path = tmp_path / "GUA.cif"
    path.write_text(acid)
    with pytest.raises(MonomerError, match=r"A/GUA 1: \d+ of its \d+ atoms .* in the PDB GUA is G or DG\.$"):
        _library(read_model(structure), restraints=(path,))
    held = _library(read_model(structure), "hold", restraints=(path,))
    assert held.missing == ("GUA",)
    advice = "in the PDB GUA is G or DG"
    assert [note.endswith(advice) for note in held.notes] == [True]
    restraints = _restraints(read_model(structure), held, "hold")
    assert any(note.startswith("component GUA has") and note.endswith(advice) for note in restraints.notes)
    with pytest.raises(MonomerError, match=r"GUA \(residue .*has no restraints.* in the PDB GUA is G or DG\.$"):
        _restraints(read_model(structure), _library(read_model(structure)))


def test_ends_of_nucleic_acids_as_amber_names_them_are_told() -> None:
    said = missing_components_message({"U5": ["A/U5 1"], "DG3": ["B/DG3 9"], "XYZ": ["C/XYZ 1"]})
    assert said.endswith("in the PDB U5 is U, DG3 is DG.")


def test_a_nucleotide_is_not_taken_for_the_nucleoside_of_that_name(tmp_path: Path) -> None:
    """URI is uridine in libraries, without a phosphate, and a residue of RNA in CNS."""
    structure = _peptide("U", "U", "U", called={}).structure
    for residue in structure[0][0]:
        residue.name = "URI"
    text = (EMBEDDED / "u" / "U.cif").read_text().replace("data_comp_U", "data_comp_URI")
    rows = [line.split() for line in text.splitlines() if not set(line.split()) & PHOSPHATE]
    nucleoside = "\n".join(" ".join("URI" if word == "U" else word for word in row) for row in rows)
    path = tmp_path / "URI.cif"
    path.write_text(nucleoside)
    assert not _library(read_model(structure), restraints=(path,)).missing  # of RNA, with an odd phosphate
    path.write_text(nucleoside.replace(" RNA ", " non-polymer "))
    with pytest.raises(MonomerError, match=r"A/URI 1: 4 of its 21 atoms \(.*P.* in the PDB URI is U\.$"):
        _library(read_model(structure), restraints=(path,))


PHOSPHATE = {"P", "OP1", "OP2", "OP3"}


def test_a_residue_with_a_few_atoms_more_keeps_its_restraints() -> None:
    """A modification that was not given a name of its own."""
    structure = _peptide("ALA", "SER", "ALA", called={}).structure
    extra = structure[0][0][1][0].clone()
    extra.name, extra.element = "P", gemmi.Element("P")
    extra.pos += gemmi.Position(0.0, 0.0, 5.0)
    structure[0][0][1].add_atom(extra)
    model = read_model(structure)
    found = _restraints(model, _library(model))
    assert model.atoms.identity.atom_name[found.held].tolist() == ["P"]
