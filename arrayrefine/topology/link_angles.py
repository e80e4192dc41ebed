"""Angles at links that no library describes, by what the link replaces."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Set
from dataclasses import dataclass

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.restraints import Angles, Bonds
from arrayrefine.topology.atom_names import hydrogens_of
from arrayrefine.topology.link_lengths import bears_carbonyl, is_carbonyl, is_planar
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
_POLAR = {"N", "O"}
_VALENCE = {"O": 2, "S": 2, "N": 3, "F": 1, "Cl": 1, "Br": 1, "I": 1}
_SATURATED, _FLAT = 4, 3
"""Bonds of carbon, in a plane or not, and of phosphorus the first, where a component has no hydrogens to tell, as one
that is known by its shape and lacks what a link replaces."""


def with_link_angles(
    angles: Angles, bonds: Bonds, model: TopologyModel, known_links: Collection[str], edges: Int,
    held: NDArray[np.bool_], monlib: gemmi.MonLib, atoms: Atoms, notes: list[str],
    adducts: Set[int] = frozenset(),
) -> tuple[Angles, Bonds]:
    """Add angles at links that the library does not know, at atoms of its components.

    Links of metals and to symmetry mates have none, nor those of atoms that have all their bonds without the link. Such
    a link is no bond of a kind that is known, and where the model has it longer than one, its length is left free, too.
    So are those between O or N and N of which the bonds lie in a plane, as in a guanidine, that are longer than a bond:
    its hydrogens are bonds, too, and hydrogen bonds of wrong length look so. Others that are longer are told.

    Neighbours in a chain are bonded, however long that is in the model and whatever their dictionaries lack.

    The angles are those that the dictionary has for the atom that leaves, or on carbon for the hydrogen; else those of
    the element, or of an atom with three bonds in a plane or with four.

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
    found: dict[tuple[int, int, int], float] = {}
    odd = _Odd([], [], [], [])
    for link, bond in unknown_links(model, known_links):
        one, two = bond.atoms
        if one.element.is_metal or two.element.is_metal:
            continue
        ends = _ends(link, bond, model)
        room = all(end.row in adducts or _has_room(end, edges, model, monlib, atoms) for end in ends)
        length = float(np.linalg.norm(atoms.xyz[ends[0].row] - atoms.xyz[ends[1].row]))
        polar = _may_bond_by_hydrogen(ends, monlib)
        if not odd.take(ends, room, polar, length - bond.restr.value, length):
            for at, to in (ends, ends[::-1]):
                found.update(_angles_at(at, to, edges, model, monlib, adducts))
    for link, bond in _unknown_in_chains(model, known_links):
        ends = _ends(link, bond, model)
        for at, to in (ends, ends[::-1]):
            found.update(_angles_at(at, to, edges, model, monlib, adducts))
    notes += odd.notes()
    if odd.free:
        bonds = bonds.without_pairs(np.array(odd.free, dtype=np.int64))
    index = np.array(list(found), dtype=np.int64).reshape(-1, 3)
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
        np.r_[angles.ideal, np.array(list(found.values()))[fine]],
        np.r_[angles.sigma, np.full(count, SIGMA)],
    )
    return more, bonds


def unknown_links(
    model: TopologyModel, known_links: Collection[str]
) -> Iterator[tuple[gemmi.Topo.Link, gemmi.Topo.Bond]]:
    """Links within the model that the library does not know by name, and the bond of each."""
    return _bonds_of(model.topology.extras, model, known_links)


def _unknown_in_chains(
    model: TopologyModel, known_links: Collection[str]
) -> Iterator[tuple[gemmi.Topo.Link, gemmi.Topo.Bond]]:
    """Those between neighbours in a chain, of which gemmi knows but the bond where one is called no polymer."""
    chains = (model.topology.chain_infos[k] for k in range(len(model.topology.chain_infos)))
    return _bonds_of((link for chain in chains for info in chain.res_infos for link in info.prev), model, known_links)


def _bonds_of(
    links: Iterable[gemmi.Topo.Link], model: TopologyModel, known_links: Collection[str]
) -> Iterator[tuple[gemmi.Topo.Link, gemmi.Topo.Bond]]:
    for link in links:
        if link.link_id not in known_links and link.asu != gemmi.Asu.Different:
            for rule in link.link_rules:
                yield link, model.topology.bonds[rule.index]


@dataclass(frozen=True)
class _End:
    """An atom at the end of a link: its residue, itself, and its place in the arrays."""

    home: gemmi.Residue
    site: gemmi.Atom
    row: int


def _ends(link: gemmi.Topo.Link, bond: gemmi.Topo.Bond, model: TopologyModel) -> tuple[_End, _End]:
    one, two = bond.atoms
    return _End(link.res1, one, model.row[one.serial]), _End(link.res2, two, model.row[two.serial])


