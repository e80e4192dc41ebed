"""What a user's dictionary defines, and what is put right of it once it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import gemmi

_LINK_TAGS = ("_chem_link.mod_id_1", "_chem_link.mod_id_2")
_MOD_TAGS = (
    "_chem_mod.id",
    *(f"_chem_mod_{kind}.mod_id" for kind in ("atom", "bond", "angle", "tor", "chir", "plane_atom", "tree")),
)


def contents(document: gemmi.cif.Document) -> tuple[dict[str, gemmi.cif.Block], list[str], list[str]]:
    """Components (name to block), link names and modification names that a document defines."""
    names = {}
    for block in document:
        if len(block.find_values("_chem_comp_atom.atom_id")):
            column = block.find_values("_chem_comp_atom.comp_id")
            names[column.str(0) if column else block.name.removeprefix("comp_")] = block
    links = [row.str(0) for block in document for row in block.find(["_chem_link.id"])]
    modifications = [row.str(0) for block in document for row in block.find(["_chem_mod.id"])]
    return names, links, modifications


def set_groups_by_bonds(
    monlib: gemmi.MonLib, components: Iterable[str], told: Callable[[gemmi.ChemComp], str], sentence: str
) -> list[str]:
    """Give components without a group, or called no polymer, the group that their bonds tell, in place.

    Parameters
    ----------
    monlib : gemmi.MonLib
    components : iterable of str
    told : callable
        The group of a component; "" for none.
    sentence : str
        What to say, with places for the name and the group.

    Returns
    -------
    list of str
        What was found.
    """
    unsaid = (gemmi.ChemComp.Group.Null, gemmi.ChemComp.Group.NonPolymer)
    notes = []
    for name in components:
        component = monlib.monomers[name]
        group = told(component) if component.group in unsaid else ""
        if group:
            component.set_group(group)
            notes.append(sentence.format(name=name, group=group))
    return notes


def set_groups(monlib: gemmi.MonLib, document: gemmi.cif.Document) -> None:
    """Take a component's group from the list, or from its type where the group says nothing."""
    for block in document:
        for row in block.find("_chem_comp.", ["id", "?group", "?type"]):
            name = row.str(0)
            if name not in monlib.monomers:
                continue
            component = monlib.monomers[name]
            if row.has(1):
                component.set_group(row.str(1))
            if component.group == gemmi.ChemComp.Group.Null and row.has(2):
                kind = row.str(2).lower()
                if "peptide linking" in kind:
                    component.set_group("peptide")
                elif "dna linking" in kind or "rna linking" in kind:
                    component.set_group("DNA" if "dna" in kind else "RNA")


def rename_modifications(document: gemmi.cif.Document, clashing: Sequence[str], monlib: gemmi.MonLib) -> None:
    """Give modifications new names where theirs are taken, since other links rely on the old ones."""
    for old in clashing:
        number = 1
        while f"{old}-{number}" in monlib.modifications:
            number += 1
        new = f"{old}-{number}"
        for block in document:
            if block.name == f"mod_{old}":
                block.name = f"mod_{new}"
            for tag in (*_LINK_TAGS, *_MOD_TAGS):
                column = block.find_values(tag)
                for k in range(len(column)):
                    if column.str(k) == old:
                        column[k] = new
