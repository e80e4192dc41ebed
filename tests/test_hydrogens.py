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
from arrayrefine.example import MODEL
from arrayrefine.hydrogens.riding import fold, follow
from arrayrefine.hydrogens.sources import add_hydrogens, keep_hydrogens
from arrayrefine.hydrogens.turning import turn_hydrogens
from arrayrefine.io.models.reading import read_model
from arrayrefine.kernels import frames, geometry
from arrayrefine.minimize import Objective
from arrayrefine.monomers import load_monomers
from arrayrefine.options import Options, RidingHydrogens, Xray
from arrayrefine.parameters import Parameters
from arrayrefine.preparation import prepare
from arrayrefine.refine import refine
from arrayrefine.scattering.form_factors import form_factors, scattering
from arrayrefine.state import evaluate
from arrayrefine.weighting.schemes import find_weights
from arrayrefine.wording import Caution

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
    ratio = atoms.b_iso[riding.child] / atoms.b_iso[riding.parent]
    methyl = (atoms.identity.residue_name == "ALA") & (atoms.identity.atom_name == "HB1")
    assert np.allclose(ratio[methyl[riding.child]], RidingHydrogens().b_ratio_turning)
    alpha = atoms.identity.atom_name == "HA"
    assert np.allclose(ratio[alpha[riding.child]], RidingHydrogens().b_ratio)
    conformer = atoms.identity.altloc
    both = (conformer[riding.child] != "") & (conformer[riding.parent] != "")
    assert (conformer[riding.child] == conformer[riding.parent])[both].all()
    assert any("hydrogens added" in note for note in notes)


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


@pytest.mark.parametrize("arms", [1, 2, 3])
def test_a_frame_carries_its_child_through_any_motion(arms: int) -> None:
    """Turned as a whole, a child turns along; and where its neighbours are bent, it keeps the angles it was given."""
    rng = np.random.default_rng(arms)
    xyz = rng.normal(size=(40, 3))
    child, parent = np.arange(8), np.arange(8, 16)
    neighbour = np.arange(16, 40).reshape(8, 3)
    if arms == 1:
        neighbour[:, 2] = parent
    found = frames.measure(xyz, child, parent, neighbour, np.full(8, arms))
    assert set(found.kind) <= {frames.TORSION, frames.PLANAR, frames.PYRAMID, frames.TRIPOD}
    assert np.allclose(frames.place(found, xyz), xyz[child])
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    moved = xyz @ turn.T + rng.normal(size=3)
    assert np.allclose(frames.place(found, moved), moved[child])
    bent = xyz + rng.normal(0, 0.1, xyz.shape)
    there = frames.place(found, bent)
    length = np.linalg.norm(there - bent[parent], axis=1)
    assert np.allclose(length, np.linalg.norm(xyz[child] - xyz[parent], axis=1))
    if arms == 1:
        ends = (neighbour[:, 1], neighbour[:, 0], parent)
        before = frames.torsion(*(xyz[k] for k in ends), xyz[child])
        assert np.allclose(frames.torsion(*(bent[k] for k in ends), there), before)


def test_frames_of_degenerate_neighbours_do_not_lose_the_hydrogen() -> None:
    xyz = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.5, 0.0, 0.0], [-1.5, 0.0, 0.0], [0.0, 1.5, 0.0]])
    one = np.array([0]), np.array([1])
    for neighbour, count in (([2, 3, 1], 2), ([2, 3, 4], 3), ([2, 3, 1], 1), ([1, 1, 1], 0)):
        found = frames.measure(xyz, *one, np.array([neighbour]), np.array([count]))
        assert np.isfinite(frames.place(found, xyz)).all()
        flat = xyz.copy()
        flat[2:] = 0.0
        assert np.isfinite(frames.place(found, flat)).all()


