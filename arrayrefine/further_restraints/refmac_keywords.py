"""Restraints in keywords of REFMAC5, as ProSMART, LIBG, Coot, MetalCoord and giant write them.

The keywords are those that the manuals of REFMAC5 and Servalcat have: EXTERNAL DISTANCE, ANGLE, TORSION, CHIRAL and
PLANE, and what they set for the lines after them: WEIGHT SCALE, SGMN and SGMX, TYPEALL, ALPHALL, DMIN, DMAX, UNDEFINED
and HYDROGEN. Of a keyword four letters count. A restraint without conformers is one for each that its atoms have.

Type 2, the default, is a distance that lets go of what does not fit, unless its alpha says least squares. Types 0 and 1
are a bond where they are as short as one, and else a distance by least squares.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from arrayrefine.atoms import Atoms
from arrayrefine.errors import InputError
from arrayrefine.further_restraints.atom_names import Finder
from arrayrefine.further_restraints.translated import NumberedRow, Read, bond_or_distance, by_conformer
from arrayrefine.wording import counted

_KEYWORD = re.compile(r"\s*exte", re.IGNORECASE)
_GOES_ON = re.compile(r"\s*(firs|next|seco|thir|four|valu|sigm|type|alph|symm)", re.IGNORECASE)
"""What a line begins with that goes on with the one before."""
_KINDS = {"dist": "distance", "angl": "angle", "tors": "torsion", "chir": "chirality", "plan": "plane"}
_COUNTS = {"dist": 2, "angl": 3, "tors": 4, "chir": 4}
_NEW_ATOM = ("firs", "next", "seco", "thir", "four")
_OF_ATOM = {
    "chai": "chain", "resi": "residue", "ins": "code", "inse": "code", "insc": "code", "atom": "name", "name": "name",
    "alt": "altloc", "alte": "altloc", "altc": "altloc", "altl": "altloc", "segm": "segment",
}  # fmt: skip
_MAY_BE_BLANK = ("code", "altloc")
_OF_RESTRAINT = {
    "valu": "value", "sigm": "sigma", "type": "type", "alph": "alpha", "symm": "symmetry", "peri": "period",
}  # fmt: skip
_SETS = {"dmin": "nearest", "dmax": "furthest", "type": "type", "alph": "alpha"}
_HYDROGEN_NAME = re.compile(r"\d?[HD]")
_FURTHER = 2
"""The type of what is no restraint like those of the dictionary."""
_LEAST_SQUARES = 2.0
"""Alpha of Barron's loss (CVPR 2019, 4331)."""


class _Set:
    """What keywords set for the lines after them."""

    def __init__(self) -> None:
        self.scale = dict.fromkeys(_KINDS, 1.0)
        self.lowest, self.highest = 0.0, float("inf")
        self.nearest, self.furthest = -float("inf"), float("inf")
        self.type, self.alpha = float(_FURTHER), 1.0
        self.skips_unknown, self.uses_hydrogens, self.symmetry = False, False, False


def is_refmac(lines: Sequence[str]) -> bool:
    """Whether any line is an external restraint in the keywords of REFMAC5."""
    return any(_KEYWORD.match(line) for line in lines)


def read_keywords(lines: Sequence[str], atoms: Atoms, where: str) -> Read:
    """Restraints of a file of keywords.

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
        A line makes no sense, or names an atom that the model does not have where EXTERNAL UNDEFINED IGNORE is not
        said before it.
    """
    find, state, left_out = Finder(atoms), _Set(), Counter[str]()
    rows: list[NumberedRow] = []
    for number, words in _statements(lines):
        here = f"{where}, line {number}"
        keyword = words[0][:4].lower()
        what = words[1][:4].lower() if len(words) > 1 else ""
        if keyword != "exte":
            left_out[f"keyword {words[0]}"] += 1
        elif what in _KINDS:
            rows += [(number, row) for row in _restraints(what, words[2:], find, state, left_out, here)]
        elif not _is_set(what, words[2:], state, here):
            left_out[f"external {words[1].lower()}" if what else "external"] += 1
    return Read(_without_repeats(rows, left_out), left_out)


