"""Standard uncertainties of coordinates: the inverse of the normal matrix, Cruickshank's index, and the output."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import gemmi
import numpy as np
import pytest
import scipy.sparse as sparse
from scipy.spatial import cKDTree

import arrayrefine as ar
from arrayrefine import coordinate_uncertainty
from arrayrefine.coordinate_uncertainty import (
    _colours,
    describe,
    precision_index,
    precision_indices,
    sentence,
    standard_uncertainties,
)
from arrayrefine.example import DATA, MODEL
from arrayrefine.io.output.refinement_items import last_weights
from arrayrefine.problem import Problem
from arrayrefine.sparse_factor import symmetric_factor
from arrayrefine.state import State
from arrayrefine.targets.geometry_curvature import normal_matrix


@pytest.fixture(scope="module")
def example() -> tuple[Problem, State]:
    options = ar.Options(d_min=2.75, freeze=("xyz: not 1-70", "xyz: name CG"))
    _, problem, atoms, _ = ar.prepare(MODEL, DATA, options)
    return problem, ar.evaluate(problem, atoms)


@pytest.mark.parametrize(
    ("atoms", "observations", "completeness", "r", "r_free", "d_min", "esu", "esu_free"),
    [
        pytest.param(5706, 38393, 0.844, 0.196, 0.263, 2.00, 0.256, 0.218, id="3G70"),
        pytest.param(14782, 94197, 0.994, 0.155, 0.207, 2.30, 0.236, 0.192, id="4IID"),
        pytest.param(846, 10296, 0.996, None, 0.223, 1.83, None, 0.122, id="3SB3"),
        pytest.param(782, 4279, 0.997, 0.202, 0.249, 3.20, 0.563, 0.350, id="5KZB"),
    ],
)
def test_the_index_is_that_of_refmac(
    atoms: int, observations: int, completeness: float, r: float | None, r_free: float, d_min: float,
    esu: float | None, esu_free: float,
) -> None:  # fmt: skip
    """What headers of entries refined by REFMAC say, with four parameters for each atom, to 5 %: it counts others."""
    free = precision_index(atoms, observations, 0, completeness, r_free, d_min)
    assert free == pytest.approx(esu_free, rel=0.05)
    if r is not None:
        assert precision_index(atoms, observations, 4 * atoms, completeness, r, d_min) == pytest.approx(esu, rel=0.06)


def test_without_more_observations_than_parameters_there_is_no_index(example: tuple[Problem, State]) -> None:
    assert precision_index(100, 400, 400, 1.0, 0.2, 2.0) is None
    assert precision_index(100, 400, 0, 0.0, 0.2, 2.0) is None
    problem, state = example
    assert precision_indices(problem, state)["esu_r"] is not None
    problem = dataclasses.replace(problem, options=dataclasses.replace(problem.options, freeze=()))
    found = precision_indices(problem, state)
    assert found["esu_r"] is None  # 3,000 reflections, 1,400 atoms
    assert 0.1 < found["esu_r_free"] < 1.0  # type: ignore[operator]
    some, heavy = np.arange(len(state.atoms)) % 2 == 0, ~state.atoms.is_hydrogen
    for occupancy, share in ((0.05, 1.0), (0.0, np.mean(~some[heavy]))):
        part = dataclasses.replace(state, atoms=state.atoms.replace(occupancy=np.where(some, occupancy, 1.0)))
        index = precision_indices(problem, part)["esu_r_free"]
        assert index == pytest.approx(found["esu_r_free"] * np.sqrt(share))  # type: ignore[operator]
    atoms = state.atoms.replace(u_aniso=np.tile([0.01, -0.01, 0.0, 0.0, 0.0, 0.0], (len(state.atoms), 1)))
    tensors = dataclasses.replace(state, atoms=dataclasses.replace(atoms, anisotropic=~atoms.is_hydrogen))
    few = dataclasses.replace(problem, options=dataclasses.replace(problem.options, freeze=("xyz: all", "b: not 1-2")))
    assert precision_indices(few, state)["esu_r"] is not None
    assert precision_indices(few, tensors)["esu_r"] is None  # how many numbers restrained tensors are nobody knows
    lost = dataclasses.replace(state, statistics=dataclasses.replace(state.statistics, r_free=None))
    assert precision_indices(problem, lost)["esu_r_free"] is None


def test_they_are_the_diagonal_of_the_inverse(
    example: tuple[Problem, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Column by column, and with those of far atoms together."""
    problem, state = example
    atoms = state.atoms
    free = problem.parameters(atoms, "xyz").xyz
    monkeypatch.setattr(coordinate_uncertainty, "_EXACT", 10**6)
    exact = standard_uncertainties(problem, state, 0.3)
    h = state.xray.curvature(atoms).xyz[free].reshape(-1) + 0.04
    matrix = sparse.diags_array(h) + 0.3 * normal_matrix(problem.geometry.firmed(atoms), atoms, free)
    dense = np.sqrt(np.diag(np.linalg.inv(matrix.toarray())))
    np.testing.assert_allclose(exact[free].reshape(-1), dense, rtol=1e-6)
    assert np.isnan(exact[~free]).all()
    assert np.isnan(exact[atoms.is_hydrogen]).all()
    assert np.isnan(exact[atoms.identity.atom_name == "CG"]).all()
    monkeypatch.setattr(coordinate_uncertainty, "_EXACT", 0)
    assert coordinate_uncertainty._colours(atoms.xyz[free]).max() < 0.5 * free.sum()
    together = standard_uncertainties(problem, state, 0.3)
    np.testing.assert_allclose(together[free], exact[free], rtol=0.05)
    assert np.quantile(abs(together[free] / exact[free] - 1.0), 0.98) < 0.02
    np.testing.assert_array_equal(standard_uncertainties(problem, state, 0.3), together)
    assert not np.array_equal(standard_uncertainties(problem, state, 0.3, seed=1)[free], together[free])


