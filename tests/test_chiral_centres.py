"""Names that could be exchanged, and the hands of centres whose neighbours are alike."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from drawn import built

from arrayrefine.atoms import Atoms
from arrayrefine.kernels.geometry import chirality
from arrayrefine.monomers import load_monomers
from arrayrefine.restraints import Restraints
from arrayrefine.topology import build as topology
from arrayrefine.topology.chiral_centres import _best_signs, _exchanged
from arrayrefine.topology.name_symmetry import Skeleton

CENTRES = {"CIT": "C3", "TRS": "C", "EPE": "N1", "MES": "N4"}


def component(name: str) -> gemmi.ChemComp:
    return load_monomers([name]).monlib.monomers[name]


def skeleton(name: str) -> Skeleton:
    found = Skeleton.of(component(name))
    assert found is not None
    return found


def as_built(atoms: Atoms, restraints: Restraints) -> np.ndarray:
    """Whether each centre is restrained to the hand that it has."""
    c = restraints.chiralities
    assert len(c.ideal)
    ones = np.ones(len(c.ideal))
    return chirality(atoms.xyz, c.index, 0.0 * ones, ones)[0] * c.ideal > 0.0


@pytest.mark.parametrize("name", CENTRES)
def test_the_mirror_image_of_a_compound_that_has_none_is_as_good(name: str) -> None:
    atoms, restraints = built(name)
    assert as_built(atoms, restraints).all()
    assert not any("hand" in note for note in restraints.notes)
    atoms, restraints = built(name, mirrored=True)
    assert as_built(atoms, restraints).all()
    (note,) = (note for note in restraints.notes if "the hand of the model is kept" in note)
    assert f"A/{name} 1/{CENTRES[name]}" in note


def test_centres_of_a_component_with_a_metal_keep_their_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of the phytyl of a chlorophyll, far from its magnesium: left free they would flatten and invert."""
    atoms, restraints = built("NAG", mirrored=True)
    assert not as_built(atoms, restraints).any()
    monkeypatch.setattr(topology, "_components_with_metals", lambda _, atoms: np.ones(len(atoms), dtype=bool))
    atoms, restraints = built("NAG", mirrored=True)
    assert len(restraints.chiralities.ideal) == 5
    assert as_built(atoms, restraints).all()


def test_an_amine_has_the_hand_of_the_model() -> None:
    """N1 of HEPES, also where its arms differ by a hydrogen."""
    atoms, restraints = built("EPE", mirrored=True, without="H61")
    assert as_built(atoms, restraints).all()
    (note,) = (note for note in restraints.notes if "the hand of the model is kept" in note)
    assert "A/EPE 1/N1" in note


@pytest.mark.parametrize("altloc", ["", "B"])
def test_arms_of_citrate_may_have_each_others_names(altloc: str) -> None:
    """As programs name them that count from the other end."""
    arms = {"C2": "C4", "C1": "C5", "O1": "O3", "O2": "O4"}
    names = {**arms, **{new: old for old, new in arms.items()}}
    atoms, restraints = built("CIT", names=names, altloc=altloc)
    assert as_built(atoms, restraints).all()
    (note,) = (note for note in restraints.notes if "hand" in note)
    assert note.startswith("1 centre with equal neighbours, or of an amine, is not of the hand")


MESO = Skeleton(
    ("C1", "C2", "C3", "C4", "O2", "O3"),
    (("C", 3), ("C", 1), ("C", 1), ("C", 3), ("O", 0), ("O", 0)),
    ((1,), (0, 2, 4), (1, 3, 5), (2,), (1,), (2,)),
)
"""2,3-butanediol."""


@pytest.mark.parametrize(("present", "fits"), [((1.0, -1.0), True), ((-1.0, 1.0), True), ((1.0, 1.0), False)])
def test_a_meso_compound_may_be_named_from_either_end(present: tuple[float, float], fits: bool) -> None:
    """Its ends are mirror images of each other; with both hands alike it is another compound."""
    centres = ("C2", "C1", "C3", "O2"), ("C3", "C4", "C2", "O3")
    found = _best_signs(dict(zip(centres, (1.0, -1.0))), dict(zip(centres, present)), MESO)
    assert (tuple(found.values()) == present) == fits
    assert MESO.turn("C2", "O2") is None


def test_what_a_model_lacks_does_not_make_its_arms_alike() -> None:
    """CB of Ile without CD1 has two carbons, CG1 and CG2, that are not named by choice."""
    swapped = {"CG1": "CG2", "CG2": "CG1"}
    atoms, restraints = built("ILE", names=swapped, lacks=("CD1",))
    wrong = atoms.identity.atom_name[restraints.chiralities.index[:, 0]][~as_built(atoms, restraints)]
    assert wrong.tolist() == ["CB"]


