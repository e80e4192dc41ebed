"""Records of the input that name residues or atoms which an edit took away, and go, or mutated, and follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import gemmi
from gemmi import cif

Row = dict[str, str]
Residues = dict[tuple[str, str], set[str]]
"""Names of the atoms of each residue, by chain and by number with insertion code."""


def _items(chain: str, number: str, code: str, ends: Iterable[object]) -> tuple[tuple[str, str, str], ...]:
    return tuple((chain.format(end), number.format(end), code.format(end)) for end in ends)


_SPAN = _items("{}_auth_asym_id", "{}_auth_seq_id", "pdbx_{}_PDB_ins_code", ("beg", "end"))
_LINK = _items("ptnr{}_auth_asym_id", "ptnr{}_auth_seq_id", "pdbx_ptnr{}_PDB_ins_code", (1, 2))
_PEPTIDE = (
    ("auth_asym_id", "auth_seq_id", "pdbx_PDB_ins_code"),
    ("pdbx_auth_asym_id_2", "pdbx_auth_seq_id_2", "pdbx_PDB_ins_code_2"),
)
_ENDS = {"_struct_conf.": _SPAN, "_struct_sheet_range.": _SPAN, "_struct_mon_prot_cis.": _PEPTIDE}
"""Categories whose rows name two residues, and the items that do."""
_SPAN_NAMES = (("beg_auth_comp_id", "beg_label_comp_id"), ("end_auth_comp_id", "end_label_comp_id"))
_PEPTIDE_NAMES = (("auth_comp_id", "label_comp_id"), ("pdbx_auth_comp_id_2", "pdbx_label_comp_id_2"))
_NAMES = {category: _PEPTIDE_NAMES if ends is _PEPTIDE else _SPAN_NAMES for category, ends in _ENDS.items()}
"""And those that say what components these are."""


def drop_from_structure(structure: gemmi.Structure) -> list[str]:
    """Take out helices, strands and cis peptides of which the model lacks the first or last residue, in place.

    Where that residue was mutated, they name what it is now.

    Returns
    -------
    list of str
        Their ends.
    """
    dropped: list[str] = []

    def lacks(one: gemmi.AtomAddress, two: gemmi.AtomAddress) -> bool:
        if all(_follow(structure, end) for end in (one, two)):
            return False
        dropped.append(f"{one.chain_name}/{one.res_id} - {two.chain_name}/{two.res_id}")
        return True

    _filter(structure.helices, lambda helix: lacks(helix.start, helix.end))
    for sheet in structure.sheets:
        _filter(sheet.strands, lambda strand: lacks(strand.start, strand.end))
    _filter(structure.sheets, lambda sheet: not len(sheet.strands))
    structure.cispeps = [cis for cis in structure.cispeps if not lacks(cis.partner_c, cis.partner_n)]
    return dropped


def _follow(structure: gemmi.Structure, end: gemmi.AtomAddress) -> bool:
    """Whether the model has the residue of an address, which gets the name that a mutation gave to that of a chain."""
    if structure[0].find_cra(end, ignore_segment=True).residue is not None:
        return True
    for chain in structure[0]:
        if chain.name == end.chain_name:
            for residue in chain:
                if residue.seqid == end.res_id.seqid and _is_of_chains(residue.name):
                    end.res_id.name = residue.name
                    return True
    return False


def _is_of_chains(name: str) -> bool:
    """Whether a component is known as an amino acid or a nucleotide, and no ligand or water that has a number again."""
    known = gemmi.find_tabulated_residue(name)
    return known.is_amino_acid() or known.is_nucleic_acid()


def absent_links(structure: gemmi.Structure) -> list[int]:
    """Which connections name an atom that the model lacks: a row of a link needs both."""
    return [
        k
        for k, link in enumerate(structure.connections)
        if None in [structure[0].find_cra(end, ignore_segment=True).atom for end in (link.partner1, link.partner2)]
    ]


def lost_ends(block: cif.Block, structure: gemmi.Structure) -> list[str]:
    """Ends of the helices, strands and cis peptides that `drop_from_block` takes out of an mmCIF block."""
    is_there = _presence(block, structure)
    return [
        " - ".join(f"{row.get(chain, '')}/{row.get(number, '')}{row.get(code, '')}" for chain, number, code in ends)
        for category, ends in _ENDS.items()
        for row in _rows(block.get_mmcif_category(category))
        if not all(is_there(row, items) for items in ends)
    ]


def drop_from_block(block: cif.Block, structure: gemmi.Structure) -> None:
    """Do the same in an mmCIF block, in place, and take out links to atoms that the model lacks."""
    is_there = _presence(block, structure)

    def is_linked(row: Row) -> bool:
        return all(is_there(row, _LINK[n], row.get(f"ptnr{n + 1}_label_atom_id", "").strip()) for n in (0, 1))

    _keep(block, "_struct_conn.", is_linked)
    for category, ends in _ENDS.items():
        changed = _keep(block, category, lambda row, ends=ends: all(is_there(row, items) for items in ends))
        if changed and category == "_struct_sheet_range.":
            _drop_of_lost_strands(block)
        _rename_mutated(block, structure, category)


def _rename_mutated(block: cif.Block, structure: gemmi.Structure, category: str) -> None:
    """Have rows name what the residues of chains at their ends are now."""
    table = block.get_mmcif_category(category)
    there: dict[tuple[str, str], list[str]] = {}
    for chain in structure[0]:
        for residue in (one for one in chain if _is_of_chains(one.name)):
            there.setdefault((chain.name, str(residue.seqid)), []).append(residue.name)
    changed = False
    for k, row in enumerate(_rows(table)):
        for (chain_item, number, code), names in zip(_ENDS[category], _NAMES[category]):
            now = there.get((row.get(chain_item, ""), row.get(number, "") + row.get(code, "")), [])
            for item in names:
                if now and row.get(item, now[0]) not in now:
                    table[item][k] = now[0]
                    changed = True
    if changed:
        block.set_mmcif_category(category, table)


def _presence(block: cif.Block, structure: gemmi.Structure) -> Callable[..., bool]:
    """Tell whether the model has what items of a row name; so it is said where they name nothing."""
    if not all(block.find_values(f"_atom_site.{item}") for item in ("auth_asym_id", "auth_seq_id")):
        return lambda *_: True  # rows and structure may call residues by different names
    residues: Residues = {}
    for chain in structure[0]:
        for residue in chain:
            names = residues.setdefault((chain.name, str(residue.seqid)), set())
            names.update(atom.name for atom in residue)

    def is_there(row: Row, items: tuple[str, str, str], atom: str = "") -> bool:
        chain, number, code = (row.get(item, "") for item in items)
        names = residues.get((chain, number + code), set())
        return not chain or not number or (atom in names if atom else bool(names))

    return is_there


def _drop_of_lost_strands(block: cif.Block) -> None:
    """Take out sheets without strands, and the order and hydrogen bonds of strands that are gone."""
    strands = {tuple(map(cif.as_string, row)) for row in block.find("_struct_sheet_range.", ["sheet_id", "id"])}
    sheets = {sheet for sheet, _ in strands}

    def has_both(row: Row) -> bool:
        return all((row.get("sheet_id"), row.get(item)) in strands for item in ("range_id_1", "range_id_2"))

    _keep(block, "_struct_sheet_order.", has_both)
    _keep(block, "_pdbx_struct_sheet_hbond.", has_both)
    _keep(block, "_struct_sheet.", lambda row: row.get("id") in sheets)


def _filter(items: Any, unwanted: Callable[..., bool]) -> None:
    for k in [k for k, item in enumerate(items) if unwanted(item)][::-1]:
        items.pop(k)


def _rows(table: Mapping[str, Sequence[Any]]) -> list[Row]:
    count = len(next(iter(table.values()), ()))
    return [{name: str(values[k]) for name, values in table.items() if values[k]} for k in range(count)]


def _keep(block: cif.Block, category: str, wanted: Callable[..., bool]) -> bool:
    """Keep the wanted rows of a category; returns whether there are others."""
    table = block.get_mmcif_category(category)
    kept = [wanted(row) for row in _rows(table)]
    if all(kept):
        return False
    if any(kept):
        left = {name: [value for value, keep in zip(values, kept) if keep] for name, values in table.items()}
        block.set_mmcif_category(category, left)
    else:
        block.find_mmcif_category(category).erase()
    return True
