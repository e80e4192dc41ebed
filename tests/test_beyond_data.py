"""Tests of arrayrefine.io.reflections.beyond_data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_io_reflections import COUNT, CRYSTAL, HKL, F, simple

from arrayrefine.io.reflections.reading import read_reflections


@pytest.mark.parametrize("cut", [False, True])
def test_flags_beyond_the_data_are_said(tmp_path: Path, cut: bool) -> None:
    """As in refined.mtz of a run with --d-min; not where values are missing throughout, as of weak reflections."""
    d = CRYSTAL.inverse_d_squared(HKL) ** -0.5
    lacking = d < np.quantile(d, 0.3) if cut else np.arange(COUNT) % 3 == 1
    path = simple(tmp_path / "a.mtz", FP=("F", np.where(lacking, np.nan, F)))
    _, notes = read_reflections(path, CRYSTAL)
    said = [note for note in notes if "if an earlier run cut them" in note]
    assert len(said) == cut
    assert all(
        f"end at {d[~lacking].min():.2f} Å, and {lacking.sum()} rows beyond, to {d.min():.2f} Å, have no value" in note
        for note in said
    )
