"""Whether a crystal is twinned: what intensities and those of their twin mates say."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrayrefine.lattice_symmetry import asu_key, mates
from arrayrefine.measurements.intensity_statistics import (
    LEAST_IN_SHELL,
    anisotropy,
    intensities,
    over_shell_means,
    shells,
    strong,
)
from arrayrefine.reflections import Reflections

Float = NDArray[np.float64]

TWINNED_BELOW = 0.44
"""Mean |L|: 0.5 of acentric reflections without twinning, 0.375 of a perfect twin (Padilla & Yeates 2003)."""
TOO_EVEN = 0.19
"""Mean |L| below which intensities are of no crystal: four equal domains have 0.27, and amplitudes of a perfect twin
that are taken for intensities 0.22."""
RELATED_ABOVE = 0.2
"""Correlation of twin mates that bears out a low mean |L|: 2α(1-α)/(α²+(1-α)²) of a twin of fraction α, so that one of
0.1 has 0.22. The untwinned crystals that were tried have at most 0.10."""
STRONGLY_RELATED_ABOVE = 0.5
"""Correlation of twin mates, that of a fraction of 0.21, that is worth a word whatever the L-test says."""

_FEWEST = 500  # strong acentric reflections; with these the mean |L| is good to 0.013
_FEWEST_PAIRS = 200  # of twin mates; with these the correlation is good to 0.07
_OFFSETS = tuple(o for o in itertools.product((-2, 0, 2), repeat=3) if o > (0, 0, 0))
_SAME = 0.97
"""Correlation of mates with uneven intensities above which they are equivalents, as a rule."""


class TwinLaw(NamedTuple):
    """What the twin mates by one operator have in common.

    Attributes
    ----------
    name : str
        The operator, such as "-h,k,-l".
    correlation : float
        Of the normalised intensities of strong acentric mates.
    fraction : float
        Twin fraction by the H-test.
    """

    name: str
    correlation: float
    fraction: float


def l_test(reflections: Reflections) -> tuple[float, int]:
    """The L-test for twinning of Padilla & Yeates (2003), Acta Cryst. D59, 1124-1130.

    L = (I₁ - I₂)/(I₁ + I₂) of acentric reflections whose indices differ by 0 or ± 2, so that neither anisotropy nor
    pseudo-centring matters. Only shells with a mean I/sigma of at least 3 are used: noise hides twinning.

    Returns
    -------
    mean : float
        Mean |L|; nan without pairs.
    count : int
        Number of reflections used.
    """
    intensity, _ = intensities(reflections)
    used = strong(reflections) & ~reflections.centric
    hkl, intensity = reflections.hkl[used].astype(np.int64), intensity[used]
    if not len(hkl):
        return float("nan"), 0
    side = 2 * int(np.abs(hkl).max()) + 8
    weight = np.array([side * side, side, 1], dtype=np.int64)
    key = hkl @ weight
    order = np.argsort(key)
    key, intensity = key[order], intensity[order]
    total, pairs = 0.0, 0
    for offset in _OFFSETS:
        wanted = key + int(np.array(offset) @ weight)
        place = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        there = key[place] == wanted
        one, two = intensity[there], intensity[place[there]]
        some = one + two > 0.0
        ratio = np.abs(one - two)[some] / (one + two)[some]
        total += float(np.minimum(ratio, 1.0).sum())
        pairs += int(some.sum())
    return (total / pairs if pairs else float("nan")), len(hkl)


def second_moment(reflections: Reflections) -> float:
    """<I²>/<I>² of strong acentric reflections, mean of the shells: 2 without twinning, 1.5 of a perfect twin."""
    intensity, _ = intensities(reflections)
    intensity = intensity / reflections.epsilon
    used = strong(reflections) & ~reflections.centric
    moments = []
    for shell in shells(reflections):
        values = intensity[shell[used[shell]]]
        if len(values) >= LEAST_IN_SHELL // 2 and values.mean() > 0.0:
            moments.append(float(np.mean(values**2) / np.mean(values) ** 2))
    return float(np.mean(moments)) if moments else float("nan")


def twin_laws(reflections: Reflections) -> list[TwinLaw]:
    """Compare strong acentric reflections with their twin mates, for every twin law that the lattice allows.

    Intensities are normalised in shells of resolution, as they correlate by that alone, and freed of their anisotropy,
    which twin mates do not share. The fraction is that of the H-test, ½ - <|H|> with H = (I₁ - I₂)/(I₁ + I₂): Yeates
    (1988) Acta Cryst. A44, 142-144. Noise makes it smaller.

    Parameters
    ----------
    reflections : Reflections

    Returns
    -------
    list of TwinLaw
        Highest correlation first; without laws that relate fewer than 200 pairs.
    """
    crystal, hkl = reflections.crystal, reflections.hkl
    if not crystal.twin_laws:
        return []
    intensity = _normalised(reflections)
    used = strong(reflections) & ~reflections.centric
    key = asu_key(crystal, hkl, hkl)
    found = []
    for name, matrix in crystal.twin_laws.items():
        place = mates(crystal, hkl, matrix)
        # each pair once, and none of a reflection with itself
        pair = (place >= 0) & (key < key[place]) & used & used[place]
        if pair.sum() < _FEWEST_PAIRS:
            continue
        one, two = intensity[pair], intensity[place[pair]]
        total = one + two
        h = np.minimum(np.abs(one - two)[total > 0.0] / total[total > 0.0], 1.0)
        found.append(TwinLaw(name, float(np.corrcoef(one, two)[0, 1]), max(0.5 - float(h.mean()), 0.0)))
    return sorted(found, key=lambda law: -law.correlation)


def _normalised(reflections: Reflections) -> Float:
    """Intensities (R,) over epsilon, the anisotropy of the data, and the mean of the shell."""
    intensity = intensities(reflections)[0] / reflections.epsilon
    factor = reflections.crystal.anisotropic_factor(reflections.hkl, anisotropy(reflections))
    return over_shell_means(reflections, intensity / factor**2)


class Suspicion(NamedTuple):
    """Why data may be those of a twin.

    Attributes
    ----------
    even : bool
        Whether the L-test says so too.
    mean : float
        Of |L|.
    related : tuple of TwinLaw
        Laws whose mates correlate.
    """

    even: bool
    mean: float
    related: tuple[TwinLaw, ...]


def suspicion(reflections: Reflections) -> Suspicion | None:
    """What speaks for twinning; None where nothing does, or intensities are too even even for that.

    Twin mates that correlate and intensities that are too even, by the L-test, are twinning. The L-test alone is not:
    it is low for other reasons too, such as how weak data were processed, and a twin that it sees has mates that
    correlate. A strong correlation alone may be: pseudo-translation makes intensities as uneven as twinning makes them
    even. But pseudo-symmetry relates mates as well.
    """
    mean, count = l_test(reflections)
    if count < _FEWEST or mean < TOO_EVEN:
        return None
    even = mean < TWINNED_BELOW
    least = RELATED_ABOVE if even else STRONGLY_RELATED_ABOVE
    related = tuple(law for law in twin_laws(reflections) if law.correlation > least)
    return Suspicion(even, mean, related) if related else None


def twinning(reflections: Reflections, modelled: tuple[str, ...] = ()) -> list[str]:
    """A sentence about twinning where the data look like it, see `suspicion`.

    Parameters
    ----------
    reflections : Reflections
    modelled : tuple of str
        Laws that the refinement takes into account.
    """
    found = suspicion(reflections)
    if found is None:
        return []
    named = ", ".join(
        f"{law.name} (correlation {law.correlation:.2f}, fraction {law.fraction:.2f} by the H-test)"
        for law in found.related
    )
    plural = "s" if len(found.related) > 1 else ""
    moments = (
        f"mean |L| of the L-test is {found.mean:.3f} (0.5 without twinning, 0.375 of a perfect twin), <I²>/<I>² is "
        f"{second_moment(reflections):.2f} (2.0 and 1.5)"
    )
    if found.even:
        done = (
            f"refined as a twin by {', '.join(modelled)} (--twin none refines it as a single crystal)" if modelled else
            "twinning is not modelled: R factors and maps do not mean what they do without it"
        )  # fmt: skip
        return [
            f"the data look twinned: {moments}, and intensities are related by the twin law{plural} {named}; {done}"
        ]
    done = (
        f"refined as a twin by {', '.join(modelled)}, as asked for" if modelled else
        f"twinning is not modelled (--twin={found.related[0].name} does)"
    )  # fmt: skip
    group = reflections.crystal.space_group
    what = (
        f"the crystal is probably of higher symmetry than {group}: merge and refine it in the space group that has "
        "this symmetry too (POINTLESS or phenix.xtriage name it), with fewer copies; or it is twinned, or nearly of "
        "that symmetry"
        if found.related[0].correlation > _SAME else
        f"the crystal may be twinned, or of higher symmetry than {group}, or copies in it are related by axes parallel "
        "to that of the law"
    )  # fmt: skip
    return [f"intensities are related by the twin law{plural} {named}, though {moments}: {what}; {done}"]
