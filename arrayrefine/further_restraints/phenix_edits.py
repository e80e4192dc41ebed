"""Restraints in the scope `geometry_restraints.edits` of phenix.refine, as its users and ReadySet write them.

Blocks bond, angle, dihedral and planarity are read, with the selections of their atoms, `action`, ideal and `sigma`,
`periodicity`, and `top_out` of bonds; and variables, `name = words` that are meant by `$name` further down.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from arrayrefine.atoms import Atoms
from arrayrefine.errors import InputError
from arrayrefine.further_restraints.translated import NumberedRow, Read, bond_or_distance, by_conformer
from arrayrefine.selection import select
from arrayrefine.wording import counted

_SCOPE = re.compile(r"\s*(\w+\.)*(geometry_restraints|refinement|pdb_interpretation|edits)\b[.\w]*\s*[{=]")
_EDITS = "edits"
_KINDS = {"bond": "bond", "angle": "angle", "dihedral": "torsion", "planarity": "plane"}
_IDEALS = {"bond": "distance_ideal", "angle": "angle_ideal", "dihedral": "angle_ideal"}
_COUNTS = {"bond": 2, "angle": 3, "dihedral": 4}
_EMPTY = ("", "none", "auto")


class _Block:
    """A scope in braces: its name, the line that it begins in, and what it assigns."""

    def __init__(self, name: str, line: int) -> None:
        self.name, self.line = name, line
        self.values: dict[str, str] = {}


def is_phenix(lines: Sequence[str]) -> bool:
    """Whether any line begins a scope of phenix.refine that may have restraints."""
    return any(_SCOPE.match(line) for line in lines)


def read_edits(lines: Sequence[str], atoms: Atoms, where: str) -> Read:
    """Restraints of a file of parameters of phenix.refine.

    Parameters
    ----------
    lines : sequence of str
        All of the file.
    atoms : Atoms
    where : str
        What the file is called in messages.

    Raises
    ------
    InputError
        Braces do not match, or a block makes no sense, or selects no atom or several where one is expected.
    """
    rows: list[NumberedRow] = []
    left_out = Counter[str]()
    for path, block, variables in _blocks(lines, where):
        if _EDITS not in path:
            if block.values and "geometry_restraints" not in path:
                left_out["scope of other parameters"] += 1
        elif block.name in _KINDS:
            values = {name: _meant(value, variables) for name, value in block.values.items()}
            here = f"{where}, line {block.line}"
            rows += [(block.line, row) for row in _restraints(block.name, values, atoms, left_out, here)]
        elif block.name != _EDITS:
            left_out[f"block {block.name}"] += 1
    return Read(rows, left_out)


def _blocks(lines: Sequence[str], where: str) -> Iterator[tuple[tuple[str, ...], _Block, dict[str, str]]]:
    """Scopes as they end: names of those around them and their own, what they assign, and the variables so far."""
    open_blocks: list[_Block] = []
    variables: dict[str, str] = {}
    for number, text in _pieces(lines):
        if text.endswith("{"):
            open_blocks.append(_Block(text[:-1].strip(), number))
        elif text == "}":
            if not open_blocks:
                raise InputError(f"{where}, line {number}: found '}}' and no '{{' before it; expected one for each")
            path = tuple(name for block in open_blocks for name in block.name.split("."))
            block = open_blocks.pop()
            block.name = block.name.rpartition(".")[2]
            yield path, block, variables
        elif "=" in text:
            name, _, value = text.partition("=")
            value = value.strip().strip("\"'").strip()
            if open_blocks:
                open_blocks[-1].values[name.strip()] = value
            variables[name.strip()] = value
        else:
            raise InputError(
                f"{where}, line {number}: found '{text[:40]}'; expected 'name = value', or a scope in braces"
            )
    if open_blocks:
        block = open_blocks[-1]
        raise InputError(f"{where}, line {block.line}: '{block.name} {{' has no end; expected '}}' after it")


def _pieces(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Assignments, beginnings of scopes and braces that end them, each with the number of its line."""
    begun = ""
    for number, line in enumerate(lines, start=1):
        text = (begun + re.sub(r"(^|\s)#.*", "", line)).strip()
        begun = ""
        if text.endswith("\\"):
            begun = text[:-1].rstrip() + " "
            continue
        for piece in re.split(r"(?<=\{)|(?=\})|(?<=\})", text):
            if piece.strip():
                yield number, piece.strip()


