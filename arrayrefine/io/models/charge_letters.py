"""Amino acids with a letter for their state of charge behind the name, as GROMACS, OPLS and CHARMM write them."""

from __future__ import annotations

from collections.abc import Sequence

from arrayrefine.wording import are, counted, listed

_LETTERS = {"HIS": "ABDEHP12", "LYS": "HN", "ARG": "N", "ASP": "HP", "GLU": "HP", "CYS": "H12", "TYR": "H"}
_NAMES = frozenset(name + letter for name, letters in _LETTERS.items() for letter in letters)
"""HISE and LYSH of GROMACS (`aminoacids.rtp` of its GROMOS and OPLS fields), ASPP and GLUP of CHARMM."""
_LAST = 20
"""Column, from 0, that the letter gets into: the one before the name of the chain, of which it would be part."""
_RECORDS = ("ATOM  ", "HETATM", "ANISOU", "TER   ")


def without_letters_of_charge(lines: Sequence[str], notes: list[str]) -> list[str]:
    """Records of atoms whose names of residues have three letters, where a fourth told their state of charge.

    Left as they are where any other residue has something in that column: there, chains have names of two letters.

    Parameters
    ----------
    lines : sequence of str
        Those of the file.
    notes : list of str
        Is added to.

    Returns
    -------
    list of str
        As many.
    """
    rows = [i for i, line in enumerate(lines) if line[:6] in _RECORDS and line[_LAST : _LAST + 1].strip()]
    changed = list(lines)
    if not rows or any(lines[i][17:21] not in _NAMES for i in rows):
        return changed
    for i in rows:
        changed[i] = f"{lines[i][:_LAST]} {lines[i][_LAST + 1 :]}"
    said = list(dict.fromkeys(f"{lines[i][21:22]}/{lines[i][17:21]} {lines[i][22:27].strip()}" for i in rows))
    notes.append(
        f"{counted(len(said), 'residue')} with a letter for the state of charge behind the name, as in GROMACS and "
        f"CHARMM, {are(len(said))} read without it: {listed(said)}"
    )
    return changed
