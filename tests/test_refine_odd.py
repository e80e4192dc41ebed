"""Models that are odd or broken, refined from file to file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest

from arrayrefine import Options, refine
from arrayrefine.result import Result

Case = Callable[[str], Path]
Refined = Callable[..., Result]


@pytest.fixture
def refined(case: Case, tmp_path: Path) -> Refined:
    """Refine 5e5z after a change of its model."""

    def go(change: Callable[[gemmi.Structure], None], suffix: str = ".pdb", **options: object) -> Result:
        structure = gemmi.read_structure(str(case("5e5z") / "shaken.pdb"))
        change(structure)
        path = tmp_path / f"odd{suffix}"
        if suffix == ".pdb":
            structure.write_pdb(str(path))
        else:
            structure.make_mmcif_document().write_file(str(path))
        return refine(path, case("5e5z") / "norm.mtz", Options(cycles=1, **options))  # type: ignore[arg-type]

    return go


def atoms_of(structure: gemmi.Structure) -> list[gemmi.Atom]:
    return [found.atom for found in structure[0].all()]


def sane(result: Result) -> None:
    """Finite, and not worse than its start."""
    assert np.isfinite(result.atoms.xyz).all()
    assert np.isfinite(result.atoms.b_iso).all()
    assert result.r_work <= result.report.start.r_work + 0.002


def test_single_atom(refined: Refined, tmp_path: Path) -> None:
    def only_one(structure: gemmi.Structure) -> None:
        model = structure[0]
        for name in [chain.name for chain in model][1:]:
            model.remove_chain(name)
        while len(model[0]) > 1:
            del model[0][-1]
        while len(model[0][0]) > 1:
            del model[0][0][-1]

    result = refined(only_one)
    assert len(result.atoms) == 1
    sane(result)
    assert result.report.final.bond_rmsz is None
    result.write(tmp_path / "out")
    assert (tmp_path / "out" / "refined.cif").exists()


def test_absurd_b_and_occupancy(refined: Refined) -> None:
    def absurd(structure: gemmi.Structure) -> None:
        atoms = atoms_of(structure)
        atoms[0].b_iso, atoms[1].b_iso, atoms[2].b_iso = -5.0, 0.0, 999.0
        atoms[3].occ, atoms[4].occ, atoms[5].occ = 0.0, 2.5, -1.0

    result = refined(absurd)
    sane(result)
    assert result.r_work < result.report.start.r_work - 0.05
    said = " ".join(result.report.warnings)
    assert all(
        text in said
        for text in ("for 2 atoms: A/LEU 1/N, A/LEU 1/CA", "B was above 300", "negative", "above 1", "zero occupancy")
    )
    assert result.atoms.b_iso.max() <= 300.0
    assert result.atoms.b_iso.min() >= 0.5
    assert result.atoms.occupancy.min() >= 0.0
    assert result.atoms.occupancy.max() <= 1.0


def test_atoms_on_top_of_each_other_come_apart(refined: Refined) -> None:
    def stack(structure: gemmi.Structure) -> None:
        atoms = atoms_of(structure)
        atoms[5].pos, atoms[20].pos = atoms[4].pos, atoms[10].pos

    result = refined(stack)
    sane(result)
    assert any("on top of each other" in w and "A/LEU 1/CB on A/LEU 1/CG" in w for w in result.report.warnings)
    for i, j in ((4, 5), (10, 20)):
        assert np.linalg.norm(result.atoms.xyz[i] - result.atoms.xyz[j]) > 1.0


def test_three_letter_chains_are_written_as_mmcif_alone(refined: Refined, tmp_path: Path) -> None:
    def rename(structure: gemmi.Structure) -> None:
        for chain in structure[0]:
            chain.name = "AA" + chain.name

    result = refined(rename, suffix=".cif")
    files = result.write(tmp_path / "out")
    assert {p.name for p in files} == {"refined.cif", "refined.mtz", "report.json"}
    assert gemmi.read_structure(str(tmp_path / "out" / "refined.cif"))[0][0].name == "AAA"
    assert set(result.atoms.identity.chain) == {"AAA"} or all(c.startswith("AA") for c in result.atoms.identity.chain)
    assert "refined.pdb" in (tmp_path / "out" / "report.json").read_text()  # said that it was left out, and why


def test_nothing_to_refine_in_a_step_is_said(refined: Refined) -> None:
    result = refined(lambda structure: None, targets=("occupancy",))
    assert result.history[0].free_parameters == 0
    assert "nothing to refine" in result.history[0].note
    assert result.report.stopped.startswith("stopped: nothing to refine")


def test_without_adp_restraint(refined: Refined) -> None:
    result = refined(lambda structure: None, adp="none")
    sane(result)
    assert result.r_work < result.report.start.r_work - 0.05
