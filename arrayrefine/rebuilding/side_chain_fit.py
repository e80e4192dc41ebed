"""Side chains in other rotamers fitted to the data nearby, all at once.

Each is rotated about CA and shifted as a body, as its backbone may have followed it to a wrong place, and its torsions
are changed. What it moves by is expected to be normally distributed, and what that costs is taken off its value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrayrefine.rebuilding.side_chain_scores import Candidates, Movable, Scores
from arrayrefine.rebuilding.side_chains import Poses, Upright
from arrayrefine.structure_factors import StructureFactors

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_HOPE, _MORE_HOPE = (0.6, 0.45, 0.35, 0.25, 0.2, 0.15, 0.1, 0.08, 0.06, 0.04, 0.03), 60.0
"""So far below what is wanted candidates may be after each step but the last, as shares of what they would explain at
best and this."""
_DAMPING, _LESS, _MORE = 0.1, 0.3, 5.0
"""Damping at the start, and by what it changes after a step that gains and one that does not."""
_STRETCH = 2.0
"""Steps are longer by this as long as they gain: far from a peak, density is less curved than there."""


@dataclasses.dataclass(frozen=True)
class _Fit:
    """Candidates (P,) on their way: where they `began`, what moves (6 + k,) are `expected`, what is `wanted`, and how
    much they could explain at `most`; how to step; places, values and slopes.
    """

    candidates: Candidates
    side_chains: Movable
    upright: Upright
    began: Poses
    expected: Float
    wanted: Float
    most: Float
    sharpness: Float
    damping: Float
    stretch: Float
    xyz: Float
    value: Float
    slope: Float

    def taken(self, chosen: Int) -> _Fit:
        """Some of them; itself where that is all."""
        if len(chosen) == len(self.candidates):
            return self
        arrays = {
            name: getattr(self, name)[chosen]
            for name in (
                "wanted", "most", "sharpness", "damping", "stretch", "xyz", "value", "slope",
            )
        }  # fmt: skip
        side_chains, upright = self.side_chains.taken(chosen), self.upright.taken(chosen)
        began, candidates = self.began.taken(chosen), self.candidates.taken(chosen)
        return _Fit(candidates, side_chains, upright, began, self.expected, **arrays)

    def hopeful(self, share: float) -> _Fit:
        """Those that are not far below what is wanted."""
        least = self.wanted - share * (self.most + _MORE_HOPE)
        return self.taken(np.flatnonzero(self.value > least))

    def away(self) -> Float:
        """How far (P, 6 + k) they are from where they started, in what is expected."""
        chi, rotation, shift = (now - then for now, then in zip(self.candidates.poses, self.began))
        return np.concatenate([rotation, shift, np.radians(chi)], axis=1) / self.expected

    def moved(self, xyz: Float) -> _Fit:
        """After a step, not valued yet; `xyz` (N, 3) are the atoms of the model."""
        poses = self.candidates.poses
        by_pose = self.side_chains.by_pose(xyz, poses, self.xyz)
        step = _step(by_pose, self.slope, self.sharpness, self.away(), self.expected, self.damping)
        poses = poses.changed(self.stretch[:, None] * step)
        candidates = dataclasses.replace(self.candidates, poses=poses)
        return dataclasses.replace(self, candidates=candidates, xyz=self.side_chains.posed(xyz, poses, self.upright))

    def better(self, other: _Fit) -> _Fit:
        """Each where its value is higher."""
        wins = other.value > self.value
        each: dict[str, Any] = {
            name: np.where(wins.reshape((-1,) + (1,) * (getattr(self, name).ndim - 1)), getattr(other, name), own)
            for name, own in (("xyz", self.xyz), ("value", self.value), ("slope", self.slope))
        }
        poses = [np.where(wins[:, None], new, old) for new, old in zip(other.candidates.poses, self.candidates.poses)]
        candidates = dataclasses.replace(self.candidates, poses=type(self.candidates.poses)(*poses))
        damping, stretch = self.damping * np.where(wins, _LESS, _MORE), np.where(wins, self.stretch, 1.0)
        return dataclasses.replace(self, candidates=candidates, damping=damping, stretch=stretch, **each)


def fitted(
    scores: Scores, xyz: Float, tried: Sequence[Candidates], wanted: Sequence[Float]
) -> list[tuple[Candidates, Float, Float]]:
    """Candidates moved to where the data want them nearby.

    Parameters
    ----------
    scores : Scores
    xyz : (N, 3) float
        Atoms of the model, Å.
    tried : sequence of Candidates
    wanted : sequence of (P,) float
        Values for which they are tried; those that stay far below are given up.

    Returns
    -------
    found : list of (candidates, places (P, m, 3), values (P,) less what the moves cost)
        Of what was not given up, and only of kinds of which there is any.
    """
    fits = [_begun(scores, xyz, candidates, want) for candidates, want in zip(tried, wanted) if len(candidates)]
    plan, count = scores.plan([fit.side_chains for fit in fits]), sum(len(fit.candidates) for fit in fits)
    fits = _valued(scores, fits, plan)
    for hope in (*_HOPE, np.inf):
        if (left := sum(len(fit.candidates) for fit in fits)) < count:
            plan, count = scores.plan([fit.side_chains for fit in fits]), left
        there = _valued(scores, [fit.moved(xyz) for fit in fits], plan)
        fits = [fit.better(other).hopeful(hope) for fit, other in zip(fits, there)]
        fits = [fit for fit in fits if len(fit.candidates)]
    return [(fit.candidates, fit.xyz, fit.value) for fit in fits]


class Foreseen(NamedTuple):
    """Candidates (P,): values as they are, and after an undamped step, and by how much that moves atoms, Å, rms."""

    value: Float
    after: Float
    distance: Float


def foreseen(scores: Scores, xyz: Float, candidates: Sequence[Candidates]) -> list[Foreseen]:
    """What a step from where they are would bring to candidates of each kind."""
    fits = [_begun(scores, xyz, one, np.zeros(len(one))) for one in candidates]
    found = []
    for fit in _valued(scores, fits, scores.plan([fit.side_chains for fit in fits])):
        by_pose = fit.side_chains.by_pose(xyz, fit.candidates.poses, fit.xyz)
        gradient, normal = _equations(by_pose, fit.slope, fit.sharpness, fit.away(), fit.expected)
        step = np.linalg.solve(normal, gradient[..., None])[..., 0]
        moves = np.einsum("pmik,pk->pmi", by_pose, step)
        after = np.asarray(fit.value + 0.5 * np.einsum("pk,pk->p", gradient, step))
        found.append(Foreseen(fit.value, after, np.sqrt((moves**2).sum(axis=2).mean(axis=1))))
    return found


def _begun(scores: Scores, xyz: Float, candidates: Candidates, wanted: Float) -> _Fit:
    side_chains = candidates.side_chains
    upright = side_chains.upright(xyz)
    places = side_chains.posed(xyz, candidates.poses, upright)
    count = len(candidates)
    expected = np.repeat(candidates.of.expected, (3, 3, candidates.poses.chi.shape[1]))
    rows, own = np.unique(candidates.row, return_inverse=True)
    tried = candidates.of.taken(rows)
    return _Fit(
        candidates, side_chains, upright, candidates.poses, expected, wanted, scores.most(tried)[own],
        scores.sharpness(tried)[own], np.full(count, _DAMPING), np.full(count, _STRETCH), places, np.zeros(count),
        np.zeros(places.shape),
    )  # fmt: skip


def _valued(scores: Scores, fits: list[_Fit], plan: StructureFactors) -> list[_Fit]:
    """With the values and slopes of where they are."""
    found = scores.values_and_slopes([fit.side_chains for fit in fits], [fit.xyz for fit in fits], plan)
    return [
        dataclasses.replace(fit, value=value - 0.5 * (fit.away() ** 2).sum(axis=1), slope=slope)
        for fit, (value, slope) in zip(fits, found)
    ]


def _step(by_pose: Float, slope: Float, sharpness: Float, away: Float, expected: Float, damping: Float) -> Float:
    """Damped Gauss-Newton step (P, 6 + k) of the poses.

    Parameters
    ----------
    by_pose : (P, m, 3, 6 + k)
        Derivatives of the atoms.
    slope : (P, m, 3)
        Derivatives of the value by the atoms.
    sharpness : (P, m)
        Curvature of the value by each atom, the sign turned.
    away : (P, 6 + k)
        How far the poses are from the start, in what is expected.
    expected : (6 + k,)
        Radians and Å.
    damping : (P,)
    """
    gradient, normal = _equations(by_pose, slope, sharpness, away, expected)
    normal += damping[:, None, None] * normal * np.eye(len(expected))
    return np.asarray(np.linalg.solve(normal, gradient[..., None])[..., 0])


def _equations(by_pose: Float, slope: Float, sharpness: Float, away: Float, expected: Float) -> tuple[Float, Float]:
    """Gradient (P, 6 + k) and normal matrix (P, 6 + k, 6 + k) of the poses, see `_step`."""
    gradient = np.einsum("pmi,pmik->pk", slope, by_pose) - away / expected
    count, atoms = by_pose.shape[:2]
    flat = (by_pose * np.sqrt(sharpness)[..., None, None]).reshape(count, 3 * atoms, len(expected))
    return gradient, np.swapaxes(flat, 1, 2) @ flat + np.diag(expected**-2.0)
