"""Records of a PDB file besides its atoms: which of them stay true of the refined model, and in which order."""

from __future__ import annotations

import re

import gemmi
import numpy as np

from arrayrefine.io.models.refmac_links import is_nameless
from arrayrefine.wording import counted

# Order of the PDB format, version 3.30. One name for records that belong together line by line.
_ORDER = (
    "HEADER", "TITLE", "COMPND", "SOURCE", "KEYWDS", "EXPDTA", "NUMMDL", "MDLTYP", "AUTHOR", "JRNL", "REMARK", "DBREF",
    "SEQADV", "SEQRES", "MODRES", "HET", "HETNAM", "HETSYN", "FORMUL", "HELIX", "SHEET", "SSBOND", "LINK", "CISPEP",
    "SITE", "CRYST1",
)  # fmt: skip
_CARRIED = (
    "COMPND", "SOURCE", "MDLTYP", "AUTHOR", "JRNL", "SEQADV", "HETNAM", "HETSYN", "FORMUL", "SITE",
)  # fmt: skip
"""What gemmi does not write, and what no refinement changes."""
_IN_MMCIF = ("AUTHOR",)
"""Those of them that gemmi puts into a category of mmCIF."""
_REMARKS_IN_MMCIF = {2, 200, 230, 240, 280, 290, 300, 350}
"""The same of REMARKs."""
_COORDINATES = ("ATOM", "HETATM", "ANISOU", "TER", "MODEL", "END")
_OF_CRYST1 = ("ORIGX1", "ORIGX2", "ORIGX3", "SCALE1", "SCALE2", "SCALE3")
"""Written where they are not what follows from CRYST1."""
_NUMBERED = re.compile(r"REMARK ( {2}\d| \d\d|\d{3})(?: |$)")
_SMTRY = re.compile(r"REMARK 290 +SMTRY[123] .*?(-?\d+\.\d+) *$")
_SHIFT = 0.01
"""Å; further from a translation of the space group than rounding takes one of REMARK 290."""


def header_records(text: str) -> tuple[str, ...]:
    """Lines of a PDB file that hold neither atoms nor REMARKs, as they are, but for names of records in capitals."""
    lines = (_capital(line[:80].rstrip()) for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith((*_COORDINATES, "REMARK")))


def with_carried(text: str, header: tuple[str, ...]) -> str:
    """A PDB file with the records of an older one that stay true and that it lacks, in the order of the format.

    Parameters
    ----------
    text : str
        The file as gemmi writes it.
    header : tuple of str
        `header_records` of the older file.
    """
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if _name(line) == "CRYST1")
    carried = [line for line in header if _name(line) in _CARRIED]
    return "\n".join([*sorted([*lines[:first], *carried], key=_rank), *lines[first:], ""])


def lasting_remarks(structure: gemmi.Structure) -> list[str]:
    """REMARKs of a model that its refinement does not make untrue; 2 is among them, 3 is not.

    500 judges the model as it was, those without a number are logs of other programs, and 290 has translations in Å.
    """
    remarks = [_capital(line.rstrip()) for line in structure.raw_remarks if _name(line).upper() == "REMARK"]
    left = (3, 500, *((290,) if _of_another_cell(structure) else ()))
    return [line for line in remarks if remark_number(line) not in (*left, None)]


def not_in_pdb(structure: gemmi.Structure, header: tuple[str, ...]) -> list[str]:
    """Say what of the header of a PDB input is in no file of the output."""
    sentences = []
    unnumbered = sum(remark_number(line) is None for line in structure.raw_remarks)
    if unnumbered:
        sentences.append(
            "left out of the output, as logs of other programs: "
            f"{counted(unnumbered, 'REMARK')} without a number of the format"
        )
    if _of_another_cell(structure):
        sentences.append("left out of refined.pdb, as its translations are of another cell: REMARK 290")
    nameless = sum(map(is_nameless, structure.connections))
    if nameless:
        sentences.append(
            f"left out of the output, as they name residues and no atoms: {counted(nameless, 'record')} of links or "
            "gaps (LINKR); refinement follows what they say of gaps"
        )
    kept = {_name(line) for line in structure.make_pdb_headers().splitlines()} | {*_CARRIED, *_OF_CRYST1, "LINKR"}
    if lost := _names(header, without=kept):
        sentences.append(f"left out of the output, as belonging to the file that the model was in: {', '.join(lost)}")
    return sentences


def not_in_cif(structure: gemmi.Structure, header: tuple[str, ...]) -> list[str]:
    """Say what of the header of a PDB input is in `refined.pdb` only."""
    only = [name for name in _names(header, without=set(_IN_MMCIF)) if name in _CARRIED]
    if {remark_number(line) for line in lasting_remarks(structure)} - _REMARKS_IN_MMCIF:
        only.append("REMARKs of text")
    return [f"in the header of refined.pdb, but not in refined.cif: {', '.join(only)}"] if only else []


def remark_number(remark: str) -> int | None:
    """Number of a REMARK; None for those that have none, in its columns with a blank behind them."""
    found = _NUMBERED.match(_capital(remark))
    return int(found[1]) if found else None


def _capital(line: str) -> str:
    """A line with the name of its record in capitals, as gemmi reads it."""
    return line[:6].upper() + line[6:]


def _name(line: str) -> str:
    return line[:6].strip()


def _names(header: tuple[str, ...], without: set[str]) -> list[str]:
    """Names of records, each once."""
    return [name for name in dict.fromkeys(map(_name, header)) if name not in without]


def _rank(line: str) -> int:
    """Place of a record in the format; DBREF1 and DBREF2 stand with DBREF, LINKR with LINK."""
    name = _name(line)
    name = name if name in _ORDER else name[:-1]
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def _of_another_cell(structure: gemmi.Structure) -> bool:
    """Whether REMARK 290 moves atoms by what is no translation of the space group in this cell."""
    found = [float(match[1]) for match in map(_SMTRY.match, map(_capital, structure.raw_remarks)) if match]
    shifts = np.array(found[: len(found) // 3 * 3]).reshape(-1, 3)
    fractional = shifts @ np.array(structure.cell.frac.mat.tolist()).T
    allowed = np.round(24.0 * fractional) / 24.0 @ np.array(structure.cell.orth.mat.tolist()).T
    return bool(np.any(np.abs(shifts - allowed) > _SHIFT))
