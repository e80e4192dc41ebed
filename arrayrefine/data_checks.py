"""What the measurements alone say about the crystal: twinning, anisotropy, completeness."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from arrayrefine.intensity_statistics import anisotropy, shells
from arrayrefine.reflections import Reflections
from arrayrefine.twinning import twinning
from arrayrefine.wording import are, counted

Float = NDArray[np.float64]

ANISOTROPIC_ABOVE = 25.0
"""Å²; between the largest and the smallest principal value of the B of the data."""
INCOMPLETE_BELOW = 0.7

_ACENTRIC_LIMIT, _CENTRIC_LIMIT = 40.0, 60.0
"""Intensity over its mean; far beyond what anisotropy and pseudo-translation do to a normal crystal."""
_TOO_MANY = 0.01  # more than this is no outlier but an unusual crystal


def check_data(reflections: Reflections) -> tuple[str, ...]:
    """Say what is unusual about the data, before a model is compared with them.

    Parameters
    ----------
    reflections : Reflections

    Returns
    -------
    tuple of str
        Sentences about twinning, anisotropy and completeness; empty for ordinary data.
    """
    checks = (twinning, _anisotropy, _completeness)
    return tuple(sentence for check in checks for sentence in check(reflections))


def without_outliers(reflections: Reflections, keep: bool = False) -> tuple[Reflections, tuple[str, ...]]:
    """Leave out work reflections that are impossibly strong for their resolution.

    See Read (1999) Acta Cryst. D55, 1759-1764. The mean intensity of a shell is taken from its median, which an outlier
    does not move. A normalised intensity above the limits has a probability below 1e-9; a spot on an ice ring or a
    mis-scaled image has not. Left in, one of them outweighs all others in scale and target. Those of the test set stay,
    as R-free is of all that was set aside; they take no part in sigma_A.

    Parameters
    ----------
    reflections : Reflections
    keep : bool
        Only say which they are.

    Returns
    -------
    reflections : Reflections
        Its `source` names them under "outliers", where there are any.
    notes : tuple of str
    """
    normalised = _normalised(reflections)
    out = normalised > np.where(reflections.centric, _CENTRIC_LIMIT, _ACENTRIC_LIMIT)
    if not out.any() or out.mean() > _TOO_MANY:
        return reflections, ()
    worst = np.flatnonzero(out)[np.argsort(-normalised[out])][:5]
    named = ", ".join(f"{tuple(int(i) for i in reflections.hkl[k])} ({normalised[k]:.0f} x)" for k in worst)
    free, action = int((out & reflections.free).sum()), "kept" if keep else "left out"
    n = int(out.sum())
    note = f"{counted(n, 'reflection')} {are(n)} impossibly strong beside the mean of the shell and {action}: {named}"
    if free and not keep:
        note += f"; the {free} of the test set stay in R-free, but have no part in sigma_A"
    listed = [
        {"hkl": reflections.hkl[k].tolist(), "over_mean": float(normalised[k]), "free": bool(reflections.free[k])}
        for k in worst
    ]
    record = {"work": int(out.sum()) - free, "free": free, "action": action, "worst": listed}
    reflections = dataclasses.replace(reflections, source={**reflections.source, "outliers": record})
    return reflections if keep else reflections.select(~(out & reflections.work)), (note,)


def _normalised(reflections: Reflections) -> Float:
    """F²/(ε ⟨F²/ε⟩) (R,), the mean from the median of the shell: ln 2 of it for acentric, 0.455 for centric."""
    intensity = reflections.f_obs**2 / reflections.epsilon
    scaled = intensity / np.where(reflections.centric, 0.455, np.log(2.0))
    mean = np.empty(len(reflections))
    for shell in shells(reflections):
        mean[shell] = np.median(scaled[shell])
    return np.asarray(intensity / np.where(mean > 0, mean, np.inf))


def _anisotropy(reflections: Reflections) -> list[str]:
    principal = np.linalg.eigvalsh(anisotropy(reflections))
    spread = float(principal[-1] - principal[0])
    if spread < ANISOTROPIC_ABOVE:
        return []
    ratio = float(np.exp(0.5 * spread / reflections.d_min**2))
    return [
        f"the data are strongly anisotropic: their B is {', '.join(f'{b:+.0f}' for b in principal)} Å² about its mean "
        f"in the three principal directions, so that mean intensities at {reflections.d_min:.2f} Å differ by a factor "
        f"of {ratio:.0f}; they reach this resolution in some directions only"
    ]


def _completeness(reflections: Reflections) -> list[str]:
    possible = len(reflections.possible)
    share = len(reflections) / max(possible, 1)
    if share >= INCOMPLETE_BELOW:
        return []
    return [
        f"only {100 * share:.0f} % of the reflections from {reflections.d_max:.1f} to {reflections.d_min:.2f} Å are "
        "there: maps will show artefacts"
    ]
