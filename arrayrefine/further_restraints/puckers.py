"""Puckers of the sugars of nucleic acids: torsions of the ring drawn to the nearer of two."""

from __future__ import annotations

import numpy as np

from arrayrefine.atoms import Atoms
from arrayrefine.kernels.geometry import dihedral
from arrayrefine.restraints import Torsions
from arrayrefine.topology.polymers import Residue
from arrayrefine.wording import counted

_RING = ("C4'", "O4'", "C1'", "C2'", "C3'")
# Ring torsions nu0 (C4'-O4'-C1'-C2') to nu4 (C3'-C4'-O4'-C1') and their standard uncertainties, degrees, of the puckers
# C2'-endo and C3'-endo: Parkinson et al. (1996) Acta Cryst. D52, 57-64, as in the monomer library of CCP4.
_IDEAL = np.array([[340.7, 32.8, 326.9, 22.6, 357.7], [2.8, 335.0, 35.9, 324.7, 20.5]])
_SIGMA = np.array([[6.3, 4.9, 3.6, 4.5, 6.1], [6.1, 4.9, 2.8, 3.1, 5.1]])


def sugar_puckers(atoms: Atoms, residues: list[Residue]) -> tuple[Torsions, list[str]]:
    """Torsion restraints, five for each sugar, to the pucker that its ring is nearer to.

    Dictionaries list the torsions of both puckers, which contradict each other: as they are, neither is restrained.

    Parameters
    ----------
    atoms : Atoms
    residues : list of Residue

    Returns
    -------
    Torsions
    list of str
        How many sugars have which pucker.
    """
    rings = [[r.atoms[name] for name in _RING] for r in residues if all(name in r.atoms for name in _RING)]
    ring = np.array(rings, dtype=np.int64).reshape(-1, 5)
    index = np.stack([np.roll(ring, -k, axis=1)[:, :4] for k in range(5)], axis=1)
    found = dihedral(atoms.xyz, index.reshape(-1, 4))[0].reshape(-1, 1, 5)
    delta = found - _IDEAL
    delta -= 360.0 * np.rint(delta / 360.0)
    nearest = ((delta / _SIGMA) ** 2).sum(axis=2).argmin(axis=1)
    period = np.ones(index.size // 4, dtype=np.int64)
    made = Torsions(index.reshape(-1, 4), _IDEAL[nearest].reshape(-1), _SIGMA[nearest].reshape(-1), period)
    if not len(ring):
        return made, []
    return made, [
        f"rings of {counted(len(ring), 'sugar')} of nucleic acids are drawn to the pucker they are nearer to: "
        f"{int((nearest == 0).sum())} to C2'-endo, {int((nearest == 1).sum())} to C3'-endo"
    ]
