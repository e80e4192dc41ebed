"""What the help of a command says besides its options: files first, and an example."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterator, Sequence
from typing import TextIO

EXAMPLES = {
    "refine": (
        "arrayrefine refine model.pdb data.mtz --out refined/",
        "arrayrefine refine model.cif data.mtz --restraints ligand.cif --cycles 8",
    ),
    "demo": ("arrayrefine demo --cycles 1",),
    "crossvalidate": ("arrayrefine crossvalidate model.pdb data.mtz --folds 10 --threads 4",),
    "report": ("arrayrefine report refined/",),
    "view": ("arrayrefine view refined/",),
    "validate": (
        "arrayrefine validate model.pdb data.mtz",
        "arrayrefine validate refined/refined.pdb refined/refined.mtz --out validation.json",
    ),
    "peaks": ("arrayrefine peaks model.pdb data.mtz --limit 5",),
    "omit": ('arrayrefine omit model.pdb data.mtz --selection "resname FOL"',),
    "regularise": ("arrayrefine regularise model.pdb --out regularised/",),
    "doctor": ("arrayrefine doctor",),
    "completion": ("arrayrefine completion bash > ~/.local/share/bash-completion/completions/arrayrefine",),
}
"""Commands that work as they stand, given the files; shown by the help of each sub-command."""

_OPTIONS = re.compile(r"(\[\w+ OPTIONS\]) ((?:\[?[A-Z]+\]? ?)+)$")
"""How a usage line ends that names options before files."""
_CODES = re.compile(r"\x1b\[[0-9;]*m")
"""Colours of a terminal."""


class _Captured(io.StringIO):
    """Keeps what is written, and passes for standard output as it is, so that colours and frames stay."""

    def __init__(self, like: TextIO) -> None:
        super().__init__()
        self._like = like

    def isatty(self) -> bool:
        return self._like.isatty()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._like.encoding


@contextlib.contextmanager
def with_examples(arguments: Sequence[str]) -> Iterator[None]:
    """Within this block, help that is printed names files before options and gets an example of its command."""
    if not {"-h", "--help"} & set(arguments):
        yield
        return
    captured = _Captured(sys.stdout)
    try:
        with contextlib.redirect_stdout(captured):
            yield
    finally:
        print(amended(captured.getvalue(), arguments[0]), end="")


def amended(text: str, command: str) -> str:
    """Return the help of a command with its files before its options, and with examples below the description."""
    lines = text.splitlines()
    examples = EXAMPLES.get(command, ())
    if not lines:
        return text
    lines[0] = _CODES.sub("", lines[0])
    if not examples:  # help of the program itself, which lists its commands below
        return "\n".join([re.sub(r"\{[\w,]+\}$", "COMMAND ...", lines[0]), *lines[1:], ""])
    lines[0] = _OPTIONS.sub(r"\2 \1", lines[0])
    blank = [i for i, line in enumerate(lines) if not _CODES.sub("", line).strip()]
    end = blank[1] if len(blank) > 1 else len(lines)
    title = "Example:" if len(examples) == 1 else "Examples:"
    return "\n".join([*lines[:end], "", title, *(f"  {example}" for example in examples), *lines[end:], ""])
