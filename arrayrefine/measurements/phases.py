"""What is known of the phases of reflections beside the model, and how the two go together."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.kernels.phased_likelihood import phase_moments

Float = NDArray[np.float64]
Complex = NDArray[np.complex128]

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
        reflections; their mean figure of merit "fom"; "cosine", the mean cosine of the difference to the phases of the
        model (R,), weighted by it; and "by_chance", what that comes to with phases that have nothing to do with each
        other, one standard deviation. None where there are no phases.
    """
    expected = known.expected(centric)[known.known]
    fom, model = np.abs(expected), np.angle(f_model[known.known])
    total = float(fom.sum())
    some = total > 0.0
    return {
        "reflections": len(fom),
        "fom": float(fom.mean()) if len(fom) else None,
        "cosine": float((expected * np.exp(-1j * model)).real.sum()) / total if some else None,
        "by_chance": spread_of_sum(fom, centric[known.known]) / total if some else None,
    }


def spread_of_sum(weight: Float, centric: NDArray[np.bool_]) -> float:
    """Standard deviation of the sum of cosines of random phases (R,), 0 and π where centric, with weights (R,)."""
    return float(np.sqrt((np.where(centric, 1.0, 0.5) * weight**2).sum()))
