"""Restraints in the scope `geometry_restraints.edits` of phenix.refine, as its users and ReadySet write them.

Blocks bond, angle, dihedral and planarity are read, with the selections of their atoms, `action`, ideal and `sigma`,
`periodicity`, and `slack`, `symmetry_operation` and `top_out` of bonds; and variables, `name = words` that are meant by
`$name` further down.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from arrayrefine.atoms import Atoms
from arrayrefine.errors import InputError
from arrayrefine.further_restraints.phil_scopes import blocks, meant
from arrayrefine.further_restraints.translated import NumberedRow, Read, bond_or_distance, by_conformer
from arrayrefine.selection import select
from arrayrefine.wording import counted

_SCOPE = re.compile(
    r"\s*((\w+\.)*(geometry_restraints|refinement|pdb_interpretation|edits)\b[.\w]*\s*([{=]|$)"
    r"|(bond|angle|dihedral|planarity|parallelity)\s*\{)"
)
_EDITS = "edits"
_KINDS = {"bond": "bond", "angle": "angle", "dihedral": "torsion", "planarity": "plane"}
_OTHER_KINDS = ("parallelity", "chirality", "scale_restraints")
_IDEALS = {"bond": "distance_ideal", "angle": "angle_ideal", "dihedral": "angle_ideal"}
_COUNTS = {"bond": 2, "angle": 3, "dihedral": 4}
_NAMES = {
    "bond": ("distance_ideal", "sigma", "slack", "symmetry_operation", "limit", "top_out"),
    "angle": ("angle_ideal", "sigma"),
    "dihedral": ("angle_ideal", "sigma", "periodicity", "alt_angle_ideals"),
    "planarity": ("sigma",),
}
"""Beside `action` and selections."""
_ACTIONS = ("add", "change", "delete")
_EMPTY = ("", "none", "auto")
_TRUE = ("true", "yes", "on", "1")
_NAMES_CONFORMER = re.compile(r"(?i)\balt(loc|id)\b|:\w$")


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
    for path, block, variables in blocks(lines, where):
        here = f"{where}, line {block.line}"
        within = _EDITS in path
        if block.name in (*_KINDS, *_OTHER_KINDS) and (not within or path[-2] != _EDITS) and _selections(block.values):
            raise InputError(
                f"{here}: found '{block.name}' in '{'.'.join(path[:-1]) or 'no scope'}'; expected it in braces of "
                "'geometry_restraints.edits'"
            )
        if within and block.name in _KINDS:
            values = {name: meant(value, variables) for name, value in block.values.items()}
            rows += [(block.line, row) for row in _restraints(block.name, values, atoms, left_out, here)]
        elif within and block.name != _EDITS:
            left_out[f"block {block.name}"] += 1
        elif block.values and not within:
            left_out["geometry_restraints.remove" if path[-1] == "remove" else "scope of other parameters"] += 1
    return Read(rows, left_out)


def _selections(values: dict[str, str]) -> list[str]:
    """Selections of a block, in their order."""
    return [values[key] for key in sorted(values) if key.startswith("atom_selection")]


def _restraints(
    name: str, values: dict[str, str], atoms: Atoms, left_out: Counter[str], where: str
) -> Iterator[dict[str, str]]:
    """One block, as a row for each conformer that its atoms have; or none, and why."""
    selections = _selections(values)
    if all(text.lower() in _EMPTY for text in selections):  # a template
        said = [key for key in _NAMES[name] if "ideal" in key and _given(values, key)]
        if said:
            raise InputError(f"{where}: a {name} with {said[0]} and without atoms; expected selections of them")
        return
    action = _action(values, where)
    if action == "delete":
        left_out[f"{name} to delete"] += 1
        return
    wanted = _COUNTS.get(name)
    if wanted is not None and len(selections) != wanted:
        raise InputError(f"{where}: found {counted(len(selections), 'selection')}; expected {wanted} of each {name}")
    found = [_selected(text, atoms, where) for text in selections]
    if name == "planarity":
        found = _by_place([i for rows in found for i in rows], atoms)
    else:
        for text, rows in zip(selections, found):
            _require_one(text, rows, atoms, where)
    _number(values, "sigma", where)
    cells = {"kind": _KINDS[name], "sigma": values["sigma"], "period": _given(values, "periodicity")}
    if name in _IDEALS:
        cells["ideal"] = values.get(_IDEALS[name], "")
    if name == "bond":
        length = _number(values, "distance_ideal", where)
        robust = values.get("top_out", "").lower() in _TRUE
        cells["kind"] = "robust distance" if robust else bond_or_distance(atoms, [rows[0] for rows in found], length)
        if robust and _given(values, "limit") and _number(values, "limit", where) >= 0.0:
            left_out["limit of a bond"] += 1
        cells |= {"symmetry": _given(values, "symmetry_operation"), "slack": _given(values, "slack")}
    if _given(values, "alt_angle_ideals"):
        left_out["alt_angle_ideals of a dihedral"] += 1
    who = atoms.identity
    given = [k for k, text in enumerate(selections) if _NAMES_CONFORMER.search(text)] if name in _COUNTS else []
    together = list(by_conformer(found, who.altloc, given))
    if not together:
        left_out[f"{name} of conformers that are not there together"] += 1
    for chosen in together:
        yield cells | {f"atom{k}": who.label(i) for k, i in enumerate(chosen, start=1)}
    unknown = [key for key in values if key not in (*_NAMES[name], "action") and not key.startswith("atom_selection")]
    if unknown:
        names = ", ".join(("action", *_NAMES[name]))
        raise InputError(f"{where}: found '{unknown[0]}'; expected one of {names} in a {name}")


def _action(values: dict[str, str], where: str) -> str:
    """What is to be done: the word with a star, or the only one."""
    text = values.get("action", "*add").lower()
    words = text.split()
    chosen = [word[1:] for word in words if word.startswith("*")] or (words if len(words) == 1 else [])
    if len(chosen) != 1 or chosen[0] not in _ACTIONS:
        raise InputError(f"{where}: action is '{text}'; expected one of {', '.join(_ACTIONS)}, with a star before it")
    return chosen[0]


def _number(values: dict[str, str], name: str, where: str) -> float:
    try:
        return float(values.get(name, ""))
    except ValueError:
        raise InputError(f"{where}: {name} is '{values.get(name, '')}'; expected a number") from None


def _given(values: dict[str, str], name: str) -> str:
    """A value, blank where there is none."""
    return "" if values.get(name, "").lower() in _EMPTY else values[name]


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
