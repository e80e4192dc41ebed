"""Form factors of the elements, for X-rays, electrons and neutrons.

Source of the coefficients, all as held by gemmi: International Tables for Crystallography, vol. C, table 6.1.1.4 for
X-rays (1992), table 4.3.2.2 for electrons (neutral atoms; Peng, Ren, Dudarev & Whelan (1996), Acta Cryst. A52,
257-276), and for neutrons the bound coherent scattering lengths of Sears (1992), Neutron News 3, 26-37.

Of the two curves for hydrogen and X-rays it is that of the bonded atom, whose electrons the bond contracts
(Stewart, Davidson & Simpson (1965), J. Chem. Phys. 42, 3175-3187). With the free atom's, -log p of the work set of 4XOF
(1.15 Å) is worse by 63 and its R-free by 0.002; it is also worse on 3SB3 and 6MW0, and where it is better (1ABA, 2 Å),
by little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import gemmi
import numpy as np
from numpy.typing import ArrayLike, NDArray

from arrayrefine.errors import InputError

Float = NDArray[np.float64]
Radiation = Literal["xray", "electron", "neutron"]
"""What was scattered."""

UNITS: dict[Radiation, str] = {"xray": "e", "electron": "Å", "neutron": "fm"}
"""Of form factors, and of F_calc."""

METHODS: dict[Radiation, str] = {
    "xray": "X-RAY DIFFRACTION", "electron": "ELECTRON CRYSTALLOGRAPHY", "neutron": "NEUTRON DIFFRACTION"
}  # fmt: skip
"""As headers of models name them."""
_ALSO: dict[str, Radiation] = {"ELECTRON DIFFRACTION": "electron"}
"""As others name them."""

_GAUSSIANS: dict[Radiation, int] = {"xray": 4, "electron": 5, "neutron": 0}
_SAMPLES = 48
"""Points in s at which a reduced basis is fitted."""
_LARGEST_SHIFT = 12.0
"""Å²; larger shifts of B would ask for more blur than they save."""
_RELUCTANCE = 0.03
"""What a shift of 1 Å² costs in the fit, in units of the tolerance."""
_FIT_STEPS, _DIFFERENCE = 12, 1e-3
"""Most steps of the fit of the shifts, and the difference (Å²) from which it takes derivatives."""


def named_radiations(header: str) -> tuple[Radiation, ...]:
    """What the method of a header (EXPDTA, `_exptl.method`) names: kinds of data, none of microscopy or NMR."""
    said = header.upper()
    names = {method: kind for kind, method in METHODS.items()} | _ALSO
    return tuple(dict.fromkeys(kind for method, kind in names.items() if method in said))


def form_factors(
    elements: ArrayLike, radiation: Radiation = "xray", wavelength: float | None = None
) -> tuple[NDArray[np.str_], NDArray[np.int64], Float]:
    """Some Gaussians and a constant for each element of a list of atoms.

    Parameters
    ----------
    elements : (N,) str
        Element symbols; "D" scatters as "H" and is listed as "H", but for neutrons.
    radiation : "xray", "electron" or "neutron"
    wavelength : float, optional
        Å; the real part of the dispersion of X-rays at it is part of the constant, see `dispersion`.

    Returns
    -------
    unique : (E,) str
        The different elements, sorted.
    index : (N,) int64
        Position of each atom's element in `unique`.
    coefficients : (E, 2 n + 1) float64
        a1..an, b1..bn (Å²), c; n is 4 for X-rays (a, c in electrons), 5 for electrons (Å), 0 for neutrons (fm).

    Raises
    ------
    InputError
        If an element has no coefficients in the table.
    """
    symbols = np.asarray(elements, dtype=np.str_)
    if radiation != "neutron":
        symbols = np.where(np.char.upper(symbols) == "D", "H", symbols)
    unique, index = np.unique(symbols, return_inverse=True)
    coefficients = np.zeros((len(unique), 2 * _GAUSSIANS[radiation] + 1))
    for row, symbol in zip(coefficients, unique):
        row[:] = _of_element(str(symbol), radiation)
    if wavelength is not None:
        coefficients[:, -1] += [dispersion(str(symbol), wavelength) for symbol in unique]
    return unique.astype(np.str_), index.reshape(-1).astype(np.int64), coefficients


def _of_element(symbol: str, radiation: Radiation) -> list[float]:
    """Coefficients of one element."""
    element = gemmi.Element(symbol)
    if element.atomic_number > 0:
        if radiation == "xray" and element.it92 is not None:
            return [*element.it92.a, *element.it92.b, element.it92.c]
        if radiation == "electron" and element.c4322 is not None:
            return [*element.c4322.a, *element.c4322.b, 0.0]
        if radiation == "neutron" and element.neutron92 is not None and element.neutron92.get_coefs()[0]:
            return [element.neutron92.get_coefs()[0]]
    where = {
        "xray": "X-ray form factor (International Tables C, 6.1.1.4 covers H to Cf)",
        "electron": "form factor for electrons (International Tables C, 4.3.2.2 covers H to Cf)",
        "neutron": "scattering length for neutrons (Neutron News 3, 26-37)",
    }[radiation]
    raise InputError(f"element '{symbol}' has no {where}; correct the element column of the model")


def dispersion(symbol: str, wavelength: float) -> float:
    """Real part f′ of the dispersion of X-rays by an element, electrons; of free atoms, so least sure at the edge.

    Elements beyond uranium, which its tables lack, have none.

    D. T. Cromer & D. A. Liberman (1981), Acta Cryst. A37, 267-268, as computed by gemmi.

    Parameters
    ----------
    symbol : str
    wavelength : float
        Å.
    """
    return float(gemmi.cromer_liberman(gemmi.Element(symbol).atomic_number, gemmi.hc / wavelength)[0])


def scattering(coefficients: ArrayLike, s_squared: ArrayLike) -> Float:
    """Form factors f(s) = Σ aᵢ exp(−bᵢ s²/4) + c of atoms at rest.

    Parameters
    ----------
    coefficients : (E, 2 n + 1) float64
        a1..an, b1..bn, c, as returned by `form_factors`.
    s_squared : (R,) float64
        1/d², Å⁻².

    Returns
    -------
    (E, R) float64
        In the unit of the coefficients, see `UNITS`.
    """
    table = np.asarray(coefficients, dtype=float)
    quarter = np.asarray(s_squared, dtype=float) / 4.0
    result = np.repeat(table[:, -1:], quarter.size, axis=1)
    count = table.shape[1] // 2
    for k in range(count):
        result += table[:, k, None] * np.exp(-table[:, count + k, None] * quarter)
    return result


@dataclass(frozen=True)
class Basis:
    """A few functions of 1/d² that make up the form factors of many elements.

    f_e(s) ≈ exp(−shift_e s²/4) · Σ_k mix_ek g_k(s), with g_k(s) = Σ_e source_ke f_e(s) exp(shift_e s²/4).

    Attributes
    ----------
    mix : (E, K) float64
    shift : (E,) float64
        Added to the B of the element's atoms, Å².
    source : (K, E) float64
    coefficients : (E, 2 n + 1) float64
        Of the elements, see `form_factors`.
    error : (E,) float64
        Relative error of each element's form factor, weighted as in the fit.
    """

    mix: Float
    shift: Float
    source: Float
    coefficients: Float
    error: Float

    def is_like(self, other: Basis) -> bool:
        """Whether the functions are the same."""
        pairs = ((self.mix, other.mix), (self.shift, other.shift), (self.source, other.source))
        return self is other or all(np.array_equal(a, b) for a, b in pairs)

    def functions(self, s_squared: Float) -> Float:
        """g_k (K, R) at 1/d² (R,)."""
        grown = scattering(self.coefficients, s_squared) * np.exp(0.25 * self.shift[:, None] * s_squared)
        return self.source @ grown


def reduced_basis(coefficients: Float, amount: Float, s_max: float, b_mean: float, tolerance: float) -> Basis:
    """The smallest basis that meets a tolerance.

    All form factors fall in much the same way with resolution, so two or three functions and a shift of B per element
    stand for all of them; the shifts are found by least squares, the functions by a singular value decomposition.

    Parameters
    ----------
    coefficients : (E, 2 n + 1) float64
        See `form_factors`.
    amount : (E,) float64
        Atoms of each element: how much its error counts.
    s_max : float
        1/d_min, Å⁻¹.
    b_mean : float
        B of the atoms together, Å²; with it high resolution counts less.
    tolerance : float
        Largest relative error of the sum of all f²; single elements may be up to ten times worse.
    """
    key = tuple(float(f"{v:.2g}") for v in np.asarray(amount, dtype=float))
    table = np.asarray(coefficients, dtype=float)
    return _reduced_basis(
        table.tobytes(), table.shape[1], key, round(s_max, 3), round(b_mean / 5.0) * 5.0, tolerance
    )


@lru_cache(maxsize=32)
def _reduced_basis(
    table: bytes, width: int, amount: tuple[float, ...], s_max: float, b_mean: float, tolerance: float
) -> Basis:
    coefficients = np.frombuffer(table).reshape(-1, width)
    count = len(coefficients)
    exact = Basis(np.eye(count), np.zeros(count), np.eye(count), coefficients, np.zeros(count))
    s_squared = np.linspace(0.0, s_max, _SAMPLES) ** 2
    f = scattering(coefficients, s_squared)
    # The number of reflections grows with s², so this is the weight of an amplitude; the few at low s are strong.
    weight = np.sqrt(s_squared + 0.1 * s_max**2) * np.exp(-0.25 * b_mean * s_squared)
    share = np.sqrt(np.maximum(np.asarray(amount), 1e-3))
    size = np.linalg.norm(weight * f, axis=1)

    def fitted(shift: Float, rank: int) -> tuple[Basis, Float]:
        grown = f * np.exp(0.25 * shift[:, None] * s_squared)
        u, singular, _ = np.linalg.svd(share[:, None] * weight * grown, full_matrices=False)
        source = u[:, :rank].T / singular[:rank, None] * share
        g = source @ grown
        mix = np.empty((count, rank))
        residual = np.empty_like(f)
        for e in range(count):
            own = weight * np.exp(-0.25 * shift[e] * s_squared)
            mix[e] = np.linalg.lstsq((own * g).T, own * grown[e], rcond=None)[0]
            residual[e] = own * (mix[e] @ g - grown[e])
        error = np.linalg.norm(residual, axis=1) / size
        return Basis(mix, shift, source, coefficients, error), share[:, None] * residual

    whole = float(np.linalg.norm(share * size))
    for rank in range(1, count):

        def misfit(shift: Float, rank: int = rank) -> Float:
            residual = fitted(np.append(0.0, shift), rank)[1]
            return np.append(residual.ravel() / (tolerance * whole), _RELUCTANCE * shift)

        basis, residual = fitted(np.append(0.0, _least_squares(misfit, count - 1)), rank)
        if np.linalg.norm(residual) <= tolerance * whole and basis.error.max() <= 10.0 * tolerance:
            return basis
    return exact


def _least_squares(misfit: Callable[[Float], Float], size: int) -> Float:
    """Shifts with the least misfit, by Gauss–Newton steps, halved where they lead uphill."""
    x = np.zeros(size)
    r = misfit(x)
    for _ in range(_FIT_STEPS):
        jacobian = np.stack([(misfit(x + column) - r) / _DIFFERENCE for column in _DIFFERENCE * np.eye(size)], axis=1)
        step = np.linalg.lstsq(jacobian, -r, rcond=1e-8)[0]
        for _ in range(5):
            tried = np.clip(x + step, -_LARGEST_SHIFT, _LARGEST_SHIFT)
            found = misfit(tried)
            if found @ found < r @ r:
                break
            step = 0.5 * step
        else:
            return x
        gain = 1.0 - float(found @ found) / float(r @ r)
        x, r = tried, found
        if gain < 1e-3:
            break
    return x
