"""Where the origin of known phases is beside that of the model.

Programs that solve structures put the origin at any of those that symmetry allows: at some discrete ones, and along
axes that no operator turns or reverses (that of P 2₁, all three of P 1) wherever they like.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from arrayrefine.crystal import Crystal
from arrayrefine.errors import InputError
from arrayrefine.measurements.phases import KnownPhases, agreement, spread_of_sum
from arrayrefine.wording import counted

Float = NDArray[np.float64]
Complex = NDArray[np.complex128]
Int = NDArray[np.integer]

_CHANCE = 4.0
"""Standard deviations of the mean cosine within which one that nobody chose may be chance."""
_SEARCHED = 3.0
"""Å; reflections to here find shifts along free axes, all of them refine these."""
_SAMPLING = 4
"""Points of the search for each period of the fastest wave along an axis: it turns by 45° at most from one to the
nearest point."""
_CONVERGED = 1e-6
"""Of a period, as a step of a shift."""
_STEPS = 20
"""At most; by Newton's method four are enough."""
_SAME = 0.05
"""Å; a shift below it along free axes, which refinement takes up as it goes, is none."""


@dataclass(frozen=True)
class Origins:
    """Shifts of the origin that leave all symmetry as it is: any of `discrete` and any number of times each `free`.

    Attributes
    ----------
    discrete : (T, 3) float64
        Fractions of the cell, none along free axes; the first is zero.
    free : (3, K) int64
        Translations of the lattice along free axes, in columns; K is 0 to 3.
    """

    discrete: Float
    free: NDArray[np.int64]


