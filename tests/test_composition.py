"""Counts of a model by kind of residue, and what its B and occupancies are taken over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gemmi
import pytest

from arrayrefine.io.models.composition import composition

ATOM = "{0:6s}{1:5d}  {2:<3s} {3:>3s} A{4:4d}    {5:8.3f}   2.000   3.000{6:6.2f}{7:6.2f}          {8:>2s}"


def model(*rows: tuple[str, str, str, int, float, float, str]) -> gemmi.Structure:
    """Atoms of record, name, residue, number, occupancy, B and element, 1.5 Å apart."""
    lines = [
        ATOM.format(record, i + 1, name, residue, number, 1.5 * i, occupancy, b_iso, element)
        for i, (record, name, residue, number, occupancy, b_iso, element) in enumerate(rows)
    ]
    return gemmi.read_pdb_string("\n".join(lines))


def test_sugars_of_a_pdb_file_are_sugars() -> None:
    """A PDB file has no branched entities, and gemmi a table of residues."""
    found = composition(
        model(
            ("ATOM", "CA", "ASN", 1, 1.0, 20.0, "C"), ("ATOM", "CA", "GLY", 2, 1.0, 20.0, "C"),
            ("HETATM", "C1", "NAG", 3, 1.0, 30.0, "C"), ("HETATM", "C2", "SIA", 4, 1.0, 40.0, "C"),
            ("HETATM", "S", "SO4", 5, 1.0, 50.0, "S"), ("HETATM", "O", "HOH", 6, 1.0, 60.0, "O"),
        )
    )  # fmt: skip
    assert found["atoms_by_kind"] == {"protein": 2, "nucleic acid": 0, "sugar": 2, "ligand": 1, "water": 1}
    assert found["b_mean_by_kind"]["sugar"] == 35.0
    assert found["n_residues"] == 2


def test_hydrogens_are_in_counts_and_sums_only() -> None:
    """Their B and occupancy are those of others, and the mean B of the refinement leaves them out."""
    found = composition(
        model(("ATOM", "CA", "ALA", 1, 0.8, 20.0, "C"), ("ATOM", "HA", "ALA", 1, 0.3, 99.0, "H"))
    )
    assert (found["b_min"], found["b_max"]) == (20.0, 20.0)
    assert found["occupancy_min"] == found["occupancy_max"] == pytest.approx(0.8)
    assert found["occupancy_sum_hydrogen"] == pytest.approx(0.3)
    assert found["atoms_by_kind"]["protein"] == 2


def test_residues_are_those_of_polymers_and_modified_ones_belong_to_their_chain(case: Callable[[str], Path]) -> None:
    """76 nucleotides of a tRNA, 14 of them in no table of standard ones; 159 residues of a protein with ligands."""
    trna = composition(gemmi.read_structure(str(case("1ehz") / "model.pdb")))
    assert trna["atoms_by_kind"] == {"protein": 0, "nucleic acid": 1652, "sugar": 0, "ligand": 9, "water": 160}
    assert trna["n_residues"] == 76
    assert composition(gemmi.read_structure(str(case("1rx2") / "model.pdb")))["n_residues"] == 159


def test_glycans_of_a_crystal(case: Callable[[str], Path]) -> None:
    found = composition(gemmi.read_structure(str(case("3g70") / "model.pdb")))
    assert found["atoms_by_kind"]["sugar"] == 28
