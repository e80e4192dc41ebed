"""Face-connected regions of a mask that repeats itself beyond its edges."""

from __future__ import annotations

import numpy as np
import scipy.ndimage
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components


def periodic_regions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Pieces of a periodic mask, and which of them are one across the edges.

    Parameters
    ----------
    mask : (nu, nv, nw) bool

    Returns
    -------
    labels : (nu, nv, nw) int32
        Numbers 1..n of the pieces within the cell, 0 outside the mask.
    region : (n + 1,) int32
        Number of the region that each piece belongs to; 0, the outside, stays alone.
    """
    labels, n = scipy.ndimage.label(mask)
    pairs = []
    for axis in range(3):
        pair = np.stack([labels.take(0, axis).ravel(), labels.take(-1, axis).ravel()])
        pairs.append(pair[:, (pair > 0).all(axis=0)])
    i, j = np.concatenate(pairs, axis=1)
    graph = scipy.sparse.coo_array((np.ones(len(i), dtype=np.bool_), (i, j)), shape=(n + 1, n + 1))
    _, region = connected_components(graph, directed=False)
    return labels, region.astype(np.int32)
