"""Reading models: what is kept, what is put right and said so, and what is refused."""

from __future__ import annotations

import gzip
import re
import time
from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest
from synthetic import crystal

from arrayrefine import Options, example, refine, validate_files
from arrayrefine.crystal import Crystal
from arrayrefine.displacements.displacement import U_LIMITS, total_u
from arrayrefine.errors import InputError
from arrayrefine.io.models.model_crystal import box
from arrayrefine.io.models.reading import Model, in_crystal, read_model, with_atoms
from arrayrefine.io.models.special_positions import SITE_TOLERANCE, _images, find_sites
from arrayrefine.io.reflections.reading import crystal_of, read_reflections
from arrayrefine.kernels import symmetric
from arrayrefine.wording import Caution

ANISOU = "ANISOU    1   CA GLY A   1     1000   2000   3000      0      0      0       C"
CRYST = "CRYST1   20.000   30.000   40.000  90.00  90.00  90.00 P 21 21 21    4"


def atom(
    name: str = "CA",
    altloc: str = " ",
    residue: str = "GLY",
    chain: str = " A",
    number: str = "   1 ",
    xyz: tuple[float, float, float] = (1.0, 2.0, 3.0),
    occupancy: str = "  1.00",
    b: str = " 20.00",
    element: str = " C",
    serial: str = "    1",
) -> str:
    """One ATOM record."""
    position = "".join(f"{v:8.3f}" for v in xyz)
    who = f"{serial} {name:>4}{altloc}{residue:>3}{chain:>2}{number}"
    return f"ATOM  {who}   {position}{occupancy}{b}          {element}"


def read(folder: Path, *records: str, header: str = CRYST, name: str = "model.pdb") -> Model:
    """Read a PDB file of these records."""
    path = folder / name
    path.write_text("\n".join([header, *records, "END", ""]))
    return read_model(path)


def said(model: Model, pattern: str) -> bool:
    """Whether one of the notes matches."""
    return any(re.search(pattern, note) for note in model.notes)


MMCIF = """data_test
_cell.length_a 20
_cell.length_b 30
_cell.length_c 40
_cell.angle_alpha 90
_cell.angle_beta 90
_cell.angle_gamma 90
_symmetry.space_group_name_H-M 'P 21 21 21'
_my_own.category kept
loop_
_atom_site.group_PDB
_atom_site.id
_atom_site.type_symbol
_atom_site.label_atom_id
_atom_site.label_alt_id
_atom_site.label_comp_id
_atom_site.label_asym_id
_atom_site.label_entity_id
_atom_site.label_seq_id
_atom_site.pdbx_PDB_ins_code
_atom_site.Cartn_x
_atom_site.Cartn_y
_atom_site.Cartn_z
_atom_site.occupancy
_atom_site.B_iso_or_equiv
_atom_site.auth_seq_id
_atom_site.auth_asym_id
_atom_site.pdbx_PDB_model_num
"""


def test_values_and_names(tmp_path: Path) -> None:
    model = read(
        tmp_path,
        atom("N", element=" N", number=" -12B"),
        atom("CA", "A", number=" -12B", xyz=(2.0, 2.5, -3.25), occupancy="  0.35", b=" 35.70"),
        atom("CA", "B", number=" -12B", xyz=(2.3, 2.5, -3.25), occupancy="  0.65"),
        atom("ZN", residue="ZN", chain=" B", element="ZN", xyz=(7.0, 7.0, 7.0)),
    )
    atoms = model.atoms
    assert len(atoms) == 4
    assert atoms.xyz[1].tolist() == [2.0, 2.5, -3.25]
    assert atoms.b_iso.tolist() == [20.0, 35.7, 20.0, 20.0]
    assert atoms.occupancy.tolist() == [1.0, 0.35, 0.65, 1.0]
    assert atoms.element.tolist() == ["N", "C", "C", "Zn"]
    assert atoms.identity.altloc.tolist() == ["", "A", "B", ""]
    assert atoms.identity.residue.tolist() == [0, 0, 0, 1]
    assert atoms.identity.label(1) == "A/GLY -12B/CA.A"
    assert atoms.multiplicity.tolist() == [1, 1, 1, 1]
    np.testing.assert_array_equal(atoms.site_projection, np.tile(np.eye(3), (4, 1, 1)))
    assert model.crystal.cell == (20.0, 30.0, 40.0, 90.0, 90.0, 90.0)
    assert model.crystal.space_group == "P 21 21 21"
    assert model.document is None
    assert model.notes == ()


def test_microheterogeneity_gives_each_residue_name_its_index(tmp_path: Path) -> None:
    model = read(
        tmp_path,
        atom("CA", "A", "SER", occupancy="  0.50"),
        atom("CA", "B", "THR", occupancy="  0.50", xyz=(1.3, 2, 3)),
    )
    assert model.atoms.identity.residue.tolist() == [0, 1]
    assert model.notes == ()


