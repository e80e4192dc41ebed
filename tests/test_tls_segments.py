"""TLS groups that the data ask for: what a body gains, where chains are cut and joined, and what stays as it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest
from numpy.typing import NDArray
from synthetic import atoms_from

from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.displacements import tls_segments
from arrayrefine.displacements.displacement import CURVATURE_BY_U, EIGHT_PI_SQUARED, parted, total_u
from arrayrefine.displacements.tls import NUMBERS, Tls, design
from arrayrefine.displacements.tls_groups import choose_tls
from arrayrefine.displacements.tls_motion import describe, ranges, residual_b, selection_of
from arrayrefine.displacements.tls_segments import Evidence, find_bodies, segmented
from arrayrefine.io.models.tls_header import header_groups
from arrayrefine.options import Options
from arrayrefine.refine import refine
from arrayrefine.selection import select

Float = NDArray[np.float64]
Int = NDArray[np.int64]

BACKBONE = ("N", "CA", "C", "O")
PRECISION = 0.01
"""Curvature by B of each atom of the models here, Å⁻⁴, that of a well ordered one in data to 2 Å."""


def chains(lengths: tuple[int, ...] = (100,), apart: float = 12.0) -> Atoms:
    """Compact chains of residues of four atoms beside each other, one group for each; a ligand by the last residue."""
    rows: list[tuple[int, int, str, Float]] = []
    rng = np.random.default_rng(7)
    for chain, length in enumerate(lengths):
        at = np.array([apart * chain, 0.0, 0.0])
        for k in range(length):
            turn = np.array([5.0 * np.cos(1.75 * k), 5.0 * np.sin(1.75 * k), 1.1 * k])
            rows += [(chain, k + 1, name, at + turn + rng.normal(0.0, 1.0, 3)) for name in BACKBONE]
    end = rows[-1][3]
    rows += [(len(lengths) - 1, 900, f"C{k}", end + np.array([1.5 * k, 2.0, 1.0])) for k in range(1, 4)]
    n = len(rows)
    atoms = atoms_from(np.array([row[3] for row in rows]), ["C"] * n, np.full(n, 30.0), np.ones(n))
    number = np.array([row[1] for row in rows])
    chain_of = np.array([row[0] for row in rows])
    identity = dataclasses.replace(
        atoms.identity,
        chain=np.array([chr(ord("A") + row[0]) for row in rows]),
        residue_name=np.where(number == 900, "LIG", "GLY"),
        atom_name=np.array([row[2] for row in rows]),
        sequence_number=number,
        residue=np.cumsum(np.r_[0, (np.diff(number) != 0) | (np.diff(chain_of) != 0)]),
    )
    grouped, _ = choose_tls(dataclasses.replace(atoms, identity=identity), ("chain",), 100_000)
    return grouped


def motion(seed: int) -> Float:
    """Numbers of a group that moves like one of a protein at room temperature."""
    rng = np.random.default_rng(seed)
    spread = np.r_[np.full(6, 0.04), np.full(6, 8e-4), np.full(8, 4e-3)]
    return np.asarray(rng.normal(size=NUMBERS) * spread)


def moving(atoms: Atoms, bodies: list[Int], seeds: tuple[int, ...], noise: int | None = None) -> Evidence:
    """Evidence for a motion of each body about the origin, with the noise that its precision allows."""
    u = np.zeros((len(atoms), 6))
    for index, seed in zip(bodies, seeds):
        u[index] = parted(design(atoms.xyz[index]) @ motion(seed))[1]
    matrix = np.broadcast_to(PRECISION * CURVATURE_BY_U, (len(atoms), 6, 6))
    vector = np.einsum("nij,nj->ni", matrix, u)
    if noise is not None:
        root = np.linalg.cholesky(PRECISION * CURVATURE_BY_U)
        vector = vector + np.random.default_rng(noise).normal(size=u.shape) @ root.T
    return Evidence(matrix, vector)


def residues(atoms: Atoms, chain: str, first: int, last: int) -> Int:
    number = atoms.identity.sequence_number
    return np.flatnonzero((atoms.identity.chain == chain) & (number >= first) & (number <= last))


def test_what_a_body_gains_is_how_far_its_best_motion_lowers_the_parabolas() -> None:
    atoms = chains()
    index = residues(atoms, "A", 1, 60)
    evidence = moving(atoms, [index], (1,), noise=2)
    shape = design(atoms.xyz[index] - atoms.xyz[index[0]])
    shape[:, :3] -= shape[:, :3].mean(axis=1, keepdims=True)
    matrix = np.einsum("nia,nij,njb->ab", shape, evidence.matrix[index], shape)
    vector = np.einsum("nia,ni->a", shape, evidence.vector[index])
    best = np.linalg.lstsq(matrix, vector, rcond=1e-12)[0]
    value = 0.5 * best @ matrix @ best - vector @ best
    assert evidence.gain(atoms.xyz, index) == pytest.approx(-value, rel=1e-4)


def test_evidence_is_the_parabola_with_the_gradient_at_hand() -> None:
    atoms = chains((12,))
    rng = np.random.default_rng(4)
    gradient = Gradient(np.zeros((len(atoms), 3)), rng.normal(size=len(atoms)), np.zeros(len(atoms)))
    by_u = rng.normal(size=(len(atoms), 6))
    gradient = dataclasses.replace(gradient, u_aniso=by_u)
    u = parted(rng.normal(size=(len(atoms), 6)))[1]
    curvature = dataclasses.replace(gradient, b_iso=np.full(len(atoms), PRECISION))
    evidence = Evidence.of(atoms.replace(u_aniso=u), gradient, curvature)
    along = parted(rng.normal(size=(len(atoms), 6)))[1]
    slope = np.einsum("nij,nj->ni", evidence.matrix, u) - evidence.vector
    assert float((slope * along).sum()) == pytest.approx(float((by_u * along).sum()))


def test_curvature_by_u_is_that_by_b_along_the_isotropic_direction() -> None:
    sphere = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    assert sphere @ CURVATURE_BY_U @ sphere == pytest.approx(EIGHT_PI_SQUARED**2)


@pytest.mark.parametrize("noise", [None, 1, 2, 3])
def test_a_chain_of_two_bodies_is_cut_between_them(noise: int | None) -> None:
    atoms = chains()
    bodies = [residues(atoms, "A", 1, 43), residues(atoms, "A", 44, 100)]
    first, second = find_bodies(atoms, moving(atoms, bodies, (1, 2), noise), 100)
    assert np.array_equal(first, bodies[0])
    assert np.array_equal(second, np.r_[bodies[1], residues(atoms, "A", 900, 900)])


def test_what_was_cut_out_of_a_body_is_put_together_again() -> None:
    atoms = chains((150,))
    bodies = [np.r_[residues(atoms, "A", 1, 50), residues(atoms, "A", 101, 150)], residues(atoms, "A", 51, 100)]
    atoms = atoms.replace(xyz=np.where(np.isin(np.arange(len(atoms)), bodies[1])[:, None], atoms.xyz, atoms.xyz % 40.0))
    found = find_bodies(atoms, moving(atoms, bodies, (1, 2), noise=5), 100)
    assert [len(index) for index in found] == [403, 200]
    assert selection_of(atoms, found[0], atoms.identity.sequence_number < 900) == "chain A and (1-50 or 101-150)"


def test_a_chain_with_one_motion_is_not_cut_by_noise() -> None:
    atoms = chains()
    whole = [residues(atoms, "A", 1, 100)]
    for noise in range(40):
        assert len(find_bodies(atoms, moving(atoms, whole, (3,), noise), 100)) == 1, noise


def test_chains_that_move_as_one_are_one_group_if_they_touch() -> None:
    for apart, expected in ((12.0, 1), (80.0, 2)):
        atoms = chains((60, 60), apart)
        assert len(find_bodies(atoms, moving(atoms, [np.arange(len(atoms))], (1,), noise=1), 100)) == expected


def test_there_are_not_more_groups_than_the_data_allow() -> None:
    atoms = chains((150,))
    bodies = [residues(atoms, "A", 1, 50), residues(atoms, "A", 51, 100), residues(atoms, "A", 101, 150)]
    evidence = moving(atoms, bodies, (1, 2, 3), noise=1)
    assert [len(find_bodies(atoms, evidence, most)) for most in (9, 2, 1, 0)] == [3, 2, 1, 1]


def test_short_chains_are_not_cut() -> None:
    atoms = chains((60,))
    bodies = [residues(atoms, "A", 1, 20), residues(atoms, "A", 21, 60)]
    assert len(bodies[0]) < tls_segments.LEAST_ATOMS
    assert len(find_bodies(atoms, moving(atoms, bodies, (1, 2)), 100)) == 1


def test_names_are_selections_and_a_cut_changes_no_displacement() -> None:
    atoms = chains((100, 70))
    values = np.tile([0.3, 0.2, 0.25, 0, 0, 0, 8e-5, 5e-5, 6e-5, *np.zeros(11)], (2, 1))
    tls = Tls(atoms.tls.group, atoms.tls.origin, values, atoms.tls.names)
    atoms = atoms.replace(b_iso=atoms.b_iso + 40.0, u_aniso=parted(tls.u(atoms.xyz))[1], tls=tls)
    bodies = [residues(atoms, "A", 1, 43), residues(atoms, "A", 44, 100), residues(atoms, "B", 1, 70)]
    wanted = moving(atoms, bodies, (1, 2, 3))
    by_u = np.einsum("nij,nj->ni", wanted.matrix, atoms.u_aniso) - wanted.vector
    zero = np.zeros((len(atoms), 3)), np.zeros(len(atoms))
    curvature = Gradient(zero[0], np.full(len(atoms), PRECISION), zero[1])
    after, note = segmented(atoms, Gradient(*zero, zero[1], by_u), curvature, 100)
    assert after.tls.names == ("chain A and 1-43", "chain A and 44-100", "chain B")
    assert note.startswith("3 TLS groups from the data: chain A and 1-43 (172 atoms); ")
    for k, name in enumerate(after.tls.names):
        assert np.array_equal(select(atoms, name), after.tls.group == k)
    np.testing.assert_allclose(total_u(after), total_u(atoms), atol=1e-8)
    np.testing.assert_allclose(parted(after.tls.u(after.xyz))[1], after.u_aniso, atol=1e-8)
    assert residual_b(after).min() > -1e-6
    again, nothing = segmented(after, Gradient(*zero, zero[1], by_u), curvature, 100)
    assert again is after
    assert not nothing
    assert describe(after)[1]["ranges"] == [["A", "44", "100"]]


def renamed(atoms: Atoms, **what: NDArray[Any]) -> Atoms:
    return dataclasses.replace(atoms, identity=dataclasses.replace(atoms.identity, **what))


def test_no_cut_parts_residues_of_one_number() -> None:
    atoms = chains()
    bodies = [residues(atoms, "A", 1, 43), residues(atoms, "A", 44, 100)]
    evidence, number = moving(atoms, bodies, (1, 2)), atoms.identity.sequence_number
    inserted = (number >= 41) & (number <= 46)  # 41, 41A to 41E
    code = np.where(inserted & (number > 41), np.array(["", *"ABCDE"])[np.clip(number - 41, 0, 5)], "")
    atoms = renamed(atoms, insertion_code=code, sequence_number=np.where(inserted, 41, number))
    found = find_bodies(atoms, evidence, 100)
    assert len(found) == 2
    assert not set(atoms.identity.sequence_number[found[0]]) & set(atoms.identity.sequence_number[found[1]])
    polymer = atoms.identity.sequence_number < 900
    for index in found:
        assert np.array_equal(
            np.flatnonzero(select(atoms, selection_of(atoms, index, polymer)) & polymer), index[polymer[index]]
        )


def test_ranges_follow_the_numbers_and_not_the_order_of_the_file() -> None:
    atoms = chains((30,))
    number = atoms.identity.sequence_number
    atoms = renamed(atoms, sequence_number=np.where(number == 900, 15, np.where(number > 14, number + 1, number)))
    ligand = atoms.identity.residue_name == "LIG"
    every = np.ones(len(atoms), dtype=bool)
    assert ranges(atoms, every) == [["A", "1", "31"]]
    assert ranges(atoms, ~ligand) == [["A", "1", "14"], ["A", "16", "31"]]
    assert ranges(atoms, ligand) == [["A", "15", "15"]]
    first = renamed(atoms, sequence_number=np.where(ligand, -3, number))
    assert ranges(first, every) == [["A", "-3", "30"]]


TENSORS = """\
REMARK   3    ORIGIN FOR THE GROUP (A):   1.0000   2.0000   3.0000
REMARK   3    T TENSOR
REMARK   3      T11:   0.0200 T22:   0.0200
REMARK   3      T33:   0.0200 T12:   0.0000
REMARK   3      T13:   0.0000 T23:   0.0000
"""


def test_insertion_codes_of_a_header_are_those_of_the_atoms() -> None:
    lines = "REMARK   3\nREMARK   3 REFINEMENT.\nREMARK   3   PROGRAM     : ANY 1.0\nREMARK   3\n"
    lines += "REMARK   3  DATA USED IN REFINEMENT.\nREMARK   3   RESOLUTION RANGE HIGH (ANGSTROMS) : 1.70\n"
    lines += "REMARK   3  TLS DETAILS\nREMARK   3   NUMBER OF TLS GROUPS  : 2\nREMARK   3\n"
    for number, run in ((1, "A     1        A     2A"), (2, "A     2B       A     3 ")):
        lines += f"REMARK   3   TLS GROUP : {number}\nREMARK   3    NUMBER OF COMPONENTS GROUP : 1\n"
        lines += "REMARK   3    COMPONENTS        C SSSEQI   TO  C SSSEQI\n"
        lines += f"REMARK   3    RESIDUE RANGE :   {run}\n{TENSORS}"
    structure = gemmi.read_pdb_string(f"{lines}REMARK   3\nEND\n")
    assert str(structure.meta.refinement[0].tls_groups[0].selections[0].res_end).upper() == "2A"
    atoms = atoms_from(np.zeros((5, 3)), ["C"] * 5, np.ones(5), np.ones(5))
    atoms = renamed(atoms, sequence_number=np.array([1, 2, 2, 2, 3]), insertion_code=np.array(["", "", "A", "B", ""]))
    one, two = header_groups(structure, atoms)
    assert one.tolist() == [True, True, True, False, False]
    assert two.tolist() == [False, False, False, True, True]


def test_frozen_groups_are_neither_cut_nor_frozen_in_part_without_a_word(case: Callable[[str], Path]) -> None:
    lysozyme = case("hewl_ssad")
    data = lysozyme / "norm.mtz"
    options = Options(cycles=2, targets=("b",), freeze=("tls: 1-60",), hydrogens="strip", rigid_body="no")
    result = refine(lysozyme / "shaken.pdb", data, options)
    assert [group["name"] for group in result.report.tls] == ["chain A"]
    found = [note for note in result.report.warnings if "frozen as a whole" in note]
    assert len(found) == 1
    assert found[0].startswith("--freeze 'tls: 1-60' names ")
    assert "of the TLS group chain A" in found[0]


@pytest.fixture(scope="module")
def transfer_rna(case: Callable[[str], Path]) -> Path:
    return case("1ehz")


def test_the_arms_of_a_transfer_rna_move_apart_and_r_free_falls(transfer_rna: Path, tmp_path: Path) -> None:
    parts = refine(transfer_rna / "model.pdb", transfer_rna / "norm.mtz", Options(cycles=2, anisotropic="none"))
    whole = refine(transfer_rna / "model.pdb", transfer_rna / "norm.mtz", Options(cycles=2, tls=("chain",)))
    one, more = (result.history[-1].r_free for result in (whole, parts))
    assert 3 <= len(parts.report.tls) <= 8
    assert one is not None
    assert more is not None
    assert more < one - 0.002
    assert "TLS groups from the data: chain A and " in parts.history[1].note
    parts.write(tmp_path)
    for name in ("refined.pdb", "refined.cif"):
        groups = gemmi.read_structure(str(tmp_path / name)).meta.refinement[0].tls_groups
        assert len(groups) == len(parts.report.tls), name
        runs = sorted((r.res_begin.num, r.res_end.num) for group in groups for r in group.selections)
        covered = [number for first, last in runs for number in range(first, last + 1) if number <= 76]
        assert covered == list(range(1, 77)), name
        again = refine(tmp_path / name, transfer_rna / "norm.mtz", Options(cycles=0)).report
        assert [group["name"] for group in again.tls] == [group["name"] for group in parts.report.tls], name
        assert again.final.r_work == pytest.approx(parts.report.final.r_work, abs=5e-4), name
