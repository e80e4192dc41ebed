"""Free flags that are in another file than the data, as of a set that several crystals share."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arrayrefine.crystal import Crystal
from arrayrefine.errors import InputError
from arrayrefine.io.reflections.free_flags import FreeColumn, find_free_column, resolve
from arrayrefine.io.reflections.merging import Observations, to_asu
from arrayrefine.io.reflections.same_crystal import without_translations
from arrayrefine.io.reflections.tables import Table, read_table
from arrayrefine.io.regular_cell import cell_change, format_cell
from arrayrefine.reflections import positions
from arrayrefine.wording import counted

Float = NDArray[np.float64]

_FILE = re.compile(r"\.(mtz|cif|ent)(\.gz)?(:|$)", re.IGNORECASE)
"""What looks like the name of a file, and not of a column."""
_CELL_TOLERANCE = 0.05
"""Relative difference of a length or an angle above which flags are of another crystal form; soaks change cells."""


@dataclass(frozen=True)
class FlagFile:
    """Data with the flags of another file.

    Attributes
    ----------
    table : Table
        The data, and a row without data for each reflection that has a flag only.
    column : FreeColumn or None
        Flags of its rows; None where the flags are to be found in the data.
    source : dict
        For the report.
    notes : tuple of str
    """

    table: Table
    column: FreeColumn | None = None
    source: dict[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def flags_of_another_file(table: Table, free: str | None, crystal: Crystal) -> FlagFile:
    """Take flags from the file that `free` names, if it names one.

    Parameters
    ----------
    table : Table
        The data.
    free : str or None
        ``"FILE"``, ``"FILE:NAME"`` or ``"FILE:NAME=VALUE"``. Anything else concerns the data alone; a column of this
        name goes before a file.
    crystal : Crystal
        Of the data.

    Returns
    -------
    FlagFile

    Raises
    ------
    InputError
        If there is no such file, or no flags in it, or they are of another crystal form.
    """
    named = _file_named(table, free)
    if free is None or named is None:
        return FlagFile(table)
    path, column_named = named
    notes: list[str] = []
    other = read_table(path, notes)
    _require_same_form(path, other, crystal)
    rows = np.flatnonzero(other.hkl.any(axis=1))
    flagged = _in_asu(other.hkl[rows], rows, crystal)
    column, said = find_free_column(other, column_named, flagged)
    if column is None:
        raise InputError(
            f"--free {free}: '{path}' has no column of free flags; found {other.listing()}: name it, as in "
            f"--free {path}:NAME"
        )
    value = column.flags[rows]
    resolved, *_ = resolve(path, column, value)
    order = np.argsort(np.where(np.isfinite(resolved), resolved, 2.0), kind="stable")  # free in one copy is free
    hkl, first = np.unique(flagged.hkl[order], axis=0, return_index=True)
    value = value[order][first]
    own = np.flatnonzero(table.hkl.any(axis=1))
    asu = _in_asu(table.hkl[own], own, crystal).hkl
    place = positions(asu, hkl)
    flags = np.full(len(table.hkl), np.nan)
    flags[own] = np.where(place >= 0, value[place], np.nan)
    alone = positions(hkl, asu) < 0
    label = f"{column.label} of '{path}'"
    found = FreeColumn(label, np.append(flags, value[alone]), column.value, column.convention)
    source: dict[str, object] = {"free_column": column.label, "free_file": str(path)}
    source["free_file_sha256"] = other.file.sha256
    more = f"; {counted(int(alone.sum()), 'reflection')} without data in '{table.file.path}' too" if alone.any() else ""
    said = (*said, f"free flags are those of '{path}', column {column.label}{more}")
    return FlagFile(_with_rows(table, hkl[alone]), found, source, (*notes, *said))


def _file_named(table: Table, free: str | None) -> tuple[Path, str | None] | None:
    """The file that is named, and what is said of its column; None where a column of the data is meant."""
    if free is None:
        return None
    name = (free.rpartition("=")[0] or free).strip().lower()
    if name in ("random", "status", *(label.lower() for label in table.types)):
        return None
    if Path(free).is_file():
        return Path(free), None
    head, _, column = free.rpartition(":")
    if head and Path(head).is_file():
        return Path(head), column or None
    if _FILE.search(free):
        raise InputError(
            f"--free {free}: no such file, and data '{table.file.path}' have no such column; expected a column of the "
            "data, NAME or NAME=VALUE, or a file with free flags, FILE or FILE:NAME=VALUE"
        )
    return None


def _require_same_form(path: Path, other: Table, crystal: Crystal) -> None:
    """Refuse flags whose indices are of another lattice or point group."""
    own = crystal.gemmi_space_group
    cell, group = other.cell or crystal.gemmi_cell, other.space_group or own
    other_group = without_translations(group) != without_translations(own)
    if other_group or cell_change(crystal.gemmi_cell, cell) > _CELL_TOLERANCE:
        raise InputError(
            f"free flags '{path}' are of {format_cell(cell)} {group.xhm()}, the data of "
            f"{format_cell(crystal.gemmi_cell)} {crystal.space_group}; expected the same point group and lattice, and "
            f"cells within {100 * _CELL_TOLERANCE:g} %: take flags of this crystal form, or --free random"
        )


def _in_asu(hkl: NDArray[np.int32], rows: NDArray[np.int64], crystal: Crystal) -> Observations:
    gap = np.full(len(rows), np.nan)
    return to_asu(Observations(hkl, gap, gap, gap, rows), crystal)


def _with_rows(table: Table, hkl: NDArray[np.int32]) -> Table:
    """The table with further rows, which hold nothing."""
    values = {label: np.append(column, np.full(len(hkl), np.nan)) for label, column in table.values.items()}
    status = table.status
    if status is not None:
        status = np.append(status, np.full(len(hkl), "", dtype=status.dtype))
    every = np.append(table.hkl, hkl.astype(np.int32), axis=0)
    return dataclasses.replace(table, hkl=every, values=values, status=status)
