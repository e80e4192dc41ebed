"""Lengths of links that no library describes, by what they join."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import gemmi
import numpy as np

LENGTHS = {
    "S S": 2.03, "C S": 1.81, "C C": 1.52, "C O": 1.43, "C N": 1.47, "O P": 1.60, "N P": 1.65, "O S": 1.58,
    "B O": 1.47, "C F": 1.40, "C Cl": 1.79, "Br C": 1.97, "C I": 2.16,
}  # fmt: skip
"""Å; single bonds between elements in order of the alphabet: International Tables for Crystallography C (2006), table
9.5.1.1, for sp³ carbon, boron with four bonds and esters and amides of phosphoric and sulfuric acid; S-S as in
disulfides of proteins, Engh & Huber (1991) Acta Cryst. A47, 392-400."""
FLAT = {"C F": 1.36, "C Cl": 1.74, "Br C": 1.90, "C I": 2.10}
"""Å; to a carbon whose bonds lie in a plane, as in aromatic rings, the same table."""
ACYL = {"C O": 1.34, "C S": 1.76}
"""Å; to a carbon that has a double bond to another O, as in esters and thioesters, the same table."""
_FLAT = 0.25
"""Å; an acyl carbon is no further from the plane of its three neighbours. It is half an Å where O has been added to it,
as in a hemiacetal."""
AMIDE = 1.33
"""Å; between N and a carbon that has a double bond to O, Engh & Huber."""

_DOUBLE = 1.32
"""Å; between C=O (1.23) and C-O (1.43)."""
_PLANAR = 115.0
"""Degrees; between the mean angles at atoms with four bonds, 109.5, and with three in a plane, 120."""


def use_typical_lengths(topology: gemmi.Topo, known_links: Collection[str], monlib: gemmi.MonLib) -> None:
    """Give links that the library does not know a typical length, in place of gemmi's sum of covalent radii.

    That is 0.07 Å too long for a disulfide and 0.11 Å for an amide, and 0.10 Å too short for fluorine on sp³ carbon.
    Other pairs of elements keep it.

    Parameters
    ----------
    topology : gemmi.Topo
        Its bonds are changed.
    known_links : collection of str
        Names of the links of the library.
    monlib : gemmi.MonLib
        Components, which tell a carbonyl.
    """
    for link in topology.extras:
        if link.link_id in known_links:
            continue
        for rule in link.link_rules:
            bond = topology.bonds[rule.index]
            elements = " ".join(sorted(atom.element.name for atom in bond.atoms))
            length = LENGTHS.get(elements, bond.restr.value)
            names = [(link.res1, bond.restr.id1.atom), (link.res2, bond.restr.id2.atom)]
            acyl = [
                (residue, atom, other) for (residue, name), atom, other in zip(names, bond.atoms, bond.atoms[::-1])
                if is_carbonyl(residue.name, name, monlib)
            ]  # fmt: skip
            if elements in FLAT and any(is_planar(residue.name, name, monlib) for residue, name in names):
                length = FLAT[elements]
            if elements == "C N" and acyl:
                length = AMIDE
            if elements in ACYL and any(_is_flat(residue, atom, other, monlib) for residue, atom, other in acyl):
                length = ACYL[elements]
            bond.restr.value = length


def _is_flat(residue: gemmi.Residue, atom: gemmi.Atom, other: gemmi.Atom, monlib: gemmi.MonLib) -> bool:
    """Whether an atom has three neighbours, `other` among them, in a plane with it, hydrogens aside."""
    ends = [(bond.id1.atom, bond.id2.atom) for bond in monlib.monomers[residue.name].rt.bonds]
    names = {two if one == atom.name else one for one, two in ends if atom.name in (one, two)}
    near = [
        site.pos for site in residue
        if site.name in names and not site.is_hydrogen() and site.altloc in ("\0", atom.altloc)
    ]  # fmt: skip
    return len(near) == 2 and lies_in_plane(atom.pos, [*near, other.pos])


def lies_in_plane(position: gemmi.Position, near: Sequence[gemmi.Position]) -> bool:
    """Whether an atom is as near the plane of its three neighbours as an acyl carbon."""
    first, second, third = (np.array((pos - position).tolist()) for pos in near)
    normal = np.cross(second - first, third - first)
    return bool(abs(normal @ first) < _FLAT * np.linalg.norm(normal))


def typical_length(one: gemmi.Element, two: gemmi.Element) -> float:
    """Length of a single bond between two elements, Å; the sum of their covalent radii where none is tabulated."""
    return LENGTHS.get(" ".join(sorted((one.name, two.name))), one.covalent_r + two.covalent_r)


def is_carbonyl(component: str, name: str, monlib: gemmi.MonLib) -> bool:
    """Whether an atom has a bond to oxygen that is more than a single one."""
    if component not in monlib.monomers:
        return False
    known = monlib.monomers[component]
    oxygens = {atom.id for atom in known.atoms if atom.el.name == "O"}
    strong = (gemmi.BondType.Double, gemmi.BondType.Deloc)
    ends = ((bond.id1.atom, bond.id2.atom) for bond in known.rt.bonds if bond.type in strong)
    return any((one == name and two in oxygens) or (two == name and one in oxygens) for one, two in ends)


def bears_carbonyl(residue: gemmi.Residue, atom: gemmi.Atom, monlib: gemmi.MonLib) -> bool:
    """Whether an atom has a double bond to O: by its dictionary, or by a length in a component that has none."""
    if residue.name in monlib.monomers:
        return is_carbonyl(residue.name, atom.name, monlib)
    return any(other.element.name == "O" and other.pos.dist(atom.pos) < _DOUBLE for other in residue)


def is_planar(component: str, name: str, monlib: gemmi.MonLib) -> bool:
    """Whether the bonds of an atom lie in a plane, by the mean of the dictionary's angles about it."""
    if component not in monlib.monomers:
        return False
    angles = [angle.value for angle in monlib.monomers[component].rt.angles if angle.id2.atom == name]
    return bool(angles) and sum(angles) / len(angles) > _PLANAR
