"""Where restraints come from: search order, users' files, errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest

from arrayrefine import monomers
from arrayrefine.errors import InputError, MonomerError
from arrayrefine.monomers import EMBEDDED, load_monomers, missing_components_message
from arrayrefine.topology.atom_names import bonded_atoms, bonded_to

HEADER = """data_comp_list
loop_
_chem_comp.id
_chem_comp.three_letter_code
_chem_comp.name
_chem_comp.group
_chem_comp.number_atoms_all
_chem_comp.number_atoms_nh
_chem_comp.desc_level
{name} {name} 'a test' {group} 3 3 .
data_comp_{name}
loop_
_chem_comp_atom.comp_id
_chem_comp_atom.atom_id
_chem_comp_atom.type_symbol
_chem_comp_atom.type_energy
_chem_comp_atom.charge
{name} C1 C CH3 0
{name} C2 C CH2 0
{name} O3 O OH1 0
loop_
_chem_comp_bond.comp_id
_chem_comp_bond.atom_id_1
_chem_comp_bond.atom_id_2
_chem_comp_bond.type
"""
VALUES = "_chem_comp_bond.value_dist\n_chem_comp_bond.value_dist_esd\n"


def component(name: str, *, length: float = 1.5, complete: bool = True, group: str = "non-polymer") -> str:
    """A small restraint CIF; incomplete ones leave O3 without a bond."""
    rows = f"{name} C1 C2 single {length} 0.02\n"
    if complete:
        rows += f"{name} C2 O3 single 1.43 0.02\n"
    return HEADER.format(name=name, group=group) + VALUES + rows


def _folder(path: Path, name: str, length: float) -> Path:
    (path / name[0].lower()).mkdir(parents=True)
    (path / name[0].lower() / f"{name}.cif").write_text(component(name, length=length))
    return path


def test_names_that_a_library_pads_are_those_without(tmp_path: Path) -> None:
    """As T and DU of the CCP4 library have "H5' ", which hydrogens in `refined.cif` were named by."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "XXX.cif").write_text(component("XXX").replace(" O3 ", " 'O3 ' "))
    (chemcomp,) = (load_monomers(["XXX"], monomers=tmp_path).monlib.monomers[name] for name in ["XXX"])
    assert [atom.id for atom in chemcomp.atoms] == ["C1", "C2", "O3"]
    assert [bond.id2.atom for bond in chemcomp.rt.bonds] == ["C2", "O3"]


def _length(library, name: str) -> float:
    return float(library.monlib.monomers[name].rt.bonds[0].value)


def test_embedded_library_serves_the_common_components() -> None:
    library = load_monomers(["ALA", "HOH", "FOL", "NAP", "SF4", "ZN", "DA"])
    assert library.missing == ()
    assert all(source.startswith(str(EMBEDDED)) for source in library.sources.values())
    assert library.monlib.get_link("TRANS") is not None
    assert library.energy["CH3"].radius_with_hydrogens > library.energy["CH3"].radius
    assert library.energy["OH1"].hydrogen_bond == "B"


def test_embedded_library_has_its_notice() -> None:
    notice = (EMBEDDED / "NOTICE.txt").read_text()
    assert "CCP4 monomer library" in notice
    assert "LGPL-3" in notice
    assert "LESSER GENERAL PUBLIC LICENSE" in (EMBEDDED / "LGPL-3.txt").read_text()


