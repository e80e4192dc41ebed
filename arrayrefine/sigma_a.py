"""How far the model can be trusted at each resolution: D and S of the amplitude likelihood (sigma_A).

The measured amplitude scatters about D |F_model| with variance ε k² S + (3 - c) σ², c = 1 acentric, 2 centric, where k²
is how the mean intensity depends on direction: what the model gets wrong is as anisotropic as the crystal's scattering.
On eleven refined crystals with anisotropic data this made -log p of a test reflection 0.038 lower in the mean than with
k = 1 (by 0.005 to 0.125), and 0.003 lower than k of the scale, part of which atoms may have taken over.
D and S/Σ_N, with Σ_N the mean intensity of the shell, are piecewise linear (the latter in its logarithm) in 1/d².
Their level maximises the likelihood of the test set, because the work set has been fitted (Lunin & Skovoroda (1995)
Acta Cryst. A51, 880-887; Pannu & Read (1996) A52, 659-668). Their shape is that of the work set, which is many times
larger: only a gap that is nearly linear in 1/d² is left to the test set, so that few reflections suffice.

On eight refined crystals, with part of the test set for the estimate and the rest to judge it, -log p per reflection
was lower by 0.063, 0.026, 0.023, 0.007 and 0.007 for 20, 50, 100, 200 and 500 reflections (means) than with curves
that rest on the test set alone.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from arrayrefine.errors import InputError
from arrayrefine.kernels.likelihood import deviation, rice_ml, rice_ml_by_variance
from arrayrefine.kernels.noncentral import chi_ml
from arrayrefine.kernels.phased_likelihood import phased_ml
from arrayrefine.measurements.intensity_statistics import OUTLIER, mean_intensity
from arrayrefine.reflections import Reflections
from arrayrefine.sigma_a_curves import (
    D_LIMITS,
    LOG_RATIO_GAP,
    LOG_RATIO_LIMITS,
    interpolation,
    knots_of,
    prior_at,
    widened,
)
from arrayrefine.wording import Caution, are, counted

Float: TypeAlias = NDArray[np.float64]
Bool: TypeAlias = NDArray[np.bool_]

FREE_PER_BIN, WORK_PER_BIN = 50, 100
MOST_WORK = 2000
"""Work reflections that the shape of the curves is taken from; more would only take more time."""
FEWEST_FREE = 10
"""With fewer test reflections than this, two numbers cannot be told from them and the work set decides."""
MOST_IMPROBABLE = 0.05
"""Share of the test reflections that may be taken out of the estimate for being improbable."""
_SEARCHES = 3


@dataclass(frozen=True)
class SigmaA:
    """D and S as functions of resolution.

    Attributes
    ----------
    knots : (K,) float64
        1/d² at which D and S/Σ_N were estimated, Å⁻²; constant beyond the ends.
    d_knots, log_ratio : (K,) float64
        D and ln(S/Σ_N) there.
    shells, log_mean_intensity : (W,) float64
        1/d², Å⁻², and ln Σ_N: mean of F_o²/ε of all reflections.
    count : (K,) int64
        Test reflections nearest to each knot.
    log_likelihood : float
        Of the reflections that were used, at the maximum, priors included.
    notes : tuple of str
        What a reader of the log should know about the estimate.
    shape : (2K,) float64 or None
        D and ln(S/Σ_N) of the work set at the knots.
    b_aniso : (3, 3) float64 or None
        Traceless Cartesian tensor, Å²: intensities, and with them the variance, go with k² = exp(-½ sᵀ B s). None: they
        are the same in all directions.
    """

    knots: Float
    d_knots: Float
    log_ratio: Float
    shells: Float
    log_mean_intensity: Float
    count: NDArray[np.int64]
    log_likelihood: float
    notes: tuple[str, ...] = ()
    shape: Float | None = None
    b_aniso: Float | None = None

    def d(self, s_squared: Float) -> Float:
        """D (R,) at 1/d² (R,), Å⁻²."""
        return np.asarray(np.interp(s_squared, self.knots, self.d_knots))

    def s(self, s_squared: Float) -> Float:
        """S (R,) > 0 at 1/d² (R,), Å⁻², in units of F_o², in a direction in which k is 1."""
        log_mean = np.interp(s_squared, self.shells, self.log_mean_intensity)
        return np.asarray(np.exp(np.interp(s_squared, self.knots, self.log_ratio) + log_mean))

    def unexplained(self, s_squared: Float) -> float:
        """Mean of S/Σ_N over reflections at 1/d² (R,), Å⁻²: the share of the intensity that the model leaves open."""
        return float(np.exp(np.interp(s_squared, self.knots, self.log_ratio)).mean())

    def model_variance(self, reflections: Reflections) -> Float:
        """What the model leaves open (R,), ε k² S."""
        model_variance = reflections.epsilon * self.s(reflections.s_squared)
        if self.b_aniso is not None:
            model_variance *= reflections.crystal.anisotropic_factor(reflections.hkl, self.b_aniso) ** 2
        return model_variance

    def sigma_total(self, reflections: Reflections) -> Float:
        """Variance (R,) of the likelihood, ε k² S + (3 - c) σ²; see `kernels.likelihood.rice_ml`."""
        return self.model_variance(reflections) + measurement_variance(reflections)

    def fom(self, reflections: Reflections, f_model: NDArray[Any], variance_factor: Float | float = 1.0) -> Float:
        """Expected cosine (R,) of the phase error of a scaled model (R,), complex or amplitude.

        The variance is taken `variance_factor` (R,) times as large, as the target does for doubtful measurements.
        """
        x = self.d(reflections.s_squared) * np.abs(f_model)
        return rice_ml(reflections.f_obs, x, variance_factor * self.sigma_total(reflections), reflections.centric)[3]

    def merit(
        self, reflections: Reflections, f_model: NDArray[np.complex128], variance_factor: Float | float = 1.0
    ) -> NDArray[np.complex128]:
        """Expected exp(iφ) (R,) from a scaled model (R,) and from phases that are known beside it."""
        known = reflections.phases
        assert known is not None
        variance = variance_factor * self.sigma_total(reflections)
        expected = self.d(reflections.s_squared) * f_model
        return phased_ml(
            reflections.f_obs, expected, variance, reflections.centric, known.coefficients, known.log_norm
        )[3]

    def describe(self) -> list[dict[str, float | int]]:
        """One JSON-ready record per bin: d (Å), D, S, S/Σ_N and the number of reflections used."""
        rows = zip(self.knots, self.d_knots, self.s(self.knots), np.exp(self.log_ratio), self.count)
        return [
            {
                "d": float(1.0 / np.sqrt(x)),
                "D": float(d),
                "S": float(s),
                "S_over_mean_intensity": float(r),
                "reflections": int(n),
            }
            for x, d, s, r, n in rows
        ]


def estimate_sigma_a(
    reflections: Reflections,
    f_model: NDArray[Any],
    max_bins: int = 30,
    improbable: float = 0.0,
    start: SigmaA | None = None,
    b_aniso: Float | None = None,
    order: Float | None = None,
) -> SigmaA:
    """Estimate D and S by maximum likelihood on the test set, around the shape that they have in the work set.

    Parameters
    ----------
    reflections : Reflections
    f_model : (R,) complex128 or float64
        The scaled model, bulk solvent included (or its amplitudes).
    max_bins : int
        Largest number of resolution bins. Bins are equally wide in 1/d² and joined until each holds
        `WORK_PER_BIN` of the work reflections that are looked at (without those, `FREE_PER_BIN` test reflections).
    improbable : float
        Test reflections to which the estimate gives a smaller chance than this do not take part in the final one: a
        few bad measurements would widen the distribution of all.
    start : SigmaA, optional
        Of nearly the same model and the same reflections: the search begins there.
    b_aniso : (3, 3) float64, optional
        Anisotropy of the data, Å²: amplitudes fall by k = exp(-¼ sᵀ B s), and what the model gets wrong with them.
    order : (R,) float64, optional
        Of a twin, whose amplitudes are those of sums: half the degrees of freedom, see `twins.likelihood.orders`. D and
        S are those of a single domain.

    Raises
    ------
    InputError
        When there are no reflections, or a model that is not finite.
    """
    if len(reflections) == 0:
        raise InputError("sigma_A needs reflections, found none; check the data file and --d-min")
    strength = np.ones(len(reflections))
    if b_aniso is not None:
        strength = reflections.crystal.anisotropic_factor(reflections.hkl, b_aniso)
    f_obs, amplitude = reflections.f_obs / strength, np.abs(f_model).astype(float) / strength
    if not np.isfinite(amplitude).all():
        bad = int((~np.isfinite(amplitude)).sum())
        raise InputError(f"F_model is not finite for {bad} reflections; check xyz, B and occupancies")
    x = reflections.s_squared
    shells, log_mean = mean_intensity(reflections, f_obs, strength**2)
    shell_mean = np.exp(np.interp(x, shells, log_mean))
    sane = f_obs**2 <= OUTLIER * reflections.epsilon * shell_mean
    narrowed = 1.0 if order is None else single_order(reflections.centric) / order
    everything = _Fit(
        f_obs=f_obs,
        amplitude=amplitude,
        intensity=reflections.epsilon * shell_mean * narrowed,
        measurement=measurement_variance(reflections) / strength**2,
        centric=reflections.centric,
        basis=np.zeros((len(x), 0)),
        prior=(np.zeros(0), np.zeros((0, 0))),
        order=order,
    )
    tests, fitted = reflections.free & sane, _sample(reflections.work & sane, x, MOST_WORK)
    if fitted.sum() >= WORK_PER_BIN:
        knots = knots_of(x[fitted], max_bins, WORK_PER_BIN)
        fit = everything.select(fitted).on(interpolation(x[fitted], knots), prior_at(knots))
        near = start.shape if start is not None and np.array_equal(start.knots, knots) else None
        shape = np.concatenate(_maximise(fit, len(knots), near)[:2])
        prior = widened(knots, shape)
    else:
        tests = tests if tests.any() else np.ones(len(x), dtype=np.bool_)
        knots = knots_of(x[tests], max_bins, FREE_PER_BIN)
        prior, shape = prior_at(knots), None
    fit = everything.select(tests).on(interpolation(x[tests], knots), prior)
    d_knots, log_ratio, value = _maximise(fit, len(knots))
    for _ in range(_SEARCHES):
        # What is left out was itself part of the width it was judged by, so there may be more.
        good = ~fit.improbable(np.concatenate([d_knots, log_ratio]), improbable)
        if good.all() or good.sum() < (1.0 - MOST_IMPROBABLE) * tests.sum():
            break
        fit = fit.select(good)
        d_knots, log_ratio, value = _maximise(fit, len(knots), np.concatenate([d_knots, log_ratio]))
    count = np.bincount(np.abs(x[tests, None] - knots).argmin(axis=1), minlength=len(knots))
    return SigmaA(knots, d_knots, log_ratio, shells, log_mean, count, -value, _notes(reflections, sane), shape, b_aniso)


def single_order(centric: Bool) -> Float:
    """Half the degrees of freedom (R,) of the amplitudes of one crystal."""
    return np.where(centric, 0.5, 1.0)


def measurement_variance(reflections: Reflections) -> Float:
    """(3 - c) σ² (R,)."""
    return np.where(reflections.centric, 1.0, 2.0) * reflections.sigma**2


def _sample(chosen: Bool, x: Float, most: int) -> Bool:
    """At most `most` of the chosen reflections (R,), evenly over resolution."""
    rows = np.flatnonzero(chosen)
    if len(rows) <= most:
        return chosen
    rows = rows[np.argsort(x[rows], kind="stable")]
    out = np.zeros(len(chosen), dtype=np.bool_)
    out[rows[np.linspace(0, len(rows) - 1, most).astype(int)]] = True
    return out


def _notes(reflections: Reflections, sane: Bool) -> tuple[str, ...]:
    """What to say about the reflections of the estimate."""
    notes: list[str] = []
    n_free = int(reflections.free.sum())
    rejected = int((~sane & reflections.free).sum())
    if rejected:
        notes.append(
            f"sigma_A: {rejected} of {counted(n_free, 'test reflection')} {are(rejected)} more than {OUTLIER:.0f} "
            f"times stronger than their shell and left out of the estimate"
        )
    used = n_free - rejected
    if used < FEWEST_FREE:
        notes.append(Caution(
            f"sigma_A: {counted(used, 'test reflection')} {are(used)} too few (needs {FEWEST_FREE}), so D and S come "
            f"from the work set, which the model has been fitted to: S was raised by the usual factor, "
            f"{np.exp(LOG_RATIO_GAP[0]):.1f}, but may flatter the model"
        ))
    return tuple(notes)


@dataclass(frozen=True)
class _Fit:
    """Reflections of the estimate; intensity (n,) is ε Σ_N, measurement (n,) is (3 - c) σ², basis (n, K).

    With an order (n,) their distribution is that of a twin, and the intensity as much smaller as their variance is.
    """

    f_obs: Float
    amplitude: Float
    intensity: Float
    measurement: Float
    centric: Bool
    basis: Float
    prior: tuple[Float, Float]
    order: Float | None = None

    def value(self, p: Float) -> float:
        """-log posterior of p = [D, ln ratio] at the knots."""
        n = self.basis.shape[1]
        model_variance = self.intensity * np.exp(self.basis @ p[n:])
        x, total = (self.basis @ p[:n]) * self.amplitude, model_variance + self.measurement
        if self.order is None:
            nll = rice_ml(self.f_obs, x, total, self.centric)[0]
        else:
            nll = chi_ml(self.f_obs, x, total / single_order(self.centric), self.order)[0]
        offset = p - self.prior[0]
        return float(nll.sum() + 0.5 * offset @ self.prior[1] @ offset)

    def _slopes(self, d: Float, log_ratio: Float) -> tuple[Float, Float, Float, Float]:
        """Derivatives (n,) of each reflection's term by D and ln ratio, second derivative by D, and
        variance.
        """
        model_variance = self.intensity * np.exp(log_ratio)
        total = model_variance + self.measurement
        x = d * self.amplitude
        if self.order is None:
            _, by_x, curvature, fom = rice_ml(self.f_obs, x, total, self.centric)
            by_variance = rice_ml_by_variance(self.f_obs, x, total, self.centric, fom)
        else:
            single = single_order(self.centric)
            _, by_x, curvature, by_variance = chi_ml(self.f_obs, x, total / single, self.order)
            by_variance = by_variance / single
        return by_x * self.amplitude, by_variance * model_variance, curvature * self.amplitude**2, total

    def improbable(self, p: Float, below: float) -> Bool:
        """Reflections (n,) to which p gives a chance smaller than `below`."""
        n = self.basis.shape[1]
        total = self.intensity * np.exp(self.basis @ p[n:]) + self.measurement
        return deviation(self.f_obs, (self.basis @ p[:n]) * self.amplitude, total, self.centric)[1] < below

    def on(self, basis: Float, prior: tuple[Float, Float]) -> _Fit:
        """The same reflections with the basis (n, K) of other knots, and their prior."""
        return dataclasses.replace(self, basis=basis, prior=prior)

    def select(self, mask: Bool) -> _Fit:
        """The fit to the reflections where `mask` (n,) is True."""
        names = ("f_obs", "amplitude", "intensity", "measurement", "centric", "basis")
        order = None if self.order is None else self.order[mask]
        return dataclasses.replace(self, order=order, **{name: getattr(self, name)[mask] for name in names})

    def newton(self, p: Float) -> tuple[Float, Float, Float]:
        """Gradient (2K,), Hessian (2K, 2K) and a positive diagonal (2K,) to damp it with."""
        n, basis = self.basis.shape[1], self.basis
        d, log_ratio = basis @ p[:n], basis @ p[n:]
        by_d, by_log, d_d, total = self._slopes(d, log_ratio)
        step = 1e-5
        up = self._slopes(d, log_ratio + step)
        down = self._slopes(d, log_ratio - step)
        d_log = (up[0] - down[0]) / (2.0 * step)
        log_log = (up[1] - down[1]) / (2.0 * step)
        mean, precision = self.prior
        gradient = np.concatenate([basis.T @ by_d, basis.T @ by_log]) + precision @ (p - mean)
        hessian = precision.copy()
        hessian[:n, :n] += basis.T @ (basis * d_d[:, None])
        cross = basis.T @ (basis * d_log[:, None])
        hessian[:n, n:] += cross
        hessian[n:, :n] += cross.T
        hessian[n:, n:] += basis.T @ (basis * log_log[:, None])
        ridge = np.concatenate([basis.T @ (2.0 * self.amplitude**2 / total), basis.sum(axis=0)])
        return gradient, hessian, ridge + np.diag(precision)


def _maximise(fit: _Fit, n: int, start: Float | None = None) -> tuple[Float, Float, float]:
    """D (K,), ln ratio (K,) and -log posterior at the maximum, by damped Newton steps within the limits.

    They begin at `start`, the maximum for nearly the same reflections or model, or else at the mean of the prior.
    """

    def clip(q: Float) -> Float:
        return np.concatenate([np.clip(q[:n], *D_LIMITS), np.clip(q[n:], *LOG_RATIO_LIMITS)])

    p = fit.prior[0] if start is None else clip(start)
    value = fit.value(p)
    damping = 1.0 if start is None else 1e-2
    for _ in range(60):
        gradient, hessian, ridge = fit.newton(p)
        for _ in range(20):
            # The Hessian may be indefinite far from the maximum: a step that does not help is damped further.
            q = clip(p - np.linalg.solve(hessian + damping * np.diag(ridge), gradient))
            new_value = fit.value(q)
            if np.isfinite(new_value) and new_value <= value:
                break
            damping *= 4.0
        else:
            break
        gain, p, value = value - new_value, q, new_value
        damping = max(damping / 10.0, 1e-8)
        if gain < 1e-6 * (1.0 + 1e-3 * abs(value)) and damping < 1e-2:
            break
    return p[:n], p[n:], value
