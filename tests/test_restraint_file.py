"""Tests of arrayrefine.io.restraint_file."""

from __future__ import annotations

from pathlib import Path

import gemmi
import pytest

from arrayrefine.errors import InputError
from arrayrefine.io.restraint_file import read_restraint_file
from arrayrefine.monomers import EMBEDDED, load_monomers

ACT = (EMBEDDED / "a" / "ACT.cif").read_text()
SDF = "LIG\n  made up\n\n  1  0  0  0  0  0  0  0  0  0999 V2000\n    0.0    0.0    0.0 C   0  0\nM  END\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SDF, "(it is an SDF or MOL file)"),
        ("@<TRIPOS>MOLECULE\nLIG\n", "(it is a MOL2 file)"),
        ("<!DOCTYPE html>\n<html></html>\n", "(it is a web page or XML"),
        ("C1CC1 LIG\n", "(it is a text file of no known kind)"),
        ("HEADER    LIGAND\n", "(it is a PDB coordinate file)"),
        (f"{ACT}\n{ACT}", "(several files were joined into one: give them one by one"),
    ],
)
def test_what_is_no_dictionary_is_told(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "ligand.cif"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_restraint_file(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "expects one as made by AceDRG" in str(error.value)


@pytest.mark.parametrize("blank", ["?", "."])
def test_torsions_without_a_period_are_left_out_and_said(tmp_path: Path, blank: str) -> None:
    document = gemmi.cif.read(str(EMBEDDED / "g" / "GOL.cif"))
    column = document.find_block("comp_GOL").find_values("_chem_comp_tor.period")
    column[0], column[1] = blank, blank
    path = tmp_path / "GOL.cif"
    document.write_file(str(path))
    library = load_monomers(["GOL"], [path])
    assert [torsion.period for torsion in library.monlib.monomers["GOL"].rt.torsions][:3] == [0, 0, 1]
    assert f"{path}: 2 torsions of data_comp_GOL without a period are not restrained" in library.notes


@pytest.mark.parametrize("sign", ["?", ".", "anomer"])
def test_centres_without_a_known_sign_are_of_either_hand_and_said(tmp_path: Path, sign: str) -> None:
    document = gemmi.cif.read(str(EMBEDDED / "n" / "NAG.cif"))
    document.find_block("comp_NAG").find_values("_chem_comp_chir.volume_sign")[0] = sign
    path = tmp_path / "NAG.cif"
    document.write_file(str(path))
    library = load_monomers(["NAG"], [path])
    first, second = list(library.monlib.monomers["NAG"].rt.chirs)[:2]
    assert first.sign == gemmi.ChiralityType.Both
    assert second.sign != gemmi.ChiralityType.Both
    said = f"{path}: 1 chiral centre of data_comp_NAG with the sign '{sign}': taken as 'both', of either hand"
    assert said in library.notes


def test_links_without_their_list_are_told(tmp_path: Path) -> None:
    path = tmp_path / "link.cif"
    path.write_text("data_link_p\nloop_\n_chem_link_bond.link_id\n_chem_link_bond.atom_id_1\np O3\n")
    with pytest.raises(InputError, match=r"has data_link_p without the list that says what they join .*_chem_link.id"):
        load_monomers(["ACT"], [path])


def test_a_bond_that_is_listed_again_counts_once_and_is_said(tmp_path: Path) -> None:
    document = gemmi.cif.read(str(EMBEDDED / "g" / "GOL.cif"))
    loop = document.find_block("comp_GOL").find_loop("_chem_comp_bond.atom_id_1").get_loop()
    row = loop.values[: loop.width()]
    one, two = loop.tags.index("_chem_comp_bond.atom_id_1"), loop.tags.index("_chem_comp_bond.atom_id_2")
    ends, bonds = f"{row[two]}-{row[one]}", loop.length()
    row[one], row[two] = row[two], row[one]
    loop.add_row(row)
    path = tmp_path / "GOL.cif"
    document.write_file(str(path))
    library = load_monomers(["GOL"], [path])
    assert len(library.monlib.monomers["GOL"].rt.bonds) == bonds
    assert f"{path}: 1 bond of data_comp_GOL listed more than once ({ends}): the first row is used" in library.notes


@pytest.mark.parametrize(
    ("kind", "found", "said"),
    [
        ("1", gemmi.BondType.Single, False), ("2", gemmi.BondType.Double, False),
        ("AR", gemmi.BondType.Aromatic, False), ("'conj'", gemmi.BondType.Deloc, False),
        ("SING", gemmi.BondType.Single, False),
        ("dashed", gemmi.BondType.Unspec, True),
    ],
)  # fmt: skip
def test_types_of_bonds_that_gemmi_does_not_know_are_taken_as_meant(
    tmp_path: Path, kind: str, found: gemmi.BondType, said: bool
) -> None:
    document = gemmi.cif.read(str(EMBEDDED / "g" / "GOL.cif"))
    column = document.find_block("comp_GOL").find_values("_chem_comp_bond.type")
    column[0] = column[1] = kind
    path = tmp_path / "GOL.cif"
    document.write_file(str(path))
    library = load_monomers(["GOL"], [path])
    assert [bond.type for bond in library.monlib.monomers["GOL"].rt.bonds][:2] == [found, found]
    notes = [note for note in library.notes if "of data_comp_GOL of the type" in note]
    assert len(notes) == said
    assert all(f"{path}: 2 bonds" in note and f"'{kind}': taken as bonds of an unknown type" in note for note in notes)


def test_a_folder_in_place_of_a_dictionary_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a folder \(--restraints expects restraint CIFs"):
        load_monomers(["ACT"], [tmp_path])
