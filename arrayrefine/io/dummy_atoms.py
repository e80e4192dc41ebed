"""What stands for density that nobody could name: dummy atoms of ARP/wARP, and unknown ligands of the PDB."""

from __future__ import annotations

from collections.abc import Collection

import gemmi

from arrayrefine.wording import Caution, are, counted, listed

_NAME = "DUM"
_UNKNOWN = "UNL"
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
                    atom.element = gemmi.Element("O")
            if residue[0].element.name == "O":
                found.append(f"{chain.name} {residue.seqid}")
    if not found:
        return []
    n = len(found)
    return [Caution(
        f"{counted(n, 'dummy atom')} ({_NAME}), as ARP/wARP marks density without a model, {are(n)} taken for oxygen: "
        f"{listed(found)}. Better {_REMEDY}"
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
