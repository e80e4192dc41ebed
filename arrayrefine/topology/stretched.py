"""Residues whose bonds are far longer than their dictionary has them, in a model that is otherwise in order."""

from __future__ import annotations

import numpy as np

from arrayrefine.atoms import Atoms
from arrayrefine.restraints import Bonds
from arrayrefine.wording import Caution, counted, listed

FAR = 1.0
"""Å beyond the dictionary: few bonds of models that are built badly are so long, none that is in order."""
_MOST, _BEYOND = 95.0, 3.0
"""A bond is unlike the others where its error is so many times what this percentage of those of other components stay
below: a model that is shaken or bent as a whole is not warned of."""


def stretched_residues(bonds: Bonds, atoms: Atoms) -> list[str]:
    """Warn of residues with bonds unlike their dictionary, where the bonds of other components are like theirs.

    Parameters
    ----------
    bonds : Bonds
        Those of the dictionary; links between residues and bonds of hydrogens are not looked at.
    atoms : Atoms

    Returns
    -------
    list of str
        One warning, or none.
    """
    who = atoms.identity
    i, j = bonds.index.T
    chosen = (who.residue[i] == who.residue[j]) & ~atoms.is_hydrogen[i] & ~atoms.is_hydrogen[j]
    i, j, ideal = i[chosen], j[chosen], bonds.ideal[chosen]
    length = np.linalg.norm(atoms.xyz[i] - atoms.xyz[j], axis=1)
    error = np.abs(length - ideal)
    component = who.residue_name[i]
    found = []
    for name in np.unique(component[length - ideal > FAR]):
        rest = error[component != name]
        if len(rest) == 0:
            continue
        unlike = (component == name) & (length - ideal > max(FAR, _BEYOND * float(np.percentile(rest, _MOST))))
        for residue in np.unique(who.residue[i[unlike]]):
            here = np.flatnonzero(who.residue[i] == residue)
            far = here[unlike[here]]
            k = far[np.argmax(length[far])]
            found.append(
                f"{who.label(int(i[k]))} - {who.atom_name[j[k]]} ({length[k]:.1f} Å, not {ideal[k]:.2f}; {len(far)} of "
                f"its {counted(len(here), 'bond')})"
            )
    if not found:
        return []
    return [Caution(
        f"{counted(len(found), 'residue')} with bonds far longer than in the dictionary, unlike the rest of the model: "
        f"{listed(found, '; ')}. Look whether names of atoms are exchanged there, in the model or in the dictionary, "
        "or atoms have gone astray: such bonds pull them through each other"
    )]  # fmt: skip
