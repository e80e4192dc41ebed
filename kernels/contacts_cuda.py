"""Non-bonded contacts on a CUDA device: lists of neighbours that keep themselves up to date, and the repulsion.

`neighbour_pairs` and `repulsion_terms` of `contacts` in one, for one model or several of the same crystal. Nothing in
`evaluate` waits for the device, so lists cannot grow there: one that finds no room makes the results not a number, and
`grown` gives a plan with more room. A model's list is made at its first evaluation and again when an atom has moved by
half the skin.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from arrayrefine.kernels import contacts_tables
from arrayrefine.kernels.backend import blocks_for, launch, to_device, to_host
from arrayrefine.kernels.contacts_tables import Rules, Symmetry

Array: TypeAlias = Any

_BLOCK, _LANES = 128, 8
_WARPS = _BLOCK // 32
_PER_ATOM = 24
"""Entries per atom that a plan has room for by default; with a skin of 0.6 Å proteins have 7, with half of the
hydrogens 10."""
_TOO_MANY = 1
_STATUS = {
    _TOO_MANY: "the lists have no room for all contacts: `grown` gives a plan with more",
    2: "coordinates are not finite",
    4: "atoms are more than 127 cells from the origin or from each other: move the model into the cell",
}


@dataclass(frozen=True)
class ContactPlan:
    """Symmetry and rules on the device, and the memory of the lists and of an evaluation; see `plan`.

    Attributes
    ----------
    n_atoms, n_operators, n_models, capacity : int
        N, G, M, and the entries that the lists of one model have room for.
    bins : tuple of 3 int
        Bins of the unit cell along its axes.
    scalars : dict
        sigma, reach, skin, own_image, together; see `Rules`.
    values, operators : float64, int32
        Symmetry as the kernels take it.
    nature, limit, first_rule, rule : (N, 4) int32, (2, T, T) float64, (N + 1,) int32, int32
        Rules as the kernels take them.
    stale, status : (M,) int32
        Whether the list has to be made anew, and what went wrong in the last evaluation, see `check`.
    total, taken : (M,) uint64, (M,) int32
        Entries that the last list needed, images that were put into bins.
    listed : (M, N, 3) float64
        Coordinates for which the list was made, Å.
    count, begin : (M, bins) int32
    slot, rank, image, placed : (M, G N) int32
        Bin of each image, its rank in it, operator and translation into the cell, and the images bin by bin.
    sorted : (M, G N, 2) uint32
        Atom and image, bin by bin, sorted.
    first, length, entries : (M, N) int32, (M, N) int32, (M, capacity, 2) uint32
        Neighbours of each atom: entries[first:first + length], the other atom and the image.
    partial, value, gradient : (M, blocks), (M,), (M, N, 3) float64
    """

    n_atoms: int
    n_operators: int
    n_models: int
    capacity: int
    bins: tuple[int, int, int]
    scalars: dict[str, float]
    values: Array
    operators: Array
    nature: Array
    limit: Array
    first_rule: Array
    rule: Array
    stale: Array
    status: Array
    total: Array
    taken: Array
    listed: Array
    count: Array
    begin: Array
    slot: Array
    rank: Array
    image: Array
    placed: Array
    sorted: Array
    first: Array
    length: Array
    entries: Array
    partial: Array
    value: Array
    gradient: Array

    @property
    def nbytes(self) -> int:
        """Memory on the device, bytes."""
        return sum(int(getattr(self, f.name).nbytes) for f in dataclasses.fields(self) if f.type == "Array")


def _memory(
    n_atoms: int, n_operators: int, n_models: int, bins: tuple[int, int, int], capacity: int
) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Shape and type of what grows with the number of models."""
    images, places = n_atoms * n_operators, bins[0] * bins[1] * (bins[2] + 1)
    m, integer = n_models, np.int32
    return {
        "stale": ((m,), integer), "status": ((m,), integer), "total": ((m,), np.uint64), "taken": ((m,), integer),
        "listed": ((m, n_atoms, 3), np.float64), "count": ((m, places), integer), "begin": ((m, places), integer),
        "slot": ((m, images), integer), "rank": ((m, images), integer), "image": ((m, images), np.uint32),
        "placed": ((m, images), integer), "sorted": ((m, images, 2), np.uint32),
        "first": ((m, n_atoms), integer), "length": ((m, n_atoms), integer),
        "entries": ((m, capacity, 2), np.uint32), "partial": ((m, blocks_for(n_atoms * _LANES, _BLOCK)), np.float64),
        "value": ((m,), np.float64), "gradient": ((m, n_atoms, 3), np.float64),
    }  # fmt: skip


# ---- plans


