"""CUDA side of `mates`: symmetry mates of one model or several, and their gradients given back, in a launch each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from arrayrefine.kernels.backend import array_module, blocks_for, launch, to_device
from arrayrefine.kernels.geometry_cuda import rows_of_atoms

Array: TypeAlias = Any

_BLOCK = 128


@dataclass(frozen=True)
class MatePlan:
    """Mates of one topology on the device; see `plan`.

    Attributes
    ----------
    n_atoms, n_models : int
    source : (G,) int32
    rotation, shift : (G, 3, 3), (G, 3) float64
        Cartesian, Å.
    first, mates : (N + 1,), (G,) int32
        Mates of each atom: mates[first[a]:first[a + 1]].
    extended : (M, N + G, 3) float64, Å
    """

    n_atoms: int
    n_models: int
    source: Array
    rotation: Array
    shift: Array
    first: Array
    mates: Array
    extended: Array


def plan(n_atoms: int, source: Array, rotation: Array, shift: Array, n_models: int = 1) -> MatePlan:
    """Bring the operators to the device and allocate room for the coordinates.

    Parameters
    ----------
    n_atoms : int
        N, atoms of each model.
    source, rotation, shift
        On the host; see `mates.placed`.
    n_models : int
        M.
    """
    first, mates = rows_of_atoms(np.asarray(source, dtype=np.int64), n_atoms)
    held = [to_device(a, np.float64) for a in (rotation, shift)]
    xp = array_module(held[0])
    lists = [to_device(a, np.int32) for a in (source, first, mates)]
    return MatePlan(
        n_atoms, n_models, lists[0], held[0], held[1], lists[1], lists[2],
        xp.zeros((n_models, n_atoms + len(source), 3)),
    )  # fmt: skip


def place(plan: MatePlan, xyz: Array) -> Array:
    """Atoms and mates (M, N + G, 3) of atoms at `xyz` (M, N, 3), Å, in memory that the next call overwrites."""
    if xyz.shape != (plan.n_models, plan.n_atoms, 3):
        raise ValueError(f"coordinates {xyz.shape} for mates of {plan.n_models} models of {plan.n_atoms} atoms")
    count = plan.n_atoms + plan.source.size
    launch(
        "mates", "place_mates", (blocks_for(3 * count, _BLOCK), plan.n_models), (_BLOCK,),
        (np.int32(plan.n_atoms), np.int32(plan.source.size), xyz, plan.source, plan.rotation, plan.shift,
         plan.extended),
    )  # fmt: skip
    return plan.extended


def add(plan: MatePlan, found: tuple[Array, Array], value: Array, gradient: Array) -> None:
    """Add what was found for atoms and mates to value and gradient of the atoms: one launch, no allocation.

    Parameters
    ----------
    plan : MatePlan
    found : (M,), (M, N + G, 3) float64
        Value, and gradient by atoms and mates, 1/Å.
    value : (M,) float64
    gradient : (M, N, 3) float64, 1/Å
    """
    launch(
        "mates", "add_from_mates", (max(1, blocks_for(3 * plan.n_atoms, _BLOCK)), plan.n_models), (_BLOCK,),
        (np.int32(plan.n_atoms), np.int32(plan.source.size), plan.first, plan.mates, plan.rotation, *found, value,
         gradient),
    )  # fmt: skip
