"""Chains that only their segments tell apart, as X-PLOR, CNS, CHARMM and NAMD write them in PDB files."""

from __future__ import annotations

import string
from collections.abc import Collection, Sequence
from itertools import pairwise

import gemmi

from arrayrefine.wording import listed

_ONE_PLACE = 2.0
"""Å; nearer atoms of one name and number are conformers, which CNS gives segments such as AC1 and AC2."""


def split_by_segments(structure: gemmi.Structure) -> list[str]:
    """Make a chain of each segment of a chain in which several segments have residues of the same number and name.

    Segments that differ in their numbers stay one chain: the protein and its waters, as a rule.

    Parameters
    ----------
    structure : gemmi.Structure
        Its first model, changed in place.

    Returns
    -------
    list of str
        What each chain became.
    """
    model = structure[0]
    notes: list[str] = []
    place = 0
    while place < len(model):
        chain = model[place]  # asked for anew: those that were taken before lie elsewhere after an insertion
        if not _meet(chain):
            place += 1
            continue
        old = chain.name
        segments = list(dict.fromkeys(residue.segment for residue in chain))
        others = {other.name for other in model if other.name != old}
        names = _names(segments, others)
        parts = []
        for segment in segments:
            part = gemmi.Chain(names[segment])
            for residue in chain:
                if residue.segment == segment:
                    part.add_residue(residue)
            parts.append(part)
        del model[place]
        for k, part in enumerate(parts):
            model.add_chain(part, place + k)
        place += len(parts)
        said = listed([f"{names[segment]} ({segment.strip() or 'blank'})" for segment in segments])
        notes.append(
            f"{f'chain {old}' if old else 'the chain without a name'} has residues of the same numbers in several "
            f"segments (columns 73-76), each of which is taken for a chain: {said}"
        )
    return notes


def _meet(chain: gemmi.Chain) -> bool:
    """Whether residues of the same number and name are in several segments, and not in one place, as conformers are."""
    there: dict[tuple[str, str], list[gemmi.Residue]] = {}
    for residue in chain:
        there.setdefault((str(residue.seqid), residue.name), []).append(residue)
    pairs = [(one, two) for same in there.values() for one, two in pairwise(same) if one.segment != two.segment]
    return bool(pairs) and not any(
        one[0].pos.dist(atom.pos) < _ONE_PLACE for one, two in pairs for atom in two if atom.name == one[0].name
    )


def _names(segments: Sequence[str], others: Collection[str]) -> dict[str, str]:
    """A name of one or two characters for each segment: its last one, as of PROA, its own, or one that is free."""
    own = [segment.strip() for segment in segments]
    last = [name[-1:] for name in own]
    if len(set(last)) == len(last) and "" not in last and not set(last) & set(others):
        return dict(zip(segments, last))
    short = {segment: name for segment, name in zip(segments, own) if 0 < len(name) <= 2 and name not in others}
    taken = {*others, *short.values()}
    letters = [*string.ascii_uppercase, *string.digits, *string.ascii_lowercase]
    free = iter([name for name in (*letters, *(a + b for a in letters for b in letters)) if name not in taken])
    return {segment: short.get(segment) or next(free) for segment in segments}
