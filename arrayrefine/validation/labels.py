"""Names of atoms and residues in the tables."""

from __future__ import annotations

from arrayrefine.atoms import Identity


def residue_label(identity: Identity, i: int) -> str:
    """Residue of atom `i`, such as "A 10 ALA", with its insertion code."""
    return f"{identity.chain[i]} {identity.sequence_number[i]}{identity.insertion_code[i]} {identity.residue_name[i]}"


def atom_label(identity: Identity, i: int) -> str:
    """Atom `i`, such as "A 10 ALA CA" or "A 10 ALA CA alt B"; "" for -1, no atom."""
    if i < 0:
        return ""
    conformer = f" alt {identity.altloc[i]}" if identity.altloc[i] else ""
    return f"{residue_label(identity, i)} {identity.atom_name[i]}{conformer}"