def test_what_says_less_leaves_more_uncertain(example: tuple[Problem, State]) -> None:
    problem, state = example
    default = standard_uncertainties(problem, state)
    firm, loose = (standard_uncertainties(problem, state, weight) for weight in (10.0, 1e-3))
    free = np.isfinite(default[:, 0])
    assert (firm[free] < default[free]).all()
    assert (loose[free] > default[free]).all()
    high = state.atoms.b_iso[free] > np.quantile(state.atoms.b_iso[free], 0.9)
    size = loose[free].mean(axis=1)
    assert size[high].mean() > 1.5 * size[~high].mean()
    nothing = state.atoms.replace(occupancy=np.zeros(len(state.atoms)))
    alone = standard_uncertainties(problem, dataclasses.replace(state, atoms=nothing), 1e-9)
    assert np.isnan(alone).all()
    for targets in (("b",), ("b", "occupancy"), ("scale",)):
        held = dataclasses.replace(problem, options=dataclasses.replace(problem.options, targets=targets))
        assert np.isnan(standard_uncertainties(held, state)).all()
    frozen = dataclasses.replace(problem, options=dataclasses.replace(problem.options, freeze=("xyz: all",)))
    assert np.isnan(standard_uncertainties(frozen, state)).all()
    assert sentence(describe(state.atoms, np.full((len(state.atoms), 3), np.nan))).endswith("none, as none is refined")


def test_variances_stay_positive_where_covariances_reach_far() -> None:
    """Of one stiff chain, longer than atoms whose columns are computed together are apart."""
    n = 60
    xyz = np.zeros((n, 3))
    xyz[:, 0] = 3.8 * np.arange(n)
    line = sparse.diags_array([-np.ones(3 * n - 3), np.ones(3 * n - 3)], offsets=[0, 3], shape=(3 * n - 3, 3 * n))
    matrix = sparse.csc_array(1e4 * line.T @ line + 1e-2 * sparse.eye_array(3 * n))
    found = coordinate_uncertainty._inverse_diagonal(symmetric_factor(matrix), xyz, 0)
    exact = np.diag(np.linalg.inv(matrix.toarray()))
    np.testing.assert_allclose(found, exact, rtol=1e-6)
    old = coordinate_uncertainty._EXACT
    coordinate_uncertainty._EXACT = 0
    try:
        assert (coordinate_uncertainty._inverse_diagonal(symmetric_factor(matrix), xyz, 0) > 0.0).all()
    finally:
        coordinate_uncertainty._EXACT = old


