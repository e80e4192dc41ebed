"""Curvature of alternate conformers whose atoms lie on each other.

The X-ray term has a second derivative by the values of two such atoms, too, which the change of variable leaves out. A
light atom on a heavy one (CE of one conformer on SE of another) has a gradient that the heavy one makes, divided by a
curvature of its own: the first step throws it out of its density. Added to the diagonal, the sizes of what is left out
make steps short enough whatever the signs (Gershgorin).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.spatial import cKDTree

from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.overlaps import Overlaps
from arrayrefine.targets.xray import XrayTarget

_REACH = 2.0
"""Å; atoms further apart hardly overlap."""


def with_overlaps(curvature: Gradient, xray: XrayTarget, atoms: Atoms) -> Gradient:
    """The diagonal of the Hessian by coordinates and B, with the entries between conformers added to it.

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
        np.add.at(xyz, one, share[:, None] * np.sqrt(curvature.xyz[one] * curvature.xyz[other]))
        np.add.at(b_iso, one, share * np.sqrt(curvature.b_iso[one] * curvature.b_iso[other]))
    return dataclasses.replace(curvature, xyz=xyz, b_iso=b_iso)
