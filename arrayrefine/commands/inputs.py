"""What the commands have in common: how the input is read, and how files are written."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from arrayrefine.commands.reading_options import ModelReading
from arrayrefine.errors import InputError
from arrayrefine.options import External, Options
from arrayrefine.wording import kind_of


def options_of(reading: ModelReading, config: Path | None, external: External | None = None) -> Options:
    """The options of a refinement in which the model would be read, and restrained, like this; what is not given is the
    default.
    """
    from arrayrefine.configuration import read_config

    base = read_config(config) if config else Options()
    if external is not None:
        base = dataclasses.replace(base, external=dataclasses.replace(base.external, **_given(external)))
    return dataclasses.replace(base, **_given(reading))


def _given(chosen: ModelReading | External) -> dict[str, Any]:
    """What is not as it is by default."""
    default = type(chosen)()
    values = {f.name: getattr(chosen, f.name) for f in dataclasses.fields(chosen)}
    return {name: value for name, value in values.items() if value != getattr(default, name)}


def write_json(path: Path, content: dict[str, Any], inputs: Iterable[Path | None]) -> Path:
    """Write a file whole or not at all.

    Raises
    ------
    InputError
        It would replace an input, or its folder cannot be written to.
    """
    from arrayrefine.io.output.write import check_folder, replace_files

    check_output(path, inputs)
    check_folder(path.parent, "give another file with --out")
    return replace_files(path.parent, {path.name: json_bytes(content)})[0]


def json_bytes(content: dict[str, Any]) -> bytes:
    """The content of a JSON file."""
    from arrayrefine.io.output.json_text import json_text

    return json_text(content).encode()


@contextlib.contextmanager
def output_folders(*folders: Path) -> Iterator[None]:
    """Make folders that files can be written to; those that are new are gone after it if nothing was written there.

    Raises
    ------
    InputError
        A folder has the name of a file, or cannot be made or written to.
    """
    from arrayrefine.io.output.write import check_folder

    new = [folder for folder in folders if not folder.exists()]
    try:
        for folder in folders:
            check_folder(folder)
        yield
    finally:
        for folder in reversed(new):
            with contextlib.suppress(OSError):
                folder.rmdir()  # refuses where something was written


def check_output(path: Path, inputs: Iterable[Path | None]) -> None:
    """Refuse an output that would replace a file of the input, or that is a folder or has a name as folders have.

    Raises
    ------
    InputError
        Naming the file.
    """
    if path.is_dir():
        raise InputError(f"output '{path}' is a folder; expected the name of a file")
    if not path.suffix:
        raise InputError(
            f"output '{path}' has the name of a folder; expected that of a file, such as '{path}.json' or "
            f"'{path / 'found.json'}'"
        )
    for source in inputs:
        if source is not None and source.resolve() == path.resolve():
            raise InputError(f"the input '{source}' would be replaced by the output; give another name")


def check_show(rows: int) -> None:
    """Refuse a number of rows that is none, with an InputError."""
    if rows < 0:
        raise InputError(f"--show: found {rows}, expected 0 or more rows of each table")


def print_notes(notes: Sequence[str]) -> None:
    """What was fixed up, left out or assumed."""
    for note in notes:
        print(f"{kind_of(note)}: {note}")
