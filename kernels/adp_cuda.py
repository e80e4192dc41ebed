"""CUDA side of `adp`: the restraints on B of one model or several, on device arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from arrayrefine.kernels.adp import B_FLOOR
from arrayrefine.kernels.backend import array_module, blocks_for, launch, to_device

Array: TypeAlias = Any

_BLOCK, _WIDE = 128, 512
_ATOMS_PER_BLOCK = _BLOCK // 32


@dataclass(frozen=True)
class AdpPlan:
    """Pairs of one topology on the device, with the memory of an evaluation; see `plan`.

    Attributes
    ----------
    n_atoms, n_models : int
    first, other, weight : (N + 1,) int32, (2p,) int32, (2p,) float64
        Partners of atom a and the weights of the pairs: other[first[a]:first[a + 1]].
    partial : (M, blocks) float64
    value : (M,) float64
    gradient : (M, N) float64
    """

    n_atoms: int
    n_models: int
    first: Array
    other: Array
    weight: Array
    partial: Array
    value: Array
    gradient: Array


def partners(n_atoms: int, i: Array, j: Array, weight: Array) -> tuple[Array, Array, Array, Array]:
    """Where the partners of each atom begin (N + 1,), partners and weights (2p,), and which of [i, j] each is."""
    i, j, weight = to_device(i, np.int64), to_device(j, np.int64), to_device(weight, np.float64)
    xp = array_module(i)
    one, two = xp.concatenate([i, j]), xp.concatenate([j, i])
    order = xp.argsort(one)
    first = xp.searchsorted(one[order], xp.arange(n_atoms + 1)).astype(np.int32)
    return first, two[order].astype(np.int32), xp.concatenate([weight, weight])[order], order


def plan(n_atoms: int, i: Array, j: Array, weight: Array, n_models: int = 1) -> AdpPlan:
    """List the partners of each atom on the device, and allocate the memory of `evaluate`.

    Parameters
    ----------
    n_atoms : int
        N, atoms of each model.
    i, j : (p,) int
        As `adp.kl` takes them, on host or device; each in 0..N-1.
    weight : (p,) float64
    n_models : int
        M, models that share the pairs and have B of their own.
    """
    first, other, both, _ = partners(n_atoms, i, j, weight)
    xp = array_module(first)
    return AdpPlan(
        n_atoms=n_atoms,
        n_models=n_models,
        first=first,
        other=other,
        weight=both,
        partial=xp.zeros((n_models, blocks_for(n_atoms, _ATOMS_PER_BLOCK))),
        value=xp.zeros(n_models),
        gradient=xp.zeros((n_models, n_atoms)),
    )


def evaluate(plan: AdpPlan, b: Array) -> tuple[Array, Array]:
    """`adp.kl` over the pairs of a plan: two launches, no allocation, no host synchronisation.

    Parameters
    ----------
    plan : AdpPlan
    b : (N,) or (M, N) float64, Å²

    Returns
    -------
    value : () or (M,) float64
    gradient : (N,) or (M, N) float64, 1/Å²
        Both are memory of the plan, which its next evaluation overwrites.
    """
    if b.shape[-1] != plan.n_atoms or b.size != plan.gradient.size or b.ndim > 2:
        raise ValueError(f"B {b.shape} for a plan of {plan.n_models} models of {plan.n_atoms} atoms")
    blocks = plan.partial.shape[1]
    launch(
        "adp", "kl", (blocks, plan.n_models), (_BLOCK,),
        (np.int32(plan.n_atoms), np.float64(B_FLOOR), b, plan.first, plan.other, plan.weight, plan.gradient,
         plan.partial),
    )  # fmt: skip
    launch("adp", "sum_blocks", (plan.n_models,), (_BLOCK,), (np.int32(blocks), plan.partial, plan.value))
    return (plan.value, plan.gradient) if b.ndim == 2 else (plan.value[0], plan.gradient[0])


def kl(b: Array, i: Array, j: Array, weight: Array) -> tuple[Array, Array]:
    """See `adp.kl`; the value stays on the device, shape (). `plan` and `evaluate` spare the sorting of the pairs."""
    return evaluate(plan(len(b), i, j, weight), array_module(b).ascontiguousarray(b))


def variance(b: Array, out: tuple[Array, Array] | None = None) -> tuple[Array, Array]:
    """See `adp.variance`: one launch, no host synchronisation; the value stays on the device.

    Parameters
    ----------
    b : (N,) or (M, N) float64, Å²
    out : (value, gradient), optional
        Memory to use: (M,), with M = 1 for one model, and the shape of `b`.
    """
    xp = array_module(b)
    n_models, n = (1, *b.shape)[-2:]
    value, gradient = (xp.empty(n_models), xp.empty(b.shape)) if out is None else out
    launch("adp", "variance", (n_models,), (_WIDE,), (np.int32(n), b, gradient, value))
    return (value if b.ndim == 2 else value[0]), gradient
