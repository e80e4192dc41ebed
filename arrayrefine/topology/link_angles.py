"""Angles at links that no library describes, by what the link replaces."""

from __future__ import annotations

from collections.abc import Collection, Set
from dataclasses import dataclass
from typing import NamedTuple

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.restraints import Angles, Bonds
from arrayrefine.topology.atom_names import hydrogens_of
from arrayrefine.topology.link_lengths import is_carbonyl, is_planar
from arrayrefine.topology.terms import TopologyModel, mixed
from arrayrefine.wording import Caution, are, counted, listed

Int = NDArray[np.int64]

SIGMA = 3.0
"""Degrees; twice what dictionaries have where they know the compound."""
TETRAHEDRAL, TRIGONAL = 109.5, 120.0
BENT = {"O": 115.0, "S": 102.0}
"""Degrees; at O of ethers and esters (112 to 118) and S of thioethers and disulfides (100 to 104), where those of OH
and SH in dictionaries are smaller."""

LONGER = 0.25
"""Å; by how much more than a typical length a link must be to be no bond of the kind."""
_VALENCE = {"O": 2, "S": 2, "N": 3, "F": 1, "Cl": 1, "Br": 1, "I": 1}
_SATURATED, _FLAT = 4, 3
"""Bonds of carbon, in a plane or not, where a component has no hydrogens to tell, as one that is known by its shape."""


def with_link_angles(
    angles: Angles, bonds: Bonds, model: TopologyModel, known_links: Collection[str], edges: Int,
    held: NDArray[np.bool_], monlib: gemmi.MonLib, atoms: Atoms, notes: list[str],
    adducts: Set[int] = frozenset(),
) -> tuple[Angles, Bonds]:
    """Add angles at links that the library does not know, at atoms of its components.

    Links of metals and to symmetry mates have none, nor those of atoms that have all their bonds without the link. Such
    a link is no bond of a kind that is known, and where the model has it longer than one, its length is left free, too.

    They are those that the dictionary has for the atom that leaves, or on carbon for the hydrogen; else those of the
    element, or of an atom with three bonds in a plane or with four.

    Parameters
    ----------
    angles : Angles
    bonds : Bonds
    model : TopologyModel
    known_links : collection of str
        Names of the links of the library.
    edges : (B, 2) int
        Pairs of bonded atoms.
    held : (N,) bool
        Atoms held in place.
    monlib : gemmi.MonLib
    atoms : Atoms
        As modelled.
    notes : list of str
        Gets a sentence.
    adducts : set of int
        Rows of atoms that the link makes tetrahedral, see `adducts`.

    Returns
    -------
    Angles, Bonds
    """
    found = _of_links(model, known_links, edges, monlib, atoms, adducts)
    if found.overfull:
        free = "angles" if not found.stretched else "angles, and its length where that is given here,"
        notes.append(Caution(
            f"{counted(len(found.overfull), 'link')} unknown to any library at an atom that has all its bonds without "
            f"it, probably by mistake: its {free} are left free: {listed(found.overfull)}"
        ))
    if found.stretched:
        bonds = bonds.without_pairs(np.array(found.stretched, dtype=np.int64))
    index = np.array(list(found.angles), dtype=np.int64).reshape(-1, 3)
    fine = ~mixed(model.altloc, index) & ~held[index].all(axis=1)
    count = int(fine.sum())
    if not count:
        return angles, bonds
    notes.append(
        f"{counted(count, 'angle')} at links that no library describes {are(count)} restrained to what dictionaries "
        f"have for the atom that the link replaces, or to those of the element, with a sigma of {SIGMA:g}°"
    )
    more = Angles(
        np.vstack([angles.index, index[fine]]),
        np.r_[angles.ideal, np.array(list(found.angles.values()))[fine]],
        np.r_[angles.sigma, np.full(count, SIGMA)],
    )
    return more, bonds


class _OfLinks(NamedTuple):
    """What there is at links that the library does not know.

    Attributes
    ----------
    angles : dict
        Ideals, degrees, by three atoms.
    overfull : list of str
        Links at atoms that have all their bonds without them, which have no angles.
    stretched : list of two ints
        Atoms of those of them that are too long to be bonds.
    """

    angles: dict[tuple[int, int, int], float]
    overfull: list[str]
    stretched: list[tuple[int, int]]