def test_gzip_and_digest(tmp_path: Path) -> None:
    plain = read(tmp_path, atom())
    path = tmp_path / "model.pdb.gz"
    path.write_bytes(gzip.compress((tmp_path / "model.pdb").read_bytes()))
    packed = read_model(path)
    np.testing.assert_array_equal(packed.atoms.xyz, plain.atoms.xyz)
    assert packed.sha256 != plain.sha256
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(InputError, match="damaged or cut short"):
        read_model(path)


def test_mmcif_with_long_chain_names_keeps_its_document(tmp_path: Path) -> None:
    path = tmp_path / "model.cif"
    path.write_text(
        MMCIF + "ATOM 1 C CA . GLY Axp 1 1 ? 1 2 3 1.0 20 1 HEV 1\nHETATM 2 O O . HOH B 2 . ? 5 6 7 0.5 9 2 HEV 1\n"
    )
    model = read_model(path)
    assert model.atoms.identity.chain.tolist() == ["HEV", "HEV"]
    assert model.atoms.occupancy.tolist() == [1.0, 0.5]
    assert model.document is not None
    assert model.document[0].find_value("_my_own.category") == "kept"
    assert model.notes == ()


def test_pdb_chain_names_of_two_letters_work_and_three_are_refused(tmp_path: Path) -> None:
    assert read(tmp_path, atom(chain="AB")).atoms.identity.chain.tolist() == ["AB"]
    with pytest.raises(InputError, match=r"line 2.*residue number.*two letters of chain name.*mmCIF"):
        read(tmp_path, atom(chain="AB", number="C  1 "))


def test_hybrid_36_serials_and_numbers(tmp_path: Path) -> None:
    model = read(tmp_path, atom(serial="A0000"), atom(serial="zzzzz", number="A000 ", xyz=(8, 8, 8)))
    assert model.atoms.identity.sequence_number.tolist() == [1, 10000]


def test_blank_altlocs_mixed_with_letters(tmp_path: Path) -> None:
    model = read(
        tmp_path,
        atom("N", element=" N"),
        atom("CA", "A", xyz=(2, 2, 3), occupancy="  0.50"),
        atom("CA", "B", xyz=(2.05, 2, 3), occupancy="  0.50"),
        atom("C", xyz=(3, 2, 3)),
    )
    assert model.atoms.identity.altloc.tolist() == ["", "A", "B", ""]
    assert model.notes == ()


def test_single_atom(tmp_path: Path) -> None:
    assert len(read(tmp_path, atom()).atoms) == 1


def test_parts_of_a_chain_stand_together_and_match_the_structure(tmp_path: Path) -> None:
    water = {"name": "O", "residue": "HOH", "element": " O"}
    model = read(
        tmp_path,
        atom(),
        atom(chain=" B", xyz=(5, 5, 5)),
        atom(**water, number="   9 ", xyz=(9, 9, 9)),  # type: ignore[arg-type]
    )
    assert model.atoms.identity.chain.tolist() == ["A", "A", "B"]
    order = [a.pos.tolist() for chain in model.structure[0] for residue in chain for a in residue]
    np.testing.assert_array_equal(order, model.atoms.xyz)


def test_only_the_first_model(tmp_path: Path) -> None:
    model = read(tmp_path, "MODEL        1", atom(), "ENDMDL", "MODEL        2", atom(), "ENDMDL")
    assert len(model.atoms) == len(model.structure) == 1
    assert said(model, "first of 2 models")


def test_anisou_is_read_as_equivalent_b_and_traceless_part(tmp_path: Path) -> None:
    model = read(tmp_path, atom(), ANISOU, atom("CB", xyz=(2, 2, 3)))
    assert model.atoms.b_iso[0] == pytest.approx(8 * np.pi**2 * 0.2, abs=1e-3)
    assert model.atoms.anisotropic.tolist() == [True, False]
    assert model.atoms.u_aniso[0] == pytest.approx([-0.1, 0.0, 0.1, 0.0, 0.0, 0.0])
    assert not model.atoms.u_aniso[1].any()


def test_anisou_that_is_not_positive_definite_is_made_rounder(tmp_path: Path) -> None:
    flat = ANISOU[:28] + "   1000   2000   3000   3000      0      0" + ANISOU[70:]
    model = read(tmp_path, atom(), flat)
    assert said(model, "not positive definite.*1 atom")
    u = symmetric.eigenvalues(total_u(model.atoms))
    assert u[0, 0] == pytest.approx(U_LIMITS[0])
    assert u[0].mean() == pytest.approx(0.2)


def test_with_atoms_returns_a_copy_with_new_values(tmp_path: Path) -> None:
    model = read(tmp_path, atom(), ANISOU)
    moved = model.atoms.replace(xyz=model.atoms.xyz + 0.5, b_iso=np.array([33.0]), occupancy=np.array([0.25]))
    site = with_atoms(model, moved)[0][0][0][0]
    assert site.pos.tolist() == [1.5, 2.5, 3.5]
    assert (site.b_iso, site.occ) == (33.0, 0.25)
    assert site.b_eq() == pytest.approx(33.0, rel=1e-5)
    assert site.aniso.u33 - site.aniso.u11 == pytest.approx(0.2)
    round_ = with_atoms(model, moved.replace(u_aniso=np.zeros((1, 6))))[0][0][0][0]
    assert not round_.aniso.nonzero()
    original = model.structure[0][0][0][0]
    assert original.pos.tolist() == [1.0, 2.0, 3.0]
    assert original.aniso.nonzero()


