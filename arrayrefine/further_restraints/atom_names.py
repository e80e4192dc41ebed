"""Atoms that a table of restraints names, as rows of the model."""

from __future__ import annotations

import re

import numpy as np

from arrayrefine.atoms import Atoms
from arrayrefine.errors import InputError
from arrayrefine.selection import select

_SHORT_NAME = re.compile(r"/{0,2}([^/\s;]+)/(-?\d+)\.?([A-Za-z]?)/([^/\s;:\[\]]+)(?::(\w?))?")
"""chain/number/name:altloc, with or without the two slashes of gemmi before it."""


class Finder:
    """Finds atoms by name: as in the log, as gemmi writes them, or by a selection of one atom."""

    def __init__(self, atoms: Atoms) -> None:
        self.atoms = atoms
        who = atoms.identity
        self._labels: dict[str, list[int]] = {}
        for i in range(len(atoms)):
            self._labels.setdefault(who.label(i), []).append(i)
        self._short: dict[tuple[str, ...], list[int]] = {}
        keys = (who.chain, who.sequence_number, who.insertion_code, who.atom_name)
        for i, (chain, number, code, name) in enumerate(zip(*(part.tolist() for part in keys))):
            self._short.setdefault((chain, str(number), code, name), []).append(i)

    def __call__(self, label: str, where: str) -> int:
        found = self._found(label, where)
        if len(found) == 1:
            return found[0]
        names = ", ".join(self.atoms.identity.label(i) for i in found[:3])
        what = f"{len(found)} atoms ({names}{', ...' if len(found) > 3 else ''})" if found else "no atom"
        raise InputError(
            f"{where}: '{label}' names {what} of the model; expected one: a name as in the log ('A/HIS 57/CA'), or as "
            "in gemmi ('A/57/CA', with a conformer 'A/57/CA:B')"
        )

    def _found(self, label: str, where: str) -> list[int]:
        if label in self._labels:
            return self._labels[label]
        short = _SHORT_NAME.fullmatch(label)
        if short is not None and "*" not in label:
            chain, number, code, name, altloc = short.groups()
            here = self.named(chain, int(number), code, name)
            return here if altloc is None else [i for i in here if self.atoms.identity.altloc[i] == altloc]
        if "/" in label and " " in label:  # a name as in the log that is not there
            return []
        try:
            return [int(i) for i in np.flatnonzero(select(self.atoms, label))]
        except InputError as error:
            raise InputError(f"{where}: {error}") from error

    def named(self, chain: str, number: int, code: str, name: str) -> list[int]:
        """All atoms of this name, a row for each conformer."""
        return self._short.get((chain, str(number), code, name), [])