@pytest.mark.parametrize("form", ["pdb", "cif"])
def test_a_refinement_writes_them(tmp_path: Path, form: str) -> None:
    structure = gemmi.read_structure(str(MODEL))
    structure.setup_entities()
    path = tmp_path / f"model.{form}"
    if form == "pdb":
        structure.write_pdb(str(path))
    else:
        structure.make_mmcif_document().write_file(str(path))
    options = ar.Options(cycles=1, d_min=2.75, freeze=("xyz: resname HOH",), uncertainties=True)
    result = ar.refine(path, DATA, options)
    assert result.uncertainty is not None
    assert result.uncertainty.shape == (len(result.atoms), 3)
    water = result.atoms.identity.residue_name == "HOH"
    assert np.isnan(result.uncertainty[water]).all()
    assert np.isfinite(result.uncertainty[~water]).all()
    weights = last_weights(step.weights for step in result.history)
    assert weights["geometry"] == result.history[-1].weights["geometry"]
    told = result.report.data["coordinate_uncertainty"]
    assert set(told) == {"main chain", "side chain", "other"}
    assert told["main chain"]["median"] < told["side chain"]["median"] < told["side chain"]["largest"]
    assert any("standard uncertainties of coordinates" in s and "main chain 0." in s for s in result.report.warnings)
    result.write(tmp_path / "out")
    block = gemmi.cif.read(str(tmp_path / "out" / "refined.cif")).sole_block()
    table = block.find("_atom_site.", ["label_comp_id", "Cartn_x", "Cartn_x_esd", "Cartn_y_esd", "Cartn_z_esd"])
    assert len(table) == len(result.atoms)
    for row, xyz, sigma in zip(table, result.atoms.xyz, result.uncertainty):
        assert float(row[1]) == pytest.approx(xyz[0], abs=1e-3)
        if row[0] == "HOH":
            assert list(row)[2:] == ["?", "?", "?"]
        else:
            np.testing.assert_allclose([float(row[k]) for k in (2, 3, 4)], sigma, atol=6e-5)
    assert float(block.find_value("_refine.pdbx_overall_ESU_R_Free")) == pytest.approx(
        result.report.data["esu_r_free"], abs=1e-4
    )
    text = (tmp_path / "out" / "refined.pdb").read_text()
    assert "REMARK   3   ESU BASED ON FREE R VALUE                       (A): 0." in text
    assert "REMARK   3   ESU BASED ON R VALUE                            (A): NULL" in text
    # they are of that refinement: the next one does not keep them
    without = dataclasses.replace(options, cycles=0, uncertainties=False)
    again = ar.refine(tmp_path / "out" / "refined.cif", DATA, without)
    assert again.uncertainty is None
    again.write(tmp_path / "again")
    assert "Cartn_x_esd" not in (tmp_path / "again" / "refined.cif").read_text()


def test_without_steps_there_is_no_last_weight() -> None:
    assert last_weights([]) == {"geometry": None, "adp": None}


def test_atoms_that_share_a_column_are_apart_however_many_there_are() -> None:
    xyz = np.random.default_rng(3).uniform(0.0, 40.0, (2100, 3))
    colour = _colours(xyz)
    assert colour.min() == 0
    assert colour.max() < len(xyz) // 4
    for k in range(colour.max() + 1):
        assert len(cKDTree(xyz[colour == k]).query_pairs(12.0)) == 0


def test_what_the_symmetry_of_a_site_fixes_has_no_uncertainty(example: tuple[Problem, State]) -> None:
    """On an axis along x = y, for one."""
    problem, state = example
    default = standard_uncertainties(problem, state)
    one = int(np.flatnonzero(np.isfinite(default[:, 0]))[7])
    projection = state.atoms.site_projection.copy()
    projection[one] = [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
    sited = dataclasses.replace(state, atoms=dataclasses.replace(state.atoms, site_projection=projection))
    found = standard_uncertainties(problem, sited)[one]
    assert found[2] == 0.0
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert 0.3 < found[0] / default[one, 0] < 0.9


def test_hydrogens_are_a_class_of_their_own(example: tuple[Problem, State]) -> None:
    atoms = example[1].atoms
    found = describe(atoms, np.ones((len(atoms), 3)))
    assert found["hydrogen"]["count"] == atoms.is_hydrogen.sum() > 0
    assert sum(row["count"] for row in found.values()) == len(atoms)