def test_with_atoms_refuses_atoms_of_another_model(tmp_path: Path) -> None:
    one = read(tmp_path, atom())
    two = read(tmp_path, atom(), atom("CB", xyz=(2, 2, 3)))
    with pytest.raises(InputError, match="2 atoms cannot be put into"):
        with_atoms(one, two.atoms)


def test_large_b_of_a_whole_model_are_kept(tmp_path: Path) -> None:
    """As at 6 Å; one atom far above the others is not."""
    rows = [atom(name, xyz=(2.0 * k, 2, 3), b=b) for k, (name, b) in enumerate(
        [("CA", "500.00"), ("C", "450.00"), ("O", "900.00"), ("N", "520.00"), ("CB", "110.00")]
    )]  # fmt: skip
    assert read(tmp_path, *rows).atoms.b_iso.tolist() == [500.0, 450.0, 900.0, 520.0, 110.0]
    low = [row.replace("500.00", "120.00").replace("450.00", "130.00").replace("520.00", "140.00") for row in rows]
    model = read(tmp_path, *low)
    assert model.atoms.b_iso.max() == 390.0  # three times the median
    assert said(model, "above 390.*1 atom")


@pytest.mark.parametrize(
    ("text", "expected", "pattern"),
    [
        (" -5.00", 20.0, "zero, negative or not a number"),
        ("  0.00", 20.0, "zero, negative or not a number"),
        ("   nan", 20.0, "zero, negative or not a number"),
        ("  0.20", 0.5, "below 0.5"),
        ("999.00", 300.0, "above 300"),
    ],
)
def test_absurd_b(tmp_path: Path, text: str, expected: float, pattern: str) -> None:
    odd = atom("C", xyz=(3, 3, 3), b=text)
    model = read(tmp_path, atom("N", element=" N"), atom("CB", xyz=(2, 2, 3)), odd)
    assert model.atoms.b_iso.tolist() == [20.0, 20.0, expected]
    assert said(model, f"{pattern}.*1 atom.*A/GLY 1/C$")


def test_b_of_zero_everywhere(tmp_path: Path) -> None:
    model = read(tmp_path, *(atom("C", number=f"{i:4d} ", xyz=(i, 5, 5), b="  0.00") for i in range(1, 9)))
    assert (model.atoms.b_iso == 30.0).all()
    assert said(model, r"30.0 Å² \(a default.*8 atom.*GLY 5/C and 3 more")


@pytest.mark.parametrize(
    ("text", "expected", "pattern"),
    [
        (" -5.00", 0.0, "was negative"),
        ("999.00", 1.0, "was above 1"),
        ("   nan", 1.0, "was not a number"),
        ("      ", 1.0, "was blank"),
        ("  0.00", 0.0, "1 atom of zero occupancy is kept"),
    ],
)
def test_absurd_occupancy(tmp_path: Path, text: str, expected: float, pattern: str) -> None:
    model = read(tmp_path, atom("N", element=" N"), atom("CB", xyz=(2, 2, 3), occupancy=text))
    assert model.atoms.occupancy.tolist() == [1.0, expected]
    assert said(model, pattern)


@pytest.mark.parametrize("end", [49, 51, 53])
def test_records_that_end_within_a_coordinate_are_refused(tmp_path: Path, end: int) -> None:
    with pytest.raises(InputError, match="line is too short"):
        read(tmp_path, atom("N", element=" N"), atom(" CB ", xyz=(2, 2, 123.456))[:end])


@pytest.mark.parametrize("end", [54, 60])
def test_records_that_end_before_b_are_told(tmp_path: Path, end: int) -> None:
    """gemmi gives such atoms an occupancy of 1 and a B of 20."""
    model = read(tmp_path, atom("N", element=" N", b=" 35.00"), atom(" CB ", xyz=(2, 2, 3))[:end])
    assert model.atoms.b_iso.tolist() == [35.0, 35.0]
    assert said(model, r"B was zero, negative or not a number and is set to 35.0 Å² .*: A/GLY 1/CB")
    assert bool([note for note in model.notes if "occupancy was blank" in note]) == (end == 54)


def test_hydrogens_of_zero_occupancy_are_counted_apart(tmp_path: Path) -> None:
    model = read(
        tmp_path, atom("N", element=" N"), atom("CB", xyz=(2, 2, 3), occupancy="  0.00"),
        atom("HB1", xyz=(2, 3, 3), occupancy="  0.00", element=" H"),
    )  # fmt: skip
    assert said(model, r"^1 atom of zero occupancy is kept, without scattering: A/GLY 1/CB$")
    assert said(model, r"^1 hydrogen of zero occupancy is kept, without scattering, unless hydrogens are placed anew")


