"""Numbers and lists in the sentences that a user reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

SHOWN = 6
"""Items of a list that a sentence names."""


class Caution(str):
    """A note that asks for a look or a decision, printed as a warning; others say only what was done."""

    __slots__ = ()


def kind_of(note: str) -> str:
    """What a line with a note begins with, "note" or "warning"."""
    return "warning" if isinstance(note, Caution) else "note"


def parted(sentences: Iterable[str]) -> dict[str, list[str]]:
    """Sentences as a JSON file has them: `warnings` are all, `cautions` those to look at, and `notes` the others."""
    every = [*sentences]
    return {
        "warnings": every,
        "cautions": [sentence for sentence in every if isinstance(sentence, Caution)],
        "notes": [sentence for sentence in every if not isinstance(sentence, Caution)],
    }


def counted(number: int, noun: str) -> str:
    """Return "1 link", "2 links"; nouns take an s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def are(number: int) -> str:
    """Return the verb for a count, "is" or "are"."""
    return "is" if number == 1 else "are"


def were(number: int) -> str:
    """Return the verb for a count of things past, "was" or "were"."""
    return "was" if number == 1 else "were"


def of_test_set(number: int) -> str:
    """Return "the one of the test set stays", "the 2 of the test set stay"."""
    return "the one of the test set stays" if number == 1 else f"the {number} of the test set stay"


def listed(items: Sequence[str], separator: str = ", ") -> str:
    """Join the first six items, and say how many more there are."""
    more = len(items) - SHOWN
    return separator.join(items[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def reindexed_by(operator: str, space_group: str = "") -> str:
    """How data are given other indices, as an advice; by way of P 1 where a space group is to be given to them."""
    before, after = ("", "")
    if space_group:
        before, after = (f"mtz.spacegroup = gemmi.SpaceGroup('{name}'); " for name in ("P 1", space_group))
    return (
        "reindex the data, and the flags of the test set with them (with REINDEX of CCP4, or in Python "
        f"mtz = gemmi.read_mtz_file(...); {before}mtz.reindex(gemmi.Op('{operator}')); {after}mtz.ensure_asu(); "
        "mtz.write_to_file(...))"
    )
