"""Components of the user that cannot hold a molecule together, or in shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import gemmi
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from arrayrefine.errors import InputError, MonomerError
from arrayrefine.topology.atom_names import hydrogens_of
from arrayrefine.wording import Caution, counted, listed

_STIFF = (gemmi.BondType.Double, gemmi.BondType.Aromatic, gemmi.BondType.Deloc)
_FLAT = 3
"""Neighbours of a carbon with such a bond that lie in a plane with it."""
_LENGTHS = (0.5, 5.0)
"""Å; bonds of the monomer libraries of CCP4 and Refmac are 0.82 (O-H) to 3.0 (Hg-I)."""
_ANGLES = (20.0, 181.0)
"""Degrees; angles of these libraries are 33.8 (C-Rh-C) to 180."""
_LENGTH_SIGMAS = (0.001, 0.2)
"""Å; sigmas of bonds of these libraries are 0.01 to 0.02, and of metals up to 0.1."""
_ANGLE_SIGMAS = (0.1, 15.0)
"""Degrees; sigmas of their angles are 1.5 to 3, and of metals up to 10."""


def check_values(name: str, block: gemmi.cif.Block, path: Path) -> None:
    """Refuse a component whose atoms have no elements, or its bonds no lengths or atoms that it does not list."""
    if not block.find_values("_chem_comp_atom.type_symbol"):
        raise InputError(
            f"{path}: component {name} lists atoms without elements; expected the column _chem_comp_atom.type_symbol: "
            "add it, or make a restraint CIF with AceDRG, grade2 or eLBOW"
        )
    atoms = [(row.str(0), row.str(1)) for row in block.find("_chem_comp_atom.", ["atom_id", "type_symbol"])]
    without = [f"{atom} ('{symbol}')" for atom, symbol in atoms if gemmi.Element(symbol).atomic_number == 0]
    if without:
        raise InputError(
            f"{path}: component {name} has {counted(len(without), 'atom')} of {len(atoms)} of no element that is known"
            f": {listed(without)}; expected symbols of the periodic table in _chem_comp_atom.type_symbol: correct them"
        )
    known = {atom for atom, _ in atoms}
    ends = [row.str(k) for row in block.find("_chem_comp_bond.", ["atom_id_1", "atom_id_2"]) for k in (0, 1)]
    absent = [atom for atom in dict.fromkeys(ends) if atom not in known]
    if absent:
        raise InputError(
            f"{path}: component {name} has bonds of {listed(absent)}, but no such names in its table of atoms "
            f"(_chem_comp_atom.atom_id, {len(known)} of them); expected bonds between atoms that it lists: correct "
            "the names"
        )
    if ends and not block.find_values("_chem_comp_bond.value_dist"):
        if block.find_values("_chem_comp_bond.value_dist_nucleus"):
            raise InputError(
                f"{path}: component {name} has lengths between nuclei alone (_chem_comp_bond.value_dist_nucleus); "
                "expected the column _chem_comp_bond.value_dist, between centres of electrons, with its "
                "value_dist_esd: add them, or make a restraint CIF with AceDRG, grade2 or eLBOW"
            )
        raise InputError(
            f"{path}: component {name} lists bonds without lengths, and does not give the place of each of its heavy "
            "atoms, from which they could be taken (pdbx_model_Cartn_x_ideal and so on); make a restraint CIF with "
            "AceDRG, grade2 or eLBOW"
        )


def check_restraints(
    monlib: gemmi.MonLib, components: Mapping[str, gemmi.cif.Block], links: Sequence[str], path: Path
) -> None:
    """Refuse what was read of a user's file where it holds no molecule together: see the checks that follow."""
    for name, block in components.items():
        check_connected(monlib, name, block, path)
        check_units(monlib.monomers[name].rt, f"component {name}", path)
    for name in links:
        if name in monlib.links:  # what is listed alone is not
            check_units(monlib.links[name].rt, f"link {name}", path)


