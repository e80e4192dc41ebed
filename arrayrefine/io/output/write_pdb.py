"""The refined model as a PDB file, where it fits that format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gemmi
import numpy as np

from arrayrefine.atoms import Atoms
from arrayrefine.io.models.refmac_links import without_nameless
from arrayrefine.io.output.remark_3 import remark_3
from arrayrefine.io.pdb_header import lasting_remarks, remark_number, with_carried

HYBRID_36_SERIALS = 87_440_031  # largest serial number that five hybrid-36 characters can hold
HYBRID_36_RESIDUES = 2_436_111  # the same for the four of a residue number


def pdb_obstacle(atoms: Atoms) -> str | None:
    """Say why a model does not fit the PDB format, or return None when it does.

    Chain names have at most two characters, residue names three, atom names four; coordinates lie within
    -999.999 and 9999.999 Å; serial and residue numbers fit hybrid-36.
    """
    who = atoms.identity
    for what, names, limit in (
        ("chain name", who.chain, 2),
        ("residue name", who.residue_name, 3),
        ("atom name", who.atom_name, 4),
    ):
        long = np.unique(names[np.char.str_len(names) > limit])
        if len(long):
            return f"{what} '{long[0]}' has {len(long[0])} characters, the PDB format holds {limit}"
    if len(atoms) > HYBRID_36_SERIALS:
        return f"{len(atoms)} atoms are more than serial numbers can count"
    number = who.sequence_number
    if len(number) and (number.min() < -999 or number.max() > HYBRID_36_RESIDUES):
        extreme = number.min() if number.min() < -999 else number.max()
        return f"residue number {extreme} does not fit into four characters"
    outside = np.flatnonzero((atoms.xyz < -999.999).any(axis=1) | (atoms.xyz > 9999.999).any(axis=1))
    if len(outside):
        return f"the coordinates of {who.label(int(outside[0]))} do not fit into eight characters"
    return None


def pdb_text(
    structure: gemmi.Structure, content: Mapping[str, Any], software: str, header: tuple[str, ...] = ()
) -> str:
    """Return the content of `refined.pdb`: the header of the input, as far as it stays true, then the atoms.

    Parameters
    ----------
    structure : gemmi.Structure
        Refined model; not changed.
    content : mapping
        `Report.as_dict`, with the counts of reflections in `content["data"]`.
    software : str
        Program and version.
    header : tuple of str
        Records of the input, where it was a PDB file.
    """
    return with_remark_3(structure, remark_3(content, software), header, content["data"].get("d_min"))


def with_remark_3(
    structure: gemmi.Structure, lines: list[str], header: tuple[str, ...] = (), d_min: float | None = None
) -> str:
    """The content of a PDB file that says this of refinement; see `pdb_text`.

    Parameters
    ----------
    structure : gemmi.Structure
        Not changed.
    lines : list of str
        REMARK 3.
    header : tuple of str
        Records of the input, where it was a PDB file.
    d_min : float, optional
        Resolution, Å, for REMARK 2, which stays as it is without.
    """
    copy = structure.clone()
    without_nameless(copy)
    if not copy.raw_remarks:
        copy.raw_remarks = [line for line in copy.make_pdb_headers().splitlines() if line.startswith("REMARK")]
    numbered = [(remark_number(line) or 0, line) for line in lasting_remarks(copy)]
    before = [_resolution(line, d_min) for number, line in numbered if number < 3]
    after = [line for number, line in numbered if number > 3]
    copy.raw_remarks = [*before, *lines, *after]
    _round_shares(copy)
    copy.add_entity_types()  # TER stands behind what is known to be a polymer
    return with_carried(_with_small_letters(str(copy.make_pdb_string()), copy), header)


def _round_shares(structure: gemmi.Structure) -> None:
    """Round occupancies of conformers to the two digits of the format so that they add up to what they did.

    Each by itself may make 1.01 of three that add up to 1. Those that lose most by rounding down get what is left.
    """
    places: dict[tuple[str, str, str], list[gemmi.Atom]] = {}
    for chain in structure[0]:
        for residue in chain:
            for atom in residue:
                if atom.has_altloc():
                    places.setdefault((chain.name, str(residue.seqid), atom.name), []).append(atom)
    for atoms in places.values():
        shares = 100.0 * np.array([atom.occ for atom in atoms])
        total = round(float(shares.sum()))
        if np.round(shares).sum() == total:
            continue
        down = np.floor(shares + 1e-4)
        order = np.argsort(down - shares, kind="stable")
        down[order[: int(total - down.sum())]] += 1.0
        for atom, share in zip(atoms, down.tolist()):
            atom.occ = share / 100.0


def _with_small_letters(text: str, structure: gemmi.Structure) -> str:
    """The conformers as the structure names them: gemmi writes capitals, by which a and A would be the same atom."""
    atoms = [atom for chain in structure[0] for residue in chain for atom in residue]
    links = list(structure.connections)
    if not any(atom.altloc.islower() for atom in atoms):
        return text
    lines = text.splitlines()
    place, letter = -1, " "
    for k, line in enumerate(lines):
        if line.startswith(("ATOM  ", "HETATM")):
            place += 1
            letter = atoms[place].altloc
        if line.startswith(("ATOM  ", "HETATM", "ANISOU")) and letter.islower():
            lines[k] = f"{line[:16]}{letter}{line[17:]}"
        if line.startswith("LINK  ") and (link := next((one for one in links if _is_of(line, one)), None)):
            links.remove(link)
            lines[k] = f"{line[:16]}{_letter(link.partner1)}{line[17:46]}{_letter(link.partner2)}{line[47:]}"
    return "\n".join([*lines, ""])


def _letter(end: gemmi.AtomAddress) -> str:
    return end.altloc if end.altloc.strip("\0") else " "


def _is_of(record: str, link: gemmi.Connection) -> bool:
    """Whether a LINK record is of a connection, but for small letters of conformers."""
    ends = zip((link.partner1, link.partner2), (record[12:27], record[42:57]))
    return all(
        f"{end.atom_name} {end.res_id.name} {end.chain_name} {end.res_id.seqid} {_letter(end).upper()}"
        == f"{text[:4].strip()} {text[5:8].strip()} {text[8:10].strip()} {text[10:].strip()} {text[4]}"
        for end, text in ends
    )


def has_remark_500(structure: gemmi.Structure) -> bool:
    """Whether the header says what validation thought of the model."""
    return any(remark_number(line) == 500 for line in structure.raw_remarks)


def _resolution(remark: str, d_min: float | None) -> str:
    """REMARK 2 with the resolution of this refinement; other remarks as they are."""
    if d_min is None or not remark.startswith("REMARK   2 RESOLUTION."):
        return remark
    return f"REMARK   2 RESOLUTION. {d_min:7.2f} ANGSTROMS."
