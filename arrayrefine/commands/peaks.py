"""`arrayrefine peaks`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from arrayrefine.commands.inputs import check_output, check_show, options_of, print_notes, write_json
from arrayrefine.commands.reading_options import Reading
from arrayrefine.commands.tables import blob_table, peak_table
from arrayrefine.wording import counted


@dataclass(frozen=True)
class Peaks:
    """List peaks and holes of the difference map, and blobs."""

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """Model: PDB or mmCIF, .gz too."""
    data: Annotated[Positional[Path], arg(metavar="DATA")]
    """Reflections: MTZ or sf-mmCIF."""
    limit: float = 4.0
    """Peaks and holes beyond this many sigma."""
    show: int = 30
    """Rows of each table that are printed."""
    out: Annotated[Path | None, arg(aliases=("-o",))] = None
    """JSON file for all of them."""
    config: Path | None = None
    """TOML file with options; flags override it."""
    reading: Annotated[Reading, arg(name="")] = field(default_factory=Reading)

    def __call__(self) -> int:
        """Run the command; returns the exit status."""
        from arrayrefine.evaluation import peaks_of_files
        from arrayrefine.validation.rows import blob_rows, peak_rows

        inputs = (self.model, self.data, self.config)
        check_show(self.show)
        if self.out is not None:
            check_output(self.out, inputs)
        found = peaks_of_files(self.model, self.data, options_of(self.reading, self.config), self.limit)
        peaks, blobs = peak_rows(found.peaks, found.atoms), blob_rows(found.blobs, found.atoms)
        anomalous = peak_rows(found.anomalous, found.atoms)
        up = [peak for peak in peaks if peak.height > 0]
        down = [peak for peak in peaks if peak.height < 0]
        what = f"{counted(len(up), 'peak')} and {counted(len(down), 'hole')} beyond {self.limit:g} sigma, "
        what += counted(len(blobs), "blob")
        lines = [f"mFo-DFc map: sigma {found.difference.sigma:.3g} on the scale of the data; {what}"]
        lines += [*peak_table("Peaks", up, self.show), *peak_table("Holes", down, self.show)]
        lines += [*blob_table(blobs, self.show), *peak_table("Anomalous differences", anomalous, self.show)]
        if self.out is not None:
            content: dict[str, Any] = {
                "schema": "arrayrefine.peaks/1",
                "sigma": found.difference.sigma,
                "limit": self.limit,
                "peaks": [dataclasses.asdict(peak) for peak in peaks],
                "blobs": [dataclasses.asdict(blob) for blob in blobs],
                "anomalous_peaks": [dataclasses.asdict(peak) for peak in anomalous],
            }
            # before a word is said: `head` need not read to the end
            lines.append(f"wrote {write_json(self.out, content, inputs)}")
        print_notes(found.notes)
        print("\n".join(lines))
        return 0
