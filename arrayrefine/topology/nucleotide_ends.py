"""The hydroxyl where a nucleic acid begins without a phosphate, which no dictionary of a nucleotide has."""

from __future__ import annotations

import gemmi

from arrayrefine.topology.atom_names import bonded_to

_FREE_END = "5*END"
"""The modification of monomer libraries that puts a hydrogen, HO5', in the place of the phosphate."""
_NAMES = 4
"""As many residues tell the beginning of a sequence."""
_NUCLEOTIDES = (gemmi.ChemComp.Group.Dna, gemmi.ChemComp.Group.Rna, gemmi.ChemComp.Group.DnaRna)


def mark_free_ends(structure: gemmi.Structure, monlib: gemmi.MonLib) -> None:
    """Ask for the hydroxyl at the first nucleotide of each chain, in place, where the model has no phosphate.

    Not where the sequence has more before it, or a link its O5'.

    Parameters
    ----------
    structure : gemmi.Structure
        With entities. It gets `mod_residues`, which gemmi heeds when it makes a topology.
    monlib : gemmi.MonLib
        With the components of the model.
    """
    if _FREE_END not in monlib.modifications:
        return
    linked = {
        (end.chain_name, str(end.res_id.seqid)) for link in structure.connections
        for end in (link.partner1, link.partner2)
        if end.atom_name == "O5'" and link.type != gemmi.ConnectionType.Hydrog
    }
    marks = list(structure.mod_residues)
    for chain in structure[0]:
        polymer = chain.get_polymer()
        if not len(polymer) or not _is_whole(polymer, structure.get_entity_of(polymer)):
            continue
        for residue in polymer:
            if residue.seqid != polymer[0].seqid:
                break
            if (chain.name, str(residue.seqid)) not in linked and _lacks_phosphate(residue, monlib):
                mark = gemmi.ModRes()
                mark.chain_name, mark.mod_id = chain.name, _FREE_END
                mark.res_id = gemmi.ResidueId()
                mark.res_id.name, mark.res_id.seqid, mark.res_id.segment = residue.name, residue.seqid, residue.segment
                marks.append(mark)
    structure.mod_residues = marks


def _is_whole(polymer: gemmi.ResidueSpan, entity: gemmi.Entity | None) -> bool:
    """Whether a chain begins where its sequence does, by the numbers in this or its first names; if that is known."""
    if entity is None or not entity.full_sequence:
        return True
    if polymer[0].label_seq is not None:
        return polymer[0].label_seq == 1
    names = [residue.name for residue in polymer.first_conformer()][:_NAMES]
    return names == [gemmi.Entity.first_mon(item) for item in entity.full_sequence[: len(names)]]


def _lacks_phosphate(residue: gemmi.Residue, monlib: gemmi.MonLib) -> bool:
    """Whether it is a nucleotide whose dictionary has a phosphate at O5', and that has none."""
    if residue.name not in monlib.monomers:
        return False
    component, atoms = monlib.monomers[residue.name], {atom.name for atom in residue}
    expected = component.group in _NUCLEOTIDES and "P" in bonded_to("O5'", component)
    return expected and "O5'" in atoms and "P" not in atoms
