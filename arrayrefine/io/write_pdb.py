"""The refined model as a PDB file, where it fits that format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gemmi
import numpy as np

from arrayrefine.atoms import Atoms

HYBRID_36_SERIALS = 87_440_031  # largest serial number that five hybrid-36 characters can hold
HYBRID_36_RESIDUES = 2_436_111  # the same for the four of a residue number

_SYMMETRIC = (((1, 1), (2, 2)), ((3, 3), (1, 2)), ((1, 3), (2, 3)))
_FULL = tuple(tuple((i, j) for j in (1, 2, 3)) for i in (1, 2, 3))


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


def pdb_text(structure: gemmi.Structure, content: Mapping[str, Any], software: str) -> str:
    """Return the content of `refined.pdb`: the header of the input with new REMARKs 2 and 3, then the atoms.

    Parameters
    ----------
    structure : gemmi.Structure
        Refined model; not changed.
    content : mapping
        `Report.as_dict`, with the counts of reflections in `content["data"]`.
    software : str
        Program and version.
    """
    copy = structure.clone()
    header = copy.make_pdb_headers().splitlines() if not copy.raw_remarks else copy.raw_remarks
    remarks = [line.rstrip() for line in header if line.startswith("REMARK")]
    kept = [line for line in remarks if _number(line) != 3]
    before = [_resolution(line, content["data"].get("d_min")) for line in kept if _number(line) < 3]
    after = [line for line in kept if _number(line) > 3]
    copy.raw_remarks = [*before, *_remark_3(content, software), *after]
    return str(copy.make_pdb_string())


def _resolution(remark: str, d_min: float | None) -> str:
    """REMARK 2 with the resolution of this refinement; other remarks as they are."""
    if d_min is None or not remark.startswith("REMARK   2 RESOLUTION."):
        return remark
    return f"REMARK   2 RESOLUTION. {d_min:7.2f} ANGSTROMS."


def _number(remark: str) -> int:
    digits = remark[6:10].strip()
    return int(digits) if digits.isdigit() else 0


def _remark_3(content: Mapping[str, Any], software: str) -> list[str]:
    """Refinement statistics, worded as readers of REMARK 3 expect them."""
    final, data = content["final"], content["data"]
    rows: list[tuple[str, object]] = [
        ("RESOLUTION RANGE HIGH (ANGSTROMS)", _text(data.get("d_min"), 2)),
        ("RESOLUTION RANGE LOW  (ANGSTROMS)", _text(data.get("d_max"), 2)),
        ("COMPLETENESS FOR RANGE        (%)", _text(data.get("completeness"), 1, 100.0)),
        ("NUMBER OF REFLECTIONS", data.get("n_work")),
    ]
    fit: list[tuple[str, object]] = [
        ("R VALUE            (WORKING SET)", _text(final["r_work"], 4)),
        ("FREE R VALUE", _text(final["r_free"], 4)),
        ("FREE R VALUE TEST SET COUNT", data.get("n_free")),
    ]
    bond = f"{_text(final['bond_rmsd'], 4)}  Z {_text(final['bond_rmsz'], 2)}"
    angle = f"{_text(final['angle_rmsd'], 3)}  Z {_text(final['angle_rmsz'], 2)}"
    geometry: list[tuple[str, object]] = [
        ("BOND LENGTHS       (ANGSTROMS)", bond),
        ("BOND ANGLES          (DEGREES)", angle),
    ]
    lines = ["", " REFINEMENT.", f"   PROGRAM     : {software.upper()}", ""]
    for title, block in (
        ("DATA USED IN REFINEMENT.", rows),
        ("FIT TO DATA USED IN REFINEMENT.", fit),
        ("B VALUES.", [("MEAN B VALUE      (OVERALL, A**2)", _text(final["b_mean"], 2))]),
        ("RMS DEVIATIONS FROM IDEAL VALUES.", geometry),
    ):
        lines.append(f"  {title}")
        lines += [f"   {label:<35s}: {'NULL' if value is None else value}" for label, value in block]
        lines.append("")
    lines += _tls(content.get("tls", ()))
    return [f"REMARK   3{line}"[:80] for line in lines]


def _tls(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """Groups in the layout of the format: T in Å², L in degree², S in Å degree."""
    if not groups:
        return []
    lines = ["  TLS DETAILS", f"   NUMBER OF TLS GROUPS  : {len(groups)}", ""]
    for number, group in enumerate(groups, 1):
        lines += [
            f"   TLS GROUP : {number}",
            f"    NUMBER OF COMPONENTS GROUP : {len(group['ranges'])}",
            "    COMPONENTS        C SSSEQI   TO  C SSSEQI",
        ]
        for chain, *ends in group["ranges"]:
            one, two = (f"{chain:>2s} {_seqid(end)}" for end in ends)
            lines.append(f"    RESIDUE RANGE :  {one}      {two}")
        lines.append("    ORIGIN FOR THE GROUP (A):" + "".join(f"{x:9.4f}" for x in group["origin"]))
        for name, places in (("T", _SYMMETRIC), ("L", _SYMMETRIC), ("S", _FULL)):
            lines.append(f"    {name} TENSOR")
            for row in places:
                lines.append("      " + " ".join(f"{name}{i}{j}:{group[name][i - 1][j - 1]:9.4f}" for i, j in row))
        lines.append("")
    return [
        *lines,
        "  OTHER REFINEMENT REMARKS: ATOM RECORD CONTAINS SUM OF TLS AND",
        "  RESIDUAL B FACTORS. ANISOU RECORD CONTAINS SUM OF TLS AND",
        "  RESIDUAL U FACTORS.",
        "",
    ]


def _seqid(end: str) -> str:
    """Residue number in five columns and its insertion code in one."""
    return f"{end:>5s} " if end[-1].isdigit() else f"{end:>6s}"


def _text(value: float | None, digits: int, factor: float = 1.0) -> str:
    return "NULL" if value is None else f"{value * factor:.{digits}f}"
