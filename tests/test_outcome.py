"""Sentences about how a refinement ended: a model that is not where the crystal has it."""

from __future__ import annotations

import types
from typing import Any

import gemmi
import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine.example import DATA, MODEL
from arrayrefine.hydrogens.placing import Hydrogens
from arrayrefine.measurements import free_uncertainty
from arrayrefine.report import Statistics
from arrayrefine.reporting import outcome, verdicts
from arrayrefine.wording import Caution


def with_free(count: int) -> Any:
    """A problem with so many test reflections."""
    return types.SimpleNamespace(
        reflections=types.SimpleNamespace(free=np.arange(5000) < count, d_min=2.0, has_new_test_set=False),
        options=ar.Options(),
    )


def said(
    start: tuple[float, float | None], end: tuple[float, float | None], steps: Any = (None,), count: int = 1000,
    reindexed: str = "",
) -> list[str]:
    """What is said of R-work and R-free at start and end."""
    first, last = (types.SimpleNamespace(statistics=Statistics(*r, 0.01, 0.6, 1.5, 0.9, 20.0)) for r in (start, end))
    return outcome.not_placed(with_free(count), first, last, steps, reindexed=reindexed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ((0.57, 0.59), (0.425, 0.588)),
        ((0.46, 0.49), (0.38, 0.49)),
        ((0.59, None), (0.51, None)),
    ],
)
def test_a_model_that_is_not_placed_is_said(start: tuple[float, float | None], end: tuple[float, float | None]) -> None:
    (sentence,) = said(start, end)
    name, values = ("R-free", (start[1], end[1])) if end[1] is not None else ("R-work", (start[0], end[0]))
    assert sentence.startswith(f"{name} {values[0]:.4f} -> {values[1]:.4f}")
    assert "probably is not where the crystal has it" in sentence
    assert "enantiomorph" in sentence


def test_data_that_are_indexed_otherwise_are_to_be_reindexed() -> None:
    (sentence,) = said((0.53, 0.53), (0.47, 0.54), reindexed="with indices changed by h,-k,-l the data fit the model")
    assert sentence.startswith("R-free 0.5300 -> 0.5400")
    assert "reindex the data" in sentence
    assert "enantiomorph" not in sentence


@pytest.mark.parametrize(("start", "end"), [((0.45, 0.48), (0.38, 0.47)), ((0.43, 0.45), (0.36, 0.48))])
def test_a_model_that_lacks_a_large_part_is_said(start: tuple[float, float], end: tuple[float, float]) -> None:
    (sentence,) = said(start, end)
    assert sentence.startswith(f"R-free {start[1]:.4f} -> {end[1]:.4f}")
    assert "a large part of the crystal probably is missing" in sentence
    assert "build that" in sentence
    assert "If nothing is: check that the data are of this crystal" in sentence
    assert "enantiomorph" in sentence


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ((0.50, 0.52), (0.40, 0.47)),
        ((0.38, 0.44), (0.35, 0.44)),
        ((0.20, 0.24), (0.16, 0.20)),
        ((0.46, None), (0.46, None)),
    ],
)
def test_others_are_not(start: tuple[float, float | None], end: tuple[float, float | None]) -> None:
    assert said(start, end) == []


def test_nothing_refined_is_not_stuck() -> None:
    assert said((0.45, 0.47), (0.45, 0.47), ()) == []
    assert said((0.55, 0.56), (0.55, 0.56), ())


@pytest.mark.parametrize("shift", [0.0, 6.0])
def test_a_model_in_a_wrong_place(shift: float) -> None:
    """Six Å off along an axis no origin of P 21 21 21 is left, and only chance agreement."""
    structure = gemmi.read_structure(str(MODEL))
    structure[0].transform_pos_and_adp(gemmi.Transform(gemmi.Mat33(), gemmi.Vec3(shift, shift / 2, 0.0)))
    result = ar.refine(structure, DATA, ar.Options(cycles=1, d_min=3.5, tls=("none",), rigid_body="no"))
    found = [warning for warning in result.report.warnings if "probably is not where" in warning]
    assert len(found) == (shift > 0.0)


def ended(r_work: float, r_free: float | None) -> Any:
    return types.SimpleNamespace(statistics=Statistics(r_work, r_free, 0.01, 0.6, 1.5, 0.9, 20.0))


