"""What an evaluation does to vectors and atoms on the device, for one model or a batch of M.

A batch has a leading axis of M. What belongs to the topology (masks, riding, projections) is shared by the models; the
reference values may be shared or have a row for each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from arrayrefine.kernels.backend import array_module, blocks_for, checked, launch, to_device, to_host

Array: TypeAlias = Any

_BLOCK = 128


def _on_device(*arrays: Array) -> tuple[Array, ...]:
    return tuple(to_device(a) for a in arrays)


def _outputs(out: tuple[Array, ...] | None, like: Array, *shapes: tuple[int, ...]) -> Sequence[Array]:
    """The arrays given for results, or new ones."""
    return tuple(array_module(like).empty(shape) for shape in shapes) if out is None else checked(out, *shapes)


# ---- the vector and the atoms


@dataclass(frozen=True)
class Layout:
    """Where the values of N atoms lie in the vector of n free ones, and which atoms ride on which; see `layout`.

    Attributes
    ----------
    size : int
        n
    slot : (N, 3) int32
        Entry of the vector where xyz, B and occupancy of each atom begin, −1 where they are not refined.
    parent : (N,) int32
        The atom that each rides on, or −1.
    first, child : (N + 1,), (riding atoms,) int32
        Those that ride on atom a: child[first[a]:first[a + 1]].
    projection : (N, 3, 3) float64
    xyz, b_iso, occupancy : (N, 3), (N,), (N,) float64
        Reference values, or with a leading axis of M. Å, Å².
    b_ratio, occupancy_ratio : float64
        Of riding atoms to their parents in the reference; shaped like `b_iso`.
    """

    size: int
    slot: Array
    parent: Array
    first: Array
    child: Array
    projection: Array
    xyz: Array
    b_iso: Array
    occupancy: Array
    b_ratio: Array
    occupancy_ratio: Array

    def scalars(self) -> tuple[Any, Any]:
        """Number of atoms, and whether every model has a reference of its own, as the kernels take them."""
        return np.int32(len(self.slot)), np.int32(self.b_iso.ndim == 2)


def layout(
    xyz_free: Array,
    b_free: Array,
    occupancy_free: Array,
    child: Array,
    parent: Array,
    projection: Array,
    xyz: Array,
    b_iso: Array,
    occupancy: Array,
    more: int = 0,
) -> Layout:
    """Prepare `unpack` and `pullback`.

    Parameters
    ----------
    xyz_free, b_free, occupancy_free : (N,) bool, on the host
        What is refined; no riding atom.
    child, parent : (C,) int, on the host
        Atoms that ride, and those that they ride on.
    projection : (N, 3, 3) float64
        Onto the displacements that the site symmetry allows.
    xyz, b_iso, occupancy : (N, 3), (N,), (N,) float64
        Reference values, on host or device; with a leading axis of M where every model has its own. Å, Å².
    more : int
        Entries of the vector behind those of xyz, B and occupancies, with which others have to do.
    """
    child, parent = np.asarray(child, dtype=np.int64), np.asarray(parent, dtype=np.int64)
    free = [np.asarray(mask, dtype=bool) for mask in (xyz_free, b_free, occupancy_free)]
    n = len(free[0])
    rides_on = np.full(n, -1)
    rides_on[child] = parent
    if any(mask[child].any() for mask in free) or (rides_on[parent] >= 0).any():
        raise ValueError("atoms that ride on others have no free values and no riders")
    slot, size = np.full((n, 3), -1), 0
    for column, (mask, width) in enumerate(zip(free, (3, 1, 1))):
        count = int(mask.sum())
        slot[mask, column] = size + width * np.arange(count)
        size += width * count
    order = np.argsort(parent, kind="stable")
    reference = [to_device(a, np.float64) for a in (xyz, b_iso, occupancy)]
    if reference[0].shape != (*reference[1].shape, 3) or reference[1].shape != reference[2].shape:
        raise ValueError(f"reference values of shapes {', '.join(str(a.shape) for a in reference)} do not fit")
    if reference[1].shape[-1] != n or reference[1].ndim > 2:
        raise ValueError(f"reference values of shape {reference[1].shape} for {n} atoms")
    return Layout(
        size=size + more,
        slot=to_device(slot, np.int32),
        parent=to_device(rides_on, np.int32),
        first=to_device(np.searchsorted(parent[order], np.arange(n + 1)), np.int32),
        child=to_device(child[order], np.int32),
        projection=to_device(projection, np.float64),
        xyz=reference[0],
        b_iso=reference[1],
        occupancy=reference[2],
        b_ratio=_ratio(b_iso, child, parent),
        occupancy_ratio=_ratio(occupancy, child, parent),
    )


def _ratio(values: Array, child: Array, parent: Array) -> Array:
    """Of the riding atoms' values to their parents', on the device; 1 for others, and where the parent has nothing."""
    values = np.asarray(to_host(values), dtype=np.float64)
    ratio = np.ones_like(values)
    below = values[..., parent]
    ratio[..., child] = np.where(below > 0.0, values[..., child] / np.where(below > 0.0, below, 1.0), 1.0)
    return to_device(ratio)


def _shapes(table: Layout, batch: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Shapes of xyz, B and occupancy of a batch."""
    n = len(table.slot)
    models = math.prod(batch)
    if len(batch) > 1 or (table.b_iso.ndim == 2 and models != len(table.b_iso)):
        raise ValueError(f"a batch {batch} for reference values of shape {table.b_iso.shape}")
    return (*batch, n, 3), (*batch, n), (*batch, n)


