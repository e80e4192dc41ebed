"""Keywords of REFMAC5 as text: statements over lines, atoms by name, and what else is said of a restraint."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from arrayrefine.errors import InputError

_GOES_ON = re.compile(r"\s*(firs|next|seco|thir|four|valu|sigm|type|alph|symm)", re.IGNORECASE)
"""What a line begins with that goes on with the one before."""
_NEW_ATOM = {"firs": 0, "seco": 1, "thir": 2, "four": 3, "next": None, "atin": None, "atre": None}
"""What an atom begins with, and which it is; None for the one after the last."""
_OF_ATOM = {
    "chai": "chain", "segm": "chain", "resi": "residue", "ins": "code", "inse": "code", "insc": "code",
    "atom": "name", "atna": "name", "name": "name", "alt": "altloc", "alte": "altloc", "altc": "altloc",
    "altl": "altloc",
}  # fmt: skip
_MAY_BE_BLANK = ("code", "altloc")
_NAMELESS = "."
"""A chain, code or conformer without a name."""


class Atom(NamedTuple):
    """An atom as it is named; code and conformer may be blank."""

    chain: str
    residue: int
    code: str
    name: str
    altloc: str

    def __str__(self) -> str:
        conformer = f", conformer {self.altloc}" if self.altloc else ""
        return f"{self.chain}/{self.residue}{self.code}/{self.name}{conformer}"


def statements(lines: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Numbers of lines, from 1, and words of each statement, which may go on over several lines."""
    begun: list[str] = []
    first, open_end = 0, False
    for number, line in enumerate(lines, start=1):
        text = re.split("[#!]", line, maxsplit=1)[0].strip()
        if not text:
            continue
        if begun and not open_end and not _GOES_ON.match(text):
            yield first, begun
            begun = []
        first = first if begun else number
        open_end = bool(re.search(r"(?:^|\s)[-&\\]$", text))
        begun += re.sub(r"[{}]", r" \g<0> ", text[:-1] if open_end else text).split()
    if begun:
        yield first, begun


def parsed(words: Sequence[str], others: dict[str, str], where: str) -> tuple[list[Atom], dict[str, str]]:
    """Atoms, in the order that they say or stand in, and what else is said of a restraint.

    Parameters
    ----------
    words : sequence of str
    others : dict
        Four letters of what else may be said, and its name.
    where : str
        What is read, for messages.

    Raises
    ------
    InputError
        A word is not known, said twice, or lacks its value; or an atom lacks its chain, residue or name.
    """
    found: dict[int, dict[str, list[str]]] = {}
    said: dict[str, str] = {}
    here: dict[str, list[str]] | None = None
    k = 0
    while k < len(words):
        word, key = words[k], words[k][:4].lower()
        k += 1
        if key in _NEW_ATOM:
            given = _NEW_ATOM[key]
            place = max(found, default=-1) + 1 if given is None else given
            if place in found:
                raise InputError(f"{where}: found '{word}' twice; expected first, second, third, fourth or next")
            here = found[place] = {}
            continue
        if _OF_ATOM.get(key) in _MAY_BE_BLANK and (k == len(words) or len(words[k]) > 1):
            continue  # such a code has one letter: none was written
        if key not in _OF_ATOM | others or k == len(words):
            raise InputError(
                f"{where}: found '{word}'; expected atoms (first, second, ..., each with chain, residue and "
                "atom, and insertion and altcode where there are some), then value, sigma and type"
            )
        values = [words[k]]
        k += 1
        if values == ["{"]:
            if "}" not in words[k:]:
                raise InputError(f"{where}: found '{{' and no '}}' after it; expected names of atoms between them")
            end = words.index("}", k)
            values, k = list(words[k:end]), end + 1
        into = said if key in others else here
        name = others.get(key) or _OF_ATOM[key]
        if into is None:
            raise InputError(f"{where}: found '{word}' before any atom; expected 'first' before it")
        if name in into:
            raise InputError(f"{where}: found '{word}' again; expected it once, and 'next' before one more atom")
        if here is not None and into is here:
            here[name] = [_unquoted(value) for value in values]
        else:
            said[name] = " ".join(values)
    return [atom for place, spec in sorted(found.items()) for atom in _atoms(spec, place + 1, where)], said


def span(words: Sequence[str], where: str) -> tuple[str, int | None, int | None, list[str]]:
    """Chain, first and last residue of FROM 10 A TO 14 A, or FROM 10 TO 14 A, None for *; and the words after it.

    Raises
    ------
    InputError
        It is no such range, or one over two chains.
    """
    text = " ".join(words)
    found = re.match(r"(?i)from (-?\d+|\*)(?: (\S+))? to (-?\d+|\*)(?: (\S+))?(?: |$)", text)
    chains = {_blank(name) for name in (found[2], found[4]) if name} if found else set[str]()
    if found is None or len(chains) != 1:
        raise InputError(f"{where}: found '{text[:60]}'; expected 'from 10 A to 14 A', residues of one chain")
    first, last = (None if end == "*" else int(end) for end in (found[1], found[3]))
    return chains.pop(), first, last, text[found.end() :].split()


def number(text: str, name: str, where: str) -> float:
    """A finite number; an error that names it otherwise."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: {name} is '{text}'; expected a number")
    return value


def _atoms(spec: dict[str, list[str]], place: int, where: str) -> Iterator[Atom]:
    """The atoms of one specification: several where braces hold their names."""
    lacking = [name for name in ("chain", "residue", "name") if name not in spec]
    if lacking:
        names = " and no ".join("atom name" if name == "name" else name for name in lacking)
        raise InputError(f"{where}: atom {place} has no {names}; expected 'chain A resi 57 ins . atom CA'")
    residue = spec["residue"][0]
    found = re.fullmatch(r"(-?\d+)([A-Za-z]?)", residue)
    if found is None:
        raise InputError(f"{where}: the residue is '{residue}'; expected a number")
    code, altloc = (_blank(spec.get(name, [_NAMELESS])[0]) for name in _MAY_BE_BLANK)
    for name in spec["name"]:
        yield Atom(_blank(spec["chain"][0]), int(found[1]), code or found[2], name, altloc)


def _unquoted(text: str) -> str:
    quoted = re.fullmatch(r"([\"'])(.+)\1", text)
    return quoted[2] if quoted else text


def _blank(code: str) -> str:
    return "" if code == _NAMELESS else code
