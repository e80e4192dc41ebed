"""Tables of the report and of refined.cif, from a real crystal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import gemmi
import numpy as np
import pytest
from synthetic import crystal, random_atoms

from arrayrefine import Options
from arrayrefine.refine import refine
from arrayrefine.reporting import summaries
from arrayrefine.result import Result
from arrayrefine.solvent import MaskShape, mask_of
from arrayrefine.validation.labels import atom_label


@pytest.fixture(scope="module")
def result(case: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """1dur without a cycle, on data of which every third reflection beyond 2.5 Å was taken out."""
    folder = tmp_path_factory.mktemp("1dur")
    mtz = gemmi.read_mtz_file(str(case("1dur") / "norm.mtz"))
    rows = np.array(mtz.array)
    keep = (mtz.make_d_array() > 2.5) | (np.arange(len(rows)) % 3 > 0)
    mtz.set_data(np.ascontiguousarray(rows[keep]))
    mtz.write_to_file(str(folder / "holes.mtz"))
    out = refine(case("1dur") / "model.pdb", folder / "holes.mtz", Options(cycles=0))
    out.write(folder)
    return out, folder


def test_completeness_of_the_shells(result: tuple[Result, Path]) -> None:
    out, folder = result
    shells, data = out.report.shells, out.reflections
    every = data.crystal.unique_reflections(data.d_min, data.d_max)
    possible = [(s["n_work"] + s["n_free"]) / s["completeness"] for s in shells]
    assert sum(possible) == pytest.approx(len(every), abs=0.01)
    assert all(abs(n - round(n)) < 1e-6 for n in possible)
    fine = [s["completeness"] for s in shells if s["d_high"] > 2.5]
    holes = [s["completeness"] for s in shells if s["d_low"] < 2.5]
    assert max(holes) < 0.72
    assert min(fine) > max(holes)
    block = gemmi.cif.read(str(folder / "refined.cif")).sole_block()
    written = block.get_mmcif_category("_refine_ls_shell.")["percent_reflns_obs"]
    np.testing.assert_allclose([float(v) for v in written], [100 * s["completeness"] for s in shells], atol=6e-3)


def test_probe_and_shrinkage_are_those_of_the_mask(result: tuple[Result, Path]) -> None:
    out, folder = result
    scaling = out.report.scaling
    assert (scaling["solvent_probe"], scaling["solvent_shrink"]) == (1.0, 0.8)
    crystal, d_min = out.reflections.crystal, out.reflections.d_min
    used = mask_of(out.atoms, crystal, d_min)
    said = {name: scaling[f"solvent_{name}"] for name in ("radii", "probe", "shrink", "smallest_island")}
    np.testing.assert_array_equal(used, mask_of(out.atoms, crystal, d_min, MaskShape(**said)))
    refined = gemmi.cif.read(str(folder / "refined.cif")).sole_block().get_mmcif_category("_refine.")
    assert refined["pdbx_solvent_vdw_probe_radii"] == ["1.00"]
    assert refined["pdbx_solvent_shrinkage_radii"] == ["0.80"]


def test_without_groups_there_are_no_occupancies_to_tell() -> None:
    assert summaries.occupancies(SimpleNamespace(occupancy=None), None, None) == ()  # type: ignore[arg-type]


def test_labels_of_atoms() -> None:
    identity = random_atoms(crystal("P 1"), n=3).identity
    identity = dataclasses.replace(identity, altloc=np.array(["", "B", ""]), atom_name=np.array(["C", "N", "S"]))
    assert [atom_label(identity, i) for i in (0, 1, -1)] == ["A 1 UNK C", "A 2 UNK N alt B", ""]
