"""`arrayrefine report`."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Report:
    """Write report.html anew from the output of a refinement."""

    folder: Annotated[Positional[Path], arg(metavar="OUT")]
    """Folder with the refined.cif, refined.mtz and report.json of a refinement. Hydrogens that were not written are
    added anew, so that some clashes may be others."""
    restraints: tuple[Path, ...] = ()
    """Restraint CIFs of your ligands (default: those of the refinement)."""
    monomers: Path | None = None
    """Folder of a monomer library (default: that of the refinement)."""

    def __call__(self) -> int:
        """Run the command; returns the exit status."""
        from arrayrefine.evaluation import geometry_of_file
        from arrayrefine.options import Options, RidingHydrogens
        from arrayrefine.page.folder import Folder
        from arrayrefine.page.write import write_page
        from arrayrefine.validation import validate_model

        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # of folders that it may not write to
        found = Folder(self.folder)
        before = found.account["options"]
        library = self.monomers or (Path(before["monomers"]) if before.get("monomers") else None)
        options = Options(
            restraints=self.restraints or tuple(Path(path) for path in before.get("restraints") or ()),
            monomers=library,
            unknown=before.get("unknown", "error"),
            hydrogens="keep" if found.atoms.is_hydrogen.any() else "add",
            radiation=found.account["data"].get("radiation", "auto"),
            riding=RidingHydrogens(distance=(before.get("riding") or {}).get("distance", "auto")),
        )
        known = geometry_of_file(self.folder / "refined.cif", options)
        validate = partial(validate_model, known.atoms, known.restraints, known.crystal)
        path = write_page(self.folder, found.account, validate, found.atoms, found.maps, found.crystal)
        print(f"wrote {path}")
        return 0
