"""Hydrogens beside links: as many as valence leaves, at their place, or none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest
from joined import Drawn, drawn, empty, joined

from arrayrefine.atoms import Atoms
from arrayrefine.example import MODEL
from arrayrefine.hydrogens.linked import _directions
from arrayrefine.hydrogens.sources import add_hydrogens
from arrayrefine.hydrogens.turning import turn_hydrogens
from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import load_monomers
from arrayrefine.options import RidingHydrogens
from arrayrefine.topology.build import build_restraints


def grown(
    structure: gemmi.Structure, distance: str = "electron", no_polymer: str = ""
) -> tuple[Atoms, tuple[str, ...]]:
    model = read_model(structure)
    library = load_monomers(sorted(set(model.structure[0].get_all_residue_names())))
    if no_polymer:
        library.monlib.monomers[no_polymer].group = gemmi.ChemComp.Group.NonPolymer
    options = RidingHydrogens(distance=distance)  # type: ignore[arg-type]
    complete, _, notes = add_hydrogens(model, model.crystal, library, options)
    return complete.atoms, notes


def row(atoms: Atoms, residue: str, name: str, altloc: str = "") -> int:
    who = atoms.identity
    (i,) = np.flatnonzero((who.residue_name == residue) & (who.atom_name == name) & (who.altloc == altloc))
    return int(i)


def at(atom: gemmi.Atom) -> np.ndarray:
    return np.array(atom.pos.tolist())


def strand(name: str = "OCS", number: int = 85) -> gemmi.Structure:
    """Three residues of the embedded crystal, the one in the middle of which gets the name of a component."""
    structure, chain = empty(), gemmi.Chain("A")
    for residue in gemmi.read_structure(str(MODEL))[0]["A"]:
        if residue.seqid.num in (number - 1, number, number + 1):
            chain.add_residue(residue)
            for atom in chain[-1]:
                atom.altloc = "\0"
    chain[1].name = name
    structure[0].add_chain(chain)
    return structure


def conformers(residue: gemmi.Residue, name: str) -> None:
    """Split an atom into two conformers."""
    (first,) = residue[name]
    other = first.clone()
    first.altloc, first.occ = "A", 0.6
    other.altloc, other.occ, other.pos = "B", 0.4, other.pos + gemmi.Position(0.3, 0.2, 0.0)
    residue.add_atom(other)


def hydrogens(atoms: Atoms, residue: str, places: Drawn, near: str) -> list[str]:
    """Names of the hydrogens of a residue that its dictionary draws on an atom."""
    who = atoms.identity
    names = who.atom_name[(who.residue_name == residue) & atoms.is_hydrogen].tolist()
    return sorted(name for name in names if np.linalg.norm(places[name] - places[near]) < 1.3)


def test_serial_numbers_that_several_atoms_have_add_no_hydrogens() -> None:
    structure = strand("GLY")
    for name in ("N", "CA", "C", "O"):
        conformers(structure[0]["A"][1], name)
    structure.assign_serial_numbers()
    atoms, _ = grown(structure)
    for residue in structure[0]["A"]:
        for site in residue:
            site.serial = 1  # as of files that were joined, or with stars for numbers
    again, _ = grown(structure)
    assert len(again) == len(atoms)
    assert np.allclose(again.xyz, atoms.xyz)


@pytest.mark.parametrize("distance", ["electron", "nucleus"])
def test_an_amide_of_an_old_dictionary_has_one_hydrogen_opposite_its_bonds(distance: str) -> None:
    atoms, notes = grown(strand(), distance)
    assert any("1 hydrogen is left out, as a link takes the place: A/OCS 85/HN2" in note for note in notes)
    h, n, ca = (atoms.xyz[row(atoms, "OCS", name)] for name in ("HN1", "N", "CA"))
    c = atoms.xyz[np.flatnonzero((atoms.identity.sequence_number == 84) & (atoms.identity.atom_name == "C"))[0]]
    bond = h - n
    assert np.linalg.norm(bond) == pytest.approx({"electron": 0.87, "nucleus": 1.01}[distance], abs=0.15)
    arms = [(end - n) / np.linalg.norm(end - n) for end in (ca, c)]
    angles = [np.degrees(np.arccos(bond @ arm / np.linalg.norm(bond))) for arm in arms]
    assert angles[0] == pytest.approx(angles[1], abs=0.1)
    assert 110.0 < angles[0] < 125.0
    assert abs(np.dot(np.cross(ca - n, c - n), bond)) < 1e-6
    assert atoms.occupancy[row(atoms, "OCS", "HN1")] == 1.0


def test_each_conformer_of_a_neighbour_has_its_own() -> None:
    structure = strand()
    conformers(structure[0][0][1], "CA")
    atoms, _ = grown(structure)
    for altloc, occupancy in (("A", 0.6), ("B", 0.4)):
        h = row(atoms, "OCS", "HN1", altloc)
        assert np.linalg.norm(atoms.xyz[h] - atoms.xyz[row(atoms, "OCS", "N")]) < 1.1
        assert atoms.occupancy[h] == pytest.approx(occupancy)
    assert "HN2" not in atoms.identity.atom_name[atoms.identity.residue_name == "OCS"]


def test_neighbours_of_two_names_in_one_place_are_one_neighbour() -> None:
    """Alternative residues that a link joins to the same atom, as either half of a cleaved chromophore is."""
    structure, places = joined(("LYS", "NZ", "HZ1"), ("BTN", "C11", "O11"), 1.33)
    other = joined(("LYS", "NZ", "HZ1"), ("EDO", "C1", "O1"), 1.33)[0]
    for number, (residue, altloc) in enumerate(((structure[0]["B"][0], "A"), (other[0]["B"][0], "B"))):
        for atom in residue:
            atom.altloc, atom.occ = altloc, 0.5
            atom.serial += 100 * number
    structure[0]["B"].add_residue(other[0]["B"][0])
    link = other.connections[0]
    link.name = "link2"
    structure.connections.append(link)
    structure.connections[0].partner2.altloc, structure.connections[1].partner2.altloc = "A", "B"
    atoms, _ = grown(structure)
    found = hydrogens(atoms, "LYS", places[0], "NZ")
    assert found == ["HZ1"]
    h = row(atoms, "LYS", "HZ1")
    assert atoms.occupancy[h] == 1.0
    assert np.linalg.norm(atoms.xyz[h] - atoms.xyz[row(atoms, "LYS", "NZ")]) < 1.1


@pytest.mark.parametrize(
    ("one", "two", "length", "left"),
    [
        (("TRP", "CD1", "HD1"), ("MAN", "C1", "O1"), 1.5, ([], ["H1"])),  # C-mannosyl tryptophan
        (("GOL", "O1", "HO1"), ("EDO", "C1", "O1"), 1.43, ([], ["H11", "H12"])),
        (("LYS", "NZ", "HZ1"), ("BTN", "C11", "O11"), 1.33, (["HZ1"], [])),  # an amide
        (("LYS", "NZ", "HZ1"), ("EDO", "C1", "O1"), 1.47, (["HZ1", "HZ2"], ["H11", "H12"])),
        (("CYS", "SG", "HG"), ("EDO", "C1", "O1"), 1.81, ([], ["H11", "H12"])),
    ],
)
def test_a_link_unknown_to_the_library_takes_hydrogens_by_valence(
    one: tuple[str, str, str], two: tuple[str, str, str], length: float, left: tuple[list[str], list[str]]
) -> None:
    structure, places = joined(one, two, length)
    atoms, notes = grown(structure)
    gone = [note for note in notes if "as a link takes the place" in note]
    assert len(gone) == 1
    for (name, linked, _), where, names in zip((one, two), places, left):
        found = hydrogens(atoms, name, where, linked)
        assert len(found) == len(names)
        centre = atoms.xyz[row(atoms, name, linked)]
        for h in found:
            i = row(atoms, name, h)
            assert 0.8 < np.linalg.norm(atoms.xyz[i] - centre) < 1.15
            assert atoms.occupancy[i] == 1.0
            others = np.delete(atoms.xyz, i, axis=0)
            assert np.sort(np.linalg.norm(others - atoms.xyz[i], axis=1))[1] > 1.4
    if two[0] == "MAN":
        assert np.linalg.norm(atoms.xyz[row(atoms, "MAN", "H1")] - places[1]["H1"]) < 0.3


def test_what_has_no_definite_place_is_left_out() -> None:
    structure, _ = joined(("TRP", "CD1", "HD1"), ("MAN", "C1", "O1"), 1.5)
    centre, sugar = np.array([40.0, 40.0, 41.5]), structure[0]["B"][0]
    for name, side in (("C2", 1.2), ("O5", -1.2)):  # with the link they point to three corners of a triangle
        sugar[name][0].pos = gemmi.Position(*(centre + np.array([side, 0.0, 1.2 / np.sqrt(3.0)])).tolist())
    atoms, notes = grown(structure)
    assert "1 hydrogen is left out, without a definite place: B/MAN 1/H1" in notes
    assert "H1" not in atoms.identity.atom_name


def test_an_atom_without_its_neighbours_keeps_no_hydrogens_far_away() -> None:
    structure = strand()
    residue = structure[0][0][1]
    del residue[[atom.name for atom in residue].index("CA")]
    atoms, notes = grown(structure)
    distance = np.linalg.norm(atoms.xyz[atoms.riding.child] - atoms.xyz[atoms.riding.parent], axis=1)
    assert (distance < 1.5).all()
    assert "2 hydrogens are left out, without a definite place: A/OCS 85/HN1, A/OCS 85/HN2" in notes


def test_a_link_to_a_symmetry_mate_takes_them_too() -> None:
    structure, _ = joined(("GOL", "O1", "HO1"), ("EDO", "C1", "O1"), 1.43)
    for atom in structure[0]["B"][0]:
        atom.pos += gemmi.Position(0.0, 0.0, 80.0)
    atoms, notes = grown(structure)
    assert "1 hydrogen is left out, as a link takes the place: A/GOL 1/HO1" in notes
    assert {"H11", "H12"} <= set(atoms.identity.atom_name.tolist())
    assert "HO1" not in atoms.identity.atom_name


def test_a_gap_of_refmac_that_names_atoms_takes_none() -> None:
    """It says that there is no link."""
    structure, _ = joined(("GOL", "O1", "HO1"), ("EDO", "C1", "O1"), 1.43)
    structure.connections[0].link_id = "gap"
    for atom in structure[0]["B"][0]:
        atom.pos += gemmi.Position(0.0, 0.0, 13.0)
    atoms, notes = grown(structure)
    assert not [note for note in notes if "left out" in note]
    assert "HO1" in atoms.identity.atom_name


def test_a_carbonyl_of_a_component_without_a_dictionary_is_told_by_its_length() -> None:
    structure = strand("OCS")
    structure[0][0][0].name = "XXX"
    connection = gemmi.Connection()
    connection.name, connection.type = "link1", gemmi.ConnectionType.Covale
    connection.partner1 = gemmi.AtomAddress("A", gemmi.SeqId("84"), "XXX", "C")
    connection.partner2 = gemmi.AtomAddress("A", gemmi.SeqId("85"), "OCS", "N")
    structure.connections.append(connection)
    atoms, _ = grown(structure)
    assert "HN2" not in atoms.identity.atom_name
    assert np.linalg.norm(atoms.xyz[row(atoms, "OCS", "HN1")] - atoms.xyz[row(atoms, "OCS", "N")]) < 1.1


def _with_metal(structure: gemmi.Structure, nitrogen: gemmi.Atom, towards: np.ndarray) -> gemmi.Structure:
    """The structure with a manganese 2.2 Å from an atom."""
    arm = towards - np.array(nitrogen.pos.tolist())
    ion, residue, chain = gemmi.Atom(), gemmi.Residue(), gemmi.Chain("M")
    ion.name, ion.element = "MN", gemmi.Element("Mn")
    ion.pos = nitrogen.pos + gemmi.Position(*(2.2 * arm / np.linalg.norm(arm)).tolist())
    residue.name, residue.seqid, residue.het_flag = "MN", gemmi.SeqId("1"), "H"
    residue.add_atom(ion)
    chain.add_residue(residue)
    structure[0].add_chain(chain)
    return structure


@pytest.mark.parametrize(("number", "name", "left"), [(0, "H2", 2), (0, "H3", 2), (1, "H", 0)])
def test_a_metal_takes_the_place_of_a_hydrogen_of_the_nitrogen_that_binds_it(number: int, name: str, left: int) -> None:
    structure = strand(gemmi.read_structure(str(MODEL))[0]["A"]["85"][0].name)
    structure.setup_entities()
    atoms, notes = grown(structure)
    assert not any("as a metal is there" in note for note in notes)
    who, which = atoms.identity, 84 + number
    towards = atoms.xyz[(who.sequence_number == which) & (who.atom_name == name)][0]
    atoms, notes = grown(_with_metal(structure, structure[0]["A"][number]["N"][0], towards))
    assert any("left out, as a metal is there" in note for note in notes)
    who = atoms.identity
    n, metal = (atoms.xyz[np.flatnonzero(at)[0]] for at in (
        (who.sequence_number == which) & (who.atom_name == "N"), who.atom_name == "MN",
    ))  # fmt: skip
    bonds = atoms.xyz[atoms.is_hydrogen & (np.linalg.norm(atoms.xyz - n, axis=1) < 1.2)] - n
    assert len(bonds) == left
    for bond in bonds:
        cosine = bond @ (metal - n) / np.linalg.norm(bond) / np.linalg.norm(metal - n)
        assert np.degrees(np.arccos(cosine)) == pytest.approx(109.5, abs=8.0)


def test_lysine_that_binds_a_metal_has_two_hydrogens_left() -> None:
    """As any amine in a side chain, whether or not its dictionary draws it flat."""
    structure = empty()
    places, elements = drawn("LYS")
    residue, chain = gemmi.Residue(), gemmi.Chain("A")
    residue.name, residue.seqid = "LYS", gemmi.SeqId("1")
    for name, place in places.items():
        if elements[name] != "H" and name != "OXT":
            atom = gemmi.Atom()
            atom.name, atom.element, atom.b_iso = name, gemmi.Element(elements[name]), 20.0
            atom.pos = gemmi.Position(*(place + 40.0).tolist())
            residue.add_atom(atom)
    chain.add_residue(residue)
    structure[0].add_chain(chain)
    nitrogen = structure[0]["A"][0]["NZ"][0]
    atoms, notes = grown(_with_metal(structure, nitrogen, places["HZ2"] + 40.0))
    assert any("left out, as a metal is there" in note for note in notes)
    near = atoms.is_hydrogen & (np.linalg.norm(atoms.xyz - at(nitrogen), axis=1) < 1.2)
    assert near.sum() == 2
    axis = atoms.xyz[atoms.identity.atom_name == "MN"][0] - at(nitrogen)
    for bond in atoms.xyz[near] - at(nitrogen):
        cosine = bond @ axis / np.linalg.norm(bond) / np.linalg.norm(axis)
        assert np.degrees(np.arccos(cosine)) == pytest.approx(109.5, abs=8.0)


def test_hydroxyls_turn_whatever_conformer_their_dictionary_draws() -> None:
    """MPD gives each of its hydroxyls one torsion, of one period: HO4 stayed 1.3 Å from a hydrogen of Arg (3EK3)."""
    structure, _ = joined(("MPD", "C1", "H11"), ("EDO", "C1", "H11"), 20.0)
    structure.connections.clear()
    model = read_model(structure)
    complete, hydrogens, _ = add_hydrogens(model, model.crystal, load_monomers(["EDO", "MPD"]), RidingHydrogens())
    assert hydrogens.rotors is not None
    turning = complete.atoms.identity.atom_name[complete.atoms.riding.child[hydrogens.rotors.rows]].tolist()
    assert {"HO1", "HO2", "HO4"} <= set(turning)


@pytest.mark.parametrize("names", [("FMT", "HO2", "O2", "C", "O1"), ("BCT", "HO3", "O3", "C", "O1")])
@pytest.mark.parametrize("azimuth", [45.0, 90.0, 270.0])
def test_hydroxyls_of_acids_stay_in_their_planes(names: tuple[str, ...], azimuth: float) -> None:
    """Whatever would have their hydrogen bond; C of formic acid has but one more neighbour, which shows no plane."""
    name, hydrogen, donor, centre, other = names
    structure, _ = joined((name, donor, hydrogen), ("HOH", "O", "H1"), 20.0)
    structure.connections.clear()
    acid, water = structure[0]["A"][0], structure[0]["B"][0]
    place = {site: at(acid[site][0]) for site in (donor, centre, other)}
    along = (place[centre] - place[donor]) / np.linalg.norm(place[centre] - place[donor])
    above = np.cross(along, place[other] - place[centre])
    above /= np.linalg.norm(above)
    aside = np.cos(np.radians(azimuth)) * np.cross(above, along) + np.sin(np.radians(azimuth)) * above
    (oxygen,) = (site for site in water if site.name == "O")
    way = np.cos(np.radians(112.0)) * along + np.sin(np.radians(112.0)) * aside
    oxygen.pos = gemmi.Position(*(place[donor] + 2.7 * way).tolist())
    model = read_model(structure)
    library = load_monomers(["HOH", name])
    complete, hydrogens, _ = add_hydrogens(model, model.crystal, library, RidingHydrogens())
    restraints = build_restraints(complete.structure, complete.atoms, model.crystal, library)
    atoms = turn_hydrogens(hydrogens, complete.atoms, restraints.non_bonded, model.crystal, None)
    rows = [row(atoms, name, site) for site in (other, centre, donor, hydrogen)]
    torsion = np.degrees(gemmi.calculate_dihedral(*(gemmi.Position(*atoms.xyz[k].tolist()) for k in rows)))
    assert abs(np.sin(np.radians(torsion))) < np.sin(np.radians(16.0))


@pytest.mark.parametrize(("shift", "conformer", "left"), [
    (0.0, "\0", 0), (80.0, "\0", 0), (0.0, "B", 1),
])  # fmt: skip
def test_a_sulfur_that_binds_a_metal_is_a_thiolate(shift: float, conformer: str, left: int) -> None:
    """As of cysteines at cadmium (1D66), which no link of the library describes; the metal may be a mate's."""
    structure = strand("CYS")
    structure.setup_entities()
    cysteine = structure[0]["A"][1]
    sulfur = next(atom for atom in cysteine if atom.name == "SG")
    structure = _with_metal(structure, sulfur, 2.0 * at(sulfur) - at(cysteine["CB"][0]))
    ion = structure[0]["M"][0]
    ion.name, ion[0].name, ion[0].element = "CD", "CD", gemmi.Element("Cd")
    ion[0].pos += gemmi.Position(0.0, 0.0, shift)
    if conformer != "\0":
        ion[0].altloc = conformer
        for atom in cysteine:
            atom.altloc = "A"
    atoms, notes = grown(structure)
    assert (atoms.identity.atom_name == "HG").sum() == left
    assert ("1 hydrogen is left out, as a metal is there: A/CYS 85/HG" in notes) == (left == 0)


