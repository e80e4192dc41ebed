"""Copies of mmCIF documents, to be changed."""

from __future__ import annotations

from gemmi import cif


def copied(document: cif.Document) -> tuple[cif.Document, cif.Block]:
    """A copy, and its block with the atoms, or else the first."""
    new = cif.Document()
    for old in document:
        new.add_copied_block(old)
    return new, next((block for block in new if block.find_values("_atom_site.id")), new[0])
