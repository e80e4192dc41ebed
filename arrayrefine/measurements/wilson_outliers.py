"""Reflections that are far too strong for their resolution and that the model does not explain.

Wilson's distribution alone cannot tell a bad measurement from a strong one that is real: a coiled coil has its rise per
residue in one reflection, and pseudo-translations and stacked bases make others that strong. A model has them too.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.measurements.intensity_statistics import OUTLIER, normalised_intensities
from arrayrefine.problem import Problem
from arrayrefine.reflections import Reflections
from arrayrefine.scaling import fit_scale
from arrayrefine.wording import are, counted, of_test_set

Float = NDArray[np.float64]

_ACENTRIC_LIMIT, _CENTRIC_LIMIT = OUTLIER, 50.0
"""Intensity over its mean; a chance below 1e-11 in both cases."""
_EXPLAINED = 0.25
"""Share of a measured amplitude that a model has at least, where it explains it. One that knows nothing of an amplitude
at the limit has as much by chance in 15 cases of 100; `outliers` judges those that stay, with a model that fits."""
_TOO_MANY = 0.01  # more than this is no outlier but an unusual crystal, or a model that is not in its place
_NAMED = 5


def without_outliers(problem: Problem, atoms: Atoms) -> tuple[Problem, tuple[str, ...]]:
    """Set work reflections aside that are far too strong for Wilson's distribution and for the model as it came.

    See Read (1999) Acta Cryst. D55, 1759-1764. A spot on an ice ring or a mis-scaled image outweighs all others in R
    factors. Those of the test set stay, as R-free is of all that was set aside for it; they take no part in sigma_A.

    Parameters
    ----------
    problem : Problem
        Where its options say "keep", they are only named.
    atoms : Atoms
        The model as it came.

    Returns
    -------
    problem : Problem
        Its reflections name them in `source` under "outliers", and hold those that were left out in `set_aside`.
    notes : tuple of str
    """
    data = problem.reflections
    ratio = normalised_intensities(data)
    strong = ratio > np.where(data.centric, _CENTRIC_LIMIT, _ACENTRIC_LIMIT)
    if not strong.any() or not (data.work & ~strong).any():
        return problem, ()
    f_model = _amplitudes(problem, atoms, strong)
    out = strong & (f_model < _EXPLAINED * data.f_obs)
    if not out.any() or out.mean() > _TOO_MANY:
        return problem, ()
    keep = problem.options.xray.outliers == "keep"
    rows = np.flatnonzero(out)[np.argsort(-ratio[out], kind="stable")][:_NAMED]
    worst = [_row(data, k, float(ratio[k]), float(f_model[k])) for k in rows.tolist()]
    free, n = int((out & data.free).sum()), int(out.sum())
    action = "kept" if keep else "left out"
    named = ", ".join(
        f"{tuple(r['hkl'])} at {r['d']:.2f} Å ({r['over_mean']:.0f} x the mean intensity, F_obs {r['f_obs']:.4g}, "
        f"F_model {r['f_model']:.4g})"
        for r in worst
    )
    note = f"{counted(n, 'reflection')} {are(n)} far too strong for Wilson statistics and for the model, and {action}: "
    note += named
    if free and not keep:
        note += f"; {of_test_set(free)} in R-free, but {'has' if free == 1 else 'have'} no part in sigma_A"
    record = {"work": n - free, "free": free, "action": action, "worst": worst}
    data = dataclasses.replace(data, source={**data.source, "outliers": record})
    gone = out & data.work
    if not keep and gone.any():
        data = dataclasses.replace(data.select(~gone), set_aside=data.select(gone).measured)
    return dataclasses.replace(problem, reflections=data, _plans={}), (note,)


def _amplitudes(problem: Problem, atoms: Atoms, strong: NDArray[np.bool_]) -> Float:
    """|F_model| (R,) of the model as it came, on a scale that does not see the strong ones."""
    data = problem.reflections
    problem = dataclasses.replace(problem, timer={}, _plans={})
    atoms = problem.hydrogens.place(atoms)
    f_calc, f_mask = problem.structure_factors(atoms)(atoms), problem.solvent(atoms, data.hkl)
    scale = fit_scale(data.select(~strong), f_calc[~strong], f_mask[~strong])
    return np.abs(scale.apply(f_calc, f_mask, data.hkl))


def _row(data: Reflections, k: int, ratio: float, f_model: float) -> dict[str, Any]:
    return {
        "hkl": data.hkl[k].tolist(),
        "d": float(data.s_squared[k] ** -0.5),
        "over_mean": ratio,
        "f_obs": float(data.f_obs[k]),
        "f_model": f_model,
        "free": bool(data.free[k]),
    }
