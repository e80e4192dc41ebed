"""One model of copies that differ: where they start from, as one set of coordinates and B is to stand for all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.strict_ncs.copies import Copies, turned

Float = NDArray[np.float64]

_ALIKE = 0.7
"""Å rms of a residue's atoms; copies of it that differ by more from the one in the middle are in another conformation,
and have no part in the mean. Two models with random errors of 0.3 Å differ by 0.4."""
_NO_DIFFERENCE = 1e-3
"""Å rms."""


def agreed(copies: Copies, atoms: Atoms) -> Atoms:
    """Atoms of which all copies are the same: the mean of those that agree.

    Each residue is that of the copy nearest to the median of all, in the mean with those that are in its conformation:
    errors of the copies average out, and conformations do not mix. B is the mean of all, and so is what U has besides.

    Parameters
    ----------
    copies : Copies
    atoms : Atoms

    Returns
    -------
    Atoms
        With parents and children in their new places; riding atoms are where they were.
    """
    if not len(copies):
        return atoms
    parents, place = np.unique(copies.parent, return_inverse=True)
    motions = copies.motions(atoms)
    count = len(copies.names) + 1
    where = np.full((count, len(parents), 3), np.nan)
    b_iso, u_aniso = np.full((count, len(parents)), np.nan), np.full((count, len(parents), 6), np.nan)
    where[0], b_iso[0], u_aniso[0] = atoms.xyz[parents], atoms.b_iso[parents], atoms.u_aniso[parents]
    at = copies.operator + 1, place
    where[at] = motions.undone(copies.operator, atoms.xyz[copies.child])
    b_iso[at] = atoms.b_iso[copies.child]
    u_aniso[at] = turned(np.swapaxes(motions.rotation, 1, 2)[copies.operator], atoms.u_aniso[copies.child])
    xyz, b, u = atoms.xyz.copy(), atoms.b_iso.copy(), atoms.u_aniso.copy()
    xyz[parents] = _mean_of_one_conformation(where, atoms.identity.residue[parents])
    tied = np.ones(len(atoms), dtype=bool)  # what is no copy's parent is not asked for
    tied[copies.parent] = copies.displaced_alike(atoms)
    tied = tied[parents]
    b[parents[tied]] = np.nanmean(b_iso, axis=0)[tied]
    tied &= atoms.anisotropic[parents]
    u[parents[tied]] = np.nanmean(u_aniso, axis=0)[tied]
    return copies.placed(atoms.replace(xyz=xyz, b_iso=b, u_aniso=u), motions)


def _mean_of_one_conformation(where: Float, residue: NDArray[np.int64]) -> Float:
    """Mean (P, 3) of the copies (C, P, 3), nan where there is none, that are like that nearest to the median."""
    _, number = np.unique(residue, return_inverse=True)
    atoms = np.bincount(number)

    def off(places: Float) -> Float:
        """Root mean square distance (C, residues) of the copies from places (P, 3)."""
        squares = ((where - places) ** 2).sum(axis=2)
        return np.sqrt(np.array([np.bincount(number, row) for row in squares]) / atoms)

    from_median = np.nan_to_num(off(np.nanmedian(where, axis=0)), nan=np.inf)
    nearest = (from_median <= from_median.min(axis=0) + _NO_DIFFERENCE).argmax(axis=0)  # of several the first
    middle = where[nearest[number], np.arange(len(number))]
    alike = off(middle) < _ALIKE  # not where there is none
    chosen = np.where(alike[:, number, None], where, np.nan)
    return np.asarray(np.nanmean(chosen, axis=0))