def unpack(table: Layout, x: Array, out: tuple[Array, Array, Array] | None = None) -> tuple[Array, Array, Array]:
    """Atoms with the free values replaced, riding atoms in their place: one launch.

    Parameters
    ----------
    table : Layout
    x : (n,) or (M, n) float64
    out : (xyz, b_iso, occupancy), optional

    Returns
    -------
    xyz : (N, 3) or (M, N, 3) float64, Å
    b_iso, occupancy : (N,) or (M, N) float64
    """
    if x.shape[-1] != table.size:
        raise ValueError(f"vector of shape {x.shape} for {table.size} free parameters")
    made = _outputs(out, x, *_shapes(table, x.shape[:-1]))
    n, own = table.scalars()
    launch(
        "vector", "unpack", (blocks_for(int(n), _BLOCK), math.prod(x.shape[:-1])), (_BLOCK,),
        (n, np.int32(table.size), own, table.slot, table.parent, table.projection, table.xyz, table.b_iso,
         table.occupancy, table.b_ratio, table.occupancy_ratio, to_device(x), *made),
    )  # fmt: skip
    return made[0], made[1], made[2]


def pullback(table: Layout, d_xyz: Array, d_b: Array, d_occupancy: Array, out: Array | None = None) -> Array:
    """Gradient by the vector from that by the atoms, the adjoint of `unpack`: one launch.

    Parameters
    ----------
    table : Layout
    d_xyz, d_b, d_occupancy : (..., N, 3), (..., N), (..., N) float64
    out : (n,) or (M, n) float64, optional

    Returns
    -------
    (n,) or (M, n) float64
    """
    batch = d_b.shape[:-1]
    given = checked(_on_device(d_xyz, d_b, d_occupancy), *_shapes(table, batch))
    (gradient,) = _outputs(None if out is None else (out,), d_b, (*batch, table.size))
    n, own = table.scalars()
    launch(
        "vector", "pullback", (blocks_for(int(n), _BLOCK), math.prod(batch)), (_BLOCK,),
        (n, np.int32(table.size), own, table.slot, table.first, table.child, table.projection, table.b_ratio,
         table.occupancy_ratio, *given, gradient),
    )  # fmt: skip
    return gradient


def fold(
    table: Layout, d_xyz: Array, d_b: Array, d_occupancy: Array, out: tuple[Array, Array, Array] | None = None
) -> tuple[Array, Array, Array]:
    """Add the derivatives by riding atoms to those by their parents; their own become zero. One launch.

    Parameters
    ----------
    table : Layout
    d_xyz, d_b, d_occupancy : (..., N, 3), (..., N), (..., N) float64
    out : three arrays of the same shapes, optional
        Others than those given.

    Returns
    -------
    Three arrays of the same shapes.
    """
    shapes = _shapes(table, d_b.shape[:-1])
    given = checked(_on_device(d_xyz, d_b, d_occupancy), *shapes)
    made = _outputs(out, d_b, *shapes)
    n, own = table.scalars()
    launch(
        "vector", "fold", (blocks_for(int(n), _BLOCK), math.prod(d_b.shape[:-1])), (_BLOCK,),
        (n, own, table.parent, table.first, table.child, table.b_ratio, table.occupancy_ratio,
         *given, *made),
    )  # fmt: skip
    return made[0], made[1], made[2]


# ---- Gaussians


def gaussians(
    xyz: Array,
    b_iso: Array,
    occupancy: Array,
    frac: Array,
    blur: float,
    cutoff: float,
    out: tuple[Array, Array, Array, Array] | None = None,
    shift: Array | None = None,
) -> tuple[Array, Array, Array, Array]:
    """What the density wants of atoms with B + `blur`: one launch.

    Parameters
    ----------
    xyz, b_iso, occupancy : (..., N, 3), (..., N), (..., N) float64, Å and Å²
    frac : (3, 3) float64, on the device
        Cartesian to fractional.
    blur : float, Å²
    cutoff : float
        Fraction of its centre at which a Gaussian is cut off.
    out : (fractional, amplitude, exponent, radius), optional
    shift : (N,) float64, on the device, optional
        Added to the B of each atom in every model, Å².

    Returns
    -------
    fractional : (..., N, 3) float64
    amplitude : (..., N) float64
        Density of the occupancy at the centre, 1/Å³.
    exponent : (..., N) float64, Å⁻²
    radius : (..., N) float64, Å
    """
    if not xyz.shape == (*b_iso.shape, 3) or b_iso.shape != occupancy.shape:
        raise ValueError(f"atoms with xyz {xyz.shape}, B {b_iso.shape} and occupancy {occupancy.shape}")
    if shift is not None:
        checked((shift,), b_iso.shape[-1:])
    made = _outputs(out, xyz, xyz.shape, b_iso.shape, b_iso.shape, b_iso.shape)
    n, models = b_iso.shape[-1], math.prod(b_iso.shape[:-1])
    launch(
        "vector", "gaussians", (blocks_for(n, _BLOCK), models), (_BLOCK,),
        (np.int32(n), np.float64(blur), np.float64(-math.log(cutoff)), frac, shift, to_device(xyz), to_device(b_iso),
         to_device(occupancy), *made),
    )  # fmt: skip
    return made[0], made[1], made[2], made[3]


