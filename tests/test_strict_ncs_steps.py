"""Refinements with copies that stay the same, and what a step has to know of them."""


from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import gemmi
import numpy as np
import pytest
from checks import dot_test
from synthetic import with_tensors

import arrayrefine as ar
from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.coordinate_uncertainty import standard_uncertainties
from arrayrefine.displacements.displacement import total_u
from arrayrefine.io.models.reading import read_model
from arrayrefine.kernels import symmetric
from arrayrefine.options import External, Minimiser
from arrayrefine.page.facts import facts
from arrayrefine.parameters import Parameters
from arrayrefine.preconditioner import build
from arrayrefine.problem import Problem
from arrayrefine.strict_ncs.copies import Copies, turned
from arrayrefine.strict_ncs.finding import find_copies
from arrayrefine.targets.adp_curvature import strain_matrix
from arrayrefine.targets.geometry_curvature import normal_matrix
from arrayrefine.weighting.adp_evidence import restraints_curvature


@pytest.fixture(scope="module")
def atoms(request: pytest.FixtureRequest) -> Atoms:
    """3G70: two chains of one protein, with a ligand each."""
    return read_model(request.getfixturevalue("case")("3g70") / "model.pdb").atoms


def _part(folder: Path) -> gemmi.Structure:
    """Residues 40 to 70 of both chains of 3G70."""
    part = gemmi.read_structure(str(folder / "model.pdb"))
    for chain in part[0]:
        for k in reversed(range(len(chain))):
            if not 40 <= chain[k].seqid.num <= 70:
                del chain[k]
    part.connections = gemmi.ConnectionList()
    return part


def _two_fold(folder: Path) -> gemmi.Structure:
    """3G70 with its second chain as an operator on the first."""
    complete = gemmi.read_structure(str(folder / "shaken.pdb"))
    complete.setup_entities()
    first, second = (complete[0][name].get_polymer() for name in "AB")
    found = gemmi.calculate_superposition(second, first, gemmi.PolymerType.PeptideL, gemmi.SupSelect.CaP)
    del complete[0]["B"]
    within = [link for link in complete.connections if {link.partner1.chain_name, link.partner2.chain_name} == {"A"}]
    complete.connections = gemmi.ConnectionList(within)
    complete.ncs = gemmi.NcsOpList([gemmi.NcsOp(found.transform, "2", False)])
    return complete


