"""Form factors against the number of electrons and gemmi's own evaluation."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from arrayrefine.errors import InputError
from arrayrefine.scattering.form_factors import form_factors, reduced_basis, scattering


def test_elements_are_listed_once_and_deuterium_is_hydrogen() -> None:
    unique, index, coefficients = form_factors(np.array(["O", "C", "D", "C", "H", "Fe"]))
    assert unique.tolist() == ["C", "Fe", "H", "O"]
    assert unique[index].tolist() == ["O", "C", "H", "C", "H", "Fe"]
    assert coefficients.shape == (4, 9)


@pytest.mark.parametrize(("element", "electrons"), [("C", 6), ("O", 8), ("S", 16), ("Fe", 26), ("Se", 34)])
def test_forward_scattering_is_the_number_of_electrons(element: str, electrons: int) -> None:
    _, _, coefficients = form_factors([element])
    assert scattering(coefficients, [0.0])[0, 0] == pytest.approx(electrons, abs=0.02)


def test_angle_dependence_agrees_with_gemmi() -> None:
    s_squared = np.linspace(0.0, 4.0, 9)
    unique, _, coefficients = form_factors(["C", "N", "Zn", "H"])
    expected = [[gemmi.Element(str(e)).it92.calculate_sf(stol2=s / 4.0) for s in s_squared] for e in unique]
    np.testing.assert_allclose(scattering(coefficients, s_squared), expected, rtol=1e-6)


@pytest.mark.parametrize("element", ["X", "Es", "Qq"])
def test_element_without_form_factor_is_refused_by_name(element: str) -> None:
    with pytest.raises(InputError, match=f"'{element}'.*correct the element"):
        form_factors(["C", element])


def test_no_atoms_have_no_elements() -> None:
    unique, index, coefficients = form_factors(np.array([], dtype=np.str_))
    assert len(unique) == len(index) == 0
    assert coefficients.shape == (0, 9)


ELEMENTS = ["C", "N", "O", "S", "H", "Zn"]
AMOUNT = np.array([3000.0, 800.0, 1200.0, 20.0, 4000.0, 1.0])


@pytest.mark.parametrize("tolerance", [1e-3, 1e-4])
@pytest.mark.parametrize("d_min", [1.0, 2.0, 3.5])
def test_a_few_functions_make_up_the_form_factors(tolerance: float, d_min: float) -> None:
    _, index, coefficients = form_factors(ELEMENTS)
    amount = np.bincount(index, weights=AMOUNT)
    basis = reduced_basis(coefficients, amount, 1.0 / d_min, 25.0, tolerance)
    s_squared = np.linspace(0.01, 1.0 / d_min, 200) ** 2
    exact = scattering(coefficients, s_squared)
    made = np.exp(-0.25 * basis.shift[:, None] * s_squared) * (basis.mix @ basis.functions(s_squared))
    weight = np.sqrt(s_squared + 0.1 / d_min**2) * np.exp(-0.25 * 25.0 * s_squared) * np.sqrt(amount)[:, None]
    assert np.linalg.norm(weight * (made - exact)) < 1.2 * tolerance * np.linalg.norm(weight * exact)
    single = np.linalg.norm(weight * (made - exact), axis=1) / np.linalg.norm(weight * exact, axis=1)
    assert single.max() < 12.0 * tolerance
    assert basis.mix.shape[1] <= 3


def test_a_tolerance_of_nothing_gives_every_element_its_own_function() -> None:
    _, index, coefficients = form_factors(ELEMENTS)
    basis = reduced_basis(coefficients, np.bincount(index, weights=AMOUNT), 0.5, 25.0, 1e-12)
    s_squared = np.linspace(0.0, 0.5, 20) ** 2
    np.testing.assert_allclose(basis.mix @ basis.functions(s_squared), scattering(coefficients, s_squared), rtol=1e-12)
    assert not basis.shift.any()
