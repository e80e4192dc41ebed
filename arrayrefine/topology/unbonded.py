"""Neighbours in a chain that lie as close as if they were bonded, and are not: a guard against lost restraints."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.topology.valence import polymer_ends
from arrayrefine.wording import Caution, counted, listed


def unbonded_neighbours(
    structure: gemmi.Structure, row: Mapping[int, int], edges: NDArray[np.int64], held: NDArray[np.bool_]
) -> list[str]:
    """Warn of residues that follow each other in a chain, with C and N, or O3' and P, near but not restrained.

    Parameters
    ----------
    structure : gemmi.Structure
        Its first model, with the names of the dictionary.
    row : mapping of int to int
        Position of an atom in the arrays by its serial number.
    edges : (B, 2) int
        Pairs of bonded atoms.
    held : (N,) bool
        Atoms held in place, which need no bonds.

    Returns
    -------
    list of str
        One warning, or none.
    """
    bonded = {frozenset(pair) for pair in edges.tolist()}
    found: list[str] = []
    for chain in structure[0]:
        places = [list(group) for _, group in itertools.groupby(chain, key=lambda residue: str(residue.seqid))]
        for before, after in itertools.pairwise(places):
            for one, two in itertools.product(before, after):
                for a, b, longest in polymer_ends(one, two):
                    if a.altloc != b.altloc and "\0" not in (a.altloc, b.altloc):
                        continue
                    i, j = row[a.serial], row[b.serial]
                    distance = a.pos.dist(b.pos)
                    if distance < longest and not (held[i] or held[j]) and frozenset((i, j)) not in bonded:
                        found.append(
                            f"{chain.name}/{one.name} {one.seqid}/{a.name} - {two.name} {two.seqid}/{b.name} "
                            f"({distance:.2f} Å)"
                        )
    if not found:
        return []
    return [Caution(
        f"{counted(len(found), 'pair')} of neighbours in a chain as near as if bonded, without a bond between them; "
        f"contacts will push them apart: {listed(found, '; ')}. Look for the groups of these components in their "
        "dictionaries, or name the bond in the model (LINK or struct_conn) if there is one"
    )]
