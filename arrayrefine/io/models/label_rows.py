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


def follow_renamed_atoms(block: cif.Block, notes: list[str]) -> None:
    """Have links, helices, strands and cis peptides follow residues that authors' names were changed of, in place.

    What a row names by `auth_` items, and no atom is, is what it names by `label_` items, where that is one residue:
    as where a chain was renamed or renumbered in `_atom_site` alone.

    Parameters
    ----------
    block : cif.Block
        Whose atoms have chains and numbers.
    notes : list of str
        Is added to.
    """
    residues: set[tuple[str, ...]] = set()
    named: dict[tuple[str, ...], set[tuple[str, str]]] = {}
    items = ("auth_asym_id", "auth_seq_id", "label_asym_id", "label_comp_id", "label_seq_id")
    for chain, number, asym, component, label in block.find("_atom_site.", list(items)):
        residues.add((chain, number, component))
        named.setdefault((asym, component, "" if cif.is_null(label) else label), set()).add((chain, number))
    changed: dict[str, set[str]] = {}
    for category, ends in _ENDS.items():
        for end in ends:
            for row in block.find(category, [end.format(item) for item in items]):
                chain, number, asym, component, label = row
                found = named.get((asym, component, "" if cif.is_null(label) else label), set())
                if len(found) > 1:  # waters, which share a label: in their chain, with the number that they had
                    found = {one for one in found if one[1] == number}
                if (chain, number, component) in residues or len(found) != 1:
                    continue
                row[0], row[1] = next(iter(found))
                old = f"{chain}/{component} {number}"
                changed.setdefault(category.strip("._"), set()).add(f"{old} as {row[0]}/{component} {row[1]}")
    if changed:
        residues_said = listed(sorted(set().union(*changed.values())))
        notes.append(
            f"{listed(list(changed))} name residues by auth_ items that no atom has now: they follow label_ items, "
            f"{residues_said}"
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
