"""Selections in gemmi's syntax, against gemmi's own answers on the structure."""

from __future__ import annotations

from typing import Any

import gemmi
import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine.example import DATA, MODEL


@pytest.fixture(scope="module")
def model() -> Any:
    return ar.read_model(MODEL)


@pytest.mark.parametrize(
    "text",
    [
        "//A/10-40/CA", "//*/(HOH)", "//A/10-40", "A/57/CA,CB", "//!A", "//*//[MN]", "//A//;b>40", "/1/A//N", "/",
        "//A//:*",
    ],
)  # fmt: skip
def test_same_atoms_as_in_gemmi(model: Any, text: str) -> None:
    structure = model.structure.clone()
    for i, cra in enumerate(structure[0].all()):
        cra.atom.serial = i
    chosen = [
        cra.atom.serial for found in gemmi.Selection(text).copy_structure_selection(structure) for cra in found.all()
    ]
    mask = ar.select(model.atoms, text)
    assert np.array_equal(np.flatnonzero(mask), sorted(chosen))
    assert np.array_equal(ar.select(model.atoms, gemmi.Selection(text)), mask)


def test_insertion_codes_conformers_and_chains_in_parts() -> None:
    lines = [
        "ATOM      1  CA AALA A  57       1.000   1.000   1.000  0.50 10.00           C",
        "ATOM      2  CA BALA A  57       1.500   1.000   1.000  0.50 10.00           C",
        "ATOM      3  CA  GLY A  57B      5.000   1.000   1.000  1.00 10.00           C",
        "ATOM      4  CA  GLY B  57       9.000   1.000   1.000  1.00 10.00           C",
    ]
    structure = gemmi.read_pdb_string("CRYST1   30.000   30.000   30.000  90.00  90.00  90.00 P 1\n" + "\n".join(lines))
    atoms = ar.read_model(structure).atoms
    for text, expected in (
        ("//A/57/CA", [0, 1]), ("//A/57.B/CA", [2]), ("//A/57/CA:B", [1]), ("//*/57/CA:", [3]),
        ("//*/57-57.B", [0, 1, 2, 3]), ("//*//;q<0.9", [0, 1]), ("chain A and 57", [0, 1, 2]),
        ("chain A and resid 57", [0, 1]), ("resid 57B", [2]), ("resid 57A through 60", [2]), ("resid 50-57", [0, 1, 3]),
        ("chain A and resseq 57 and icode B", [2]),
    ):  # fmt: skip
        assert np.flatnonzero(ar.select(atoms, text)).tolist() == expected, text
    with pytest.raises(ar.InputError, match=r"'57B' is not understood.*one with an insertion code \('//\*/19.A'\)"):
        ar.select(atoms, "57B")


def test_joined_with_ours(model: Any) -> None:
    atoms = model.atoms
    ca = ar.select(atoms, "chain A and 10-40 and name CA")
    assert ca.sum() == 31
    for text in (
        "//A/10-40 and name CA", "(//A/10-40/CA or none)", "not (not //A/10-40/CA)",
        "//A/(HOH) or //A/10-40/CA and not water",
    ):  # fmt: skip
        found = ar.select(atoms, text)
        assert np.array_equal(found & ~ar.select(atoms, "water"), ca), text
    assert ar.select(atoms, "(//*/(HOH))").sum() == ar.select(atoms, "water").sum()


@pytest.mark.parametrize("text", ["//A/10-x", "/1/2/3/4/5/6", "//A//;b>"])
def test_what_gemmi_cannot_read(model: Any, text: str) -> None:
    with pytest.raises(ar.InputError, match="expected /model/chain/residues/atoms as in gemmi"):
        ar.select(model.atoms, text)


def test_where_selections_are_accepted(model: Any) -> None:
    options = ar.Options(
        cycles=0, d_min=4.0, freeze=("xyz: //A/10-40", "b: //*/(HOH)"), rigid_groups=("//A/1-80", "//A/81-159"),
        tls=("//A/1-80", "//A/81-159"), occupancy_groups=("//*/(BME)",), targets=("xyz", "b", "occupancy"),
    )  # fmt: skip
    _, problem, atoms, notes = ar.prepare(model, DATA, options)
    assert not any("names no atom" in note for note in notes)
    assert len(atoms.tls) == 2
    free = problem.parameters(atoms, "xyz")
    assert not (free.xyz & ar.select(atoms, "10-40 and chain A")).any()
    assert free.freeze("xyz", gemmi.Selection("//A")).size == 0