def test_hydrogens_to_which_a_refinement_gave_no_occupancy_are_not_told_again() -> None:
    """Those on histidines' N, which may be there or not; atoms without occupancy are."""
    structure = gemmi.read_structure(str(example.MODEL))
    atoms = structure[0][0][0]
    hydrogen = gemmi.Atom()
    hydrogen.name, hydrogen.element, hydrogen.occ = "H1", gemmi.Element("H"), 0.0
    x, y, z = atoms[0].pos.tolist()
    hydrogen.pos, atoms[1].occ = gemmi.Position(x, y, z + 0.9), 0.0
    atoms.add_atom(hydrogen)
    assert sum("of zero occupancy" in note for note in read_model(structure).notes) == 2
    software = gemmi.SoftwareItem()
    software.name = "arrayrefine"
    structure.meta.software = [*structure.meta.software, software]
    (note,) = [note for note in read_model(structure).notes if "of zero occupancy" in note]
    assert note.startswith("1 atom ")


def test_nothing_that_scatters(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"all 1 atom.*zero occupancy"):
        read(tmp_path, atom(occupancy="  0.00"))


@pytest.mark.parametrize("element", [" X", "QQ"])
def test_unknown_element(tmp_path: Path, element: str) -> None:
    with pytest.raises(InputError, match=r"1 atom.*unknown element: A/GLY 1/Q1.*columns 77-78"):
        read(tmp_path, atom(), atom("Q1", xyz=(5, 5, 5), element=element))


def test_hydrogens_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found hydrogens alone \(A/GLY 1/H, A/GLY 1/HA2\), expected the atoms"):
        read(tmp_path, atom("H", element=" H"), atom("HA2", xyz=(2, 2, 3), element=" H"))


def test_atoms_that_the_depositor_did_not_know(tmp_path: Path) -> None:
    """They are a component of their own, in which alone the element may be unknown."""
    unx = atom("UNK", residue="UNX", number="   2 ", xyz=(5, 5, 5), element=" X")
    with pytest.raises(InputError, match=r"A/LIG 2/UNK.*--unknown hold neither.*name the residue UNX"):
        read(tmp_path, atom(), unx.replace("UNX", "LIG"))
    model = read(tmp_path, atom(), unx)
    assert model.atoms.element.tolist()[1] == "O"
    assert model.structure[0]["A"][1][0].element.name == "X"


@pytest.mark.parametrize("value", [9999.0, 0.0])
def test_atoms_that_were_never_placed(tmp_path: Path, value: float) -> None:
    """As X-PLOR and others mark them; one atom may well be at the origin, and hydrogens are placed anew."""
    lost = [atom(name, xyz=(value,) * 3) for name in ("CB", "CG")]
    with pytest.raises(InputError, match=r"2 atoms without usable coordinates: A/GLY 1/CB, A/GLY 1/CG; .* 9999 .* 0 0"):
        read(tmp_path, atom("CA"), *lost)
    origin = (0.0, 0.0, 0.0)  # where an ion may well be, in two conformers, too
    at_origin = [atom("CB", xyz=origin, altloc=altloc) for altloc in "AB"]
    assert len(read(tmp_path, atom("CA"), *at_origin).atoms) == 3
    at_origin = [atom("CB", xyz=origin), atom("HB1", xyz=origin, element=" H")]
    assert len(read(tmp_path, atom("CA"), *at_origin).atoms) == 3


@pytest.mark.parametrize("field", [" " * 8, "     nan", "********"])
def test_missing_coordinates(tmp_path: Path, field: str) -> None:
    record = atom("CB", xyz=(5, 5, 5))
    with pytest.raises(InputError, match="coordinates"):
        read(tmp_path, atom(), record[:30] + field + record[38:])


def test_missing_coordinates_in_mmcif(tmp_path: Path) -> None:
    path = tmp_path / "model.cif"
    path.write_text(MMCIF + "ATOM 1 C CA . GLY A 1 1 ? ? 2 3 1.0 20 1 A 1\n")
    with pytest.raises(InputError, match=r"without usable coordinates: A/GLY 1/CA"):
        read_model(path)


def test_duplicate_atoms_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"given twice.*A/GLY 1/CA.A"):
        read(tmp_path, atom("CA", "A"), atom("CA", "B", xyz=(2, 2, 2)), atom("CA", "A", xyz=(5, 5, 5)))


def test_atoms_on_top_of_each_other_are_named(tmp_path: Path) -> None:
    model = read(tmp_path, atom("N", element=" N"), atom("CB", xyz=(1.05, 2, 3)), atom("C", xyz=(3, 3, 3)))
    assert said(model, "1 pair.*on top of each other.*A/GLY 1/N on A/GLY 1/CB")
    apart = read(tmp_path, atom("N", "A", element=" N"), atom("CB", "B", xyz=(1.05, 2, 3)))
    assert not said(apart, "on top")


