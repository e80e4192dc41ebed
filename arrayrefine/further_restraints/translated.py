"""What restraints of other programs become: rows of a table of restraints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import gemmi

from arrayrefine.atoms import Atoms

NumberedRow: TypeAlias = tuple[int, dict[str, str]]
"""Number of a line, and the cells that it makes."""

_BOND_REACH = 1.3
"""Times the sum of covalent radii: up to there a distance is that of a bond."""


NEAREST = ("nearest", "nearest mate")
"""Instead of an operator: the nearest image of the second atom, that in the model among them or not."""


class Read(NamedTuple):
    """Restraints as rows of a table, and how much was left out of what kind."""

    rows: list[NumberedRow]
    left_out: Counter[str]


def bond_or_distance(atoms: Atoms, rows: list[int], value: float) -> str:
    """What a length (Å) between two atoms is: a bond ends contacts with neighbours, which those further apart keep."""
    reach = _BOND_REACH * sum(gemmi.Element(str(atoms.element[i])).covalent_r for i in rows)
    return "bond" if 0.0 < value <= reach else "distance"


def by_conformer(found: list[list[int]], altloc: Any, given: Sequence[int] = ()) -> Iterator[list[int]]:
    """Atoms that are there together, one of each: those of every conformer that any of them has.

    Parameters
    ----------
    found : list of list of int
        Rows of each atom, one for each of its conformers.
    altloc : (N,) str
    given : sequence of int
        Which of them were named with their conformer: they are taken together with whatever others.
    """
    names = sorted({str(altloc[i]) for rows in found for i in rows if len(rows) > 1} - {""})
    for name in names or [""]:
        chosen = [
            rows if len(rows) == 1 and (not names or k in given) else [i for i in rows if altloc[i] in (name, "")]
            for k, rows in enumerate(found)
        ]
        if all(len(rows) == 1 for rows in chosen):
            yield [rows[0] for rows in chosen]
