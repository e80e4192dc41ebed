"""Sentences about a model that ended worse than it came, or with its geometry outside the band."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine.options import Weighting
from arrayrefine.preparation import prepare
from arrayrefine.report import Statistics
from arrayrefine.reporting import verdicts


def problem(d_min: float = 2.0, new_flags: bool = True, work: int = 5000, **options: Any) -> Any:
    free = np.arange(work + 500) < 500
    data = types.SimpleNamespace(free=free, work=~free, d_min=d_min, has_new_test_set=new_flags)
    return types.SimpleNamespace(reflections=data, options=ar.Options(**options))


def state(r_work: float = 0.2, r_free: float = 0.2, bond: float | None = 0.6, angle: float = 0.9, alt: str = "") -> Any:
    atoms = types.SimpleNamespace(
        identity=types.SimpleNamespace(altloc=np.array(["", alt])), is_hydrogen=np.zeros(2, dtype=bool)
    )
    statistics = Statistics(r_work, r_free, 0.01, bond, 1.5, angle, 20.0)
    return types.SimpleNamespace(statistics=statistics, atoms=atoms, core_rmsz=(bond, angle))


STEPS: Any = (types.SimpleNamespace(target="xyz+b", free_parameters=400),)


@pytest.mark.parametrize(
    ("r_work", "work", "is_worse"), [(0.2005, 5000, False), (0.206, 5000, True), (0.206, 200, False)]
)
def test_a_new_test_set_does_not_explain_a_worse_r_work(r_work: float, work: int, is_worse: bool) -> None:
    (sentence,) = verdicts.worse_than_start(problem(work=work), state(), state(r_work, 0.22))
    assert f"R-free 0.2000 -> 0.2200 (R-work 0.2000 -> {r_work:.4f}" in sentence
    assert "the test set was chosen in this run" in sentence
    assert ("the model is worse than the one given" in sentence) == is_worse
    assert ("was no R-free" in sentence) != is_worse


@pytest.mark.parametrize(
    ("d_min", "alt", "targets", "work", "named"),
    [
        (0.8, "A", ("xyz+b",), 5000, "--targets xyz+b+occupancy"),
        (0.8, "A", ("xyz", "b"), 5000, "--targets xyz+occupancy b"),
        (0.8, "A", ("xyz+b", "occupancy"), 5000, ""),
        (0.8, "", ("xyz+b",), 5000, ""),
        (1.204, "A", ("xyz+b",), 5000, "--targets xyz+b+occupancy"),
        (1.21, "A", ("xyz+b",), 5000, ""),
        (1.5, "A", ("xyz+b",), 5000, ""),
        (0.8, "A", ("xyz+b",), 11, ""),
    ],
)
def test_occupancies_are_named_where_they_may_be_what_is_missing(
    d_min: float, alt: str, targets: tuple[str, ...], work: int, named: str
) -> None:
    given = problem(d_min, work=work, new_flags=work > 11, targets=targets)
    (sentence,) = verdicts.worse_than_start(given, state(), state(0.22, 0.3, alt=alt))
    assert "the model is worse than the one given" in sentence
    assert ("occupancies" in sentence) == bool(named)
    assert sentence.endswith(named or "report.json holds the numbers of both")


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ({"bond": 1.4}, r"bond RMSZ 1.40 (band 0.5 to 0.75). arrayrefine validate"),
        ({"angle": 1.4}, r"aside: angle RMSZ 1.40 (at most 1.1). arrayrefine validate"),
        ({"bond": 0.3}, "ended tighter than its band: bond RMSZ 0.30 (band 0.5 to 0.75)"),
        ({"bond": 0.3, "angle": 1.12}, ""),  # angles want the weight where it is
        ({"bond": 0.76, "angle": 1.12}, ""),
        ({"bond": None, "angle": 0.9}, ""),
    ],
)
def test_geometry_outside_its_band_is_said(end: dict[str, Any], words: str) -> None:
    start = state(bond=5.0, angle=3.0)
    said = verdicts.out_of_band(problem(), start, state(**end), STEPS)
    assert len(said) == bool(words)
    assert all(words in sentence for sentence in said)


def test_what_is_worse_than_it_came_is_said_once() -> None:
    loose = state(bond=1.4)
    (sentence,) = verdicts.worse_than_start(problem(), state(), loose)
    assert "bond RMSZ 0.60 -> 1.40" in sentence
    assert verdicts.out_of_band(problem(), state(), loose, STEPS) == []


def test_without_a_test_set_only_the_geometry_can_be_worse() -> None:
    start = state(r_free=None)  # type: ignore[arg-type]
    assert verdicts.worse_than_start(problem(), start, state(r_work=0.3, r_free=None)) == []  # type: ignore[arg-type]
    (sentence,) = verdicts.worse_than_start(problem(), start, state(bond=1.4, r_free=None))  # type: ignore[arg-type]
    assert "bond RMSZ 0.60 -> 1.40" in sentence
    assert "R-free" not in sentence


def test_where_no_coordinates_were_refined_the_geometry_may_be_anything() -> None:
    (one,) = STEPS
    only_b: Any = (types.SimpleNamespace(target="b", free_parameters=100),)
    scale: Any = (types.SimpleNamespace(target="scale", free_parameters=0),)
    for end in (state(bond=0.3), state(bond=1.4)):
        counts = [len(verdicts.out_of_band(problem(), state(bond=5.0), end, s)) for s in ((one,), only_b, scale, ())]
        assert counts == [1, 0, 0, 0]


@pytest.mark.parametrize("scheme", ["fixed", "stale"])
def test_weights_that_do_not_follow_the_geometry_are_named(case: Callable[[str], Path], scheme: str) -> None:
    folder, loose = case("5e5z"), Weighting(geometry=0.01, adp=0.05)
    weighting = loose if scheme == "fixed" else Weighting()
    options = ar.Options(cycles=1, weights=scheme, weighting=weighting, tls=("none",), hydrogens="strip")  # type: ignore[arg-type]
    result = ar.refine(folder / "shaken.pdb", folder / "norm.mtz", options)
    (sentence,) = [note for note in result.report.warnings if "the geometry ended" in note]
    steered_by = result.report.scaling["steered_by"]
    assert f"bond RMSZ {steered_by['bond_rmsz']:.2f}" in sentence
    assert f"--weights {'robust' if scheme == 'fixed' else 'stale does not steer it'}" in sentence
    steered = ar.refine(folder / "shaken.pdb", folder / "norm.mtz", dataclasses.replace(options, weights="robust"))
    assert not [note for note in steered.report.warnings if "the geometry ended" in note]


def _with_side_chains_mirrored(given: Path, path: Path, numbers: tuple[int, ...]) -> None:
    """Write a model whose side chains of these residues are reflected by the plane of N, CA and C."""
    structure = gemmi.read_structure(str(given))
    for residue in structure[0][0]:
        if residue.seqid.num not in numbers:
            continue
        at = {atom.name: np.array(atom.pos.tolist()) for atom in residue}
        normal = np.cross(at["N"] - at["CA"], at["C"] - at["CA"])
        normal /= np.linalg.norm(normal)
        for atom in residue:
            if atom.name not in ("N", "CA", "C", "O"):
                away = at[atom.name] - at["CA"]
                atom.pos = gemmi.Position(*(at[atom.name] - 2.0 * (away @ normal) * normal))
    structure.write_pdb(str(path))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_centres_of_the_wrong_hand_turn_and_are_named(case: Callable[[str], Path], tmp_path: Path, seed: int) -> None:
    """In one cycle, from three starts."""
    folder, model = case("1aba"), tmp_path / "mirrored.pdb"
    _with_side_chains_mirrored(folder / "model.pdb", model, (9, 18, 27))
    result = ar.refine(model, folder / "norm.mtz", ar.Options(cycles=1, perturb=0.005, seed=seed))
    assert any("3 chiral centres of the other hand than in the dictionary" in note for note in result.report.warnings)
    (said,) = [note for note in result.report.warnings if "turned to the hand" in note]
    assert said == "3 chiral centres turned to the hand of their restraint: A/SER 9/CA, A/ASP 18/CA, A/LYS 27/CA"


def test_strain_at_centres_of_the_wrong_hand_does_not_steer_the_weights(
    case: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, model = case("1aba"), tmp_path / "mirrored.pdb"
    _with_side_chains_mirrored(folder / "model.pdb", model, (9,))
    _, problem, atoms, _ = prepare(model, folder / "norm.mtz", ar.Options())
    (centre,) = problem.restraints.chiralities.of_wrong_hand(atoms.xyz)
    assert atoms.identity.label(int(centre)) == "A/SER 9/CA"
    xyz = atoms.xyz.copy()
    xyz[centre] += 0.1
    strained = atoms.replace(xyz=xyz)
    assert problem.geometry.core_rmsz(strained) == pytest.approx(problem.geometry.core_rmsz(atoms))
    given = types.SimpleNamespace(atoms=atoms)
    right = types.SimpleNamespace(atoms=atoms.replace(xyz=-atoms.xyz))  # every centre but this one is wrong there
    (still,) = verdicts.hands(problem, given, given)  # type: ignore[arg-type]
    assert still.startswith("1 chiral centre is still of the other hand than its restraint")
    turned, ended = verdicts.hands(problem, given, right)  # type: ignore[arg-type]
    assert turned == "1 chiral centre turned to the hand of its restraint: A/SER 9/CA"
    assert "unlike at the start" in ended
