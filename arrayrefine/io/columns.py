"""Which columns hold the measured amplitudes or intensities, found by type and name or given by the user."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from arrayrefine.errors import InputError
from arrayrefine.io.tables import Table

_SIGMA_TYPES = {"F": "Q", "J": "Q", "G": "LQ", "K": "MQ"}
_KINDS: dict[str, Literal["amplitude", "intensity"]] = {
    "F": "amplitude",
    "G": "amplitude",
    "J": "intensity",
    "K": "intensity",
}

# labels of CCP4, phenix, Servalcat, BUSTER and mmCIF for what was computed from a model
_CALCULATED = re.compile(
    r"(pdbx_)?(2?m?fo-?d?fc|2?fofc|fc$|fc[^a-z]|fcalc|f[-_]?calc|f[-_]?model|fwt|delfwt|f[-_]?mask|f[-_]?bulk"
    r"|f[-_]?part|f[-_]?sol|fdm|fbp|anom$|phanom|ph)",
    re.IGNORECASE,
)
_DERIVED = re.compile(r"filtered", re.IGNORECASE)


@dataclass(frozen=True)
class Columns:
    """Chosen columns: one value and one sigma, or two of each where (+) and (-) are merged to the mean."""

    kind: Literal["amplitude", "intensity"]
    value: tuple[str, ...]
    sigma: tuple[str, ...]

    @property
    def labels(self) -> list[str]:
        """Value, sigma, and once more for the second of a pair."""
        return [label for pair in zip(self.value, self.sigma) for label in pair]


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
        at the end says what they are, whatever their types say. None chooses.

    Raises
    ------
    InputError
        If nothing fits; the message lists what is there.
    """
    if columns is not None:
        return _given(table, columns), ()
    candidates = sorted(_candidates(table), key=lambda ranked: ranked[0])
    usable = [c for _, c in candidates if c.sigma]
    if usable:
        others = [",".join(c.labels) for c in usable[1:]]
        note = (f"data columns {','.join(usable[0].labels)} are used; also there: {'; '.join(others)}",)
        return usable[0], note if others else ()
    path = table.file.path
    if candidates:
        raise InputError(
            f"data '{path}': {', '.join(candidates[0][1].value)} has no column of standard uncertainties; "
            f"found {table.listing()}; expected one, such as SIGFP for FP: name it with --columns F,SIGF, or "
            "write the file again with sigmas"
        )
    raise InputError(
        f"data '{path}' has no column of measured amplitudes or intensities; found {table.listing()}; "
        "expected types F or J with Q, G with L, or K with M: name two columns with --columns F,SIGF if "
        "they are there under another type"
    )


def _candidates(table: Table) -> list[tuple[int, Columns]]:
    """Every set of columns that may be measurements, with its rank (lower is better)."""
    found = []
    for label, kind in table.types.items():
        if kind not in _KINDS or _CALCULATED.match(label) or not np.isfinite(table.values[label]).any():
            continue
        values: tuple[str, ...] = (label,)
        rank = {"F": 0, "G": 1, "J": 2, "K": 3}[kind] + (10 if _DERIVED.search(label) else 0)
        if kind in "GK":
            mate = _mate(table, label)
            if mate is None:
                rank += 5
            elif _is_minus(label):
                continue
            else:
                values = (label, mate)
        sigmas = tuple(s for s in (_sigma_of(table, v) for v in values) if s)
        found.append((rank, Columns(_KINDS[kind], values, sigmas if len(sigmas) == len(values) else ())))
    return found


def _is_minus(label: str) -> bool:
    return "-)" in label or label.endswith("-") or "minus" in label.lower()


def _mate(table: Table, label: str) -> str | None:
    """Label of the Friedel mate's column."""
    swaps = (("(+)", "(-)"), ("plus", "minus"), ("PLUS", "MINUS"), ("+", "-"))
    for plus, minus in swaps:
        for mine, other in ((plus, minus), (minus, plus)):
            mate = label.replace(mine, other)
            if mine in label and table.types.get(mate) == table.types[label]:
                return mate
    return None


def _sigma_of(table: Table, label: str) -> str | None:
    """Label of the sigmas of column `label`: by name, else the next column if its type fits."""
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
    labels = [find_label(table, name, "the data") for name in names]
    values, sigmas = tuple(labels[0::2]), tuple(labels[1::2])
    kinds = {_KINDS.get(table.types[label]) for label in values}
    kind = kinds.pop()
    if kind is None or kinds:
        raise InputError(
            f"--columns {columns}: {', '.join(f'{v} is of type {table.types[v]}' for v in values)}; expected "
            f"amplitudes (F, G) or intensities (J, K); found {table.listing()}: name two of these"
        )
    if not sigmas:
        sigma = _sigma_of(table, values[0])
        if sigma is None:
            raise InputError(
                f"data '{table.file.path}': no column of standard uncertainties belongs to {values[0]}; "
                f"found {table.listing()}: name it, as in --columns {values[0]},SIG{values[0]}"
            )
        sigmas = (sigma,)
    wrong = [label for label in sigmas if table.types[label] not in "QLM"]
    if wrong:
        raise InputError(
            f"--columns {columns}: {wrong[0]} is of type {table.types[wrong[0]]}; expected standard "
            f"uncertainties (Q, L or M); found {table.listing()}"
        )
    return Columns(named or kind, values, sigmas)
