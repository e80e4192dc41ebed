"""Phases that are known beside the model: columns, symmetry, origins, what is refused, and real crystals."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest
from numpy.typing import NDArray

import arrayrefine as ar
from arrayrefine import example
from arrayrefine.errors import ArrayRefineError, InputError
from arrayrefine.evaluation import evaluate_files
from arrayrefine.io.models.reading import read_model
from arrayrefine.io.reflections.phase_columns import with_phases
from arrayrefine.io.reflections.phs_files import read_phs
from arrayrefine.io.reflections.reading import read_reflections
from arrayrefine.measurements.phase_origins import at_origin_of, origins
from arrayrefine.measurements.phases import KnownPhases, agreement
from arrayrefine.structure_factors import StructureFactors

Float = NDArray[np.float64]
LABELS = "HLA,HLB,HLC,HLD"


@pytest.fixture(scope="module")
def model() -> Any:
    return read_model(example.MODEL)


@pytest.fixture(scope="module")
def data(model: Any) -> ar.Reflections:
    """Of 1RX2, to 3 Å: P 21 21 21."""
    return read_reflections(example.DATA, model.crystal, d_min=3.0)[0]


def _f_calc(model: Any, hkl: NDArray[np.integer]) -> NDArray[np.complex128]:
    return StructureFactors(model.crystal, hkl, model.atoms)(model.atoms)


def _mtz(path: Path, crystal: Any, hkl: NDArray[np.integer], columns: dict[str, tuple[str, Float]]) -> Path:
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup, mtz.title = crystal.gemmi_space_group, "phases"
    mtz.set_cell_for_all(crystal.gemmi_cell)
    for name, (kind, _) in columns.items():
        mtz.add_column(name, kind)
    mtz.set_data(np.column_stack([hkl, *(values for _, values in columns.values())]).astype(np.float32))
    mtz.write_to_file(str(path))
    return path


def _with_errors(phase: Float, size: float, seed: int = 1) -> Float:
    """Coefficients (R, 4) of phases with von Mises errors of this concentration."""
    peak = phase + np.random.default_rng(seed).vonmises(0.0, size, len(phase))
    return size * np.stack([np.cos(peak), np.sin(peak), 0.0 * peak, 0.0 * peak], axis=1)


def _file_of(path: Path, crystal: Any, hkl: NDArray[np.integer], coefficients: Float) -> Path:
    return _mtz(path, crystal, hkl, {name: ("A", column) for name, column in zip(LABELS.split(","), coefficients.T)})


def test_equivalent_reflections_have_equivalent_phases(model: Any, data: ar.Reflections, tmp_path: Path) -> None:
    """Anywhere in reciprocal space, Friedel mates too, with the translations of three screw axes."""
    rotations = data.crystal.primitive_rotations
    sign = np.where(np.arange(len(data)) % 2, 1, -1)[:, None]
    moved = sign * np.einsum("ni,nij->nj", data.hkl, rotations[np.arange(len(data)) % len(rotations)])
    phase = np.angle(_f_calc(model, moved))
    rotated = np.stack([np.cos(phase), np.sin(phase), 0.5 * np.cos(2 * phase), 0.5 * np.sin(2 * phase)], axis=1)
    file = _file_of(tmp_path / "moved.mtz", data.crystal, moved, rotated)
    found, notes = with_phases(data, f"{file}:{LABELS}", example.DATA)
    assert found.phases is not None
    own = np.angle(_f_calc(model, data.hkl))
    once, twice = (found.phases.coefficients[:, k] + 1j * found.phases.coefficients[:, k + 1] for k in (0, 2))
    np.testing.assert_allclose(once, np.exp(1j * own), atol=3e-3)
    np.testing.assert_allclose(twice, np.where(data.centric, 0.0, 0.5 * np.exp(2j * own)), atol=3e-3)
    assert notes == (
        f"phases of HLA, HLB, HLC, HLD of '{file}' enter the likelihood of {len(data)} reflections, mean figure of "
        f"merit {np.abs(found.phases.expected(data.centric)).mean():.2f}",
    )  # fmt: skip


def test_a_phase_and_its_figure_of_merit_say_the_same(model: Any, data: ar.Reflections, tmp_path: Path) -> None:
    phase = np.angle(_f_calc(model, data.hkl))
    fom = np.linspace(0.02, 1.0, len(data))
    fom[::5] = np.nan
    columns = {"PHIB": ("P", np.degrees(phase)), "FOM": ("W", fom)}
    file = _mtz(tmp_path / "phib.mtz", data.crystal, data.hkl, columns)
    found, (note,) = with_phases(data, f"{file}:PHIB,FOM", example.DATA)
    assert found.phases is not None
    known = found.phases.known
    assert np.array_equal(known, np.isfinite(fom))
    expected = found.phases.expected(data.centric)[known]
    np.testing.assert_allclose(np.abs(expected), np.minimum(fom[known], 0.99), atol=0.006)
    np.testing.assert_allclose(np.angle(expected * np.exp(-1j * phase[known])), 0.0, atol=1e-3)
    assert note.endswith(f"; {len(data) - known.sum()} reflections without")


@pytest.mark.parametrize(("asked", "factor"), [("FOM,PHIB", 1.0), ("PHIB,FOM", 100.0), ("PHIB,FOM", -1.0)])
def test_a_figure_of_merit_is_between_0_and_1(
    data: ar.Reflections, tmp_path: Path, asked: str, factor: float
) -> None:
    """Columns the other way round, or percent, would be taken for very sure phases."""
    fom, phase = np.linspace(0.1, 0.9, len(data)), np.linspace(-180.0, 180.0, len(data))
    columns = {"PHIB": ("P", phase), "FOM": ("W", factor * fom)}
    file = _mtz(tmp_path / "phib.mtz", data.crystal, data.hkl, columns)
    with pytest.raises(InputError, match=r"has values from (-\d.*|10 to 90); expected figures of merit"):
        with_phases(data, f"{file}:{asked}", example.DATA)


@pytest.mark.parametrize(
    ("group", "discrete", "free"),
    [
        ("P 21 21 21", 8, []), ("P 32 2 1", 2, []), ("P 1", 1, [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        ("P 1 21 1", 4, [[0, 1, 0]]), ("P 41", 2, [[0, 0, 1]]), ("R 3:R", 1, [[1, 1, 1]]), ("R 3:H", 3, [[0, 0, 1]]),
    ],
)  # fmt: skip
def test_origins_are_those_that_symmetry_allows(group: str, discrete: int, free: list[list[int]]) -> None:
    """Along c by one half in P 32 2 1; anywhere along b, but not by thirds of it, in P 21."""
    angles = (80.0, 80.0, 80.0) if group == "R 3:R" else (90.0, 90.0, 120.0 if "3" in group else 90.0)
    found = origins(ar.Crystal((50.0, 50.0, 50.0 if group == "R 3:R" else 70.0, *angles), group))
    assert len(found.discrete) == discrete
    assert found.free.T.tolist() == free


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (0.5, 0.0, 0.5)])
def test_phases_of_another_origin_are_moved_to_the_model(
    model: Any, data: ar.Reflections, shift: tuple[float, float, float]
) -> None:
    f_calc = _f_calc(model, data.hkl)
    given = np.angle(f_calc) - 2.0 * np.pi * (data.hkl @ np.array(shift))
    known = KnownPhases(_with_errors(given, 2.0), ("PHIB", "FOM"))
    found, (note,) = at_origin_of(known, f_calc, data.crystal, data.hkl)
    assert agreement(found, f_calc, data.centric)["cosine"] > 0.6
    assert (found is known) == (not any(shift))
    assert ("with their origin moved by 1/2, 0, 1/2 of the cell" in note) == any(shift)
    assert "PHIB,FOM: mean cosine 0.7" in note


def _polar(case: Any, name: str, d_min: float) -> tuple[ar.Reflections, NDArray[np.complex128], NDArray[np.complex128]]:
    """Data of a crystal, the structure factors of its model, and of one that is shaken by 0.7 Å."""
    folder = case(name)
    own = read_model(next(folder.glob("model.*")))
    data, _ = read_reflections(folder / "norm.mtz", own.crystal, d_min=d_min)
    shaken = own.atoms.xyz + np.random.default_rng(2).normal(0.0, 0.4, own.atoms.xyz.shape)
    factors = StructureFactors(own.crystal, data.hkl, own.atoms)
    return data, factors(own.atoms), factors(own.atoms.replace(xyz=shaken))


@pytest.mark.parametrize(
    ("name", "d_min", "shift"),
    [("1ehz", 3.0, (0.5, 0.3173, 0.0)), ("5uui", 2.5, (0.0, 0.0, 0.1371)), ("2r4r", 4.0, (0.0, -0.4123, 0.5))],
)
def test_phases_are_moved_along_polar_axes(case: Any, name: str, d_min: float, shift: tuple[float, ...]) -> None:
    """P 2₁, R 3, C 2: any shift along one axis, beside discrete ones, with poor phases and a poor model."""
    data, right, poor = _polar(case, name, d_min)
    phase = np.angle(right) - 2.0 * np.pi * (data.hkl @ np.array(shift))
    known = KnownPhases(_with_errors(phase, 1.0), ("PHIB", "FOM"))
    found, (note,) = at_origin_of(known, poor, data.crystal, data.hkl)
    turned = np.angle(found.expected(data.centric) * known.expected(data.centric).conj())
    off = np.abs(np.exp(1j * turned) - np.exp(2j * np.pi * (data.hkl @ np.array(shift))))
    assert "with their origin moved by " in note
    assert off.mean() < 0.1


def test_phases_of_triclinic_crystals_are_moved_anywhere(model: Any) -> None:
    crystal = ar.Crystal((48.0, 55.0, 60.0, 81.0, 95.0, 103.0), "P 1")
    hkl = crystal.unique_reflections(3.5, 50.0)
    f_calc, shift = StructureFactors(crystal, hkl, model.atoms)(model.atoms), np.array([0.2731, -0.41, 0.0507])
    known = KnownPhases(_with_errors(np.angle(f_calc) - 2.0 * np.pi * (hkl @ shift), 0.5), ("PHIB", "FOM"))
    found, (note,) = at_origin_of(known, f_calc, crystal, hkl)
    assert "with their origin moved by 0.27" in note
    assert agreement(found, f_calc, crystal.centric(hkl))["cosine"] > 0.2
    same, (note,) = at_origin_of(found, f_calc, crystal, hkl)
    assert same is found
    assert "moved" not in note


@pytest.mark.parametrize("name", ["1ehz", "1aba", "5kzb"])
def test_phases_of_the_other_hand_are_named_so(case: Any, name: str) -> None:
    """Those of a zone agree all the same where the zone is centric; I 41 2 2 is its own image about another point."""
    data, right, poor = _polar(case, name, 3.5)
    hand = data.crystal.gemmi_space_group.change_of_hand_op()
    for about in (np.zeros(3), np.array(hand.tran) / hand.DEN):
        phase = -np.angle(right) + 2.0 * np.pi * (data.hkl @ about)
        with pytest.raises(InputError, match="these phases are of the other hand: with their signs changed they agree"):
            at_origin_of(KnownPhases(_with_errors(phase, 2.0), ("A", "B")), poor, data.crystal, data.hkl)


def test_functions_of_arrays_and_maps_have_the_model_at_the_origin_of_its_phases(
    model: Any, data: ar.Reflections, tmp_path: Path
) -> None:
    """They do not depend on where the file has it."""
    phase, found = np.angle(_f_calc(model, data.hkl)), []
    for shift in ((0.0, 0.0, 0.0), (0.0, 0.5, 0.5)):
        own = _with_errors(phase - 2.0 * np.pi * (data.hkl @ np.array(shift)), 3.0)
        file = _file_of(tmp_path / "phases.mtz", data.crystal, data.hkl, own)
        options = ar.Options(phases=f"{file}:{LABELS}", d_min=3.0, hydrogens="strip")
        target = ar.target(example.MODEL, example.DATA, options)
        moved = [note for note in target.notes if "with their origin moved by 0, 1/2, 1/2" in note]
        assert len(moved) == any(shift)
        evaluated = evaluate_files(example.MODEL, example.DATA, options)
        assert [note for note in evaluated.notes if "origin moved" in note] == moved
        found.append((target(target.atoms.xyz)[0], evaluated.maps.fom.mean()))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3)


def test_the_map_of_anomalous_differences_has_the_best_phases(case: Any, tmp_path: Path) -> None:
    """Whose figure of merit its coefficients have; lysozyme."""
    folder = case("hewl_ssad")
    own = read_model(folder / "model.pdb")
    data, _ = read_reflections(folder / "data.mtz", own.crystal, d_min=3.0)
    phase = np.angle(_f_calc(own, data.hkl))
    file = _file_of(tmp_path / "phases.mtz", data.crystal, data.hkl, _with_errors(phase, 3.0))
    options = ar.Options(phases=f"{file}:{LABELS}", d_min=3.0, hydrogens="strip")
    maps = evaluate_files(folder / "model.pdb", folder / "data.mtz", options).maps
    assert maps.anomalous is not None
    best = maps.fwt - maps.delfwt  # of acentric reflections
    some = np.isfinite(maps.anomalous) & (np.abs(maps.anomalous) > 0.0) & (np.abs(maps.delfwt) > 0.0)
    some &= ~data.crystal.centric(maps.hkl)
    off = np.abs(np.sin(np.angle(1j * maps.anomalous[some] / best[some])))
    assert some.sum() > 500
    assert off.max() < 1e-6


@pytest.mark.parametrize("coefficients", [np.ones((3, 4)), np.full((1, 2), np.nan)])
def test_phases_in_memory_are_of_their_reflections(model: Any, data: ar.Reflections, coefficients: Float) -> None:
    unsound = dataclasses.replace(data, phases=KnownPhases(coefficients, ("A", "B", "C", "D")))
    with pytest.raises(InputError, match=r"phases of Reflections are float64 .* 0 where nothing is known"):
        read_reflections(unsound, model.crystal)


def test_phases_of_something_else_are_refused(model: Any, data: ar.Reflections) -> None:
    f_calc = _f_calc(model, data.hkl)
    other = KnownPhases(_with_errors(np.random.default_rng(3).uniform(0.0, 6.28, len(data)), 2.0), ("A", "B"))
    with pytest.raises(InputError, match="--phases A,B: these phases and those of the model have nothing to do with"):
        at_origin_of(other, f_calc, data.crystal, data.hkl)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("HLA,HLB,HLC,HLX", "no column HLX in "), ("HLA,HLB,HLC", "3 names in "), ("nowhere.mtz:A,B", "nowhere.mtz"),
    ],
)  # fmt: skip
def test_columns_that_are_not_there_are_named(
    model: Any, data: ar.Reflections, tmp_path: Path, asked: str, said: str
) -> None:
    file = _file_of(tmp_path / "phases.mtz", data.crystal, data.hkl, np.ones((len(data), 4)))
    with pytest.raises(ArrayRefineError, match=said):
        with_phases(data, asked, file)


def test_phases_of_other_reflections_are_none(data: ar.Reflections, tmp_path: Path) -> None:
    file = _file_of(tmp_path / "far.mtz", data.crystal, np.array([[70, 0, 0], [70, 1, 0]]), np.ones((2, 4)))
    with pytest.raises(InputError, match=f"has no phases for any of the {len(data)} reflections"):
        with_phases(data, f"{file}:{LABELS}", example.DATA)


def test_reflections_in_memory_have_no_columns(data: ar.Reflections) -> None:
    with pytest.raises(InputError, match=r"have no columns: put the phases into them .*FILE:HLA,HLB,HLC,HLD"):
        with_phases(data, LABELS, data)
    assert with_phases(data, None, data) == (data, ())


def test_coefficients_that_nobody_asked_for_are_named(model: Any, data: ar.Reflections, tmp_path: Path) -> None:
    """By what was seen when the data were read: they are not read again for it."""
    ones = np.ones(len(data))
    columns = {"F": ("F", data.f_obs), "SIGF": ("Q", data.sigma), "FREE": ("I", np.where(data.free, 0.0, 1.0))}
    columns |= dict.fromkeys(LABELS.split(","), ("A", ones))
    file = _mtz(tmp_path / "phases.mtz", data.crystal, data.hkl, columns)
    read, _ = read_reflections(file, model.crystal)
    file.unlink()
    same, (note,) = with_phases(read, None, file)
    assert same is read
    assert "are not used" in note
    assert f"--phases {LABELS} takes them into the likelihood" in note
    assert with_phases(data, None, example.DATA) == (data, ())


def test_a_file_of_shelxe_needs_no_names(model: Any, data: ar.Reflections, tmp_path: Path) -> None:
    """At its own origin, and anywhere in reciprocal space; other text is refused."""
    flipped = np.where(np.arange(len(data))[:, None] % 2, data.hkl, -data.hkl)
    phase = np.degrees(np.angle(_f_calc(model, flipped)) - 2.0 * np.pi * (flipped @ np.array([0.5, 0.0, 0.0])))
    rows = zip(flipped.tolist(), data.f_obs.tolist(), phase.tolist())
    lines = ["".join(f"{i:4d}" for i in hkl) + f"{f:9.2f}  0.8500{p:8.1f}{0.02 * f:8.2f}" for hkl, f, p in rows]
    (file := tmp_path / "solved.phs").write_text("\n".join(lines) + "\n")
    found, (note,) = with_phases(data, str(file), example.DATA)
    assert found.phases is not None
    assert f"phases of PHI, FOM of '{file}' enter the likelihood of {len(data)} reflections" in note
    assert found.source["phases_file"] == str(file)
    moved, (note,) = at_origin_of(found.phases, _f_calc(model, data.hkl), data.crystal, data.hkl)
    assert "moved by 1/2, 0, 0 of the cell" in note
    assert agreement(moved, _f_calc(model, data.hkl), data.centric)["cosine"] > 0.99
    file.write_text(f"{lines[0]}\n  1  2  x   12.0  0.5  90.0\n")
    with pytest.raises(InputError, match=r"line 2: found '1 2 x .* expected a \.phs file"):
        with_phases(data, str(file), example.DATA)


def test_columns_that_run_together_are_read_where_shelxe_has_them(tmp_path: Path) -> None:
    """Large indices leave no blanks between them; a line that is otherwise is refused as before."""
    hkl = np.array([[1, 2, 3], [-123, -100, 12], [1000, 1204, -999], [12, -345, 1000]])
    lines = ["".join(f"{i:4d}" for i in row) + f"123456.78  0.8500{-180.0:8.1f}{99999.99:8.2f}" for row in hkl.tolist()]
    (file := tmp_path / "large.phs").write_text("\n".join(lines) + "\n\n")
    table = read_phs(file)
    assert np.array_equal(table.hkl, hkl)
    assert (table.values["FOM"] == 0.85).all()
    assert (table.values["PHI"] == -180.0).all()
    file.write_text("\n".join(line[:37] for line in lines))  # without sigmas
    assert np.array_equal(read_phs(file).hkl, hkl)
    file.write_text(f"1 2 3 12.0 0.5 90.0\n{lines[1]}\n")  # not all are in columns
    with pytest.raises(InputError, match=r"line 2: found '-123-100 12123456\.78"):
        read_phs(file)


@pytest.mark.parametrize("line", ["1 2 3 12.0 0.5 nan", "1 2 3 12.0 inf 90.0", "99999999999 2 3 12.0 0.5 90.0"])
def test_numbers_that_no_phase_has_are_refused(data: ar.Reflections, tmp_path: Path, line: str) -> None:
    (file := tmp_path / "solved.phs").write_text(f"{line}\n")
    with pytest.raises(InputError, match=f"line 1: found '{line}'; expected a"):
        with_phases(data, str(file), example.DATA)


def test_a_file_without_names_of_columns_is_told_them(data: ar.Reflections, tmp_path: Path) -> None:
    file = _file_of(tmp_path / "phases.mtz", data.crystal, data.hkl, np.ones((len(data), 4)))
    with pytest.raises(InputError, match=f"which columns.* such as {file}:{LABELS}; it has HLA"):
        with_phases(data, str(file), example.DATA)


def test_columns_of_mmcif_files(model: Any, data: ar.Reflections, tmp_path: Path) -> None:
    """As deposited: coefficients, and a measured phase with its figure of merit."""
    phase = np.angle(_f_calc(model, data.hkl))
    own = 2.0 * np.stack([np.cos(phase), np.sin(phase), 0.0 * phase, 0.0 * phase], axis=1)
    tags = [f"index_{i}" for i in "hkl"] + [f"pdbx_HL_{i}_iso" for i in "ABCD"] + ["phase_meas", "fom"]
    values = np.column_stack([own, np.degrees(phase), 0.7 + 0.0 * phase])
    head = "".join(f"_refln.{tag}\n" for tag in ["crystal_id", *tags])
    rows = "\n".join(
        f"1 {' '.join(map(str, hkl.tolist()))} {' '.join(f'{v:.3f}' for v in row)}"
        for hkl, row in zip(data.hkl, values)
    )
    (file := tmp_path / "r1xyzsf.ent").write_text(f"data_r1xyzsf\nloop_\n{head}{rows}\n")
    f_calc, labels = _f_calc(model, data.hkl), ("pdbx_HL_A_iso,pdbx_HL_B_iso,pdbx_HL_C_iso,pdbx_HL_D_iso",)
    for asked in (*labels, "phase_meas,fom"):
        found, _ = with_phases(data, f"{file}:{asked}", example.DATA)
        assert found.phases is not None
        assert agreement(found.phases, f_calc, data.centric)["cosine"] > 0.99


@pytest.mark.parametrize("own", [True, False])
def test_phases_of_the_model_itself_are_warned_of(case: Any, tmp_path: Path, own: bool) -> None:
    """1ABA, shaken: phases of that model agree with it as those of the crystal cannot, whatever they claim."""
    folder = case("1aba")
    deposited = read_model(folder / "model.pdb")
    data, _ = read_reflections(folder / "norm.mtz", deposited.crystal, d_min=3.0)
    xyz = deposited.atoms.xyz + np.random.default_rng(4).normal(0.0, 0.35, deposited.atoms.xyz.shape)
    shaken = dataclasses.replace(deposited, atoms=deposited.atoms.replace(xyz=xyz))
    source = shaken if own else deposited
    phase = np.angle(StructureFactors(data.crystal, data.hkl, source.atoms)(source.atoms))
    claimed = 0.5 if own else 20.0
    sure = claimed * np.stack([np.cos(phase), np.sin(phase), 0.0 * phase, 0.0 * phase], axis=1)
    file = _file_of(tmp_path / "phases.mtz", data.crystal, data.hkl, sure)
    options = ar.Options(phases=f"{file}:{LABELS}", d_min=3.0)
    notes = evaluate_files(shaken, folder / "norm.mtz", options).notes
    assert any("they were made with this model or one like it" in note for note in notes) == own


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (ar.Options(twin=("-h,k,-l",)), "phases of a twin are those of no one of its domains"),
        (ar.Options(xray=dataclasses.replace(ar.Options().xray, target="gaussian")), "of no use to --xray.target gau"),
    ],
)  # fmt: skip
def test_what_phases_do_not_go_with(
    case: Any, data: ar.Reflections, tmp_path: Path, options: ar.Options, said: str
) -> None:
    path = case("1l2h") / "model.cif" if options.twin != ("auto",) else case("1aba") / "model.pdb"
    own, _ = read_reflections(path.parent / "norm.mtz", read_model(path).crystal, d_min=4.0)
    file = _file_of(tmp_path / "phases.mtz", own.crystal, own.hkl, np.ones((len(own), 4)))
    options = dataclasses.replace(options, phases=f"{file}:{LABELS}", d_min=4.0)
    if options.twin != ("auto",):
        options = dataclasses.replace(options, twin=(next(iter(own.crystal.twin_laws)),))
    with pytest.raises(InputError, match=said):
        ar.prepare(path, path.parent / "norm.mtz", options)


@pytest.mark.parametrize(("claimed", "expected"), [(1.0, (0.85, 1.0)), (4.0, (0.15, 0.45))])
def test_phases_are_believed_as_far_as_they_are_borne_out(
    case: Any, tmp_path: Path, claimed: float, expected: tuple[float, float]
) -> None:
    """1ABA at 3 Å, shaken by 0.4 Å; phases that claim so many times the concentration of their errors."""
    folder = case("1aba")
    deposited = read_model(folder / "model.pdb")
    own, _ = read_reflections(folder / "norm.mtz", deposited.crystal, d_min=3.0)
    phase = np.angle(StructureFactors(deposited.crystal, own.hkl, deposited.atoms)(deposited.atoms))
    file = _file_of(tmp_path / "phases.mtz", own.crystal, own.hkl, claimed * _with_errors(phase, 1.5))
    options = ar.Options(phases=f"{file}:{LABELS}", d_min=3.0, perturb=0.4, cycles=0)
    report = ar.refine(folder / "model.pdb", folder / "norm.mtz", options).report
    low, high = expected
    scale = report.as_dict()["data"]["phases"]["scale"]
    assert low < scale <= high
    said = [one for one in report.warnings if "surer of themselves" in one]
    assert len(said) == (scale < 0.9)
    assert all(f"count {scale:.2f} times" in one for one in said)


def test_how_far_phases_are_believed_does_not_depend_on_their_origin(case: Any, tmp_path: Path) -> None:
    folder, scales = case("1aba"), []
    deposited = read_model(folder / "model.pdb")
    own, _ = read_reflections(folder / "norm.mtz", deposited.crystal, d_min=3.0)
    phase = np.angle(StructureFactors(deposited.crystal, own.hkl, deposited.atoms)(deposited.atoms))
    for shift in ((0.0, 0.0, 0.0), (0.5, 0.0, 0.5)):
        there = 4.0 * _with_errors(phase - 2.0 * np.pi * (own.hkl @ np.array(shift)), 1.5)
        file = _file_of(tmp_path / "phases.mtz", own.crystal, own.hkl, there)
        options = ar.Options(phases=f"{file}:{LABELS}", d_min=3.0, perturb=0.4, cycles=0)
        account = ar.refine(folder / "model.pdb", folder / "norm.mtz", options).report.as_dict()
        scales.append(account["data"]["phases"]["scale"])
    assert scales[1] == pytest.approx(scales[0], abs=1e-3)
    assert scales[0] < 0.5


def test_a_poor_model_comes_nearer_to_the_truth_with_phases(case: Any, tmp_path: Path) -> None:
    """1ABA, shaken by 0.6 Å, at 3 Å; phases of the deposited model with errors of 27° in the mean."""
    folder = case("1aba")
    deposited = read_model(folder / "model.pdb")
    own, _ = read_reflections(folder / "norm.mtz", deposited.crystal)
    hkl = own.hkl[own.s_squared < 1.0 / 9.0]
    phase = np.angle(StructureFactors(deposited.crystal, hkl, deposited.atoms)(deposited.atoms))
    file = _file_of(tmp_path / "phases.mtz", deposited.crystal, hkl, _with_errors(phase, 3.0))
    heavy = np.flatnonzero(~deposited.atoms.is_water)
    away, accounts = {}, {}
    for phases in (None, f"{file}:{LABELS}"):
        options = ar.Options(phases=phases, perturb=0.6, d_min=3.0, cycles=2)
        result = ar.refine(folder / "model.pdb", folder / "norm.mtz", options)
        distance = (result.atoms.xyz[heavy] - deposited.atoms.xyz[heavy]) ** 2
        away[phases is None] = float(np.sqrt(distance.sum(axis=1).mean()))
        accounts[phases is None] = result.report.as_dict()["data"].get("phases")
    assert away[False] < 0.9 * away[True]
    assert accounts[True] is None
    found = accounts[False]
    assert found["columns"] == LABELS.split(",")
    assert found["cosine"] > 10.0 * found["by_chance"]
    assert 0.7 < found["fom"] < 0.9
    assert found["fom_claimed"] >= found["fom"]
    assert found["cosine"] > found["cosine_start"] + 0.05
    shells = found["shells"]
    assert sum(row["reflections"] for row in shells) == found["reflections"]
    mean = sum(row["reflections"] * row["fom"] for row in shells) / found["reflections"]
    assert mean == pytest.approx(found["fom"])
    assert all(row["cosine"] > row["by_chance"] for row in shells)


def test_command_line_and_cross_validation(
    case: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from arrayrefine.__main__ import main

    folder = case("1aba")
    deposited = read_model(folder / "model.pdb")
    own, _ = read_reflections(folder / "norm.mtz", deposited.crystal, d_min=3.0)
    phase = np.angle(StructureFactors(deposited.crystal, own.hkl, deposited.atoms)(deposited.atoms))
    file = _file_of(tmp_path / "phases.mtz", own.crystal, own.hkl, _with_errors(phase, 2.0))
    files = [str(folder / name) for name in ("model.pdb", "norm.mtz")]
    more = ["--phases", f"{file}:{LABELS}", "--d-min", "3", "--cycles", "1"]
    main(["refine", *files, *more, "--out", str(tmp_path / "refined")])
    said = capsys.readouterr().out
    assert "phases of HLA,HLB,HLC,HLD: mean cosine of the difference to those of the model 0." in said
    assert "<h3>Known phases</h3>" in (tmp_path / "refined" / "report.html").read_text()
    assert f"phases of HLA, HLB, HLC, HLD of '{file}' enter the likelihood" in said
    account = json.loads((tmp_path / "refined" / "report.json").read_text())
    assert account["data"]["phases"]["cosine"] > 0.5
    assert account["inputs"]["data"]["phases_file"] == str(file)
    mtz = gemmi.read_mtz_file(str(tmp_path / "refined" / "refined.mtz"))
    columns = {name: np.array(mtz.column_with_label(name)) for name in ("PHIC", "PHWT", "FOM", "FREE")}
    along = np.abs(np.cos(np.radians(columns["PHWT"] - columns["PHIC"])))
    assert np.nanmean(along < 0.999) > 0.05  # the best phases are not those of the model
    main(["crossvalidate", *files, *more, "--folds", "2", "--out", str(tmp_path / "folds")])
    assert "enter the likelihood" in capsys.readouterr().out


def test_models_are_looked_at_with_phases(case: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1ABA at 3 Å, shaken by 0.6 Å: its maps are better, and data that are computed have phases of their own."""
    from arrayrefine.__main__ import main

    folder = case("1aba")
    deposited = read_model(folder / "model.pdb")
    own, _ = read_reflections(folder / "norm.mtz", deposited.crystal, d_min=3.0)
    phase = np.angle(StructureFactors(deposited.crystal, own.hkl, deposited.atoms)(deposited.atoms))
    file = _file_of(tmp_path / "phases.mtz", own.crystal, own.hkl, _with_errors(phase, 3.0))
    shaken = gemmi.read_structure(str(folder / "model.pdb"))
    rng = np.random.default_rng(5)
    for site in shaken[0].all():
        site.atom.pos += gemmi.Position(*rng.normal(0.0, 0.35, 3))
    shaken.write_pdb(str(tmp_path / "shaken.pdb"))
    files = [str(tmp_path / "shaken.pdb"), str(folder / "norm.mtz"), "--d-min", "3"]
    found: dict[bool, tuple[Any, ...]] = {}
    for phased in (False, True):
        more = ["--phases", f"{file}:{LABELS}"] if phased else []
        out = tmp_path / f"{phased}"
        main(["omit", *files, *more, "--selection", "20-23", "--out", str(out)])
        main(["validate", *files, *more, "--out", str(out / "validation.json")])
        main(["peaks", *files, *more, "--out", str(out / "peaks.json")])
        assert (capsys.readouterr().out.count("enter the likelihood") == 3) == phased
        omitted, seen, peaks = (json.loads((out / f"{k}.json").read_text()) for k in ("omit", "validation", "peaks"))
        correlation = np.mean([row["rscc"] for row in seen["residues"] if row["rscc"] is not None])
        found[phased] = np.mean([row["sigma"] for row in omitted["atoms"]]), omitted, correlation, peaks["sigma"]
    assert found[True][0] > 1.2 * found[False][0]
    assert found[True][1]["cc_present_absent"] < 0.7
    assert found[True][1]["cc_present_data"] > found[False][1]["cc_present_data"]
    assert found[True][2:] != found[False][2:]
