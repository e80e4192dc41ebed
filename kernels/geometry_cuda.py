"""CUDA side of `geometry`: the same functions on device arrays, and all restraints at once in two launches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from arrayrefine.kernels.backend import array_module, blocks_for, launch, to_device, to_host
from arrayrefine.kernels.geometry import Firm

Array: TypeAlias = Any

HARMONIC = Firm(np.inf, 0.0)
_BLOCK = 128
_WIDTH = {"bond": 2, "angle": 3, "torsion": 4, "chirality": 4}


# ---- single kinds


def _deviations(
    kind: str, xyz: Array, index: Array, ideal: Array, sigma: Array, period: Array | None = None
) -> tuple[Array, Array]:
    xp = array_module(xyz)
    n = len(index)
    z, jacobian = xp.empty(n), xp.empty((n, _WIDTH[kind], 3))
    numbers = (xp.ascontiguousarray(a, dtype=np.float64) for a in (ideal, sigma))
    index = xp.ascontiguousarray(index, dtype=np.int32)
    period = None if period is None else xp.ascontiguousarray(period, dtype=np.int32)
    args = (np.int32(n), xp.ascontiguousarray(xyz), index, *numbers, period, z, jacobian)
    launch("geometry", f"{kind}_deviations", (blocks_for(n, _BLOCK),), (_BLOCK,), args)
    return z, jacobian


def bond(xyz: Array, index: Array, ideal: Array, sigma: Array) -> tuple[Array, Array]:
    """See `geometry.bond`."""
    return _deviations("bond", xyz, index, ideal, sigma)


def angle(xyz: Array, index: Array, ideal: Array, sigma: Array) -> tuple[Array, Array]:
    """See `geometry.angle`."""
    return _deviations("angle", xyz, index, ideal, sigma)


def dihedral(xyz: Array, index: Array) -> tuple[Array, Array]:
    """See `geometry.dihedral`."""
    xp = array_module(xyz)
    n = len(index)
    return _deviations("torsion", xyz, index, xp.zeros(n), xp.ones(n), xp.ones(n, dtype=np.int32))


def torsion(xyz: Array, index: Array, ideal: Array, sigma: Array, period: Array) -> tuple[Array, Array]:
    """See `geometry.torsion`."""
    return _deviations("torsion", xyz, index, ideal, sigma, period)


def chirality(xyz: Array, index: Array, ideal: Array, sigma: Array) -> tuple[Array, Array]:
    """See `geometry.chirality`."""
    return _deviations("chirality", xyz, index, ideal, sigma)


def plane(xyz: Array, index: Array, plane: Array, sigma: Array) -> tuple[Array, Array]:
    """See `geometry.plane`; the sign of a normal may differ."""
    xp = array_module(xyz)
    n = len(index)
    z, jacobian = xp.empty(n), xp.empty((n, 1, 3))
    index, plane = (xp.ascontiguousarray(a, dtype=np.int32) for a in (index, plane))
    args = (np.int32(n), xp.ascontiguousarray(xyz), index, plane, xp.ascontiguousarray(sigma), z, jacobian)
    launch("geometry", "plane_deviations", (blocks_for(n, _BLOCK),), (_BLOCK,), args)
    return z, jacobian


def accumulate(z: Array, jacobian: Array, index: Array, n_atoms: int) -> tuple[Array, Array]:
    """See `geometry.accumulate`; the value stays on the device, shape ()."""
    xp = array_module(z)
    flat = index.ravel()
    width = flat.size // max(1, len(z))
    entries = xp.argsort(flat).astype(np.int64)
    first = xp.searchsorted(flat[entries], xp.arange(n_atoms + 1)).astype(np.int32)
    value, gradient = xp.empty(()), xp.empty((n_atoms, 3))
    args = (
        np.int32(n_atoms), np.int32(len(z)), np.int32(max(1, width)), first, entries, xp.ascontiguousarray(z),
        xp.ascontiguousarray(jacobian), value, gradient,
    )  # fmt: skip
    launch("geometry", "accumulate", (blocks_for(3 * n_atoms, _BLOCK) + 1,), (_BLOCK,), args)
    return value, gradient


# ---- all restraints at once


@dataclass(frozen=True)
class GeometryPlan:
    """Restraints of one topology on the device, with the memory of an evaluation; see `plan`.

    Attributes
    ----------
    n_atoms, n_models : int
    counts : (5,) tuple of int
        Bonds, angles, torsions, chiralities, planes.
    index : (S,) int32
        Atoms of all restraints, kind by kind, restraint by restraint: each entry is a slot.
    ideal, sigma : float64
        Kind by kind; planes have a sigma for each atom and no ideal.
    period : int32
        Of the torsions.
    first_of_plane : (planes + 1,) int32
        First atom of each plane among those of all planes.
    root : float64
        Of the share of each restraint that is in its sigma, kind by kind, without planes.
    limit : (M, ...) float64
        Where outliers begin for each model, kind by kind, without planes; see `set_limits`.
    firmness : float
        How much more firmly they are restrained.
    first, slots : (N + 1,), (S,) int32
        Slots of each atom: slots[first[a]:first[a + 1]], ascending.
    pull : (M, S, 3) float64
    partial : (M, blocks) float64
    value : (M,) float64
    gradient : (M, N, 3) float64
    """

    n_atoms: int
    n_models: int
    counts: tuple[int, int, int, int, int]
    index: Array
    ideal: Array
    sigma: Array
    period: Array
    first_of_plane: Array
    root: Array
    limit: Array
    firmness: float
    first: Array
    slots: Array
    pull: Array
    partial: Array
    value: Array
    gradient: Array


def rows_of_atoms(index: Array, n_atoms: int) -> tuple[Array, Array]:
    """List the places at which each atom stands in a list of atoms.

    Parameters
    ----------
    index : (S,) int, on the host
    n_atoms : int

    Returns
    -------
    first, places : (N + 1,), (S,) int32, on the host
        places[first[a]:first[a + 1]], ascending, are the places of atom a.

    Raises
    ------
    ValueError
        When an atom is not in 0..N-1.
    """
    if len(index) and not (index.min() >= 0 and index.max() < n_atoms):
        raise ValueError(f"restraints name the atoms {index.min()} to {index.max()} of {n_atoms} atoms")
    places = np.argsort(index, kind="stable").astype(np.int32)
    first = np.r_[0, np.cumsum(np.bincount(index, minlength=n_atoms))].astype(np.int32)
    return first, places


def plan(
    n_atoms: int,
    bonds: tuple[Array, Array, Array] | None = None,
    angles: tuple[Array, Array, Array] | None = None,
    torsions: tuple[Array, Array, Array, Array] | None = None,
    chiralities: tuple[Array, Array, Array] | None = None,
    planes: tuple[Array, Array, Array] | None = None,
    n_models: int = 1,
    firm: Firm = HARMONIC,
    shares: tuple[Array, Array] | None = None,
) -> GeometryPlan:
    """Bring the restraints to the device and allocate the memory of an evaluation.

    Parameters
    ----------
    n_atoms : int
        N, atoms of each model.
    bonds, angles, chiralities : (index, ideal, sigma), optional
        As `bond`, `angle` and `chirality` take them.
    torsions : (index, ideal, sigma, period), optional
        As `torsion` takes them.
    planes : (index, plane, sigma), optional
        As `plane` takes them.
    n_models : int
        M, models that share the restraints and have coordinates of their own.
    firm : Firm
        How outliers are restrained; by default, as all others.
    shares : (n,) float64 of bonds and of angles, optional
        What of each belongs to one asymmetric unit, as its sigma has it already.
    """
    terms = [
        [to_host(a) for a in given] if given is not None else [np.zeros((0, width), np.int64), *[np.zeros(0)] * 3]
        for given, width in zip((bonds, angles, torsions, chiralities), _WIDTH.values())
    ]
    atoms, number, flat = (to_host(a) for a in planes) if planes is not None else (np.zeros(0, np.int64),) * 3
    first_of_plane = np.r_[np.flatnonzero(np.r_[True, number[1:] != number[:-1]][: len(number)]), len(number)]
    counts = (len(terms[0][0]), len(terms[1][0]), len(terms[2][0]), len(terms[3][0]), len(first_of_plane) - 1)
    index = np.concatenate([*(np.ravel(t[0]) for t in terms), atoms]).astype(np.int64)
    first, slots = rows_of_atoms(index, n_atoms)
    root = np.ones(sum(counts[:4]))
    if shares is not None:
        root[: counts[0] + counts[1]] = np.sqrt(np.concatenate([to_host(share) for share in shares]))
    held = [to_device(a, np.int32) for a in (index, terms[2][3], first_of_plane, first, slots)]
    xp = array_module(held[0])
    return GeometryPlan(
        n_atoms=n_atoms,
        n_models=n_models,
        counts=counts,
        index=held[0],
        ideal=to_device(np.concatenate([t[1] for t in terms]), np.float64),
        sigma=to_device(np.concatenate([*(t[2] for t in terms), flat]), np.float64),
        period=held[1],
        first_of_plane=held[2],
        root=to_device(root, np.float64),
        limit=to_device(np.full((n_models, len(root)), firm.limit), np.float64),
        firmness=firm.weight,
        first=held[3],
        slots=held[4],
        pull=xp.zeros((n_models, len(index), 3)),
        partial=xp.zeros((n_models, max(1, sum(blocks_for(n, _BLOCK) for n in counts)))),
        value=xp.zeros(n_models),
        gradient=xp.zeros((n_models, n_atoms, 3)),
    )


def set_limits(plan: GeometryPlan, model: int, limits: Sequence[Array | float]) -> None:
    """Say where outliers begin for one of the models.

    Parameters
    ----------
    plan : GeometryPlan
    model : int
    limits : (n,) float64 of bonds, of angles and of chiralities
        Above 0; one number stands for all.
    """
    bonds, angles, torsions, chiralities, _ = plan.counts
    counts = bonds, angles, chiralities
    parts = [np.broadcast_to(np.asarray(limit, np.float64), count) for limit, count in zip(limits, counts)]
    parts.insert(2, np.full(torsions, np.inf))  # which know no outliers
    plan.limit[model] = to_device(np.concatenate(parts), np.float64)


def evaluate(plan: GeometryPlan, xyz: Array) -> tuple[Array, Array]:
    """Value of all restraints, and its gradient: two launches, no allocation, no host synchronisation.

    Parameters
    ----------
    plan : GeometryPlan
    xyz : (N, 3) or (M, N, 3) float64, Å

    Returns
    -------
    value : () or (M,) float64
    gradient : (N, 3) or (M, N, 3) float64, 1/Å
        Both are memory of the plan, which its next evaluation overwrites.
    """
    if xyz.shape[-2:] != (plan.n_atoms, 3) or xyz.size != plan.gradient.size or xyz.ndim > 3:
        raise ValueError(f"coordinates {xyz.shape} for a plan of {plan.n_models} models of {plan.n_atoms} atoms")
    sizes = np.int32(plan.n_atoms), np.int32(plan.index.size)
    blocks = plan.partial.shape[1]
    launch(
        "geometry", "restraints", (blocks, plan.n_models), (_BLOCK,),
        (*sizes, *(np.int32(n) for n in plan.counts), xyz, plan.index, plan.ideal, plan.sigma, plan.period,
         plan.first_of_plane, plan.root, plan.limit, np.float64(plan.firmness), plan.pull, plan.partial),
    )  # fmt: skip
    launch(
        "geometry", "sum_pulls", (blocks_for(3 * plan.n_atoms, _BLOCK) + 1, plan.n_models), (_BLOCK,),
        (*sizes, np.int32(blocks), plan.first, plan.slots, plan.pull, plan.partial, plan.value, plan.gradient),
    )  # fmt: skip
    return (plan.value, plan.gradient) if xyz.ndim == 3 else (plan.value[0], plan.gradient[0])
