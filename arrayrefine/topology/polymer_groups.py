"""Amino acids and nucleotides that a dictionary calls no polymer, told by their bonds: links of chains go by groups."""

from __future__ import annotations

from collections.abc import Iterable

import gemmi

from arrayrefine.topology.atom_names import bonded_to, hydrogens_of
from arrayrefine.topology.dictionary_contents import set_groups_by_bonds

_PEPTIDE = (("N", "CA"), ("CA", "C"), ("C", "O"))
_NUCLEOTIDE = (
    ("P", "OP1"), ("P", "OP2"), ("P", "O5'"), ("O5'", "C5'"), ("C5'", "C4'"), ("C4'", "O4'"), ("O4'", "C1'"),
    ("C1'", "C2'"), ("C2'", "C3'"), ("C3'", "C4'"), ("C3'", "O3'"),
)  # fmt: skip
"""Bonds by the names that links of a library have for their ends and the atoms around."""
_OF_CARBOXYLATE = {"OXT"}
_OF_PHOSPHATE = {"OP3", "O3P", "OXT"}
"""What may be there besides, of an acid that is in no chain; an oxygen that bears a phosphate besides is no end."""


def polymer_group(component: gemmi.ChemComp) -> str:
    """The group of a component by its bonds.

    An amino acid has a carboxylate at the carbon of its amine: in an acyl compound that N, or a nitrile or amide in the
    place of the carboxylate, has its bonds without a chain. A nucleotide has its sugar and its phosphate, which bears
    nothing else.

    Parameters
    ----------
    component : gemmi.ChemComp

    Returns
    -------
    {"peptide", "P-peptide", "M-peptide", "DNA", "RNA", ""}
        Amino acids with a hydrogen at N, those in a ring with it, and those with a carbon there; "" for what is none.
    """
    element = {atom.id: atom.el.name for atom in component.atoms}
    pairs = {frozenset((bond.id1.atom, bond.id2.atom)) for bond in component.rt.bonds}
    if all(frozenset(pair) in pairs for pair in _PEPTIDE):
        return _amino_acid(component, element)
    if all(frozenset(pair) in pairs for pair in _NUCLEOTIDE):
        hydrogens, ends = hydrogens_of(component), bonded_to("P", component) - {"OP1", "OP2", "O5'"}
        free = ends <= _OF_PHOSPHATE and all(bonded_to(end, component) <= {"P"} | hydrogens for end in ends)
        if free and bonded_to("O3'", component) <= {"C3'"} | hydrogens:
            return "RNA" if "O2'" in element and "O2'" in bonded_to("C2'", component) else "DNA"
    return ""


def _amino_acid(component: gemmi.ChemComp, element: dict[str, str]) -> str:
    """Which amino acid a component with these bonds is."""
    if [element[name] for name in ("N", "CA", "C", "O")] != ["N", "C", "C", "O"]:
        return ""
    hydrogens, near = hydrogens_of(component), bonded_to("N", component)
    others = near - hydrogens - {"CA"}
    single = (gemmi.BondType.Single, gemmi.BondType.Unspec)
    bonds = [bond.type for bond in component.rt.bonds if "N" in (bond.id1.atom, bond.id2.atom)]
    ends = bonded_to("C", component) - {"CA", "O"} <= _OF_CARBOXYLATE
    if not ends or len(others) > 1 or not near & hydrogens or any(kind not in single for kind in bonds):
        return ""
    if not others:
        return "peptide"
    (carbon,) = others
    if element[carbon] != "C" or _is_acyl(component, carbon, element):
        return ""
    return "P-peptide" if _in_ring(component, carbon, hydrogens) else "M-peptide"


def _is_acyl(component: gemmi.ChemComp, carbon: str, element: dict[str, str]) -> bool:
    """Whether a carbon has a double bond to O, N or S."""
    return any(
        bond.type == gemmi.BondType.Double and carbon in pair and {element[name] for name in pair} & {"O", "N", "S"}
        for bond in component.rt.bonds for pair in [{bond.id1.atom, bond.id2.atom}]
    )  # fmt: skip


def _in_ring(component: gemmi.ChemComp, carbon: str, hydrogens: set[str]) -> bool:
    """Whether an atom at N goes on to CA without it."""
    seen, open_ends = {"N", carbon}, [carbon]
    while open_ends:
        for name in bonded_to(open_ends.pop(), component) - hydrogens - seen:
            if name == "CA":
                return True
            seen.add(name)
            open_ends.append(name)
    return False


def set_polymer_groups(monlib: gemmi.MonLib, components: Iterable[str]) -> list[str]:
    """Give components without a group, or called no polymer, the group of what they are in chains, in place.

    Without one a link of a chain is but a bond: 132 amino acids and 15 nucleotides of CCP4's library have none.

    Parameters
    ----------
    monlib : gemmi.MonLib
    components : iterable of str

    Returns
    -------
    list of str
        What was found.
    """
    sentence = "component {name} is of the group {group} by its bonds: in a chain it is linked as these are"
    return set_groups_by_bonds(monlib, components, polymer_group, sentence)