def bytes_needed(symmetry: Symmetry, n_atoms: int, reach: float, n_models: int = 1, capacity: int | None = None) -> int:
    """Memory on the device that the models of a `plan` take, bytes; the tables that they share come on top."""
    operators = len(symmetry.rotations)
    bins = contacts_tables.cell_bins(contacts_tables.search_margin(symmetry, reach), n_atoms * operators)
    memory = _memory(n_atoms, operators, n_models, bins, _capacity(n_atoms, capacity))
    return sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in memory.values())


def _capacity(n_atoms: int, given: int | None) -> int:
    return max(1, _PER_ATOM * n_atoms if given is None else given)


def plan(
    symmetry: Symmetry, rules: Rules, n_atoms: int, n_models: int = 1, capacity: int | None = None
) -> ContactPlan:
    """Bring symmetry and rules to the device and allocate the memory of the lists and of `evaluate`.

    Parameters
    ----------
    symmetry : Symmetry
    rules : Rules
    n_atoms : int
        N, atoms of each model.
    n_models : int
        M, models of the crystal with coordinates and lists of their own.
    capacity : int, optional
        Entries to make room for in the lists of one model; each contact takes two.

    Raises
    ------
    ValueError
        When the rules are not those of N atoms, or the operators not those of a space group.
    """
    import cupy

    columns = [np.asarray(a).astype(np.int64) for a in (rules.kind, rules.conformer, rules.held, rules.multiplicity)]
    if any(a.shape != (n_atoms,) for a in columns):
        raise ValueError(f"rules for {', '.join(str(a.shape) for a in columns)} atoms, expected {n_atoms}")
    limit = np.asarray(rules.limit, dtype=np.float64)
    kinds = 1 + int(columns[0].max(initial=-1))
    if limit.ndim != 3 or limit.shape[0] != 2 or limit.shape[1] != limit.shape[2] or limit.shape[1] < kinds:
        raise ValueError(f"limits of shape {limit.shape}, expected (2, {kinds}, {kinds}) for atoms of {kinds} kinds")
    margin = contacts_tables.search_margin(symmetry, rules.reach)
    values, operators = contacts_tables.symmetry_tables(symmetry, margin)
    first_rule, rule = contacts_tables.rule_table(rules, n_atoms)
    images, room = n_atoms * len(operators), _capacity(n_atoms, capacity)
    if max(images, room, 8 * n_atoms) >= 2**31:
        raise ValueError(f"{n_atoms} atoms with {len(operators)} operators are more than the kernels can number")
    bins = contacts_tables.cell_bins(margin, images)
    memory = _memory(n_atoms, len(operators), n_models, bins, room)
    made = ContactPlan(
        n_atoms, len(operators), n_models, room, bins,
        {name: float(getattr(rules, name)) for name in ("sigma", "reach", "skin", "own_image", "together")},
        to_device(values), to_device(operators, np.int32), to_device(np.column_stack(columns), np.int32),
        to_device(limit), to_device(first_rule, np.int32), to_device(rule, np.int32),
        **{name: cupy.zeros(shape, dtype) for name, (shape, dtype) in memory.items()},
    )  # fmt: skip
    forget(made)
    return made


def forget(plan: ContactPlan) -> None:
    """Have the lists of all models made anew at the next evaluation: needed after a change of occupancies."""
    plan.stale.fill(1)


def check(plan: ContactPlan) -> None:
    """Raise RuntimeError if the last evaluation went wrong. This waits for the device."""
    for model, status in enumerate(to_host(plan.status).tolist()):
        if status:
            what = "; ".join(text for bit, text in _STATUS.items() if status & bit)
            needed = f" ({int(plan.total[model])} entries, {plan.capacity} expected)" if status & _TOO_MANY else ""
            raise RuntimeError(f"contacts of model {model} on the CUDA device: {what}{needed}")


def grown(plan: ContactPlan) -> ContactPlan:
    """The plan itself if the last evaluation found room, else one with room for what was found. Waits for the device.

    The new plan shares all memory but that of the lists with the old one, which must not be used any more; a graph
    that was captured with the old one must be captured again. Evaluate again: the results were not numbers.
    """
    import cupy

    if not (to_host(plan.status) & _TOO_MANY).any():
        return plan
    room = int(1.25 * int(to_host(plan.total).max()))
    if room >= 2**31:
        raise ValueError(f"{room} contacts in a model of {plan.n_atoms} atoms: its coordinates coincide; correct them")
    forget(plan)
    return dataclasses.replace(plan, capacity=room, entries=cupy.zeros((plan.n_models, room, 2), np.uint32))


# ---- evaluation


