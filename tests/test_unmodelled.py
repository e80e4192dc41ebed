"""What is said of residues that lack atoms, of odd occupancies, and of models of CA atoms or waters alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gemmi
import pytest

import arrayrefine as ar
from arrayrefine.example import DATA, MODEL
from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import library_for, load_monomers
from arrayrefine.occupancies.conformers import partial, uneven
from arrayrefine.topology.unmodelled import bare, truncated


def told(structure: gemmi.Structure | Path) -> list[str]:
    """What is said of the residues of a model."""
    model = read_model(structure)
    return truncated(model.atoms, library_for(model.structure, (), None, "hold"))


def without(keep: Callable[[gemmi.Residue, gemmi.Atom], bool]) -> gemmi.Structure:
    """The example with some of its atoms."""
    structure = gemmi.read_structure(str(MODEL))
    for chain in structure[0]:
        for residue in chain:
            for k in reversed(range(len(residue))):
                if not keep(residue, residue[k]):
                    del residue[k]
    structure.remove_empty_chains()
    return structure


@pytest.mark.parametrize(
    ("name", "count"),
    [("1dur", 1), ("1rx2", 0), ("1ehz", 0), ("5e5z", 0), ("3g70", 0), ("5orl", 6), ("3sb3", 7), ("1v9g", 0)],
)
def test_residues_of_deposited_models_that_lack_atoms(case: Callable[[str], Path], name: str, count: int) -> None:
    said = told(next(case(name).glob("model.*")))
    assert [sentence.split(maxsplit=1)[0] for sentence in said] == [str(count)] * (count > 0)
    if name == "1dur":
        assert said[0].startswith("1 residue of chains lacks atoms that the dictionary has, and is refined without: ")
        assert "A/SER 27 (OG). Build" in said[0]
    if name == "3sb3":
        assert "A/LYS 52 (CD CE NZ)" in said[0]
        assert said[0].endswith("and 1 more. Build them where the map shows them")


def test_unknown_residues_lack_nothing() -> None:
    structure = without(lambda residue, atom: residue.name == "HOH" or atom.name in ("N", "CA", "C", "O", "CB"))
    assert told(structure)
    for residue in (residue for chain in structure[0] for residue in chain if residue.name != "HOH"):
        residue.name = "UNK"
    assert not told(structure)


def test_an_atom_with_another_name_is_not_taken_for_absent() -> None:
    def renamed(structure: gemmi.Structure) -> gemmi.Structure:
        for site in (site for chain in structure[0] for residue in chain for site in residue):
            if site.name == "CB":
                site.name = "CX"
        return structure

    assert not told(renamed(without(lambda residue, atom: True)))


def test_dna_with_names_of_rna_is_called_so() -> None:
    """Stars for primes, A for DA, as in files from before 2007: no sugar is absent."""
    structure = gemmi.Structure()
    structure.add_model(gemmi.Model(1))
    structure[0].add_chain(gemmi.Chain("A"))
    for number, name in ((1, "A"), (2, "C")):
        residue = gemmi.Residue()
        residue.name, residue.seqid = name, gemmi.SeqId(number, " ")
        monomer = load_monomers([name]).monlib.monomers[name]
        for k, site in enumerate(site for site in monomer.atoms if not site.is_hydrogen() and site.id != "O2'"):
            atom = gemmi.Atom()
            atom.name, atom.element = site.id.replace("'", "*"), site.el
            atom.pos = gemmi.Position(2.0 * k, 0.0, 20.0 * number)
            residue.add_atom(atom)
        structure[0]["A"].add_residue(residue)
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(90.0, 90.0, 90.0, 90.0, 90.0, 90.0), "P 1"
    said = told(structure)
    assert len(said) == 1
    assert said[0].startswith("2 nucleotides without O2', as in DNA, are named as in RNA, as in files from before 2007")
    assert said[0].endswith("name it as the PDB does (A DA, C DC, T DT)")


@pytest.mark.parametrize("what", ["CA atoms", "waters"])
def test_models_of_little_are_called_what_they_are(what: str) -> None:
    wanted: dict[str, Callable[[gemmi.Residue, gemmi.Atom], bool]] = {
        "CA atoms": lambda residue, atom: atom.name == "CA" or residue.is_water(),
        "waters": lambda residue, atom: residue.is_water(),
    }
    structure = without(wanted[what])
    assert bare(read_model(structure).atoms) == what
    result = ar.refine(structure, DATA, ar.Options(cycles=1, d_min=3.0, tls=("none",), hydrogens="strip"))
    said = result.report.warnings
    for end in ("so R stays high wherever they are: give the", "and whether these are in their place R does not tell"):
        assert sum(f"the model has no atoms but {what}, {end}" in sentence for sentence in said) == 1
    assert not any("probably is not where" in sentence or "probably is missing" in sentence for sentence in said)


def test_whole_models_are_not_bare() -> None:
    assert bare(read_model(MODEL).atoms) == ""


def test_occupancies_that_differ_within_a_residue_are_named() -> None:
    structure = without(lambda residue, atom: True)
    residue = next(r for chain in structure[0] for r in chain if len(r) > 5 and not any(a.has_altloc() for a in r))
    before = uneven(read_model(structure).atoms)
    residue[0].occ, residue[1].occ, residue[2].occ = 0.34, 0.0, 0.61
    (said,) = uneven(read_model(structure).atoms)
    assert f"{residue.name} {residue.seqid} (0.34 to 1.00)" in said
    assert not any(f"{residue.name} {residue.seqid} (" in sentence for sentence in before)
    *_, notes = ar.prepare(structure, DATA, ar.Options())
    assert said in notes


@pytest.mark.parametrize(("name", "count"), [("1dur", 0), ("1rx2", 0), ("5kzb", 1), ("3sb3", 1)])
def test_occupancies_of_deposited_models(case: Callable[[str], Path], name: str, count: int) -> None:
    said = uneven(read_model(next(case(name).glob("model.*"))).atoms)
    assert len(said) == count
    assert not any("PO4" in sentence for sentence in said)  # of 3sb3, with P on an axis


def test_residues_there_in_part_are_named_unless_occupancies_are_refined() -> None:
    structure = without(lambda residue, atom: str(residue.seqid) != "116")  # which is there by half
    assert not partial(read_model(structure).atoms)
    whole = [residue for residue in structure[0][0] if len(residue) > 5 and not any(a.has_altloc() for a in residue)]
    for atom in whole[0]:
        atom.occ, atom.altloc = 0.6, "B"  # without A
    for atom in whole[1]:
        atom.occ = 0.5
    for atom in list(whole[2])[4:]:
        atom.occ = 0.5  # a side chain
    for atom in whole[3]:
        atom.occ = 0.0
    (said,) = partial(read_model(structure).atoms)
    first, second = (f"{residue.name} {residue.seqid}" for residue in whole[:2])
    assert said.startswith("2 residues of chains are there in part, and nothing for the rest: ")
    assert f"{first} (0.60), A {second} (0.50). Steps that" in said
    assert said in ar.prepare(structure, DATA, ar.Options())[-1]
    assert said not in ar.prepare(structure, DATA, ar.Options(targets=("xyz+b", "occupancy")))[-1]


@pytest.mark.parametrize(("name", "found"), [("1dur", ""), ("1rx2", "A ASP 116 (0.50)"), ("3sb3", ""), ("5orl", "")])
def test_deposited_residues_there_in_part(case: Callable[[str], Path], name: str, found: str) -> None:
    said = partial(read_model(next(case(name).glob("model.*"))).atoms)
    assert len(said) == bool(found)
    assert not said or f"1 residue of chains is there in part, and nothing for the rest: {found}. Steps" in said[0]
