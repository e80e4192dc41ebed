"""Reading reflections: which columns, which test set, what is dropped, and what is refused."""

from __future__ import annotations

import dataclasses
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest
from numpy.typing import NDArray

from arrayrefine import Options, example, refine
from arrayrefine.crystal import Crystal
from arrayrefine.errors import InputError
from arrayrefine.io.models.reading import read_model
from arrayrefine.io.reflections.reading import read_reflections
from arrayrefine.io.reflections.tables import read_table
from arrayrefine.reflections import Reflections
from arrayrefine.wording import Caution

CRYSTAL = Crystal((20.0, 30.0, 40.0, 90.0, 90.0, 90.0), "P 21 21 21")
HKL = gemmi.make_miller_array(CRYSTAL.gemmi_cell, CRYSTAL.gemmi_space_group, 2.5)
COUNT = len(HKL)
RNG = np.random.default_rng(2)
F = (RNG.rayleigh(50.0, COUNT) + 1.0).astype(np.float32).astype(float)
SIGMA = np.full(COUNT, 2.0)
CCP4 = np.arange(COUNT) % 20
NAN = np.full(COUNT, np.nan)


def write_mtz(
    path: Path,
    columns: dict[str, tuple[str, Any]],
    *,
    hkl: NDArray[np.integer] = HKL,
    crystal: Crystal = CRYSTAL,
) -> Path:
    """Write an MTZ file of columns {label: (type, values)}."""
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = crystal.gemmi_space_group
    mtz.set_cell_for_all(crystal.gemmi_cell)
    mtz.add_dataset("d")
    for label, (kind, _) in columns.items():
        mtz.add_column(label, kind)
    values = [np.asarray(v, dtype=float) for _, v in columns.values()]
    mtz.set_data(np.column_stack([hkl, *values]).astype(np.float32))
    mtz.write_to_file(str(path))
    return path


def simple(path: Path, **more: tuple[str, Any]) -> Path:
    """Write FP, SIGFP, CCP4's FreeR_flag and further columns, or other values of these."""
    columns: dict[str, tuple[str, Any]] = {"FP": ("F", F), "SIGFP": ("Q", SIGMA), "FreeR_flag": ("I", CCP4)}
    return write_mtz(path, columns | more)


def said(notes: tuple[str, ...], text: str) -> bool:
    """Whether one of the notes contains the text."""
    return any(text in note for note in notes)


def refused(path: Path, **options: Any) -> str:
    """Message of the InputError that reading raises; it names the file."""
    with pytest.raises(InputError) as caught:
        read_reflections(path, CRYSTAL, **options)
    message = str(caught.value)
    assert path.name in message
    return message


def cif(path: Path, tags: str, rows: list[str], header: str = "") -> Path:
    """Write an sf-mmCIF file with one loop."""
    loop = "\n".join(f"_refln.{tag}" for tag in ("index_h", "index_k", "index_l", *tags.split()))
    path.write_text(f"data_r1abcsf\n{header}\nloop_\n{loop}\n" + "\n".join(rows) + "\n")
    return path


CIF_HEADER = """_cell.length_a 20.0
_cell.length_b 30.0
_cell.length_c 40.0
_cell.angle_alpha 90
_cell.angle_beta 90
_cell.angle_gamma 90
_symmetry.space_group_name_H-M 'P 21 21 21'
"""


# --- real files: every case is read alike from its own file and from the normalised one ---

CASES = [
    "1aba", "1cbs", "1dur", "1ehz", "1l2h", "1rx2", "1v9g", "2r4r", "3g70", "3sb3",
    "4iid", "4xof", "5e5z", "5kzb", "5orl", "5uui", "6mw0", "br_lcls", "hewl_ssad",
]  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_real_crystals(case: Callable[[str], Path], name: str) -> None:
    folder = case(name)
    info = json.loads((folder / "info.json").read_text())
    crystal = read_model(next(folder.glob("model.*"))).crystal
    d_min = info["d_min"] if name == "br_lcls" else None
    original = next(p for p in (folder / "data.mtz", folder / "data-sf.cif") if p.exists())
    data, notes = read_reflections(original, crystal, d_min=d_min)
    normalised, _ = read_reflections(folder / "norm.mtz", crystal)
    kind = {"F": "amplitude", "I": "intensity"}[info["kind"]]
    assert normalised.source["kind"] == data.source["kind"] == kind
    assert len(normalised) == info["nref"]
    assert normalised.free.sum() == info["nfree"]
    assert data.d_min == pytest.approx(info["d_min"], abs=2e-3)
    if name == "br_lcls":
        # the file holds 511 reflections that its own refinement left out, and gave no flags
        assert len(data) == info["nref"] + 509
        assert data.free.sum() == info["nfree"]
        assert said(notes, "511 reflections")
        return
    np.testing.assert_array_equal(data.hkl, normalised.hkl)
    np.testing.assert_allclose(data.f_obs, normalised.f_obs, rtol=1e-6)
    np.testing.assert_allclose(data.sigma, normalised.sigma, rtol=1e-6)
    if kind == "intensity":
        assert data.i_obs is not None
        assert normalised.i_obs is not None
        np.testing.assert_allclose(data.i_obs, normalised.i_obs, rtol=1e-6)
    if info["free"].startswith("random"):
        assert data.source["free_column"] is None
        assert data.free.mean() == pytest.approx(0.05, abs=2e-3)
        assert said(notes, "chosen at random with seed 0")
    else:
        np.testing.assert_array_equal(data.free, normalised.free)
    assert not crystal.absent(data.hkl).any()
    assert json.dumps(data.source)


def test_data_without_cell_take_the_models(case: Callable[[str], Path]) -> None:
    folder = case("1ehz")
    crystal = read_model(folder / "model.pdb").crystal
    data, notes = read_reflections(folder / "data-sf.cif", crystal)
    assert data.crystal == crystal
    assert data.source["cell"] == "model"
    assert said(notes, "gives no cell and no space group: the model's is used")


# --- columns ---


def test_values_come_through_unchanged(tmp_path: Path) -> None:
    data, notes = read_reflections(simple(tmp_path / "a.mtz"), CRYSTAL)
    assert isinstance(data, Reflections)
    lookup = {tuple(h): f for h, f in zip(HKL.tolist(), F)}
    np.testing.assert_array_equal(data.f_obs, [lookup[tuple(h)] for h in data.hkl.tolist()])
    assert (data.sigma == 2.0).all()
    assert data.free.sum() == (CCP4 == 0).sum()
    assert data.source["columns"] == ["FP", "SIGFP"]
    assert data.source["completeness"] == 1.0
    assert data.i_obs is None
    assert data.hkl.dtype == np.int32
    assert notes == ()


def test_columns_found_by_name_and_type(tmp_path: Path) -> None:
    calculated = {"FC": ("F", F), "SIGFC": ("Q", SIGMA), "FWT": ("F", F), "F-model": ("F", F)}
    cases: list[tuple[dict[str, tuple[str, Any]], list[str]]] = [
        ({"FOBS": ("F", F), "SIGFOBS": ("Q", SIGMA)}, ["FOBS", "SIGFOBS"]),
        ({"F-obs": ("F", F), "SIGF-obs": ("Q", SIGMA)}, ["F-obs", "SIGF-obs"]),
        ({"Native": ("F", F), "Error": ("Q", SIGMA)}, ["Native", "Error"]),
        ({"IMEAN": ("J", F), "SIGIMEAN": ("Q", SIGMA)}, ["IMEAN", "SIGIMEAN"]),
        ({"I": ("J", F), "SIGI": ("Q", SIGMA), "F": ("F", F), "SIGF": ("Q", SIGMA)}, ["F", "SIGF"]),
        ({"F": ("F", NAN), "SIGF": ("Q", NAN), "I": ("J", F), "SIGI": ("Q", SIGMA)}, ["I", "SIGI"]),
        (
            {"F-obs-filtered": ("F", F), "SIGF-obs-filtered": ("Q", SIGMA), "I-obs": ("J", F),
             "SIGI-obs": ("Q", SIGMA)},
            ["I-obs", "SIGI-obs"],
        ),
        (
            {"F(+)": ("G", F), "SIGF(+)": ("L", SIGMA), "F(-)": ("G", F + 1), "SIGF(-)": ("L", SIGMA)},
            ["F(+)", "SIGF(+)", "F(-)", "SIGF(-)"],
        ),
        (
            {"I(+)": ("K", F), "SIGI(+)": ("M", SIGMA), "I(-)": ("K", F), "SIGI(-)": ("M", SIGMA),
             "IMEAN": ("J", F), "SIGIMEAN": ("Q", SIGMA)},
            ["IMEAN", "SIGIMEAN"],
        ),
    ]  # fmt: skip
    for columns, expected in cases:
        path = write_mtz(tmp_path / "a.mtz", calculated | columns | {"FREE": ("I", CCP4)})
        data, _ = read_reflections(path, CRYSTAL)
        assert data.source["columns"] == expected