DUMMY = "CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1"


@pytest.mark.parametrize("header", ["REMARK none", DUMMY])
def test_no_cell(tmp_path: Path, header: str) -> None:
    with pytest.raises(InputError, match=r"no unit cell.*add a CRYST1 record"):
        read(tmp_path, atom(), header=header)


@pytest.mark.parametrize("suffix", [".pdb", ".cif", "dummy.cif"])
def test_a_model_without_a_crystal_is_put_into_that_of_its_data(tmp_path: Path, suffix: str) -> None:
    """Predicted models name none, or a cube of 1 Å."""
    structure = gemmi.read_structure(str(example.MODEL))
    path = tmp_path / f"model{suffix}"
    if suffix != ".cif":
        structure.cell, structure.spacegroup_hm = gemmi.UnitCell(1, 1, 1, 90, 90, 90), "P 1"
        structure.info["_cell.Z_PDB"] = "1"
    if suffix == ".pdb":
        structure.write_pdb(str(path))
    elif suffix == "dummy.cif":
        structure.make_mmcif_document().write_file(str(path))
    else:
        document = structure.make_mmcif_document()
        for category in ("_cell.", "_symmetry.", "_atom_sites."):
            document[0].find_mmcif_category(category).erase()
        document.write_file(str(path))
    with pytest.raises(InputError, match="no unit cell"):
        read_model(path)
    with pytest.raises(InputError, match="no unit cell"):
        read_model(path, lambda _: None)
    model = read_model(path, lambda _: crystal_of(example.DATA))
    assert model.crystal == crystal_of(example.DATA) == read_model(example.MODEL).crystal
    assert said(model, "names no crystal: it is put into .*P 21 21 21")
    known = read_model(example.MODEL, lambda _: pytest.fail("it was asked for what the model says"))
    assert known.crystal == model.crystal
    data, _ = read_reflections(example.DATA, model.crystal)
    assert crystal_of(data) == model.crystal
    result = refine(path, example.DATA, Options(cycles=1, targets=("scale",), report=False))
    result.write(tmp_path / "out")
    for name in ("refined.pdb", "refined.cif"):
        written = gemmi.read_structure(str(tmp_path / "out" / name))
        np.testing.assert_allclose(written.cell.parameters, model.crystal.cell, atol=1e-3)
        assert written.spacegroup_hm == "P 21 21 21"
        assert read_model(tmp_path / "out" / name).crystal == model.crystal
        assert dict(written.info.items()).get("_cell.Z_PDB", "") != "1"
    assert any("names no crystal" in note for note in result.report.warnings)


def test_what_a_model_says_of_its_crystal_stays(tmp_path: Path) -> None:
    """A space group without a cell, a cell without a space group, and neither in the data."""
    structure = gemmi.read_structure(str(example.MODEL))
    path, cell = tmp_path / "model.cif", structure.cell
    document = structure.make_mmcif_document()
    document[0].find_mmcif_category("_cell.").erase()
    document.write_file(str(path))
    other = Crystal(read_model(example.MODEL).crystal.cell, "P 1 2 1")
    model = read_model(path, lambda _: other)
    assert model.crystal.space_group == "P 21 21 21"
    assert said(model, "names no unit cell")
    structure.write_pdb(str(path.with_suffix(".pdb")))
    text = path.with_suffix(".pdb").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("CRYST1")]
    path.with_suffix(".pdb").write_text(text.replace(line, f"{line[:55]}{'':11}{line[66:]}"))
    model = read_model(path.with_suffix(".pdb"), lambda _: crystal_of(example.DATA))
    assert model.crystal.space_group == "P 21 21 21"
    assert model.structure.cell.parameters == pytest.approx(cell.parameters)
    assert said(model, "names no space group")
    with pytest.raises(InputError, match=r"space group \(found ''\), and its data do not name both"):
        read_model(path.with_suffix(".pdb"), lambda _: None)


@pytest.mark.parametrize(("symbol", "found"), [
    ("P2(1)2(1)2", "P 21 21 2"), ("'P 2 2 2'", "P 2 2 2"),
    ("P 2(1)2(1)2", ""), ("P2(1)2(1)2(", ""), ("unknown", ""),
])  # fmt: skip
def test_symbols_of_space_groups_as_other_programs_write_them(tmp_path: Path, symbol: str, found: str) -> None:
    """Those that fill their columns may have been cut: two of these are P 21 21 21."""
    (tmp_path / "a.pdb").write_text(f"{CRYST[:55]}{symbol:11}   4\n{atom()}\n")
    model = read_model(tmp_path / "a.pdb", lambda _: Crystal((20.0, 30.0, 40.0, 90.0, 90.0, 90.0), "P 21 21 21"))
    assert model.crystal.space_group == found or not found
    assert said(model, "names no space group that is known") == (not found)