@pytest.mark.parametrize("why", ["behind", "another conformer"])
def test_a_metal_that_is_not_in_its_way_leaves_a_hydrogen(why: str) -> None:
    structure = strand(gemmi.read_structure(str(MODEL))[0]["A"]["85"][0].name)
    structure.setup_entities()
    nitrogen = structure[0]["A"][1]["N"][0]
    n, middle = np.array(nitrogen.pos.tolist()), structure[0]["A"][1].name
    free, _ = grown(structure)
    there = free.xyz[row(free, middle, "H")]
    structure = _with_metal(structure, nitrogen, 2.0 * n - there if why == "behind" else there)
    if why != "behind":
        for atom in structure[0]["A"][1]:
            atom.altloc, atom.occ = "A", 0.5
        structure[0]["M"][0][0].altloc = "B"
    atoms, _ = grown(structure)
    np.testing.assert_allclose(atoms.xyz[row(atoms, middle, "H", "" if why == "behind" else "A")], there, atol=1e-3)


@pytest.mark.parametrize(
    ("arms", "count", "flat", "found"),
    [
        ([[1, 0, 0], [-1, 0, 0]], 1, True, 0),  # opposite bonds leave no side
        ([[1, 0, 0]], 1, False, 0),  # nor does one bond, about which all may turn
        ([[1, 0, 0], [0, 1, 0]], 1, True, 1), ([[1, 0, 0], [0, 1, 0]], 1, False, 0),
        ([[1, 0, 0], [0, 1, 0]], 2, False, 2), ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], 1, False, 1),
    ],
)  # fmt: skip
def test_directions_are_those_that_bonds_leave_no_choice_of(
    arms: list[list[float]], count: int, flat: bool, found: int
) -> None:
    made = _directions(np.array(arms, dtype=float), count, flat)
    assert len(made) == found
    for one in made:
        assert np.linalg.norm(one) == pytest.approx(1.0)
        assert one @ np.sum(arms, axis=0) < 0.0


