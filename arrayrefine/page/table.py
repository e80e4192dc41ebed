"""Tables of the page, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Place = tuple[float, float, float]


@dataclass(frozen=True)
class Column:
    """Heading of a column; `numeric` ones are set flush right and sorted by value; `hint` explains the heading."""

    title: str
    numeric: bool = True
    hint: str = ""


@dataclass(frozen=True)
class Cell:
    """What a cell shows.

    Attributes
    ----------
    text : str
    key : float or str, optional
        By what it is sorted; default: the text.
    flag : str
        "bad" or "look" where it deserves attention.
    where : tuple, optional
        The place that it speaks of, Cartesian, Å: a viewer beside the page goes there.
    """

    text: str
    key: float | str | None = None
    flag: str = ""
    where: Place | None = None


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes
    ----------
    caption : str
        What it holds.
    columns : tuple of Column
    rows : tuple of tuples of Cell
    sortable : bool
    row_heads : bool
        The first cell of each row is its heading.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sortable: bool = True
    row_heads: bool = True


def number(value: float | None, digits: int, flag: str = "", unit: str = "") -> Cell:
    """A cell with a number, or a dash where there is none."""
    return Cell(plain(value, digits) + (unit if value is not None else ""), value, flag)


def plain(value: float | None, digits: int) -> str:
    """A number as text, or a dash where there is none; a true minus sign."""
    return "–" if value is None or value != value else f"{value:.{digits}f}".replace("-", "−")


def whole(value: int | None) -> Cell:
    """A cell with a count."""
    return Cell("–" if value is None else f"{value:,}", value)


def table(caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], *, sortable: bool = True,
          row_heads: bool = True) -> Table:  # fmt: skip
    """A table from any sequences."""
    return Table(caption, tuple(columns), tuple(tuple(row) for row in rows), sortable, row_heads)
