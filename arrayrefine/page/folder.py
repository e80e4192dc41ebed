"""The page of a refinement that lies in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.errors import InputError
from arrayrefine.io.models.reading import read_model
from arrayrefine.io.output.read_maps import read_maps
from arrayrefine.maps import MapCoefficients
from arrayrefine.page.places import centres
from arrayrefine.page.table import Place
from arrayrefine.report import SCHEMA


@dataclass(frozen=True)
class Folder:
    """Output of a refinement, read as far as it is asked for.

    Every attribute raises `InputError` where its file is missing or cannot be used.
    """

    path: Path

    @cached_property
    def account(self) -> Mapping[str, Any]:
        """Content of report.json."""
        path = self.path / "report.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(
                f"'{path}' cannot be read: {error.strerror}; expected the output folder of a refinement"
            ) from error
        except ValueError as error:
            raise InputError(f"'{path}' is no JSON: {error}; expected the output of a refinement") from error
        if not isinstance(content, Mapping) or content.get("schema") != SCHEMA:
            found = content.get("schema") if isinstance(content, Mapping) else type(content).__name__
            raise InputError(f"'{path}' has the schema {found!r}, expected '{SCHEMA}'; refine again with this version")
        return content

    @cached_property
    def _maps(self) -> tuple[Crystal, MapCoefficients]:
        crystal, columns = read_maps(self.path / "refined.mtz")
        return crystal, MapCoefficients(**columns)

    @property
    def crystal(self) -> Crystal:
        """Of refined.mtz."""
        return self._maps[0]

    @property
    def maps(self) -> MapCoefficients:
        """Of refined.mtz."""
        return self._maps[1]

    @cached_property
    def atoms(self) -> Atoms:
        """Of refined.cif."""
        path = self.path / "refined.cif"
        if not path.exists():
            raise InputError(f"'{path}' does not exist; expected the output folder of a refinement")
        return read_model(path).atoms

    def first_place(self) -> tuple[str, Place]:
        """Name and middle of the first residue: a place to begin, where there is no report to name one."""
        where = centres(self.atoms)
        label = next(iter(where))
        return label, where[label]
