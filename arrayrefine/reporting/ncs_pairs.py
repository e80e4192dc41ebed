"""Which chains local NCS held alike, over which residues, and how alike they ended."""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayrefine.atoms import Atoms
from arrayrefine.displacements.tls_motion import ranges
from arrayrefine.restraints import Distances


def ncs_pairs(classes: tuple[object, ...], atoms: Atoms) -> tuple[dict[str, Any], ...]:
    """One record for each pair of chains whose distances are restrained to be alike.

    Parameters
    ----------
    classes : tuple
        Restraints that do not come from the dictionary, see `GeometryTarget.external`.
    atoms : Atoms
        The refined ones.

    Returns
    -------
    tuple of dict
        `chains` (two names), `ranges` (of each: runs of residues as chain, first and last number), `count` of the
        differences of distances, their `rmsd` (Å), and `weight` of the class within the geometry.
    """
    rows: list[dict[str, Any]] = []
    for more in classes:
        if not isinstance(more, Distances) or more.kind != "local NCS":
            continue
        chain = atoms.identity.chain
        pairs = np.stack([chain[more.index[:, 0]], chain[more.index[:, 2]]], axis=1)
        for one, two in dict.fromkeys(map(tuple, pairs.tolist())):
            index = more.index[(pairs == (one, two)).all(axis=1)]
            points = atoms.xyz[index]
            first = np.linalg.norm(points[:, 0] - points[:, 1], axis=1)
            second = np.linalg.norm(points[:, 2] - points[:, 3], axis=1)
            found = []
            for sides in (index[:, :2], index[:, 2:]):
                inside = np.zeros(len(atoms), dtype=bool)
                inside[sides] = True
                found.append(ranges(atoms, inside))
            rows.append(
                {
                    "chains": [one, two], "ranges": found, "count": len(index),
                    "rmsd": float(np.sqrt(np.mean((first - second) ** 2))), "weight": more.weight,
                }
            )  # fmt: skip
    return tuple(rows)