def gaussians_pullback(
    occupancy: Array, exponent: Array, d_amplitude: Array, d_exponent: Array, out: tuple[Array, Array] | None = None
) -> tuple[Array, Array]:
    """Derivatives by B and occupancy from those by amplitude and exponent: one launch.

    Parameters
    ----------
    occupancy, exponent : (..., N) float64
        As given to and returned by `gaussians`.
    d_amplitude, d_exponent : (..., N) float64
    out : (d_b, d_occupancy), optional

    Returns
    -------
    d_b, d_occupancy : (..., N) float64
    """
    given = checked(_on_device(occupancy, exponent, d_amplitude, d_exponent), *[exponent.shape] * 4)
    made = _outputs(out, exponent, exponent.shape, exponent.shape)
    launch(
        "vector", "gaussians_pullback", (blocks_for(exponent.size, _BLOCK),), (_BLOCK,),
        (np.int64(exponent.size), *given, *made),
    )  # fmt: skip
    return made[0], made[1]


def cartesian_pullback(d_fractional: Array, frac: Array, out: Array) -> Array:
    """Derivatives by Cartesian coordinates (N, 3), per Å, from those by fractional ones (N, 3): one launch.

    Parameters
    ----------
    d_fractional, out : (N, 3) float64
    frac : (3, 3) float64, on the device
        Cartesian to fractional.
    """
    (given, _) = checked((to_device(d_fractional), out), out.shape, (*out.shape[:-1], 3))
    n = len(out)
    launch("vector", "to_cartesian", (blocks_for(n, _BLOCK),), (_BLOCK,), (np.int32(n), frac, given, out))
    return out


# ---- the terms of an objective

SUMMARY = ("sum", "xray", "geometry", "contacts", "adp", "contacts status", "density status")
"""What `add_terms` says about each model."""


def add_terms(
    weight: Array,
    xray: tuple[Array, Array, Array],
    summary: Array,
    geometry: tuple[Array, Array] | None = None,
    contacts: tuple[Array, Array, Array] | None = None,
    adp: tuple[Array, Array, Array | None] | None = None,
    density_status: Array | None = None,
) -> None:
    """Add the weighted restraints to the X-ray term of M models: one launch.

    Parameters
    ----------
    weight : (M, 2) float64
        Of geometry (contacts included) and ADP.
    xray : (M,), (M, N, 3), (M, N) float64
        Value, and derivatives by xyz and B, which become those of the sum.
    summary : (M, 7) float64
        For the result; the columns are those of `SUMMARY`.
    geometry : (M,), (M, N, 3) float64, optional
    contacts : (M,), (M, N, 3) float64, (M,) int32, optional
        With their status.
    adp : (M,), (M, N), (M, N, 3) float64, optional
        With the derivative by coordinates, or None where there is none.
    density_status : (1,) int32, optional
    """
    value, d_xyz, d_b = xray
    models, n = d_b.shape
    checked((weight, value, d_xyz, summary), (models, 2), (models,), (models, n, 3), (models, len(SUMMARY)))
    if contacts is not None and geometry is None:
        raise ValueError("contacts are a part of the geometry, which was left out")
    for term, shape in ((geometry, (models, n, 3)), (contacts, (models, n, 3)), (adp, (models, n))):
        if term is not None:
            checked(term[:2], (models,), shape)
    one, two, three = geometry or (None, None), contacts or (None, None, None), adp or (None, None, None)
    if three[2] is not None:
        checked((three[2],), (models, n, 3))
    launch(
        "vector", "add_terms", (max(1, blocks_for(n, _BLOCK)), models), (_BLOCK,),
        (np.int32(n), weight, one[1], two[1], *three[1:], value, one[0], two[0], three[0], two[2], density_status,
         d_xyz, d_b, summary),
    )  # fmt: skip


def add_pass(total: Array, part: Array) -> None:
    """Add `part` to `total`, both of one shape, float64 or complex128: one launch."""
    if total.shape != part.shape or total.dtype != part.dtype or total.dtype not in (np.float64, np.complex128):
        raise ValueError(f"passes of {part.dtype} {part.shape} and {total.dtype} {total.shape} cannot be added")
    n = total.nbytes // 8
    launch("vector", "add_pass", (blocks_for(n, _BLOCK),), (_BLOCK,), (np.int64(n), part, total))
