"""Places of the residues of polymers in the sequence of their entity, where the model came without them."""

from __future__ import annotations

import re

import gemmi

from arrayrefine.io.models.entities import set_up_entities
from arrayrefine.wording import Caution, counted, listed


def number_by_sequence(structure: gemmi.Structure) -> list[str]:
    """Set up entities, and give each residue of a polymer its place in the sequence (`label_seq_id`).

    Where the sequence of a polymer is not known, it is taken to be that of its residues: mmCIF needs one.

    gemmi aligns a model to its sequence at so high a price of a mismatch that one mutation can leave hundreds of
    residues without a place. Where it has, mismatches are counted as dear as gaps.

    Parameters
    ----------
    structure : gemmi.Structure
        Changed in place.

    Returns
    -------
    list of str
        Where model and sequence differ, and where there was none.
    """
    set_up_entities(structure)
    structure.assign_label_seq_id()
    notes: list[str] = []
    assumed = []
    for chain in structure[0]:
        polymer = chain.get_polymer()
        entity = structure.get_entity_of(polymer)
        if not len(polymer) or entity is None:
            continue
        if not entity.full_sequence:
            _number_by_order(polymer, entity)
            assumed.append(chain.name or "''")
            continue
        if any(residue.label_seq is None for residue in polymer.first_conformer()):
            _align(polymer, entity)
        _name_alternatives(polymer, entity)
        notes += _others(chain, list(polymer), entity, "SEQRES")
    if assumed:
        structure.deduplicate_entities()
        notes.append(
            f"the model names no sequence (SEQRES) of {'chain' if len(assumed) == 1 else 'chains'} {listed(assumed)}: "
            "in refined.cif it is that of the residues that are there, without those missing in gaps and at ends"
        )
    return notes


def unlike_sequence(structure: gemmi.Structure) -> list[str]:
    """Say where residues of a mmCIF model are others than its sequence has at their `label_seq_id`.

    Parameters
    ----------
    structure : gemmi.Structure
        With its entities, as read; not changed.

    Returns
    -------
    list of str
        A sentence for each chain, as after a mutation that the file's other categories do not have.
    """
    notes: list[str] = []
    for chain in structure[0]:
        polymer = chain.get_polymer()
        entity = structure.get_entity_of(polymer)
        if len(polymer) and entity is not None and entity.full_sequence:
            placed = [residue for residue in polymer if residue.label_seq is not None]
            notes += _others(chain, placed, entity, "_entity_poly_seq")
    return notes


def _others(chain: gemmi.Chain, polymer: list[gemmi.Residue], entity: gemmi.Entity, source: str) -> list[str]:
    """The residues of a polymer that are not those of its sequence, named in a sentence; none if there is none."""
    other = []
    for residue in polymer:
        place = residue.label_seq
        known = place is not None and 0 < place <= len(entity.full_sequence)
        names = entity.full_sequence[place - 1].split(",") if place is not None and known else []
        if residue.name not in names:
            other.append(f"{chain.name}/{residue.name} {residue.seqid} ({names[0] if names else 'none'})")
    if not other:
        return []
    return [Caution(
        f"the sequence of chain {chain.name or repr('')} ({source}) has others than the model for "
        f"{counted(len(other), 'residue')}: {listed(other)}"
    )]


def _name_alternatives(polymer: gemmi.ResidueSpan, entity: gemmi.Entity) -> None:
    """Let the sequence name all residues that share a place with one that it names, as SEQRES records cannot."""
    sequence = list(entity.full_sequence)
    shared: dict[int, list[str]] = {}
    for residue in polymer:
        if residue.label_seq is not None:
            shared.setdefault(residue.label_seq, []).append(residue.name)
    for place, names in shared.items():
        known = sequence[place - 1].split(",")
        if len(set(names)) > 1 and set(known) & set(names):
            sequence[place - 1] = ",".join(dict.fromkeys([*known, *names]))
    entity.full_sequence = sequence


def _number_by_order(polymer: gemmi.ResidueSpan, entity: gemmi.Entity) -> None:
    """Make a sequence of the residues of a polymer."""
    names: dict[str, list[str]] = {}
    for residue in polymer:
        names.setdefault(str(residue.seqid), []).append(residue.name)
    places = {seqid: place for place, seqid in enumerate(names, 1)}
    for residue in polymer:
        residue.label_seq = places[str(residue.seqid)]
    entity.full_sequence = [",".join(dict.fromkeys(several)) for several in names.values()]


def _align(polymer: gemmi.ResidueSpan, entity: gemmi.Entity) -> None:
    """Give residues the places that a plain alignment finds."""
    sequence = list(entity.full_sequence)
    found = gemmi.align_sequence_to_polymer(sequence, polymer, entity.polymer_type, gemmi.AlignmentScoring("s"))
    places: list[int | None] = []
    place = 0
    for length, what in re.findall(r"(\d+)([MID])", found.cigar_str()):
        n = int(length)
        if what == "M":
            places += range(place + 1, place + n + 1)
        elif what == "D":
            places += [None] * n
        place += 0 if what == "D" else n
    by_residue = dict(zip((str(residue.seqid) for residue in polymer.first_conformer()), places))
    for residue in polymer:
        residue.label_seq = by_residue.get(str(residue.seqid))
