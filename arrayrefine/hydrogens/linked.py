"""Hydrogens of atoms that a link joins to another residue, or to a metal: how many are left, by valence, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.hydrogens.carriers import LONGEST_BOND, Bonded
from arrayrefine.hydrogens.lengths import bond_length
from arrayrefine.topology.atom_names import bonded_to, hydrogens_of
from arrayrefine.topology.hydrogen_names import LONGEST_TO_HYDROGEN
from arrayrefine.topology.link_lengths import bears_carbonyl, is_planar
from arrayrefine.topology.named_links import STRETCHED
from arrayrefine.wording import are, counted, listed

Float = NDArray[np.float64]
Key = tuple[int, str, str]
"""Running number of the residue, atom name, altloc."""

_METAL = 2.6
"""Å; N this near to a metal binds it."""
_THIOLATE = 2.9
"""Å; a sulfur this near to a metal binds it, Pb-S of 2.7 Å among them."""
_HALF_TETRAHEDRAL = np.arccos(-1.0 / 3.0) / 2.0


@dataclass(frozen=True)
class Grown:
    """A structure to which gemmi has added hydrogens.

    Attributes
    ----------
    structure : gemmi.Structure
    sites : sequence of N gemmi.Atom
        The atoms that were there before.
    homes : sequence of N tuple of gemmi.Chain and gemmi.Residue
        Where each is.
    bonded : list of N list of int
        What is bonded to each.
    found : dict of key to gemmi.Atom
        The new hydrogens, whose places are mended.
    parents : dict of key to int
    monlib : gemmi.MonLib
    """

    structure: gemmi.Structure
    sites: Sequence[gemmi.Atom]
    homes: Sequence[tuple[gemmi.Chain, gemmi.Residue]]
    bonded: Bonded
    found: dict[Key, gemmi.Atom]
    parents: dict[Key, int]
    monlib: gemmi.MonLib

    def near(self, parent: int, altloc: str) -> list[int]:
        """Heavy atoms bonded to a parent, metals aside, each name once, in conformers that are there with `altloc`.

        Those of one conformer where the parent is of all: what two of them have there may be of two residues.
        """
        sites = self.sites
        bonded = [k for k in self.bonded[parent] if not (sites[k].element.is_metal or sites[k].is_hydrogen())]
        conformers = {altloc} if altloc != "\0" else {sites[k].altloc for k in bonded} - {altloc} or {altloc}
        return max((self._together(bonded, one) for one in sorted(conformers)), key=len)

    def _together(self, bonded: list[int], altloc: str) -> list[int]:
        """Those of one conformer, and what is of all of them, each name of a residue once."""
        names: dict[tuple[int, str], int] = {}
        for k in bonded:
            if "\0" in (self.sites[k].altloc, altloc) or self.sites[k].altloc == altloc:
                names.setdefault((id(self.homes[k][1]), self.sites[k].name), k)
        return list(names.values())

    def is_outside(self, parent: int, other: int) -> bool:
        """Whether an atom is of another residue than its neighbour."""
        one, two = self.homes[parent], self.homes[other]
        return (one[0].name, str(one[1].seqid), one[1].name) != (two[0].name, str(two[1].seqid), two[1].name)

    def is_astray(self, key: Key) -> bool:
        """Whether a hydrogen is far from its parent: gemmi leaves those that it cannot place where they are drawn."""
        distance = self.found[key].pos.dist(self.sites[self.parents[key]].pos)
        return bool(distance > LONGEST_TO_HYDROGEN)

    def has_place(self, key: Key) -> bool:
        """Whether gemmi knew where a hydrogen goes."""
        return self.found[key].occ > 0 and not self.is_astray(key)

    def label(self, key: Key) -> str:
        """Name of a hydrogen."""
        chain, residue = self.homes[self.parents[key]]
        return f"{chain.name}/{residue.name} {residue.seqid}/{key[1]}{f'.{key[2]}' if key[2] != chr(0) else ''}"


def settle(
    grown: Grown, topology: gemmi.Topo, distance: Literal["auto", "electron", "nucleus"]
) -> tuple[set[Key], list[str]]:
    """Find the hydrogens that a link leaves no room for or that have no place; put others where they are.

    Links of the library take hydrogens away by themselves. A link that it does not know takes one for its bond,
    unless the atom that leaves is another one, and so does a link whose modification names hydrogens otherwise than
    the component, as old dictionaries of D-amino acids do.

    Parameters
    ----------
    grown : Grown
        Hydrogens that are put elsewhere get their position, and an occupancy; links that the library does not know
        are added to what is bonded.
    topology : gemmi.Topo
        Without such links.
    distance : {"electron", "nucleus"}

    Returns
    -------
    gone : set of key
        Hydrogens to leave out.
    notes : list of str
    """
    groups: dict[tuple[int, str], list[Key]] = {}
    for key, parent in grown.parents.items():
        groups.setdefault((parent, key[2]), []).append(key)
    unknown = _join_unknown(grown)
    in_question: list[tuple[int, list[Key], list[int], list[int]]] = []
    for (parent, altloc), keys in groups.items():
        near = grown.near(parent, altloc)
        outside = [k for k in near if grown.is_outside(parent, k)]
        idle = len(near) > 1 and not all(map(grown.has_place, keys))
        if outside and (idle or parent in unknown):
            in_question.append((parent, keys, near, outside))
    lengths = _lengths(topology, distance) if in_question else {}
    taken: list[Key] = []
    lost: list[Key] = []
    for parent, keys, near, outside in in_question:
        allowed = _allowed(grown, parent, near, outside)
        ordered = sorted(keys, key=grown.has_place, reverse=True)  # those with a place are kept first
        taken += ordered[allowed:]
        _place(grown, parent, near, ordered[:allowed], lengths)
        lost += [key for key in ordered[:allowed] if len(near) > 1 and not grown.has_place(key)]
    gone = {*taken, *lost}
    displaced = [*_clear_metals(grown, groups, gone, topology, distance), *_thiolates(grown, groups, gone)]
    gone |= {*displaced}
    lost += [key for key in grown.found if key not in gone and grown.is_astray(key)]
    notes = [
        f"{counted(len(keys), 'hydrogen')} {are(len(keys))} left out, {why}: {listed(list(map(grown.label, keys)))}"
        for keys, why in (
            (taken, "as a link takes the place"), (displaced, "as a metal is there"),
            (lost, "without a definite place"),
        )
        if keys
    ]
    return {*taken, *displaced, *lost}, notes


def _clear_metals(
    grown: Grown, groups: dict[tuple[int, str], list[Key]], gone: set[Key], topology: gemmi.Topo,
    distance: Literal["auto", "electron", "nucleus"],
) -> list[Key]:
    """Put hydrogens of N that point to a metal which it binds, mates aside, elsewhere; returns those without room.

    An amine has one less than it has in the ammonium of dictionaries, and N of a peptide none. Hydrogens that the
    dictionary gives no place, as those of histidines, stay out of it.
    """
    metals = [k for k, site in enumerate(grown.sites) if site.element.is_metal]
    if not metals:
        return []
    xyz = np.array([site.pos.tolist() for site in grown.sites])
    near_metal = {
        int(k): metal for metal in metals for k in np.flatnonzero(np.linalg.norm(xyz - xyz[metal], axis=1) < _METAL)
    }
    lengths: dict[int, float] = {}
    left_out: list[Key] = []
    for (parent, altloc), keys in groups.items():
        site, metal = grown.sites[parent], near_metal.get(parent)
        keys = [key for key in keys if key not in gone and grown.has_place(key)]
        if metal is None or site.element.name != "N" or not keys:
            continue
        one = grown.sites[metal]
        if "\0" not in (altloc, one.altloc) and altloc != one.altloc:
            continue
        if min(grown.found[key].pos.dist(one.pos) for key in keys) > site.pos.dist(one.pos):
            continue
        near = grown.near(parent, altloc)
        lengths = lengths or _lengths(topology, distance)
        residue = grown.homes[parent][1].name
        drawn_flat = is_planar(residue, site.name, grown.monlib)
        if site.name == "N" and gemmi.find_tabulated_residue(residue).is_amino_acid():
            drawn_flat = False  # some dictionaries draw the amine as if it were in a peptide
        flat = drawn_flat or any(_carbonyl(grown, k) for k in near)
        allowed = max(0, (2 if flat else 3) - len(near))
        ordered = sorted(keys, key=lambda key: -grown.found[key].pos.dist(one.pos))
        left_out += ordered[allowed:]
        _place(grown, parent, [*near, metal], ordered[:allowed], lengths)
    return left_out


def _thiolates(grown: Grown, groups: dict[tuple[int, str], list[Key]], gone: set[Key]) -> list[Key]:
    """Hydrogens of sulfurs that bind a metal, mates' among them: these are thiolates, with any metal.

    Links of the library take such hydrogens away at zinc and iron, and at few others.
    """
    metals = [site for site in grown.sites if site.element.is_metal]
    cell = grown.structure.cell
    left_out: list[Key] = []
    for (parent, altloc), keys in groups.items():
        site = grown.sites[parent]
        if site.element.name == "S" and any(
            "\0" in (altloc, metal.altloc) or altloc == metal.altloc
            for metal in metals if cell.find_nearest_image(site.pos, metal.pos).dist() < _THIOLATE
        ):  # fmt: skip
            left_out += [key for key in keys if key not in gone]
    return left_out


def _join_unknown(grown: Grown) -> set[int]:
    """Add the covalent links that gemmi left out, as the library does not know them; returns their ends.

    What is too far apart for a bond takes no hydrogen: REFMAC's gaps stay among the links.
    """
    number = {site.serial: k for k, site in enumerate(grown.sites)}
    ends: set[int] = set()
    for connection in grown.structure.connections:
        if connection.type in (gemmi.ConnectionType.Hydrog, gemmi.ConnectionType.MetalC):
            continue
        partners = connection.partner1, connection.partner2
        atoms = [grown.structure[0].find_cra(partner, ignore_segment=True).atom for partner in partners]
        one, two = (None if atom is None else number.get(atom.serial) for atom in atoms)
        if one is None or two is None or one == two or two in grown.bonded[one]:
            continue
        apart = grown.structure.cell.find_nearest_image(grown.sites[one].pos, grown.sites[two].pos).dist()
        if apart > STRETCHED:
            continue
        grown.bonded[one].append(two)
        grown.bonded[two].append(one)
        ends |= {one, two}
    return ends


def _allowed(grown: Grown, parent: int, near: list[int], outside: list[int]) -> int:
    """How many hydrogens an atom has beside its links."""
    site, (_, residue) = grown.sites[parent], grown.homes[parent]
    component = grown.monlib.monomers[residue.name]
    hydrogens, drawn = hydrogens_of(component), bonded_to(site.name, component)
    if site.element.name == "N":
        amide = any(_carbonyl(grown, k) for k in outside)
        return max(0, (3 if amide or len(drawn) <= 3 else 4) - len(near))
    present = {atom.name for atom in residue}
    left = sum(name not in present and name not in hydrogens for name in drawn)
    return max(0, sum(name in hydrogens for name in drawn) - max(0, len(outside) - left))


def _carbonyl(grown: Grown, k: int) -> bool:
    return bears_carbonyl(grown.homes[k][1], grown.sites[k], grown.monlib)


def _lengths(topology: gemmi.Topo, distance: Literal["auto", "electron", "nucleus"]) -> dict[int, float]:
    """Bond lengths of hydrogens by their serial numbers, Å."""
    lengths: dict[int, float] = {}
    for bond in topology.bonds:
        for site in bond.atoms:
            if site.is_hydrogen():
                lengths[site.serial] = bond_length(bond, distance == "nucleus")[0]
    return lengths


def _place(grown: Grown, parent: int, near: list[int], keys: list[Key], lengths: dict[int, float]) -> None:
    """Put hydrogens where the other neighbours of their parent leave room, if that is one place for each."""
    centre = np.array(grown.sites[parent].pos.tolist())
    arms = np.array([grown.sites[k].pos.tolist() for k in near]).reshape(-1, 3) - centre
    reach = np.linalg.norm(arms, axis=1)
    if not keys or not ((reach > 0.5) & (reach < LONGEST_BOND)).all():
        return
    residue, name = grown.homes[parent][1].name, grown.sites[parent].name
    amide = grown.sites[parent].element.name == "N" and any(_carbonyl(grown, k) for k in near)
    flat = amide or is_planar(residue, name, grown.monlib)
    for key, direction in zip(keys, _directions(arms / reach[:, None], len(keys), flat)):
        site = grown.found[key]
        site.pos = gemmi.Position(*(centre + lengths[site.serial] * direction).tolist())
        site.occ = 1.0


def _directions(arms: Float, count: int, flat: bool) -> list[Float]:
    """Unit vectors to `count` hydrogens beside bonds in directions `arms` (n, 3); none where these leave a choice."""
    away = -arms.sum(axis=0)
    size = float(np.linalg.norm(away))
    if size < 0.1:
        return []
    away /= size
    if count == 1 and (len(arms) == 3 or (len(arms) == 2 and flat)):
        return [away]
    if count == 2 and len(arms) == 2:
        normal = np.cross(arms[0], arms[1])
        normal /= np.linalg.norm(normal)
        cos, sin = np.cos(_HALF_TETRAHEDRAL), np.sin(_HALF_TETRAHEDRAL)
        return [cos * away + sin * normal, cos * away - sin * normal]
    return []
