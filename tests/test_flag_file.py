"""Free flags of another file than the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest
from numpy.typing import NDArray

from arrayrefine.crystal import Crystal
from arrayrefine.errors import InputError
from arrayrefine.io.reflections.reading import read_reflections
from arrayrefine.reflections import Reflections

CRYSTAL = Crystal((20.0, 30.0, 40.0, 90.0, 90.0, 90.0), "P 21 21 21")
HKL = gemmi.make_miller_array(CRYSTAL.gemmi_cell, CRYSTAL.gemmi_space_group, 2.5)
RNG = np.random.default_rng(7)
F = RNG.rayleigh(50.0, len(HKL)) + 1.0
FLAG = RNG.integers(0, 20, len(HKL))
MEASURED = np.arange(len(HKL)) % 5 > 0
"""Flags are there for all reflections, data for these."""


def _mtz(
    path: Path, columns: dict[str, tuple[str, NDArray[Any]]], hkl: NDArray[Any], crystal: Crystal = CRYSTAL
) -> Path:
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = crystal.gemmi_space_group
    mtz.set_cell_for_all(crystal.gemmi_cell)
    mtz.add_dataset("d")
    for label, (kind, _) in columns.items():
        mtz.add_column(label, kind)
    mtz.set_data(np.column_stack([hkl, *(values for _, values in columns.values())]).astype(np.float32))
    mtz.write_to_file(str(path))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    f = F[MEASURED]
    return _mtz(tmp_path / "data.mtz", {"FP": ("F", f), "SIGFP": ("Q", np.full(len(f), 2.0))}, HKL[MEASURED])


def _flags(path: Path, crystal: Crystal = CRYSTAL, flag: NDArray[Any] = FLAG) -> Path:
    """In another order and another asymmetric unit than those of the data."""
    order = RNG.permutation(len(HKL))
    return _mtz(path, {"FREER": ("I", flag[order])}, (HKL * [-1, 1, -1])[order], crystal)


def _free(reflections: Reflections) -> set[tuple[int, ...]]:
    return {tuple(one) for one in reflections.hkl[reflections.free].tolist()}


def test_flags_are_those_of_the_other_file(data: Path, tmp_path: Path) -> None:
    path = _flags(tmp_path / "free.mtz")
    reflections, notes = read_reflections(data, CRYSTAL, free=str(path))
    assert len(reflections) == MEASURED.sum()
    assert _free(reflections) == {tuple(one) for one in HKL[MEASURED & (FLAG == 0)].tolist()}
    assert reflections.source["free_column"] == "FREER"
    assert reflections.source["free_file"] == str(path)
    more = f"{(~MEASURED).sum()} reflections without data in '{data}' too"
    assert f"free flags are those of '{path}', column FREER; {more}" in notes


def test_flags_of_reflections_without_data_go_to_the_output(data: Path, tmp_path: Path) -> None:
    reflections, _ = read_reflections(data, CRYSTAL, free=str(_flags(tmp_path / "free.mtz")))
    assert reflections.flags is not None
    found = dict(zip(map(tuple, reflections.flags.hkl.tolist()), reflections.flags.value.tolist()))
    assert found == dict(zip(map(tuple, HKL.tolist()), FLAG.astype(float).tolist()))


def test_column_and_value_may_be_named(data: Path, tmp_path: Path) -> None:
    path = _flags(tmp_path / "free.mtz")
    reflections, _ = read_reflections(data, CRYSTAL, free=f"{path}:FREER=3")
    assert _free(reflections) == {tuple(one) for one in HKL[MEASURED & (FLAG == 3)].tolist()}
    assert read_reflections(data, CRYSTAL, free=f"{path}:freer")[0].free.sum() == (MEASURED & (FLAG == 0)).sum()
    with pytest.raises(InputError, match=r"free\.mtz' has no column 'FREE2'"):
        read_reflections(data, CRYSTAL, free=f"{path}:FREE2")


def test_reflections_without_a_flag_there_are_of_the_work_set(data: Path, tmp_path: Path) -> None:
    half = HKL[: len(HKL) // 2]
    path = _mtz(tmp_path / "free.mtz", {"FREER": ("I", FLAG[: len(half)])}, half)
    reflections, notes = read_reflections(data, CRYSTAL, free=str(path))
    assert _free(reflections) == {tuple(one) for one in half[MEASURED[: len(half)] & (FLAG[: len(half)] == 0)].tolist()}
    assert any(f"have no free flag in FREER of '{path}' and count as work" in note for note in notes)


def test_reflections_without_a_flag_there_get_one_at_random_where_wanted(data: Path, tmp_path: Path) -> None:
    half = HKL[: len(HKL) // 2]
    path = _mtz(tmp_path / "free.mtz", {"FREER": ("I", FLAG[: len(half)])}, half)
    old, _ = read_reflections(data, CRYSTAL, free=str(path))
    new, notes = read_reflections(data, CRYSTAL, free=f"{path}:FREER=0+random")
    known = {tuple(one) for one in half.tolist()}
    assert {one for one in _free(new) if one in known} == _free(old)
    beyond = [one for one in map(tuple, new.hkl.tolist()) if one not in known]
    share = old.free.sum() / (len(old) - len(beyond))
    assert len(_free(new) - known) == round(share * len(beyond)) > 0
    assert any(f"{len(_free(new) - known)} of them are chosen for the test set at random" in note for note in notes)
    assert not any("count as work" in note for note in notes)


def test_there_may_be_nothing_to_extend(data: Path, tmp_path: Path) -> None:
    path = _flags(tmp_path / "free.mtz")
    reflections, notes = read_reflections(data, CRYSTAL, free=f"{path}+random")
    assert _free(reflections) == {tuple(one) for one in HKL[MEASURED & (FLAG == 0)].tolist()}
    assert any(note.startswith("+random has no effect") for note in notes)


def test_the_status_of_an_mmcif_file_will_do(data: Path, tmp_path: Path) -> None:
    status = np.where(FLAG == 0, "f", "o").tolist()
    rows = [f"{' '.join(map(str, index))} 10 1 {said}" for index, said in zip(HKL.tolist(), status)]
    names = ("index_h", "index_k", "index_l", "F_meas_au", "F_meas_sigma_au", "status")
    path = tmp_path / "r1xyzsf.ent"
    path.write_text("\n".join(["data_r1xyzsf", "loop_", *(f"_refln.{name}" for name in names), *rows]) + "\n")
    reflections, _ = read_reflections(data, CRYSTAL, free=str(path))
    assert _free(reflections) == {tuple(one) for one in HKL[MEASURED & (FLAG == 0)].tolist()}


def test_data_with_a_status_take_flags_of_reflections_that_they_lack(tmp_path: Path) -> None:
    rows = [f"{' '.join(map(str, index))} {f:.3f} 2 o" for index, f in zip(HKL[MEASURED].tolist(), F[MEASURED])]
    names = ("index_h", "index_k", "index_l", "F_meas_au", "F_meas_sigma_au", "status")
    path = tmp_path / "r1xyzsf.ent"
    path.write_text("\n".join(["data_r1xyzsf", "loop_", *(f"_refln.{name}" for name in names), *rows]) + "\n")
    reflections, _ = read_reflections(path, CRYSTAL, free=str(_flags(tmp_path / "free.mtz")))
    assert _free(reflections) == {tuple(one) for one in HKL[MEASURED & (FLAG == 0)].tolist()}
    assert reflections.flags is not None
    assert len(reflections.flags.hkl) == len(HKL)


def test_a_column_of_the_data_goes_before_a_file_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _flags(Path("FREE"), flag=np.roll(FLAG, 1))
    columns = {"FP": ("F", F), "SIGFP": ("Q", np.full(len(F), 2.0)), "FREE": ("I", FLAG)}
    reflections, _ = read_reflections(_mtz(tmp_path / "data.mtz", columns, HKL), CRYSTAL, free="FREE")
    assert _free(reflections) == {tuple(one) for one in HKL[FLAG == 0].tolist()}


def test_what_cannot_be_taken(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--free nowhere\.mtz: no such file, and data .* FILE:NAME=VALUE"):
        read_reflections(data, CRYSTAL, free="nowhere.mtz")
    with pytest.raises(InputError, match=r"data\.mtz' has no column of free flags; found FP \(F\), SIGFP \(Q\)"):
        read_reflections(data, CRYSTAL, free=str(data))
    other = _flags(tmp_path / "other.mtz", Crystal((20.0, 30.0, 44.0, 90.0, 90.0, 90.0), "P 21 21 21"))
    with pytest.raises(InputError, match=r"other\.mtz' are of 20 30 44 90 90 90 P 21 21 21, the data of 20 30 40 "):
        read_reflections(data, CRYSTAL, free=str(other))
    _, notes = read_reflections(data, CRYSTAL)
    assert any(note.endswith("Flags of another file are taken with --free FILE") for note in notes)


def test_a_soak_may_have_another_cell_and_name_no_screws(data: Path, tmp_path: Path) -> None:
    path = _flags(tmp_path / "free.mtz", Crystal((20.3, 30.4, 40.8, 90.0, 90.0, 90.0), "P 2 2 2"))
    assert read_reflections(data, CRYSTAL, free=str(path))[0].free.sum() == (MEASURED & (FLAG == 0)).sum()
