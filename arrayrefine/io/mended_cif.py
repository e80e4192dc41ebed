"""Values of mmCIF files that are not as the dictionary wants them, but can be told."""

from __future__ import annotations

import re

from gemmi import cif

from arrayrefine.wording import counted

_NUMBER_AND_LETTER = re.compile(r"(-?\d+)([A-Za-z])")
_COUNTS = ("_exptl.crystals_number",)
"""Integers that gemmi reads, beside those of atoms."""


def mend(block: cif.Block, notes: list[str]) -> None:
    """Mend what would keep a model from being read, in place.

    Counts in quotes lose them, residue numbers lose the insertion code that some programs write behind them, and
    sequences that are numbered like that are counted anew.

    Parameters
    ----------
    block : gemmi.cif.Block
        That has the atoms.
    notes : list of str
        Gets a sentence on residue numbers.
    """
    for name in _COUNTS:
        category, _, item = name.partition(".")
        for row in block.find(f"{category}.", [item]):
            text = cif.as_string(row[0])
            if row[0] != text:
                row[0] = text if text.isdigit() else "?"
    steps = list(block.find("_entity_poly_seq.", ["entity_id", "num"]))
    if any(not cif.as_string(row[1]).isdigit() for row in steps):  # a running number, in which a code has no place
        length: dict[str, int] = {}
        for row in steps:
            length[row[0]] = length.get(row[0], 0) + 1
            row[1] = str(length[row[0]])
    mended = 0
    for row in block.find("_atom_site.", ["auth_seq_id", "?pdbx_PDB_ins_code"]):
        found = _NUMBER_AND_LETTER.fullmatch(cif.as_string(row[0]))
        if found is None:
            continue
        row[0] = found[1]
        if row.has(1) and cif.is_null(row[1]):
            row[1] = found[2]
        mended += 1
    if mended:
        notes.append(
            f"_atom_site.auth_seq_id holds an insertion code for {counted(mended, 'atom')}: it is read as a number and "
            "that code"
        )
