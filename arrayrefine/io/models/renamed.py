"""Records of a PDB file that name a chain, or a ligand, by the name that it had before an edit."""

from __future__ import annotations

from collections.abc import Iterator

import gemmi

from arrayrefine.wording import listed

_SHARE = 0.8
"""Of the residues that records name in a chain, those that another one has to have to be that chain renamed."""
_FEWEST = 5
"""Residues that have to be named for that to be no chance."""


def follow_renamed(structure: gemmi.Structure) -> list[str]:
    """Have records follow chains and ligands that were renamed, in place, and say so."""
    return follow_renamed_chains(structure) + follow_renamed_ligands(structure)


def follow_renamed_chains(structure: gemmi.Structure) -> list[str]:
    """Have helices, strands, cis peptides, links and sequences of a chain that is gone follow it to its new name.

    A chain is taken for the one that is gone where it alone, of those that no record names, has nearly all residues
    that records name there, by name and number.

    Parameters
    ----------
    structure : gemmi.Structure
        As read, before its entities are set up. Changed in place.

    Returns
    -------
    list of str
        A sentence for each chain.
    """
    named: dict[str, set[tuple[str, str]]] = {}
    for end in _addresses(structure):
        named.setdefault(end.chain_name, set()).add((str(end.res_id.seqid), end.res_id.name))
    there = {chain.name: {(str(one.seqid), one.name) for one in chain} for chain in structure[0]}
    notes = []
    for old, residues in named.items():
        if old in there or len(residues) < _FEWEST:
            continue
        alike = [
            new for new, own in there.items() if new not in named and len(own & residues) >= _SHARE * len(residues)
        ]
        if len(alike) != 1:
            continue
        _rename(structure, old, alike[0])
        notes.append(
            f"links, helices, strands, cis peptides and the sequence of chain {old}, which the model does not have, "
            f"are those of chain {alike[0]}, which has the residues that they name"
        )
    return notes


def follow_renamed_ligands(structure: gemmi.Structure) -> list[str]:
    """Have links to a ligand that has another name now name it by that: same chain and number, and the linked atom.

    Parameters
    ----------
    structure : gemmi.Structure
        Changed in place.

    Returns
    -------
    list of str
        A sentence, if there are any.
    """
    renamed = []
    for link in structure.connections:
        for end in (link.partner1, link.partner2):
            own = [
                residue for chain in structure[0] if chain.name == end.chain_name for residue in chain
                if residue.seqid == end.res_id.seqid
            ]  # fmt: skip
            if len(own) != 1 or own[0].name == end.res_id.name or not own[0].find_atom(end.atom_name, "*"):
                continue
            known = gemmi.find_tabulated_residue(own[0].name)
            if not (known.is_amino_acid() or known.is_nucleic_acid() or known.is_water()):
                renamed.append(f"{end.chain_name}/{end.res_id.name} {end.res_id.seqid}, now {own[0].name}")
                end.res_id.name = own[0].name
    if not renamed:
        return []
    return [f"links follow ligands that were renamed: {listed(list(dict.fromkeys(renamed)))}"]


def _addresses(structure: gemmi.Structure) -> Iterator[gemmi.AtomAddress]:
    """Ends of helices, strands, cis peptides and links."""
    for helix in structure.helices:
        yield from (helix.start, helix.end)
    for sheet in structure.sheets:
        for strand in sheet.strands:
            yield from (strand.start, strand.end)
    for peptide in structure.cispeps:
        yield from (peptide.partner_c, peptide.partner_n)
    for link in structure.connections:
        yield from (link.partner1, link.partner2)


def _rename(structure: gemmi.Structure, old: str, new: str) -> None:
    for end in _addresses(structure):
        if end.chain_name == old:
            end.chain_name = new
    for sheet in structure.sheets:
        for strand in sheet.strands:
            for atom in (strand.hbond_atom1, strand.hbond_atom2):
                if atom.chain_name == old:
                    atom.chain_name = new
    if not any(entity.name == new for entity in structure.entities):
        for entity in structure.entities:
            if entity.name == old:
                entity.name = new
