"""Residues at the ends of chains as AMBER names them in PDB files: NMET and CLYS, for MET and LYS."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from arrayrefine.wording import are, counted, listed

AMINO_ACIDS = frozenset({
    "ALA", "ARG", "ASN", "ASP", "CYS", "GLN", "GLU", "GLY", "HIS", "ILE", "LEU", "LYS", "MET", "PHE", "PRO", "SER",
    "THR", "TRP", "TYR", "VAL", "ASH", "CYM", "CYX", "GLH", "HID", "HIE", "HIP", "LYN",
})  # fmt: skip
"""Those of proteins, and what AMBER calls their states of charge."""
_ENDS = "NC"
_CONFORMER, _NEXT_TO_CHAIN = 16, 20
"""Columns, from 0, that the letter or the end of the name gets into."""
_ATOMS = ("ATOM  ", "HETATM", "ANISOU")


def without_letters_of_ends(lines: Sequence[str], notes: list[str]) -> list[str]:
    """Records of atoms whose names of residues have three letters, where those of chain ends had N or C before them.

    The letter stands where that of a conformer is, or pushes the name into the column before that of the chain. It is
    taken for such a letter where no other residue has one: N at the first, and C at the last residue of a chain alone.

    Parameters
    ----------
    lines : sequence of str
        Those of the file.
    notes : list of str
        Is added to.

    Returns
    -------
    list of str
        As many.
    """
    changed = list(lines)
    said = []
    for letter, name in ((_CONFORMER, slice(16, 20)), (_NEXT_TO_CHAIN, slice(17, 21))):
        for rows in _ends(changed, letter, name):
            first = changed[rows[0]]
            said.append(f"{first[21:22]}/{first[name]} {first[22:27].strip()}")
            for i in rows:
                line = changed[i]
                three = line[17:20] if letter == _CONFORMER else line[18:21]
                changed[i] = f"{line[:16]} {three} {line[21:]}"
    if said:
        notes.append(
            f"{counted(len(said), 'residue')} at ends of chains, named as in AMBER with N or C before the name, "
            f"{are(len(said))} read without it: {listed(said)}"
        )
    return changed


def _ends(lines: Sequence[str], letter: int, name: slice) -> list[list[int]]:
    """Rows of each residue whose name has such a letter in a column; none where letters there are of another kind."""
    rows = [i for i, line in enumerate(lines) if line[:6] in _ATOMS or line[:3] == "TER"]
    if all(lines[i][letter : letter + 1] in ("", " ") for i in rows):
        return []
    residues = [list(group) for _, group in groupby(rows, key=lambda i: (lines[i][:3] == "TER", lines[i][21:27]))]
    found: list[list[int]] = []
    for k, own in enumerate(residues):
        names = {lines[i][name].strip() for i in own}
        given = {lines[i][letter : letter + 1].strip() for i in own} - {""}
        if lines[own[0]][:3] == "TER":
            if found and found[-1][-1] == residues[k - 1][-1] and given:
                found[-1] += own
        elif given & set(_ENDS) or (given and letter == _NEXT_TO_CHAIN):
            whole = names.pop()
            beside = k - 1 if whole[:1] == "N" else k + 1
            if names or whole[:1] not in _ENDS or whole[1:] not in AMINO_ACIDS or _follows(lines, residues, k, beside):
                return []
            found.append(own)
    return found


def _follows(lines: Sequence[str], residues: Sequence[Sequence[int]], k: int, beside: int) -> bool:
    """Whether the residue on the other side is an amino acid of the same chain, so that there is no end."""
    if not 0 <= beside < len(residues):
        return False
    one, other = lines[residues[k][0]], lines[residues[beside][0]]
    return other[:3] != "TER" and one[21:22] == other[21:22] and other[17:20] in AMINO_ACIDS
