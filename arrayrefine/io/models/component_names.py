"""Components of an mmCIF model under other names, wherever its block names them."""

from __future__ import annotations

from collections.abc import Mapping

import gemmi
from gemmi import cif

_ENDS = ("comp_id", "mon_id")
"""How items end that name a component: those of atoms, sequences, links, helices, strands and more."""
_DRAWN = ("_chem_comp_atom.", "_chem_comp_bond.")


def drawn_components(block: cif.Block) -> set[str]:
    """Names of components that the file itself has the atoms or bonds of: they are what it says they are."""
    return {row.str(0) for category in _DRAWN for row in block.find(category, ["comp_id"])}


def rename_components(block: cif.Block, names: Mapping[str, str]) -> None:
    """Name components otherwise, in place, in all categories of a block.

    Parameters
    ----------
    block : gemmi.cif.Block
    names : mapping
        New names by old ones. Rows of `_chem_comp` that would name a component again are left out.
    """
    components = block.find("_chem_comp.", ["id"])
    known = {row.str(0) for row in components}
    for k in reversed(range(len(components))):
        old = components[k].str(0)
        if old not in names:
            continue
        if names[old] in known:
            components.remove_row(k)
        else:
            components[k][0] = names[old]
            known.add(names[old])
    for category in block.get_mmcif_category_names():
        table = block.find_mmcif_category(category)
        for tag in table.tags:
            if tag.lower().endswith(_ENDS):
                _rename(block.find_values(tag), names)
    for row in block.find("_entity_poly.", ["pdbx_seq_one_letter_code"]):
        text = row.str(0)
        for old, new in names.items():
            text = text.replace(f"({old})", gemmi.find_tabulated_residue(new).one_letter_code)
        if text != row.str(0):
            row[0] = cif.quote(text)


def _rename(column: cif.Column, names: Mapping[str, str]) -> None:
    for k in range(len(column)):
        if (new := names.get(column.str(k))) is not None:
            column[k] = new
