"""Choice between several sets of columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_io_reflections import CCP4, CIF_HEADER, CRYSTAL, SIGMA, F, cif, refused, rows, said, simple, write_mtz

from arrayrefine.errors import InputError
from arrayrefine.io.reflections.reading import read_reflections
from arrayrefine.wording import Caution

OTHER = F * np.random.default_rng(2).normal(1.0, 0.1, len(F))


@pytest.mark.parametrize(("name", "kind", "values", "asks"), [
    ("F_lig", "F", OTHER, True),
    ("F_lig", "F", F * 1.001, False),
    ("I_lig", "J", OTHER**2, False),
    ("F_filtered", "F", OTHER, False),
])  # fmt: skip
def test_two_sets_of_measurements_ask_for_a_look(
    tmp_path: Path, name: str, kind: str, values: np.ndarray, asks: bool
) -> None:
    path = simple(tmp_path / "a.mtz", **{name: (kind, values), f"SIG{name}": ("Q", SIGMA)})
    data, notes = read_reflections(path, CRYSTAL)
    assert data.source["columns"] == ["FP", "SIGFP"]
    (note,) = (note for note in notes if "data columns FP,SIGFP are used" in note)
    assert isinstance(note, Caution) == asks
    assert (f"--columns {name},SIG{name} takes the other" in note) == asks
    assert not any(isinstance(note, Caution) for note in read_reflections(path, CRYSTAL, columns="FP")[1])


@pytest.mark.parametrize("name", ["FDIFF", "DF", "wDF", "DeltaF", "K_MASK"])
def test_differences_of_amplitudes_and_scales_are_not_measurements(tmp_path: Path, name: str) -> None:
    path = simple(tmp_path / "a.mtz", **{name: ("F", OTHER), f"SIG{name}": ("Q", SIGMA)})
    assert not any("data columns" in note for note in read_reflections(path, CRYSTAL)[1])


def test_a_column_of_flags_that_are_all_the_same_gives_way_to_another(tmp_path: Path) -> None:
    ones = np.ones(len(F))
    path = simple(tmp_path / "a.mtz", FreeR_flag=("I", ones), FREE=("I", CCP4))
    data, notes = read_reflections(path, CRYSTAL)
    assert data.source["free_column"] == "FREE"
    assert said(notes, "free flags of FREE are used; FreeR_flag tells no test set; also there: FreeR_flag")
    assert "every flag is 1" in refused(simple(tmp_path / "b.mtz", FreeR_flag=("I", ones), FREE=("I", ones)))


@pytest.mark.parametrize("named", ["amplitude", "intensity"])
def test_real_numbers_of_no_type_are_read_as_what_they_are_said_to_be(tmp_path: Path, named: str) -> None:
    flags = ("I", CCP4)
    path = write_mtz(tmp_path / "a.mtz", {"X": ("R", F), "SIGX": ("R", SIGMA), "FREE": flags})
    kind = {"amplitude": "F", "intensity": "J"}[named]
    right = write_mtz(tmp_path / "b.mtz", {"X": (kind, F), "SIGX": ("Q", SIGMA), "FREE": flags})
    assert "=amplitude" in refused(path)
    with pytest.raises(InputError, match=r"X is of type R; expected .*, as in F,SIGF=amplitude"):
        read_reflections(path, CRYSTAL, columns="X,SIGX")
    given, _ = read_reflections(path, CRYSTAL, columns=f"X,SIGX={named}")
    np.testing.assert_array_equal(given.f_obs, read_reflections(right, CRYSTAL)[0].f_obs)


@pytest.mark.parametrize("differ", [False, True])
def test_a_column_of_flags_that_contradicts_the_status_is_named(tmp_path: Path, differ: bool) -> None:
    other = np.roll(CCP4, 1) if differ else CCP4
    by_status = rows(lambda i: "f" if CCP4[i] == 0 else "o")
    text = [f"{row} {flag}" for row, flag in zip(by_status, other)]
    path = cif(tmp_path / "a.cif", "F_meas_au F_meas_sigma_au status pdbx_r_free_flag", text, CIF_HEADER)
    data, notes = read_reflections(path, CRYSTAL)
    assert data.source["free_column"] == "status"
    assert said(notes, "pdbx_r_free_flag has another test set") == differ
    assert any(isinstance(note, Caution) and "--free pdbx_r_free_flag takes" in note for note in notes) == differ