def test_search_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's file, then the folder given, then the environment's, then the embedded library."""
    user = tmp_path / "user.cif"
    user.write_text(component("ACT", length=1.1))
    given = _folder(tmp_path / "given", "ACT", 1.2)
    variable = _folder(tmp_path / "variable", "ACT", 1.3)
    monkeypatch.setenv("CLIBD_MON", str(variable))
    assert _length(load_monomers(["ACT"], [user], given), "ACT") == pytest.approx(1.1)
    assert _length(load_monomers(["ACT"], [], given), "ACT") == pytest.approx(1.2)
    library = load_monomers(["ACT", "GOL"])
    assert _length(library, "ACT") == pytest.approx(1.3)
    assert library.sources["GOL"].startswith(str(EMBEDDED))
    monkeypatch.delenv("CLIBD_MON")
    assert load_monomers(["ACT"]).sources["ACT"].startswith(str(EMBEDDED))


def test_a_component_that_was_renamed_in_part_is_named_with_its_block(tmp_path: Path) -> None:
    """As by a search for whole words, which leaves the name of the block."""
    path = tmp_path / "user.cif"
    path.write_text(re.sub(r"\bACT\b", "A1LZZ", component("ACT")))
    with pytest.raises(InputError, match=r"A1LZZ cannot be .*: its block is data_comp_ACT; expected data_comp_A1LZZ"):
        load_monomers(["A1LZZ"], [path])


def test_a_file_of_a_library_that_cannot_be_read_gives_way_to_the_next_one(tmp_path: Path) -> None:
    """Of the libraries that are in use one has a stray letter before the first block of HIS.cif."""
    text = (EMBEDDED / "h" / "HIS.cif").read_text()
    (note,) = (library := load_monomers(["HIS", "ALA"], [], _folder_with(tmp_path / "one", "HIS", f"f#\n{text}"))).notes
    assert re.search(r"HIS\.cif: cannot be read as a restraint CIF: .*; .*h/HIS\.cif is used instead$", note)
    assert library.sources["HIS"] == str(EMBEDDED / "h" / "HIS.cif")
    assert "HIS" in library.monlib.monomers
    slip = component("XYZ").replace("single", "sinlge")
    with pytest.raises(InputError, match=r"XYZ\.cif: cannot be read as a restraint CIF: .*sinlge"):
        load_monomers(["XYZ"], [], _folder_with(tmp_path / "slip", "XYZ", slip))
    with pytest.raises(InputError, match=r"XYZ\.cif: cannot be read as a restraint CIF"):
        load_monomers(["XYZ"], [], _folder_with(tmp_path / "two", "XYZ", "f#\n"))


def test_folder_without_links_borrows_them(tmp_path: Path) -> None:
    library = load_monomers(["XYZ", "ALA"], [], _folder(tmp_path / "partial", "XYZ", 1.4))
    assert library.monlib.get_link("disulf") is not None
    assert "CH1" in library.energy


def test_folder_with_its_own_links(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "own", "XYZ", 1.4)
    (folder / "list").mkdir()
    (folder / "list" / "mon_lib_list.cif").write_text(
        "data_link_list\nloop_\n_chem_link.id\n_chem_link.comp_id_1\n_chem_link.mod_id_1\n_chem_link.group_comp_1\n"
        "_chem_link.comp_id_2\n_chem_link.mod_id_2\n_chem_link.group_comp_2\n_chem_link.name\n"
        "MINE XYZ . . XYZ . . mine\n"
        "data_link_MINE\nloop_\n_chem_link_bond.link_id\n_chem_link_bond.atom_1_comp_id\n_chem_link_bond.atom_id_1\n"
        "_chem_link_bond.atom_2_comp_id\n_chem_link_bond.atom_id_2\n_chem_link_bond.type\n"
        "_chem_link_bond.value_dist\n_chem_link_bond.value_dist_esd\nMINE 1 O3 2 C1 single 1.4 0.02\n"
    )
    library = load_monomers(["XYZ"], [], folder)
    assert list(library.monlib.links) == ["MINE"]


def test_missing_components_are_listed() -> None:
    assert load_monomers(["ALA", "Q0Q"]).missing == ("Q0Q",)
    message = missing_components_message({"Q0Q": ["A 1", "A 2", "A 3", "A 4", "A 5", "A 6", "A 7"]})
    for part in ("Q0Q", "A 1", "A 6 and 1 more", "--restraints", "--monomers", "--unknown hold"):
        assert part in message
    assert "A 7" not in message


@pytest.mark.parametrize(
    ("case_name", "files", "component_name"),
    [
        ("1rx2", ["FOL.cif", "NAP.cif"], "NAP"),
        ("br_lcls", ["LYR_open.cif"], "LYR"),
        ("5uui", ["MTN_restraints.cif"], "MTN"),
    ],
)
def test_real_user_files(case: Callable[[str], Path], case_name: str, files: list[str], component_name: str) -> None:
    folder = case(case_name)
    library = load_monomers([component_name], [folder / f for f in files])
    assert library.sources[component_name] == str(folder / files[-1])
    assert len(library.monlib.monomers[component_name].rt.bonds) > 10


def test_group_from_the_list_makes_a_peptide(case: Callable[[str], Path]) -> None:
    library = load_monomers(["LYR"], [case("br_lcls") / "LYR_open.cif"])
    assert library.monlib.monomers["LYR"].group == gemmi.ChemComp.Group.Peptide


def test_a_file_of_coordinates_is_refused(case: Callable[[str], Path]) -> None:
    path = case("hewl_ssad") / "RTSAD_HEWL_refine_25.cif"
    with pytest.raises(InputError, match=r"RTSAD_HEWL_refine_25\.cif: has coordinates"):
        load_monomers([], [path])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("not a cif", "cannot be read"),
        ("data_empty\n_cell.length_a 10\n", "no restraints"),
        ("", "no restraints"),
        (HEADER.format(name="LIG", group="non-polymer") + "LIG C1 C2 single\n", "without lengths"),
    ],
)
def test_unusable_files(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "lig.cif"
    path.write_text(text)
    with pytest.raises(InputError, match=what) as error:
        load_monomers(["LIG"], [path])
    assert str(path) in str(error.value)


def test_a_component_that_leaves_atoms_loose_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "lig.cif"
    path.write_text(component("LIG", complete=False))
    with pytest.raises(MonomerError, match=r"LIG leaves 1 of 3 heavy atoms .*O3"):
        load_monomers(["LIG"], [path])


def test_missing_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_monomers([], [tmp_path / "absent.cif"])
    with pytest.raises(InputError, match="not a folder"):
        load_monomers([], [], tmp_path / "absent")
    monkeypatch.setenv("CLIBD_MON", str(tmp_path / "absent"))
    library = load_monomers(["ALA"])
    assert any("CLIBD_MON" in note for note in library.notes)


def _modification(name: str, atom: str) -> str:
    return (
        "data_mod_list\nloop_\n_chem_mod.id\n_chem_mod.name\n_chem_mod.comp_id\n_chem_mod.group_id\n"
        f"{name} mine LIG .\ndata_mod_{name}\nloop_\n_chem_mod_atom.mod_id\n_chem_mod_atom.function\n"
        "_chem_mod_atom.atom_id\n_chem_mod_atom.new_atom_id\n_chem_mod_atom.new_type_symbol\n"
        f"_chem_mod_atom.new_type_energy\n{name} delete {atom} . . .\n"
    )


def test_a_users_modification_does_not_disturb_the_librarys(tmp_path: Path) -> None:
    known = load_monomers([]).monlib
    name = next(iter(known.modifications))
    before = len(known.get_mod(name).atom_mods)
    paths = [tmp_path / "link.cif", tmp_path / "other.cif"]
    for path, atom in zip(paths, ("QQ", "RR")):
        path.write_text(_modification(name, atom))
    library = load_monomers([], paths).monlib
    assert len(library.get_mod(name).atom_mods) == before
    assert [m.old_id for m in library.get_mod(f"{name}-1").atom_mods] == ["QQ"]
    assert [m.old_id for m in library.get_mod(f"{name}-2").atom_mods] == ["RR"]


def test_of_a_component_in_two_files_the_latter_is_used(tmp_path: Path) -> None:
    one, two = tmp_path / "one.cif", tmp_path / "two.cif"
    one.write_text(component("LIG", length=1.5))
    two.write_text(component("LIG", length=1.6))
    library = load_monomers(["LIG"], [one, two])
    assert _length(library, "LIG") == 1.6
    assert f"component LIG is defined in {one} and in {two}: the latter is used" in library.notes


def test_a_users_link_goes_before_that_of_the_library(tmp_path: Path) -> None:
    path = tmp_path / "link.cif"
    tags = ("id", "comp_id_1", "mod_id_1", "group_comp_1", "comp_id_2", "mod_id_2", "group_comp_2", "name")
    bond = ("link_id", "atom_1_comp_id", "atom_id_1", "atom_2_comp_id", "atom_id_2", "type", "value_dist",
            "value_dist_esd")  # fmt: skip
    path.write_text("\n".join([
        "data_link_list", "loop_", *(f"_chem_link.{tag}" for tag in tags), "SS CYS . . CYS . . mine",
        "data_link_SS", "loop_", *(f"_chem_link_bond.{tag}" for tag in bond), "SS 1 SG 2 SG single 2.5 0.02", "",
    ]))  # fmt: skip
    library = load_monomers(["CYS"], [path])
    assert [b.value for b in library.monlib.get_link("SS").rt.bonds] == [2.5]
    assert f"link SS of the library is replaced by that in {path}" in library.notes


def test_a_modification_of_the_user_is_that_of_its_link_alone(tmp_path: Path) -> None:
    """Its name is taken in the library: the link of the user has it by another, the rest of the file stays."""
    taken = load_monomers(["ALA", "SER"]).monlib
    old = next(name for name in sorted(taken.modifications) if name not in taken.links)
    tags = ("id", "comp_id_1", "mod_id_1", "group_comp_1", "comp_id_2", "mod_id_2", "group_comp_2", "name")
    atom = ("mod_id", "function", "atom_id", "new_atom_id", "new_type_symbol", "new_type_energy", "new_charge")
    bond = ("link_id", "atom_1_comp_id", "atom_id_1", "atom_2_comp_id", "atom_id_2", "type", "value_dist",
            "value_dist_esd")  # fmt: skip
    path = tmp_path / "link.cif"
    path.write_text("\n".join([
        "data_link_list", "loop_", *(f"_chem_link.{tag}" for tag in tags), f"MYLINK ALA OWNMOD . SER {old} . mine",
        "data_mod_list", "loop_", *(f"_chem_mod.{tag}" for tag in ("id", "name", "comp_id", "group_id")),
        f"{old} mine SER .", "OWNMOD mine ALA .",
        "data_link_MYLINK", "loop_", *(f"_chem_link_bond.{tag}" for tag in bond), "MYLINK 1 CB 2 OG single 1.4 0.02",
        f"data_mod_{old}", "loop_", *(f"_chem_mod_atom.{tag}" for tag in atom), f"{old} delete HG . . . .",
        "data_mod_OWNMOD", "loop_", *(f"_chem_mod_atom.{tag}" for tag in atom), "OWNMOD delete HB3 . . . .", "",
    ]))  # fmt: skip
    library = load_monomers(["ALA", "SER"], [path]).monlib
    link = library.get_link("MYLINK")
    assert (link.side1.mod, link.side2.mod) == ("OWNMOD", f"{old}-1")
    assert [mod.old_id for mod in library.modifications[f"{old}-1"].atom_mods] == ["HG"]
    before = [(mod.old_id, mod.new_id) for mod in taken.modifications[old].atom_mods]
    assert [(mod.old_id, mod.new_id) for mod in library.modifications[old].atom_mods] == before


def test_what_one_library_changes_another_has_as_it_was(tmp_path: Path) -> None:
    """The embedded links and energy types are read once; every library has its own."""
    before = load_monomers(["CYS", "SF4"])
    ideals = {name: [bond.value for bond in link.rt.bonds] for name, link in before.monlib.links.items()}
    for link in before.monlib.links.values():
        for bond in link.rt.bonds:
            bond.value = 9.0
    for name in list(before.monlib.modifications):
        del before.monlib.modifications[name]
    folder = _folder(tmp_path / "own", "XYZ", 1.4)
    (folder / "ener_lib.cif").write_text(re.sub(r"\bCH1\b", "QQ1", (EMBEDDED / "ener_lib.cif").read_text()))
    assert "CH1" not in load_monomers(["XYZ"], [], folder).energy
    after = load_monomers(["CYS", "SF4"])
    assert {name: [bond.value for bond in link.rt.bonds] for name, link in after.monlib.links.items()} == ideals
    assert len(after.monlib.modifications) > 50
    assert "CH1" in after.energy


@pytest.mark.parametrize("name", ["FOL", "TRP", "SF4", "HOH"])
def test_bonded_atoms_are_those_of_the_bonds_of_each(name: str) -> None:
    component = load_monomers([name]).monlib.monomers[name]
    pairs = [{bond.id1.atom, bond.id2.atom} for bond in component.rt.bonds]
    found = bonded_atoms(component)
    for atom in component.atoms:
        assert found.get(atom.id, set()) == {other for pair in pairs if atom.id in pair for other in pair - {atom.id}}
        assert bonded_to(atom.id, component) == found.get(atom.id, set())
    assert bonded_to("none", component) == set()


@pytest.mark.parametrize(
    ("kind", "group"),
    [("L-PEPTIDE LINKING", "Peptide"), ("DNA LINKING", "Dna"), ("RNA LINKING", "Rna"), ("NON-POLYMER", "Null")],
)
def test_a_component_without_a_group_has_that_of_its_type(tmp_path: Path, kind: str, group: str) -> None:
    path = tmp_path / "user.cif"
    text = component("LIG", group=f"'{kind}'").replace("_chem_comp.group", "_chem_comp.type")
    path.write_text(text)
    found = load_monomers(["LIG"], [path]).monlib.monomers["LIG"].group
    assert found == getattr(gemmi.ChemComp.Group, group)


def test_a_file_of_a_library_with_another_component_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"XYZ\.cif: expected the component XYZ, which is not in this file"):
        load_monomers(["XYZ"], [], _folder_with(tmp_path, "XYZ", component("ABC")))


def test_folder_without_a_library_is_refused(tmp_path: Path) -> None:
    (tmp_path / "LIG.cif").write_text("data_x\n")
    with pytest.raises(InputError, match=r"no monomer library in this folder; --monomers expects .*--restraints"):
        load_monomers(["ALA"], monomers=tmp_path)


def test_clibd_mon_without_a_library_is_ignored_with_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIBD_MON", str(tmp_path))
    library = load_monomers(["ALA"])
    assert library.notes == (f"CLIBD_MON names '{tmp_path}', which has no monomer library: ignored",)
    assert library.sources["ALA"].startswith(str(EMBEDDED))


CLUSTER = """data_comp_list
loop_
_chem_comp.id
_chem_comp.group
{name} non-polymer
data_comp_{name}
loop_
_chem_comp_atom.comp_id
_chem_comp_atom.atom_id
_chem_comp_atom.type_symbol
{name} FE1 FE
{name} FE2 FE
{name} S1 S
{name} S2 S
loop_
_chem_comp_bond.comp_id
_chem_comp_bond.atom_id_1
_chem_comp_bond.atom_id_2
_chem_comp_bond.type
_chem_comp_bond.value_dist
_chem_comp_bond.value_dist_esd
{name} FE1 S1 single 2.235 0.02
{name} S2 FE1 single 2.235 0.02
{name} FE2 S1 single 2.235 0.02
{name} FE2 S2 single 2.235 0.02
loop_
_chem_comp_angle.comp_id
_chem_comp_angle.atom_id_1
_chem_comp_angle.atom_id_2
_chem_comp_angle.atom_id_3
_chem_comp_angle.value_angle
_chem_comp_angle.value_angle_esd
{name} S1 FE1 S2 {angle} 3.0
{name} S1 FE2 S2 {angle} 3.0
{name} FE1 S1 FE2 {angle} 3.0
"""


def _folder_with(path: Path, name: str, text: str) -> Path:
    (path / name[0].lower()).mkdir(parents=True)
    (path / name[0].lower() / f"{name}.cif").write_text(text)
    return path


def test_cubanes_have_no_right_angles_and_no_hydrogens() -> None:
    """The dictionary's cube contradicts its own links: beyond right angles an Fe-SG would be at 125 degrees."""
    library = load_monomers(["SF4", "CYS"])
    cluster, link = library.monlib.monomers["SF4"], library.monlib.links["SF42-CYS"]
    assert not any(atom.is_hydrogen() for atom in cluster.atoms)
    assert (len(cluster.atoms), len(cluster.rt.bonds), len(cluster.rt.angles)) == (8, 12, 24)
    assert {bond.value for bond in cluster.rt.bonds} == {2.28}
    angles = {angle.id2.atom[0]: angle.value for angle in cluster.rt.angles}
    assert angles == {"F": 104.3, "S": 73.5}
    assert link.rt.bonds[0].value == 2.268
    assert sorted(angle.value for angle in link.rt.angles) == pytest.approx([113.47, 114.2, 114.2, 114.2])
    assert any("SF4" in note and "right angles" in note for note in library.notes)


