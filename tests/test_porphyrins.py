"""Ways from atom to atom in porphyrins."""

from __future__ import annotations

from arrayrefine.topology.porphyrins import _bonds_between


def test_atoms_that_only_the_iron_joins_have_no_way_between_them() -> None:
    near = {"FE": {"NA", "NB"}, "NA": {"FE", "C1"}, "C1": {"NA"}, "NB": {"FE"}}
    assert _bonds_between("NA", "NB", near, "FE") is None
    assert _bonds_between("NA", "C1", near, "FE") == 1
