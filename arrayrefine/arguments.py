"""Arguments of what is called from Python: those of another type are most often in another order. Names of columns."""

from __future__ import annotations

from pathlib import Path

from arrayrefine.errors import InputError


def check_types(function: str, **given: tuple[object, type]) -> None:
    """Refuse arguments that are of another type than the one that goes with each.

    Raises
    ------
    InputError
        Naming the first such argument of `function`, what was found, and what is expected.
    """
    for name, (value, kind) in given.items():
        if not isinstance(value, kind):
            order = f": give the arguments in the order {', '.join(given)}" if len(given) > 1 else ""
            raise InputError(
                f"{function}: {name} is of type {type(value).__name__}; expected {kind.__name__}{order}"
            )


def file_and_names(asked: str) -> tuple[Path | None, tuple[str, ...]]:
    """Of ``"FILE:A,B"`` the file and the names of columns; of ``"A,B"`` no file; of ``"FILE.phs"`` no names."""
    path, _, names = asked.rpartition(":")
    if not path and names.lower().endswith(".phs"):
        return Path(names), ()
    return Path(path) if path else None, tuple(name.strip() for name in names.split(","))
