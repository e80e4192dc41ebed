"""Restraints of a component made from coordinates: of its definition in the PDB, or of the model.

Ideals are what the coordinates have, or where it is known what atoms with such neighbours typically have; sigmas are
those of dictionaries. What is flat, which hand a centre has and how rings are puckered is read off the coordinates.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import gemmi

from arrayrefine.topology.compounds import LINEAR, Compound

_BOND, _BOND_OF_METAL, _ANGLE, _PLANE = 0.02, 0.04, 3.0, 0.02
"""Å and degrees; sigmas, as dictionaries that are made from small molecules have them."""
_STAGGERED, _DOUBLE = 10.0, 5.0
"""Degrees; sigmas of torsions about single bonds and in rings, and about double bonds and amides."""
_FLAT_CENTRE, _IN_PLANE = 0.15, 0.2
"""Å; height of a centre over its three neighbours (0.5 for a tetrahedron), and how far from the plane of a ring what
is bonded to it may be and still belong to it."""
_AMIDE = 1.39
"""Å; shorter bonds of trigonal carbon and nitrogen do not turn freely."""
_CENTRES = ("C", "N", "P", "S", "SI", "B", "AS", "SE")
_HYDROGEN = {"C": (0.98, 1.09), "N": (0.89, 1.015), "O": (0.85, 0.97), "S": (1.21, 1.338), "B": (1.13, 1.19)}
"""Å; bonds to hydrogen by element, to the centre of its electron and to its nucleus, as in the monomer library."""
_AROMATIC_HYDROGEN = (0.944, 1.085)


class Ideals(Protocol):
    """What bonds and angles of a compound should have, where that is not what the coordinates have."""

    def length(self, compound: Compound, one: int, two: int) -> float | None:
        """Å; None for that of the coordinates."""
        ...

    def angle(self, compound: Compound, one: int, centre: int, two: int) -> float | None:
        """Degrees; None for that of the coordinates."""
        ...


def restraint_block(compound: Compound, ideals: Ideals) -> gemmi.cif.Block:
    """The compound as a restraint dictionary.

    Parameters
    ----------
    compound : Compound
    ideals : Ideals

    Returns
    -------
    gemmi.cif.Block
        As in a file of the CCP4 monomer library.
    """
    name, atoms = compound.name, compound.atoms
    block = gemmi.cif.Block(f"comp_{name}")
    block.set_pair("_chem_comp.id", gemmi.cif.quote(name))
    block.set_pair("_chem_comp.type", gemmi.cif.quote(compound.kind))
    types = [_energy_type(compound, atom) for atom in range(len(atoms))]
    _fill(block, name, "atom", ["atom_id", "type_symbol", "type_energy", "charge"],
          zip(atoms, compound.elements, types, map(str, compound.charges)))  # fmt: skip
    _fill(block, name, "bond", ["atom_id_1", "atom_id_2", "type", "value_dist", "value_dist_esd",
          "value_dist_nucleus", "value_dist_nucleus_esd"], _bonds(compound, ideals))  # fmt: skip
    _fill(block, name, "angle", ["atom_id_1", "atom_id_2", "atom_id_3", "value_angle", "value_angle_esd"],
          ([*(atoms[k] for k in three), f"{_ideal_angle(compound, ideals, *three):.2f}", str(_ANGLE)]
           for three in _angles(compound)))  # fmt: skip
    _fill(block, name, "tor", ["id", "atom_id_1", "atom_id_2", "atom_id_3", "atom_id_4", "value_angle",
          "value_angle_esd", "period"],
          ([f"tor_{k}", *(atoms[i] for i in four), f"{value:.1f}", str(sigma), str(period)]
           for k, (four, value, sigma, period) in enumerate(_torsions(compound), 1)))  # fmt: skip
    _fill(block, name, "chir", ["id", "atom_id_centre", "atom_id_1", "atom_id_2", "atom_id_3", "volume_sign"],
          ([f"chir_{k}", *(atoms[i] for i in four), sign]
           for k, (four, sign) in enumerate(_centres(compound), 1)))  # fmt: skip
    _fill(block, name, "plane_atom", ["plane_id", "atom_id", "dist_esd"],
          ([f"plan-{k}", atoms[atom], str(_PLANE)] for k, plane in enumerate(_planes(compound), 1) for atom in plane))
    return block


def _fill(
    block: gemmi.cif.Block, name: str, table: str, columns: Sequence[str], rows: Iterable[Iterable[str]]
) -> None:  # fmt: skip
    """Add a table of the component."""
    rows = [[name, *row] for row in rows]
    if rows:
        loop = block.init_loop(f"_chem_comp_{table}.", ["comp_id", *columns])
        for row in rows:
            loop.add_row([gemmi.cif.quote(value) for value in row])


def _bonds(compound: Compound, ideals: Ideals) -> Iterator[list[str]]:
    for one, two, kind in compound.bonds:
        sigma = _BOND_OF_METAL if compound.is_metal(one) or compound.is_metal(two) else _BOND
        known = ideals.length(compound, one, two)
        length = nucleus = compound.distance(one, two) if known is None else known
        light = [atom for atom in (one, two) if not compound.heavy([atom])]
        if len(light) == 1:
            parent = two if light[0] == one else one
            element = compound.elements[parent]
            in_ring = element == "C" and any(parent in ring for ring in compound.flat_rings)
            length, nucleus = _AROMATIC_HYDROGEN if in_ring else _HYDROGEN.get(element, (length, length))
        yield [
            compound.atoms[one], compound.atoms[two], kind, f"{length:.3f}", str(sigma), f"{nucleus:.3f}", str(sigma)
        ]  # fmt: skip


def _angles(compound: Compound) -> Iterator[tuple[int, int, int]]:
    """Neighbours of an atom with it in the middle, as a copy has them; those of metals are left to whatever they bind.
    """
    for centre, near in enumerate(compound.neighbours):
        if not compound.is_metal(centre):
            for one, two in itertools.combinations(near, 2):
                if compound.has((one, centre, two)):
                    yield one, centre, two


def _ideal_angle(compound: Compound, ideals: Ideals, one: int, centre: int, two: int) -> float:
    """Degrees."""
    known = ideals.angle(compound, one, centre, two)
    return compound.angle(one, centre, two) if known is None else known


def _planes(compound: Compound) -> list[tuple[int, ...]]:
    """Flat rings with what is bonded to them, fused ones together where they are flat together; other flat centres."""
    rings = [set(ring) for ring in compound.flat_rings]
    merged: list[set[int]] = []
    for ring in rings:
        for other in merged:
            both = sorted(ring | other)
            if len(ring & other) >= 2 and compound.is_flat(both):
                other |= ring
                break
        else:
            merged.append(set(ring))
    planes = []
    for ring in merged:
        around = sorted({atom for member in ring for atom in compound.neighbours[member]} - ring)
        near = [atom for atom in around if compound.heights(sorted(ring), [atom])[0] < _IN_PLANE]
        planes.append((*sorted(ring), *near))
    for centre, near in enumerate(compound.neighbours):
        four = {centre, *near}
        if len(near) != 3 or compound.is_metal(centre) or any(four <= set(plane) for plane in planes):
            continue
        if compound.heights(near, [centre])[0] < _FLAT_CENTRE:
            planes.append((centre, *near))
    return planes


def _torsions(compound: Compound) -> Iterator[tuple[tuple[int, int, int, int], float, float, int]]:
    """Atoms, ideal and sigma in degrees, and period, of bonds that do not turn freely."""
    for ring in compound.rings:
        if ring in compound.flat_rings or len(ring) < 4:
            continue
        for k in range(len(ring)):
            four = tuple(ring[(k + step) % len(ring)] for step in range(4))
            if not compound.has(four):
                continue
            count = sum(compound.is_trigonal(atom) for atom in four[1:3])
            yield four, compound.torsion(*four), _STAGGERED, (3, 6, 2)[count]  # type: ignore[misc]
    for one, two, kind in compound.bonds:
        ends = [
            [atom for atom in compound.neighbours[here] if atom != there] for here, there in ((one, two), (two, one))
        ]
        of_metal = compound.is_metal(one) or compound.is_metal(two)
        if frozenset((one, two)) in compound.ring_bonds or not all(ends) or of_metal:
            continue
        first, last = ((compound.heavy(end) or end)[0] for end in ends)
        four = (first, one, two, last)
        if not compound.has(four):
            continue
        trigonal = [compound.is_trigonal(atom) for atom in (one, two)]
        if all(trigonal):
            elements = {compound.elements[one], compound.elements[two]}
            amide = elements == {"C", "N"} and compound.distance(one, two) < _AMIDE
            if kind == "double" or amide:
                value = 180.0 if abs(compound.torsion(*four)) > 90.0 else 0.0
                yield four, value, _DOUBLE, 2 if amide and kind != "double" else 1
        elif not any(trigonal) and max(compound.mean_angle(one), compound.mean_angle(two)) < LINEAR:
            yield four, 180.0, _STAGGERED, 3


def _centres(compound: Compound) -> Iterator[tuple[tuple[int, int, int, int], str]]:
    """Centre and three neighbours, and the sign of their volume."""
    for centre, near in enumerate(compound.neighbours):
        heavy = compound.heavy(near)
        if len(heavy) < 3 or compound.elements[centre] not in _CENTRES:
            continue
        if len(near) == 3 and compound.heights(near, [centre])[0] < _FLAT_CENTRE:
            continue
        volumes = compound.volumes(centre, heavy[:3])
        alike = (volumes > 0).all() or (volumes < 0).all()
        sign = "both"
        if compound.atoms[centre] in compound.stereo and len(volumes) and alike:
            sign = "positive" if volumes[0] > 0 else "negative"
        yield (centre, heavy[0], heavy[1], heavy[2]), sign


def _energy_type(compound: Compound, atom: int) -> str:
    """What contacts and hydrogen bonds go by; the element where nothing more is known."""
    element, near = compound.elements[atom], compound.neighbours[atom]
    heavy = compound.heavy(near)
    if element == "O" and len(heavy) == 1:
        known = any(other in ("H", "D") for other in compound.elements)
        return "OH1" if len(near) > 1 or not (compound.is_double(atom, heavy[0]) or known) else "O"
    if element == "O" and len(heavy) == 2:
        return "O2"
    if element == "N":
        if len(near) > len(heavy):
            return "NH1"
        return "N31" if len(near) < 3 else "N"
    return "H" if element == "D" else element
