"""What is fitted to the data of a twin with a model: scale, fractions, sigma_A, and one domain's share of the data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.problem import Problem
from arrayrefine.reflections import Reflections
from arrayrefine.scaling import Scale, fit_scale
from arrayrefine.sigma_a import SigmaA, estimate_sigma_a
from arrayrefine.twins.detwinning import Detwinned, detwinned
from arrayrefine.twins.likelihood import orders, twin_values, with_fitted_fractions
from arrayrefine.twins.twin import Twin

Float: TypeAlias = NDArray[np.float64]
Complex: TypeAlias = NDArray[np.complex128]
Parts: TypeAlias = tuple[Complex, Complex]

_ROUNDS = 3
"""Of fits without an earlier one to begin with."""


@dataclass(frozen=True)
class TwinFit:
    """A twin with a model.

    Attributes
    ----------
    twin : Twin
        With the fractions found.
    amplitude : (R,) float64
        Of the model, as it is measured: √(Σ_k α_k |F_model,k|²).
    detwinned : Detwinned
        What the data say of the first domain.
    values : (R,) float64
        -log p of the measured amplitudes, each for itself.
    variance : (R,) float64
        Their variance about the model, as `SigmaA.sigma_total` is that of a single crystal's.
    """

    twin: Twin
    amplitude: Float
    detwinned: Detwinned
    values: Float
    variance: Float


def unmeasured(problem: Problem, twin: Twin, atoms: Atoms) -> Parts:
    """F_calc and F_mask (E,) of mates that were not measured."""
    hkl = twin.unmeasured.hkl
    if not len(hkl):
        return np.zeros(0, dtype=complex), np.zeros(0, dtype=complex)
    return problem.structure_factors_of(atoms, hkl), problem.solvent(atoms, hkl)


def scale_of(
    reflections: Reflections, twin: Twin | None, f_calc: Complex, f_mask: Complex, start: Scale | None,
    beyond: Parts | None = None,
) -> Scale:  # fmt: skip
    """Scale and solvent of a model, see `fit_scale`.

    For a twin amplitudes are multiplied by the model's |F|/√(Σ_k α_k|F_k|²), which hardly depends on the scale: the
    residual of the product is that of the twin's amplitude times as much. Without `beyond`, F_calc and F_mask of mates
    that were not measured, reflections with such mates do not take part.
    """
    if twin is None:
        return fit_scale(reflections, f_calc, f_mask, start=start)
    some = twin.complete if beyond is None else np.ones(len(reflections), dtype=np.bool_)
    chosen, seen = reflections.select(some), twin.select(some)
    hkl, every = reflections.hkl, (f_calc, f_mask)
    if beyond is not None:
        hkl = np.concatenate([hkl, twin.unmeasured.hkl])
        every = np.concatenate([f_calc, beyond[0]]), np.concatenate([f_mask, beyond[1]])
    scale = start
    for _ in range(_ROUNDS if start is None else 1):
        model = every[0] if scale is None else scale.apply(*every, hkl)
        components = seen.components(np.abs(model))
        share = components[0] / np.maximum(seen.amplitude(components), np.finfo(float).tiny)
        one = dataclasses.replace(chosen, f_obs=chosen.f_obs * share)
        scale = fit_scale(one, f_calc[some], f_mask[some], start=scale)
    assert scale is not None
    return scale


def fit_twin(
    problem: Problem, twin: Twin, every: Complex, start: SigmaA | None, improbable: float
) -> tuple[SigmaA, TwinFit]:
    """Fractions, sigma_A and one domain's share of the data.

    Parameters
    ----------
    problem : Problem
    twin : Twin
        Of its reflections, with fractions to begin with.
    every : (R + E,) complex128
        Scaled model of the reflections and of the mates that were not measured.
    start : SigmaA or None
        Of nearly the same model.
    improbable : float
        As for `estimate_sigma_a`.
    """
    data = problem.reflections
    components = twin.components(np.abs(every))
    sigma_a = start
    for _ in range(_ROUNDS if start is None else 1):
        variance = None
        if sigma_a is not None:
            twin = with_fitted_fractions(data, twin, components, sigma_a)
            variance = sigma_a.model_variance(data)
        sigma_a = estimate_sigma_a(
            data, twin.amplitude(components), problem.options.xray.sigma_a_bins, improbable, sigma_a,
            problem.data_anisotropy, orders(twin, components, data.centric, variance),
        )  # fmt: skip
    assert sigma_a is not None
    return sigma_a, TwinFit(
        twin, twin.amplitude(components), detwinned(data, twin, every, sigma_a),
        *twin_values(data, twin, components, sigma_a),
    )  # fmt: skip


def same_twin(problem: Problem, fit: TwinFit, every: Complex, sigma_a: SigmaA) -> TwinFit:
    """The fit of an earlier state with other atoms, so little different that nothing of it can notice."""
    components = fit.twin.components(np.abs(every))
    values, variance = twin_values(problem.reflections, fit.twin, components, sigma_a)
    return dataclasses.replace(fit, amplitude=fit.twin.amplitude(components), values=values, variance=variance)
