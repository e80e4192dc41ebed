"""The test set: found by the conventions of CCP4, phenix and mmCIF, given by the user, or chosen."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arrayrefine.crystal import Crystal
from arrayrefine.errors import InputError
from arrayrefine.io.reflections import status
from arrayrefine.io.reflections.columns import find_label, friedel_mate
from arrayrefine.io.reflections.merging import Observations, disagreeing
from arrayrefine.io.reflections.tables import Table
from arrayrefine.lattice_symmetry import families
from arrayrefine.wording import Caution, are, counted

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

_LABEL = re.compile(r"free|^test$|^test[-_ ]?(set|flag)s?$|^cv[-_ ]?test$", re.IGNORECASE)
LARGEST_SHARE = 0.5
"""Share of the flagged reflections above which a test set cannot be one: the work set was taken for it."""

_FEW_CONFLICTS = 0.1
"""Reflections with copies that disagree, as a share of those in the first column of flags: another one is better."""

_SHARES = 0.01, 0.2
"""Of a test set; what has another share is none."""
_UNEVEN = 3.0
"""Counts of the values of CCP4's flags are less apart than this."""

_REMEDY = (
    "name column and value with --free NAME=VALUE, or have a new test set chosen with --free random "
    "(Options.free in Python)"
)


@dataclass(frozen=True)
class FreeColumn:
    """A column of free flags.

    Attributes
    ----------
    label : str
    flags : (R,) float64
        nan where missing. For mmCIF ``status``: 0 is "f", 1 is "o", unless it holds 0 and 1 itself.
    value : float or None
        Value of the test set, None where it follows from the convention.
    convention : str
        In words, where it is known already.
    """

    label: str
    flags: Float
    value: float | None
    convention: str = ""


def find_free_column(
    table: Table, free: str | None, observed: Observations
) -> tuple[FreeColumn | None, tuple[str, ...]]:
    """Find the column of free flags: of several the first that tells a test set, or in which equivalents have one flag.

    Parameters
    ----------
    table : Table
    free : str or None
        ``"NAME"``, ``"NAME=VALUE"``, ``"random"`` (leave flags of the file aside) or None (find them).
    observed : Observations
        Usable measurements, in the asymmetric unit.

    Returns
    -------
    FreeColumn or None
        None where a test set has to be chosen.
    notes : tuple of str
    """
    if free is not None:
        return (None, ()) if free.strip().lower() == "random" else (_given(table, free), ())
    labels = [label for label, kind in table.types.items() if kind == "I" and _LABEL.search(label)]
    labels += [label for label, kind in table.types.items() if kind in "XR" and _LABEL.search(label)]
    if status.marks_free(table):
        return _status(table), _contradicting(table, labels, observed)
    if not labels:
        return (_status(table), (status.flags_note(table),)) if status.holds_flags(table) else (None, ())
    columns: dict[str, FreeColumn] = {}
    for label in labels:
        if friedel_mate(table, label) not in columns:
            columns[label] = _flags_of(table, label)
    if status.holds_flags(table):
        columns["status"] = _status(table)
    chosen, said = _agreeing(table, columns, observed)
    if friedel_mate(table, chosen) is not None:
        said.insert(0, "what one mate has is that of the reflection")
    others = [label for label in columns if label != chosen]
    if others:
        said.append(f"also there: {', '.join(others)}")
    column = columns[chosen]
    return column, ("; ".join((f"free flags of {column.label} are used", *said)),) if said else ()


def _contradicting(table: Table, labels: Sequence[str], observed: Observations) -> tuple[str, ...]:
    """A caution where a column of flags has another test set than status, which is used."""
    by_status = status.free_flags(table)[observed.row]
    for label in labels:
        try:
            flags, *_ = resolve(table.file.path, _flags_of(table, label), table.values[label][observed.row])
        except InputError:
            continue
        differ = int(((flags == 0.0) != (by_status == 0.0))[np.isfinite(flags) & np.isfinite(by_status)].sum())
        if differ:
            return (Caution(
                f"free flags of status are used; {label} has another test set: {counted(differ, 'reflection')} "
                f"{are(differ)} free by one of them only. --free {label} takes the other"
            ),)
    return ()


def possible_flags(table: Table) -> list[str]:
    """Labels of columns of integers that look like free flags but for their names."""
    return [label for label, kind in table.types.items() if kind == "I" and _is_like_flags(table, label)]


