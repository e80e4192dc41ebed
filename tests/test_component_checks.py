"""Tests of arrayrefine.topology.component_checks."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
import pytest

from arrayrefine.errors import InputError, MonomerError
from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import EMBEDDED, load_monomers
from arrayrefine.topology.build import build_restraints
from arrayrefine.wording import Caution


@pytest.mark.parametrize(
    ("category", "item", "said"),
    [
        ("_chem_comp_angle.", None, "no angles at 9 of its 9 atoms between others"),
        ("_chem_comp_angle.", None, "more): nothing holds its shape there"),
        ("_chem_comp_angle.", "value_angle_esd", "no angles at 9 of its 9 atoms between others"),
        ("_chem_comp_plane_atom.", None, "should be flat: its angles alone hold its shape there"),
        ("_chem_comp_plane_atom.", "dist_esd", "no planes with a positive sigma, where C"),
        ("_chem_comp_tree.", None, ""),
    ],
)
def test_a_dictionary_without_angles_or_planes_is_named(
    tmp_path: Path, category: str, item: str | None, said: str
) -> None:
    """Gone, or without sigmas; where no residue has the component nothing is said."""
    document = gemmi.cif.read(str(EMBEDDED / "t" / "TYR.cif"))
    block = document.find_block("comp_TYR")
    table = block.get_mmcif_category(category)
    if item is None:
        block.find_mmcif_category(category).erase()
    else:
        block.set_mmcif_category(category, table | {item: [None] * len(table[item])})
    path = tmp_path / "TYR.cif"
    document.write_file(str(path))
    notes = [note for note in load_monomers(["TYR"], [path]).notes if "its shape" in note]
    assert len(notes) == bool(said)
    assert all(isinstance(note, Caution) and said in note and str(path) in note for note in notes)
    assert not [note for note in load_monomers(["ALA"], [path]).notes if "its shape" in note]


def test_a_plane_without_a_sigma_is_left_out_and_said(tmp_path: Path) -> None:
    document = gemmi.cif.read(str(EMBEDDED / "a" / "ACT.cif"))
    block = document.find_block("comp_ACT")
    residue = gemmi.Residue()
    residue.name, residue.seqid, residue.het_flag = "ACT", gemmi.SeqId("1"), "H"
    for name, element, *xyz in block.find("_chem_comp_atom.", ["atom_id", "type_symbol", "x", "y", "z"]):
        if element != "H":
            atom = gemmi.Atom()
            atom.name, atom.element, atom.pos = name, gemmi.Element(element), gemmi.Position(*map(float, xyz))
            residue.add_atom(atom)
    structure = gemmi.Structure()
    structure.cell = gemmi.UnitCell(30.0, 30.0, 30.0, 90.0, 90.0, 90.0)
    structure.spacegroup_hm = "P 1"
    structure.add_model(gemmi.Model(1))
    structure[0].add_chain("A").add_residue(residue)
    structure.setup_entities()
    model = read_model(structure)
    for sigma, planes in (("0.02", 1), (".", 0)):
        for row in block.find("_chem_comp_plane_atom.", ["dist_esd"]):
            row[0] = sigma
        document.write_file(str(tmp_path / "ACT.cif"))
        library = load_monomers(["ACT"], [tmp_path / "ACT.cif"])
        restraints = build_restraints(model.structure, model.atoms, model.crystal, library)
        assert len(np.unique(restraints.planes.plane)) == planes
        said = [note for note in restraints.notes if "1 plane without a positive sigma" in note]
        assert len(said) == 1 - planes


def test_an_oxt_where_the_chain_goes_on_is_warned_of(tmp_path: Path) -> None:
    """As Coot leaves one when residues are added to the end of a chain."""
    path = tmp_path / "two.pdb"
    rows = (("N", 1, -0.5, 1.4, 0.0), ("CA", 1, 0.0, 0.0, 0.0), ("C", 1, 1.5, 0.0, 0.0), ("O", 1, 2.2, 1.0, 0.0),
            ("OXT", 1, 2.2, -1.0, 0.6), ("N", 2, 2.1, -1.2, 0.0), ("CA", 2, 3.5, -1.3, 0.0), ("C", 2, 4.1, -2.7, 0.0),
            ("O", 2, 3.4, -3.7, 0.0))  # fmt: skip
    path.write_text("CRYST1   40.000   40.000   40.000  90.00  90.00  90.00 P 1\n" + "".join(
        f"ATOM  {k:5d}  {name:3s} GLY A{number:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00 10.00           {name[0]}\n"
        for k, (name, number, x, y, z) in enumerate(rows, 1)
    ))
    model = read_model(path)
    restraints = build_restraints(model.structure, model.atoms, model.crystal, load_monomers(["GLY"]))
    (said,) = [note for note in restraints.notes if "held in place: A/GLY 1/OXT" in note]
    assert isinstance(said, Caution)
    assert "OXT where the chain goes on" in said


def test_bonds_of_atoms_that_are_not_listed_and_atoms_without_elements_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ACT.cif"
    text = (EMBEDDED / "a" / "ACT.cif").read_text()
    document = gemmi.cif.read_string(text)
    document.find_block("comp_ACT").find_values("_chem_comp_bond.atom_id_2")[0] = "C99"
    document.write_file(str(path))
    with pytest.raises(InputError, match=r"component ACT has bonds of C99, but no such names .* 7 of them") as error:
        load_monomers(["ACT"], [path])
    assert str(path) in str(error.value)
    path.write_text(text.replace("_chem_comp_atom.type_symbol", "_chem_comp_atom.other"))
    with pytest.raises(InputError, match="lists atoms without elements"):
        load_monomers(["ACT"], [path])


@pytest.mark.parametrize(("modification", "said"), [("DEL-O1", 0), ("mine", 1)])
def test_a_link_whose_modification_nobody_lists_is_named(tmp_path: Path, modification: str, said: int) -> None:
    path = tmp_path / "link.cif"
    path.write_text(
        "data_link_list\nloop_\n_chem_link.id\n_chem_link.comp_id_1\n_chem_link.mod_id_1\n_chem_link.group_comp_1\n"
        "_chem_link.comp_id_2\n_chem_link.mod_id_2\n_chem_link.group_comp_2\n_chem_link.name\n"
        f"mylink NAG {modification} . ACT . . .\ndata_link_mylink\nloop_\n_chem_link_bond.link_id\n"
        "_chem_link_bond.atom_1_comp_id\n_chem_link_bond.atom_id_1\n_chem_link_bond.atom_2_comp_id\n"
        "_chem_link_bond.atom_id_2\n_chem_link_bond.type\n_chem_link_bond.value_dist\n_chem_link_bond.value_dist_esd\n"
        "mylink 1 O4 2 C single 1.4 0.02\n"
    )
    notes = [note for note in load_monomers(["ACT"], [path]).notes if "neither this file nor a library" in note]
    assert len(notes) == said
    assert all(isinstance(note, Caution) and f"{path}: link mylink names {modification}" in note for note in notes)


def test_a_link_that_is_listed_and_not_described_is_named(tmp_path: Path) -> None:
    path = tmp_path / "link.cif"
    path.write_text("data_link_list\nloop_\n_chem_link.id\n_chem_link.comp_id_1\n_chem_link.mod_id_1\n"
                    "_chem_link.group_comp_1\n_chem_link.comp_id_2\n_chem_link.mod_id_2\n_chem_link.group_comp_2\n"
                    "_chem_link.name\nmylink NAG mine . ACT . . .\n")  # fmt: skip
    (note,) = (note for note in load_monomers(["ACT"], [path]).notes if "mylink" in note)
    assert note == f"{path}: link mylink is listed, but no data_link_mylink describes it: not used"
    assert isinstance(note, Caution)


@pytest.mark.parametrize(
    ("column", "factor", "said"),
    [
        ("_chem_comp_bond.value_dist", 0.1, r"6 bonds of 6 that cannot be, such as \S+ of 0\.\d+ Å; .* in nm or pm"),
        ("_chem_comp_bond.value_dist", 100, r"6 bonds of 6 that cannot be, such as \S+ of 1\d\d\.?\d* Å"),
        ("_chem_comp_angle.value_angle", 0.0174533, r"angles of \d+ that cannot be, such as .*; expected 20 to 181°"),
        ("_chem_comp_angle.value_angle", 1, ""),
    ],
)
def test_lengths_and_angles_in_other_units_are_refused(tmp_path: Path, column: str, factor: float, said: str) -> None:
    path = tmp_path / "ACT.cif"
    document = gemmi.cif.read(str(EMBEDDED / "a" / "ACT.cif"))
    values = document.find_block("comp_ACT").find_values(column)
    for k, value in enumerate(list(values)):
        values[k] = f"{factor * float(value):.4f}"
    document.write_file(str(path))
    if said:
        with pytest.raises(InputError, match=said):
            load_monomers(["ACT"], [path])
    else:
        assert "ACT" in load_monomers(["ACT"], [path]).monlib.monomers


@pytest.mark.parametrize(
    ("column", "new", "said"),
    [
        ("value_dist", "value_dist_nucleus", "lengths between nuclei alone .*; expected the column .*bond.value_dist,"),
        ("value_dist_esd", "value_dist_nucleus_esd", "expected positive numbers in _chem_comp_bond.value_dist_esd,"),
    ],
)
def test_the_column_that_bonds_lack_is_named(tmp_path: Path, column: str, new: str, said: str) -> None:
    path = tmp_path / "ACT.cif"
    text = (EMBEDDED / "a" / "ACT.cif").read_text()
    path.write_text(
        text.replace(f"_chem_comp_bond.{new}\n", "_chem_comp_bond.other\n")
        .replace(f"_chem_comp_bond.{column}\n", f"_chem_comp_bond.{new}\n")
    )  # fmt: skip
    with pytest.raises((InputError, MonomerError), match=said):
        load_monomers(["ACT"], [path])


def _glycerol(tmp_path: Path, tag: str, value: str, rows: slice) -> Path:
    """The dictionary of glycerol with other values in rows of a column; an empty one takes the rows out."""
    document = gemmi.cif.read(str(EMBEDDED / "g" / "GOL.cif"))
    column = document.find_block("comp_GOL").find_values(tag)
    for k in reversed(range(len(column))[rows]):
        column[k] = value
    path = tmp_path / "GOL.cif"
    document.write_file(str(path))
    return path


def test_a_dictionary_in_pieces_is_told_with_them(tmp_path: Path) -> None:
    document = gemmi.cif.read(str(EMBEDDED / "g" / "GOL.cif"))
    table = document.find_block("comp_GOL").find("_chem_comp_bond.", ["atom_id_1", "atom_id_2"])
    table.remove_row(next(k for k, row in enumerate(table) if {*row} == {"C1", "C2"}))
    path = tmp_path / "GOL.cif"
    document.write_file(str(path))
    (note,) = [note for note in load_monomers(["GOL"], [path]).notes if "pieces" in note]
    assert isinstance(note, Caution)
    assert f"{path}: component GOL is in 2 pieces that no restrained bond joins (C1, O1; C2, C3, O2 ...)" in note
    assert not [note for note in load_monomers(["GOL"], [EMBEDDED / "g" / "GOL.cif"]).notes if "pieces" in note]


@pytest.mark.parametrize(
    ("tag", "value", "said"),
    [
        ("_chem_comp_bond.value_dist_esd", "2.0", "sigmas of 2 bonds of 13 that are not between 0.001 and 0.2 Å"),
        ("_chem_comp_bond.value_dist_esd", "0.00002", "sigmas of 2 bonds of 13"),
        ("_chem_comp_angle.value_angle_esd", "60", "sigmas of 2 angles of 21 that are not between 0.1 and 15°"),
        ("_chem_comp_bond.value_dist_esd", "0.015", ""),
    ],
)
def test_sigmas_that_hold_nothing_or_too_much_are_told(tmp_path: Path, tag: str, value: str, said: str) -> None:
    path = _glycerol(tmp_path, tag, value, slice(2))
    notes = [note for note in load_monomers(["GOL"], [path]).notes if "sigmas" in note]
    assert len(notes) == bool(said)
    assert all(isinstance(note, Caution) and said in note and str(path) in note for note in notes)


@pytest.mark.parametrize("symbol", [".", "Q7"])
def test_atoms_of_no_element_are_refused_with_their_names(tmp_path: Path, symbol: str) -> None:
    """Read as atoms of no kind they had no hydrogens, and nobody was told."""
    path = _glycerol(tmp_path, "_chem_comp_atom.type_symbol", symbol, slice(1))
    with pytest.raises(InputError, match=r"GOL has 1 atom of 14 of no element that is known: \w+ \('.*'\); expected"):
        load_monomers(["GOL"], [path])
