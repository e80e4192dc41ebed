"""Hydrogens on N of histidines: those that the model names are kept, where it names any."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from joined import drawn, joined
from test_linked_hydrogens import grown, strand

from arrayrefine.hydrogens.histidines import protons_of_imidazole
from arrayrefine.monomers import EMBEDDED, load_monomers


def histidine(named: dict[str, str], occupancy: float = 1.0) -> gemmi.Structure:
    """A strand with a histidine in the middle that has some hydrogens, each in a conformer."""
    structure = strand("HIS")
    residue = structure[0]["A"][1]
    block = gemmi.cif.read(str(EMBEDDED / "h" / "HIS.cif"))[-1]
    drawn = {atom.id: atom for atom in gemmi.make_chemcomp_from_block(block).atoms}
    fit = gemmi.superpose_positions(
        *([where(name) for name in ("N", "CA", "C")] for where in (
            lambda name: residue[name][0].pos, lambda name: gemmi.Position(*drawn[name].xyz.tolist())
        ))
    )  # fmt: skip
    while len(residue):
        del residue[0]
    conformers = sorted({letter for letter in named.values() if letter}) or [""]
    for name, atom in drawn.items():
        element = atom.el
        letters = [named[name]] if name in named else conformers if len(name) > 1 and name != "CA" else [""]
        if (element.is_hydrogen and name not in named) or name == "OXT":
            continue
        for letter in letters:
            site = gemmi.Atom()
            site.name, site.element, site.b_iso, site.altloc = name, element, 20.0, letter or "\0"
            site.occ = occupancy if element.is_hydrogen else 1.0 / len(letters)
            site.pos = gemmi.Position(fit.transform.apply(gemmi.Position(*atom.xyz.tolist())))
            residue.add_atom(site)
    return structure


@pytest.mark.parametrize(("named", "kept"), [
    ({"HD1": ""}, ["HD1 1.0", "HE2 0.0"]),
    ({"HE2": ""}, ["HD1 0.0", "HE2 1.0"]),
    ({"HD1": "", "HE2": ""}, ["HD1 1.0", "HE2 1.0"]),
    ({}, ["HD1 0.0", "HE2 0.0"]),
    ({"HD1": "A", "HE2": "B"}, ["HD1.A 0.5", "HD1.B 0.0", "HE2.A 0.0", "HE2.B 0.5"]),
])  # fmt: skip
def test_a_histidine_has_the_hydrogens_that_the_model_names(named: dict[str, str], kept: list[str]) -> None:
    assert on_nitrogen(histidine(named)) == kept


def test_hydrogens_without_occupancy_tell_nothing() -> None:
    assert on_nitrogen(histidine({"HD1": ""}, occupancy=0.0)) == ["HD1 0.0", "HE2 0.0"]


@pytest.mark.parametrize(("named", "there"), [((), [0.0, 0.0, 1.0]), (("HN3",), [0.0, 1.0, 1.0])])
def test_of_other_imidazoles_those_are_there_that_the_model_names(named: tuple[str, ...], there: list[float]) -> None:
    """Their dictionaries draw the cation: IMD, of buffers, and D-histidine (5GOB)."""
    structure, _ = joined(("IMD", "C5", "H5"), ("EDO", "C1", "H11"), 20.0)
    structure.connections.clear()
    xyz, _ = drawn("IMD")
    placed = structure[0]["A"][0]
    fit = gemmi.superpose_positions(
        [atom.pos for atom in placed], [gemmi.Position(*xyz[atom.name].tolist()) for atom in placed]
    )
    for name in named:
        proton = gemmi.Atom()
        proton.name, proton.element, proton.serial = name, gemmi.Element("H"), 300
        proton.pos = gemmi.Position(fit.transform.apply(gemmi.Position(*xyz[name].tolist())))
        placed.add_atom(proton)
    atoms, _ = grown(structure)
    who = atoms.identity
    rows = [np.flatnonzero((who.residue_name == "IMD") & (who.atom_name == name))[0] for name in ("HN1", "HN3", "H2")]
    assert atoms.occupancy[rows].tolist() == there


def test_only_cations_of_imidazole_are_told_so() -> None:
    library = load_monomers(["IMD", "HIS", "TRP", "ARG", "BTN", "FAD", "ATP"]).monlib.monomers
    found = {name: sorted(protons_of_imidazole(library[name])) for name in library}
    assert {name: protons for name, protons in found.items() if protons} == {
        "IMD": ["HN1", "HN3"], "HIS": ["HD1", "HE2"]
    }  # fmt: skip


def on_nitrogen(structure: gemmi.Structure) -> list[str]:
    atoms, notes = grown(structure)
    who = atoms.identity
    rows = np.flatnonzero((who.residue_name == "HIS") & np.isin(who.atom_name, ("HD1", "HE2")))
    told = any("that the model names" in note for note in notes)
    assert told == bool((atoms.occupancy[rows] > 0).any())
    return sorted(
        f"{who.atom_name[k]}{'.' * bool(who.altloc[k])}{who.altloc[k]} {atoms.occupancy[k]:.1f}" for k in rows
    )