def _update(plan: ContactPlan, xyz: Array, occupancy: Array) -> None:
    """Make the lists that no longer hold anew."""
    n, images, (nu, nv, nw) = plan.n_atoms, plan.n_atoms * plan.n_operators, plan.bins
    atoms, copies, models = np.int32(n), np.int32(images), plan.n_models
    shape, places = (np.int32(nu), np.int32(nv), np.int32(nw)), np.int32(nu * nv * (nw + 1))
    by_image = (blocks_for(images, _BLOCK), models)
    distances = tuple(np.float64(plan.scalars[name]) for name in ("reach", "skin", "own_image", "together"))
    launch(
        "contacts", "check_moves", (blocks_for(n, _BLOCK), models), (_BLOCK,),
        (atoms, np.float64((0.5 * plan.scalars["skin"]) ** 2), xyz, plan.listed, plan.stale, plan.status),
    )  # fmt: skip
    launch(
        "contacts", "bin_images", by_image, (_BLOCK,),
        (atoms, np.int32(plan.n_operators), *shape, xyz, plan.values, plan.operators, plan.stale, plan.listed,
         plan.count, plan.slot, plan.rank, plan.image, plan.taken, plan.total, plan.status),
    )  # fmt: skip
    launch(
        "contacts", "number_rows", (blocks_for(nu * nv, _WARPS), models), (_BLOCK,),
        (np.int32(nu * nv), np.int32(nw), plan.stale, plan.count, plan.begin, plan.taken),
    )  # fmt: skip
    launch(
        "contacts", "place_images", by_image, (_BLOCK,),
        (copies, places, plan.stale, plan.slot, plan.rank, plan.begin, plan.placed),
    )  # fmt: skip
    launch(
        "contacts", "order_bins", by_image, (_BLOCK,),
        (atoms, copies, places, plan.stale, plan.slot, plan.begin, plan.placed, plan.image, plan.sorted),
    )  # fmt: skip
    launch(
        "contacts", "list_contacts", (blocks_for(n, _WARPS), models), (_BLOCK,),
        (atoms, copies, *shape, np.int32(plan.limit.shape[1]), np.int32(plan.capacity), np.int32(occupancy.ndim == 2),
         *distances, xyz, occupancy, plan.values, plan.operators, plan.nature, plan.limit, plan.first_rule, plan.rule,
         plan.stale, plan.begin, plan.sorted, plan.total, plan.first, plan.length, plan.entries, plan.status),
    )  # fmt: skip


def evaluate(plan: ContactPlan, xyz: Array, occupancy: Array) -> tuple[Array, Array]:
    """½ Σ z² over the contacts that are too short, and its gradient: eight launches, without allocation or waiting.

    Six of them look whether the lists still hold and return at once where they do. The same coordinates and lists
    made for the same coordinates give the same bits.

    Parameters
    ----------
    plan : ContactPlan
    xyz : (N, 3) or (M, N, 3) float64, Å
    occupancy : (N,) or (M, N) float64
        Looked at when a list is made; see `forget`.

    Returns
    -------
    value : () or (M,) float64
    gradient : (N, 3) or (M, N, 3) float64, 1/Å
        Both are memory of the plan, which its next evaluation overwrites. Not a number for a model that `check` has
        something to say about.
    """
    if xyz.shape[-2:] != (plan.n_atoms, 3) or xyz.size != plan.gradient.size or xyz.ndim > 3:
        raise ValueError(f"coordinates {xyz.shape} for a plan of {plan.n_models} models of {plan.n_atoms} atoms")
    if occupancy.shape not in ((plan.n_atoms,), (plan.n_models, plan.n_atoms)):
        raise ValueError(f"occupancies {occupancy.shape} for a plan of {plan.n_models} models of {plan.n_atoms} atoms")
    xyz, occupancy = to_device(xyz, np.float64), to_device(occupancy, np.float64)
    _update(plan, xyz, occupancy)
    blocks = plan.partial.shape[1]
    launch(
        "contacts", "repulsion", (blocks, plan.n_models), (_BLOCK,),
        (np.int32(plan.n_atoms), np.int32(plan.limit.shape[1]), np.int32(plan.capacity),
         np.float64(plan.scalars["sigma"]), xyz, plan.values, plan.operators, plan.nature, plan.limit, plan.first,
         plan.length, plan.entries, plan.status, plan.gradient, plan.partial),
    )  # fmt: skip
    launch(
        "contacts", "sum_values", (plan.n_models,), (_BLOCK,),
        (np.int32(blocks), plan.partial, plan.status, plan.stale, plan.value),
    )  # fmt: skip
    return (plan.value, plan.gradient) if xyz.ndim == 3 else (plan.value[0], plan.gradient[0])
