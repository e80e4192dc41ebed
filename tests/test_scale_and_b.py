"""Scale and B are two names for one thing: which B take over the isotropic part of the scale, and steps of scale."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gemmi
import pytest

import arrayrefine as ar
from arrayrefine import Options
from arrayrefine.result import Result

Case = Callable[[str], Path]

PLAIN = Options(cycles=1, tls=("none",), anisotropic="none", hydrogens="strip", report=False)


@pytest.fixture
def shifted(case: Case) -> gemmi.Structure:
    """A peptide of which every B is 5 Å² too high for the data."""
    structure = gemmi.read_structure(str(case("5e5z") / "shaken.pdb"))
    structure.remove_hydrogens()
    for found in structure[0].all():
        found.atom.b_iso += 5.0
    return structure


def refined(case: Case, model: gemmi.Structure, **changes: Any) -> Result:
    return ar.refine(model, case("5e5z") / "norm.mtz", dataclasses.replace(PLAIN, **changes))


@pytest.mark.parametrize("targets", [("scale",), ("scale", "occupancy")])
def test_a_scale_that_is_all_there_is_to_fit_is_fitted_once(
    case: Case, shifted: gemmi.Structure, targets: tuple[str, ...]
) -> None:
    result = refined(case, shifted, targets=targets, cycles=10)
    assert [step.target for step in result.history] == ["scale"]
    assert "another cycle would be the same" in result.report.stopped