def test_ideals_of_a_cubane_agree_with_each_other() -> None:
    """Irons at (p, p, p) and alternate corners, sulphides at the others of a cube of q."""
    length, at_iron, at_sulphide = 2.28, np.radians(104.3), np.radians(73.5)
    p, q = length * np.sin(at_sulphide / 2) / np.sqrt(2), length * np.sin(at_iron / 2) / np.sqrt(2)
    bond = np.array([q - p, q - p, -q - p])
    assert np.linalg.norm(bond) == pytest.approx(length, abs=0.005)
    outwards = np.degrees(np.arccos(bond @ np.ones(3) / np.sqrt(3) / np.linalg.norm(bond)))
    assert outwards == pytest.approx(114.2, abs=0.3)


def test_an_installation_without_its_library_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(monomers, "EMBEDDED", tmp_path)
    with pytest.raises(InputError, match="the embedded monomer library is missing; install arrayrefine again"):
        load_monomers(["GLY"])


def test_clusters_are_told_by_their_bonds(tmp_path: Path) -> None:
    folder = _folder_with(tmp_path / "own", "XFS", CLUSTER.format(name="XFS", angle=90.0))
    cluster = load_monomers(["XFS"], [], folder).monlib.monomers["XFS"]
    assert {bond.value for bond in cluster.rt.bonds} == {2.21}
    assert [angle.value for angle in cluster.rt.angles] == [104.7, 104.7, 75.3]
    assert load_monomers(["FES"]).monlib.monomers["FES"].rt.bonds[0].value == 2.21


