"""What the header of a model says about displacements: TLS groups, and whether arrayrefine refined it."""

from __future__ import annotations

import re
from collections.abc import Callable

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, Identity
from arrayrefine.errors import InputError
from arrayrefine.wording import are, counted

_WORD = re.compile(r"\b(?:CHAIN|RES(?:ID|SEQ|I|NAME)|THROUGH|AND|OR|NOT|ALL|NAME|ELEMENT|ALTLOC|WATER)\b")
_GROUP = re.compile(r"REMARK   3\s+TLS GROUP\s*:\s*(\S+)")
_RANGE = re.compile(r"REMARK   3\s+RESIDUE RANGE\s*:\s*(\S+)\s+(-?\d+[A-Za-z]?)\s+\1\s+(-?\d+[A-Za-z]?)\s*")


def complete_groups(structure: gemmi.Structure) -> None:
    """Give the groups of REMARK 3 the ranges of residues that it states, however they are spaced.

    gemmi reads them in the columns of the PDB. REFMAC writes wider ones, of which it reads nothing, or not all digits.

    Parameters
    ----------
    structure : gemmi.Structure
        As read; its groups are changed.
    """
    runs: dict[str, list[gemmi.TlsGroup.Selection]] = {}
    name = ""
    for line in structure.raw_remarks:
        if found := _GROUP.match(line):
            name = found[1]
        elif found := _RANGE.fullmatch(line):
            run = gemmi.TlsGroup.Selection()
            run.chain, run.res_begin, run.res_end = found[1], gemmi.SeqId(found[2]), gemmi.SeqId(found[3])
            runs.setdefault(name, []).append(run)
    for group in _groups(structure):
        stated = runs.get(group.id, [])
        if len(stated) >= len(group.selections):
            group.selections = stated


def header_groups(
    structure: gemmi.Structure, atoms: Atoms, read: Callable[[Atoms, str], NDArray[np.bool_]] | None = None
) -> tuple[NDArray[np.bool_], ...]:
    """Atoms (N,) of each group of REMARK 3 or `_pdbx_refine_tls_group`; nothing if none has any, or one cannot be read.

    Parameters
    ----------
    structure : gemmi.Structure
        As read.
    atoms : Atoms
        Of that structure.
    read : callable, optional
        Gives the mask (N,) of a selection as text, such as `chain 'A' and (resid 9 through 55)`, or raises
        `InputError`. By default no text is read.

    Returns
    -------
    tuple of (N,) bool
    """
    found = tuple(members(group, atoms.identity) for group in _groups(structure))
    for group, inside in zip(_groups(structure), found):
        for run in group.selections:
            if read is None or not run.details or _has_numbers(run):
                continue
            try:  # the PDB has what PHENIX wrote in capitals, names of chains too
                inside |= read(atoms, _WORD.sub(lambda word: word[0].lower(), run.details))
            except InputError:
                return ()
    return found if any(inside.any() for inside in found) else ()


def why_no_groups(structure: gemmi.Structure) -> str:
    """Say of a header of whose groups `header_groups` finds none why that is so; nothing if it names none.

    Parameters
    ----------
    structure : gemmi.Structure
        As read.

    Returns
    -------
    str
    """
    groups = _groups(structure)
    if not groups:
        return ""
    runs = [run for group in groups for run in group.selections]
    if any(_has_numbers(run) for run in runs):
        reason = "no atom is in the ranges of residues"
    elif any(run.details for run in runs):
        reason = "given as text that is not understood, or names no atoms"
    else:
        reason = "no range of residues within one chain is given"
    return f"{counted(len(groups), 'TLS group')} of the model's header {are(len(groups))} not taken: {reason}"


def members(group: gemmi.TlsGroup, who: Identity) -> NDArray[np.bool_]:
    """Atoms (N,) within the ranges of residues of a group of the header."""
    # gemmi reads the insertion codes of REMARK 3 in lower case.
    place = [*zip(who.sequence_number.tolist(), np.char.upper(who.insertion_code).tolist())]
    inside = np.zeros(len(who.chain), dtype=bool)
    for run in group.selections:
        if not _has_numbers(run):
            continue
        first, last = ((end.num, end.icode.strip().upper()) for end in (run.res_begin, run.res_end))
        inside |= (who.chain == run.chain) & np.array([first <= one <= last for one in place], dtype=bool)
    return inside


def _groups(structure: gemmi.Structure) -> list[gemmi.TlsGroup]:
    return [group for found in structure.meta.refinement[:1] for group in found.tls_groups]


def _has_numbers(run: gemmi.TlsGroup.Selection) -> bool:
    return run.res_begin.num is not None and run.res_end.num is not None


def is_ours(structure: gemmi.Structure) -> bool:
    """Whether arrayrefine wrote the model, and says so in REMARK 3 or `_software`."""
    return any(item.name.lower() == "arrayrefine" for item in structure.meta.software)
