"""A small selection language: ``chain A and 10-40``, ``resname HOH or element Zn``, ``not (water or hydrogen)``.

A term with a slash is gemmi's: ``//A/10-40/CA and not hydrogen``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from arrayrefine.arguments import check_types
from arrayrefine.atoms import Atoms
from arrayrefine.errors import InputError
from arrayrefine.io.models.gemmi_selection import select_gemmi

Mask = NDArray[np.bool_]

# Quotes may hold blanks, as in " CA ". What has a slash is gemmi's, with the parentheses inside it, as in //A/(HOH).
_TOKEN = re.compile(r"""(?:"[^"/]*"|'[^'/]*')(?=[\s()]|$)|[^\s()]*/(?:\([^\s()]*\)|[^\s()])*|[()]|[^\s()]+""")
_BACKBONE = ("N", "CA", "C", "O")
NAMELESS = "''"
"""The chain without a name, in a selection."""
_CODES = 256
"""More than insertion codes as numbers."""
_RANGE = re.compile(r"^(-?\d+)(?:[-:](-?\d+))?$")
_HALF_OPEN = re.compile(r"^(-?\d+)?:(-?\d+)?$")
_WITH_CODES = re.compile(r"^(-?\d+)([A-Za-z]?)(?:[-:](-?\d+)([A-Za-z]?))?$")
_QUOTED = re.compile(r"^(['\"])(.*)\1$")
_NUMBERS = ("residue", "resseq", "resi")
"""May stand before residue numbers, as in PHENIX's language."""
_WITH_CODE = "resid"
"""The same before numbers with their insertion codes, which are blank where none is written."""


def _backbone(atoms: Atoms) -> Mask:
    """N, CA, C and O of residues that have a carbon CA: O of waters and calcium have the names alone."""
    who = atoms.identity
    residue = np.unique(who.residue, return_inverse=True)[1].reshape(-1)
    of_amino_acid = np.bincount(residue, (who.atom_name == "CA") & (atoms.element == "C")) > 0
    return np.asarray(of_amino_acid[residue] & np.isin(who.atom_name, _BACKBONE))


_BY_NAME: dict[str, Callable[[Atoms], NDArray[np.str_]]] = {
    "chain": lambda atoms: atoms.identity.chain,
    "resname": lambda atoms: atoms.identity.residue_name,
    "name": lambda atoms: atoms.identity.atom_name,
    "element": lambda atoms: atoms.element,
    "altloc": lambda atoms: atoms.identity.altloc,
    "altid": lambda atoms: atoms.identity.altloc,
    "icode": lambda atoms: atoms.identity.insertion_code,
}
_FLAGS: dict[str, Callable[[Atoms], Mask]] = {
    "all": lambda atoms: np.ones(len(atoms), dtype=bool),
    "none": lambda atoms: np.zeros(len(atoms), dtype=bool),
    "water": lambda atoms: atoms.is_water,
    "hydrogen": lambda atoms: atoms.is_hydrogen,
    "backbone": _backbone,
}
_GRAMMAR = (
    "expected terms such as 'chain A', 'resname HOH', 'name CA', 'element Zn', 'altloc B', a residue number or range "
    "('10-40'), one with an insertion code ('//*/19.A'), 'resid 19A', 'water', 'hydrogen', 'backbone', 'all', joined "
    "by 'and', 'or', 'not' and parentheses"
)


class GemmiSelection(Protocol):
    """A selection as gemmi makes it, `gemmi.Selection`."""

    def str(self) -> str:
        """Return it as text."""
        ...


