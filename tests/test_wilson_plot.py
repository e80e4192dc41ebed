"""The overall B of the data by the slope of Wilson's plot."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gemmi import cif

from arrayrefine import Options, example, refine
from arrayrefine.io.models.reading import read_model
from arrayrefine.io.reflections.reading import read_reflections
from arrayrefine.measurements.wilson_plot import wilson_b
from arrayrefine.scattering.form_factors import form_factors, scattering


def of_case(folder: Path) -> float | None:
    """Wilson B of the data of a crystal, by the atoms of its model."""
    model = read_model(next(folder.glob("model.*")))
    reflections = read_reflections(next(folder.glob("data*")), model.crystal)[0]
    return wilson_b(reflections, model.atoms)


@pytest.mark.parametrize(
    ("name", "header", "within"), [("3sb3", 28.0, 2.0), ("1l2h", 22.7, 2.0), ("1ehz", 47.9, 5.0), ("2r4r", 67.2, 5.0)]
)
def test_it_is_what_headers_of_other_programs_have(
    case: Callable[[str], Path], name: str, header: float, within: float
) -> None:
    """REMARK 3 and _reflns of the depositions, from intensities and amplitudes, of proteins and a tRNA, to 3.4 Å."""
    assert of_case(case(name)) == pytest.approx(header, abs=within)


def test_it_is_the_b_of_atoms_at_random() -> None:
    model = read_model(example.MODEL)
    data = read_reflections(example.DATA, model.crystal)[0]
    _, element, coefficients = form_factors(model.atoms.element)
    power = np.bincount(element, weights=model.atoms.occupancy) @ scattering(coefficients, data.s_squared) ** 2
    noise = np.random.default_rng(0).exponential(size=len(data))
    intensity = 7.0 * data.epsilon * power * np.exp(-0.5 * 31.0 * data.s_squared) * noise
    made = dataclasses.replace(data, i_obs=intensity, sigma_i=0.01 * intensity + 1e-9)
    assert wilson_b(made, model.atoms) == pytest.approx(31.0, abs=1.0)


def test_there_is_none_where_the_data_end_before_the_line_begins() -> None:
    model = read_model(example.MODEL)
    data = read_reflections(example.DATA, model.crystal)[0]
    assert wilson_b(data.select(data.s_squared < 4.1**-2), model.atoms) is None


def test_it_is_in_the_headers_and_the_report(tmp_path: Path) -> None:
    result = refine(example.MODEL, example.DATA, Options(cycles=0))
    result.write(tmp_path)
    found = result.report.data["wilson_b"]
    assert 10.0 < found < 25.0
    line = next(line for line in (tmp_path / "refined.pdb").read_text().splitlines() if "FROM WILSON PLOT" in line)
    assert float(line.split(":")[1]) == pytest.approx(found, abs=0.01)
    block = cif.read(str(tmp_path / "refined.cif")).sole_block()
    assert float(block.find_value("_reflns.B_iso_Wilson_estimate")) == pytest.approx(found, abs=0.01)


def test_that_of_the_data_processing_stays(case: Callable[[str], Path], tmp_path: Path) -> None:
    folder = case("1l2h")
    refine(folder / "model.cif", folder / "data.mtz", Options(cycles=0, report=False)).write(tmp_path)
    block = cif.read(str(tmp_path / "refined.cif")).sole_block()
    assert block.find_value("_reflns.B_iso_Wilson_estimate") == "22.7"
