"""Hydrogen bonds of helices and sheets, found in the model itself, as restraints."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.further_restraints.surroundings import Surroundings, surroundings
from arrayrefine.restraints import Distances, Restraints
from arrayrefine.topology.polymers import BACKBONE, Residue, backbone

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
_AROUND = 14.0
"""Å between the middles of two main chains, for all that tells whether bonds between them are of a sheet."""
_N_H = 1.01


def secondary_structure(
    atoms: Atoms, restraints: Restraints, residues: list[Residue], sigma: float, alpha: float, weight: float,
    crystal: Crystal | None = None,
) -> tuple[Distances, Surroundings, list[str]]:  # fmt: skip
    """Restraints on O...N of helices and sheets.

    Parameters
    ----------
    atoms : Atoms
    restraints : Restraints
        Its bonds say which residues follow each other.
    residues : list of Residue
    sigma : float, Å
    alpha, weight : float
        See `Distances`.
    crystal : Crystal, optional
        Whose symmetry mates may continue a sheet; none are looked for without it.

    Returns
    -------
    Distances
        Between rows of the second.
    Surroundings
    list of str
        What was found.
    """
    around = surroundings(atoms, residues, restraints.bonds.index, BACKBONE, _AROUND, crystal)
    peptides, table, previous = backbone(around.residues, around.bonds, len(around.xyz))
    bonds = _hydrogen_bonds(around.xyz, table, previous, np.array([r.name == "PRO" for r in peptides], dtype=bool))
    helix, sheet = _helices(bonds, previous), _ladders(bonds, previous)
    sheet -= helix
    pairs = [(int(table[a, 3]), int(table[d, 0])) for kind in (helix, sheet) for a, d in sorted(kind)]
    lengths = [LENGTH_HELIX] * len(helix) + [LENGTH_SHEET] * len(sheet)
    once: dict[object, tuple[int, int, float]] = {}
    for (acceptor, donor), length in zip(pairs, lengths):
        if min(acceptor, donor) < len(atoms):
            once.setdefault(around.seen(acceptor, donor)[0], (acceptor, donor, length))
    rows = list(once.values())
    index = np.array([row[:2] for row in rows], dtype=np.int64).reshape(-1, 2)
    ideal = np.array([row[2] for row in rows])
    found = Distances("secondary structure", index, ideal, np.full(len(index), sigma), alpha, weight)
    return found, around, [_sentence(index, ideal, len(atoms))] if rows else []


def _sentence(index: Int, ideal: Float, n_atoms: int) -> str:
    helical, across = int((ideal == LENGTH_HELIX).sum()), int((index >= n_atoms).any(axis=1).sum())
    mates = f" {across} of them with symmetry mates," if across else ""
    return (
        f"{helical} hydrogen bonds of helices and {len(ideal) - helical} of sheets, found in the model,{mates} "
        "are restrained"
    )


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
