"""Angles at links that no library describes are those of what the link replaces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest
from joined import joined

from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import EMBEDDED, library_for, load_monomers
from arrayrefine.restraints import Restraints
from arrayrefine.topology.build import build_restraints
from arrayrefine.topology.link_angles import SIGMA

End = tuple[str, str, str]


def angles_of(structure: gemmi.Structure) -> tuple[dict[str, float], Restraints]:
    """Ideal values of the angles between residues, degrees, by the names of their atoms."""
    model = read_model(structure)
    library = load_monomers(sorted(set(model.structure[0].get_all_residue_names())))
    found = build_restraints(model.structure, model.atoms, model.crystal, library, unknown="hold")
    who, angles = model.atoms.identity, found.angles
    across = {
        "-".join(who.atom_name[row]): (float(ideal), float(sigma))
        for row, ideal, sigma in zip(angles.index, angles.ideal, angles.sigma)
        if len(set(who.residue[row].tolist())) > 1
    }
    assert all(sigma == SIGMA for _, sigma in across.values())
    return {name: ideal for name, (ideal, _) in across.items()}, found


@pytest.mark.parametrize(
    ("one", "two", "length", "expected"),
    [
        (
            ("TRP", "CD1", "HD1"), ("MAN", "C1", "O1"), 1.5,
            {"CG-CD1-C1": 125, "NE1-CD1-C1": 125, "C2-C1-CD1": 109, "O5-C1-CD1": 109},
        ),
        (("GOL", "O1", "HO1"), ("EDO", "C1", "O1"), 1.43, {"C1-O1-C1": 115, "C2-C1-O1": 110}),
        (("LYS", "NZ", "HZ1"), ("BTN", "C11", "O11"), 1.33, {"CE-NZ-C11": 120, "C10-C11-NZ": 118, "O12-C11-NZ": 124}),
        (("LYS", "NZ", "HZ1"), ("EDO", "C1", "O1"), 1.47, {"CE-NZ-C1": 109.5, "C2-C1-NZ": 110}),
        (("CYS", "SG", "HG"), ("EDO", "C1", "O1"), 1.81, {"CB-SG-C1": 102, "C2-C1-SG": 110}),
        (("TRP", "NE1", "HE1"), ("EDO", "C1", "O1"), 1.47, {"CD1-NE1-C1": 120, "CE2-NE1-C1": 120, "C2-C1-NE1": 110}),
    ],
)  # fmt: skip
def test_they_are_those_of_the_atom_that_leaves_or_of_the_element(
    one: End, two: End, length: float, expected: dict[str, float]
) -> None:
    structure, _ = joined(one, two, length)
    across, restraints = angles_of(structure)
    assert across == pytest.approx(expected, abs=2.5)
    (note,) = [note for note in restraints.notes if "at links that no library describes" in note]
    assert note.startswith(f"{len(expected)} angles")


def test_none_at_metals_at_mates_or_at_a_component_without_neighbours() -> None:
    structure, _ = joined(("GOL", "O1", "HO1"), ("EDO", "C1", "O1"), 1.43)
    for atom in structure[0]["B"][0]:
        atom.pos += gemmi.Position(0.0, 0.0, 80.0)
    assert angles_of(structure)[0] == {}
    structure, _ = joined(("GOL", "O1", "HO1"), ("EDO", "C1", "O1"), 2.3)
    del structure[0]["B"]
    metal = structure[0]["A"][0].clone()
    metal.name = "MN"
    while len(metal) > 1:
        del metal[1]
    metal[0].name, metal[0].element = "MN", gemmi.Element("Mn")
    metal[0].pos = structure[0]["A"][0]["O1"][0].pos + gemmi.Position(0.0, 0.0, 2.2)
    chain = gemmi.Chain("B")
    chain.add_residue(metal)
    structure[0].add_chain(chain)
    structure.connections[0].partner2 = gemmi.AtomAddress("B", gemmi.SeqId("1"), "MN", "MN")
    across, restraints = angles_of(structure)
    assert across == {}
    assert any("metal-ligand link" in note for note in restraints.notes)


def test_there_is_none_at_an_atom_without_a_dictionary() -> None:
    structure, _ = joined(("CYS", "SG", "HG"), ("EDO", "C1", "O1"), 1.81)
    structure[0]["B"][0].name = "XXX"
    structure.connections[0].partner2 = gemmi.AtomAddress("B", gemmi.SeqId("1"), "XXX", "C1")
    assert angles_of(structure)[0] == pytest.approx({"CB-SG-C1": 102.0}, abs=0.1)


def test_a_link_to_an_atom_that_has_all_its_bonds_is_told_and_has_none() -> None:
    structure, _ = joined(("TRP", "CD2", "CE3"), ("EDO", "C1", "O1"), 1.52)
    corner = structure[0]["A"][0]["CD2"][0]
    sixth = corner.clone()  # what the model left out for the link is there
    sixth.name, sixth.pos = "CE3", corner.pos + gemmi.Position(1.2, 0.0, 0.7)
    structure[0]["A"][0].add_atom(sixth)
    across, restraints = angles_of(structure)
    assert across == {}
    (note,) = [note for note in restraints.notes if "all its bonds" in note]
    assert note.startswith("1 link unknown to any library")
    assert note.endswith("CD2 - C1")


def test_a_component_without_hydrogens_has_room_for_what_it_lacks() -> None:
    """As a sugar with fluorine as a residue of its own, both known by their shape alone."""
    structure, _ = joined(("EDO", "C1", "O1"), ("EDO", "C1", "O1"), 1.38)
    first, fluorine = structure[0]["A"][0], structure[0]["B"][0]
    first.name, fluorine.name = "XSU", "XFL"
    for residue, kept in ((first, {"C1", "C2", "O2"}), (fluorine, {"C1"})):
        for k in reversed(range(len(residue))):
            if residue[k].name not in kept:
                del residue[k]
    fluorine[0].name, fluorine[0].element = "F", gemmi.Element("F")
    connection = structure.connections[0]
    connection.partner1 = gemmi.AtomAddress("A", first.seqid, "XSU", "C1")
    connection.partner2 = gemmi.AtomAddress("B", fluorine.seqid, "XFL", "F")
    model = read_model(structure)
    library = library_for(model.structure, (), None, "shape")
    found = build_restraints(model.structure, model.atoms, model.crystal, library, unknown="shape")
    assert not [note for note in found.notes if "all its bonds" in note]
    assert [note for note in found.notes if note.startswith("1 angle at links")]
    assert [note for note in found.notes if "typical lengths: 1 x F - C1 (1.40 Å)" in note or "C1 - F (1.40 Å)" in note]


def test_a_phosphonate_that_has_lost_an_oxygen_has_room_for_serine() -> None:
    """As 3V2 of a covalent inhibitor (4WVP), known by its shape alone: P with three bonds is bound to OG."""
    structure, _ = joined(("SER", "OG", "HG"), ("PO4", "P", "O1"), 1.6)
    second = structure[0]["B"][0]
    second.name = "XPH"
    connection = structure.connections[0]
    connection.partner2 = gemmi.AtomAddress("B", second.seqid, "XPH", "P")
    model = read_model(structure)
    library = library_for(model.structure, (), None, "shape")
    found = build_restraints(model.structure, model.atoms, model.crystal, library, unknown="shape")
    assert not [note for note in found.notes if "all its bonds" in note]
    assert [note for note in found.notes if note.startswith("4 angles at links")]


def test_nitrogen_behind_a_residue_without_a_dictionary_is_that_of_a_peptide(case: Callable[[str], Path]) -> None:
    """Its carbonyl is told by the length of C=O: the amine that the next residue has by itself is tetrahedral."""
    structure = gemmi.read_structure(str(case("1aba") / "model.pdb"))
    structure[0]["A"]["20"][0].name = "XQX"
    model = read_model(structure)
    library = library_for(model.structure, (), None, "hold")
    found = build_restraints(model.structure, model.atoms, model.crystal, library, unknown="hold")
    number = np.sort(model.atoms.identity.sequence_number[found.angles.index], axis=1)
    at = (number == [20, 21, 21]).all(axis=1)
    assert found.angles.ideal[at].tolist() == [120.0]


def test_neighbours_in_a_chain_stay_bonded_and_flat_far_from_where_they_belong(
    case: Callable[[str], Path], tmp_path: Path
) -> None:
    """A dictionary without OXT that calls its amino acid no polymer leaves C no room for the link; such a link to a
    ligand is none where it is long, and the carbonyl an adduct where it is bent."""
    text = (EMBEDDED / "a" / "ALA.cif").read_text().replace("ALA", "XXX").replace(" peptide ", " non-polymer ", 1)
    lines = [line.replace(" CA ", " C9 ") for line in text.splitlines() if "OXT" not in line]
    (tmp_path / "XXX.cif").write_text("\n".join(lines) + "\n")
    structure = gemmi.read_structure(str(case("1aba") / "model.pdb"))
    noise, numbers = np.random.default_rng(1), []
    for residue in structure[0]["A"]:
        if residue.name == "ALA":
            numbers.append(residue.seqid.num)
            residue.name = "XXX"
            residue["CA"][0].name = "C9"
        for atom in residue:
            atom.pos += gemmi.Position(*noise.normal(0.0, 0.4 / np.sqrt(3.0), 3))
    model = read_model(structure)
    library = library_for(model.structure, (tmp_path / "XXX.cif",), None, "error")
    found = build_restraints(model.structure, model.atoms, model.crystal, library)
    assert not [note for note in found.notes if "tetrahedral" in note or "by mistake" in note]
    who = model.atoms.identity
    pairs = [sorted(pair) for pair in who.sequence_number[found.bonds.index].tolist()]
    assert all([number, number + 1] in pairs for number in numbers)
    middle = found.angles.index[:, 1]
    links = (np.ptp(who.sequence_number[found.angles.index], axis=1) > 0) & (who.residue_name[middle] == "XXX")
    assert found.angles.ideal[links & (who.atom_name[middle] == "C")] == pytest.approx(120.0, abs=3.5)


def test_a_link_of_flat_nitrogen_to_oxygen_as_long_as_none_is_left_free() -> None:
    """As of arginine to a phosphate, a salt bridge drawn too short."""
    nitrogen, oxygen = ("ARG", "NH1", "HH11"), ("EDO", "O1", "HO1")
    structure, _ = joined(nitrogen, oxygen, 2.0)
    across, restraints = angles_of(structure)
    assert across == {}
    arginine = len(structure[0]["A"][0])
    assert not ((restraints.bonds.index < arginine).sum(axis=1) == 1).any()
    (note,) = [note for note in restraints.notes if "hydrogen bond named so" in note]
    assert note.endswith("NH1 - O1 (2.00 Å)")
    across, restraints = angles_of(joined(nitrogen, oxygen, 1.45)[0])
    assert across
    assert not [note for note in restraints.notes if "far longer" in note]


def test_another_that_is_far_too_long_is_told_and_drawn_in() -> None:
    across, restraints = angles_of(joined(("LYS", "NZ", "HZ1"), ("EDO", "C1", "O1"), 2.0)[0])
    assert across
    (note,) = [note for note in restraints.notes if "drawn in" in note]
    assert note.endswith("NZ - C1 (2.00 Å, to 1.47)")


def test_carbonyls_of_peptides_named_as_linked_are_not_drawn_together_and_a_carboxylate_may_be(
    case: Callable[[str], Path],
) -> None:
    """Two that lie 1.7 Å apart, as 3glw has them: O has no place for another bond; that of a side chain's acid has."""

    def of_link(one: tuple[int, str], two: tuple[int, str]) -> tuple[list[float], list[str]]:
        structure = gemmi.read_structure(str(case("1aba") / "model.pdb"))
        chain = structure[0]["A"]
        homes = [chain[str(number)][0] for number, _ in (one, two)]
        fixed, moved = (home[name][0] for home, (_, name) in zip(homes, (one, two)))
        moved.pos = fixed.pos + gemmi.Position(1.0, 1.0, 1.0)
        link = gemmi.Connection()
        link.name, link.type = "link1", gemmi.ConnectionType.Covale
        link.partner1, link.partner2 = (
            gemmi.AtomAddress("A", home.seqid, home.name, name) for home, (_, name) in zip(homes, (one, two))
        )
        structure.connections.append(link)
        model = read_model(structure)
        library = load_monomers(sorted(set(model.structure[0].get_all_residue_names())))
        found = build_restraints(model.structure, model.atoms, model.crystal, library)
        number = model.atoms.identity.sequence_number[found.bonds.index]
        across = (np.sort(number, axis=1) == sorted((one[0], two[0]))).all(axis=1)
        return found.bonds.ideal[across].tolist(), [note for note in found.notes if "all its bonds" in note]

    bonds, (note,) = of_link((20, "O"), (24, "O"))
    assert bonds == []
    assert note.endswith("O - O (1.73 Å)")
    bonds, notes = of_link((18, "OD1"), (44, "OD1"))
    assert len(bonds) == 1
    assert not notes
