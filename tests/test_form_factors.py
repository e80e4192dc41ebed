"""Form factors against the number of electrons and gemmi's own evaluation."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from arrayrefine.errors import InputError
from arrayrefine.form_factors import it92, scattering


def test_elements_are_listed_once_and_deuterium_is_hydrogen() -> None:
    unique, index, coefficients = it92(np.array(["O", "C", "D", "C", "H", "Fe"]))
    assert unique.tolist() == ["C", "Fe", "H", "O"]
    assert unique[index].tolist() == ["O", "C", "H", "C", "H", "Fe"]
    assert coefficients.shape == (4, 9)


@pytest.mark.parametrize(("element", "electrons"), [("C", 6), ("O", 8), ("S", 16), ("Fe", 26), ("Se", 34)])
def test_forward_scattering_is_the_number_of_electrons(element: str, electrons: int) -> None:
    _, _, coefficients = it92([element])
    assert scattering(coefficients, [0.0])[0, 0] == pytest.approx(electrons, abs=0.02)


def test_angle_dependence_agrees_with_gemmi() -> None:
    s_squared = np.linspace(0.0, 4.0, 9)
    unique, _, coefficients = it92(["C", "N", "Zn", "H"])
    expected = [[gemmi.Element(str(e)).it92.calculate_sf(stol2=s / 4.0) for s in s_squared] for e in unique]
    np.testing.assert_allclose(scattering(coefficients, s_squared), expected, rtol=1e-6)


@pytest.mark.parametrize("element", ["X", "Es", "Qq"])
def test_element_without_form_factor_is_refused_by_name(element: str) -> None:
    with pytest.raises(InputError, match=f"'{element}'.*correct the element"):
        it92(["C", element])


def test_no_atoms_have_no_elements() -> None:
    unique, index, coefficients = it92(np.array([], dtype=np.str_))
    assert len(unique) == len(index) == 0
    assert coefficients.shape == (0, 9)
