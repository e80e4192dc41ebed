"""Amino acids named for their state of charge, as AMBER and CHARMM name them, and as the PDB does."""

from __future__ import annotations

from collections.abc import Iterator

import gemmi

from arrayrefine.wording import are, counted, listed

_NAMES = {
    **dict.fromkeys(("HID", "HIE", "HIP", "HSD", "HSE", "HSP"), "HIS"), **dict.fromkeys(("CYX", "CYM"), "CYS"),
    "LYN": "LYS", "ASH": "ASP", "GLH": "GLU",
}  # fmt: skip
"""Some are the names of other compounds too, such as HSE, homoserine, and HIP, a phosphohistidine."""
_SIDE_CHAINS = {
    "HIS": ("CG", "ND1", "CD2", "CE1", "NE2"), "CYS": ("SG",), "LYS": ("CG", "CD", "CE", "NZ"),
    "ASP": ("CG", "OD1", "OD2"), "GLU": ("CG", "CD", "OE1", "OE2"),
}  # fmt: skip
"""Heavy atoms beyond CB: each has to be there, and no others."""
_BACKBONE = frozenset({"N", "CA", "C", "CB"})
_ENDS = frozenset({"O", "OXT", "OT1", "OT2", "OT", "OC1", "OC2", "O1", "O2"})


def use_pdb_names_of_amino_acids(structure: gemmi.Structure) -> list[str]:
    """Give amino acids that are named for their state of charge the name of the PDB, in place, in links too.

    All of one name are renamed, or none: each has to have no other heavy atoms than the amino acid, and one of them
    all of these. Their hydrogens, by which the states differ, stay.

    Parameters
    ----------
    structure : gemmi.Structure
        Its first model. Sequences that name such residues are as their author means them: nothing is changed then.

    Returns
    -------
    list of str
        Which residues were renamed.
    """
    sequences = {name for entity in structure.entities for name in entity.full_sequence}
    found: dict[str, list[tuple[gemmi.Chain, gemmi.Residue]]] = {}
    for chain, residue in _candidates(structure):
        found.setdefault(residue.name, []).append((chain, residue))
    renamed = []
    for name, residues in found.items():
        beyond = set(_SIDE_CHAINS[_NAMES[name]])
        heavy = [{atom.name for atom in one if not atom.is_hydrogen()} for _, one in residues]
        strange = any(names - beyond - _BACKBONE - _ENDS for names in heavy)
        if name in sequences or strange or not any(beyond | _BACKBONE <= names for names in heavy):
            continue
        renamed += [f"{chain.name}/{name} {residue.seqid} as {_NAMES[name]}" for chain, residue in residues]
        for _, residue in residues:
            residue.name = _NAMES[name]
        for link in structure.connections:
            for end in (link.partner1, link.partner2):
                if end.res_id.name == name:
                    end.res_id.name = _NAMES[name]
    if not renamed:
        return []
    n = len(renamed)
    return [
        f"{counted(n, 'amino acid')} named for the state of charge, as in other programs, {are(n)} renamed as in the "
        f"PDB: {listed(renamed)}"
    ]


def _candidates(structure: gemmi.Structure) -> Iterator[tuple[gemmi.Chain, gemmi.Residue]]:
    for chain in structure[0]:
        for residue in chain:
            if residue.name in _NAMES:
                yield chain, residue
