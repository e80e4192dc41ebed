"""Tests of arrayrefine.topology.impossible_angles."""

from __future__ import annotations

from pathlib import Path

import gemmi
import pytest

from arrayrefine.monomers import EMBEDDED, load_monomers
from arrayrefine.topology.impossible_angles import mend_impossible_angles


@pytest.mark.parametrize(("name", "said"), [("PO4", 1), ("SO4", 0), ("ALA", 0), ("SEP", 0)])
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


def angles_at(component: gemmi.ChemComp, centre: str) -> dict[frozenset[str], float]:
    at = [angle for angle in component.rt.angles if angle.id2.atom == centre]
    return {frozenset((angle.id1.atom, angle.id3.atom)): angle.value for angle in at}


def test_the_end_of_atp_has_the_angles_of_phosphates_and_the_rest_stays() -> None:
    library = load_monomers(["ATP"])
    (note,) = (note for note in library.notes if "cannot have" in note)
    assert note.startswith("ATP, whose dictionary has angles of 119.9 and 108.2° at PG, which four neighbours (O1G")
    component = library.monlib.monomers["ATP"]
    ends = {"O1G", "O2G", "O3G"}
    for pair, value in angles_at(component, "PG").items():
        assert value == (112.9 if pair <= ends else 105.8)
    for centre in ("PA", "PB"):
        values = sorted(round(value, 1) for value in angles_at(component, centre).values())
        assert values == [102.6, *[108.2] * 4, 119.9]


def test_the_angles_of_phosphates_are_those_of_phosphoserine() -> None:
    component = load_monomers(["SEP"]).monlib.monomers["SEP"]
    assert {round(value, 1) for value in angles_at(component, "P").values()} == {112.9, 105.8}


@pytest.mark.parametrize(
    ("group", "without", "said"), [("non-polymer", "O3'", 1), ("non-polymer", "", 0), ("RNA", "O3'", 0)]
)
def test_what_may_be_a_nucleotide_of_a_chain_stays(group: str, without: str, said: int) -> None:
    """A modified nucleotide is drawn with all of its phosphate, and libraries call many of them no polymer."""
    text = (EMBEDDED / "a" / "AMP.cif").read_text()
    library = gemmi.MonLib()
    library.read_monomer_doc(gemmi.cif.read_string(text.replace(f'"{without}"', "CX") if without else text))
    library.monomers["AMP"].set_group(group)
    before = angles_at(library.monomers["AMP"], "P")
    assert len(mend_impossible_angles(library, ["AMP"])) == said
    assert (angles_at(library.monomers["AMP"], "P") == before) == (not said)


def test_four_neighbours_of_another_atom_than_phosphorus_are_mended_too() -> None:
    library = gemmi.MonLib()
    library.read_monomer_doc(gemmi.cif.read(str(EMBEDDED / "s" / "SO4.cif")))
    angles = library.monomers["SO4"].rt.angles
    for angle in angles:
        angle.value = 119.9
    (note,) = mend_impossible_angles(library, ["SO4"])
    assert note.startswith("SO4, whose dictionary has six angles of 119.9° at S")
    assert [round(angle.value, 2) for angle in angles] == [109.47] * 6
