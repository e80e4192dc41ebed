"""How much of the sequences of its chains a model has: a file that was cut short lacks most of it."""

from __future__ import annotations

import gemmi

from arrayrefine.io.models.entities import set_up_entities
from arrayrefine.wording import Caution, listed

_LEAST = 0.5
"""Part of the sequences; loops, tails and whole domains that the map does not show leave more."""


def little_of_sequence(structure: gemmi.Structure) -> list[str]:
    """A sentence where the chains that are there have less than half of the residues of their sequences.

    Chains that the file names a sequence for and has no atoms of are none: of a search model one may be wanted.

    Parameters
    ----------
    structure : gemmi.Structure
        As read; not changed.
    """
    known = structure.clone()
    set_up_entities(known)
    found = []
    for chain in known[0]:
        polymer = chain.get_polymer()
        entity = known.get_entity_of(polymer) if len(polymer) else None
        if entity is not None and entity.full_sequence:
            found.append((chain.name, polymer.length(), len(entity.full_sequence)))
    there, all_of = sum(count for _, count, _ in found), sum(length for _, _, length in found)
    if there >= _LEAST * all_of:
        return []
    each = listed([f"{name or repr('')} {count} of {length}" for name, count, length in found if count < length])
    return [Caution(
        f"the model has {there} of the {all_of} residues in the sequences of its chains (SEQRES, _entity_poly_seq): "
        f"{each}. If the file was cut short, fetch or copy it again; if not, build the rest where the map shows it"
    )]  # fmt: skip
