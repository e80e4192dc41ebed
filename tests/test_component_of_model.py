"""Components that nothing describes, in the shape that the model gives them."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest

from arrayrefine.__main__ import main
from arrayrefine.errors import MonomerError
from arrayrefine.monomers import EMBEDDED, library_for, load_monomers
from arrayrefine.topology.component_of_model import components_of_model


def residue_of(component: str, name: str, hydrogens: bool = False) -> gemmi.Residue:
    """A residue with the coordinates that the embedded library has."""
    known = load_monomers([component]).monlib.monomers[component]
    residue = gemmi.Residue()
    residue.name, residue.seqid = name, gemmi.SeqId("1")
    for atom in known.atoms:
        if hydrogens or not atom.is_hydrogen():
            one = gemmi.Atom()
            one.name, one.element, one.pos = atom.id, atom.el, atom.xyz
            residue.add_atom(one)
    return residue


def structure_of(*residues: gemmi.Residue) -> gemmi.Structure:
    """A structure of one chain."""
    structure = gemmi.Structure()
    structure.add_model(gemmi.Model(1))
    chain = structure[0].add_chain("A")
    for number, residue in enumerate(residues, 1):
        residue.seqid = gemmi.SeqId(str(number))
        chain.add_residue(residue)
    return structure


def described(structure: gemmi.Structure, name: str) -> tuple[gemmi.ChemComp, list[str]]:
    blocks, notes = components_of_model(structure, [name])
    document = gemmi.cif.Document()
    document.add_copied_block(blocks[name])
    library = gemmi.MonLib()
    library.read_monomer_doc(document)
    return library.monomers[name], notes


def ends(component: gemmi.ChemComp) -> set[frozenset[str]]:
    return {frozenset((bond.id1.atom, bond.id2.atom)) for bond in component.rt.bonds}


@pytest.mark.parametrize("component", ["ATP", "NAG", "FAD", "HEM", "SO4", "MES"])
@pytest.mark.parametrize("hydrogens", [False, True])
def test_bonds_of_a_model_are_those_of_the_dictionary(component: str, hydrogens: bool) -> None:
    made, notes = described(structure_of(residue_of(component, "QQQ", hydrogens)), "QQQ")
    known = load_monomers([component]).monlib.monomers[component]
    light = {atom.id for atom in known.atoms if atom.is_hydrogen()}
    assert ends(made) == {pair for pair in ends(known) if hydrogens or not pair & light}
    assert len(notes) == 1
    assert ("without hydrogens" in notes[0]) == (not hydrogens or not light)


def test_lengths_are_means_over_residues_and_conformers() -> None:
    one, two = residue_of("SO4", "QQQ"), residue_of("SO4", "QQQ")
    for residue, length in ((one, 1.46), (two, 1.50)):
        middle = gemmi.Position(*residue["S"][0].pos.tolist())
        for atom in residue:
            if atom.name != "S":
                atom.pos = middle + (atom.pos - middle) * (length / atom.pos.dist(middle))
    others = [atom.clone() for atom in two]  # a second conformer, the same but for one longer bond
    middle = gemmi.Position(*two["S"][0].pos.tolist())
    for atom, other in zip(two, others):
        atom.altloc, other.altloc = "A", "B"
        if atom.name == "O1":
            other.pos = middle + (atom.pos - middle) * (1.54 / atom.pos.dist(middle))
    for other in others:
        two.add_atom(other)
    made, notes = described(structure_of(one, two), "QQQ")
    lengths = {(bond.id1.atom, bond.id2.atom): bond.value for bond in made.rt.bonds}
    assert lengths[("S", "O1")] == pytest.approx(1.50, abs=6e-4)
    assert lengths[("S", "O2")] == pytest.approx((1.46 + 1.50 + 1.50) / 3, abs=6e-4)
    assert "5 atoms, 4 bonds, 2 residues, without hydrogens" in notes[0]


def test_lengths_that_no_compound_has_are_brought_into_range_and_named() -> None:
    residue = residue_of("SO4", "QQQ")
    oxygen, middle = residue["O1"][0], residue["S"][0].pos
    oxygen.pos = middle + (oxygen.pos - middle) * (1.80 / oxygen.pos.dist(middle))
    made, notes = described(structure_of(residue), "QQQ")
    lengths = {bond.id2.atom: bond.value for bond in made.rt.bonds}
    assert lengths["O1"] == pytest.approx(1.62)
    assert lengths["O2"] < 1.5
    assert "S-O1 of 1.80 Å" in notes[1]
    assert "O2" not in notes[1]


def test_shape_is_that_of_the_model() -> None:
    made, _ = described(structure_of(residue_of("ATP", "QQQ")), "QQQ")
    known = load_monomers(["ATP"]).monlib.monomers["ATP"]
    signs = {centre.id_ctr.atom: centre.sign for centre in made.rt.chirs}
    assert {"C1'", "C2'", "C3'", "C4'", "PA"} <= set(signs)
    for centre in known.rt.chirs:
        ours = next(c for c in made.rt.chirs if c.id_ctr.atom == centre.id_ctr.atom)
        theirs = [centre.id1.atom, centre.id2.atom, centre.id3.atom]
        order = [theirs.index(end.atom) for end in (ours.id1, ours.id2, ours.id3)]
        same = np.linalg.det(np.eye(3)[order]) > 0
        assert (ours.sign == centre.sign) == same
    planes = [{atom.atom for atom in plane.ids} for plane in made.rt.planes]
    assert any({"N1", "C2", "N3", "C4", "C5", "C6", "N6", "N7", "C8", "N9", "C1'"} <= plane for plane in planes)
    # A mirror image beside it: the hand is not known any more.
    other = residue_of("ATP", "QQQ")
    for atom in other:
        atom.pos = gemmi.Position(-atom.pos.x, atom.pos.y, atom.pos.z)
    both, _ = described(structure_of(residue_of("ATP", "QQQ"), other), "QQQ")
    assert {centre.sign for centre in both.rt.chirs} == {gemmi.ChiralityType.Both}


def test_residues_of_polymers_can_be_linked() -> None:
    for component, group in (("TRP", "Peptide"), ("DA", "Dna"), ("A", "Rna"), ("ATP", "Null")):
        residue = residue_of(component, "QQQ")
        blocks, _ = components_of_model(structure_of(residue), ["QQQ"])
        kind = blocks["QQQ"].find_value("_chem_comp.type").strip("'")
        structure = structure_of(residue)
        library = library_for(structure, (), EMBEDDED, "shape")
        found = library.monlib.monomers["QQQ"].group.name
        assert found == group, (component, kind)
        assert library.sources["QQQ"] == "the coordinates of the model"


def test_a_nucleotide_with_names_from_before_2007_can_be_linked() -> None:
    """388d has stars for primes: its unknown nucleotides were left without bonds to their neighbours."""
    residue = residue_of("DA", "QQQ")
    for atom in residue:
        atom.name = atom.name.replace("'", "*")
    structure = structure_of(residue)
    library = library_for(structure, (), EMBEDDED, "shape")
    component = library.monlib.monomers["QQQ"]
    assert component.group.name == "Dna"
    assert "O3'" in {atom.id for atom in component.atoms}
    assert {atom.name for atom in structure[0][0][0]} >= {"O3*", "O5*"}


def test_residues_of_several_compounds_with_one_name_have_no_shape() -> None:
    sulfate, phosphate = residue_of("SO4", "UNL"), residue_of("PO4", "UNL")
    phosphate["P"][0].name = "S"
    broken = residue_of("SO4", "UNL")
    broken["O1"][0].pos = gemmi.Position(9.0, 9.0, 9.0)
    for other, what in ((phosphate, "the element of S"), (broken, "the distance of S-O1")):
        library = library_for(structure_of(sulfate.clone(), other), (), EMBEDDED, "shape")
        assert library.missing == ("UNL",)
        assert any(f"UNL: its 2 residues are not of one compound (they differ in {what})" in n for n in library.notes)


def test_ions_and_atoms_without_neighbours() -> None:
    ion = residue_of("ZN", "QQQ")
    made, notes = described(structure_of(ion), "QQQ")
    assert [atom.el.name for atom in made.atoms] == ["Zn"]
    assert len(notes) == 1
    torn = residue_of("SO4", "QQQ")
    torn["O1"][0].pos = gemmi.Position(9.0, 9.0, 9.0)
    made, notes = described(structure_of(torn), "QQQ")
    assert ends(made) == {frozenset(("S", name)) for name in ("O2", "O3", "O4")}
    assert "component QQQ: O1 is not near enough to anything of it to be bonded" in notes[1]


@pytest.mark.parametrize(
    ("names", "places", "length", "unusual"),
    [
        ("RE C O", (0.0, 1.92, 3.07), 1.15, False), ("C O", (0.0, 1.13), 1.13, False),
        ("O1 O2", (0.0, 1.0), 1.20, True), ("C1 C O", (0.0, 1.5, 2.61), 1.20, True),
    ],
)  # fmt: skip
def test_carbon_monoxide_has_a_short_bond(
    names: str, places: tuple[float, ...], length: float, unusual: bool
) -> None:
    residue = gemmi.Residue()
    residue.name, residue.seqid = "QQQ", gemmi.SeqId("1")
    for name, x in zip(names.split(), places):
        atom = gemmi.Atom()
        atom.name, atom.element, atom.pos = name, gemmi.Element(name.rstrip("12")), gemmi.Position(x, 0.0, 0.0)
        residue.add_atom(atom)
    made, notes = described(structure_of(residue), "QQQ")
    assert made.rt.bonds[-1].value == pytest.approx(length)
    assert any("that no compound has" in note for note in notes) == unusual


def test_oxygen_has_as_many_metals_as_are_near() -> None:
    """Zinc around an oxide, which has two bonds elsewhere."""
    residue = gemmi.Residue()
    residue.name, residue.seqid = "QQQ", gemmi.SeqId("1")
    corners = [(1.13, 1.13, 1.13), (1.13, -1.13, -1.13), (-1.13, 1.13, -1.13), (-1.13, -1.13, 1.13)]
    for name, place in zip(("O", "ZN1", "ZN2", "ZN3", "ZN4"), [(0.0, 0.0, 0.0), *corners]):
        atom = gemmi.Atom()
        atom.name, atom.element, atom.pos = name, gemmi.Element(name[:-1] or name), gemmi.Position(*place)
        residue.add_atom(atom)
    made, _ = described(structure_of(residue), "QQQ")
    assert ends(made) == {frozenset(("O", f"ZN{k}")) for k in range(1, 5)}


def test_deuterium_is_bonded_where_a_hydrogen_is_too() -> None:
    residue = residue_of("GOL", "QQQ", hydrogens=True)
    for atom in [atom for atom in residue if atom.name.startswith("HO")]:
        other = atom.clone()
        atom.altloc, other.altloc = "A", "B"
        other.name, other.element = f"D{atom.name[1:]}", gemmi.Element("D")
        residue.add_atom(other)
    made, _ = described(structure_of(residue), "QQQ")
    assert {frozenset((f"{light}O{k}", f"O{k}")) for light in "HD" for k in (1, 2, 3)} <= ends(made)
    assert len(made.rt.bonds) == 16


def test_carbon_has_no_more_than_its_nearest_four() -> None:
    """A hydrogen that is as near as bonded ones are, and too much, is left to contacts."""
    residue = residue_of("GOL", "QQQ", hydrogens=True)
    middle = residue["C2"][0]
    other = gemmi.Atom()
    other.name, other.element, other.pos = "HX", gemmi.Element("H"), middle.pos + gemmi.Position(0.0, 0.0, 1.15)
    residue.add_atom(other)
    made, _ = described(structure_of(residue), "QQQ")
    assert {pair for pair in ends(made) if "HX" not in pair} == ends(load_monomers(["GOL"]).monlib.monomers["GOL"])
    assert frozenset(("HX", "C2")) not in ends(made)


def test_stars_and_primes_side_by_side_stay_two_names() -> None:
    residue = residue_of("GOL", "QQQ")
    names = {"C1": "C*", "C3": "C'"}
    for atom in residue:
        atom.name = names.get(atom.name, atom.name)
    made, _ = described(structure_of(residue), "QQQ")
    known = ends(load_monomers(["GOL"]).monlib.monomers["GOL"])
    heavy = [pair for pair in known if not any(atom.startswith("H") for atom in pair)]
    assert ends(made) == {frozenset(names.get(atom, atom) for atom in pair) for pair in heavy}


def test_what_no_residue_has_whole_is_not_restrained() -> None:
    """Two residues lack an atom each: no angle is known between these."""
    one, two = residue_of("SO4", "QQQ"), residue_of("SO4", "QQQ")
    one.remove_atom("O1", "\0", gemmi.Element("O"))
    two.remove_atom("O2", "\0", gemmi.Element("O"))
    made, _ = described(structure_of(one, two), "QQQ")
    assert len(made.rt.bonds) == 4
    angles = {frozenset((angle.id1.atom, angle.id3.atom)): angle.value for angle in made.rt.angles}
    assert len(angles) == 5
    assert frozenset(("O1", "O2")) not in angles
    assert all(100.0 < value < 120.0 for value in angles.values())
    # Nor is a torsion, of a ring or a chain.
    residues = [residue_of("MES", "QQQ") for _ in range(4)]
    for residue, names in zip(residues, (("C5", "C8"), ("C6", "C7"), ("C2", "N4"), ("C3", "S"))):
        for name in names:
            residue.remove_atom(name, "\0", residue[name][0].element)
    torn, _ = described(structure_of(*residues), "QQQ")
    whole, _ = described(structure_of(residue_of("MES", "QQQ")), "QQQ")
    assert 0 < len(torn.rt.torsions) < len(whole.rt.torsions)
    assert np.isfinite([torsion.value for torsion in torn.rt.torsions]).all()


def test_metals_of_a_cluster_are_held_together_by_what_is_between_them() -> None:
    made, _ = described(structure_of(residue_of("SF4", "QQQ")), "QQQ")
    assert len(made.rt.bonds) == 12
    ends = [{made.get_atom(end.atom).el.name for end in (bond.id1, bond.id2)} for bond in made.rt.bonds]
    assert all(pair == {"Fe", "S"} for pair in ends)


def test_another_compound_than_the_dictionary_s_takes_its_shape() -> None:
    structure = structure_of(residue_of("ATP", "SO4"))
    with pytest.raises(MonomerError, match="--unknown shape"):
        library_for(structure, (), EMBEDDED, "error")
    library = library_for(structure, (), EMBEDDED, "shape")
    assert len(library.monlib.monomers["SO4"].atoms) == 31
    assert not any("in any library" in note for note in library.notes)  # one has sulfate
    assert not library.missing


def test_a_crystal_with_an_unknown_ligand_is_refined(case: Callable[[str], Path], tmp_path: Path) -> None:
    """MES of 1ABA by a name that no library has: refused, and with the option refined in its shape."""
    folder = case("1aba")
    model = tmp_path / "model.pdb"
    model.write_text((folder / "model.pdb").read_text().replace("MES", "QES"))
    out = tmp_path / "out"
    command = ["refine", str(model), str(folder / "norm.mtz"), "--out", str(out), "--cycles", "1", "--no-report"]
    assert main(command) == 2
    assert main([*command, "--unknown", "shape"]) == 0
    report = json.loads((out / "report.json").read_text())
    said = r"nothing describes component QES: held in the shape .*12 atoms, 12 bonds"
    assert any(re.search(said, note) for note in report["warnings"])
    assert report["warnings"] != report["cautions"]

    def places(path: Path) -> np.ndarray:
        found = gemmi.read_structure(str(path))[0]
        return np.array([a.pos.tolist() for chain in found for r in chain if r.name == "QES" for a in r])

    before, after = places(model), places(out / "refined.pdb")
    assert 0.01 < np.sqrt(((after - before) ** 2).sum(axis=1).mean()) < 0.6
    i, j = np.triu_indices(len(before), 1)
    was, now = (np.linalg.norm(xyz[i] - xyz[j], axis=1) for xyz in (before, after))
    sulfur = np.isin(i, 8) | np.isin(j, 8)  # the model has C-S of 1.42 Å and S-O of 1.80 Å
    np.testing.assert_allclose(now[(was < 1.9) & ~sulfur], was[(was < 1.9) & ~sulfur], atol=0.06)
    assert any("QES has bonds in the model that no compound has" in note for note in report["cautions"])
    np.testing.assert_allclose(np.sort(now[sulfur])[:4], 1.62, atol=0.06)  # the nearest for both
