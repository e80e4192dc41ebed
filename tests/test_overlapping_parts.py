"""Residues that are there in part, in one place, are named where they have no conformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np

from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import load_monomers
from arrayrefine.restraints import Restraints
from arrayrefine.topology.build import build_restraints
from arrayrefine.wording import kind_of

_ATOM = "HETATM{n:5d}  {name:<3s}{alt}{residue:>3s} A{m:4d}    {x:8.3f}{y:8.3f}{y:8.3f}{q:6.2f} 20.00           {e}\n"


def _built(path: Path, *atoms: tuple[str, str, float, float], alt: str = " ", group: str = "P 1") -> Restraints:
    """Restraints of atoms (name, residue, x, occupancy); all but the first are conformers `alt`."""
    text = f"CRYST1   40.000   18.000   18.000  90.00  90.00  90.00 {group}\n"
    for n, (name, residue, x, q) in enumerate(atoms):
        label = alt if n else ("A" if alt != " " else " ")
        text += _ATOM.format(n=n + 1, name=name, alt=label, residue=residue, m=n + 1, x=x, y=9.0, q=q, e=name[0])
    path.write_text(text + "END\n")
    model = read_model(path)
    library = load_monomers(model.structure[0].get_all_residue_names())
    return build_restraints(model.structure, model.atoms, model.crystal, library, unknown="hold")


def _said(path: Path, *atoms: tuple[str, str, float, float], alt: str = " ", group: str = "P 1") -> list[str]:
    restraints = _built(path, *atoms, alt=alt, group=group)
    return [note for note in restraints.notes if "there in part" in note]


def test_a_water_in_the_place_of_a_ligand_is_named(tmp_path: Path) -> None:
    atoms = ("C1", "EDO", 9.0, 0.5), ("O", "HOH", 9.4, 0.5)
    said = _said(tmp_path / "a.pdb", *atoms)
    assert kind_of(said[0]) == "warning"
    assert said == [
        "1 pair of residues that are there in part is in one place, without conformers that say so; one is taken to be "
        "there instead of the other, without contacts between them: A/EDO 1/C1 - A/HOH 2/O (0.40 Å). Name them "
        "conformers A and B (altloc); if they are bonded, name the bond in the model (LINK or struct_conn)"
    ]


def test_two_networks_of_waters_do_not_push_each_other_away(tmp_path: Path) -> None:
    """As of 1BRF, with occupancies of 0.61 and 0.39: waters ended up to 2.5 Å off."""
    waters = ("O", "HOH", 9.0, 0.61), ("O", "HOH", 9.7, 0.39), ("O", "HOH", 12.2, 0.39)
    excluded = _built(tmp_path / "a.pdb", *waters).non_bonded.excluded.tolist()
    assert excluded == [[0, 1]]
    assert not _built(tmp_path / "b.pdb", waters[0], ("O", "HOH", 9.7, 0.5)).non_bonded.excluded.tolist()


def test_a_water_makes_room_for_a_conformer_of_its_neighbour(case: Callable[[str], Path]) -> None:
    """As of 1KWF, with 0.68 of a water 1.9 Å from 0.32 of CG2 of a threonine: this ended 0.8 Å off."""
    structure = gemmi.read_structure(str(case("1aba") / "model.pdb"))
    chain = structure[0]["A"]
    threonine = next(residue for residue in chain if residue.name == "THR")
    others = [site.clone() for site in threonine]
    for letter, occupancy, sites in (("A", 0.68, threonine), ("B", 0.32, others)):
        for site in sites:
            site.altloc, site.occ = letter, occupancy
    for site in others:
        threonine.add_atom(site)
    water = next(residue for residue in chain if residue.name == "HOH")
    water[0].occ, water[0].pos = 0.68, threonine["CG2"]["B"].pos + gemmi.Position(1.3, 1.3, 1.3)
    model = read_model(structure)
    library = load_monomers(structure[0].get_all_residue_names())
    restraints = build_restraints(model.structure, model.atoms, model.crystal, library)
    assert any("1 pair of residues that are there in part is in one place" in note for note in restraints.notes)
    who = model.atoms.identity
    (oxygen,) = np.flatnonzero((who.residue_name == "HOH") & (who.sequence_number == water.seqid.num))
    pairs = restraints.non_bonded.excluded
    beside = pairs[(pairs == oxygen).any(axis=1)]
    beside = beside[beside != oxygen]
    assert set(who.altloc[beside].tolist()) == {"B"}
    assert len(beside) == len(threonine) // 2


def test_residues_of_a_chain_that_is_there_in_part_meet_each_other(case: Callable[[str], Path]) -> None:
    """As of a peptide on an axis. In 1aba, displaced by 0.25 Å, C of Tyr 7 and Asp 8 are 2.56 Å apart: neighbours. And
    two residues beside each other, which are not: pushed together, they are of one molecule all the same."""
    structure = gemmi.read_structure(str(case("1aba") / "model.pdb"))
    chain, noise = structure[0]["A"], np.random.default_rng(0)
    for residue in chain:
        for atom in residue:
            atom.pos += gemmi.Position(*noise.normal(0.0, 0.25 / np.sqrt(3.0), 3))
            atom.occ = 0.5 if atom.altloc == "\0" else atom.occ
    chain["7"][0]["CB"][0].pos = chain["60"][0]["CB"][0].pos + gemmi.Position(-1.3, 1.3, 1.3)
    model = read_model(structure)
    library = load_monomers(structure[0].get_all_residue_names())
    restraints = build_restraints(model.structure, model.atoms, model.crystal, library)
    said = [note for note in restraints.notes if "there in part" in note]
    assert all(pair.count("HOH") for note in said for pair in note.split(": ")[1].split(". Name")[0].split("; "))
    who, pairs = model.atoms.identity, restraints.non_bonded.excluded
    cb = [np.flatnonzero((who.sequence_number == n) & (who.atom_name == "CB"))[0] for n in (7, 60)]
    assert np.linalg.norm(np.diff(model.atoms.xyz[cb], axis=0)) < 2.3
    assert not (np.sort(pairs, axis=1) == sorted(cb)).all(axis=1).any()


def test_two_strands_in_one_place_are_there_instead_of_each_other(case: Callable[[str], Path]) -> None:
    """As the cleaved and the whole strand of 488D, between which its LINK records name a bond: ended up to 9 Å off."""
    structure = gemmi.read_structure(str(case("1aba") / "model.pdb"))
    chain = structure[0]["A"]
    for k in reversed(range(len(chain))):
        if not 20 <= chain[k].seqid.num <= 23:
            del chain[k]
    other = chain.clone()
    other.name = "B"
    for strand, occupancy in ((chain, 0.6), (other, 0.4)):
        for atom in (atom for residue in strand for atom in residue):
            atom.occ = occupancy
    for atom in (atom for residue in other for atom in residue):
        atom.pos += gemmi.Position(0.3, 0.2, 0.1)
    structure[0].add_chain(other)
    link = gemmi.Connection()
    link.name, link.type = "cut", gemmi.ConnectionType.Covale
    last = structure[0]["A"][-1]
    link.partner1 = gemmi.AtomAddress("A", last.seqid, last.name, "C")
    link.partner2 = gemmi.AtomAddress("B", last.seqid, last.name, "O")
    structure.connections.append(link)
    model = read_model(structure)
    library = load_monomers(structure[0].get_all_residue_names())
    restraints = build_restraints(model.structure, model.atoms, model.crystal, library)
    who, pairs = model.atoms.identity, restraints.non_bonded.excluded
    first, second = (
        np.flatnonzero((who.chain == name) & (who.sequence_number == 21) & (who.atom_name == "CA")) for name in "AB"
    )
    assert (np.sort(pairs, axis=1) == sorted((int(first[0]), int(second[0])))).all(axis=1).any()


def test_atoms_that_are_there_together_meet_each_other(tmp_path: Path) -> None:
    """Of a residue that is there in part what is whole, or nearly, is not there instead of another."""
    atoms = ("C1", "EDO", 9.0, 0.4), ("O", "HOH", 9.4, 0.5)
    assert _built(tmp_path / "a.pdb", *atoms).non_bonded.excluded.tolist() == [[0, 1]]
    text = (tmp_path / "a.pdb").read_text().replace("END\n", "")
    path = tmp_path / "b.pdb"
    oxygen = _ATOM.format(n=3, name="O1", alt=" ", residue="EDO", m=1, x=7.6, y=9.0, q=0.9, e="O")
    path.write_text(text + oxygen + "END\n")
    model = read_model(path)
    library = load_monomers(["EDO", "HOH"])
    found = build_restraints(model.structure, model.atoms, model.crystal, library, unknown="hold")
    names = model.atoms.identity.atom_name[found.non_bonded.excluded]
    assert {"C1", "O"} in [set(pair) for pair in names.tolist()]
    assert {"O1", "O"} not in [set(pair) for pair in names.tolist()]


def test_what_is_named_apart_or_there_together_is_not(tmp_path: Path) -> None:
    atoms = ("C1", "EDO", 9.0, 0.5), ("O", "HOH", 9.4, 0.5)
    assert not _said(tmp_path / "a.pdb", *atoms, alt="B")
    assert not _said(tmp_path / "b.pdb", atoms[0], ("O", "HOH", 9.4, 0.7))
    assert not _said(tmp_path / "c.pdb", atoms[0], ("O", "HOH", 11.7, 0.5))
    assert not _said(tmp_path / "e.pdb", ("O", "HOH", 9.0, 0.5), ("O", "HOH", 11.3, 0.5))
    assert not _said(tmp_path / "d.pdb", atoms[0])


def test_what_is_whole_on_an_axis_is_not(tmp_path: Path) -> None:
    atoms = ("O", "HOH", 9.0, 0.5), ("O", "HOH", 10.5, 0.5)
    assert [kind_of(note) for note in _said(tmp_path / "a.pdb", *atoms)] == ["note"]  # two waters are no more than that
    assert not _said(tmp_path / "b.pdb", *atoms, group="P 2 1 1")