def origins(crystal: Crystal) -> Origins:
    """Those of a crystal."""
    rotations = crystal.primitive_rotations
    kept = rotations.sum(axis=0)  # an integer multiple of the projection on what all rotations leave as it is
    parts = sorted({k / n for n in (2, 3, 4) for k in range(n)})
    every = np.array(list(itertools.product(parts, repeat=3)))
    every = every[np.abs(every @ kept.T).max(axis=1) < 1e-6]
    turned = np.einsum("gij,tj->tgi", rotations - np.eye(3), every)
    apart = turned[:, :, None] - crystal.centring
    allowed = (np.abs(apart - np.rint(apart)).max(axis=3) < 1e-6).any(axis=2).all(axis=1)
    free = np.zeros((3, 0), dtype=np.int64)
    for column in kept.T:
        more = np.column_stack([free, column // max(1, np.gcd.reduce(column))])
        if np.linalg.matrix_rank(more) > free.shape[1]:
            free = more
    return Origins(np.asarray(every[allowed]), free)


def at_origin_of(
    known: KnownPhases, f_model: Complex, crystal: Crystal, hkl: Int, fom: Float | float = 1.0
) -> tuple[KnownPhases, tuple[str, ...]]:
    """The phases with their origin where that of the model is.

    Parameters
    ----------
    known : KnownPhases
        Of R reflections.
    f_model : (R,) complex128
    crystal : Crystal
    hkl : (R, 3) int
    fom : (R,) float64 or float
        Expected cosines of the errors of the model's phases: what they count with where origins are compared.

    Returns
    -------
    known : KnownPhases
        The same object where the origin is the same.
    notes : tuple of str

    Raises
    ------
    InputError
        Phases and model have nothing to do with each other wherever the origin is.
    """
    centric, unit = crystal.centric(hkl), fom * np.exp(-1j * np.angle(f_model))
    expected, names = known.expected(centric), ",".join(known.columns)
    found = _best_shift(expected * unit, crystal, hkl)
    other = _of_other_hand(expected, unit, crystal, hkl)
    is_other = other.beyond_chance > 0.0 and other.total - found.total > _CHANCE * other.deviation
    if found.beyond_chance <= 0.0 or is_other:  # centric reflections may agree with those of either hand
        there = agreement(known.moved(hkl @ found.shift), f_model, centric)
        said = f"mean cosine {there['cosine'] or 0.0:.2f} of {counted(there['reflections'], 'reflection')}"
        if is_other:
            raise InputError(
                f"--phases {names}: these phases are of the other hand: with their signs changed they agree better "
                f"with those of the model than as they are, {said}; take those of the hand of the model from the "
                "program that made them, or leave out --phases"
            )
        raise InputError(
            f"--phases {names}: these phases and those of the model have nothing to do with each other, {said}, at any "
            "origin that symmetry allows; they are of another crystal, have other axes, or the model is elsewhere: "
            "bring it to the map of the phases, or leave out --phases"
        )
    moved = known.moved(hkl @ found.shift) if found.shift.any() else known
    cosine = agreement(moved, f_model, centric)["cosine"]
    said = f"phases of {names}: mean cosine {cosine:.2f} of the difference to those of the model as given"
    where = ", ".join(_fraction(part) for part in found.shift.tolist())
    more = f", with their origin moved by {where} of the cell to the model's" if moved is not known else ""
    return moved, (said + more,)


class _Found(NamedTuple):
    """A shift (3,) in fractions of the cell, how well phases agree with it, the standard deviation of that among phases
    that have nothing to do with each other, and by how many it exceeds what the best of so many shifts has then."""

    shift: Float
    total: float
    deviation: float
    beyond_chance: float


def _best_shift(agreed: Complex, crystal: Crystal, hkl: Int) -> _Found:
    """Where the sum of the real parts of exp(2πi h·x) times `agreed` (R,) is the largest; none where others gain no
    more than chance."""
    possible, centric = origins(crystal), crystal.centric(hkl)
    along = hkl @ possible.free
    low = np.flatnonzero(crystal.inverse_d_squared(hkl) <= _SEARCHED**-2)
    low = low if len(low) else np.arange(len(hkl))

    def near(shift: Float, free: Float) -> tuple[float, Float]:
        there = agreed * np.exp(2j * np.pi * (hkl @ shift))
        free = _refined(there, along, free)
        if np.linalg.norm(crystal.cartesian(possible.free @ free)) < _SAME:
            free = np.zeros(len(free))
        return _sum(there, along @ free), shift + possible.free @ free

    as_given = near(np.zeros(3), np.zeros(possible.free.shape[1]))
    found = [as_given]
    for shift in possible.discrete:
        there = agreed[low] * np.exp(2j * np.pi * (hkl[low] @ shift))
        found.append(near(shift, _searched(there, along[low])))
    best = max(range(len(found)), key=lambda k: found[k][0])
    turned = np.exp(2j * np.pi * (hkl @ found[best][1])) - np.exp(2j * np.pi * (hkl @ as_given[1]))
    gained = found[best][0] - as_given[0] > _CHANCE * spread_of_sum(np.abs(agreed * turned), centric)
    total, shift = found[best] if gained else as_given
    tried = len(possible.discrete) * float(np.prod(2 * np.abs(along).max(axis=0, initial=0) + 1))
    deviation = spread_of_sum(np.abs(agreed), centric)
    # the largest of n normal deviates is near sqrt(2 ln n)
    limit = float(np.sqrt(_CHANCE**2 + 2.0 * np.log(tried)))
    return _Found(shift, total, deviation, total / deviation - limit if deviation > 0.0 else -limit)


def _of_other_hand(expected: Complex, unit: Complex, crystal: Crystal, hkl: Int) -> _Found:
    """The same where phases (R,) are inverted, at the origin, as with another sign of all indices, or where the space
    group is its own image."""
    hand = crystal.gemmi_space_group.change_of_hand_op()
    centres = np.unique([np.zeros(3), np.array(hand.tran) / hand.DEN], axis=0)
    inverted = (expected.conj() * np.exp(2j * np.pi * (hkl @ centre)) for centre in centres)
    return max((_best_shift(one * unit, crystal, hkl) for one in inverted), key=lambda found: found.total)


def _sum(agreed: Complex, turns: Float) -> float:
    return float((agreed * np.exp(2j * np.pi * turns)).real.sum())


def _searched(agreed: Complex, along: Int) -> Float:
    """The best shift (K,) on a grid, in periods, of waves with these numbers (R, K) of them."""
    largest = np.abs(along).max(axis=0, initial=0)
    if not largest.any():
        return np.zeros(along.shape[1])
    shape = tuple(int(scipy.fft.next_fast_len(int(_SAMPLING * n + 1))) for n in largest)
    places, size = np.ravel_multi_index(tuple((along % shape).T), shape), int(np.prod(shape))
    waves = (np.bincount(places, agreed.real, size) + 1j * np.bincount(places, agreed.imag, size)).reshape(shape)
    place = np.unravel_index(int(scipy.fft.ifftn(waves, overwrite_x=True).real.argmax()), shape)
    found = np.array(place) / shape
    return np.asarray(found - np.rint(found))


def _refined(agreed: Complex, along: Int, shift: Float) -> Float:
    """The nearest maximum from a shift (K,), by Newton's method, or by a curvature that cannot be too small."""
    waves = 2.0 * np.pi * along
    least = np.einsum("ri,rj,r->ij", waves, waves, np.abs(agreed))
    there = agreed * np.exp(1j * (waves @ shift))
    for _ in range(_STEPS if least.any() else 0):
        slope, bend = -waves.T @ there.imag, np.einsum("ri,rj,r->ij", waves, waves, there.real)
        before = there.real.sum()
        for curvature in (bend, least) if np.linalg.eigvalsh(bend)[0] > 0.0 else (least,):
            step = np.linalg.lstsq(curvature, slope)[0]
            there = agreed * np.exp(1j * (waves @ (shift + step)))
            if there.real.sum() >= before:
                break
        else:
            break
        shift = shift + step
        if float(np.abs(step).max()) < _CONVERGED:
            break
    return shift


def _fraction(part: float) -> str:
    """1/2, or 0.1234 where it is no simple part of the cell."""
    simple = Fraction(part).limit_denominator(4)
    return str(simple) if abs(float(simple) - part) < 1e-6 else f"{part:.4f}"
