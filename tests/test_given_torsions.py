"""Hydrogens that turn begin where the model has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine.evaluation import geometry_of_file
from arrayrefine.example import MODEL
from arrayrefine.kernels.frames import torsion

Case = Callable[[str], Path]


def _with_methyl(path: Path, degrees: float, occupancy: float = 1.0) -> tuple[str, float]:
    """Write the example with hydrogens, a methyl of a leucine turned from where it was; which, and its torsion."""
    known = geometry_of_file(MODEL)
    structure = known.model.structure.clone()
    for site, place in zip(structure[0].all(), known.atoms.xyz.tolist(), strict=True):
        site.atom.pos = gemmi.Position(*place)
    leucine = next(r for r in structure[0]["A"] if r.name == "LEU")
    cb, cg, cd = (leucine[name][0].pos for name in ("CB", "CG", "CD1"))
    axis = np.array((cd - cg).tolist())
    angle = np.radians(degrees)
    x, y, z = axis / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn = np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k
    for name in ("HD11", "HD12", "HD13"):
        atom = leucine[name][0]
        atom.pos = cd + gemmi.Position(*(turn @ np.array((atom.pos - cd).tolist())).tolist())
        atom.occ = occupancy
    path.write_text(structure.make_pdb_string(), encoding="utf-8")
    found = np.degrees(gemmi.calculate_dihedral(cb, cg, cd, leucine["HD11"][0].pos))
    return str(leucine.seqid), float(found)


def _torsion(path: Path, number: str) -> float:
    atoms = geometry_of_file(path).atoms
    who = atoms.identity
    mine = (who.sequence_number == int(number)) & (who.residue_name == "LEU")
    b, g, d, h = (
        atoms.xyz[np.flatnonzero(mine & (who.atom_name == name))] for name in ("CB", "CG", "CD1", "HD11")
    )  # fmt: skip
    return float(np.degrees(torsion(b, g, d, h)[0]))


def _apart(one: float, two: float) -> float:
    """Degrees between torsions of a methyl, whose hydrogens are alike."""
    return abs((one - two + 60.0) % 120.0 - 60.0)


@pytest.mark.parametrize("degrees", [-17.0, 0.0, 12.0, 118.0])
def test_a_methyl_stays_as_the_model_has_it(tmp_path: Path, degrees: float) -> None:
    path = tmp_path / "model.pdb"
    number, found = _with_methyl(path, degrees)
    assert _apart(_torsion(path, number), found) < 0.2


def test_not_where_it_would_clash_or_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "model.pdb"
    number, before = _with_methyl(path, 0.0)
    _, eclipsed = _with_methyl(path, -before)
    assert eclipsed == pytest.approx(0.0, abs=0.2)
    assert _apart(_torsion(path, number), eclipsed) > 20.0  # 5 kT of its barrier, and contacts
    _, found = _with_methyl(path, -17.0, occupancy=0.0)
    assert _apart(found, before) == pytest.approx(17.0, abs=0.2)
    assert _apart(_torsion(path, number), before) < 0.2


@pytest.mark.parametrize("name", ["6mw0", "5e5z"])
def test_a_model_that_is_read_again_fits_as_it_did(case: Case, tmp_path: Path, name: str) -> None:
    """Its hydrogens were turned to the density, which nothing knows of before the first cycle."""
    folder = case(name)
    model = next(path for path in (folder / "shaken.pdb", folder / "shaken.cif") if path.exists())
    options = ar.Options(cycles=1, write_hydrogens="yes", report=False)
    result = ar.refine(model, folder / "norm.mtz", options)
    result.write(tmp_path)
    for file in ("refined.cif", "refined.pdb"):
        again, _ = ar.validate_files(tmp_path / file, folder / "norm.mtz")
        assert again.r_work == pytest.approx(result.r_work, abs=5e-5)  # 0.0004 and 0.0002 off where contacts turn them


def test_a_hydrogen_on_its_axis_gives_no_torsion(tmp_path: Path) -> None:
    """As where a program puts it onto its parent: such hydroxyls begin as those without a hydrogen do."""
    known = geometry_of_file(MODEL)
    places = []
    for name in ("without", "on the axis"):
        structure = known.model.structure.clone()
        for site, place in zip(structure[0].all(), known.atoms.xyz.tolist(), strict=True):
            site.atom.pos = gemmi.Position(*place)
        for residue in (residue for chain in structure[0] for residue in chain):
            for kind, hydrogen, oxygen, carbon in (
                ("SER", "HG", "OG", "CB"), ("THR", "HG1", "OG1", "CB"), ("TYR", "HH", "OH", "CZ"),
            ):  # fmt: skip
                if residue.name == kind and name == "without":
                    residue.remove_atom(hydrogen, "\0")
                elif residue.name == kind:
                    end, start = (residue[atom][0].pos for atom in (oxygen, carbon))
                    residue[hydrogen][0].pos, residue[hydrogen][0].occ = end + (end - start) * 0.6, 1.0
        path = tmp_path / f"{name}.pdb"
        path.write_text(structure.make_pdb_string(), encoding="utf-8")
        places.append(geometry_of_file(path).atoms.xyz)
    np.testing.assert_allclose(*places, atol=1e-6)
