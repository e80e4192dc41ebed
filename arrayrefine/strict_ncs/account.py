"""What came of copies that stay the same, for log and report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from arrayrefine.atoms import Atoms
from arrayrefine.strict_ncs.copies import Copies
from arrayrefine.wording import listed


def describe(copies: Copies, start: Atoms, end: Atoms) -> list[dict[str, Any]]:
    """Each operator: chains, number of atoms that it takes, what it is, and how a refinement has moved it.

    Parameters
    ----------
    copies : Copies
    start, end : Atoms
        With copies that are the same, see `Copies.alike`.

    Returns
    -------
    list of dict
        "chains", "atoms", "rotation" (3, 3) and "translation" (3,), Å, of x → R x + t; "moved", Å, how far the centre
        of what it makes is from where the operator of the start would have it, and "turned", degrees.
    """
    if not len(copies):
        return []
    first, last = copies.motions(start), copies.motions(end)
    found = []
    for k, chains in enumerate(copies.names):
        rows = copies.operator == k
        centre = end.xyz[copies.parent[rows]].mean(axis=0)
        moved = (last.rotation[k] - first.rotation[k]) @ centre + last.shift[k] - first.shift[k]
        cosine = 0.5 * (np.trace(last.rotation[k] @ first.rotation[k].T) - 1.0)
        found.append({
            "chains": chains, "atoms": int(rows.sum()), "rotation": last.rotation[k].tolist(),
            "translation": last.shift[k].tolist(), "moved": float(np.linalg.norm(moved)),
            "turned": math.degrees(math.acos(float(np.clip(cosine, -1.0, 1.0)))),
        })  # fmt: skip
    return found


def sentences(operators: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say what `describe` has found."""
    if not operators:
        return []
    moves = [f"{row['chains']} by {row['moved']:.2f} Å and {row['turned']:.2f}°" for row in operators]
    return [f"strict NCS: all copies are the same; their operators moved: {listed(moves, '; ')}"]