def test_coordinates_that_are_none_are_named_before_a_box_is_made_of_them(tmp_path: Path) -> None:
    structure = gemmi.read_structure(str(example.MODEL))
    structure.cell = gemmi.UnitCell()
    structure[0][0][0][0].pos = gemmi.Position(np.nan, 1.0, 2.0)
    with pytest.raises(InputError, match="A/MET 1/N"):
        read_model(structure, box)


def test_a_model_without_a_crystal_is_validated_by_itself(tmp_path: Path) -> None:
    structure = gemmi.read_structure(str(example.MODEL))
    structure.cell = gemmi.UnitCell()
    path = tmp_path / "model.pdb"
    structure.write_pdb(str(path))
    alone, notes = validate_files(path)
    within, _ = validate_files(example.MODEL)
    assert any("names no crystal: it is put into" in note for note in notes)
    assert [row.phi for row in alone.residues] == pytest.approx([row.phi for row in within.residues], abs=0.2)
    assert any(clash.symmetry for clash in within.clashes)
    assert not any(clash.symmetry for clash in alone.clashes)
    assert box(structure).space_group == "P 1"


@pytest.mark.parametrize("turned", [False, True])
def test_scale_records_that_are_not_of_the_standard_frame(tmp_path: Path, turned: bool) -> None:
    """A frame that is turned belongs to its coordinates, even where the space group asks for equal axes; a unit matrix
    to nothing."""
    structure = gemmi.read_structure(str(example.MODEL))
    sides = structure.cell.parameters[:3]
    sides = (sides[0], sides[0], sides[2])
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(*sides, 90, 90, 90), "P 41"
    plain = read_model(structure)
    path = tmp_path / "model.pdb"
    scale = np.diag(1.0 / np.array(sides))
    if turned:
        turn = np.array([[0.5, -(0.75**0.5), 0.0], [0.75**0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
        for site in structure[0].all():
            site.atom.pos = gemmi.Position(*(turn @ site.atom.pos.tolist()))
        scale = scale @ turn.T
    else:
        scale = np.eye(3)
    structure.write_pdb(str(path))
    lines = [line for line in path.read_text().splitlines() if not line.startswith("SCALE")]
    place = next(i for i, line in enumerate(lines) if line.startswith("CRYST1")) + 1
    rows = [f"SCALE{i}    " + "".join(f"{v:10.6f}" for v in row) + "        0.00000" for i, row in enumerate(scale, 1)]
    path.write_text("\n".join((*lines[:place], *rows, *lines[place:], "")))
    model = read_model(path)
    assert model.crystal == plain.crystal
    assert np.abs(model.atoms.xyz - plain.atoms.xyz).max() < 0.01
    assert said(model, "frame: coordinates are moved" if turned else "SCALE records are a unit matrix")


def test_unknown_space_group(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no known space group.*'P 99'"):
        read(tmp_path, atom(), header=CRYST.replace("P 21 21 21", "P 99      "))


def test_cell_that_does_not_fit_the_space_group(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"20 30 40.*does not fit space group P 43"):
        read(tmp_path, atom(), header=CRYST.replace("P 21 21 21", "P 43      "))


def test_files_that_are_no_model(tmp_path: Path) -> None:
    mtz = tmp_path / "data.mtz"
    empty = gemmi.Mtz(with_base=True)
    empty.spacegroup = gemmi.SpaceGroup("P 1")
    empty.set_cell_for_all(gemmi.UnitCell(20, 30, 40, 90, 90, 90))
    empty.set_data(np.array([[1, 2, 3]], dtype=np.float32))
    empty.write_to_file(str(mtz))
    cases = {
        "missing.pdb": (None, "does not exist"),
        "empty.pdb": (b"", "is empty"),
        "blank.pdb": (b" \n\n", "is empty"),
        "letter.txt": (b"Dear colleague,\nplease find attached\n", "a text file of no known kind"),
        "picture.png": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "a binary file of no known kind"),
        "header.pdb": (CRYST.encode() + b"\nEND\n", "has no atoms"),
        "sf.cif": (b"data_x\nloop_\n_refln.index_h\n_refln.index_k\n1 2\n", "holds reflections"),
        "lig.cif": (b"data_comp_X\nloop_\n_chem_comp_atom.atom_id\nC\n", "restraints"),
        "broken.cif": (MMCIF.encode() + b"ATOM 1 C CA . GLY A\n", "cannot be parsed"),
    }
    for name, (content, pattern) in cases.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError, match=pattern) as caught:
            read_model(path)
        assert name in str(caught.value)
    with pytest.raises(InputError, match=r"is an MTZ file; expected a model.*give it as the data"):
        read_model(mtz)
    with pytest.raises(InputError, match="is a folder"):
        read_model(tmp_path)


# cell and group with axes of known place, a point on one of them, its multiplicity, rank of the projection
SITES = [
    ("50.000   60.000   70.000  90.00 100.00  90.00 P 1 2 1", (0.0, 20.0, 0.0), 2, 1),
    ("50.000   50.000   70.000  90.00  90.00 120.00 P 3", (0.0, 0.0, 11.0), 3, 1),
    ("50.000   50.000   70.000  90.00  90.00  90.00 P 4 2 2", (0.0, 0.0, 0.0), 8, 0),
    ("50.000   50.000   50.000  90.00  90.00  90.00 P 2 3", (0.0, 0.0, 0.0), 12, 0),
    ("50.000   50.000   50.000  90.00  90.00  90.00 P 2 3", (6.0, 6.0, 6.0), 3, 1),
    ("50.000   50.000   50.000  90.00  90.00  90.00 F 4 3 2", (0.0, 0.0, 0.0), 24, 0),
]


@pytest.mark.parametrize(("cell", "site", "multiplicity", "rank"), SITES)
def test_special_positions(
    tmp_path: Path, cell: str, site: tuple[float, float, float], multiplicity: int, rank: int
) -> None:
    rng = np.random.default_rng(1)
    shift = rng.normal(size=3)
    near = tuple(np.round(np.array(site) + 0.15 * shift / np.linalg.norm(shift), 3).tolist())
    water = atom("O", residue="HOH", element=" O", xyz=near)
    water = water.replace(" A   1", " W   1")
    model = read(tmp_path, atom(xyz=(9, 11, 17)), water, header=f"CRYST1   {cell}")
    atoms = model.atoms
    assert atoms.multiplicity.tolist() == [1, multiplicity]
    projection = atoms.site_projection[1]
    np.testing.assert_allclose(projection @ projection, projection, atol=1e-9)
    np.testing.assert_allclose(projection, projection.T, atol=1e-9)
    assert np.linalg.matrix_rank(projection, tol=1e-6) == rank
    # every operator of the site maps the atom onto itself; along the free directions it has not moved
    images = with_atoms(model, atoms)
    images.setup_cell_images()
    assert images.cell.is_special_position(images[0][1][0][0].pos, 1e-3) == multiplicity - 1
    np.testing.assert_allclose(projection @ (atoms.xyz[1] - near), 0.0, atol=1e-9)
    assert atoms.occupancy.tolist() == [1.0, pytest.approx(1.0 / multiplicity)]
    assert said(model, "1 atom.*special positions.*W/HOH 1/O")
    assert said(model, r"1 of them was moved onto the site by up to 0\.[01]")
    assert said(model, "at most 1/n: lowered for 1 atom")


def test_special_position_with_its_own_occupancy(tmp_path: Path) -> None:
    header = f"CRYST1   {SITES[0][0]}"
    water = atom("O", residue="HOH", element=" O", xyz=(0, 20, 0), occupancy="  0.50")
    model = read(tmp_path, water, header=header)
    assert model.atoms.occupancy.tolist() == [0.5]
    assert not said(model, "moved|lowered")


def test_disordered_molecule_beside_an_axis_is_left_where_it_is(tmp_path: Path) -> None:
    header = f"CRYST1   {SITES[0][0]}"
    first = atom("C1", residue="PO4", xyz=(0.3, 20, 0), occupancy="  0.50")
    second = atom("C2", residue="PO4", xyz=(1.8, 20, 0), occupancy="  0.50")
    model = read(tmp_path, first, second, header=header)
    assert model.atoms.multiplicity.tolist() == [1, 1]
    assert model.atoms.xyz[0].tolist() == [0.3, 20.0, 0.0]


def test_point_between_two_axes_gets_a_group(tmp_path: Path) -> None:
    # 0.35 Å from the centre of 222 along one axis: two of the four images are within reach
    header = "CRYST1   50.000   60.000   70.000  90.00  90.00  90.00 P 2 2 2"
    model = read(tmp_path, atom("O", residue="HOH", element=" O", xyz=(0.45, 0.05, 0.0)), header=header)
    assert model.atoms.multiplicity[0] in (2, 4)
    fractional = model.crystal.fractional(model.atoms.xyz)[0]
    images = model.crystal.rotations @ fractional + model.crystal.translations
    fixed = np.abs((images - fractional) - np.round(images - fractional)).max(axis=1) < 1e-9
    assert fixed.sum() == model.atoms.multiplicity[0]


def test_real_models(case: Callable[[str], Path]) -> None:
    for name, count in (("1aba", 880), ("5uui", 1080), ("hewl_ssad", 2306)):
        folder = case(name)
        suffix = "cif" if (folder / "model.cif").exists() else "pdb"
        model = read_model(folder / f"model.{suffix}")
        assert len(model.atoms) == count
    for suffix in ("pdb", "cif"):
        model = read_model(case("5uui") / f"shaken.{suffix}")
        waters = [model.atoms.identity.label(int(i)) for i in np.flatnonzero(model.atoms.multiplicity == 3)]
        assert waters == ["A/HOH 351/O", "A/HOH 352/O"]


def test_pdb_and_mmcif_of_the_same_model_agree(case: Callable[[str], Path]) -> None:
    folder = case("1cbs")
    pdb, cif = read_model(folder / "shaken.pdb").atoms, read_model(folder / "shaken.cif").atoms
    np.testing.assert_allclose(pdb.xyz, cif.xyz, atol=1e-3)
    np.testing.assert_allclose(pdb.b_iso, cif.b_iso, atol=0.01)
    assert pdb.identity.atom_name.tolist() == cif.identity.atom_name.tolist()


def test_a_large_model_reads_quickly(case: Callable[[str], Path]) -> None:
    path = case("4iid") / "model.pdb"
    start = time.process_time()
    assert len(read_model(path).atoms) == 14782
    assert time.process_time() - start < 2.0


# --- one crystal for model and data ---


def test_in_the_cell_of_the_data_sites_follow_their_axes(tmp_path: Path) -> None:
    """A sulphate on a two-fold axis at x = 1/2, z = 1/2, and a general atom, in a cell 0.8 % larger."""
    model = read(
        tmp_path,
        atom(name="S", residue="SO4", xyz=(17.821, 5.0, 24.905), element=" S", occupancy="  0.50"),
        atom(name="O1", residue="SO4", xyz=(19.021, 5.8, 25.0), element=" O", occupancy="  0.50"),
        atom(name="CA", number="   2 ", xyz=(3.0, 4.0, 5.0)),
        header="CRYST1   40.000   45.000   50.000  90.00  95.00  90.00 P 1 2 1      2",
    )
    cell = tuple(f * v for f, v in zip((1.008, 1.008, 1.008, 1, 1, 1), model.crystal.cell))
    crystal = Crystal(cell, model.crystal.space_group)  # type: ignore[arg-type]
    moved = in_crystal(model, crystal)
    assert moved.crystal == crystal
    assert moved.structure.cell.parameters == crystal.cell
    assert model.structure.cell.parameters == model.crystal.cell, "the model as read must not change"
    assert moved.atoms.multiplicity.tolist() == model.atoms.multiplicity.tolist() == [2, 1, 1]
    np.testing.assert_allclose(moved.atoms.xyz[1:], model.atoms.xyz[1:], atol=1e-9)
    fractional = crystal.fractional(moved.atoms.xyz)[0]
    np.testing.assert_allclose(fractional[[0, 2]], 0.5, atol=1e-9)
    assert moved.atoms.xyz[0, 1] == pytest.approx(5.0, abs=1e-9), "along the axis the Cartesian coordinate is kept"
    assert said(moved, "Cartesian coordinates are kept")
    assert said(moved, r"moved onto the site by up to 0\.2")
    assert in_crystal(model, model.crystal) is model


def test_a_cell_that_differs_by_rounding_is_not_worth_a_note(tmp_path: Path) -> None:
    model = read(tmp_path, atom())
    crystal = Crystal((20.0000001, *model.crystal.cell[1:]), model.crystal.space_group)
    assert in_crystal(model, crystal).notes == model.notes


def test_a_small_molecule_is_told_from_a_model(tmp_path: Path) -> None:
    path = tmp_path / "small.cif"
    path.write_text("data_x\nloop_\n_atom_site_label\n_atom_site_fract_x\nC1 0.1\nC2 0.2\n")
    with pytest.raises(InputError, match="holds a small-molecule structure, which is not supported; expected"):
        read_model(path)


@pytest.mark.parametrize("group", ["R 3:H", "R 3 2:R", "F 4 3 2"])
def test_a_site_is_as_near_as_its_tolerance_or_the_atom_stays(group: str) -> None:
    """Near axes that meet, or as far from a threefold that its images are near and it is not."""
    box, rng = crystal(group), np.random.default_rng(0)
    x = box.fractional(rng.uniform(0.0, 20.0, (400, 3)))
    op = rng.integers(1, len(box.rotations), 400)
    image = np.einsum("nij,nj->ni", box.rotations[op], x) + box.translations[op]
    xyz = box.cartesian(0.5 * (x + image)) + rng.normal(0.0, 0.35, (400, 3))
    sites = find_sites(box, xyz, np.arange(400))
    assert (sites.moved <= SITE_TOLERANCE).all()
    general = sites.multiplicity == 1
    assert np.array_equal(sites.xyz[general], xyz[general])
    near = [(np.linalg.norm(_images(box, one)[0] - one, axis=1) < 1e-3).sum() for one in sites.xyz[~general]]
    assert near == sites.multiplicity[~general].tolist()
    assert general.any()
    assert not general.all()


def test_hydrogens_without_b_are_no_reason_to_warn() -> None:
    structure = gemmi.read_structure(str(example.MODEL))
    chain = structure[0][0]
    chain[0][0].b_iso = 0.0
    hydrogen = chain[0].add_atom(chain[0][1].clone())
    hydrogen.name, hydrogen.element, hydrogen.b_iso = "HA", gemmi.Element("H"), 0.0
    first, second = (note for note in read_model(structure).notes if note.startswith("B was zero"))
    assert isinstance(first, Caution)
    assert "for 1 atom:" in first
    assert not isinstance(second, Caution)
    assert "for 1 hydrogen:" in second
