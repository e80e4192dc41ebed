"""Writing the page beside the files of a refinement."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.io.output.write import OPTIONAL, check_folder, replace_files
from arrayrefine.kernels.processes import together
from arrayrefine.maps import MapCoefficients
from arrayrefine.page.render import NAME, Subject, page
from arrayrefine.real_space.map_grids import Grids
from arrayrefine.validation import Validation


def write_page(
    folder: Path, account: Mapping[str, Any], validate: Callable[[Grids], Validation], atoms: Atoms,
    maps: MapCoefficients, crystal: Crystal,
) -> Path:  # fmt: skip
    """Write `report.html`, whole or not at all. An older page goes, but for that of a model that is kept as .old.

    Parameters
    ----------
    folder : Path
    account : mapping
        Content of `report.json`.
    validate : callable
        Looks at the model in the maps on their grids.
    atoms : Atoms
        As written.
    maps : MapCoefficients
    crystal : Crystal

    Raises
    ------
    InputError, ArrayRefineError
        The file cannot be written.
    """

    def text() -> str:
        grids = Grids.of(maps, crystal)
        return page(Subject(account, validate(grids).as_dict(), atoms, grids.best, grids.difference))

    content = together(text, int(account["options"].get("threads", 1))).encode()
    check_folder(folder, "copy the folder to where you may write")
    (written,) = replace_files(folder, {NAME: content})
    if not any((folder / f"{name}.old").exists() for name in OPTIONAL if name != NAME):  # whose page it may be
        (folder / f"{NAME}.old").unlink(missing_ok=True)  # kept so far, in case that nothing took its place
    return written


def retire(folder: Path) -> None:
    """Rename a page that belongs to an older refinement in this folder."""
    old = folder / NAME
    if old.exists():
        os.replace(old, folder / f"{NAME}.old")
