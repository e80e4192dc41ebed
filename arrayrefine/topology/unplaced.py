"""Atoms that are nowhere near what they are bonded to: no refinement brings them there, and they wreck what is near."""

from __future__ import annotations

import numpy as np

from arrayrefine.atoms import Atoms
from arrayrefine.errors import InputError
from arrayrefine.problem import Problem
from arrayrefine.wording import are, counted, listed

_TORN = 5.0
"""Å by which a bond is longer than its ideal where one of its atoms was never placed."""


def check_placed(problem: Problem, atoms: Atoms, name: str) -> None:
    """Raise InputError where a bond that is to be refined is torn.

    Parameters
    ----------
    problem : Problem
    atoms : Atoms
        At the start.
    name : str
        Of the model.
    """
    bonds = problem.restraints.bonds
    refined = problem.options.cycles > 0 and "xyz" in problem.options.kinds
    if not refined or not len(bonds.index):
        return
    free = problem.parameters(atoms, "xyz").xyz & (atoms.occupancy > 0.0)
    i, j = bonds.index.T
    longer = np.linalg.norm(atoms.xyz[i] - atoms.xyz[j], axis=1) - bonds.ideal
    torn = (longer > _TORN) & (free[i] | free[j]) & ~(atoms.is_hydrogen[i] | atoms.is_hydrogen[j])
    if not torn.any():
        return
    label, n = atoms.identity.label, int(torn.sum())
    named = [
        f"{label(a)} - {label(b)} ({length:.0f} Å)"
        for a, b, length in zip(i[torn].tolist(), j[torn].tolist(), (longer + bonds.ideal)[torn].tolist())
    ]
    raise InputError(
        f"model '{name}': {counted(n, 'bond')} {are(n)} more than {_TORN:.0f} Å longer than bonds are: {listed(named)}"
        "; expected parts that are in one piece: place, remove or --freeze these atoms"
    )
