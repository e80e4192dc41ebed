"""Rings that turn a carbon to a metal, where a nitrogen was to bind it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.restraints import Bonds
from arrayrefine.wording import Caution, counted, listed

_AS_NEAR = 0.3
"""Å; a nitrogen that binds is nearer than the carbons beside it by some 0.9."""
_LARGEST = 6
"""Atoms of a ring."""


class Bound(NamedTuple):
    """A metal and a donor that it is restrained to.

    Attributes
    ----------
    metal, donor : int
    place : (3,) float64, Å
        Of the metal, as the donor has it: at a symmetry mate of the metal where that is bound.
    operator : str
        Which takes the donor to the metal, empty for none.
    """

    metal: int
    donor: int
    place: NDArray[np.float64]
    operator: str = ""


def turned_rings(atoms: Atoms, bonds: Bonds, pairs: Iterable[Bound]) -> list[str]:
    """Say where a metal is as near to a carbon of a ring as to the nitrogen that it is restrained to.

    Parameters
    ----------
    atoms : Atoms
    bonds : Bonds
    pairs : iterable of Bound
    """
    found = []
    who = atoms.identity
    neighbours: dict[int, set[int]] | None = None
    for metal, donor, place, operator in pairs:
        if atoms.element[donor] != "N":
            continue
        neighbours = neighbours or _neighbours(bonds)
        ring = _ring(neighbours, donor)
        distance = {k: float(np.linalg.norm(atoms.xyz[k] - place)) for k in ring}
        mate = f" ({operator})" if operator else ""
        for k in ring:
            if atoms.element[k] == "C" and distance[k] < distance[donor] + _AS_NEAR:
                found.append(
                    f"{who.label(metal)}: {distance[k]:.2f} Å to {who.label(k)}{mate}, {distance[donor]:.2f} Å to "
                    f"{who.atom_name[donor]}"
                )
                break
    if not found:
        return []
    what = counted(len(found), "ring")
    return [Caution(
        f"{what} with a carbon as near to a metal as the nitrogen that it is restrained to, probably to be turned: "
        f"{listed(found, '; ')}"
    )]


def _neighbours(bonds: Bonds) -> dict[int, set[int]]:
    near: dict[int, set[int]] = {}
    for a, b in bonds.index.tolist():
        near.setdefault(a, set()).add(b)
        near.setdefault(b, set()).add(a)
    return near


def _ring(neighbours: dict[int, set[int]], atom: int) -> list[int]:
    """Atoms of the smallest ring that an atom is in, itself the first; itself alone where it is in none."""
    paths = [[atom, k] for k in sorted(neighbours.get(atom, ()))]
    while paths and len(paths[0]) <= _LARGEST:
        longer = [[*path, k] for path in paths for k in sorted(neighbours[path[-1]]) if k != path[-2]]
        closed = [path for path in longer if path[-1] == atom]
        if closed:
            return closed[0][:-1]
        paths = longer
    return [atom]
