"""Atoms of different residues as near as if bonded, without a link: one that the model does not name, or a clash."""

from __future__ import annotations

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, Identity, coexist
from arrayrefine.kernels.contacts import in_table
from arrayrefine.kernels.distances import close_pairs
from arrayrefine.restraints import NonBonded
from arrayrefine.topology.nonbonded import metal_flags
from arrayrefine.topology.valence import POLYMER_BONDS
from arrayrefine.wording import Caution, are, counted, listed

_LONGER, _SHORTEST = 0.2, 0.75
"""Å more than the sum of covalent radii, and times it, between which a bond may be meant; what is nearer is a clash."""
_APART = 2.2
"""Å; what is nearer may be meant for a bond of any length, as atoms that are not bonded hardly come so near: but for
neighbours in a chain, and for N and O, between which it is a hydrogen bond drawn too short."""


def unlinked_contacts(atoms: Atoms, non_bonded: NonBonded) -> list[str]:
    """Warn of heavy atoms of different residues that are about as near as a bond is long, and that contacts push apart.

    Parameters
    ----------
    atoms : Atoms
        Metals and waters are looked at no more than symmetry mates, as are atoms that are there instead of each other.
    non_bonded : NonBonded
        Its excluded pairs are known to be near, those of atoms without a dictionary among them.

    Returns
    -------
    list of str
        One warning, or none.
    """
    who = atoms.identity
    radii = {str(name): gemmi.Element(str(name)).covalent_r for name in np.unique(atoms.element)}
    radius = np.array([radii[name] for name in atoms.element.tolist()])
    others = atoms.is_hydrogen | metal_flags(atoms.element) | atoms.is_water
    rows = np.flatnonzero(~others)
    if not len(rows):
        return []
    pairs = rows[close_pairs(atoms.xyz[rows], max(2.0 * float(radius[rows].max()) + _LONGER, _APART))]
    i, j = pairs[:, 0], pairs[:, 1]
    distance = np.linalg.norm(atoms.xyz[i] - atoms.xyz[j], axis=1)
    bond, conformer = radius[i] + radius[j], non_bonded.conformer
    polar = np.isin(atoms.element, ("N", "O"))
    near = _beside(who, i, j) | (polar[i] & polar[j])
    reach = np.where(near, bond + _LONGER, np.maximum(bond + _LONGER, _APART))
    chosen = (distance < reach) & (distance > _SHORTEST * bond)
    chosen &= who.residue[i] != who.residue[j]
    chosen &= coexist(conformer[i], conformer[j])
    chosen &= (conformer[i] != 0) | (conformer[j] != 0) | (atoms.occupancy[i] + atoms.occupancy[j] > 1.0)
    chosen &= ~_of_neighbours(atoms, i, j) & ~in_table(i, j, non_bonded.excluded, len(atoms))
    found = np.flatnonzero(chosen)
    if not len(found):
        return []
    found = found[np.argsort((distance - bond)[found], kind="stable")]
    n = len(found)
    labels = [f"{who.label(int(i[k]))} - {who.label(int(j[k]))} ({distance[k]:.2f} Å)" for k in found]
    return [Caution(
        f"{counted(n, 'pair')} of atoms of different residues {are(n)} as near as if bonded, without a link; contacts "
        f"will push them apart: {listed(labels, '; ')}. If they are bonded, name the bond in the model (LINK or "
        "struct_conn), and give a restraint CIF with this link where no library has it; if not, they clash"
    )]


def _beside(who: Identity, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(p,) True for residues next to each other in a chain, whose atoms may be two bonds apart, as O and the next N."""
    near = (who.chain[i] == who.chain[j]) & (np.abs(who.residue[i] - who.residue[j]) == 1)
    return np.asarray(near & (np.abs(who.sequence_number[i] - who.sequence_number[j]) <= 1))


def _of_neighbours(atoms: Atoms, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(p,) True for the ends of residues next to each other, which `unbonded_neighbours` names."""
    who = atoms.identity
    names = zip(who.atom_name[i].tolist(), who.atom_name[j].tolist())
    ends = np.array([pair in POLYMER_BONDS or pair[::-1] in POLYMER_BONDS for pair in names], dtype=bool)
    return np.asarray(ends & (who.chain[i] == who.chain[j]) & (np.abs(who.residue[i] - who.residue[j]) == 1))
