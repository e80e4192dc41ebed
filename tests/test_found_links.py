"""Links of just two components with a rare one are found where the bond is stretched; others are not."""

from __future__ import annotations

import pytest
from joined import joined

from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import load_monomers
from arrayrefine.topology.links import with_found_links

RETINAL = ("LYS", "NZ", "HZ1"), ("RET", "C15", "O1")
LYS_CYS = ("LYS", "NZ", "HZ1"), ("CYS", "SG", "HG")
SUGARS = ("NAG", "O4", "HO4"), ("NAG", "C1", "O1")


@pytest.mark.parametrize(
    ("ends", "length", "found"),
    [
        (RETINAL, 1.67, 1),
        (RETINAL, 1.85, 1),
        (RETINAL, 1.95, 0),
        (LYS_CYS, 2.10, 1),
        (LYS_CYS, 2.34, 0),  # as side chains meet by chance
        (SUGARS, 1.80, 1),
        (SUGARS, 1.95, 0),  # the library has it for any two sugars
    ],
)
def test_how_far_a_link_may_be_stretched(
    ends: tuple[tuple[str, str, str], tuple[str, str, str]], length: float, found: int
) -> None:
    structure, _ = joined(*ends, length)
    structure.connections.pop(0)
    model = read_model(structure)
    library = load_monomers(model.structure[0].get_all_residue_names())
    linked, notes = with_found_links(model, model.crystal, library.monlib)
    assert len(linked.structure.connections) == found
    assert sum("found, not named" in note for note in notes) == found
