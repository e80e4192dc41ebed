"""Atoms far from what they are bonded to are named before anything is refined."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gemmi
import pytest

import arrayrefine as ar
from arrayrefine.errors import InputError
from arrayrefine.example import DATA, MODEL
from arrayrefine.topology.unplaced import check_placed


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with CD and NE of Arg 12 far away, and hydrogens with them."""
    structure = gemmi.read_structure(str(MODEL))
    residue = structure[0]["A"]["12"]["ARG"]
    for name in ("CD", "NE"):
        residue[name][0].pos += gemmi.Position(20.0, 20.0, 5.0)
    path = tmp_path_factory.mktemp("torn") / "model.pdb"
    structure.write_pdb(str(path))
    return path


def check(path: Path, **options: Any) -> None:
    _, problem, atoms, _ = ar.prepare(path, DATA, ar.Options(**options))
    check_placed(problem, atoms, str(path))


def test_torn_bonds_are_named(torn: Path) -> None:
    with pytest.raises(InputError, match=r"model '.*model.pdb': 2 bonds are more than 5 Å longer") as found:
        check(torn)
    assert "A/ARG 12/CG - A/ARG 12/CD (2" in str(found.value)
    with pytest.raises(InputError, match="2 bonds are more than 5 Å"):
        ar.refine(torn, DATA, ar.Options(cycles=1))


@pytest.mark.parametrize(
    "options", [{"cycles": 0}, {"targets": ("b",)}, {"freeze": ("xyz: 12",)}, {"hydrogens": "strip", "cycles": 0}]
)
def test_what_is_not_refined_may_be_torn(torn: Path, options: dict[str, Any]) -> None:
    check(torn, **options)


@pytest.mark.parametrize("name", ["1aba", "2r4r", "3g70"])
def test_crystals_as_deposited_and_shaken(case: Callable[[str], Path], name: str) -> None:
    folder = case(name)
    for model in (*folder.glob("model.*"), folder / "shaken.cif"):
        _, problem, atoms, _ = ar.prepare(model, folder / "norm.mtz", ar.Options(perturb=0.3))
        check_placed(problem, atoms, str(model))