@pytest.fixture(scope="module")
def refined(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[ar.Result, Path]:
    """One cycle from one chain and an operator, at 5 Å, and what was written."""
    folder, into = request.getfixturevalue("case")("3g70"), tmp_path_factory.mktemp("strict")
    options = ar.Options(
        cycles=1, d_min=5.0, hydrogens="strip", anisotropic="none", tls=("none",), side_chains="keep", report=False,
        external=External(ncs="strict"), minimiser=Minimiser(max_iterations=12),
    )  # fmt: skip
    result = ar.refine(_two_fold(folder), folder / "norm.mtz", options)
    result.write(into)
    return result, into


def test_a_refinement_keeps_copies_the_same_and_moves_their_operator(refined: tuple[ar.Result, Path]) -> None:
    result, folder = refined
    atoms, report = result.atoms, result.report
    copies, (said,) = find_copies(atoms)
    assert "A to B (0.00 Å rms)" in said
    assert "(0 waters)" in said  # those that the operator made are copies too
    motions = copies.motions(atoms)
    off = motions.applied(copies.operator, atoms.xyz[copies.parent]) - atoms.xyz[copies.child]
    assert np.abs(off).max() < 1e-6
    assert np.array_equal(atoms.b_iso[copies.child], atoms.b_iso[copies.parent])
    assert report.final.r_work < report.start.r_work - 0.01
    (row,) = report.data["strict_ncs"]
    assert row["moved"] > 0.005  # as the operator was found from shaken chains
    assert np.allclose(row["rotation"], motions.rotation[0])
    assert any("their operators moved: A to B" in note for note in report.warnings)
    content = json.loads((folder / "report.json").read_text())
    groups = dict(facts(content, result.reflections.crystal, "0"))
    assert ("Strict NCS", "A to B") in groups["Model"]
    steps = [step for step in report.steps if step.free_parameters]
    assert steps[-1].free_parameters == 4 * (len(atoms) - len(copies)) + 6
    for name in ("refined.pdb", "refined.cif"):
        written = gemmi.read_structure(str(folder / name))
        assert [op.given for op in written.ncs] == [True, True] or [op.given for op in written.ncs] == [True]
        assert np.allclose(written.ncs[-1].tr.mat.tolist(), motions.rotation[0], atol=1e-5)
        again, _ = find_copies(read_model(folder / name).atoms)
        assert len(again) == len(copies)


def test_regularising_keeps_copies_the_same(case: Callable[[str], Path]) -> None:
    part = _part(case("3g70"))
    copies, _ = find_copies(read_model(part).atoms)
    moved = ar.regularise(part, ar.Options(external=External(ncs="strict"), hydrogens="strip")).atoms
    motions = copies.motions(moved)
    assert np.abs(motions.applied(copies.operator, moved.xyz[copies.parent]) - moved.xyz[copies.child]).max() < 1e-6


@pytest.fixture(scope="module")
def small(request: pytest.FixtureRequest) -> tuple[Problem, Atoms]:
    """A part of both chains, prepared."""
    folder = request.getfixturevalue("case")("3g70")
    options = ar.Options(
        d_min=5.0, hydrogens="strip", anisotropic="none", tls=("none",), device="cpu", external=External(ncs="strict")
    )
    _, problem, atoms, _ = ar.prepare(_part(folder), folder / "norm.mtz", options)
    return problem, atoms


@pytest.mark.parametrize("anisotropic", [False, True])
def test_the_change_of_variable_knows_of_copies(small: tuple[Problem, Atoms], anisotropic: bool) -> None:
    """In the round variable the second derivative Mᵀ H M of data and restraints is the identity."""
    problem, atoms = small
    copies = problem.copies
    if anisotropic:
        atoms = copies.alike(with_tensors(atoms))
        problem = problem.with_restraints(problem.restraints, atoms)
    geometry, adp = problem.geometry, problem.adp
    parameters = Parameters.of(atoms, "xyz+b", copies=copies)
    rng = np.random.default_rng(6)
    n = len(atoms)
    h = Gradient(np.repeat(rng.uniform(5.0, 9.0, (n, 1)), 3, axis=1), rng.uniform(0.01, 0.02, n), np.ones(n))
    of_xyz = normal_matrix(geometry, atoms, parameters.xyz, parameters.carried)
    of_b = restraints_curvature(adp, atoms, parameters)
    every = normal_matrix(geometry, atoms, np.ones(n, dtype=bool))
    moves = parameters.carried.shifts(parameters.xyz)
    assert np.allclose((moves.T @ every @ moves).toarray(), of_xyz.toarray(), atol=1e-8)
    change = build(parameters, h, xyz_matrix=of_xyz, geometry=0.5, adp_matrix=of_b, adp=2.0)
    assert change.bounded.sum() <= 0.2 * len(change.bounded)
    at = parameters.slices["xyz"]
    p = rng.normal(size=parameters.size)
    shift = change.to_x(1e-4 * p)[at] - change.x0[at]
    floored = np.maximum(h.xyz.reshape(-1) + 0.02 * h.xyz.mean(), 1e-3 * 0.5 * of_xyz.diagonal().mean())
    bent = 0.5 * of_xyz @ shift + moves.T @ (floored * (moves @ shift))
    back = change.pullback(change.x0, np.concatenate([bent, np.zeros(parameters.size - len(bent))]), 0.0 * p)
    assert np.allclose(back[at], 1e-4 * p[at], atol=1e-9)
    # the restraints on displacements: their curvature along a step of what is free is that of all atoms along theirs
    scalar, tensor, of_displacements = parameters.carried.displacements(parameters.b, parameters.u)
    assert len(scalar) + len(tensor) == n
    step = rng.normal(size=of_b.shape[0])
    whole = strain_matrix(adp, atoms, scalar, tensor)
    dot_test(float(step @ (of_b @ step)), float((moved := of_displacements @ step) @ (whole @ moved)), 1e-9)


def test_strains_of_copies_are_those_that_their_tensors_have(atoms: Atoms) -> None:
    """U = R exp(S) R of a copy is the turned one when S is."""
    copies, _ = find_copies(atoms)
    atoms = copies.alike(with_tensors(atoms))
    parameters = Parameters.of(atoms, "b", copies=copies)
    _, tensor, moves = parameters.carried.displacements(parameters.b, parameters.u)
    strain = np.random.default_rng(8).normal(0.0, 0.1, 6 * int(parameters.u.sum()))
    every = (moves @ np.concatenate([np.zeros(parameters.sizes.b), strain]))[-6 * len(tensor) :].reshape(-1, 6)
    root = symmetric.root(total_u(atoms, tensor))
    u = total_u(atoms)
    u[tensor] = symmetric.product(root, symmetric.Exponential.of(every @ symmetric.STRAINS).value())
    turn = copies.motions(atoms).rotation[copies.operator]
    rows = atoms.anisotropic[copies.child]
    assert np.allclose(turned(turn, u[copies.parent])[rows], u[copies.child][rows])


def test_uncertainties_are_those_of_all_copies_together(small: tuple[Problem, Atoms]) -> None:
    """Data and restraints on two copies tell a coordinate better than those on one."""
    problem, atoms = small
    state = ar.evaluate(problem, atoms)
    copies = problem.copies
    found = standard_uncertainties(problem, state, 0.3)
    apart = standard_uncertainties(dataclasses.replace(problem, copies=Copies.none()), state, 0.3)
    assert np.isfinite(found).all()
    assert np.median(found[copies.parent] / apart[copies.parent]) == pytest.approx(1.0 / np.sqrt(2.0), rel=0.1)
    assert np.allclose((found[copies.child] ** 2).sum(axis=1), (found[copies.parent] ** 2).sum(axis=1))


def test_a_device_computes_structure_factors_of_copies(
    case: Callable[[str], Path], emulated_cuda: ModuleType
) -> None:
    """The host moves the copies, and the result is that without a device, within single precision."""
    folder = case("3g70")
    brief = ar.Options(
        cycles=1, d_min=6.0, hydrogens="strip", anisotropic="none", tls=("none",), rigid_body="no", ligands="keep",
        report=False, device="cpu", external=External(ncs="strict"), minimiser=Minimiser(max_iterations=3),
    )  # fmt: skip
    on_host, on_device = (
        ar.refine(_part(folder), folder / "norm.mtz", options)
        for options in (brief, dataclasses.replace(brief, device="cuda"))
    )
    assert on_device.report.final.r_work < on_device.report.start.r_work
    assert on_device.report.final.r_work == pytest.approx(on_host.report.final.r_work, abs=2e-3)
    copies, _ = find_copies(on_device.atoms)
    motions = copies.motions(on_device.atoms)
    off = motions.applied(copies.operator, on_device.atoms.xyz[copies.parent]) - on_device.atoms.xyz[copies.child]
    assert np.abs(off).max() < 1e-6


def test_other_options_leave_copies_the_same(case: Callable[[str], Path]) -> None:
    """Groups of TLS of which one has no part in the other copy, a frozen stretch of one chain, a rigid body, two cores.

    What report and log say of the copies is what they are.
    """
    folder = case("3g70")
    options = ar.Options(
        cycles=1, d_min=5.0, hydrogens="strip", anisotropic="none", tls=("chain A and 55-70", "chain B"), report=False,
        side_chains="keep", rigid_body="yes", freeze=("xyz: chain B and 40-45", "b: chain A and 50-52"),
        rigid_groups=("chain A",), external=External(ncs="strict"), minimiser=Minimiser(max_iterations=4),
    )  # fmt: skip
    one, two = (ar.refine(_part(folder), folder / "norm.mtz", dataclasses.replace(options, threads=n)) for n in (1, 2))
    assert np.array_equal(one.atoms.xyz, two.atoms.xyz)
    assert np.array_equal(total_u(one.atoms), total_u(two.atoms))
    start, atoms = one.model.atoms, one.atoms
    who = atoms.identity
    frozen = (who.chain == "B") & (who.sequence_number <= 45)
    assert np.array_equal(atoms.xyz[frozen], start.xyz[frozen])
    (row,) = one.report.data["strict_ncs"]
    (said,) = [note for note in one.report.warnings if "have one set of coordinates" in note]
    assert f"{row['atoms']} atoms with their {row['atoms']} copies" in said
    rotation, shift = np.array(row["rotation"]), np.array(row["translation"])
    tied = ~atoms.is_water & (who.sequence_number > 45)
    first, second = (np.flatnonzero(tied & (who.chain == name)) for name in "AB")
    names = {(who.sequence_number[i], who.atom_name[i]): i for i in second}
    pairs = [(i, names[key]) for i in first if (key := (who.sequence_number[i], who.atom_name[i])) in names]
    left, right = np.array(pairs).T
    off = np.linalg.norm(atoms.xyz[left] @ rotation.T + shift - atoms.xyz[right], axis=1)
    assert (off < 1e-6).sum() >= row["atoms"] > 150
