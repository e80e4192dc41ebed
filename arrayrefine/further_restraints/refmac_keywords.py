"""Restraints in keywords of REFMAC5, as ProSMART, LIBG, Coot, MetalCoord and giant write them.

The keywords are those that the manuals of REFMAC5 and Servalcat have: EXTERNAL DISTANCE, INTERVAL, ANGLE, TORSION,
CHIRAL, PLANE and HARMONIC, and what they set for the lines after them: WEIGHT SCALE, SGMN and SGMX, TYPEALL, ALPHALL,
DMIN, DMAX, SYMALL, UNDEFINED and HYDROGEN. Of a keyword four letters count. A restraint without conformers is one for
each that its atoms have.

Type 2, the default, is a distance that lets go of what does not fit, unless its alpha says least squares. Types 0 and 1
are a bond where they are as short as one, and else a distance by least squares.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from arrayrefine.atoms import Atoms
from arrayrefine.errors import InputError
from arrayrefine.further_restraints.atom_names import Finder
from arrayrefine.further_restraints.refmac_lines import Atom, number, parsed, span, statements
from arrayrefine.further_restraints.translated import NEAREST, NumberedRow, Read, bond_or_distance, by_conformer
from arrayrefine.wording import counted

_KEYWORD = re.compile(r"\s*exte", re.IGNORECASE)
_KINDS = {
    "dist": "distance", "angl": "angle", "tors": "torsion", "chir": "chirality", "plan": "plane", "inte": "interval",
}  # fmt: skip
_COUNTS = {"dist": 2, "inte": 2, "angl": 3, "tors": 4, "chir": 4}
_OF_RESTRAINT = {
    "valu": "value", "sigm": "sigma", "type": "type", "alph": "alpha", "symm": "symmetry", "peri": "period",
    "prob": "probability",
}  # fmt: skip
_OF_INTERVAL = {"dmin": "dmin", "dmax": "dmax", "smin": "smin", "smax": "smax"}
_OF_POSITION = {
    "sigm": "sigma", "tole": "tolerance", "sigb": "sigb", "sigu": "sigu", "bval": "bvalue", "uval": "uvalue",
}  # fmt: skip
_INTERVAL_SIGMA = 0.05
"""Å, where none is said (Servalcat)."""
_FAR = 1000.0
"""Å; beyond all distances: an interval up to there has no upper end."""
_SETS = {"dmin": "nearest", "dmax": "furthest", "type": "type", "typa": "type", "alph": "alpha"}
_ENDS = ("end", "exit", "stop", "quit")
_NO_EFFECT = {"verb": "", "gene": "", "use": "all"}
"""What is said that changes nothing here, and the words after it with which it does not."""
_POSITION_SIGMA = 0.5
"""Å, where none is said (Servalcat)."""
_TYPES = {"o": 0, "f": 2}
"""Letters for types; any other is type 1."""
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
        self.skips_unknown, self.uses_hydrogens, self.symmetry = False, False, ""


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
        A line makes no sense, includes another file, or names an atom that the model does not have where EXTERNAL
        UNDEFINED IGNORE is not said before it.
    """
    find, state, left_out = Finder(atoms), _Set(), Counter[str]()
    rows: list[NumberedRow] = []
    ended = False
    for line, words in statements(lines):
        here = f"{where}, line {line}"
        keyword = words[0][:4].lower()
        what = words[1][:4].lower() if len(words) > 1 else ""
        if ended:
            left_out["line after END"] += 1
        elif keyword in _ENDS:
            ended = True
        elif keyword.startswith("@") or (keyword == "exte" and what == "file"):
            raise InputError(
                f"{here}: '{' '.join(words[:3])}' includes another file, which is not looked for; give that as one "
                "more of --restraint-tables, and delete this line"
            )
        elif keyword != "exte":
            left_out[f"keyword {words[0]}"] += 1
        elif what in _KINDS:
            rows += [(line, row) for row in _restraints(what, words[2:], find, state, left_out, here)]
        elif what == "harm":
            rows += [(line, row) for row in _positions(words[2:], find, state, left_out, here)]
        else:
            left_out.update(f"external {unused}".rstrip() for unused in _unused(what, words[1:], state, here))
    return Read(_without_repeats(rows, left_out), left_out)


def _unused(what: str, words: list[str], state: _Set, where: str) -> list[str]:
    """What of a line that says something about those after it is not heeded here; `state` has the rest then."""
    value = words[1].lower() if len(words) > 1 else ""
    if what in _SETS:
        for name, after in zip(words[::2], [*words[1::2], ""]):
            short = name[:4].lower()
            if short not in _SETS:
                raise InputError(f"{where}: found '{name}'; expected dmin, dmax, typeall or alphall and a number")
            setattr(state, _SETS[short], (_type if _SETS[short] == "type" else number)(after, short, where))
    elif what in ("unde", "miss"):
        state.skips_unknown = value.startswith("igno")
    elif what == "hydr":
        state.uses_hydrogens = not value.startswith("igno")
    elif what == "syma":
        other = len(words) > 2 and words[2][:4].lower() == "excl"
        state.symmetry = "" if value.startswith("n") else NEAREST[other]
    elif what == "weig":
        return _weight(words[1:], state, where)
    elif _NO_EFFECT.get(what) not in ("", value):
        return [words[0].lower() if words else ""]
    return []


