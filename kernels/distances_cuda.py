"""CUDA side of `distances`: all robust restraints on distances of one model or several, in two launches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from arrayrefine.kernels.backend import array_module, blocks_for, launch, to_device, to_host
from arrayrefine.kernels.geometry_cuda import rows_of_atoms

Array: TypeAlias = Any
Class: TypeAlias = tuple[Array, Array, Array, float, float, Array | float]
"""index, ideal, sigma, alpha, weight, slack, as `distances.evaluate` takes them."""

_BLOCK = 128


@dataclass(frozen=True)
class DistancePlan:
    """Restraints of one topology on the device, with the memory of an evaluation; see `plan`.

    Attributes
    ----------
    n_atoms, n_models : int
    counts : (2,) tuple of int
        Restraints on one distance, and on two.
    index : (S,) int32
        Atoms of all restraints: each entry is a slot.
    ideal, sigma, alpha, weight, slack : (n,) float64
    first, slots : (N + 1,), (S,) int32
        Slots of each atom.
    pull : (M, S, 3) float64
    partial : (M, blocks) float64
    """

    n_atoms: int
    n_models: int
    counts: tuple[int, int]
    index: Array
    ideal: Array
    sigma: Array
    alpha: Array
    weight: Array
    slack: Array
    first: Array
    slots: Array
    pull: Array
    partial: Array


def plan(n_atoms: int, classes: Sequence[Class], n_models: int = 1) -> DistancePlan:
    """Bring the restraints to the device and allocate the memory of an evaluation.

    Parameters
    ----------
    n_atoms : int
        N, atoms of each model.
    classes : sequence of (index, ideal, sigma, alpha, weight, slack)
        On the host.
    n_models : int
        M, models that share the restraints and have coordinates of their own.
    """
    ordered = sorted(classes, key=lambda c: c[0].shape[1])
    counts = [sum(len(c[0]) for c in classes if c[0].shape[1] == width) for width in (2, 4)]
    index = np.concatenate([np.zeros(0, np.int64), *(np.asarray(c[0]).reshape(-1) for c in ordered)])
    numbers = [
        np.concatenate([np.zeros(0), *(np.broadcast_to(np.asarray(c[k], float), len(c[0])) for c in ordered)])
        for k in (1, 2, 3, 4, 5)
    ]
    first, slots = rows_of_atoms(index, n_atoms)
    ideal, sigma, alpha, weight, slack = (to_device(a, np.float64) for a in numbers)
    xp = array_module(ideal)
    return DistancePlan(
        n_atoms, n_models, (counts[0], counts[1]), to_device(index, np.int32), ideal, sigma, alpha, weight, slack,
        to_device(first, np.int32), to_device(slots, np.int32), xp.zeros((n_models, len(index), 3)),
        xp.zeros((n_models, max(1, blocks_for(sum(counts), _BLOCK)))),
    )  # fmt: skip


def add(plan: DistancePlan, xyz: Array, value: Array, gradient: Array) -> None:
    """Add the restraints to value and gradient of M models: two launches, no allocation, no host synchronisation.

    Parameters
    ----------
    plan : DistancePlan
    xyz : (M, N, 3) float64, Å
    value : (M,) float64
    gradient : (M, N, 3) float64, 1/Å
    """
    expected = (plan.n_models, plan.n_atoms, 3)
    if xyz.shape != expected or gradient.shape != expected or value.shape != expected[:1]:
        raise ValueError(
            f"coordinates {xyz.shape}, values {value.shape} and gradients {gradient.shape} for a plan of "
            f"{plan.n_models} models of {plan.n_atoms} atoms"
        )
    sizes = np.int32(plan.n_atoms), np.int32(plan.index.size)
    blocks = plan.partial.shape[1]
    launch(
        "distances", "pulls", (blocks, plan.n_models), (_BLOCK,),
        (*sizes, *(np.int32(n) for n in plan.counts), xyz, plan.index, plan.ideal, plan.sigma, plan.alpha, plan.weight,
         plan.slack, plan.pull, plan.partial),
    )  # fmt: skip
    launch(
        "distances", "add_pulls", (blocks_for(3 * plan.n_atoms, _BLOCK) + 1, plan.n_models), (_BLOCK,),
        (*sizes, np.int32(blocks), plan.first, plan.slots, plan.pull, plan.partial, value, gradient),
    )  # fmt: skip


def evaluate_once(
    xyz: Array, index: Array, ideal: Array, sigma: Array, alpha: float, weight: float,
    slack: Array | float = 0.0,
) -> tuple[Array, Array]:  # fmt: skip
    """See `distances.evaluate`; the value stays on the device, shape (). `plan` and `add` spare the sorting."""
    xp = array_module(xyz)
    made = plan(len(xyz), [(to_host(index), to_host(ideal), to_host(sigma), alpha, weight, to_host(slack))])
    value, gradient = xp.zeros(1), xp.zeros((1, *xyz.shape))
    add(made, xp.ascontiguousarray(xyz)[None], value, gradient)
    return value[0], gradient[0]
