"""Reflections that differ from the model more than chance allows, and what is done about them.

A measured amplitude is held against its distribution given the model, with the D and S of the moment (Read (1999) Acta
Cryst. D55, 1759-1764). R factors have no part in it, and reflections of the test set are listed but never touched.
Reflections far too strong for their resolution are found before, see `wilson_outliers.without_outliers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from arrayrefine.kernels.likelihood import deviation
from arrayrefine.options import Xray
from arrayrefine.reflections import Reflections
from arrayrefine.sigma_a import SigmaA
from arrayrefine.wording import counted, of_test_set

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

TOO_MANY = 0.01
"""A larger share of outliers is a poor model or a twin, not a few bad measurements: all are kept."""
LISTED = 20
"""Number of outliers that the report lists."""
_ALIKE = 0.15
"""An amplitude this close to the model's, as a share of the larger one, is explained however narrow the distribution:
the scale may be as far off, and for the strongest reflections that is many of its standard deviations."""
_NAMED = 3


@dataclass(frozen=True)
class Outliers:
    """Outliers among R reflections.

    Attributes
    ----------
    rows : (N,) int64
        Which reflections they are, the least probable first, those of the test set too.
    z : (N,) float64
        Their deviation in standard deviations, positive where F_obs is too large.
    probability : (N,) float64
        Chance of a deviation at least as large.
    left_out : (R,) bool
        Work reflections that the target shall not see.
    variance_factor : (R,) float64
        Factor >= 1 on the variance Σ of the likelihood: a reflection with the deviation z beyond the limit z₀ gets
        (z/z₀)², so that it pulls no harder than one at the limit.
    action : str
        What was done with those of the work set.
    """

    rows: NDArray[np.int64]
    z: Float
    probability: Float
    left_out: Bool
    variance_factor: Float
    action: str

    def sentence(self, reflections: Reflections) -> tuple[str, ...]:
        """One sentence for the log; none without outliers."""
        if not len(self.rows):
            return ()
        free = int(reflections.free[self.rows].sum())
        named = ", ".join(
            f"{tuple(int(i) for i in reflections.hkl[k])} ({z:+.1f} sigma)"
            for k, z in zip(self.rows[:_NAMED], self.z[:_NAMED])
        )
        test = f"; {of_test_set(free)} in R-free" if free else ""
        return (
            f"{counted(len(self.rows), 'reflection')} too far from the model for chance, the worst {named}: "
            f"{self.action}{test}",
        )

    def describe(self, reflections: Reflections, f_model: NDArray[Any]) -> dict[str, Any]:
        """Count and the worst of them, JSON-ready."""
        worst = [
            {
                "hkl": reflections.hkl[k].tolist(),
                "d": float(reflections.s_squared[k] ** -0.5),
                "f_obs": float(reflections.f_obs[k]),
                "sigma": float(reflections.sigma[k]),
                "f_model": float(np.abs(f_model[k])),
                "z": float(z),
                "probability": float(p),
                "free": bool(reflections.free[k]),
            }
            for k, z, p in zip(self.rows[:LISTED], self.z, self.probability)
        ]
        free = int(reflections.free[self.rows].sum())
        return {"work": len(self.rows) - free, "free": free, "action": self.action, "worst": worst}


def find_outliers(
    reflections: Reflections, f_model: NDArray[Any], sigma_a: SigmaA, options: Xray, variance: Float | None = None
) -> Outliers:
    """Find outliers by the model, and say what is done with them.

    Parameters
    ----------
    reflections : Reflections
    f_model : (R,) complex128 or float64
        The scaled model, bulk solvent included (or its amplitudes).
    sigma_a : SigmaA
    options : Xray
        `outliers` and `outlier_probability`. Least squares knows no model variance: there `downweight` leaves out.
    variance : (R,) float64, optional
        Σ of the likelihood, where it is not that of a single crystal.
    """
    x = sigma_a.d(reflections.s_squared) * np.abs(f_model)
    total = sigma_a.sigma_total(reflections) if variance is None else variance
    z, probability = deviation(reflections.f_obs, x, total, reflections.centric)
    size = np.abs(f_model)
    alike = np.abs(reflections.f_obs - size) <= _ALIKE * np.maximum(reflections.f_obs, size)
    found = (probability < options.outlier_probability) & ~alike
    rows = np.flatnonzero(found)
    rows = rows[np.argsort(-np.abs(z[rows]), kind="stable")]
    left_out, factor = np.zeros(len(z), dtype=np.bool_), np.ones(len(z))
    touched = found & reflections.work
    if options.outliers == "keep":
        action = "kept"
    elif found.mean() > TOO_MANY:
        action = f"kept, as more than {100 * TOO_MANY:.0f} % speak against the model rather than the measurement"
    elif options.outliers == "downweight" and options.target == "ml":
        action = "down-weighted"
        limit = float(ndtri(1.0 - 0.5 * options.outlier_probability))
        factor[touched] = np.maximum(1.0, (z[touched] / limit) ** 2)
    else:
        action = "left out of the target"
        left_out = touched
    return Outliers(rows, z[rows], probability[rows], left_out, factor, action)