@pytest.mark.parametrize(("name", "centre"), [("LEU", "CG"), ("VAL", "CB")])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_centre_with_either_hand_keeps_that_of_the_model(name: str, centre: str, mirrored: bool) -> None:
    """The dictionary has both for isopropyl groups; nothing else keeps them from going flat."""
    arms = {"LEU": ("CD1", "CD2"), "VAL": ("CG1", "CG2")}[name]
    names = dict(zip(arms, arms[::-1])) if mirrored else {}
    atoms, restraints = built(name, names=names)
    at = atoms.identity.atom_name[restraints.chiralities.index[:, 0]].tolist()
    assert centre in at
    assert as_built(atoms, restraints)[at.index(centre)]
    assert not any("hand" in note for note in restraints.notes)
    assert abs(restraints.chiralities.ideal[at.index(centre)]) == pytest.approx(2.6, abs=0.2)


def test_a_sugar_has_one_hand() -> None:
    atoms, restraints = built("NAG", mirrored=True)
    assert not as_built(atoms, restraints).any()
    (note,) = (note for note in restraints.notes if "hand" in note)
    assert "5 chiral centres of the other hand than in the dictionary" in note
    assert "A/NAG 1/C1" in note
    assert "another stereoisomer" in note


RING = Skeleton(
    ("C1", "C2", "C3", "C4", "C5", "C6", "M1", "M4"),
    tuple(("C", hydrogens) for hydrogens in (1, 2, 2, 1, 2, 2, 3, 3)),
    ((1, 5, 6), (0, 2), (1, 3), (2, 4, 7), (3, 5), (4, 0), (0,), (3,)),
)
"""1,4-dimethylcyclohexane."""


@pytest.mark.parametrize(("present", "fits"), [((1.0, 1.0), True), ((-1.0, -1.0), True), ((1.0, -1.0), False)])
def test_cis_and_trans_are_two_compounds(present: tuple[float, float], fits: bool) -> None:
    """Exchanged names turn the hands of both centres of a ring, and never of one."""
    centres = ("C1", "C2", "C6", "M1"), ("C4", "C3", "C5", "M4")
    found = _best_signs(dict.fromkeys(centres, 1.0), dict(zip(centres, present)), RING)
    assert (tuple(found.values()) == present) == fits


def test_exchanged_names_leave_bonds_as_they_are() -> None:
    found = RING.exchange("C1", "C2", "C6")
    assert found == {"C1": "C1", "C2": "C6", "C3": "C5", "C4": "C4", "C5": "C3", "C6": "C2", "M1": "M1", "M4": "M4"}
    assert RING.exchange("C1", "C2", "M1") is None
    assert skeleton("GOL").exchange("C2", "C1", "C3") is not None
    assert skeleton("ILE").exchange("CB", "CG1", "CG2") is None
    assert skeleton("ILE").neighbours("H") == []


def test_a_dictionary_without_hydrogens_names_nothing_alike() -> None:
    bare = gemmi.ChemComp()
    for atom in component("CIT").atoms:
        if not atom.is_hydrogen():
            bare.atoms.append(atom)
    assert Skeleton.of(bare) is None


def test_a_centre_whose_name_goes_to_an_atom_that_is_none_keeps_its_sign() -> None:
    names = RING.exchange("C1", "C2", "C6")
    assert names is not None
    assert _exchanged({("C2", "C1", "C3", "M1"): -1.0}, names, RING) == {("C2", "C1", "C3", "M1"): -1.0}


def test_names_are_not_exchanged_by_a_dictionary_without_hydrogens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its arms may differ in orders of bonds: the hand of the dictionary stays."""
    monkeypatch.setattr(Skeleton, "of", lambda _: None)
    atoms, restraints = built("CIT", mirrored=True)
    assert not as_built(atoms, restraints).any()
    assert any("1 chiral centre of the other hand than in the dictionary" in note for note in restraints.notes)


def test_parts_that_look_alike_atom_by_atom_do_not_take_each_others_place() -> None:
    """Two rings of three and one of six, each atom of which is bonded to one hub: colours cannot tell the hubs."""
    rings = [(1, 2), (2, 0), (0, 1), (4, 5), (5, 3), (3, 4), *((6 + (k - 1) % 6, 6 + (k + 1) % 6) for k in range(6))]
    near = (*((*around, 12 if k < 6 else 13) for k, around in enumerate(rings)), tuple(range(6)), tuple(range(6, 12)))
    names = tuple(f"C{k}" for k in range(14))
    hubs = Skeleton(names, ("C",) * 14, near)
    assert hubs.turn("C12", "C13") is None
    assert hubs.turn("C0", "C3") is not None