def test_columns_given(tmp_path: Path) -> None:
    path = simple(tmp_path / "a.mtz", F2=("F", 2 * F), SIGF2=("Q", SIGMA), I=("J", F), SIGI=("Q", SIGMA))
    for columns in ("F2,SIGF2", "F2", "f2, sigf2"):
        data, _ = read_reflections(path, CRYSTAL, columns=columns)
        assert data.source["columns"] == ["F2", "SIGF2"]
        assert data.f_obs.sum() == pytest.approx(2 * F.sum(), rel=1e-6)
    data, notes = read_reflections(path, CRYSTAL, columns="I,SIGI")
    assert data.source["kind"] == "intensity"
    assert data.i_obs is not None
    assert said(notes, "French & Wilson")
    _, notes = read_reflections(path, CRYSTAL)
    assert said(notes, "also there: F2,SIGF2; I,SIGI")


@pytest.mark.parametrize(("left_out", "is_said"), [(0.3, True), (0.02, False)])
def test_weak_reflections_that_amplitudes_lack_and_intensities_have_are_warned_of(
    tmp_path: Path, left_out: float, is_said: bool
) -> None:
    lost = int(left_out * COUNT)
    weak = np.argsort(F)[:lost]
    amplitudes = F.astype(np.float64)
    amplitudes[weak] = np.nan
    columns = {"F": ("F", amplitudes), "SIGF": ("Q", SIGMA), "IMEAN": ("J", F**2), "SIGIMEAN": ("Q", SIGMA)}
    path = write_mtz(tmp_path / "a.mtz", columns)
    sentence = f"{lost} of {COUNT} reflections with IMEAN have no F: where weak ones were left out"
    _, notes = read_reflections(path, CRYSTAL)
    warned = [note for note in notes if isinstance(note, Caution) and sentence in note]
    assert bool(warned) == is_said
    assert all("--columns IMEAN,SIGIMEAN takes the intensities" in note for note in warned)
    _, notes = read_reflections(path, CRYSTAL, columns="IMEAN,SIGIMEAN")
    assert not said(notes, sentence)


def test_a_space_group_is_no_crystal(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="crystal is of type str; expected Crystal"):
        read_reflections(simple(tmp_path / "a.mtz"), "P 21")  # type: ignore[arg-type]


def test_columns_that_cannot_be_used(tmp_path: Path) -> None:
    path = simple(tmp_path / "a.mtz", PHI=("P", F))
    assert "no column 'FX'" in refused(path, columns="FX,SIGFX")
    assert "FP (F), SIGFP (Q), FreeR_flag (I), PHI (P)" in refused(path, columns="FX,SIGFX")
    faults = {"PHI,SIGFP": "PHI is of type P", "FP,PHI": "PHI is of type P", "a,b,c": "names 3 columns"}
    for columns, fault in faults.items():
        with pytest.raises(InputError, match=fault):
            read_reflections(path, CRYSTAL, columns=columns)


def test_no_usable_columns_lists_what_is_there(tmp_path: Path) -> None:
    path = write_mtz(tmp_path / "a.mtz", {"FC": ("F", F), "PHIC": ("P", F), "FREE": ("I", CCP4)})
    message = refused(path)
    assert "no column of measured amplitudes or intensities" in message
    assert "FC (F), PHIC (P), FREE (I)" in message


def test_no_sigma_column(tmp_path: Path) -> None:
    path = write_mtz(tmp_path / "a.mtz", {"FP": ("F", F), "FREE": ("I", CCP4)})
    message = refused(path)
    assert "FP has no column of standard uncertainties" in message
    assert "write the file again with sigmas" in message
    assert "belongs to FP" in refused(path, columns="FP")
    for columns in (None, "FP"):
        assert refused(path, columns=columns).endswith("--columns FP,5% assumes that they are 5 % of each amplitude")
    # beside phases alone it is a map, against which nothing is to be refined
    path = write_mtz(tmp_path / "map.mtz", {"F": ("F", F), "PHI": ("P", F), "FREE": ("I", CCP4)})
    message = refused(path)
    assert "Beside phases (PHI) and in a file without any sigma, F hardly is measured" in message
    assert "5%" not in message


def test_sigmas_that_are_assumed(tmp_path: Path) -> None:
    columns = {"FP": ("F", F), "J": ("J", F**2), "X": ("R", F), "FREE": ("I", CCP4)}
    path = write_mtz(tmp_path / "a.mtz", columns)
    data, notes = read_reflections(path, CRYSTAL, columns="FP,5%")
    assert data.sigma == pytest.approx(0.05 * data.f_obs)
    assert data.source["columns"] == ["FP", "5%"]
    assert said(notes, "sigmas are not those of a measurement: 5 % of each amplitude FP of '")
    assert said(notes, "a.mtz' are assumed, as --columns says, and written to the output")
    data, _ = read_reflections(path, CRYSTAL, columns="J,2.5 %=amplitude")
    assert data.sigma == pytest.approx(0.025 * data.f_obs)
    assert "J is of type J; expected amplitudes (F, or G)" in refused(path, columns="J,5%")
    assert "X is of type R; expected amplitudes (F, or G)" in refused(path, columns="X,5%")
    for share in ("%", "0%", "-5%", "80%", "nan%"):
        message = refused(path, columns=f"FP,{share}")
        assert f"found '{share}' for the sigmas; expected 0.1% to 50% of each amplitude" in message
    only = write_mtz(tmp_path / "b.mtz", {"J": ("J", F**2), "FREE": ("I", CCP4)})
    assert refused(only).endswith("write the file again with sigmas")


def test_a_refinement_with_assumed_sigmas(tmp_path: Path) -> None:
    mtz = gemmi.read_mtz_file(str(example.DATA))
    label = next(column.label for column in mtz.columns if column.type == "F")
    for column in [column.label for column in mtz.columns if column.type == "Q"]:
        mtz.remove_column([c.label for c in mtz.columns].index(column))
    mtz.write_to_file(str(tmp_path / "f.mtz"))
    options = Options(cycles=1, d_min=2.5, hydrogens="strip")
    known = refine(example.MODEL, example.DATA, options).report
    assumed = refine(
        example.MODEL, tmp_path / "f.mtz", dataclasses.replace(options, columns=f"{label},5%")
    ).report
    assert assumed.final.r_free == pytest.approx(known.final.r_free, abs=0.02)
    assert any("sigmas are not those of a measurement" in warning for warning in assumed.warnings)


def test_pairs_are_merged_to_the_weighted_mean(tmp_path: Path) -> None:
    minus, sigma_minus = F + 3.0, np.full(COUNT, 4.0)
    minus[0], sigma_minus[0] = np.nan, np.nan
    minus[1], sigma_minus[1] = F[1], SIGMA[1]
    columns = {"F(+)": ("G", F), "SIGF(+)": ("L", SIGMA), "F(-)": ("G", minus), "SIGF(-)": ("L", sigma_minus)}
    data, notes = read_reflections(write_mtz(tmp_path / "a.mtz", columns), CRYSTAL)
    row = {tuple(h): i for i, h in enumerate(data.hkl.tolist())}
    at = [row[tuple(h)] for h in HKL[:3].tolist()]
    # alone, a copy, and (F/4 + (F+3)/16) / (1/4 + 1/16)
    np.testing.assert_allclose(data.f_obs[at], [F[0], F[1], F[2] + 0.6], rtol=1e-6)
    np.testing.assert_allclose(data.sigma[at], [2.0, 2.0, (1 / 4 + 1 / 16) ** -0.5], rtol=1e-6)
    assert said(notes, f"F(+) and F(-) are merged to their mean ({COUNT - 1} reflections have both)")


@pytest.mark.parametrize(("kind", "named"), [("F", "intensity"), ("J", "amplitude")])
def test_columns_of_the_wrong_type_are_read_as_what_they_are_said_to_be(tmp_path: Path, kind: str, named: str) -> None:
    other = {"F": "J", "J": "F"}[kind]
    flags = ("I", CCP4)
    wrong = write_mtz(tmp_path / "a.mtz", {"X": (kind, F), "SIGX": ("Q", SIGMA), "FREE": flags})
    right = write_mtz(tmp_path / "b.mtz", {"X": (other, F), "SIGX": ("Q", SIGMA), "FREE": flags})
    for columns in (f"X,SIGX={named}", f"X = {named}"):
        given, _ = read_reflections(wrong, CRYSTAL, columns=columns)
        expected, _ = read_reflections(right, CRYSTAL)
        np.testing.assert_array_equal(given.f_obs, expected.f_obs)
        assert given.source["kind"] == named
    assert "has no column 'SIGX=phase'" in refused(wrong, columns="X,SIGX=phase")


# --- what is dropped, moved and merged ---


