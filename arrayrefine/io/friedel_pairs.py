"""Anomalous differences of a reflection file: from pairs of columns, from DANO, or from mates in rows of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from arrayrefine.anomalous import AnomalousDifferences, weighed
from arrayrefine.crystal import Crystal
from arrayrefine.io.columns import Columns, pairs_of_columns, sigma_of
from arrayrefine.io.merging import Observations, merge, to_asu
from arrayrefine.io.status import observed_rows
from arrayrefine.io.tables import Table
from arrayrefine.reflections import Reflections, positions

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

_FEWEST = 50
"""Pairs below which no map is made of them."""


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
    Of intensities the difference of amplitudes is (I(+) − I(−)) / 2F, and needs no root of what may be negative.
    """
    for source in [*pairs_of_columns(table, chosen), chosen]:
        if (found := _of_mates(_sides(table, source, reflections.crystal), source, reflections)) is not None:
            return found
    return _given(table, chosen, reflections)


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
    return _joined(plus), _joined(minus)


def _in_asu(hkl: NDArray[np.int32], value: Float, sigma: Float, crystal: Crystal) -> tuple[Observations, Bool]:
    """Acentric measurements in the asymmetric unit, and whether each came there without Friedel's law."""
    used = ~(crystal.centric(hkl) | crystal.absent(hkl)) if len(hkl) else np.zeros(0, dtype=bool)
    hkl = hkl[used]
    nothing = np.full(len(hkl), np.nan)
    moved = to_asu(Observations(hkl, value[used], sigma[used], nothing, np.arange(len(hkl))), crystal)
    as_given = np.zeros(len(hkl), dtype=bool)
    for rotation in crystal.primitive_rotations:
        as_given |= (hkl @ rotation == moved.hkl).all(axis=1)
    return moved, as_given


def _joined(parts: Sequence[Observations]) -> Observations:
    names = ("hkl", "value", "sigma", "flag", "row")
    return Observations(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


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
    if len(row) < _FEWEST or not difference.any():
        return None
    f, mean = reflections.f_obs[row], 0.5 * (plus.value + minus.value)
    if source.kind == "intensity":
        mean = np.sqrt(np.maximum(mean, 0.0))
    scale = float(f @ mean / (mean @ mean))
    per = scale if source.kind == "amplitude" else scale**2 / (2.0 * f)
    return weighed(reflections.crystal, plus.hkl, per * difference, per * sigma, tuple(source.labels))


def _given(table: Table, chosen: Columns, reflections: Reflections) -> AnomalousDifferences | None:
    """Differences that the file has as such (type D, as DANO): of amplitudes, on the scale of those beside them."""
    labels = [label for label, kind in table.types.items() if kind == "D" and sigma_of(table, label)]
    if not labels or chosen.kind != "amplitude":
        return None
    label, crystal = labels[0], reflections.crystal
    sigmas = str(sigma_of(table, label))
    value, sigma = table.values[label], table.values[sigmas]
    good = observed_rows(table)[0] & np.isfinite(value) & np.isfinite(sigma) & (sigma > 0.0)
    moved, as_given = _in_asu(table.hkl[good], value[good], sigma[good], crystal)
    signed = dataclasses.replace(moved, value=np.where(as_given, moved.value, -moved.value))
    signed = signed.select(positions(moved.hkl, reflections.hkl) >= 0)
    if len(signed.value) < _FEWEST or not signed.value.any():
        return None
    one = merge(signed)[0]
    return weighed(crystal, one.hkl, one.value, one.sigma, (label, sigmas))