@pytest.mark.parametrize(
    ("atoms", "bonds"), [(("FE3",), ()), (("FE3", "S3"), ("FE1", "FE2", "FE3"))],
    ids=["an iron more", "a bridge of three"],
)
def test_irons_and_sulphides_in_other_numbers_stay_as_drawn(
    tmp_path: Path, atoms: tuple[str, ...], bonds: tuple[str, ...]
) -> None:
    one_atom, one_bond = "{name} S2 S\n", "{name} FE2 S2 single 2.235 0.02\n"
    more = "".join(f"{{name}} {atom} {atom[:-1]}\n" for atom in atoms)
    other = CLUSTER.replace(one_atom, one_atom + more)
    other = other.replace(one_bond, one_bond + "".join(f"{{name}} {iron} S3 single 2.235 0.02\n" for iron in bonds))
    folder = _folder_with(tmp_path / "own", "XFS", other.format(name="XFS", angle=90.0))
    drawn = load_monomers(["XFS"], [], folder).monlib.monomers["XFS"]
    assert len(drawn.atoms) == 4 + len(atoms)
    assert {bond.value for bond in drawn.rt.bonds} == {2.235}
    assert drawn.rt.angles[0].value == 90.0


def test_clusters_of_the_user_and_measured_ones_stay(tmp_path: Path) -> None:
    folder = _folder_with(tmp_path / "own", "XFS", CLUSTER.format(name="XFS", angle=104.0))
    library = load_monomers(["XFS"], [], folder)
    assert library.monlib.monomers["XFS"].rt.angles[0].value == 104.0
    assert not any("right angles" in note for note in library.notes)
    user = tmp_path / "user.cif"
    user.write_text(CLUSTER.format(name="FES", angle=90.0))
    assert load_monomers(["FES"], [user]).monlib.monomers["FES"].rt.angles[0].value == 90.0
    (note,) = load_monomers(["HEM", "FE2"]).notes
    assert note.startswith("HEM, whose dictionary has Fe-N of 1.84 to 2.09 Å, is restrained as iron porphyrins are")


