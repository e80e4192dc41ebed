"""What a refinement gives: the model, its data and maps, and the account of how it came about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.errors import InputError
from arrayrefine.io.models.reading import Model, with_atoms
from arrayrefine.io.output import exports
from arrayrefine.io.output.write import account_of, write_outputs
from arrayrefine.io.output.write_mtz import history_line, mtz_of, test_value
from arrayrefine.maps import MapCoefficients
from arrayrefine.real_space.map_grids import SAMPLING, Grids, Kind, MapGrid, map_grid
from arrayrefine.reflections import Reflections
from arrayrefine.report import Report, Step
from arrayrefine.restraints import Restraints
from arrayrefine.validation import Validation, validate_model
from arrayrefine.version import version

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Result:
    """A finished (or interrupted) refinement.

    Attributes
    ----------
    model : Model
        As read.
    atoms : Atoms
        Refined.
    reflections : Reflections
    f_model : (R,) float64
        Amplitude of the model, on the scale of `reflections.f_obs`; of a twin as it is measured.
    maps : MapCoefficients
    report : Report
    every_atom : Atoms
        As `atoms`, with the riding hydrogens that are not written.
    restraints : Restraints
        On these.
    uncertainty : (N, 3) float64 or None
        Standard uncertainties of the coordinates of `atoms`, Å, with the option `uncertainties`; nan where a coordinate
        is not refined.
    """

    model: Model
    atoms: Atoms
    reflections: Reflections
    f_model: Float
    maps: MapCoefficients
    report: Report
    every_atom: Atoms
    restraints: Restraints
    uncertainty: Float | None = None

    @property
    def r_work(self) -> float:
        """Final R-work."""
        return self.report.final.r_work

    @property
    def r_free(self) -> float | None:
        """Final R-free; None without a test set."""
        return self.report.final.r_free

    def map_grid(self, kind: Kind = "2mFo-DFc", sampling: float = SAMPLING) -> MapGrid:
        """A map of the refined model on a grid over the unit cell; `gemmi_grid` of it is gemmi's object.

        Parameters
        ----------
        kind : "2mFo-DFc", "mFo-DFc" or "Fc"
        sampling : float
            Grid points per d_min at least.
        """
        return map_grid(self.maps, self.reflections.crystal, kind, sampling)

    @property
    def history(self) -> tuple[Step, ...]:
        """One record per step."""
        return self.report.steps

    def to_gemmi(self) -> exports.Structure:
        """The refined model as a gemmi.Structure, with all that the input says besides."""
        return with_atoms(self.model, self.atoms)

    def to_mtz(self) -> exports.Mtz:
        """What `refined.mtz` holds, as a gemmi.Mtz."""
        return mtz_of(self.reflections, self.maps, history_line(version(), test_value(self.reflections)))

    def to_dataset(self) -> exports.DataSet:
        """The same as a reciprocalspaceship.DataSet, where that is installed."""
        return exports.dataset(self.to_mtz())

    def to_pandas(
        self, what: Literal["history", "atoms", "reflections", "shells", "restraints"] = "history"
    ) -> exports.DataFrame:
        """A pandas.DataFrame, where pandas is installed.

        Parameters
        ----------
        what : str
            "history": a row per step; "atoms"; "reflections": the columns of `refined.mtz`; "shells" of resolution;
            "restraints": classes of restraints with their RMSD and RMSZ.

        Raises
        ------
        InputError
            There is no such table, or no pandas.
        """
        tables: dict[str, Callable[[], Any]] = {
            "history": lambda: exports.history_frame(self.history),
            "atoms": lambda: exports.atoms_frame(self.atoms),
            "reflections": lambda: exports.reflections_frame(self.to_mtz()),
            "shells": lambda: exports.frame(self.report.shells),
            "restraints": lambda: exports.frame(self.report.restraints),
        }
        if what not in tables:
            raise InputError(f"to_pandas('{what}'): expected one of {', '.join(tables)}")
        return tables[what]()

    def __repr__(self) -> str:
        free = "none" if self.r_free is None else f"{self.r_free:.4f}"
        return f"Result({len(self.atoms)} atoms, r_work={self.r_work:.4f}, r_free={free}, {len(self.history)} steps)"

    def _repr_html_(self) -> str:
        return self.report._repr_html_()

    def write(self, folder: str | Path) -> tuple[Path, ...]:
        """Write refined.cif, refined.pdb, refined.mtz, report.json, and the maps asked for; returns their paths."""
        more = {}
        for row in self.report.maps:
            around = self.atoms.xyz if row["extent"] == "model" else None
            more[row["file"]] = self.map_grid(row["map"]).ccp4_bytes(around)
        return write_outputs(
            Path(folder), self.model, self.atoms, self.reflections, self.maps, self.report, more, self.uncertainty
        )

    def validate(self, grids: Grids | None = None) -> Validation:
        """Look at the refined model from all sides: fit to the map, geometry, torsions, clashes, peaks, blobs.

        Parameters
        ----------
        grids : Grids, optional
            Its maps, where they have been computed already.
        """
        return validate_model(self.every_atom, self.restraints, self.reflections.crystal, grids or self.maps)

    def write_report(self, folder: str | Path) -> Path:
        """Write report.html, one self-contained page with all that is known of this refinement; returns its path."""
        from arrayrefine.page.write import write_page

        account = account_of(self.report, self.model, self.atoms, self.reflections, self.maps)
        crystal = self.reflections.crystal
        return write_page(Path(folder), account, self.validate, self.atoms, self.maps, crystal)
