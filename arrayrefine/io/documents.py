"""Copies of mmCIF documents, to be changed."""

from __future__ import annotations

from gemmi import cif


def duplicate(document: cif.Document) -> cif.Document:
    """A document with copies of all blocks."""
    new = cif.Document()
    for old in document:
        new.add_copied_block(old)
    return new


def copied(document: cif.Document) -> tuple[cif.Document, cif.Block]:
    """A copy, and its block with the atoms, or else the first."""
    new = duplicate(document)
    return new, next((block for block in new if block.find_values("_atom_site.id")), new[0])


def lacks_entities(document: cif.Document | None) -> bool:
    """Whether it is a document without `_entity`, as Coot writes it; an output of it needs them."""
    return document is not None and not any(block.find_values("_entity.id") for block in document)
