"""Maps in real space and their files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import gemmi
import numpy as np
import pytest
from synthetic import crystal, random_atoms

from arrayrefine.errors import InputError
from arrayrefine.example import DATA, MODEL
from arrayrefine.io.output.write import OPTIONAL
from arrayrefine.maps import MapCoefficients
from arrayrefine.options import Options
from arrayrefine.real_space.map_grids import FILES, MARGIN, MapGrid, map_grid
from arrayrefine.refine import refine
from arrayrefine.structure_factors import StructureFactors


def coefficients(group: str, d_min: float = 2.5) -> tuple[MapCoefficients, StructureFactors]:
    """Fc of random atoms as all coefficients, one of ten missing from the difference map."""
    cell = crystal(group)
    atoms = random_atoms(cell)
    hkl = cell.unique_reflections(d_min, 1e3)
    f = StructureFactors(cell, hkl, atoms, method="direct")(atoms)
    some = f.copy()
    some[::10] = complex(np.nan, np.nan)
    nothing = np.zeros(len(hkl))
    return MapCoefficients(hkl, nothing, nothing, nothing.astype(bool), f, f, some, some, nothing), atoms


@pytest.mark.parametrize("group", ["P 1", "C 1 2 1", "P 43 21 2", "R 3:H"])
def test_a_map_is_the_sum_of_its_terms(group: str) -> None:
    maps, _ = coefficients(group)
    cell = crystal(group)
    grid = map_grid(maps, cell, "mFo-DFc")
    every = {tuple(-h): f.conjugate() for h, f in zip(maps.hkl, maps.delfwt)}
    every |= {tuple(h): f for h, f in zip(maps.hkl, maps.delfwt)}
    point = np.array([3, 1, 4]) / grid.values.shape
    total = 0.0
    for rotation, translation in zip(cell.rotations, cell.translations):
        # each operator gives the terms of an equivalent: collect all of them once
        for h, f in list(every.items()):
            turned = tuple(np.array(h) @ rotation)
            every[turned] = f * np.exp(-2j * np.pi * (np.array(h) @ translation))
    for h, f in every.items():
        if np.isfinite(f):
            total += (f * np.exp(-2j * np.pi * (np.array(h) @ point))).real
    assert grid.values[3, 1, 4] == pytest.approx(total / cell.volume, abs=1e-4 * grid.sigma)
    assert grid.values.shape == map_grid(maps, cell, "Fc").values.shape
    assert grid.gemmi_grid.get_value(3, 1, 4) == grid.values[3, 1, 4]


def read_back(grid: MapGrid, folder: Path, around: np.ndarray | None) -> gemmi.Ccp4Map:
    path = folder / "map.ccp4"
    path.write_bytes(grid.ccp4_bytes(around))
    return gemmi.read_ccp4_map(str(path))


@pytest.mark.parametrize("group", ["C 1 2 1", "P 43 21 2", "R 3:H"])
def test_the_file_of_an_asymmetric_unit_holds_the_whole_map(group: str, tmp_path: Path) -> None:
    grid = map_grid(coefficients(group)[0], crystal(group))
    file = read_back(grid, tmp_path, None)
    assert file.grid.nu * file.grid.nv * file.grid.nw < grid.values.size
    file.setup(float("nan"))
    np.testing.assert_allclose(np.array(file.grid), grid.values, atol=1e-5 * grid.sigma)
    assert file.grid.spacegroup.xhm() == crystal(group).gemmi_space_group.xhm()


def test_the_file_around_a_model_covers_it(tmp_path: Path) -> None:
    maps, atoms = coefficients("P 43 21 2")
    grid = map_grid(maps, crystal("P 43 21 2"))
    file = read_back(grid, tmp_path, atoms.xyz)
    start, size = (np.array([file.header_i32(first + k) for k in range(3)]) for first in (5, 1))
    assert [file.header_i32(17 + k) for k in range(3)] == [1, 2, 3]  # axes in order, so that the two below are x y z
    place = grid.crystal.fractional(atoms.xyz) * grid.values.shape
    reach = 0.8 * MARGIN * np.linalg.norm(grid.crystal.frac, axis=1) * grid.values.shape
    assert (start <= place.min(axis=0) - reach).all()
    assert (start + size >= place.max(axis=0) + reach).all()
    values = np.array(file.grid)
    index = tuple((start + 2) % grid.values.shape)
    assert values[2, 2, 2] == pytest.approx(grid.values[index], abs=1e-5)


def test_values_between_grid_points_and_unknown_maps() -> None:
    grid = map_grid(coefficients("P 1")[0], crystal("P 1"))
    steps = np.array([[2.0, 3.0, 4.0], [2.5, 3.0, 4.0], [3.0, 3.0, 4.0], [-1.0, 0.0, 0.0]])
    found = grid.at(grid.crystal.cartesian(steps / grid.values.shape)) * grid.sigma
    first, second = grid.values[2, 3, 4], grid.values[3, 3, 4]
    np.testing.assert_allclose(found, [first, (first + second) / 2, second, grid.values[-1, 0, 0]], rtol=1e-4)
    with pytest.raises(InputError, match="'2Fo-Fc' is not known; expected one of 2mFo-DFc, mFo-DFc, Fc"):
        map_grid(coefficients("P 1")[0], crystal("P 1"), "2Fo-Fc")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"'anomalous': expected data with Friedel pairs, .*; found no differences"):
        map_grid(coefficients("P 1")[0], crystal("P 1"), "anomalous")


def test_wrong_arguments_are_named() -> None:
    maps, _ = coefficients("P 1")
    cell = crystal("P 1")
    with pytest.raises(InputError, match=r"map_grid: crystal is of type str; expected Crystal"):
        map_grid(maps, "P 1")  # type: ignore[arg-type]
    for sampling in ("3", 0.5, np.nan):
        with pytest.raises(InputError, match=r"sampling is .*; expected grid points per d_min, more than 1"):
            map_grid(maps, cell, sampling=sampling)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"places of shape \(3,\); expected \(n, 3\): one place is \[\[x, y, z\]\]"):
        map_grid(maps, cell, sampling=np.int64(3)).at([1.0, 2.0, 3.0])  # type: ignore[arg-type]


def test_maps_on_request(tmp_path: Path) -> None:
    result = refine(MODEL, DATA, Options(cycles=0, maps="asu"))
    files = {path.name: path for path in result.write(tmp_path)}
    names = {"refined_2mFo-DFc.ccp4", "refined_mFo-DFc.ccp4"}
    assert names < set(files)
    assert {row["file"] for row in result.report.as_dict()["maps"]} == names
    grid = result.map_grid("mFo-DFc")
    written = gemmi.read_ccp4_map(str(files["refined_mFo-DFc.ccp4"]), setup=True)
    np.testing.assert_allclose(np.array(written.grid), grid.values, atol=1e-5)
    assert {*FILES.values()} < {*OPTIONAL}
    # a later run without maps does not leave those of another model beside its own
    report = dataclasses.replace(result.report, maps=())
    again = dataclasses.replace(result, report=report).write(tmp_path)
    assert not names & {path.name for path in again}
    assert sorted(p.name for p in tmp_path.glob("*.ccp4*")) == sorted(f"{name}.old" for name in names)
