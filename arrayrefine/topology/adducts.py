"""Carbonyl carbons, and boron, to which a link adds a bond, as serine to a ketone: tetrahedral, where the dictionary is
flat.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Set

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.restraints import Angles, Bonds, Planes
from arrayrefine.topology.atom_names import bonded_to, hydrogens_of
from arrayrefine.topology.link_angles import LONGER, SIGMA, TETRAHEDRAL, unknown_links
from arrayrefine.topology.link_lengths import LENGTHS, is_carbonyl, is_planar, lies_in_plane
from arrayrefine.topology.terms import TopologyModel
from arrayrefine.wording import Caution, are, counted, listed

_CENTRES = {"C": "carbonyl carbon", "B": "boron atom"}


def find_adducts(
    model: TopologyModel, known_links: Collection[str], held: NDArray[np.bool_], monlib: gemmi.MonLib, atoms: Atoms,
    notes: list[str],
) -> set[int]:  # fmt: skip
    """Rows of carbonyl carbons, and boron, with all bonds of the dictionary and a link, and not flat in the model.

    Parameters
    ----------
    model : TopologyModel
    known_links : collection of str
        Names of the links of the library: these say themselves what they change.
    held : (N,) bool
        Atoms held in place.
    monlib : gemmi.MonLib
    atoms : Atoms
        As modelled.
    notes : list of str
        Gets a sentence.
    """
    found: set[int] = set()
    for link, bond in unknown_links(model, known_links):
        one, two = bond.atoms
        if one.pos.dist(two.pos) - bond.restr.value > LONGER:
            continue
        for residue, atom, other in ((link.res1, one, two), (link.res2, two, one)):
            if not other.element.is_metal and _is_adduct(residue, atom, other, monlib):
                found.add(model.row[atom.serial])
    found = {row for row in found if not held[row]}
    for element, what in _CENTRES.items():
        if names := [atoms.identity.label(row) for row in sorted(found) if atoms.element[row] == element]:
            notes.append(Caution(
                f"{counted(len(names), what)} with a link beside all bonds that the dictionary has {are(len(names))} "
                f"tetrahedral in the model, and restrained as such instead of flat: {listed(names)}. A restraint CIF "
                "of the compound as it is bound (--restraints) would be better"
            ))
    return found


def _is_adduct(residue: gemmi.Residue, atom: gemmi.Atom, other: gemmi.Atom, monlib: gemmi.MonLib) -> bool:
    may_be = {"C": is_carbonyl, "B": is_planar}.get(atom.element.name)
    if may_be is None or not may_be(residue.name, atom.name, monlib):
        return False
    component = monlib.monomers[residue.name]
    names = bonded_to(atom.name, component) - hydrogens_of(component)
    near = [site.pos for site in residue if site.name in names and site.altloc in ("\0", atom.altloc)]
    if len(near) != len(names) or len(near) not in (2, 3):
        return False  # an atom that has left makes room in the plane
    three = near if len(near) == 3 else [*near, other.pos]
    return not lies_in_plane(atom.pos, three)


def with_adducts(
    bonds: Bonds, angles: Angles, planes: Planes, adducts: Set[int], atoms: Atoms
) -> tuple[Bonds, Angles, Planes]:
    """Restraints in which some atoms (rows) have single bonds to a tetrahedron of others, and are in no plane.

    Angles that are smaller than those of a tetrahedron, as in the rings of lactams, stay.
    """
    if not adducts:
        return bonds, angles, planes
    centres = np.array(sorted(adducts), dtype=np.int64)
    length = bonds.ideal.copy()
    for k in np.flatnonzero(np.isin(bonds.index, centres).any(axis=1)):
        length[k] = LENGTHS.get(" ".join(sorted(atoms.element[bonds.index[k]].tolist())), length[k])
    at = np.isin(angles.index[:, 1], centres)
    ideal = np.where(at, np.minimum(angles.ideal, TETRAHEDRAL), angles.ideal)
    sigma = np.where(at, np.maximum(angles.sigma, SIGMA), angles.sigma)
    neighbours = {row: set(bonds.index[(bonds.index == row).any(axis=1)].ravel().tolist()) for row in adducts}  # and it
    members: dict[int, set[int]] = {}
    for row, number in zip(planes.index.tolist(), planes.plane.tolist()):
        members.setdefault(number, set()).add(row)
    # of a plane that goes on beyond the atom, as that of a ring which carries it, it is one neighbour's alone
    about = [k for k, m in members.items() if any(row in m and len(m & near) > 2 for row, near in neighbours.items())]
    kept = ~np.isin(planes.plane, about)
    number = np.unique(planes.plane[kept], return_inverse=True)[1].astype(np.int64)
    return (
        dataclasses.replace(bonds, ideal=length),
        dataclasses.replace(angles, ideal=ideal, sigma=sigma),
        Planes(planes.index[kept], number, planes.sigma[kept]),
    )