def _weight(words: list[str], state: _Set, where: str) -> list[str]:
    """Heed of EXTERNAL WEIGHT what scales sigmas, which are divided by it, and what keeps those of distances between
    two values; the rest is returned."""
    kind, others = "", list[str]()
    while words:
        word, *words = words
        name = word[:4].lower()
        if name == "scal":
            kind = "dist"
        elif name in state.scale:
            kind = name
        elif name in ("sgmn", "sgmx"):
            setattr(state, "lowest" if name == "sgmn" else "highest", number("".join(words[:1]), name, where))
            kind, words = "", words[1:]
        elif kind:
            factor = number(word, f"scale of {kind}", where)
            if factor <= 0.0:
                raise InputError(f"{where}: the scale of {kind} is {factor:g}; expected a number above 0")
            state.scale[kind], kind = factor, ""
        elif re.match(r"[A-Za-z]", word):
            others.append(f"weight {word.lower()}")
    return others


def _restraints(
    what: str, words: list[str], find: Finder, state: _Set, left_out: Counter[str], where: str
) -> Iterator[dict[str, str]]:
    """One restraint, as a row for each conformer that its atoms have; or none, and why."""
    named, said = parsed(words, _OF_RESTRAINT | (_OF_INTERVAL if what == "inte" else {}), where)
    wanted = _COUNTS.get(what)
    if wanted is not None and len(named) != wanted:
        raise InputError(f"{where}: {counted(len(named), 'atom')}; external {_KINDS[what]} has {wanted}")
    found = _found(what, named, find, state, left_out, where)
    if not found:
        return
    kinds = _cells(what, said, find.atoms, [rows[0] for rows in found], state, where)
    if not kinds:
        left_out["distance beyond dmin and dmax"] += 1
        return
    symmetry = state.symmetry
    if "symmetry" in said:
        symmetry = (state.symmetry or NEAREST[False]) if said["symmetry"][:1].lower() == "y" else ""
    if symmetry and what not in ("dist", "inte"):
        left_out["look for symmetry mates"] += 1
        symmetry = ""
    if "probability" in said:
        left_out["prob of a restraint"] += 1
    given = [k for k, atom in enumerate(named) if atom.altloc]
    together = list(by_conformer(found, find.atoms.identity.altloc, given))
    if not together:
        left_out["restraint of conformers that are not there together"] += 1
    for chosen in together:
        labels = {f"atom{k}": find.atoms.identity.label(i) for k, i in enumerate(chosen, start=1)}
        for cells in kinds:
            yield cells | {"period": said.get("period", ""), "symmetry": symmetry} | labels


def _positions(
    words: list[str], find: Finder, state: _Set, left_out: Counter[str], where: str
) -> Iterator[dict[str, str]]:
    """Atoms that are held to where they are: that of ATIN, or those of RESIDUES FROM TO, all or of one name."""
    atoms, who = find.atoms, find.atoms.identity
    if words and words[0][:4].lower() == "resi":
        chain, first, last, words = span(words[1:], where)
        place = who.sequence_number
        chosen = (who.chain == chain) & ~atoms.is_hydrogen
        chosen &= (place >= (place if first is None else first)) & (place <= (place if last is None else last))
        if words and words[0][:4].lower() == "atom":
            name, words = "".join(words[1:2]), words[2:]
            chosen &= (who.atom_name == name) | (name == "*")
        rows = np.flatnonzero(chosen).tolist()
        _, said = parsed(words, _OF_POSITION, where)
    else:
        named, said = parsed(words, _OF_POSITION, where)
        found = _found("harm", named, find, state, left_out, where)
        if named and not found:
            return
        rows = [i for here in found for i in here]
    if not rows:
        raise InputError(
            f"{where}: found no atom of the model to hold; expected 'residues from 10 A to 14 A', or 'atin chain A "
            "resi 10 atom CA'"
        )
    left_out.update(f"{name} of positions" for name in said if name != "sigma")
    sigma = number(said.get("sigma", repr(_POSITION_SIGMA)), "sigma", where)
    for i in rows:
        yield {"kind": "position", "atom1": who.label(i), "sigma": repr(sigma), "symmetry": ""}


