"""END records that more atoms follow, as in files put together with `cat`: the parser would stop at the first of them.

What stands behind END is another file: another crystal, or another header, is not that of the model. So its atoms are
taken, and nothing else is.
"""

from __future__ import annotations

from typing import NamedTuple

from arrayrefine.wording import Caution, are, counted, listed

_ATOMS = ("ATOM  ", "HETATM")
_TAKEN = (*_ATOMS, "ANISOU", "TER")
_NO_NEWS = ("END", "MASTER", "CONECT")
_OF_MODEL = ("LINK", "LINKR", "SSBOND", "CISPEP", "MODRES", "HELIX", "SHEET", "SEQRES", "CRYST1")
"""Records that are missed where nothing but they stands behind END, as links do that were added by hand."""
_FRAMES = 0.5
"""Where more of the atoms behind END than this share are before it too, they are another model, or a frame."""


class Whole(NamedTuple):
    """Text of a PDB file that is parsed to its end, as many lines as before, and what to say about it."""

    text: str
    notes: tuple[str, ...]


def read_through(text: str, path: object) -> Whole:
    """A PDB file whose END records do not hide atoms.

    Files with MODEL records, and those with the same atoms again behind END, end there: these are several models, of
    which the first is refined.

    Parameters
    ----------
    text : str
        The file.
    path : object
        Its name, for the notes.
    """
    lines = text.splitlines()
    end = next((i for i, line in enumerate(lines) if _is_end(line)), len(lines))
    after = [line for line in lines[end:] if _is_atom(line)]
    left = [line[:6].strip() for line in lines[end:] if line.strip() and not line.upper().startswith(_TAKEN)]
    left = [name for name in dict.fromkeys(left) if name.upper() not in _NO_NEWS]
    if not after:
        lost = listed([name for name in left if name.upper() in _OF_MODEL])
        said = f"model '{path}': records behind the END of line {end + 1} are not read: {lost}; put them before it"
        return Whole(text, (Caution(said),) if lost else ())
    where = f"model '{path}': {counted(len(after), 'atom')} {'stands' if len(after) == 1 else 'stand'} behind the END"
    where += f" of line {end + 1}"
    first = "\n".join([*lines[: end + 1], ""])
    one = "make the file one model, with a single END at its end"
    if any(line[:6].rstrip().upper() == "MODEL" for line in lines):
        return Whole(first, (Caution(f"{where} and {are(len(after))} not read, as the file has MODEL records: {one}"),))
    known = {_who(line) for line in lines[:end] if _is_atom(line)}
    again = sum(_who(line) in known for line in after)
    if again > _FRAMES * len(after):
        said = f"{where} and {are(len(after))} not read, as {again} of them {are(again)} before it too"
        said += ": taken for another model. If they belong to this one, rename or renumber them"
        return Whole(first, (Caution(said),))
    without = f"; other records there are not: {listed(left)}" if left else ""
    kept = [line if line.upper().startswith(_TAKEN) else "" for line in lines[end:]]
    # Lines are emptied, not removed: messages about others tell where they are in the file.
    said = f"{where} and {are(len(after))} read{without}; {one}"
    return Whole("\n".join([*lines[:end], *kept, ""]), (Caution(said),))


def _is_end(line: str) -> bool:
    """Whether the parser takes a line for END."""
    return line[:3].upper() == "END" and not line[3:4].isalnum()


def _is_atom(line: str) -> bool:
    return line[:6].upper() in _ATOMS


def _who(line: str) -> str:
    """Name, conformer, residue and chain."""
    return line[12:27]
