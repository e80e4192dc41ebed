"""Columns of PDB files that are not what the format has there now: entries, long names, tables of other programs."""

from __future__ import annotations

import re
from collections import Counter

import gemmi

from arrayrefine.io.models.amber_ends import AMINO_ACIDS, without_letters_of_ends
from arrayrefine.io.models.charge_letters import without_letters_of_charge
from arrayrefine.wording import are, counted

_ENTRY = re.compile(r"([0-9][0-9A-Z]{3}) *[0-9]{1,5} *")
"""Columns 73-80 as the PDB had them until 1996: the entry and the number of the line."""
_ATOMS = ("ATOM  ", "HETATM")
_RECORDS = (*_ATOMS, "ANISOU", "TER   ")
_TABLE = re.compile(r"(?:atom|heta)[a-z_]", re.IGNORECASE)
"""What the parser takes for a record of an atom by its first four letters, as `atom_pair_constraint 0` of Rosetta."""
_ON_THE_LEFT = re.compile(r"[CNOPSHD](?:[0-9A-Z'*]{2} |[0-9A-Z'*]  |   )")
"""The name of an atom in the first of its four columns, with the last of them free."""
_STATES_OF_CHARGE = AMINO_ACIDS | {"HSD", "HSE", "HSP"}
"""Amino acids as AMBER and CHARMM name them."""
_WATERS_OF_FOUR = ("TIP3", "TIP4", "TIP5", "SPCE")
"""Names of waters in CHARMM and others that reach into the column before that of the chain, and would be part of its
name."""


def in_columns(text: str, notes: list[str]) -> str:
    """A PDB file without what the parser would take for elements, charges, atoms or names of chains and is none.

    Parameters
    ----------
    text : str
        The file.
    notes : list of str
        Is added to.

    Returns
    -------
    str
        With as many lines as before: messages about others tell where they are.
    """
    lines = text.splitlines()
    entries = Counter(_entry(line) for line in lines if line[:6] in _ATOMS)
    entry, count = entries.most_common(1)[0] if entries else ("", 0)
    old = bool(entry) and 2 * count > entries.total()
    if old:
        lines = [line[:72] if _entry(line) == entry else line for line in lines]
        where = "" if count == entries.total() else f" of {count} of {entries.total()} atoms"
        notes.append(
            f"columns 73-80{where} hold the entry ({entry}) and numbers of lines, as in files of before 1996, and are "
            "not read: elements are those that the names of atoms say, charges none"
        )
    waters = [i for i, line in enumerate(lines) if line[:6] in _RECORDS and line[17:21] in _WATERS_OF_FOUR]
    for i in waters:
        lines[i] = f"{lines[i][:20]} {lines[i][21:]}"
    mended = without_letters_of_charge(without_letters_of_ends(lines, notes), notes)
    mended = _with_names_in_place(mended, notes)
    changed, lines = mended != lines, mended
    tables = [i for i, line in enumerate(lines) if _TABLE.match(line) and line[:6].upper() not in _ATOMS]
    for i in tables:
        lines[i] = ""
    if tables:
        where = f"{len(tables)}, the first is {tables[0] + 1}"
        notes.append(f"lines that begin like atoms and are none are not read: {where}")
    return "\n".join([*lines, ""]) if old or tables or waters or changed else text


def _with_names_in_place(lines: list[str], notes: list[str]) -> list[str]:
    """Names of one to three letters begin one column further right in common residues of chains without elements.

    Where all begin on the left, as molecular dynamics writes them, CA would be calcium and CB no element at all.
    """
    changed = list(lines)
    count = 0
    for i, line in enumerate(lines):
        left = line[:6] in _ATOMS and not line[76:78].strip() and _ON_THE_LEFT.match(line, 12)
        residue = line[17:20].strip()
        if left and (residue in _STATES_OF_CHARGE or gemmi.find_tabulated_residue(residue).is_standard()):
            changed[i] = f"{line[:12]} {line[12:15]}{line[16:]}"
            count += 1
    if count:
        notes.append(
            f"names of {counted(count, 'atom')} {are(count)} one column further left than the format has them, without "
            "elements (columns 77-78): C, N, O, P, S or H by their first letters, as common residues have no others"
        )
    return changed


def _entry(line: str) -> str:
    found = _ENTRY.fullmatch(line, 72)
    return found[1] if found else ""
