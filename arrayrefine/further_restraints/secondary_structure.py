"""Hydrogen bonds of helices and sheets, found in the model itself, as restraints."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from arrayrefine.atoms import Atoms
from arrayrefine.restraints import Distances, Restraints
from arrayrefine.topology.polymers import Residue, backbone

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Bonds = set[tuple[int, int]]
"""(acceptor, donor): numbers of the residues of C=O and of N-H."""

LENGTH_HELIX, LENGTH_SHEET = 2.99, 2.91
"""Å; mean O...N distances (Baker & Hubbard, Prog. Biophys. Mol. Biol. 44, 97, 1984)."""
_ENERGY = -0.5
"""kcal/mol; a hydrogen bond has less (Kabsch & Sander, Biopolymers 22, 2577, 1983)."""
_CHARGES = 0.42 * 0.20 * 332.0
_REACH = 5.2
_N_H = 1.01


def secondary_structure(
    atoms: Atoms, restraints: Restraints, residues: list[Residue], sigma: float, alpha: float, weight: float
) -> tuple[Distances, list[str]]:
    """Restraints on O...N of helices and sheets, and what was found.

    Parameters
    ----------
    atoms : Atoms
    restraints : Restraints
        Its bonds say which residues follow each other.
    residues : list of Residue
    sigma : float, Å
    alpha, weight : float
        See `Distances`.
    """
    peptides, table, previous = backbone(residues, restraints.bonds.index, len(atoms))
    bonds = _hydrogen_bonds(atoms.xyz, table, previous, np.array([r.name == "PRO" for r in peptides], dtype=bool))
    helix, sheet = _helices(bonds, previous), _ladders(bonds, previous)
    sheet -= helix
    pairs = [(table[a, 3], table[d, 0]) for kind in (helix, sheet) for a, d in sorted(kind)]
    ideal = np.r_[np.full(len(helix), LENGTH_HELIX), np.full(len(sheet), LENGTH_SHEET)]
    index = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    note = f"{len(helix)} hydrogen bonds of helices and {len(sheet)} of sheets, found in the model, are restrained"
    found = Distances("secondary structure", index, ideal, np.full(len(index), sigma), alpha, weight)
    return found, [note] if len(index) else []


def _hydrogen_bonds(xyz: Float, table: Int, previous: Int, proline: NDArray[np.bool_]) -> Bonds:
    """By the energy of Kabsch and Sander, the hydrogen opposite the C=O of the residue before; nearest donors first."""
    donors = np.flatnonzero((previous >= 0) & ~proline)
    if not len(donors):
        return set()
    n, c, o = xyz[table[:, 0]], xyz[table[:, 2]], xyz[table[:, 3]]
    outwards = c[previous[donors]] - o[previous[donors]]
    h = n[donors] + _N_H * outwards / np.maximum(np.linalg.norm(outwards, axis=1), 1e-6)[:, None]
    near = cKDTree(n[donors]).query_ball_point(o, _REACH)
    acceptor = np.repeat(np.arange(len(table)), [len(row) for row in near])
    row = np.array([k for rows in near for k in rows], dtype=np.int64)
    donor = donors[row]
    apart = (donor != acceptor) & (previous[donor] != acceptor)
    acceptor, row, donor = acceptor[apart], row[apart], donor[apart]

    def inverse(a: Float, b: Float) -> Float:
        return np.asarray(1.0 / np.maximum(np.linalg.norm(a - b, axis=1), 0.5))

    energy = _CHARGES * (
        inverse(o[acceptor], n[donor]) + inverse(c[acceptor], h[row])
        - inverse(o[acceptor], h[row]) - inverse(c[acceptor], n[donor])
    )  # fmt: skip
    best: dict[int, tuple[float, int]] = {}
    for a, d, e in zip(acceptor.tolist(), donor.tolist(), energy.tolist()):
        if e < _ENERGY and e < best.get(d, (0.0, 0))[0]:
            best[d] = e, a
    return {(a, d) for d, (_, a) in best.items()}


def _back(previous: Int, row: int, steps: int) -> int:
    """The residue so many before; -1 beyond a break."""
    for _ in range(steps):
        row = int(previous[row]) if row >= 0 else -1
    return row


def _helices(bonds: Bonds, previous: Int) -> Bonds:
    """Bonds from C=O of i to N-H of i + 4, or i + 3, that have a neighbour of their kind."""
    found: Bonds = set()
    for turn in (4, 3):
        turns = {(a, d) for a, d in bonds if _back(previous, d, turn) == a}
        after = {(int(previous[a]), int(previous[d])) for a, d in turns if previous[a] >= 0}
        before = {(a, d) for a, d in turns if (int(previous[a]), int(previous[d])) in turns}
        found |= (turns & after) | before
    return found


def _ladders(bonds: Bonds, previous: Int) -> Bonds:
    """Bonds of parallel and antiparallel bridges."""
    after = np.full(len(previous), -1)
    after[previous[previous >= 0]] = np.flatnonzero(previous >= 0)
    found: Bonds = set()
    for a, d in bonds:
        behind_a = int(after[a])
        # antiparallel: narrow pair (a, d) (d, a), or wide pair (a, d) (d - 2, a + 2)
        wide = _back(previous, d, 2), int(after[behind_a]) if behind_a >= 0 else -1
        if (d, a) in bonds or (min(wide) >= 0 and wide in bonds):
            found.add((a, d))
        # parallel: (i - 1, j) with (j, i + 1), that is (a, d) with (d, a + 2)
        if wide[1] >= 0 and (d, wide[1]) in bonds:
            found |= {(a, d), (d, wide[1])}
    return found
