"""Atoms of different residues that lie as if bonded, and are not, are named in one warning."""

from __future__ import annotations

from pathlib import Path

import pytest

from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import load_monomers
from arrayrefine.topology.build import build_restraints

_CRYSTAL = "CRYST1  200.000   60.000   60.000  90.00  90.00  90.00 P 1           1\n"
_ATOM = "HETATM{n:5d}  {name:<3s}{alt}{residue:>3s} {chain}{m:4d}    {x:8.3f}   0.000   0.000{q:6.2f} 20.00          "
_LINK = "LINK         SG  CYS A   1                 S1  BTN B   1     1555   1555  2.04\n"


def _text(
    ligand: str, atom: str, distance: float, alts: str = "  ", occupancy: float = 1.0, chain: str = "B", m: int = 1,
    copies: int = 1, name: str = "SG", residue: str = "CYS",
) -> str:  # fmt: skip
    """A sulfur of a Cys and an atom of a ligand, each alone in its residue; and copies of the two further along."""
    text = _CRYSTAL
    for k in range(copies):
        for n, (called, who, alt, where, number, x) in enumerate((
            (name, residue, alts[0], "A", 1, 0.0), (atom, ligand, alts[1], chain, m, distance),
        )):  # fmt: skip
            place = {"chain": where, "m": number + 10 * k, "x": 10.0 * k + x, "q": occupancy}
            text += _ATOM.format(n=2 * k + n + 1, name=called, alt=alt, residue=who, **place)
            text += f"{called if called == 'ZN' else called[0]:>2s}\n"
    return text + "END\n"


def _said(path: Path, text: str) -> list[str]:
    path.write_text(text)
    model = read_model(path)
    library = load_monomers(model.structure[0].get_all_residue_names())
    restraints = build_restraints(model.structure, model.atoms, model.crystal, library, unknown="hold")
    return [note for note in restraints.notes if "as near as if bonded" in note]


def test_a_bond_that_no_record_names(tmp_path: Path) -> None:
    (note,) = _said(tmp_path / "a.pdb", _text("BTN", "S1", 2.04))
    assert note == (
        "1 pair of atoms of different residues is as near as if bonded, without a link; contacts will push them apart: "
        "A/CYS 1/SG - B/BTN 1/S1 (2.04 Å). If they are bonded, name the bond in the model (LINK or struct_conn), and "
        "give a restraint CIF with this link where no library has it; if not, they clash"
    )


def test_many_are_counted(tmp_path: Path) -> None:
    (note,) = _said(tmp_path / "a.pdb", _text("BTN", "S1", 2.04, copies=9))
    assert note.startswith("9 pairs")
    assert note.count("CYS") == 6
    assert "and 3 more" in note


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (_text("BTN", "S1", 2.25), True),
        (_text("BTN", "S1", 2.35), False),
        (_text("BTN", "S1", 1.5), False),  # much too near
        (_text("EDO", "C1", 2.1, name="NZ", residue="LYS"), True),  # nearer than atoms come that are not bonded
        (_text("EDO", "C1", 2.3, name="NZ", residue="LYS"), False),
        (_text("EDO", "O1", 1.5, name="NZ", residue="LYS"), True),
        (_text("EDO", "O1", 2.1, name="NZ", residue="LYS"), False),  # a hydrogen bond
        (_text("BTN", "S1", 2.04).replace("HETATM", _LINK + "HETATM", 1), False),
        (_text("BTN", "S1", 2.04, alts="AA", occupancy=0.5), True),
        (_text("BTN", "S1", 2.04, alts="A ", occupancy=0.5), True),
        (_text("BTN", "S1", 2.04, alts="AB", occupancy=0.5), False),
        (_text("BTN", "S1", 2.04, occupancy=0.5), False),  # there instead of each other
        (_text("BTN", "S1", 2.04).replace("1.00 20.00", "0.00 20.00", 1), False),
        (_text("HOH", "O", 1.7), False),
        (_text("ZN", "ZN", 2.0, name="CB"), False),
        (_text("UNX", "S1", 2.04), False),  # without a dictionary, its bonds are guessed
        (_text("HOH", "O", 1.7, residue="HOH", name="O"), False),  # nothing but waters
    ],
)
def test_what_is_no_such_pair(tmp_path: Path, text: str, said: bool) -> None:
    assert bool(_said(tmp_path / "a.pdb", text)) == said


def test_neighbours_in_a_chain_are_named_once(tmp_path: Path) -> None:
    """C of one residue and N of the next, which no link of the library joins."""
    text = _text("MTX", "N", 1.4, chain="A", m=2, name="C", residue="ALA")
    (note,) = _said(tmp_path / "a.pdb", text)
    assert "pair of neighbours in a chain" in note