def test_placed_anew_as_gemmi_would_place_them(case: Case) -> None:
    """After a move of everything, against hydrogens that gemmi adds to the moved model from nothing."""
    _, problem, atoms, _ = _prepared(case("1aba"), riding=RidingHydrogens(turn="none"))
    own = problem.hydrogens.own
    xyz = atoms.xyz.copy()
    xyz[own] += np.random.default_rng(0).normal(0, 0.05, (len(own), 3))
    placed = problem.hydrogens.place(atoms.replace(xyz=xyz))
    bare = problem.hydrogens.bare
    assert bare is not None
    structure = bare.structure.clone()
    sites = [site for chain in structure[0] for residue in chain for site in residue]
    for site, position in zip(sites, xyz[own].tolist(), strict=True):
        site.pos = gemmi.Position(*position)
    moved = dataclasses.replace(bare, atoms=bare.atoms.replace(xyz=xyz[own]), structure=structure)
    names = sorted(set(atoms.identity.residue_name.tolist()))
    anew, _, _ = add_hydrogens(moved, problem.reflections.crystal, load_monomers(names, (), None), RidingHydrogens())
    known = atoms.occupancy[atoms.riding.child] > 0
    chosen = atoms.riding.child[known]
    assert np.abs(anew.atoms.xyz - placed.xyz)[chosen].max() < 1e-6


def test_turning_groups_find_their_hydrogen_bonds_and_lower_the_target(case: Case) -> None:
    _, problem, atoms, notes = _prepared(case("4xof"), "model.pdb", riding=RidingHydrogens(turn="polar"))
    assert any("turned to contacts and density" in note for note in notes)
    state = evaluate(problem, atoms)
    hydrogens, crystal = problem.hydrogens, problem.reflections.crystal
    assert hydrogens.rotors is not None
    rows = hydrogens.rotors.rows
    child, parent = atoms.riding.child[rows], atoms.riding.parent[rows]
    assert set(atoms.element[parent]) <= {"O", "N", "S"}
    assert (atoms.occupancy[child] == atoms.occupancy[parent]).all()
    nb = problem.restraints.non_bonded
    # Any other torsion is worse for data and contacts together.
    turned = turn_hydrogens(hydrogens, state.atoms, nb, crystal, state.xray)
    frame = hydrogens.turned(turned)
    away = frame.value[:, 2].copy()
    away[rows] += np.pi / 3 if len(rows) else 0.0
    xyz = turned.xyz.copy()
    xyz[frame.child] = frames.place(frame.with_torsion(away), turned.xyz)
    wrong = turned.replace(xyz=xyz)
    total = [state.xray(a)[0] + problem.geometry(a)[0] for a in (turned, wrong)]
    assert total[0] < total[1] - 10.0
    # Turned away, they find back, and stay there.
    again = turn_hydrogens(hydrogens, wrong, nb, crystal, state.xray)
    far = np.linalg.norm(again.xyz - turned.xyz, axis=1)[child]
    assert np.mean(far < 0.3) > 0.8
    assert np.array_equal(turn_hydrogens(hydrogens, turned, nb, crystal, state.xray).xyz, turned.xyz)
    # Lengths and angles are those of the dictionary all the while.
    length = np.linalg.norm(again.xyz[child] - again.xyz[parent], axis=1)
    assert np.allclose(length, np.linalg.norm(atoms.xyz[child] - atoms.xyz[parent], axis=1))
    # Many of the hydroxyls point at an acceptor.
    acceptor = np.flatnonzero(nb.acceptor & ~atoms.is_hydrogen)
    near = np.linalg.norm(turned.xyz[child][:, None] - atoms.xyz[acceptor], axis=2)
    near[near < 1.3] = np.inf
    before = np.linalg.norm(wrong.xyz[child][:, None] - atoms.xyz[acceptor], axis=2)
    before[before < 1.3] = np.inf
    assert np.sum(near.min(axis=1) < 2.1) > np.sum(before.min(axis=1) < 2.1) + 5


def test_hydrogens_scatter_as_bonded_ones() -> None:
    """Contracted by the bond, as a 1s orbital of exponent 1.16 instead of 1 is."""
    _, _, table = form_factors(["H"])
    s = np.linspace(0.0, 0.6, 7)  # sin θ / λ, Å⁻¹
    x = 2.0 * np.pi * 0.529177 * s
    free, bonded = (1.0 + x**2) ** -2, (1.0 + (x / 1.16) ** 2) ** -2
    f = scattering(table, 4.0 * s**2)[0]
    assert np.abs(f - bonded).max() < 0.006
    assert np.abs(f - free).max() > 0.08


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


