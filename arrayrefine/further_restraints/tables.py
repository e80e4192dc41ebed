"""Restraints from a table: atoms by name, kind, ideal and sigma; CSV, TSV, pandas, rows of a list; or by keywords."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.errors import InputError
from arrayrefine.further_restraints.atom_names import Finder
from arrayrefine.further_restraints.phenix_edits import is_phenix, read_edits
from arrayrefine.further_restraints.refmac_keywords import is_refmac, read_keywords
from arrayrefine.further_restraints.table_mates import (
    IDENTITY,
    ROBUST,
    TABLE,
    Operator,
    distances_of,
    joined,
    operator_of,
    with_mates,
    with_places,
    without_same,
)
from arrayrefine.io.in_memory import is_frame, is_path, label_of
from arrayrefine.restraints import Angles, Bonds, Chiralities, Planes, Restraints, Torsions
from arrayrefine.wording import Caution, counted

Float = NDArray[np.float64]
Int = NDArray[np.int64]
TableSource: TypeAlias = Any
"""Path of a CSV or TSV file, or of restraints as REFMAC5 or phenix.refine has them; a pandas.DataFrame, or a list of
mappings."""

COUNTS = {
    "bond": 2, "angle": 3, "torsion": 4, "chirality": 4, "distance": 2, "robust distance": 2, "plane": 0, "position": 1,
}  # fmt: skip
"""Atoms of each kind of restraint; a plane has four or more."""
_LEAST_IN_PLANE = 4
_COLUMNS = "kind, atom1, atom2, ..., ideal, sigma and, for torsions, period"
_MEANT = re.compile(r"kind|atom\d+|ideal|sigma|period|slack|symmetry|")
_LENGTHS = ("bond", "distance", "robust distance")


@dataclasses.dataclass(frozen=True)
class Row:
    """One restraint of a table.

    Attributes
    ----------
    kind : str
        A key of `COUNTS`.
    atoms : tuple of int
    ideal, sigma : float
        Å (bond, distance, plane, position), degrees (angle, torsion), Å³ (chirality); neither a plane nor a position
        has an ideal.
    period : int
        Of a torsion.
    slack : float
        Of a bond or a distance, Å: what is within it of the ideal is as good.
    operator : Operator
        What makes a symmetry mate of the second atom of a bond or a distance.
    """

    kind: str
    atoms: tuple[int, ...]
    ideal: float
    sigma: float
    period: int = 1
    slack: float = 0.0
    operator: Operator = IDENTITY

    @property
    def is_simple(self) -> bool:
        """Whether it is as the dictionary might have it, within the model and without slack."""
        return self.slack == 0.0 and self.operator == IDENTITY


def with_tables(
    restraints: Restraints, atoms: Atoms, sources: Sequence[TableSource], loss: float = -2.0,
    crystal: Crystal | None = None,
) -> Restraints:  # fmt: skip
    """Add the restraints of tables; they win over those of the dictionary and other sources between the same atoms.

    Kinds "bond", "angle", "torsion", "chirality" and "plane" are restraints like the dictionary's, and count in their
    RMSZ; a bond also ends contacts between its atoms and their neighbours. "distance" and "robust distance" are a class
    of their own, between any atoms; the latter lets go of what does not fit. "position" holds an atom to where it is.

    Parameters
    ----------
    restraints : Restraints
    atoms : Atoms
    sources : sequence of paths, pandas.DataFrame or lists of mappings
        Each with the columns kind, atom1, atom2 and so on, ideal, sigma, and for torsions period (1 where it is blank).
        Atoms are named as in the log (``A/HIS 57B/CA.A``), in gemmi's syntax (``A/57/CA``, ``A/57.B/CA:A``), or by any
        selection that names a single atom. A file may have restraints of REFMAC5 or phenix.refine instead, see
        `refmac_keywords` and `phenix_edits`.
    loss : float
        Shape of the robust loss, see `kernels.distances`.
    crystal : Crystal, optional
        Whose symmetry mates rows may name, by an operator in the column symmetry, or "nearest".

    Raises
    ------
    InputError
        A table cannot be read, or a row of it makes no sense; the message names the row.
    """
    for source in sources:
        rows, unused = _read(source, atoms, crystal)
        restraints, others = without_same(restraints, [row for row in rows if row.kind in _LENGTHS], crystal)
        restraints, replaced = _joined(restraints, rows, loss)
        to_mates = [row for row in rows if row.operator != IDENTITY]
        if crystal is not None and to_mates:
            restraints, more = with_mates(restraints, to_mates, loss, crystal)
            replaced += more
        held = [row for row in rows if row.kind == "position"]
        restraints = with_places(restraints, held, atoms.xyz) if held else restraints
        kinds = [row.kind for row in rows]
        counts = ", ".join(counted(kinds.count(kind), kind) for kind in COUNTS if kind in kinds)
        mated = f"; {len(to_mates)} of them to symmetry mates" if to_mates else ""
        said = f"{mated}; {counted(replaced, 'restraint')} of the dictionary replaced" if replaced else mated
        said += f"; {counted(others, 'distance')} of other sources replaced" if others else ""
        said += "".join(f"; {phrase}" for phrase in unused)
        note = f"restraint table {_name(source)}: {counts or 'nothing in it'}{said}"
        kind = Caution if unused or not rows else str
        restraints = dataclasses.replace(restraints, notes=(*restraints.notes, kind(note)))
    return restraints


def as_tables(given: TableSource | Sequence[TableSource]) -> tuple[TableSource, ...]:
    """Several tables, where one alone may have been given."""
    if isinstance(given, Mapping):
        raise InputError("restraint_tables: found one dictionary; expected a list of them, one for each row")
    if not (is_path(given) or is_frame(given) or isinstance(given, Sequence)):
        raise InputError(f"restraint_tables: found a {type(given).__name__}; expected a list of tables")
    alone = is_path(given) or is_frame(given) or (len(given) > 0 and all(isinstance(row, Mapping) for row in given))
    return (given,) if alone else tuple(given)


def _name(source: TableSource) -> str:
    return Path(source).name if is_path(source) else label_of(source)


def read_rows(source: TableSource, atoms: Atoms, crystal: Crystal | None = None) -> list[Row]:
    """The restraints of one table, with atoms as numbers; raises InputError as `with_tables`."""
    return _read(source, atoms, crystal)[0]


def _read(source: TableSource, atoms: Atoms, crystal: Crystal | None) -> tuple[list[Row], list[str]]:
    """The restraints of one table, and phrases about what of it is not used."""
    where = f"restraint table '{label_of(source)}'"
    find = Finder(atoms)
    lines = _lines(source, where) if is_path(source) else []
    read = (
        read_keywords(lines, atoms, where) if is_refmac(lines)
        else read_edits(lines, atoms, where) if is_phenix(lines) else None
    )  # fmt: skip
    if read is not None:
        left_out = ", ".join(f"{number} x {what}" for what, number in read.left_out.items())
        rows = [_row(cells, find, f"{where}, line {number}", crystal) for number, cells in read.rows]
        return rows, [f"not used: {left_out}"] if left_out else []
    records = _records(source, lines, where)
    rows = []
    for number, record in enumerate(records, start=1):
        cells = {str(key).strip().lower(): _text(value) for key, value in record.items() if key is not None}
        rows.append(_row(cells, find, f"{where}, row {number}", crystal))
    names = {str(key).strip() for record in records for key in record if key is not None}
    ignored = sorted(name for name in names if not _MEANT.fullmatch(name.lower()))  # a "perod" that was to be a period
    return rows, [f"columns that are not used: {', '.join(ignored)}"] if ignored else []


def _text(value: object) -> str:
    """A cell as text; blank for None and nan, which pandas has for blanks."""
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value).strip()


def _lines(path: TableSource, where: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{where} cannot be read: {error.strerror}; give the path of a CSV or TSV file") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where} is no text in UTF-8: {error}; save it so, as CSV or TSV with the columns {_COLUMNS}, or with "
            "restraints of REFMAC5 or phenix.refine"
        ) from error


def _records(source: TableSource, lines: Sequence[str], where: str) -> Sequence[Mapping[Any, Any]]:
    """Rows of a table; `lines` are those of its file, where it is one."""
    if is_frame(source):
        return source.to_dict("records")  # type: ignore[no-any-return]
    if not is_path(source):
        if isinstance(source, Sequence) and all(isinstance(row, Mapping) for row in source):
            return source
        raise InputError(f"{where}: expected a path, a pandas.DataFrame, or a list of dictionaries")
    lines = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise InputError(f"{where} is empty; expected CSV or TSV with the columns {_COLUMNS}")
    mark = max("\t;,", key=lines[0].count)
    if "kind" not in (name.strip().strip('"').lower() for name in lines[0].split(mark)):
        raise InputError(
            f"{where}: the first line is '{lines[0].strip()[:60]}'; expected the names of columns ({_COLUMNS}), or "
            "restraints of REFMAC5 ('external'), or of phenix.refine ('geometry_restraints.edits'); a dictionary is "
            "for --restraints"
        )
    return list(csv.DictReader(io.StringIO("\n".join(lines)), delimiter=mark, skipinitialspace=True))


def _row(cells: dict[str, str], find: Finder, where: str, crystal: Crystal | None) -> Row:
    kind = cells.get("kind", "").lower()
    if kind not in COUNTS:
        raise InputError(f"{where}: kind is '{kind}'; expected one of {', '.join(COUNTS)} (columns: {_COLUMNS})")
    named = {key: text for key, text in cells.items() if re.fullmatch(r"atom\d+", key) and text}
    labels = [named[key] for key in sorted(named, key=lambda key: int(key[4:]))]
    wanted = COUNTS[kind]
    if len(labels) != wanted and (wanted or len(labels) < _LEAST_IN_PLANE):
        raise InputError(
            f"{where}: {counted(len(labels), 'atom')} in columns atom1, atom2 and so on; a {kind} has "
            f"{wanted or f'{_LEAST_IN_PLANE} or more'}"
        )
    index = tuple(find(label, where) for label in labels)
    operator = operator_of(cells.get("symmetry", ""), find.atoms.xyz[[*index]], crystal, where)
    if len(set(index)) < len(index) and operator == IDENTITY:
        raise InputError(f"{where}: an atom is named twice ({', '.join(labels)}); expected different ones")
    ideal = 0.0 if kind in ("plane", "position") else _number(cells, "ideal", where)
    sigma, period = _number(cells, "sigma", where), _number(cells, "period", where) if cells.get("period") else 1.0
    if sigma <= 0.0:
        raise InputError(f"{where}: sigma is {sigma:g}; expected a number above 0")
    if period < 1.0 or period != int(period):
        raise InputError(f"{where}: period is {period:g}; expected a whole number, 1 or more")
    if kind == "bond" and ideal <= 0.0:
        raise InputError(f"{where}: the ideal of a {kind} is {ideal:g}; expected a distance above 0, Å")
    if kind in ("distance", "robust distance") and ideal < 0.0:  # 0 holds conformers of one atom together
        raise InputError(f"{where}: the ideal of a {kind} is {ideal:g}; expected a distance of 0 or more, Å")
    slack = _number(cells, "slack", where) if cells.get("slack") else 0.0
    if slack < 0.0:
        raise InputError(f"{where}: slack is {slack:g}; expected 0 or more, Å")
    row = Row(kind, index, ideal, sigma, int(period), slack, operator)
    if kind not in _LENGTHS and not row.is_simple:
        what = "slack" if slack else "a symmetry mate"
        raise InputError(f"{where}: kind {kind} has {what}; expected it blank, or one of {', '.join(_LENGTHS)}")
    return row


def _number(cells: dict[str, str], name: str, where: str) -> float:
    try:
        value = float(cells.get(name, ""))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: {name} is '{cells.get(name, '')}'; expected a number")
    return value


def _joined(restraints: Restraints, rows: list[Row], loss: float) -> tuple[Restraints, int]:
    """The restraints with those of a table, and how many of the former were replaced."""
    r, before = restraints, 0

    def new(kind: str) -> tuple[Int, Float, Float]:
        some = [row for row in rows if row.kind == kind and row.is_simple]
        index = np.array([row.atoms for row in some], dtype=np.int64).reshape(len(some), COUNTS[kind] or 0)
        return index, np.array([row.ideal for row in some]), np.array([row.sigma for row in some])

    def kept(old: Int, added: Int, ordered: bool) -> NDArray[np.bool_]:
        nonlocal before
        if not len(added):
            return np.ones(len(old), dtype=bool)
        known = set(_named(added, ordered))
        keep = np.array([key not in known for key in _named(old, ordered)], dtype=bool)
        before += int((~keep).sum())
        return keep

    def together(old: tuple[Any, ...], keep: NDArray[np.bool_], added: tuple[Any, ...]) -> list[Any]:
        return [np.concatenate([a[keep], b]) for a, b in zip(old, added)]

    bonds, angles, torsions, chirals = (new(kind) for kind in ("bond", "angle", "torsion", "chirality"))
    with_slack = [row for row in rows if row.kind == "bond" and row.slack and row.operator == IDENTITY]
    held = np.array([row.atoms for row in with_slack], dtype=np.int64).reshape(-1, 2)
    ends = np.concatenate([bonds[0], held])
    period = np.array([row.period for row in rows if row.kind == "torsion"], dtype=np.int64)
    b, a, t, c = r.bonds, r.angles, r.torsions, r.chiralities
    planes, same = _planes(r.planes, [row for row in rows if row.kind == "plane"])
    before += same
    made = dataclasses.replace(
        r,
        bonds=Bonds(*together((b.index, b.ideal, b.sigma), kept(b.index, ends, True), bonds)),
        angles=Angles(*together((a.index, a.ideal, a.sigma), kept(a.index, angles[0], True), angles)),
        torsions=Torsions(
            *together((t.index, t.ideal, t.sigma, t.period), kept(t.index, torsions[0], True), (*torsions, period))
        ),
        chiralities=Chiralities(*together((c.index, c.ideal, c.sigma), kept(c.index, chirals[0], False), chirals)),
        planes=planes,
        non_bonded=dataclasses.replace(r.non_bonded, excluded=_excluded(r, ends, angles[0])),
    )
    classes = [*made.distances]
    for kind, name, alpha in (("distance", TABLE, 2.0), ("robust distance", ROBUST, loss)):
        some = [row for row in rows if row.kind == kind and row.operator == IDENTITY]
        some += with_slack if kind == "distance" else []
        if some:
            known = next((d for d in classes if d.kind == name), None)
            classes = [d for d in classes if d is not known]
            made_here = distances_of(name, some, [row.atoms for row in some], alpha)
            classes.append(made_here if known is None else joined(known, made_here))
    return dataclasses.replace(made, distances=tuple(classes)), before


def _named(index: Int, ordered: bool) -> list[tuple[int, ...]]:
    """Atoms of each restraint (m, k): the same read backwards, or behind the first in any order if not `ordered`."""
    if ordered:
        index = np.where((index[:, :1] <= index[:, -1:]), index, index[:, ::-1])
    else:  # the centre comes first
        index = np.column_stack([index[:, 0], np.sort(index[:, 1:], axis=1)])
    return [tuple(row) for row in index.tolist()]


def _planes(planes: Planes, rows: list[Row]) -> tuple[Planes, int]:
    """The planes with further ones, which take the place of those of the same atoms; and how many these were."""
    known = {frozenset(row.atoms) for row in rows}
    count = int(planes.plane.max(initial=-1)) + 1
    atoms = [frozenset(planes.index[planes.plane == k].tolist()) for k in range(count)] if known else []
    same = np.array([k for k, here in enumerate(atoms) if here in known], dtype=np.int64)
    keep = ~np.isin(planes.plane, same)
    renumbered = np.unique(planes.plane[keep], return_inverse=True)[1].astype(np.int64)
    planes = Planes(planes.index[keep], renumbered, planes.sigma[keep])
    first = int(planes.plane.max(initial=-1)) + 1
    index = np.array([i for row in rows for i in row.atoms], dtype=np.int64)
    number = np.array([first + k for k, row in enumerate(rows) for _ in row.atoms], dtype=np.int64)
    sigma = np.array([row.sigma for row in rows for _ in row.atoms])
    parts = zip((planes.index, planes.plane, planes.sigma), (index, number, sigma))
    return Planes(*(np.concatenate(both) for both in parts)), len(same)


def _excluded(restraints: Restraints, bonds: Int, angles: Int) -> Int:
    """Pairs without contact (p, 2): also the ends of new bonds and angles, and each end with the other's neighbours."""
    near: dict[int, set[int]] = {}
    for i, j in np.concatenate([restraints.bonds.index, bonds]).tolist():
        near.setdefault(i, set()).add(j)
        near.setdefault(j, set()).add(i)
    pairs = [(i, j) for i, j in bonds.tolist()] + [(i, k) for i, _, k in angles.tolist()]
    for i, j in bonds.tolist():
        pairs += [(i, k) for k in near[j] if k != i] + [(j, k) for k in near[i] if k != j]
    if not pairs:
        return restraints.non_bonded.excluded
    added = np.sort(np.array(pairs, dtype=np.int64), axis=1)
    return np.unique(np.concatenate([restraints.non_bonded.excluded, added]), axis=0)
