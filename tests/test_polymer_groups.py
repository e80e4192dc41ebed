"""Amino acids and nucleotides told by their bonds, so that links of chains are more than a bond."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest

from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import EMBEDDED, load_monomers
from arrayrefine.topology.build import build_restraints
from arrayrefine.topology.polymer_groups import polymer_group


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("ALA", "peptide"), ("MSE", "peptide"), ("DAL", "peptide"), ("PRO", "P-peptide"), ("HYP", "P-peptide"),
        ("MLE", "M-peptide"), ("DA", "DNA"), ("U", "RNA"), ("5MC", "RNA"),
        ("FME", ""), ("ATP", ""), ("FMN", ""), ("NAG", ""), ("ACE", ""), ("EPE", ""), ("GSH", ""),
    ],
)  # fmt: skip
def test_components_of_chains_are_told_by_their_bonds(name: str, group: str) -> None:
    assert polymer_group(load_monomers([name]).monlib.monomers[name]) == group


@pytest.mark.parametrize(("name", "end"), [("ALA", "OP3"), ("ALA", "O3P"), ("U", "OP3")])
def test_anhydrides_and_esters_of_phosphates_are_of_no_chain(name: str, end: str) -> None:
    """As alanyl adenylate, FA5 and AMO with it: an OXT beside them would give C a fourth neighbour, and C=O the length
    of a carboxylate."""
    block = gemmi.cif.read(str(EMBEDDED / name[0].lower() / f"{name}.cif"))[-1]
    for column in ("bond.atom_id_1", "bond.atom_id_2", "atom.atom_id"):
        values = block.find_values(f"_chem_comp_{column}")
        for k in range(len(values)):
            values[k] = end if values[k] == "OXT" else values[k]
    component = gemmi.make_chemcomp_from_block(block)
    other = gemmi.ChemComp.Atom()
    other.id, other.el = "X1", gemmi.Element("P")
    component.atoms.append(other)
    bond = gemmi.Restraints.Bond()
    bond.id1, bond.id2 = gemmi.Restraints.AtomId(1, end), gemmi.Restraints.AtomId(1, other.id)
    component.rt.bonds.append(bond)
    assert component.rt.bonds[-1].id2.atom == "X1"
    assert polymer_group(component) == ""


def _linked(
    case: Callable[[str], Path], path: Path, name: str, number: int, group: str, old: bool = False
) -> tuple[set[tuple[str, ...]], list[str]]:
    """Names of the atoms of angles and planes at the links of a residue that is called no polymer, and what is said.

    `old`: with the name that OP1 had.
    """
    text = (EMBEDDED / name[0].lower() / f"{name}.cif").read_text().replace(name, "XXX")
    text = text.replace("OP1", "O1P") if old else text
    assert group in text
    path.write_text(text.replace(f" {group} ", " non-polymer ", 1))
    structure = gemmi.read_structure(str(case("1aba" if group == "peptide" else "1ehz") / "model.pdb"))
    residue = structure[0]["A"][str(number)][0]
    assert residue.name == name
    residue.name = "XXX"
    for atom in residue:
        atom.name = "O1P" if old and atom.name == "OP1" else atom.name
    model = read_model(structure)
    library = load_monomers(structure[0].get_all_residue_names(), [path])
    restraints = build_restraints(model.structure, model.atoms, model.crystal, library)
    who, planes = model.atoms.identity, restraints.planes
    rows = [*restraints.angles.index, *np.split(planes.index, np.flatnonzero(np.diff(planes.plane)) + 1)]
    ours = [row for row in rows if len(set(who.residue[row])) > 1 and (who.residue_name[row] == "XXX").any()]
    notes = [note for note in restraints.notes if "no library describes" in note]
    return {tuple(sorted(who.atom_name[row].tolist())) for row in ours}, notes


@pytest.mark.parametrize(
    ("name", "number", "group", "expected"),
    [
        ("ALA", 20, "peptide", {("C", "CA", "N"), ("C", "N", "O"), ("C", "CA", "N", "O")}),
        ("5MC", 40, "RNA", {("C3'", "O3'", "P"), ("O3'", "O5'", "P"), ("O3'", "OP1", "P"), ("O3'", "OP2", "P")}),
    ],
)
def test_a_residue_that_is_called_no_polymer_is_linked_as_others(
    case: Callable[[str], Path], tmp_path: Path, name: str, number: int, group: str, expected: set[tuple[str, ...]]
) -> None:
    assert _linked(case, tmp_path / "XXX.cif", name, number, group) == (expected, [])


def test_one_with_old_names_has_angles_at_its_links(case: Callable[[str], Path], tmp_path: Path) -> None:
    """As TCY in 4OPJ: the angle at P to the next nucleotide ended at 85°."""
    found, notes = _linked(case, tmp_path / "XXX.cif", "5MC", 40, "RNA", old=True)
    assert found >= {("C3'", "O3'", "P"), ("O3'", "O5'", "P"), ("O1P", "O3'", "P"), ("O3'", "OP1", "P")}
    assert len(notes) == 1


def test_atoms_with_the_names_of_an_amino_acid_but_other_elements_make_none() -> None:
    component = load_monomers(["ALA"]).monlib.monomers["ALA"]
    assert polymer_group(component) == "peptide"
    next(atom for atom in component.atoms if atom.id == "CA").el = gemmi.Element("Si")
    assert polymer_group(component) == ""
