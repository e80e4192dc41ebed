"""Rows of mmCIF files that name residues as authors do, beside atoms that have no such names."""

from __future__ import annotations

from gemmi import cif

from arrayrefine.wording import listed

_ENDS = {
    "_struct_conn.": ("ptnr1_{}", "ptnr2_{}"),
    "_struct_conf.": ("beg_{}", "end_{}"),
    "_struct_sheet_range.": ("beg_{}", "end_{}"),
    "_struct_mon_prot_cis.": ("{}", "pdbx_{}_2"),
}
"""Categories whose rows name two residues each, and how their items are called."""


def lacks_authors(block: cif.Block) -> tuple[bool, bool]:
    """Whether no atom has a chain, and whether none has a number, that an author gave it."""
    chains, numbers = (block.find_values(f"_atom_site.auth_{item}_id") for item in ("asym", "seq"))
    return all(map(cif.is_null, chains)), all(map(cif.is_null, numbers))


def name_rows_by_labels(block: cif.Block, lacking: tuple[bool, bool], notes: list[str]) -> None:
    """Have links, helices, strands and cis peptides name residues as the atoms do, in place, and say so.

    Parameters
    ----------
    block : cif.Block
        Whose atoms have got chains and numbers.
    lacking : (bool, bool)
        What `lacks_authors` said of it before.
    notes : list of str
        Is added to.
    """
    if not any(lacking):
        return
    number_of: dict[tuple[str, ...], set[str]] = {}
    for asym, component, label, number in block.find(
        "_atom_site.", ["label_asym_id", "label_comp_id", "label_seq_id", "auth_seq_id"]
    ):
        number_of.setdefault((asym, component, "" if cif.is_null(label) else label), set()).add(number)
    changed = [category for category, ends in _ENDS.items() if _follow(block, category, ends, lacking, number_of)]
    if changed:
        notes.append(
            f"{listed([name.strip('.') for name in changed])} name residues by auth_ items, which _atom_site does not "
            "have: they are read by label_ items"
        )


def _follow(
    block: cif.Block, category: str, ends: tuple[str, str], lacking: tuple[bool, bool],
    number_of: dict[tuple[str, ...], set[str]],
) -> bool:  # fmt: skip
    """Rename what the rows of a category name; returns whether anything has another name now."""
    changed = False
    items = ("auth_asym_id", "auth_seq_id", "label_asym_id", "label_comp_id", "label_seq_id")
    for end in ends:
        for row in block.find(category, [end.format(item) for item in items]):
            chain, number, asym, component, label = row
            found = number_of.get((asym, component, "" if cif.is_null(label) else label), set())
            if not found:
                continue
            new = (asym if lacking[0] else chain, next(iter(found)) if lacking[1] and len(found) == 1 else number)
            changed |= new != (chain, number)
            row[0], row[1] = new
    return changed
