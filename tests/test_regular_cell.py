"""Cells that miss their space group by a rounding."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine.io.models.reading import read_model
from arrayrefine.io.regular_cell import regular_cell


@pytest.mark.parametrize("group", ["P 1", "P 1 21 1", "P 21 21 21", "P 43 21 2", "I 4", "P 65 2 2", "R 3:H", "R 3:R",
                                   "P 3 1 2", "F 4 3 2", "C 1 2 1"])  # fmt: skip
def test_a_cell_that_obeys_is_left_alone_and_one_that_nearly_does_is_mended(group: str) -> None:
    space_group = gemmi.SpaceGroup(group)
    system = space_group.crystal_system_str()
    parameters = {
        "triclinic": (30, 40, 50, 80, 85, 95), "monoclinic": (30, 40, 50, 90, 100, 90),
        "orthorhombic": (30, 40, 50, 90, 90, 90), "tetragonal": (30, 30, 50, 90, 90, 90),
        "trigonal": (30, 30, 30, 75, 75, 75) if group == "R 3:R" else (30, 30, 50, 90, 90, 120),
        "hexagonal": (30, 30, 50, 90, 90, 120), "cubic": (30, 30, 30, 90, 90, 90),
    }[system]  # fmt: skip
    cell = gemmi.UnitCell(*parameters)
    assert regular_cell(cell, space_group) is cell
    bent = np.array(parameters) * (1.0 + 0.001 * np.array([1, -1, 0.5, 0.3, -0.4, 0.2]))
    mended = regular_cell(gemmi.UnitCell(*bent), space_group)
    assert mended is not None
    assert regular_cell(mended, space_group) is mended
    assert np.abs(np.array(mended.parameters) / bent - 1.0).max() < 0.002
    wrong = np.array(parameters) * np.array([1.05, 1, 0.97, 1.03, 0.98, 1.03])
    assert (regular_cell(gemmi.UnitCell(*wrong), space_group) is None) == (system != "triclinic")


def test_a_real_model_and_its_data(case, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """HEWL, tetragonal: 79.52 and 79.53 Å in both files, as refined cells without symmetry are."""
    folder = case("hewl_ssad")
    structure = gemmi.read_structure(str(folder / "shaken.pdb"))
    a, _, c, *angles = structure.cell.parameters
    structure.cell = gemmi.UnitCell(a - 0.02, a + 0.02, c, *angles)
    structure.write_pdb(str(tmp_path / "model.pdb"))
    mtz = gemmi.read_mtz_file(str(folder / "norm.mtz"))
    a, _, c, *angles = mtz.cell.parameters
    mtz.set_cell_for_all(gemmi.UnitCell(a - 0.03, a + 0.03, c, *angles))
    mtz.write_to_file(str(tmp_path / "data.mtz"))
    model, problem, _, notes = ar.prepare(tmp_path / "model.pdb", tmp_path / "data.mtz", ar.Options(d_min=3.0))
    assert sum("does not obey P 43 21 2 in its last digits" in note for note in notes) == 2
    assert model.crystal.cell[0] == pytest.approx(model.crystal.cell[1], abs=1e-6)
    assert model.crystal.cell[0] == pytest.approx(a, abs=1e-3)
    assert problem.reflections.crystal == model.crystal
    assert read_model(folder / "shaken.pdb").crystal.cell[0] == pytest.approx(model.crystal.cell[0], rel=1e-3)
