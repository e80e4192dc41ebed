"""Restraint CIFs of the user: read, or refused with what they are instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import gemmi

from arrayrefine.errors import InputError
from arrayrefine.io.files import KIND_NAMES, Kind, as_utf8, kind_of
from arrayrefine.wording import are, counted, listed

_OTHER_KINDS = (
    (re.compile(rb"^\s*@<TRIPOS>", re.MULTILINE), "a MOL2 file"),
    (re.compile(rb"V[23]000\s*$|^M  END\s*$", re.MULTILINE), "an SDF or MOL file"),
    (re.compile(rb"\A\s*<(!doctype|html|\?xml)", re.IGNORECASE), "a web page or XML, as a failed download leaves"),
)
"""What is given in place of a dictionary, and how it is told."""
_SIGNS = ("p", "n", "b", "c")
"""How the signs of chiral volumes begin that gemmi knows: positive, negative, both, crossN."""


def read_restraint_file(path: Path) -> tuple[gemmi.cif.Document, list[str]]:
    """Read a CIF, in whatever encoding it says to be, with what restrains nothing where it leaves a value blank.

    Torsions without a period get 0, chiral centres with a sign that gemmi does not know "both". Of bonds that are
    listed again only the first row stays: counted twice, they would be two neighbours of an atom.

    Parameters
    ----------
    path : Path

    Returns
    -------
    document : gemmi.cif.Document
    notes : list of str

    Raises
    ------
    InputError
        It is no CIF; the message says what it is, where that can be told.
    """
    kind: Kind = "cif"
    content = b""
    try:
        content = path.read_bytes()
        kind = kind_of(content)
        text = as_utf8(content)
        document = gemmi.cif.read(str(path)) if text == content else gemmi.cif.read_string(text)
    except (ValueError, RuntimeError, OSError) as error:
        raise InputError(
            f"{path}: cannot be read as a restraint CIF: {error}{_instead(content, kind, str(error))}; --restraints "
            "expects one as made by AceDRG, grade2 or eLBOW"
        ) from error
    return document, _fill_blanks(document, path) + _drop_repeated(document, path)


def what_instead(document: gemmi.cif.Document) -> str:
    """What a CIF has that describes no component and lists no links: the object of a sentence.

    Parameters
    ----------
    document : gemmi.cif.Document
    """
    if any(block.find_values("_atom_site.id") for block in document):
        return "coordinates"
    unlisted = [f"data_{block.name}" for block in document if block.name.startswith(("link_", "mod_"))]
    if unlisted:
        return f"{listed(unlisted)} without the list that says what they join or change (_chem_link.id, _chem_mod.id)"
    return "no restraints"


def _instead(content: bytes, kind: Kind, error: str) -> str:
    """What the file is, or what is wrong with it, in the middle of a sentence."""
    if kind == "cif":
        joined = "duplicate block name" in error
        return " (several files were joined into one: give them one by one, --restraints A.cif B.cif)" if joined else ""
    for pattern, what in _OTHER_KINDS:
        if kind == "text" and pattern.search(content):
            return f" (it is {what})"
    return f" (it is {KIND_NAMES[kind]})"


def _fill_blanks(document: gemmi.cif.Document, path: Path) -> list[str]:
    """Let torsions without a period restrain nothing, and centres whose sign is blank or of old libraries (anomer)
    either hand; say of how many.
    """
    notes = [
        f"{path}: {counted(len(found), 'torsion')} of data_{name} without a period {are(len(found))} not restrained"
        for name, found in _replaced(document, "_chem_comp_tor.period", lambda text: not text, "0")
    ]
    for name, found in _replaced(
        document, "_chem_comp_chir.volume_sign", lambda text: not text.lower().startswith(_SIGNS), "both"
    ):
        signs = listed(sorted({f"'{sign}'" for sign in found}))
        what = counted(len(found), "chiral centre")
        notes.append(f"{path}: {what} of data_{name} with the sign {signs}: taken as 'both', of either hand")
    return notes


def _replaced(
    document: gemmi.cif.Document, tag: str, odd: Callable[[str], bool], value: str
) -> Iterator[tuple[str, list[str]]]:
    """Put a value in place of odd ones, in place; gives blocks that had any, each with what it had."""
    for block in document:
        column = block.find_values(tag)
        rows = [k for k in range(len(column)) if odd(column.str(k))]
        found = [column[k] for k in rows]
        for k in rows:
            column[k] = value
        if rows:
            yield block.name, found


def _drop_repeated(document: gemmi.cif.Document, path: Path) -> list[str]:
    """Keep the first row of each bond, in whichever order its ends are, and say which were listed again."""
    notes = []
    for block in document:
        table = block.find("_chem_comp_bond.", ["atom_id_1", "atom_id_2"])
        seen: set[frozenset[str]] = set()
        again: dict[int, str] = {}
        for k, row in enumerate(table):
            ends = frozenset((row.str(0), row.str(1)))
            if ends in seen:
                again[k] = f"{row.str(0)}-{row.str(1)}"
            seen.add(ends)
        for k in reversed(again):
            table.remove_row(k)
        if again:
            what = f"{counted(len(again), 'bond')} of data_{block.name} listed more than once"
            notes.append(f"{path}: {what} ({listed(list(again.values()))}): the first row is used")
    return notes
