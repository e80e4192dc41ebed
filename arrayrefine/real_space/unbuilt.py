"""Density that ends without a model: a ligand, side chains, more of the chain; and high peaks of any kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from arrayrefine.atoms import Atoms
from arrayrefine.maps import MapCoefficients
from arrayrefine.problem import Problem
from arrayrefine.real_space.map_grids import map_grid
from arrayrefine.real_space.peaks import Peak, find_blobs, find_peaks, region_volumes
from arrayrefine.rebuilding.waters import larger_than_waters, largest_of_waters, place_of
from arrayrefine.state import State
from arrayrefine.wording import Caution, counted, listed

_SURE = 6.0
"""Sigma of the mFo-DFc map that a region must reach. Of fifteen deposited models 4IID alone has one, of 24 Å³."""
_HIGH = 8.0
"""Sigma of the mFo-DFc map from which a peak is named by itself, and a hole. Of fifteen deposited models three have
them: 1RX2 beside an aspartate that does more than its atoms tell, 4IID beside a tyrosine and waters, 1EHZ on a Mg."""
_AT_PEAKS = "atoms, conformers or waters are missing at peaks, or are of a heavier element"
_AT_HOLES = "atoms at holes are there in part only, or not at all, or are of a lighter element"
_AWAY, _IN_SOLVENT = 2.5, "there is less than the model's bulk solvent at holes away from atoms, as among lipids"
"""Å from any atom beyond which a hole is none of it: in a bacteriorhodopsin one is 4 Å away, where the mask is solvent,
and stays whatever islands of it are filled."""


def sentences(
    problem: Problem, state: State, maps: MapCoefficients, looked: bool = False, told: Sequence[Peak] = ()
) -> list[str]:
    """Sentences on regions of density that are too large for waters, and are sure, and on high peaks of mFo-DFc.

    Not of neutrons, whose hydrogens leave holes.

    Parameters
    ----------
    problem : Problem
    state : State
    maps : MapCoefficients
        Of this state.
    looked : bool
        Whether waters were looked for, which has told the regions.
    told : sequence of Peak
        Peaks of this map that were told before, at waters that were added.
    """
    data, options, atoms = problem.reflections, problem.options, state.atoms
    if data.radiation == "neutron":
        return []
    best, difference = (map_grid(maps, data.crystal, name) for name in ("2mFo-DFc", "mFo-DFc"))
    large = larger_than_waters(find_blobs(best, difference, atoms), data.d_min, options.ordered_solvent)
    found = [blob for blob in large if blob.peak >= _SURE]
    said: list[str] = []
    if found and not looked:
        where = [f"{place_of(blob, atoms)} ({blob.peak:.0f} sigma)" for blob in found]
        said.append(Caution(
            f"{counted(len(found), 'region')} of density without a model, too large for waters: {listed(where)}. See "
            "what is there, such as a ligand, side chains or more of the chain, and build it; arrayrefine peaks tells "
            "where"
        ))
    before = {peak.xyz for peak in told}
    peaks = [peak for peak in find_peaks(difference, atoms, _HIGH) if peak.xyz not in before]
    if peaks:
        volume = region_volumes(best, atoms, np.array([peak.xyz for peak in peaks]))
        within = volume > largest_of_waters(data.d_min, options.ordered_solvent)
        said += of_peaks([peak for peak, told in zip(peaks, within) if not told], atoms)
    return said


def of_peaks(peaks: list[Peak], atoms: Atoms) -> list[str]:
    """A sentence on peaks and holes, if there are any."""
    high, holes = ([peak for peak in peaks if sign * peak.height > 0.0] for sign in (1.0, -1.0))
    advice = [
        said
        for said, some in (
            (_AT_PEAKS, high),
            (_AT_HOLES, [hole for hole in holes if hole.distance <= _AWAY]),
            (_IN_SOLVENT, [hole for hole in holes if hole.distance > _AWAY]),
        )
        if some
    ]
    parts = [
        f"{counted(len(some), what)} {where}{_HIGH:g} sigma: " + listed([
            f"{peak.height:.0f} sigma {peak.distance:.1f} Å from {atoms.identity.label(peak.atom)}" for peak in some
        ])
        for what, where, some in (("peak", "above ", high), ("hole", "below -", holes)) if some
    ]  # fmt: skip
    if not parts:
        return []
    return [Caution(
        f"the mFo-DFc map ends with {', and '.join(parts)}. See whether "
        f"{', and '.join(advice)}; arrayrefine peaks lists more of them"
    )]
