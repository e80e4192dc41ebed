"""Dispersion of X-rays as part of form factors: values, structure factors, what is said of it, and a real crystal."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine.__main__ import main
from arrayrefine.errors import InputError
from arrayrefine.io.models.reading import Model, read_model
from arrayrefine.io.reflections.reading import read_reflections
from arrayrefine.reflections import Reflections
from arrayrefine.scattering.dispersion import with_dispersion
from arrayrefine.scattering.form_factors import dispersion, form_factors, scattering
from arrayrefine.structure_factors import StructureFactors

COPPER = 1.54056


@pytest.mark.parametrize(
    ("element", "expected"), [("S", 0.3331), ("Fe", -1.1336), ("Co", -2.3653), ("Ni", -3.0029), ("Zn", -1.5491)]
)
def test_values_at_copper_radiation_are_those_of_international_tables(element: str, expected: float) -> None:
    """Vol. C, table 4.2.6.8."""
    assert dispersion(element, COPPER) == pytest.approx(expected, abs=0.01)


def test_form_factors_differ_by_the_dispersion_at_any_resolution() -> None:
    s_squared = np.linspace(0.0, 1.5, 7)
    elements, _, without = form_factors(["C", "Fe", "H", "C"])
    _, _, with_it = form_factors(["C", "Fe", "H", "C"], wavelength=COPPER)
    expected = np.array([dispersion(str(one), COPPER) for one in elements])
    found = scattering(with_it, s_squared) - scattering(without, s_squared)
    np.testing.assert_allclose(found, np.broadcast_to(expected[:, None], found.shape), atol=1e-9)
    assert expected[list(elements).index("H")] == 0.0


@pytest.mark.parametrize(("method", "error"), [("fft", 1e-3), ("direct", 1e-6)])
def test_structure_factors_are_those_of_gemmi(case: Any, method: Any, error: float) -> None:
    """1DUR, two Fe4S4 clusters at copper's wavelength, 3 Å."""
    path = case("1dur") / "model.pdb"
    model, structure = read_model(path), gemmi.read_structure(str(path))
    assert model.crystal is not None
    hkl = model.crystal.unique_reflections(3.0, 20.0)
    found = StructureFactors(model.crystal, hkl, model.atoms, method=method, wavelength=COPPER)(model.atoms)
    calculator = gemmi.StructureFactorCalculatorX(structure.cell)
    for place in structure[0].all():
        place.atom.occ = min(place.atom.occ, 1.0)  # as read: some waters have more
    for element in {place.atom.element.name for place in structure[0].all()}:
        value = gemmi.cromer_liberman(gemmi.Element(element).atomic_number, gemmi.hc / COPPER)[0]
        calculator.addends.set(gemmi.Element(element), value)
    expected = np.array([calculator.calculate_sf_from_model(structure[0], h) for h in hkl.tolist()])
    assert np.linalg.norm(found - expected) < error * np.linalg.norm(expected)
    without = StructureFactors(model.crystal, hkl, model.atoms, method=method)(model.atoms)
    assert np.linalg.norm(without - expected) > 0.005 * np.linalg.norm(expected)


