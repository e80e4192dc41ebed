"""Components that miss their restraints by far more than all else at the end are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine.example import DATA, MODEL
from arrayrefine.monomers import EMBEDDED
from arrayrefine.targets.odd_components import odd_residues
from arrayrefine.wording import Caution

Case = Callable[[str], Path]


def wrong_dictionary(folder: Path, name: str, longer: float) -> Path:
    """The component with every other bond longer, and the next ones shorter."""
    document = gemmi.cif.read(str(EMBEDDED / name[0].lower() / f"{name}.cif"))
    for k, row in enumerate(document[-1].find("_chem_comp_bond.", ["value_dist"])):
        row[0] = f"{float(row[0]) + longer * (-1.0) ** k:.3f}"
    document.write_file(str(folder / f"{name}.cif"))
    return folder / f"{name}.cif"


@pytest.mark.parametrize(("ligand", "chain", "count", "found"), [
    (9.0, 1.0, 10, True), (3.1, 1.5, 10, True), (2.9, 0.5, 10, False), (9.0, 5.0, 10, False), (9.0, 1.0, 5, False),
])  # fmt: skip
def test_which_are_odd(ligand: float, chain: float, count: int, found: bool) -> None:
    """By z of `count` bonds of a ligand and of those of the chain: above 3, and above twice that of the rest."""
    _, problem, atoms, _ = ar.prepare(MODEL, DATA, ar.Options(cycles=0))
    who, index = atoms.identity, problem.restraints.bonds.index
    inside = who.residue[index[:, 0]] == who.residue[index[:, 1]]
    names = who.residue_name[index[:, 0]]
    mine = np.flatnonzero(inside & (names == "FOL") & ~atoms.is_hydrogen[index].any(axis=1))[:count]
    others = np.flatnonzero(inside & np.isin(names, ("LEU", "VAL")))
    rows = np.concatenate([mine, others])
    z = np.concatenate([np.full(count, ligand), np.full(len(others), -chain)])
    odd = odd_residues(atoms, [(index[rows], z)])
    assert set(who.residue_name[np.isin(who.residue, odd)].tolist()) == ({"FOL"} if found else set())
    swapped = np.where(z > 0, chain, ligand)  # residues of chains are never odd
    assert not len(odd_residues(atoms, [(index[rows], swapped)]))
    to_hydrogens = np.column_stack([atoms.riding.parent, atoms.riding.child])
    to_hydrogens = to_hydrogens[who.residue_name[to_hydrogens[:, 0]] == "FOL"]
    pairs = np.concatenate([to_hydrogens, index[others]])
    z = np.concatenate([np.full(len(to_hydrogens), 9.0), np.full(len(others), chain)])
    assert len(to_hydrogens) >= 10
    assert not len(odd_residues(atoms, [(pairs, z)]))


@pytest.mark.parametrize("longer", [0.3, 0.0])
def test_they_are_named(case: Case, tmp_path: Path, longer: float) -> None:
    folder = case("1cbs")
    options = ar.Options(
        restraints=(wrong_dictionary(tmp_path, "REA", longer),), anisotropic="none", d_min=2.2, cycles=1
    )
    result = ar.refine(next(folder.glob("model.*")), folder / "norm.mtz", options)
    said = [w for w in result.report.warnings if "contradicts the restraints" in w]
    assert [isinstance(w, Caution) for w in said] == [True] * (longer > 0)
    assert all("of 1 component: A/REA 200. See" in w for w in said)
