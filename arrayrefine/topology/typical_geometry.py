"""Typical lengths and angles between atoms by what surrounds them, as the components of a library have them.

Ideal coordinates of a compound come from a program that gives many bonds of a kind the same length. What a dictionary
made from crystals of small molecules has for the same surroundings is nearer to the truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import gemmi
import numpy as np

from arrayrefine.topology.compounds import Compound

_SPREAD_OF_LENGTHS, _SPREAD_OF_ANGLES = 0.02, 3.0
"""Å and degrees; where values vary more, the surroundings do not say enough."""

Key = TypeVar("Key")
BondKey = tuple[str, str, bool]
AngleKey = tuple[str, str, str, int]


class TypicalGeometry(NamedTuple):
    """Mean values by surroundings.

    Attributes
    ----------
    lengths : mapping
        Å, by the surroundings of both atoms, and whether it is a double bond of two carbons outside rings.
    angles : mapping
        Degrees, by those of the middle and of both ends, and by the ring that all are in, or 0.
    """

    lengths: Mapping[BondKey, float]
    angles: Mapping[AngleKey, float]

    def length(self, compound: Compound, one: int, two: int) -> float | None:
        """Å; None where the library has no such bond."""
        return self.lengths.get(_bond_key(compound, one, two))

    def angle(self, compound: Compound, one: int, centre: int, two: int) -> float | None:
        """Degrees; None where the library has no such angle."""
        return self.angles.get(_angle_key(compound, one, centre, two))


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
    lengths: dict[BondKey, list[float]] = {}
    angles: dict[AngleKey, list[float]] = {}
    for _, component in sorted(library.monomers.items()):
        compound = _graph(component)
        rows = {name: k for k, name in enumerate(compound.atoms)}
        for bond in component.rt.bonds:
            ends = rows[bond.id1.atom], rows[bond.id2.atom]
            if bond.esd > 0 and not any(compound.is_metal(atom) for atom in ends):
                lengths.setdefault(_bond_key(compound, *ends), []).append(bond.value)
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
    carbons = compound.elements[one] == compound.elements[two] == "C"
    outside = not any({one, two} <= set(ring) for ring in compound.rings)
    return first, second, carbons and outside and compound.is_double(one, two)


def _angle_key(compound: Compound, one: int, centre: int, two: int) -> AngleKey:
    first, second = sorted((compound.surroundings[one], compound.surroundings[two]))
    ring = min((len(ring) for ring in compound.rings if {one, centre, two} <= set(ring)), default=0)
    return compound.surroundings[centre], first, second, ring


def _means(values: Mapping[Key, list[float]], spread: float) -> dict[Key, float]:
    """Of those that vary little."""
    return {key: float(np.mean(found)) for key, found in values.items() if np.std(found) < spread}
