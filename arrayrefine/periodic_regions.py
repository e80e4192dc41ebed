"""Face-connected regions of a mask that repeats itself beyond its edges."""

from __future__ import annotations

import numpy as np
import scipy.ndimage
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from arrayrefine.kernels.processes import release, shared
from arrayrefine.kernels.threads import each, pieces

_SLABS = 8
"""Parts of the grid, along its first axis, that are looked at one by one."""


def periodic_regions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Pieces of a periodic mask, and which of them are one across the edges.

    Parameters
    ----------
    mask : (nu, nv, nw) bool

    Returns
    -------
    labels : (nu, nv, nw) int32
        Numbers 1..n of the pieces within slabs of the cell, 0 outside the mask. Good until the next call.
    region : (n + 1,) int32
        Number of the region that each piece belongs to; 0, the outside, stays alone.
    """
    slabs = pieces(len(mask), -(-len(mask) // _SLABS))
    labels: NDArray[np.int32] = shared("labels", np.int32, *mask.shape)
    count = shared("labels of slabs", np.int64, len(slabs))

    def label(number: int) -> None:
        count[number] = scipy.ndimage.label(mask[slabs[number]], output=labels[slabs[number]])

    each(label, len(slabs), 1)
    n, first = int(count.sum()), np.cumsum(count) - count

    def renumber(number: int) -> None:
        here = labels[slabs[number]]
        np.add(here, np.int32(first[number]), out=here, where=here > 0)

    each(renumber, len(slabs), 1)
    faces = [(labels[slab.start - 1], labels[slab.start]) for slab in slabs]  # the first meets the last
    faces += [(labels.take(0, axis), labels.take(-1, axis)) for axis in (1, 2)]
    pairs = []
    for face in faces:
        pair = np.stack([side.ravel() for side in face])
        pairs.append(pair[:, (pair > 0).all(axis=0)])
    i, j = np.concatenate(pairs, axis=1)
    graph = scipy.sparse.coo_array((np.ones(len(i), dtype=np.bool_), (i, j)), shape=(n + 1, n + 1))
    _, region = connected_components(graph, directed=False)
    return labels, region.astype(np.int32)


def without_islands(mask: NDArray[np.bool_], smallest: float) -> NDArray[np.bool_]:
    """A periodic mask (nu, nv, nw) without the face-connected regions of fewer than `smallest` points."""
    labels, region = periodic_regions(mask)
    slabs = pieces(len(mask), -(-len(mask) // _SLABS))
    size = shared("sizes of pieces", np.int64, len(slabs), len(region))
    kept: NDArray[np.bool_] = shared("without islands", np.bool_, *mask.shape)

    def measure(number: int) -> None:
        size[number] = np.bincount(labels[slabs[number]].reshape(-1), minlength=len(region))

    def clear(number: int) -> None:
        here = slabs[number]
        np.logical_and(mask[here], stays[labels[here]], out=kept[here])

    each(measure, len(slabs), 1)
    stays = ~(np.bincount(region, size.sum(axis=0))[region] < smallest)
    each(clear, len(slabs), 1)
    found = kept.copy()
    release(["labels", "labels of slabs", "sizes of pieces", "without islands"])
    return found
