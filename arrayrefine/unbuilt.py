"""Density that ends without a model: a ligand, side chains, or more of the chain."""

from __future__ import annotations

from arrayrefine.map_grids import map_grid
from arrayrefine.maps import MapCoefficients
from arrayrefine.peaks import find_blobs
from arrayrefine.problem import Problem
from arrayrefine.state import State
from arrayrefine.waters import MAP_SAMPLING, larger_than_waters, place_of
from arrayrefine.wording import Caution, counted, listed

_SURE = 6.0
"""Sigma of the mFo-DFc map that a region must reach."""


def sentences(problem: Problem, state: State, maps: MapCoefficients) -> list[str]:
    """A sentence on regions of density that are too large for waters, and are sure; not of neutrons, whose hydrogens
    leave holes, and not where waters were looked for, as that tells it already.
    """
    data, options = problem.reflections, problem.options
    if options.waters != "keep" or data.radiation == "neutron":
        return []
    best, difference = (map_grid(maps, data.crystal, name, MAP_SAMPLING) for name in ("2mFo-DFc", "mFo-DFc"))
    every = find_blobs(best, difference, state.atoms)
    found = [blob for blob in larger_than_waters(every, data.d_min, options.ordered_solvent) if blob.peak >= _SURE]
    if not found:
        return []
    where = [f"{place_of(blob, state.atoms)} ({blob.peak:.0f} sigma)" for blob in found]
    return [Caution(
        f"{counted(len(found), 'region')} of density without a model, too large for waters: {listed(where)}. See what "
        "is there, such as a ligand, side chains or more of the chain, and build it; arrayrefine peaks tells where"
    )]
