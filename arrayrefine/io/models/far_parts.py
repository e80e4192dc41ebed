"""Chains and residues that stand many cells away from the rest, brought back by translations of the lattice."""

from __future__ import annotations

import gemmi
import numpy as np

from arrayrefine.wording import are, counted, listed

_CELLS, _FAR = 3.0, 100.0
"""Cells along one axis, and Å: what is further off than both is brought back, as all between would have to be looked
through for neighbours."""


def bring_back(structure: gemmi.Structure) -> list[str]:
    """Move what is far from the middle of a model to the cells about that, in place: the same crystal.

    A chain's polymer moves as a whole, all else residue by residue.

    Parameters
    ----------
    structure : gemmi.Structure
        Its first model; with its cell.

    Returns
    -------
    list of str
        A note on what was moved, or none.
    """
    parts = [(name, residues, _middle(residues)) for name, residues in _parts(structure) if any(residues)]
    parts = [part for part in parts if np.isfinite(part[2]).all()]
    if not parts:
        return []
    size = np.array([sum(len(residue) for residue in residues) for _, residues, _ in parts])
    places = np.array([middle for _, _, middle in parts])
    home = _weighted_median(places, size)
    to = structure.cell.frac.mat.tolist() @ (places - home).T
    off = (np.abs(to).max(axis=0) > _CELLS) & (np.linalg.norm(places - home, axis=1) > _FAR)
    moved = []
    for k in np.flatnonzero(off).tolist():
        name, residues, _ = parts[k]
        shift = gemmi.Position(*(structure.cell.orth.mat.tolist() @ -np.rint(to[:, k])))
        for residue in residues:
            for atom in residue:
                atom.pos += shift
        moved.append(name)
    if not moved:
        return []
    n = len(moved)
    return [
        f"{counted(n, 'part')} of the model more than {_CELLS:.0f} cells away from the rest {are(n)} brought back by "
        f"translations of the lattice, and written there: {listed(moved)}"
    ]


def _parts(structure: gemmi.Structure) -> list[tuple[str, list[gemmi.Residue]]]:
    """Polymers of chains, and other residues one by one, with names for them."""
    found = []
    for chain in structure[0]:
        kinds = [gemmi.find_tabulated_residue(residue.name) for residue in chain]
        inside = [kind.is_amino_acid() or kind.is_nucleic_acid() for kind in kinds]
        polymer = [residue for residue, yes in zip(chain, inside) if yes]
        if polymer:
            found.append((f"chain {chain.name}", polymer))
        rest = [residue for residue, yes in zip(chain, inside) if not yes]
        found += [(f"{chain.name}/{residue.name} {residue.seqid}", [residue]) for residue in rest]
    return found


def _middle(residues: list[gemmi.Residue]) -> np.ndarray:
    return np.asarray(np.mean([atom.pos.tolist() for residue in residues for atom in residue], axis=0))


def _weighted_median(places: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Median (3,) of places (n, 3) that count so often."""
    middle = []
    for axis in places.T:
        order = np.argsort(axis)
        total = np.cumsum(weight[order])
        middle.append(axis[order[np.searchsorted(total, 0.5 * total[-1])]])
    return np.array(middle)
