"""Copies that a model does not write out, but gives operators for: strict non-crystallographic symmetry."""

from __future__ import annotations

from collections.abc import Sequence

import gemmi
from gemmi import cif

from arrayrefine.io.documents import copied
from arrayrefine.wording import Caution, are, counted

_ALIKE = 1.5
"""Å; a copy with atoms nearer to those of others than this is there already."""
_PART = 0.25
"""Of the model: an operator that takes one chain to another takes that one to where nothing need be."""
_TRACE = ("CA", "P", "C1'")
"""Atoms of amino acids and nucleotides that are looked at."""
_SAMPLE = 300
"""Atoms of which it is looked at."""


def with_copies(
    structure: gemmi.Structure, document: cif.Document | None, notes: list[str]
) -> cif.Document | None:
    """Write out the copies of the first model by the operators of MTRIX or `_struct_ncs_oper` that ask for it.

    Those of which the atoms are there already, in the model or by the symmetry of the crystal, are left alone: programs
    hand operators on without the flag that says so.

    Parameters
    ----------
    structure : gemmi.Structure
        Changed in place.
    document : gemmi.cif.Document or None
        That it came from.
    notes : list of str
        Gets a sentence on what was written out.

    Returns
    -------
    gemmi.cif.Document or None
        The document, or a copy that knows of the chains that are new.
    """
    open_operators = [op for op in structure.ncs if not op.given]
    if not open_operators:
        return document
    fresh: list[gemmi.NcsOp] = []
    before = len(structure[0])
    for operator in open_operators:  # the next may make a copy of this one
        if not _is_there(structure, fresh, operator.tr):
            fresh.append(operator)
    there = len(open_operators) - len(fresh)
    structure.ncs = gemmi.NcsOpList([op for op in structure.ncs if op.given] + fresh)
    structure.expand_ncs(gemmi.HowToNameCopiedChain.Short)
    _name_subchains(structure)
    named = "non-crystallographic symmetry (MTRIX, _struct_ncs_oper)"
    if fresh:
        notes.append(Caution(
            f"{counted(len(fresh), 'operator')} of {named} {are(len(fresh))} applied: the {counted(before, 'chain')} "
            f"given are {len(structure[0])} now. Each copy is refined for itself, unless --external.ncs on keeps "
            "them alike, or strict the same"
        ))
    if there:
        notes.append(f"{counted(there, 'operator')} of {named} {are(there)} not applied: the copies are there already")
    return document if document is None else _with_chains(document, structure)


def _with_chains(document: cif.Document, structure: gemmi.Structure) -> cif.Document:
    """A copy of the document with the chains, and the operators, of the structure."""
    new, block = copied(document)
    groups = gemmi.MmcifOutputGroups(False)
    groups.struct_asym = groups.ncs = True
    structure.update_mmcif_block(block, groups)
    strands: dict[str, list[str]] = {}
    for chain in structure[0]:
        entity = structure.get_entity_of(chain.get_polymer())
        if entity is not None:
            strands.setdefault(entity.name, []).append(chain.name)
    for row in block.find("_entity_poly.", ["entity_id", "pdbx_strand_id"]):
        row[1] = cif.quote(",".join(strands.get(cif.as_string(row[0]), [])) or "?")
    return new


def _name_subchains(structure: gemmi.Structure) -> None:
    """Name the subchains of copies by letters and digits; gemmi puts a colon into each."""
    taken = {residue.subchain for chain in structure[0] for residue in chain}
    named: dict[str, str] = {}
    for old in sorted(name for name in taken if ":" in name):
        plain = old.replace(":", "")
        named[old] = next(name for name in (plain, *(f"{plain}{k}" for k in range(2, 1000))) if name not in taken)
        taken.add(named[old])
    for chain in structure[0]:
        for residue in chain:
            residue.subchain = named.get(residue.subchain, residue.subchain)
    for entity in structure.entities:
        entity.subchains = [named.get(name, name) for name in entity.subchains]


def _is_there(structure: gemmi.Structure, copies: Sequence[gemmi.NcsOp], operator: gemmi.Transform) -> bool:
    """Whether a part of the model's trace lies on that of others, copies and mates included, after an operator.

    Any atom would be near others by chance, in a crystal as full as most are.
    """
    alone = structure.clone()
    alone.ncs = gemmi.NcsOpList(copies)
    if copies:
        alone.expand_ncs(gemmi.HowToNameCopiedChain.Dup)
    alone.ncs.clear()  # or the images would be those by the operators, too
    alone.setup_cell_images()
    search = gemmi.NeighborSearch(alone[0], alone.cell, _ALIKE)
    trace = _trace(structure)
    for n_chain, chain in enumerate(alone[0]):
        for n_residue, residue in enumerate(chain):
            for n_atom, atom in enumerate(residue):
                if _of_trace(atom):
                    search.add_atom(atom, n_chain, n_residue, n_atom)
    sample = trace[:: max(1, len(trace) // _SAMPLE)]
    moved = [gemmi.Position(operator.apply(site.pos)) for site in sample]
    close = sum(bool(search.find_atoms(place, "\0", radius=_ALIKE)) for place in moved)
    return close > _PART * len(sample)


def _of_trace(atom: gemmi.Atom) -> bool:
    return atom.element.name in ("C", "P") and atom.name in _TRACE


def _trace(structure: gemmi.Structure) -> list[gemmi.Atom]:
    return [site for chain in structure[0] for residue in chain for site in residue if _of_trace(site)]
