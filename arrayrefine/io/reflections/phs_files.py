"""Phases of SHELXE and others, as text: `.phs` files, h k l F m φ σ(F), without a cell or a space group."""

from __future__ import annotations

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
    lines = [(number, line.split()) for number, line in enumerate(file.text().splitlines(), 1) if line.strip()]
    rows: list[list[float]] = []
    for number, words in lines:
        try:
            if not _FEWEST <= len(words) <= _MOST:
                raise ValueError
            row = [*map(float, map(int, words[:3])), *map(float, words[3:_FEWEST])]
            if not np.isfinite(row).all() or max(map(abs, row[:3])) > _LARGEST:
                raise ValueError
            rows.append(row)
        except ValueError:
            raise InputError(
                f"phases '{path}', line {number}: found '{' '.join(words)[:60]}'; expected {_EXPECTED}. Other text is "
                "converted to MTZ first (f2mtz of CCP4)"
            ) from None
    values = np.array(rows)
    return Table(
        file, values[:, :3].astype(np.int32), {"FOM": "W", "PHI": "P"}, {"FOM": values[:, 4], "PHI": values[:, 5]},
        None, None, None,
    )  # fmt: skip
