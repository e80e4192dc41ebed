"""Models of which B is the confidence of a prediction, pLDDT, as AlphaFold, ColabFold and ESMFold write it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from arrayrefine.atoms import Atoms
from arrayrefine.displacements.displacement import B_BOUNDS
from arrayrefine.topology.polymers import residues_of
from arrayrefine.wording import Caution, counted, listed

Float = NDArray[np.float64]

_REACH = 10.0
"""Å; CA atoms as near as this to another count as its neighbours."""
_FEWEST = 30
"""Residues from which chance does not make the correlation."""
_RISING = 0.25
"""Rank correlation of B with the number of neighbours above which B is no B. It is 0.45 to 0.89 in nine predictions,
and 0.00 at most in some 200 models of crystals, where B falls as the chain is buried."""
_HIGHEST = 100.0
"""pLDDT has no more; where it has 1 at most, it is given as a fraction."""
_LOW = 50.0
"""pLDDT below which a residue is hardly where it was predicted (Tunyasuvunakool et al. (2021) Nature 596, 590-596)."""


def sentences(atoms: Atoms, refined: bool) -> list[str]:
    """A sentence where B of the proteins rises with the number of neighbours.

    Parameters
    ----------
    atoms : Atoms
        The start.
    refined : bool
        Whether B is refined.
    """
    residues = [residue for residue in residues_of(atoms) if "CA" in residue.atoms]
    if len(residues) < _FEWEST:
        return []
    b = np.array([atoms.b_iso[[*residue.atoms.values()]].mean() for residue in residues])
    highest = float(b.max())
    xyz = atoms.xyz[[residue.atoms["CA"] for residue in residues]]
    neighbours = cKDTree(xyz).query_ball_point(xyz, _REACH, return_length=True)
    if highest > _HIGHEST or (found := _rank_correlation(b, neighbours)) < _RISING:
        return []
    # Fractions below 0.5 have been raised to it as the model was read, to the least B.
    below = b <= max(0.01 * _LOW, B_BOUNDS[0]) if highest <= 1.0 else b < _LOW
    low = [residue for residue, is_low in zip(residues, below.tolist()) if is_low]
    names = listed([f"{residue.chain}/{residue.name} {residue.key[0]}{residue.key[1]}" for residue in low])
    said = (
        f"B rises with the number of neighbours of a residue (rank correlation {found:.2f}; in crystals it falls): it "
        "probably is the confidence of a prediction, pLDDT"
    )
    said += ", and is refined from there, as from any other B; R of the start says little" if refined else (
        ". As B is not refined here, R and maps say little: give B that are alike, such as 20 Å², or refine them"
    )
    if low:
        said += f". {counted(len(low), 'residue')} below 50, which seldom {'is' if len(low) == 1 else 'are'} as "
        said += f"predicted, had better be left out: {names}"
    return [Caution(said)]


def _rank_correlation(one: NDArray[np.generic], two: NDArray[np.generic]) -> float:
    """Spearman's, ties at their mean rank; 0 where either is constant. `scipy.stats` would take 0.3 s to import."""
    ranks = np.array([_ranks(values) for values in (one, two)])
    return float(np.corrcoef(ranks)[0, 1]) if (np.ptp(ranks, axis=1) > 0.0).all() else 0.0


def _ranks(values: NDArray[np.generic]) -> Float:
    """Ranks (n,) of values (n,), equal ones at the mean of theirs."""
    _, which, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - 0.5 * count)[which.reshape(-1)], dtype=np.float64)
