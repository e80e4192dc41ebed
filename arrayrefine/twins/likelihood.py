"""The likelihood of a twin's amplitudes, each for itself, and the fractions of the domains at which it is greatest."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from arrayrefine.kernels.noncentral import chi_ml
from arrayrefine.reflections import Reflections
from arrayrefine.sigma_a import SigmaA, measurement_variance, single_order
from arrayrefine.twins.twin import Twin

Float: TypeAlias = NDArray[np.float64]

_MOST = 4000
"""Reflections that the fractions are taken from; more would only take more time."""
_LARGEST = 0.9
"""Fraction of all domains together beside the first, at most."""
_TOLERANCE = 1e-8
"""Of -log p per reflection."""


def orders(twin: Twin, components: Float, centric: NDArray[np.bool_], variance: Float | None) -> Float:
    """Half the degrees of freedom (R,) of each sum of intensities, as in `kernels.noncentral`.

    Of domains with fractions α and expected intensities m, of which the variance has shares near α²m, the sum is as
    spread as Σα²m/Σαm of the intensity of a single crystal.

    Parameters
    ----------
    twin : Twin
    components : (K, R) float64
        Amplitudes of the domains.
    centric : (R,) bool
    variance : (R,) float64 or None
        What the model leaves open, εS. None: as long as it is unknown all domains count as equally strong.
    """
    shares = twin.shares
    strength = np.ones_like(components) if variance is None else 2.0 * components**2 + variance
    narrowed = (shares**2 * strength).sum(axis=0) / (shares * strength).sum(axis=0)
    return np.asarray(single_order(centric) / narrowed)


def twin_values(
    reflections: Reflections, twin: Twin, components: Float, sigma_a: SigmaA
) -> tuple[Float, Float]:
    """-log p of the amplitudes of a twin, given the amplitudes (K, R) that the model has for its domains.

    Returns
    -------
    values : (R,) float64
    variance : (R,) float64
        Σ as `SigmaA.sigma_total` gives it for a single crystal.
    """
    return _values(reflections, twin, components, sigma_a.d(reflections.s_squared), *_variances(reflections, sigma_a))


def with_fitted_fractions(reflections: Reflections, twin: Twin, components: Float, sigma_a: SigmaA) -> Twin:
    """The twin with the fractions that make the work set most likely, with D and S as they are."""
    apart = (twin.mates[1:] != twin.mates[0]).any(axis=0)
    rows = np.flatnonzero(reflections.work & apart)
    if not len(rows):
        return twin
    if len(rows) > _MOST:
        rows = rows[np.argsort(reflections.s_squared[rows], kind="stable")]
        rows = rows[np.linspace(0, len(rows) - 1, _MOST).astype(int)]
    chosen = np.zeros(len(reflections), dtype=np.bool_)
    chosen[rows] = True
    some, seen = reflections.select(chosen), twin.select(chosen)
    d, variances = sigma_a.d(some.s_squared), _variances(some, sigma_a)
    parts = components[:, chosen]

    def value(given: Float) -> float:
        tried = seen.with_fractions(np.concatenate([[1.0 - given.sum()], given]))
        return float(_values(some, tried, parts, d, *variances)[0].mean())

    # not a simplex search, which ends early where fractions are 0
    found = minimize(
        value, twin.fractions[1:], method="SLSQP", bounds=[(0.0, _LARGEST)] * len(twin.laws),
        constraints={"type": "ineq", "fun": lambda given: _LARGEST - given.sum()}, options={"ftol": _TOLERANCE},
    )  # fmt: skip
    given = np.clip(found.x, 0.0, _LARGEST)
    given *= min(1.0, _LARGEST / max(float(given.sum()), _LARGEST))
    return twin.with_fractions(np.concatenate([[1.0 - given.sum()], given]))


def _variances(reflections: Reflections, sigma_a: SigmaA) -> tuple[Float, Float]:
    """That of the model, εS, and that of the measurement, (3 - c) σ² (R,)."""
    return sigma_a.model_variance(reflections), measurement_variance(reflections)


def _values(
    reflections: Reflections, twin: Twin, components: Float, d: Float, variance: Float, measurement: Float
) -> tuple[Float, Float]:
    centric = reflections.centric
    order = orders(twin, d * components, centric, variance)
    single = single_order(centric)
    total = variance * single / order + measurement
    return chi_ml(reflections.f_obs, d * twin.amplitude(components), total / single, order)[0], total
