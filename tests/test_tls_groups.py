"""TLS groups: who belongs to them, how they are refined, and what is written about them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest
from checks import check_direction, dot_test
from synthetic import atoms_from, crystal, random_atoms

from arrayrefine import refinement_step
from arrayrefine.atoms import Atoms, Gradient, Riding
from arrayrefine.displacements.displacement import U_LIMITS, parted, total_u
from arrayrefine.displacements.tls import Tls, numbers_of, tensors_of
from arrayrefine.displacements.tls_groups import _started, choose_tls, polymer_residues, residue_rows
from arrayrefine.displacements.tls_motion import (
    _possible_motion,
    describe,
    in_reach,
    residual_b,
    sensible,
    sentences,
    settled,
)
from arrayrefine.errors import InputError
from arrayrefine.example import DATA, MODEL
from arrayrefine.io.models.reading import read_model
from arrayrefine.io.models.tls_header import complete_groups, header_groups, why_no_groups
from arrayrefine.kernels import symmetric
from arrayrefine.minimize import Objective
from arrayrefine.options import Minimiser, Options, Xray
from arrayrefine.parameters import Parameters
from arrayrefine.preparation import prepare
from arrayrefine.problem import Problem
from arrayrefine.refine import refine
from arrayrefine.reporting.option_effects import frozen_groups
from arrayrefine.result import Result
from arrayrefine.selection import select
from arrayrefine.state import State, evaluate
from arrayrefine.weights import Weights


def peptides(chains: str = "AB", residues: int = 8) -> Atoms:
    """Chains of glycine-like residues 100 Å apart; a ligand and a zinc at the first, water, and a lone ligand."""
    rows: list[tuple[str, str, str, str, int, tuple[float, float, float]]] = []
    for c, chain in enumerate(chains):
        for k in range(residues):
            rows += [
                (chain, "GLY", name, name[0], k + 1, (100.0 * c + 3.8 * k, y, 0.3 * k))
                for name, y in (("N", 0.0), ("CA", 1.4), ("C", 2.4), ("O", 3.4))
            ]
    rows += [("X", "LIG", f"C{k}", "C", 1, (100.0 + 1.5 * k, -2.5, 0.0)) for k in range(3)]
    rows += [("A", "LIG", f"C{k}", "C", 400, (-60.0 + 1.5 * k, 0.0, 0.0)) for k in range(3)]
    rows += [("A", "ZN", "ZN", "Zn", 300, (0.0, -2.0, 0.0)), ("A", "HOH", "O", "O", 301, (4.0, -3.0, 0.0))]
    made = atoms_from(
        np.array([row[5] for row in rows]), [row[3] for row in rows], np.linspace(15.0, 40.0, len(rows)),
        np.ones(len(rows)),
    )  # fmt: skip
    label = [f"{row[0]}{row[4]}{row[1]}" for row in rows]
    identity = dataclasses.replace(
        made.identity,
        chain=np.array([row[0] for row in rows]),
        residue_name=np.array([row[1] for row in rows]),
        atom_name=np.array([row[2] for row in rows]),
        sequence_number=np.array([row[4] for row in rows]),
        residue=np.array([list(dict.fromkeys(label)).index(one) for one in label]),
    )
    return dataclasses.replace(made, identity=identity)


def grouped(atoms: Atoms, seed: int = 3) -> Atoms:
    """All atoms but the last in one of two groups with some motion, U accordingly."""
    rng = np.random.default_rng(seed)
    n = len(atoms)
    group = np.arange(n) % 2
    group[-1] = -1
    values = rng.normal(size=(2, 20)) * np.r_[np.full(6, 0.01), np.full(6, 1e-4), np.full(8, 1e-3)]
    tls = Tls(group, np.array([atoms.xyz[:4].mean(axis=0), atoms.xyz[4:].mean(axis=0)]), values, ("one", "two"))
    projection = np.tile(np.eye(6), (n, 1, 1))
    projection[2] = np.diag([1.0, 1.0, 1.0, 0.0, 1.0, 0.0])  # on a two-fold along b
    u = np.einsum("nij,nj->ni", projection, tls.u(atoms.xyz)) + symmetric.isotropic(np.full(n, 0.4))
    b_iso, u_aniso = parted(u)
    return dataclasses.replace(
        atoms, b_iso=b_iso, u_aniso=np.where((group >= 0)[:, None], u_aniso, 0.0), u_projection=projection, tls=tls
    )


def test_a_group_for_each_chain_with_its_ligands_and_without_water_ions_and_strangers() -> None:
    atoms, notes = choose_tls(peptides(), ("chain",), 10_000)
    assert atoms.tls.names == ("chain A", "chain B")
    assert atoms.tls.group.tolist() == [0] * 32 + [1] * 32 + [1] * 3 + [-1] * 5
    assert np.allclose(atoms.tls.origin[0], atoms.xyz[:32].mean(axis=0), atol=1e-6)
    assert "2 TLS groups: chain A (32 atoms); chain B (35 atoms)" in notes[0]


def test_a_group_that_is_frozen_in_part_is_frozen_as_a_whole_and_that_is_said() -> None:
    atoms, _ = choose_tls(peptides(), ("chain",), 10_000)
    for selection, said in (("chain A", False), ("chain Z", False), ("chain A and 1", True)):
        sentences = frozen_groups(Options(freeze=(f"tls: {selection}",)), atoms)
        assert bool(sentences) is said
    assert sentences[0].startswith("--freeze 'tls: chain A and 1' names ")
    assert not frozen_groups(Options(freeze=("xyz: chain A and 1",)), atoms)


@pytest.mark.parametrize("lost", [0, 1])
def test_a_step_says_of_which_groups_the_data_say_nothing(monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
    monkeypatch.setattr(refinement_step, "in_reach", lambda atoms, before: (before if lost else atoms, lost))
    options = Options(cycles=1, d_min=5.0, tls=("chain",), targets=("tls",), report=False)
    result = refine(MODEL, DATA, options)
    said = "the data say nothing of the motion of 1 TLS group: as before the step"
    assert any(said in step.note for step in result.history) is bool(lost)


def test_short_chains_anisotropic_atoms_and_hydrogens_stay_out() -> None:
    short, notes = choose_tls(peptides(residues=4), ("chain",), 10_000)
    assert len(short.tls) == 0
    assert "chain A has 16 atoms, too few" in notes[0]
    known = np.tile([0.2, 0.2, 0.2, 0.0, 0.0, 0.0], (len(short), 1))
    same, said = choose_tls(peptides(residues=4), ("segments",), 10_000, known, header=[np.arange(len(short)) < 16])
    assert len(same.tls) == 0
    assert said[0] == notes[0]
    atoms = peptides()
    own = dataclasses.replace(atoms, anisotropic=np.arange(len(atoms)) < 4)
    assert (choose_tls(own, ("chain",), 10_000)[0].tls.group[:4] == -1).all()
    riding = dataclasses.replace(atoms, riding=Riding(np.array([3]), np.array([2])))
    assert choose_tls(riding, ("chain",), 10_000)[0].tls.group[3] == -1


def test_ligands_with_the_names_of_a_backbone_are_no_residues_of_a_chain() -> None:
    atoms = peptides()
    who = atoms.identity
    lone = (who.chain == "X") | (who.residue_name == "LIG") & (who.sequence_number == 400)
    name = who.atom_name.copy()
    name[lone] = np.tile(["N", "CA", "C"], 2)
    folate = dataclasses.replace(atoms, identity=dataclasses.replace(who, atom_name=name))
    named = polymer_residues(folate)[residue_rows(folate)]
    assert not named[lone].any()
    assert named[who.residue_name == "GLY"].all()
    # A modified residue is one by its bond to the next.
    third = (who.chain == "A") & (who.sequence_number == 3)
    xyz = atoms.xyz.copy()
    other = np.where(third, "XYZ", who.residue_name)
    unknown = dataclasses.replace(atoms, identity=dataclasses.replace(who, residue_name=other))
    assert not polymer_residues(unknown)[residue_rows(unknown)][third].any()
    xyz[third & (who.atom_name == "C")] = xyz[(who.chain == "A") & (who.sequence_number == 4) & (who.atom_name == "N")]
    xyz[third & (who.atom_name == "C"), 1] -= 1.3
    linked = unknown.replace(xyz=xyz)
    assert polymer_residues(linked)[residue_rows(linked)][third].all()


def test_chains_of_frozen_or_anisotropic_atoms_make_no_group() -> None:
    atoms = peptides()
    frozen = atoms.identity.chain == "A"
    assert choose_tls(atoms, ("chain",), 10_000, None, frozen)[0].tls.names == ("chain B",)
    assert choose_tls(atoms, ("chain A",), 10_000, None, frozen)[0].tls.names == ("chain A",)
    own = dataclasses.replace(atoms, anisotropic=np.ones(len(atoms), dtype=bool))
    none, notes = choose_tls(own, ("chain",), 10_000)
    assert len(none.tls) == 0
    assert "--tls chain makes no group" in notes[0]


def test_auto_asks_for_data_and_leaves_anisotropic_models_alone() -> None:
    atoms = peptides()
    assert len(choose_tls(atoms, ("auto",), 10_000)[0].tls) == 2
    assert len(choose_tls(atoms, ("auto",), 100)[0].tls) == 0
    own = dataclasses.replace(atoms, anisotropic=np.arange(len(atoms)) == 0)
    assert len(choose_tls(own, ("auto",), 10_000)[0].tls) == 0


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("chain A", "chain A and 1-8"), "both name A/GLY 1/N (32 atoms in all); expected groups that do not overlap"),
        (("chain A and 1-3",), "'chain A and 1-3': found 12 atoms without hydrogens, expected at least 20"),
        (("colour red",), "--tls: selection 'colour red'"),
        (("no",), "; or one of none, auto, chain, segments"),
    ],
)
def test_selections_that_make_no_groups(option: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        choose_tls(peptides(), option, 10_000)


def test_selections_make_groups() -> None:
    atoms, _ = choose_tls(peptides(), ("chain A and 1-8", "chain B"), 10)
    assert atoms.tls.group.tolist() == [0] * 32 + [1] * 32 + [-1] * 8


def header_of(atoms: Atoms, *runs: tuple[str, int, int]) -> list[np.ndarray]:
    """Masks of ranges of residues."""
    chain, number = atoms.identity.chain, atoms.identity.sequence_number
    return [(chain == name) & (first <= number) & (number <= last) for name, first, last in runs]


def with_header(option: str, n_work: int, *runs: tuple[str, int, int]) -> tuple[Atoms, str]:
    """Atoms and notes, where a model has ANISOU for all but its waters, and groups in its header."""
    atoms = peptides(residues=12)
    known = np.tile([0.01, -0.01, 0.0, 0.0, 0.0, 0.0], (len(atoms), 1))
    known[atoms.identity.residue_name == "HOH"] = 0.0
    atoms, notes = choose_tls(atoms, (option,), n_work, known, header=header_of(atoms, *runs))
    return atoms, " / ".join(notes)


@pytest.mark.parametrize("option", ["auto", "segments"])
def test_groups_of_a_header_are_taken_as_they_are(option: str) -> None:
    atoms, notes = with_header(option, 10_000, ("A", 1, 6), ("A", 7, 301), ("B", 1, 3))
    number, chain = atoms.identity.sequence_number, atoms.identity.chain
    assert atoms.tls.names == ("chain A and 1-6", "chain A and 7-12")
    assert (atoms.tls.group == 0).tolist() == ((chain == "A") & (number <= 6)).tolist()
    zinc_and_rest = (chain == "A") & (number >= 7) & (number <= 300)
    assert (atoms.tls.group == 1).tolist() == zinc_and_rest.tolist()  # not the water, of which no group is known
    assert "2 TLS groups: chain A and 1-6 (24 atoms); chain A and 7-12 (25 atoms)" in notes
    assert "those of the model's header" in notes
    assert "1 TLS group of the model's header left out: too few atoms" in notes


def test_a_group_of_a_header_without_residues_of_a_polymer_has_a_name() -> None:
    atoms = peptides(residues=12)
    ligand = np.arange(len(atoms)) < 20
    name = np.where(ligand, "LIG", atoms.identity.residue_name)
    atoms = dataclasses.replace(atoms, identity=dataclasses.replace(atoms.identity, residue_name=name))
    atom_name = np.where(ligand, "C", atoms.identity.atom_name)
    atoms = dataclasses.replace(atoms, identity=dataclasses.replace(atoms.identity, atom_name=atom_name))
    known = np.tile([0.01, -0.01, 0.0, 0.0, 0.0, 0.0], (len(atoms), 1))
    found, _ = choose_tls(atoms, ("auto",), 10_000, known, header=header_of(atoms, ("A", 1, 5), ("A", 6, 12)))
    assert found.tls.names == ("chain A and 1-5", "chain A")


@pytest.mark.parametrize(
    ("n_work", "runs", "words"),
    [
        (10_000, (("A", 1, 8), ("A", 8, 12)), "more than one holds A/GLY 8/N"),
        (10_000, (("A", 1, 2), ("B", 1, 2)), "none has 20 atoms"),
        (500, (("A", 1, 6), ("A", 7, 12), ("B", 1, 12)), "too few for 3"),
        (300, (("A", 1, 6), ("A", 7, 12), ("B", 1, 12)), "too few for 3"),
    ],
)
def test_groups_of_a_header_that_cannot_be_used_are_named(
    n_work: int, runs: tuple[tuple[str, int, int], ...], words: str
) -> None:
    atoms, notes = with_header("auto", n_work, *runs)
    assert re.search(f"TLS groups of the model's header are not taken: .*{words}", notes)
    assert atoms.tls.names == (("chain A", "chain B") if n_work > 400 else ())


@pytest.mark.parametrize(
    ("option", "n_work", "known", "said"),
    [
        ("auto", 10_000, True, True),
        ("segments", 100, True, True),
        ("auto", 100, True, False),
        ("chain", 10_000, True, False),
        ("auto", 10_000, False, False),
    ],
)
def test_groups_of_a_header_that_are_none_are_named_where_others_are_made(
    option: str, n_work: int, known: bool, said: bool
) -> None:
    atoms = peptides(residues=12)
    u = np.tile([0.01, -0.01, 0.0, 0.0, 0.0, 0.0], (len(atoms), 1)) * known
    _, notes = choose_tls(atoms, (option,), n_work, u, no_header="why")
    assert ("why" in notes) == said
    assert "" not in choose_tls(atoms, (option,), n_work, u)[1]


def test_text_for_groups_of_a_header_is_read(case: Callable[[str], Path]) -> None:
    peptide = case("5e5z")
    _, _, atoms, notes = prepare(peptide / "model.pdb", peptide / "norm.mtz", Options(tls=("segments",)))
    assert "the TLS groups are those of the model's header; atoms in none of them are in none" in notes
    assert len(atoms.tls) == 1


HEADER = """\
REMARK   3
REMARK   3 REFINEMENT.
REMARK   3   PROGRAM     : ANY 1.0
REMARK   3
REMARK   3  DATA USED IN REFINEMENT.
REMARK   3   RESOLUTION RANGE HIGH (ANGSTROMS) : 1.70
REMARK   3  TLS DETAILS
REMARK   3   NUMBER OF TLS GROUPS  : 2
REMARK   3
REMARK   3   TLS GROUP : 1
REMARK   3    {}
REMARK   3    ORIGIN FOR THE GROUP (A):   1.0000   2.0000   3.0000
REMARK   3   TLS GROUP : 2
REMARK   3    {}
REMARK   3    ORIGIN FOR THE GROUP (A):   1.0000   2.0000   3.0000
REMARK   3
"""


@pytest.mark.parametrize(
    ("group", "reason"),
    [
        ("SELECTION: CHAIN 'Z' AND (RESID 9 THROUGH 55 )", "given as text that is not understood, or names no atoms"),
        ("SELECTION: { B|1 - B|55 }", "given as text that is not understood, or names no atoms"),
        ("RESIDUE RANGE :   Z     1        Z     9", "no atom is in the ranges of residues"),
        ("RESIDUE RANGE :   A     1        B     9", "no range of residues within one chain is given"),
    ],
)
def test_why_groups_of_a_header_are_not_taken(group: str, reason: str) -> None:
    structure = gemmi.read_pdb_string(HEADER.format(group, group))
    complete_groups(structure)
    assert header_groups(structure, peptides(), select) == ()
    assert why_no_groups(structure) == f"2 TLS groups of the model's header are not taken: {reason}"


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("CHAIN 'A' AND (RESID 2 THROUGH 5 )", "chain A and 2-5"),
        ("CHAIN A AND RESSEQ 2:5", "chain A and 2-5"),
        ("(CHAIN B AND (RESID 1:3 OR RESID 7)) AND NOT NAME CA", "chain B and (1-3 or 7) and not name CA"),
        ("ALL", "all"),
    ],
)
def test_groups_of_a_header_are_what_its_text_says(text: str, same: str) -> None:
    """As PHENIX writes them; a second group that cannot be read leaves none."""
    atoms = peptides(residues=12)
    for other, count in (("CHAIN B AND RESID 9 THROUGH 9", 2), ("{ B|1 - B|55 }", 0)):
        structure = gemmi.read_pdb_string(HEADER.format(f"SELECTION: {text}", f"SELECTION: {other}"))
        complete_groups(structure)
        assert header_groups(structure, atoms) == ()
        groups = header_groups(structure, atoms, select)
        assert len(groups) == count
        if count:
            np.testing.assert_array_equal(groups[0], select(atoms, same))


@pytest.mark.parametrize(
    ("first", "second", "runs"),
    [
        ("A       27        A      302", "B       -3        B       12B", ["A 27-302", "B -3-12B"]),
        ("A    27        A      302", "A     1        A     9", ["A 27-302", "A 1-9"]),
        (
            "A    27        A   302\nREMARK   3    RESIDUE RANGE :         1              9",
            "B     1        B     9",
            ["A 27-302, 1-9", "B 1-9"],
        ),
        ("     27            302", "B     1        B     9", [" 27-302", "B 1-9"]),
    ],
    ids=["wide", "half as wide", "a range without a chain", "no range with a chain"],
)
def test_groups_of_a_header_have_the_ranges_that_it_states(first: str, second: str, runs: list[str]) -> None:
    structure = gemmi.read_pdb_string(HEADER.format(*(f"RESIDUE RANGE :   {one}" for one in (first, second))))
    complete_groups(structure)
    groups = structure.meta.refinement[0].tls_groups
    found = [",".join(f"{run.chain} {run.res_begin}-{run.res_end}" for run in group.selections) for group in groups]
    assert [one.upper() for one in found] == runs


def test_why_no_groups_is_not_said_of_a_header_without_any() -> None:
    assert why_no_groups(gemmi.Structure()) == ""


def test_a_model_with_groups_begins_where_it_ended(tmp_path: Path) -> None:
    """The ligands of the example are in no group; hydrogens, which are not written, would turn anew."""
    options = Options(
        tls=("chain A and 1-80", "chain A and 81-159"), cycles=1, targets=("tls+b",), hydrogens="strip", d_min=2.5
    )
    ended = refine(MODEL, DATA, options)
    ended.write(tmp_path)
    for name in ("refined.pdb", "refined.cif"):
        again = refine(tmp_path / name, DATA, Options(cycles=0, hydrogens="strip", d_min=2.5))
        assert np.array_equal(again.atoms.tls.group, ended.atoms.tls.group)
        assert again.r_free == pytest.approx(ended.r_free, abs=3e-4)
        assert again.r_work == pytest.approx(ended.r_work, abs=3e-4)
        assert any("those of the model's header" in note for note in again.report.warnings)


def test_pullback_is_the_adjoint_of_unpack_with_groups_special_positions_and_riders() -> None:
    atoms = grouped(random_atoms(crystal("P 1"), n=9))
    atoms = dataclasses.replace(atoms, riding=Riding(np.array([8]), np.array([3])))
    parameters = Parameters.of(atoms, "xyz+tls+b")
    assert parameters.sizes.tls == 40
    rng = np.random.default_rng(1)
    x = parameters.pack(atoms)
    dx = rng.normal(size=len(x)) * 1e-3
    y = Gradient(rng.normal(size=(9, 3)), rng.normal(size=9), rng.normal(size=9), rng.normal(size=(9, 6)))
    a, b = parameters.unpack(x), parameters.unpack(x + 1e-3 * dx)
    assert np.allclose(a.u_aniso, atoms.u_aniso)
    assert b.u_aniso[2, [3, 5]].tolist() == a.u_aniso[2, [3, 5]].tolist()
    assert (b.b_iso - a.b_iso)[8] != 0.0
    left = ((b.xyz - a.xyz) * y.xyz).sum() + (b.b_iso - a.b_iso) @ y.b_iso + ((b.u_aniso - a.u_aniso) * y.u_aniso).sum()
    dot_test(float(left) / 1e-3, float(parameters.pullback(y) @ dx), 1e-8)


def test_gradient_by_the_numbers_of_a_group_against_finite_differences() -> None:
    atoms = grouped(random_atoms(crystal("P 1"), n=8))
    parameters = Parameters.of(atoms, "tls")
    rng = np.random.default_rng(5)
    weight = rng.normal(size=(8, 6))
    x, along = parameters.pack(atoms), rng.normal(size=40) * np.tile(np.r_[np.ones(6), np.full(14, 0.01)], 2)

    def value(t: float) -> float:
        return float((weight * total_u(parameters.unpack(x + t * along)) ** 3).sum())

    by_u = 3.0 * weight * total_u(atoms) ** 2
    gradient = Gradient(np.zeros((8, 3)), symmetric.trace(by_u) / (8.0 * np.pi**2), np.zeros(8), by_u)
    check_direction(value, float(parameters.pullback(gradient) @ along), 1e-4, 1e-7)


def test_whatever_the_numbers_are_every_u_is_positive_definite() -> None:
    atoms = grouped(random_atoms(crystal("P 1"), n=8))
    parameters = Parameters.of(atoms, "tls")
    x = parameters.pack(atoms)
    moved = parameters.unpack(x - np.tile(np.r_[np.full(3, 2.0), np.zeros(17)], 2))
    assert symmetric.eigenvalues(total_u(moved)).min() >= U_LIMITS[0] * (1 - 1e-6)


def test_settling_and_mending_of_motion() -> None:
    atoms, _ = choose_tls(peptides(), ("chain",), 10_000)
    still = settled(atoms)
    assert np.array_equal(still.b_iso, atoms.b_iso)
    for k in range(2):
        inside = atoms.tls.group == k
        assert residual_b(still)[inside].min() == pytest.approx(0.0, abs=1e-9)
        assert still.tls.values[k, 0] == pytest.approx(atoms.b_iso[inside].min() / (8 * np.pi**2))
    small = still.replace(tls=dataclasses.replace(still.tls, values=still.tls.values + np.r_[0.0, -1.0, np.zeros(18)]))
    assert describe(settled(small))[0]["T_eigenvalues"][0] == pytest.approx(0.0, abs=1e-9)
    parameters = Parameters.of(atoms, "tls")
    x = parameters.pack(atoms)
    x[6:12] += np.array([1e-4, -1e-4, 1e-4, 0.0, 0.0, 0.0])
    x[12:] += 1e-4
    bent = parameters.unpack(x)
    assert describe(settled(bent))[0]["L_eigenvalues"][0] < -0.1
    assert "a negative value is no motion" in sentences(describe(settled(bent)))[0]
    mended = sensible(bent)
    first = describe(mended)[0]
    assert min(first["L_eigenvalues"]) > -1e-9
    assert min(first["T_eigenvalues"]) > -1e-9
    assert np.allclose(first["S"][1], 0.0, atol=0.01)
    step = total_u(mended) - total_u(bent)
    expected = mended.tls.u(atoms.xyz) - bent.tls.u(atoms.xyz)
    assert np.allclose(step[:32], parted(expected)[1][:32], atol=1e-9)  # isotropic parts are in the members' own B


def test_a_libration_that_would_be_negative_goes_with_the_part_of_s_that_it_drives() -> None:
    values = np.arange(20.0)
    values[17] = 40.0  # no two of what is expected are alike
    values[6:12] = -0.1, 0.2, 0.3, 0.0, 0.0, 0.0
    _, _, screw = tensors_of(values)
    assert screw.tolist() == [[12, 14, 15], [16, 13, 40], [18, 19, -25]]
    t, libration, left = tensors_of(_possible_motion(values))
    assert t.tolist() == symmetric.matrices(values[:6]).tolist()
    np.testing.assert_allclose(libration, np.diag([0.0, 0.2, 0.3]), atol=1e-15)
    screw[0] = 0.0
    np.testing.assert_allclose(left, screw - np.trace(screw) / 3.0 * np.eye(3), atol=1e-12)


def test_a_motion_that_most_members_cannot_have_is_given_up() -> None:
    before, _ = choose_tls(peptides(), ("chain",), 10_000)
    values = np.tile([0.2, 0.1, 0.1, *np.zeros(17)], (2, 1))
    values[1] *= 1e6
    group, after = before.tls.group, dataclasses.replace(before.tls, values=values)
    u_aniso = np.where((group >= 0)[:, None], parted(after.u(before.xyz))[1], 0.0)
    astray = before.replace(tls=after, u_aniso=u_aniso, b_iso=before.b_iso + 30.0)
    kept, lost = in_reach(astray, before)
    assert lost == 1
    assert np.array_equal(kept.tls.values, [values[0], before.tls.values[1]])
    other = group == 1
    assert np.array_equal(kept.b_iso, np.where(other, before.b_iso, astray.b_iso))
    assert np.array_equal(kept.u_aniso, np.where(other[:, None], before.u_aniso, astray.u_aniso))
    assert in_reach(kept, before) == (kept, 0)
    assert in_reach(astray, astray) == (astray, 0)  # it can only get better


@pytest.mark.parametrize("libration", [1e-3, -1e-3], ids=["possible", "mended"])
def test_on_an_axis_motion_keeps_what_the_axis_allows(libration: float) -> None:
    atoms = grouped(peptides())
    assert atoms.u_projection is not None
    values = atoms.tls.values.copy()
    values[:, 6:9] = [libration, 2e-3, 3e-3]
    placed = sensible(atoms.replace(tls=dataclasses.replace(atoms.tls, values=values)))
    assert min(describe(placed)[0]["L_eigenvalues"]) > -1e-9
    np.testing.assert_allclose(total_u(placed)[2, [3, 5]], 0.0, atol=1e-12)
    assert np.abs(total_u(placed)[4, [3, 5]]).min() > 1e-4


def test_displacements_follow_the_group_to_where_its_atoms_have_moved() -> None:
    atoms, _ = choose_tls(peptides(), ("chain",), 10_000)
    values = np.tile([0.3, 0.2, 0.1, 0, 0, 0, 2e-3, 1e-3, 5e-4, *np.zeros(11)], (2, 1))
    motion = dataclasses.replace(atoms.tls, values=values)
    inside = atoms.tls.group >= 0
    moved = atoms.replace(
        xyz=atoms.xyz + np.random.default_rng(0).normal(0.0, 0.3, atoms.xyz.shape), tls=motion,
        u_aniso=np.where(inside[:, None], parted(motion.u(atoms.xyz))[1], 0.0), b_iso=atoms.b_iso + 40.0,
    )  # fmt: skip
    placed = sensible(moved)
    assert not np.allclose(placed.u_aniso[inside], moved.u_aniso[inside], atol=1e-3)
    np.testing.assert_allclose(placed.u_aniso[inside], parted(motion.u(moved.xyz))[1][inside], atol=1e-12)
    np.testing.assert_allclose(placed.b_iso, moved.b_iso)
    np.testing.assert_array_equal(placed.u_aniso[~inside], moved.u_aniso[~inside])


def test_tensors_of_twenty_numbers_and_back() -> None:
    """Every number has one place, and the trace of S is none; tensors that are turned and turned back are the same."""
    values = np.arange(1.0, 21.0)
    t, libration, screw = tensors_of(values)
    assert t[0].tolist() == [1.0, 4.0, 5.0]
    assert libration[1].tolist() == [10.0, 8.0, 12.0]
    assert screw.tolist() == [[13.0, 15.0, 16.0], [17.0, 14.0, 18.0], [19.0, 20.0, -27.0]]
    assert numbers_of(t, libration, screw).tolist() == values.tolist()
    quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    group = Tls(np.zeros(3, dtype=np.int64), np.zeros((1, 3)), values[None])
    chosen, here = np.array([True]), np.zeros(3)
    there = group.moved(chosen, quarter, here, here)
    assert (there.values != group.values).any()
    assert there.moved(chosen, quarter.T, here, here).values == pytest.approx(group.values)


def test_groups_start_from_the_tensors_that_are_known_and_every_u_is_possible() -> None:
    still, _ = choose_tls(peptides(), ("chain",), 10_000)
    inside = still.tls.group >= 0
    motion = dataclasses.replace(still.tls, values=grouped(still).tls.values)
    known = parted(motion.u(still.xyz))[1]
    started = _started(still, known)
    np.testing.assert_allclose(parted(started.tls.u(still.xyz))[1], known, atol=1e-9)
    for k in range(2):
        least = symmetric.eigenvalues(total_u(_started(still, 40.0 * known))[still.tls.group == k])
        assert least.min() == pytest.approx(U_LIMITS[0], rel=1e-4)
    np.testing.assert_array_equal(started.b_iso[~inside], still.b_iso[~inside])


def test_tensors_of_a_deposited_model_give_the_shape_of_its_displacements(case: Callable[[str], Path]) -> None:
    """The conventions for T, L and S are those of deposited models: their ANISOU is that of their TLS."""
    path = case("3sb3") / "model.pdb"
    group = gemmi.read_structure(str(path)).meta.refinement[0].tls_groups[0]
    atoms = read_model(path).atoms
    atoms, _ = choose_tls(dataclasses.replace(atoms, anisotropic=np.zeros(len(atoms), bool)), ("25-125",), 1000)
    t, libration, s = (np.array(m.tolist()) for m in (group.T.as_mat33(), group.L.as_mat33(), group.S))
    degree = np.pi / 180.0
    s -= np.trace(s) / 3.0 * np.eye(3)
    six, rest = ((0, 1, 2, 0, 0, 1), (0, 1, 2, 1, 2, 2)), ((0, 1, 0, 0, 1, 1, 2, 2), (0, 1, 1, 2, 0, 2, 0, 1))
    values = np.r_[t[six], libration[six] * degree**2, s[rest] * degree][None]
    tls = dataclasses.replace(atoms.tls, origin=np.array([group.origin.tolist()]), values=values)
    inside = tls.group >= 0
    _, shape = parted(tls.u(atoms.xyz)[inside])
    assert np.sqrt(np.mean((shape - atoms.u_aniso[inside]) ** 2)) < 0.02 * np.sqrt(np.mean(atoms.u_aniso[inside] ** 2))


@pytest.fixture(scope="module")
def refined(case: Callable[[str], Path]) -> tuple[Path, Result]:
    folder = case("5kzb")
    options = Options(tls=("chain",), cycles=1, targets=("tls+b",))
    return folder, refine(folder / "model.pdb", folder / "norm.mtz", options)


def test_a_real_crystal_fits_better_and_its_files_tell_of_the_motion(
    refined: tuple[Path, Result], tmp_path: Path
) -> None:
    _, result = refined
    (step,) = result.history
    assert step.target == "tls+b"
    assert step.free_parameters == 20 + len(result.atoms)
    assert result.report.final.r_work < result.report.start.r_work - 0.005
    assert symmetric.eigenvalues(total_u(result.atoms)).min() > 0.0
    (record,) = result.report.tls
    assert min(*record["T_eigenvalues"], *record["L_eigenvalues"]) > -1e-9
    assert record["residual_b"][0] < 1e-6 < record["residual_b"][1]
    assert any(note.startswith("TLS of chain A: T ") for note in result.report.warnings)
    result.write(tmp_path)
    own = residual_b(result.atoms)
    for name in ("refined.pdb", "refined.cif"):
        structure = gemmi.read_structure(str(tmp_path / name))
        (group,) = structure.meta.refinement[0].tls_groups
        sites = [atom for chain in structure[0] for residue in chain for atom in residue]
        worst = 0.0
        for i in np.flatnonzero(result.atoms.tls.group == 0):
            given = np.array(sites[i].aniso.elements_pdb()) - own[i] / (8 * np.pi**2) * np.array([1, 1, 1, 0, 0, 0])
            made = np.array(gemmi.calculate_u_from_tls(group, sites[i].pos).elements_pdb())
            worst = max(worst, float(np.abs(given - made).max()))
        assert worst < 2e-3, name  # four decimals of L and S at 30 Å
        run, numbers = group.selections[0], result.atoms.identity.sequence_number[result.atoms.tls.group == 0]
        assert (run.chain, run.res_begin.num, run.res_end.num) == ("A", numbers.min(), numbers.max()), name
    line = next(x for x in (tmp_path / "refined.pdb").read_text().splitlines() if "RESIDUE RANGE :" in x)
    # as REFMAC and the archive have it: chain, number and insertion code in columns 33, 35-39 and 40
    assert line[32:34] == "A "
    assert line[34:40] == f"{numbers.min():5d} "
    assert (line[47], line[49:54]) == ("A", f"{numbers.max():5d}")


def test_the_gradient_of_groups_without_motion_is_whole(case: Callable[[str], Path]) -> None:
    """Members are round at the start, and their shapes count all the same."""
    options = Options(tls=("chain",), hydrogens="strip", xray=Xray(precision="double", accuracy=1e-5))
    _, problem, atoms, _ = prepare(case("1dur") / "shaken.pdb", case("1dur") / "norm.mtz", options)
    state = evaluate(problem, atoms)
    assert not state.atoms.u_aniso.any()
    state.xray(state.atoms)  # as weights do, which need no shapes
    parameters = problem.parameters(state.atoms, "tls+b")
    weights = Weights(None, 0.1, parameters.fingerprint)
    objective = Objective(parameters, weights, state.xray, problem.geometry, problem.adp)
    x = parameters.pack(state.atoms)
    along = np.zeros(len(x))
    scale = np.repeat([1e-2, 1e-4, 1e-3], [6, 6, 8])
    along[parameters.slices["tls"]] = np.random.default_rng(0).normal(size=20) * scale
    check_direction(lambda t: objective.at(x + t * along)[0], float(objective.at(x)[1] @ along), 1e-2, 1e-3)


def test_motion_that_nobody_knows_waits_until_the_rough_work_is_done(
    case: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With weights that are steered; where they are not, or the model has motion, groups are refined at once."""
    free: list[int] = []
    minimised = refinement_step._minimised

    def counted(problem: Problem, state: State, parameters: Parameters, *rest: Any) -> Any:
        free.append(parameters.sizes.tls)
        return minimised(problem, state, parameters, *rest)

    monkeypatch.setattr(refinement_step, "_minimised", counted)
    files = case("1dur") / "shaken.pdb", case("1dur") / "norm.mtz"
    brief = Minimiser(max_iterations=3)
    for options, first in ((Options(), 0), (Options(weights="fixed"), 20), (Options(targets=("tls+b",)), 20)):
        free.clear()
        result = refine(*files, dataclasses.replace(options, cycles=1, tls=("chain",), minimiser=brief))
        assert free[0] == first
        assert free[-1] == 20
        assert result.atoms.tls.values.any()
        assert ("TLS from here on" in result.report.steps[0].note) == (first == 0)
