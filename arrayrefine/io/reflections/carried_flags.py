"""Free flags of the input on their way to `refined.mtz`: those of reflections without data too, with their values."""

from __future__ import annotations

import numpy as np

from arrayrefine.errors import InputError
from arrayrefine.io.reflections.free_flags import FreeColumn, resolve
from arrayrefine.io.reflections.merging import Observations, to_asu
from arrayrefine.io.reflections.tables import Table
from arrayrefine.reflections import FreeFlags, Reflections, positions


def carried_flags(table: Table, column: FreeColumn, reflections: Reflections) -> FreeFlags:
    """Flags of all rows of the input.

    They keep their values where these alone tell the test set, as they will have to when `refined.mtz` is read; where
    only the user's word did, they become 0 and 1.

    Parameters
    ----------
    table : Table
    column : FreeColumn
    reflections : Reflections
        Those that are used of it.

    Returns
    -------
    FreeFlags
    """
    test = float(str(reflections.source["free_file_value"]))
    rows = np.flatnonzero(table.hkl.any(axis=1))
    gap = np.full(len(rows), np.nan)
    every = to_asu(Observations(table.hkl[rows], gap, gap, column.flags[rows], rows), reflections.crystal)
    hkl, place = np.unique(every.hkl, axis=0, return_inverse=True)
    value = np.full(len(hkl), np.nan)
    np.fmin.at(value, place.reshape(-1), every.flag)
    value[place.reshape(-1)[every.flag == test]] = test
    others = value[np.isfinite(value) & (value != test)]
    found, counts = np.unique(others, return_counts=True)
    work = float(found[counts.argmax()]) if len(found) else 1.0 - test
    row = positions(reflections.hkl, hkl)
    measured = np.where(reflections.free, test, np.where(np.isin(value[row], found), value[row], work))
    if _test_by_value(table, column, measured) == test:
        kept = f"FREE in refined.mtz has the values of {column.label}: {test:g} is the test set"
        return FreeFlags(hkl.astype(np.int32), value, test, work, "" if test == 0.0 else kept)
    value = np.where(np.isnan(value), np.nan, np.where(value == test, 0.0, 1.0))
    changed = (
        f"FREE in refined.mtz is 0 for the test set and 1 for the others: the values of {column.label} alone do not "
        f"tell that {test:g} is the test set"
    )
    return FreeFlags(hkl.astype(np.int32), value, 0.0, 1.0, changed)


def _test_by_value(table: Table, column: FreeColumn, flags: np.ndarray) -> float | None:
    """Value of the test set that is found when these flags are read without a word from the user."""
    try:
        return resolve(table.file.path, FreeColumn(column.label, flags, None), flags)[1]
    except InputError:
        return None
