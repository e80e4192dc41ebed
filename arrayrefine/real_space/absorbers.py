"""What the anomalous difference map says of a model: where atoms absorb, and what should not."""

from __future__ import annotations

import dataclasses

from arrayrefine.atoms import WATERS, Atoms
from arrayrefine.maps import MapCoefficients
from arrayrefine.problem import Problem
from arrayrefine.real_space.map_grids import MapGrid, map_grid
from arrayrefine.real_space.peaks import anomalous_peaks
from arrayrefine.state import State
from arrayrefine.wording import Caution, counted

_NAMED = 5
_FEWEST_HOLES = 3
"""Atoms in holes of an anomalous map, deeper than its peaks, that are no chance."""
_AT = 0.8
"""Å from an atom within which an anomalous peak is its own."""


def sentences(problem: Problem, state: State, maps: MapCoefficients) -> list[str]:
    """A sentence on anomalous differences, and where their map is high; none where there are none."""
    pairs = problem.reflections.anomalous
    if pairs is None:
        return []
    if maps.anomalous is None:
        return [f"{pairs.sentence()}; there is no map of them, as the crystal is refined as a twin"]
    grid = map_grid(maps, problem.reflections.crystal, "anomalous")
    peaks = anomalous_peaks(grid, state.atoms)
    label = state.atoms.identity.label
    named = [f"{peak.height:.1f} sigma {peak.distance:.1f} Å from {label(peak.atom)}" for peak in peaks[:_NAMED]]
    where = f"{counted(len(peaks), 'peak')} above its noise: {', '.join(named)}" if peaks else "no peak above its noise"
    more = f" and {len(peaks) - _NAMED} more" if len(peaks) > _NAMED else ""
    said = [f"{pairs.sentence()}; their map (FAN PHAN) has {where}{more}"]
    said += _exchanged(grid, state.atoms)
    name = state.atoms.identity.residue_name
    waters = [peak for peak in peaks if name[peak.atom] in WATERS and peak.distance < _AT]
    if waters:
        listed = ", ".join(f"{label(peak.atom)} ({peak.height:.1f} sigma)" for peak in waters)
        one = len(waters) == 1
        said.append(Caution(
            f"{counted(len(waters), 'water')} {'scatters' if one else 'scatter'} anomalously, as oxygen hardly does: "
            f"{listed}. See whether {'it is an ion' if one else 'they are ions'}, such as chloride or a metal"
        ))
    return said


def _exchanged(grid: MapGrid, atoms: Atoms) -> list[str]:
    """A sentence where atoms are in holes of the anomalous difference map, as f″ is not negative."""
    holes = anomalous_peaks(dataclasses.replace(grid, values=-grid.values), atoms)
    own = [hole for hole in holes if hole.distance < _AT]
    if len(own) < _FEWEST_HOLES:
        return []
    listed = ", ".join(f"{atoms.identity.label(hole.atom)} (-{hole.height:.1f} sigma)" for hole in own[:_NAMED])
    return [Caution(
        f"{len(own)} atoms are in holes of the anomalous difference map that are deeper than its peaks: {listed}. "
        "Friedel mates seem to have changed places: see whether (+) and (-) are named right, and whether an axis was "
        "inverted where the data were indexed"
    )]
