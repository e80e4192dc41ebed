"""Links that are too long for a bond: hydrogen bonds in the guise of covalent ones, and mistakes."""

from __future__ import annotations

import gemmi
import pytest
from joined import joined

from arrayrefine.hydrogens.sources import add_hydrogens
from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import load_monomers
from arrayrefine.options import RidingHydrogens
from arrayrefine.topology.build import build_restraints
from arrayrefine.topology.links import with_found_links
from arrayrefine.wording import Caution

AMINE, ALCOHOL, THIOL = ("LYS", "NZ", "HZ1"), ("EDO", "O1", "HO1"), ("CYS", "SG", "HG")
CARBON, OTHER_CARBON = ("EDO", "C1", "O1"), ("GOL", "C1", "O1")
HYDROGEN_BOND, LEFT_OUT = "for a hydrogen bond", "too long for a bond"


def restrained(structure: gemmi.Structure) -> tuple[bool, list[str]]:
    """Whether a bond leads from one residue to the other, or to a mate of it; and the notes."""
    model = read_model(structure)
    library = load_monomers(model.structure[0].get_all_residue_names())
    restraints = build_restraints(model.structure, model.atoms, model.crystal, library)
    residue = model.atoms.identity.residue[restraints.bonds.index]
    across = len(restraints.across.bonds.ideal)
    return bool((residue[:, 0] != residue[:, 1]).any() or across), list(restraints.notes)


@pytest.mark.parametrize(
    ("one", "two", "length", "bonded", "said"),
    [
        (AMINE, ALCOHOL, 2.1, True, ""),  # a bond of 1.4 Å in a model that is far off
        (AMINE, ALCOHOL, 2.5, False, HYDROGEN_BOND),
        (AMINE, ALCOHOL, 4.5, False, HYDROGEN_BOND),
        (AMINE, ALCOHOL, 5.5, False, LEFT_OUT),
        (THIOL, ALCOHOL, 2.4, True, ""),
        (THIOL, ALCOHOL, 3.3, False, HYDROGEN_BOND),
        (THIOL, THIOL, 4.5, True, ""),  # the library has a link for it
        (AMINE, CARBON, 3.2, True, ""),
        (CARBON, OTHER_CARBON, 3.2, True, ""),
        (CARBON, OTHER_CARBON, 3.8, False, LEFT_OUT),
    ],
)
def test_what_a_long_link_is_taken_for(
    one: tuple[str, str, str], two: tuple[str, str, str], length: float, bonded: bool, said: str
) -> None:
    found, notes = restrained(joined(one, two, length)[0])
    assert found == bonded
    told = [note for note in notes if HYDROGEN_BOND in note or LEFT_OUT in note]
    assert len(told) == bool(said)
    assert all(said in note and isinstance(note, Caution) == (said == LEFT_OUT) for note in told)


def test_a_type_of_link_that_the_library_lacks_is_told_and_the_atoms_decide() -> None:
    for kind in ("SS", "NONE-SUCH"):
        structure = joined(THIOL, THIOL, 4.5)[0]
        structure.connections[0].link_id = kind
        bonded, notes = restrained(structure)
        assert bonded
        told = [note for note in notes if "unknown to the library" in note]
        assert len(told) == (kind == "NONE-SUCH")
        assert all("has the type NONE-SUCH, unknown to the library: matched by its atoms" in note for note in told)


def test_one_to_a_symmetry_mate() -> None:
    structure = joined(AMINE, ALCOHOL, 2.9)[0]
    for atom in structure[0]["B"][0]:
        atom.pos += gemmi.Position(0.0, 0.0, 80.0)
    found, notes = restrained(structure)
    assert not found
    assert any(HYDROGEN_BOND in note for note in notes)


def test_what_is_named_a_hydrogen_bond_is_one() -> None:
    structure = joined(AMINE, ALCOHOL, 1.5)[0]
    structure.connections[0].type = gemmi.ConnectionType.Hydrog
    assert not restrained(structure)[0]


@pytest.mark.parametrize(("kind", "length"), [("Covale", 2.9), ("Hydrog", 2.9)])
def test_hydrogens_stay_and_the_record_too(kind: str, length: float) -> None:
    structure = joined(AMINE, ALCOHOL, length)[0]
    structure.connections[0].type = getattr(gemmi.ConnectionType, kind)
    model = read_model(structure)
    library = load_monomers(["LYS", "EDO"])
    kept, _ = with_found_links(model, model.crystal, library.monlib)
    assert [link.type for link in kept.structure.connections] == [getattr(gemmi.ConnectionType, kind)]
    complete, _, _ = add_hydrogens(kept, model.crystal, library, RidingHydrogens())
    assert {"HZ1", "HZ2", "HZ3", "HO1"} <= set(complete.atoms.identity.atom_name.tolist())
