"""Columns that look like free flags but for their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from test_io_reflections import COUNT, CRYSTAL, SIGMA, F, write_mtz

from arrayrefine.io.reflections.reading import read_reflections


@pytest.mark.parametrize(
    ("values", "like"),
    [
        (np.arange(COUNT) % 20, True),
        (np.arange(COUNT) % 12 == 5, True),
        (np.arange(COUNT) % 3, False),  # too large for a test set
        (np.minimum(np.arange(COUNT) % 20, 4), False),  # as numbers of measurements
        (np.arange(COUNT), False),
        (np.full(COUNT, 3), False),
    ],
)
def test_flags_under_another_name_are_named(tmp_path: Path, values: NDArray[np.float64], like: bool) -> None:
    columns = {"FP": ("F", F), "SIGFP": ("Q", SIGMA), "xplor": ("I", values)}
    path = write_mtz(tmp_path / "a.mtz", columns)
    for free in (None, "random"):
        _, notes = read_reflections(path, CRYSTAL, free=free)
        named = [note for note in notes if "Column xplor looks like flags: --free xplor takes them" in note]
        assert len(named) == (like and free is None)
