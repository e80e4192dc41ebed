"""What stands for density that nobody could name: dummy atoms of ARP/wARP, unknown atoms and ligands of the PDB."""

from __future__ import annotations

from collections.abc import Collection

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Identity
from arrayrefine.wording import Caution, are, counted, listed

_NAME = "DUM"
_UNKNOWN = "UNL"
UNKNOWN_ATOM = "UNX"
"""Component of one atom that may be of any element; dictionaries have nitrogen for it."""
UNKNOWN_REACH = 6.0
"""Å; such atoms that start nearer to each other have no contact: they may be of one ligand."""
_STAND_IN = "O"
_UNTOLD = ("X", "D")
"""What gemmi takes for the element of an atom named DUM whose file gives none, by where its name stands."""
_REMEDY = "remove them from the model, or rename those that are waters to HOH"


def take_dummies_for_oxygen(structure: gemmi.Structure) -> list[str]:
    """Give dummy atoms without an element that of oxygen, in place, as the dictionary of CCP4 has it.

    Parameters
    ----------
    structure : gemmi.Structure
        Its first model.

    Returns
    -------
    list of str
        A warning that there are such atoms, or none.
    """
    found: list[str] = []
    for chain in structure[0]:
        for residue in chain:
            if residue.name != _NAME or len({atom.name for atom in residue}) != 1:
                continue
            for atom in residue:
                if atom.element.name in _UNTOLD:
                    atom.element = gemmi.Element(_STAND_IN)
            if residue[0].element.name == _STAND_IN:
                found.append(f"{chain.name} {residue.seqid}")
    if not found:
        return []
    n = len(found)
    return [Caution(
        f"{counted(n, 'dummy atom')} ({_NAME}), as ARP/wARP marks density without a model, {are(n)} taken for oxygen: "
        f"{listed(found)}. Better {_REMEDY}"
    )]


def unknown_atoms(identity: Identity) -> NDArray[np.int64]:
    """(u,) rows of atoms that are components of the PDB for one atom of which nobody knows what it is."""
    return np.flatnonzero(identity.residue_name == UNKNOWN_ATOM)


def with_unknown_as_oxygen(identity: Identity, element: NDArray[np.str_]) -> tuple[NDArray[np.str_], list[str]]:
    """Let unknown atoms without an element scatter as oxygen; what is written keeps the symbol of the file.

    Parameters
    ----------
    identity : Identity
    element : (N,) str

    Returns
    -------
    element : (N,) str
    notes : list of str
        A warning that there are such atoms, or none.
    """
    rows = unknown_atoms(identity)
    rows = rows[element[rows] == "X"]
    if not len(rows):
        return element, []
    element = element.copy()
    element[rows] = _STAND_IN
    n, names = len(rows), listed([identity.label(int(i)) for i in rows])
    return element, [Caution(
        f"{counted(n, 'unknown atom')} ({UNKNOWN_ATOM}, element X) {'scatters' if n == 1 else 'scatter'} as oxygen, "
        f"without contacts between those near each other: {names}. Where it is known what they are, name it"
    )]


def dummies_among(components: Collection[str]) -> str:
    """What to do with dummy atoms and unknown ligands that are among components without restraints: or ""."""
    said = ""
    if _NAME in components:
        said += f" {_NAME} are dummy atoms, as ARP/wARP marks density without a model: {_REMEDY}."
    if _UNKNOWN in components:
        said += (
            f" {_UNKNOWN} is what the PDB calls a ligand that nobody could name, for which there can be no restraints: "
            "--unknown hold keeps it, or remove it from the model, or name it."
        )
    return said
