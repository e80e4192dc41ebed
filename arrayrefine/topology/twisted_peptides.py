"""Peptide bonds that are neither cis nor trans."""

from __future__ import annotations

import numpy as np

from arrayrefine.atoms import Atoms
from arrayrefine.kernels.geometry import dihedral
from arrayrefine.restraints import Torsions
from arrayrefine.wording import Caution, are, counted, listed

TWIST = 30.0
"""Degrees of omega from 0 and from 180 beyond which a peptide is twisted, as MolProbity has it: Williams et al.,
Protein Sci. 27, 293 (2018)."""
_NAMES = ("CA", "C", "N", "CA")


def twisted(torsions: Torsions, atoms: Atoms) -> dict[str, float]:
    """Peptides that are twisted: what joins which residues, and omega in degrees.

    Parameters
    ----------
    torsions : Torsions
        Those of the dictionary, omega among them.
    atoms : Atoms
    """
    who = atoms.identity
    peptide = (who.atom_name[torsions.index] == np.array(_NAMES)).all(axis=1)
    index = torsions.index[peptide & (who.residue[torsions.index[:, 0]] != who.residue[torsions.index[:, 3]])]
    omega = dihedral(atoms.xyz, index)[0]
    size = np.abs(omega)
    found: dict[str, float] = {}
    for row in np.flatnonzero((size > TWIST) & (size < 180.0 - TWIST)):
        ends = [who.label(int(index[row, k])).split("/") for k in (0, 3)]
        altloc = next((letter for letter in who.altloc[index[row]].tolist() if letter), "")
        names = f"{ends[0][0]}/{ends[0][1]} - {ends[1][1]}{f' ({altloc})' if altloc else ''}"
        found[names] = float(omega[row])
    return found


def at_start(torsions: Torsions, atoms: Atoms) -> list[str]:
    """A sentence about twisted peptides, which their restraints turn to what is nearer."""
    found = twisted(torsions, atoms)
    if not found:
        return []
    n = len(found)
    return [
        f"{counted(n, 'peptide')} {are(n)} twisted, neither cis nor trans, and restrained to be what "
        f"{'it is' if n == 1 else 'they are'} nearer to: {_named(found)}"
    ]


def at_end(torsions: Torsions, atoms: Atoms) -> list[str]:
    """A warning of peptides that ended twisted."""
    found = twisted(torsions, atoms)
    if not found:
        return []
    return [Caution(
        f"{counted(len(found), 'peptide')} ended twisted, neither cis nor trans: {_named(found)}. Few are so: see "
        "in the maps whether the chain is right there, or is there at all"
    )]


def _named(found: dict[str, float]) -> str:
    return listed([f"{name} (omega {omega:.0f}°)" for name, omega in found.items()])
