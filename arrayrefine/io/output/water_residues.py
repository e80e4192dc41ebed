"""Waters put at the end of a structure, or taken out of it, and what its mmCIF document says of them."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Callable, Iterable

import gemmi
import numpy as np
from gemmi import cif
from numpy.typing import NDArray

from arrayrefine.io.documents import copied

Float = NDArray[np.float64]

_NAMES = (*"WSXYZ", *string.ascii_uppercase, *string.digits, *string.ascii_lowercase)
"""Of a new chain of waters, the first that is free."""
_ABSENT = "?"


def place_of_waters(structure: gemmi.Structure) -> tuple[str, int]:
    """Chain and number of the next water: the last chain, if it is one of waters alone, else a new one.

    Parameters
    ----------
    structure : gemmi.Structure
        Its first model is used.
    """
    last = structure[0][-1]
    if all(residue.is_water() for residue in last):
        return last.name, max((residue.seqid.num or 0 for residue in last), default=0) + 1
    taken = {chain.name for chain in structure[0]}
    more = (f"{one}{two}" for one in string.ascii_uppercase for two in string.ascii_uppercase)
    return next(name for name in (*_NAMES, *more) if name not in taken), 1


def with_waters(
    structure: gemmi.Structure, chain: str, number: int, xyz: Float, b_iso: Float, occupancy: Float
) -> gemmi.Structure:
    """A copy with waters after all other atoms.

    Parameters
    ----------
    structure : gemmi.Structure
    chain, number
        Where they begin, see `place_of_waters`.
    xyz : (n, 3) float64
        Å.
    b_iso, occupancy : (n,) float64
    """
    structure = structure.clone()
    model = structure[0]
    if not len(model) or model[-1].name != chain:
        model.add_chain(gemmi.Chain(chain))
    end = model[-1]
    subchain = end[-1].subchain if len(end) else _new_subchain(structure, chain)
    for k, (position, b, q) in enumerate(zip(xyz.tolist(), b_iso.tolist(), occupancy.tolist())):
        atom = gemmi.Atom()
        atom.name, atom.element = "O", gemmi.Element("O")
        atom.pos, atom.b_iso, atom.occ = gemmi.Position(*position), b, q
        residue = gemmi.Residue()
        residue.name, residue.seqid = "HOH", gemmi.SeqId(number + k, " ")
        residue.entity_type, residue.het_flag, residue.subchain = gemmi.EntityType.Water, "H", subchain
        residue.add_atom(atom)
        end.add_residue(residue)
    return structure


def without_residues(structure: gemmi.Structure, left_out: Iterable[int]) -> gemmi.Structure:
    """A copy without some residues of its first model, which are numbered through it; chains that end empty go too."""
    structure = structure.clone()
    gone = set(left_out)
    number = sum(len(chain) for chain in structure[0])
    for chain in reversed(structure[0]):
        for k in reversed(range(len(chain))):
            number -= 1
            if number in gone:
                del chain[k]
    structure.remove_empty_chains()
    return structure


def _new_subchain(structure: gemmi.Structure, chain: str) -> str:
    """Name of the subchain of a new chain, entered into the entity of waters; "" where the structure has none."""
    taken = {residue.subchain for other in structure[0] for residue in other}
    if taken <= {""}:
        return ""
    numbered = (f"{chain}{k}" for k in range(2, len(taken) + 3))
    name = next(name for name in (chain, *numbered) if name not in taken)
    water = next((entity for entity in structure.entities if entity.entity_type == gemmi.EntityType.Water), None)
    if water is None:
        known = {entity.name for entity in structure.entities}
        water = gemmi.Entity(next(str(k) for k in range(1, len(known) + 2) if str(k) not in known))
        water.entity_type = gemmi.EntityType.Water
        structure.entities.append(water)
        water = structure.entities[-1]
    water.subchains = [*water.subchains, name]
    return name


def waters_in_document(document: cif.Document | None, structure: gemmi.Structure) -> cif.Document | None:
    """A copy of the mmCIF document of a structure that lists the waters which that has now.

    Components, entities, asymmetric units and the scheme of what is no polymer; categories that the document lacks are
    not made.
    """
    if document is None:
        return None
    new, block = copied(document)
    waters = [(chain, residue) for chain in structure[0] for residue in chain if residue.is_water()]
    entities = {sub: entity.name for entity in structure.entities for sub in entity.subchains}
    rows = [(chain.name, residue, entities.get(residue.subchain, _ABSENT)) for chain, residue in waters]
    _add(block, "_chem_comp.", "id", [{"id": "HOH", "type": "non-polymer", "name": "WATER"} for _ in rows[:1]])
    counts = Counter(entity for _, _, entity in rows)
    known = [cif.as_string(row[0]) for row in block.find("_entity.", ["id", "type"]) if row[1] == "water"]
    gone = {entity for entity in known if entity not in counts}
    for entity, count in counts.items():
        named = {"id": entity, "type": "water", "pdbx_description": "water", "pdbx_number_of_molecules": str(count)}
        _add(block, "_entity.", "id", [named])
        for row in block.find("_entity.", ["id", "pdbx_number_of_molecules"]):
            if cif.as_string(row[0]) == entity:
                row[1] = str(count)
        _add(block, "_pdbx_entity_nonpoly.", "entity_id", [{"entity_id": entity, "name": "water", "comp_id": "HOH"}])
    units = dict.fromkeys((residue.subchain, entity) for _, residue, entity in rows)
    _remove(block, "_struct_asym.", ["id", "entity_id"], lambda key: key[1] in {*known} and key not in units)
    _add(block, "_struct_asym.", "id", [{"id": sub, "entity_id": entity} for sub, entity in units])
    _remove(block, "_entity.", ["id"], lambda key: key[0] in gone)
    _remove(block, "_pdbx_entity_nonpoly.", ["entity_id"], lambda key: key[0] in gone)
    _write_scheme(block, rows)
    return new


def _write_scheme(block: cif.Block, rows: list[tuple[str, gemmi.Residue, str]]) -> None:
    """The rows of waters that are there stay, those of others go, and new ones come after them, numbered on."""
    tags = ["asym_id", "pdb_seq_num", "mon_id"]
    there = {(residue.subchain, str(residue.seqid.num), residue.name) for _, residue, _ in rows}
    scheme = "_pdbx_nonpoly_scheme."
    _remove(block, scheme, tags, lambda key: _is_water(key[2]) and key not in there)
    listed = {tuple(cif.as_string(value) for value in row) for row in block.find(scheme, tags)}
    numbers = Counter(cif.as_string(row[0]) for row in block.find(scheme, ["asym_id"]))
    new = []
    for chain, residue, entity in rows:
        number = str(residue.seqid.num)
        if (residue.subchain, number, residue.name) in listed:
            continue
        numbers[residue.subchain] += 1
        new.append({
            "asym_id": residue.subchain, "entity_id": entity, "mon_id": residue.name, "pdb_strand_id": chain,
            "pdb_mon_id": residue.name, "auth_mon_id": residue.name, "pdb_seq_num": number, "auth_seq_num": number,
            "ndb_seq_num": str(numbers[residue.subchain]), "pdb_ins_code": residue.seqid.icode.strip() or ".",
        })  # fmt: skip
    _add(block, scheme, "", new)


def _is_water(name: str) -> bool:
    return gemmi.find_tabulated_residue(name).is_water()


def _remove(block: cif.Block, category: str, tags: list[str], drop: Callable[[tuple[str, ...]], bool]) -> None:
    """Remove the rows of a category whose values of some tags are to be dropped."""
    table = block.find(category, tags)
    for k in reversed(range(len(table))):
        if drop(tuple(cif.as_string(value) for value in table[k])):
            table.remove_row(k)


def _add(block: cif.Block, category: str, key: str, rows: list[dict[str, str]]) -> None:
    """Add rows to a category that is there; with a `key`, those of which it has none with the same."""
    table = block.find_mmcif_category(category)
    if not table.width():
        return
    tags = [tag[len(category) :] for tag in table.tags]
    if key and key not in tags:
        return
    known = {cif.as_string(row[tags.index(key)]) for row in table} if key else set()
    table.ensure_loop()
    for row in rows:
        if not key or row[key] not in known:
            table.append_row([cif.quote(row[tag]) if tag in row else _ABSENT for tag in tags])
