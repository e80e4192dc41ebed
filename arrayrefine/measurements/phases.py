"""What is known of the phases of reflections beside the model, and whether it is of the same crystal."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.crystal import Crystal
from arrayrefine.errors import InputError
from arrayrefine.kernels.phased_likelihood import phase_moments
from arrayrefine.wording import counted

Float = NDArray[np.float64]
Complex = NDArray[np.complex128]

_CHANCE = 4.0
"""Standard deviations of the mean cosine within which agreement may be chance."""


@dataclass(frozen=True)
class KnownPhases:
    """Distributions of the phases of R reflections, exp(A cos φ + B sin φ + C cos 2φ + D sin 2φ) but for their norm.

    Attributes
    ----------
    coefficients : (R, 4) float64
        A, B, C, D; 0 where nothing is known, C and D of centric reflections always.
    columns : tuple of str
        Where they are from.
    scale : float
        By which the coefficients of the file were multiplied.
    """

    coefficients: Float
    columns: tuple[str, ...]
    scale: float = 1.0

    @cached_property
    def log_norm(self) -> Float:
        """Logarithm of their norms (R,)."""
        return phase_moments(self.coefficients)[0]

    @cached_property
    def table(self) -> Float:
        """Coefficients and logarithm of the norm (R, 5)."""
        return np.column_stack([self.coefficients, self.log_norm])

    @property
    def known(self) -> NDArray[np.bool_]:
        """Of which reflections (R,) anything is known."""
        return np.asarray(self.coefficients.any(axis=1))

    def select(self, mask: NDArray[np.bool_]) -> KnownPhases:
        """Those where `mask` (R,) is True."""
        return dataclasses.replace(self, coefficients=self.coefficients[mask])

    def moved(self, turns: Float) -> KnownPhases:
        """With turns (R,) of 2π added to the phases."""
        a, b, c, d = self.coefficients.T
        once, twice = (a + 1j * b) * np.exp(2j * np.pi * turns), (c + 1j * d) * np.exp(4j * np.pi * turns)
        turned = np.stack([once.real, once.imag, twice.real, twice.imag], axis=1)
        return dataclasses.replace(self, coefficients=turned)

    def scaled(self, by: float) -> KnownPhases:
        """With coefficients that are multiplied."""
        return dataclasses.replace(self, coefficients=by * self.coefficients, scale=by * self.scale)

    def expected(self, centric: NDArray[np.bool_]) -> Complex:
        """Mean of exp(iφ) (R,): figure of merit and best phase."""
        a, b = self.coefficients[:, 0], self.coefficients[:, 1]
        size = np.hypot(a, b)
        two = np.tanh(size) * (a + 1j * b) / np.where(size > 0.0, size, 1.0)
        return np.where(centric, two, phase_moments(self.coefficients)[1])


def agreement(known: KnownPhases, f_model: Complex, centric: NDArray[np.bool_]) -> dict[str, Any]:
    """How phases and model go together, for the report.

    Returns
    -------
    dict
        columns; scale; reflections; their mean figure of merit "fom"; "cosine", the mean cosine of the difference to
        the phases of the model (R,), weighted by it; and "by_chance", what that comes to with phases that have nothing
        to do with each other, one standard deviation.
    """
    expected = known.expected(centric)[known.known]
    fom, model = np.abs(expected), np.angle(f_model[known.known])
    total = float(fom.sum())
    cosine = float((expected * np.exp(-1j * model)).real.sum()) / total if total > 0.0 else 0.0
    chance = float(np.sqrt(0.5 * (fom**2).sum())) / total if total > 0.0 else 1.0
    return {
        "columns": list(known.columns), "scale": known.scale, "reflections": len(fom),
        "fom": float(fom.mean()) if len(fom) else None,
        "cosine": cosine, "by_chance": chance,
    }  # fmt: skip


def origin_shifts(crystal: Crystal) -> Float:
    """Shifts of the origin (T, 3), fractions of the cell, that leave all symmetry as it is; none along polar axes.

    There any would do, as in P 1: one that is nearly right would be taken for the right one by low resolution alone.
    """
    parts = sorted({k / n for n in (2, 3, 4) for k in range(n)})
    every = np.array(list(itertools.product(parts, repeat=3)))
    every = every[np.abs(every @ crystal.primitive_rotations.mean(axis=0).T).max(axis=1) < 1e-6]
    turned = np.einsum("gij,tj->tgi", crystal.primitive_rotations - np.eye(3), every)
    apart = turned[:, :, None] - crystal.centring
    allowed = (np.abs(apart - np.rint(apart)).max(axis=3) < 1e-6).any(axis=2).all(axis=1)
    return np.asarray(every[allowed])


def at_origin_of(
    known: KnownPhases, f_model: Complex, crystal: Crystal, hkl: NDArray[np.integer]
) -> tuple[KnownPhases, tuple[str, ...]]:
    """The phases with their origin where that of the model is.

    Programs that solve structures put the origin at any of those that symmetry allows.

    Parameters
    ----------
    known : KnownPhases
        Of R reflections.
    f_model : (R,) complex128
    crystal : Crystal
    hkl : (R, 3) int

    Returns
    -------
    known : KnownPhases
        The same object where the origin is the same.
    notes : tuple of str

    Raises
    ------
    InputError
        Phases and model have nothing to do with each other wherever the origin is.
    """
    centric = crystal.centric(hkl)
    agreed = known.expected(centric) * np.exp(-1j * np.angle(f_model))
    shifts = origin_shifts(crystal)
    cosines = np.array([float((agreed * np.exp(2j * np.pi * (hkl @ shift))).real.sum()) for shift in shifts])
    best = 0 if cosines[0] > 0.5 * cosines.max() else int(np.argmax(cosines))
    moved = known.moved(hkl @ shifts[best]) if best else known
    found = agreement(moved, f_model, centric)
    names = ",".join(known.columns)
    if found["cosine"] <= _CHANCE * found["by_chance"]:
        raise InputError(
            f"--phases {names}: these phases and those of the model have nothing to do with each other, mean cosine "
            f"{found['cosine']:.2f} of {counted(found['reflections'], 'reflection')}, at any origin that symmetry "
            "allows; they are of the other hand or of another crystal, have other axes, or the model is elsewhere: "
            "bring it to the map of the phases, or leave out --phases"
        )
    where = ", ".join(f"{Fraction(part).limit_denominator(4)}" for part in shifts[best].tolist())
    said = f"phases of {names}: mean cosine {found['cosine']:.2f} of the difference to those of the model at the start"
    return moved, (f"{said}, with their origin moved by {where} of the cell to the model's" if best else said,)
