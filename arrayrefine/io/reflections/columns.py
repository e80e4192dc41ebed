"""Which columns hold the measured amplitudes or intensities, found by type and name or given by the user."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from arrayrefine.errors import InputError
from arrayrefine.io.reflections.tables import Table
from arrayrefine.wording import Caution

_SIGMA_TYPES = {"F": "Q", "J": "Q", "G": "LQ", "K": "MQ"}
_KINDS: dict[str, Literal["amplitude", "intensity"]] = {
    "F": "amplitude",
    "G": "amplitude",
    "J": "intensity",
    "K": "intensity",
}

# labels of CCP4, phenix, Servalcat, BUSTER, reciprocalspaceship and mmCIF for what was computed from a model or is a
# difference of two crystals
_CALCULATED = re.compile(
    r"(pdbx_)?(2?m?fo-?d?fc|2?fofc|fc$|fc[^a-z]|fcalc|f[-_]?calc|f[-_]?model|fwt|delfwt|f[-_]?mask|f[-_]?bulk"
    r"|f[-_]?part|f[-_]?sol|f[-_]?diff|w?d(elta)?[-_]?f([^a-z]|$)|k[-_](mask|(an)?iso)|fdm|fbp|fan$|anom$|phanom|ph)",
    re.IGNORECASE,
)
_DERIVED = re.compile(r"filtered", re.IGNORECASE)
_SAME = 0.01
"""Mean difference of two sets of columns as a share of their values, at most, where they hold the same."""
_LEFT_OUT = 0.05
"""Of the reflections with an intensity, those without an amplitude from which this is worth a warning."""
_LEAST_PERCENT, _MOST_PERCENT = 0.1, 50.0
"""Of an amplitude; what a sigma may be assumed to be."""


@dataclass(frozen=True)
class Columns:
    """Chosen columns: one value and one sigma, or two of each where (+) and (-) are merged to the mean.

    Where no sigmas were measured, `assumed` is what they are taken for, as a share of the value.
    """

    kind: Literal["amplitude", "intensity"]
    value: tuple[str, ...]
    sigma: tuple[str, ...]
    assumed: float | None = None

    @property
    def labels(self) -> list[str]:
        """Value, sigma, and once more for the second of a pair."""
        return [label for pair in zip(self.value, self.sigma) for label in pair]

    def sigmas(self, table: Table) -> list[NDArray[np.float64]]:
        """Standard uncertainties of each value, for all rows of the table."""
        if self.assumed is not None:
            return [self.assumed * np.abs(table.values[label]) for label in self.value]
        return [table.values[label] for label in self.sigma]


def choose_columns(table: Table, columns: str | None) -> tuple[Columns, tuple[str, ...]]:
    """Choose the columns to refine against.

    Amplitudes come before intensities and means before (+)/(-) pairs. What phenix calls "filtered" comes
    last: it is derived, often from intensities in the same file. Columns computed from a model are never
    chosen.

    Parameters
    ----------
    table : Table
    columns : str or None
        ``"F,SIGF"``; ``"F"`` alone finds its sigma; four names are a (+)/(-) pair. ``"=amplitude"`` or ``"=intensity"``
        at the end says what they are, whatever their types say, those of any real numbers (R) too. ``"F,5%"`` takes
        the sigmas of amplitudes for that share of each. None chooses.

    Raises
    ------
    InputError
        If nothing fits; the message lists what is there.
    """
    if columns is not None:
        given = _given(table, columns)
        return given, _assumption(table, given)
    candidates = sorted(_candidates(table), key=lambda ranked: ranked[0])
    usable = _fullest_first(table, [ranked for ranked in candidates if ranked[1].sigma])
    if usable:
        others = [",".join(c.labels) for c in usable[1:]]
        note = f"data columns {','.join(usable[0].labels)} are used; also there: {'; '.join(others)}"
        rank = {c: number for number, c in candidates}
        rival = next((c for c in usable[1:] if rank[c] == rank[usable[0]] and _differ(table, usable[0], c)), None)
        if rival is not None:
            note = Caution(
                f"{note}. See which set is of the crystal that the model is of: --columns {','.join(rival.labels)} "
                "takes the other"
            )
        left_out = _left_out(table, usable[0], usable[1:])
        return usable[0], ((note, *left_out) if others else ())
    path = table.file.path
    if candidates:
        raise InputError(
            f"data '{path}': {', '.join(candidates[0][1].value)} has no column of standard uncertainties; "
            f"found {table.listing()}; expected one, such as SIGFP for FP: name it with --columns F,SIGF, or "
            f"write the file again with sigmas{_otherwise(table, candidates[0][1])}"
        )
    raise InputError(
        f"data '{path}' has no column of measured amplitudes or intensities; found {table.listing()}; "
        "expected types F or J with Q, G with L, or K with M: name two columns, and what they are, with --columns "
        "F,SIGF=amplitude or I,SIGI=intensity if they are there under another type"
    )


def _left_out(table: Table, chosen: Columns, others: list[Columns]) -> tuple[str, ...]:
    """A warning where amplitudes lack what is there as an intensity: programs leave out weak ones, which biases."""
    intensities = next((c for c in others if c.kind == "intensity"), None)
    if chosen.kind != "amplitude" or intensities is None:
        return ()
    there = _has_value(table, intensities)
    lost = int((there & ~_has_value(table, chosen)).sum())
    if lost < _LEFT_OUT * there.sum():
        return ()
    return (Caution(
        f"{lost} of {int(there.sum())} reflections with {intensities.value[0]} have no {chosen.value[0]}: where weak "
        "ones were left out, the amplitudes that stay are too large on average, and the resolution seems higher than "
        f"it is. --columns {','.join(intensities.labels)} takes the intensities"
    ),)


def _has_value(table: Table, columns: Columns) -> NDArray[np.bool_]:
    first, last = (np.isfinite(table.values[label]) for label in (columns.value[0], columns.value[-1]))
    return first | last


def _differ(table: Table, one: Columns, two: Columns) -> bool:
    """Whether two sets of columns hold different measurements, and not the same twice."""
    first, second = table.values[one.value[0]], table.values[two.value[0]]
    both = np.isfinite(first) & np.isfinite(second)
    difference = np.abs(first[both] - second[both]).sum()
    return bool(not both.any() or difference > _SAME * np.abs(first[both]).sum())


def _fullest_first(table: Table, ranked: list[tuple[int, Columns]]) -> list[Columns]:
    """Sets of columns by rank, those with less than half the values of the fullest of their rank behind the others."""
    count = {id(c): int(np.isfinite(table.values[c.labels[0]]).sum()) for _, c in ranked}
    most = {rank: max(count[id(c)] for other, c in ranked if other == rank) for rank, _ in ranked}
    return [c for _, c in sorted(ranked, key=lambda one: (one[0], 2 * count[id(one[1])] < most[one[0]]))]


def _candidates(table: Table) -> list[tuple[int, Columns]]:
    """Every set of columns that may be measurements, with its rank (lower is better)."""
    found = []
    for label, kind in table.types.items():
        if kind not in _KINDS or _CALCULATED.match(label) or not np.isfinite(table.values[label]).any():
            continue
        values: tuple[str, ...] = (label,)
        rank = {"F": 0, "G": 1, "J": 2, "K": 3}[kind] + (10 if _DERIVED.search(label) else 0)
        if kind in "GK":
            mate = friedel_mate(table, label)
            if mate is None:
                rank += 5
            elif _is_minus(label):
                continue
            else:
                values = (label, mate)
        sigmas = tuple(s for s in (sigma_of(table, v) for v in values) if s)
        found.append((rank, Columns(_KINDS[kind], values, sigmas if len(sigmas) == len(values) else ())))
    return found


def pairs_of_columns(table: Table, chosen: Columns) -> list[Columns]:
    """Sets of columns with (+) and (-) apart: those chosen, then those of the same kind, then others."""
    found = [(columns != chosen, columns.kind != chosen.kind, rank, columns) for rank, columns in _candidates(table)]
    return [row[3] for row in sorted(found, key=lambda row: row[:3]) if len(row[3].value) == len(row[3].sigma) == 2]


def _is_minus(label: str) -> bool:
    return "-)" in label or label.endswith("-") or "minus" in label.lower()


def friedel_mate(table: Table, label: str) -> str | None:
    """Label of the Friedel mate's column."""
    swaps = (("(+)", "(-)"), ("plus", "minus"), ("PLUS", "MINUS"), ("+", "-"))
    for plus, minus in swaps:
        for mine, other in ((plus, minus), (minus, plus)):
            mate = label.replace(mine, other)
            if mine in label and table.types.get(mate) == table.types[label]:
                return mate
    return None


