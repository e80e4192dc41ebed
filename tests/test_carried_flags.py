"""Free flags of the input in refined.mtz: all of them, with their values, and the same test set when that is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest
from numpy.typing import NDArray

from arrayrefine import Options
from arrayrefine.crystal import Crystal
from arrayrefine.io.output.read_maps import read_maps
from arrayrefine.io.output.write_mtz import history_line, mtz_of
from arrayrefine.io.output.write_mtz import test_value as value_of_test_set
from arrayrefine.io.reflections.reading import read_reflections
from arrayrefine.maps import MapCoefficients, map_coefficients
from arrayrefine.refine import refine
from arrayrefine.reflections import Reflections, positions

CRYSTAL = Crystal((20.0, 30.0, 40.0, 90.0, 90.0, 90.0), "P 21 21 21")
HKL = gemmi.make_miller_array(CRYSTAL.gemmi_cell, CRYSTAL.gemmi_space_group, 2.5)
N = len(HKL)
RNG = np.random.default_rng(4)
F = RNG.rayleigh(50.0, N) + 1.0
F[::7] = np.nan
F[CRYSTAL.inverse_d_squared(HKL) > 2.8**-2] = np.nan
CCP4 = RNG.integers(0, 20, N)
PHENIX = (CCP4 == 0).astype(int)


def written(path: Path, flags: NDArray[Any], hkl: NDArray[Any] = HKL, f: NDArray[Any] = F) -> Path:
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = CRYSTAL.gemmi_space_group
    mtz.set_cell_for_all(CRYSTAL.gemmi_cell)
    mtz.add_dataset("d")
    for label, kind in (("FP", "F"), ("SIGFP", "Q"), ("FreeR_flag", "I")):
        mtz.add_column(label, kind)
    mtz.set_data(np.column_stack([hkl, f, np.full(len(f), 2.0), flags]).astype(np.float32))
    mtz.write_to_file(str(path))
    return path


def maps_of_nothing(data: Reflections) -> MapCoefficients:
    """Maps of the measured reflections and of one more, with a model that is 1 everywhere."""
    more = data.possible[positions(data.possible, data.hkl) < 0][:1]
    hkl = np.concatenate([data.hkl, more])
    n, gap = len(hkl), np.full(len(more), np.nan)
    ones = np.ones(n)
    return map_coefficients(
        hkl, np.concatenate([data.f_obs, gap]), np.concatenate([data.sigma, gap]),
        np.concatenate([data.free, np.zeros(len(more), dtype=bool)]), ones.astype(complex), ones, ones, ones < 0,
    )  # fmt: skip


def out_and_in(data: Reflections, path: Path) -> dict[tuple[int, ...], float]:
    """Write refined.mtz; its flags by index."""
    mtz = mtz_of(data, maps_of_nothing(data), history_line("1.0", value_of_test_set(data)))
    mtz.write_to_file(str(path))
    flags = np.array(mtz.column_with_label("FREE").array)
    return dict(zip(map(tuple, mtz.make_miller_array().tolist()), flags.tolist()))


def free_of(data: Reflections) -> set[tuple[int, ...]]:
    return set(map(tuple, data.hkl[data.free].tolist()))


@pytest.mark.parametrize(
    ("flags", "test"), [(CCP4, 0), (PHENIX, 1), (1 - PHENIX, 0), (np.where(PHENIX == 1, -1, 1), -1)]
)
def test_all_flags_keep_their_values(tmp_path: Path, flags: NDArray[Any], test: int) -> None:
    data, _ = read_reflections(written(tmp_path / "a.mtz", flags), CRYSTAL)
    assert len(data) < 0.8 * N
    found = out_and_in(data, tmp_path / "refined.mtz")
    assert len(found) == N
    assert [found[tuple(h)] for h in HKL.tolist()] == flags.tolist()
    assert data.flags is not None
    said = f"FREE in refined.mtz has the values of FreeR_flag: {test} is the test set"
    assert data.flags.note == ("" if test == 0 else said)
    assert f"FREE {test} is the test set" in gemmi.read_mtz_file(str(tmp_path / "refined.mtz")).history[0]
    again, _ = read_reflections(tmp_path / "refined.mtz", CRYSTAL)
    assert free_of(again) == free_of(data)
    assert len(again) == len(data)
    _, columns = read_maps(tmp_path / "refined.mtz")
    assert set(map(tuple, columns["hkl"][columns["free"]].tolist())) == free_of(data)
    assert len(columns["hkl"]) < N


def test_a_test_set_that_only_the_user_knows_becomes_0(tmp_path: Path) -> None:
    data, _ = read_reflections(written(tmp_path / "a.mtz", CCP4), CRYSTAL, free="FreeR_flag=3")
    found = out_and_in(data, tmp_path / "refined.mtz")
    assert [found[tuple(h)] for h in HKL.tolist()] == np.where(CCP4 == 3, 0, 1).tolist()
    assert data.flags is not None
    assert "the values of FreeR_flag alone do not tell that 3 is the test set" in data.flags.note
    again, _ = read_reflections(tmp_path / "refined.mtz", CRYSTAL)
    assert free_of(again) == free_of(data)


def test_values_that_tell_no_test_set_by_themselves_become_0_and_1(tmp_path: Path) -> None:
    flags = np.where(CCP4 == 0, 5, 1 + CCP4 % 3)  # several, and none is 0
    data, _ = read_reflections(written(tmp_path / "a.mtz", flags), CRYSTAL, free="FreeR_flag=5")
    found = out_and_in(data, tmp_path / "refined.mtz")
    assert [found[tuple(h)] for h in HKL.tolist()] == np.where(CCP4 == 0, 0, 1).tolist()
    assert data.flags is not None
    assert "the values of FreeR_flag alone do not tell that 5 is the test set" in data.flags.note


def test_copies_that_disagree_and_flags_that_are_missing(tmp_path: Path) -> None:
    """A measurement without a flag counts as work; one of which a copy is free is free."""
    there = np.flatnonzero(np.isfinite(F))
    flags = CCP4.astype(float)
    flags[there[0]] = np.nan
    flags[there[1]] = 5.0
    gone = int(np.flatnonzero(np.isnan(F))[0])
    flags[gone] = np.nan
    hkl, f = np.concatenate([HKL, HKL[there[1:2]]]), np.append(F, F[there[1]])
    data, notes = read_reflections(written(tmp_path / "a.mtz", np.append(flags, 0.0), hkl, f), CRYSTAL)
    assert "1 duplicate measurement was merged into its reflection" in notes
    assert "1 reflection is free in some copies only: it counts as free" in notes
    assert tuple(HKL[there[1]].tolist()) in free_of(data)
    found = out_and_in(data, tmp_path / "refined.mtz")
    assert len(found) == N
    assert found[tuple(HKL[there[1]].tolist())] == 0.0
    assert found[tuple(HKL[there[0]].tolist())] > 0.0
    assert np.isnan(found[tuple(HKL[gone].tolist())])
    again, notes = read_reflections(tmp_path / "refined.mtz", CRYSTAL)
    assert free_of(again) == free_of(data)
    assert not any("no free flag" in note for note in notes)


def test_a_copy_without_data_does_not_decide(tmp_path: Path) -> None:
    """The flag of an unusable copy is that of the test set, that of the measurement is not."""
    there = int(np.flatnonzero(np.isfinite(F) & (CCP4 > 0))[0])
    hkl, f = np.concatenate([HKL, HKL[there : there + 1]]), np.append(F, np.nan)
    data, _ = read_reflections(written(tmp_path / "a.mtz", np.append(CCP4, 0), hkl, f), CRYSTAL)
    found = out_and_in(data, tmp_path / "refined.mtz")
    assert found[tuple(HKL[there].tolist())] > 0.0
    again, _ = read_reflections(tmp_path / "refined.mtz", CRYSTAL)
    assert free_of(again) == free_of(data)


def test_the_log_says_which_value_is_the_test_set(case, tmp_path: Path) -> None:
    folder = case("5e5z")
    mtz = gemmi.read_mtz_file(str(folder / "norm.mtz"))
    data, _ = read_reflections(folder / "norm.mtz", Crystal.from_gemmi(mtz.cell, mtz.spacegroup))
    table, label = np.array(mtz.array), str(data.source["free_column"])
    column = mtz.column_labels().index(label)
    table[:, column] = np.where(table[:, column] == data.source["free_file_value"], 1.0, 0.0)
    mtz.set_data(np.ascontiguousarray(table))
    mtz.write_to_file(str(tmp_path / "phenix.mtz"))
    said: list[str] = []
    result = refine(folder / "model.pdb", tmp_path / "phenix.mtz", Options(cycles=0), on_message=said.append)
    assert f"FREE in refined.mtz has the values of {label}: 1 is the test set" in said
    result.write(tmp_path / "out")
    again, _ = read_reflections(tmp_path / "out" / "refined.mtz", result.reflections.crystal)
    assert free_of(again) == free_of(data)
