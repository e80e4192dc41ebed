"""Seven residues of the example in a cell of their own, and what stands beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import gemmi
import numpy as np

from arrayrefine.example import MODEL

B_ISO = 15.0
"""Å², of every atom."""


def peptide_in_cell(group: str, cell: tuple[float, ...], beside: gemmi.Chain) -> gemmi.Structure:
    """Residues 60 to 66 as chain A, the first atom at (6, 6, 6) Å, and another chain, where it has residues."""
    whole, structure = gemmi.read_structure(str(MODEL)), gemmi.Structure()
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(*cell), group
    structure.add_model(gemmi.Model(1))
    peptide = gemmi.Chain("A")
    for found in whole[0]["A"].get_polymer():
        if 60 <= found.seqid.num <= 66:
            peptide.add_residue(found)
    shift = gemmi.Position(6.0, 6.0, 6.0) - peptide[0][0].pos
    for moved in peptide:
        for atom in moved:
            atom.pos, atom.b_iso = atom.pos + shift, B_ISO
    structure[0].add_chain(peptide)
    if len(beside):
        structure[0].add_chain(beside)
    structure.setup_entities()
    structure.setup_cell_images()
    return structure


def lone_residue(name: str, number: int, atoms: Iterable[tuple[str, gemmi.Element, np.ndarray]]) -> gemmi.Residue:
    """A residue outside any polymer, of atoms by name, element and place, Å."""
    residue = gemmi.Residue()
    residue.name, residue.seqid, residue.het_flag = name, gemmi.SeqId(str(number)), "H"
    for label, element, place in atoms:
        atom = gemmi.Atom()
        atom.name, atom.element, atom.pos, atom.b_iso = label, element, gemmi.Position(*place), B_ISO
        residue.add_atom(atom)
    return residue


def add_waters(chain: gemmi.Chain, places: Sequence[Sequence[float]]) -> None:
    """Put waters at the end of a chain, numbered on from its residues."""
    for number, place in enumerate(places, len(chain) + 1):
        chain.add_residue(lone_residue("HOH", number, [("O", gemmi.Element("O"), np.array(place))]))