class _Parser:
    def __init__(self, text: str, atoms: Atoms) -> None:
        self.text = text
        self.atoms = atoms
        self.tokens = _TOKEN.findall(text)
        self.position = 0

    def fail(self, what: str) -> InputError:
        return InputError(f"selection '{self.text}': {what}; {_GRAMMAR}")

    def peek(self) -> str | None:
        return self.tokens[self.position] if self.position < len(self.tokens) else None

    def next_is(self, word: str) -> bool:
        token = self.peek()
        return token is not None and token.lower() == word

    def take(self) -> str:
        token = self.peek()
        if token is None:
            raise self.fail("ends too early")
        self.position += 1
        return token

    def either(self) -> Mask:
        mask = self.both()
        while self.next_is("or"):
            self.take()
            mask = mask | self.both()
        return mask

    def both(self) -> Mask:
        mask = self.term()
        while self.next_is("and"):
            self.take()
            mask = mask & self.term()
        return mask

    def term(self) -> Mask:
        token = self.take()
        word = token.lower()
        if word == "not":
            return ~self.term()
        if token == "(":
            mask = self.either()
            if self.take() != ")":
                raise self.fail("a parenthesis is not closed")
            return mask
        if "/" in token:
            return select_gemmi(self.atoms, token)
        if word in _FLAGS:
            return _FLAGS[word](self.atoms)
        if word in _BY_NAME:
            return self.named(word, self.take())
        if word == _WITH_CODE:
            return self.with_codes(self.span())
        if word in _NUMBERS:
            token = self.span()
        return self.numbered(token)

    def span(self) -> str:
        """A residue number, or two as PHENIX joins them."""
        token = self.take()
        if self.next_is("through"):
            self.take()
            token = f"{token}:{self.take()}"
        return token

    def named(self, word: str, token: str) -> Mask:
        """Atoms of which something has one of several names; those with * or ? stand for all that fit."""
        found = _BY_NAME[word](self.atoms)
        quoted = _QUOTED.fullmatch(token)
        values = [token] if quoted and "," not in token else token.split(",")
        wanted = [_QUOTED.sub(r"\2", value).strip() for value in values]
        if word == "element":
            wanted = [name.capitalize() for name in wanted]
        known = set(np.unique(found).tolist())
        patterns = [name for name in wanted if name not in known and re.search(r"[*?]", name)]
        wanted += [name for name in known if any(fnmatchcase(name, pattern) for pattern in patterns)]
        return np.isin(found, wanted)

    def numbered(self, token: str) -> Mask:
        """Residues of a number or a range of them, whatever their insertion codes."""
        number = self.atoms.identity.sequence_number
        match = _RANGE.match(token)
        if match is not None:
            first, last = match[1], match[2] or match[1]
        else:
            half = _HALF_OPEN.match(token)
            if half is None or not (half[1] or half[2]):
                raise self.fail(f"'{token}' is not understood")
            first, last = half[1] or str(number.min(initial=0)), half[2] or str(number.max(initial=0))
        return (number >= int(first)) & (number <= int(last))

    def with_codes(self, token: str) -> Mask:
        """Residues of a number with its insertion code, or from one to another: 52, 52A, 52B, 53."""
        match = _WITH_CODES.match(token)
        if match is None:
            return self.numbered(token)
        who = self.atoms.identity
        code = np.array([ord(c) if c else 0 for c in who.insertion_code.tolist()], dtype=np.int64)
        place = who.sequence_number.astype(np.int64) * _CODES + code
        ends = match[1], match[2], match[3] or match[1], match[4] if match[3] else match[2]
        first, last = (int(ends[k]) * _CODES + (ord(ends[k + 1]) if ends[k + 1] else 0) for k in (0, 2))
        return (place >= first) & (place <= last)


def select(atoms: Atoms, selection: str | GemmiSelection, option: str = "", words: tuple[str, ...] = ()) -> Mask:
    """Mask (N,) of the atoms that a selection names.

    Parameters
    ----------
    atoms : Atoms
    selection : str or gemmi.Selection
        Terms: ``chain A``, ``resname HOH``, ``name CA,CB``, ``element Zn``, ``altloc B``, residue numbers
        (``10-40``, or ``resseq 10:40``), those with insertion codes (``resid 52A``), ``water``, ``hydrogen``,
        ``backbone``, ``all``, ``none``; gemmi's, known by their slash (``//A/10-40/CA``); joined by ``and``, ``or``,
        ``not``, parentheses.
    option : str
        Where the selection comes from, to be named in the error: "--anisotropic".
    words : tuple of str
        What that option takes besides a selection, to be named there too.

    Raises
    ------
    InputError
        The text cannot be read, or it is no text.
    """
    check_types("select", atoms=(atoms, Atoms), selection=(selection, object))
    if option:
        try:
            return select(atoms, selection)
        except InputError as error:
            raise InputError(f"{option}: {error}" + (f"; or one of {', '.join(words)}" if words else "")) from error
    if not isinstance(selection, str):
        if not hasattr(selection, "str"):
            raise InputError(f"selection: found {selection!r}; expected text or a gemmi.Selection; {_GRAMMAR}")
        return select_gemmi(atoms, selection.str())
    parser = _Parser(selection.strip(), atoms)
    mask = parser.either()
    if parser.peek() is not None:
        raise parser.fail(f"'{parser.peek()}' is left over")
    return mask
