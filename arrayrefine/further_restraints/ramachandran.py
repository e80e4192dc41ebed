"""Torsions of proteins at low resolution: phi and psi drawn to the nearest populated region, chi to rotamers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.kernels.geometry import dihedral
from arrayrefine.restraints import Restraints, Torsions, taken
from arrayrefine.topology.polymers import Residue, backbone, following
from arrayrefine.wording import counted

Float = NDArray[np.float64]

# Centres (phi, psi) and half widths in degrees, rounded, of the regions in which most residues of well-refined
# structures lie; see Hollingsworth & Karplus, BioMol. Concepts 1, 271 (2010), and for glycine and proline Lovell
# et al., Proteins 50, 437 (2003).
_GENERAL = (
    (-63.0, -43.0, 12.0, 13.0), (-90.0, -5.0, 18.0, 20.0), (-120.0, 130.0, 25.0, 22.0), (-65.0, 142.0, 15.0, 17.0),
    (-150.0, 158.0, 15.0, 15.0), (57.0, 40.0, 12.0, 15.0),
)  # fmt: skip
_GLYCINE = (
    *_GENERAL, *((-phi, -psi, a, b) for phi, psi, a, b in _GENERAL), (-90.0, 180.0, 25.0, 20.0),
    (90.0, 180.0, 25.0, 20.0), (180.0, 180.0, 25.0, 20.0),
)  # fmt: skip
_PROLINE = ((-63.0, -30.0, 12.0, 18.0), (-68.0, 146.0, 12.0, 16.0), (-75.0, 70.0, 12.0, 15.0))
_FAR = 4.0
"""Half widths; what is further from every region is left alone: it may be real, and has no nearest region."""


def ramachandran(atoms: Atoms, restraints: Restraints, residues: list[Residue]) -> tuple[Torsions, list[str]]:
    """Torsion restraints (phi and psi in turn) to the centre of the nearest region, sigma its half width.

    Parameters
    ----------
    atoms : Atoms
    restraints : Restraints
        Its bonds say which residues follow each other.
    residues : list of Residue

    Returns
    -------
    Torsions
    list of str
        How many residues there are, and how many were left alone.
    """
    peptides, table, previous = backbone(residues, restraints.bonds.index, len(atoms))
    after = following(previous)
    rows = np.flatnonzero((previous >= 0) & (after >= 0))
    n, ca, c = (table[rows, k] for k in range(3))
    phi = np.column_stack([table[previous[rows], 2], n, ca, c])
    psi = np.column_stack([n, ca, c, table[after[rows], 0]])
    found = np.column_stack([dihedral(atoms.xyz, index)[0] for index in (phi, psi)])
    ideal, sigma, near = _nearest(found, [peptides[row].name for row in rows])
    index = np.stack([phi, psi], axis=1)[near].reshape(-1, 4)
    made = Torsions(index, ideal[near].reshape(-1), sigma[near].reshape(-1), np.ones(len(index), dtype=np.int64))
    if not len(rows):
        return made, []
    return made, [
        f"phi and psi of {counted(int(near.sum()), 'residue')} are drawn to the nearest populated region of the "
        f"Ramachandran plot; {counted(int((~near).sum()), 'residue')} too far from any left alone"
    ]


def rotamers(atoms: Atoms, restraints: Restraints, residues: list[Residue]) -> Torsions:
    """The dictionary's torsions of side chains of proteins once more: chi drawn to the nearest of its ideals.

    Parameters
    ----------
    atoms : Atoms
    restraints : Restraints
        Its torsions have the ideals and sigmas.
    residues : list of Residue
    """
    t = restraints.torsions
    number = atoms.identity.residue[t.index]
    protein = np.array([r.number for r in residues if "CA" in r.atoms and "CB" in r.atoms], dtype=np.int64)
    inside = (number == number[:, :1]).all(axis=1) & np.isin(number[:, 0], protein) & (t.period > 1)
    return taken(t, inside)


def _nearest(found: Float, names: list[str]) -> tuple[Float, Float, NDArray[np.bool_]]:
    """Centre (n, 2) and half width (n, 2) of the nearest region of each residue, and whether it is near (n,)."""
    ideal, sigma = np.zeros_like(found), np.ones_like(found)
    distance = np.full(len(found), np.inf)
    kinds = np.array([name if name in ("GLY", "PRO") else "" for name in names], dtype="<U3")
    for kind, regions in (("", _GENERAL), ("GLY", _GLYCINE), ("PRO", _PROLINE)):
        rows = np.flatnonzero(kinds == kind)
        table = np.array(regions)
        delta = found[rows, None] - table[None, :, :2]
        delta -= 360.0 * np.rint(delta / 360.0)
        z = np.sqrt(((delta / table[None, :, 2:]) ** 2).sum(axis=2))
        best = z.argmin(axis=1)
        ideal[rows], sigma[rows] = table[best, :2], table[best, 2:]
        distance[rows] = z[np.arange(len(rows)), best]
    return ideal, sigma, distance <= _FAR
