"""Riding hydrogens: where they sit, how they follow, and that nothing of them is left in the output unasked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest
from checks import check_direction, dot_test
from synthetic import crystal, random_atoms

from arrayrefine.atoms import Gradient, Riding
from arrayrefine.hydrogens import B_RATIO
from arrayrefine.kernels import geometry
from arrayrefine.macrocycle import find_weights
from arrayrefine.minimize import Objective
from arrayrefine.options import Options, Xray
from arrayrefine.parameters import Parameters
from arrayrefine.refine import prepare, refine
from arrayrefine.riding import fold, follow
from arrayrefine.state import evaluate

Case = Callable[[str], Path]


def test_follow_and_fold_are_adjoint() -> None:
    riding = Riding(np.array([1, 2, 8]), np.array([0, 0, 5]))
    atoms = dataclasses.replace(random_atoms(crystal("P 1"), n=9), riding=riding)
    rng = np.random.default_rng(0)
    dx, db, dq = rng.normal(size=(9, 3)), rng.normal(size=9), rng.normal(size=9)
    own = ~riding.mask(9)
    for part in (dx, db, dq):
        part[~own] = 0.0
    start = follow(atoms, atoms)
    moved = follow(
        atoms, atoms.replace(xyz=atoms.xyz + dx, b_iso=atoms.b_iso + db, occupancy=atoms.occupancy + dq)
    )
    assert np.allclose(start.xyz, atoms.xyz)
    assert np.allclose(start.b_iso, atoms.b_iso)
    y = Gradient(rng.normal(size=(9, 3)), rng.normal(size=9), rng.normal(size=9))
    left = ((moved.xyz - start.xyz) * y.xyz).sum() + (moved.b_iso - start.b_iso) @ y.b_iso
    left += (moved.occupancy - start.occupancy) @ y.occupancy
    back = fold(atoms, y)
    right = (dx * back.xyz).sum() + db @ back.b_iso + dq @ back.occupancy
    dot_test(float(left), float(right), 1e-12)
    assert not back.xyz[riding.child].any()


def _prepared(folder: Path, model: str = "model.pdb", **changes: object):
    options = Options(**changes)  # type: ignore[arg-type]
    source, problem, atoms, notes = prepare(folder / model, folder / "norm.mtz", options)
    return source, problem, atoms, notes


def test_hydrogens_sit_at_dictionary_distances(case: Case) -> None:
    _, _, atoms, notes = _prepared(case("1aba"))
    riding = atoms.riding
    length = np.linalg.norm(atoms.xyz[riding.child] - atoms.xyz[riding.parent], axis=1)
    assert len(riding) > 700
    assert ((length > 0.8) & (length < 1.4)).all()
    assert (atoms.element[riding.child] == "H").all()
    assert np.allclose(atoms.b_iso[riding.child], B_RATIO * atoms.b_iso[riding.parent])
    conformer = atoms.identity.altloc
    both = (conformer[riding.child] != "") & (conformer[riding.parent] != "")
    assert (conformer[riding.child] == conformer[riding.parent])[both].all()
    assert any("hydrogens were added" in note for note in notes)


def test_placed_anew_when_their_parents_move(case: Case) -> None:
    _, problem, atoms, _ = _prepared(case("1aba"))
    rng = np.random.default_rng(0)
    own, riding = problem.hydrogens.own, atoms.riding
    xyz = atoms.xyz.copy()
    xyz[own] += rng.normal(0, 0.05, (len(own), 3))
    placed = problem.hydrogens.place(atoms.replace(xyz=xyz))
    assert np.array_equal(placed.xyz[own], xyz[own])
    length = np.linalg.norm(placed.xyz[riding.child] - placed.xyz[riding.parent], axis=1)
    assert ((length > 0.8) & (length < 1.4)).all()
    back = problem.hydrogens.place(atoms)
    assert np.abs(back.xyz - atoms.xyz).max() < 1e-4  # once more from the same positions


@pytest.mark.parametrize("target", ["xyz", "b", "xyz+b"])
def test_gradient_of_the_whole_objective_with_riding_atoms(case: Case, target: str) -> None:
    """X-ray, contacts and ADP through the riding atoms, against finite differences."""
    _, problem, atoms, _ = _prepared(case("5e5z"), xray=Xray(precision="double", accuracy=1e-8))
    state = evaluate(problem, atoms)
    riding = atoms.riding
    assert len(riding) > 20
    parameters = Parameters.of(state.atoms, target)
    assert not (parameters.xyz | parameters.b)[riding.child].any()
    objective = Objective(
        parameters, find_weights(problem, state, parameters), state.xray, problem.geometry, problem.adp
    )
    x = parameters.pack(state.atoms)
    direction = np.random.default_rng(1).normal(size=len(x)) * 0.1
    _, gradient = objective.at(x)
    check_direction(lambda t: objective.at(x + t * direction)[0], float(gradient @ direction), 1e-3, 2e-4)


def test_restraints_leave_riding_atoms_out_but_contacts_see_them(case: Case) -> None:
    _, problem, atoms, _ = _prepared(case("1aba"))
    riding = atoms.riding.mask(len(atoms))
    r = problem.restraints
    for index in (r.bonds.index, r.angles.index, r.torsions.index, r.chiralities.index, r.planes.index):
        assert not riding[index].any()
    assert len(r.planes.index) == len(r.planes.plane)
    assert (np.bincount(r.planes.plane) > 3).all()
    _, gradient = problem.geometry(atoms)
    assert np.abs(gradient.xyz[riding]).max() > 0
    assert not riding[problem.adp.i].any()
    z, _ = geometry.bond(atoms.xyz, r.bonds.index, r.bonds.ideal, r.bonds.sigma)
    assert len(z) == len(r.bonds.index)


@pytest.mark.parametrize(("write", "expected"), [("auto", False), ("yes", True), ("no", False)])
def test_output_has_hydrogens_only_if_wanted(case: Case, write: str, expected: bool, tmp_path: Path) -> None:
    folder = case("5e5z")
    result = refine(folder / "model.pdb", folder / "norm.mtz", Options(cycles=1, write_hydrogens=write))  # type: ignore[arg-type]
    result.write(tmp_path)
    for name in ("refined.pdb", "refined.cif"):
        structure = gemmi.read_structure(str(tmp_path / name))
        assert structure[0].has_hydrogen() == expected
        assert structure[0].count_atom_sites() == len(result.atoms)


def test_model_with_hydrogens_gets_riding_ones_back(case: Case, tmp_path: Path) -> None:
    folder = case("4xof")
    result = refine(folder / "shaken.pdb", folder / "norm.mtz", Options(cycles=0))
    assert any("they replace 704 of the model" in w for w in result.report.warnings)
    result.write(tmp_path)
    structure = gemmi.read_structure(str(tmp_path / "refined.pdb"))
    assert structure[0].has_hydrogen()
    heavy = gemmi.read_structure(str(folder / "shaken.pdb"))
    heavy.remove_hydrogens()
    ours = structure.clone()
    ours.remove_hydrogens()
    assert ours[0].count_atom_sites() == heavy[0].count_atom_sites()


def test_keep_and_strip(case: Case) -> None:
    folder = case("4xof")
    kept, _, atoms, _ = _prepared(folder, "shaken.pdb", hydrogens="keep")
    assert not len(atoms.riding)
    assert atoms.is_hydrogen.sum() == 704
    _, _, atoms, notes = _prepared(folder, "shaken.pdb", hydrogens="strip")
    assert not atoms.is_hydrogen.any()
    assert len(atoms) == len(kept.atoms) - 704
    assert "704 hydrogens were removed" in notes


def test_deuterated_neutron_model_and_unknown_component(case: Case) -> None:
    for name, options in (("1v9g", {}), ("5orl", {"unknown": "hold"})):
        folder = case(name)
        start = next(p for p in (folder / "shaken.pdb", folder / "shaken.cif") if p.exists())
        _, problem, atoms, _ = _prepared(folder, start.name, **options)
        riding = atoms.riding
        assert len(riding) > 100
        assert not np.isin(riding.parent, riding.child).any()
        assert not problem.restraints.held[riding.child].any()


def test_riding_hydrogens_lower_r_free(case: Case) -> None:
    """The reason for having them."""
    folder = case("1aba")
    without = refine(folder / "shaken.pdb", folder / "norm.mtz", Options(cycles=2, hydrogens="strip"))
    riding = refine(folder / "shaken.pdb", folder / "norm.mtz", Options(cycles=2))
    assert riding.r_free is not None
    assert without.r_free is not None
    assert riding.r_free < without.r_free - 0.005
