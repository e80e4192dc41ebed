"""`arrayrefine regularise`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from arrayrefine.commands.inputs import options_of, output_folders, print_notes
from arrayrefine.commands.reading_options import ModelReading
from arrayrefine.commands.stopping import StopRequest
from arrayrefine.commands.tables import number, table
from arrayrefine.options import TETHER, External

if TYPE_CHECKING:
    from arrayrefine.regularisation import Regularised


@dataclass(frozen=True)
class Regularise:
    """Bring a model to its restraints, without data."""

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """Model: PDB or mmCIF, .gz too."""
    out: Annotated[Path, arg(aliases=("-o",))] = Path("regularised")
    """Folder for regularised.cif, regularised.pdb and regularised.json."""
    tether: float = TETHER
    """Standard deviation of a pull towards where each atom was, Å; 0 for none."""
    freeze: tuple[str, ...] = ()
    """Atoms that stay where they are, such as 'xyz: chain B' 'xyz: water'."""
    write_hydrogens: Literal["auto", "yes", "no"] | None = None
    """Whether the hydrogens that were added are written (default: where the model had some)."""
    config: Path | None = None
    """TOML file with options; flags override it."""
    reading: Annotated[ModelReading, arg(name="")] = field(default_factory=ModelReading)
    external: External = field(default_factory=External)

    def __call__(self) -> int:
        """Run the command; returns the exit status."""
        from arrayrefine.io.output.write import check_inputs
        from arrayrefine.io.output.write_moved import moved_files
        from arrayrefine.regularisation import STEM, regularise

        options = options_of(self.reading, self.config, self.external)
        options = dataclasses.replace(
            options, freeze=self.freeze or options.freeze,
            write_hydrogens=self.write_hydrogens or options.write_hydrogens,
        )  # fmt: skip
        inputs = (self.model, *([self.config] if self.config else []), *options.other_files)
        check_inputs(self.out, inputs, moved_files(STEM))
        with StopRequest() as stop, output_folders(self.out):
            found = regularise(self.model, options, tether=self.tether, stop=stop)
            paths = found.write(self.out)  # before a word is said: `head` need not read to the end
        print_notes(found.notes)
        print("\n".join([*_lines(found), "", *(f"wrote {path}" for path in paths)]))
        return 0 if stop.signal is None else 128 + stop.signal


def _lines(found: Regularised) -> list[str]:
    from arrayrefine.validation.labels import atom_label

    moved = f"{len(found.atoms)} atoms moved by {found.rms_shift:.2f} Å (rms)"
    if found.furthest is not None:
        who = atom_label(found.atoms.identity, found.furthest)
        moved += f", the furthest, {who}, by {found.shift[found.furthest]:.2f} Å"
    both = found.before, found.after
    rows = [(row.kind, str(row.count), number(row.before, 2), number(row.after, 2)) for row in found.agreement]
    scores: dict[str, list[float | None]] = {
        "clashscore": [v.clashscore for v in both],
        "Ramachandran outliers, %": [v.ramachandran["percent"]["outlier"] for v in both],
        "rotamer outliers, %": [v.rotamers["percent"]["outlier"] for v in both],
    }
    totals = [(name, *(number(v, 1) for v in values)) for name, values in scores.items() if values[0] is not None]
    return [
        f"{moved}; {found.evaluations} evaluations; {found.reason}",
        *table("RMSZ", ("restraints", "count ", "before ", "after "), rows, len(rows)),
        *table("Validation", ("", "before ", "after "), totals, len(totals)),
    ]
