"""Short HTML tables for notebooks."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


def cell(value: object) -> str:
    """A value as escaped text: numbers with four digits after the point, nothing for None."""
    if value is None:
        return "—"
    return html.escape(f"{value:.4f}" if isinstance(value, float) else str(value))


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """An HTML table, everything in it escaped.

    Parameters
    ----------
    caption : str
    head : sequence of str
        Titles of the columns; a row of empty ones is left out.
    rows : iterable of sequences
        Values; the first of each row names it.
    """
    titles = "".join(f'<th scope="col">{html.escape(title)}</th>' for title in head)
    body = "".join(
        f'<tr><th scope="row">{cell(first)}</th>{"".join(f"<td>{cell(value)}</td>" for value in rest)}</tr>'
        for first, *rest in rows
    )
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    top = f"<thead><tr>{titles}</tr></thead>" if any(head) else ""
    return f"<table>{title}{top}<tbody>{body}</tbody></table>"


def details(summary: str, sentences: Sequence[str]) -> str:
    """Sentences behind a summary that opens at a click."""
    items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences)
    return f"<details><summary>{html.escape(summary)}</summary><ul>{items}</ul></details>" if sentences else ""