@pytest.mark.parametrize("name", ["HEM", "HEC"])
def test_the_iron_of_a_porphyrin_is_at_its_centre(name: str) -> None:
    """The dictionary has 1.845 to 2.093 Å in HEM, and 2.09 in HEC, which is what no ferric haem has."""
    library = load_monomers([name])
    haem = library.monlib.monomers[name]
    bonds = [bond for bond in haem.rt.bonds if "FE" in (bond.id1.atom, bond.id2.atom)]
    assert [(bond.value, bond.esd) for bond in bonds] == [(2.04, 0.04)] * 4
    pairs = {frozenset((a.id1.atom, a.id3.atom)): a.value for a in haem.rt.angles if a.id2.atom == "FE"}
    trans = {frozenset(("NA", "NC")), frozenset(("NB", "ND"))}
    assert len(pairs) == 6
    assert {pair for pair, value in pairs.items() if value == 180.0} == trans
    assert {value for pair, value in pairs.items() if pair not in trans} == {90.0}
    for nitrogen in ("NA", "NB", "NC", "ND"):
        angles = [(a.value, "FE" in (a.id1.atom, a.id3.atom)) for a in haem.rt.angles if a.id2.atom == nitrogen]
        assert len({value for value, iron in angles if iron}) == 1
        assert sum(value for value, _ in angles) == pytest.approx(360.0)
    assert not any(atom.atom == "FE" for plane in haem.rt.planes for atom in plane.ids)
    note, *others = library.notes
    assert note.startswith(f"{name}, whose dictionary has Fe-N of ")
    assert len(others) == (name == "HEC")  # what its thioethers free: see test_tetrahedral_ends


