"""X-ray targets: -log p of the measured amplitudes given the model, and its gradient by the atoms."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.kernels import likelihood
from arrayrefine.kernels.phased_likelihood import phased_ml
from arrayrefine.reflections import Reflections
from arrayrefine.structure_factors import StructureFactors

Float = NDArray[np.float64]
Complex = NDArray[np.complex128]

_SAME = 1e-9
"""Å, Å²; atoms that differ by less are the same: children that ride are put back by arithmetic."""
_SHELLS = 60
"""Resolution shells of the curvature sums."""
_LARGEST_CHANGE = np.array([0.5, 20.0])
"""Of the logarithm of the scale and of B, Å²: limits; a tenth of what is expected, as if of a Gaussian."""
_SOFTEST = 1e-9
"""Curvature, as a share of the largest, below which it is rounding."""
_SAME_SCALE = 1e-3
"""Share of that change that ends the search."""


@dataclass(frozen=True)
class XrayTarget:
    """-Σ log p(F_obs | F_model) over the work set, F_model = factor · (F_calc + solvent).

    Scale, solvent and σ_A are numbers here: they are refitted between steps, never inside one.

    Attributes
    ----------
    reflections : Reflections
    structure_factors : StructureFactors
        Of exactly these reflections.
    factor : (R,) float64
        k_iso · k_aniso.
    solvent : (R,) complex128
        k_mask · F_mask.
    d, variance : (R,) float64
        σ_A parameters: ⟨F⟩ = D F_model, Σ = ε k² S + (3 − c) σ² (see `SigmaA.sigma_total`); for the likelihood "ml".
        D need not be that of σ_A itself, and may exceed 1: see `at_own_scale`.
    kind : "ml" or "gaussian"
    timer : dict
        Seconds are added under "likelihood".
    known : (Atoms, (R,) complex128), optional
        Atoms for which F_calc is known, as a rule those that scale and σ_A were fitted to: every step starts there.
    left_out : (R,) bool, optional
        Outliers of the work set that shall not enter.
    """

    reflections: Reflections
    structure_factors: StructureFactors
    factor: Float
    solvent: Complex
    d: Float
    variance: Float
    kind: Literal["ml", "gaussian"] = "ml"
    timer: dict[str, float] = field(default_factory=dict)
    known: tuple[Atoms, Complex] | None = None
    left_out: NDArray[np.bool_] | None = None
    _start: list[tuple[float, Gradient, NDArray[np.bool_]]] = field(
        default_factory=list, init=False, compare=False, repr=False
    )

    @cached_property
    def work(self) -> NDArray[np.bool_]:
        """True for the reflections that enter (R,)."""
        work = self.reflections.work
        return work if self.left_out is None else work & ~self.left_out

    def at_own_scale(self, f_calc: Complex) -> XrayTarget:
        """The same with the scale and overall B of ⟨F⟩ at which these F_calc (R,) make it least: D exp(a − b s²/4).

        The scale of the model makes Σ |F_o − F| least, D is that of the test set and Σ fixed. Where the target would
        have another scale, every step begins by moving all B, the next scale takes that back, and cycles go on gaining
        what is not there. Both are held near the scale of the model, and where the data do not tell them they stay.
        """
        if self.kind != "ml":
            return self
        data, work = self.reflections, self.work
        amplitude = (self.factor * self.d * np.abs(f_calc + self.solvent))[work]
        by_b, precision = -0.25 * data.s_squared[work], (0.1 / _LARGEST_CHANGE) ** 2
        by_amplitude = self._by_amplitude(f_calc, work)

        def terms(p: Float) -> tuple[float, Float, Float]:
            x = amplitude * np.exp(p[0] + p[1] * by_b)
            value, slope, curvature = by_amplitude(x)
            by_log, prior = slope * x, precision * p
            second = curvature * x * x + by_log
            across = float((second * by_b).sum())
            gradient = np.array([by_log.sum(), (by_log * by_b).sum()]) + prior
            matrix = np.array([[second.sum(), across], [across, (second * by_b * by_b).sum()]])
            return float(value.sum() + 0.5 * p @ prior), gradient, matrix + np.diag(precision)

        p = _least(terms, np.zeros(2), _LARGEST_CHANGE)
        return replace(self, d=self.d * np.exp(p[0] - 0.25 * p[1] * data.s_squared))

    def _by_amplitude(self, f_calc: Complex, rows: NDArray[np.bool_]) -> Callable[[Float], tuple[Float, Float, Float]]:
        """The likelihood of some reflections, with its derivatives, as a function of |⟨F⟩|; phases stay the model's."""
        data = self.reflections
        f_obs, variance, centric = data.f_obs[rows], self.variance[rows], data.centric[rows]
        if data.phases is None:
            return lambda x: likelihood.rice_ml(f_obs, x, variance, centric)[:3]
        known = data.phases.select(rows)
        unit = np.exp(1j * np.angle(f_calc + self.solvent)[rows])

        def phased(x: Float) -> tuple[Float, Float, Float]:
            value, by_sum, curvature, _ = phased_ml(
                f_obs, x * unit, variance, centric, known.coefficients, known.log_norm
            )
            return value, (by_sum * unit.conj()).real, curvature

        return phased

    def apart(self) -> XrayTarget:
        """The same, for one process of a team alone."""
        return replace(self, structure_factors=self.structure_factors.apart())

    def knows(self, atoms: Atoms) -> bool:
        """Whether these atoms are the known ones, to rounding."""
        if self.known is None or len(atoms) != len(self.known[0]):
            return False
        values = ("xyz", "b_iso", "occupancy", "u_aniso")
        pairs = ((getattr(atoms, name), getattr(self.known[0], name)) for name in values)
        return all(a is b or float(np.abs(a - b).max(initial=0.0)) <= _SAME for a, b in pairs)

    def f_calc(self, atoms: Atoms) -> Complex:
        """F_calc (R,), computed only where it is not known."""
        return self.known[1] if self.known is not None and self.knows(atoms) else self.structure_factors(atoms)

    def _by_sum(self, f_calc: Complex) -> tuple[Float, Complex, Float]:
        """-log p (R,), its derivative by F_calc + solvent (see `by_structure_factor`), and its second derivative along
        that sum."""
        total, data = f_calc + self.solvent, self.reflections
        if self.kind == "ml" and data.phases is not None:
            chain = self.factor * self.d
            value, by_sum, curvature, _ = phased_ml(
                data.f_obs, chain * total, self.variance, data.centric, data.phases.coefficients, data.phases.log_norm
            )
            return value, chain * by_sum, curvature * chain**2
        amplitude = np.abs(total)
        unit = total / np.where(amplitude > 0, amplitude, 1.0)
        if self.kind == "gaussian":
            value, slope, curvature = likelihood.gaussian(data.f_obs, self.factor * amplitude, data.sigma)
            chain = self.factor
        else:
            chain = self.factor * self.d
            value, slope, curvature, _ = likelihood.rice_ml(
                data.f_obs, chain * amplitude, self.variance, data.centric
            )
        return value, slope * chain * unit, curvature * chain**2

    def values(self, f_calc: Complex) -> Float:
        """-log p of every reflection (R,), test set included."""
        return self._by_sum(f_calc)[0]

    def __call__(self, atoms: Atoms) -> tuple[float, Gradient]:
        """Value and gradient; only work reflections enter."""
        if not self.knows(atoms):
            return self._evaluate(self.structure_factors(atoms), atoms)
        shaped = np.asarray(atoms.u_aniso.any(axis=1))  # the others have no derivative by u_aniso
        if not self._start or not np.array_equal(shaped, self._start[0][2]):
            self._start[:] = [(*self._evaluate(self.f_calc(atoms), atoms), shaped)]
        return self._start[0][:2]

    def by_structure_factor(self, f_calc: Complex) -> tuple[float, Complex]:
        """Value, and its derivative by F_calc (R,): ∂T/∂Re F + i ∂T/∂Im F, 0 for the test set."""
        start = time.perf_counter()
        value, by_sum, _ = self._by_sum(f_calc)
        work = self.work
        total = float(value[work].sum())
        d_f = np.where(work, by_sum, 0.0)
        self.timer["likelihood"] = self.timer.get("likelihood", 0.0) + time.perf_counter() - start
        return total, d_f

    def _evaluate(self, f_calc: Complex, atoms: Atoms) -> tuple[float, Gradient]:
        total, d_f = self.by_structure_factor(f_calc)
        return total, self.structure_factors.pullback(d_f, atoms)

    def expected_curvature(self, f_calc: Complex) -> tuple[Float, Float]:
        """1/d² of resolution shells (S,), and second derivative of the target by a change of all F_calc in each (S,).

        The expectation where phases are random, for a change like that by one atom of unit form factor without
        displacement.
        """
        sf, data = self.structure_factors, self.reflections
        _, _, curvature = self._by_sum(f_calc)
        seen = np.where(self.work, np.where(data.centric, 1.0, 0.5), 0.0)
        edges = np.linspace(0.0, data.s_squared.max() * (1.0 + 1e-9), _SHELLS + 1)
        shell = np.clip(np.searchsorted(edges, data.s_squared, side="right") - 1, 0, _SHELLS - 1)
        weight = np.bincount(shell, seen * curvature, _SHELLS)
        size = np.bincount(shell, seen * np.abs(curvature), _SHELLS)
        weight = np.maximum(weight, 0.2 * size)
        weight *= len(sf.crystal.primitive_rotations) * len(sf.crystal.centring) ** 2
        return 0.5 * (edges[1:] + edges[:-1]), weight

    def curvature(self, atoms: Atoms) -> Gradient:
        """Expected diagonal of the Hessian (h of one coordinate repeated three times, h of B, h of occupancy).

        With random phases |∂F/∂x|² sums over the G operators to G (2π)² (s²/3) q² f² e^{-B s²/2}, of which a centric
        reflection sees all along its phase and an acentric one half (Agarwal (1978) Acta Cryst. A34, 791-809;
        Steiner, Lebedev & Murshudov (2003) Acta Cryst. D59, 2114-2124).
        """
        sf = self.structure_factors
        s_squared, weight = self.expected_curvature(self.f_calc(atoms))
        form_factor, element = sf.form_factors(s_squared)
        decay = np.exp(-0.5 * atoms.b_iso[:, None] * s_squared)
        scatter = decay * (form_factor**2)[element] * weight * atoms.multiplicity[:, None]
        by_q = scatter.sum(axis=1)
        q_squared = atoms.occupancy**2
        h_xyz = (4.0 * np.pi**2 / 3.0) * q_squared * (scatter @ s_squared)
        h_b = q_squared * (scatter @ s_squared**2) / 16.0
        return Gradient(np.repeat(h_xyz[:, None], 3, axis=1), h_b, by_q)


