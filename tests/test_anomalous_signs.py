"""Friedel mates that have changed places: atoms are in holes of the anomalous map, which is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gemmi

import arrayrefine as ar
from arrayrefine.wording import Caution


def test_mates_that_changed_places_are_warned_of(case: Callable[[str], Path]) -> None:
    folder = case("hewl_ssad")
    options = ar.Options(cycles=0, d_min=1.8)
    plain = ar.refine(folder / "model.pdb", folder / "data.mtz", options)
    assert not [said for said in plain.report.warnings if "changed places" in said]
    mtz = gemmi.read_mtz_file(str(folder / "data.mtz"))
    names = {"I-obs(+)": "I-obs(-)", "I-obs(-)": "I-obs(+)", "SIGI-obs(+)": "SIGI-obs(-)", "SIGI-obs(-)": "SIGI-obs(+)"}
    for column in mtz.columns:
        column.label = names.get(column.label, column.label)
    result = ar.refine(folder / "model.pdb", mtz, options)
    said = [sentence for sentence in result.report.warnings if "changed places" in sentence]
    assert len(said) == 1
    assert isinstance(said[0], Caution)
    assert "/SD (-" in said[0]
