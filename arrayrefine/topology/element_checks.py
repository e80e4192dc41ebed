"""Elements of atoms against those that the dictionary has for their names."""

from __future__ import annotations

import gemmi

from arrayrefine.io.models.dummy_atoms import UNKNOWN_ATOM
from arrayrefine.wording import Caution, are, counted, listed

_UNTOLD = ("X", "D")
"""Symbols that are not compared: of an unknown element, and of deuterium, which dictionaries name in several ways."""


def other_elements(structure: gemmi.Structure, monlib: gemmi.MonLib) -> list[str]:
    """A sentence about atoms whose element is not that of the atom of their name in the dictionary.

    Parameters
    ----------
    structure : gemmi.Structure
        Its first model, with the names of the dictionary where these can be matched.
    monlib : gemmi.MonLib
    """
    expected: dict[str, dict[str, str]] = {}
    found = []
    for chain in structure[0]:
        for residue in chain:
            if residue.name == UNKNOWN_ATOM or residue.name not in monlib.monomers:
                continue
            if residue.name not in expected:
                expected[residue.name] = {atom.id: atom.el.name for atom in monlib.monomers[residue.name].atoms}
            for atom in residue:
                element = atom.element.name
                known = expected[residue.name].get(atom.name, element)
                if known != element and known not in _UNTOLD and element not in _UNTOLD:
                    where = f"{chain.name}/{residue.name} {residue.seqid}/{atom.name}"
                    found.append(f"{where} ({element}, not {known})")
    if not found:
        return []
    n = len(found)
    what = f"{counted(n, 'atom')} {'has' if n == 1 else 'have'} another element than the atom of that name in the "
    return [Caution(
        f"{what}dictionary, and {are(n)} refined as what the model says: {listed(found)}. If that is a slip, correct "
        "the element (PDB columns 77-78, mmCIF _atom_site.type_symbol)"
    )]
