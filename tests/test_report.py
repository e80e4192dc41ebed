"""The JSON form of a report."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from arrayrefine.options import Options
from arrayrefine.report import SCHEMA, Report, Statistics, Step, json_ready
from arrayrefine.wording import Caution

START = Statistics(0.26, 0.27, 0.03, 1.8, 2.5, 1.6, 20.0)
FINAL = Statistics(0.17, None, 0.012, 0.7, 1.2, 0.8, float("nan"))
STEP = Step(1, "xyz", 3639, {"geometry": np.float32(0.25), "adp": None}, 0.2, 0.22, 0.7, 0.8, 31, 1.5, "converged")


def report() -> Report:
    return Report(
        inputs={"model": {"path": Path("some/model.pdb"), "sha256": "00ff", "atoms": np.int64(1213)}},
        options=json_ready(Options(restraints=(Path("lig.cif"),))),
        start=START,
        final=FINAL,
        steps=(STEP,),
        warnings=("5 % of the reflections were chosen as test set",),
        seconds=12.5,
        shells=({"d_high": 1.8, "r_free": float("inf"), "counts": np.array([1, 2])},),
    )


def test_keys_that_others_script_against() -> None:
    content = json.loads(report().to_json())
    assert next(iter(content)) == "schema"
    assert content["schema"] == SCHEMA
    assert {"schema", "inputs", "options", "start", "final", "steps", "warnings", "seconds"} <= set(content)
    statistics = {"r_work", "r_free", "bond_rmsd", "bond_rmsz", "angle_rmsd", "angle_rmsz", "b_mean"}
    assert statistics == set(content["final"]) == set(content["start"])
    step = {
        "cycle",
        "target",
        "free_parameters",
        "weights",
        "r_work",
        "r_free",
        "bond_rmsz",
        "angle_rmsz",
        "evaluations",
        "seconds",
        "note",
    }
    assert step <= set(content["steps"][0])


def test_json_is_strict_and_values_survive() -> None:
    text = report().to_json()

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    content = json.loads(text, parse_constant=refuse)
    assert content["final"]["b_mean"] is None
    assert content["final"]["r_free"] is None
    assert content["shells"] == [{"d_high": 1.8, "r_free": None, "counts": [1, 2]}]
    assert content["inputs"]["model"] == {"path": "some/model.pdb", "sha256": "00ff", "atoms": 1213}
    assert content["options"]["restraints"] == ["lig.cif"]
    assert content["options"]["weighting"]["ratio"] == 0.2
    assert content["steps"][0]["weights"]["geometry"] == pytest.approx(0.25)


def test_json_ready_of_numpy_and_sets() -> None:
    assert json_ready({1: np.bool_(True), "b": {"z", "a"}}) == {"1": True, "b": ["a", "z"]}
    assert json_ready(np.float64("nan")) is None
    assert json_ready(np.array([[1.0, np.inf]])) == [[1.0, None]]


def test_json_ready_refuses_unknown_objects() -> None:
    with pytest.raises(TypeError, match="object"):
        json_ready({"x": object()})


def test_with_warnings_adds_once() -> None:
    first = report()
    more = first.with_warnings("new", "new", first.warnings[0])
    assert more.warnings == (*first.warnings, "new")
    assert dataclasses.replace(more, warnings=first.warnings) == first


def test_cautions_are_told_from_notes() -> None:
    first = report()
    assert first.as_dict()["cautions"] == []
    more = first.with_warnings("a note", Caution("look there"))
    assert more.cautions == ("look there",)
    content = json.loads(more.to_json())
    assert content["cautions"] == ["look there"]
    assert content["warnings"][-2:] == ["a note", "look there"]
    assert content["notes"][-1:] == ["a note"]
    assert sorted(content["cautions"] + content["notes"]) == sorted(content["warnings"])
    shown = more._repr_html_()
    assert shown.index("Warnings") < shown.index("look there") < shown.index("2 notes") < shown.index("a note")
