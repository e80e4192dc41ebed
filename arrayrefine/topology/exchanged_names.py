"""Ligands whose names of atoms are exchanged: named by their bonds, where these fit the dictionary in one way only."""

from __future__ import annotations

import gemmi
import numpy as np

from arrayrefine.topology.atom_names import bonded_atoms, hydrogens_of
from arrayrefine.topology.hydrogen_names import LONGEST_TO_HYDROGEN
from arrayrefine.topology.name_symmetry import Skeleton
from arrayrefine.topology.stretched import FAR
from arrayrefine.wording import Caution, counted, listed

_BONDED = 1.3
"""Times the sum of covalent radii; atoms that are nearer are bonded. Two atoms on a third are further apart."""


def name_by_bonds(structure: gemmi.Structure, monlib: gemmi.MonLib) -> list[str]:
    """Give atoms of ligands whose bonds by name are far too long the names that fit their bonds, in place.

    Only where all atoms are there, in one conformer, and the atoms and bonds that lie so are those of the dictionary
    in one way, but for atoms that are alike. As few names as may be change.

    Parameters
    ----------
    structure : gemmi.Structure
        A structure to look up restraints with, with its entities set up.
    monlib : gemmi.MonLib

    Returns
    -------
    list of str
        One warning, or none.
    """
    said = []
    for chain in structure[0]:
        for residue in chain:
            if residue.entity_type == gemmi.EntityType.Polymer or residue.name not in monlib.monomers:
                continue
            component = monlib.monomers[residue.name]
            names = _names_by_bonds(residue, component)
            if not names:
                continue
            _rename(structure, chain.name, residue, names)
            _rename_hydrogens(residue, component)
            pairs = ", ".join(f"{old} as {new}" for old, new in names.items())
            said.append(f"{chain.name}/{residue.name} {residue.seqid} ({pairs})")
    if not said:
        return []
    return [Caution(
        f"{counted(len(said), 'ligand')} with exchanged names of atoms, by the bonds that these have, restrained as "
        f"the dictionary would name them: {listed(said, '; ')}. The output keeps the names; rename the atoms in the "
        "model"
    )]  # fmt: skip


def _names_by_bonds(residue: gemmi.Residue, component: gemmi.ChemComp) -> dict[str, str]:
    """New names by those that atoms have; empty where these fit, or no others do for sure."""
    sites = {atom.name: atom for atom in residue if not atom.is_hydrogen()}
    heavy = {atom.id: atom.el for atom in component.atoms if not atom.is_hydrogen()}
    if len(sites) < 2 or sites.keys() != heavy.keys() or any(atom.altloc != "\0" for atom in sites.values()):
        return {}
    if any(sites[name].element != element or element.is_metal for name, element in heavy.items()):
        return {}
    bonds = [bond for bond in component.rt.bonds if {bond.id1.atom, bond.id2.atom} <= heavy.keys()]
    if all(sites[bond.id1.atom].pos.dist(sites[bond.id2.atom].pos) < bond.value + FAR for bond in bonds):
        return {}
    drawn = Skeleton.of(component)
    if drawn is None:
        return {}
    xyz = np.array([sites[name].pos.tolist() for name in drawn.names])
    radii = np.array([heavy[name].covalent_r for name in drawn.names])
    near = np.linalg.norm(xyz[:, None] - xyz, axis=2) < _BONDED * (radii[:, None] + radii)
    np.fill_diagonal(near, False)
    found = drawn.named_as([np.flatnonzero(row).tolist() for row in near])
    return {} if found is None else {old: new for old, new in found.items() if old != new}


def _rename(structure: gemmi.Structure, chain: str, residue: gemmi.Residue, names: dict[str, str]) -> None:
    """Rename atoms, and the ends of links at them, all at once."""
    for atom in residue:
        atom.name = names.get(atom.name, atom.name)
    for connection in structure.connections:
        for end in (connection.partner1, connection.partner2):
            if (end.chain_name, end.res_id.seqid, end.res_id.name) == (chain, residue.seqid, residue.name):
                end.atom_name = names.get(end.atom_name, end.atom_name)


def _rename_hydrogens(residue: gemmi.Residue, component: gemmi.ChemComp) -> None:
    """Give hydrogens that do not sit on their parent by name the names of those that the atom there lacks."""
    heavy = [atom for atom in residue if not atom.is_hydrogen()]
    hydrogens, bonded = hydrogens_of(component), bonded_atoms(component)
    wanted = {atom.name: sorted(bonded.get(atom.name, set()) & hydrogens) for atom in heavy}
    there: dict[str, list[gemmi.Atom]] = {}
    for atom in residue:
        if atom.is_hydrogen():
            parent = min(heavy, key=lambda other: other.pos.dist(atom.pos))
            if parent.pos.dist(atom.pos) < LONGEST_TO_HYDROGEN:
                there.setdefault(parent.name, []).append(atom)
    every = [atom for atom in residue if atom.is_hydrogen()]
    before = [atom.name for atom in every]
    given: set[str] = set()
    for parent_name, atoms in there.items():
        names = wanted[parent_name]
        free = [name for name in names if name not in {atom.name for atom in atoms}]
        others = [atom for atom in atoms if atom.name not in names]
        for atom, name in zip(others, free):
            atom.name = name
            given.add(name)
    # What has no parent, or is too many there, leaves a name that another one has now, and gets one that is left.
    clashing = [atom for atom, name in zip(every, before) if atom.name == name and name in given]
    for atom, name in zip(clashing, sorted(set(before) - {atom.name for atom in every})):
        atom.name = name