def sigma_of(table: Table, label: str) -> str | None:
    """Label of the sigmas of column `label`: by name, else the next column if its type fits; None for none."""
    by_lower = {name.lower(): name for name in table.types}
    low = label.lower()
    stem = low.replace("_meas", "") if low.startswith(("intensity", "f_squared")) else low
    prefixed = [f"{prefix}{low}" for prefix in ("sig", "sig_", "sigma_", "sigma")]
    inserted = [f"{low}_sigma", f"{low}_sig", f"{stem}_sigma", low.replace("_meas", "_meas_sigma")]
    names = [*prefixed, *inserted, f"sig{low[1:]}"]
    allowed = _SIGMA_TYPES.get(table.types[label], "QLM")
    for name in names:
        match = by_lower.get(name)
        if match is not None and match != label and table.types[match] in allowed:
            return match
    labels = list(table.types)
    following = labels[labels.index(label) + 1 : labels.index(label) + 2]
    if following and table.types[following[0]] in allowed:
        return following[0]
    return None


def find_label(table: Table, name: str, what: str) -> str:
    """Label as the file spells it, case aside; `InputError` listing what is there otherwise."""
    if name in table.types:
        return name
    same = [label for label in table.types if label.lower() == name.lower()]
    if len(same) == 1:
        return same[0]
    raise InputError(
        f"data '{table.file.path}' has no column '{name}' for {what}; found {table.listing()}: name one of these"
    )