def test_a_small_test_set_gives_no_verdict_within_its_uncertainty() -> None:
    steps: Any = [types.SimpleNamespace(r_free=r, cycle=k, target="xyz+b") for k, r in ((1, 0.2517), (2, 0.2788))]
    first, last = ended(0.2532, 0.2105), ended(0.2301, 0.2813)
    for count, is_said in ((9, False), (199, True), (1000, True)):
        assert bool(verdicts.worse_than_start(with_free(count), first, last)) == is_said
    for count, is_said in ((9, False), (1000, True)):
        assert bool(outcome.hindsight(with_free(count), last, steps)) == is_said
    assert said((0.343, 1.29), (0.113, 0.86), count=1) == []
    assert said((0.343, 1.29), (0.113, 0.86), count=400) != []


def test_the_uncertainty_of_a_small_test_set_is_said() -> None:
    def told(count: int, r_free: float | None = 0.28) -> list[str]:
        return free_uncertainty.sentences(with_free(count).reflections, ended(0.25, r_free).statistics)

    (sentence,) = told(9)
    assert sentence.startswith("R-free is of 9 reflections and uncertain by 0.066 (R-free/√(2N)): a difference of less")
    assert "than 0.13 means nothing" in sentence
    assert told(1)[0].startswith("R-free is of 1 reflection and")
    assert told(200) == []
    assert told(0, None) == []


def test_r_free_in_hindsight_is_that_of_the_end() -> None:
    """What comes after the last step, such as the final scale, changes R-free a little: one number in all texts."""
    steps: Any = [types.SimpleNamespace(r_free=r, cycle=k, target="xyz+b") for k, r in ((1, 0.28), (2, 0.3091))]
    (sentence,) = outcome.hindsight(with_free(1000), ended(0.2, 0.3098), steps)
    assert sentence.startswith("R-free ended at 0.3098; it was 0.2800 after cycle 1, xyz+b")
    assert outcome.hindsight(with_free(1000), ended(0.2, 0.285), steps) == []
    assert outcome.hindsight(with_free(1000), ended(0.2, None), ()) == []


@pytest.mark.parametrize(
    ("r_work", "r_free", "count", "refined", "is_said"),
    [(0.15, 0.31, 1000, True, True), (0.15, 0.24, 1000, True, False), (0.15, 0.31, 200, True, True),
     (0.15, 0.31, 30, True, False), (0.15, 0.31, 1000, False, False), (0.15, None, 0, True, False)],
)  # fmt: skip
def test_a_wide_gap_is_said(r_work: float, r_free: float | None, count: int, refined: bool, is_said: bool) -> None:
    for anisotropic in (True, False):
        last = ended(r_work, r_free)
        last.atoms = types.SimpleNamespace(anisotropic=np.array([anisotropic]))
        found = outcome.wide_gap(with_free(count), last, (None,) if refined else ())  # type: ignore[arg-type]
        assert len(found) == is_said
        if is_said:
            assert f"R-free ended 0.160 above R-work (0.1500, 0.3100): {5000 - count} work reflections" in found[0]
            assert ("--anisotropic none" in found[0]) == anisotropic


@pytest.mark.parametrize(
    ("start", "end", "count", "is_said"),
    [
        ((0.1739, 0.1804), (0.1226, 0.1708), 1000, True),  # 1CBS as deposited
        ((0.1389, 0.1683), (0.1283, 0.1605), 1000, False),  # 4XOF as deposited
        ((0.2739, 0.2804), (0.1226, 0.1708), 1000, False),  # shaken
        ((0.1739, 0.1804), (0.1226, 0.1708), 10, False),
        ((0.1824, 0.1804), (0.1226, 0.1708), 1000, True),
        ((0.1739, None), (0.1226, 0.1708), 1000, False),
        ((0.1739, 0.1804), (0.1226, None), 1000, False),
        ((0.4143, 0.4261), (0.3785, 0.4190), 915, False),  # the main protease cut to alanines, placed by another form
    ],
)
def test_a_test_set_that_the_start_knew_is_said(
    start: tuple[float, float | None], end: tuple[float, float | None], count: int, is_said: bool
) -> None:
    first, last = ended(*start), ended(*end)
    for new in (False, True):
        problem = with_free(count)
        problem.reflections.has_new_test_set = new
        found = outcome.known_test_set(problem, first, last)  # type: ignore[arg-type]
        assert len(found) == (is_said and not new)
        how = "only 0.007 above" if start[0] == 0.1739 else "0.002 below"
        told = f"started {how} R-work and ended 0.048 above it: unless the model is of another crystal, it was probably"
        assert all(told in sentence for sentence in found)


