"""Phases of SHELXE and others, as text: `.phs` files, h k l F m φ σ(F), without a cell or a space group."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from arrayrefine.errors import InputError
from arrayrefine.io.files import KIND_NAMES, load
from arrayrefine.io.reflections.tables import Table

LABELS = ("PHI", "FOM")
"""Columns of the table, as those of an MTZ file with phases and figures of merit."""
_EXPECTED = "a .phs file: h, k, l, F, figure of merit, phase (°) and σ(F) in each line, the last of them or none"
_FEWEST, _MOST = 6, 7
_LARGEST = 9999
"""Index; the format has four columns for it."""
_COLUMNS = (0, 4, 8, 12, 21, 29, 37, 45)
"""Where the numbers begin, and the last ends, as SHELXE writes them: 3I4, F9.2, F8.4, F8.1, F8.2."""
_POINTS = (18, 24, 35, 42)
"""Columns of their decimal points, which tell that a line is in this format."""


def read_phs(path: Path) -> Table:
    """Read a `.phs` file.

    Raises
    ------
    InputError
        It is missing, or no such file.
    """
    file = load(path, "phases", _EXPECTED)
    if file.kind != "text":
        raise InputError(f"phases '{path}' are {KIND_NAMES[file.kind]}; expected {_EXPECTED}")
    lines = [(number, line.rstrip()) for number, line in enumerate(file.text().splitlines(), 1) if line.strip()]
    rows = [_row(line.split()) for _, line in lines]
    if None in rows and all(map(_in_columns, (line for _, line in lines))):  # large indices leave no blanks
        rows = [_row([line[i:j] for i, j in itertools.pairwise(_COLUMNS) if line[i:j]]) for _, line in lines]
    for (number, line), row in zip(lines, rows):
        if row is None:
            raise InputError(
                f"phases '{path}', line {number}: found '{' '.join(line.split())[:60]}'; expected {_EXPECTED}. Other "
                "text is converted to MTZ first (f2mtz of CCP4)"
            )
    values = np.array(rows)
    return Table(
        file, values[:, :3].astype(np.int32), {"FOM": "W", "PHI": "P"}, {"FOM": values[:, 4], "PHI": values[:, 5]},
        None, None, None,
    )  # fmt: skip


def _row(words: Sequence[str]) -> tuple[float, ...] | None:
    """h, k, l, F, m and φ; None where these are no such numbers."""
    if not _FEWEST <= len(words) <= _MOST:
        return None
    try:
        row = (*map(float, map(int, words[:3])), *map(float, words[3:_FEWEST]))
    except ValueError:
        return None
    return row if np.isfinite(row).all() and max(map(abs, row[:3])) <= _LARGEST else None


def _in_columns(line: str) -> bool:
    """Whether a line has decimal points where SHELXE puts them, and nowhere else; the last number may be missing."""
    points = tuple(i for i, one in enumerate(line) if one == ".")
    return (len(line), points) in ((_COLUMNS[-1], _POINTS), (_COLUMNS[-2], _POINTS[:-1]))