def test_chain_rule_is_exact_for_each_term(case: Case) -> None:
    """X-ray and contacts alone, through `unpack` and `pullback`, where hydrogens take part in both."""
    _, problem, atoms, _ = _prepared(case("5e5z"), "shaken.pdb", xray=Xray(precision="double", accuracy=1e-8))
    state = evaluate(problem, atoms)
    parameters = Parameters.of(state.atoms, "xyz+b")
    x = parameters.pack(state.atoms)
    rng = np.random.default_rng(2)
    direction = rng.normal(size=len(x)) * 0.1
    n = len(atoms)
    y = Gradient(rng.normal(size=(n, 3)), rng.normal(size=n), np.zeros(n))
    one, two = parameters.unpack(x), parameters.unpack(x + direction)
    left = ((two.xyz - one.xyz) * y.xyz).sum() + (two.b_iso - one.b_iso) @ y.b_iso
    dot_test(float(left), float(direction @ parameters.pullback(y)), 1e-11)
    contacts = dataclasses.replace(problem.geometry, restraints=problem.restraints.without(np.ones(n, dtype=bool)))
    for target in (state.xray, contacts):
        _, gradient = target(state.atoms)
        assert np.abs(gradient.xyz[atoms.riding.child]).max() > 1e-3
        along = float(parameters.pullback(gradient) @ direction)
        check_direction(lambda t, f=target: f(parameters.unpack(x + t * direction))[0], along, 1e-3, 1e-5)


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
    kept, problem, atoms, notes = _prepared(folder, "shaken.pdb", hydrogens="keep")
    assert len(atoms.riding) == 704 == atoms.is_hydrogen.sum()
    assert any("704 hydrogens of the model kept" in note for note in notes)
    read = gemmi.read_structure(str(folder / "shaken.pdb"))
    sites = [site for chain in read[0] for residue in chain for site in residue]
    assert np.abs(atoms.xyz - [site.pos.tolist() for site in sites]).max() < 1e-3  # where they sit
    assert (atoms.identity.residue[atoms.riding.child] == atoms.identity.residue[atoms.riding.parent]).all()
    assert not Parameters.of(atoms, "xyz+b").xyz[atoms.riding.child].any()
    assert np.array_equal(problem.hydrogens.place(atoms).xyz[problem.hydrogens.own], atoms.xyz[problem.hydrogens.own])
    _, _, atoms, notes = _prepared(folder, "shaken.pdb", hydrogens="strip")
    assert not atoms.is_hydrogen.any()
    assert len(atoms) == len(kept.atoms) - 704
    assert "704 hydrogens were removed" in notes
    bare, _, _, notes = _prepared(case("1aba"), "shaken.pdb", hydrogens="keep")
    assert not bare.atoms.is_hydrogen.any()
    assert [note for note in notes if note.startswith("--hydrogens keep has no effect") and isinstance(note, Caution)]


def test_deuterated_neutron_model_and_unknown_component(case: Case) -> None:
    for name, options in (("1v9g", {"hydrogens": "add"}), ("5orl", {"unknown": "hold"})):
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


def test_a_hydrogen_without_an_atom_nearby_is_kept_and_named() -> None:
    structure = gemmi.read_structure(str(MODEL))
    water = next(r for chain in structure[0] for r in chain if r.name == "HOH")
    for name, shift in (("H1", 0.97), ("H2", 2.6)):
        atom = gemmi.Atom()
        atom.name, atom.element, atom.b_iso = name, gemmi.Element("H"), 20.0
        atom.pos = water[0].pos + gemmi.Position(shift, 0.0, 0.0)
        water.add_atom(atom)
    model = read_model(structure)
    library = load_monomers(structure[0].get_all_residue_names())
    kept, hydrogens, notes = keep_hydrogens(model, model.crystal, library, RidingHydrogens())
    assert len(hydrogens.own) == len(kept.atoms) - 1
    (note,) = (note for note in notes if "without an atom to ride on" in note)
    assert note.startswith("1 hydrogen without an atom to ride on, refined freely; the first is ")
    assert "H2" in note
