"""Data in another of the indexings that the lattice allows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from synthetic import wilson

import arrayrefine as ar
from arrayrefine.crystal import Crystal
from arrayrefine.lattice_symmetry import mates
from arrayrefine.twins.other_indexing import other_indexing

LAW = "-h-k,k,-l"
BRIEF = ar.Options(cycles=0, d_min=3.0, hydrogens="strip", anisotropic="none", tls=("none",))


def _reindexed(given: Path, path: Path) -> Path:
    data = gemmi.read_mtz_file(str(given))
    data.reindex(gemmi.Op(LAW))
    data.ensure_asu()
    data.write_to_file(str(path))
    return path


def test_data_that_are_indexed_otherwise_are_named(case: Callable[[str], Path], tmp_path: Path) -> None:
    folder = case("br_lcls")
    (model,) = folder.glob("model.*")
    other = _reindexed(folder / "norm.mtz", tmp_path / "other.mtz")
    heard: list[str] = []
    result = ar.refine(model, other, BRIEF, on_message=heard.append)
    assert result.r_work > 0.45
    (said,) = [note for note in result.report.warnings if note.startswith("with indices changed by")]
    assert f"changed by {LAW} the data fit" in said
    assert said in heard
    back = ar.refine(model, _reindexed(other, tmp_path / "back.mtz"), BRIEF)
    assert back.r_work < 0.3
    assert not any("indices changed" in note for note in back.report.warnings)


def test_of_several_laws_the_one_that_fits_is_named() -> None:
    trigonal = Crystal((50.0, 50.0, 70.0, 90.0, 90.0, 120.0), "P 3")
    data = wilson(trigonal)
    assert len(trigonal.twin_laws) == 3
    for law, matrix in trigonal.twin_laws.items():
        mate = mates(trigonal, data.hkl, matrix)
        model = np.where(mate >= 0, data.f_obs[mate], 1.0).astype(complex)
        assert f"with indices changed by {law} the data fit the model: amplitudes correlate by 1.00" in other_indexing(
            data, model, 0.55
        )
    assert other_indexing(data, data.f_obs.astype(complex), 0.55) == ""


def test_few_mates_tell_nothing_about_indices() -> None:
    trigonal = Crystal((50.0, 50.0, 70.0, 90.0, 90.0, 120.0), "P 3")
    data = wilson(trigonal)
    mate = mates(trigonal, data.hkl, next(iter(trigonal.twin_laws.values())))
    model = np.where(mate >= 0, data.f_obs[mate], 1.0).astype(complex)
    few = np.flatnonzero(mate > np.arange(len(data)))[:20]
    chosen = np.isin(np.arange(len(data)), [*few, *mate[few]])
    assert other_indexing(data.select(chosen), model[chosen], 0.55) == ""


@pytest.mark.parametrize("name", ["br_lcls", "1aba"])
def test_a_model_that_fits_neither_way_is_not_blamed_on_indices(case: Callable[[str], Path], name: str) -> None:
    folder = case(name)
    (model,) = folder.glob("model.*")
    _, problem, atoms, _ = ar.prepare(model, folder / "norm.mtz", BRIEF)
    rng = np.random.default_rng(1)
    wrong = rng.permutation(ar.evaluate(problem, atoms).f_calc)
    assert other_indexing(problem.reflections, wrong, 0.55) == ""


def test_indices_are_told_by_chains_that_are_bent_and_lack_side_chains(case: Callable[[str], Path]) -> None:
    folder = case("br_lcls")
    (model,) = folder.glob("model.*")
    _, problem, atoms, _ = ar.prepare(model, folder / "norm.mtz", BRIEF)
    kept = np.isin(atoms.identity.atom_name, ["N", "CA", "C", "O", "CB"])
    waves = np.sin(atoms.xyz[:, [1, 2, 0]] / 6.0 + np.array([0.3, 1.2, 2.1]))
    bent = dataclasses.replace(
        atoms, xyz=atoms.xyz + 0.9 * waves / np.sqrt(1.5), occupancy=np.where(kept, atoms.occupancy, 0.0)
    )
    data, f_calc = problem.reflections, ar.evaluate(problem, bent).f_calc
    mate = mates(data.crystal, data.hkl, data.crystal.twin_laws[LAW])
    said = other_indexing(data, np.where(mate >= 0, f_calc[mate], 0.0), 0.55)
    assert f"with indices changed by {LAW} the data fit the model better" in said
    assert other_indexing(data, f_calc, 0.55) == ""


def test_a_model_in_a_wrong_orientation_is_not_blamed_on_indices(case: Callable[[str], Path]) -> None:
    folder = case("br_lcls")
    (model,) = folder.glob("model.*")
    _, problem, atoms, _ = ar.prepare(model, folder / "norm.mtz", BRIEF)
    centre = atoms.xyz.mean(axis=0)
    for seed in range(3):
        turned = Rotation.random(random_state=seed).apply(atoms.xyz - centre) + centre
        f_calc = ar.evaluate(problem, dataclasses.replace(atoms, xyz=turned)).f_calc
        assert other_indexing(problem.reflections, f_calc, 0.55) == ""
