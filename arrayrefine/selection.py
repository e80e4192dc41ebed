"""A small selection language: ``chain A and 10-40``, ``resname HOH or element Zn``, ``not (water or hydrogen)``.

A term with a slash is gemmi's: ``//A/10-40/CA and not hydrogen``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from arrayrefine.arguments import check_types
from arrayrefine.atoms import Atoms
from arrayrefine.errors import InputError
from arrayrefine.io.models.gemmi_selection import select_gemmi

Mask = NDArray[np.bool_]

# What has a slash is gemmi's, with the parentheses inside it, as in //A/(HOH).
_TOKEN = re.compile(r"[^\s()]*/(?:\([^\s()]*\)|[^\s()])*|[()]|[^\s()]+")
_BACKBONE = ("N", "CA", "C", "O")
NAMELESS = "''"
"""The chain without a name, in a selection."""
_RANGE = re.compile(r"^(-?\d+)(?:[-:](-?\d+))?$")
_QUOTED = re.compile(r"^(['\"])(.+)\1$")
_NUMBERS = ("resid", "residue", "resseq", "resi")
"""May stand before residue numbers, as in PHENIX's language."""


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
    "('10-40'), one with an insertion code ('//*/19.A'), 'water', 'hydrogen', 'backbone', 'all', joined by 'and', "
    "'or', 'not' and parentheses"
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

    def take(self) -> str:
        token = self.peek()
        if token is None:
            raise self.fail("ends too early")
        self.position += 1
        return token

    def either(self) -> Mask:
        mask = self.both()
        while self.peek() == "or":
            self.take()
            mask = mask | self.both()
        return mask

    def both(self) -> Mask:
        mask = self.term()
        while self.peek() == "and":
            self.take()
            mask = mask & self.term()
        return mask

    def term(self) -> Mask:
        token = self.take()
        if token == "not":
            return ~self.term()
        if token == "(":
            mask = self.either()
            if self.take() != ")":
                raise self.fail("a parenthesis is not closed")
            return mask
        if "/" in token:
            return select_gemmi(self.atoms, token)
        if token in _FLAGS:
            return _FLAGS[token](self.atoms)
        if token in _BY_NAME:
            wanted = [_QUOTED.sub(r"\2", value) for value in self.take().split(",")]
            return np.isin(_BY_NAME[token](self.atoms), ["" if w in (NAMELESS, '""') else w for w in wanted])
        if token in _NUMBERS:
            token = self.take()
            if self.peek() == "through":
                self.take()
                token = f"{token}:{self.take()}"
        match = _RANGE.match(token)
        if match is None:
            raise self.fail(f"'{token}' is not understood")
        first = int(match[1])
        last = int(match[2]) if match[2] is not None else first
        number = self.atoms.identity.sequence_number
        return (number >= first) & (number <= last)


def select(atoms: Atoms, selection: str | GemmiSelection, option: str = "", words: tuple[str, ...] = ()) -> Mask:
    """Mask (N,) of the atoms that a selection names.

    Parameters
    ----------
    atoms : Atoms
    selection : str or gemmi.Selection
        Terms: ``chain A``, ``resname HOH``, ``name CA,CB``, ``element Zn``, ``altloc B``, residue numbers
        (``10-40``, or ``resid 10 through 40``), ``water``, ``hydrogen``, ``backbone``, ``all``, ``none``; gemmi's,
        known by their slash (``//A/10-40/CA``); joined by ``and``, ``or``, ``not``, parentheses.
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
