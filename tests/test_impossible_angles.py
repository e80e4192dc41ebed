"""Tests of arrayrefine.topology.impossible_angles."""

from __future__ import annotations

from pathlib import Path

import pytest

from arrayrefine.monomers import EMBEDDED, load_monomers


@pytest.mark.parametrize(("name", "said"), [("PO4", 1), ("SO4", 0), ("ATP", 0), ("ALA", 0)])
def test_phosphate_is_a_tetrahedron_and_what_can_be_stays(name: str, said: int) -> None:
    library = load_monomers([name])
    notes = [note for note in library.notes if "cannot have" in note]
    assert len(notes) == said
    if said:
        assert notes[0].startswith("PO4, whose dictionary has six angles of 119.9° at P, which four neighbours (O1, O2")
        assert [round(angle.value, 2) for angle in library.monlib.monomers[name].rt.angles] == [109.47] * 6


def test_a_dictionary_of_the_user_stays(tmp_path: Path) -> None:
    path = tmp_path / "PO4.cif"
    path.write_text((EMBEDDED / "p" / "PO4.cif").read_text())
    angles = load_monomers(["PO4"], [path]).monlib.monomers["PO4"].rt.angles
    assert {round(angle.value, 1) for angle in angles} == {119.9}