def _meant(value: str, variables: dict[str, str]) -> str:
    """A value with what variables in it stand for."""
    return re.sub(r"\$\(?(\w+)\)?", lambda found: variables.get(found[1], found[0]), value)


def _restraints(
    name: str, values: dict[str, str], atoms: Atoms, left_out: Counter[str], where: str
) -> Iterator[dict[str, str]]:
    """One block, as a row for each conformer that its atoms have; or none, and why."""
    selections = [values[key] for key in sorted(values) if key.startswith("atom_selection")]
    if all(text.lower() in _EMPTY for text in selections):
        return  # a template
    action = re.search(r"\*(\w+)", values.get("action", "*add"))
    if action is not None and action[1] == "delete":
        left_out[f"{name} to delete"] += 1
        return
    if values.get("symmetry_operation", "").lower() not in _EMPTY:
        left_out[f"{name} to a symmetry mate"] += 1
        return
    if values.get("slack", "").lower() not in (*_EMPTY, "0", "0.0"):
        left_out["slack of a bond"] += 1
    wanted = _COUNTS.get(name)
    if wanted is not None and len(selections) != wanted:
        raise InputError(f"{where}: found {counted(len(selections), 'selection')}; expected {wanted} of each {name}")
    found = [_selected(text, atoms, where) for text in selections]
    if name == "planarity":
        found = _by_place([i for rows in found for i in rows], atoms)
    else:
        for text, rows in zip(selections, found):
            _require_one(text, rows, atoms, where)
    cells = {"kind": _KINDS[name], "sigma": values.get("sigma", ""), "period": _period(values)}
    if name in _IDEALS:
        cells["ideal"] = values.get(_IDEALS[name], "")
    if name == "bond":
        try:
            length = float(cells["ideal"])
        except ValueError:
            raise InputError(f"{where}: distance_ideal is '{cells['ideal']}'; expected a number") from None
        robust = values.get("top_out", "").lower() == "true"
        cells["kind"] = "robust distance" if robust else bond_or_distance(atoms, [rows[0] for rows in found], length)
    who = atoms.identity
    for chosen in by_conformer(found, who.altloc):
        yield cells | {f"atom{k}": who.label(i) for k, i in enumerate(chosen, start=1)}


def _period(values: dict[str, str]) -> str:
    period = values.get("periodicity", "")
    return "" if period.lower() in _EMPTY else period


def _selected(text: str, atoms: Atoms, where: str) -> list[int]:
    try:
        found = [int(i) for i in np.flatnonzero(select(atoms, text))]
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    if not found:
        raise InputError(f"{where}: '{text}' selects no atom of the model; expected one")
    return found


def _by_place(rows: list[int], atoms: Atoms) -> list[list[int]]:
    """Conformers of one atom together."""
    who = atoms.identity
    found: dict[tuple[str, ...], list[int]] = {}
    for i in rows:
        number = f"{who.sequence_number[i]}{who.insertion_code[i]}"
        found.setdefault((str(who.chain[i]), number, str(who.atom_name[i])), []).append(i)
    return [*found.values()]


def _require_one(text: str, rows: list[int], atoms: Atoms, where: str) -> None:
    """Refuse a selection of several atoms, unless they are conformers of one."""
    who = atoms.identity
    if len(_by_place(rows, atoms)) > 1:
        labels = ", ".join(who.label(i) for i in rows[:3])
        raise InputError(
            f"{where}: '{text}' selects {len(rows)} atoms of the model ({labels}{', ...' if len(rows) > 3 else ''}); "
            "expected one, or its conformers"
        )
