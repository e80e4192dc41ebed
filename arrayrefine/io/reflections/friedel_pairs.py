"""Anomalous differences of a reflection file: from pairs of columns, from DANO, or from mates in rows of their own."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from arrayrefine.crystal import Crystal
from arrayrefine.io.reflections.columns import Columns, pairs_of_columns, sigma_of
from arrayrefine.io.reflections.merging import Observations, merge, to_asu, without_friedel
from arrayrefine.io.reflections.status import observed_rows
from arrayrefine.io.reflections.tables import Table
from arrayrefine.measurements.anomalous import AnomalousDifferences, weighed
from arrayrefine.reflections import Reflections, positions

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

_FEWEST = 50
"""Pairs below which no map is made of them."""
_SAME = 1e-6
"""Of the sum of both: a difference below this is none, but of one value that was averaged in another order."""
_NEAR = 0.05
"""R of means with the amplitudes used by which those of another crystal or wavelength are beyond those of the same."""
_TINY = float(np.finfo(float).tiny)
_STRONG = 3.0
"""Sigma of a mean from which it tells how near the means are to the amplitudes."""


def anomalous_differences(table: Table, chosen: Columns, reflections: Reflections) -> AnomalousDifferences | None:
    """Differences of Friedel mates, on the scale of the amplitudes; None where the file has none, or next to none.

    Parameters
    ----------
    table : Table
    chosen : Columns
        What the amplitudes are from.
    reflections : Reflections

    Notes
    -----
    Of intensities the difference of amplitudes is (I(+) − I(−)) / 2F, and needs no root of what may be negative. F is
    taken for no less than the root of half the uncertainty of F², as it may be zero. Of several pairs of columns those
    are taken whose means are the amplitudes, by R, as a file may hold other crystals and wavelengths.
    """
    sources = [*pairs_of_columns(table, chosen), chosen]
    every = [_of_mates(_sides(table, source, reflections.crystal), source, reflections) for source in sources]
    found = [one for one in every if one is not None]
    if not found:
        return _given(table, chosen, reflections)
    nearest = min(one.apart for one in found)
    return next(one for one in found if one.apart <= nearest + _NEAR)


def _sides(table: Table, source: Columns, crystal: Crystal) -> tuple[Observations, Observations]:
    """Measurements of hkl, and of −h−k−l, as the asymmetric unit has them."""
    rows = observed_rows(table)[0]
    plus, minus = [], []
    for label, sigma in zip(source.value, source.sigmas(table)):
        value = table.values[label]
        good = rows & np.isfinite(value) & np.isfinite(sigma) & (sigma > 0.0) & (table.hkl != 0).any(axis=1)
        moved, as_given = _in_asu(table.hkl[good], value[good], sigma[good], crystal)
        if label != source.value[0]:
            as_given = ~as_given
        plus.append(moved.select(as_given))
        minus.append(moved.select(~as_given))
    return Observations.joined(plus), Observations.joined(minus)


def _in_asu(hkl: NDArray[np.int32], value: Float, sigma: Float, crystal: Crystal) -> tuple[Observations, Bool]:
    """Acentric measurements in the asymmetric unit, and whether each came there without Friedel's law."""
    used = ~(crystal.centric(hkl) | crystal.absent(hkl)) if len(hkl) else np.zeros(0, dtype=bool)
    hkl = hkl[used]
    nothing = np.full(len(hkl), np.nan)
    moved = to_asu(Observations(hkl, value[used], sigma[used], nothing, np.arange(len(hkl))), crystal)
    return moved, without_friedel(moved, hkl, crystal)


def _of_mates(
    sides: tuple[Observations, Observations], source: Columns, reflections: Reflections
) -> AnomalousDifferences | None:
    """Differences of reflections of which both sides were measured, and the mean is used."""
    if any(len(side.value) < _FEWEST for side in sides):
        return None
    plus, minus = (merge(side)[0] for side in sides)
    mate = positions(plus.hkl, minus.hkl)
    row = positions(plus.hkl, reflections.hkl)
    both = (mate >= 0) & (row >= 0)
    plus, minus, row = plus.select(both), minus.select(mate[both]), row[both]
    difference, sigma = plus.value - minus.value, np.hypot(plus.sigma, minus.sigma)
    told = np.abs(difference) > _SAME * (np.abs(plus.value) + np.abs(minus.value))
    if int(told.sum()) < _FEWEST:
        return None
    f, mean = reflections.f_obs[row], 0.5 * (plus.value + minus.value)
    strong = mean > _STRONG * 0.5 * sigma
    if source.kind == "intensity":
        mean = np.sqrt(np.maximum(mean, 0.0))
    scale = float(f @ mean) / max(float(mean @ mean), _TINY)
    strong = strong if int(strong.sum()) >= _FEWEST else np.ones(len(f), dtype=bool)
    apart = float(np.abs(f - scale * mean)[strong].sum()) / max(float(f[strong].sum()), _TINY)
    per = np.full(len(f), scale)
    if source.kind == "intensity":
        per = scale**2 / (2.0 * np.maximum(f, scale * np.sqrt(0.25 * sigma)))
    difference, sigma = (per * difference)[told], (per * sigma)[told]
    return weighed(reflections.crystal, plus.hkl[told], difference, sigma, tuple(source.labels), apart)


def _given(table: Table, chosen: Columns, reflections: Reflections) -> AnomalousDifferences | None:
    """Differences that the file has as such (type D, as DANO): of amplitudes, on the scale of those beside them.

    Those of other data sets are on scales of their own, and may be of other crystals.
    """
    own = table.data_sets.get(chosen.value[0])
    labels = [
        label for label, kind in table.types.items()
        if kind == "D" and sigma_of(table, label) and table.data_sets.get(label) == own
    ]
    if not labels or chosen.kind != "amplitude":
        return None
    label, crystal = labels[0], reflections.crystal
    sigmas = str(sigma_of(table, label))
    value, sigma = table.values[label], table.values[sigmas]
    good = observed_rows(table)[0] & np.isfinite(value) & np.isfinite(sigma) & (sigma > 0.0)
    moved, as_given = _in_asu(table.hkl[good], value[good], sigma[good], crystal)
    signed = dataclasses.replace(moved, value=np.where(as_given, moved.value, -moved.value))
    signed = signed.select((signed.value != 0.0) & (positions(moved.hkl, reflections.hkl) >= 0))
    if len(signed.value) < _FEWEST:
        return None
    one = merge(signed)[0]
    return weighed(crystal, one.hkl, one.value, one.sigma, (label, sigmas))