def _is_like_flags(table: Table, label: str) -> bool:
    flags = table.values[label][np.isfinite(table.values[label])]
    found, counts = np.unique(flags, return_counts=True)
    try:
        resolved, *_ = resolve(table.file.path, FreeColumn(label, flags, None), flags)
    except InputError:
        return False
    even = len(found) == 2 or bool(counts.max() < _UNEVEN * counts.min())
    return even and _SHARES[0] <= float(np.mean(resolved == 0.0)) <= _SHARES[1]


def _agreeing(table: Table, columns: Mapping[str, FreeColumn], observed: Observations) -> tuple[str, list[str]]:
    """The first column, or another where that tells no test set, or equivalents have several flags by it; and why."""
    first, *others = columns

    def conflicts(label: str) -> int | None:
        try:
            flags, *_ = resolve(table.file.path, columns[label], columns[label].flags[observed.row])
        except InputError:
            return None
        return disagreeing(observed, flags)

    found = conflicts(first) if others else 0
    if found is None:
        clear = next((label for label in others if conflicts(label) is not None), None)
        return (first, []) if clear is None else (clear, [f"{columns[first].label} tells no test set"])
    if not found:
        return first, []
    for label in others:
        count = conflicts(label)
        if count is not None and count <= _FEW_CONFLICTS * found:
            what = f"{counted(found, 'reflection')} {are(found)} free in some copies only"
            return label, [f"{what} by {columns[first].label}"]
    return first, []


def _flags_of(table: Table, label: str) -> FreeColumn:
    """A column of flags, and that of the mates with it, as phenix writes them: one measured alone has its own there."""
    mate = friedel_mate(table, label)
    if mate is None:
        return FreeColumn(label, table.values[label], None)
    plus, minus = sorted((label, mate))
    first, second = table.values[plus], table.values[minus]
    flags = np.where(np.isfinite(first), first, second)
    differ = np.isfinite(first) & np.isfinite(second) & (first != second)
    # Free in one is free: of two values the rarer one, of many 0, the lowest; negative ones stand for nothing there.
    found, counts = np.unique(flags[np.isfinite(flags)], return_counts=True)
    if len(found) == 2:
        flags[differ] = found[np.argmin(counts)]
    else:
        low, high = np.minimum(first, second)[differ], np.maximum(first, second)[differ]
        flags[differ] = np.where(low < 0.0, high, low)
    return FreeColumn(f"{plus} and {minus}", flags, None)


def _status(table: Table) -> FreeColumn:
    if status.holds_flags(table):
        return FreeColumn("status", status.free_flags(table), None)
    return FreeColumn("status", status.free_flags(table), 0.0, "mmCIF status, f is free")


def _given(table: Table, free: str) -> FreeColumn:
    name, equals, text = (part.strip() for part in free.rpartition("="))
    if not equals:
        name, text = text, ""
    if name == "status" and table.status is not None:
        column = _status(table)
        if column.value is not None:
            if text not in ("", "f"):
                raise InputError(f"--free {free}: the test set of mmCIF status is 'f'; expected --free status=f")
            return column
    else:
        label = find_label(table, name, "the free flags")
        column = _flags_of(table, label)
    if not text:
        return column
    try:
        value = float(text)
    except ValueError:
        raise InputError(
            f"--free {free}: '{text}' is no number; expected the value of the test set, as in --free {name}=0"
        ) from None
    return dataclasses.replace(column, value=value, convention=f"{column.label} = {value:g} is free, as given")


