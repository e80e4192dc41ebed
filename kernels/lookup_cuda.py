"""CUDA side of `lookup`: the same functions on device arrays, for a batch of models."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from arrayrefine.kernels import lookup
from arrayrefine.kernels.backend import array_module, blocks_for, launch, to_device

Array: TypeAlias = Any

_REFLECTIONS, _OPERATORS, _POSITIONS = 64, 4, 256


@dataclass(frozen=True)
class DeviceLookUp:
    """A `lookup.LookUp` on the device; see `plan`.

    A value that enters as its conjugate has the number ~n instead of n.

    Attributes
    ----------
    stored : tuple of 3 ints
    dtype : complex64 or complex128
    index : (G, R) int32
        Position in one flattened transform.
    phase : (G, R) complex
    begin : (positions + 1,) int32
        Terms of the adjoint that fall on position p: begin[p] … begin[p + 1] − 1.
    source : (T,) int32
        Reflection of each term.
    weight : (T,) complex
    """

    stored: tuple[int, int, int]
    dtype: np.dtype[Any]
    index: Array
    phase: Array
    begin: Array
    source: Array
    weight: Array


def plan(
    hkl: Array, rotations: Array, translations: Array, n_centring: int, stored: tuple[int, int, int], dtype: Any
) -> DeviceLookUp:
    """See `lookup.plan`; made on the host and copied to the device once."""
    return upload(lookup.plan(hkl, rotations, translations, n_centring, stored, dtype))


def upload(table: lookup.LookUp) -> DeviceLookUp:
    """Copy a plan to the device."""
    positions, n = math.prod(table.stored), table.index.shape[1]
    if positions >= 2**31:
        raise ValueError(f"a transform of {table.stored} has more than 2³¹ values; use a coarser grid")
    term = np.concatenate([table.target[again.member] for again in table.rounds])
    source = np.concatenate([again.source for again in table.rounds])
    weight = np.concatenate([again.weight for again in table.rounds])
    order = np.argsort(term, kind="stable")
    begin = np.concatenate([[0], np.cumsum(np.bincount(term, minlength=positions))])
    return DeviceLookUp(
        stored=table.stored,
        dtype=table.phase.dtype,
        index=to_device(np.where(table.sign < 0.0, ~table.index, table.index), np.int32),
        phase=to_device(table.phase),
        begin=to_device(begin, np.int32),
        source=to_device(np.where(source < n, source, ~(source - n))[order], np.int32),
        weight=to_device(weight[order]),
    )


def _checked(table: DeviceLookUp | lookup.LookUp, factor: Array, n: int) -> tuple[DeviceLookUp, Array, str]:
    """The plan, the factors in its precision, and the letter of its kernels."""
    if not isinstance(table, DeviceLookUp):
        raise TypeError("device arrays need a plan on the device: lookup_cuda.plan or lookup_cuda.upload makes one")
    if factor.ndim != 2 or factor.shape[1] != table.index.shape[1] or n != factor.shape[1]:
        raise ValueError(f"factors {factor.shape} and {n} reflections for a plan of {table.index.shape[1]} reflections")
    single = table.dtype == np.complex64
    return table, to_device(factor, np.float32 if single else np.float64), "f" if single else "d"


def look_up(transforms: Array, factor: Array, table: DeviceLookUp | lookup.LookUp, out: Array | None = None) -> Array:
    """See `lookup.look_up`: one launch, no host synchronisation.

    Parameters
    ----------
    transforms : (..., K, mx, my, mz) complex64 or complex128, as the plan
    factor : (K, R) float32 or float64, as the plan; others are converted at each call
    table : DeviceLookUp
    out : (..., R) complex128, optional

    Returns
    -------
    (..., R) complex128
    """
    table, factor, letter = _checked(table, factor, table.index.shape[1])
    channels, (operators, n) = len(factor), table.index.shape
    batch = transforms.shape[:-4]
    if transforms.shape[-4:] != (channels, *table.stored) or transforms.dtype != table.dtype:
        raise ValueError(
            f"transforms of {table.dtype} (..., {channels}, *{table.stored}) are needed, found {transforms.dtype} "
            f"{transforms.shape}"
        )
    if out is None:
        out = array_module(transforms).empty((*batch, n), dtype=np.complex128)
    launch(
        "lookup", f"look_up_{letter}",
        (blocks_for(n, _REFLECTIONS), math.prod(batch)), (_REFLECTIONS, max(1, min(operators, _OPERATORS))),
        (np.int32(n), np.int32(operators), np.int32(channels), np.int32(math.prod(table.stored)), to_device(transforms),
         factor, table.index, table.phase, out),
    )  # fmt: skip
    return out


def scatter(
    gradient: Array,
    factor: Array,
    table: DeviceLookUp | lookup.LookUp,
    stored: tuple[int, int, int],
    out: Array | None = None,
) -> Array:
    """See `lookup.scatter`: one launch, no host synchronisation; every value of the result is written.

    Parameters
    ----------
    gradient : (..., R) complex128
    factor : (K, R) float32 or float64, as the plan; others are converted at each call
    table : DeviceLookUp
    stored : tuple of 3 ints
    out : (..., K, mx, my, mz) complex64 or complex128, as the plan, optional

    Returns
    -------
    (..., K, mx, my, mz) complex
    """
    table, factor, letter = _checked(table, factor, gradient.shape[-1])
    batch, shape = gradient.shape[:-1], (*gradient.shape[:-1], len(factor), *table.stored)
    if tuple(stored) != table.stored:
        raise ValueError(f"the plan is for transforms of {table.stored}, not {tuple(stored)}")
    if out is None:
        out = array_module(gradient).empty(shape, dtype=table.dtype)
    elif out.shape != shape or out.dtype != table.dtype:
        raise ValueError(f"the result is {table.dtype} {shape}, the array for it {out.dtype} {out.shape}")
    size = math.prod(table.stored)
    launch(
        "lookup", f"scatter_{letter}", (blocks_for(size, _POSITIONS), math.prod(batch)), (_POSITIONS,),
        (np.int32(gradient.shape[-1]), np.int32(len(factor)), np.int32(size), to_device(gradient, np.complex128),
         factor, table.begin, table.source, table.weight, out),
    )  # fmt: skip
    return out
