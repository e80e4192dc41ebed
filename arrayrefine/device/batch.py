"""Minimisations of several runs that meet, evaluated together on a CUDA device where the models are of one crystal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from arrayrefine.device.density import Gridded
from arrayrefine.device.factors import DeviceFactors, Summed, made
from arrayrefine.device.objective import DeviceObjective, Member
from arrayrefine.device.restraints import DeviceRestraints
from arrayrefine.kernels.processes import told
from arrayrefine.parameters import Parameters
from arrayrefine.problem import Problem
from arrayrefine.rendezvous import Batch, Evaluated, one_by_one
from arrayrefine.structure_factors import StructureFactors

Float: TypeAlias = NDArray[np.float64]


@dataclass
class Share:
    """A minimisation of one run that is to be evaluated on the device, with others if it can be.

    Attributes
    ----------
    problem : Problem
    member : Member
    launches : int
        Kernels of one evaluation, alone or of all that were evaluated together.
    """

    problem: Problem
    member: Member
    launches: int = 0
    _alone: list[DeviceObjective] = field(default_factory=list, repr=False)

    @property
    def parameters(self) -> Parameters:
        """What is free."""
        return self.member.parameters

    @property
    def structure_factors(self) -> StructureFactors:
        """The plan of its X-ray target."""
        return self.member.xray.structure_factors

    def at(self, x: Float) -> tuple[float, Float]:
        """Value, and gradient by the free parameters, of this model alone; in a team its first process evaluates."""
        return told(lambda: self._evaluated(x))

    def _evaluated(self, x: Float) -> tuple[float, Float]:
        objective = self._objective()
        found = objective.at(x)
        self.launches = objective.launches
        return found

    def _objective(self) -> DeviceObjective:
        """The objective of this model alone, made at first use."""
        if not self._alone:
            restraints = self.problem.restraints_on_device(self.parameters.reference)
            factors = self.structure_factors.on_device_for(self.parameters.reference, self.parameters.tensors)
            self._alone.append(DeviceObjective([self.member], factors, restraints, self.problem.timer))
        return self._alone[0]


class _Together:
    """Models of one crystal in one set of launches: as many as `factors` has memory for, the last one again and again
    where there are fewer."""

    def __init__(self, shares: Sequence[Share], factors: DeviceFactors) -> None:
        first, every = shares[0], [*shares, *[shares[-1]] * (factors.n_models - len(shares))]
        restraints = DeviceRestraints(
            first.problem.geometry, first.problem.adp, first.parameters.reference.multiplicity, len(every)
        )
        restraints.hold([share.problem.geometry for share in every])
        self._objective = DeviceObjective(
            [share.member for share in every], factors, restraints, first.problem.timer
        )
        self._shares = shares
        self._x = np.stack([share.parameters.pack(share.parameters.reference) for share in every])

    def at(self, members: Sequence[int], vectors: Sequence[Float]) -> list[tuple[float, Float]]:
        """Those that have ended stay where they were last."""
        for member, x in zip(members, vectors):
            self._x[member] = x
        values, gradients = self._objective.at_all(self._x)
        for share in self._shares:
            share.launches = self._objective.launches
        return [(float(values[k]), gradients[k]) for k in members]


def together(objectives: Sequence[Evaluated]) -> Batch:
    """Evaluation of a group that has met: alike models on a device in as few calls as its memory allows.

    Whatever is not on a device, or not like any other, is evaluated for itself.
    """
    alone = one_by_one(objectives)
    batches: list[_Together] = []
    grouped: dict[int, tuple[int, int]] = {}
    for alike in _alike_ones(objectives):
        factors = made(alike.how, alike.at_once, alike.channels)
        for first in range(0, len(alike.numbers), alike.at_once):
            numbers = alike.numbers[first : first + alike.at_once]
            grouped.update({number: (len(batches), row) for row, number in enumerate(numbers)})
            batches.append(_Together(alike.shares[first : first + alike.at_once], factors))

    def evaluate(members: Sequence[int], vectors: Sequence[Float]) -> list[tuple[float, Float]]:
        found: dict[int, tuple[float, Float]] = {}
        for k, batch in enumerate(batches):
            inside = [(m, x) for m, x in zip(members, vectors) if m in grouped and grouped[m][0] == k]
            if inside:
                numbers = [m for m, _ in inside]
                found.update(zip(numbers, batch.at([grouped[m][1] for m in numbers], [x for _, x in inside])))
        rest = [(m, x) for m, x in zip(members, vectors) if m not in grouped]
        found.update(zip([m for m, _ in rest], alone([m for m, _ in rest], [x for _, x in rest])))
        return [found[m] for m in members]

    return evaluate


class _Alike(NamedTuple):
    """Models that go together: their numbers, the plan for all of them, and how many of them, and of the grids of each,
    are computed at a time."""

    numbers: list[int]
    shares: list[Share]
    how: Gridded | Summed
    at_once: int
    channels: int | None


def _alike_ones(objectives: Sequence[Evaluated]) -> list[_Alike]:
    """Models of which two or more go together, in groups of about the same size where the memory wants groups."""
    shares = {k: objective for k, objective in enumerate(objectives) if isinstance(objective, Share)}
    found: list[_Alike] = []
    left = list(shares)
    while left:
        first = shares[left[0]]
        numbers = [k for k in left if _alike(first, shares[k])]
        left = [k for k in left if k not in numbers]
        of = first.parameters
        how, channels, at_once = first.structure_factors.how_for(of.reference, of.tensors), None, len(numbers)
        if isinstance(how, Gridded):
            sizes = first.problem.budget(how, len(numbers)).sizes
            groups = -(-len(numbers) // sizes.models)
            at_once, channels = -(-len(numbers) // groups), sizes.channels_at_once
        if at_once > 1:
            found.append(_Alike(numbers, [shares[k] for k in numbers], how, at_once, channels))
    return found


def _alike(a: Share, b: Share) -> bool:
    """Whether one plan serves two models: all that belongs to the crystal, its topology and sampling is the same."""
    if a is b:
        return True
    first, second = a.structure_factors, b.structure_factors
    one, other = a.problem, b.problem
    p, q = a.parameters.reference, b.parameters.reference
    return (
        first.crystal == second.crystal
        and a.member.xray.kind == b.member.xray.kind
        and (a.member.xray.reflections.phases is None) == (b.member.xray.reflections.phases is None)
        and np.array_equal(first.hkl, second.hkl)
        and np.array_equal(p.element, q.element)
        and _same(p.riding, q.riding)
        and np.array_equal(p.multiplicity, q.multiplicity)
        and np.array_equal(p.site_projection, q.site_projection)
        and a.parameters.fingerprint == b.parameters.fingerprint
        and _same(a.parameters.groups.alternative, b.parameters.groups.alternative)
        and np.array_equal(a.parameters.tensors, b.parameters.tensors)
        and _same(p.u_projection, q.u_projection)
        and np.array_equal(p.tls.group, q.tls.group)
        and _same(one.restraints, other.restraints)
        and one.restraints.jelly_body is None  # it holds each model at distances of its own
        and one.geometry.options == other.geometry.options
        and one.adp.kind == other.adp.kind
        and all(np.array_equal(getattr(one.adp, k), getattr(other.adp, k)) for k in ("i", "j", "weight"))
        and _same(one.adp.shapes, other.adp.shapes)
        and first.serves(second, q)
    )


def _same(a: Any, b: Any) -> bool:
    """Whether two values are equal, arrays and records of arrays included."""
    if a is b:
        return True
    if is_dataclass(a) and type(a) is type(b):
        return all(_same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a) if f.compare)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b))
    return type(a) is type(b) and bool(a == b)
