"""Curvature of alternate conformers whose atoms lie on each other.

The X-ray term has a second derivative by the values of two such atoms, too, which the change of variable leaves out. A
light atom on a heavy one (CE of one conformer on SE of another) has a gradient that the heavy one makes, divided by a
curvature of its own: the first step throws it out of its density. So what is left out is added to the diagonal of the
lighter one, as far as it is more than that has itself; like atoms on each other do without, as the minimiser finds out.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.rebuilding.overlaps import Overlaps
from arrayrefine.targets.xray import XrayTarget

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_REACH = 2.0
"""Å; atoms further apart hardly overlap."""


def with_overlaps(curvature: Gradient, xray: XrayTarget, atoms: Atoms) -> Gradient:
    """The diagonal of the Hessian by coordinates and B, with what entries between conformers have beyond it added.

    Parameters
    ----------
    curvature : Gradient
        `XrayTarget.curvature` of the atoms.
    xray : XrayTarget
    atoms : Atoms

    Returns
    -------
    Gradient
        The one given where no two conformers meet.
    """
    rows = np.flatnonzero((atoms.identity.altloc != "") & ~atoms.riding.mask(len(atoms)))
    if not len(rows):
        return curvature
    pairs = rows[cKDTree(atoms.xyz[rows]).query_pairs(_REACH, output_type="ndarray")]
    altloc = atoms.identity.altloc
    i, j = pairs[altloc[pairs[:, 0]] != altloc[pairs[:, 1]]].T
    if not len(i):
        return curvature
    overlaps = Overlaps(xray, atoms)
    distance = np.linalg.norm(atoms.xyz[i] - atoms.xyz[j], axis=1)
    b_sum = atoms.b_iso[i] + atoms.b_iso[j]
    share = np.clip(overlaps(distance, b_sum) / overlaps(np.zeros(len(i)), b_sum), 0.0, 1.0)
    xyz, b_iso = curvature.xyz.copy(), curvature.b_iso.copy()
    for one, other in ((i, j), (j, i)):
        np.add.at(xyz, one, share[:, None] * _beyond(curvature.xyz, one, other))
        np.add.at(b_iso, one, share * _beyond(curvature.b_iso, one, other))
    return dataclasses.replace(curvature, xyz=xyz, b_iso=b_iso)


def _beyond(own: Float, one: Int, other: Int) -> Float:
    """By how much entries between atoms in one place are more than the diagonal (N, ...) has for the first of each."""
    return np.maximum(np.sqrt(own[one] * own[other]) - own[one], 0.0)
