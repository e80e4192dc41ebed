"""Solvent options of a refinement, on a real crystal: no solvent, and a mask that is searched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from arrayrefine import Options
from arrayrefine.mask_search import search_mask
from arrayrefine.options import Solvent
from arrayrefine.refine import refine


def test_searched_mask_and_no_solvent(case: Callable[[str], Path]) -> None:
    folder = case("1dur")
    said: list[str] = []

    def report(**solvent: object):
        options = Options(cycles=0, solvent=Solvent(**solvent))  # type: ignore[arg-type]
        return refine(folder / "shaken.pdb", folder / "norm.mtz", options, on_message=said.append).report

    bad = {"probe": 2.0, "shrink": 0.6}
    fixed, found, none = report(**bad), report(search=True, **bad), report(model="none")
    assert found.final.r_work < fixed.final.r_work - 0.001
    assert (found.scaling["solvent_probe"], found.scaling["solvent_shrink"]) != (2.0, 0.6)
    (sentence,) = (text for text in dict.fromkeys(said) if text.startswith("solvent mask:"))
    assert f"lowest R-work, {found.final.r_work:.4f}" in sentence
    assert none.final.r_work > found.final.r_work + 0.003
    assert none.scaling["solvent_model"] == "none"
    assert none.scaling["scale"]["k_sol"] == pytest.approx(0.35, abs=0.1)


def test_without_solvent_there_is_no_mask_to_search() -> None:
    problem = SimpleNamespace(options=Options(solvent=Solvent(model="none", search=True)), reflections=None)
    same, note = search_mask(problem, SimpleNamespace(twin=None))  # type: ignore[arg-type]
    assert same is problem
    assert note == "there is no bulk solvent, so no mask to search (--solvent.model none)"
