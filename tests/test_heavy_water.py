"""The component of heavy water."""

from __future__ import annotations

from pathlib import Path

import pytest

from arrayrefine.monomers import EMBEDDED, load_monomers


def test_heavy_water_is_water() -> None:
    monlib = load_monomers(["DOD", "HOH"]).monlib
    heavy, light = monlib.monomers["DOD"], monlib.monomers["HOH"]
    assert [(atom.id, atom.el.name) for atom in heavy.atoms] == [("O", "O"), ("D1", "D"), ("D2", "D")]
    assert [(bond.value, bond.value_nucleus) for bond in heavy.rt.bonds] == [
        (bond.value, bond.value_nucleus) for bond in light.rt.bonds
    ]
    assert [{bond.id1.atom, bond.id2.atom} for bond in heavy.rt.bonds] == [{"O", "D1"}, {"O", "D2"}]
    (angle,) = heavy.rt.angles
    assert {angle.id1.atom, angle.id3.atom} == {"D1", "D2"}
    assert angle.value == pytest.approx(107.4, abs=0.1)
    assert [atom.id for atom in light.atoms] == ["O", "H1", "H2"]


def test_heavy_water_of_the_user_stays(tmp_path: Path) -> None:
    path = tmp_path / "mine.cif"
    path.write_text((EMBEDDED / "d" / "DOD.cif").read_text())
    assert len(load_monomers(["DOD"], [path]).monlib.monomers["DOD"].atoms) == 7
    assert "DOD" not in load_monomers(["HOH"]).monlib.monomers