def _statements(lines: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Numbers of lines, from 1, and words of each statement, which may go on over several lines."""
    begun: list[str] = []
    first, open_end = 0, False
    for number, line in enumerate(lines, start=1):
        text = re.split(r"(?:^|\s)[#!]", line, maxsplit=1)[0].strip()
        if not text:
            continue
        if begun and not open_end and not _GOES_ON.match(text):
            yield first, begun
            begun = []
        first = first if begun else number
        open_end = bool(re.search(r"(?:^|\s)[-&\\]$", text))
        begun += re.sub(r"[{}]", r" \g<0> ", text[:-1] if open_end else text).split()
    if begun:
        yield first, begun


def _is_set(what: str, words: list[str], state: _Set, where: str) -> bool:
    """Whether it says something about the lines after it that is heeded here; `state` has it then."""
    value = words[0] if words else ""
    if what in _SETS:
        setattr(state, _SETS[what], _number(value, what, where))
    elif what == "unde":
        state.skips_unknown = value[:4].lower() == "igno"
    elif what == "hydr":
        state.uses_hydrogens = value[:3].lower() == "use"
    elif what == "syma":
        state.symmetry = value[:1].lower() != "n"
    elif what == "weig":
        return _is_weight(words, state, where)
    else:
        return False
    return True


def _is_weight(words: list[str], state: _Set, where: str) -> bool:
    """Of EXTERNAL WEIGHT, what scales sigmas (they are divided by it) and what keeps them between two values."""
    heeded = False
    kind: str | None = None
    for word, after in zip(words, [*words[1:], ""]):
        name = word[:4].lower()
        if name == "scal":
            kind = "dist"
        elif name in state.scale:
            kind = name
        elif name in ("sgmn", "sgmx"):
            setattr(state, "lowest" if name == "sgmn" else "highest", _number(after, name, where))
            kind, heeded = None, True
        elif kind is not None:
            factor = _number(word, f"scale of {kind}", where)
            if factor <= 0.0:
                raise InputError(f"{where}: the scale of {kind} is {factor:g}; expected a number above 0")
            state.scale[kind] = factor
            kind, heeded = None, True
    return heeded


def _restraints(
    what: str, words: list[str], find: Finder, state: _Set, left_out: Counter[str], where: str
) -> Iterator[dict[str, str]]:
    """One restraint, as a row for each conformer that its atoms have; or none, and why."""
    specs, said = _parsed(words, where)
    wanted = _COUNTS.get(what)
    if wanted is not None and len(specs) != wanted:
        raise InputError(f"{where}: {counted(len(specs), 'atom')}; external {_KINDS[what]} has {wanted}")
    found = [find.named(spec["chain"], *_residue(spec, where), spec["name"]) for spec in specs]
    of_hydrogens = any(_is_hydrogen(find.atoms, rows, spec["name"]) for spec, rows in zip(specs, found))
    if of_hydrogens and not state.uses_hydrogens:
        left_out["restraint of hydrogens"] += 1
        return
    who = find.atoms.identity
    for k, spec in enumerate(specs):
        if spec.get("altloc", ".") != ".":
            found[k] = [i for i in found[k] if who.altloc[i] == spec["altloc"]]
        if not found[k]:
            if state.skips_unknown:
                left_out["restraint of atoms that are not in the model"] += 1
                return
            label = f"{spec['chain']}/{spec['residue']}{_blank(spec.get('code', ''))}/{spec['name']}"
            conformer = f", conformer {spec['altloc']}" if spec.get("altloc", ".") != "." else ""
            raise InputError(
                f"{where}: the model has no atom {label}{conformer}; expected one of it: correct the line, or begin "
                "the file with 'external undefined ignore', which leaves such lines out"
            )
    if said.get("symmetry", "n")[:1].lower() == "y" or ("symmetry" not in said and state.symmetry):
        left_out["look for symmetry mates"] += 1
    sigma = min(max(_number(said.get("sigma", ""), "sigma", where), state.lowest), state.highest) / state.scale[what]
    cells = {"sigma": repr(sigma), "period": said.get("period", "")}
    value = 0.0
    if what != "plan":
        value = _number(said.get("value", ""), "value", where)
        cells["ideal"] = repr(value)
    if what == "dist" and not state.nearest <= value <= state.furthest:
        left_out["distance beyond dmin and dmax"] += 1
        return
    cells["kind"] = _KINDS[what]
    if what == "dist":
        kind_number = _number(said["type"], "type", where) if "type" in said else state.type
        alpha = _number(said["alpha"], "alpha", where) if "alpha" in said else state.alpha
        if kind_number >= _FURTHER:
            cells["kind"] = "distance" if alpha >= _LEAST_SQUARES else "robust distance"
        else:
            cells["kind"] = bond_or_distance(find.atoms, [rows[0] for rows in found], value)
    for chosen in by_conformer(found, who.altloc):
        yield cells | {f"atom{k}": who.label(i) for k, i in enumerate(chosen, start=1)}


def _parsed(words: list[str], where: str) -> tuple[list[dict[str, str]], dict[str, str]]:
    """Atoms, in their order, and what else is said of a restraint."""
    specs: list[dict[str, str]] = []
    said: dict[str, str] = {}
    k = 0
    while k < len(words):
        key = words[k][:4].lower()
        k += 1
        if key in _NEW_ATOM:
            specs.append({})
            continue
        if _OF_ATOM.get(key) in _MAY_BE_BLANK and (k == len(words) or len(words[k]) > 1):
            continue  # such a code has one letter: none was written
        if key not in _OF_ATOM | _OF_RESTRAINT or k == len(words):
            raise InputError(
                f"{where}: found '{words[k - 1]}'; expected atoms (first, second, ..., each with chain, residue and "
                "atom, and insertion and altcode where there are some), then value, sigma and type"
            )
        value = words[k]
        k += 1
        if key in _OF_RESTRAINT:
            said[_OF_RESTRAINT[key]] = value
            continue
        if not specs:
            raise InputError(f"{where}: found '{words[k - 2]}' before any atom; expected 'first' before it")
        if value == "{":
            end = words.index("}", k) if "}" in words[k:] else len(words)
            names, k = words[k:end], end + 1
            specs[-1:] = [specs[-1] | {_OF_ATOM[key]: name} for name in names]
        else:
            specs[-1][_OF_ATOM[key]] = value.strip('"')
    _completed(specs, where)
    return specs, said


def _completed(specs: list[dict[str, str]], where: str) -> None:
    """Refuse atoms of which anything is not said."""
    for number, spec in enumerate(specs, start=1):
        lacking = [name for name in ("chain", "residue", "name") if name not in spec]
        if lacking:
            names = " and no ".join("atom name" if name == "name" else name for name in lacking)
            raise InputError(f"{where}: atom {number} has no {names}; expected 'chain A resi 57 ins . atom CA'")


def _residue(spec: dict[str, str], where: str) -> tuple[int, str]:
    found = re.fullmatch(r"(-?\d+)([A-Za-z]?)", spec["residue"])
    if found is None:
        raise InputError(f"{where}: the residue is '{spec['residue']}'; expected a number")
    return int(found[1]), _blank(spec.get("code", "")) or found[2]


def _blank(code: str) -> str:
    return "" if code == "." else code


def _is_hydrogen(atoms: Atoms, rows: list[int], name: str) -> bool:
    """Whether a name is that of a hydrogen, which the model may not have."""
    return bool(atoms.element[rows[0]] in ("H", "D")) if rows else _HYDROGEN_NAME.match(name) is not None


def _without_repeats(rows: list[NumberedRow], left_out: Counter[str]) -> list[NumberedRow]:
    """One restraint for the same atoms, the first; a distance of type 2 gives way to a firmer one."""
    chosen: dict[tuple[str, ...], NumberedRow] = {}
    for number, row in rows:
        atoms = [label for name, label in row.items() if name.startswith("atom")]
        kind = "distance" if row["kind"] in ("bond", "robust distance") else row["kind"]
        key = (kind, *min(atoms, atoms[::-1]))
        if key in chosen:
            left_out["restraint of the same atoms as another"] += 1
            if not chosen[key][1]["kind"].startswith("robust") or row["kind"].startswith("robust"):
                continue
        chosen[key] = (number, row)
    return list(chosen.values())


def _number(text: str, name: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{where}: {name} is '{text}'; expected a number") from None
