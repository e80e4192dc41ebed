"""Whether mates that are alike in the data are so in the model: pseudo-symmetry makes both alike, twinning the data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrayrefine.lattice_symmetry import mates
from arrayrefine.measurements.intensity_statistics import intensities, over_shell_means, strong
from arrayrefine.reflections import Reflections
from arrayrefine.twins.choice import MOST_LAWS
from arrayrefine.twins.signs import suspicion
from arrayrefine.wording import Caution

Float = NDArray[np.float64]

_LEAST_DIFFERENCE, _LEAST_FRACTION = 0.2, 0.1
"""Between the correlations, and of the domain that would explain it: less may be what the model gets wrong."""
_LEAST_AGREEMENT = 0.4
"""Correlation of the model's intensities with the data's: what is below says little about mates. A model that is right
has 0.7 even of a perfect twin, as half of the data's intensity is that of the other domain."""
_REFINED = 0.8
"""Correlation of the model's intensities with the data's: 0.9 of refined models, 0.6 of such with atoms 0.2 Å away."""


def twin_evidence(
    reflections: Reflections, f_model: NDArray[np.complexfloating], modelled: tuple[str, ...] = ()
) -> list[str]:
    """A sentence on each law whose mates correlate in the data, after Lebedev, Vagin & Murshudov (2006).

    Acta Cryst. D62, 83-95. With ρ the correlation of the intensities of one domain, those of a twin correlate by
    (ρ(1 - k) + k)/(1 - k + ρk), k = 2α(1 - α).

    Parameters
    ----------
    reflections : Reflections
    f_model : (R,) complex128
        Of the model; of a single domain.
    modelled : tuple of str
        Laws that the refinement takes into account.
    """
    found = suspicion(reflections)
    if found is None:
        return []
    crystal, hkl = reflections.crystal, reflections.hkl
    every = [law.name for law in found.related if crystal.keeps_point_group(law.name)][:MOST_LAWS]
    out = []
    for law in found.related:
        place = mates(crystal, hkl, crystal.twin_laws[law.name])
        used = strong(reflections) & ~reflections.centric
        pair = (place > np.arange(len(hkl))) & used & used[place]
        of_data, of_model = (
            over_shell_means(reflections, intensity / reflections.epsilon)
            for intensity in (intensities(reflections)[0], np.abs(f_model) ** 2)
        )
        data, model = (_correlation(values[pair], values[place[pair]]) for values in (of_data, of_model))
        both = np.concatenate([np.flatnonzero(pair), place[pair]])
        agreement = _correlation(of_data[both], of_model[both])
        fraction = implied_fraction(data, model)
        said = f"mates by the twin law {law.name} correlate by {data:.2f} in the data and by {model:.2f} in the model"
        rough = f", which correlates with the data by {agreement:.2f}" if agreement <= _REFINED else ""
        if agreement < _LEAST_AGREEMENT:
            out.append(f"{said}{rough}, too little to tell twinning from pseudo-symmetry")
        elif data - without_errors(model, agreement) > _LEAST_DIFFERENCE and fraction > _LEAST_FRACTION:
            alone = ", were it by this law alone" if len(found.related) > 1 else ""
            points = f"{said}, which points to twinning of a fraction near {fraction:.2f}{alone}"
            advice = f" (--twin='{';'.join(every)}' refines it as a twin)" if every else ""
            out.append(points if law.name in modelled else Caution(points + advice))
        else:
            all_of = ", all of" if rough else ","
            out.append(f"{said}{rough}{all_of} which pseudo-symmetry explains as well as twinning")
    return out


def _correlation(one: Float, two: Float) -> float:
    return float(np.corrcoef(one, two)[0, 1])


def without_errors(model: float, agreement: float) -> float:
    """The correlation that mates of the model would have but for errors that differ between the two of a pair.

    Intensities of the model that correlate with the true ones by c have mates that correlate by c² times what the true
    mates do: Spearman (1904) Am. J. Psychol. 15, 72-101. So do copies that were placed or moved one by one; what a
    refined model lacks, such as waters, is the same in both. The data of a twin correlate less with a model that is
    right, so that this is too much for it, but by no more than a factor of two.

    Parameters
    ----------
    model, agreement : float
        Correlations of the model's mates, and of its intensities with those of the data.
    """
    return model if agreement > _REFINED else float(np.clip(model / agreement**2, -1.0, 1.0))


def implied_fraction(data: float, model: float) -> float:
    """Twin fraction at which mates of a correlation `model` in one domain have that of `data`; 0 where it is none."""
    if model >= data:
        return 0.0
    k = (data - model) / ((1.0 - model) * (1.0 + data))
    return 0.5 * (1.0 - float(np.sqrt(max(1.0 - 2.0 * k, 0.0))))
