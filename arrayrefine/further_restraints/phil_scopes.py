"""Parameter files of cctbx and PHENIX as scopes: names in braces, what they assign, and variables.

A scope may begin on one line and have its brace on the next; `;` parts assignments, `#` begins a comment, `\\` at the
end of a line goes on with the next, quotes may hold any of them, and what `!` stands before is switched off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from arrayrefine.errors import InputError

_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)|(?P<quote>"[^"]*"|'[^'\n]*'(?=[\s{};]|$))|(?P<mark>[{};])|(?P<on>\\[^\S\n]*\n)|(?P<end>\n)"""
    r"""|(?P<blank>[^\S\n]+)|(?P<word>=|[^\s{};=]+)"""
)
_OFF = "!"


class Block:
    """A scope in braces: its name, the line that it begins in, and what it assigns."""

    def __init__(self, name: str, line: int) -> None:
        self.name, self.line = name, line
        self.values: dict[str, str] = {}


def blocks(lines: Sequence[str], where: str) -> Iterator[tuple[tuple[str, ...], Block, dict[str, str]]]:
    """Scopes as they end: names of those around them and their own, what they assign, and the variables so far.

    An assignment to a name with dots, as `refinement.main.nproc = 2`, is that of a scope of its own.

    Raises
    ------
    InputError
        Braces do not match, something is no assignment, or another file is included.
    """
    around: list[Block] = []
    variables: dict[str, str] = {}
    for number, mark, text in _statements(lines, where):
        if mark == "{":
            around.append(Block(text, number))
            continue
        if mark == "}":
            if not around:
                raise InputError(f"{where}, line {number}: found '}}' and no '{{' before it; expected one for each")
            path, block = _path(around), around.pop()
            block.name = block.name.rpartition(".")[2]
            if _on(path):
                yield path, block, variables
            continue
        name, value = (part.strip() for part in text.split("=", 1))
        value = _unquoted(value)
        scope, _, last = name.rpartition(".")
        if not _on((*_path(around), name)):
            continue
        if scope:
            alone = Block(scope.rpartition(".")[2], number)
            alone.values[last] = value
            yield (*_path(around), *scope.split(".")), alone, variables
        elif around:
            around[-1].values[name] = value
        variables[last] = value
    if around:
        block = around[-1]
        raise InputError(f"{where}, line {block.line}: '{block.name} {{' has no end; expected '}}' after it")


def meant(value: str, variables: dict[str, str]) -> str:
    """A value with what variables in it stand for."""
    return re.sub(r"\$\(?(\w+)\)?", lambda found: variables.get(found[1], found[0]), value)


def _path(around: Sequence[Block]) -> tuple[str, ...]:
    return tuple(name for block in around for name in block.name.split("."))


def _on(path: Sequence[str]) -> bool:
    return not any(name.startswith(_OFF) for name in path)


def _unquoted(value: str) -> str:
    """A value without quotes around all of it; those inside it stay, and so does the prime of C1'."""
    tokens = [found for found in _TOKEN.finditer(value) if found.lastgroup != "blank"]
    if tokens and all(found.lastgroup == "quote" for found in tokens):
        return " ".join(found[0][1:-1].strip() for found in tokens)
    return value


def _statements(lines: Sequence[str], where: str) -> Iterator[tuple[int, str, str]]:
    """Number of a line; '{' with the name of the scope that it begins, '}', or '=' with an assignment."""
    number, first, parts, name = 1, 1, list[str](), ""

    def ended() -> Iterator[tuple[int, str, str]]:
        nonlocal name
        text = "".join(parts).strip()
        parts.clear()
        if not text or text.startswith("."):  # an attribute of a definition
            return
        if name or (text.split()[0] == "include" and "=" not in text):
            raise _no_assignment(where, *((named, name) if name else (first, text)))
        if "=" in text:
            yield first, "=", text
        else:
            name = text

    named = 1
    for found in _TOKEN.finditer("\n".join(lines)):
        kind, text = found.lastgroup, found[0]
        if kind in ("quote", "word") and not parts:
            first = number
        if kind in ("quote", "word"):
            parts.append(" ".join(text.split("\n")))
        elif kind in ("blank", "on"):
            parts += [" "] * bool(parts)
        elif kind == "end" or text == ";":
            named = named if name else first
            yield from ended()
        elif text == "{":
            began = named if name else first
            title = name or "".join(parts).strip()
            if not title or "=" in title or (name and parts):
                raise InputError(f"{where}, line {number}: found '{{' after '{title}'; expected the name of a scope")
            parts, name = [], ""
            yield began, "{", title
        elif text == "}":
            yield from ended()
            if name:
                raise _no_assignment(where, first, name)
            yield number, "}", ""
        number += text.count("\n")
    yield from ended()
    if name:
        raise _no_assignment(where, first, name)


def _no_assignment(where: str, number: int, text: str) -> InputError:
    if text.split()[0] == "include":
        return InputError(
            f"{where}, line {number}: '{text[:60]}' includes another file, which is not looked for; give that as one "
            "more of --restraint-tables, and delete this line"
        )
    return InputError(f"{where}, line {number}: found '{text[:40]}'; expected 'name = value', or a scope in braces")
