"""Anomalous differences: read from every form that files have, weighted, and their map where the absorbers are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest
from scipy import ndimage
from synthetic import atoms_from

import arrayrefine as ar
from arrayrefine.commands.peaks import Peaks
from arrayrefine.crystal import Crystal
from arrayrefine.io.output.read_maps import read_maps
from arrayrefine.io.reflections.reading import read_reflections
from arrayrefine.maps import MapCoefficients, anomalous_coefficients
from arrayrefine.measurements.anomalous import AnomalousDifferences, weighed
from arrayrefine.page.findings import tables
from arrayrefine.real_space import absorbers
from arrayrefine.real_space.peaks import anomalous_peaks, find_peaks
from arrayrefine.reflections import positions
from arrayrefine.scattering.radiation import with_radiation
from arrayrefine.wording import Caution

CELL = (31.0, 38.0, 45.0, 90.0, 97.0, 90.0)
CRYSTAL = Crystal.from_gemmi(gemmi.UnitCell(*CELL), gemmi.SpaceGroup("P 1 21 1"))
D_MIN, F2 = 2.0, 4.0


@pytest.fixture(scope="module")
def summed() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """hkl, F(h), F(−h), what the absorber adds to F(h) over i, and its fractional place: by direct summation."""
    rng = np.random.default_rng(0)
    hkl = CRYSTAL.unique_reflections(D_MIN, 40.0)
    hkl = hkl[~CRYSTAL.centric(hkl)]
    places = rng.random((60, 3))
    f0 = np.full(60, 6.0)
    f0[0], f2 = 16.0, np.where(np.arange(60) == 0, F2, 0.0)
    blur = np.exp(-15.0 * CRYSTAL.inverse_d_squared(hkl) / 4.0)
    parts = []
    for sign in (1, -1):
        total = np.zeros(len(hkl), dtype=complex)
        for rotation, translation in zip(CRYSTAL.primitive_rotations, CRYSTAL.primitive_translations):
            phase = sign * hkl @ (rotation @ places.T + np.asarray(translation)[:, None])
            waves = np.exp(2j * np.pi * phase)
            total += waves @ (f0 + 1j * f2)
            if sign == 1:
                parts.append(waves @ f2)
        parts.append(total * blur)
    added = blur * np.sum(parts[:2], axis=0)
    return hkl, parts[2], parts[3], added, places[0]


def _maps(hkl: np.ndarray, f: np.ndarray) -> MapCoefficients:
    nothing = np.zeros(len(hkl))
    return MapCoefficients(hkl, abs(f), nothing + 1.0, nothing > 0.0, f, f, f, f, nothing + 1.0)


def test_the_map_of_differences_is_that_of_what_absorbs_at_its_full_height(
    summed: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    hkl, plus, minus, added, place = summed
    normal = plus - 1j * added
    # to first order F(h) − F(−h) is −2 Im(a exp(−iφ)), for any phase
    linear = -2.0 * np.imag(added * np.exp(-1j * np.angle(normal)))
    difference = abs(plus) - abs(minus)
    assert np.corrcoef(difference, linear)[0, 1] > 0.99
    maps = _maps(hkl, normal)
    found = anomalous_coefficients(maps, hkl, difference, np.ones(len(hkl)))
    maps = dataclasses.replace(maps, anomalous=found, fwt=added)
    grid, alone = ar.map_grid(maps, CRYSTAL, "anomalous"), ar.map_grid(maps, CRYSTAL, "2mFo-DFc")
    top = np.unravel_index(np.argmax(grid.values), grid.values.shape)
    xyz = CRYSTAL.cartesian(place)[None]
    fractional = np.array(top) / np.array(grid.values.shape)
    copies = [r @ place + t for r, t in zip(CRYSTAL.primitive_rotations, CRYSTAL.primitive_translations)]
    gaps = [CRYSTAL.cartesian((copy - fractional + 0.5) % 1.0 - 0.5) for copy in copies]
    assert min(float(np.linalg.norm(gap)) for gap in gaps) < 0.6
    height, wanted = (float(g.at(xyz)[0]) * g.sigma for g in (grid, alone))
    assert height == pytest.approx(wanted, rel=0.15)
    # about the peak are holes of 8 sigma, where the series ends: they are not the noise that a weak absorber is beyond
    assert grid.at(xyz)[0] > 40.0
    assert find_peaks(grid, atoms_from(xyz, ["S"], np.array([15.0]), np.array([1.0])))[1].height < -8.0
    quiet = np.unravel_index(np.argmin(ndimage.maximum_filter(abs(grid.values), 12, mode="wrap")), grid.values.shape)
    bump = np.zeros(grid.values.shape)
    bump[quiet] = 7.0 * grid.sigma
    bump = ndimage.gaussian_filter(bump, 1.5, mode="wrap")
    grid = dataclasses.replace(grid, values=grid.values + (7.0 * grid.sigma / bump.max() * bump).astype(np.float32))
    atoms = atoms_from(xyz, ["S"], np.array([15.0]), np.array([1.0]))
    kept = anomalous_peaks(grid, atoms)
    assert len(kept) == 2
    assert kept[0].distance < 0.2
    assert 5.0 < kept[1].height < 8.0
    nothing = dataclasses.replace(grid, values=np.zeros_like(grid.values))
    assert anomalous_peaks(nothing, atoms) == ()


def test_reflections_without_a_pair_have_no_term_and_weights_and_merit_count(
    summed: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    hkl, plus, minus, _, _ = summed
    maps = dataclasses.replace(_maps(hkl, plus), fom=np.full(len(hkl), 0.5))
    some = np.arange(0, len(hkl), 3)
    difference = (abs(plus) - abs(minus))[some]
    found = anomalous_coefficients(maps, hkl[some], difference, np.full(len(some), 0.2))
    assert np.isfinite(found[some]).all()
    assert np.isnan(np.delete(found, some)).all()
    np.testing.assert_allclose(abs(found[some]), 0.1 * abs(difference))
    turned = np.where(difference > 0.0, -0.5 * np.pi, 0.5 * np.pi)
    np.testing.assert_allclose(np.exp(1j * np.angle(found[some] / plus[some])), np.exp(1j * turned), atol=1e-9)


def _file(
    path: Path, hkl: np.ndarray, columns: dict[str, tuple[str, np.ndarray]], group: str = "P 1 21 1"
) -> Path:
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = gemmi.SpaceGroup(group)
    mtz.set_cell_for_all(gemmi.UnitCell(*CELL))
    mtz.add_dataset("test")
    for label, (kind, _) in columns.items():
        mtz.add_column(label, kind)
    mtz.set_data(np.column_stack([hkl, *(values for _, values in columns.values())]).astype(np.float32))
    mtz.write_to_file(str(path))
    return path


def _read(path: Path, **options: str) -> AnomalousDifferences | None:
    return read_reflections(path, CRYSTAL, **options)[0].anomalous  # type: ignore[arg-type]


def test_every_form_that_files_have_tells_the_same(
    tmp_path: Path, summed: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
) -> None:
    """Pairs of amplitudes or intensities, means beside pairs, DANO, mates in rows, other asymmetric units."""
    hkl, plus, minus = summed[0], abs(summed[1]), abs(summed[2])
    rng = np.random.default_rng(1)
    sigma = rng.uniform(0.5, 1.5, len(hkl))
    free = rng.integers(0, 20, len(hkl)).astype(float)
    mean, flags = 0.5 * (plus + minus), ("I", free)
    f_pair = {"F(+)": ("G", plus), "SIGF(+)": ("L", sigma), "F(-)": ("G", minus), "SIGF(-)": ("L", sigma)}
    i_pair = {
        "I(+)": ("K", plus**2), "SIGI(+)": ("M", 2.0 * plus * sigma),
        "I(-)": ("K", minus**2), "SIGI(-)": ("M", 2.0 * minus * sigma),
    }  # fmt: skip
    one = {"FP": ("F", mean), "SIGFP": ("Q", sigma / np.sqrt(2.0))}
    dano = {"DANO": ("D", plus - minus), "SIGDANO": ("Q", np.sqrt(2.0) * sigma)}
    wanted = _read(_file(tmp_path / "pair.mtz", hkl, {"FREE": flags, **f_pair}))
    assert wanted is not None
    assert wanted.columns == ("F(+)", "SIGF(+)", "F(-)", "SIGF(-)")
    np.testing.assert_array_equal(wanted.hkl, hkl[np.lexsort(hkl.T[::-1])])
    order = np.lexsort(hkl.T[::-1])
    np.testing.assert_allclose(wanted.difference, (plus - minus)[order], atol=1e-3)
    np.testing.assert_allclose(wanted.sigma, np.sqrt(2.0) * sigma[order], rtol=1e-5)

    forms: dict[str, dict[str, tuple[str, np.ndarray]]] = {
        "mean and pair": {"FREE": flags, **one, **f_pair},
        "mean and DANO": {"FREE": flags, **one, **dano},
        "amplitudes beside intensities of another scale": {
            "FREE": flags, **one, **{name: (kind, 9.0 * v) for name, (kind, v) in i_pair.items()}
        },
    }
    for name, columns in forms.items():
        found = _read(_file(tmp_path / "form.mtz", hkl, columns))
        assert found is not None, name
        np.testing.assert_array_equal(found.hkl, wanted.hkl)
        np.testing.assert_allclose(found.difference, wanted.difference, rtol=0.02, atol=0.02, err_msg=name)
        np.testing.assert_allclose(found.sigma, wanted.sigma, rtol=0.35, err_msg=name)

    # each row moved by an operator, half of them with Friedel's law: then (+) and (−) change places, and DANO its sign
    rotation = CRYSTAL.primitive_rotations[1]
    turned, mated = rng.random(len(hkl)) < 0.5, rng.random(len(hkl)) < 0.5
    moved = np.where(turned[:, None], hkl @ rotation, hkl) * np.where(mated, -1, 1)[:, None]
    there, back = np.where(mated, minus, plus), np.where(mated, plus, minus)
    assert mated.any()
    assert turned.any()
    assert (plus != minus).any()
    pair = {"F(+)": ("G", there), "SIGF(+)": ("L", sigma), "F(-)": ("G", back), "SIGF(-)": ("L", sigma)}
    given = {**one, "DANO": ("D", there - back), "SIGDANO": dano["SIGDANO"]}
    for columns in (pair, given):
        found = _read(_file(tmp_path / "moved.mtz", moved, {"FREE": flags, **columns}))
        assert found is not None
        np.testing.assert_allclose(found.difference, wanted.difference, atol=1e-3)

    both = np.concatenate([hkl, -hkl])
    values = np.concatenate([plus, minus])
    rows = {"FREE": ("I", np.tile(free, 2)), "F": ("F", values), "SIGF": ("Q", np.tile(sigma, 2))}
    found = _read(_file(tmp_path / "rows.mtz", both, rows))  # type: ignore[arg-type]
    assert found is not None
    assert found.columns == ("F", "SIGF")
    np.testing.assert_allclose(found.difference, wanted.difference, atol=1e-3)


def test_files_that_tell_nothing_have_no_differences(
    tmp_path: Path, summed: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
) -> None:
    hkl, plus, minus = summed[0], abs(summed[1]), abs(summed[2])
    ones, free = np.ones(len(hkl)), ("I", np.arange(len(hkl)) % 20.0)
    one = {"FREE": free, "FP": ("F", plus), "SIGFP": ("Q", ones)}
    assert _read(_file(tmp_path / "one.mtz", hkl, one)) is None  # type: ignore[arg-type]
    same = {
        "FREE": free, "F(+)": ("G", plus), "SIGF(+)": ("L", ones), "F(-)": ("G", plus), "SIGF(-)": ("L", ones),
    }  # fmt: skip
    assert _read(_file(tmp_path / "same.mtz", hkl, same)) is None  # type: ignore[arg-type]
    few = np.where(np.arange(len(hkl)) < 49, minus, np.nan)
    sigma = np.where(np.isfinite(few), 1.0, np.nan)
    short = {**same, "F(-)": ("G", few), "SIGF(-)": ("L", sigma)}
    assert _read(_file(tmp_path / "few.mtz", hkl, short)) is None  # type: ignore[arg-type]
    flat = {**one, "DANO": ("D", 0.0 * ones), "SIGDANO": ("Q", ones)}
    assert _read(_file(tmp_path / "flat.mtz", hkl, flat)) is None  # type: ignore[arg-type]


def test_weights_are_the_share_of_signal_and_do_not_believe_errors_that_are_too_large() -> None:
    rng = np.random.default_rng(2)
    hkl = CRYSTAL.unique_reflections(1.6, 40.0)
    hkl = hkl[~CRYSTAL.centric(hkl)]
    sigma = rng.uniform(0.5, 2.0, len(hkl))
    far = CRYSTAL.inverse_d_squared(hkl) > 2.2**-2
    signal = np.where(far, 0.0, 1.5)
    difference = rng.normal(0.0, np.hypot(sigma, signal))
    difference[7] = 80.0
    found = weighed(CRYSTAL, hkl, difference, sigma, ("DANO", "SIGDANO"))
    assert found.weight[7] == 0.0
    near = ~far & (found.weight > 0.0)
    expected = signal**2 / (signal**2 + sigma**2)
    assert np.corrcoef(found.weight[near], expected[near])[0, 1] > 0.9
    assert found.weight[near].mean() == pytest.approx(expected[near].mean(), abs=0.06)
    assert found.weight[far].mean() < 0.2
    assert found.bins[0]["ratio"] > 2.0
    assert found.bins[-1]["ratio"] == pytest.approx(1.0, abs=0.15)
    doubled = weighed(CRYSTAL, hkl, difference, 2.0 * sigma, ("DANO", "SIGDANO"))
    np.testing.assert_allclose(doubled.weight, found.weight, atol=0.03)
    assert doubled.bins[0]["ratio"] == pytest.approx(0.25 * found.bins[0]["ratio"])
    assert found.as_dict()["pairs"] == len(hkl)
    assert "anomalous differences (DANO, SIGDANO)" in found.sentence()


def test_differences_beyond_five_times_what_is_usual_are_left_out() -> None:
    hkl = CRYSTAL.unique_reflections(2.0, 40.0)
    hkl = hkl[~CRYSTAL.centric(hkl)][:390]  # one bin
    difference = np.where(np.arange(390) % 2, 1.0, -1.0)
    difference[:2] = 4.9, -5.6
    found = weighed(CRYSTAL, hkl, difference, np.full(390, 0.5), ("DANO", "SIGDANO"))
    usual = float(np.mean(difference**2))
    assert 4.9 < 5.0 * np.sqrt(usual) < 5.6
    assert len(found.bins) == 1
    assert found.weight[1] == 0.0
    np.testing.assert_allclose(np.delete(found.weight, 1), (usual - 0.25) / usual)


def test_sulphur_of_lysozyme_is_where_the_model_has_it(case: Callable[[str], Path], tmp_path: Path) -> None:
    """In a refinement: columns, report, log, map file, page, and what `report` reads back."""
    folder = case("hewl_ssad")
    options = ar.Options(cycles=0, d_min=1.8, maps="asu")
    result = ar.refine(folder / "model.pdb", folder / "data.mtz", options)
    said = [sentence for sentence in result.report.warnings if "FAN PHAN" in sentence]
    assert len(said) == 1
    assert "I-obs(+)" in said[0]
    assert "/SD" in said[0]
    assert said[0].endswith("and 5 more")
    told = result.report.as_dict()["data"]["anomalous"]
    assert told["pairs"] > 3000
    assert told["by_resolution"][0]["ratio"] > 2.0
    result.write(tmp_path)
    assert (tmp_path / "refined_anomalous.ccp4").stat().st_size > 10_000
    crystal, columns = read_maps(tmp_path / "refined.mtz")
    assert crystal == result.reflections.crystal
    again = MapCoefficients(**columns)
    assert again.anomalous is not None
    assert result.maps.anomalous is not None
    assert np.isfinite(again.anomalous).sum() == np.isfinite(result.maps.anomalous).sum() > 3000
    # given as data, what was written has the same differences
    anew = read_reflections(tmp_path / "refined.mtz", crystal)[0].anomalous
    own = result.reflections.anomalous
    assert anew is not None
    assert own is not None
    assert anew.columns == ("DANO", "SIGDANO")
    assert len(anew) == np.isfinite(again.anomalous).sum()
    here = positions(anew.hkl, own.hkl)
    np.testing.assert_allclose(anew.difference, own.difference[here], rtol=1e-4)
    np.testing.assert_allclose(anew.sigma, own.sigma[here], rtol=1e-4)
    found = result.validate().anomalous_peaks
    assert len(found) == 10
    assert found[0].height > 12.0
    assert {peak.atom.split()[3] for peak in found} == {"SG", "SD"}
    assert all(peak.distance < 0.7 for peak in found)
    table = tables(result.validate().as_dict(), lambda label: None)["anomalous"]
    assert table is not None
    assert len(table.rows) == 10


def test_the_command_lists_them(
    case: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = case("hewl_ssad")
    reading = dataclasses.replace(Peaks(folder / "model.pdb", folder / "data.mtz").reading, d_min=2.6)
    Peaks(folder / "model.pdb", folder / "data.mtz", out=tmp_path / "peaks.json", reading=reading)()
    text = capsys.readouterr().out
    assert "A 105 MET SD" in text[text.index("Anomalous differences") :]
    assert '"anomalous_peaks"' in (tmp_path / "peaks.json").read_text()


def test_waters_that_scatter_anomalously_are_warned_of(case: Callable[[str], Path]) -> None:
    """Sulphur that a model takes for water."""
    folder = case("hewl_ssad")
    structure = gemmi.read_structure(str(folder / "model.pdb"))
    residue = structure[0]["A"]["12"]["MET"]
    place = residue.sole_atom("SD").pos
    for name in ("SD", "CE"):
        residue.remove_atom(name, "\0")
    assert not [atom for atom in residue if atom.name == "SD"]
    chain = structure[0].add_chain("W")
    water = gemmi.Residue()
    water.name, water.seqid = "HOH", gemmi.SeqId("1")
    atom = gemmi.Atom()
    atom.name, atom.element, atom.pos, atom.b_iso = "O", gemmi.Element("O"), place, 15.0
    water.add_atom(atom)
    chain.add_residue(water)
    _, problem, atoms, _ = ar.prepare(structure, folder / "data.mtz", ar.Options(d_min=2.2))
    state = ar.evaluate(problem, atoms)
    said = absorbers.sentences(problem, state, ar.maps_of(problem, state))
    assert len(said) == 2
    assert isinstance(said[1], Caution)
    assert said[1].startswith("1 water scatters anomalously, as oxygen hardly does: W/HOH 1/O (")


def test_neutrons_have_no_such_map(case: Callable[[str], Path]) -> None:
    folder = case("hewl_ssad")
    model, problem, atoms, _ = ar.prepare(folder / "model.pdb", folder / "data.mtz", ar.Options(d_min=4.0))
    assert problem.reflections.anomalous is not None
    assert with_radiation(problem.reflections, "xray", model)[0].anomalous is problem.reflections.anomalous
    bare = with_radiation(problem.reflections, "neutron", model)[0]
    assert bare.anomalous is None
    problem = dataclasses.replace(problem, reflections=dataclasses.replace(problem.reflections, anomalous=None))
    state = ar.evaluate(problem, atoms)
    maps = ar.maps_of(problem, state)
    assert maps.anomalous is None
    assert absorbers.sentences(problem, state, maps) == []
    with pytest.raises(ar.InputError, match="Friedel pairs"):
        ar.map_grid(maps, problem.reflections.crystal, "anomalous")


def test_twins_have_no_such_map_and_it_is_said(case: Callable[[str], Path]) -> None:
    folder = case("5uui")
    _, problem, atoms, _ = ar.prepare(folder / "shaken.cif", folder / "norm.mtz", ar.Options(d_min=3.0))
    data = problem.reflections
    ones = np.ones(len(data))
    pairs = weighed(data.crystal, data.hkl, np.sin(np.arange(len(data))), ones, ("DANO", "SIGDANO"))
    problem = dataclasses.replace(problem, reflections=dataclasses.replace(data, anomalous=pairs))
    state = ar.evaluate(problem, atoms)
    assert state.twin is not None
    maps = ar.maps_of(problem, state)
    assert maps.anomalous is None
    assert "refined as a twin" in absorbers.sentences(problem, state, maps)[0]


def test_amplitudes_of_zero_and_mates_that_are_the_same_do_no_harm(
    tmp_path: Path, summed: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
) -> None:
    hkl, plus, minus = summed[0], abs(summed[1]), abs(summed[2])
    ones, free = np.ones(len(hkl)), ("I", np.arange(len(hkl)) % 20.0)
    mean = 0.5 * (plus + minus)
    none = np.arange(len(hkl)) % 100 == 7
    i_pair = {
        "I(+)": ("K", np.where(none, 1.0, plus**2)), "SIGI(+)": ("M", 2.0 * plus + 1.0),
        "I(-)": ("K", np.where(none, -1.0, minus**2)), "SIGI(-)": ("M", 2.0 * minus + 1.0),
    }  # fmt: skip
    zeros = {"FREE": free, "FP": ("F", np.where(none, 0.0, mean)), "SIGFP": ("Q", ones), **i_pair}
    found = _read(_file(tmp_path / "zeros.mtz", hkl, zeros))
    assert found is not None
    assert np.isfinite(found.difference).all()
    wanted = np.where(none, 0.0, plus - minus)[np.lexsort(hkl.T[::-1])]
    assert np.corrcoef(found.difference, wanted[positions(found.hkl, hkl[np.lexsort(hkl.T[::-1])])])[0, 1] > 0.99

    # at low resolution one mate was measured, and taken for both
    low = CRYSTAL.inverse_d_squared(hkl) < 0.05
    f_pair = {
        "F(+)": ("G", plus), "SIGF(+)": ("L", ones), "F(-)": ("G", np.where(low, plus, minus)), "SIGF(-)": ("L", ones),
    }  # fmt: skip
    found = _read(_file(tmp_path / "low.mtz", hkl, {"FREE": free, **f_pair}))
    assert found is not None
    assert len(found) <= (~low).sum()
    # one value of both, but for the last digit, as where means are averaged over different rows
    rows = {
        "FREE": ("I", np.tile(free[1], 2)), "F": ("F", np.concatenate([plus, plus * (1.0 + 1e-6)])),
        "SIGF": ("Q", np.tile(ones, 2)),
    }  # fmt: skip
    assert _read(_file(tmp_path / "digits.mtz", np.concatenate([hkl, -hkl]), rows)) is None


def test_pairs_are_of_the_data_that_are_used_where_a_file_has_others_too(
    tmp_path: Path, summed: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
) -> None:
    hkl, plus, minus = summed[0], abs(summed[1]), abs(summed[2])
    ones, free = np.ones(len(hkl)), ("I", np.arange(len(hkl)) % 20.0)
    noise = np.exp(0.4 * np.random.default_rng(2).standard_normal(len(hkl)))
    one = {"FREE": free, "FP": ("F", 0.5 * (plus + minus)), "SIGFP": ("Q", ones)}
    other = {
        "F_Hg(+)": ("G", noise * minus), "SIGF_Hg(+)": ("L", ones),
        "F_Hg(-)": ("G", noise * plus), "SIGF_Hg(-)": ("L", ones),
    }  # fmt: skip
    own = {"F(+)": ("G", plus), "SIGF(+)": ("L", ones), "F(-)": ("G", minus), "SIGF(-)": ("L", ones)}
    found = _read(_file(tmp_path / "both.mtz", hkl, {**other, **one, **own}))
    assert found is not None
    assert found.columns == tuple(own)
    assert "another" not in found.sentence()
    found = _read(_file(tmp_path / "other.mtz", hkl, {**one, **other}))
    assert found is not None
    assert found.columns == tuple(other)
    assert "of another crystal or wavelength" in found.sentence()

    # differences on the scale of another data set
    dano = {"DANO": ("D", plus - minus), "SIGDANO": ("Q", ones)}
    path = _file(tmp_path / "dano.mtz", hkl, {**one, **dano})
    assert _read(path) is not None
    mtz = gemmi.read_mtz_file(str(path))
    mtz.add_dataset("Hg")
    for label in dano:
        mtz.column_with_label(label).dataset_id = 2
    mtz.write_to_file(str(path))
    assert _read(path) is None
