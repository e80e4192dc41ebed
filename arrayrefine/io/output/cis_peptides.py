"""Records of cis peptides, of the model as it is now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import gemmi
import numpy as np
from gemmi import cif

_CIS, _NOT_CIS = 30.0, 90.0
"""Degrees of omega, of either sign, below which a peptide is listed, and above which it is listed no longer."""
_BONDED = 2.0
"""Å; from C to N, at most: 1.5 times the bond, as in gemmi."""
Key = tuple[str, str, str, str]
"""Chain, numbers of both residues, conformer."""


@dataclass(frozen=True)
class _Peptide:
    """What joins two residues of a chain, and its omega, degrees, by conformer; by "" where there is but one."""

    chain: gemmi.Chain
    one: gemmi.Residue
    two: gemmi.Residue
    omega: dict[str, float]

    @property
    def ends(self) -> tuple[str, str, str]:
        return self.chain.name, str(self.one.seqid), str(self.two.seqid)


def list_cis_peptides(structure: gemmi.Structure) -> list[str]:
    """Bring the list of cis peptides of a structure up to date, in place; returns those that are cis no longer.

    Those that the model named stay, with their angles as they are now, and others follow.
    """
    peptides = {peptide.ends: peptide for peptide in _peptides(structure)}
    gone, kept = [], []
    for named in structure.cispeps:
        chain, first, second, letter = key_of(named)
        own = peptides.get((chain, first, second))
        angle = named.reported_angle if own is None else own.omega.get(letter, next(iter(own.omega.values())))
        if own is not None and abs(angle) > _NOT_CIS:
            gone.append(f"{named.partner_c.chain_name}/{named.partner_c.res_id} - {named.partner_n.res_id}")
            continue
        named.reported_angle = angle
        kept.append(named)
    before = {key_of(named)[:3] for named in structure.cispeps}
    for ends, peptide in peptides.items():
        cis = {letter: angle for letter, angle in peptide.omega.items() if abs(angle) < _CIS}
        if ends not in before and cis:
            whole = len(cis) == len(peptide.omega)
            kept += [_record(peptide, *item) for item in ([("", next(iter(cis.values())))] if whole else cis.items())]
    structure.cispeps = kept
    return gone


def _record(peptide: _Peptide, letter: str, angle: float) -> gemmi.CisPep:
    record = gemmi.CisPep()
    record.partner_c, record.partner_n = (
        gemmi.AtomAddress(peptide.chain.name, residue.seqid, residue.name, "") for residue in (peptide.one, peptide.two)
    )
    record.only_altloc, record.reported_angle, record.model_num = letter or "\0", angle, 1
    return record


def _peptides(structure: gemmi.Structure) -> Iterator[_Peptide]:
    for chain in structure[0]:
        for one, two in pairwise(chain.first_conformer()):
            there = [(one, "CA"), (one, "C"), (two, "N"), (two, "CA")]
            letters = sorted({atom.altloc for residue, name in there for atom in residue if atom.name == name} - {"\0"})
            omega = {}
            for letter in letters or ["\0"]:
                sites = [residue.find_atom(name, letter) or residue.find_atom(name, "\0") for residue, name in there]
                if all(sites) and sites[1].pos.dist(sites[2].pos) < _BONDED:
                    angle = round(float(np.degrees(gemmi.calculate_dihedral(*(site.pos for site in sites)))), 2)
                    omega[letter.strip("\0")] = angle
            if omega:
                yield _Peptide(chain, one, two, omega)


def key_of(peptide: gemmi.CisPep) -> Key:
    """What tells one from another."""
    one, two = peptide.partner_c, peptide.partner_n
    return one.chain_name, str(one.res_id.seqid), str(two.res_id.seqid), peptide.only_altloc.strip("\0 ")


def write_angles(block: cif.Block, structure: gemmi.Structure) -> bool:
    """Write angles into the rows of a block, in place; returns whether the structure has others, and takes them out."""
    angle = {key_of(peptide): peptide.reported_angle for peptide in structure.cispeps}
    rows = block.find("_struct_mon_prot_cis.", [
        "auth_asym_id", "auth_seq_id", "pdbx_auth_seq_id_2", "?pdbx_PDB_ins_code", "?pdbx_PDB_ins_code_2",
        "?label_alt_id", "?pdbx_omega_angle",
    ])  # fmt: skip
    named = set()
    for row in rows:
        code, code_2, letter = (
            cif.as_string(row[k]) if row.has(k) and not cif.is_null(row[k]) else "" for k in (3, 4, 5)
        )
        key = row.str(0), row.str(1) + code, row.str(2) + code_2, letter
        named.add(key)
        if key in angle and row.has(6):
            row[6] = f"{angle[key]:.2f}"
    if named and named != set(angle):
        block.find_mmcif_category("_struct_mon_prot_cis.").erase()  # gemmi writes nothing where there are none
    return named != set(angle)
