"""CUDA side of `adp_aniso`: the restraints on anisotropic U of one model or several, on device arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from arrayrefine.kernels.adp_aniso import U_FLOOR
from arrayrefine.kernels.adp_cuda import partners
from arrayrefine.kernels.backend import array_module, blocks_for, launch, to_device

Array: TypeAlias = Any

_BLOCK = 128
_ATOMS_PER_BLOCK = _BLOCK // 32


@dataclass(frozen=True)
class AnisoAdpPlan:
    """Pairs of one topology on the device, with the memory of an evaluation; see `plan`.

    Attributes
    ----------
    n_atoms, n_models : int
    first, other, weight : (N + 1,) int32, (2p,) int32, (2p,) float64
        Partners of atom a and the weights of the pairs: other[first[a]:first[a + 1]].
    direction : (M, 2p, 3) float64, or None
        Directions of rigid bonds in the order of `other`.
    order : (2p,) int64
        Pair, or p + pair, in each place of `other`.
    both : (M, N, 12) float64
        U and its inverse.
    size : (M, N) float64, or None
        Size of U, Å², where shapes are compared.
    partial : (M, blocks) float64
    value : (M,) float64
    gradient : (M, N, 6) float64
    """

    n_atoms: int
    n_models: int
    first: Array
    other: Array
    weight: Array
    direction: Array | None
    order: Array
    both: Array
    size: Array | None
    partial: Array
    value: Array
    gradient: Array


def plan(
    n_atoms: int, i: Array, j: Array, weight: Array, n_models: int = 1, direction: Array | None = None,
    shapes: bool = False,
) -> AnisoAdpPlan:  # fmt: skip
    """List the partners of each atom on the device, and allocate the memory of an evaluation.

    Parameters
    ----------
    n_atoms : int
        N, atoms of each model.
    i, j : (p,) int
        As `adp_aniso.kl` takes them, on host or device; each in 0..N-1.
    weight : (p,) float64
    n_models : int
        M, models that share the pairs and have U of their own.
    direction : (p, 3) or (M, p, 3) float64, optional
        For `evaluate_rigid_bond`; `set_directions` changes them.
    shapes : bool
        Whether `evaluate_kl` is to compare shapes only, as `adp_aniso.shape`.
    """
    first, other, both, order = partners(n_atoms, i, j, weight)
    xp = array_module(first)
    made = AnisoAdpPlan(
        n_atoms=n_atoms,
        n_models=n_models,
        first=first,
        other=other,
        weight=both,
        direction=None if direction is None else xp.zeros((n_models, len(order), 3)),
        order=order,
        both=xp.zeros((n_models, n_atoms, 12)),
        size=xp.zeros((n_models, n_atoms)) if shapes else None,
        partial=xp.zeros((n_models, blocks_for(n_atoms, _ATOMS_PER_BLOCK))),
        value=xp.zeros(n_models),
        gradient=xp.zeros((n_models, n_atoms, 6)),
    )
    if direction is not None:
        set_directions(made, direction)
    return made


def set_directions(plan: AnisoAdpPlan, direction: Array) -> None:
    """Give the rigid bonds of a plan other directions, (p, 3) for all models or (M, p, 3)."""
    if plan.direction is None:
        raise ValueError("the plan was made without directions")
    direction = to_device(direction, np.float64)
    pairs = len(plan.order) // 2
    if direction.shape not in ((pairs, 3), (plan.n_models, pairs, 3)):
        raise ValueError(f"directions {direction.shape} for a plan of {plan.n_models} models and {pairs} pairs")
    xp = array_module(direction)
    twice = xp.concatenate([direction, direction], axis=-2)
    plan.direction[...] = twice[..., plan.order, :]


def find_directions(plan: AnisoAdpPlan, xyz: Array) -> None:
    """Give the rigid bonds of a plan the directions that they have at `xyz` (M, N, 3) float64, Å: one launch."""
    _check_places(plan, xyz)
    launch(
        "adp_aniso", "directions", (blocks_for(plan.n_atoms, _BLOCK), plan.n_models), (_BLOCK,),
        (np.int32(plan.n_atoms), np.int32(len(plan.other)), xyz, plan.first, plan.other, plan.direction),
    )  # fmt: skip


def turn(plan: AnisoAdpPlan, u: Array, xyz: Array, least: float, out: Array) -> Array:
    """Derivative of `rigid_bond` by coordinates, with the directions of `find_directions`: one launch.

    Parameters
    ----------
    plan : AnisoAdpPlan
    u : (M, N, 6) float64, Å²
    xyz : (M, N, 3) float64, Å
    least : float
        Atoms nearer to each other count as this far apart, Å.
    out : (M, N, 3) float64, per Å
    """
    _check(plan, u)
    _check_places(plan, xyz)
    launch(
        "adp_aniso", "turn", (plan.partial.shape[1], plan.n_models), (_BLOCK,),
        (np.int32(plan.n_atoms), np.int32(len(plan.other)), np.float64(U_FLOOR), np.float64(least), u, xyz,
         plan.first, plan.other, plan.direction, plan.weight, out),
    )  # fmt: skip
    return out


def _check_places(plan: AnisoAdpPlan, xyz: Array) -> None:
    if plan.direction is None:
        raise ValueError("the plan was made without directions")
    if xyz.shape != (plan.n_models, plan.n_atoms, 3):
        raise ValueError(f"coordinates {xyz.shape} for a plan of {plan.n_models} models of {plan.n_atoms} atoms")


def _check(plan: AnisoAdpPlan, u: Array) -> None:
    if u.shape[-2:] != (plan.n_atoms, 6) or u.size != plan.gradient.size or u.ndim not in (2, 3):
        raise ValueError(f"U {u.shape} for a plan of {plan.n_models} models of {plan.n_atoms} atoms")


def _finish(plan: AnisoAdpPlan, u: Array) -> tuple[Array, Array]:
    blocks = plan.partial.shape[1]
    launch("adp_aniso", "sum_blocks", (plan.n_models,), (_BLOCK,), (np.int32(blocks), plan.partial, plan.value))
    return (plan.value, plan.gradient) if u.ndim == 3 else (plan.value[0], plan.gradient[0])


def evaluate_kl(plan: AnisoAdpPlan, u: Array) -> tuple[Array, Array]:
    """`adp_aniso.kl`, or `adp_aniso.shape`, over the pairs of a plan: three launches, no host synchronisation.

    Parameters
    ----------
    plan : AnisoAdpPlan
    u : (N, 6) or (M, N, 6) float64, Å²

    Returns
    -------
    value : () or (M,) float64
    gradient : (N, 6) or (M, N, 6) float64, Å⁻²
        Both are memory of the plan, which its next evaluation overwrites.
    """
    _check(plan, u)
    n = np.int32(plan.n_atoms)
    launch(
        "adp_aniso", "both", (blocks_for(plan.n_atoms, _BLOCK), plan.n_models), (_BLOCK,),
        (n, np.float64(U_FLOOR), u, plan.both, plan.size),
    )  # fmt: skip
    launch(
        "adp_aniso", "kl", (plan.partial.shape[1], plan.n_models), (_BLOCK,),
        (n, plan.both, plan.size, plan.first, plan.other, plan.weight, plan.gradient, plan.partial),
    )  # fmt: skip
    return _finish(plan, u)


def evaluate_rigid_bond(plan: AnisoAdpPlan, u: Array) -> tuple[Array, Array]:
    """`adp_aniso.rigid_bond` over the pairs of a plan that has directions: two launches; see `evaluate_kl`."""
    _check(plan, u)
    if plan.direction is None:
        raise ValueError("the plan was made without directions")
    launch(
        "adp_aniso", "rigid_bond", (plan.partial.shape[1], plan.n_models), (_BLOCK,),
        (np.int32(plan.n_atoms), np.int32(len(plan.other)), np.float64(U_FLOOR), u, plan.first, plan.other,
         plan.direction, plan.weight, plan.gradient, plan.partial),
    )  # fmt: skip
    return _finish(plan, u)


def kl(u: Array, i: Array, j: Array, weight: Array) -> tuple[Array, Array]:
    """See `adp_aniso.kl`; the value stays on the device, shape (). `plan` spares the sorting of the pairs."""
    return evaluate_kl(plan(len(u), i, j, weight), array_module(u).ascontiguousarray(u))


def shape(u: Array, i: Array, j: Array, weight: Array) -> tuple[Array, Array]:
    """See `adp_aniso.shape`; the value stays on the device, shape ()."""
    return evaluate_kl(plan(len(u), i, j, weight, shapes=True), array_module(u).ascontiguousarray(u))


def rigid_bond(u: Array, i: Array, j: Array, direction: Array, weight: Array) -> tuple[Array, Array]:
    """See `adp_aniso.rigid_bond`; the value stays on the device, shape ()."""
    made = plan(len(u), i, j, weight, direction=direction)
    return evaluate_rigid_bond(made, array_module(u).ascontiguousarray(u))


def sphericity_buffers(xp: Any, n_atoms: int, n_models: int) -> tuple[Array, Array, Array]:
    """Allocate the memory of `sphericity`; `xp` is the cupy module."""
    return xp.zeros(n_models), xp.zeros((n_models, n_atoms, 6)), xp.zeros((n_models, blocks_for(n_atoms, _BLOCK)))


def sphericity(u: Array, weight: Array, out: tuple[Array, Array, Array] | None = None) -> tuple[Array, Array]:
    """See `adp_aniso.sphericity`: two launches, no host synchronisation; the value stays on the device.

    Parameters
    ----------
    u : (N, 6) or (M, N, 6) float64, Å²
    weight : (N,) float64
        Shared by all models.
    out : (value, gradient, partial), optional
        Memory to use: (M,), with M = 1 for one model; the shape of `u`; and (M, ⌈N/128⌉).
    """
    xp = array_module(u)
    n_models, n = (1, *u.shape)[-3:-1]
    blocks = blocks_for(n, _BLOCK)
    value, gradient, partial = (
        (xp.empty(n_models), xp.empty(u.shape), xp.empty((n_models, blocks))) if out is None else out
    )
    launch(
        "adp_aniso", "sphericity", (blocks, n_models), (_BLOCK,),
        (np.int32(n), np.float64(U_FLOOR), u, to_device(weight, np.float64), gradient, partial),
    )  # fmt: skip
    launch("adp_aniso", "sum_blocks", (n_models,), (_BLOCK,), (np.int32(blocks), partial, value))
    return (value if u.ndim == 3 else value[0]), gradient
