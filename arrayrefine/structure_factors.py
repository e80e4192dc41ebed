"""Structure factors of the model, and their adjoint, by FFT or by direct summation."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.crystal import Crystal
from arrayrefine.form_factors import it92, scattering
from arrayrefine.kernels import density, lookup, summation

Float = NDArray[np.float64]
Complex = NDArray[np.complex128]

_RATES = (2.7, 3.0, 3.4, 3.8)
"""Grid points per d_min among which the cheapest is chosen."""


@dataclass(frozen=True)
class Sampling:
    """How finely the density is sampled.

    Attributes
    ----------
    shape : tuple of 3 ints
    blur : float
        Added to every B on the grid and taken off again in reciprocal space, Å².
    cutoff : float
        The Gaussian is cut where it falls below this fraction of its centre.
    """

    shape: tuple[int, int, int]
    blur: float
    cutoff: float


def grid_shape(crystal: Crystal, d_min: float, rate: float) -> tuple[int, int, int]:
    """FFT-friendly grid with at least `rate` points per `d_min` along each axis."""
    reach = 1.0 / (d_min * np.linalg.norm(crystal.frac, axis=1))  # largest |h| along each axis
    n = [scipy.fft.next_fast_len(int(np.ceil(rate * r)) + 1, real=True) for r in reach]
    n[2] += n[2] % 2
    n[2] = scipy.fft.next_fast_len(n[2], real=True)
    return n[0], n[1], n[2]


def blur_for(accuracy: float, rate: float, d_min: float, b_min: float) -> float:
    """Blur (Å²) at which aliasing stays below `accuracy`.

    A Gaussian of width B sampled at `rate` points per d folds s = (rate − 1)/d onto 1/d, with the relative weight
    exp(−B/4 ((rate − 1)² − 1)/d²). Averaged over all reflections the error is smaller by the constant below, which was
    measured against direct summation (see tests/test_structure_factors.py).
    """
    need = 4.0 * np.log(0.07 / accuracy) / ((rate - 1.0) ** 2 - 1.0)
    return float(max(0.0, need * d_min**2 - b_min))


def choose_sampling(crystal: Crystal, d_min: float, b_iso: Float, n_grids: int, accuracy: float) -> Sampling:
    """The cheapest sampling whose error of F is below `accuracy`, and that of the gradient below three times it."""
    accuracy = 0.6 * accuracy  # the gradient by B suffers most from aliasing; this keeps it in bounds
    b_min = float(b_iso.min())
    best: tuple[float, Sampling] | None = None
    for rate in _RATES:
        shape = grid_shape(crystal, d_min, rate)
        # Taking the blur off magnifies what the cut-off lost, most on coarse grids.
        cutoff = accuracy / (3.0 if rate >= 3.0 else 6.0)
        blur = blur_for(accuracy, rate, d_min, b_min)
        points = float(np.prod(shape))
        radius = np.sqrt(-np.log(cutoff) * (b_iso + blur)) / (2.0 * np.pi)
        inside = float((4.0 / 3.0 * np.pi * radius**3).sum()) * points / crystal.volume
        # Nanoseconds per point of splat + gather and of the two FFTs, measured on one core.
        cost = 6.0 * inside + n_grids * points * 0.9 * np.log2(points)
        if best is None or cost < best[0]:
            best = cost, Sampling(shape, blur, cutoff)
    assert best is not None
    return best[1]


class StructureFactors:
    """F_calc of a fixed set of reflections as a function of the atoms.

    Parameters
    ----------
    crystal : Crystal
    hkl : (R, 3) int
    atoms : Atoms
        Their elements fix the grids, their B factors the sampling; other coordinates, B and occupancies can be used
        afterwards with the same object.
    method : "fft" or "direct"
    accuracy : float
        Bound on ‖ΔF‖/‖F‖ of the FFT.
    precision : "single" or "double"
    threads : int
        FFT workers.
    timer : dict, optional
        Seconds are added under "splat", "fft" and "lookup" (or "summation").
    """

    def __init__(
        self,
        crystal: Crystal,
        hkl: NDArray[np.integer[Any]],
        atoms: Atoms,
        *,
        method: Literal["fft", "direct"] = "fft",
        accuracy: float = 3e-4,
        precision: Literal["single", "double"] = "single",
        threads: int = 1,
        timer: dict[str, float] | None = None,
    ) -> None:
        self.crystal = crystal
        self.hkl = np.asarray(hkl, dtype=np.int32)
        self.s_squared = crystal.inverse_d_squared(self.hkl)
        self.method = method
        self.threads = threads
        self.timer: dict[str, float] = {} if timer is None else timer
        self._elements, self._element, coefficients = it92(atoms.element)
        self._coefficients = coefficients
        self._form_factor = scattering(coefficients, self.s_squared)
        if method == "direct":
            return
        d_min = float(1.0 / np.sqrt(self.s_squared.max()))
        self.sampling = choose_sampling(crystal, d_min, atoms.b_iso, len(self._elements), accuracy)
        self._dtype: Any = np.float32 if precision == "single" else np.float64
        complex_type = np.complex64 if precision == "single" else np.complex128
        nx, ny, nz = self.sampling.shape
        self._stored = (nx, ny, nz // 2 + 1)
        self._table = lookup.plan(
            self.hkl, crystal.primitive_rotations, crystal.primitive_translations, len(crystal.centring),
            self._stored, complex_type,
        )  # fmt: skip
        element_volume = crystal.volume / np.prod(self.sampling.shape)
        self._factor = self._form_factor * np.exp(0.25 * self.sampling.blur * self.s_squared) * element_volume

    def form_factors(self, s_squared: Float) -> tuple[Float, NDArray[np.int64]]:
        """Form factors (E, S) at 1/d² (S,), and the row of every atom (N,)."""
        return scattering(self._coefficients, s_squared), self._element

    def _time(self, part: str, since: float) -> float:
        now = time.perf_counter()
        self.timer[part] = self.timer.get(part, 0.0) + now - since
        return now

    def _gaussians(self, atoms: Atoms) -> tuple[Float, Float, Float, Float]:
        """Fractional coordinates, amplitude per unit occupancy, exponent (Å⁻²), radius (Å) of the blurred atoms."""
        width = np.maximum(atoms.b_iso + self.sampling.blur, 0.1)
        exponent = 4.0 * np.pi**2 / width
        radius = np.sqrt(-np.log(self.sampling.cutoff) / exponent)
        return self.crystal.fractional(atoms.xyz), (exponent / np.pi) ** 1.5, exponent, radius

    def __call__(self, atoms: Atoms) -> Complex:
        """F_calc (R,) in electrons."""
        start = time.perf_counter()
        if self.method == "direct":
            f = summation.structure_factors(
                self.hkl, self.s_squared, self.crystal.fractional(atoms.xyz), atoms.b_iso, atoms.occupancy,
                self._form_factor, self._element, self.crystal.rotations, self.crystal.translations,
            )  # fmt: skip
            self._time("summation", start)
            return np.asarray(f)
        fractional, unit, exponent, radius = self._gaussians(atoms)
        grids = density.splat(
            fractional, unit * atoms.occupancy, exponent, radius, self._element, len(self._elements),
            self.sampling.shape, self.crystal.orth, self._dtype,
        )  # fmt: skip
        now = self._time("splat", start)
        transforms = scipy.fft.rfftn(grids, axes=(1, 2, 3), workers=self.threads)
        now = self._time("fft", now)
        f = lookup.look_up(transforms, self._factor, self._table)
        self._time("lookup", now)
        return np.asarray(f)

    def pullback(self, d_f: Complex, atoms: Atoms) -> Gradient:
        """Gradient by the atoms of a scalar T from its gradient by F_calc.

        Parameters
        ----------
        d_f : (R,) complex128
            ∂T/∂Re F + i ∂T/∂Im F.
        atoms : Atoms
            Where the gradient is wanted.
        """
        start = time.perf_counter()
        if self.method == "direct":
            fractional, d_b, d_q = summation.gradient(
                d_f, self.hkl, self.s_squared, self.crystal.fractional(atoms.xyz), atoms.b_iso, atoms.occupancy,
                self._form_factor, self._element, self.crystal.rotations, self.crystal.translations,
            )  # fmt: skip
            self._time("summation", start)
            return Gradient(fractional @ self.crystal.frac, d_b, d_q)
        half = lookup.scatter(d_f, self._factor, self._table, self._stored)
        now = self._time("lookup", start)
        maps = scipy.fft.irfftn(
            half, s=self.sampling.shape, axes=(1, 2, 3), norm="forward", overwrite_x=True, workers=self.threads
        )
        now = self._time("fft", now)
        fractional, unit, exponent, radius = self._gaussians(atoms)
        d_amplitude, d_xyz, d_exponent = density.gather(
            maps, fractional, unit * atoms.occupancy, exponent, radius, self._element, self.crystal.orth
        )
        # Both the amplitude q (k/π)^{3/2} and the exponent k = 4π²/(B + blur) depend on B.
        by_exponent = d_exponent + d_amplitude * atoms.occupancy * unit * 1.5 / exponent
        d_b = by_exponent * -(exponent**2) / (4.0 * np.pi**2)
        self._time("splat", now)
        return Gradient(d_xyz, d_b, d_amplitude * unit)
