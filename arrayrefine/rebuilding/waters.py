"""Ordered waters: places where a model lacks one, and those that the data do not bear out.

A water is worth its place, its B and the risk of chance where log p gains enough by it. A peak of the difference map
says where to look. What log p gains there is told to second order: with its gradient g and its expected curvature h by
the occupancy q, it is −g q − ½ h q², at the best q up to 1. Where a model lacks a water its bulk solvent stands there
instead, so that less than all of it is seen: a third, often.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, coexist
from arrayrefine.crystal import Crystal
from arrayrefine.io.models.special_positions import find_sites
from arrayrefine.kernels.contacts import pairs_of
from arrayrefine.maps import MapCoefficients
from arrayrefine.options import OrderedSolvent
from arrayrefine.real_space.map_grids import map_grid
from arrayrefine.real_space.peaks import Blob, Peak, find_blobs, find_peaks, region_volumes
from arrayrefine.rebuilding.probes import Probes
from arrayrefine.state import State
from arrayrefine.topology.nonbonded import metal_flags

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Mask = NDArray[np.bool_]

_PEAK = 2.5
"""Sigma of the difference map above which a peak is looked at."""
_METAL = (1.8, 3.0)
"""Å; between these a metal binds a water."""
_OTHER = 2.9
"""Å; atoms that bind none come no nearer, riding hydrogens aside."""
_B_RATIOS, _B_RANGE = (0.7, 1.0, 1.5, 2.2, 3.3), (5.0, 100.0)
"""B of a water is one of these times the mean B of what binds it, that with which log p gains most; its limits, Å²."""
_TO_STAY = 2.0
"""What log p gains by a water of the model, over what it must gain by a new one: it went to where it gains, and phases
follow it. Waters put at random into the solvent of 1RX2 come to 1 to 9, its own to 8 and more but for a
twentieth."""
_LEAST_OCCUPANCY = 0.3
"""Of a full water, at the best: less is not one."""
_NEARER = 0.1
"""Å; waters that have been refined may be nearer by this to what binds them than new ones."""
_REMAINS, _AT_WATER = 6.0, 1.2
"""Sigma, and Å: difference density as high and as near as this that stays at a refined water is of something else."""
_SAME = 0.01
"""Å; an atom and its image as near as this are one, on a special position."""


@dataclass(frozen=True)
class Sites:
    """Places for waters, those that gain most first.

    Attributes
    ----------
    xyz : (n, 3) float64
        Å, the symmetry copy nearest to the model; on special positions exactly.
    b_iso : (n,) float64
        Å².
    gain : (n,) float64
        What log p is expected to gain by each before it is refined.
    avoided : tuple of Blob
        Regions of density that are too large for waters, the largest first.
    """

    xyz: Float
    b_iso: Float
    gain: Float
    avoided: tuple[Blob, ...] = ()

    @classmethod
    def none(cls) -> Sites:
        """No place."""
        return cls(np.zeros((0, 3)), np.zeros(0), np.zeros(0))

    def __len__(self) -> int:
        return len(self.gain)


@dataclass(frozen=True)
class _Near:
    """Places that have an atom, or another place, nearby: which place, what (atoms first, places after them), whether
    that binds a water at this place, and whether it is too near for one."""

    place: Int
    other: Int
    binds: Mask
    clashes: Mask

    def excluded(self, n: int, m: int) -> list[Int]:
        """Places that are too near to each of the m, of which the first is number n of `other`."""
        among = np.flatnonzero(self.clashes & (self.other >= n))
        among = among[np.argsort(self.other[among], kind="stable")]
        return np.split(self.place[among], np.searchsorted(self.other[among], n + np.arange(1, m)))


class _Gains(Probes):
    """What log p gains by waters, to second order."""

    def by_new(self, xyz: Float, multiplicity: Int, b_iso: Float) -> tuple[Float, Float]:
        """By waters at places (m, 3) with B (m,), each for itself: with the best occupancy up to 1, 0 where that is too
        low, and with 1."""
        oxygen = np.repeat(np.flatnonzero(self._atoms.element == "O")[:1], len(xyz))
        put = dataclasses.replace(
            self._atoms.taken(oxygen), xyz=xyz, b_iso=b_iso, u_aniso=np.zeros((len(xyz), 6)),
            anisotropic=np.zeros(len(xyz), dtype=bool), occupancy=1.0 / multiplicity,
        )  # fmt: skip
        gradient = self._field(self._sf.like(oxygen), put).occupancy / multiplicity
        curvature = self._curvature(oxygen, b_iso) / multiplicity
        occupancy = np.clip(-gradient / curvature, 0.0, 1.0)
        gain = -(gradient + 0.5 * curvature * occupancy) * occupancy
        best = np.asarray(np.where(occupancy > _LEAST_OCCUPANCY, gain, 0.0))
        return best, np.asarray(-(gradient + 0.5 * curvature))

    def best(self, xyz: Float, multiplicity: Int, b_nearby: Float) -> tuple[Float, Float]:
        """Gain (m,) at the best occupancy, and B (m,) that suits a whole one, among atoms of a mean B (m,)."""
        tried = np.clip(np.outer(_B_RATIOS, b_nearby), *_B_RANGE)
        gains, whole = np.stack([self.by_new(xyz, multiplicity, b_iso) for b_iso in tried], axis=1)
        return gains.max(axis=0), tried[np.argmax(whole, axis=0), np.arange(len(xyz))]

    def by_old(self, rows: Int) -> Float:
        """By atoms of the model (n,) being there."""
        atoms = self._atoms
        occupancy = atoms.occupancy[rows]
        curvature = self._curvature(rows, atoms.b_iso[rows]) * atoms.multiplicity[rows]
        return np.asarray((0.5 * curvature * occupancy - self._here[rows]) * occupancy)

    def _curvature(self, rows: Int, b_iso: Float) -> Float:
        """Expected second derivative (n,) of -log p by the occupancy of atoms like those in `rows`, general places."""
        return self._overlaps(np.zeros(len(rows)), 2.0 * b_iso) * self._overlaps.electrons[rows] ** 2


def find_waters(state: State, maps: MapCoefficients, options: OrderedSolvent) -> Sites:
    """Places where the data want a water, and something binds it.

    Nothing else may be too near, symmetry mates included, and density that goes on further than that of a water or two
    is left to what it is of. First come places that the model binds, then those that
    waters there bind, and so on; of places that exclude each other the one by which log p gains most.

    Parameters
    ----------
    state : State
    maps : MapCoefficients
        Of it.
    options : OrderedSolvent
    """
    atoms, crystal = state.atoms, state.xray.reflections.crystal
    difference = map_grid(maps, crystal, "mFo-DFc")
    peaks = find_peaks(difference, atoms, _PEAK, most=len(atoms))
    found = np.array([peak.xyz for peak in peaks if peak.height > 0.0 and peak.atom >= 0]).reshape(-1, 3)
    sites = find_sites(crystal, found, np.arange(len(found)))
    near = _near(crystal, atoms, sites.xyz, options)
    n, m = len(atoms), len(found)
    there = np.arange(n + m) < n
    best = map_grid(maps, crystal, "2mFo-DFc")
    free = region_volumes(best, atoms, sites.xyz) <= largest_of_waters(state.xray.reflections.d_min, options)
    free &= np.bincount(near.place[near.clashes & there[near.other]], minlength=m) == 0
    free &= np.bincount(near.place[near.clashes & (near.other == n + near.place)], minlength=m) == 0
    b_all, gain = np.append(atoms.b_iso, np.zeros(m)), np.zeros(m)
    gains, found_so_far, excluded = _Gains(state), list[int](), near.excluded(n, m)
    while True:
        bound = near.binds & there[near.other]
        count = np.bincount(near.place[bound], minlength=m)
        shell = np.flatnonzero((count > 0) & free & ~there[n:])
        if not len(shell):
            break
        b_nearby = np.bincount(near.place[bound], b_all[near.other[bound]], m)[shell] / count[shell]
        gain[shell], b_all[n + shell] = gains.best(sites.xyz[shell], sites.multiplicity[shell], b_nearby)
        free[shell[gain[shell] < options.gain]] = False
        for place in shell[np.argsort(-gain[shell], kind="stable")].tolist():
            if free[place]:
                there[n + place] = True
                found_so_far.append(place)
                free[excluded[place]] = False
    chosen = np.array(found_so_far, dtype=np.int64)
    chosen = chosen[np.argsort(-gain[chosen], kind="stable")]
    avoided = larger_than_waters(find_blobs(best, difference, atoms), state.xray.reflections.d_min, options)
    return Sites(sites.xyz[chosen], b_all[n + chosen], gain[chosen], avoided)


def largest_of_waters(d_min: float, options: OrderedSolvent) -> float:
    """Largest region of density that may hold waters, Å³."""
    return float(max(options.largest, d_min**3))


def larger_than_waters(blobs: Iterable[Blob], d_min: float, options: OrderedSolvent) -> tuple[Blob, ...]:
    """Those regions of density that are too large for waters in maps to `d_min`, Å, the largest first."""
    large = (blob for blob in blobs if blob.volume > largest_of_waters(d_min, options))
    return tuple(sorted(large, key=lambda blob: -blob.volume))


def place_of(blob: Blob, atoms: Atoms) -> str:
    """How large a region is, and where."""
    return f"{blob.volume:.0f} Å³ {blob.distance:.1f} Å from {atoms.identity.label(blob.atom)}"


def unsupported_waters(state: State, rows: Int, options: OrderedSolvent) -> Int:
    """Those of some waters (n,) of the model by which log p gains too little, twice as much as is asked of a new one,
    and of two that have come too near to each other, or to another atom that binds waters, the one that gains less.
    """
    if not len(rows):
        return rows
    gain = np.full(len(state.atoms), np.inf)
    gain[rows] = _Gains(state).by_old(rows)
    gone = gain < _TO_STAY * options.gain
    i, j = _too_near(state, rows, options.shortest - _NEARER)
    for one, two in sorted(zip(i.tolist(), j.tolist()), key=lambda pair: -max(gain[list(pair)])):
        if not gone[[one, two]].any():
            gone[one if gain[one] < gain[two] else two] = True
    return np.flatnonzero(gone)


def _too_near(state: State, rows: Int, shortest: float) -> tuple[Int, Int]:
    """Pairs of an atom among `rows` (n,) and N or O, both there and nearer than that; symmetry mates included."""
    atoms, crystal = state.atoms, state.xray.reflections.crystal
    pairs = pairs_of(
        rows, atoms.xyz, crystal.rotations, crystal.translations, crystal.orth, crystal.frac, shortest
    )
    polar = np.isin(atoms.element, ("N", "O"))
    keep = polar[pairs.i] & polar[pairs.j] & (pairs.i != pairs.j)
    keep &= (atoms.occupancy * atoms.multiplicity)[pairs.i] + (atoms.occupancy * atoms.multiplicity)[pairs.j] > 1.0
    keep &= (atoms.occupancy[pairs.i] > 0.0) & (atoms.occupancy[pairs.j] > 0.0)
    letters = atoms.identity.altloc
    keep &= coexist(letters[pairs.i], letters[pairs.j])
    return pairs.i[keep], pairs.j[keep]


def more_than_waters(state: State, maps: MapCoefficients, rows: Int) -> tuple[tuple[int, Peak], ...]:
    """Waters among `rows` (n,) that difference density stays at, each with its highest peak, the highest first."""
    difference = map_grid(maps, state.xray.reflections.crystal, "mFo-DFc")
    wanted = set(rows.tolist())
    found: dict[int, Peak] = {}
    for peak in find_peaks(difference, state.atoms, _REMAINS):
        if peak.height > 0.0 and peak.atom in wanted and peak.distance < _AT_WATER:
            found.setdefault(peak.atom, peak)
    return tuple(found.items())


def lone_waters(atoms: Atoms) -> Int:
    """Atoms that are waters of their own, without hydrogens: those that can be left out."""
    who = atoms.identity
    size = np.bincount(who.residue)[who.residue]
    return np.flatnonzero(atoms.is_water & (size == 1) & (atoms.element == "O"))


def _near(crystal: Crystal, atoms: Atoms, xyz: Float, options: OrderedSolvent) -> _Near:
    """What is near places (m, 3), symmetry mates included."""
    n, m = len(atoms), len(xyz)
    every = np.concatenate([atoms.xyz, xyz])
    reach = max(options.longest, _METAL[1])
    pairs = pairs_of(
        n + np.arange(m), every, crystal.rotations, crystal.translations, crystal.orth, crystal.frac, reach
    )
    distance = pairs.lengths(every, crystal.rotations, crystal.orth, crystal.frac)
    heavy = np.append(~atoms.is_hydrogen, np.ones(m, dtype=bool))
    apart = heavy[pairs.i] & heavy[pairs.j] & ((pairs.i != pairs.j) | (distance > _SAME))
    first, second = apart & (pairs.i >= n), apart & (pairs.j >= n)
    place = np.concatenate([pairs.i[first], pairs.j[second]]) - n
    other = np.concatenate([pairs.j[first], pairs.i[second]])
    distance = np.concatenate([distance[first], distance[second]])
    metal = np.append(metal_flags(atoms.element), np.zeros(m, dtype=bool))[other]
    polar = np.append(np.isin(atoms.element, ("N", "O")) & (atoms.occupancy > 0.0), np.ones(m, dtype=bool))[other]
    shortest = np.where(metal, _METAL[0], np.where(polar, options.shortest, _OTHER))
    longest = np.where(metal, _METAL[1], np.where(polar, options.longest, 0.0))
    return _Near(place, other, (distance >= shortest) & (distance <= longest), distance < shortest)