def test_clusters_of_iron_fit_better_at_the_wavelength_of_their_data(case: Any) -> None:
    folder = case("1dur")
    r_work, said = {}, {}
    for wavelength in (None, 1.5418):
        result = ar.refine(folder / "model.pdb", folder / "norm.mtz", ar.Options(cycles=1, wavelength=wavelength))
        r_work[wavelength] = result.r_work
        assert result.report.as_dict()["data"].get("wavelength") == wavelength
        said[wavelength] = [note for note in result.report.warnings if "dispersion" in note]
    assert r_work[1.5418] < r_work[None] - 0.001
    assert said == {
        None: [], 1.5418: ["form factors have the dispersion f' at 1.5418 Å (--wavelength): Fe (-1.1 e)"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("named", "asked"),
    [
        ("0.97936", "for Se (-8.5 e), 1 atom; --wavelength 0.97936 takes it into account"),
        ("0.91837,0.97936", None), ("1.5418", None), ("9.999", None), ("NULL", None), ("0.979-1.2", None),
    ],
)  # fmt: skip
def test_the_wavelength_of_a_header_is_named_where_it_would_count(
    case: Any, tmp_path: Path, named: str, asked: str | None
) -> None:
    """3SB3 has one Se, and three wavelengths in its header."""
    text = (case("3sb3") / "model.pdb").read_text()
    assert text.count("0.91837,0.97936,0.97920") == 1
    path = tmp_path / "model.pdb"
    path.write_text(text.replace("0.91837,0.97936,0.97920", named))
    model = read_model(path)
    data, notes = with_dispersion(_reflections(model), None, model)
    assert data.wavelength is None
    assert len(notes) == (asked is not None)
    assert asked is None or notes[0].endswith(asked)
    assert with_dispersion(_reflections(model, radiation="electron"), None, model)[1] == ()


@pytest.mark.parametrize(("named", "asked"), [(0.9793, True), (1.0, False), (9.999, False), (None, False)])
def test_so_is_that_of_a_data_set(case: Any, named: float | None, asked: bool) -> None:
    folder = case("3sb3")
    model, mtz = read_model(folder / "model.pdb"), gemmi.read_mtz_file(str(folder / "data.mtz"))
    for one in mtz.datasets:
        one.wavelength = named or 0.0
    reflections, _ = read_reflections(mtz, model.crystal)
    assert reflections.source.get("wavelength") == named
    _, notes = with_dispersion(reflections, None, model)
    assert [" 0.9793 Å of the data for Se" in note for note in notes] == [True] * asked


def test_an_sf_mmcif_file_names_its_wavelength(case: Any) -> None:
    folder = case("1dur")
    reflections, _ = read_reflections(folder / "data-sf.cif", read_model(folder / "model.pdb").crystal)
    assert reflections.source["wavelength"] == 1.5418


def test_a_wavelength_without_dispersion_to_speak_of_is_said(case: Any) -> None:
    model = read_model(case("1aba") / "model.pdb")
    data, (note,) = with_dispersion(_reflections(model), 1.0, model)
    assert data.wavelength == 1.0
    assert note.endswith("none as much as 0.5 e")


def test_a_wavelength_is_one_of_x_rays(case: Any) -> None:
    model = read_model(case("1aba") / "model.pdb")
    with pytest.raises(InputError, match=r"--wavelength 0.98 is one of X-rays, but the data are of neutrons: leave it"):
        with_dispersion(_reflections(model, radiation="neutron"), 0.98, model)


@pytest.mark.parametrize("wavelength", [0.0, 12.0])
def test_a_wavelength_that_cannot_be_is_refused(case: Any, wavelength: float) -> None:
    folder = case("1aba")
    with pytest.raises(InputError, match=re.escape("a wavelength of 0.2 to 5 Å")):
        ar.refine(folder / "model.pdb", folder / "norm.mtz", ar.Options(wavelength=wavelength))


def test_a_wavelength_in_memory_is_checked_as_one_that_is_given(case: Any) -> None:
    model = read_model(case("1aba") / "model.pdb")
    with pytest.raises(InputError, match=re.escape("wavelength 979 of Reflections; expected a wavelength of 0.2 to 5")):
        with_dispersion(_reflections(model, wavelength=979.0), None, model)


def test_dispersion_that_no_atom_can_have_is_refused(case: Any) -> None:
    """The theory has places where it fails: 200 electrons fewer than Pb has near 4.99 Å."""
    model = read_model(case("3sb3") / "model.pdb")
    element = np.where(model.atoms.element == "Se", "Pb", model.atoms.element)
    changed = dataclasses.replace(model, atoms=dataclasses.replace(model.atoms, element=element))
    with pytest.raises(InputError, match=r"that theory gives Pb \(-2\d\d e\) is none that an atom can have"):
        with_dispersion(_reflections(model), 4.9915, changed)
    assert with_dispersion(_reflections(model), 0.95, changed)[0].wavelength == 0.95


def test_a_model_is_validated_at_the_wavelength_of_its_data(case: Any, tmp_path: Path) -> None:
    folder, r_work = case("1dur"), []
    for more in ([], ["--wavelength", "1.5418"]):
        out = tmp_path / "validation.json"
        main(["validate", str(folder / "model.pdb"), str(folder / "norm.mtz"), "--out", str(out), *more])
        r_work.append(json.loads(out.read_text())["r_work"])
    assert abs(r_work[1] - r_work[0]) > 0.001  # B of Fe are those of a refinement without


def _reflections(model: Model, **changed: Any) -> Reflections:
    crystal, one = model.crystal, np.ones(1)
    found = Reflections(crystal, np.array([[1, 0, 0]], dtype=np.int32), one, one, np.zeros(1, dtype=bool))
    return dataclasses.replace(found, **changed)