@dataclass(frozen=True)
class _Odd:
    """Links that are no bond of a kind that is known: what they are called, and the rows of those left free."""

    overfull: list[str]
    polar: list[str]
    long: list[str]
    free: list[tuple[int, int]]

    def take(self, ends: tuple[_End, _End], room: bool, polar: bool, beyond: float, length: float) -> bool:
        """Judge a link, so long in the model and so much longer than typical ones, Å; returns whether it is free."""
        longer = beyond > LONGER
        if room and not longer:
            return False
        name = f"{ends[0].site.name} - {ends[1].site.name}"
        if room and not polar:
            self.long.append(f"{name} ({length:.2f} Å, to {length - beyond:.2f})")
            return False
        (self.polar if room else self.overfull).append(f"{name} ({length:.2f} Å)" if longer else name)
        if longer:
            self.free.append((ends[0].row, ends[1].row))
        return True

    def notes(self) -> list[str]:
        """What there is to say of them."""
        said = []
        if self.overfull:
            long = any(name.endswith("Å)") for name in self.overfull)
            free = "angles, and its length where that is given here," if long else "angles"
            said.append(
                f"{counted(len(self.overfull), 'link')} unknown to any library at an atom that has all its bonds "
                f"without it, probably by mistake: its {free} are left free: {listed(self.overfull)}"
            )
        if self.polar:
            said.append(
                f"{counted(len(self.polar), 'link')} at N that has all its bonds with its hydrogens, far longer than "
                f"a bond, probably a hydrogen bond named so by mistake: length and angles are left free: "
                + listed(self.polar)
            )
        if self.long:
            said.append(
                f"{counted(len(self.long), 'link')} unknown to any library, far longer than a bond, drawn in to a "
                f"typical length; if it is none, take it out of the model (LINK or struct_conn): {listed(self.long)}"
            )
        return list(map(Caution, said))


def _neighbours(atom: int, edges: Int, model: TopologyModel) -> dict[int, gemmi.Atom]:
    """Heavy atoms that are bonded to an atom, metals aside, by their places in the arrays."""
    near = set(edges[(edges == atom).any(axis=1)].ravel().tolist()) - {atom}
    sites = {k: model.sites[k] for k in sorted(near)}
    return {k: site for k, site in sites.items() if not (site.element.is_metal or site.is_hydrogen())}


def _may_bond_by_hydrogen(ends: tuple[_End, _End], monlib: gemmi.MonLib) -> bool:
    """Whether two atoms are O or N, and one of them N with its bonds in a plane, as in amides and guanidines."""
    flat = any(end.site.element.name == "N" and is_planar(end.home.name, end.site.name, monlib) for end in ends)
    return flat and {end.site.element.name for end in ends} <= _POLAR


def _has_room(end: _End, edges: Int, model: TopologyModel, monlib: gemmi.MonLib, atoms: Atoms) -> bool:
    """Whether an atom has no more bonds than its element and its dictionary let it, the link among them."""
    if end.home.name not in monlib.monomers:
        return True
    component = monlib.monomers[end.home.name]
    room = sum(end.site.name in (bond.id1.atom, bond.id2.atom) for bond in component.rt.bonds)
    if end.site.element.name in ("C", "P") and not hydrogens_of(component):
        flat = end.site.element.name == "C" and is_planar(end.home.name, end.site.name, monlib)
        room = max(room, _FLAT if flat else _SATURATED)
    valence = room if _is_of_ketone(end, edges, model, monlib, atoms) else _VALENCE.get(end.site.element.name, 0)
    return len(_places(end.row, edges, model, atoms)) <= max(room, valence)


def _places(atom: int, edges: Int, model: TopologyModel, atoms: Atoms) -> dict[tuple[str, int, str, str], gemmi.Atom]:
    """Heavy atoms that are bonded to an atom: of conformers one, those that are other components too."""
    who = atoms.identity
    return {
        (str(who.chain[k]), int(who.sequence_number[k]), str(who.insertion_code[k]), site.name): site
        for k, site in _neighbours(atom, edges, model).items()
    }


def _is_of_ketone(end: _End, edges: Int, model: TopologyModel, monlib: gemmi.MonLib, atoms: Atoms) -> bool:
    """Whether an atom is O of an amide or a ketone: its double bond takes both places, as no other O shares it."""
    if end.site.element.name != "O":
        return False
    residue = atoms.identity.residue
    around = [
        _places(k, edges, model, atoms).values() for k, site in _neighbours(end.row, edges, model).items()
        if residue[k] == residue[end.row] and is_carbonyl(end.home.name, site.name, monlib)
    ]  # fmt: skip
    return any(len(near) == _FLAT and [site.element.name for site in near].count("O") == 1 for near in around)


def _angles_at(
    at: _End, to: _End, edges: Int, model: TopologyModel, monlib: gemmi.MonLib, adducts: Set[int]
) -> dict[tuple[int, int, int], float]:
    """Degrees of the angles at one end of a link."""
    if at.home.name not in monlib.monomers:
        return {}
    acyl = to.row not in adducts and bears_carbonyl(to.home, to.site, monlib)
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