@pytest.mark.parametrize("named", [False, True])
def test_amide_at_the_end_of_a_peptide_has_its_two_hydrogens_in_its_plane(named: bool) -> None:
    """Its dictionary has three, under other names than the modification, and the model need not name the link."""
    structure = strand("GLU")
    first, last = structure[0]["A"][1], structure[0]["A"][2]
    last.name = "NH2"
    for name in [atom.name for atom in last if atom.name != "N"]:
        last.remove_atom(name, "\0")
    if named:
        link = gemmi.Connection()
        link.name, link.type = "amide", gemmi.ConnectionType.Covale
        link.partner1 = gemmi.AtomAddress("A", first.seqid, first.name, "C")
        link.partner2 = gemmi.AtomAddress("A", last.seqid, last.name, "N")
        structure.connections.append(link)
    atoms, notes = grown(structure)
    who = atoms.identity
    ends = [row(atoms, first.name, name) for name in ("CA", "C", "O")] + [row(atoms, "NH2", "N")]
    hydrogens = np.flatnonzero((who.residue_name == "NH2") & atoms.is_hydrogen)
    assert len(hydrogens) == 2
    assert (atoms.occupancy[hydrogens] == 1.0).all()
    ca, c, o, n = atoms.xyz[ends]
    normal = np.cross(ca - c, o - c)
    normal /= np.linalg.norm(normal)
    assert abs((atoms.xyz[hydrogens] - c) @ normal).max() < 0.2
    arms = atoms.xyz[hydrogens] - n
    arms /= np.linalg.norm(arms, axis=1)[:, None]
    assert arms @ (c - n) / np.linalg.norm(c - n) == pytest.approx(-0.5, abs=0.05)
    assert arms[0] @ arms[1] == pytest.approx(-0.5, abs=0.05)
    assert not any("NH2" in note for note in notes)


def test_a_neighbour_that_its_dictionary_calls_no_polymer_leaves_no_hydrogen_at_the_bond(
    case: Callable[[str], Path]
) -> None:
    """As iodocytidine in DNA (1V3P), whose dictionary has the names of before 2007: HO3' lay 0.8 Å from P."""
    structure = gemmi.read_structure(str(case("1ehz") / "model.pdb"))
    chain = structure[0]["A"]
    for k in reversed(range(len(chain))):
        if not 2 <= chain[k].seqid.num <= 4:
            del chain[k]
    structure.connections.clear()
    assert [residue.name for residue in structure[0]["A"]] == ["C", "G", "G"]
    atoms, notes = grown(structure, no_polymer="C")
    who = atoms.identity
    assert not ((who.residue_name == "C") & (who.atom_name == "HO3'")).any()
    assert ((who.residue_name == "G") & (who.atom_name == "HO3'")).sum() == 1, "at the end"
    assert any("as a link takes the place: A/C 2/HO3'" in note for note in notes)