def check_connected(monlib: gemmi.MonLib, name: str, block: gemmi.cif.Block, path: Path) -> None:
    """Refuse a component that was not found in its block, or with heavy atoms that have no usable bond."""
    if name not in monlib.monomers:
        raise InputError(
            f"{path}: component {name} cannot be read as restraints: its block is data_{block.name}; expected "
            f"data_comp_{name}: name block, _chem_comp.id and comp_id alike, also where a component is renamed"
        )
    component = monlib.monomers[name]
    heavy = [atom.id for atom in component.atoms if not atom.is_hydrogen()]
    bonded = set()
    for bond in component.rt.bonds:
        if bond.value > 0 and bond.esd > 0:
            bonded |= {bond.id1.atom, bond.id2.atom}
    loose = [atom for atom in heavy if atom not in bonded]
    if len(heavy) > 1 and loose:
        raise MonomerError(
            f"{path}: component {name} leaves {len(loose)} of {len(heavy)} heavy atoms "
            f"without any restrained bond ({listed(loose)}){_blank_column(component)}; "
            "they would drift apart. Make complete restraints with AceDRG, grade2 or eLBOW"
        )


def check_units(restraints: gemmi.Restraints, what: str, path: Path) -> None:
    """Refuse bonds and angles that no molecule has, such as lengths in nm or pm, or angles in radians.

    Parameters
    ----------
    restraints : gemmi.Restraints
        Values without a positive sigma are not looked at.
    what : str
        What they restrain, such as "component LIG".
    path : Path
        The file that they come from.

    Raises
    ------
    InputError
        It names the value that is furthest from what can be.
    """
    bonds = [
        (bond.value, f"{bond.id1.atom}-{bond.id2.atom}")
        for bond in restraints.bonds if bond.value > 0 and bond.esd > 0
    ]  # fmt: skip
    angles = [
        (angle.value, f"{angle.id1.atom}-{angle.id2.atom}-{angle.id3.atom}")
        for angle in restraints.angles if angle.value > 0 and angle.esd > 0
    ]  # fmt: skip
    for found, (low, high), kind, unit, slip in (
        (bonds, _LENGTHS, "bond", " Å", "nm or pm"), (angles, _ANGLES, "angle", "°", "radians"),
    ):  # fmt: skip
        wrong = sorted((value, ends) for value, ends in found if not low <= value <= high)
        if wrong:
            value, ends = wrong[-1] if wrong[-1][0] > high else wrong[0]
            raise InputError(
                f"{path}: {what} has {counted(len(wrong), kind)} of {len(found)} that cannot be, such as "
                f"{ends} of {value:g}{unit}; expected {low:g} to {high:g}{unit}: give "
                f"{kind}s in {'Å' if kind == 'bond' else 'degrees'} (not in {slip}), or correct them"
            )


def doubts(monlib: gemmi.MonLib, sources: Mapping[str, str]) -> list[str]:
    """Sentences on components, with the files they come from, that may not hold together, or in shape."""
    return [*in_pieces(monlib, sources), *of_odd_sigma(monlib, sources), *shapeless(monlib, sources)]


def shapeless(monlib: gemmi.MonLib, sources: Mapping[str, str]) -> list[str]:
    """Sentences on components, with the files they come from, that lack angles or planes that hold their shape."""
    out: list[str] = []
    for name, path in sources.items():
        component = monlib.monomers[name]
        between = [
            atom.id for atom in component.atoms
            if not atom.el.is_metal and len(_heavy_bonds(component, atom.id)) > 1
        ]  # fmt: skip
        known = {angle.id2.atom for angle in component.rt.angles if angle.esd > 0}
        bent = [atom for atom in between if atom not in known]
        lacks = []
        if bent:
            lacks.append(f"angles at {len(bent)} of its {len(between)} atoms between others ({listed(bent)})")
        flat = _trigonal_carbons(component)
        if flat and not any(plane.esd > 0 for plane in component.rt.planes):
            lacks.append(f"planes with a positive sigma, where {listed(flat)} should be flat")
        if lacks:
            what = "nothing holds its shape" if bent else "its angles alone hold its shape"
            out.append(Caution(
                f"{path}: component {name} has no {', and no '.join(lacks)}: {what} there. "
                "Make complete restraints with AceDRG, grade2 or eLBOW"
            ))
    return out