def test_irons_that_are_in_no_porphyrin_and_measured_ones_stay(tmp_path: Path) -> None:
    document = gemmi.cif.read(str(EMBEDDED / "h" / "HEM.cif"))
    table = document.find_block("comp_HEM").find("_chem_comp_bond.", ["atom_id_1", "atom_id_2", "value_dist"])
    for row in table:
        if "FE" in (row[0], row[1]):
            row[2] = "2.01"
    folder = _folder_with(tmp_path / "own", "HEM", document.as_string())
    library = load_monomers(["HEM"], [], folder)
    assert {b.value for b in library.monlib.monomers["HEM"].rt.bonds if "FE" in (b.id1.atom, b.id2.atom)} == {2.01}
    assert library.notes == ()
    for row in table:
        if "FE" in (row[0], row[1]):
            row[2] = "1.85"
    for row in document.find_block("comp_HEM").find("_chem_comp_atom.", ["atom_id", "type_symbol"]):
        row[1] = "O" if row[0] == "NA" else row[1]
    assert load_monomers(["HEM"], [], _folder_with(tmp_path / "other", "HEM", document.as_string())).notes == ()


COMMON = [
    "SO4", "GOL", "EDO", "PO4", "CL", "NA", "MG", "ZN", "CA", "K", "MN", "NI", "FE", "CU", "CU1", "CO", "CD",
    "HG", "IOD", "BR", "F", "ACT", "PEG", "PGE", "MPD", "DMS", "FMT", "NAG", "MAN", "BMA", "FUC", "GAL", "GLC",
    "BGC", "BOG", "HEM", "ADP", "ATP", "GTP", "UDP", "NAD", "NAP", "FAD", "FMN", "SEP", "TPO", "PTR", "MSE",
    "CSO", "CSD", "CME", "PCA", "LLP", "KCX", "M3L", "ACE", "NH2", "TRS", "MES", "EPE", "CIT", "FLC", "BME",
    "DTT", "NO3", "NH4", "IMD", "SCN", "UNX", "UNK",
]  # fmt: skip


