"""Amino acids named for their state of charge, or as ends of chains, as AMBER and CHARMM do, and as the PDB does."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import gemmi

from arrayrefine.io.models.amber_ends import AMINO_ACIDS
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
_IN_NO_PEPTIDE = frozenset({"ASH", "CYM", "CYX", "HID", "HIE", "HSD", "HSP"})
"""Those that the PDB has no compound for, or one that is no amino acid, so that sequences that have one of them are
those of another program."""
_ENDS = frozenset({"O", "OXT", "OT1", "OT2", "OT", "OC1", "OC2", "O1", "O2"})


def amino_acids_of_other_programs(
    structure: gemmi.Structure, drawn: Collection[str] = ()
) -> tuple[dict[str, str], list[str]]:
    """Names of residues that stand for amino acids, with those of the PDB, and what to say of them.

    All of one name are meant, or none: each has to have no other heavy atoms than the amino acid, and one of them
    all of these. The PDB has no names of four letters, which are those of ends of chains: NALA, CHIE.

    Parameters
    ----------
    structure : gemmi.Structure
        Its first model. Sequences that name such residues are as their author means them, but for sequences of other
        programs, which have names that are in no peptide of the PDB.
    drawn : collection of str
        Components that the file says what they are of, which are no others.
    """
    sequences = {name for entity in structure.entities for item in entity.full_sequence for name in item.split(",")}
    meant = set() if sequences & _IN_NO_PEPTIDE else sequences
    found: dict[str, list[tuple[gemmi.Chain, gemmi.Residue]]] = {}
    for chain, residue in _candidates(structure):
        found.setdefault(residue.name, []).append((chain, residue))
    names: dict[str, str] = {}
    renamed: dict[bool, list[str]] = {False: [], True: []}
    for name, residues in found.items():
        new, end = _pdb_name(name), len(name) > 3
        heavy = [{atom.name for atom in one if not atom.is_hydrogen()} for _, one in residues]
        if name in drawn or not (_are_ends(heavy) if end else name not in meant and _are_alike(heavy, new)):
            continue
        names[name] = new
        renamed[end] += [f"{chain.name}/{name} {residue.seqid} as {new}" for chain, residue in residues]
    said = []
    for end, what in ((False, "amino acid"), (True, "end")):
        if n := len(renamed[end]):
            why = "of chains named as in AMBER" if end else "named for the state of charge, as in other programs,"
            said.append(f"{counted(n, what)} {why} {are(n)} renamed as in the PDB: {listed(renamed[end])}")
    return names, said


def use_pdb_names_of_amino_acids(structure: gemmi.Structure) -> list[str]:
    """Give such residues the name of the PDB, in place, in links and sequences too; returns what to say.

    Their hydrogens, by which the states differ, stay.
    """
    names, said = amino_acids_of_other_programs(structure)
    for _, residue in _candidates(structure):
        residue.name = names.get(residue.name, residue.name)
    for link in structure.connections:
        for end in (link.partner1, link.partner2):
            end.res_id.name = names.get(end.res_id.name, end.res_id.name)
    for entity in structure.entities if names else ():
        entity.full_sequence = [
            ",".join(names.get(name, name) for name in item.split(",")) for item in entity.full_sequence
        ]
    return said


def _pdb_name(name: str) -> str:
    """The amino acid that a name may stand for, or nothing."""
    if len(name) == 4 and name[0] in "NC" and name[1:] in AMINO_ACIDS:
        return _NAMES.get(name[1:], name[1:])
    return _NAMES.get(name, "")


def _are_alike(heavy: list[set[str]], name: str) -> bool:
    beyond = set(_SIDE_CHAINS[name])
    strange = any(names - beyond - _BACKBONE - _ENDS for names in heavy)
    return not strange and any(beyond | _BACKBONE <= names for names in heavy)


def _are_ends(heavy: list[set[str]]) -> bool:
    return all(names >= {"N", "CA", "C"} for names in heavy)


def _candidates(structure: gemmi.Structure) -> Iterator[tuple[gemmi.Chain, gemmi.Residue]]:
    for chain in structure[0]:
        for residue in chain:
            if _pdb_name(residue.name):
                yield chain, residue