def test_bad_values_are_dropped_and_counted(tmp_path: Path) -> None:
    value, sigma = F.copy(), SIGMA.copy()
    value[100:102] = np.nan
    value[102] = -4.0
    value[103] = 0.0
    sigma[104], sigma[105], sigma[106:109] = 0.0, np.nan, -1.0
    data, notes = read_reflections(simple(tmp_path / "a.mtz", FP=("F", value), SIGFP=("Q", sigma)), CRYSTAL)
    assert len(data) == COUNT - 8
    assert (data.f_obs == 0.0).sum() == 1
    assert data.source["dropped"] == {
        "without a measured value": 2,
        "with a sigma that is zero, negative or missing": 5,
        "with a negative amplitude": 1,
    }
    assert said(notes, "dropped reflections: 2 without a measured value, 5 with a sigma")
    assert data.source["completeness"] == pytest.approx(1.0 - 8 / COUNT)


def test_all_sigmas_bad(tmp_path: Path) -> None:
    message = refused(simple(tmp_path / "a.mtz", SIGFP=("Q", -SIGMA)))
    assert f"no usable reflection is left of {COUNT}" in message
    assert f"{COUNT} with a sigma that is zero, negative or missing" in message


@pytest.mark.parametrize("kind", ["F", "J"])
def test_values_that_are_all_the_same_are_refused(tmp_path: Path, kind: str) -> None:
    columns = {"X": (kind, np.full(COUNT, 100.0)), "SIGX": ("Q", SIGMA), "FreeR_flag": ("I", CCP4)}
    assert f"columns X,SIGX: all {COUNT} values are 100; expected" in refused(write_mtz(tmp_path / "a.mtz", columns))


def test_a_reflection_with_one_usable_mate_is_not_dropped(tmp_path: Path) -> None:
    """Counts are of reflections: 6 have no mate that can be used, two of them for two reasons; 6 have one."""
    plus, minus, sigma_plus, sigma_minus = F.copy(), F.copy(), SIGMA.copy(), SIGMA.copy()
    sigma_plus[:10] = 0.0
    sigma_minus[[0, 1, 2, 12, 13]] = 0.0
    minus[[3, 4]] = -5.0
    minus[5] = np.nan
    columns = {
        "F(+)": ("G", plus), "SIGF(+)": ("L", sigma_plus), "F(-)": ("G", minus), "SIGF(-)": ("L", sigma_minus),
        "FreeR_flag": ("I", CCP4),
    }  # fmt: skip
    data, notes = read_reflections(write_mtz(tmp_path / "a.mtz", columns), CRYSTAL)
    reason = "with a sigma that is zero, negative or missing"
    assert len(data) == COUNT - 6
    assert data.source["dropped"] == {reason: 6}
    assert said(notes, f"dropped reflections: 6 {reason}")
    assert said(notes, f"6 reflections with one mate {reason}: the other mate alone is used")
    columns["SIGF(+)"] = ("L", SIGMA)
    data, notes = read_reflections(write_mtz(tmp_path / "b.mtz", columns), CRYSTAL)
    assert len(data) == COUNT
    assert data.source["dropped"] == {}
    assert not said(notes, "dropped")
    assert said(notes, "2 reflections with one mate with a negative amplitude: the other mate alone is used")


def test_absences_and_origin_are_dropped(tmp_path: Path) -> None:
    hkl = np.vstack([HKL, [[0, 0, 0], [3, 0, 0], [0, 0, 5]]])
    extra = {k: (t, np.append(v, [9, 9, 9])) for k, (t, v) in {"F": ("F", F), "SIGF": ("Q", SIGMA)}.items()}
    data, _ = read_reflections(write_mtz(tmp_path / "a.mtz", extra, hkl=hkl), CRYSTAL)
    assert data.source["dropped"] == {"with the index 0 0 0": 1, "systematically absent": 2}
    assert len(data) == COUNT