def _least(terms: Callable[[Float], tuple[float, Float, Float]], p: Float, largest: Float) -> Float:
    """Where a function is least, by Newton steps from p (n,) within `largest` (n,) of 0, each halved until it helps.

    `terms` gives value, gradient (n,) and second derivative (n, n). What is at a bound, and would go further, stays.
    """
    value, gradient, matrix = terms(p)
    for _ in range(20):
        free = ~((np.abs(p) >= largest) & (p * gradient < 0.0))
        unit = largest[free]
        eigenvalues, axes = np.linalg.eigh(matrix[np.ix_(free, free)] * np.outer(unit, unit))
        stiffness = np.abs(eigenvalues)
        step = np.zeros_like(p)
        along = axes.T @ (gradient[free] * unit)
        step[free] = -unit * (axes @ (along / np.maximum(stiffness, _SOFTEST * stiffness.max(initial=1.0))))
        whole = np.clip(p + step, -largest, largest) - p
        for _ in range(12):
            trial = np.clip(p + step, -largest, largest)
            found = terms(trial)
            if found[0] <= value:
                break
            step = 0.5 * step
        else:
            return p
        p, (value, gradient, matrix) = trial, found
        if float(np.abs(whole / largest).max()) < _SAME_SCALE:
            break
    return p
