"""What the header of a model says about displacements: TLS groups, and whether arrayrefine refined it."""

from __future__ import annotations

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, Identity


def header_groups(structure: gemmi.Structure, atoms: Atoms) -> tuple[NDArray[np.bool_], ...]:
    """Atoms (N,) of each group of REMARK 3 or `_pdbx_refine_tls_group`; nothing if none is given by ranges of residues.

    Parameters
    ----------
    structure : gemmi.Structure
        As read.
    atoms : Atoms
        Of that structure.

    Returns
    -------
    tuple of (N,) bool
    """
    groups = [group for found in structure.meta.refinement[:1] for group in found.tls_groups]
    found = tuple(members(group, atoms.identity) for group in groups)
    return found if any(inside.any() for inside in found) else ()


def members(group: gemmi.TlsGroup, who: Identity) -> NDArray[np.bool_]:
    """Atoms (N,) within the ranges of residues of a group of the header."""
    # gemmi reads the insertion codes of REMARK 3 in lower case.
    place = [*zip(who.sequence_number.tolist(), np.char.upper(who.insertion_code).tolist())]
    inside = np.zeros(len(who.chain), dtype=bool)
    for run in group.selections:
        if run.res_begin.num is None or run.res_end.num is None:
            continue
        first, last = ((end.num, end.icode.strip().upper()) for end in (run.res_begin, run.res_end))
        inside |= (who.chain == run.chain) & np.array([first <= one <= last for one in place], dtype=bool)
    return inside


def is_ours(structure: gemmi.Structure) -> bool:
    """Whether arrayrefine wrote the model, and says so in REMARK 3 or `_software`."""
    return any(item.name.lower() == "arrayrefine" for item in structure.meta.software)
