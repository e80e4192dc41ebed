"""`{option-table} GROUP`: what `arrayrefine.options` says of a group of options, as a table of flags."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import types
import typing
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from arrayrefine.options import Options


def documented(group: type) -> dict[str, str]:
    """The string below each field of a dataclass."""
    body = ast.parse(inspect.getsource(group)).body[0].body  # type: ignore[attr-defined]
    found = {}
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            found[field.target.id] = " ".join(ast.literal_eval(text.value).split())  # type: ignore[union-attr]
    return found


def choices(hint: Any) -> str:
    """What may be given, in a word or two."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " | ".join(arguments)
    if origin in (typing.Union, types.UnionType):
        return choices(next(a for a in arguments if a is not type(None)))
    if origin is tuple:
        return f"{choices(arguments[0])} ..."
    return {bool: "switch", int: "integer", float: "number", str: "text", Path: "file"}.get(hint, "")


def shown(value: Any) -> str:
    """A default as the command line has it."""
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


class OptionTable(SphinxDirective):
    """Writes the table."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        prefix = self.arguments[0] + "." if self.arguments else ""
        group = getattr(Options(), self.arguments[0]) if self.arguments else Options()
        self.env.note_dependency(inspect.getsourcefile(Options))
        hints, said = typing.get_type_hints(type(group)), documented(type(group))
        rows = []
        for field in dataclasses.fields(group):
            value = getattr(group, field.name)
            if not dataclasses.is_dataclass(value):
                flag = f"--{prefix}{field.name}".replace("_", "-")
                rows.append((nodes.literal(text=flag), choices(hints[field.name]), shown(value), said[field.name]))
        return [table(("flag", "values", "default", ""), (26, 20, 10, 44), rows)]


def table(head: tuple[str, ...], widths: tuple[int, ...], rows: list[tuple[Any, ...]]) -> nodes.table:
    """Cells are text or nodes."""

    def line(cells: tuple[Any, ...]) -> nodes.row:
        row = nodes.row()
        for cell in cells:
            row += nodes.entry("", nodes.paragraph("", "", cell if isinstance(cell, nodes.Node) else nodes.Text(cell)))
        return row

    body = nodes.tgroup(cols=len(head))
    for width in widths:
        body += nodes.colspec(colwidth=width)
    body += nodes.thead("", line(head))
    body += nodes.tbody("", *(line(cells) for cells in rows))
    return nodes.table("", body)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("option-table", OptionTable)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
