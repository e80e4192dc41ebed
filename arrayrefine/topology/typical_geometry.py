"""Typical lengths and angles between atoms by what surrounds them, as the components of a library have them.

Ideal coordinates of a compound come from a program that gives many bonds of a kind the same length. What dictionaries
have for the same surroundings is nearer to those made from crystals of small molecules, though others of the library
have one length for each kind of bond, too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import gemmi
import numpy as np

from arrayrefine.topology.compounds import Compound

_SPREAD_OF_LENGTHS, _SPREAD_OF_ANGLES = 0.02, 3.0
"""Å and degrees; where values vary more, the surroundings do not say enough."""

_LONGEST_DOUBLE = 1.46
"""Å; where a dictionary has double or aromatic bonds of carbons longer than this it took them for single ones."""

Key = TypeVar("Key")
BondKey = tuple[str, str, str]
AngleKey = tuple[str, str, str, int, int]


class TypicalGeometry(NamedTuple):
    """Mean values by surroundings.

    Attributes
    ----------
    lengths : mapping
        Å, by the surroundings of both atoms, and by whether two carbons have a bond of an aromatic ring, a double one
        elsewhere, or another, see `_order`.
    angles : mapping
        Degrees, by those of the middle and of both ends, by the ring that all are in, or 0, and by how many alike ends
        the middle has: two oxygens within a chain of phosphates are further apart than three at its end.
    """

    lengths: Mapping[BondKey, float]
    angles: Mapping[AngleKey, float]

    def length(self, compound: Compound, one: int, two: int) -> float:
        """Å; where the library has no such bond that of the coordinates, in the mean over alike ends of its centre."""
        known = self.lengths.get(_bond_key(compound, one, two))
        if known is not None:
            return known
        centre, end = (two, one) if compound.is_end(one) else (one, two)
        return float(np.mean([compound.distance(centre, other) for other in _alike(compound, centre, end)]))

    def angle(self, compound: Compound, one: int, centre: int, two: int) -> float:
        """Degrees; where the library has no such angle that of the coordinates, in the same mean."""
        known = self.angles.get(_angle_key(compound, one, centre, two))
        if known is not None:
            return known
        pairs = itertools.product(_alike(compound, centre, one), _alike(compound, centre, two))
        every = {frozenset(pair) for pair in pairs if pair[0] != pair[1]}
        return float(np.mean([compound.angle(first, centre, last) for first, last in map(sorted, every)]))


def _alike(compound: Compound, centre: int, end: int) -> list[int]:
    """Neighbours of an atom that resonance or a turn makes one of them, such as the oxygens of a nitro group."""
    if not compound.is_end(end):
        return [end]
    kind = compound.surroundings
    return [atom for atom in compound.neighbours[centre] if compound.is_end(atom) and kind[atom] == kind[end]]


@cache
def typical_geometry(folder: Path) -> TypicalGeometry:
    """Of the components of a library.

    Parameters
    ----------
    folder : Path
        Laid out like the CCP4 monomer library.

    Returns
    -------
    TypicalGeometry
    """
    library = gemmi.MonLib()
    for path in sorted(folder.glob("?/*.cif")):
        library.read_monomer_doc(gemmi.cif.read(str(path)))
    components = [component for _, component in sorted(library.monomers.items())]
    every, measured = _of(components), _of([component for component in components if _is_measured(component)])
    return TypicalGeometry({**every.lengths, **measured.lengths}, {**every.angles, **measured.angles})


def _is_measured(component: gemmi.ChemComp) -> bool:
    """Whether its values are means of crystals, with sigmas of their own: many have those that a program assumed."""
    return len({bond.esd for bond in component.rt.bonds}) > 1


def _of(components: Iterable[gemmi.ChemComp]) -> TypicalGeometry:
    """Means over some components."""
    lengths: dict[BondKey, list[float]] = {}
    angles: dict[AngleKey, list[float]] = {}
    for component in components:
        compound = _graph(component)
        rows = {name: k for k, name in enumerate(compound.atoms)}
        for bond in component.rt.bonds:
            ends = rows[bond.id1.atom], rows[bond.id2.atom]
            key = _bond_key(compound, *ends)
            wrong = key[2] and bond.value > _LONGEST_DOUBLE
            if bond.esd > 0 and not wrong and not any(compound.is_metal(atom) for atom in ends):
                lengths.setdefault(key, []).append(bond.value)
        for angle in component.rt.angles:
            three = rows[angle.id1.atom], rows[angle.id2.atom], rows[angle.id3.atom]
            if angle.esd > 0 and not any(compound.is_metal(atom) for atom in three):
                angles.setdefault(_angle_key(compound, *three), []).append(angle.value)
    return TypicalGeometry(_means(lengths, _SPREAD_OF_LENGTHS), _means(angles, _SPREAD_OF_ANGLES))


def _graph(component: gemmi.ChemComp) -> Compound:
    """A component without coordinates."""
    rows = {atom.id: k for k, atom in enumerate(component.atoms)}
    bonds = tuple(
        (rows[bond.id1.atom], rows[bond.id2.atom], bond.type.name.lower()) for bond in component.rt.bonds
    )  # fmt: skip
    elements = tuple(atom.el.name.upper() for atom in component.atoms)
    return Compound(
        component.name, "", tuple(rows), elements, (0,) * len(rows), bonds, np.zeros((0, len(rows), 3)), frozenset()
    )


def _bond_key(compound: Compound, one: int, two: int) -> BondKey:
    first, second = sorted((compound.surroundings[one], compound.surroundings[two]))
    return first, second, _order(compound, one, two)


def _order(compound: Compound, one: int, two: int) -> str:
    """Of a bond of two carbons "aromatic", "double" or "", which the elements around do not tell; "" of others."""
    if not compound.elements[one] == compound.elements[two] == "C":
        return ""
    if any({one, two} <= set(ring) for ring in compound.aromatic_rings):
        return "aromatic"
    return "double" if compound.is_double(one, two) else ""


def _angle_key(compound: Compound, one: int, centre: int, two: int) -> AngleKey:
    first, second = sorted((compound.surroundings[one], compound.surroundings[two]))
    ring = min((len(ring) for ring in compound.rings if {one, centre, two} <= set(ring)), default=0)
    ends = max(len(_alike(compound, centre, end)) for end in (one, two))
    return compound.surroundings[centre], first, second, ring, ends


def _means(values: Mapping[Key, list[float]], spread: float) -> dict[Key, float]:
    """Of those that vary little."""
    return {key: float(np.mean(found)) for key, found in values.items() if np.std(found) < spread}
