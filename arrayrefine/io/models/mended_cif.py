"""Values of mmCIF files that are not as the dictionary wants them, but can be told."""

from __future__ import annotations

import re

from gemmi import cif

from arrayrefine.io.models.label_rows import follow_renamed_atoms, lacks_authors, name_rows_by_labels
from arrayrefine.wording import are, counted, listed

_NUMBER_AND_LETTER = re.compile(r"(-?\d+)([A-Za-z])")
_SIGN_BEHIND = re.compile(r"(\d+)([+-])")
"""A charge as PDB files have it."""
_COUNTS = ("_exptl.crystals_number",)
"""Integers that gemmi reads, beside those of atoms."""


def mend(block: cif.Block, notes: list[str]) -> None:
    """Mend what would keep a model from being read, in place.

    Atoms get what some programs leave out where it can be told: numbers, names of chains from those of authors, no
    conformer, full occupancies, and a B of 0, which stands for none. Charges are read as in 2+ too. Counts in quotes
    lose them, residue numbers lose the insertion code that some programs write behind them, and sequences that are
    numbered like that are counted anew. Where no author numbers the residues, those outside the sequences of polymers,
    which have no number then, are counted in their chains. Rows that name residues as authors do, whom the atoms do not
    follow, name them by their labels.

    Parameters
    ----------
    block : gemmi.cif.Block
        That has the atoms.
    notes : list of str
        Gets sentences on columns, on occupancies and on residue numbers.
    """
    lacking = lacks_authors(block)
    _complete(block, notes)
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
    for row in block.find("_atom_site.", ["pdbx_formal_charge"]):
        if charge := _SIGN_BEHIND.fullmatch(cif.as_string(row[0])):
            row[0] = f"{charge[2]}{charge[1]}".removeprefix("+")
    _number_all(block, notes)
    name_rows_by_labels(block, lacking, notes)
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
    follow_renamed_atoms(block, notes)


def _complete(block: cif.Block, notes: list[str]) -> None:
    """Give atoms the columns without which gemmi reads none, and values where it would take its own for missing."""
    loop = block.find_loop("_atom_site.Cartn_x").get_loop()
    if loop is None or not loop.tags:
        return
    said = []
    for item, value, fill in (
        ("id", "?", "counted"), ("label_alt_id", ".", "no conformers"), ("occupancy", "?", ""),
        ("B_iso_or_equiv", "?", ""),
    ):  # fmt: skip
        if f"_atom_site.{item}" not in loop.tags:
            loop.add_columns([f"_atom_site.{item}"], value)
            said += [f"{item} ({fill})"] if fill else []
            if item == "id":
                for number, row in enumerate(block.find("_atom_site.", ["id"]), 1):
                    row[0] = str(number)
    if "_atom_site.label_asym_id" not in loop.tags and "_atom_site.auth_asym_id" in loop.tags:
        loop.add_columns(["_atom_site.label_asym_id"], "?")
        said.append("label_asym_id (those of auth_asym_id)")
        for row in block.find("_atom_site.", ["label_asym_id", "auth_asym_id"]):
            row[0] = row[1]
    if said:
        notes.append(f"columns that _atom_site lacks are filled in: {listed(said)}")
    for item, value in (("occupancy", "1"), ("B_iso_or_equiv", "0")):
        column = block.find_values(f"_atom_site.{item}")
        missing = [k for k, given in enumerate(column) if cif.is_null(given)]
        for k in missing:
            column[k] = value
        if missing and item == "occupancy":
            notes.append(f"_atom_site.occupancy has no value for {counted(len(missing), 'atom')}, and is set to 1")


def _number_all(block: cif.Block, notes: list[str]) -> None:
    """Give residues the numbers of their sequences, and others running ones, where auth_seq_id has none."""
    loop = block.find_loop("_atom_site.label_seq_id").get_loop()
    if loop is None or not all(cif.is_null(number) for number in block.find_values("_atom_site.auth_seq_id")):
        return
    if "_atom_site.auth_seq_id" not in loop.tags:
        loop.add_columns(["_atom_site.auth_seq_id"], "?")
    names = ["label_asym_id", "label_comp_id", "label_seq_id", "label_atom_id", "label_alt_id", "auth_seq_id"]
    rows = block.find("_atom_site.", [*names, "?auth_asym_id"])
    homes = [row[6] if row.has(6) and not cif.is_null(row[6]) else row[0] for row in rows]
    count: dict[str, int] = {}  # behind the sequences of the same chain, as authors name it
    for home, row in zip(homes, rows):
        if not cif.is_null(row[2]):
            count[home] = max(count.get(home, 0), cif.as_int(row[2]))
    last, seen = ("", ""), set[tuple[str, str]]()
    numbered = 0
    for home, row in zip(homes, rows):
        if not cif.is_null(row[2]):
            row[5] = row[2]
            continue
        atom = row[3], row[4]
        if (row[0], row[1]) != last or atom in seen:
            count[home] = count.get(home, 0) + 1
            seen = set()
            numbered += 1
        seen.add(atom)
        last, row[5] = (row[0], row[1]), str(count[home])
    if numbered:
        notes.append(
            f"_atom_site.auth_seq_id is missing: {counted(numbered, 'residue')} outside the sequences of polymers "
            f"{are(numbered)} numbered in each chain"
        )