def test_any_indices_come_to_the_asymmetric_unit_and_duplicates_are_merged(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    operators = list(CRYSTAL.group_ops.sym_ops)
    moved = np.array([operators[rng.integers(4)].apply_to_hkl(h) for h in HKL.tolist()])
    moved *= rng.choice([-1, 1], COUNT)[:, None]
    hkl = np.vstack([moved, -moved[:10]])
    columns = {
        "F": ("F", np.append(F, F[:10] + 10.0)),
        "SIGF": ("Q", np.append(SIGMA, np.full(10, 1.0))),
        "FREE": ("I", np.append(CCP4, CCP4[:10])),
    }
    data, notes = read_reflections(write_mtz(tmp_path / "a.mtz", columns, hkl=hkl), CRYSTAL)
    straight, _ = read_reflections(simple(tmp_path / "b.mtz"), CRYSTAL)
    np.testing.assert_array_equal(data.hkl, straight.hkl)
    np.testing.assert_array_equal(data.free, straight.free)
    different = np.flatnonzero(~np.isclose(data.f_obs, straight.f_obs))
    assert len(different) == 10
    np.testing.assert_allclose((data.f_obs - straight.f_obs)[different], 8.0, rtol=1e-4)
    np.testing.assert_allclose(data.sigma[different], (1 + 1 / 4) ** -0.5)
    assert said(notes, "10 duplicate measurements were merged")


def test_friedel_mates_in_rows_of_their_own_are_called_that(tmp_path: Path) -> None:
    acentric = HKL[~CRYSTAL.centric(HKL)][:7]
    twice = HKL[:3] * np.array([-1, -1, 1])  # a twofold axis: the same mate
    for more, said_of_mates in (
        ((-acentric, twice), "10 duplicate measurements were merged into their reflections, 7 of them Friedel mates"),
        ((-acentric,), "7 duplicate measurements were merged into their reflections, all of them Friedel mates in"),
        ((-acentric[:1],), "1 duplicate measurement was merged into its reflection, a Friedel mate in a row of its"),
    ):
        hkl = np.vstack([HKL, *more])
        count = len(hkl) - COUNT
        columns = {"F": ("F", np.append(F, F[:count])), "SIGF": ("Q", np.append(SIGMA, SIGMA[:count]))}
        _, notes = read_reflections(write_mtz(tmp_path / "a.mtz", columns, hkl=hkl), CRYSTAL)
        assert said(notes, said_of_mates)
    _, notes = read_reflections(write_mtz(tmp_path / "b.mtz", {
        "F": ("F", np.append(F, F[:3])), "SIGF": ("Q", np.append(SIGMA, SIGMA[:3])),
    }, hkl=np.vstack([HKL, twice])), CRYSTAL)  # fmt: skip
    assert said(notes, "3 duplicate measurements were merged into their reflections")
    assert not said(notes, "Friedel")


def test_of_two_columns_of_flags_the_one_is_taken_in_which_mates_agree(tmp_path: Path) -> None:
    hkl = np.vstack([HKL, -HKL])
    agreeing, other = np.where(np.arange(COUNT) % 20 == 7, 1, 0), np.roll(CCP4, 3)
    columns = {
        "F": ("F", np.tile(F, 2)), "SIGF": ("Q", np.tile(SIGMA, 2)),
        "FreeR_flag": ("I", np.append(CCP4, other)), "FREE": ("I", np.tile(agreeing, 2)),
    }  # fmt: skip
    path = write_mtz(tmp_path / "a.mtz", columns, hkl=hkl)
    data, notes = read_reflections(path, CRYSTAL)
    assert data.source["free_column"] == "FREE"
    assert data.free.sum() == agreeing.sum()
    assert not said(notes, "they count as free")
    conflicts = int(((CCP4 == 0) ^ (other == 0)).sum())
    said_why = f"free flags of FREE are used; {conflicts} reflections are free in some copies only by FreeR_flag"
    assert said(notes, f"{said_why}; also there: FreeR_flag")
    data, notes = read_reflections(path, CRYSTAL, free="FreeR_flag")
    assert data.source["free_column"] == "FreeR_flag"
    assert said(notes, f"{conflicts} reflections are free in some copies only: they count as free")
    columns["FreeR_flag"] = ("I", np.tile(CCP4, 2))
    data, notes = read_reflections(write_mtz(tmp_path / "b.mtz", columns, hkl=hkl), CRYSTAL)
    assert data.source["free_column"] == "FreeR_flag"


def test_a_column_that_tells_no_test_set_gives_way_to_one_that_does(tmp_path: Path) -> None:
    path = simple(tmp_path / "a.mtz", FreeR_flag=("I", np.ones(COUNT)), FREE=("I", np.where(CCP4 == 7, 1, 0)))
    data, notes = read_reflections(path, CRYSTAL)
    assert data.source["free_column"] == "FREE"
    assert data.free.sum() == (CCP4 == 7).sum()
    assert said(notes, "free flags of FREE are used; FreeR_flag tells no test set")


def test_where_copies_disagree_in_all_columns_the_first_is_taken(tmp_path: Path) -> None:
    hkl, other = np.vstack([HKL, -HKL]), np.roll(CCP4, 3)
    columns = {
        "F": ("F", np.tile(F, 2)), "SIGF": ("Q", np.tile(SIGMA, 2)),
        "FreeR_flag": ("I", np.append(CCP4, other)), "FREE": ("I", np.append(CCP4 == 7, other == 7)),
    }  # fmt: skip
    data, _ = read_reflections(write_mtz(tmp_path / "a.mtz", columns, hkl=hkl), CRYSTAL)
    assert data.source["free_column"] == "FreeR_flag"
    assert data.free.sum() == ((CCP4 == 0) | (other == 0)).sum()


def test_flags_that_say_nothing_do_not_contradict_a_status(tmp_path: Path) -> None:
    codes = np.where(CCP4 == 0, "f", "o")
    rows = [f"{h[0]} {h[1]} {h[2]} {f:.2f} 2.0 {code} 5" for h, f, code in zip(HKL, F, codes)]
    path = cif(tmp_path / "a.cif", "F_meas_au F_meas_sigma_au status pdbx_r_free_flag", rows, CIF_HEADER)
    data, notes = read_reflections(path, CRYSTAL)
    assert data.free.sum() == (CCP4 == 0).sum()
    assert not said(notes, "has another test set")


def test_copies_keep_their_sigma(tmp_path: Path) -> None:
    columns = {"F": ("F", np.tile(F, 2)), "SIGF": ("Q", np.tile(SIGMA, 2))}
    data, _ = read_reflections(write_mtz(tmp_path / "a.mtz", columns, hkl=np.vstack([HKL, -HKL])), CRYSTAL)
    assert len(data) == COUNT
    assert (data.sigma == 2.0).all()


def test_resolution_cut(tmp_path: Path) -> None:
    path = simple(tmp_path / "a.mtz")
    data, _ = read_reflections(path, CRYSTAL, d_min=3.9)
    d = CRYSTAL.inverse_d_squared(HKL) ** -0.5
    assert len(data) == (d >= 3.9).sum()
    assert data.source["dropped"] == {"beyond d_min = 3.9 Å": (d < 3.9).sum()}
    for d_min in (100.0, 0.0, -1.0, float("nan")):
        assert "leaves no reflection" in refused(path, d_min=d_min)


def test_low_resolution_cut(tmp_path: Path) -> None:
    path = simple(tmp_path / "a.mtz")
    d = CRYSTAL.inverse_d_squared(HKL) ** -0.5
    for source in (path, read_reflections(path, CRYSTAL)[0]):
        data, notes = read_reflections(source, CRYSTAL, d_min=3.0, d_max=6.0)
        assert len(data) == ((d >= 3.0) & (d <= 6.0)).sum() < (d >= 3.0).sum()
        assert data.d_max <= 6.0
    assert read_reflections(path, CRYSTAL, d_max=6.0)[0].source["dropped"] == {"beyond d_max = 6 Å": (d > 6.0).sum()}
    for limits in ({"d_max": 1.0}, {"d_max": 0.0}, {"d_max": float("nan")}, {"d_min": 5.0, "d_max": 4.0}):
        message = refused(path, **limits)
        assert "leaves no reflection" in message
        assert all(f"--{name.replace('_', '-')} {value:g}" in message for name, value in limits.items())
    _, notes = read_reflections(path, CRYSTAL, d_max=500.0)
    (note,) = [note for note in notes if "--d-max" in note]
    assert re.fullmatch(r"--d-max 500 has no effect: the data of '.*' begin at \d+\.\d\d Å", note)
    _, notes = read_reflections(path, CRYSTAL, d_max=float(d.max()))
    assert not any("--d-max" in note for note in notes)


def test_a_cut_that_leaves_no_test_set_names_itself(tmp_path: Path) -> None:
    path = simple(tmp_path / "a.mtz")
    data, _ = read_reflections(path, CRYSTAL, free="random")
    d = data.s_squared**-0.5
    low = d > np.sort(d)[-20]
    mtz = gemmi.read_mtz_file(str(path))
    place = {tuple(hkl): far for hkl, far in zip(data.hkl.tolist(), low.tolist())}
    flags = np.array([1 if place[tuple(hkl)] else k % 2 for k, hkl in enumerate(mtz.make_miller_array().tolist())])
    path = simple(tmp_path / "b.mtz", FreeR_flag=("I", flags))
    message = refused(path, free="FreeR_flag=0", d_min=float(d[low].min()))
    assert f"leaves {low.sum()} reflections of '{path}', none of them of the test set" in message


def test_a_limit_beyond_the_data_is_named(tmp_path: Path) -> None:
    path = simple(tmp_path / "a.mtz")
    for source in (path, read_reflections(path, CRYSTAL)[0]):
        _, notes = read_reflections(source, CRYSTAL, d_min=1.0)
        (note,) = [note for note in notes if "--d-min" in note]
        assert re.fullmatch(r"--d-min 1 has no effect: the data of '.*' end at 2\.50 Å", note)
        _, notes = read_reflections(source, CRYSTAL, d_min=2.5)
        assert not any("--d-min" in note for note in notes)


# --- free flags ---


@pytest.mark.parametrize(
    ("label", "flags", "value", "convention"),
    [
        ("FreeR_flag", CCP4, 0, "20 values, 0 is free"),
        ("R-free-flags", (CCP4 == 0).astype(int), 1, "less frequent one (1)"),
        ("FREE", (CCP4 != 0).astype(int), 0, "less frequent one (0)"),
        ("test", np.where(CCP4 == 0, -1, 1), -1, "less frequent one (-1)"),
    ],
)
def test_conventions(tmp_path: Path, label: str, flags: NDArray[np.int64], value: int, convention: str) -> None:
    path = write_mtz(tmp_path / "a.mtz", {"F": ("F", F), "SIGF": ("Q", SIGMA), label: ("I", flags)})
    data, _ = read_reflections(path, CRYSTAL)
    assert data.free.sum() == (CCP4 == 0).sum()
    assert data.source["free_column"] == label
    assert data.source["free_file_value"] == value
    assert convention in str(data.source["free_convention"])


def test_free_given(tmp_path: Path) -> None:
    other = np.where(CCP4 < 2, 1, 0)
    path = simple(tmp_path / "a.mtz", cross=("I", other))
    for free, count in (
        ("FreeR_flag=3", (CCP4 == 3).sum()),
        ("freer_flag", (CCP4 == 0).sum()),
        ("cross", other.sum()),
    ):
        data, _ = read_reflections(path, CRYSTAL, free=free)
        assert data.free.sum() == count
    assert "no column 'nix'" in refused(path, free="nix=1")
    with pytest.raises(InputError, match="'x' is no number"):
        read_reflections(path, CRYSTAL, free="cross=x")


@pytest.mark.parametrize(("flags", "value"), [((CCP4 == 0).astype(int), 1), (CCP4, 0)], ids=["phenix", "CCP4"])
@pytest.mark.parametrize("given", [None, "free(-)"])
def test_flags_of_mates_are_one_set(
    tmp_path: Path, flags: NDArray[np.int64], value: int, given: str | None
) -> None:
    """Of a third one mate alone was measured, and has a flag; in a few the two differ: free in one is free."""
    alone = np.arange(COUNT) % 3
    pairs: dict[str, tuple[str, Any]] = {}
    for kind, (sign, lacking) in zip("KK", (("+", alone == 1), ("-", alone == 2))):
        pairs |= {
            f"I({sign})": (kind, np.where(lacking, np.nan, F**2)),
            f"SIGI({sign})": ("M", np.where(lacking, np.nan, F * SIGMA)),
            f"free({sign})": ("I", np.where(lacking, np.nan, flags)),
        }
    differing = np.flatnonzero((flags == value) & (alone == 0))[:3]
    pairs["free(-)"][1][differing] = CCP4.max() if value == 0 else 0
    data, notes = read_reflections(write_mtz(tmp_path / "a.mtz", pairs), CRYSTAL, free=given)
    straight, _ = read_reflections(simple(tmp_path / "b.mtz"), CRYSTAL)
    np.testing.assert_array_equal(data.hkl, straight.hkl)
    np.testing.assert_array_equal(data.free, straight.free)
    assert data.flags is not None
    row = {tuple(index): flag for index, flag in zip(data.flags.hkl.tolist(), data.flags.value)}
    assert [row[tuple(index)] == value for index in data.hkl.tolist()] == data.free.tolist()
    assert not any("have no free flag" in note for note in notes)
    said = "free flags of free(+) and free(-) are used; what one mate has is that of the reflection"
    assert (said in notes) == (given is None)


@pytest.mark.parametrize("cut", [False, True])
def test_a_limit_is_advised_where_it_is_the_end_that_has_no_flags(tmp_path: Path, cut: bool) -> None:
    d = CRYSTAL.inverse_d_squared(HKL) ** -0.5
    lacking = d < np.quantile(d, 0.3) if cut else np.arange(COUNT) % 3 == 1
    path = simple(tmp_path / "a.mtz", FreeR_flag=("I", np.where(lacking, np.nan, CCP4)))
    _, notes = read_reflections(path, CRYSTAL)
    (note,) = (note for note in notes if "have no free flag" in note)
    assert isinstance(note, Caution)
    assert ("leaves out what is beyond" in note) == cut


def test_all_free_or_none(tmp_path: Path) -> None:
    for value in (0, 1):
        path = simple(tmp_path / "a.mtz", FreeR_flag=("I", np.full(COUNT, value)))
        message = refused(path)
        assert f"every flag is {value}, so all reflections are free or none is" in message
        assert "--free random" in message
    assert f"all {COUNT} reflections are free" in refused(path, free="FreeR_flag=1")
    assert "no reflection is free (0 was looked for" in refused(path, free="FreeR_flag=0")
    assert "no reflection has a free flag" in refused(simple(tmp_path / "b.mtz", FreeR_flag=("I", NAN)))
    data, notes = read_reflections(path, CRYSTAL, free="random")
    assert 0.04 < data.free.mean() < 0.06
    assert said(notes, "chosen at random")


@pytest.mark.parametrize(
    ("work", "free", "value"), [(0, 1, 1), (1, 0, 0), (CCP4 + 1, 0, 0)], ids=["phenix", "ccp4 0/1", "ccp4"]
)
def test_negative_flags_are_missing(tmp_path: Path, work: Any, free: int, value: int) -> None:
    """phenix's 0/1 with -1 for "missing" are three values, but not CCP4's: 90 % would become the test set."""
    in_test_set = np.arange(COUNT) % 10 == 3
    missing = np.arange(COUNT) % 50 == 7
    flags = np.where(missing, -1, np.where(in_test_set, free, work))
    data, notes = read_reflections(simple(tmp_path / "a.mtz", FreeR_flag=("I", flags)), CRYSTAL)
    np.testing.assert_array_equal(np.sort(data.f_obs[data.free]), np.sort(F[in_test_set]))
    assert data.source["free_file_value"] == value
    assert f"{missing.sum()} negative flags count as missing" in str(data.source["free_convention"])
    assert said(notes, f"{missing.sum()} reflections")


def test_a_test_set_of_more_than_half_is_refused(tmp_path: Path) -> None:
    large = np.where(CCP4 < 12, 0, CCP4)
    message = refused(simple(tmp_path / "a.mtz", FreeR_flag=("I", large)))
    assert "60 %" in message
    assert "--free NAME=VALUE" in message
    assert "--free random" in message
    other = simple(tmp_path / "b.mtz", cross=("I", np.where(CCP4 < 2, 1, 0)))
    assert "looks like the work set" in refused(other, free="cross=0")
    gap = np.where(CCP4 < 2, 0.0, np.where(CCP4 == 2, 1.0, np.nan))
    assert "of the reflections with a flag" in re.sub(
        r"the \d+ refl", "the refl", refused(simple(tmp_path / "c.mtz", cross=("I", gap)), free="cross=0")
    )
    _, notes = read_reflections(
        simple(tmp_path / "d.mtz", cross=("I", np.where(CCP4 < 6, 0, 1))), CRYSTAL, free="cross=0"
    )
    assert said(notes, "unusually large: 30 %")


@pytest.mark.parametrize(("work", "free"), [(0, 1), (1, 0)], ids=["phenix", "ccp4"])
def test_a_reflection_that_is_free_in_any_copy_is_free(tmp_path: Path, work: int, free: int) -> None:
    flags = np.where(CCP4 == 0, free, work)
    doubted = np.concatenate([np.flatnonzero(CCP4 == 0)[:4], np.flatnonzero(CCP4 == 5)[:3]])
    columns = {
        "F": ("F", np.append(F, F[doubted])),
        "SIGF": ("Q", np.append(SIGMA, SIGMA[doubted])),
        "FREE": ("I", np.append(flags, np.where(flags[doubted] == free, work, free))),
    }
    hkl = np.vstack([HKL, -HKL[doubted]])
    data, notes = read_reflections(write_mtz(tmp_path / "a.mtz", columns, hkl=hkl), CRYSTAL)
    expected = (CCP4 == 0) | np.isin(np.arange(COUNT), doubted)
    np.testing.assert_array_equal(np.sort(data.f_obs[data.free]), np.sort(F[expected]))
    assert said(notes, "7 reflections are free in some copies only: they count as free")


def test_flags_of_no_known_convention(tmp_path: Path) -> None:
    assert "expected 0/1, or 0..n" in refused(simple(tmp_path / "a.mtz", FreeR_flag=("I", CCP4 + 1)))
    half = np.arange(COUNT - COUNT % 2) % 2
    even = {"F": ("F", F[: len(half)]), "SIGF": ("Q", SIGMA[: len(half)]), "FREE": ("I", half)}
    path = write_mtz(tmp_path / "b.mtz", even, hkl=HKL[: len(half)])
    assert "cannot be told from the work set" in refused(path)


def test_missing_flags_are_work_and_counted(tmp_path: Path) -> None:
    d = CRYSTAL.inverse_d_squared(HKL) ** -0.5
    flags = np.where(d < 3.0, np.nan, CCP4)
    data, notes = read_reflections(simple(tmp_path / "a.mtz", FreeR_flag=("I", flags)), CRYSTAL)
    assert data.free.sum() == (flags == 0).sum()
    assert not data.free[data.s_squared > 1 / 9.0].any()
    assert said(notes, f"{(d < 3.0).sum()} reflections")
    assert said(notes, "--d-min 3.0")


def test_no_flags_are_chosen_with_the_seed(tmp_path: Path) -> None:
    columns = {"F": ("F", F), "SIGF": ("Q", SIGMA)}
    path = write_mtz(tmp_path / "a.mtz", columns)
    first, notes = read_reflections(path, CRYSTAL, seed=3)
    again, _ = read_reflections(path, CRYSTAL, seed=3)
    other, _ = read_reflections(path, CRYSTAL, seed=4)
    tenth, _ = read_reflections(path, CRYSTAL, free_fraction=0.1)
    order = RNG.permutation(COUNT)
    shuffled = {k: (t, np.asarray(v)[order]) for k, (t, v) in columns.items()}
    mixed, _ = read_reflections(write_mtz(tmp_path / "b.mtz", shuffled, hkl=HKL[order]), CRYSTAL, seed=3)
    np.testing.assert_array_equal(first.free, again.free)
    np.testing.assert_array_equal(first.free, mixed.free)
    assert (first.free != other.free).any()
    assert first.free.sum() == round(0.05 * COUNT)
    assert tenth.free.sum() == round(0.1 * COUNT)
    assert said(notes, "chosen at random with seed 3")
    assert said(notes, "A refinement writes them to refined.mtz"), "validate, peaks and omit, which say it too, do not"
    assert said(notes, "R-free starts too low where the model was refined against all of them before")
    # every tenth of the resolution range has its share
    for shell in np.array_split(np.argsort(first.s_squared), 10):
        assert 0.03 < first.free[shell].mean() < 0.07


# --- cells and space groups ---


def test_different_cell(tmp_path: Path) -> None:
    path = simple(tmp_path / "a.mtz")
    model = Crystal((20.0, 30.5, 40.0, 90.0, 90.0, 90.0), "P 21 21 21")
    with pytest.raises(InputError, match=r"cells of model and data differ.*20 30\.5 40.*20 30 40") as caught:
        read_reflections(path, model)
    form = "another crystal of the same form, remove the cell of the model"
    assert form in str(caught.value)
    with pytest.raises(InputError, match="cells of model and data differ") as caught:
        read_reflections(path, Crystal((20.0, 33.0, 40.0, 90.0, 90.0, 90.0), "P 21 21 21"))
    assert form not in str(caught.value)
    near = Crystal((20.0, 30.2, 40.0, 90.0, 90.0, 90.0), "P 21 21 21")
    data, notes = read_reflections(path, near)
    assert data.crystal.cell == CRYSTAL.cell
    assert data.source["cell"] == "data"
    assert said(notes, "differ by 0.66 %: the data's is used")


@pytest.mark.parametrize(
    ("data_group", "model_group", "cell"),
    [
        ("P 43", "P 41", (50.0, 50.0, 70.0, 90.0, 90.0, 90.0)),
        ("P 21 21 2", "P 21 21 21", (50.0, 60.0, 70.0, 90.0, 90.0, 90.0)),
        ("P 21 21 2", "P 2 21 21", (50.0, 60.0, 70.0, 90.0, 90.0, 90.0)),
        ("I 1 2 1", "C 1 2 1", (50.0, 60.0, 70.0, 90.0, 95.0, 90.0)),
    ],
)
def test_different_space_groups(
    tmp_path: Path, data_group: str, model_group: str, cell: tuple[float, float, float, float, float, float]
) -> None:
    crystal = Crystal(cell, data_group)
    columns = {"F": ("F", [9.0]), "SIGF": ("Q", [1.0])}
    path = write_mtz(tmp_path / "a.mtz", columns, hkl=np.array([[2, 4, 6]]), crystal=crystal)
    expected = rf"space groups of model and data differ.*{model_group},.*{data_group};"
    with pytest.raises(InputError, match=expected):
        read_reflections(path, Crystal(cell, model_group))


@pytest.mark.parametrize(
    ("data_group", "model_group", "remedy"),
    [
        ("P 43", "P 41", "give the data the space group of the model"),
        ("P 41", "P 4", "give the data the space group of the model"),
        ("P 4 2 2", "P 41", "reindex the data, correct the header"),
        ("P 4", "P 41 21 2", "reindex the data, correct the header"),
    ],
)
def test_what_to_do_about_another_space_group(tmp_path: Path, data_group: str, model_group: str, remedy: str) -> None:
    cell = (50.0, 50.0, 70.0, 90.0, 90.0, 90.0)
    columns = {"F": ("F", [9.0]), "SIGF": ("Q", [1.0])}
    path = write_mtz(tmp_path / "a.mtz", columns, hkl=np.array([[2, 4, 6]]), crystal=Crystal(cell, data_group))
    with pytest.raises(InputError, match=remedy):
        read_reflections(path, Crystal(cell, model_group))


@pytest.mark.parametrize("strength", [0.05, 1.0])
def test_data_may_name_the_space_group_without_its_screw_axes(tmp_path: Path, strength: float) -> None:
    """P 2 2 2 for P 21 21 21, as merging leaves it; what the model's group forbids is dropped and judged."""
    merged = Crystal(CRYSTAL.cell, "P 2 2 2")
    hkl = gemmi.make_miller_array(merged.gemmi_cell, merged.gemmi_space_group, 2.5)
    absent = CRYSTAL.absent(hkl)
    f = np.where(absent, 50.0 * strength, 50.0) + np.where(np.arange(len(hkl)) % 2, 0.001, -0.001)
    columns = {"F": ("F", f), "SIGF": ("Q", np.full(len(f), 2.0)), "FREE": ("I", np.arange(len(f)) % 20)}
    path = write_mtz(tmp_path / "a.mtz", columns, hkl=hkl, crystal=merged)
    data, notes = read_reflections(path, CRYSTAL)
    assert data.crystal == CRYSTAL
    assert len(data) == len(HKL) == (~absent).sum()
    assert data.source["dropped"] == {"systematically absent": absent.sum()}
    assert said(notes, "name the space group P 2 2 2, which is that of the model, P 21 21 21, without its screw axes")
    assert said(notes, f"{absent.sum()} measured reflections are systematically absent in P 21 21 21 and dropped")
    assert said(notes, f"{25.0 * strength:.1f} of these and 25.0 of all others")
    assert said(notes, "may be the wrong space group") == (strength == 1.0)
    again, notes = read_reflections(dataclasses.replace(data, crystal=merged), CRYSTAL)
    assert (again.crystal, len(again)) == (CRYSTAL, len(data))
    assert said(notes, "without its screw axes")
    alone = write_mtz(tmp_path / "b.mtz", {k: (t, v[~absent]) for k, (t, v) in columns.items()}, hkl=hkl[~absent],
                      crystal=merged)  # fmt: skip
    assert not said(read_reflections(alone, CRYSTAL)[1], "systematically absent")


@pytest.mark.parametrize("strength", [0.05, 1.0])
def test_strong_reflections_that_both_groups_forbid_are_warned_of(tmp_path: Path, strength: float) -> None:
    """Of C 1 2 1 half would be gone under the name of I 1 2 1; weak ones are no news."""
    cell = (40.0, 50.0, 60.0, 90.0, 95.0, 90.0)
    hkl = gemmi.make_miller_array(gemmi.UnitCell(*cell), gemmi.SpaceGroup("P 1 2 1"), 4.0)
    crystal = Crystal(cell, "I 1 2 1")
    absent = crystal.absent(hkl)
    f = np.where(absent, 50.0 * strength, 50.0) + np.where(np.arange(len(hkl)) % 2, 0.001, -0.001)
    columns = {"F": ("F", f), "SIGF": ("Q", np.full(len(f), 2.0)), "FREE": ("I", np.arange(len(f)) % 20)}
    data, notes = read_reflections(write_mtz(tmp_path / "a.mtz", columns, hkl=hkl, crystal=crystal), crystal)
    assert len(data) == (~absent).sum()
    assert said(notes, "they seem to be there, and I 1 2 1 may be the wrong space group") == (strength == 1.0)
    assert said(notes, f"{absent.sum()} measured reflections are systematically absent") == (strength == 1.0)


def test_two_names_of_one_group_agree(tmp_path: Path) -> None:
    cell = (50.0, 60.0, 70.0, 90.0, 95.0, 90.0)
    crystal = Crystal(cell, "P 1 21 1")
    hkl = gemmi.make_miller_array(crystal.gemmi_cell, crystal.gemmi_space_group, 8.0)
    columns = {"F": ("F", np.arange(len(hkl)) + 9.0), "SIGF": ("Q", np.ones(len(hkl)))}
    path = write_mtz(tmp_path / "a.mtz", columns, hkl=hkl, crystal=crystal)
    data, _ = read_reflections(path, Crystal(cell, "P 21"))
    assert len(data) == len(hkl)


# --- sf-mmCIF ---


def rows(status: Callable[[int], str] = lambda i: "o") -> list[str]:
    """Indices, amplitude, sigma, status."""
    return [f"{h} {k} {m} {F[i]:.3f} 2.0 {status(i)}" for i, (h, k, m) in enumerate(HKL.tolist())]


def test_cif_status(tmp_path: Path) -> None:
    codes = "foooooooooooooo<x-h?"
    path = cif(tmp_path / "a.cif", "F_meas_au F_meas_sigma_au status", rows(lambda i: codes[i % 20]), CIF_HEADER)
    data, notes = read_reflections(path, CRYSTAL)
    counts = {code: sum(codes[i % 20] == code for i in range(COUNT)) for code in set(codes)}
    assert data.free.sum() == counts["f"]
    assert len(data) == counts["f"] + counts["o"] + counts["?"]
    assert data.source["dropped"] == {f"with status '{c}'": counts[c] for c in "-<hx"}
    assert data.source["columns"] == ["F_meas_au", "F_meas_sigma_au"]
    assert said(notes, f"{counts['?']} reflections")
    given, _ = read_reflections(path, CRYSTAL, free="status=f")
    with pytest.raises(InputError, match=r"^--free status=o: the test set of mmCIF status is 'f'; expected --free sta"):
        read_reflections(path, CRYSTAL, free="status=o")
    with pytest.raises(InputError, match=r"^free_fraction = 1; expected a number between 0 and 1, such as 0.05$"):
        read_reflections(path, CRYSTAL, free="random", free_fraction=1.0)
    np.testing.assert_array_equal(given.free, data.free)


def test_cif_status_without_test_set_is_no_flag(tmp_path: Path) -> None:
    path = cif(tmp_path / "a.cif", "F_meas_au F_meas_sigma_au status", rows(), CIF_HEADER)
    data, notes = read_reflections(path, CRYSTAL)
    assert said(notes, "chosen at random")
    assert data.free.sum() == round(0.05 * COUNT)
    everything = cif(tmp_path / "b.cif", "F_meas_au F_meas_sigma_au status", rows(lambda i: "f"), CIF_HEADER)
    assert f"all {COUNT} reflections are free" in refused(everything)
    assert "no reflection is free" in refused(path, free="status")


@pytest.mark.parametrize("free", [0, 1])
def test_cif_status_of_zeros_and_ones_holds_flags(tmp_path: Path, free: int) -> None:
    """As some depositors wrote them; x and blanks mean what they always do."""
    codes = [str(free if i % 10 == 0 else 1 - free) for i in range(18)] + ["?", "x"]
    path = cif(tmp_path / "a.cif", "F_meas_au F_meas_sigma_au status", rows(lambda i: codes[i % 20]), CIF_HEADER)
    data, notes = read_reflections(path, CRYSTAL)
    count = sum(i % 10 == 0 for i in range(COUNT))
    assert data.free.sum() == count
    assert data.source["free_file_value"] == free
    assert len(data) == sum(codes[i % 20] != "x" for i in range(COUNT))
    assert said(notes, f"{free} ({count} times)")
    assert said(notes, "the less frequent one for the test set")
    given, notes = read_reflections(path, CRYSTAL, free=f"status={free}")
    np.testing.assert_array_equal(given.free, data.free)
    assert not said(notes, "the less frequent one")
    named, _ = read_reflections(path, CRYSTAL, free="status")
    np.testing.assert_array_equal(named.free, data.free)
    assert "column status" in refused(path, free=f"status={1 - free}")
    with pytest.raises(InputError, match="'f' is no number"):
        read_reflections(path, CRYSTAL, free="status=f")
    drawn, notes = read_reflections(path, CRYSTAL, free="random")
    assert len(drawn) == len(data)
    assert said(notes, "chosen at random")


def test_cif_flags_have_a_column_beside_a_status_of_numbers(tmp_path: Path) -> None:
    tags = "F_meas_au F_meas_sigma_au status pdbx_r_free_flag"
    text = [f"{row} {CCP4[i]}" for i, row in enumerate(rows(lambda i: str(int(i % 10 == 0))))]
    data, notes = read_reflections(cif(tmp_path / "a.cif", tags, text, CIF_HEADER), CRYSTAL)
    assert data.free.sum() == (CCP4 == 0).sum()
    assert said(notes, "free flags of pdbx_r_free_flag are used; also there: status")


def test_cif_status_in_capitals(tmp_path: Path) -> None:
    codes = rows(lambda i: "F" if i % 20 == 0 else "O")
    path = cif(tmp_path / "a.cif", "F_meas_au F_meas_sigma_au status", codes, CIF_HEADER)
    assert read_reflections(path, CRYSTAL)[0].free.sum() == (CCP4 == 0).sum()


@pytest.mark.parametrize("codes", ["AAAB", "ooAA", "xxxx", "0129"])
def test_cif_status_of_no_known_meaning(tmp_path: Path, codes: str) -> None:
    path = tmp_path / "a.cif"
    cif(path, "F_meas_au F_meas_sigma_au status", rows(lambda i: codes[i % 4] if i % 20 else "A"), CIF_HEADER)
    for free in (None, "random"):
        message = refused(path, free=free)
        assert "column status: found '" in message
        assert f"'{codes[-1]}' (" in message
        assert "correct the column" in message


def test_cif_r_free_flag_and_gzip(tmp_path: Path) -> None:
    tags = "F_meas F_meas_sigma status pdbx_r_free_flag"
    path = cif(tmp_path / "a.cif", tags, [f"{row} {CCP4[i]}" for i, row in enumerate(rows())], CIF_HEADER)
    packed = tmp_path / "a.cif.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    data, _ = read_reflections(packed, CRYSTAL)
    assert data.free.sum() == (CCP4 == 0).sum()
    assert data.source["free_column"] == "pdbx_r_free_flag"


def test_cif_intensities_and_pairs(tmp_path: Path) -> None:
    mean = cif(tmp_path / "a.cif", "intensity_meas intensity_sigma status", rows(), CIF_HEADER)
    assert read_reflections(mean, CRYSTAL)[0].source["columns"] == ["intensity_meas", "intensity_sigma"]
    tags = "pdbx_I_plus pdbx_I_plus_sigma pdbx_I_minus pdbx_I_minus_sigma"
    pairs = cif(tmp_path / "b.cif", tags, [f"{h} {k} {m} {90 + h} 2 ? ?" for h, k, m in HKL.tolist()], CIF_HEADER)
    data, _ = read_reflections(pairs, CRYSTAL)
    assert data.source["kind"] == "intensity"
    assert data.i_obs is not None
    np.testing.assert_array_equal(data.i_obs, 90.0 + data.hkl[:, 0])


def test_cif_blocks(tmp_path: Path) -> None:
    first = cif(tmp_path / "a.cif", "phase_calc", ["1 2 3 90.0"], CIF_HEADER).read_text()
    second = cif(tmp_path / "b.cif", "F_meas_au F_meas_sigma_au status", rows(), CIF_HEADER).read_text()
    path = tmp_path / "c.cif"
    path.write_text(first.replace("r1abcsf", "r1abcAsf") + second)
    data, notes = read_reflections(path, CRYSTAL)
    assert len(data) == COUNT
    assert said(notes, "2 blocks of reflections; block 'r1abcsf' is used, as the first with data")


def test_blocks_of_maps_and_without_flags_are_passed_over(tmp_path: Path) -> None:
    tags = "F_meas_au F_meas_sigma_au status"
    own = cif(tmp_path / "a.cif", tags, rows(lambda i: "fooooo"[i % 6]), CIF_HEADER).read_text()
    maps = cif(tmp_path / "b.cif", "pdbx_FWT pdbx_PHWT", ["1 2 3 10.0 90.0"], CIF_HEADER).read_text()
    peak = cif(tmp_path / "b.cif", "F_meas_au F_meas_sigma_au", ["1 2 3 10.0 1.0"], CIF_HEADER).read_text()
    path = tmp_path / "c.cif"
    for first, why in ((maps, "as the first with data"), (peak, "as the first with data and free flags")):
        path.write_text(first.replace("r1abcsf", "rpeak") + own)
        data, notes = read_reflections(path, CRYSTAL)
        assert len(data) == COUNT
        assert any(note.endswith(f"block 'r1abcsf' is used, {why}") for note in notes)
    unflagged = [row.rsplit(maxsplit=1)[0] for row in rows()]
    bare = cif(tmp_path / "b.cif", "F_meas_au F_meas_sigma_au", unflagged, CIF_HEADER)
    path.write_text(peak.replace("r1abcsf", "rpeak") + bare.read_text())
    assert said(read_reflections(path, CRYSTAL, free="random")[1], "block 'rpeak' is used, as the first with data")


def test_of_several_blocks_with_data_that_of_the_model_is_read(tmp_path: Path) -> None:
    tags = "F_meas_au F_meas_sigma_au status"
    own = cif(tmp_path / "a.cif", tags, rows(), CIF_HEADER).read_text()
    other = own.replace("r1abcsf", "rsoaked")
    for a, b in ((f"{CRYSTAL.cell[0]:g}", f"{1.1 * CRYSTAL.cell[0]:g}"), ("P 21 21 21", "P 21 21 2")):
        assert a in other
        path = tmp_path / "c.cif"
        path.write_text(other.replace(a, b, 1) + own)
        data, notes = read_reflections(path, CRYSTAL)
        assert len(data) == COUNT
        assert said(notes, "block 'r1abcsf' is used, as the first with data of the model's cell and space group")
        path.write_text(own + other)
        assert said(read_reflections(path, CRYSTAL)[1], "block 'r1abcsf' is used, as the first with data")
        path.write_text(other.replace(a, b, 1) + other.replace(a, b, 1).replace("rsoaked", "rfrozen"))
        message = refused(path)
        assert "of model and data differ" in message
        assert "in block 'rsoaked', and no other block fits (rfrozen); expected" in message


# --- files that are no data ---


def test_files_that_are_no_data(tmp_path: Path) -> None:
    whole = simple(tmp_path / "whole.mtz").read_bytes()
    cases: dict[str, tuple[bytes | None, str]] = {
        "missing.mtz": (None, "does not exist"),
        "empty.mtz": (b"", "is empty"),
        "half.mtz": (whole[: len(whole) // 2], "damaged MTZ file.*cut short.*copy it again"),
        "stub.mtz": (whole[:60], "damaged MTZ file"),
        "headless.mtz": (whole[:-700], "damaged MTZ file"),
        "half.cif": (b"data_a\nloop_\n_refln.index_h\n_refln.index_k\n1 2 3\n", "cannot be parsed"),
        "model.pdb": (b"HEADER    PROTEIN\n", "give it as the model"),
        "model.cif": (b"data_a\nloop_\n_atom_site.id\n_atom_site.Cartn_x\n1 2.0\n", "give it as the model"),
        "notes.txt": (b"nothing but words\n", "text file of no known kind"),
    }
    for name, (content, pattern) in cases.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError, match=pattern):
            read_reflections(path, CRYSTAL)
        assert name in refused(path)
    assert "is a folder" in refused(tmp_path)


def test_gzipped_mtz(tmp_path: Path) -> None:
    plain = simple(tmp_path / "a.mtz")
    packed = tmp_path / "b.mtz.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    np.testing.assert_array_equal(read_reflections(packed, CRYSTAL)[0].f_obs, read_reflections(plain, CRYSTAL)[0].f_obs)


def test_unmerged_data_are_refused(tmp_path: Path) -> None:
    mtz = gemmi.read_mtz_file(str(simple(tmp_path / "a.mtz")))
    mtz.batches.append(gemmi.Mtz.Batch())
    mtz.add_column("BATCH", "B")
    mtz.add_column("M/ISYM", "Y")
    path = tmp_path / "unmerged.mtz"
    mtz.write_to_file(str(path))
    assert "unmerged observations (1 batches)" in refused(path)


def test_unmerged_data_without_headers_of_batches_are_refused(tmp_path: Path) -> None:
    path = simple(tmp_path / "a.mtz", BATCH=("B", np.ones(COUNT)), **{"M/ISYM": ("Y", np.ones(COUNT))})
    assert not gemmi.read_mtz_file(str(path)).batches
    message = refused(path)
    assert "unmerged observations (columns BATCH and M/ISYM)" in message
    assert "scale and merge first" in message


def test_columns_have_the_cell_of_their_data_set(tmp_path: Path) -> None:
    """Of a native and a derivative in one file, as scaling leaves them; the global cell is that of the first."""
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = CRYSTAL.gemmi_space_group
    a, b, c, *angles = CRYSTAL.cell
    mtz.set_cell_for_all(gemmi.UnitCell(a * 1.006, b * 1.006, c * 1.006, *angles))
    for name, scale in (("derivative", 1.006), ("native", 1.0)):
        dataset = mtz.add_dataset(name)
        dataset.cell = gemmi.UnitCell(a * scale, b * scale, c * scale, *angles)
        for label, kind in ((f"F_{name}", "F"), (f"SIGF_{name}", "Q")):
            mtz.add_column(label, kind)
    mtz.add_column("FreeR_flag", "I")
    mtz.set_data(np.column_stack([HKL, F, SIGMA, F, SIGMA, CCP4]).astype(np.float32))
    path = tmp_path / "both.mtz"
    mtz.write_to_file(str(path))
    for name, scale in (("native", 1.0), ("derivative", 1.006)):
        found, notes = read_reflections(path, CRYSTAL, columns=f"F_{name},SIGF_{name}")
        assert found.crystal.cell[:3] == pytest.approx((a * scale, b * scale, c * scale), rel=1e-5)
        assert any("cells of model" in note for note in notes) == (scale > 1.0)


def test_sets_of_few_reflections_come_last(tmp_path: Path) -> None:
    """An anomalous or a derivative's set that covers a part of reciprocal space, ahead of the native in the file."""
    part = np.where(np.arange(COUNT) % 3 == 0, F, NAN)
    columns: dict[str, tuple[str, Any]] = {
        "F_Hg": ("F", part), "SIGF_Hg": ("Q", np.where(np.isnan(part), NAN, SIGMA)), "FP": ("F", F),
        "SIGFP": ("Q", SIGMA), "FreeR_flag": ("I", CCP4),
    }  # fmt: skip
    found, notes = read_reflections(write_mtz(tmp_path / "a.mtz", columns), CRYSTAL)
    assert found.source["columns"] == ["FP", "SIGFP"]
    assert any("also there: F_Hg,SIGF_Hg" in note for note in notes)
    most = np.where(np.arange(COUNT) % 3 > 0, F, NAN)  # two thirds of it is enough to keep its place
    columns["F_Hg"], columns["SIGF_Hg"] = ("F", most), ("Q", np.where(np.isnan(most), NAN, SIGMA))
    found, _ = read_reflections(write_mtz(tmp_path / "b.mtz", columns), CRYSTAL)
    assert found.source["columns"] == ["F_Hg", "SIGF_Hg"]


@pytest.mark.parametrize("how", ["number", "operators", "alternative", "neither"])
def test_space_group_without_a_symbol(tmp_path: Path, how: str) -> None:
    """As old programs of CCP4 write it."""
    block = gemmi.cif.Document().add_new_block("r")
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    for name, value in zip(names, CRYSTAL.cell):
        block.set_pair(f"_cell.{name}", f"{value}")
    if how == "number":
        block.set_pair("_symmetry.Int_Tables_number", str(CRYSTAL.gemmi_space_group.number))
    elif how == "alternative":
        block.set_pair("_space_group.name_H-M_alt", "'P 2(1) 2(1) 2(1)'")
    elif how == "operators":
        loop = block.init_loop("_symmetry_equiv.", ["id", "pos_as_xyz"])
        for number, op in enumerate(CRYSTAL.gemmi_space_group.operations(), 1):
            loop.add_row([str(number), gemmi.cif.quote(op.triplet())])
    loop = block.init_loop("_refln.", ["index_h", "index_k", "index_l", "F_meas_au", "F_meas_sigma_au", "status"])
    for index, value, sigma, flag in zip(HKL.tolist(), F, SIGMA, CCP4):
        loop.add_row([*map(str, index), f"{value:.3f}", f"{sigma:.3f}", "f" if flag == 0 else "o"])
    path = tmp_path / "r.cif"
    block.write_file(str(path))
    table = read_table(path, [])
    if how == "neither":
        assert table.space_group is None
    else:
        assert table.space_group is not None
        assert table.space_group.xhm() == CRYSTAL.space_group


def test_intensities_that_are_all_far_below_zero_are_refused(tmp_path: Path) -> None:
    path = write_mtz(tmp_path / "a.mtz", {"IMEAN": ("J", -1e3 - np.arange(COUNT)), "SIGIMEAN": ("Q", SIGMA)})
    message = refused(path, free="random")
    assert re.search(r"all \d+ intensities of .* are below -?[\d.]+ sigma; expected measured intensities", message)


@pytest.mark.parametrize("odd", [0.5, np.nan])
def test_indices_that_are_not_whole_are_refused(odd: float, tmp_path: Path) -> None:
    """They were cut to whole ones without a word."""
    path = write_mtz(tmp_path / "a.mtz", {"FP": ("F", F), "SIGFP": ("Q", SIGMA)})
    mtz = gemmi.read_mtz_file(str(path))
    data = np.array(mtz.array, copy=True)
    data[:3, 1] += odd
    mtz.set_data(data)
    mtz.write_to_file(str(path))
    assert "the indices of 3 reflections are not whole numbers; expected" in refused(path, free="random")


def test_values_that_are_left_of_negative_ones_are_said_to_be(tmp_path: Path) -> None:
    value = np.where(np.arange(COUNT) < 5, 0.0, -F)
    message = refused(write_mtz(tmp_path / "a.mtz", {"FP": ("F", value), "SIGFP": ("Q", SIGMA)}), free="random")
    assert f"all 5 values but {COUNT - 5} with a negative amplitude are 0; expected measured ones" in message


def test_an_mtz_file_begins_with_its_indices(tmp_path: Path) -> None:
    mtz = gemmi.Mtz()
    mtz.spacegroup, mtz.cell = CRYSTAL.gemmi_space_group, CRYSTAL.gemmi_cell
    mtz.add_dataset("d")
    for label, kind in (("H", "H"), ("K", "H"), ("FP", "F"), ("L", "H")):
        mtz.add_column(label, kind)
    mtz.set_data(np.column_stack([HKL[:, :2], F, HKL[:, 2]]).astype(np.float32))
    mtz.write_to_file(str(tmp_path / "a.mtz"))
    assert "the first columns are ['H', 'K', 'FP']; expected H, K, L: write it again" in refused(tmp_path / "a.mtz")


def test_of_columns_of_one_name_the_first_is_read(tmp_path: Path) -> None:
    path = simple(tmp_path / "a.mtz", X=("F", 9.0 * F))
    mtz = gemmi.read_mtz_file(str(path))
    mtz.column_with_label("X").label = "FP"
    mtz.write_to_file(str(path))
    reflections, _ = read_reflections(path, CRYSTAL)
    assert reflections.f_obs.mean() == pytest.approx(F.mean(), rel=1e-3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("_diffrn_refln.index_h\n_diffrn_refln.index_k\n_diffrn_refln.index_l\n"
                     "_diffrn_refln.intensity_net\n1 2 3 4.0\n1 2 4 5.0\n",
                     "without a _refln category.*it holds unmerged observations: scale and merge first", id="unmerged"),
        pytest.param("_chem_comp_atom.atom_id\n_chem_comp_atom.type_symbol\nC1 C\n",
                     r"is a CIF file without a _refln category; expected [^;]*$", id="a restraint CIF"),
        pytest.param("_refln.index_h\n_refln.index_k\n_refln.F_meas_au\n1 2 3.0\n",
                     "no Miller indices .found index_h, index_k, F_meas_au.; expected index_h", id="two indices"),
        pytest.param("_refln.index_h\n_refln.index_k\n_refln.index_l\n_refln.F_meas_au\n1 2 3 4.0\n1 ? 3 4.0\n",
                     "Miller indices are missing in _refln; the file may be cut short", id="a gap"),
    ],
)  # fmt: skip
def test_cif_data_without_usable_indices_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "a.cif"
    path.write_text(f"data_r1abcsf\n{CIF_HEADER}\nloop_\n{text}")
    assert re.search(words, refused(path))


def test_a_status_is_listed_with_the_columns(tmp_path: Path) -> None:
    path = cif(tmp_path / "a.cif", "F_calc status", ["1 2 3 4.0 o", "1 2 4 5.0 f"], CIF_HEADER)
    assert "status (text)" in refused(path)


def test_one_mate_alone_comes_after_a_pair(tmp_path: Path) -> None:
    sigma = ("L", SIGMA)
    pair = {"F(+)": ("G", F), "SIGF(+)": sigma, "F(-)": ("G", F), "SIGF(-)": sigma, "FREE": ("I", CCP4)}
    alone = {"FX(+)": ("G", 2.0 * F), "SIGFX(+)": sigma}
    reflections, notes = read_reflections(write_mtz(tmp_path / "a.mtz", alone | pair), CRYSTAL)
    assert reflections.f_obs.mean() == pytest.approx(F.mean(), rel=0.01)
    assert said(notes, "also there: FX(+),SIGFX(+)")


def test_a_cell_that_does_not_fit_the_space_group_gives_way_to_the_models(tmp_path: Path) -> None:
    tetragonal = Crystal((30.0, 30.0, 40.0, 90.0, 90.0, 90.0), "P 43 21 2")
    hkl = tetragonal.unique_reflections(3.0, 1e3)
    columns = {"FP": ("F", np.full(len(hkl), 50.0) + np.arange(len(hkl)) % 7), "SIGFP": ("Q", np.full(len(hkl), 2.0))}
    mtz = gemmi.read_mtz_file(str(write_mtz(tmp_path / "a.mtz", columns, hkl=hkl, crystal=tetragonal)))
    mtz.set_cell_for_all(gemmi.UnitCell(29.703, 30.297, 40.0, 90.0, 90.0, 90.0))
    mtz.write_to_file(str(tmp_path / "a.mtz"))
    data, notes = read_reflections(tmp_path / "a.mtz", tetragonal, free="random")
    assert data.crystal.cell == tetragonal.cell
    assert said(notes, " does not fit P 43 21 2: the model's is used")
