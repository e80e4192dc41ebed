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
_BOND_TYPES = ("sing", "doub", "trip", "arom", "meta", "delo", "1.5", "coval")
"""How the types of bonds begin that gemmi knows, from the library's `metal` and `deloc` to the `coval` of PDB2TNT."""
_OTHER_BOND_TYPES = {
    **dict.fromkeys(("1", "s"), "single"), **dict.fromkeys(("2", "d"), "double"), **dict.fromkeys(("3", "t"), "triple"),
    **dict.fromkeys(("4", "a", "ar"), "aromatic"), **dict.fromkeys(("am", "conj"), "deloc"),
}
"""Orders as MOL, SDF and MOL2 files write them, which converters leave as they are."""
_BONDS = ("_chem_comp_bond.type", "_chem_link_bond.type", "_chem_mod_bond.new_type")


def read_restraint_file(path: Path) -> tuple[gemmi.cif.Document, list[str]]:
    """Read a CIF, in whatever encoding it says to be, with what restrains nothing where it leaves a value blank.

    Torsions without a period get 0, chiral centres with a sign that gemmi does not know "both", and bonds of a type
    that it does not know the one that is meant, or none. Of bonds that are listed again only the first row stays:
    counted twice, they would be two neighbours of an atom.

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
    return document, _fill_blanks(document, path) + _name_types(document, path) + _drop_repeated(document, path)


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
        for name, found in _replaced(document, "_chem_comp_tor.period", lambda text: None if text else "0")
    ]
    for name, found in _replaced(
        document, "_chem_comp_chir.volume_sign", lambda text: None if text.lower().startswith(_SIGNS) else "both"
    ):
        signs = listed(sorted({f"'{sign}'" for sign in found}))
        what = counted(len(found), "chiral centre")
        notes.append(f"{path}: {what} of data_{name} with the sign {signs}: taken as 'both', of either hand")
    return notes


def _name_types(document: gemmi.cif.Document, path: Path) -> list[str]:
    """Give bonds the types that gemmi knows, and say of which it is not known what they are.

    The type decides neither length nor sigma, but which atoms are flat and which names may be exchanged.
    """
    notes = []
    for tag in _BONDS:
        for name, found in _replaced(document, tag, _bond_type):
            strange = [kind for kind in map(gemmi.cif.as_string, found) if kind.lower() not in _OTHER_BOND_TYPES]
            if strange:
                kinds = listed(sorted({f"'{kind}'" for kind in strange}))
                what = f"{counted(len(strange), 'bond')} of data_{name} of the type {kinds}"
                notes.append(f"{path}: {what}: taken as bonds of an unknown type; expected single, double and so on")
    return notes


def _bond_type(text: str) -> str | None:
    """What a type that gemmi does not know is replaced by."""
    kind = text.lower()
    return None if not kind or kind.startswith(_BOND_TYPES) else _OTHER_BOND_TYPES.get(kind, ".")


def _replaced(
    document: gemmi.cif.Document, tag: str, instead: Callable[[str], str | None]
) -> Iterator[tuple[str, list[str]]]:
    """Put other values in place of odd ones, in place; gives blocks that had any, each with what it had."""
    for block in document:
        column = block.find_values(tag)
        new = {k: value for k in range(len(column)) if (value := instead(column.str(k))) is not None}
        found = [column[k] for k in new]
        for k, value in new.items():
            column[k] = value
        if found:
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
