"""What the measurements alone say about the crystal: twinning, anisotropy, completeness, odd sigmas and fall-off."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.measurements.column_kind import wrong_kind
from arrayrefine.measurements.intensity_statistics import anisotropy, intensities, mean_intensity
from arrayrefine.reflections import Reflections
from arrayrefine.selection import select
from arrayrefine.twins.signs import twinning
from arrayrefine.wording import Caution, are, counted

ANISOTROPIC_ABOVE = 25.0
"""Å²; between the largest and the smallest principal value of the B of the data."""
_OUTER, _QUARTER, _REACHED = 0.1, 0.75, 3.0
"""Mean I/sigma of the outer tenth of the data, in the quarter of directions with the largest B, from which these reach
the limit as well: nine anisotropic crystals have 1.0 to 2.8 there, and 5 or more where data end at a lower resolution
than they were measured to."""
INCOMPLETE_BELOW = 0.7
_LOW = 8.0
"""Å; reflections of lower resolution tell the solvent and the scale."""
_FEWEST_LOW, _SHARE_LOW = 20, 0.5
"""Fewer of them are not worth a word; nor is a smaller share that is missing. In all but three of some hundred
crystals 0.6 or more are there."""
_USUAL = (2.0, 1500.0)
"""Median of value over sigma in the lower half of the resolution; it was 7 to 150 in some hundred crystals."""
_STRONG = 5.0
"""Median of value over sigma of the tenth at low resolution from which sigmas are right, and what follows is noise."""
_RISES_BELOW, _RISE, _FEWEST_RISING = 2.3, 1.2, 500
"""Where d_min, Å, is below the first, 1/d² beyond its half is past the peaks that folds and bases give. The mean
intensity fell by a fifth and more there in some two hundred crystals; normalised ones rose by 1.6 and 2.7."""


def check_data(reflections: Reflections, twin_laws: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Say what is unusual about the data, before a model is compared with them.

    Parameters
    ----------
    reflections : Reflections
    twin_laws : tuple of str
        Those that the refinement takes into account.

    Returns
    -------
    tuple of str
        Sentences about columns of the wrong kind, odd sigmas, twinning, anisotropy, completeness and a mean that rises;
        empty for ordinary data.
    """
    twins = partial(twinning, modelled=twin_laws)
    checks = (wrong_kind, _sigmas, twins, _anisotropy, _completeness, _low_resolution, _rise)
    return tuple(Caution(sentence) for check in checks for sentence in check(reflections))


def few_for_model(reflections: Reflections, atoms: Atoms) -> tuple[str, ...]:
    """A warning where there is not even one work reflection for each residue, waters aside."""
    work, residues = int(reflections.work.sum()), len(np.unique(atoms.identity.residue[~select(atoms, "water")]))
    if work >= residues:
        return ()
    return (Caution(
        f"there {are(work)} {counted(work, 'work reflection')} for {counted(residues, 'residue')}, not one for each: "
        "these cannot tell where the model is, and R factors and the refined model mean nothing. Expected thousands: "
        "check that the data are complete (--columns, --d-min)"
    ),)


