"""Hydrogens that turn begin at the torsion that the model gives them, where it has them.

Without data, and before the first cycle, contacts alone would turn them: but what the hydrogens of a file were put to,
by density as in a model that was refined before, or by hydrogen bonds, is better known.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.hydrogens.placing import Hydrogens
from arrayrefine.kernels.frames import place, torsion
from arrayrefine.topology.hydrogen_names import LONGEST_TO_HYDROGEN

Int = NDArray[np.int64]

_SLACK = 0.1
"""Radians by which one that is at the dictionary's torsion may be off in a file."""
_OFF_AXIS = 0.3
"""Å; one nearer to the axis, as on its parent, has no torsion: 0.8 to 1.3 are usual."""


def with_given_torsions(given: Atoms, atoms: Atoms, hydrogens: Hydrogens) -> tuple[Atoms, Hydrogens]:
    """Turn groups of hydrogens to where those of the same names were.

    Parameters
    ----------
    given : Atoms
        As read, with their own hydrogens.
    atoms : Atoms
        With those of the dictionary.
    hydrogens : Hydrogens
        Of these.

    Returns
    -------
    atoms : Atoms
    hydrogens : Hydrogens
        That know which groups these are.
    """
    rotors, frames = hydrogens.rotors, hydrogens.frames
    if rotors is None or frames is None or not len(rotors.rows):
        return atoms, hydrogens
    rows = rotors.rows
    leads = np.unique(rotors.lead[rows])
    before = _same(given, atoms, frames.child[leads])
    leads, before = leads[before >= 0], before[before >= 0]
    parent = frames.parent[leads]
    arm, axis = given.xyz[before] - atoms.xyz[parent], atoms.xyz[parent] - atoms.xyz[frames.neighbour[leads, 0]]
    off_axis = np.linalg.norm(np.cross(arm, axis), axis=1) > _OFF_AXIS * np.linalg.norm(axis, axis=1)
    placed = off_axis & (np.linalg.norm(arm, axis=1) < LONGEST_TO_HYDROGEN)
    leads, before, parent = leads[placed], before[placed], parent[placed]
    ends = frames.neighbour[leads]
    turn = frames.value[:, 2].copy()
    found = torsion(atoms.xyz[ends[:, 1]], atoms.xyz[ends[:, 0]], atoms.xyz[parent], given.xyz[before])
    three = np.bincount(rotors.lead[rows], minlength=len(turn))[leads] == 3  # alike, and turned by a third at most
    first = rotors.ideal[leads] - _SLACK
    turn[leads] = np.where(three, first + np.mod(found - first, 2.0 * np.pi / 3.0), found)
    known = np.zeros(len(turn), dtype=bool)
    known[leads] = True
    mine = rows[known[rotors.lead[rows]]]
    turn[mine] = turn[rotors.lead[mine]] + rotors.offset[mine]
    xyz = atoms.xyz.copy()
    xyz[frames.child[mine]] = place(frames.with_torsion(turn), atoms.xyz)[mine]
    return atoms.replace(xyz=xyz), dataclasses.replace(hydrogens, given=known)


def _same(given: Atoms, atoms: Atoms, rows: Int) -> Int:
    """Of some atoms (n,), the hydrogens of the same names among those given, with an occupancy; −1 for none."""
    there = np.flatnonzero(given.is_hydrogen & (given.occupancy > 0.0))
    number = dict(zip(_names(given, there), there.tolist()))
    return np.array([number.get(name, -1) for name in _names(atoms, rows)], dtype=np.int64)


def _names(atoms: Atoms, rows: Int) -> list[tuple[str, int, str, str, str, str]]:
    who = atoms.identity
    columns = (
        who.chain, who.sequence_number, who.insertion_code, who.residue_name, who.atom_name, who.altloc,
    )  # fmt: skip
    return list(zip(*(column[rows].tolist() for column in columns)))