def _kind_named(columns: str) -> tuple[str, Literal["amplitude", "intensity"] | None]:
    """Names of columns, and the kind that follows them after an equals sign, if any does."""
    names, _, kind = (part.strip() for part in columns.rpartition("="))
    if kind == "amplitude":
        return names, "amplitude"
    return (names, "intensity") if kind == "intensity" else (columns, None)


def _given(table: Table, columns: str) -> Columns:
    listed, named = _kind_named(columns)
    names = [name.strip() for name in listed.split(",") if name.strip()]
    if len(names) not in (1, 2, 4):
        raise InputError(
            f"--columns {columns} names {len(names)} columns; expected a value and its sigma, such as "
            "'FP,SIGFP', or a pair such as 'F(+),SIGF(+),F(-),SIGF(-)'"
        )
    if len(names) == 2 and names[1].endswith("%"):
        return _with_assumed(table, columns, names[0], names[1], named)
    labels = [find_label(table, name, "the data") for name in names]
    values, sigmas = tuple(labels[0::2]), tuple(labels[1::2])
    kinds = {named if named and table.types[label] == "R" else _KINDS.get(table.types[label]) for label in values}
    kind = kinds.pop()
    if kind is None or kinds:
        raise InputError(
            f"--columns {columns}: {', '.join(f'{v} is of type {table.types[v]}' for v in values)}; expected "
            f"amplitudes (F, G) or intensities (J, K); found {table.listing()}: name two of these, or say what columns "
            "of any real numbers (R) hold, as in F,SIGF=amplitude"
        )
    if not sigmas:
        sigma = sigma_of(table, values[0])
        if sigma is None:
            raise InputError(
                f"data '{table.file.path}': no column of standard uncertainties belongs to {values[0]}; "
                f"found {table.listing()}: name it, as in --columns {values[0]},SIG{values[0]}"
                f"{_otherwise(table, Columns(named or kind, values, ()))}"
            )
        sigmas = (sigma,)
    wrong = [label for label in sigmas if table.types[label] not in ("QLMR" if named else "QLM")]
    if wrong:
        raise InputError(
            f"--columns {columns}: {wrong[0]} is of type {table.types[wrong[0]]}; expected standard "
            f"uncertainties (Q, L or M); found {table.listing()}"
        )
    return Columns(named or kind, values, sigmas)


def _with_assumed(
    table: Table, columns: str, name: str, share: str, named: Literal["amplitude", "intensity"] | None
) -> Columns:
    """Amplitudes whose sigmas are a share of them, such as "5%", as old depositions and simulations have none.

    Not for intensities: a share of a weak one says nothing of its noise, which decides what amplitude it becomes.
    """
    label = find_label(table, name, "the data")
    kind = named or _KINDS.get(table.types[label])
    if kind != "amplitude":
        raise InputError(
            f"data '{table.file.path}', --columns {columns}: {label} is of type {table.types[label]}; expected "
            "amplitudes (F, or G) where sigmas are assumed, as a share of an intensity says nothing of its noise: "
            "write the file again with sigmas"
        )
    try:
        percent = float(share.rstrip("%"))
    except ValueError:
        percent = 0.0
    if not _LEAST_PERCENT <= percent <= _MOST_PERCENT:
        raise InputError(
            f"data '{table.file.path}', --columns {columns}: found '{share}' for the sigmas; expected "
            f"{_LEAST_PERCENT:g}% to {_MOST_PERCENT:g}% of each amplitude, such as {label},5%"
        )
    return Columns(kind, (label,), (f"{percent:g}%",), percent / 100.0)


def _assumption(table: Table, chosen: Columns) -> tuple[str, ...]:
    if chosen.assumed is None:
        return ()
    label, share = chosen.labels
    return (
        f"sigmas are not those of a measurement: {share[:-1]} % of each amplitude {label} of '{table.file.path}' are "
        "assumed, as --columns says, and written to the output",
    )


def _otherwise(table: Table, chosen: Columns) -> str:
    """What can be done for single amplitudes without sigmas, unless they seem to be none that were measured."""
    if chosen.kind != "amplitude" or len(chosen.value) > 1:
        return ""
    phases = [label for label, kind in table.types.items() if kind == "P"]
    if phases and not any(kind in "QLM" for kind in table.types.values()):
        return (
            f". Beside phases ({phases[0]}) and in a file without any sigma, {chosen.value[0]} hardly is measured but "
            "calculated, or of a map: give the file of the measurements"
        )
    return f". Where none are to be had, --columns {chosen.value[0]},5% assumes that they are 5 % of each amplitude"