@pytest.mark.parametrize("name", COMMON)
def test_what_is_common_in_crystals_is_in_the_embedded_library(name: str) -> None:
    library = load_monomers([name])
    assert library.missing == ()
    component = library.monlib.monomers[name]
    heavy = [atom.id for atom in component.atoms if not atom.is_hydrogen()]
    bonded = {end.atom for bond in component.rt.bonds for end in (bond.id1, bond.id2) if bond.value > 0 < bond.esd}
    assert len(heavy) == 1 or set(heavy) <= bonded
    assert all(atom.chem_type in library.energy for atom in component.atoms)


FURTHER = [
    "NDG", "A2G", "NGA", "GCU", "CLR", "PLM", "OLA", "MYR", "LMT", "C8E", "PE4", "PG0", "12P", "7PE", "B3P", "URE",
    "ACN", "IPH", "BNZ", "DIO", "SPM", "SPD", "GSH", "PYR", "MLZ", "CAS", "ABA", "ORN", "NLE", "AIB", "DAL", "POP",
    "PPV", "YB", "TB", "LA", "CE", "PR", "AL", "LI", "TL", "OS", "IR", "PD", "EU",
]  # fmt: skip


@pytest.mark.parametrize("name", FURTHER)
def test_what_many_crystals_have_is_in_the_embedded_library(name: str) -> None:
    test_what_is_common_in_crystals_is_in_the_embedded_library(name)


@pytest.mark.parametrize("name", ["NDG", "A2G", "NGA", "GCU", "DAL", "CLR"])
def test_coordinates_and_hands_of_further_components_agree(name: str) -> None:
    """The hand is what tells such sugars from each other."""
    component = load_monomers([name]).monlib.monomers[name]
    path = EMBEDDED / name[0].lower() / f"{name}.cif"
    rows = gemmi.cif.read(str(path)).find_block(f"comp_{name}").find("_chem_comp_atom.", ["atom_id", "x", "y", "z"])
    place = {row.str(0): np.array([float(row[k]) for k in (1, 2, 3)]) for row in rows}
    assert len(component.rt.chirs) > (0 if name == "DAL" else 4)
    for one in component.rt.chirs:
        first, second, third = (place[end.atom] - place[one.id_ctr.atom] for end in (one.id1, one.id2, one.id3))
        assert not one.is_wrong(float(first @ np.cross(second, third)))