def _anisotropy(reflections: Reflections) -> list[str]:
    s = reflections.hkl @ reflections.crystal.frac
    # only where there are data: in a wedge of them the tensor is not known across it
    b = np.einsum("ri,ij,rj->r", s, anisotropy(reflections), s) / (s**2).sum(axis=1)
    spread = float(np.ptp(b))
    if spread < ANISOTROPIC_ABOVE:
        return []
    ratio = float(np.exp(0.5 * spread / reflections.d_min**2))
    outer = reflections.by_resolution[-max(int(_OUTER * len(reflections)), 1) :]
    weak = outer[b[outer] >= np.quantile(b[outer], _QUARTER)]
    over_sigma = float(intensities(reflections)[1][weak].mean())
    reach = (
        f"they reach it in all directions (mean I/sigma {over_sigma:.1f} in the weakest), and the scale allows for it"
        if over_sigma > _REACHED else "they reach this resolution in some directions only"
    )  # fmt: skip
    return [
        f"the data are strongly anisotropic: their B is {b.min():+.0f} to {b.max():+.0f} Å² about its mean, by "
        f"direction, so that mean intensities at {reflections.d_min:.2f} Å differ by a factor of {ratio:.0f}; {reach}"
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


def _low_resolution(reflections: Reflections) -> list[str]:
    crystal = reflections.crystal
    possible = len(crystal.unique_reflections(_LOW, sum(crystal.cell[:3])))  # none has a larger d
    there = int((reflections.s_squared < _LOW**-2).sum())
    if possible < _FEWEST_LOW or there >= _SHARE_LOW * possible:
        return []
    return [
        f"of the {possible} reflections beyond {_LOW:g} Å at low resolution {there} {are(there)} there: they tell the "
        "bulk solvent and the scale, and maps lack what is large and smooth"
    ]


def _rise(reflections: Reflections) -> list[str]:
    """A mean intensity that rises with resolution, as that of atoms cannot, the less the larger their B."""
    outer = reflections.select(reflections.s_squared > 0.5 * reflections.s_squared.max(initial=0.0))
    if reflections.d_min > _RISES_BELOW or len(outer) < _FEWEST_RISING:
        return []
    x, log_mean = mean_intensity(outer, outer.f_obs, np.ones(len(outer)))
    rise = float(np.exp(np.polyfit(x, log_mean, 1)[0] * (x[-1] - x[0])))
    if rise < _RISE:
        return []
    return [
        f"the mean intensity rises by a factor of {rise:.1f} from {x[0] ** -0.5:.2f} to {x[-1] ** -0.5:.2f} Å, where "
        "that of a crystal falls: the data were normalised, or weak ones are noise. B factors are then on no absolute "
        "scale, and programs that scale by one B find higher R factors. Take data that were not normalised, or leave "
        "out shells of noise (--d-min)"
    ]


def _sigmas(reflections: Reflections) -> list[str]:
    """Sigmas on another scale than the values: all is noise to the likelihood then, or nothing is."""
    value, sigma, what = reflections.f_obs, reflections.sigma, "F/sigma"
    if reflections.i_obs is not None and reflections.sigma_i is not None:
        value, sigma, what = reflections.i_obs, reflections.sigma_i, "I/sigma"
    tenth, ratio = (
        float(np.median((value / sigma)[reflections.s_squared <= np.quantile(reflections.s_squared, share)]))
        for share in (0.1, 0.5)
    )
    if _USUAL[0] <= ratio <= _USUAL[1]:
        return _equal(sigma)
    if ratio < _USUAL[0] and tenth >= _STRONG:
        return [
            f"the median {what} is {tenth:.2g} of the tenth of the reflections at lowest resolution and {ratio:.2g} of "
            "the lower half: most of what is beyond is noise, and the resolution of the data is not what it seems. "
            "Leave out shells of noise (--d-min)"
        ]
    size, follows = ("large", "the data hardly move the model") if ratio < _USUAL[0] else (
        "small", "weak reflections count like strong ones"
    )  # fmt: skip
    return [
        f"the sigmas look too {size}: the median {what} of the half at low resolution is {ratio:.2g}, expected 5 to "
        f"200, so that {follows}. Check which columns are read (--columns), or assume sigmas (--columns F,5%)"
    ]


def _equal(sigma: NDArray[np.float64]) -> list[str]:
    """Sigmas of one value, as programs write where they have none."""
    if len(sigma) < 2 or (sigma != sigma[0]).any():
        return []
    return [
        f"the sigmas of all {len(sigma)} reflections are {sigma[0]:g}, as where none were measured: they do not tell "
        "good reflections from bad ones. Check which columns are read (--columns), or assume sigmas (--columns F,5%)"
    ]