def test_b_at_the_ends_are_said() -> None:
    atoms = ar.read_model(MODEL).atoms
    problem = types.SimpleNamespace(hydrogens=Hydrogens.none(len(atoms)))
    last = types.SimpleNamespace(atoms=atoms)
    assert outcome.limits(problem, last) == []  # type: ignore[arg-type]
    b_iso = atoms.b_iso.copy()
    b_iso[3], b_iso[5], b_iso[8] = 0.5, 340.0, 999.0
    odd = types.SimpleNamespace(atoms=atoms.replace(b_iso=b_iso))
    low, high = outcome.limits(problem, odd)  # type: ignore[arg-type]
    assert low.startswith(f"1 atom ended at the limit of B, 0.5 Å²; the first is {atoms.identity.label(3)}")
    assert high.startswith("2 atoms ended with B above 300 Å²")
    large = types.SimpleNamespace(atoms=atoms.replace(b_iso=200.0 + 2.0 * atoms.b_iso))
    assert outcome.limits(problem, large) == []  # type: ignore[arg-type]


def test_a_handful_of_reflections_is_warned_of() -> None:
    data = ar.read_reflections(DATA, ar.read_model(MODEL).crystal)[0]
    few = data.select(np.arange(len(data)) % 350 == 0)
    for reflections, is_said in ((few, True), (data, False)):
        result = ar.prepare(MODEL, reflections, ar.Options())
        found = [note for note in result[3] if "residues, not one for each" in note]
        assert bool(found) == is_said


@pytest.mark.parametrize(
    ("d_min", "r_work", "with_waters", "asked", "residues", "is_said"),
    [
        (2.0, 0.25, False, "keep", 60, True),
        (2.7, 0.25, False, "keep", 60, False),
        (2.0, 0.45, False, "keep", 60, False),
        (2.0, 0.37, False, "keep", 60, False),  # --waters add would look for none
        (2.0, 0.25, True, "keep", 60, False),
        (2.0, 0.25, False, "add", 60, False),
        (2.0, 0.25, False, "keep", 15, False),
    ],
)
def test_a_model_without_waters_is_told_what_finds_them(
    d_min: float, r_work: float, with_waters: bool, asked: Any, residues: int, is_said: bool
) -> None:
    structure = gemmi.read_structure(str(MODEL))
    for chain in structure[0]:
        for k in range(len(chain) - 1, -1, -1):
            if not (with_waters if chain[k].name == "HOH" else chain[k].seqid.num <= residues):
                del chain[k]
    atoms = ar.read_model(structure).atoms
    assert np.isin("HOH", atoms.identity.residue_name) == with_waters
    problem = with_free(1000)
    problem.reflections.d_min, problem.options = d_min, ar.Options(waters=asked)
    last = types.SimpleNamespace(atoms=atoms, statistics=Statistics(r_work, None, 0.01, 0.6, 1.5, 0.9, 20.0))
    found = outcome.waterless(problem, last)  # type: ignore[arg-type]
    assert [note.startswith(f"the model has no waters, and data to {d_min:.2f} Å show some") for note in found] == (
        [True] if is_said else []
    )


def test_what_a_search_for_weights_did_is_said() -> None:
    def said(weights: str, searched: bool, free: int) -> list[str]:
        problem: Any = types.SimpleNamespace(
            options=types.SimpleNamespace(weights=weights),
            reflections=types.SimpleNamespace(free=np.arange(10) < free),
        )
        step: Any = types.SimpleNamespace(weights={"geometry": 1.0} | ({"search": 0.1} if searched else {}))
        return outcome.chosen_weights(problem, (step,))

    assert said("robust", False, 3) == []
    (flatters,) = said("search", True, 3)
    assert flatters == "the test set chose the weights (--weights search): R-free flatters the model a little"
    assert not isinstance(flatters, Caution)
    for free, why in ((3, "there was no second cycle"), (0, "there is no test set")):
        (nothing,) = said("search", False, free)
        assert isinstance(nothing, Caution)
        assert nothing == f"--weights search chose nothing, as {why}: the weights are those of --weights robust"