def _found(
    what: str, named: list[Atom], find: Finder, state: _Set, left_out: Counter[str], where: str
) -> list[list[int]]:
    """Rows of each atom that is named, a row for each of its conformers; none where the restraint is left out."""
    atoms, rows = find.atoms, list[list[int]]()
    for atom in named:
        here = find.named(atom.chain, atom.residue, atom.code, atom.name)
        hydrogen = atoms.element[here[0]] in ("H", "D") if here else bool(_HYDROGEN_NAME.match(atom.name))
        if hydrogen and not state.uses_hydrogens:
            if what == "plan":  # the others have their plane without it
                continue
            left_out["restraint of hydrogens"] += 1
            return []
        here = [i for i in here if not atom.altloc or atoms.identity.altloc[i] == atom.altloc]
        if not here:
            if state.skips_unknown:
                left_out["restraint of atoms that are not in the model"] += 1
                return []
            raise InputError(
                f"{where}: the model has no atom {atom}; expected one of it: correct the line, or begin "
                "the file with 'external undefined ignore', which leaves such lines out"
            )
        rows.append(here)
    return rows


def _cells(
    what: str, said: dict[str, str], atoms: Atoms, rows: list[int], state: _Set, where: str
) -> list[dict[str, str]]:
    """What a table has of a restraint but atoms; none for distances that are left out, two for some intervals."""
    if what == "inte":
        return _interval(said, state, where)
    sigma = number(said.get("sigma", ""), "sigma", where)
    if sigma <= 0.0:
        raise InputError(f"{where}: sigma is {sigma:g}; expected a number above 0")
    sigma /= state.scale[what]
    if what == "plan":
        return [{"kind": "plane", "sigma": repr(sigma)}]
    value = number(said.get("value", ""), "value", where)
    if what != "dist":
        return [{"kind": _KINDS[what], "ideal": repr(value), "sigma": repr(sigma)}]
    if not state.nearest <= value <= state.furthest:
        return []
    kind_number = _type(said["type"], "type", where) if "type" in said else state.type
    alpha = number(said["alpha"], "alpha", where) if "alpha" in said else state.alpha
    if kind_number >= _FURTHER:
        kind = "distance" if alpha >= _LEAST_SQUARES else "robust distance"
    else:
        kind = bond_or_distance(atoms, rows, value)
    return [{"kind": kind, "ideal": repr(value), "sigma": repr(min(max(sigma, state.lowest), state.highest))}]


def _interval(said: dict[str, str], state: _Set, where: str) -> list[dict[str, str]]:
    """A distance that is free between two ends, as one with slack; as two where the ends have sigmas of their own."""
    lacking = [name for name in ("dmin", "dmax") if name not in said]
    if lacking:
        raise InputError(f"{where}: an interval without {lacking[0]}; expected both, as in 'dmin 2.5 dmax 3.5'")
    low, high = (number(said[name], name, where) for name in ("dmin", "dmax"))
    if not 0.0 <= low <= high:
        raise InputError(f"{where}: dmin {low:g} and dmax {high:g}; expected 0 or more, and dmax not below dmin")
    sigmas = [number(said[name], name, where) / state.scale["inte"] for name in ("smin", "smax") if name in said]
    below, above = (sigmas or [_INTERVAL_SIGMA]) * 2 if len(sigmas) < 2 else sigmas
    if min(below, above) <= 0.0:
        raise InputError(f"{where}: a sigma of {min(below, above):g}; expected a number above 0")
    return [
        {"kind": "distance", "ideal": repr((a + b) / 2.0), "slack": repr((b - a) / 2.0), "sigma": repr(sigma)}
        for a, b, sigma in ([(low, high, below)] if below == above else [(low, _FAR, below), (0.0, high, above)])
    ]


def _type(text: str, name: str, where: str) -> float:
    """0, 1 or 2, or a letter for one."""
    if re.match(r"[A-Za-z]", text):
        return float(_TYPES.get(text[0].lower(), 1))
    found = number(text, name, where)
    if found not in (0.0, 1.0, 2.0):
        raise InputError(f"{where}: {name} is '{text}'; expected 0, 1 or 2")
    return found


def _without_repeats(rows: list[NumberedRow], left_out: Counter[str]) -> list[NumberedRow]:
    """One restraint for the same atoms, the first; a distance of type 2 gives way to a firmer one."""
    chosen: dict[tuple[str, ...], NumberedRow] = {}
    for line, row in rows:
        atoms = [label for name, label in row.items() if name.startswith("atom")]
        kind = "distance" if row["kind"] in ("bond", "robust distance") else row["kind"]
        interval = (row["ideal"], row["slack"]) if "slack" in row else ()
        key = (kind, *min(atoms, atoms[::-1]), row["symmetry"], *interval)
        if key in chosen:
            left_out["restraint of the same atoms as another"] += 1
            if not chosen[key][1]["kind"].startswith("robust") or row["kind"].startswith("robust"):
                continue
        chosen[key] = (line, row)
    return list(chosen.values())
