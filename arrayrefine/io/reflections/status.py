"""What the codes of mmCIF ``_refln.status`` say: which measurements count, and which are the test set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrayrefine.errors import InputError
from arrayrefine.io.reflections.tables import Table
from arrayrefine.wording import counted

_BLANK = ("", "?", ".")
_OBSERVED = ("o", "f", *_BLANK)
_UNUSED = ("<", "-", "x", "h", "l")
_FLAGS = ("0", "1")


def _codes(table: Table) -> NDArray[np.str_]:
    """Status (R,) in lower case, as the dictionary does not tell it from upper case."""
    assert table.status is not None
    return np.char.lower(table.status)


def marks_free(table: Table) -> bool:
    """Whether there is a status that sets reflections aside as "f"."""
    return table.status is not None and bool((_codes(table) == "f").any())


def holds_flags(table: Table) -> bool:
    """Whether there is a status that holds flags of a test set, 0 and 1, in place of the letters of the dictionary."""
    if table.status is None:
        return False
    said = set(np.unique(_codes(table)).tolist()).difference(_BLANK, _UNUSED)
    return bool(said) and said.issubset(_FLAGS)


def free_flags(table: Table) -> NDArray[np.float64]:
    """Flags (R,): the 0 and 1 that status holds, or 0 for "f" and 1 for "o"; nan where it says neither."""
    codes = _codes(table)
    free, work = _FLAGS if holds_flags(table) else ("f", "o")
    return np.where(codes == free, 0.0, np.where(codes == work, 1.0, np.nan))


def flags_note(table: Table) -> str:
    """A sentence about 0 and 1 that are taken for flags."""
    found = free_flags(table)
    counts = " and ".join(f"{value:g} ({int((found == value).sum())} times)" for value in (0.0, 1.0))
    return (
        f"status in '{table.file.path}' is {counts} where mmCIF has o and f: these are taken for flags, the less "
        "frequent one for the test set (--free status=0 or --free status=1 says which, --free random leaves them aside)"
    )


def observed_rows(table: Table) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Rows that status counts as observed.

    Parameters
    ----------
    table : Table

    Returns
    -------
    observed : (R,) bool
        All of them where there is no status.
    others : dict
        Number of the other rows by what is the matter with them.

    Raises
    ------
    InputError
        If status counts no row as observed, or most of them have a code that is not known.
    """
    if table.status is None:
        return np.ones(len(table.hkl), dtype=bool), {}
    codes = _codes(table)
    accepted = (*_OBSERVED, *_FLAGS) if holds_flags(table) else _OBSERVED
    observed = np.isin(codes, accepted)
    known = observed | np.isin(codes, _UNUSED)
    if not observed.any() or not known.mean() > 0.5:
        found, counts = np.unique(table.status, return_counts=True)
        most = np.argsort(-counts, kind="stable")[:8]
        listed = ", ".join(f"'{found[i]}' ({counted(int(counts[i]), 'time')})" for i in most)
        raise InputError(
            f"data '{table.file.path}', column status: found {listed}; expected o (work set) and f (test set), or 0 "
            f"and 1 as flags, for what was measured, and {', '.join(_UNUSED)} only for what is to be left out: correct "
            "the column, or remove it and name the flags with --free NAME=VALUE"
        )
    left_out = table.status[~observed]
    others = {f"with status '{code}'": int((left_out == code).sum()) for code in np.unique(left_out).tolist()}
    return observed, others
