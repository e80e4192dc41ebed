"""Files whose B leave out the motion of their TLS groups are read with it."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
import pytest

from arrayrefine.crystal import Crystal
from arrayrefine.displacements.displacement import EIGHT_PI_SQUARED, total_u
from arrayrefine.displacements.tls import Tls
from arrayrefine.io.models.reading import Model, in_crystal, read_model
from arrayrefine.io.output.remark_3 import _tls
from arrayrefine.kernels import symmetric

HEADER = """REMARK   3
REMARK   3 REFINEMENT.
REMARK   3   PROGRAM     : REFMAC 5.5.0102
REMARK   3
REMARK   3  DATA USED IN REFINEMENT.
REMARK   3   RESOLUTION RANGE HIGH (ANGSTROMS) : 2.00
REMARK   3
"""
CELL = "CRYST1   40.000   42.000   44.000  90.00  90.00  90.00 P 1\n"
SAID = "REMARK   3  POSITIONS U VALUES : RESIDUAL ONLY\n"
COPY = "".join(
    f"MTRIX{i}   2{row}{shift:15.5f}     \n"
    for i, row, shift in (
        (1, "  0.000000  1.000000  0.000000", 0.0), (2, "  0.000000  0.000000  1.000000", 14.0),
        (3, "  1.000000  0.000000  0.000000", 20.0),
    )
)  # fmt: skip
"""An operator that makes a copy, turned."""
ORIGIN = np.array([10.0, 11.0, 12.0])
DEGREES = 180.0 / np.pi


def _values() -> np.ndarray:
    """Twenty numbers of a motion in general position, as `Tls` has them."""
    t, libration = [0.30, 0.20, 0.25, 0.03, -0.02, 0.04], [4.0, 3.0, 5.0, 0.3, -0.2, 0.1]
    screw = [0.05, -0.02, 0.11, -0.07, 0.13, 0.02, -0.09, 0.06]
    return np.array([*t, *(np.array(libration) / DEGREES**2), *(np.array(screw) / DEGREES)])


def _lines(values: np.ndarray) -> str:
    t, libration = symmetric.matrices(values[:6]), symmetric.matrices(values[6:12]) * DEGREES**2
    s11, s22, s12, s13, s21, s23, s31, s32 = values[12:] * DEGREES
    screw = [[s11, s12, s13], [s21, s22, s23], [s31, s32, -s11 - s22]]
    group = {"ranges": [["A", "1", "3"]], "origin": ORIGIN.tolist(), "T": t, "L": libration, "S": screw}
    return "\n".join(f"REMARK   3{line}" for line in _tls([group])) + "\n"


def _text(said: str = SAID, values: np.ndarray | None = None, anisou: bool = False) -> str:
    """Four alanines, of which a group of the header has three."""
    rng = np.random.default_rng(2)
    text = HEADER + _lines(_values() if values is None else values) + said + CELL
    for k in range(4):
        x, y, z = ORIGIN + rng.normal(0.0, 6.0, 3)
        site = f"{k + 1:5d}  CA  ALA A{k + 1:4d} "
        text += f"ATOM  {site}   {x:8.3f}{y:8.3f}{z:8.3f}  1.00 20.00           C\n"
        if anisou:
            text += f"ANISOU{site}    2533   2533   2533      0      0      0       C\n"
    return text + "END\n"


def _read(folder: Path, text: str) -> Model:
    (folder / "model.pdb").write_text(text)
    return read_model(folder / "model.pdb")


def _is_whole(model: Model) -> None:
    group = np.array([0, 0, 0, -1])
    motion = Tls(group, ORIGIN[None], _values()[None]).u(model.atoms.xyz)
    expected = motion + symmetric.isotropic(np.full(4, 20.0 / EIGHT_PI_SQUARED))
    np.testing.assert_allclose(total_u(model.atoms), expected, atol=2e-4)
    assert model.atoms.anisotropic.tolist() == [True] * 3 + [False]


@pytest.mark.parametrize(
    "said",
    [
        SAID,
        "REMARK   3  ATOM RECORD CONTAINS RESIDUAL B FACTORS ONLY\n",
        "REMARK   3  HYDROGENS HAVE BEEN ADDED. ATOM RECORD CONTAINS\nREMARK   3  RESIDUAL B FACTORS ONLY\n",
        "REMARK   3   B VALUE TYPE : LIKELY RESIDUAL\n",
    ],
)
def test_the_motion_of_the_groups_is_added(tmp_path: Path, said: str) -> None:
    model = _read(tmp_path, _text(said))
    _is_whole(model)
    (note,) = [note for note in model.notes if "the header says" in note]
    assert "the motion of 1 group is added to 3 atoms" in note
    assert "mean B goes from 20.0 to" in note
    # once only: the structure keeps the B of its file
    _is_whole(read_model(model.structure))
    _is_whole(in_crystal(model, Crystal((40.0, 42.0, 44.1, 90.0, 90.0, 90.0), "P 1")))


@pytest.mark.parametrize(
    "run", ["A        1        A        3", "A     1        A       3", "A 1 A 3", "A     1A       A        3"]
)
def test_ranges_are_read_however_they_are_spaced(tmp_path: Path, run: str) -> None:
    text, known = _text(), "A     1        A     3"
    assert known in text
    text = text.replace(known, run)
    if "1A" in run:
        text = text.replace("ALA A   1 ", "ALA A   1A")
    (tmp_path / "model.pdb").write_text(text)
    _is_whole(read_model(tmp_path / "model.pdb"))
    _is_whole(read_model(gemmi.read_structure(str(tmp_path / "model.pdb"))))


def test_a_group_of_which_no_atom_is_found_is_named(tmp_path: Path) -> None:
    text = _text()
    first = text[text.index("REMARK   3   TLS GROUP") : text.index(SAID)]
    other = first.replace("TLS GROUP : 1", "TLS GROUP : 2").replace("A     1        A     3", "A    50        A    60")
    assert "RANGE :   A    50" in other
    model = _read(tmp_path, text.replace(SAID, other + SAID))
    _is_whole(model)
    (note,) = [note for note in model.notes if "the header says" in note]
    assert "the motion of 1 group is added to 3 atoms" in note
    assert note.endswith("; no atom is in the ranges of 1 more")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (_text().replace("A     1        A     3", "B     1        B     3"), "header is not taken: no atom is in"),
        (_text().replace("A     1        A     3", "A     1        B     3"), "no range of residues within one chain"),
        (_text().replace("RESIDUE RANGE :   A     1        A     3", "SELECTION: { A|1 - A|3 }"), "given as text"),
        ("\n".join(line for line in _text().splitlines() if "T11" not in line), "not all of their tensors"),
    ],
    ids=["another chain", "across chains", "text", "no tensor"],
)
def test_residual_b_that_cannot_be_completed_are_named(tmp_path: Path, text: str, words: str) -> None:
    model = _read(tmp_path, text)
    assert model.atoms.b_iso.tolist() == pytest.approx([20.0] * 4, abs=0.01)
    assert not model.atoms.u_aniso.any()
    (note,) = [note for note in model.notes if "the header says" in note]
    assert "these B are taken for whole ones" in note
    assert words in note


@pytest.mark.parametrize("tag", ["_refine.details", "_refine.pdbx_TLS_residual_ADP_flag"])
def test_the_same_in_mmcif(tmp_path: Path, tag: str) -> None:
    structure = gemmi.read_pdb_string(_text(""))
    block = structure.make_mmcif_document().sole_block()
    said = {"_refine.details": "U VALUES : RESIDUAL ONLY"}.get(tag, "LIKELY RESIDUAL")
    block.set_pair(tag, gemmi.cif.quote(said))
    block.write_file(str(tmp_path / "model.cif"))
    _is_whole(read_model(tmp_path / "model.cif"))


@pytest.mark.parametrize(
    "text",
    [
        _text(""),
        _text("REMARK   3  ATOM RECORD CONTAINS SUM OF TLS AND\nREMARK   3  RESIDUAL B FACTORS\n"),
        _text(anisou=True),
        _text(values=np.zeros(20)),
        _text().replace("REFMAC 5.5.0102", "ARRAYREFINE 1.0"),
    ],
    ids=["nothing said", "sums", "ANISOU", "no motion", "ours"],
)
def test_other_files_are_read_as_they_are(tmp_path: Path, text: str) -> None:
    model = _read(tmp_path, text)
    assert model.atoms.b_iso.tolist() == pytest.approx([20.0] * 4, abs=0.01)
    assert not model.atoms.u_aniso.any()
    assert not [note for note in model.notes if "header" in note]


def test_groups_of_a_model_that_was_moved_since_move_nothing(tmp_path: Path) -> None:
    there = _text()
    model = _read(tmp_path, there.replace(f"{ORIGIN[0]:9.4f}", f"{ORIGIN[0] + 40.0:9.4f}"))
    assert not model.atoms.anisotropic.any()
    assert model.atoms.b_iso.tolist() == [20.0] * 4
    assert any("in 1 group these B are taken for whole ones" in note and "moved since" in note for note in model.notes)


def test_copies_get_the_motion_turned(tmp_path: Path) -> None:
    """Operators of MTRIX make copies of whole displacements, in their own directions."""
    given = "".join(
        f"MTRIX{i}   1{row}        0.00000    1\n"
        for i, row in ((1, "  1.000000  0.000000  0.000000"), (2, "  0.000000  1.000000  0.000000"),
                       (3, "  0.000000  0.000000  1.000000"))
    )  # fmt: skip
    model = _read(tmp_path, _text().replace(CELL, CELL + given + COPY))
    assert len(model.atoms) == 8
    turn = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    first, copy = symmetric.matrices(total_u(model.atoms)[:4]), symmetric.matrices(total_u(model.atoms)[4:])
    np.testing.assert_allclose(copy, turn @ first @ turn.T, atol=2e-6)
    assert model.atoms.anisotropic.tolist() == [True, True, True, False] * 2
    assert np.ptp(model.atoms.b_iso[:3]) > 1.0
    assert len([note for note in model.notes if "B of the file are what atoms have besides" in note]) == 1


def test_why_copies_get_no_motion_is_said_once(tmp_path: Path) -> None:
    text = _text().replace(f"{ORIGIN[0]:9.4f}", f"{ORIGIN[0] + 40.0:9.4f}").replace(CELL, CELL + COPY)
    model = _read(tmp_path, text)
    assert len(model.atoms) == 8
    assert not model.atoms.anisotropic.any()
    assert len([note for note in model.notes if "these B are taken for whole ones" in note]) == 1
