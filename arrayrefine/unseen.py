"""Components, residues and ligands, that end where the map shows nothing."""

from __future__ import annotations

import numpy as np

from arrayrefine.atoms import WATERS
from arrayrefine.map_grids import map_grid
from arrayrefine.maps import MapCoefficients
from arrayrefine.problem import Problem
from arrayrefine.state import State
from arrayrefine.wording import Caution, are, counted, listed

_NOTHING = 0.3
"""Sigma of the 2mFo-DFc map that atoms of a component have on average, below which nothing is seen of it. Of 2812 of
seventeen deposited models three have less, two of them at 3.4 Å; of a tail that was predicted through empty solvent 19
of 20, and a ligand put there ends with 0.03."""
_COARSE = 4.1
"""Å; in maps of lower resolution residues that are right lie in none too: of the deposited 1RX2, 1CBS, 3SB3, 4XOF, 1EHZ
and 5KZB cut at 4 Å nothing more than at 3 Å, at 5 Å 5, 23, 1, 0, 3 and 0 components, at 6 Å up to 65."""


def sentences(problem: Problem, state: State, maps: MapCoefficients) -> list[str]:
    """A sentence on residues, other than waters, whose atoms end in no density; not of neutrons, as some scatter less
    than nothing, and not where the map is too coarse to tell.
    """
    atoms, data = state.atoms, problem.reflections
    who = atoms.identity
    seen = ~atoms.is_hydrogen & (atoms.occupancy > 0.0) & ~np.isin(who.residue_name, WATERS)
    rows = np.flatnonzero(seen)
    if data.radiation == "neutron" or data.d_min > _COARSE or not len(rows):
        return []
    residue, first, member = np.unique(who.residue[rows], return_index=True, return_inverse=True)
    member = member.reshape(-1)
    level = map_grid(maps, data.crystal, "2mFo-DFc").at(atoms.xyz[rows])
    mean = np.bincount(member, level, minlength=len(residue)) / np.bincount(member, minlength=len(residue))
    low = np.flatnonzero(mean < _NOTHING)
    if not len(low):
        return []
    low = low[np.argsort(mean[low], kind="stable")]
    names = [f"{who.residue_label(int(rows[first[k]]))} ({mean[k]:.1f} sigma)" for k in low.tolist()]
    n, they = len(names), "it is" if len(names) == 1 else "they are"
    return [Caution(
        f"{counted(n, 'component')} {are(n)} where the 2mFo-DFc map shows nothing (below {_NOTHING:g} sigma on average)"
        f": {listed(names)}. See whether {they} in the crystal, and there"
    )]
