"""What is of a polymer, where the order of the file or its TER records say otherwise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby, pairwise

import gemmi
from scipy.spatial import cKDTree

from arrayrefine.wording import are, counted, listed

_BONDS = (("C", "N", 2.0), ("O3'", "P", 2.4))
"""Atoms that bond neighbours in a polymer, and how far apart they may be, Å: 1.5 times the bond, as in gemmi."""


def take_polymers_together(structure: gemmi.Structure) -> list[str]:
    """Put the residues of each polymer next to each other, in place, ahead of what else its chain has.

    Only where more of them are bonded to their neighbours then. They keep the order of the file, or, where that bonds
    fewer, get that of their numbers. Where the file says by `label_asym_id` what belongs together, and by
    `label_seq_id` in which order, it is taken at its word. Ligands that stand behind the polymer, but before TER, as in
    files of PHENIX, are none of it.

    Parameters
    ----------
    structure : gemmi.Structure
        Its first model; parts of one chain stand together.

    Returns
    -------
    list of str
        What was done to which chain.
    """
    notes: list[str] = []
    ligands: list[str] = []
    renamed: list[str] = []
    labelled: list[str] = []
    for chain in structure[0]:
        if structure.input_format != gemmi.CoorFormat.Pdb and any(residue.subchain for residue in chain):
            if _sort_by_labels(chain):
                labelled.append(chain.name or "''")
            continue
        residues = list(chain)
        following = _following(residues)
        of_file = _polymer(residues, following)
        renamed += [f"{chain.name}/{residue.name} {residue.seqid}" for residue in _read_as_atoms(residues, of_file)]
        entity = structure.get_entity(chain.name)
        parted = _part_ligands(chain, of_file, set(entity.full_sequence) if entity is not None else set())
        ligands += [f"{chain.name}/{residue.name} {residue.seqid}" for residue in parted]
        by_number = sorted(of_file, key=lambda i: _number(residues[i]))  # stable: conformers of one number stay
        if len(of_file) < 2 or by_number == list(range(len(of_file))):
            continue
        numbered = _bonded(residues, by_number, following) > _bonded(residues, of_file, following)
        order = by_number if numbered else of_file
        span = _span_of_gemmi(chain)
        gained = _bonded(residues, order, following) > _bonded(residues, span, following)
        if gained or _led_by_another(residues, span, order):
            _reorder(chain, order)
            which = f"chain {chain.name}" if chain.name else "the chain without a name"
            notes.append(
                f"the polymer of {which} does not stand in one piece, in sequence, before what "
                f"else the chain has: its {counted(len(order), 'residue')} are taken together, in the order of "
                f"{'their numbers' if numbered else 'the file'}, and written so"
            )
    if labelled:
        which = f"{'chain' if len(labelled) == 1 else 'chains'} {listed(labelled)}"
        notes.append(f"residues of {which} do not stand in sequence: put in the order of label_seq_id, and written so")
    if renamed:
        n = len(renamed)
        notes.append(
            f"{counted(n, 'common residue')} of chains, given as HETATM, {are(n)} read and written as ATOM: "
            f"{listed(renamed)}"
        )
    if ligands:
        n = len(ligands)
        notes.append(
            f"{counted(n, 'residue')} before TER, not bonded to the polymer, {are(n)} taken for "
            f"{'a ligand' if n == 1 else 'ligands'}: {listed(ligands)}"
        )
    return notes


def _sort_by_labels(chain: gemmi.Chain) -> bool:
    """Put the residues of each polymer in the order of their `label_seq_id`, in place; returns whether any moved."""
    if _ascending([residue for residue in chain if residue.label_seq is not None]):
        return False
    residues = [residue.clone() for residue in chain]
    rows: dict[str, list[int]] = {}
    for i in _polymer(residues, _following(residues)):  # ligands and waters may have such numbers too
        if residues[i].label_seq is not None:
            rows.setdefault(residues[i].subchain, []).append(i)
    in_order = {key: sorted(own, key=lambda i: residues[i].label_seq or 0) for key, own in rows.items()}
    if in_order == rows:
        return False
    of_polymers = [i for own in in_order.values() for i in own]
    moved = set(of_polymers)
    others = [i for i in range(len(residues)) if i not in moved]
    start = sum(i < min(of_polymers) for i in others)
    for k in reversed(range(len(residues))):
        del chain[k]
    for i in (*others[:start], *of_polymers, *others[start:]):
        chain.add_residue(residues[i])
    return True


def _ascending(residues: Sequence[gemmi.Residue]) -> bool:
    """Whether the places of residues in the sequence never fall within a subchain."""
    return all(
        one.subchain != other.subchain or (one.label_seq or 0) <= (other.label_seq or 0)
        for one, other in pairwise(residues)
    )


def _number(residue: gemmi.Residue) -> tuple[int, str]:
    return residue.seqid.num or 0, residue.seqid.icode


def _following(residues: Sequence[gemmi.Residue]) -> set[tuple[int, int]]:
    """Pairs of residues of which the second follows the first in a polymer, by any of their conformers."""
    pairs: set[tuple[int, int]] = set()
    for end, start, limit in _BONDS:
        places = {
            name: [(i, atom.pos.tolist()) for i, residue in enumerate(residues) for atom in residue
                   if atom.name == name and math.isfinite(atom.pos.length())]
            for name in (end, start)
        }  # fmt: skip
        if all(places.values()):
            ends, starts = (cKDTree([position for _, position in places[name]]) for name in (end, start))
            for (i, _), near in zip(places[end], ends.query_ball_tree(starts, limit)):
                pairs.update((i, places[start][k][0]) for k in near if places[start][k][0] != i)
    return pairs


def _polymer(residues: Sequence[gemmi.Residue], following: set[tuple[int, int]]) -> list[int]:
    """Which residues are of the polymer.

    Amino acids and nucleotides, by their names, in ATOM records; others that are bonded to these as in a polymer; and
    those that stand between two of them in the file and by number alike, as fluorophores do.
    """
    known = [gemmi.find_tabulated_residue(residue.name) for residue in residues]
    members = {
        i for i, (residue, kind) in enumerate(zip(residues, known))
        if residue.het_flag != "H" and (kind.is_amino_acid() or kind.is_nucleic_acid())
    }  # fmt: skip
    neighbours: dict[int, set[int]] = {}
    for i, j in following:
        neighbours.setdefault(i, set()).add(j)
        neighbours.setdefault(j, set()).add(i)
    new = members
    while new:
        new = {j for i in new for j in neighbours.get(i, ())} - members
        members |= new
    for i in range(1, len(residues) - 1):
        if i not in members and {i - 1, i + 1} <= members and not known[i].is_water():
            before, number, behind = map(_number, residues[i - 1 : i + 2])
            members |= {i} if before < number < behind else set()
    return sorted(members)


def _read_as_atoms(residues: Sequence[gemmi.Residue], polymer: Sequence[int]) -> list[gemmi.Residue]:
    """Say of common residues of a polymer that are HETATM among ATOM that they are ATOM, and return them.

    Gemmi would end a polymer there that no TER ends.
    """
    flags = {residues[i].het_flag for i in polymer}
    common = [residues[i] for i in polymer if gemmi.find_tabulated_residue(residues[i].name).is_standard()]
    wrong = [residue for residue in common if residue.het_flag == "H"] if "A" in flags else []
    for residue in wrong:
        residue.het_flag = "A"
    return wrong


def _part_ligands(chain: gemmi.Chain, polymer: Sequence[int], sequence: set[str]) -> list[gemmi.Residue]:
    """Say of the HETATM residues behind a polymer what they are, where TER made them part of it; returns the ligands.

    Amino acids, nucleotides and what the `sequence` names stay where they follow at once, as those behind a gap do.
    """
    behind = [chain[i] for i in range(polymer[-1] + 1, len(chain))] if polymer else []
    parted: list[gemmi.Residue] = []
    for residue in behind:
        known = gemmi.find_tabulated_residue(residue.name)
        own = known.is_amino_acid() or known.is_nucleic_acid() or residue.name in sequence
        if residue.entity_type == gemmi.EntityType.Polymer and residue.het_flag == "H" and (parted or not own):
            parted.append(residue)
    for residue in parted:
        residue.entity_type = gemmi.EntityType.Water if residue.is_water() else gemmi.EntityType.NonPolymer
    for residue in chain if parted else ():
        residue.subchain, residue.entity_id = "", ""
    return [residue for residue in parted if not residue.is_water()]


def _bonded(residues: Sequence[gemmi.Residue], order: Sequence[int], following: set[tuple[int, int]]) -> int:
    """How many residues are bonded to the next; alternatives that share a number count as one."""
    places = [list(same) for _, same in groupby(order, key=lambda i: str(residues[i].seqid))]
    return sum(any((i, j) in following for i in one for j in other) for one, other in pairwise(places))


def _span_of_gemmi(chain: gemmi.Chain) -> list[int]:
    """Residues that gemmi takes for the polymer of a chain as it stands."""
    alone = gemmi.Structure()
    alone.add_model(gemmi.Model(1))
    alone[0].add_chain(chain)
    alone.setup_entities()
    polymer = [i for i, residue in enumerate(alone[0][0]) if residue.entity_type == gemmi.EntityType.Polymer]
    return list(range(polymer[0], polymer[0] + len(alone[0][0].get_polymer()))) if polymer else []


def _led_by_another(residues: Sequence[gemmi.Residue], span: Sequence[int], polymer: Sequence[int]) -> bool:
    """Whether what gemmi takes for the polymer begins with a residue that is none of it, nor a cap bonded to it."""
    if not span or span[0] in polymer:
        return False
    rest = [atom.pos for i in span[1:] for atom in residues[i]]
    return all(atom.pos.dist(other) > _BONDS[0][2] for atom in residues[span[0]] for other in rest)


def _reorder(chain: gemmi.Chain, polymer: Sequence[int]) -> None:
    """Put the residues of the polymer first, and say of each residue what it is, which gemmi tells by the order."""
    residues = [residue.clone() for residue in chain]
    first = set(polymer)
    for k in reversed(range(len(residues))):
        del chain[k]
    for i in (*polymer, *(i for i in range(len(residues)) if i not in first)):
        residue = residues[i]
        other = gemmi.EntityType.Water if residue.is_water() else gemmi.EntityType.NonPolymer
        residue.entity_type = gemmi.EntityType.Polymer if i in first else other
        residue.subchain, residue.entity_id = "", ""
        chain.add_residue(residue)
