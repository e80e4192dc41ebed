"""Atoms that lie on those of symmetry mates are named in one warning."""

from __future__ import annotations

from pathlib import Path

import pytest

from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import load_monomers
from arrayrefine.topology.build import build_restraints

_CRYSTAL = "CRYST1   40.000   40.000   40.000  90.00  90.00  90.00 P 1 2 1       1\n"
_ATOM = "ATOM  {n:5d}  {name:<3s} {residue:>3s} A{m:4d}    {x:8.3f}{y:8.3f}{x:8.3f}{q:6.2f} 20.00          {e:>2s}\n"


def _said(path: Path, *atoms: tuple[str, str, float, float, float]) -> list[str]:
    """What is said of atoms (name, residue, x and z, y, occupancy) by the twofold along y."""
    text = _CRYSTAL
    for n, (name, residue, x, y, q) in enumerate(atoms):
        text += _ATOM.format(n=n + 1, name=name, residue=residue, m=3 * n + 1, x=x, y=y, q=q, e=name[0])
    path.write_text(text + "END\n")
    model = read_model(path)
    library = load_monomers(model.structure[0].get_all_residue_names())
    restraints = build_restraints(model.structure, model.atoms, model.crystal, library, unknown="hold")
    return [note for note in restraints.notes if "of symmetry mates" in note]


def test_atoms_on_mates_are_named(tmp_path: Path) -> None:
    (note,) = _said(tmp_path / "a.pdb", ("CA", "ALA", 0.6, 1.0, 1.0), ("CA", "GLY", 3.0, 1.0, 1.0))
    assert note.startswith(
        "1 atom is within 2 Å of symmetry mates without a link to them; contacts will push them apart: "
        "A/ALA 1/CA - A/ALA 1/CA (1.70 Å). If they are bonded"
    )
    (note,) = _said(tmp_path / "b.pdb", ("CA", "ALA", 1.5, 1.0, 1.0), ("CA", "GLY", -1.5, 2.5, 1.0))
    assert note.startswith("2 atoms are within")
    assert note.endswith("else one of them is in a wrong place")
    assert "A/ALA 1/CA - A/GLY 4/CA (1.50 Å)" in note


@pytest.mark.parametrize(("x", "found"), [(-3.0, True), (-3.5, False)])
def test_chains_that_symmetry_makes_of_others_are_those_of_an_assembly(tmp_path: Path, x: float, found: bool) -> None:
    """Not those that come near only."""
    text = _CRYSTAL
    for n, (chain, sign) in enumerate((("A", 3.0), ("B", x))):
        text += _ATOM.format(n=n + 1, name="CA", residue="ALA", m=1, x=sign, y=1.0, q=1.0, e="C").replace(
            "ALA A", f"ALA {chain}"
        )
    (tmp_path / "a.pdb").write_text(text + "END\n")
    model = read_model(tmp_path / "a.pdb")
    restraints = build_restraints(model.structure, model.atoms, model.crystal, load_monomers(["ALA"]), unknown="hold")
    (note,) = (note for note in restraints.notes if "of symmetry mates" in note)
    assert ("But chain B lies on symmetry mates of chain A, atom by atom, as in a file of a" in note) == found


def test_what_may_be_there_instead_of_its_mate_is_not(tmp_path: Path) -> None:
    assert not _said(tmp_path / "a.pdb", ("CA", "ALA", 0.6, 1.0, 0.5))
    assert not _said(tmp_path / "b.pdb", ("O", "HOH", 0.6, 1.0, 1.0))
    assert not _said(tmp_path / "c.pdb", ("CA", "ALA", 1.0, 1.0, 1.0))
