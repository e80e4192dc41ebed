"""X-ray form factors of the elements.

Source of the coefficients: International Tables for Crystallography, vol. C (1992), table 6.1.1.4, as
held by gemmi.
"""

from __future__ import annotations

import gemmi
import numpy as np
from numpy.typing import ArrayLike, NDArray

from arrayrefine.errors import InputError

Float = NDArray[np.float64]


def it92(elements: ArrayLike) -> tuple[NDArray[np.str_], NDArray[np.int64], Float]:
    """Four Gaussians and a constant for each element of a list of atoms.

    Parameters
    ----------
    elements : (N,) str
        Element symbols; "D" scatters as "H" and is listed as "H".

    Returns
    -------
    unique : (E,) str
        The different elements, sorted.
    index : (N,) int64
        Position of each atom's element in `unique`.
    coefficients : (E, 9) float64
        a1..a4 (electrons), b1..b4 (Å²), c (electrons).

    Raises
    ------
    InputError
        If an element has no coefficients in the table.
    """
    symbols = np.asarray(elements, dtype=np.str_)
    symbols = np.where(np.char.upper(symbols) == "D", "H", symbols)
    unique, index = np.unique(symbols, return_inverse=True)
    coefficients = np.zeros((len(unique), 9))
    for row, symbol in zip(coefficients, unique):
        element = gemmi.Element(str(symbol))
        table = element.it92
        if element.atomic_number == 0 or table is None:
            raise InputError(
                f"element '{symbol}' has no X-ray form factor (International Tables C, 6.1.1.4 covers H to "
                "Cf); "
                "correct the element column of the model"
            )
        row[:] = [*table.a, *table.b, table.c]
    return unique.astype(np.str_), index.reshape(-1).astype(np.int64), coefficients


def scattering(coefficients: ArrayLike, s_squared: ArrayLike) -> Float:
    """Form factors f(s) = Σ aᵢ exp(−bᵢ s²/4) + c of atoms at rest.

    Parameters
    ----------
    coefficients : (E, 9) float64
        a1..a4, b1..b4, c, as returned by `it92`.
    s_squared : (R,) float64
        1/d², Å⁻².

    Returns
    -------
    (E, R) float64
        Electrons.
    """
    table = np.asarray(coefficients, dtype=float)
    quarter = np.asarray(s_squared, dtype=float) / 4.0
    result = np.repeat(table[:, 8:9], quarter.size, axis=1)
    for k in range(4):
        result += table[:, k, None] * np.exp(-table[:, 4 + k, None] * quarter)
    return result
