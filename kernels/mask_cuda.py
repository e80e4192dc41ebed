"""CUDA side of `mask`: the bulk-solvent mask on the device."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from arrayrefine.kernels import mask
from arrayrefine.kernels.backend import blocks_for, launch, to_device

Array: TypeAlias = Any

_COPIES, _POINTS = 4, 256


def solvent_mask(
    fractional: Array,
    radius: Array,
    rotations: Array,
    translations: Array,
    orth: Array,
    shape: tuple[int, int, int],
    shrink: float,
    out: Array | None = None,
) -> Array:
    """See `mask.solvent_mask`: two launches.

    Points on a sphere may fall either way, as rounding has it.

    Parameters
    ----------
    fractional : (N, 3) float64
    radius : (N,) float64, Å
    rotations, translations : (G, 3, 3) int, (G, 3) float64
        On host or device.
    orth : (3, 3) float64
        On the host.
    shape : tuple of 3 ints
    shrink : float, Å
    out : (nu, nv, nw) bool, optional

    Returns
    -------
    (nu, nv, nw) bool
    """
    import cupy

    step = np.asarray(orth, dtype=np.float64) / np.asarray(shape)
    third, along, q = mask.shadow(step)
    shadow = np.array([third, *along, q[0, 0], q[0, 1], q[1, 1], *np.sqrt(np.diag(np.linalg.inv(q)))])
    offsets = mask.ball(step, shrink)
    offsets = offsets[np.argsort(((offsets @ step.T) ** 2).sum(axis=1), kind="stable")]
    nu, nv, nw = (np.int32(n) for n in shape)
    words = -(-int(nw) // 32)
    bits = cupy.zeros((shape[0], shape[1], words), np.uint32)
    if out is None:
        out = cupy.empty(shape, bool)
    n, operators = len(fractional), len(rotations)
    launch(
        "mask", "cover", (blocks_for(n * operators, _COPIES),), (32 * _COPIES,),
        (np.int32(n), np.int32(operators), to_device(fractional, np.float64), to_device(radius, np.float64),
         to_device(rotations, np.int32), to_device(translations, np.float64), to_device(shadow), nu, nv, nw,
         np.int32(words), bits),
    )  # fmt: skip
    points = shape[0] * shape[1] * shape[2]
    launch(
        "mask", "solvent", (blocks_for(points, _POINTS),), (_POINTS,),
        (bits, to_device(offsets, np.int32), np.int32(len(offsets)), nu, nv, nw, np.int32(words), out),
    )  # fmt: skip
    return out
