"""Arguments of what is called from Python: those of another type are most often in another order."""

from __future__ import annotations

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
