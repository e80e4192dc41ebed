"""Tests of arrayrefine.topology.tetrahedral_ends."""

from __future__ import annotations

from pathlib import Path

import gemmi
import pytest

from arrayrefine.monomers import EMBEDDED, load_monomers
from arrayrefine.topology.tetrahedral_ends import mend_tetrahedral_ends


def _deleted(monlib: gemmi.MonLib, modification: str) -> dict[str, set[str]]:
    """Atoms that a modification takes out of planes, by plane."""
    planes = monlib.modifications[modification].rt.planes
    return {plane.label: {end.atom for end in plane.ids if end.comp == ord("d")} for plane in planes}


def test_thioethers_of_haem_c_leave_the_planes_of_their_pyrroles() -> None:
    """In 1e29 the plane moved CBB by 0.8 Å from the density."""
    library = load_monomers(["HEC"])
    assert _deleted(library.monlib, "HECmod1") == {"plan-8": {"CBC", "HAC"}}
    assert _deleted(library.monlib, "HECmod2") == {"plan-7": {"CBB", "HAB"}}
    (note,) = [note for note in library.notes if "tetrahedral" in note]
    assert note.startswith("HEC: planes that its dictionary has hold CB")
    assert not mend_tetrahedral_ends(library.monlib, ["HEC"]), "done once"


@pytest.mark.parametrize("name", ["HEM", "TYR", "LYS", "ALA"])
def test_components_whose_planes_fit_their_links_stay(name: str) -> None:
    assert not [note for note in load_monomers([name]).notes if "tetrahedral" in note]


def test_what_the_user_gives_stays(tmp_path: Path) -> None:
    path = tmp_path / "HEC.cif"
    path.write_text((EMBEDDED / "h" / "HEC.cif").read_text())
    assert not _deleted(load_monomers(["HEC"], [path]).monlib, "HECmod1")
    monlib = gemmi.MonLib()
    monlib.read_monomer_lib(f"{EMBEDDED}/", ["HEC"])
    assert not mend_tetrahedral_ends(monlib, ["HEC"], ["HEC-CYS1", "HEC-CYS2"])