def in_pieces(monlib: gemmi.MonLib, sources: Mapping[str, str]) -> list[str]:
    """Sentences on components, with the files they come from, of which no bond holds all heavy atoms together.

    Those with a metal are left out: what it binds, dictionaries may leave to the model.
    """
    out: list[str] = []
    for name, path in sources.items():
        component = monlib.monomers[name]
        heavy = [atom.id for atom in component.atoms if not atom.is_hydrogen()]
        if not heavy or any(atom.el.is_metal for atom in component.atoms):
            continue
        place = {atom: k for k, atom in enumerate(heavy)}
        ends = [(bond.id1.atom, bond.id2.atom) for bond in component.rt.bonds if bond.value > 0 and bond.esd > 0]
        joined = [(place[a], place[b]) for a, b in ends if a in place and b in place]
        rows, columns = np.array(joined, dtype=int).reshape(-1, 2).T
        graph = coo_array((np.ones(len(joined)), (rows, columns)), shape=(len(heavy), len(heavy)))
        count, part = connected_components(graph, directed=False)
        pieces = sorted([atom for atom in sorted(heavy) if part[place[atom]] == number] for number in range(count))
        if len(pieces) > 1:
            said = listed([f"{', '.join(one[:3])}{' ...' if len(one) > 3 else ''}" for one in pieces], "; ")
            out.append(Caution(
                f"{path}: component {name} is in {len(pieces)} pieces that no restrained bond joins ({said}): they may "
                "drift apart. Add the bonds, or make complete restraints with AceDRG, grade2 or eLBOW"
            ))
    return out


def of_odd_sigma(monlib: gemmi.MonLib, sources: Mapping[str, str]) -> list[str]:
    """Sentences on components, with the files they come from, whose sigmas hold nothing, or make all else give way."""
    out: list[str] = []
    for name, path in sources.items():
        restraints = monlib.monomers[name].rt
        bonds = [(bond.esd, f"{bond.id1.atom}-{bond.id2.atom}") for bond in restraints.bonds if bond.esd > 0]
        angles = [
            (angle.esd, f"{angle.id1.atom}-{angle.id2.atom}-{angle.id3.atom}")
            for angle in restraints.angles if angle.esd > 0
        ]  # fmt: skip
        for found, (low, high), kind, unit in (
            (bonds, _LENGTH_SIGMAS, "bond", " Å"), (angles, _ANGLE_SIGMAS, "angle", "°"),
        ):  # fmt: skip
            odd = [f"{ends} {esd:g}{unit}" for esd, ends in found if not low <= esd <= high]
            if odd:
                out.append(Caution(
                    f"{path}: component {name} has sigmas of {counted(len(odd), kind)} of {len(found)} that are not "
                    f"between {low:g} and {high:g}{unit} ({listed(odd)}): too large, they hold nothing; too small, "
                    "all else gives way. Correct them, or make restraints with AceDRG, grade2 or eLBOW"
                ))
    return out


def without_modifications(monlib: gemmi.MonLib, links: Mapping[str, str]) -> list[str]:
    """Sentences on links, with the files they come from, that nobody describes, or whose modifications nobody does."""
    out: list[str] = []
    for name, path in links.items():
        if name not in monlib.links:
            out.append(Caution(f"{path}: link {name} is listed, but no data_link_{name} describes it: not used"))
            continue
        link = monlib.links[name]
        lost = [side.mod for side in (link.side1, link.side2) if side.mod and side.mod not in monlib.modifications]
        if lost:
            out.append(Caution(
                f"{path}: link {name} names {listed(lost)}, but neither this file nor a library lists such a "
                "modification (_chem_mod.id): what it takes from its residues, such as hydrogens, stays. Give the "
                "whole file that AceDRG made"
            ))
    return out


def _blank_column(component: gemmi.ChemComp) -> str:
    """Which column of its bonds has no positive number in any row: a clause, or ""."""
    bonds = list(component.rt.bonds)
    for column, values in (
        ("value_dist", [bond.value for bond in bonds]), ("value_dist_esd", [bond.esd for bond in bonds]),
    ):  # fmt: skip
        if bonds and not any(value > 0 for value in values):
            there = f"expected positive numbers in _chem_comp_bond.{column}"
            return f": {there}, found none in its {counted(len(bonds), 'bond')}"
    return ""


def _heavy_bonds(component: gemmi.ChemComp, atom: str) -> list[gemmi.Restraints.Bond]:
    """Bonds of an atom to others than hydrogens."""
    hydrogens = hydrogens_of(component)
    bonds = [bond for bond in component.rt.bonds if atom in (bond.id1.atom, bond.id2.atom)]
    return [bond for bond in bonds if not hydrogens & {bond.id1.atom, bond.id2.atom}]


def _trigonal_carbons(component: gemmi.ChemComp) -> list[str]:
    """Carbons between three atoms, with a bond that is more than single."""
    found = []
    for atom in component.atoms:
        bonds = _heavy_bonds(component, atom.id)
        if atom.el == gemmi.Element("C") and len(bonds) == _FLAT and any(bond.type in _STIFF for bond in bonds):
            found.append(atom.id)
    return found
