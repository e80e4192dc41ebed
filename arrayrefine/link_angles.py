"""Angles at links that no library describes, by what the link replaces."""

from __future__ import annotations

from collections.abc import Collection

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.link_lengths import is_carbonyl, is_planar
from arrayrefine.restraints import Angles
from arrayrefine.topology_terms import TopologyModel, mixed
from arrayrefine.wording import are, counted

Int = NDArray[np.int64]

SIGMA = 3.0
"""Degrees; twice what dictionaries have where they know the compound."""
TETRAHEDRAL, TRIGONAL = 109.5, 120.0
BENT = {"O": 115.0, "S": 102.0}
"""Degrees; at O of ethers and esters (112 to 118) and S of thioethers and disulfides (100 to 104), where those of OH
and SH in dictionaries are smaller."""


def with_link_angles(
    angles: Angles, model: TopologyModel, known_links: Collection[str], edges: Int, held: NDArray[np.bool_],
    monlib: gemmi.MonLib, notes: list[str],
) -> Angles:
    """Add angles at links that the library does not know, at atoms of its components.

    Links of metals and to symmetry mates have none.

    They are those that the dictionary has for the atom that leaves, or on carbon for the hydrogen; else those of the
    element, or of an atom with three bonds in a plane or with four.

    Parameters
    ----------
    angles : Angles
    model : TopologyModel
    known_links : collection of str
        Names of the links of the library.
    edges : (B, 2) int
        Pairs of bonded atoms.
    held : (N,) bool
        Atoms held in place.
    monlib : gemmi.MonLib
    notes : list of str
        Gets a sentence.

    Returns
    -------
    Angles
    """
    sites = {model.row[site.serial]: site for chain in model.structure[0] for res in chain for site in res}
    found: dict[tuple[int, int, int], float] = {}
    for link in model.topology.extras:
        if link.link_id in known_links or link.asu == gemmi.Asu.Different:
            continue
        for rule in link.link_rules:
            one, two = (model.row[site.serial] for site in model.topology.bonds[rule.index].atoms)
            if sites[one].element.is_metal or sites[two].element.is_metal:
                continue
            for centre, home, end, other in ((one, link.res1, two, link.res2), (two, link.res2, one, link.res1)):
                if home.name not in monlib.monomers:
                    continue
                amide = sites[centre].element.name == "N" and is_carbonyl(other.name, sites[end].name, monlib)
                for k in _neighbours(centre, edges):
                    if k != end and not sites[k].element.is_metal and not sites[k].is_hydrogen():
                        ideal = TRIGONAL if amide else _ideal(home, sites[centre], sites[k].name, monlib)
                        found.setdefault((k, centre, end), ideal)
    index = np.array(list(found), dtype=np.int64).reshape(-1, 3)
    fine = ~mixed(model.altloc, index) & ~held[index].all(axis=1)
    count = int(fine.sum())
    if not count:
        return angles
    notes.append(
        f"{counted(count, 'angle')} at links that no library describes {are(count)} restrained to what dictionaries "
        f"have for the atom that the link replaces, or to those of the element, with a sigma of {SIGMA:g}°"
    )
    return Angles(
        np.vstack([angles.index, index[fine]]),
        np.r_[angles.ideal, np.array(list(found.values()))[fine]],
        np.r_[angles.sigma, np.full(count, SIGMA)],
    )


def _neighbours(atom: int, edges: Int) -> list[int]:
    """Atoms bonded to an atom, in order."""
    pairs = edges[(edges == atom).any(axis=1)]
    return sorted({int(k) for k in pairs.ravel()} - {atom})


def _ideal(home: gemmi.Residue, centre: gemmi.Atom, neighbour: str, monlib: gemmi.MonLib) -> float:
    """Degrees between a neighbour of an atom and what a link puts in the place of another."""
    component = monlib.monomers[home.name]
    hydrogens = {atom.id for atom in component.atoms if atom.is_hydrogen()}
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