def resolve(path: object, column: FreeColumn, flags: Float) -> tuple[Float, float, str]:
    """Which measurements are free.

    Two values: the less frequent one is free, which covers phenix (0/1), SHELX (-1/1) and the 0/1 of CCP4
    alike. More than two: 0 is free (CCP4, 0..19). Negative flags are how some programs write "missing", and
    count as that except in SHELX's pair and where a negative value was given for the test set.

    Parameters
    ----------
    path : path-like
        For messages.
    column : FreeColumn
    flags : (M,) float64
        Flags of the usable measurements.

    Returns
    -------
    flags : (M,) float64
        0 in the test set, 1 in the work set, nan where missing: of several copies the lowest decides.
    value : float
        Value of the test set in the file.
    convention : str
        In words.

    Raises
    ------
    InputError
        If all reflections are free, or none, or more than half, or the convention is not clear.
    """
    where = f"data '{path}', column {column.label}"
    known = np.isfinite(flags)
    negative = known & (flags < 0.0)
    shelx = set(np.unique(flags[known]).tolist()) == {-1.0, 1.0}
    if not shelx and (column.value is None or column.value >= 0.0):
        known &= ~negative
    if not known.any():
        raise InputError(f"{where}: no reflection has a free flag; {_REMEDY}")
    found, counts = np.unique(flags[known], return_counts=True)
    listed = ", ".join(f"{v:g} ({n} times)" for v, n in zip(found[:8], counts)) + (", ..." if len(found) > 8 else "")
    value, convention = column.value, column.convention
    if value is None:
        value, convention = _convention(where, found, counts, listed)
    if (negative & ~known).any():
        convention += f"; {int(negative.sum())} negative flags count as missing"
    resolved = np.where(known, np.where(flags == value, 0.0, 1.0), np.nan)
    check_share(path, column, resolved, value, listed)
    return resolved, value, convention


def check_share(path: object, column: FreeColumn, flags: Float, value: float, listed: str = "") -> None:
    """Refuse a test set that is empty, everything, or more than half of what has a flag.

    Parameters
    ----------
    path, column
        For messages.
    flags : (M,) float64
        0 in the test set, 1 in the work set, nan where missing.
    value : float
        Value of the test set in the file.
    listed : str
        What was found.

    Raises
    ------
    InputError
    """
    where = f"data '{path}', column {column.label}"
    free, known = int((flags == 0.0).sum()), int(np.isfinite(flags).sum())
    found = f", found {listed}" if listed else ""
    if not free:
        raise InputError(f"{where}: no reflection is free ({value:g} was looked for{found}); {_REMEDY}")
    if free == len(flags):
        raise InputError(f"{where}: all {free} reflections are free ({value:g}); none is left to refine; {_REMEDY}")
    if free > LARGEST_SHARE * known:
        raise InputError(
            f"{where}: {free} of the {known} reflections with a flag ({100 * free / known:.0f} %) would be free "
            f"({value:g}{found}); expected a test set of 2-20 %, so this looks like the work set; {_REMEDY}"
        )


def _convention(where: str, found: Float, counts: NDArray[np.int64], listed: str) -> tuple[float, str]:
    if len(found) == 1:
        raise InputError(
            f"{where}: every flag is {found[0]:g}, so all reflections are free or none is; expected two or "
            f"more values; {_REMEDY}"
        )
    if len(found) == 2:
        if counts[0] == counts[1]:
            raise InputError(f"{where}: found {listed}, so the test set cannot be told from the work set; {_REMEDY}")
        value = float(found[np.argmin(counts)])
        return value, f"two values, the less frequent one ({value:g}) is free"
    if 0.0 not in found or (found != np.round(found)).any():
        raise InputError(f"{where}: found {listed}; expected 0/1, or 0..n with 0 for the test set; {_REMEDY}")
    return 0.0, f"{len(found)} values, 0 is free (CCP4)"


def choose_random(crystal: Crystal, hkl: NDArray[np.integer], fraction: float, seed: int) -> Bool:
    """Choose a test set at random, evenly over resolution.

    Reflections that a symmetry of the lattice relates are drawn together: as mates of a twin, or nearly equal by
    symmetry that is not quite the crystal's, they would know of each other. Such families sorted by resolution are cut
    into runs of 1/fraction, and one of each run is drawn: every shell has its share, and the number of families is
    exact, that of reflections nearly so.

    Parameters
    ----------
    crystal : Crystal
    hkl : (R, 3) int
        Unique reflections in a fixed order.
    fraction : float
    seed : int

    Returns
    -------
    (R,) bool
    """
    family = families(crystal, hkl)
    _, first = np.unique(family, return_index=True)
    count = len(first)
    wanted = int(np.clip(round(count * fraction), min(1, count - 1), max(count - 1, 0)))
    free = np.zeros(count, dtype=bool)
    if wanted:
        order = np.argsort(crystal.inverse_d_squared(hkl[first]), kind="stable")
        edges = np.linspace(0, count, wanted + 1).astype(np.int64)
        drawn = np.random.default_rng(seed).integers(edges[:-1], edges[1:])
        free[order[drawn]] = True
    return np.asarray(free[family])
