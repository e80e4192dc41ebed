"""`arrayrefine validate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from arrayrefine.commands.inputs import check_output, check_show, options_of, print_notes, write_json
from arrayrefine.commands.reading_options import Reading
from arrayrefine.commands.tables import validation_lines


@dataclass(frozen=True)
class Validate:
    """Validate a model: fit, geometry, torsions, clashes."""

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """Model: PDB or mmCIF, .gz too."""
    data: Annotated[Positional[Path | None], arg(metavar="[DATA]")] = None
    """Reflections: MTZ or sf-mmCIF; without them the geometry alone is looked at."""
    out: Annotated[Path, arg(aliases=("-o",))] = Path("validation.json")
    """File for everything that was found."""
    show: int = 10
    """Rows of each table that are printed."""
    config: Path | None = None
    """TOML file with options; flags override it."""
    reading: Annotated[Reading, arg(name="")] = field(default_factory=Reading)

    def __call__(self) -> int:
        """Run the command; returns the exit status."""
        from arrayrefine.evaluation import validate_files

        inputs = (self.model, self.data, self.config)
        check_show(self.show)
        check_output(self.out, inputs)
        found, notes = validate_files(self.model, self.data, options_of(self.reading, self.config))
        path = write_json(self.out, found.as_dict(), inputs)  # before a word is said: `head` need not read to the end
        print_notes(notes)
        print("\n".join([*validation_lines(found, self.show), f"wrote {path}"]))
        return 0