def _of_links(
    model: TopologyModel, known_links: Collection[str], edges: Int, monlib: gemmi.MonLib, atoms: Atoms,
    adducts: Set[int],
) -> _OfLinks:
    """See `with_link_angles`."""
    found = _OfLinks({}, [], [])
    for link in model.topology.extras:
        if link.link_id in known_links or link.asu == gemmi.Asu.Different:
            continue
        for rule in link.link_rules:
            one, two = model.topology.bonds[rule.index].atoms
            if one.element.is_metal or two.element.is_metal:
                continue
            ends = _End(link.res1, one, model.row[one.serial]), _End(link.res2, two, model.row[two.serial])
            if all(end.row in adducts or _has_room(end, edges, model, monlib, atoms) for end in ends):
                for at, to in (ends, ends[::-1]):
                    found.angles.update(_angles_at(at, to, edges, model, monlib, adducts))
                continue
            pair = ends[0].row, ends[1].row
            length = float(np.linalg.norm(atoms.xyz[pair[0]] - atoms.xyz[pair[1]]))
            longer = length - model.topology.bonds[rule.index].restr.value > LONGER
            found.overfull.append(f"{one.name} - {two.name}" + (f" ({length:.2f} Å)" if longer else ""))
            if longer:
                found.stretched.append(pair)
    return found


@dataclass(frozen=True)
class _End:
    """An atom at the end of a link: its residue, itself, and its place in the arrays."""

    home: gemmi.Residue
    site: gemmi.Atom
    row: int


def _neighbours(atom: int, edges: Int, model: TopologyModel) -> dict[int, gemmi.Atom]:
    """Heavy atoms that are bonded to an atom, metals aside, by their places in the arrays."""
    near = set(edges[(edges == atom).any(axis=1)].ravel().tolist()) - {atom}
    sites = {k: model.sites[k] for k in sorted(near)}
    return {k: site for k, site in sites.items() if not (site.element.is_metal or site.is_hydrogen())}


def _has_room(end: _End, edges: Int, model: TopologyModel, monlib: gemmi.MonLib, atoms: Atoms) -> bool:
    """Whether an atom has no more bonds than its element and its dictionary let it, the link among them."""
    if end.home.name not in monlib.monomers:
        return True
    component = monlib.monomers[end.home.name]
    room = sum(end.site.name in (bond.id1.atom, bond.id2.atom) for bond in component.rt.bonds)
    if end.site.element.name == "C" and not hydrogens_of(component):
        room = max(room, _FLAT if is_planar(end.home.name, end.site.name, monlib) else _SATURATED)
    who = atoms.identity
    near = {  # of conformers one, those that are other components too
        (str(who.chain[k]), int(who.sequence_number[k]), str(who.insertion_code[k]), site.name)
        for k, site in _neighbours(end.row, edges, model).items()
    }
    return len(near) <= max(room, _VALENCE.get(end.site.element.name, 0))


def _angles_at(
    at: _End, to: _End, edges: Int, model: TopologyModel, monlib: gemmi.MonLib, adducts: Set[int]
) -> dict[tuple[int, int, int], float]:
    """Degrees of the angles at one end of a link."""
    if at.home.name not in monlib.monomers:
        return {}
    acyl = to.row not in adducts and is_carbonyl(to.home.name, to.site.name, monlib)
    amide = at.site.element.name == "N" and acyl
    near = _neighbours(at.row, edges, model)
    return {
        (k, at.row, to.row): TRIGONAL if amide else _ideal(at.home, at.site, site.name, monlib)
        for k, site in near.items() if k != to.row
    }  # fmt: skip


def _ideal(home: gemmi.Residue, centre: gemmi.Atom, neighbour: str, monlib: gemmi.MonLib) -> float:
    """Degrees between a neighbour of an atom and what a link puts in the place of another."""
    component = monlib.monomers[home.name]
    hydrogens = hydrogens_of(component)
    present = {atom.name for atom in home}
    ends = {
        ({angle.id1.atom, angle.id3.atom} - {neighbour}).pop(): angle.value
        for angle in component.rt.angles
        if angle.id2.atom == centre.name and neighbour in (angle.id1.atom, angle.id3.atom)
    }
    absent = [value for name, value in ends.items() if name not in present and name not in hydrogens]
    replaced = [value for name, value in ends.items() if name in hydrogens and centre.element.name == "C"]
    if absent or replaced:
        return float(np.mean(absent or replaced))
    if centre.element.name in BENT:
        return BENT[centre.element.name]
    return TRIGONAL if is_planar(home.name, centre.name, monlib) else TETRAHEDRAL
