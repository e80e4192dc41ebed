"""Omit maps: what the data say of a part of the model when the model does not.

Polder maps (Liebschner et al., Acta Cryst. D73, 148, 2017) keep the bulk solvent out of the omitted region too: where
density is weak, a flat solvent there would hide it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arrayrefine.arguments import check_types
from arrayrefine.atoms import Atoms
from arrayrefine.errors import InputError
from arrayrefine.maps import MapCoefficients
from arrayrefine.problem import Problem
from arrayrefine.real_space.map_grids import MapGrid, map_grid
from arrayrefine.real_space.model_maps import maps_of
from arrayrefine.real_space.peaks import Peak, find_peaks
from arrayrefine.solvent import KeptOut
from arrayrefine.state import State, evaluate
from arrayrefine.validation.density_fit import correlations, mask_radius

Mask = NDArray[np.bool_]

RADIUS = 5.0
"""Å around each omitted atom without bulk solvent, as in the work cited."""
_NEAR = 2.0
"""Å; peaks this close to an omitted atom belong to it."""


@dataclass(frozen=True)
class OmitMap:
    """An omit map and what it says.

    Attributes
    ----------
    omitted : (N,) bool
        Atoms left out, their riding hydrogens included.
    state : State
        The model without them, whose phases the map has, or the best of these and of those that are known beside it.
    maps : MapCoefficients
    difference : MapGrid
        The mFo-DFc omit map.
    levels : (n,) float64
        Its values at the omitted atoms that are not hydrogens, in the order of the model, in sigma.
    peaks : tuple of Peak
        Its maxima within 2 Å of these atoms, the highest first.
    cc_present_absent, cc_present_data, cc_absent_data : float or None
        Correlations, near the omitted atoms, of three such maps: one from amplitudes computed with the atoms present,
        one from amplitudes computed with solvent in their place, and the one from the data. The atoms are there where
        the second number is clearly the largest of the three (Liebschner et al.: CC(1,2), CC(1,3), CC(2,3)).
    """

    omitted: Mask
    state: State
    maps: MapCoefficients
    difference: MapGrid
    levels: NDArray[np.float64]
    peaks: tuple[Peak, ...]
    cc_present_absent: float | None
    cc_present_data: float | None
    cc_absent_data: float | None


def omit_map(problem: Problem, state: State, omitted: Mask, radius: float = RADIUS) -> OmitMap:
    """Make an omit map without refining anything: atoms that were refined with the part leave a trace of it.

    Parameters
    ----------
    problem : Problem
    state : State
        Of the whole model.
    omitted : (N,) bool
        Atoms to leave out, see `select`; hydrogens that ride on them go too.
    radius : float
        Å around them from which the bulk solvent is kept out: a polder map. 0: a plain omit map, with solvent wherever
        the mask finds room.

    Raises
    ------
    ValueError
        Nothing or everything is left out.
    InputError
        An argument is of another type, or is no mask of these atoms.
    """
    check_types("omit_map", problem=(problem, Problem), state=(state, State), omitted=(omitted, np.ndarray))
    atoms = state.atoms
    if omitted.dtype != bool or omitted.shape != (len(atoms),):
        raise InputError(
            f"omit_map: omitted is {omitted.dtype} of shape {omitted.shape}; expected bool of shape ({len(atoms)},): "
            "make it with arrayrefine.select(state.atoms, ...)"
        )
    gone = omitted.copy()
    gone[atoms.riding.child] |= omitted[atoms.riding.parent]
    own = np.flatnonzero(gone & ~atoms.is_hydrogen & (atoms.occupancy > 0.0))
    if not len(own) or (gone | (atoms.occupancy <= 0.0)).all():
        raise ValueError("an omit map wants some atoms left out, and some left")
    without = atoms.replace(occupancy=np.where(gone, 0.0, atoms.occupancy))
    kept_out = KeptOut(atoms.xyz[own], radius) if radius > 0.0 else None
    clear = dataclasses.replace(problem, kept_out=kept_out)
    empty = evaluate(clear, without, absorb_b=False, before=state)
    maps = maps_of(clear, empty)
    crystal = problem.reflections.crystal
    difference = map_grid(maps, crystal, "mFo-DFc")
    absent = evaluate(problem, without, absorb_b=False, before=state)
    grids = [_computed(clear, empty, source.f_model, state.f_model, maps) for source in (state, absent)]
    near = np.where(np.isin(np.arange(len(atoms)), own), 0, -1)
    cc = [
        float(correlations(one, two, atoms.xyz, near, 1, mask_radius(difference.d_min))[0])
        for one, two in ((grids[0], grids[1]), (grids[0], difference), (grids[1], difference))
    ]
    present_absent, present_data, absent_data = (value if np.isfinite(value) else None for value in cc)
    peaks = tuple(p for p in find_peaks(difference, atoms.taken(own), 3.0) if p.height > 0 and p.distance <= _NEAR)
    peaks = tuple(dataclasses.replace(peak, atom=int(own[peak.atom])) for peak in peaks)
    levels = difference.at(atoms.xyz[own])
    return OmitMap(gone, empty, maps, difference, levels, peaks, present_absent, present_data, absent_data)


def _computed(
    problem: Problem, state: State, f_model: NDArray[np.complex128], whole: NDArray[np.complex128],
    like: MapCoefficients,
) -> MapGrid:  # fmt: skip
    """The difference map of a state from data as a model would have them, in place of those measured.

    Known phases are off by as much as they are from those of the `whole` model.
    """
    data = dataclasses.replace(problem.reflections, f_obs=np.abs(f_model))
    if data.phases is not None:
        data = dataclasses.replace(data, phases=data.phases.moved(np.angle(f_model / whole) / (2.0 * np.pi)))
    single = dataclasses.replace(state, twin=None)  # the amplitudes are those of one domain
    short = maps_of(dataclasses.replace(problem, reflections=data), single, filled=False)
    filled = np.full(len(like), complex(np.nan, np.nan))
    filled[: len(short)] = short.delfwt
    return map_grid(dataclasses.replace(like, delfwt=filled), data.crystal, "mFo-DFc")


def omitted_atoms(atoms: Atoms, omitted: Mask) -> NDArray[np.int64]:
    """Those of the omitted atoms (n,) that `OmitMap.levels` speaks of."""
    return np.flatnonzero(omitted & ~atoms.is_hydrogen)
